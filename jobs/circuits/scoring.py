"""What ablating each attention head does to a model, on a task's prompts and on ordinary text.

A head's *task damage* is by how much the mean metric of the prompts falls, its *control damage* by how much the mean
cross-entropy of the control text's next tokens rises, both in nats; its score is the first less ``weight`` times the
second (Khadka 2026, arXiv 2605.26343). Logits are the model's; sums over positions and rows are taken in float64.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from envs.circuit_tasks.prompts import Prompts
from envs.head_ablation import Ablation, TableScores
from jobs.circuits.ablation import Values, ablated_values
from jobs.circuits.sweep import Measure, Sweep, Told, refuse_missing_heads, sweep_of
from jobs.inference.base import Engine, TokenBatch


class Baseline(NamedTuple):
    """The model untouched, in nats."""

    metric: float
    """Mean metric of the prompts."""
    cross_entropy: float
    """Mean cross-entropy of the control text's next tokens."""


class HeadScorer:
    """What ablating each head does in one episode; each head is run once, when it is first asked for.

    It fulfils :class:`envs.head_ablation.HeadScores`. Until all heads are known it holds what enters every block and
    what all heads give, for both batches.

    Attributes:
        baseline: the model untouched.
        forward_passes: what an experimenter who ablates one head at a time would have run: two for the baseline and two
            for each distinct head asked for, whatever was run together.

    Args:
        engine: the model.
        prompts: of the task.
        control: rows of ordinary text, all of one length, BOS first.
        ablation: what ablated heads become; ``mean`` and ``resample`` refer to the prompts' corrupted rows, and to
            the control text's own rows, each row to the next.
        weight: of the control damage.

    Raises:
        UserError: the ablation isn't possible with this engine, or a row is too long for the model's context.
        ValueError: no control text, or of rows that differ in length.
    """

    def __init__(
        self,
        engine: Engine,
        prompts: Prompts,
        control: Sequence[Sequence[int]],
        *,
        ablation: Ablation = "value_bias",
        weight: float = 1.0,
    ) -> None:
        self.n_blocks, self.n_heads, self.weight = engine.n_blocks, engine.n_heads, weight
        task = task_sweep(engine, prompts)
        text = control_sweep(engine, control)
        self._sweeps: tuple[Sweep, Sweep] | None = (task, text)
        self._values = (
            task_values(engine, prompts, ablation),
            control_values(engine, control, ablation),
        )
        self.baseline = Baseline(float(task.untouched.mean()), float(text.untouched.mean()))
        self.forward_passes = 2
        self._task_damage = np.full(self.n_blocks * self.n_heads, np.nan)
        self._control_damage = self._task_damage.copy()

    def score(self, heads: Sequence[int]) -> NDArray[np.float64]:
        """Task damage less the weighted control damage of some heads, each ablated alone [len(heads)], in nats.

        Raises:
            UserError: a head that isn't there.
        """
        self._ask(heads)
        asked = np.asarray(heads, dtype=np.int64)
        return cast(NDArray[np.float64], self._task_damage[asked] - self.weight * self._control_damage[asked])

    def table(self, told: Told | None = None) -> TableScores:
        """All heads; ``told`` how many more are done."""
        self._ask(range(len(self._task_damage)), told)
        return TableScores(self._task_damage, self._control_damage, self.weight, self.n_blocks, self.n_heads)

    def _ask(self, heads: Sequence[int], told: Told | None = None) -> None:
        refuse_missing_heads(heads, self.n_blocks, self.n_heads)
        new = [head for head in dict.fromkeys(heads) if np.isnan(self._task_damage[head])]
        if not new or self._sweeps is None:
            return
        self.forward_passes += 2 * len(new)
        (task, text), (task_values, text_values) = self._sweeps, self._values
        alone = [(head,) for head in new]
        self._task_damage[new] = self.baseline.metric - task.run(alone, task_values).mean(axis=1)
        self._control_damage[new] = text.run(alone, text_values, told).mean(axis=1) - self.baseline.cross_entropy
        if not np.isnan(self._task_damage).any():
            self._sweeps = None  # all is known: the activations aren't needed any more


def task_sweep(engine: Engine, prompts: Prompts) -> Sweep:
    """The sweep of a task's prompts; what is measured is each one's metric at its last token, in nats."""
    ends = torch.tensor([[len(row) - 1] for row in prompts.rows])
    return sweep_of(engine, padded(prompts.rows), ends, task_metric(prompts))


def control_sweep(engine: Engine, control: Sequence[Sequence[int]]) -> Sweep:
    """The sweep of control text; what is measured is each row's mean cross-entropy over its next tokens, in nats.

    Raises:
        ValueError: no rows, or of different lengths.
    """
    if len({len(row) for row in control}) != 1:
        raise ValueError("control text needs rows, all of one length")
    tokens = padded(control)
    read_at = torch.arange(tokens.ids.shape[1] - 1).expand(len(control), -1)
    return sweep_of(engine, tokens, read_at, cross_entropy(tokens.ids))


def task_values(engine: Engine, prompts: Prompts, ablation: Ablation) -> Values:
    """What ablated heads become on a task's prompts; references are their corrupted rows.

    Raises:
        UserError: see :func:`~jobs.circuits.ablation.ablated_values`.
    """
    return ablated_values(engine, prompts.corrupted, ablation)


def control_values(engine: Engine, control: Sequence[Sequence[int]], ablation: Ablation) -> Values:
    """What ablated heads become on control text; each row refers to the next.

    Raises:
        UserError: see :func:`~jobs.circuits.ablation.ablated_values`.
        ValueError: there is only one row to resample from.
    """
    if ablation == "resample" and len(control) < 2:
        raise ValueError("control text needs two rows or more to resample one from another")
    return ablated_values(engine, [*control[1:], control[0]], ablation)


def padded(rows: Sequence[Sequence[int]]) -> TokenBatch:
    """Rows padded on the right, so that positions and columns are one."""
    return TokenBatch.from_rows(rows, pad_id=0, side="right")


def task_metric(prompts: Prompts) -> Measure:
    """logsumexp of the right answers' logits less that of the wrong ones', at the only position read."""
    right, wrong = padded(prompts.right), padded(prompts.wrong)

    def measure(logits: Tensor, rows: Tensor) -> Tensor:
        last = logits[:, 0].double()
        return _logsumexp(last, right, rows) - _logsumexp(last, wrong, rows)

    return measure


def cross_entropy(ids: Tensor) -> Measure:
    """Mean over all tokens but the first of what the model's prediction before it says of it."""

    def measure(logits: Tensor, rows: Tensor) -> Tensor:
        targets = ids.to(rows.device)[rows, 1:]
        scores = logits.to(torch.promote_types(logits.dtype, torch.float32)).flatten(0, 1)
        each = torch.nn.functional.cross_entropy(scores, targets.flatten(), reduction="none")
        return each.double().view_as(targets).mean(dim=1)

    return measure


def _logsumexp(logits: Tensor, answers: TokenBatch, rows: Tensor) -> Tensor:
    ids, mask = answers.ids.to(rows.device)[rows], answers.mask.to(rows.device)[rows]
    return logits.gather(1, ids).masked_fill(~mask, float("-inf")).logsumexp(dim=1)
