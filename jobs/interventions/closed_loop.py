"""What an intervention does to a model that plays: returns, choices, likelihood."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import select

from envs.agents.behaviour import BehaviourFit as Fit
from envs.agents.behaviour import BehaviourModel, compare
from jobs import effects
from jobs.context import Context
from jobs.inference.base import Edit
from jobs.inference.play import Played, replay, texts_at_once
from jobs.inference.progress import Advance
from jobs.learners import q_learner
from jobs.reading import Rollouts
from jobs.stage import Unit
from jobs.stages.harvest import retold
from jobs.stages.signals import rollouts_of
from tdlens.record import BehaviourFit


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
    context: Context,
    unit: Unit,
    intact: Rollouts,
    edits: Sequence[Edit],
    edited: range | None,
    weights: NDArray[np.float64],
    progress: Advance,
) -> effects.Effect:
    """How far the choice probabilities move in the very contexts of the intact rollouts (total variation).

    Both sides are read in one pass without a cache, so that rounding can't pass for an effect.
    """
    reread = reread_intact(context, unit, edits, edited, progress)
    untouched = context.keep(lambda: reread_intact(context, unit), "reread", unit.parents_of("play")[0].identity)
    moved = effects.total_variation(reread.probabilities, untouched.probabilities)
    shift = np.array([row[own].mean() for row, own in zip(moved, intact.scored, strict=True)])
    return effects.paired("choice_shift", shift, np.zeros_like(shift), weights)


def reread_intact(
    context: Context,
    unit: Unit,
    edits: Sequence[Edit] = (),
    edited: range | None = None,
    progress: Advance | None = None,
) -> Played:
    """The intact rollouts' texts, read under the edits: what the model would choose in the same contexts."""
    played = unit.parents_of("play")[0]
    texts = retold(context, played.key, rollouts_of(context, played))
    actions = context.games(played.key)[0].actions
    batch_size = texts_at_once(context.study.model.batch_size, context.engine.readers)
    return replay(context.engine, texts, actions, edits=edits, edited=edited, batch_size=batch_size, progress=progress)


def refit(context: Context, unit: Unit, lesioned: Rollouts) -> Fit:
    """The Q-learner fitted to the choices under the intervention."""
    learner = q_learner(context.study.signals, context.task.actions)
    return compare(
        lesioned.transitions,
        lesioned.scored,
        [BehaviourModel(learner.name, learner)],
        np.random.default_rng(unit.seed),
        context.study.bootstrap,
    )[0]
