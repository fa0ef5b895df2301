"""Rows of a synthetic study of the rook endgame, as a real run writes them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from envs.rook_endgame import N_ACTIONS, STARTS
from envs.rook_predicates import library
from jobs.recording import record_task
from jobs.study import load
from tdlens.record import (
    Analysis,
    Blob,
    Coverage,
    Episode,
    Intervention,
    InterventionEffect,
    LatentExample,
    LatentMeasure,
    LatentPredicate,
    MapPoint,
    ModelMetric,
    Record,
    Rollout,
    SaeCheckpoint,
    SaeMetric,
    Signal,
    current_study,
    insert_analysis,
    insert_rows,
    new_ids,
)
from tests.report.synthetic_play import Writer

STUDY = "rook_endgame"
MODEL = "rook_128"
SAES = {
    "k5": 0.09,
    "k10": 0.03,
    "k20": 0.006,
    "k30": 0.004,
    "k40": 0.002,
    "k50": 0.001,
    "k20_resampled": 0.009,
    "l1": 0.02,
}
"""Share of the variance in play that each leaves unexplained."""
LATENTS, LIVE, GAMES = 1024, 150, 40
STAGES = ("play", "games", "train_sae", "splice", "probe", "population", "rank")
SIGNALS = ("q_max", "q_gap", "advantage", "td_error", "td_error_ahead", "optimal_value")


@dataclass(frozen=True)
class Rook:
    """What is true in a synthetic study.

    Attributes:
        earned: by the agent, points a game.
        fvu: factor on what autoencoders leave unexplained.
        spoilt: points a game that a reconstruction costs at k = 50.
        agreement: by k; what is not in it, as in SAES.
        live: latents of k20 that fire on some board.
        f1: above chance, of the clearest latents.
        units: the same of the controls.
        matched: share of pairs at equal Q-values in which a latent is right.
        decoder: F1 of the decoder.
        flips: least share of its boards on which the removal of a clear latent changes the move.
        seldom, often: points that removing infrequent latents, and as many others, costs.
        bend: curvature of return over live latents.
        resampled: factor on what k20_resampled leaves unexplained, in play and over all boards.
        r: of the best latent with each signal.
        stages: that were run.
    """

    earned: float = 49.0
    fvu: float = 1.0
    spoilt: float = 4.0
    agreement: Mapping[str, float] = field(default_factory=dict)
    live: int = LIVE
    f1: float = 0.9
    units: float = 0.3
    matched: float = 0.85
    decoder: float = 0.35
    flips: float = 0.0
    seldom: float = 12.0
    often: float = 2.0
    bend: float = -8.0
    resampled: tuple[float, float] = (1.0, 1.0)
    r: float = 0.8
    stages: tuple[str, ...] = STAGES


def write_rook(record: Record, world: Rook) -> None:
    """A study in which that is true."""
    config = load(Path(__file__).parents[2] / "studies" / "rook_endgame.toml").model_dump(
        mode="json", exclude={"title"}
    )
    config["sae"] = [section for section in config["sae"] if section["name"] in SAES]
    with record.session() as session:
        study = current_study(session, name=STUDY, title="A synthetic endgame", config=config)
        w = Writer(session, study, np.random.default_rng(3))
        model = w.model(MODEL)
        writers = {
            "play": lambda: _play(w),
            "games": lambda: _games(w, model, world),
            "train_sae": lambda: None,
            "splice": lambda: _splices(w, model, saes, world),
            "probe": lambda: _probe(w, model, saes, world),
            "population": lambda: _population(w, world),
            "rank": lambda: _correlations(w, model, saes, world),
        }
        saes = _saes(w, model) if "train_sae" in world.stages else {}
        for stage in world.stages:
            writers[stage]()


def _play(w: Writer) -> None:
    model = {
        "name": MODEL,
        "fingerprint": "sha256:abc",
        "architecture": "QNetwork",
        "dtype": "float32",
        "n_blocks": 2,
        "d_model": 128,
        "n_parameters": 29_336,
    }
    w.job("play", "smart", task={"name": STUDY, "variant": "smart", "moves": 400}, model=model)


def _episodes(w: Writer, job_id: int, returns: list[float], outcomes: list[str], **common: Any) -> None:
    task_id = record_task(w.session, STUDY, {"variant": "smart", "moves": 400}, tuple(map(str, range(N_ACTIONS))))
    ids = new_ids(w.session, Rollout, len(returns))
    about = {"job_id": job_id, "task_id": task_id, "model_id": None, "intervention_id": None, **common}
    insert_rows(
        w.session,
        Rollout,
        [{"id": id_, "index": i, "seed": i, "n_steps": 1, "transcript": "", **about} for i, id_ in enumerate(ids)],
    )
    rows = [
        {"rollout_id": id_, "index": 0, "return_": value, "forced": False, "outcome": outcome}
        for id_, value, outcome in zip(ids, returns, outcomes, strict=True)
    ]
    insert_rows(w.session, Episode, rows)


def _games(w: Writer, model: int, world: Rook) -> None:
    job_id = w.job("games", "model")
    shares = {"checkmate": 0.82, "time_out": 0.15, "illegal": 0.02, "blunder": 0.01, "stalemate": 0.0}
    sampled = {
        "return": (world.earned, 1.2),
        "length": (14.0, 0.4),
        **{name: (share, 0.01) for name, share in shares.items()},
    }
    rows = [
        {"name": name, "value": v, "ci_low": v - h, "ci_high": v + h, "n": 3000} for name, (v, h) in sampled.items()
    ]
    exact = {"expected_return": world.earned + 0.4, "ceiling": 92.0}
    rows += [
        {"name": name, "value": value, "ci_low": None, "ci_high": None, "n": None} for name, value in exact.items()
    ]
    insert_rows(w.session, ModelMetric, [{"job_id": job_id, "model_id": model, **row} for row in rows])
    for policy, mean, outcome in (("random", -105.0, "illegal"), ("optimal", 92.0, "checkmate")):
        returns = (mean + w.rng.normal(0, 3, GAMES)).tolist()
        _episodes(w, w.job("games", policy), returns, [outcome] * GAMES, policy=policy)


def _saes(w: Writer, model: int) -> dict[str, int]:
    w.session.merge(Blob(sha256="0" * 64, suffix="safetensors", bytes=1))
    w.session.flush()
    return {name: _sae(w, model, name, w.job("train_sae", name)) for name in SAES}


def _sae(w: Writer, model: int, name: str, job_id: int, live: int = LIVE) -> int:
    sae = SaeCheckpoint(
        job_id=job_id,
        model_id=model,
        name=name,
        block=2,
        architecture="topk",
        d_in=128,
        d_latents=LATENTS,
        config={},
        blob="0" * 64,
        seed=1,
    )
    w.session.add(sae)
    w.session.flush()
    active = (
        float("".join(c for c in name.removeprefix("k").split("_")[0] if c.isdigit()) or 0) if name[0] == "k" else 34.0
    )
    fvu = SAES.get(name, 0.01)
    metrics = {
        "fvu": fvu,
        "explained_variance": 1 - fvu,
        "l0": active,
        "live": live,
        "dead": LATENTS - live,
        "non_constant": live,
    }
    insert_rows(
        w.session, SaeMetric, [{"sae_id": sae.id, "name": key, "value": value} for key, value in metrics.items()]
    )
    return sae.id


def _splices(w: Writer, model: int, saes: dict[str, int], world: Rook) -> None:
    base = w.rng.normal(0, 20, GAMES)
    for control in ("mean_layer", "zero_layer"):
        effects = _effects(world, -101.0, 0.33, 1.0, 1.05)
        _intervene(w, model, None, control, control, effects, base - 101, control=control)
    for place, name in enumerate(SAES):
        kept = world.agreement.get(name, 0.7 + 0.03 * place)
        left = SAES[name] * world.fvu * (world.resampled[0] if name == "k20_resampled" else 1)
        whole = 4 * SAES[name] * world.fvu * (world.resampled[1] if name == "k20_resampled" else 1)
        returns = -110 + (world.earned - world.spoilt + 110) * min(place, 5) / 5
        effects = _effects(world, returns, kept, left, whole)
        _intervene(w, model, saes[name], f"{name}_splice", "splice", effects, base + returns)
        for operation, cost, control in (
            ("kill_infrequent", world.seldom, "none"),
            ("kill_frequent", world.often, "matched_number"),
        ):
            effects = _effects(world, world.earned - cost, 0.95, 0.001, 0.002)
            _intervene(
                w,
                model,
                saes[name],
                f"{name}_{operation}",
                operation,
                effects,
                base + world.earned - cost,
                control=control,
            )


def _effects(
    world: Rook, returns: float, agreement: float, fvu: float, fvu_all: float
) -> dict[str, tuple[float, float, float]]:
    """Value, baseline and half of the interval by metric."""
    nan = float("nan")
    mates = min(0.99, max(0.01, (returns + 110) / 190))
    return {
        "return": (returns, world.earned, 3.0),
        "checkmate": (mates, 0.82, 0.02),
        "time_out": (0.1, 0.15, 0.02),
        "agreement": (agreement, 1.0, 0.004),
        "agreement_all": (agreement - 0.03, 1.0, nan),
        "fvu": (fvu, 0.0, nan),
        "fvu_all": (fvu_all, 0.0, nan),
        "expected_return": (returns, world.earned, nan),
    }


def _intervene(
    w: Writer,
    model: int,
    sae_id: int | None,
    name: str,
    operation: str,
    effects: dict[str, tuple[float, float, float]],
    returns: np.ndarray,
    control: str = "none",
) -> None:
    job_id = w.job("splice", name)
    row = Intervention(
        job_id=job_id,
        name=name,
        model_id=model,
        sae_id=sae_id,
        block=2,
        latents=[],
        operation=operation,
        target_signal="",
        control=control,
        description=f"what {operation} does",
    )
    w.session.add(row)
    w.session.flush()
    rows = [
        {
            "intervention_id": row.id,
            "metric": metric,
            "value": value,
            "baseline": baseline,
            "difference": value - baseline,
            "ci_low": value - baseline - half,
            "ci_high": value - baseline + half,
            "n_rollouts": GAMES,
        }
        for metric, (value, baseline, half) in effects.items()
    ]
    insert_rows(w.session, InterventionEffect, rows)
    noisy = (returns + w.rng.normal(0, 2, GAMES)).tolist()
    _episodes(w, job_id, noisy, ["checkmate"] * GAMES, policy="model", model_id=model, intervention_id=row.id)


def _probe(w: Writer, model: int, saes: dict[str, int], world: Rook) -> None:
    untrained = w.model(f"{MODEL}-untrained")
    for name, sae_id in saes.items():
        job_id, live = w.job("probe", name), world.live if name == "k20" else LIVE
        rows = list(_predicates(w, "sae", live, world.f1, world))
        insert_rows(
            w.session, LatentPredicate, [{"job_id": job_id, "model_id": model, "sae_id": sae_id, **row} for row in rows]
        )
        insert_rows(
            w.session, LatentMeasure, [{"job_id": job_id, "sae_id": sae_id, **row} for row in _measures(w, live, world)]
        )
        insert_rows(
            w.session, LatentExample, [{"job_id": job_id, "sae_id": sae_id, **row} for row in _examples(w, live)]
        )
        angle, reach = w.rng.uniform(0, 2 * np.pi, live), w.rng.uniform(0.2, 1, live)
        points = [
            {
                "job_id": job_id,
                "block": 2,
                "source": name,
                "method": "pca",
                "rollout_index": 0,
                "item": latent,
                "label": rows[latent]["predicate"],
                "grp": 1,
                "x": reach[latent] * np.cos(angle[latent]),
                "y": reach[latent] * np.sin(angle[latent]),
            }
            for latent in range(live)
        ]
        insert_rows(w.session, MapPoint, points)
    for source, of, sae_id in (("raw", model, None), ("untrained", untrained, None), ("shuffled", model, saes["k20"])):
        job_id, f1 = w.job("probe", source), 0.02 if source == "shuffled" else world.units
        rows = list(_predicates(w, source, 100 if source == "shuffled" else 2 * 128, f1, world))
        insert_rows(
            w.session, LatentPredicate, [{"job_id": job_id, "model_id": of, "sae_id": sae_id, **row} for row in rows]
        )


def _predicates(w: Writer, source: str, n: int, f1: float, world: Rook) -> Iterator[dict[str, Any]]:
    names = list(library().values())
    for latent in range(n):
        predicate = names[(7 * latent) % len(names)]
        share = float(predicate.holds[STARTS].mean())
        chance = share / 2
        held = chance + (1 - chance) * max(0.0, f1 * (1 - 0.8 * latent / n) + w.rng.normal(0, 0.02))
        matched = source == "sae" and latent < 12
        told = held > chance + 0.04
        yield {
            "source": source,
            "block": 2,
            "latent": latent,
            "predicate": predicate.name,
            "family": predicate.family,
            "f1": min(held + 0.01, 1.0),
            "precision": held,
            "recall": held,
            "f1_heldout": held,
            "ci_low": held - 0.02,
            "ci_high": held + 0.02,
            "null_mean": chance,
            "null_threshold": chance + 0.03,
            "z": 20.0,
            "p_familywise": 0.01 if told else 0.8,
            "n_true": int(share * 13_800),
            "n_fired": 500,
            "matched_pairs": 900 if matched else None,
            "matched_share": world.matched - 0.01 * latent if matched else None,
            "matched_low": world.matched - 0.01 * latent - 0.02 if matched else None,
            "matched_high": world.matched - 0.01 * latent + 0.02 if matched else None,
            "added_share": world.matched - 0.55 - 0.01 * latent if matched else None,
            "added_low": world.matched - 0.57 - 0.01 * latent if matched else None,
            "added_high": world.matched - 0.53 - 0.01 * latent if matched else None,
            "decoder_f1": world.decoder if matched else None,
        }


def _measures(w: Writer, live: int, world: Rook) -> Iterator[dict[str, Any]]:
    for latent in range(live):
        often = float(10 ** w.rng.uniform(-4, -0.1))
        flip = world.flips + float(w.rng.uniform(0, 0.3)) ** 2 * (latent % 5 > 0)
        values = {
            "frequency": often,
            "rms": 0.5,
            "frequency_all": often,
            "mean_active": 1.0,
            "q_effect": 0.1 * flip,
            "flip_rate": flip,
            "flips": flip * often,
            **({"return_effect": -20 * flip} if latent < 12 else {}),
        }
        yield from ({"latent": latent, "name": name, "value": value} for name, value in values.items())
    for latent in range(live, LATENTS):  # dead ones
        yield from ({"latent": latent, "name": name, "value": 0.0} for name in ("frequency", "frequency_all", "rms"))


def _examples(w: Writer, live: int) -> Iterator[dict[str, Any]]:
    boards = np.flatnonzero(STARTS)
    for latent in range(live):
        for rank, state in enumerate(w.rng.choice(boards, 10, replace=False).tolist()):
            effect = w.rng.normal(0, 0.04, N_ACTIONS)
            effect[(latent + rank) % N_ACTIONS] += 0.15
            yield {
                "latent": latent,
                "rank": rank,
                "state": state,
                "value": 3.0 - 0.1 * rank,
                "q_effect": effect.tolist(),
            }


def _population(w: Writer, world: Rook) -> None:
    for index, live in enumerate(np.linspace(120, 420, 24).round().tolist()):
        model, job_id = w.model(f"population/{index:02d}"), w.job("population", f"{index:02d}")
        _sae(w, model, "k20", job_id, int(live))
        score = 40 + world.bend * ((live - 270) / 88) ** 2 + float(w.rng.normal(0, 3))
        rows = [
            {"name": "return", "value": score, "ci_low": score - 2, "ci_high": score + 2, "n": 1000},
            {"name": "live", "value": live, "ci_low": None, "ci_high": None, "n": None},
        ]
        insert_rows(w.session, ModelMetric, [{"job_id": job_id, "model_id": model, **row} for row in rows])


def _correlations(w: Writer, model: int, saes: dict[str, int], world: Rook) -> None:
    ids = {}
    for name in SIGNALS:
        signal = Signal(name=name, agent="q_network", parameters={}, parameters_hash="", description="")
        w.session.add(signal)
        w.session.flush()
        ids[name] = signal.id
    untrained = w.model(f"{MODEL}-untrained")
    for source, sae, of, weight in (
        ("sae", "k20", model, 1.0),
        ("raw", None, model, 0.7),
        ("pca", None, model, 0.75),
        ("raw", None, untrained, 0.4),
        ("shuffled", "k20", model, 0.05),
    ):
        analysis = Analysis(
            job_id=w.job("rank", f"{source} {sae} {of}"),
            task=STUDY,
            model_id=of,
            source=source,
            sae_name=sae,
            n=16_000,
            n_rollouts=40,
            family_size=900,
            n_permutations=200,
            alpha=0.05,
            threshold_z=4.1,
            covariates=["episode_step"],
        )  # type: ignore[call-arg]
        rows: list[dict[str, Any]] = []
        for place, name in enumerate(SIGNALS):
            for latent in range(3):
                r = (world.r if source == "sae" else 0.8) * weight * (1 - 0.1 * place) if latent == 0 else 0.05 * latent
                rows.append(
                    {
                        "block": 2,
                        "signal_id": ids[name],
                        "latent": latent,
                        "sae_id": saes["k20"] if source == "sae" else None,
                        "r": r,
                        "r_selection": r + 0.01,
                        "r_heldout": r - 0.01,
                        "ci_low": r - 0.03,
                        "ci_high": r + 0.03,
                        "heldout_low": r - 0.05,
                        "heldout_high": r + 0.03,
                        "r_partial": 0.6 * r,
                        "r_partial_heldout": 0.55 * r,
                        "partial_low": 0.5 * r,
                        "partial_high": 0.7 * r,
                        "null_mean": 0.0,
                        "null_sd": 0.05,
                        "p_familywise": 0.005 if r > 0.25 else 0.8,
                        "q_value": 0.01,
                        "n": 16_000,
                        "n_rollouts": 40,
                    }
                )
        insert_analysis(w.session, analysis, {key: [row[key] for row in rows] for key in rows[0]})
        covered = {
            "block": 2,
            "n_latents": 1024,
            "n_live": 150,
            "n_kept": 3,
            "min_abs_r_kept": 0.01,
            "r_threshold": 0.22,
            "blob": None,
        }
        insert_rows(
            w.session, Coverage, [{"analysis_id": analysis.id, "signal_id": ids[name], **covered} for name in SIGNALS]
        )
