"""The sources that a study's task and settings call for."""

from __future__ import annotations

from typing import Any

import pytest

from envs import TASKS
from envs.agents import described, signal_sources
from jobs.learners import matrix_sources, sources
from jobs.sections import SignalsSection


def section(task: str, **settings: Any) -> SignalsSection:
    return SignalsSection.model_validate({"agents": TASKS[task].agents, **settings})


@pytest.mark.parametrize("task", TASKS)
def test_every_task_names_sources_that_there_are(task: str) -> None:
    known, made = described(TASKS[task].actions, TASKS[task].n_states), sources(section(task), TASKS[task])
    assert set(TASKS[task].agents) <= set(known)
    assert [source.name for source in made] == [name for name in TASKS[task].agents if name in signal_sources()]
    names = [name for agent in TASKS[task].agents for name in known[agent].describe()]
    assert len(names) == len(set(names)) and ({"step", "log_step"} <= set(names) or TASKS[task].make is None)


def test_only_the_graph_has_matrices() -> None:
    given = {name: matrix_sources(section(name), task) for name, task in TASKS.items()}
    names = {name: [m for source in made for m in source.describe_matrices()] for name, made in given.items()}
    assert names["two_step"] == names["grid_world"] == []
    assert names["graph_walk"] == ["sr", "sr_error", "transition", "surprise", "mixing"]


@pytest.mark.parametrize(("window", "recorded"), [(3, 3), ("all", None)])
def test_learners_have_the_settings_of_the_study(window: int | str, recorded: int | None) -> None:
    settings = {"alpha": 0.25, "gamma": 0.5, "window": window}
    expected = {"alpha": 0.25, "gamma": 0.5, "window": recorded}
    given = {
        name: dict(info.parameters)
        for task in ("grid_world", "graph_walk")
        for source in sources(section(task, **settings), TASKS[task])
        for name, info in source.describe().items()
    }
    for signal in ("td_error", "q_max", "random_error", "random_q_up"):
        assert given[signal] == expected, signal
    assert given["sr_self"] == expected | {"initial": 0.0}
    assert given["myopic_error"] == expected | {"gamma": 0.0}
