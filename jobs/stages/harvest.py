"""Control: an untrained model of the same architecture reads the same texts, and its activations are captured."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from sqlalchemy.orm import Session

from envs.transcript import Transcript
from jobs.context import Context
from jobs.inference.play import read, texts_at_once
from jobs.reading import Rollouts
from jobs.recording import record_model
from jobs.shards import Shard, ShardWriters, record_capture
from jobs.stage import Plan, Publish, Unit
from jobs.stages.signals import rollouts_of

NAME = "harvest"
DESCRIPTION = "an untrained model of the same architecture reads the same texts"


def units(context: Context, plan: Plan) -> Iterable[Unit]:
    """One unit a variant, if the untrained control is wanted."""
    if "untrained" in context.study.correlate.controls:
        for play in plan.of("play"):
            yield Unit(NAME, play.key, {"weights": "untrained"}, parents=(play,), seed=context.study.seed)


def run(context: Context, unit: Unit) -> Publish:
    rollouts = rollouts_of(context, unit.parents[0])
    if context.task.seen is not None:
        return _seen(context, unit, rollouts)
    transcripts = retold(context, unit.key, rollouts)
    bar = context.progress(f"untrained model reads {unit.key}", rollouts.step_ids.size)
    with bar as advance, ShardWriters.of(context) as writers:
        read(
            context.untrained_engine,
            transcripts,
            capture=context.blocks,
            take=writers.take,
            batch_size=texts_at_once(context.study.model.batch_size, context.untrained_engine.readers),
            progress=advance,
        )
        shards = writers.results()

    return _publish(context, unit, rollouts, shards)


def _seen(context: Context, unit: Unit, rollouts: Rollouts) -> Publish:
    """An untrained network looks at what the agent saw: the same games, taking the recorded actions."""
    bar = context.progress(f"untrained network looks at {unit.key}", rollouts.step_ids.size)
    with bar as advance, ShardWriters.of(context) as writers:
        for game, transitions in zip(context.seen_games(unit.key), rollouts.transitions, strict=True):
            seen = []
            for action in transitions.action.tolist():
                seen.append(game.observation)
                game.observe()
                game.act(action)
            look = context.untrained_player.look(np.stack(seen), context.blocks)
            writers.take({block: x[None] for block, x in look.activations.items()})
            advance(len(transitions))
        shards = writers.results()
    return _publish(context, unit, rollouts, shards)


def _publish(context: Context, unit: Unit, rollouts: Rollouts, shards: Sequence[Shard]) -> Publish:
    def publish(session: Session, job_id: int) -> None:
        name = f"{context.study.model.name}-untrained"
        model_id = record_model(session, name, f"fresh weights, seed {unit.seed}", context.untrained_network)
        record_capture(session, context, shards, rollouts.step_ids, job_id=job_id, model_id=model_id)

    return publish


def retold(context: Context, variant: str, rollouts: Rollouts) -> list[Transcript]:
    """The recorded games as texts with their decision words: the same games, taking the recorded actions."""
    games = context.games(variant)
    for game, transitions, text in zip(games, rollouts.transitions, rollouts.transcripts, strict=True):
        for action in transitions.action.tolist():
            game.observe()
            game.act(action)
        if game.transcript().text != text:
            raise RuntimeError("the task no longer tells a recorded rollout as it did: its text differs")
    return [game.transcript() for game in games]
