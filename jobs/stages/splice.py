"""An agent plays its games again with a layer's output replaced: by a reconstruction, without latents, by nothing.

The *kill test* removes all latents together that fire, but seldom, from the layer's output in delta form. There are
many of them, but few are active at a time; its control removes others, drawn at random, that together are active as
often. What each does is compared with the same games as they were; how faithful it is, is measured on rollouts that no
autoencoder was trained on.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from sqlalchemy import select
from sqlalchemy.orm import Session
from torch import Tensor

from jobs.context import Context
from jobs.effects import Effect, paired, resamples
from jobs.inference.base import StreamEdit
from jobs.inference.edits import LatentEdit
from jobs.networks.player import Player
from jobs.networks.playing import SeenGame, play_games
from jobs.networks.splices import Constant, Splice
from jobs.recording import record_model
from jobs.stage import Plan, Publish, Unit
from jobs.stages.correlate import autoencoder_of
from jobs.stages.games import AT_ONCE, MODEL, greedy, outcome_shares, returns_of, task_config, whole_games
from jobs.stages.play import record_played
from jobs.stages.train_sae import activations_of
from sae.metrics import evaluate
from sae.rollout_means import mean_interval
from tdlens.record import (
    Episode,
    Intervention,
    InterventionEffect,
    InterventionLatent,
    Rollout,
    SaeCheckpoint,
    insert_rows,
)

NAME = "splice"
DESCRIPTION = "an agent's games with a layer replaced by its reconstruction, robbed of latents, or made constant"

CHUNK = 8192
"""Rows that are replaced at once."""
FRESH = 20
"""Rollouts, further than the study's own, on which fidelity is measured."""
BASELINES = "baselines"
"""The unit without an autoencoder: the layer's mean, and zero."""

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Replacement:
    """One way to replace a layer's output."""

    operation: str
    """As the record calls it."""
    edit: StreamEdit
    description: str
    latents: tuple[int, ...] = ()
    """Those removed, if any are."""
    control: str = "none"


def units(context: Context, plan: Plan) -> Iterable[Unit]:
    """One unit for each autoencoder, and one for each block's baselines."""
    if context.task.seen is None:
        return
    study = context.study
    games = next(unit for unit in plan.of("games") if unit.key == MODEL)
    parents = (plan.of("play")[0], games)
    counts = {"games": min(study.games.spliced, study.games.played), "boot": study.bootstrap, "fresh": FRESH}
    common = {**task_config(context), **counts}
    for block in context.blocks:
        yield Unit(NAME, f"{BASELINES}/block {block}", {**common, "block": block}, parents, seed=study.seed)
    for trained in plan.of("train_sae"):
        config = {**common, "block": trained.config["block"], "infrequent": study.games.infrequent}
        yield Unit(NAME, trained.key, config, (*parents, trained), seed=study.seed)


def run(context: Context, unit: Unit) -> Publish:
    x = activations_of(context, unit.parents_of("play"), unit.config["block"])
    fresh = _fresh(context, unit)
    seeds = context.seeds(unit.config["games"])
    replacements = list(_replacements(context, unit, x))
    intact = _intact(context, unit)
    weights = resamples(len(seeds), unit.config["boot"], unit.seed)
    done: list[tuple[Replacement, list[SeenGame], list[tuple[Effect, int]]]] = []
    with context.progress(f"splice {unit.key}", len(replacements) * len(seeds)) as advance:
        for replacement in replacements:
            games = whole_games(context, seeds)
            for first in range(0, len(games), AT_ONCE):
                play_games(context.player, games[first : first + AT_ONCE], edit=replacement.edit)
                advance(len(games[first : first + AT_ONCE]))
            found = [
                (paired(name, values, intact.get(name, np.zeros(len(seeds))), weights), len(seeds))
                for name, values in _scores(games)
            ]
            done.append((replacement, games, [*found, *_fidelity(context, fresh, replacement.edit)]))

    def publish(session: Session, job_id: int) -> None:
        for replacement, games, effects in done:
            row = _intervention(session, context, unit, replacement, job_id)
            record_played(session, job_id, context, unit, games, seeds, intervention_id=row.id)
            about = [{"difference": one.difference, "n_rollouts": n, **vars(one)} for one, n in effects]
            insert_rows(session, InterventionEffect, [{"intervention_id": row.id, **values} for values in about])

    return publish


def _replacements(context: Context, unit: Unit, x: Tensor) -> Iterator[Replacement]:
    block = unit.config["block"]
    if not (trained := unit.parents_of("train_sae")):
        mean = x.mean(0, dtype=torch.float64).float()
        yield Replacement("mean_layer", Constant(block, mean), "the layer's mean output", control="mean_layer")
        yield Replacement(
            "zero_layer", Constant(block, torch.zeros_like(mean)), "no output at all", control="zero_layer"
        )
        return
    sae = autoencoder_of(context, trained[0])
    yield Replacement("splice", Splice(block, sae), "the autoencoder's reconstruction")
    frequency = evaluate(sae, [x]).frequency
    seldom = np.flatnonzero((frequency > 0) & (frequency < unit.config["infrequent"]))
    others = np.flatnonzero(frequency >= unit.config["infrequent"])
    drawn = _as_active(frequency, others, frequency[seldom].sum(), np.random.default_rng(unit.seed))
    for operation, latents, control, which in (
        ("kill_infrequent", seldom, "none", "all that fire, but at less than"),
        ("kill_frequent", drawn, "matched_activity", "as active together, drawn from those that fire at more than"),
    ):
        if len(latents):
            chosen = tuple(latents.tolist())
            share = f"{100 * unit.config['infrequent']:g} % of the decisions"
            description = f"{len(chosen)} latents removed: {which} {share}"
            yield Replacement(operation, LatentEdit(block, sae, chosen, "zero"), description, chosen, control)


def _as_active(
    frequency: Floats, latents: NDArray[np.int64], activity: float, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Some of the latents, in a random order, until as many are active at a decision as ``activity`` says."""
    order = rng.permutation(latents)
    reached = np.concatenate([[0.0], np.cumsum(frequency[order])])
    return np.sort(order[: int(np.abs(reached - activity).argmin())])


def _scores(games: list[SeenGame]) -> Iterator[tuple[str, Floats]]:
    """Measures of each game: its return, and whether it ended so."""
    yield "return", returns_of(games)
    yield from outcome_shares(games).items()


def _intact(context: Context, unit: Unit) -> dict[str, Floats]:
    """The same measures of the games as they were."""
    (games,) = unit.parents_of("games")
    with context.record.session(read_only=True) as session:
        rows = session.execute(
            select(Episode.return_, Episode.outcome)
            .join(Rollout, Rollout.id == Episode.rollout_id)
            .where(Rollout.job_id == context.job_id(games), Rollout.index < unit.config["games"])
            .order_by(Rollout.index)
        ).all()
    returns, outcomes = zip(*rows, strict=True)
    ended = np.array(outcomes)
    shares = {str(name): (ended == name).astype(np.float64) for name in np.unique(ended)}
    return {"return": np.array(returns, dtype=np.float64), **shares}


def _fresh(context: Context, unit: Unit) -> Tensor:
    """The layer's output in rollouts after the study's own, [R, T, d]."""
    block, parts = unit.config["block"], []
    seeds = context.seeds(unit.config["fresh"], first=context.study.task.rollouts)
    games = context.seen_games(unit.config["task"]["variant"], seeds)
    play_games(context.player, games, capture=[block], take=lambda batch: parts.append(batch[block]))
    return torch.cat(parts)


def _fidelity(context: Context, x: Tensor, edit: StreamEdit) -> Iterator[tuple[Effect, int]]:
    """How much of the layer's output is kept, and how often the action stays the same, with the rollouts behind it.

    Over the decisions of fresh play [R, T, d] and, where all states can be listed, over all of these: no rollouts then.
    """
    player, rows = context.player, x.flatten(0, 1)
    same = np.concatenate([_agrees(player, part, edit) for part in torch.split(rows, CHUNK)])
    mean = mean_interval(same.reshape(len(x), -1).mean(1))
    yield Effect("agreement", mean.value, 1.0, mean.low - 1, mean.high - 1), len(x)
    yield Effect("fvu", _unexplained(rows, edit), 0.0, np.nan, np.nan), len(x)
    states = context.task.seen.states if context.task.seen else None
    if states is None:
        return
    whole = player.look(states.observe(np.flatnonzero(states.placed)), [edit.block]).activations[edit.block]
    yield Effect("agreement_all", float(_agrees(player, whole, edit).mean()), 1.0, np.nan, np.nan), 0
    yield Effect("fvu_all", _unexplained(whole, edit), 0.0, np.nan, np.nan), 0
    variant = context.study.task.variants[0]
    played, intact = (states.play_out(greedy(player, states, each), variant).mean_return for each in (edit, None))
    yield Effect("expected_return", played, intact, np.nan, np.nan), 0


def _agrees(player: Player, x: Tensor, edit: StreamEdit) -> Floats:
    """Whether the same action is taken from each row of a block's output [n, d] as from what it is replaced by."""
    before, after = (player.onwards(h, edit.block).argmax(1) for h in (x, edit(x)))
    return (before == after).double().numpy()


def _unexplained(x: Tensor, edit: StreamEdit) -> float:
    """Squared error of what a block's output [N, d] is replaced by, over its squared distance from its mean."""
    mean = x.mean(0, dtype=torch.float64)
    error = sum(float((edit(rows).double() - rows.double()).square().sum()) for rows in torch.split(x, CHUNK))
    total = sum(float((rows.double() - mean).square().sum()) for rows in torch.split(x, CHUNK))
    return error / total


def _intervention(
    session: Session, context: Context, unit: Unit, replacement: Replacement, job_id: int
) -> Intervention:
    """The row of a replacement, with its latents."""
    block, trained = unit.config["block"], unit.parents_of("train_sae")
    sae_id, name = None, replacement.operation
    if trained:
        query = select(SaeCheckpoint.id).where(SaeCheckpoint.job_id == context.job_id(trained[0]))
        sae_id, name = session.scalars(query).one(), f"{trained[0].config['name']}_{name}"
    if block != context.blocks[0]:
        name = f"{name}_block_{block}"
    row = Intervention(
        job_id=job_id,
        name=name,
        model_id=record_model(session, context.study.model.name, context.model_source, context.network),
        sae_id=sae_id,
        block=block,
        latents=list(replacement.latents),
        operation=replacement.operation,
        target_signal="",
        control=replacement.control,
        description=replacement.description,
    )
    session.add(row)
    session.flush()
    about = {"intervention_id": row.id, "block": block, "sae_id": sae_id}
    insert_rows(session, InterventionLatent, [{**about, "latent": latent} for latent in replacement.latents])
    return row
