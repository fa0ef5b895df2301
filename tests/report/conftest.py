"""A small synthetic study, written through the record as a real run writes it, and its report."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from envs.agents import QLearning, Transitions
from envs.game import Step as GameStep
from envs.two_step import TwoStep, TwoStepConfig, Variant
from jobs.recording import record_rollouts, record_signals, record_task, replay_sources
from jobs.stages import published
from jobs.study import load
from tdlens.record import (
    Analysis,
    BehaviourFit,
    Blob,
    Coverage,
    Intervention,
    InterventionEffect,
    Job,
    LatentActivation,
    LatentCorrelation,
    LearningSignal,
    Model,
    Record,
    Rollout,
    SaeCheckpoint,
    SaeMetric,
    Signal,
    Step,
    Study,
    StudyJob,
    current_study,
    insert_columns,
    insert_rows,
)
from tdlens.settings import Settings
from tests.databases import migrated_postgres, record, settings

__all__ = ["migrated_postgres", "record", "settings"]

STUDY = "two_step_demo"
MODEL = "reference"
BLOCKS = range(1, 7)
ROLLOUTS = 12
SIGNALS = ("td_error", "q_left", "q_right", "myopic_error", "myopic_left", "myopic_right")
SOURCES: tuple[tuple[str, str | None, str, float], ...] = (
    ("sae", "paper", MODEL, 1.0),
    ("sae", "topk", MODEL, 0.9),
    ("raw", None, MODEL, 0.8),
    ("pca", None, MODEL, 0.7),
    ("raw", None, f"{MODEL}-untrained", 0.5),
    ("shuffled", "paper", MODEL, 0.1),
)
"""Source, autoencoder, model and how strong its correlations are."""


@dataclass(frozen=True)
class Writer:
    """Rows of one study under one job per stage."""

    session: Session
    study: Study
    rng: np.random.Generator

    def job(self, stage: str, key: str = "all", **config: Any) -> int:
        """A finished job of the study."""
        job = Job(
            stage=stage,
            key=key,
            identity=f"{self.study.name} {stage} {key}",
            state="done",
            attempt=1,
            owner="test",
            config=config,
            seed=7,
            git_commit="0123abcd",
            git_dirty=False,
            versions={"python": "3.11", "numpy": "2"},
            device="cpu",
            finished_at=datetime.now(UTC),
        )
        self.session.add(job)
        self.session.flush()
        self.session.add(StudyJob(study_id=self.study.id, job_id=job.id))
        return job.id

    def model(self, name: str) -> int:
        model = Model(
            name=name,
            source=name,
            fingerprint=f"sha256:{name}",
            architecture="LlamaForCausalLM",
            n_blocks=len(BLOCKS),
            d_model=64,
            n_parameters=1_000_000,
            dtype="float32",
        )
        self.session.add(model)
        self.session.flush()
        return model.id


def play(variant: Variant, seeds: range, rng: np.random.Generator, beta: float) -> list[list[GameStep]]:
    """Rollouts of a Q-learner whose choices are the noisier the smaller beta is."""
    histories = []
    for seed in seeds:
        game = TwoStep(TwoStepConfig(variant), seed)
        values = np.zeros((3, 2))
        while not game.done:
            state = game.steps[-1].next_state if game.steps and not game.steps[-1].done else 0
            p_right = 1 / (1 + np.exp(-beta * (values[state, 1] - values[state, 0])))
            forced = game.forced_action
            game.act(int(rng.random() < p_right) if forced is None else forced)
            step = game.steps[-1]
            target = step.reward if step.done else values[step.next_state].max()
            values[state, step.action] += 0.5 * (target - values[state, step.action])
        histories.append(game.steps)
    return histories


def write_play(w: Writer, model_id: int) -> None:
    for variant in Variant:
        job_id = w.job(
            "play",
            str(variant),
            model={
                "name": MODEL,
                "fingerprint": "sha256:abc",
                "architecture": "LlamaForCausalLM",
                "dtype": "float32",
                "n_blocks": len(BLOCKS),
                "d_model": 64,
                "n_parameters": 1_000_000,
            },
        )
        write_rollouts(w, variant, job_id, 1.2, model_id=model_id, policy="model")


def write_rollouts(w: Writer, variant: Variant, job_id: int, beta: float, **common: Any) -> None:
    histories = play(variant, range(ROLLOUTS), w.rng, beta)
    task_id = record_task(w.session, "two_step", {"variant": str(variant)}, ("left", "right"))
    steps = record_rollouts(w.session, histories, range(ROLLOUTS), job_id=job_id, task_id=task_id, **common)
    transitions = [Transitions.from_steps(history) for history in histories]
    learner = QLearning(("left", "right"))
    record_signals(w.session, job_id, steps, replay_sources(transitions, [learner], ["td_error", "q_left"]))


def write_published(w: Writer) -> None:
    unit = next(iter(published.units(_TwoStepStudy(), None)))  # type: ignore[arg-type]
    publish = published.run(_TwoStepStudy(), unit)  # type: ignore[arg-type]
    publish(w.session, w.job("published"))


class _TwoStepStudy:
    """As much of a run's context as the stage ``published`` looks at."""

    class study:
        class task:
            name = "two_step"

    class task:
        actions = ("left", "right")


def write_fits(w: Writer, model_id: int) -> None:
    job_id, choices = w.job("behaviour"), ROLLOUTS * 46
    for name, share, parameters in (
        ("q_learning", 0.60, 1),
        ("myopic", 0.62, 1),
        ("repetition", 0.66, 1),
        ("repetition_unfitted", 1.3, 0),
        ("best_episode", 0.605, 1),
        ("chance", np.log(2), 0),
    ):
        nll, more = share * choices, (share - 0.60) * choices
        spread = 0.0 if name == "q_learning" else 6.0
        w.session.add(
            BehaviourFit(
                job_id=job_id,
                task="two_step",
                model_id=model_id,
                policy="model",
                behaviour_model=name,
                n_choices=choices,
                n_rollouts=ROLLOUTS,
                n_parameters=parameters,
                beta=0.4,
                nll=nll,
                aic=2 * nll + 2 * parameters,
                bic=2 * nll + parameters * np.log(choices),
                chance_nll=choices * np.log(2),
                nll_minus_q=more,
                ci_low=more - spread,
                ci_high=more + spread,
            )
        )


def write_saes(w: Writer, model_id: int) -> dict[tuple[str, int], int]:
    w.session.add(Blob(sha256="0" * 64, suffix="safetensors", bytes=1))
    w.session.flush()
    ids = {}
    for name, varying in (("paper", 90), ("topk", 110)):
        job_id = w.job("train_sae", name)
        for block in BLOCKS:
            sae = SaeCheckpoint(
                job_id=job_id,
                model_id=model_id,
                name=name,
                block=block,
                architecture="relu",
                d_in=64,
                d_latents=128,
                config={},
                blob="0" * 64,
                seed=block,
            )
            w.session.add(sae)
            w.session.flush()
            ids[name, block] = sae.id
            metrics = {
                "explained_variance": 0.9 - 0.02 * block,
                "fvu": 0.1,
                "l0": 12.5,
                "live": varying,
                "dead": 128 - varying,
                "non_constant": varying - block,
            }
            rows = [{"sae_id": sae.id, "name": key, "value": value} for key, value in metrics.items()]
            insert_rows(w.session, SaeMetric, rows)
    return ids


def write_activations(w: Writer, sae_id: int) -> None:
    """A latent that follows the TD error of the rollouts written so far, with noise."""
    rows = w.session.execute(
        select(LearningSignal.step_id, LearningSignal.signal_id, LearningSignal.value)
        .join(Signal, Signal.id == LearningSignal.signal_id)
        .join(Step, Step.id == LearningSignal.step_id)
        .join(Rollout, Rollout.id == Step.rollout_id)
        .where(Signal.name == "td_error", Rollout.policy == "model")
    ).all()
    steps, signals, values = (np.array(column) for column in zip(*rows, strict=True))
    noisy = np.maximum(values + w.rng.normal(0, 0.8, len(values)), 0)
    columns = {"step_id": steps, "signal_id": signals, "value": noisy, "sae_id": sae_id, "latent": 3}
    insert_columns(w.session, LatentActivation, columns | {"job_id": w.job("rank", "traces")})


def write_correlations(w: Writer, models: dict[str, int], saes: dict[tuple[str, int], int], strength: float) -> None:
    ids = {row.name: row.id for row in w.session.query(Signal)}
    for name in SIGNALS:
        if name not in ids:
            signal = Signal(name=name, agent="test", parameters={}, parameters_hash="", description="")
            w.session.add(signal)
            w.session.flush()
            ids[name] = signal.id
    for source, sae, model, weight in SOURCES:
        analysis = Analysis(
            job_id=w.job("rank", f"{source} {sae} {model}"),
            task="two_step",
            model_id=models[model],
            source=source,
            sae_name=sae,
            n=3 * ROLLOUTS * 60,
            n_rollouts=3 * ROLLOUTS,
            family_size=9000,
            n_permutations=400,
            alpha=0.05,
            threshold_z=4.1,
            covariates=["step"],
        )  # type: ignore[call-arg]
        w.session.add(analysis)
        w.session.flush()
        rows, coverage = [], []
        for block in BLOCKS:
            for name in SIGNALS:
                r = np.clip(w.rng.normal(0, 0.08, 8), -0.2, 0.2)
                r[3] = strength * weight * (0.45 + 0.08 * np.sin(block) + (0.1 if "myopic_l" in name else 0))
                for latent in range(8):
                    rows.append(
                        {
                            "analysis_id": analysis.id,
                            "block": block,
                            "signal_id": ids[name],
                            "latent": latent,
                            "sae_id": saes.get((sae or "", block)) if source == "sae" else None,
                            "r": r[latent],
                            "r_selection": r[latent] + 0.01,
                            "r_heldout": r[latent] - 0.01,
                            "ci_low": r[latent] - 0.05,
                            "ci_high": r[latent] + 0.05,
                            "r_partial": 0.6 * r[latent],
                            "null_mean": 0.0,
                            "null_sd": 0.05,
                            "p_familywise": 0.002 if r[latent] > 0.25 else 0.8,
                            "q_value": 0.01,
                            "n": analysis.n,
                            "n_rollouts": analysis.n_rollouts,
                        }
                    )
                coverage.append(
                    {
                        "analysis_id": analysis.id,
                        "block": block,
                        "signal_id": ids[name],
                        "n_latents": 128,
                        "n_live": 90,
                        "n_kept": 8,
                        "min_abs_r_kept": 0.01,
                        "r_threshold": 0.22,
                        "blob": None,
                    }
                )
        insert_rows(w.session, LatentCorrelation, rows)
        insert_rows(w.session, Coverage, coverage)


def write_interventions(
    w: Writer, config: dict[str, Any], model_id: int, saes: dict[tuple[str, int], int], cost: float
) -> None:
    for section in config["intervention"]:
        job_id = w.job("intervene", section["name"])
        row = Intervention(
            job_id=job_id,
            name=section["name"],
            model_id=model_id,
            sae_id=saes["paper", 3],
            block=3,
            latents=list(range(section["latents"])),
            operation=section["operation"],
            value=section["value"],
            target_signal=section["signal"],
            control=section["control"],
            description="",
        )
        w.session.add(row)
        w.session.flush()
        chosen = section["control"] in ("none", "td_minus_q")
        beta = 1.2 * (1 - cost) if chosen else 1.2
        write_rollouts(w, Variant.STANDARD, job_id, beta, model_id=model_id, policy="model", intervention_id=row.id)
        size = cost if chosen else 0.0
        effects: list[tuple[str, int | None, float, float, float]] = [
            ("return", None, 6.0, -1.5 * size, 0.3),
            ("p_greedy", None, 0.8, -0.2 * size, 0.05),
            ("choice_shift", None, 0.0, 0.02 + 0.1 * size, 0.01),
            ("nll_q", None, 0.6 * ROLLOUTS * 46, 70 * size, 15.0),
        ]
        for block in BLOCKS:
            for name in ("td_error", "q_left", "q_right"):
                effects.append((f"max_r_{name}", block, 0.5, -0.25 * size * (block > 3), 0.06))
        rows = [
            {
                "intervention_id": row.id,
                "metric": metric,
                "block": block,
                "value": base + change,
                "baseline": base,
                "difference": change,
                "ci_low": change - half,
                "ci_high": change + half,
                "n_rollouts": ROLLOUTS,
            }
            for metric, block, base, change, half in effects
        ]
        insert_rows(w.session, InterventionEffect, rows)


def write_study(record: Record, *, strength: float = 1.0, cost: float = 0.6) -> None:
    """A whole study.

    Args:
        strength: factor on all correlations.
        cost: share of the inverse temperature that lesions of the chosen latents take away.
    """
    study = load(Path(__file__).parents[2] / "studies" / "two_step_demo.toml")
    config = json.loads(study.model_dump_json(exclude={"title"}))
    with record.session() as session:
        row = current_study(session, name=STUDY, title="A synthetic <study>", config=config)
        writer = Writer(session, row, np.random.default_rng(5))
        models = {name: writer.model(name) for name in (MODEL, f"{MODEL}-untrained")}
        write_published(writer)
        write_play(writer, models[MODEL])
        write_fits(writer, models[MODEL])
        saes = write_saes(writer, models[MODEL])
        write_activations(writer, saes["paper", 2])
        write_correlations(writer, models, saes, strength)
        write_interventions(writer, config, models[MODEL], saes, cost)


@pytest.fixture(scope="session")
def synthetic(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Record]:
    """An open record with the synthetic study; read only."""
    home = tmp_path_factory.mktemp("report")
    record = Record.open(Settings.from_environment({"TDLENS_HOME": str(home)}))
    write_study(record)
    yield record
    record.close()
