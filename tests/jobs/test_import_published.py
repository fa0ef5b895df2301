"""Published results as rows: as they were published, analysed by plain computation, there as a whole or not at all."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from sqlalchemy.orm import Session

from jobs.inference.shapes import ModelShape, shipped_config
from jobs.published import curve, curve_names, replay
from jobs.published.correlations import measures
from jobs.published.importing import PUBLICATIONS, import_published
from jobs.published.points import points
from jobs.published.runs import example_runs
from jobs.published.summary import BEHAVIOUR, CORRELATIONS, behaviour, correlations
from tdlens.errors import UserError
from tdlens.record import Record, leases
from tdlens.rows import rows

STUDY, RECOMPUTED, HEADS = "demircan2025", "duplessie2024", "khadka2026"
TABLES = ("study", "job", "rollout", "step", "learning_signal", "block_measure", "behaviour_fit", "published_point")
RUNS, T = 6, 60


def sizes(record: Record) -> dict[str, int]:
    with record.engine.connect() as connection:
        return {t: connection.exec_driver_sql(f"SELECT count(*) FROM {t}").scalar_one() for t in TABLES}  # noqa: S608


def traces() -> tuple[np.ndarray, np.ndarray]:
    """TD error and latent as published, each [R, T], straight from the file."""
    table = curve("td_in_llms", "fig3_runs")
    td, latent = (
        table[[f"{name}_at_first_pick", f"{name}_at_second_pick"]].to_numpy().reshape(RUNS, T)
        for name in ("td", "latent")
    )
    order = np.argsort([f"{variant} {run}" for variant, run in table[["variant", "run"]].to_numpy()[::30]])
    return td[order], latent[order]


def left(values: np.ndarray, *given: np.ndarray) -> np.ndarray:
    """What least squares on the given variables and a constant leaves."""
    design = np.column_stack([np.ones(values.size), *(one.ravel() for one in given)])
    return np.asarray(values.ravel() - design @ np.linalg.lstsq(design, values.ravel(), rcond=None)[0])


def test_the_record_holds_what_was_published(record: Record) -> None:
    assert import_published(record, STUDY)
    held = record.query("SELECT * FROM v_published_point WHERE study = :study", {"study": STUDY})
    assert set(held.source) == {PUBLICATIONS[STUDY].citation} and set(held.figure) == set(curve_names("td_in_llms"))
    table = curve("td_in_llms", "fig2_A_E_returns")
    mine = held[(held.figure == "fig2_A_E_returns") & (held.series == "A_70B")].sort_values("x")
    np.testing.assert_array_equal(mine.y, table["A_70B_return"])
    np.testing.assert_allclose(mine.high - mine.y, table["A_70B_sem"], atol=1e-12)
    np.testing.assert_allclose(mine.y - mine.low, table["A_70B_sem"], atol=1e-12)
    lesioned = held[held.series == "F4E_TDlesion"]
    assert lesioned.x.min() == 43 and lesioned.low.isna().all()  # the figure draws nothing before the lesion
    td, latent = traces()
    for signal, expected in {"published_td_error": td, "published_latent": latent}.items():
        sql = "SELECT value FROM v_learning_signal WHERE signal = :signal ORDER BY variant, rollout_index, step"
        np.testing.assert_array_equal(record.query(sql, {"signal": signal}).value.to_numpy().reshape(RUNS, T), expected)
    steps = record.query("SELECT * FROM v_step ORDER BY variant, rollout_index, step")
    assert set(steps.policy) == {"published"} and set(steps.model) == {"meta-llama/Meta-Llama-3-70B"}
    assert (steps.forced == (steps.episode < 7)).all()
    rewards = curve("td_in_llms", "fig3_runs").sort_values(["variant", "run", "episode"]).reward
    np.testing.assert_array_equal(steps.reward[steps.step % 2 == 1], rewards)
    assert not steps.reward[steps.step % 2 == 0].any()


def test_correlations_are_those_of_plain_computation(record: Record) -> None:
    import_published(record, STUDY)
    table = record.query(CORRELATIONS)
    found = {(row.signal, row.measure): row for row in rows(table)}
    assert set(table.block) == {34} and set(table.sae) == {"published"}
    td, latent = traces()
    step = np.tile(np.arange(T), (RUNS, 1))
    runs = [np.corrcoef(*pair)[0, 1] for pair in zip(td, latent, strict=True)]
    swapped = td[[1, 0, 3, 2, 5, 4]]

    def r(x: np.ndarray, y: np.ndarray) -> float:
        return float(np.corrcoef(x.ravel(), y.ravel())[0, 1])

    expected = {
        ("published_td_error", "r"): r(td, latent),
        ("published_td_error", "r[standard 2]"): runs[3],
        ("published_td_error", "r_run_mean"): np.mean(runs),
        ("published_td_error", "r_other_run"): r(swapped, latent),
        ("published_td_error", "r_partial[step]"): r(left(td, step), left(latent, step)),
        ("published_td_error", "r_partial[step,log_step]"): r(
            left(td, step, np.log1p(step)), left(latent, step, np.log1p(step))
        ),
        ("published_td_error", "signal_r[step]"): r(td, step),
        ("step", "r"): r(step, latent),
        ("log_step", "r"): r(np.log1p(step), latent),
    }
    for key, value in expected.items():
        assert found[key].value == pytest.approx(value, abs=1e-9), key
    assert ("step", "r_partial[step]") not in found
    pooled = found["published_td_error", "r"]
    assert pooled.ci_low < pooled.value < pooled.ci_high and pooled.n_rollouts == RUNS
    # our learner on the published choices gives the published TD error, scaled or not
    for number, run in enumerate(("reward_disruption 1", "reward_disruption 2", "standard 1")):
        assert found["td_error", f"r[{run}]"].value == pytest.approx(runs[number], abs=1e-4)
    shown = {answer.question: answer.value for answer in correlations(table)}
    assert shown["Latent with step"] == pytest.approx(r(step, latent))


def test_behaviour_models_are_fitted_to_their_own_choices(record: Record) -> None:
    import_published(record, STUDY)
    table = record.query(BEHAVIOUR)
    assert (
        set(table.n_choices) == {RUNS * 23 * 2}
        and set(table.n_rollouts) == {RUNS}
        and set(table.policy) == {"published"}
    )
    nll = dict(zip(table.behaviour_model, table.nll, strict=True))
    assert nll["chance"] == pytest.approx(RUNS * 46 * np.log(2))
    assert max(nll["q_learning"], nll["myopic"]) < nll["chance"] < nll["repetition_unfitted"]
    shown = {answer.question: answer for answer in behaviour(table)}
    assert "q_learning" not in shown
    assert shown["myopic"].value == pytest.approx((nll["myopic"] - nll["q_learning"]) / (RUNS * 46))
    assert shown["myopic"].published == pytest.approx((2864 - 2729) / 4600)


def test_a_second_import_changes_nothing(record: Record) -> None:
    assert import_published(record, STUDY)
    before = sizes(record)
    assert not import_published(record, STUDY)
    assert sizes(record) == before and before["job"] == 1
    job = record.query("SELECT * FROM v_job").iloc[0]
    assert (job.stage, job.state) == ("import", "done") and "numpy" in job.versions


def test_an_import_that_fails_leaves_nothing(record: Record, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(session: Session, held: leases.Claim) -> None:
        raise RuntimeError("the power is gone")

    with monkeypatch.context() as patch:
        patch.setattr(leases, "publish", refuse)
        with pytest.raises(RuntimeError, match="power"):
            import_published(record, STUDY)
    assert not any(sizes(record).values())
    assert import_published(record, STUDY)


def test_other_settings_are_imported_anew(record: Record, monkeypatch: pytest.MonkeyPatch) -> None:
    assert import_published(record, STUDY)
    monkeypatch.setattr(replay, "SIGNALS", ("td_error",))
    assert import_published(record, STUDY)
    assert set(record.query(CORRELATIONS).signal) == {"td_error"}
    assert len(record.query("SELECT * FROM v_job")) == 1


def test_what_was_recomputed_is_there_and_says_so(record: Record) -> None:
    assert import_published(record, RECOMPUTED)
    held = record.query("SELECT * FROM v_published_point WHERE study = :study", {"study": RECOMPUTED})
    (source,) = set(held.source)
    assert "recomputed" in source and "5cb6e578" in source
    assert set(held.figure) == set(curve_names("dqn_saes"))
    table = curve("dqn_saes", "dqn_topk")
    plain = table[table.variant.isna()]
    for name in ("agreement", "spliced_return", "fvu", "dead"):
        mine = held[(held.figure == "dqn_topk") & (held.series == name)].sort_values("x")
        assert mine.x.to_list() == [5, 10, 20, 30, 40, 50]
        np.testing.assert_array_equal(mine.y, plain[name])
        other = held[(held.figure == "dqn_topk") & (held.series == f"{name}/resampled")]
        assert other.x.to_list() == [20] and other.y.to_list() == table[table.variant == "resampled"][name].to_list()
    found = sizes(record)
    assert found["published_point"] == len(held) and found["job"] == found["study"] == 1
    assert not any(found[table] for table in ("rollout", "learning_signal", "block_measure", "behaviour_fit"))


def test_searches_for_heads_are_there_and_say_what_was_recomputed(record: Record) -> None:
    assert import_published(record, HEADS)
    held = record.query("SELECT * FROM v_published_point WHERE study = :study", {"study": HEADS})
    (source,) = set(held.source)
    assert "2605.26343v1" in source and "21b1d98c" in source and "in part recomputed" in source
    assert set(held.figure) == set(curve_names("mechrl"))
    table = curve("mechrl", "discovery_curves")
    for name in ("random", "k1_none", "k5_none"):
        mine = held[(held.figure == "discovery_curves") & (held.series == name)].sort_values("x")
        assert mine.x.to_list() == table.step.to_list()
        np.testing.assert_array_equal(mine.y, table[name])
    shares = held[(held.figure == "transfer") & (held.series.str.endswith("/k5/none"))]
    assert set(zip(shares.series, shares.x, shares.y, strict=True)) >= {
        ("share_of_oracle/k5/none", 30, 0.967),
        ("matched_share/k5/none", 30, 0.929),
    }
    best = held[(held.figure == "oracle_heads") & (held.x == 1) & held.series.str.endswith("/docstring")]
    assert dict(zip(best.series, best.y, strict=True)) == {
        **{"layer/docstring": 0, "head/docstring": 10, "score/docstring": 2.175}
    }
    assert not any(sizes(record)[table] for table in ("rollout", "learning_signal", "block_measure", "behaviour_fit"))


def test_publications_stand_side_by_side(record: Record) -> None:
    several = (RECOMPUTED, STUDY, HEADS)
    assert all(import_published(record, name) for name in several)
    before = sizes(record)
    assert not any(import_published(record, name) for name in several)
    assert sizes(record) == before and before["study"] == before["job"] == 3
    points_of = record.query("SELECT study, source, count(*) AS n FROM v_published_point GROUP BY study, source")
    assert {row.study: row.n for row in rows(points_of)} == {
        name: len(list(points(PUBLICATIONS[name].curves))) for name in several
    }


def test_unknown_publication_is_named(record: Record) -> None:
    with pytest.raises(UserError, match="did you mean demircan2025"):
        import_published(record, "demircan2024")


def test_the_model_has_its_published_sizes() -> None:
    shape = ModelShape.of(shipped_config("meta-llama/Meta-Llama-3-70B"))
    player = PUBLICATIONS[STUDY].player
    assert player is not None
    model = player.model
    assert (model["n_blocks"], model["d_model"], model["n_parameters"]) == (
        shape.n_blocks,
        shape.d_model,
        shape.parameters,
    )


def test_every_number_of_every_curve_is_a_point() -> None:
    tables: dict[str, pd.DataFrame] = {name: curve("td_in_llms", name) for name in curve_names("td_in_llms")}
    runs = tables.pop("fig3_runs")
    drawn = list(points("td_in_llms"))
    curves = sum(
        int(table[name].notna().sum())
        for table in tables.values()
        for name in table.columns[1:]
        if not name.endswith("_sem")
    )
    assert len(drawn) == curves + 4 * len(runs)
    assert len({point[:3] for point in drawn}) == len(drawn)


@pytest.mark.parametrize("study", ["dqn_saes", "mechrl", "welfare_axis"])
def test_every_number_of_every_table_is_a_point(study: str) -> None:
    tables = [curve(study, name) for name in curve_names(study)]
    numbers = sum(
        int(table.drop(columns="variant", errors="ignore").iloc[:, 1:].notna().sum().sum()) for table in tables
    )
    drawn = list(points(study))
    assert len(drawn) == len({point[:3] for point in drawn}) == numbers
    assert all(point.low is None and point.high is None for point in drawn)


def of(latent: np.ndarray, **signals: np.ndarray) -> dict[tuple[str, str], Any]:
    step = np.tile(np.arange(float(latent.shape[1])), (len(latent), 1))
    known = {"step": step, "log_step": np.log1p(step), **signals}
    runs = [("one", 1), ("one", 2), ("two", 1), ("two", 2)]
    return {(m.signal, m.name): m for m in measures(latent, known, runs, [*signals, "step"], ["step"])}


def test_a_clock_has_nothing_left_given_the_step() -> None:
    rng = np.random.default_rng(0)
    clock = np.tile(np.arange(40.0), (4, 1))
    latent, signal = (-clock + rng.normal(0, 2, clock.shape) for _ in range(2))
    found = of(latent, signal=signal)
    assert found["signal", "r"].value > 0.9 and found["step", "r"].value < -0.9
    assert found["signal", "r_other_run"].value > 0.9
    assert abs(found["signal", "r_partial[step]"].value) < 0.25


def test_a_latent_of_its_own_run_is_told_from_one_of_the_time() -> None:
    rng = np.random.default_rng(1)
    signal = rng.normal(size=(4, 40))
    found = of(signal + rng.normal(0, 0.5, signal.shape), signal=signal)
    assert found["signal", "r_partial[step]"].value > 0.8
    assert abs(found["signal", "r_other_run"].value) < 0.3


def test_a_run_in_which_nothing_varies_has_no_r() -> None:
    signal = np.random.default_rng(2).normal(size=(4, 40))
    signal[1] = 3.0
    found = of(np.random.default_rng(3).normal(size=(4, 40)), signal=signal)
    assert ("signal", "r[one 2]") not in found and ("signal", "r_run_mean") not in found
    assert np.isfinite(found["signal", "r"].value)


def test_example_runs_are_whole_games() -> None:
    runs = example_runs()
    assert [(run.variant, run.run) for run in runs] == sorted((run.variant, run.run) for run in runs)
    for run in runs:
        assert len(run.steps) == run.td_error.size == run.latent.size == T
        assert [step.done for step in run.steps] == [False, True] * 30
        assert all(
            first.next_state == second.state for first, second in zip(run.steps[::2], run.steps[1::2], strict=True)
        )
