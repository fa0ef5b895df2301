"""A training's folder: what it is, its curve, its checkpoints, and what it takes to go on after an interruption.

========================  =============================================================================
file or folder            what it is
========================  =============================================================================
``training.json``         the model that was trained, all settings, versions; at the end, the cost
``curve.jsonl``           a line for each step
``checkpoints/step-N/``   the model after N steps, before the last; a model's folder like any other
``state/``                what goes on after an interruption; removed at the end
``model.safetensors`` …   the trained model, at the end
========================  =============================================================================
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from jobs.maze_training.config import differing
from tdlens.errors import UserError

MOMENTS = ("exp_avg", "exp_avg_sq", "step")
"""What AdamW keeps of a weight."""
RECORD, CURVE = "training.json", "curve.jsonl"


@dataclass(frozen=True)
class Reached:
    """How far a training has come."""

    step: int = 0
    seconds: float = 0.0
    """That it took, interruptions left out."""
    cpu_seconds: float = 0.0


def model_files(folder: Path) -> list[Path]:
    """The files of a model that a training wrote: a checkpoint, or the trained one, whose folder has others, too."""
    return sorted(path for path in folder.iterdir() if path.is_file() and path.name not in (RECORD, CURVE))


def checkpoint_folder(training: Path, step: int) -> Path:
    """Where a training has the model after a step that wasn't its last."""
    return training / "checkpoints" / f"step-{step:05}"


def read_curve(training: Path) -> list[dict[str, Any]]:
    """A training's curve, a mapping for each step."""
    curve = training / CURVE
    return [json.loads(line) for line in curve.read_text().splitlines()] if curve.is_file() else []


class TrainingFolder:
    """Where a training writes; everything in it appears whole or not at all, but for the model at the end.

    Args:
        path: made if missing.
        about: what is trained and how, as JSON has it; says whether what is there is the same training.

    Raises:
        UserError: something else is in the way.
    """

    def __init__(self, path: Path, about: Mapping[str, Any]) -> None:
        self.path = path
        self._about = json.loads(json.dumps(about))
        if path.exists() and not path.is_dir():
            raise UserError(f"{path} is a file, not a folder.", "Give another folder.")
        if self._record.is_file():
            self.finished = self._same_training()
        elif path.is_dir() and any(path.iterdir()):
            raise UserError(f"{path} holds something that is no training in the maze.", "Give another folder.")
        else:
            path.mkdir(parents=True, exist_ok=True)
            self._write(self._about)
            self.finished = False

    def add(self, point: Mapping[str, Any]) -> None:
        """A line of the curve."""
        with self._curve.open("a") as file:
            file.write(json.dumps(point, allow_nan=False) + "\n")

    def keep(
        self,
        reached: Reached,
        learned: Mapping[str, nn.Parameter],
        optimiser: torch.optim.Optimizer,
        save: Callable[[Path], None],
    ) -> None:
        """Write a checkpoint, and what it takes to go on from it."""
        with _instead(checkpoint_folder(self.path, reached.step)) as temporary:
            save(temporary)
        tensors = {f"weight.{name}": weight.detach() for name, weight in learned.items()}
        for name, weight in learned.items():
            tensors |= {f"{moment}.{name}": value for moment, value in optimiser.state[weight].items()}
        on_cpu = {name: tensor.cpu().contiguous() for name, tensor in tensors.items()}
        self._state.parent.mkdir(exist_ok=True)
        written = self._state.with_suffix(".tmp")
        save_file(on_cpu, written, {"reached": json.dumps(asdict(reached))})
        written.replace(self._state)

    def go_on(self, learned: Mapping[str, nn.Parameter], optimiser: torch.optim.Optimizer) -> Reached:
        """Put weights and optimiser where the last checkpoint left them, and the curve's end, too.

        Raises:
            UserError: what was kept is damaged.
        """
        reached = Reached()
        if self._state.is_file():
            try:
                with safe_open(self._state, framework="pt") as file:
                    reached = Reached(**json.loads(file.metadata()["reached"]))
                    names = file.keys()
                    _restore(learned, optimiser, {name: file.get_tensor(name) for name in names})
            except (OSError, SafetensorError, KeyError, ValueError, RuntimeError) as error:
                raise UserError(f"{self._state} can't be read: {error}", "Train again, in another folder.") from error
        lines = self._curve.read_text().splitlines(keepends=True) if self._curve.is_file() else []
        temporary = self._curve.with_suffix(".tmp")
        temporary.write_text("".join(lines[: reached.step]))
        temporary.replace(self._curve)
        return reached

    def finish(self, reached: Reached, save: Callable[[Path], None]) -> None:
        """Write the trained model and what it cost; nothing is left to go on from."""
        save(self.path)
        cost = {"seconds": round(reached.seconds), "cpu_seconds": round(reached.cpu_seconds)}
        self._write({**self._about, "cost": cost | {"threads": torch.get_num_threads()}})
        self.finished = True
        shutil.rmtree(self._state.parent, ignore_errors=True)

    @property
    def _record(self) -> Path:
        return self.path / RECORD

    @property
    def _curve(self) -> Path:
        return self.path / CURVE

    @property
    def _state(self) -> Path:
        return self.path / "state" / "training.safetensors"

    def _write(self, record: Mapping[str, Any]) -> None:
        temporary = self._record.with_suffix(".tmp")
        temporary.write_text(json.dumps(record, indent=2) + "\n")
        temporary.replace(self._record)

    def _same_training(self) -> bool:
        """Whether the training that is there is finished; UserError if it is another one."""
        try:
            there = json.loads(self._record.read_text())
            others = differing({key: there[key] for key in self._about}, self._about)
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(f"{self._record} isn't of a training in the maze.", "Give another folder.") from error
        if others:
            raise UserError(
                f"{self.path} holds another training: it differs in {', '.join(others)}.",
                "Give another folder, or the settings that its training.json names, to go on with that one.",
            )
        return "cost" in there


def _restore(learned: Mapping[str, nn.Parameter], optimiser: torch.optim.Optimizer, kept: Mapping[str, Tensor]) -> None:
    state: dict[int, dict[str, Tensor]] = {}
    with torch.no_grad():
        for index, (name, weight) in enumerate(learned.items()):
            weight.copy_(kept[f"weight.{name}"])
            if f"step.{name}" in kept:  # a weight that the loss doesn't reach has no moments
                state[index] = {moment: kept[f"{moment}.{name}"] for moment in MOMENTS}
    optimiser.load_state_dict({"state": state, "param_groups": optimiser.state_dict()["param_groups"]})


@contextmanager
def _instead(target: Path) -> Iterator[Path]:
    """A folder to write into that then takes the place of the target."""
    temporary = target.with_name(f".{target.name}")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    yield temporary
    shutil.rmtree(target, ignore_errors=True)
    temporary.rename(target)
