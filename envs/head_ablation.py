"""Attention heads of a frozen language model as an environment: choose heads to ablate, learn which matter.

After Khadka (2026, arXiv 2605.26343). An episode is one batch of a task's prompts and one of ordinary text. Action a
ablates head ``a % n_heads`` of layer ``a // n_heads`` (from 0) alone. The reward is its *score*: how much that lowers
what the model achieves on the prompts, less ``control_weight`` times how much it raises the cross-entropy on the
text, both in nats. The agent sees the task, which heads it has tried, and their scores. A head that was tried already
costs 1 and shows nothing new. Episodes end by truncation only.

What an ablation does is asked of a :class:`HeadScores`: a model, or a table of what one did.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Discrete
from numpy.typing import ArrayLike, NDArray

from envs.circuit_tasks import CIRCUIT_TASKS

Ablation = Literal["value_bias", "zero", "mean", "resample"]
ABLATIONS: tuple[Ablation, ...] = ("value_bias", "zero", "mean", "resample")
TRAINING_TASKS = ("induction", "ioi")

REPICK = -1.0
SCORE_SCALE = 5.0
"""Scores are shown to the agent divided by it."""
CONTROL_SEED = 13_103
"""Added to an episode's seed to draw its ordinary text."""
FIRST_EVALUATION_SEED = 10_000_000
"""Episodes of training have smaller seeds."""
TASK_STRIDE = 10_000
PUBLISHED_STEPS, PUBLISHED_HEADS = 50, 144
SHARE_OF_HEADS = 0.35
"""How much of a smaller model an episode sees, as 50 of 144 heads are."""


def evaluation_seed(task: int, episode: int) -> int:
    """The seed of an episode that no training meets: those of the paper's evaluations.

    Args:
        task: the task's place among those evaluated.
        episode: its number within the task.

    Raises:
        ValueError: more episodes than there are seeds between two tasks.
    """
    if task < 0 or not 0 <= episode < TASK_STRIDE:
        raise ValueError(f"a task's evaluation episodes are numbered 0 to {TASK_STRIDE - 1}, not {episode}")
    return FIRST_EVALUATION_SEED + TASK_STRIDE * task + episode


def head_name(head: int, n_heads: int) -> str:
    """``layer.head``, as the field writes it, both from 0."""
    return f"{head // n_heads}.{head % n_heads}"


class HeadScores(Protocol):
    """What ablating each head does in one episode."""

    @property
    def n_blocks(self) -> int:
        """Layers of the model."""

    @property
    def n_heads(self) -> int:
        """Heads of each layer."""

    def score(self, heads: Sequence[int]) -> NDArray[np.float64]:
        """Task damage less the weighted control damage of some heads, each ablated alone [len(heads)], in nats."""


class TableScores:
    """What ablating each head does in one episode, for all H heads.

    Attributes:
        task_damage: by how much the model gets worse at the task [H], in nats.
        control_damage: by how much its cross-entropy on ordinary text rises [H], in nats.
        scores: task damage less ``weight`` times control damage [H].
        best: the head with the highest score, the first of equals.
        oracle: its score, which no search exceeds.

    Raises:
        ValueError: the tables aren't of H finite numbers.
    """

    def __init__(
        self, task_damage: ArrayLike, control_damage: ArrayLike, weight: float, n_blocks: int, n_heads: int
    ) -> None:
        self.task_damage = np.array(task_damage, dtype=np.float64)
        self.control_damage = np.array(control_damage, dtype=np.float64)
        self.weight, self.n_blocks, self.n_heads = weight, n_blocks, n_heads
        if {self.task_damage.shape, self.control_damage.shape} != {(n_blocks * n_heads,)}:
            raise ValueError(f"{n_blocks} x {n_heads} heads need as many damages of each kind")
        self.scores: NDArray[np.float64] = self.task_damage - weight * self.control_damage
        if not np.isfinite(self.scores).all():
            raise ValueError("scores of heads must be finite")
        self.best = int(self.scores.argmax())
        self.oracle = float(self.scores[self.best])

    def score(self, heads: Sequence[int]) -> NDArray[np.float64]:
        return self.scores[np.asarray(heads, dtype=np.int64)]


Deal = Callable[[str, int], HeadScores]
"""From a task and the seed of an episode to what ablations do there."""


@dataclass(frozen=True)
class HeadAblationConfig:
    """What is asked of the model, and for how long.

    Raises:
        ValueError: an unknown task or ablation, or a number that can't be.
    """

    variant: str = "induction"
    """The task whose prompts the model is read on."""
    steps: int = 0
    """Heads tried in an episode; 0: 50, or 35 % of the heads of a model with fewer than 144."""
    prompts: int = 32
    """Prompts of an episode, and stretches of ordinary text."""
    control_weight: float = 1.0
    """What a nat of damage to ordinary text costs."""
    control_tokens: int = 60
    """Length of a stretch of ordinary text, BOS included."""
    ablation: Ablation = "value_bias"
    """What takes the place of a head's output: its value bias (TransformerLens's zero), zeros, its mean, or what it is
    on another prompt."""

    def __post_init__(self) -> None:
        if self.variant not in CIRCUIT_TASKS:
            raise ValueError(f"there is no task {self.variant!r}: they are {', '.join(CIRCUIT_TASKS)}")
        if self.ablation not in ABLATIONS:
            raise ValueError(f"there is no ablation {self.ablation!r}: they are {', '.join(ABLATIONS)}")
        if self.steps < 0 or self.prompts < 1 or self.control_tokens < 2:
            raise ValueError("steps must be at least 0, prompts at least 1, control_tokens at least 2")
        if not 0 <= self.control_weight < float("inf"):
            raise ValueError(f"control_weight must be a number from 0 on, not {self.control_weight}")

    def steps_with(self, heads: int) -> int:
        """Heads tried in an episode of a model with so many: never more than it has."""
        share = PUBLISHED_STEPS if heads >= PUBLISHED_HEADS else max(1, round(SHARE_OF_HEADS * heads))
        return min(self.steps or share, heads)


class HeadAblation(gymnasium.Env[NDArray[np.float32], np.int64]):
    """One model's heads, H = n_blocks x n_heads of them.

    An observation is [which of ``tasks`` it is | 1 for each head tried, else 0 (H) | score / 5 of those, else 0 (H)].
    ``info`` holds ``task`` and ``episode``, its seed; after a step ``head``, too, and ``best``, the best score so far.

    ``reset(options=…)`` takes ``task`` (any that can be dealt, not only of ``tasks``), ``episode``, its seed, and
    ``code``, what the observation says of the task instead (all 0: nothing; so it is with a task not among ``tasks``).
    What isn't chosen is drawn: first the task, then the episode.

    Attributes:
        task: of this episode.
        episode: its seed.
        scores: what ablations do in it.
        tried: which heads have been tried [H].
        best: the highest score so far.

    Args:
        deal: gives an episode's scores.
        n_blocks: layers of the model.
        n_heads: heads of each layer.
        steps: after how many steps an episode is cut off.
        tasks: those that episodes are drawn from.
        seed: of what is drawn, until ``reset`` is given another.
        pool: for each task the seeds of the episodes to draw from; any below ``FIRST_EVALUATION_SEED`` if None.
    """

    metadata: dict[str, Any] = {"render_modes": []}  # noqa: RUF012 (declared on the instance)
    task: str
    episode: int
    scores: HeadScores

    def __init__(
        self,
        deal: Deal,
        n_blocks: int,
        n_heads: int,
        steps: int,
        tasks: Sequence[str] = TRAINING_TASKS,
        seed: int = 0,
        pool: Mapping[str, Sequence[int]] | None = None,
    ) -> None:
        heads = n_blocks * n_heads
        if not 1 <= steps <= heads:
            raise ValueError(f"an episode has 1 to {heads} steps, as many as heads, not {steps}")
        if not tasks or len(set(tasks)) < len(tasks):
            raise ValueError("an environment needs tasks, each named once")
        if pool is not None and not all(pool.get(task) for task in tasks):
            raise ValueError("every task needs episodes in the pool")
        self.deal, self.n_blocks, self.n_heads, self.steps = deal, n_blocks, n_heads, steps
        self.tasks = tuple(tasks)
        self.pool = None if pool is None else {task: tuple(pool[task]) for task in tasks}
        largest = np.finfo(np.float32).max  # scores are of any size
        self.observation_space = Box(-largest, largest, (len(self.tasks) + 2 * heads,), np.float32)
        self.action_space = Discrete(heads)
        self.tried = np.zeros(heads, dtype=bool)
        self.best = float("-inf")
        self._seed: int | None = seed
        self._taken = steps

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float32], dict[str, Any]]:
        super().reset(seed=self._seed if seed is None else seed)
        self._seed = None
        chosen = {"task": None, "episode": None, "code": None, **(options or {})}
        if unknown := chosen.keys() - {"task", "episode", "code"}:
            raise ValueError(f"there is no option {sorted(unknown)[0]!r}: they are task, episode, code")
        task, episode = chosen["task"], chosen["episode"]
        self.task = self.tasks[self.np_random.integers(len(self.tasks))] if task is None else str(task)
        self.episode = self._draw_episode() if episode is None else int(episode)
        self._code = np.array([name == self.task for name in self.tasks] if chosen["code"] is None else chosen["code"])
        if self._code.shape != (len(self.tasks),):
            raise ValueError(f"a code needs a number for each of {', '.join(self.tasks)}")
        self.scores = self.deal(self.task, self.episode)
        if (self.scores.n_blocks, self.scores.n_heads) != (self.n_blocks, self.n_heads):
            raise ValueError(f"the episode isn't of {self.n_blocks} layers of {self.n_heads} heads")
        self.tried, self._shown = np.zeros(len(self.tried), dtype=bool), np.zeros(len(self.tried))
        self.best, self._taken = float("-inf"), 0
        return self._observation(), {"task": self.task, "episode": self.episode}

    def step(self, action: np.int64) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        if self._taken == self.steps:
            raise ValueError("no episode is under way: call reset first")
        if not self.action_space.contains(action):
            raise ValueError(f"there is no head {action}: they are 0 to {len(self.tried) - 1}")
        head, reward = int(action), REPICK
        if not self.tried[head]:
            reward = float(self.scores.score([head])[0])
            self.tried[head], self._shown[head] = True, reward / SCORE_SCALE
            self.best = max(self.best, reward)
        self._taken += 1
        info = {"task": self.task, "episode": self.episode, "head": head, "best": self.best}
        return self._observation(), reward, False, self._taken == self.steps, info

    def action_masks(self) -> NDArray[np.bool_]:
        """True for each head that hasn't been tried [H]; the name is that which MaskablePPO asks for."""
        return ~self.tried

    def _draw_episode(self) -> int:
        if self.pool is None or self.task not in self.pool:
            return int(self.np_random.integers(FIRST_EVALUATION_SEED))
        seeds = self.pool[self.task]
        return int(seeds[self.np_random.integers(len(seeds))])

    def _observation(self) -> NDArray[np.float32]:
        return np.concatenate([self._code, self.tried, self._shown]).astype(np.float32)
