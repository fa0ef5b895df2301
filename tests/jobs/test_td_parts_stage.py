"""The regression of the best TD latents on the parts of the TD error, from a study's rows by hand."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.typing import NDArray

from envs.agents import QLearningConfig, Transitions
from envs.agents.td_parts import SIGNS, td_parts
from envs.game import Step
from jobs.pipeline import plan_study
from sae.checkpoint import from_bytes
from sae.rollout_statistics import split_halves
from tests.jobs.forced_study import GRAPH, GRID, ROLLOUTS, STEPS, study
from tests.jobs.small_study import context_of, fresh_record, run

BLOCK = 2
WALK: dict[str, Any] = copy.deepcopy(GRID) | {"capture": {"blocks": [1, BLOCK]}}
WALK["task"] |= {"controls": []}
WALK["correlate"] = {"permutations": 19, "controls": [], "covariates": ["step", "log_step"]}
Floats = NDArray[np.float64]


def coefficients(z: Floats, parts: Floats, covariates: Floats) -> tuple[Floats, float]:
    """Standardised, with covariates as further regressors; and the share of what they leave that is explained."""
    rest = np.column_stack([covariates, np.ones(len(z))])
    design = np.column_stack([parts, rest])
    found = np.linalg.lstsq(design, z, rcond=None)[0]
    before, after = (z - x @ np.linalg.lstsq(x, z, rcond=None)[0] for x in (rest, design))
    return found[: parts.shape[1]] * parts.std(0) / z.std(), float(1 - after.var() / before.var())


def test_the_best_latent_is_regressed_on_the_other_half(tmp_path_factory: pytest.TempPathFactory) -> None:
    base = tmp_path_factory.getbasetemp()
    wanted = study(base, WALK)
    with fresh_record("sqlite", tmp_path_factory.mktemp("parts")) as record:
        run(wanted, record)
        rows = record.query("SELECT * FROM v_block_measure")
        steps = record.query(
            "SELECT rollout_index, episode, state, action, reward, next_state, done, forced FROM v_step"
            " ORDER BY rollout_index, step"
        )
        correlations = record.query("SELECT * FROM v_correlation WHERE signal = 'td_error' AND source = 'sae'")
        shards = record.query(f"SELECT blob FROM v_activation_shard WHERE block = {BLOCK} ORDER BY first_row")  # noqa: S608
        tensors = [record.blobs.load_tensors(blob) for blob in shards.blob]
        blob = record.query(f"SELECT blob FROM v_sae WHERE block = {BLOCK}").blob.item()  # noqa: S608
        sae = from_bytes(record.blobs.read(blob, "safetensors"))
        signals = record.query("SELECT * FROM v_learning_signal WHERE signal IN ('step', 'log_step')")
    assert (
        set(rows.block) == {1, BLOCK} and set(rows.signal) == {"td_error"} and set(rows.n_rollouts) == {ROLLOUTS // 2}
    )
    heldout = ~split_halves(np.zeros(ROLLOUTS), seed=WALK["seed"])
    histories = [
        Transitions.from_steps(Step(*row) for row in one.drop(columns="rollout_index").itertuples(index=False))
        for _, one in steps.groupby("rollout_index")
    ]
    parts = np.stack([td_parts(t, 4, QLearningConfig(0.1, 0.99, None)) for t in histories])[heldout].reshape(-1, 3)
    here = correlations[correlations.block == BLOCK]
    latent = int(here.loc[here.r_selection.idxmax(), "latent"])
    x = torch.cat([part["activations"] + part["mean"] for part in tensors])
    z = sae.encode(x)[:, latent].double().numpy().reshape(ROLLOUTS, STEPS)[heldout].ravel()
    wide = signals.pivot_table(index=["rollout_index", "step"], columns="signal", values="value").sort_index()
    wide = wide[["step", "log_step"]].to_numpy().reshape(ROLLOUTS, STEPS, 2)[heldout].reshape(-1, 2)

    found: pd.DataFrame = rows[rows.block == BLOCK].set_index("measure")
    for covariates, ending in ((np.empty((len(z), 0)), ""), (wide, "_partial")):
        weights, share = coefficients(z, parts, covariates)
        for name, weight in zip(("reward", "next_value", "last_value"), weights, strict=True):
            row = found.loc[f"td_part_{name}{ending}"]
            assert row["value"] == pytest.approx(weight, abs=1e-5)
            assert row.ci_low <= row.ci_high
        assert found.loc[f"td_part_explained{ending}", "value"] == pytest.approx(share, abs=1e-5)
        _, share = coefficients(z, parts @ np.array(SIGNS)[:, None], covariates)
        assert found.loc[f"td_part_explained_by_error{ending}", "value"] == pytest.approx(share, abs=1e-5)


def test_where_there_is_no_td_error_there_is_no_such_stage(tmp_path_factory: pytest.TempPathFactory) -> None:
    with fresh_record("sqlite", tmp_path_factory.mktemp("none")) as record:
        plan = plan_study(context_of(study(tmp_path_factory.getbasetemp(), GRAPH), record))
        assert plan.of("correlate") and not plan.of("td_parts")
