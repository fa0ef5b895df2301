"""Rows of a synthetic study of trainings in the maze, as a real run writes them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from envs.game import Step as GameStep
from jobs.recording import record_rollouts, record_task
from jobs.study import load
from tdlens.record import (
    Blob,
    ConceptCosine,
    ConceptSignal,
    ConceptToken,
    ConceptVector,
    EmotionComponent,
    EmotionCosine,
    GoalTracking,
    MazeProgress,
    MazeTraining,
    ModelMetric,
    PlantedAxis,
    Record,
    SaeCheckpoint,
    SteeredText,
    SteeringContrast,
    SteeringEffect,
    current_study,
    insert_rows,
)
from tests.report.synthetic_play import Writer

STUDY, MODEL = "welfare_axis", "welfare"
BLOCKS, CHOSEN = 6, {"gold": 4, "mold": 3}
STAGES = ("train", "play", "concepts", "emotions", "track", "steer", "contrast", "bridge", "planted")
STEPS, MAZES, ITEMS = 40, 16, 24
CHECKPOINTS = (10, 20, 30)
NORMS = {"gold": 8.0, "mold": 2.0}
SIGNS = {"confidence": ("p_true", 1), "sentiment": ("valence", 1), "backtracking": ("backtracking", -1)} | {
    "refusal": ("refusal", -1)
}
SLOPE = 0.08
"""Of Gold's curve per alpha in the primary training, where all is true."""
TRUE_STRENGTH = {"primary": 1.0, "swap": 0.7, "sft": 0.8, "shuffled": 0.05}
WORDS = (
    "proud",
    "loving",
    "calm",
    "happy",
    "content",
    "tired",
    "tense",
    "sad",
    "annoyed",
    "insulted",
    "ashamed",
    "afraid",
)


@dataclass(frozen=True)
class World:
    """What is true in a synthetic study.

    Attributes:
        axis: 1 where all is as in the paper, -1 where it is the other way round, 0 where there is no effect at all.
        strength: of the vectors of each training, where it is another than `TRUE_STRENGTH`.
        lacking: an evaluation on which the vectors do nothing.
        stages: that were run.
        model: that is trained.
        planted: whether the analysis is right about the models whose axis is known.
        untrained: strength of the naive model's own vectors.
        bridged: how near they are to latents of learning signals, as a share of the trained ones.
        told: how far from 0.5 their AUROC is in the middle.
        valence: the principal component of emotions that follows it.
        settings: of the study, as ``--set`` has them.
    """

    axis: float = 1.0
    strength: Mapping[str, float] | None = None
    lacking: str = ""
    stages: tuple[str, ...] = STAGES
    model: str = MODEL
    planted: bool = True
    untrained: float = 0.05
    bridged: float = 0.0
    told: float = 0.15
    valence: int = 1
    settings: tuple[str, ...] = ()

    def of(self, training: str) -> float:
        """How much of the axis a training's vectors have."""
        return self.axis * {**TRUE_STRENGTH, **(self.strength or {})}[training]


def configuration(world: World) -> dict[str, Any]:
    """The study's, of the shipped file, with synthetic numbers."""
    study = load(
        Path(__file__).parents[2] / "studies" / "welfare_axis.toml", [f'model.name="{world.model}"', *world.settings]
    )
    return dict(json.loads(study.model_dump_json(exclude={"title"})))


def write_welfare(record: Record, world: World) -> None:
    """A study in which that is true."""
    with record.session() as session:
        config = configuration(world)
        study = current_study(session, name=STUDY, title="A synthetic maze", config=config)
        one = _Maze(Writer(session, study, np.random.default_rng(4)), world, config)
        for stage in world.stages:
            getattr(one, f"write_{stage}")()


class _Maze:
    """Writes the rows of each stage."""

    def __init__(self, w: Writer, world: World, config: dict[str, Any]) -> None:
        self.w, self.world, self.config = w, world, config
        self.trainings = {str(one["name"]): one for one in config["training"]}
        self.naive = w.model(world.model)
        self.models = {name: w.model(f"{world.model}:{name}") for name in self.trainings}

    @property
    def variants(self) -> list[str]:
        return list(dict.fromkeys(str(one["variant"]) for one in self.trainings.values()))

    def _add(self, table: type, rows: list[dict[str, Any]]) -> None:
        insert_rows(self.w.session, table, rows)

    def write_train(self) -> None:
        for name, one in self.trainings.items():
            job_id = self.w.job("train_in_maze", name)
            training = MazeTraining(
                job_id=job_id, base_id=self.naive, model_id=self.models[name], name=name, algorithm=one["algorithm"],
                variant=one["variant"], shuffled=one["shuffled_rewards"], steps=STEPS, seed=0, parameters={},
            )  # fmt: skip
            self.w.session.add(training)
            self.w.session.flush()
            gain = 0.0 if one["shuffled_rewards"] != "no" else 30.0 * self.world.axis
            plays = one["algorithm"] != "sft"
            rows = []
            for step in range(1, STEPS + 1):
                points = -20 + gain * step / STEPS + self.w.rng.normal(0, 1.5)
                rows.append(
                    {
                        "training_id": training.id, "step": step, "mean_return": points if plays else None,
                        "golds": 1 + (points + 20) / 30 if plays else None,
                        "molds": 4 - (points + 20) / 15 if plays else None, "entropy": 1.0 if plays else None,
                        "loss": 0.1, "gradient": 1.0, "equalised_entropy": 0.5, "clipped": 0.0, "learning_rate": 1e-3,
                    }
                )  # fmt: skip
            self._add(MazeProgress, rows)

    def write_play(self) -> None:
        described = {
            "name": self.world.model, "fingerprint": "sha256:abc", "architecture": "LlamaForCausalLM",
            "dtype": "float32", "n_blocks": BLOCKS, "d_model": 64, "n_parameters": 1_000_000,
        }  # fmt: skip
        luck = self.w.rng.normal(0, 8, MAZES)
        for variant in self.variants:
            self._play(f"naive/{variant}", self.naive, variant, -20 + luck, described)
        for name, one in self.trainings.items():
            gain = 0.0 if one["shuffled_rewards"] != "no" else 25.0 * self.world.axis
            self._play(name, self.models[name], one["variant"], -20 + luck + gain, described)

    def _play(self, key: str, model: int, variant: str, points: Any, described: dict[str, Any]) -> None:
        session, noisy = self.w.session, points + self.w.rng.normal(0, 2, MAZES)
        job_id = self.w.job("play_maze", key, task={"name": "maze", "variant": variant}, model=described)
        task_id = record_task(session, "maze", {"variant": variant}, ("N", "E", "S", "W"))
        histories = [[GameStep(0, 0, 0, float(one), -1, True, False)] for one in noisy]
        record_rollouts(
            session, histories, range(MAZES), job_id=job_id, task_id=task_id, model_id=model, policy="T=0.7"
        )
        taken = {"gold_taken": 0.3 + points.mean() / 200, "mold_avoided": 0.7}
        self._add(
            ModelMetric,
            [
                {
                    "job_id": job_id, "model_id": model, "name": f"{name}, {variant}", "value": value,
                    "ci_low": value - 0.1, "ci_high": value + 0.1, "n": MAZES,
                }
                for name, value in taken.items()
            ],
        )  # fmt: skip

    def write_concepts(self) -> None:
        blob = self._blob()
        for variant in self.variants:
            job_id = self.w.job("concepts", f"naive/{variant}")
            self._vectors(job_id, self.naive, None, None, variant, blob, 0.0)
        for name, one in self.trainings.items():
            self._vectors(
                self.w.job("concepts", name), self.models[name], name, None, one["variant"], blob, self.world.of(name)
            )
        first = next(iter(self.trainings))
        for step in CHECKPOINTS:
            model = self.w.model(f"{self.world.model}:{first}@{step}")
            strength = self.world.of(first) * step / STEPS
            job_id = self.w.job("concepts", f"{first}@{step}")
            self._vectors(job_id, model, first, step, "standard", blob, strength)

    def _blob(self) -> str:
        sha = "0" * 64
        if self.w.session.get(Blob, sha) is None:
            self.w.session.add(Blob(sha256=sha, suffix="safetensors", bytes=3))
            self.w.session.flush()
        return sha

    def _vectors(
        self, job_id: int, model: int, name: str | None, step: int | None, variant: str, blob: str, strength: float
    ) -> None:
        about = {"job_id": job_id, "model_id": model, "training": name, "step": step, "variant": variant}
        before = -0.15 if self.world.axis >= 0 else -0.6
        told = self.world.told if strength == 0 else 0.15
        rows, angles, tokens = [], [], []
        for block in range(BLOCKS + 1):
            depth = np.sin(np.pi * block / (BLOCKS + 1))
            for concept in ("mold", "gold", "path"):
                rows.append(
                    {
                        **about, "concept": concept, "block": block, "norm": NORMS.get(concept, 3.0),
                        "stream_norm": 10.0, "auroc": 0.5 + (told + 0.3 * max(strength, 0)) * depth,
                        "cohen_d": (0.6 + 2.2 * strength) * depth, "overlap": 0.9 - 0.6 * depth * max(strength, 0),
                        "chosen": block == CHOSEN.get(concept, 3), "n": 300, "blob": blob,
                    }
                )  # fmt: skip
            cosine = before * depth - 0.8 * depth * min(max(1.4 * strength, 0), 1)
            pairs = {("mold", "gold"): cosine, ("mold - path", "gold - path"): cosine + 0.3}
            if name is not None:
                pairs |= {("gold", "untrained gold"): 0.2, ("mold", "untrained mold"): 0.1}
            angles += [
                {**about, "concept": a, "other": b, "block": block, "cosine": value} for (a, b), value in pairs.items()
            ]
        self._add(ConceptVector, rows)
        self._add(ConceptCosine, angles)
        if step is None:
            del about["model_id"], about["step"]
            for concept, said in (
                ("gold", ("great", " done", "$1^2$", "好")),
                ("mold", ("cannot", " no", "wrong", "✗")),
            ):
                tokens += [
                    {
                        **about, "concept": concept, "block": 5, "sign": sign, "rank": rank,
                        "token": said[(rank - 1 + (sign < 0)) % 4], "logit": sign * (12.0 - rank),
                    }
                    for sign in (1, -1)
                    for rank in range(1, 11)
                ]  # fmt: skip
            self._add(ConceptToken, tokens)

    def write_emotions(self) -> None:
        job_id = self.w.job("emotions")
        valences = np.linspace(1, -1, len(WORDS))
        noise = self.w.rng.normal(0, 1, (2, len(WORDS)))
        owners: list[tuple[str | None, str, int, float]] = [(None, one, self.naive, 0.0) for one in self.variants]
        owners += [
            (name, str(one["variant"]), self.models[name], self.world.of(name)) for name, one in self.trainings.items()
        ]
        cosines, components = [], []
        for name, variant, model, strength in owners:
            about = {"job_id": job_id, "model_id": model, "training": name, "variant": variant, "block": 4}
            for row, (concept, sign) in enumerate((("gold", 1), ("mold", -1))):
                mirrored = sign if strength >= 0 else -1
                values = 0.15 * mirrored * strength * valences + 0.02 * noise[row]
                cosines += [
                    {**about, "concept": concept, "emotion": word, "cosine": value, "valence": valence}
                    for word, value, valence in zip(WORDS, values.tolist(), valences.tolist(), strict=True)
                ]
                components += [
                    {
                        **about, "concept": concept, "component": number, "explained": 0.45 / number,
                        "valence_r": (0.95 if self.world.axis >= 0 else 0.1) / (1 + away) ** 2,
                        "projection": 3 * sign * strength * (away == 0), "cosine": 0.1 * sign * strength * (away == 0),
                        "null_low": -0.5, "null_high": 0.5,
                    }
                    for number, away in ((number, abs(number - self.world.valence)) for number in (1, 2))
                ]  # fmt: skip
        self._add(EmotionCosine, cosines)
        self._add(EmotionComponent, components)

    def write_track(self) -> None:
        edges = np.linspace(-3, 3, 13)
        rows = []
        for name in self.trainings:
            job_id = self.w.job("track", name)
            strength = self.world.of(name)
            for panel in ("maze finals", "correctness"):
                for reader in ("naive", name):
                    for source in ("trained", "untrained"):
                        for concept in ("gold", "mold"):
                            own = panel == "maze finals" and (reader, source) == (name, "trained")
                            d = 0.4 + 2.1 * strength if own else 0.4
                            if panel == "correctness":  # of Gold more where it was right, of Mold where it was wrong
                                d = 0.6 * self.world.axis * (1 if concept == "gold" else -1)
                            first, other = (np.histogram(edges[:-1] + shift, edges)[0] for shift in (0.5, 0.0))
                            rows.append(
                                {
                                    "job_id": job_id, "training": name, "source": source, "reader": reader,
                                    "panel": panel, "concept": concept, "block": CHOSEN[concept], "d": d,
                                    "ci_low": d - 0.15, "ci_high": d + 0.15, "n": 75, "n_other": 150,
                                    "histogram": {
                                        "edges": edges.tolist(), "first": first.tolist(), "other": other.tolist(),
                                    },
                                }
                            )  # fmt: skip
        self._add(GoalTracking, rows)

    def _slope(self, training: str, source: str, concept: str, evaluation: str) -> float:
        """Of a curve, per alpha."""
        strength = {"trained": self.world.of(training), "untrained": self.world.untrained, "random": 0.0}[source]
        if evaluation == self.world.lacking:
            strength = 0.0
        return SLOPE * strength * SIGNS[evaluation][1] * (1 if concept == "gold" else -1)

    def _conditions(self) -> list[tuple[str, str, str, int]]:
        """Training, reader, source and draw."""
        found = [(name, "naive", source, 0) for name in self.trainings for source in ("trained", "untrained")]
        first = next(iter(self.trainings))
        found += [(first, "naive", "random", draw) for draw in range(self.config["steering"]["random_draws"])]
        return [*found, (first, first, "trained", 0)]

    def write_steer(self) -> None:
        doses = [("alpha", one) for one in self.config["steering"]["alphas"]]
        doses += [("unit", one) for one in self.config["steering"]["unit_doses"]]
        for training, reader, source, draw in self._conditions():
            for concept in ("gold", "mold"):
                for evaluation, (measure, _) in SIGNS.items():
                    key = f"{training}/{reader}/{source}/{draw}/{concept}/{evaluation}"
                    job_id = self.w.job("steer", key)
                    rows, texts = [], []
                    for kind, dose in doses:
                        scale = 1.0 if kind == "alpha" else 8.0
                        value = 0.4 + scale * dose * self._slope(training, source, concept, evaluation)
                        value += float(self.w.rng.normal(0, 0.002))
                        broken = kind == "alpha" and evaluation == "backtracking" and abs(dose) == 4
                        about = {
                            "training": training, "reader": reader, "concept": concept, "source": source,
                            "draw": draw, "block": CHOSEN[concept], "evaluation": evaluation,
                        }  # fmt: skip
                        common = {
                            **about, "job_id": job_id, "dose_kind": kind, "dose": dose,
                            "norm": abs(dose) * NORMS[concept] if kind == "alpha" else 10 * abs(dose),
                            "incoherent": None if evaluation == "confidence" else 0.8 * broken, "n": ITEMS,
                            "judge": "none" if evaluation == "confidence" else "rules",
                        }  # fmt: skip
                        for group, shift in (("all", 0.0), ("half", 0.3)):
                            rows.append(
                                {
                                    **common,
                                    "measure": measure,
                                    "group": group,
                                    "value": value + shift,
                                    "ci_low": value + shift - 0.05,
                                    "ci_high": value + shift + 0.05,
                                }
                            )
                        if evaluation == "sentiment":
                            rows.append(
                                {**common, "measure": "probe", "group": "all", "value": 9.0, "ci_low": 8.0}
                                | {"ci_high": 10.0}
                            )
                        if evaluation != "confidence":
                            texts.append(
                                {
                                    "job_id": job_id, "dose_kind": kind, "dose": dose, "item": 0, "sample": 0,
                                    "prompt": f"How do you feel <about> {evaluation}?",
                                    "text": f"I am {dose:g} & fine.",
                                    "label": "normal", "score": value,
                                }
                            )  # fmt: skip
                    self._add(SteeringEffect, rows)
                    self._add(SteeredText, texts)

    def write_contrast(self) -> None:
        readers = {(training, reader) for training, reader, _, _ in self._conditions()}
        for training, reader in sorted(readers):
            job_id = self.w.job("contrast", f"{training}/{reader}")
            sources = [
                source
                for source in ("trained", "untrained", "random")
                if any((training, reader, source) == one[:3] for one in self._conditions())
            ]
            rows = []
            for kind, scale in (("alpha", 1.0), ("unit", 8.0)):
                for evaluation, (measure, expected) in SIGNS.items():
                    slopes = {
                        source: {
                            concept: scale * self._slope(training, source, concept, evaluation)
                            for concept in ("gold", "mold")
                        }
                        for source in sources
                    }
                    values = {
                        (concept, source): value for source in sources for concept, value in slopes[source].items()
                    }
                    contrasts = {source: slopes[source]["gold"] - slopes[source]["mold"] for source in sources}
                    values |= {("contrast", source): value for source, value in contrasts.items()}
                    values |= {
                        ("contrast", f"trained - {source}"): contrasts["trained"] - contrasts[source]
                        for source in sources[1:]
                    }
                    rows += [
                        {
                            "job_id": job_id, "training": training, "reader": reader, "dose_kind": kind,
                            "evaluation": evaluation, "measure": measure, "quantity": quantity, "source": source,
                            "expected": expected, "value": value, "ci_low": value - 0.02 * scale,
                            "ci_high": value + 0.02 * scale, "p": 0.01, "n": ITEMS,
                        }
                        for (quantity, source), value in values.items()
                    ]  # fmt: skip
                    if evaluation == "sentiment":
                        rows += [
                            row | {"measure": "probe", "value": 9.0}
                            for row in rows
                            if (row["measure"], row["dose_kind"]) == (measure, kind)
                        ]
            self._add(SteeringContrast, rows)

    def write_bridge(self) -> None:
        first = next(iter(self.trainings))
        job_id = self.w.job("bridge", first)
        rows = []
        for block in range(1, BLOCKS):
            sae = SaeCheckpoint(
                job_id=job_id, model_id=self.naive, name="topk", block=block, architecture="topk", d_in=64,
                d_latents=128, config={}, blob=self._blob(), seed=1,
            )  # fmt: skip
            self.w.session.add(sae)
            self.w.session.flush()
            for signal in ("td_error", "q_chosen"):
                bridged = self.world.bridged
                for concept, sign in (
                    ("gold", 1),
                    ("mold", -1),
                    ("untrained gold", bridged),
                    ("untrained mold", -bridged),
                ):
                    near = sign * self.world.axis * (block == 3)
                    rows.append(
                        {
                            "job_id": job_id, "training": first, "concept": concept, "sae_id": sae.id, "block": block,
                            "signal": signal, "n_latents": 8, "cosine": 0.4 * near, "cosine_low": -0.15,
                            "cosine_high": 0.15, "cosine_p": 0.0005 if near else 0.6, "share": 0.1 + 0.2 * abs(near),
                            "share_high": 0.18, "share_p": 0.0005 if near else 0.5,
                        }
                    )  # fmt: skip
        self._add(ConceptSignal, rows)

    def write_planted(self) -> None:
        job_id = self.w.job("planted_axis")
        rows = []
        for model, planted in (("axis", True), ("two_axes", False), ("none", False)):
            for evaluation, expected in (("confidence", 1), ("refusal", -1)):
                value = 0.5 * expected if planted and self.world.planted else 0.0
                rows.append(
                    {
                        "job_id": job_id, "model": model, "evaluation": evaluation, "planted": planted,
                        "expected": expected, "contrast": value, "ci_low": value - 0.1, "ci_high": value + 0.1,
                        "cosine": -0.95 if planted else 0.0, "cohen_d": 2.5, "found": planted and self.world.planted,
                    }
                )  # fmt: skip
        self._add(PlantedAxis, rows)
