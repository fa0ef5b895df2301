"""Rows of a synthetic study's autoencoders, correlations and interventions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from sqlalchemy import select

from envs.two_step import Variant
from tdlens.record import (
    Analysis,
    Blob,
    BlockMeasure,
    Coverage,
    Intervention,
    InterventionEffect,
    LatentActivation,
    LearningSignal,
    Rollout,
    SaeCheckpoint,
    SaeMetric,
    Signal,
    Step,
    insert_analysis,
    insert_columns,
    insert_rows,
)
from tests.report.synthetic_play import BLOCKS, MODEL, ROLLOUTS, Writer, write_rollouts

SIGNALS = ("td_error", "q_left", "q_right", "myopic_error", "myopic_left", "myopic_right")
SOURCES: tuple[tuple[str, str | None, str, float], ...] = (
    ("sae", "paper", MODEL, 1.0),
    ("sae", "topk", MODEL, 0.9),
    ("raw", None, MODEL, 0.75),
    ("pca", None, MODEL, 0.7),
    ("raw", None, f"{MODEL}-untrained", 0.5),
    ("shuffled", "paper", MODEL, 0.1),
)
"""Source, autoencoder, model and how strong its correlations are."""


def write_saes(w: Writer, model_id: int) -> dict[tuple[str, int], int]:
    w.session.merge(Blob(sha256="0" * 64, suffix="safetensors", bytes=1))
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


@dataclass(frozen=True)
class Strength:
    """How closely latents, dimensions and components follow the signals."""

    factor: float = 1.0
    """On all correlations."""
    myopic: float = 0.25
    """By how much myopic values are followed more closely than Q-values."""
    more: Mapping[str, float] = field(default_factory=dict)
    """By how much single other signals are followed more closely."""
    overfit: float = 0.0
    """By how much the held-out r of latents falls short of their r over all rollouts."""


def write_correlations(
    w: Writer,
    models: dict[str, int],
    saes: dict[tuple[str, int], int],
    strength: Strength,
    signals: Sequence[str] = SIGNALS,
    task: str = "two_step",
) -> None:
    ids = {row.name: row.id for row in w.session.query(Signal)}
    for name in signals:
        if name not in ids:
            signal = Signal(name=name, agent="test", parameters={}, parameters_hash="", description="")
            w.session.add(signal)
            w.session.flush()
            ids[name] = signal.id
    for source, sae, model, weight in SOURCES:
        analysis = Analysis(
            job_id=w.job("rank", f"{source} {sae} {model}"),
            task=task,
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
        rows, coverage = [], []
        for block in BLOCKS:
            for name in signals:
                r = np.clip(w.rng.normal(0, 0.08, 8), -0.2, 0.2)
                more = strength.myopic if name in ("myopic_left", "myopic_right") else strength.more.get(name, 0.0)
                r[3] = strength.factor * weight * (0.45 + 0.08 * np.sin(block) + more)
                heldout = r - 0.01 - (strength.overfit if source == "sae" else 0.0)
                for latent in range(8):
                    rows.append(
                        {
                            "block": block,
                            "signal_id": ids[name],
                            "latent": latent,
                            "sae_id": saes.get((sae or "", block)) if source == "sae" else None,
                            "r": r[latent],
                            "r_selection": r[latent] + 0.01,
                            "r_heldout": heldout[latent],
                            "ci_low": r[latent] - 0.03,
                            "ci_high": r[latent] + 0.03,
                            "heldout_low": heldout[latent] - 0.04,
                            "heldout_high": heldout[latent] + 0.05,
                            "r_partial": 0.6 * r[latent],
                            "r_partial_heldout": 0.55 * r[latent],
                            "partial_low": 0.6 * r[latent] - 0.03,
                            "partial_high": 0.6 * r[latent] + 0.03,
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
        insert_analysis(w.session, analysis, {name: [row[name] for row in rows] for name in rows[0]})
        insert_rows(w.session, Coverage, [{"analysis_id": analysis.id} | row for row in coverage])
    if "td_error" in signals:
        _write_td_parts(w, models[MODEL], task)


def _write_td_parts(w: Writer, model_id: int, task: str) -> None:
    """In the later blocks the latents are weighted as an error's parts are, given the covariates in none."""
    job_id = w.job("td_parts", "paper")
    weights = {"reward": 0.4, "next_value": 0.3, "last_value": -0.3, "explained": 0.5, "explained_by_error": 0.45}
    rows = [
        {
            "job_id": job_id,
            "model_id": model_id,
            "task": task,
            "block": block,
            "source": "sae",
            "sae_name": "paper",
            "measure": f"td_part_{name}{ending}",
            "signal": "td_error",
            "value": weight,
            "ci_low": weight - half,
            "ci_high": weight + half,
            "n_rollouts": ROLLOUTS,
        }
        for block in BLOCKS
        for name, weight in weights.items()
        for ending, half in (("", 0.1 if block > 2 else 0.5), ("_partial", 0.5))
    ]
    insert_rows(w.session, BlockMeasure, rows)


def write_interventions(
    w: Writer, config: dict[str, Any], model_id: int, saes: dict[tuple[str, int], int], cost: float, spared: int
) -> None:
    for section in config["intervention"]:
        job_id = w.job("intervene", section["name"])
        first = {"none": 0, "random_direction": 0, "td_minus_q": spared}.get(section["control"], 40)
        row = Intervention(
            job_id=job_id,
            name=section["name"],
            model_id=model_id,
            sae_id=saes["paper", 3],
            block=3,
            latents=list(range(first, first + section["latents"])),
            operation=section["operation"],
            value=section["value"],
            target_signal=section["signal"],
            control=section["control"],
            description=f"as {section['name']} wants it",
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
