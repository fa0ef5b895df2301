"""Names that a task draws at random, where the model must have each as a single token."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from envs import Task
from jobs.inference.tokens import TextTokenizer
from tdlens.errors import UserError

MOST = 64
"""Names that are drawn from, at most."""


def with_names(task: Task, settings: Mapping[str, Any], tokenizer: Any, model: str) -> dict[str, Any]:
    """A task's settings in which ``words`` are the first single tokens of the model among its words, if it has any.

    Args:
        task: the registered task.
        settings: the study's; ``words`` among them takes the place of the list that comes with the task.
        tokenizer: the model's own.
        model: its name, for the message.

    Raises:
        UserError: fewer single tokens than the task has states.
    """
    if not task.words:
        return dict(settings)
    first = task.rollout(task.config(**settings), 0).transcript()
    head = first.text[: first.decisions[0].end]
    candidates = [f" {word}" for word in settings.get("words", task.words)]
    found = TextTokenizer(tokenizer).single(head, candidates, task.decision_word)
    if len(found) < task.n_states:
        raise UserError(
            f"The tokenizer of {model} has only {len(found)} of {len(candidates)} words as single tokens, and the task "
            f"needs {task.n_states} names.",
            "Give words that are single tokens of it in task.settings.words, or use another model.",
        )
    return {**settings, "words": tuple(word.strip() for word in found[:MOST])}
