"""Trainings in the maze, the concept vectors that they leave, and what is asked of these."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, PositiveInt, model_validator

from envs.maze import MazeConfig, Variant
from jobs.maze_training.config import Algorithm, Layout, Shuffled, TrainingConfig
from jobs.sections.base import Distinct, Section, registered

NAIVE = "naive"
"""What the model is called that was never trained in a maze."""
EVALUATED = ("confidence", "sentiment", "backtracking", "refusal")
"""What can be asked of a steered model: the names in ``jobs.welfare.evaluations``, which takes long to import."""


class TrainingSection(Section):
    """One training of the study's model in the maze; the settings are those of ``tdlens train-in-maze``."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]*$")
    """How the study, the views and the report call it."""
    variant: Literal["standard", "swap", "shuffle", "custom"] = "standard"
    """What the tiles look like; custom: as the task's settings path_tile, mold_tile and gold_tile say."""
    algorithm: Literal["dr_grpo", "reinforce", "sft"] = "dr_grpo"
    """What it learns by."""
    shuffled_rewards: Literal["no", "group", "batch"] = "no"
    """Control: rollouts of a maze, or of a step, exchange their rewards at random."""
    steps: PositiveInt = 60
    """Batches of rollouts, or optimiser steps of sft."""
    decay_steps: PositiveInt | None = None
    """Steps until the rates have fallen to zero; all if left out."""
    mazes: PositiveInt = 8
    """Fresh mazes in each step."""
    rollouts: PositiveInt = 16
    """Rollouts of each maze."""
    minibatches: PositiveInt = 1
    """Optimiser steps of a batch of rollouts."""
    learning_rate: float = Field(1e-3, ge=0)
    """AdamW's, at first; it falls as a cosine."""
    entropy: float = Field(0.01, ge=0)
    """Weight, at first, of the entropy among directions that look the same."""
    temperature: float = Field(0.7, gt=0)
    """Of the policy."""
    examples: PositiveInt = 16
    """Trajectories of a step of sft."""
    epochs: PositiveInt = 1
    """Times that sft sees each trajectory."""
    lora_rank: int = Field(32, ge=0)
    """Rank of adapters on all linear maps; 0 trains all weights."""
    lora_alpha: PositiveInt = 64
    """Adapters count alpha / rank times."""
    layout: Literal["auto", "chat", "plain"] = "auto"
    """Turns as chat, or as plain text."""
    bf16: bool = False
    """Compute in bfloat16; weights stay float32."""
    batch_size: PositiveInt = 64
    """Rollouts that the model reads at a time."""
    checkpoint_every: PositiveInt = 20
    """Steps from one checkpoint to the next."""
    seed: int = Field(0, ge=0)
    """Of mazes, moves and adapters."""

    @model_validator(mode="after")
    def _possible(self) -> TrainingSection:
        if self.name == NAIVE:
            raise ValueError(f"a training can't be called {NAIVE}: that is the model which has none")
        if Variant(self.variant) is not Variant.CUSTOM:
            self.config({})
        return self

    def config(self, maze: dict[str, Any]) -> TrainingConfig:
        """The training, in mazes with these settings; tiles are taken from them where the variant is custom."""
        if Variant(self.variant) is not Variant.CUSTOM:
            maze = {setting: value for setting, value in maze.items() if not setting.endswith("_tile")}
        own = self.model_dump(exclude={"name", "variant", "algorithm", "shuffled_rewards", "layout"})
        return TrainingConfig(
            algorithm=Algorithm(self.algorithm),
            maze=MazeConfig(variant=Variant(self.variant), **maze),
            layout=Layout(self.layout),
            shuffled=Shuffled(self.shuffled_rewards),
            **own,
        )


class ConceptsSection(Section):
    """Concept vectors: means of trajectories that end on a tile, less those that end on the others (D.3)."""

    per_class: int = Field(300, ge=20)
    """Trajectories that end on each tile. The paper has 5000."""
    held_out: float = Field(0.4, gt=0, lt=1)
    """Share of them that makes no vector: half of it chooses the block, the other half judges the vectors there."""
    longest: PositiveInt = 15
    """Moves of the longest trajectories; lengths are balanced from 1 on."""
    batch_size: PositiveInt = 32
    """Trajectories read at a time."""
    checkpoints: bool = True
    """Whether the first training's checkpoints get vectors too: does the separation grow with the return?"""
    emotion_stories: PositiveInt = 12
    """Stories of each emotion word. The paper has 1200."""
    neutral_dialogues: PositiveInt = 200
    """Whose principal components the emotion vectors are freed of. The paper has 2000."""
    emotions: Distinct[str] | None = None
    """Emotion words; the paper's 171 if left out."""
    tracked: PositiveInt = 200
    """Questions whose truthful judgement is tracked, of each kind."""

    @property
    def n_held_out(self) -> int:
        """So many of a class choose the block, and so many judge: two at least, and two are left to make vectors."""
        return min(max(round(self.per_class * self.held_out / 2), 2), self.per_class // 2 - 1)


class SteeringSection(Section):
    """What is asked of a model while a vector is added to its residual stream (D.4)."""

    alphas: Distinct[float] = Field((-4.0, -2.0, 0.0, 2.0, 4.0), min_length=3)
    """Multiples of the vector."""
    unit_doses: Distinct[float] = (-0.5, -0.25, 0.0, 0.25, 0.5)
    """Multiples of the mean norm of the stream, along the vector: equal doses of vectors of different length. Empty:
    none."""
    evaluations: Distinct[str] = Field(EVALUATED, min_length=1)
    """What is asked."""
    items: int = Field(100, ge=8)
    """Questions, problems and requests of each evaluation; all there are, if fewer."""
    samples: PositiveInt = 4
    """Replies to each, where replies are sampled."""
    max_tokens: PositiveInt = 64
    """Of a reply."""
    temperature: float = Field(0.7, gt=0)
    """Of the replies."""
    top_p: float = Field(0.9, gt=0, le=1)
    """Of the replies."""
    random_draws: int = Field(8, ge=0)
    """Random pairs of vectors that control those of the first training. They, not the questions, are the sample that
    tells whether the vectors do more than random ones would: fewer than three say nothing, three or four little."""
    steered: Distinct[str] | None = None
    """Trainings whose vectors are steered with; all if left out."""
    judge: str = "rules"
    """Who judges replies: rules, or a language model (a folder or hub id) that is asked as in the paper."""
    data: dict[str, str] = Field(default_factory=dict)
    """Files of questions, problems or requests by evaluation, for models other than the shipped one (JSON lines)."""
    batch_size: PositiveInt = 64
    """Conversations that the model continues at a time."""
    kept_texts: int = Field(3, ge=0)
    """Of so many first items of each condition the replies are in SQL; all are in the artifact ``items``. As any other
    setting of what is asked it is part of the results: changed, all replies are made again."""

    @model_validator(mode="after")
    def _known(self) -> SteeringSection:
        for name in (*self.evaluations, *self.data):
            registered(name, EVALUATED, "evaluation")
        return self
