"""A Q network as the model of a study: it sees, tells what each action is worth, and plays greedily."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Self

import torch
from numpy.typing import NDArray
from torch import Tensor

from envs import Task
from jobs.inference.base import ModelDescription, StreamEdit
from jobs.inference.fingerprint import hash_weights
from jobs.networks.files import find_agent, fingerprint, load_network
from jobs.networks.q_network import QNetwork, fresh
from jobs.sections import ModelSection
from tdlens.errors import UserError


class Look(NamedTuple):
    """What a network makes of n observations."""

    q: Tensor
    """Q-values [n, actions], in the units of the rewards that it was trained on."""
    activations: dict[int, Tensor]
    """Each captured block's output before its ReLU [n, d], before any edit."""


class Player:
    """A Q network that plays: in each state the action of the highest Q-value, the first of equals."""

    def __init__(self, network: QNetwork, *, gamma: float, reward_scale: float, source: str, fingerprint: str) -> None:
        self.network = network
        self.gamma = gamma
        """Discount of its Q-values."""
        self.reward_scale = reward_scale
        """Its Q-values count so many of the task's points as one."""
        self.source = source
        self.n_blocks = network.n_blocks
        self.d_model = max(network.widths)
        self.device = torch.device("cpu")
        self.place = "cpu"
        self._fingerprint = fingerprint

    @torch.no_grad()
    def look(self, observations: NDArray[Any], capture: Sequence[int] = (), edit: StreamEdit | None = None) -> Look:
        """Q-values of observations [n, …], with the activations of the blocks captured and one block edited.

        An edit is given a block's output before its ReLU, [n, d].
        """
        x = torch.from_numpy(observations)
        activations = {block: self.network.hidden(x, block) for block in capture}
        block = edit.block if edit is not None else next(iter(activations), 1)
        h = activations[block] if block in activations else self.network.hidden(x, block)
        return Look(self.onwards(h if edit is None else edit(h), block), activations)

    @torch.no_grad()
    def onwards(self, h: Tensor, block: int) -> Tensor:
        """Q-values [n, actions] when a block's output before its ReLU is ``h`` [n, d]."""
        return self.network.from_block(h, block)

    def untrained(self, seed: int) -> Self:
        """A network of the same sizes with fresh weights."""
        network = self.network
        other = fresh(type(network), network.n_inputs, network.widths, network.n_actions, seed)
        return type(self)(
            other.eval().requires_grad_(False),
            gamma=self.gamma,
            reward_scale=self.reward_scale,
            source=f"fresh weights, seed {seed}",
            fingerprint=hash_weights(repr(other), other),
        )

    def describe(self) -> ModelDescription:
        """What the record keeps of it."""
        return ModelDescription(
            architecture=type(self.network).__name__,
            n_blocks=self.n_blocks,
            d_model=self.d_model,
            n_parameters=sum(weights.numel() for weights in self.network.parameters()),
            dtype="float32",
            fingerprint=self._fingerprint,
        )

    def close(self) -> None:
        """It holds nothing beyond memory."""


def require_extra(task_name: str, task: Task) -> None:
    """Raise UserError where a task's games need a package that isn't installed."""
    extra = task.seen.extra if task.seen is not None else None
    if extra is None:
        return
    try:
        extra.load()
    except ImportError as error:
        raise UserError(f"The task {task_name} needs {extra.package}, which isn't installed.", extra.remedy) from error


def load_player(model: ModelSection, task_name: str, task: Task) -> Player:
    """The agent that a study names: one that ships with tdlens, or the folder of one.

    Raises:
        UserError: there is none, it was made for another task, its layers differ in width, or what the task's games
            need isn't installed.
    """
    require_extra(task_name, task)
    folder = find_agent(model.name)
    network, about = load_network(folder)
    if about.task != task_name or network.n_actions != len(task.actions):
        raise UserError(
            f"The agent {model.name} was trained on {about.task}, and this study's task is {task_name}.",
            f"Train one for it: tdlens train-agent --task {task_name} --out FOLDER, then --model FOLDER.",
        )
    if len(set(network.widths)) > 1:
        raise UserError(
            f"The hidden layers of {model.name} are {', '.join(map(str, network.widths))} wide.",
            "Give an agent whose hidden layers are all of one width.",
        )
    return Player(
        network,
        gamma=about.gamma,
        reward_scale=about.reward_scale,
        source=model.name,
        fingerprint=fingerprint(folder),
    )
