"""Goal tracking: do concept vectors tell what went well from what went badly, in the maze and outside it?"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy.orm import Session

from envs.maze import Tile
from jobs.context import Context
from jobs.inference.base import Engine
from jobs.sections.welfare import NAIVE
from jobs.stage import Plan, Publish, Unit
from jobs.stages.concepts import engine_of_unit, final_units, naive_unit, trajectories_of
from jobs.welfare.activations import Advance, mean_activations
from jobs.welfare.answers import Answer, answers
from jobs.welfare.concept_vectors import read_vectors
from jobs.welfare.data import Item, items_of, knows_small_world
from jobs.welfare.geometry import TRACKED
from jobs.welfare.speaker import Speaker
from jobs.welfare.tracking import Array, Direction, along, compare, judged, panels
from tdlens.identity import digest
from tdlens.record import GoalTracking, insert_rows

NAME = "track"
DESCRIPTION = "projections on concept vectors where something went well or badly"

MAZE = "maze finals"
"""The panel of trajectories held out: a concept's tile against the others."""
QUESTIONS, PROBLEMS = "confidence", "backtracking"
"""The evaluations whose items are asked; of problems, those whose answer is known."""


def units(context: Context, plan: Plan) -> Iterable[Unit]:
    """One unit a training."""
    asked = {name: digest([item.as_json() for item in items]) for name, items in _asked(context).items()}
    config = {**context.model_config, "asked": asked, "max_tokens": context.study.steering.max_tokens}
    for name, unit in final_units(plan).items():
        yield Unit(NAME, name, config, (unit, naive_unit(unit)), context.study.seed)


def _asked(context: Context) -> Mapping[str, Sequence[Item]]:
    """Questions and problems; none where the study names no file of them and none are built in for its model."""
    return context.keep(lambda: _items(context), "tracked items")


def _items(context: Context) -> dict[str, list[Item]]:
    study, small_world = context.study, knows_small_world(context.engine.tokenizer)
    found = {}
    for evaluation in (QUESTIONS, PROBLEMS):
        file = study.steering.data.get(evaluation)
        if file is not None or small_world:
            items = items_of(evaluation, study.concepts.tracked, study.seed, file=file, small_world=small_world)
            found[evaluation] = [item for item in items if item.answers]
    return found


def run(context: Context, unit: Unit) -> Publish:
    trained = next(parent for parent in unit.parents if parent.config["training"] is not None)
    naive = naive_unit(trained)
    directions = _directions(context, trained, naive)
    held_out = sum(len(rows) for rows in trajectories_of(context, trained).judging.values())
    total = 2 * (held_out + sum(map(len, _asked(context).values())))
    found: list[dict[str, Any]] = []
    with context.progress(f"track {unit.key}", total) as advance:
        for reader, whose in ((NAIVE, naive), (unit.key, trained)):
            engine = engine_of_unit(context, whose)
            rows = [
                *_maze(context, engine, trained, directions, advance),
                *_correctness(context, engine, whose, directions, advance),
            ]
            found += [{"training": unit.key, "reader": reader} | row for row in rows]

    def publish(session: Session, job_id: int) -> None:
        insert_rows(session, GoalTracking, [{"job_id": job_id} | row for row in found])

    return publish


def _directions(context: Context, trained: Unit, naive: Unit) -> list[Direction]:
    """The trained model's vectors and the naive model's own, each where the rule chooses."""
    own, before = read_vectors(context, trained), read_vectors(context, naive)
    directions = [
        Direction(source, concept, concepts.chosen[concept], concepts.of(concept)[concepts.chosen[concept]])
        for source, concepts in (("trained", own), ("untrained", before))
        for concept in TRACKED
    ]
    return [direction for direction in directions if direction.vector.any()]


def _maze(
    context: Context, engine: Engine, unit: Unit, directions: Sequence[Direction], advance: Advance
) -> Iterable[dict[str, Any]]:
    """Ends of trajectories that neither made vectors nor chose blocks: each concept's tile against the two others."""
    trajectories = trajectories_of(context, unit)
    rows = [row for some in trajectories.judging.values() for row in some]
    tiles = np.repeat(list(trajectories.judging), [len(some) for some in trajectories.judging.values()])
    parts = mean_activations(engine, rows, trajectories.pad_id, context.study.concepts.batch_size, advance)
    for direction, values in zip(directions, along(directions, parts, len(rows)), strict=True):
        yield from _row(direction, MAZE, values, tiles == Tile[direction.concept.upper()])


def _correctness(
    context: Context, engine: Engine, whose: Unit, directions: Sequence[Direction], advance: Advance
) -> Iterable[dict[str, Any]]:
    """The model's own answers, where a user says truthfully what came of them: told right against told wrong."""
    given = context.keep(lambda: _answers(context, engine), "answers", whose.identity)
    if not given:
        return
    chat = Speaker(engine, context.study.steering.batch_size).chat
    parts = mean_activations(
        engine, [judged(chat, answer) for answer in given], chat.pad_id, context.study.concepts.batch_size, advance
    )
    projected = along(directions, parts, len(given))
    right = np.array([answer.right for answer in given])
    for panel, some in panels(given).items():
        for direction, values in zip(directions, projected, strict=True):
            yield from _row(direction, panel, values[some], right[some])


def _answers(context: Context, engine: Engine) -> list[Answer]:
    steering = context.study.steering
    speaker = Speaker(engine, steering.batch_size)
    return [
        answer
        for evaluation, items in _asked(context).items()
        for answer in answers(speaker, items, steering.max_tokens, problems=evaluation == PROBLEMS)
    ]


def _row(direction: Direction, panel: str, values: Array, first: NDArray[np.bool_]) -> Iterable[dict[str, Any]]:
    """A row, if there is something to compare."""
    found = compare(values, first)
    if found is not None:
        about = {"source": direction.source, "panel": panel, "concept": direction.concept, "block": direction.block}
        yield about | asdict(found)
