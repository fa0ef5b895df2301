"""Many agents of one kind, an autoencoder for each: do live latents tell how well an agent plays (DuPlessie 2026)?

Each agent is trained with a seed of its own, plays as the study's agent does, and gets the autoencoder of one of the
study's sections, trained on its activations.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from pydantic import TypeAdapter, ValidationError
from sqlalchemy.orm import Session
from torch import Tensor

from jobs.context import Context
from jobs.inference.fingerprint import hash_weights
from jobs.networks.player import Player
from jobs.networks.playing import play_games
from jobs.networks.splices import Splice
from jobs.recording import record_model
from jobs.sections import SAESection
from jobs.stage import Plan, Publish, Unit
from jobs.stages.games import (
    AT_ONCE,
    greedy,
    outcome_shares,
    returns_of,
    sampled,
    task_config,
    unsampled,
    whole_games,
)
from jobs.stages.train_sae import record_autoencoder
from sae.autoencoder import Autoencoder
from sae.checkpoint import to_bytes
from tdlens.errors import UserError
from tdlens.record import ModelMetric, insert_rows, record_artifact

if TYPE_CHECKING:
    from jobs.networks.train import AgentConfig

NAME = "population"
DESCRIPTION = "agents of other seeds, each with an autoencoder: live latents beside how well they play"

WEIGHTS = "agent"
"""Name of the artifact that holds an agent's weights."""
STEPS = 100.0
"""Of the bar: half for the agent, half for its autoencoder."""


def units(context: Context, plan: Plan) -> Iterable[Unit]:
    """One unit an agent."""
    section, task = context.study.population, task_config(context)
    if not section.agents:
        return
    training = _training(context, task["task"]["variant"])
    sae = _autoencoder(context).model_dump(mode="json")
    for index in range(section.agents):
        config = {
            **task,
            "training": {**asdict(training), "hidden": list(training.hidden), "seed": index},
            "sae": sae,
            "block": context.blocks[-1],
            "rollouts": section.rollouts,
            "games": section.games,
        }
        yield Unit(NAME, f"{index:02d}", config, seed=context.study.seed)


def _training(context: Context, variant: Any) -> AgentConfig:
    """How every agent is trained, but for its seed.

    Raises:
        UserError: a setting that no training has, or a value that it doesn't take.
    """
    from jobs.networks.train import POPULATION, AgentConfig

    given = context.study.population.training
    try:
        if fixed := {"seed", "variant"} & set(given):
            raise ValueError(f"{fixed.pop()} is not to be set here: it follows from the agent's number and the task")
        training = replace(POPULATION, **given, variant=variant)
        training = TypeAdapter(AgentConfig).validate_python(asdict(training))
        if len(set(training.hidden)) > 1 or len(training.hidden) < context.blocks[-1]:
            raise ValueError(f"hidden must be layers of one width, at least {context.blocks[-1]}: {training.hidden}")
        _autoencoder(context).autoencoder(training.hidden[-1])
    except ValidationError as error:
        first = error.errors()[0]
        said = f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
    except (TypeError, ValueError) as error:
        said = str(error)
    else:
        return training
    raise UserError(f"population.training: {said}.", "Give settings of tdlens train-agent, with values that it takes.")


def run(context: Context, unit: Unit) -> Publish:
    with context.progress(f"population {unit.key}", STEPS) as advance:
        player = _trained(context, unit, lambda share: advance(share * STEPS / 2))
        x = _activations(context, unit, player)
        section, block = _autoencoder(context), unit.config["block"]
        config = section.autoencoder(player.d_model)
        n_steps = section.epochs * -(-len(x) // section.batch_size)
        trainer = context.trainer(section)
        fitted = trainer.fit(
            config, section.training(), x, seed=unit.seed, on_step=lambda: advance(STEPS / 2 / n_steps)
        )
    metrics = _metrics(context, unit, player, fitted.sae)
    metrics += unsampled({name: fitted.metrics[name] for name in ("live", "dead", "fvu", "l0")})
    blobs = context.record.blobs
    weights = blobs.put_tensors(dict(player.network.state_dict()))
    checkpoint = blobs.put_bytes(to_bytes(fitted.sae), "safetensors")

    def publish(session: Session, job_id: int) -> None:
        model_id = record_model(session, f"{NAME}/{unit.key}", player.source, player)
        common = {"job_id": job_id, "model_id": model_id, "block": block, "seed": unit.seed}
        about = {"name": f"{NAME}_{section.name}", "config": config.to_dict()}
        record_autoencoder(session, config, checkpoint, fitted.metrics, **about, **common)
        insert_rows(session, ModelMetric, [{"job_id": job_id, "model_id": model_id, **row} for row in metrics])
        record_artifact(session, job_id, WEIGHTS, weights)

    return publish


def _autoencoder(context: Context) -> SAESection:
    """The section whose autoencoder every agent gets."""
    study = context.study
    return next(section for section in study.sae if study.population.sae in (None, section.name))


def _trained(context: Context, unit: Unit, advance: Callable[[float], None]) -> Player:
    """An agent, from its configuration; ``advance`` is told which share of the training was done since."""
    from jobs.networks.learned import REWARD_SCALE
    from jobs.networks.train import AgentConfig, Progress, train_agent

    config = AgentConfig(**{**unit.config["training"], "hidden": tuple(unit.config["training"]["hidden"])})
    done = 0.0

    def on_progress(progress: Progress) -> None:
        nonlocal done
        share = min(1.0, progress.moves / config.moves)
        advance(share - done)
        done = share

    network = train_agent(config, on_progress, reports=5)
    return Player(
        network,
        gamma=config.gamma,
        reward_scale=REWARD_SCALE,
        source=f"trained in job population/{unit.key}, seed {config.seed}",
        fingerprint=hash_weights(repr(network), network),
    )


def _activations(context: Context, unit: Unit, player: Player) -> Tensor:
    """What the agent's layer puts out in play, [N, d]."""
    parts: list[Tensor] = []
    block, seeds = unit.config["block"], context.seeds(unit.config["rollouts"])
    games = context.seen_games(unit.config["task"]["variant"], seeds)
    play_games(player, games, capture=[block], take=lambda batch: parts.append(batch[block].flatten(0, 1)))
    return torch.cat(parts)


def _metrics(context: Context, unit: Unit, player: Player, sae: Autoencoder) -> list[dict[str, Any]]:
    """How well the agent plays, with its layer as it is and as its autoencoder gives it back."""
    games = whole_games(context, context.seeds(unit.config["games"]))
    play_games(player, games, batch_size=AT_ONCE)
    found = list(sampled({"return": returns_of(games), **outcome_shares(games)}))
    states = context.task.seen.states if context.task.seen else None
    if states is None:
        return found
    block, variant = unit.config["block"], unit.config["task"]["variant"]
    x = player.look(states.observe(np.flatnonzero(states.placed)), [block]).activations[block]
    exact = {
        "expected_return": states.play_out(greedy(player, states), variant).mean_return,
        "spliced_expected_return": states.play_out(greedy(player, states, Splice(block, sae)), variant).mean_return,
        "live_all": float((sae.encode(x) > 0).any(0).sum()),
    }
    return [*found, *unsampled(exact)]
