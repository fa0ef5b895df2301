"""What decides a training in the maze."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

from envs.maze import MazeConfig


class Algorithm(StrEnum):
    """What the model learns by."""

    DR_GRPO = "dr_grpo"
    """A rollout's return, less the mean of its maze's rollouts, for each of its moves (Liu et al. 2025)."""
    REINFORCE = "reinforce"
    """A move's reward and those after it, less the mean of the maze's rollouts at the same turn."""
    SFT = "sft"
    """Cross-entropy of the moves of :mod:`envs.maze_plans`, without wind and melting."""


class Shuffled(StrEnum):
    """A control in which rewards no longer say which moves were good: rollouts exchange theirs at random."""

    NO = "no"
    GROUP = "group"
    """Among the rollouts of the same maze."""
    BATCH = "batch"
    """Among all rollouts of a step."""


class Layout(StrEnum):
    """How the texts of a maze and the moves make up a conversation."""

    AUTO = "auto"
    """As chat where the tokenizer has a template, else as plain text."""
    CHAT = "chat"
    PLAIN = "plain"


@dataclass(frozen=True)
class TrainingConfig:
    """The defaults suit a model of some million parameters; that of the source, Han et al. (2026), has 4 billion.

    Raises:
        ValueError: a setting that makes no sense.
    """

    algorithm: Algorithm = Algorithm.DR_GRPO
    """Source: Dr. GRPO in the main runs."""
    maze: MazeConfig = field(default_factory=lambda: MazeConfig(size=31))
    """Mazes and rewards. Source: of size 100; 31 for SFT."""
    layout: Layout = Layout.AUTO
    """Source: chat for instruct models, plain text for base models."""
    steps: int = 100
    """Batches of rollouts, or optimiser steps of SFT. Source: 50 to 160 of 500; 3125 and 9375 of SFT."""
    decay_steps: int | None = None
    """Steps in which learning rate and entropy coefficient fall to zero as a cosine; ``steps`` if None. Source: 500."""
    mazes: int = 8
    """Fresh ones in each step. Source: 8, or 32."""
    rollouts: int = 16
    """Of each maze. Source: 64, or 32."""
    minibatches: int = 1
    """Optimiser steps of a batch of rollouts, each of which serves in one. The source doesn't say."""
    learning_rate: float = 1e-3
    """AdamW's. Source: 3e-6, or 3e-5 for base models; 1e-5 and 2e-5 for SFT."""
    weight_decay: float = 0.01
    """AdamW's. Source: the same."""
    max_gradient: float = 1.0
    """Norm to which gradients are cut. Source: the same."""
    entropy: float = 0.01
    """Weight of the equalised entropy. Source: 0 to 0.2, 0.01 in the main run."""
    clip: float = 0.2
    """How far a probability ratio may go to count. Source: the same."""
    dual_clip: float = 3.0
    """Ratio up to which moves with a negative advantage count. Source: the same."""
    loss_divisor: float = 2048.0
    """The losses of all moves of a step are summed and divided by this. Source: the same."""
    temperature: float = 0.7
    """Of the policy, in sampling and in the loss. Source: the same, in sampling."""
    shuffled: Shuffled = Shuffled.NO
    """Rewards exchanged among rollouts: a control. Source: no."""
    examples: int = 16
    """Trajectories of an SFT step. Source: the same."""
    epochs: int = 1
    """Times that SFT sees each trajectory. Source: 1 and 3."""
    lora_rank: int = 0
    """Of adapters on all linear maps of the blocks; 0 trains all weights. Source: 32, or all weights."""
    lora_alpha: int = 64
    """Adapters count alpha / rank times. Source: the same."""
    bf16: bool = False
    """Autocast to bfloat16; parameters stay float32. Source: yes."""
    batch_size: int = 64
    """Rollouts that the model reads at a time; decides memory, and of the result only rounding."""
    checkpoint_every: int = 25
    """Steps from one checkpoint to the next; SFT is also let play then. Source: 5."""
    seed: int = 0
    """Seeds mazes, moves, the order of everything, and adapters."""

    def __post_init__(self) -> None:
        counts = ("steps", "mazes", "rollouts", "minibatches", "examples", "epochs", "lora_alpha", "batch_size")
        for name in (*counts, "checkpoint_every"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)}")
        for name in ("learning_rate", "weight_decay", "entropy", "lora_rank", "seed"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(f"{name} must not be negative, and finite, not {getattr(self, name)}")
        for name in ("max_gradient", "loss_divisor", "temperature"):
            if not 0 < getattr(self, name) < math.inf:
                raise ValueError(f"{name} must be above 0, and finite, not {getattr(self, name)}")
        if not 0 < self.clip < 1:
            raise ValueError(f"clip must lie between 0 and 1, not {self.clip}")
        if not self.dual_clip > 1 + self.clip:
            raise ValueError(f"dual_clip must be above 1 + clip, {1 + self.clip:g}, not {self.dual_clip}")
        if self.decay_steps is not None and self.decay_steps < self.steps:
            raise ValueError(
                f"decay_steps must be at least the {self.steps} steps: {self.decay_steps} would leave steps that learn "
                "nothing"
            )
        if self.algorithm is Algorithm.SFT:
            if self.shuffled is not Shuffled.NO:
                raise ValueError("SFT has no rewards to shuffle")
        elif self.rollouts < 2:
            raise ValueError("a rollout is compared with the others of its maze, so there must be at least 2 rollouts")
        if self.minibatches > self.mazes * self.rollouts:
            raise ValueError(
                f"{self.mazes} x {self.rollouts} rollouts can't be divided into {self.minibatches} minibatches"
            )

    def falling(self, step: int) -> float:
        """Share of learning rate and entropy coefficient in a step, counted from 1: 1 at first."""
        return 0.5 * (1 + math.cos(math.pi * (step - 1) / (self.decay_steps or self.steps)))

    def as_json(self) -> dict[str, Any]:
        """All settings, as JSON has them."""
        return asdict(self)


def differing(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    """Which settings differ, those within settings by their own name."""
    names = []
    for name in sorted({*one, *other}):
        a, b = one.get(name), other.get(name)
        if isinstance(a, Mapping) and isinstance(b, Mapping):
            names += differing(a, b)
        elif a != b:
            names.append(name)
    return names
