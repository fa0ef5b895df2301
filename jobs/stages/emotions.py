"""Emotion vectors of the maze-naive model, and how concept vectors lie among them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from sqlalchemy.orm import Session
from torch import Tensor

from jobs.context import Context
from jobs.sections import hint
from jobs.stage import Plan, Publish, Unit
from jobs.stages.concepts import NAME as CONCEPTS
from jobs.stages.concepts import final_units, naive_unit
from jobs.welfare import emotion_stories
from jobs.welfare.concept_vectors import read_vectors
from jobs.welfare.data import knows_small_world
from jobs.welfare.emotion_stories import Texts, shipped_texts, written_texts
from jobs.welfare.emotion_vectors import (
    AS_GOOD,
    Components,
    best_block,
    emotion_vectors,
    principal_components,
    random_projection,
    text_activations,
    text_row,
    told_apart,
    word_means,
)
from jobs.welfare.emotions import VALENCE
from jobs.welfare.geometry import TRACKED
from jobs.welfare.models import TRAIN_IN_MAZE, model_id
from jobs.welfare.speaker import Speaker
from tdlens.errors import UserError
from tdlens.record import EmotionComponent, EmotionCosine, ModelMetric, insert_rows, record_artifact

NAME = "emotions"
DESCRIPTION = "emotion vectors of the model, and how concept vectors lie among them"

FEWEST_STORIES, FEWEST_EMOTIONS, FEWEST_NEUTRAL = 2, 4, 2
HELD_OUT = 0.25
"""Share of each emotion's stories that judges the vectors, and makes none; one at least."""
METRIC = "emotion AUROC"


def units(context: Context, plan: Plan) -> Iterable[Unit]:
    """One unit, of all trained models and of the naive one.

    Raises:
        UserError: emotions that aren't known, or too little of anything.
    """
    final = list(final_units(plan).values())
    if not final:
        return
    concepts = context.study.concepts
    emotions = concepts.emotions or tuple(VALENCE)
    _refuse_unsuitable(emotions, concepts.emotion_stories, concepts.neutral_dialogues)
    config = {
        **context.model_config,
        "emotions": list(emotions),
        "valence": [VALENCE[emotion] for emotion in emotions],
        "stories": concepts.emotion_stories,
        "neutral": concepts.neutral_dialogues,
        "as_good": AS_GOOD,
        "texts": "shipped" if knows_small_world(context.engine.tokenizer) else "written",
    }
    naive = {unit.identity: unit for unit in map(naive_unit, final)}
    yield Unit(NAME, "emotions", config, (*naive.values(), *final), context.study.seed)


@dataclass(frozen=True, eq=False)
class _Found:
    """The vectors of the emotions of which there are stories."""

    emotions: list[str]
    vectors: Tensor
    """[emotions, n_blocks + 1, d_model], float64."""
    separation: list[float]
    """Mean AUROC in each block."""
    block: int
    judged: int
    """Stories behind the AUROC."""


def run(context: Context, unit: Unit) -> Publish:
    config, concepts = unit.config, context.study.concepts
    sizes = config["emotions"], config["stories"], config["neutral"], unit.seed
    if config["texts"] == "shipped":
        texts = shipped_texts(*sizes)
    else:
        n_texts = len(config["emotions"]) * config["stories"] + config["neutral"]
        with context.progress("stories of emotions", n_texts) as advance:
            speaker = Speaker(context.engine, concepts.batch_size, advance)
            texts = written_texts(speaker, *sizes)
    first = read_vectors(context, next(of for of in unit.parents_of(CONCEPTS) if of.config["training"] is not None))
    near = float(np.mean([first.chosen[concept] for concept in TRACKED]))
    found = _read(context, texts, near)
    vectors = found.vectors[:, found.block]
    components = principal_components(vectors, [VALENCE[emotion] for emotion in found.emotions])
    blobs = {
        "emotion vectors": context.record.blobs.put_tensors(
            {"emotions": found.vectors.float(), "components": torch.from_numpy(components.directions).float()},
            {"emotions": "\n".join(found.emotions)},
        ),
        "stories": context.record.blobs.put_table(_table(texts)),
    }
    rows = _rows(context, unit, found, components)

    def publish(session: Session, job_id: int) -> None:
        cosines: list[dict[str, Any]] = []
        projections: list[dict[str, Any]] = []
        for of, about, near, along in rows:
            training = next(iter(of.parents_of(TRAIN_IN_MAZE)), None)
            common = {"job_id": job_id, "model_id": model_id(session, context, training), **about}
            cosines += [common | row for row in near]
            projections += [common | row for row in along]
        insert_rows(session, EmotionCosine, cosines)
        insert_rows(session, EmotionComponent, projections)
        naive = {"job_id": job_id, "model_id": model_id(session, context, None)}
        metrics = [
            naive | {"name": f"{METRIC}, block {block}", "value": value, "n": found.judged}
            for block, value in enumerate(found.separation)
        ]
        insert_rows(session, ModelMetric, metrics)
        for name, blob in blobs.items():
            record_artifact(session, job_id, name, blob)

    return publish


def _read(context: Context, texts: Texts, near: float) -> _Found:
    """Vectors from the first stories of each emotion, judged by its last ones; ``near`` as in `best_block`."""
    told = {emotion: some for emotion, some in texts.stories.items() if len(some) >= FEWEST_STORIES}
    if len(told) < FEWEST_EMOTIONS or len(texts.neutral) < FEWEST_NEUTRAL:
        raise UserError(
            f"{context.study.model.name} wrote stories without their word of {len(told)} emotions and "
            f"{len(texts.neutral)} neutral texts: too few for emotion vectors.",
            "Use a model that follows instructions, or set concepts.emotion_stories higher.",
        )
    engine, batch_size = context.engine, context.study.concepts.batch_size
    chat = Speaker(engine, batch_size).chat
    rows = [[text_row(emotion_stories.read(chat, text).ids) for text in some] for some in told.values()]
    cuts = [len(some) - max(1, round(len(some) * HELD_OUT)) for some in rows]
    making = [some[:cut] for some, cut in zip(rows, cuts, strict=True)]
    judging = [some[cut:] for some, cut in zip(rows, cuts, strict=True)]
    neutral = [text_row(emotion_stories.read(chat, text).ids) for text in texts.neutral]
    with context.progress("emotion vectors", sum(map(len, rows)) + len(neutral)) as advance:
        reading = chat.pad_id, batch_size, advance
        vectors = emotion_vectors(word_means(engine, making, *reading), text_activations(engine, neutral, *reading))
        separation = told_apart(engine, vectors, judging, *reading)
    return _Found(
        list(told), vectors, separation.mean(0).tolist(), best_block(separation, near), sum(map(len, judging))
    )


Rows = tuple[Unit, dict[str, Any], list[dict[str, Any]], list[dict[str, Any]]]


def _rows(context: Context, unit: Unit, found: _Found, components: Components) -> list[Rows]:
    """Of each model with its tiles: cosines with emotions, and projections on components."""
    rows: list[Rows] = []
    seen: set[tuple[str | None, str]] = set()
    emotions = torch.nn.functional.normalize(found.vectors[:, found.block], dim=-1).numpy()
    for of in unit.parents_of(CONCEPTS):
        about = {"training": of.config["training"], "variant": str(of.config["maze"]["variant"])}
        if (which := (about["training"], about["variant"])) in seen:
            continue  # the naive model as chat and as plain text: the first layout stands for both
        seen.add(which)
        concepts = read_vectors(context, of)
        near: list[dict[str, Any]] = []
        along: list[dict[str, Any]] = []
        for concept in TRACKED:
            vector = concepts.of(concept)[found.block].double().numpy()
            norm = float(np.linalg.norm(vector))
            if not norm:
                continue
            row = {"concept": concept, "block": found.block}
            near += [
                row | {"emotion": emotion, "cosine": cosine, "valence": VALENCE[emotion]}
                for emotion, cosine in zip(found.emotions, (emotions @ vector / norm).tolist(), strict=True)
            ]
            null = random_projection(norm, len(vector))
            projections = (components.directions @ vector).tolist()
            columns = zip(components.explained.tolist(), components.valence_r.tolist(), projections, strict=True)
            along += [
                row
                | {"component": component, "explained": explained, "valence_r": r, "projection": projection}
                | {"cosine": projection / norm, "null_low": -null, "null_high": null}
                for component, (explained, r, projection) in enumerate(columns, start=1)
            ]
        rows.append((of, about, near, along))
    return rows


def _table(texts: Texts) -> pd.DataFrame:
    told = [(emotion, text) for emotion, some in texts.stories.items() for text in some]
    dull = [
        ("", text if isinstance(text, str) else "\n".join(f"{m['role']}: {m['content']}" for m in text))
        for text in texts.neutral
    ]
    return pd.DataFrame([*told, *dull], columns=["emotion", "text"])


def _refuse_unsuitable(emotions: Iterable[str], stories: int, neutral: int) -> None:
    words = list(emotions)
    unknown = [word for word in words if word not in VALENCE]
    if unknown:
        raise UserError(
            f"{unknown[0]!r} isn't among the emotion words{hint(unknown[0], list(VALENCE))}.",
            f"concepts.emotions may name some of the paper's {len(VALENCE)}, the table in jobs/welfare/emotions.py; "
            "leave it out for all.",
        )
    if len(words) < FEWEST_EMOTIONS or len({VALENCE[word] for word in words}) < 2:
        raise UserError(
            f"concepts.emotions must have {FEWEST_EMOTIONS} words at least, some more pleasant than others.",
            f"Leave it out for all {len(VALENCE)}.",
        )
    if stories < FEWEST_STORIES or neutral < FEWEST_NEUTRAL:
        raise UserError(
            f"Emotion vectors need {FEWEST_STORIES} stories of each emotion and {FEWEST_NEUTRAL} neutral dialogues.",
            f"Set concepts.emotion_stories={FEWEST_STORIES} and concepts.neutral_dialogues={FEWEST_NEUTRAL} or more.",
        )
