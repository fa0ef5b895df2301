"""What would fit: changes of a study, one at a time, tried until its estimate fits."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

from jobs.inference.layout import Node
from jobs.planning.estimate import Estimate, estimate
from jobs.planning.nodes import Space
from jobs.planning.scope import Scope
from jobs.planning.speed import Machine
from jobs.sections import FEWEST_ROLLOUTS
from jobs.study import Study
from tdlens.errors import UserError

NODES = (2, 4, 8)
"""Numbers of GPUs that a node may have."""


def what_would_fit(scope: Scope, node: Node, machine: Machine, space: Space) -> list[str]:
    """Settings, each of which alone makes the study fit, and a larger node of the same kind, if that does."""

    def fits(study: Study, on: Node = node) -> bool:
        return _estimate(replace(scope, study=study), on, machine, space) is not None

    study = scope.study
    found = [setting for setting, changed in _switches(study) if fits(changed)]
    for key, most, least in (
        ("model.batch_size", min(study.model.batch_size, scope.rollouts), 1),
        ("task.rollouts", scope.rollouts, FEWEST_ROLLOUTS),
    ):
        if (value := _largest(partial(_fits_with, fits, _setting(study, *key.split("."))), least, most)) is not None:
            found.append(f"--set {key}={value}")
    blocks = scope.blocks
    if (n := _largest(lambda n: fits(_setting(study, "capture", "blocks")(blocks[:n])), 1, len(blocks))) is not None:
        found.append(f"capture.blocks with at most {n} of these {len(blocks)} blocks")
    for count in NODES:
        if node.n_gpus and count > node.n_gpus and fits(_on_ranks(study), replace(node, n_gpus=count)):
            found.append(f"{count} such GPUs (with --engine deepspeed)")
            break
    return found


def _estimate(scope: Scope, node: Node, machine: Machine, space: Space) -> Estimate | None:
    try:
        found = estimate(scope, node, machine, space)
    except UserError:
        return None
    return found if found.fits else None


def _switches(study: Study) -> Iterator[tuple[str, Study]]:
    if study.capture.dtype == "float32":
        yield "--set capture.dtype=bfloat16", _setting(study, "capture", "dtype")("bfloat16")
    if study.model.dtype == "float32":
        yield "--set model.dtype=bfloat16", _setting(study, "model", "dtype")("bfloat16")
    if study.model.engine == "hf":
        yield "--engine deepspeed", _on_ranks(study)
    elif study.model.parallel.offload in ("auto", "none"):
        parallel = study.model.parallel.model_copy(update={"layout": "zero3", "offload": "cpu"})
        offloaded = _setting(study, "model", "parallel")(parallel)
        yield "--set model.parallel.layout=zero3 --set model.parallel.offload=cpu", offloaded
    kept = tuple(control for control in study.correlate.controls if control != "untrained")
    if kept != study.correlate.controls:
        yield 'correlate.controls without "untrained"', _setting(study, "correlate", "controls")(kept)


def _on_ranks(study: Study) -> Study:
    """On all GPUs, laid out as fits."""
    model = study.model
    parallel = model.parallel.model_copy(update={"ranks": None, "layout": "auto", "offload": "auto"})
    return study.model_copy(update={"model": model.model_copy(update={"engine": "deepspeed", "parallel": parallel})})


def _setting(study: Study, section: str, name: str) -> Callable[[Any], Study]:
    """The study with another value of one setting."""
    current = getattr(study, section)

    def change(value: Any) -> Study:
        return study.model_copy(update={section: current.model_copy(update={name: value})})

    return change


def _fits_with(fits: Callable[[Study], bool], change: Callable[[Any], Study], value: int) -> bool:
    return fits(change(value))


def _largest(holds: Callable[[int], bool], least: int, most: int) -> int | None:
    """The largest number below ``most`` for which it holds, if it does for any: needs grow with the number."""
    if most <= least or not holds(least):
        return None
    low, high = least, most  # holds at low, not at high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if holds(middle) else (low, middle)
    return low
