"""Closed-loop runs with latents changed before each choice, and the controls they are compared with."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from itertools import islice

import numpy as np
import torch
from numpy.typing import NDArray
from sqlalchemy import select
from sqlalchemy.orm import Session

from envs.agents import Transitions
from envs.agents.behaviour import BehaviourModel, compare
from envs.game import Game
from jobs import effects
from jobs.context import Context
from jobs.inference.base import Edit
from jobs.inference.edits import DirectionEdit, LatentEdit
from jobs.inference.play import Played, play, replay, texts_at_once
from jobs.inference.progress import Advance
from jobs.learners import myopic_learner, q_learner
from jobs.reading import Rollouts, read_signals
from jobs.recording import record_model, record_rollouts, record_signals, record_task, replay_sources
from jobs.sections import InterventionSection
from jobs.selection import Selection
from jobs.selection import select as choose
from jobs.stage import Plan, Publish, Unit
from jobs.stages.behaviour import behaviour_row
from jobs.stages.correlate import autoencoder_of
from jobs.stages.harvest import retold
from jobs.stages.play import play_config
from jobs.stages.rank import matrix_of
from jobs.stages.signals import rollouts_of
from jobs.stages.train_sae import activations_of
from sae.autoencoder import Autoencoder
from sae.metrics import evaluate
from tdlens.record import BehaviourFit, Intervention, InterventionEffect, SaeCheckpoint, insert_rows

NAME = "intervene"
DESCRIPTION = "latents changed in closed loop, with controls; effects on return, choices, likelihood, later blocks"

Q_SIGNALS = ("q_chosen", "q_unchosen", "q_max", "q_difference")
"""Beside the actions' own Q-values: the value signals whose latents ``td_minus_q`` avoids."""


def units(context: Context, plan: Plan) -> Iterable[Unit]:
    """One unit for each intervention, on the study's first variant."""
    study = context.study
    for section in study.intervention:
        rank = next(u for u in plan.of("rank") if (u.config["source"], u.config["sae"]) == ("sae", section.sae))
        trained = [u for u in plan.of("train_sae") if u.config["name"] == section.sae]
        parents = (plan.of("play")[0], plan.of("signals")[0], plan.of("behaviour")[0], rank, *trained)
        config = {
            "intervention": section.model_dump(mode="json"),
            "play": play_config(context, study.task.variants[0]),
            "bootstrap": study.bootstrap,
        }
        yield Unit(NAME, section.name, config, parents, seed=study.seed)


def run(context: Context, unit: Unit) -> Publish:
    section = next(s for s in context.study.intervention if s.name == unit.key)
    learner = q_learner(context.study.signals, context.task.actions)
    intact = rollouts_of(context, unit.parents_of("play")[0])
    q_names = tuple(f"q_{action}" for action in context.task.actions)
    selection = choose(
        section,
        matrix_of(context, unit.parents_of("rank")[0]),
        q_signals=(*q_names, *Q_SIGNALS),
        rl_signals=[*learner.describe(), *myopic_learner(context.study.signals, context.task.actions).describe()],
    )
    edits = edits_of(context, unit, section, selection)

    games = context.games(unit.config["play"]["task"]["variant"])
    decisions = sum(game.n_decisions for game in games)
    names = ("td_error", *q_names)
    later = LaterBlocks(context, unit, names, games)
    with context.progress(f"intervene {section.name}", 2 * decisions) as advance:
        played = play(
            context.engine,
            games,
            capture=context.blocks,
            take=later.take,
            edits=edits,
            seed=unit.seed,
            batch_size=context.study.model.batch_size,
            progress=advance,
        )
        reread = reread_intact(context, unit, edits, advance)
    lesioned = Rollouts.of_games(games, played)
    replayed = replay_sources(lesioned.transitions, [learner], names)
    weights = resamples(len(games), context.study.bootstrap, unit.seed)
    found = [
        *behaviour_effects(context, unit, intact, lesioned, weights),
        choice_shift(context, unit, intact, reread, weights),
        *later.differences(weights),
    ]
    refit = compare(
        lesioned.transitions,
        lesioned.scored,
        [BehaviourModel(learner.name, learner)],
        np.random.default_rng(unit.seed),
        context.study.bootstrap,
    )[0]

    def publish(session: Session, job_id: int) -> None:
        study = context.study
        model_id = record_model(session, study.model.name, context.model_files.source, context.engine)
        task = {key: value for key, value in unit.config["play"]["task"].items() if key != "name"}
        row = Intervention(
            job_id=job_id,
            name=section.name,
            model_id=model_id,
            sae_id=_checkpoint(session, context, _trained(unit, selection.block)),
            block=selection.block,
            latents=list(selection.latents),
            operation=section.operation,
            value=section.value,
            target_signal=section.signal,
            control=section.control,
            description=selection.description,
        )
        session.add(row)
        session.flush()
        step_ids = record_rollouts(
            session,
            [game.steps for game in games],
            context.rollout_seeds,
            played,
            job_id=job_id,
            task_id=record_task(session, study.task.name, task, context.task.actions),
            model_id=model_id,
            policy="model",
            intervention_id=row.id,
        )
        record_signals(session, job_id, step_ids, replayed)
        fit = behaviour_row(refit, job_id, study.task.name, model_id, len(games))
        fit.intervention_id = row.id
        session.add(fit)
        insert_rows(
            session,
            InterventionEffect,
            [
                {
                    "intervention_id": row.id,
                    "n_rollouts": len(games),
                    "difference": effect.difference,
                    **vars(effect),
                }
                for effect in found
            ],
        )

    return publish


def edits_of(context: Context, unit: Unit, section: InterventionSection, selection: Selection) -> list[Edit]:
    """The edit that the section describes, on the selected latents; none where no latent was left to select."""
    if not selection.latents:
        return []
    trained = _trained(unit, selection.block)
    sae = autoencoder_of(context, trained)
    means = None
    if section.operation == "mean":
        x = activations_of(context, trained.parents_of("play"), selection.block)
        means = evaluate(sae, [x]).latent_mean[list(selection.latents)].tolist()
    edit = LatentEdit(
        selection.block,
        sae.to(context.engine.device),
        selection.latents,
        section.operation,
        value=section.value,
        means=means,
    )
    if section.control == "random_direction":
        return [DirectionEdit(edit, seed=unit.seed * 1000 + section.draw)]
    return [edit]


def reread_intact(context: Context, unit: Unit, edits: Sequence[Edit], progress: Advance | None = None) -> Played:
    """The intact rollouts' texts, read under the edits: what the model would choose in the same contexts."""
    played = unit.parents_of("play")[0]
    texts = retold(context, played.key, rollouts_of(context, played))
    actions = context.games(played.key)[0].actions
    batch_size = texts_at_once(context.study.model.batch_size, context.engine.readers)
    return replay(context.engine, texts, actions, edits=edits, batch_size=batch_size, progress=progress)


def behaviour_effects(
    context: Context, unit: Unit, intact: Rollouts, lesioned: Rollouts, weights: NDArray[np.float64]
) -> list[effects.Effect]:
    """Return, choices and likelihood; the intact rollouts of the same seeds are the baseline."""
    learner = q_learner(context.study.signals, context.task.actions)
    with context.record.session(read_only=True) as session:
        beta = session.scalars(
            select(BehaviourFit.beta).where(
                BehaviourFit.job_id == context.job_id(unit.parents_of("behaviour")[0]),
                BehaviourFit.behaviour_model == learner.name,
            )
        ).one()

    def effect(metric: str, measure: Callable[[Rollouts], effects.Array], *, total: bool = False) -> effects.Effect:
        return effects.paired(metric, measure(lesioned), measure(intact), weights, total=total)

    return [
        effect("return", lambda r: effects.mean_return(r.transitions, r.scored)),
        effect("return_last_10", lambda r: effects.mean_return(r.transitions, r.scored, last=10)),
        effect("p_greedy", lambda r: effects.p_greedy(r.transitions, r.scored, r.probabilities, learner)),
        effect("nll_q", lambda r: effects.nll_under(r.transitions, r.scored, learner, beta or 0.0), total=True),
    ]


def choice_shift(
    context: Context, unit: Unit, intact: Rollouts, reread: Played, weights: NDArray[np.float64]
) -> effects.Effect:
    """How far the choice probabilities move in the very contexts of the intact rollouts (total variation).

    Both sides are read in one pass without a cache, so that rounding can't pass for an effect.
    """
    untouched = context.keep(lambda: reread_intact(context, unit, ()), "reread", unit.parents_of("play")[0].identity)
    moved = np.abs(reread.probabilities - untouched.probabilities).sum(-1) / 2
    shift = np.array([row[own].mean() for row, own in zip(moved, intact.scored, strict=True)])
    return effects.paired("choice_shift", shift, np.zeros_like(shift), weights)


class LaterBlocks:
    """Highest correlation with each signal in every block, with and without the intervention (paper Fig 2G, H).

    Batches are taken as they are played, and of their activations only sums are kept. Autoencoders of all blocks may
    be larger than the memory: they are mapped from their files, and verified once in a process.
    """

    def __init__(self, context: Context, unit: Unit, names: tuple[str, ...], games: Sequence[Game]) -> None:
        self._context = context
        self._unit = unit
        self._names = names
        self._games = iter(games)
        self._parts: dict[int, list[effects.Moments]] = defaultdict(list)

    def take(self, activations: dict[int, torch.Tensor]) -> None:
        """Gather the next games' residual stream, block to [b, T, d], and what the learner makes of them."""
        n_rollouts = len(next(iter(activations.values())))
        learner = q_learner(self._context.study.signals, self._context.task.actions)
        transitions = [Transitions.from_steps(game.steps) for game in islice(self._games, n_rollouts)]
        (replayed,) = replay_sources(transitions, [learner], self._names)
        y = np.stack([replayed.values[name] for name in self._names], axis=-1)
        for trained in self._unit.parents_of("train_sae"):
            block = trained.config["block"]
            self._parts[block].append(moments(self._autoencoder(trained), activations[block], y))

    def _autoencoder(self, trained: Unit) -> Autoencoder:
        make = partial(autoencoder_of, self._context, trained)
        return self._context.keep(make, "autoencoder", trained.identity)

    def differences(self, weights: NDArray[np.float64]) -> list[effects.Effect]:
        """Of all the games that were taken; ``weights`` as in :func:`effects.paired`."""
        found = []
        for trained in self._unit.parents_of("train_sae"):
            intact = self._context.keep(partial(self._intact, trained), "moments", trained.identity, self._names)
            block = trained.config["block"]
            lesioned = effects.Moments.joined(self._parts[block])
            found += effects.correlation_effects(self._names, lesioned, intact, weights, block)
        return found

    def _intact(self, trained: Unit) -> effects.Moments:
        plays, replays = self._unit.parents_of("play"), self._unit.parents_of("signals")
        step_ids = rollouts_of(self._context, plays[0]).step_ids
        with self._context.record.session(read_only=True) as session:
            y = read_signals(session, self._context.job_id(replays[0]), step_ids, self._names)
        x = activations_of(self._context, plays, trained.config["block"])
        return moments(self._autoencoder(trained), x.reshape(*step_ids.shape, -1), y)


def moments(sae: Autoencoder, x: torch.Tensor, y: NDArray[np.float64]) -> effects.Moments:
    """Of the latents of a residual stream [R, T, d] and signals [R, T, S]; one rollout's latents are held at a time."""
    return effects.Moments.joined(
        [
            effects.Moments.of(sae.encode(one.float()[None]).double().numpy(), signals[None])
            for one, signals in zip(x, y, strict=True)
        ]
    )


def resamples(n: int, count: int, seed: int) -> NDArray[np.float64]:
    """How often each of ``n`` rollouts occurs in each of ``count`` bootstrap resamples, [count, n]."""
    drawn = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), size=count)
    return drawn.astype(np.float64)


def _trained(unit: Unit, block: int) -> Unit:
    return next(trained for trained in unit.parents_of("train_sae") if trained.config["block"] == block)


def _checkpoint(session: Session, context: Context, trained: Unit) -> int:
    return session.scalars(select(SaeCheckpoint.id).where(SaeCheckpoint.job_id == context.job_id(trained))).one()
