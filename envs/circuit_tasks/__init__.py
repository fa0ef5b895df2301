"""Tasks on which circuits of attention heads are looked for: prompts as token ids, for any model's tokenizer.

A task is one module and one line in ``CIRCUIT_TASKS``. Induction, IOI and docstring are those of Khadka (2026, arXiv
2605.26343), drawn in the same order of random calls; greater-than is a further one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from envs.circuit_tasks import docstring, greater_than, induction, ioi
from envs.circuit_tasks.control_rows import control_rows
from envs.circuit_tasks.prompts import Prompts, UnsuitableTokenizer, Words


@dataclass(frozen=True)
class CircuitTask:
    """One task.

    Attributes:
        name: its key in ``CIRCUIT_TASKS``.
        make: ``make(tokenizer, n, seed)`` gives n prompts; UnsuitableTokenizer if the task can't be put in its tokens.
    """

    name: str
    make: Callable[[Any, int, int], Prompts]


CIRCUIT_TASKS: dict[str, CircuitTask] = {
    task.name: task
    for task in (
        CircuitTask(induction.NAME, induction.make),
        CircuitTask(ioi.NAME, ioi.make),
        CircuitTask(docstring.NAME, docstring.make),
        CircuitTask(greater_than.NAME, greater_than.make),
    )
}

__all__ = ["CIRCUIT_TASKS", "CircuitTask", "Prompts", "UnsuitableTokenizer", "Words", "control_rows"]
