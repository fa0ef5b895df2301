"""An agent's whole games, beside those of random and of best play: the measure of all that is done to it.

Game i starts and is answered alike whoever plays, so that all are paired.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from sqlalchemy.orm import Session

from envs import States
from jobs.context import Context
from jobs.inference.base import StreamEdit
from jobs.networks.player import Player
from jobs.networks.playing import SeenGame, play_games
from jobs.stage import Plan, Publish, Unit
from jobs.stages.play import record_played
from sae.rollout_means import mean_interval
from tdlens.record import ModelMetric, insert_rows

NAME = "games"
DESCRIPTION = "an agent's whole games, beside random and best play"

MODEL, RANDOM, OPTIMAL = "model", "random", "optimal"
"""Who chooses, as the record calls it."""
AT_ONCE = 250
"""Games played side by side."""

Floats = NDArray[np.float64]
Choose = Callable[[Sequence[SeenGame]], Sequence[int]]
"""An action in each of several games."""


def units(context: Context, plan: Plan) -> Iterable[Unit]:
    """One unit for each player, on the study's first variant."""
    seen = context.task.seen
    if seen is None:
        return
    for policy in (MODEL, RANDOM, *([OPTIMAL] if seen.states is not None else [])):
        config = {**task_config(context), "policy": policy, "games": context.study.games.played}
        if policy == MODEL:
            config |= context.model_config
        yield Unit(NAME, policy, config, seed=context.study.seed)


def task_config(context: Context) -> dict[str, Any]:
    """The task as its whole games are played."""
    task = context.task.config(variant=context.study.task.variants[0], **context.task_settings)
    return {"task": {"name": context.study.task.name, **asdict(task)}}


def run(context: Context, unit: Unit) -> Publish:
    policy, seeds = unit.config["policy"], context.seeds(unit.config["games"])
    games = whole_games(context, seeds)
    with context.progress(f"games, {policy}", len(games)) as advance:
        for first in range(0, len(games), AT_ONCE):
            batch = games[first : first + AT_ONCE]
            if policy == MODEL:
                play_games(context.player, batch)
            else:
                _play(batch, _choices(context, policy, unit.seed + first))
            advance(len(batch))
    metrics = list(_metrics(context, games)) if policy == MODEL else []

    def publish(session: Session, job_id: int) -> None:
        _, model_id = record_played(session, job_id, context, unit, games, seeds, policy=policy)
        insert_rows(session, ModelMetric, [{"job_id": job_id, "model_id": model_id, **metric} for metric in metrics])

    return publish


def whole_games(context: Context, seeds: Sequence[int]) -> list[SeenGame]:
    """Fresh whole games of the study's first variant, one for each seed."""
    assert context.task.seen is not None
    config = context.task.config(variant=context.study.task.variants[0], **context.task_settings)
    return [cast(SeenGame, context.task.seen.whole_game(config, seed)) for seed in seeds]


def returns_of(games: Sequence[SeenGame]) -> Floats:
    """Return of each finished game, in the task's points."""
    return np.array([sum(step.reward for step in game.steps) for game in games], dtype=np.float64)


def outcome_shares(games: Sequence[SeenGame]) -> dict[str, Floats]:
    """Whether each game ended so, by the name of the outcome; every outcome that games of the task can have."""
    ended = [game.outcomes[-1] for game in games if game.outcomes]
    if len(ended) < len(games):
        return {}
    return {
        kind.name.lower(): np.array([outcome is kind for outcome in ended], float)
        for kind in type(ended[0])
        if kind.value
    }


def greedy(player: Player, states: States, edit: StreamEdit | None = None) -> NDArray[np.int64]:
    """The action that an agent takes in every state [n_states]."""
    q = player.look(states.observe(np.arange(len(states.placed))), edit=edit).q
    return q.argmax(1).numpy()


def _metrics(context: Context, games: Sequence[SeenGame]) -> Iterator[dict[str, Any]]:
    """How well the agent plays: over the games with intervals and, where all states can be listed, exactly."""
    lengths = np.array([len(game.steps) for game in games], dtype=np.float64)
    yield from sampled({"return": returns_of(games), "length": lengths, **outcome_shares(games)})
    states = context.task.seen.states if context.task.seen else None
    if states is not None:
        variant = context.study.task.variants[0]
        exact = states.play_out(greedy(context.player, states), variant)
        shares = {f"expected_{outcome.name.lower()}": share for outcome, share in exact.shares.items()}
        exactly = {"expected_return": exact.mean_return, **shares, "ceiling": states.ceiling(variant)}
        yield from unsampled(exactly)


def sampled(measures: Mapping[str, Floats]) -> Iterator[dict[str, Any]]:
    """Metrics of a model that have a value for each game [n], as the record keeps them: means with intervals."""
    for name, values in measures.items():
        mean = mean_interval(values)
        yield {"name": name, "value": mean.value, "ci_low": mean.low, "ci_high": mean.high, "n": mean.n}


def unsampled(values: Mapping[str, float]) -> Iterator[dict[str, Any]]:
    """Metrics that are exact, or have no interval."""
    blank = dict.fromkeys(("ci_low", "ci_high", "n"))
    yield from ({"name": name, "value": value, **blank} for name, value in values.items())


def _choices(context: Context, policy: str, seed: int) -> Choose:
    if policy == RANDOM:
        rng, n = np.random.default_rng(seed), len(context.task.actions)
        return lambda games: rng.integers(n, size=len(games)).tolist()
    assert context.task.seen is not None and context.task.seen.states is not None
    best = context.task.seen.states.best_values(context.study.task.variants[0]).argmax(1)
    return lambda games: [int(best[game.state]) for game in games]


def _play(games: Sequence[SeenGame], choose: Choose) -> None:
    playing = list(games)
    while playing:
        for game, action in zip(playing, choose(playing), strict=True):
            game.observe()
            game.act(action)
        playing = [game for game in playing if not game.done]
