"""Lesions in a study that records no Q-values: effects are on the signal that they are of."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from tdlens.record import Record
from tests.jobs.small_study import EPISODES, FORCED, QUICK, ROLLOUTS, VARIANTS, fresh_record, run, study

FIRST, LAST = 6, 9
OTHERS: dict[str, Any] = copy.deepcopy(QUICK) | {
    "signals": {"agents": ["best_episode", "repetition", "context"]},
    "correlate": {"signals": ["best_return", "step"], "covariates": ["step"], "controls": [], "permutations": 39},
    "sae": [{"name": "topk", "architecture": "topk", "options": {"k": 4, "centre": True}, "epochs": 4, "lr": 0.01}],
    "intervention": [
        {"name": "zero", "sae": "topk", "signal": "best_return"},
        {"name": "early", "sae": "topk", "signal": "best_return", "blocks": 2, "decisions": [FIRST, LAST]}
        | {"operation": "clamp", "value": 5.0},
    ],
}


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Record]:
    with fresh_record("sqlite", tmp_path_factory.mktemp("others")) as record:
        run(study(tmp_path_factory.getbasetemp(), OTHERS), record)
        yield record


def probabilities(record: Record, intervention: str) -> np.ndarray:
    """Of the first variant, [R, T, A]."""
    rows = record.query(
        "SELECT action_probabilities FROM v_step "  # noqa: S608
        f"WHERE policy = 'model' AND variant = '{VARIANTS[0]}' AND intervention = '{intervention}' "
        "ORDER BY rollout_index, step"
    )
    return np.array([json.loads(p) for p in rows.action_probabilities]).reshape(ROLLOUTS, 2 * EPISODES, -1)


def test_correlations_in_later_blocks_are_with_the_lesioned_signal(done: Record) -> None:
    found = done.query("SELECT * FROM v_intervention_effect WHERE metric LIKE 'max_r_%'")
    assert set(found.metric) == {"max_r_best_return"} and len(found) == 2 * 3
    assert found[["value", "baseline", "ci_low", "ci_high"]].notna().all(axis=None)
    signals = done.query("SELECT DISTINCT signal FROM v_learning_signal WHERE intervention <> 'none'")
    assert set(signals.signal) == {"best_return"}


def test_in_closed_loop_nothing_changes_before_an_early_lesion(done: Record) -> None:
    changed = (probabilities(done, "early") != probabilities(done, "none")).any((0, 2))
    assert not changed[:FIRST].any() and changed[FIRST : LAST + 1].all()
    effects = done.query("SELECT metric, value FROM v_intervention_effect WHERE intervention = 'early'")
    shift = effects.set_index("metric").value["choice_shift"]
    assert shift > 1e-4 and 2 * FORCED < FIRST  # so that the lesion meets choices of the model's own
