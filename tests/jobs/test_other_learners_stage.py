"""The signals of other learners in a study that is read, against the agents by hand."""

from __future__ import annotations

import copy
import re
from typing import Any

import numpy as np
import pytest

from envs.agents import QLearning, QLearningConfig, Transitions
from envs.agents.other_learners import fit_learner
from envs.game import Step
from envs.grid_world import ACTIONS
from jobs.study import validate
from tdlens.errors import UserError
from tests.jobs.forced_study import GRID, ROLLOUTS, STEPS, study
from tests.jobs.small_study import fresh_record, run

PLAY: dict[str, Any] = copy.deepcopy(GRID) | {"sae": []}
PLAY["task"]["settings"] |= {"alpha": 0.3, "gamma": 0.7}
PLAY["correlate"] = {"permutations": 19, "controls": []}


def test_both_are_recorded_beside_the_studys(tmp_path_factory: pytest.TempPathFactory) -> None:
    base = tmp_path_factory.getbasetemp()
    with fresh_record("sqlite", tmp_path_factory.mktemp("learners")) as record:
        run(study(base, PLAY), record)
        columns = "rollout_index, episode, state, action, reward, next_state, done, forced, action_probabilities"
        where = "WHERE variant = 'true' ORDER BY rollout_index, step"
        steps = record.query(f"SELECT {columns} FROM v_step {where}")  # noqa: S608
        signals = record.query(f"SELECT signal, agent, rollout_index, step, value FROM v_learning_signal {where}")  # noqa: S608
    probabilities = np.array([np.fromstring(row.strip("[]"), sep=",") for row in steps.pop("action_probabilities")])
    groups = steps.groupby("rollout_index")
    rollouts = [
        Transitions.from_steps(Step(*row) for row in rows.drop(columns="rollout_index").itertuples(index=False))
        for _, rows in groups
    ]

    def recorded(signal: str) -> np.ndarray:
        return signals.loc[signals.signal == signal, "value"].to_numpy().reshape(ROLLOUTS, STEPS)

    own = QLearning(ACTIONS, QLearningConfig(0.3, 0.7, None))
    np.testing.assert_allclose(recorded("generator_error"), [own.replay(t)["td_error"] for t in rollouts], atol=1e-12)
    assert not np.allclose(recorded("generator_error"), recorded("td_error"))  # whose alpha is 0.1, its gamma 0.99
    fit = fit_learner(rollouts, probabilities.reshape(ROLLOUTS, STEPS, -1), None)
    agent = QLearning(ACTIONS, fit.config)
    np.testing.assert_allclose(recorded("fitted_q_max"), [agent.replay(t)["q_max"] for t in rollouts], atol=1e-12)
    (named,) = signals.loc[signals.signal == "fitted_error", "agent"].unique()
    assert re.match(rf"fitted_learner: alpha {fit.config.alpha:g}, gamma {fit.config.gamma:g}, beta", named)


def test_where_no_learner_made_the_moves_there_is_no_such_signal() -> None:
    with pytest.raises(UserError, match="no learner made the moves of two_step"):
        validate({"name": "bare", "signals": {"agents": ["q_learning", "generator"]}}, "here")
