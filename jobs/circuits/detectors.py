"""What attention heads do by the looks of them: whom they attend to, and what they write towards the answer.

Nothing is ablated here. Attention is measured on a random block of tokens that is said twice, where knowing the
language is of no use, and between the named positions of a task's prompts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from envs.circuit_tasks.prompts import Prompts, Words
from jobs.circuits.ablation import local
from jobs.circuits.direct_effect import direct_effect
from jobs.circuits.patterns import attention_patterns
from jobs.circuits.scoring import padded
from jobs.circuits.sweep import tokens_of_a_pass
from jobs.inference.base import Engine

BLOCK = 50
"""Random tokens of a block."""
REPEATED = 2 * BLOCK + 1
"""Tokens of a row in which it comes twice, BOS included."""
FIRST_ID = 10
"""Random tokens are drawn from here on, as in the induction task: below lie special ones."""

ANY_TASK = ""
"""Where measures stand that belong to no task."""

HeadValues = NDArray[np.float64]
"""A number for each head [n_blocks, n_heads]."""
Measures = dict[str, dict[str, HeadValues]]
"""For each task, and ``ANY_TASK``, its measures by name."""

ATTENTION: dict[str, tuple[tuple[str, str], ...]] = {
    "induction": (("a2", "b"), ("a2", "a1"), ("b", "a1")),
    "ioi": (("end", "io"), ("end", "s1"), ("end", "s2"), ("s2", "s1"), ("s2", "s1_next"), ("s1_next", "s1")),
    "docstring": (("end", "p5_def"), ("end", "p4_doc"), ("p4_doc", "p4_def"), ("p5_def", "before_p5")),
    "greater_than": (("end", "year"), ("end", "century")),
}
"""For each task, from which role of its prompts to which attention is measured; the measure is called ``end_to_io``."""


@dataclass(frozen=True)
class Condition:
    """Bounds on one measure."""

    measure: str
    at_least: float = -np.inf
    at_most: float = np.inf


@dataclass(frozen=True)
class Label:
    """A part that heads play, and by which measures of its task a head is said to play it."""

    task: str
    name: str
    conditions: tuple[Condition, ...]


@dataclass(frozen=True)
class Labelled:
    """A head with a label."""

    task: str
    label: str
    block: int
    """From 1."""
    head: int


LOOKS = 0.4
"""Mean attention from which on a head is said to attend somewhere."""
WRITES = 0.1
"""Nats of direct effect from which on a head is said to write for or against the answer."""

LABELS: tuple[Label, ...] = (
    Label(ANY_TASK, "induction", (Condition("induction_score", LOOKS),)),
    Label(ANY_TASK, "previous_token", (Condition("previous_token", LOOKS),)),
    Label(ANY_TASK, "duplicate_token", (Condition("duplicate_token", LOOKS),)),
    Label("ioi", "name_mover", (Condition("end_to_io", LOOKS), Condition("direct_effect", at_least=WRITES))),
    Label("ioi", "negative_name_mover", (Condition("end_to_io", LOOKS), Condition("direct_effect", at_most=-WRITES))),
    Label("ioi", "s_inhibition", (Condition("end_to_s2", LOOKS), Condition("direct_effect", -WRITES, WRITES))),
    Label("docstring", "argument_mover", (Condition("end_to_p5_def", LOOKS), Condition("direct_effect", WRITES))),
    Label("greater_than", "year_reader", (Condition("end_to_year", LOOKS),)),
)
"""Parts after Olsson et al. (2022), Wang et al. (2023), Heimersheim and Janiak (2023) and Hanna et al. (2023). The
bounds are this project's: the publications found their heads by path patching and by hand."""


def head_measures(
    engine: Engine, tasks: Mapping[str, Prompts], *, rows: int = 32, length: int = BLOCK, seed: int = 0
) -> Measures:
    """All measures of all heads.

    Args:
        engine: the model.
        tasks: prompts of each task.
        rows: how many blocks of random tokens.
        length: of a block, before it is repeated.
        seed: draws the blocks.

    Raises:
        UserError: the model isn't in this process, its context is shorter than a repeated block, or it isn't known
            where its heads write or what its final norm is.
    """
    model = local(engine)
    words = Words(engine.tokenizer)
    generator = torch.Generator().manual_seed(seed)
    blocks = torch.randint(FIRST_ID, words.n_ids, (rows, length), generator=generator).tolist()
    repeated = [(words.bos, *block, *block) for block in blocks]
    found: Measures = {ANY_TASK: _means(engine, repeated, lambda patterns, _: repeated_scores(patterns))}
    for task, prompts in tasks.items():
        found[task] = role_attention(engine, task, prompts) | {"direct_effect": direct_effect(model, prompts)}
    return found


def labels(measures: Measures) -> list[Labelled]:
    """Which heads fulfil which of ``LABELS``, as far as their tasks were measured."""
    found = []
    for label in LABELS:
        if own := measures.get(label.task):
            fulfilled = [(own[c.measure] >= c.at_least) & (own[c.measure] <= c.at_most) for c in label.conditions]
            for block, head in np.argwhere(np.logical_and.reduce(fulfilled)):
                found.append(Labelled(label.task, label.name, int(block) + 1, int(head)))
    return found


def repeated_scores(patterns: Tensor) -> dict[str, Tensor]:
    """Measures of attention on BOS and a block of N tokens that comes twice.

    Args:
        patterns: attention [B, n_blocks, n_heads, T, T], T = 2 N + 1.

    Returns:
        Each [B, n_blocks, n_heads]: ``induction_score``, from the second copy's tokens to those that followed them in
        the first; ``duplicate_token``, to themselves in the first; ``previous_token``, from any token to the one
        before. BOS, to which heads turn that find nothing, doesn't count as one before.
    """
    n = patterns.shape[-1] // 2

    def back(by: int, first: int) -> Tensor:
        """Mean attention from position j + ``by`` to j, for each j from ``first`` on."""
        return patterns.diagonal(-by, -2, -1)[..., first:].mean(-1)

    return {"induction_score": back(n - 1, 2), "duplicate_token": back(n, 1), "previous_token": back(1, 1)}


def role_attention(engine: Engine, task: str, prompts: Prompts) -> dict[str, HeadValues]:
    """Mean attention between the roles of a task's prompts; empty for a task that isn't in ``ATTENTION``.

    Raises:
        UserError: see :func:`~jobs.circuits.patterns.attention_patterns`.
    """
    pairs = ATTENTION.get(task, ())

    def measure(patterns: Tensor, rows: slice) -> dict[str, Tensor]:
        each = torch.arange(len(patterns))
        at = {role: torch.tensor(prompts.roles[role][rows]) for role in {role for pair in pairs for role in pair}}
        return {f"{one}_to_{other}": patterns[each, :, :, at[one], at[other]] for one, other in pairs}

    return _means(engine, prompts.rows, measure) if pairs else {}


def _means(
    engine: Engine, rows: Sequence[Sequence[int]], measure: Callable[[Tensor, slice], dict[str, Tensor]]
) -> dict[str, HeadValues]:
    """Means over rows of what is measured of their patterns, [B, n_blocks, n_heads] each, a few rows at a time."""
    n_rows = max(1, tokens_of_a_pass(engine.device) // max(len(row) for row in rows))
    total: dict[str, HeadValues] = {}
    for start in range(0, len(rows), n_rows):
        some = slice(start, start + n_rows)
        for name, values in measure(attention_patterns(engine, padded(rows[some])), some).items():
            total[name] = total.get(name, 0) + values.double().sum(0).cpu().numpy()
    return {name: values / len(rows) for name, values in total.items()}
