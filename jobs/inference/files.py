"""Find a model's files by name, folder or hub id, and check that they are all there."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from jobs.inference.hub import COMMIT, MAIN, download
from jobs.inference.progress import Progress, silent
from tdlens.errors import UserError

JOBS = Path(__file__).parent.parent
REFERENCE_MODEL, CIRCUITS_MODEL = JOBS / "reference" / "model", JOBS / "circuit_model" / "model"
WELFARE_MODEL = JOBS / "welfare_model" / "model"
INDEX = "model.safetensors.index.json"
"""Which shard holds which tensor, in a model of several."""


@dataclass(frozen=True)
class Shipped:
    """A small model trained in this repository and shipped with it."""

    folder: Path
    command: str
    """What trains it."""
    duration: str


SHIPPED = {
    "reference": Shipped(REFERENCE_MODEL, "train-reference", "75 minutes"),
    "circuits": Shipped(CIRCUITS_MODEL, "train-circuit-model", "a quarter of an hour"),
    "welfare": Shipped(WELFARE_MODEL, "train-welfare-model", "half an hour"),
}
"""By the name that stands for the folder."""


@dataclass(frozen=True)
class ModelFiles:
    """A model's files in a folder of this machine."""

    folder: Path
    source: str
    """Where they come from, as the record keeps it: a name in ``SHIPPED``, a folder, or ``org/name@commit``."""


def find_model(model: str, revision: str = MAIN, *, weights: bool = True, progress: Progress = silent) -> ModelFiles:
    """The files of a shipped model, of a given folder, or of a hub repository, downloaded if need be.

    Args:
        model: a name in ``SHIPPED``, a folder, or a Hugging Face hub id.
        revision: of a hub repository: a commit hash, branch or tag.
        weights: whether they are needed too, or configuration and tokenizer only.
        progress: shows how far a download is.

    Raises:
        UserError: no such folder, repository or revision, or it lacks configuration, weights or tokenizer.
    """
    path = Path(model).expanduser()
    if shipped := SHIPPED.get(model):
        files = ModelFiles(shipped.folder, model)
        if not shipped.folder.is_dir():
            raise UserError(
                f"The {model} model isn't there.",
                f"Train it ({shipped.duration} of one core): tdlens {shipped.command} --out {shipped.folder}",
            )
    elif path.exists():
        files = ModelFiles(path, model)
    elif path.is_absolute() or model.startswith(("./", "../", "~")) or model.count("/") > 1:
        raise UserError(
            f"There is no model at {model}.",
            "Give a folder that exists, a Hugging Face id such as meta-llama/Meta-Llama-3-8B, or: "
            f"{', '.join(SHIPPED)}.",
        )
    else:
        folder = download(model, revision, weights=weights, progress=progress)
        refuse_incomplete(folder, weights=weights)
        return ModelFiles(folder, f"{model}@{folder.name}" if COMMIT.fullmatch(folder.name) else model)
    if revision != MAIN:
        raise UserError(
            f"{model} is no model of the Hugging Face hub, so it has no revision {revision!r}.",
            "Leave model.revision out.",
        )
    refuse_incomplete(files.folder, weights=weights)
    return files


def refuse_incomplete(folder: Path, *, weights: bool = True) -> None:
    """Check that a folder holds what a model needs.

    Raises:
        UserError: it lacks configuration, weights, a shard of them, or the fast tokenizer.
    """

    def refuse(what: str, remedy: str) -> UserError:
        return UserError(f"The model folder {folder} has no {what}.", remedy)

    if not (folder / "config.json").is_file():
        raise refuse("config.json", "Give the folder that save_pretrained wrote, not one above or below it.")
    if not (folder / "tokenizer.json").is_file():
        raise refuse("tokenizer (tokenizer.json)", "Save the model's fast tokenizer there: tokenizer.save_pretrained.")
    if not weights:
        return
    if not any(folder.glob("*.safetensors")):
        raise refuse("weights (*.safetensors)", "Save the model with save_pretrained; other formats are not read.")
    missing = sorted(name for name in _shards(folder) if not (folder / name).is_file())
    if missing:
        others = f" and {len(missing) - 1} more of the shards" if len(missing) > 1 else ""
        raise refuse(
            f"{missing[0]}{others} that {INDEX} names", "Copy or download the model again, with all its files."
        )


def _shards(folder: Path) -> set[str]:
    index = folder / INDEX
    if not index.is_file():
        return set()
    try:
        return set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise UserError(
            f"{index} can't be read: {type(error).__name__}.", "Copy or download the model again."
        ) from error
