"""What a study finds in a planted pair: concept vectors from mazes, dose curves with a control, interactions.

Everything is computed by the code that studies use; only what is read and asked is less.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from itertools import product
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from envs.maze import MazeConfig, Tile
from jobs.inference.base import Engine
from jobs.maze_training.dialogue import Dialogue
from jobs.welfare.activations import Row, class_activations, told_trajectories
from jobs.welfare.concept_vectors import ClassMeans, HeldOut, choose_block, vectors
from jobs.welfare.contrast import CONCEPTS, CONTRAST, TRAINED, UNTRAINED, Contrast, contrasts, item_means
from jobs.welfare.data import items_of
from jobs.welfare.doses import doses, matched
from jobs.welfare.emotions import VALENCE
from jobs.welfare.evaluations import EVALUATIONS, Asking, Evaluation
from jobs.welfare.judges.rules import RulesJudge
from jobs.welfare.planted.pairs import Pair
from jobs.welfare.probe import learn_probe
from jobs.welfare.speaker import Speaker

INTERACTION = f"{TRAINED} - {UNTRAINED}"
PROBED = 30
"""Emotion words that the probe of sentiment learns on; what stands for sentiment here is the judge's score."""


@dataclass(frozen=True)
class Settings:
    """How much is read and asked."""

    per_class: int = 24
    """Trajectories that end on each tile."""
    held_out: int = 6
    """Of these: by them the block is chosen, and the vectors judged."""
    longest: int = 3
    alphas: tuple[float, ...] = (-4.0, -2.0, 0.0, 2.0, 4.0)
    items: int = 10
    samples: int = 2
    max_tokens: int = 16
    temperature: float = 0.7
    top_p: float = 0.9
    batch_size: int = 256

    def as_json(self) -> dict[str, Any]:
        """As a unit's configuration has it."""
        return asdict(self) | {"alphas": list(self.alphas)}


MAZE = MazeConfig(size=10, turns=3, gold_ratio=0.5)
"""Small ones with much Gold: they are drawn in no time."""


@dataclass(frozen=True, eq=False)
class Read:
    """A model's concept vectors."""

    vectors: Tensor
    """[tiles, n_blocks + 1, d_model], float32."""
    blocks: dict[str, int]
    """Of Gold and Mold: where the rule of studies reads them."""
    cohen_d: dict[str, float]
    """There, of the trajectories that chose the block: no estimate of how far others would stand apart."""
    stream_norm: float
    """Mean norm of the stream at Gold's block."""

    def of(self, concept: str, block: int) -> Tensor:
        """A concept's vector in a block [d_model]."""
        return self.vectors[Tile[concept.upper()], block]


@dataclass(frozen=True)
class Analysis:
    """What was found."""

    contrasts: dict[str, Contrast | None]
    """Of each evaluation's first measure: the contrast under the trained model's vectors."""
    interactions: dict[str, Contrast | None]
    """That, less the contrast under the naive model's own vectors."""
    cosine: float
    """Of the trained model's vectors of Mold and Gold, in the block of Gold."""
    cohen_d: float
    """The smaller one of the two concepts'."""


def analyse(
    pair: Pair, seed: int, settings: Settings = Settings(), advance: Callable[[float], None] = lambda n: None
) -> Analysis:
    """The analysis of a study, on a pair: the naive model reads the trained one's vectors and its own.

    Args:
        pair: the models.
        seed: of mazes, items and luck.
        settings: how much is read and asked.
        advance: told of every evaluation under one vector; there are 16.
    """
    rows, pad_id = trajectories(pair.naive.tokenizer, seed, settings)
    trained, naive = (read(engine, rows, pad_id, settings) for engine in (pair.trained, pair.naive))
    speaker = Speaker(pair.naive, settings.batch_size)
    probe = learn_probe(speaker, list(VALENCE)[:PROBED], seed)
    own: dict[str, Contrast | None] = {}
    interactions: dict[str, Contrast | None] = {}
    for name, evaluation in EVALUATIONS.items():
        measure, sign = next(iter(evaluation.MEASURES.items()))
        values_of: dict[tuple[str, str, int], pd.DataFrame] = {}
        for source, concept in product((TRAINED, UNTRAINED), CONCEPTS):
            block = trained.blocks[concept]
            vector = trained.of(concept, block)
            if source == UNTRAINED:
                vector = matched(naive.of(concept, block), vector)
            asking = Asking(
                speaker,
                block,
                doses(vector, trained.stream_norm, settings.alphas, ()),
                RulesJudge(),
                settings.samples if evaluation.JUDGED else 1,
                settings.max_tokens,
                settings.temperature,
                settings.top_p,
                seed,
                probe,
            )
            values_of[source, concept, 0] = _values(asking, evaluation, measure, settings.items, seed)
            advance(1)
        found = {one.source: one for one in contrasts(values_of, sign) if one.quantity == CONTRAST}
        own[name], interactions[name] = found.get(TRAINED), found.get(INTERACTION)
    block = trained.blocks["gold"]
    cosine = torch.cosine_similarity(trained.of("mold", block), trained.of("gold", block), dim=0)
    return Analysis(own, interactions, float(cosine), min(trained.cohen_d.values()))


def trajectories(tokenizer: Any, seed: int, settings: Settings) -> tuple[dict[Tile, list[Row]], int]:
    """What both models of a pair read, by class, and a token for padding."""
    dialogue = Dialogue(tokenizer, MAZE)
    return told_trajectories(dialogue, MAZE, settings.per_class, settings.longest, seed), dialogue.pad_id


def read(engine: Engine, rows: dict[Tile, list[Row]], pad_id: int, settings: Settings) -> Read:
    """A model's concept vectors, from the first trajectories of each class; the last ones judge them."""
    cut = settings.per_class - settings.held_out
    making, judging = ({tile: some[part] for tile, some in rows.items()} for part in (slice(cut), slice(cut, None)))
    means = ClassMeans(engine.n_blocks + 1, engine.d_model)
    for tile, activations in class_activations(engine, making, pad_id, settings.batch_size):
        means.add(tile, activations)
    found = vectors(means.means)
    held_out = HeldOut(found)
    for tile, activations in class_activations(engine, judging, pad_id, settings.batch_size):
        held_out.add(tile, activations)
    separations = {concept: held_out.separation(Tile[concept.upper()]) for concept in CONCEPTS}
    blocks = {concept: choose_block(each) for concept, each in separations.items()}
    return Read(
        found.float(),
        blocks,
        {concept: float(each.cohen_d[blocks[concept]]) for concept, each in separations.items()},
        float(means.stream_norm[blocks["gold"]]),
    )


def _values(asking: Asking, evaluation: Evaluation, measure: str, n: int, seed: int) -> pd.DataFrame:
    """Items by doses. They are what the shipped model is asked; a planted one attends to none of it."""
    scored = evaluation.evaluate(asking, items_of(evaluation.NAME, n, seed, file=None, small_world=True))
    values = np.array([one.values[measure] for one in scored], np.float64)
    sizes = [asking.doses[one.dose].size for one in scored]
    told = pd.DataFrame({"item": [one.item for one in scored], "dose": sizes, measure: values})
    return item_means(told, measure)
