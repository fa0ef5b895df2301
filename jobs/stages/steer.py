"""What models say while concept vectors are added to their residual stream: dose curves, with controls."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import pandas as pd
import torch
from sqlalchemy.orm import Session
from torch import Tensor

from jobs.context import Context
from jobs.sections.welfare import NAIVE
from jobs.stage import Plan, Publish, Unit
from jobs.stages.concepts import final_units, naive_unit
from jobs.welfare.asked import (
    items_digest,
    items_for,
    judge_config,
    judge_of,
    probe_config,
    probe_of,
    training_of,
)
from jobs.welfare.concept_vectors import read_vectors
from jobs.welfare.contrast import CONCEPTS, RANDOM, TRAINED, UNTRAINED, interval
from jobs.welfare.data import ALL
from jobs.welfare.doses import Dose, doses, matched, rotated
from jobs.welfare.evaluations import EVALUATIONS, Asking, Evaluation, Scored
from jobs.welfare.evaluations import sentiment as sentiment_of
from jobs.welfare.models import engine_of, model_id
from jobs.welfare.speaker import Speaker
from tdlens.record import ModelMetric, SteeredText, SteeringEffect, insert_rows, record_artifact

NAME = "steer"
DESCRIPTION = "models are asked while concept vectors, or controls, are added to their residual stream"

ITEMS = "items"
"""Name of the artifact: every reply of a unit, as parquet."""
PROBE_ACCURACY = "valence probe accuracy"


def units(context: Context, plan: Plan) -> Iterable[Unit]:
    """One unit for each vector, what reads it and what is asked; all doses in one.

    The naive model reads every training's vectors and its own of the same norm. The first training's vectors are also
    read by the model that was trained, and have random pairs as a further control.
    """
    steering = context.study.steering
    for index, (training, unit) in enumerate(final_units(plan).items()):
        if steering.steered is not None and training not in steering.steered:
            continue
        for name in steering.evaluations:
            for reader, source, draw in _conditions(training, index == 0, steering.random_draws):
                for concept in CONCEPTS:
                    yield _unit(context, unit, training, reader, source, draw, concept, name)


def _conditions(training: str, first: bool, draws: int) -> Iterator[tuple[str, str, int]]:
    """Reader, source and draw."""
    yield NAIVE, TRAINED, 0
    yield NAIVE, UNTRAINED, 0
    if first:
        yield from ((NAIVE, RANDOM, draw) for draw in range(draws))
        yield training, TRAINED, 0


def _unit(
    context: Context, concepts: Unit, training: str, reader: str, source: str, draw: int, concept: str, name: str
) -> Unit:
    evaluation, steering = EVALUATIONS[name], context.study.steering
    config: dict[str, Any] = {
        "training": training,
        "reader": reader,
        "source": source,
        "draw": draw,
        "concept": concept,
        "evaluation": name,
        "items": items_digest(context, name),
        "alphas": list(steering.alphas),
        "unit_doses": list(steering.unit_doses),
        "max_tokens": steering.max_tokens,
        "kept_texts": steering.kept_texts,
        **judge_config(context, evaluation),
    }
    if evaluation.JUDGED:
        config |= {"samples": steering.samples, "temperature": steering.temperature, "top_p": steering.top_p}
    if name == sentiment_of.NAME:
        config["probe"] = probe_config(context)
    parents = [concepts, naive_unit(concepts)]
    if reader != NAIVE:
        parents.append(training_of(concepts))
    whose = f"{source} {draw}" if source == RANDOM else source
    return Unit(NAME, f"{training}/{reader}/{whose} {concept}/{name}", config, tuple(parents), context.study.seed)


def run(context: Context, unit: Unit) -> Publish:
    config, steering = unit.config, context.study.steering
    evaluation = EVALUATIONS[config["evaluation"]]
    trained_by = training_of(unit) if config["reader"] != NAIVE else None
    block, curve = doses_of(context, unit)
    items = items_for(context, evaluation.NAME)
    probe = probe_of(context) if evaluation.NAME == sentiment_of.NAME else None
    samples = config["samples"] if evaluation.JUDGED else 1
    with context.progress(f"steer {unit.key}", len(items) * len(curve) * samples) as advance:
        asking = Asking(
            Speaker(engine_of(context, trained_by), steering.batch_size, advance),
            block,
            curve,
            judge_of(context, evaluation),
            samples,
            config["max_tokens"],
            steering.temperature,
            steering.top_p,
            unit.seed,
            probe,
        )
        scored = evaluation.evaluate(asking, items)
    about = {
        **{name: config[name] for name in ("training", "reader", "concept", "source", "draw", "evaluation", "judge")},
        "block": block,
    }
    rows = [about | row for row in effects(evaluation, curve, scored)]
    texts = [_text(evaluation, curve[one.dose], one) for one in scored if one.item < config["kept_texts"]]
    blob = context.record.blobs.put_table(table(evaluation, curve, scored))

    def publish(session: Session, job_id: int) -> None:
        insert_rows(session, SteeringEffect, [{"job_id": job_id, **row} for row in rows])
        insert_rows(session, SteeredText, [{"job_id": job_id, **row} for row in texts])
        record_artifact(session, job_id, ITEMS, blob)
        if probe is not None:
            metric = {"name": PROBE_ACCURACY, "value": probe.accuracy, "n": probe.n}
            naive = model_id(session, context, None)
            insert_rows(session, ModelMetric, [{"job_id": job_id, "model_id": naive, **metric}])

    return publish


def doses_of(context: Context, unit: Unit) -> tuple[int, list[Dose]]:
    """Where a unit's vectors are added, and the vectors.

    All sources have the trained vector's block and norm. A random pair has the trained pair's angle, too: that of the
    two as they are added, each taken from its own block.

    Raises:
        UserError: a vector has no direction.
    """
    config = unit.config
    concepts = {parent.config["training"]: parent for parent in unit.parents_of("concepts")}
    trained = read_vectors(context, concepts[config["training"]])
    concept = config["concept"]
    block = trained.chosen[concept]
    vector: Tensor = trained.of(concept)[block]
    match config["source"]:
        case "untrained":
            vector = matched(read_vectors(context, concepts[None]).of(concept)[block], vector)
        case "random":
            pair = torch.stack([trained.of(name)[trained.chosen[name]] for name in CONCEPTS])
            vector = rotated(pair, (unit.seed, config["draw"]))[list(CONCEPTS).index(concept)]
    # of the stream of the model that is steered: a trained model's may be another
    reader = None if config["reader"] == NAIVE else config["training"]
    stream_norm = float(read_vectors(context, concepts[reader]).stream_norm[concept][block])
    return block, doses(vector, stream_norm, config["alphas"], config["unit_doses"])


def table(evaluation: Evaluation, curve: list[Dose], scored: list[Scored]) -> pd.DataFrame:
    """Every reply: dose_kind, dose, item, sample, groups, label, a column for each measure, prompt, text."""
    return pd.DataFrame(
        {
            "dose_kind": [curve[one.dose].kind for one in scored],
            "dose": [curve[one.dose].size for one in scored],
            "item": [one.item for one in scored],
            "sample": [one.sample for one in scored],
            "groups": ["|".join(one.parts) for one in scored],
            "label": [one.label for one in scored],
            **{
                measure: np.array([one.values[measure] for one in scored], dtype=np.float64)
                for measure in evaluation.MEASURES
            },
            "prompt": [one.prompt for one in scored],
            "text": [one.text for one in scored],
        }
    )


def effects(evaluation: Evaluation, curve: list[Dose], scored: list[Scored]) -> Iterator[dict[str, Any]]:
    """Means over items under each dose, of all items and of each group; an item's value is the mean of its replies."""
    groups = [ALL, *dict.fromkeys(part for one in scored for part in one.parts if part != ALL)]
    for index, dose in enumerate(curve):
        here = [one for one in scored if one.dose == index]
        for group in groups:
            own = [one for one in here if group == ALL or group in one.parts]
            for measure in evaluation.MEASURES:
                by_item: dict[int, list[float]] = {}
                for one in own:
                    if (value := one.values[measure]) is not None:
                        by_item.setdefault(one.item, []).append(value)
                means = np.array([np.mean(values) for values in by_item.values()])
                found = interval(means)
                yield {
                    "dose_kind": dose.kind,
                    "dose": dose.size,
                    "norm": dose.norm,
                    "measure": measure,
                    "group": group,
                    "value": float(means.mean()) if len(means) else None,
                    "ci_low": found.low if found else None,
                    "ci_high": found.high if found else None,
                    "incoherent": float(np.mean([one.incoherent for one in own])) if evaluation.JUDGED else None,
                    "n": len(means),
                }


def _text(evaluation: Evaluation, dose: Dose, one: Scored) -> dict[str, Any]:
    headline = next(iter(evaluation.MEASURES))
    return {
        "dose_kind": dose.kind,
        "dose": dose.size,
        "item": one.item,
        "sample": one.sample,
        "prompt": one.prompt,
        "text": one.text,
        "label": one.label,
        "score": one.values[headline],
    }
