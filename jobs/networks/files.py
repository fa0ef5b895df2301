"""An agent's folder: ``config.json`` (what it is and how it was trained) and ``model.safetensors`` (its weights)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, PositiveInt, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from jobs.inference.fingerprint import hash_files
from jobs.networks.conv_network import ConvNetwork
from jobs.networks.q_network import QNetwork
from tdlens.errors import UserError

CONFIG = "config.json"
WEIGHTS = "model.safetensors"
KINDS: dict[str, type[QNetwork]] = {"q_network": QNetwork, "conv_network": ConvNetwork}
"""The architectures, by the ``kind`` that a folder's configuration names."""
SHIPPED = {"rook_128": Path(__file__).parent / "rook_128"}
"""The agents that come with tdlens, by name."""
REMEDY = "Give the folder that tdlens train-agent wrote, or the agent that ships with tdlens: rook_128."


class About(BaseModel):
    """What an agent's ``config.json`` says."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    kind: Literal["q_network", "conv_network"] = "q_network"
    """Its architecture; tells such a folder from that of a language model, too."""
    task: str
    """The task it was trained on, as studies name it."""
    variant: str
    """And the variant of that task."""
    n_inputs: PositiveInt
    """Numbers of an observation."""
    hidden: list[PositiveInt] = Field(min_length=1)
    """Units of each hidden layer."""
    n_actions: PositiveInt
    """Actions, each with a Q-value."""
    gamma: float
    """Discount of its Q-values."""
    reward_scale: float
    """What the task's rewards were multiplied by in training: its Q-values are in these units."""
    training: dict[str, Any]
    """Configuration of the training."""
    versions: dict[str, str]
    """Packages that trained it."""


def find_agent(name: str) -> Path:
    """The folder of a shipped agent or of one of the user's own.

    Raises:
        UserError: there is no such folder.
    """
    folder = SHIPPED.get(name) or Path(name).expanduser()
    if not folder.is_dir():
        raise UserError(f"There is no agent {name}.", REMEDY)
    return folder


def save(network: QNetwork, folder: Path, about: About) -> None:
    """Write an agent's folder, made if missing.

    Raises:
        ValueError: ``about`` speaks of a network of another kind, or of other sizes.
    """
    if type(network) is not KINDS[about.kind]:
        raise ValueError(f"the network isn't of the kind {about.kind}")
    sizes = (about.n_inputs, tuple(about.hidden), about.n_actions)
    if sizes != (network.n_inputs, network.widths, network.n_actions):
        raise ValueError(f"the network isn't of the sizes {sizes}")
    folder.mkdir(parents=True, exist_ok=True)
    save_file({name: weight.contiguous() for name, weight in network.state_dict().items()}, folder / WEIGHTS)
    (folder / CONFIG).write_text(about.model_dump_json(indent=2) + "\n")


def load_network(folder: Path) -> tuple[QNetwork, About]:
    """The network of an agent's folder, on the CPU in evaluation mode, and what is known about it.

    Raises:
        UserError: the folder isn't an agent's, or its weights are damaged or don't fit its configuration.
    """
    about = read_about(folder)
    try:
        network = KINDS[about.kind](about.n_inputs, about.hidden, about.n_actions)
    except ValueError as error:
        raise UserError(f"{folder / CONFIG} describes no network: {error}.", REMEDY) from error
    try:
        network.load_state_dict(load_file(folder / WEIGHTS))
    except (OSError, SafetensorError, RuntimeError) as error:
        raise UserError(f"The weights in {folder / WEIGHTS} can't be loaded: {_first_line(error)}", REMEDY) from error
    for name, weight in network.named_parameters():
        if not weight.isfinite().all():
            raise UserError(f"The weights {name} in {folder / WEIGHTS} aren't all finite.", REMEDY)
    return network.eval().requires_grad_(False), about


def read_about(folder: Path) -> About:
    """What is known about an agent, without its weights.

    Raises:
        UserError: the folder isn't an agent's.
    """
    path = folder / CONFIG
    try:
        values = json.loads(path.read_text())
    except OSError as error:
        raise UserError(f"{folder} isn't the folder of an agent: it has no readable {CONFIG}.", REMEDY) from error
    except ValueError as error:
        raise UserError(f"{path} isn't JSON.", REMEDY) from error
    if not isinstance(values, dict) or values.get("kind") not in list(KINDS):
        raise UserError(f"{folder} isn't the folder of an agent: its {CONFIG} is of something else.", REMEDY)
    try:
        return About.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise UserError(f"{path} is damaged: {key}: {first['msg'].lower()}.", REMEDY) from error


def fingerprint(folder: Path) -> str:
    """What an agent is known by: sha256 over its configuration and weights.

    Raises:
        UserError: the folder isn't an agent's.
    """
    read_about(folder)
    if not (folder / WEIGHTS).is_file():
        raise UserError(f"{folder} holds no {WEIGHTS}.", REMEDY)
    return hash_files(folder)


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0]
