"""The episodes of a study of attention heads: their prompts, their control text, and what ablations do in them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

from envs.circuit_tasks import CIRCUIT_TASKS, control_rows
from envs.circuit_tasks.control_text import control_text
from envs.circuit_tasks.prompts import Prompts, UnsuitableTokenizer, Words
from envs.head_ablation import CONTROL_SEED, Ablation, HeadAblationConfig, evaluation_seed
from jobs.circuits.ablation import local
from jobs.circuits.detectors import REPEATED
from jobs.circuits.scoring import HeadScorer
from jobs.context import Context
from tdlens.errors import UserError

GENERATED = "generated"
SENTENCES, TEXT_SEED = 5_000, 303_030
"""Of the generated control text: some 50,000 tokens, in tales that the circuits model was not trained on."""
MOST_IDS = 200_000
"""Tokens of the control text that are kept (C.1 of the paper's released code)."""
CHARACTERS = 1_600_000
"""Characters of a file that are read, likewise."""
PLACES = {"induction": 0, "ioi": 1, "docstring": 0, "greater_than": 2}
"""Which seeds a task's evaluation episodes have: those of the paper, for its tasks."""
STUDIES_APART = 100_000_000
POOL, MEASURED = 1_000_000, 2_000_000
"""What is added to an evaluation seed for an episode of the pool, and for prompts on which heads are measured."""
FOR_BASELINES = 8
"""Training episodes whose heads are all ablated where policies have no pool."""


@dataclass(frozen=True, eq=False)
class Episodes:
    """Every episode is made from its task and its seed alone.

    Attributes:
        context: whose model reads the prompts.
        config: of the task; its variant is of no account here.
        control: ids of the control text.
    """

    context: Context
    config: HeadAblationConfig
    control: Sequence[int]

    def prompts(self, task: str, seed: int) -> Prompts:
        """The task's prompts."""
        return CIRCUIT_TASKS[task].make(self.context.engine.tokenizer, self.config.prompts, seed)

    def control_rows(self, seed: int) -> tuple[tuple[int, ...], ...]:
        """The control text that goes with them."""
        bos = Words(self.context.engine.tokenizer).bos
        return control_rows(self.control, bos, self.config.prompts, self.config.control_tokens, seed + CONTROL_SEED)

    def scorer(self, task: str, seed: int, ablation: Ablation | None = None) -> HeadScorer:
        """What ablations do there, of the study's kind if no other is named."""
        return HeadScorer(
            self.context.engine,
            self.prompts(task, seed),
            self.control_rows(seed),
            ablation=ablation or self.config.ablation,
            weight=self.config.control_weight,
        )


def episodes_of(context: Context) -> Episodes:
    """The study's episodes.

    Raises:
        UserError: a task's words aren't single tokens of the model, its context is too short, no control text.
    """
    return context.keep(lambda: _made(context), "episodes")


def _made(context: Context) -> Episodes:
    variants, settings = context.study.task.variants, context.task_settings
    config = HeadAblationConfig(variant=variants[0], **settings)
    try:
        ids = Words(context.engine.tokenizer).text(_control_text(context))[:MOST_IDS]
    except UnsuitableTokenizer as error:
        raise UserError(
            f"The control text can't be read by {context.study.model.name}: {error}.",
            "Give another file as search.control_text, or take another model.",
        ) from None
    if len(ids) <= config.control_tokens:
        raise UserError(
            f"The control text has {len(ids)} tokens, and rows of {config.control_tokens} are taken out of it.",
            "Give a longer file as search.control_text, or leave it out.",
        )
    episodes = Episodes(context, config, ids)
    for task in variants:
        try:
            prompts = episodes.prompts(task, evaluation_seeds(context, task)[0])
        except UnsuitableTokenizer as error:
            raise UserError(
                f"{task} can't be put to {context.study.model.name}: {error}.",
                f"Leave {task} out of task.variants (and search.tasks), or take another model.",
            ) from None
        _refuse_overlong(context, f"a prompt of {task}", max(map(len, prompts.rows)))
    _refuse_overlong(context, "a row of control text (task.settings.control_tokens)", config.control_tokens)
    _refuse_overlong(context, "a block of random tokens that comes twice", REPEATED)
    return episodes


def _refuse_overlong(context: Context, what: str, length: int) -> None:
    limit = getattr(local(context.engine).config, "max_position_embeddings", None)
    if limit is not None and length > limit:
        raise UserError(
            f"{context.study.model.name} reads {limit} tokens at most, and {what} has {length}.",
            "Ask for less, or take a model with a longer context.",
        )


def _control_text(context: Context) -> str:
    """The control text, generated or read once."""
    return context.keep(lambda: _read(context.study.search.control_text), "control text")


def _read(given: str) -> str:
    if given == GENERATED:
        return control_text(SENTENCES, TEXT_SEED)
    try:
        text = Path(given).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(
            f"The control text {given} can't be read ({error}).",
            "Give a file of plain text in UTF-8 as search.control_text, or leave it out.",
        ) from None
    return "\n".join(line for line in text.split("\n") if line.strip())[:CHARACTERS]


def common_config(context: Context) -> dict[str, Any]:
    """What decides every episode, for the configuration of a unit."""
    return {**context.model_config, "control": sha256(_control_text(context).encode()).hexdigest()}


def task_config(context: Context, task: str) -> HeadAblationConfig:
    """The study's settings of one of its tasks."""
    return replace(episodes_of(context).config, variant=task)


def evaluation_seeds(context: Context, task: str) -> list[int]:
    """Seeds of the episodes on which searches are judged."""
    return [_seed(context, task, episode) for episode in range(context.study.task.rollouts)]


def pool_seeds(context: Context, task: str) -> list[int]:
    """Seeds of the episodes that policies meet in training; if theirs are fresh ones, of those for baselines."""
    first = POOL + _seed(context, task, 0)
    return list(range(first, first + (context.study.search.pool or FOR_BASELINES)))


def measured_seed(context: Context, task: str) -> int:
    """Seed of the prompts on which heads are measured: no search is judged on them, and none learns from them."""
    return MEASURED + _seed(context, task, 0)


def _seed(context: Context, task: str, episode: int) -> int:
    return context.study.seed * STUDIES_APART + evaluation_seed(PLACES[task], episode)
