"""The paper's own example runs, replayed by our learner: is our TD error the published one?

Actions and rewards of these runs were read off the vector figures (Fig 3) or reconstructed from them (Fig 7).
"""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy.orm import Session

from envs.agents import QLearning, QLearningConfig, Transitions
from envs.game import Step
from envs.two_step import STANDARD_POINTS
from jobs.context import Context
from jobs.published.runs import example_runs, two_steps
from jobs.recording import record_rollouts, record_signals, record_task, replay_sources
from jobs.stage import Plan, Publish, Unit

NAME = "published"
DESCRIPTION = "the paper's example runs, replayed by our learner"

FIG7_EPISODES = ((0, 0), (1, 0), (1, 1), (0, 1), (1, 0), (1, 1), (0, 0), (0, 1), (0, 0), *((0, 1),) * 21)
"""Branch and leaf of each episode of Fig 7; branch 0 leads to X."""
OTHER_WINDOWS = (1, 11)
"""Panels of Fig 7 beside the window of four and the whole history; the one labelled n=10 is 11."""


def units(context: Context, plan: Plan) -> Iterable[Unit]:
    """One unit, in Two-Step studies only."""
    if context.study.task.name == "two_step":
        learner = {"alpha": 0.1, "gamma": 0.99, "window": 4, "other_windows": list(OTHER_WINDOWS)}
        # version 1 did not mark the choices of the random policy as forced
        yield Unit(NAME, "figures 3 and 7", learner, version=2)


def run(context: Context, unit: Unit) -> Publish:
    config = QLearningConfig(*(unit.config[name] for name in ("alpha", "gamma", "window")))
    learner = QLearning(context.task.actions, config, OTHER_WINDOWS)
    runs = {("standard", "fig 7"): [_fig7()], **_fig3()}
    replayed = {
        key: replay_sources(
            [Transitions.from_steps(history) for history in histories],
            [learner],
            [name for name in learner.describe() if name.startswith("td_error")],
        )
        for key, histories in runs.items()
    }

    def publish(session: Session, job_id: int) -> None:
        for (variant, figure), histories in runs.items():
            task = {"variant": variant, "source": f"Demircan et al. 2025, {figure}"}
            task_id = record_task(session, "two_step", task, context.task.actions)
            seeds = range(len(histories))
            policy = f"published {figure}"
            step_ids = record_rollouts(session, histories, seeds, job_id=job_id, task_id=task_id, policy=policy)
            record_signals(session, job_id, step_ids, replayed[variant, figure])

    return publish


def _fig7() -> list[Step]:
    return [
        step
        for episode, (branch, leaf) in enumerate(FIG7_EPISODES)
        for step in two_steps(episode, branch, branch, leaf, STANDARD_POINTS[branch][leaf])
    ]


def _fig3() -> dict[tuple[str, str], list[list[Step]]]:
    runs: dict[tuple[str, str], list[list[Step]]] = {}
    for run in example_runs():
        runs.setdefault((run.variant, "fig 3"), []).append(run.steps)
    return runs
