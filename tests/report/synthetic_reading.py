"""Rows of synthetic studies of what a model reads: the Grid World and the graph, as real runs write them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from envs import TASKS
from envs.agents import Transitions
from envs.agents.behaviour import Beta, Estimate
from envs.agents.context import Context
from envs.agents.other_learners import Fit, fitted, generating
from envs.agents.q_learning import QLearning, QLearningConfig
from envs.graph_walk import ADJACENCY, community
from jobs.inference.play import Played
from jobs.recording import record_rollouts, record_signals, record_task, replay_sources
from jobs.study import load
from tdlens.record import (
    BlockMeasure,
    Intervention,
    InterventionEffect,
    InterventionLatent,
    MapPoint,
    Record,
    current_study,
    insert_rows,
)
from tests.report.synthetic_latents import Strength, write_correlations, write_saes
from tests.report.synthetic_play import BLOCKS, MODEL, Writer

ROLLOUTS = 8
STEPS = {"grid_world": 64, "graph_walk": 80}
STUDIES = Path(__file__).parents[2] / "studies"
SOURCES = ("sae", "raw", "pca", "untrained", "shuffled")
FIT = Fit(QLearningConfig(0.4, 0.8, None), Beta(1.5, Estimate.INTERIOR), 1.2)


@dataclass(frozen=True)
class World:
    """What is true in a synthetic study.

    Attributes:
        gain: what the true rewards add to the probability of the agent's action, late in a rollout.
        cost: what a lesion of the chosen latents takes from it, and from accuracy and later blocks' r.
        carried: what of that an edit of the first half alone takes from the second.
        early: the share of a rollout during which that edit lasts.
        latents: how closely latents follow the signals, against everything else.
    """

    gain: float = 0.3
    cost: float = 0.35
    carried: float = 0.05
    early: float = 0.5
    latents: float = 1.0


def write_reading(record: Record, task: str, world: World) -> str:
    """A whole study of a task that is read; gives its name."""
    study = load(STUDIES / f"{task}.toml", [f"task.settings.steps={STEPS[task]}", f"task.rollouts={ROLLOUTS}"])
    config = json.loads(study.model_dump_json(exclude={"title"}))
    for section in config["intervention"]:
        if section["decisions"] is not None:
            section["decisions"] = [0, round(world.early * STEPS[task]) - 1]
    with record.session() as session:
        row = current_study(session, name=task, title=f"A synthetic {task}", config=config)
        w = Writer(session, row, np.random.default_rng(3))
        models = {name: w.model(name) for name in (MODEL, f"{MODEL}-untrained")}
        variants = (*study.task.variants, *study.task.controls)
        for variant in variants:
            stage = "play" if variant in study.task.variants else "compare"
            job_id = w.job(stage, variant, task={"name": task, **_settings(task, variant)}, model=_about())
            lift = world.gain if variant in study.task.variants else 0.0
            _read(w, task, variant, job_id, models[MODEL], lift, signals=stage == "play")
        saes = write_saes(w, models[MODEL])
        strength = Strength(factor=world.latents, more={name: -0.25 for name in _rivals(study.correlate.signals)})
        write_correlations(w, models, saes, strength, study.correlate.signals, task)
        if task == "graph_walk":
            _write_measures(w, models, world)
            _write_maps(w, w.job("represent", "maps"), None, (None, *BLOCKS))
        _write_interventions(w, task, config, models[MODEL], saes, world)
    return task


def _about() -> dict[str, Any]:
    sizes = {"n_blocks": len(BLOCKS), "d_model": 64, "n_parameters": 1_000_000}
    return {"name": MODEL, "fingerprint": "sha256:abc", "architecture": "Llama", "dtype": "float32", **sizes}


def _settings(task: str, variant: str) -> dict[str, Any]:
    return asdict(TASKS[task].config(variant=variant, steps=STEPS[task]))


def _rivals(signals: Sequence[str]) -> list[str]:
    learned = ("td_error", "q_left", "q_right", "q_up", "q_down")
    return [name for name in signals if name not in learned and not name.startswith(("generator", "fitted"))]


def _read(
    w: Writer,
    task: str,
    variant: str,
    job_id: int,
    model_id: int,
    lift: float,
    *,
    signals: bool = False,
    intervention_id: int | None = None,
) -> None:
    """Rollouts whose actions get a probability that grows by ``lift`` in their second half."""
    games = [TASKS[task].make(TASKS[task].config(variant=variant, steps=STEPS[task]), seed) for seed in range(ROLLOUTS)]
    for game in games:
        while not game.done:
            game.act(game.forced_action or 0)
    actions = np.array([[step.action for step in game.steps] for game in games])
    n = len(games[0].actions)
    late = np.arange(STEPS[task]) >= STEPS[task] / 2
    chosen = np.clip(1.2 / n + lift * late + w.rng.normal(0, 0.01, actions.shape), 1e-6, 1 - 1e-6)
    probabilities = np.repeat(((1 - chosen) / (n - 1))[:, :, None], n, axis=2)
    np.put_along_axis(probabilities, actions[:, :, None], chosen[:, :, None], axis=2)
    played = Played(actions, probabilities, np.zeros_like(actions), [game.transcript() for game in games])
    steps = record_rollouts(
        w.session,
        [game.steps for game in games],
        range(ROLLOUTS),
        played,
        job_id=job_id,
        task_id=record_task(w.session, task, {"variant": variant}, TASKS[task].actions),
        model_id=model_id,
        policy="model",
        intervention_id=intervention_id,
    )
    if signals and task == "grid_world":
        rollouts = [Transitions.from_steps(game.steps) for game in games]
        learner = QLearning(TASKS[task].actions, QLearningConfig(window=None))
        names = ("td_error", "step", "log_step", "last_reward", "max_so_far", "generator_error", "fitted_error")
        names = (*names, "generator_last_error", "fitted_last_error")
        others = [generating(learner.actions, {"alpha": 0.1, "gamma": 0.99}), fitted(learner.actions, FIT)]
        replayed = replay_sources(rollouts, [learner, *others, Context()], names)
        record_signals(w.session, w.job("signals", variant), steps, replayed)


def _write_interventions(
    w: Writer,
    task: str,
    config: Mapping[str, Any],
    model_id: int,
    saes: Mapping[tuple[str, int], int],
    world: World,
) -> None:
    variant = config["task"]["variants"][0]
    followed = ("td_error", "q_left", "q_right", "q_up", "q_down") if task == "grid_world" else ("sr", "sr_error")
    for section in config["intervention"]:
        job_id = w.job("intervene", section["name"])
        blocks = range(3, 3 + section["blocks"])
        first = {"none": 0, "random_direction": 0, "td_minus_q": 1}.get(section["control"], 40)
        latents = list(range(first, first + section["latents"]))
        row = Intervention(
            job_id=job_id,
            name=section["name"],
            model_id=model_id,
            sae_id=saes["paper", 3],
            block=3,
            latents=latents,
            operation=section["operation"],
            value=section["value"],
            target_signal=section["signal"],
            control=section["control"],
            description=f"as {section['name']} wants it",
        )
        w.session.add(row)
        w.session.flush()
        places = [
            {"intervention_id": row.id, "block": block, "latent": latent, "sae_id": saes["paper", block]}
            for block in blocks
            for latent in latents
        ]
        insert_rows(w.session, InterventionLatent, places)
        chosen = section["control"] in ("none", "td_minus_q")
        cost = world.cost if chosen else 0.0
        if section["decisions"] is not None:
            cost = min(cost, world.carried)
        _read(w, task, variant, job_id, model_id, world.gain - cost, intervention_id=row.id)
        metrics: list[tuple[str, int | None, float, float]] = [
            ("p_chosen", None, -cost / 2, 0.01),
            ("log_p_chosen", None, -cost, 0.02),
            ("accuracy", None, -cost, 0.01),
            ("neighbour_mass", None, -cost, 0.01),
            ("choice_shift", None, cost + 0.01, 0.005),
            *(
                (f"max_r_{name}", block, -cost * (block > 3) - 0.1 * (block in blocks), 0.02)
                for block in BLOCKS
                for name in followed
            ),
        ]
        effects = [
            {
                "intervention_id": row.id,
                "metric": metric,
                "block": block,
                "value": 0.5 + change,
                "baseline": 0.5,
                "difference": change,
                "ci_low": change - half,
                "ci_high": change + half,
                "n_rollouts": ROLLOUTS,
            }
            for metric, block, change, half in metrics
        ]
        insert_rows(w.session, InterventionEffect, effects)
        if task == "graph_walk":
            _write_maps(w, job_id, row.id, (3, 4))


def _write_measures(w: Writer, models: Mapping[str, int], world: World) -> None:
    def rows(measure: str, signal: str, source: str, value: float) -> Iterable[dict[str, Any]]:
        for block in BLOCKS:
            here = value - 0.01 * abs(block - 4)
            yield {
                "block": block,
                "source": source,
                "sae_name": "paper" if source in ("sae", "shuffled") else None,
                "measure": measure,
                "signal": signal,
                "value": here,
                "ci_low": here - 0.02,
                "ci_high": here + 0.02,
                "null_mean": 0.1,
                "null_threshold": None if source == "shuffled" else 0.2,
                "n_rollouts": ROLLOUTS,
            }

    strong = {"sr": 0.6, "sr_error": 0.6}
    for source in ("sae", "raw", "pca", "untrained", "shuffled", "stream"):
        model_id = models[f"{MODEL}-untrained" if source == "untrained" else MODEL]
        common = {"job_id": w.job("represent", source), "model_id": model_id, "task": "graph_walk"}
        own = source in ("sae", "stream")
        found: list[dict[str, Any]] = []
        measures = ("max_r", "max_r_partial", "max_r_given_states") if source != "stream" else ()
        if source in ("stream", "untrained"):
            measures = (*measures, "cka", "similarity")
            found += rows("decoding", "bottleneck", source, 0.7 if own else 0.5)
            found += rows("contrast", "community", source, 0.7 if own else 0.1)
        for measure in measures:
            for signal in ("sr", "transition", "mixing", "sr_error", "surprise"):
                best = strong.get(signal, 0.3) if own else 0.15
                found += rows(measure, signal, source, world.latents * best)
        insert_rows(w.session, BlockMeasure, [common | row for row in found])


def _write_maps(w: Writer, job_id: int, intervention_id: int | None, blocks: Iterable[int | None]) -> None:
    points = [
        {
            "job_id": job_id,
            "intervention_id": intervention_id,
            "block": block,
            "method": "mds",
            "source": "sr" if block is None else "stream",
            "rollout_index": 0,
            "item": node,
            "label": f"word{node}",
            "grp": community(node),
            "x": float(np.cos(node) + community(node)),
            "y": float(np.sin(node)),
        }
        for block in blocks
        for node in range(len(ADJACENCY))
    ]
    insert_rows(w.session, MapPoint, points)


NOTHING = replace(World(), gain=0.0, cost=0.0, carried=0.0, latents=0.1)
"""A study in which nothing is to be found."""
