"""Latents changed before each choice, and the controls they are compared with."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

from sqlalchemy import select
from sqlalchemy.orm import Session

from envs.game import Game
from jobs.context import Context
from jobs.effects import resamples
from jobs.interventions.candidates import candidates
from jobs.interventions.closed_loop import behaviour_effects, choice_shift, refit
from jobs.interventions.edits import edits_of, trained_of
from jobs.interventions.later_blocks import Signals, States, followed, replayed, taking
from jobs.interventions.teacher_forced import prediction_effects
from jobs.learners import learned_signals
from jobs.reading import Rollouts
from jobs.recording import record_model, record_rollouts, record_signals, record_task
from jobs.sections import InterventionSection
from jobs.selection import Selection
from jobs.selection import select as choose
from jobs.stage import Plan, Publish, Unit
from jobs.stages.behaviour import behaviour_row
from jobs.stages.play import perform, play_config
from jobs.stages.signals import rollouts_of
from tdlens.errors import UserError
from tdlens.record import (
    BlockMeasure,
    Intervention,
    InterventionEffect,
    InterventionLatent,
    MapPoint,
    SaeCheckpoint,
    insert_rows,
)

NAME = "intervene"
DESCRIPTION = "latents changed in play or reading, with controls; effects on choices, likelihood, later blocks"

Q_SIGNALS = ("q_chosen", "q_unchosen", "q_max", "q_difference")
"""Beside the actions' own Q-values: the value signals whose latents ``td_minus_q`` avoids."""


def units(context: Context, plan: Plan) -> Iterable[Unit]:
    """One unit for each intervention, on the study's first variant."""
    study = context.study
    for section in study.intervention:
        if section.edited is not None and section.edited.stop > context.n_decisions:
            raise UserError(
                f"intervention {section.name}: decision {section.edited.stop - 1} is to be edited, but the last one is "
                f"{context.n_decisions - 1}.",
                f"set intervention.{section.name}.decisions within 0 and {context.n_decisions - 1}",
            )
        rank = next(u for u in plan.of("rank") if (u.config["source"], u.config["sae"]) == ("sae", section.sae))
        trained = [u for u in plan.of("train_sae") if u.config["name"] == section.sae]
        # not every task has behaviour of the model's own, or signals with a value for every state
        states = [u for u in plan.of("represent") if (u.config["source"], u.config["sae"]) == ("sae", section.sae)]
        parents = (plan.of("play")[0], plan.of("signals")[0], *plan.of("behaviour")[:1], rank, *states, *trained)
        config = {
            "intervention": section.config(),
            "play": play_config(context, study.task.variants[0]),
            "bootstrap": study.bootstrap,
        }
        yield Unit(NAME, section.name, config, parents, seed=study.seed)


def run(context: Context, unit: Unit) -> Publish:
    section = next(s for s in context.study.intervention if s.name == unit.key)
    selections = selected(context, unit, section)
    edits = edits_of(context, unit, section, selections)
    games = games_of(context, unit)
    intact = rollouts_of(context, unit.parents_of("play")[0])
    weights = resamples(len(games), context.study.bootstrap, unit.seed)

    names = followed(context, section.signal)
    signals, states = Signals(context, unit, names), States(context, unit)
    passes = 1 if context.task.teacher_forced else 2
    with context.progress(f"intervene {section.name}", passes * intact.step_ids.size) as advance:
        played = perform(
            context,
            games,
            seed=unit.seed,
            progress=advance,
            capture=context.blocks,
            take=taking(games, (signals, states)),
            edits=edits,
            edited=section.edited,
        )
        lesioned = Rollouts.of_games(games, played)
        if context.task.teacher_forced:
            found, again, fit = prediction_effects(context, intact, lesioned, weights), [], None
        else:
            found = behaviour_effects(context, unit, intact, lesioned, weights)
            found.append(choice_shift(context, unit, intact, edits, section.edited, weights, advance))
            again, fit = replayed(context, lesioned.transitions, names), refit(context, unit, lesioned)
    found += [*signals.differences(weights), *states.differences(weights)]
    points = states.points(selections[0].block)

    def publish(session: Session, job_id: int) -> None:
        study = context.study
        model_id = record_model(session, study.model.name, context.model_source, context.network)
        task = {key: value for key, value in unit.config["play"]["task"].items() if key != "name"}
        checkpoints = {each.block: _checkpoint(session, context, trained_of(unit, each.block)) for each in selections}
        first = selections[0]
        row = Intervention(
            job_id=job_id,
            name=section.name,
            model_id=model_id,
            sae_id=checkpoints[first.block],
            block=first.block,
            latents=list(first.latents),
            operation=section.operation,
            value=section.value,
            target_signal=section.signal,
            control=section.control,
            description="; ".join(each.description for each in selections),
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
        record_signals(session, job_id, step_ids, again)
        if fit is not None:
            fitted = behaviour_row(fit, job_id, study.task.name, model_id, len(games))
            fitted.intervention_id = row.id
            session.add(fitted)
        latents = [
            {"block": each.block, "latent": latent, "sae_id": checkpoints[each.block]}
            for each in selections
            for latent in each.latents
        ]
        about = [{"difference": effect.difference, "n_rollouts": len(games), **vars(effect)} for effect in found]
        measures = [
            {"job_id": job_id, "model_id": model_id, "task": study.task.name, "sae_name": section.sae, **measure}
            for measure in states.measures()
        ]
        maps = [{"job_id": job_id, **point} for point in points]
        for table, rows in (
            (InterventionLatent, latents),
            (InterventionEffect, about),
            (BlockMeasure, measures),
            (MapPoint, maps),
        ):
            insert_rows(session, table, [{"intervention_id": row.id, **values} for values in rows])

    return publish


def games_of(context: Context, unit: Unit) -> list[Game]:
    """Games to be played, or, where the task tells what another did, read: those are at their end after the first."""
    fresh = partial(context.games, unit.config["play"]["task"]["variant"])
    return context.keep(fresh, "games", unit.parents_of("play")[0].identity) if context.task.teacher_forced else fresh()


def selected(context: Context, unit: Unit, section: InterventionSection) -> list[Selection]:
    """The latents that the section asks for, block by block."""
    q_names = tuple(f"q_{action}" for action in context.task.actions)
    return choose(
        section,
        candidates(context, unit),
        n_blocks=context.engine.n_blocks,
        q_signals=(*q_names, *Q_SIGNALS),
        rl_signals=learned_signals(context.study.signals, context.task),
    )


def _checkpoint(session: Session, context: Context, trained: Unit) -> int:
    return session.scalars(select(SaeCheckpoint.id).where(SaeCheckpoint.job_id == context.job_id(trained))).one()
