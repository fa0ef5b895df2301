"""Concept vectors of the maze-naive model, of every trained one, and of the first training's checkpoints."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass

import numpy as np
from sqlalchemy.orm import Session
from torch import Tensor

from envs.maze import MazeConfig, Tile, Variant
from envs.maze_trajectories import SEED
from jobs.context import Context
from jobs.inference.base import Engine
from jobs.inference.huggingface import HuggingFaceEngine
from jobs.maze_training.config import Layout
from jobs.maze_training.dialogue import Dialogue
from jobs.sections import TrainingSection
from jobs.sections.welfare import NAIVE
from jobs.stage import Plan, Publish, Unit
from jobs.welfare.activations import Advance, Row, class_activations, told_trajectories
from jobs.welfare.concept_vectors import CONCEPTS, ClassMeans, HeldOut, choose_block, read_vectors, vectors
from jobs.welfare.geometry import TRACKED, cosines
from jobs.welfare.logit_lens import Read, ends, lens, read_block
from jobs.welfare.models import (
    TRAIN_IN_MAZE,
    engine_of,
    kept_steps,
    model_id,
    training_config,
    training_units,
)
from tdlens.identity import digest
from tdlens.record import ConceptCosine, ConceptToken, ConceptVector, insert_rows, record_blob

NAME = "concepts"
DESCRIPTION = "concept vectors of Mold, Gold and Path, before the trainings and after them"

UNTRAINED, PRIMARY = "untrained", "primary"
"""How cosines name the naive model's vectors in the same tiles, and those of the study's first training."""


def units(context: Context, plan: Plan) -> Iterable[Unit]:
    """One unit of the naive model for each look of the tiles, one a training, one a checkpoint of the first training.

    All trainings are compared with the naive model, all but the first with the first, and so are its checkpoints.
    """
    trainings, naive = training_units(plan), dict[str, Unit]()
    first: tuple[Unit, ...] = ()
    later: list[Unit] = []
    for section in context.study.training:
        told = _config(context, section)
        if (look := digest(told)) not in naive:
            key = f"{NAIVE}/{section.variant}" + ("" if section.layout == "auto" else f"/{section.layout}")
            naive[look] = Unit(NAME, key, told | {"training": None, "step": None}, seed=context.study.seed)
        training, own = trainings[section.name], told | {"training": section.name}
        parents = (training, naive[look], *first)
        unit = Unit(NAME, section.name, own | {"step": None}, parents, context.study.seed)
        later.append(unit)
        if not first:
            first = (unit,)
            for step in kept_steps(training)[:-1]:
                key, config = f"{section.name}@{step}", own | {"step": step}
                later.append(Unit(NAME, key, config, (*parents, unit), context.study.seed))
    yield from naive.values()
    yield from later


def final_units(plan: Plan) -> dict[str, Unit]:
    """The unit of each trained model, by its training's name."""
    return {
        unit.config["training"]: unit
        for unit in plan.of(NAME)
        if unit.config["training"] is not None and unit.config["step"] is None
    }


def naive_unit(unit: Unit) -> Unit:
    """The unit of the naive model with the same tiles, of a trained model's."""
    return next(parent for parent in unit.parents_of(NAME) if parent.config["training"] is None)


def _config(context: Context, section: TrainingSection) -> dict[str, object]:
    concepts = context.study.concepts
    return {
        **context.model_config,
        "maze": asdict(training_config(context, section).maze.still),
        "layout": section.layout,
        "per_class": concepts.per_class,
        "held_out": concepts.n_held_out,
        "last_moves": "balanced",
        "longest": concepts.longest,
    }


@dataclass(frozen=True, eq=False)
class Trajectories:
    """The trajectories of a unit as tokens, of each class."""

    making: dict[Tile, list[Row]]
    """Of which vectors are made."""
    choosing: dict[Tile, list[Row]]
    """Held out: by them the block is chosen."""
    judging: dict[Tile, list[Row]]
    """Held out from both, for what is said of the vectors in the chosen block."""
    pad_id: int


def trajectories_of(context: Context, unit: Unit) -> Trajectories:
    """What the unit's model reads: the same for the naive model and all that were trained with these tiles.

    Raises:
        UserError: there are no such trajectories, or the model can't read them.
    """
    told = {name: unit.config[name] for name in ("maze", "layout", "per_class", "held_out", "longest")}
    return context.keep(lambda: _drawn(context, unit), "trajectories", digest(told), unit.seed)


def _drawn(context: Context, unit: Unit) -> Trajectories:
    config = unit.config
    maze = MazeConfig(**{**config["maze"], "variant": Variant(config["maze"]["variant"])})
    dialogue = Dialogue(context.engine.tokenizer, maze, Layout(config["layout"]))
    rows = told_trajectories(dialogue, maze, config["per_class"], config["longest"], (SEED, unit.seed))
    # the last ones of each class: of all lengths alike, as any ones in a row are
    cuts = [config["per_class"] - 2 * config["held_out"], config["per_class"] - config["held_out"]]
    making, choosing, judging = (
        {tile: some[part] for tile, some in rows.items()}
        for part in (slice(cuts[0]), slice(*cuts), slice(cuts[1], None))
    )
    return Trajectories(making, choosing, judging, dialogue.pad_id)


def engine_of_unit(context: Context, unit: Unit) -> Engine:
    """The model whose vectors a unit has."""
    return engine_of(context, _training(unit), unit.config["step"])


def run(context: Context, unit: Unit) -> Publish:
    engine, trajectories = engine_of_unit(context, unit), trajectories_of(context, unit)
    n_read = sum(map(len, (*trajectories.making.values(), *trajectories.choosing.values())))
    with context.progress(f"concept vectors {unit.key}", n_read) as advance:
        means, held_out = _read(context, engine, trajectories, advance)
    found = vectors(means.means)
    of_concept = dict(zip(CONCEPTS, found, strict=True))
    blob = context.record.blobs.put_tensors({name: each.float().contiguous() for name, each in of_concept.items()})
    others = {UNTRAINED if parent.config["training"] is None else PRIMARY: parent for parent in unit.parents_of(NAME)}
    pairs = cosines(means.means, {name: read_vectors(context, parent) for name, parent in others.items()})
    tokens: dict[str, list[Read]] = {}
    if unit.config["step"] is None:
        assert isinstance(engine, HuggingFaceEngine)  # a study of the maze takes no other
        block = read_block(engine.n_blocks)
        tokens = {
            concept: ends(lens(engine, of_concept[concept][block]), engine.tokenizer)
            for concept in TRACKED
            if of_concept[concept][block].any()
        }
    rows: list[dict[str, object]] = []
    for tile, concept in zip(Tile, CONCEPTS, strict=True):
        measured = held_out.separation(tile)
        chosen = choose_block(measured)
        columns = (
            of_concept[concept].norm(dim=-1).tolist(),
            means.stream_norm.tolist(),
            measured.auroc.tolist(),
            measured.cohen_d.tolist(),
            measured.overlap.tolist(),
        )
        rows += [
            {
                "concept": concept,
                "block": block,
                **dict(zip(("norm", "stream_norm", "auroc", "cohen_d", "overlap"), values, strict=True)),
                "chosen": block == chosen,
                "n": int(means.counts[tile]),
            }
            for block, values in enumerate(zip(*columns, strict=True))
        ]

    def publish(session: Session, job_id: int) -> None:
        about = {
            "job_id": job_id,
            "training": unit.config["training"],
            "variant": str(unit.config["maze"]["variant"]),
        }
        of_model = about | {
            "model_id": model_id(session, context, _training(unit), unit.config["step"]),
            "step": unit.config["step"],
        }
        stored = {"blob": record_blob(session, blob)}
        insert_rows(session, ConceptVector, [of_model | row | stored for row in rows])
        insert_rows(
            session,
            ConceptCosine,
            [
                of_model | {"concept": concept, "other": other, "block": block, "cosine": cosine}
                for (concept, other), blocks in pairs.items()
                for block, cosine in enumerate(blocks.tolist())
                if np.isfinite(cosine)
            ],
        )
        insert_rows(
            session,
            ConceptToken,
            [
                about | {"concept": concept, "block": read_block(engine.n_blocks), **asdict(read)}
                for concept, reads in tokens.items()
                for read in reads
            ],
        )

    return publish


def _read(context: Context, engine: Engine, trajectories: Trajectories, advance: Advance) -> tuple[ClassMeans, HeldOut]:
    """Class means, and projections of what chooses the block on what follows from them: one pass over each text."""

    def activations(rows: dict[Tile, list[Row]]) -> Iterator[tuple[Tile, Tensor]]:
        return class_activations(engine, rows, trajectories.pad_id, context.study.concepts.batch_size, advance)

    means = ClassMeans(engine.n_blocks + 1, engine.d_model)
    for tile, some in activations(trajectories.making):
        means.add(tile, some)
    held_out = HeldOut(vectors(means.means))
    for tile, some in activations(trajectories.choosing):
        held_out.add(tile, some)
    return means, held_out


def _training(unit: Unit) -> Unit | None:
    return next(iter(unit.parents_of(TRAIN_IN_MAZE)), None)
