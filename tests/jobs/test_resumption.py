"""What is computed, and when: identities, resumption, failures, and who may publish."""

from __future__ import annotations

import copy
import io
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from rich.console import Console
from sqlalchemy import select, text, update
from sqlalchemy.orm import Session

from jobs.context import Context
from jobs.inference.models import load_engine
from jobs.owner import this_process
from jobs.pipeline import STAGES, plan_study
from jobs.stage import Publish, Unit
from jobs.stages import behaviour, play, signals
from jobs.study import Study, validate
from jobs.worker.inline import run_study
from tdlens.errors import DiskFull, UserError
from tdlens.record import BehaviourFit, Job, Record, leases
from tests.jobs.small_study import QUICK, TOP, VARIANTS, WHOLE, context_of, model_folder, run, study

ALL = {stage.NAME for stage in STAGES}
LATE = {"rank", "intervene"}
on_one_database = pytest.mark.parametrize("record", ["sqlite"], indirect=True)
"""For what no database decides: their own tests, and the others here, say that both tell it the same."""


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.getbasetemp()


def jobs(record: Record) -> dict[str, Any]:
    """State, attempt and error of the only job of each stage (of its first unit)."""
    table = record.query("SELECT stage, state, attempt, error, owner, finished_at, id FROM job ORDER BY id DESC")
    return {row.stage: row for row in table.itertuples()}


def count(record: Record, table: str) -> int:
    return int(record.query(f"SELECT count(*) AS n FROM {table}").n.item())  # noqa: S608


# --- identities


@pytest.fixture(scope="module")
def identities(base: Path) -> Callable[..., dict[str, dict[str, str]]]:
    """Identities of all units of a study, by stage and key."""
    engine = load_engine(str(model_folder(base)))

    def planned(change: Callable[[dict[str, Any]], object] = lambda data: None) -> dict[str, dict[str, str]]:
        data = copy.deepcopy(WHOLE) | {"model": {"name": str(model_folder(base))}}
        change(data)
        context = context_of(validate(data, "test"), None)  # type: ignore[arg-type]
        context.__dict__["engine"] = engine
        found: dict[str, dict[str, str]] = {stage: {} for stage in ALL}
        for unit in plan_study(context).units:
            assert unit.key not in found[unit.stage]
            found[unit.stage][unit.key] = unit.identity
        return found

    return planned


@pytest.mark.parametrize(
    ("section", "key", "value", "touched"),
    [
        ("", "title", "Another", set()),
        ("", "name", "another", set()),
        ("model", "batch_size", 7, set()),
        ("correlate", "top", 3, LATE),
        ("correlate", "cutoff", 0.9, LATE),
        ("correlate", "permutations", 19, {"correlate", "td_parts", *LATE}),
        ("correlate", "alpha", 0.1, {"correlate", "td_parts", *LATE}),
        ("", "bootstrap", 200, {"behaviour", "td_parts", "intervene"}),
        ("signals", "alpha", 0.2, {"signals", "behaviour", "correlate", "td_parts", *LATE}),
        ("capture", "dtype", "bfloat16", ALL - {"published"}),
        ("task", "rollouts", 7, ALL - {"published"}),
        ("", "seed", 4, ALL - {"published"}),
    ],
)
def test_a_change_gives_new_identities_to_what_depends_on_it_alone(
    identities: Callable[..., Any], section: str, key: str, value: Any, touched: set[str]
) -> None:
    def change(data: dict[str, Any]) -> None:
        place = data.setdefault(section, {}) if section else data
        place[key] = value

    before, after = identities(), identities(change)
    for stage in ALL:
        assert before[stage].keys() == after[stage].keys()
        same = [before[stage][unit] == after[stage][unit] for unit in before[stage]]
        assert same == [stage not in touched] * len(same), stage


def test_a_change_of_one_autoencoder_leaves_the_other_alone(identities: Callable[..., Any]) -> None:
    before, after = identities(), identities(lambda data: data["sae"][0].update(epochs=5))
    changed = {f"{stage} {key}" for stage in ALL for key in before[stage] if before[stage][key] != after[stage][key]}
    assert {f"train_sae paper/block {b}" for b in (1, 2, 3)} <= changed
    assert {"rank sae:paper", "rank shuffled:paper", "intervene clamp"} <= changed
    assert not any("topk" in name or "raw" in name or "zero" in name for name in changed)


def test_an_intervention_depends_on_itself_and_not_on_its_neighbours(identities: Callable[..., Any]) -> None:
    before = identities()
    after = identities(lambda data: data["intervention"][0].update(operation="clamp", value=2.0))
    assert [key for key in before["intervene"] if before["intervene"][key] != after["intervene"][key]] == ["zero"]
    assert {stage for stage in ALL if before[stage] != after[stage]} == {"intervene"}


def test_without_the_untrained_control_nothing_is_harvested(identities: Callable[..., Any]) -> None:
    before, after = identities(), identities(lambda data: data["correlate"].update(controls=["raw"]))
    assert before["harvest"] and not after["harvest"]
    assert after["correlate"].items() <= before["correlate"].items()
    assert after["rank"].keys() == {"sae:paper", "sae:topk", "raw"}


def test_parents_come_before_children(base: Path) -> None:
    context = context_of(study(base, WHOLE), None)  # type: ignore[arg-type]
    seen: set[str] = set()
    for unit in plan_study(context).units:
        assert {parent.identity for parent in unit.parents} <= seen
        seen.add(unit.identity)


# --- running again


def test_a_second_run_computes_nothing_and_a_changed_cut_only_what_uses_it(base: Path, record: Record) -> None:
    parts = {"sae": WHOLE["sae"][1:], "intervention": WHOLE["intervention"][:1]}
    first = run(study(base, QUICK | parts, correlate={"controls": ["raw"], "top": TOP}), record)
    total = first.computed
    tables = ("step", "learning_signal", "latent_correlation", "coverage", "intervention_effect", "blob", "job")
    rows = {table: count(record, table) for table in tables}
    assert first.found == 0 and min(rows.values()) > 0
    again = run(study(base, QUICK | parts, correlate={"controls": ["raw"], "top": TOP}), record)
    assert (again.study_id, again.computed, again.found) == (first.study_id, 0, total)
    assert {table: count(record, table) for table in tables} == rows

    cut = run(study(base, QUICK | parts, correlate={"controls": ["raw"], "top": TOP - 2}), record)
    assert (cut.computed, cut.found) == (3, total - 3)
    assert cut.study_id != first.study_id
    fresh = record.query(
        "SELECT stage FROM job WHERE id NOT IN (SELECT job_id FROM study_job WHERE study_id = :one)",
        {"one": first.study_id},
    )
    assert Counter(fresh.stage) == {"rank": 2, "intervene": 1}
    kept = record.query("SELECT n_kept FROM v_coverage").n_kept  # one result each, not the old beside the new
    assert len(kept) == rows["coverage"] and kept.max() <= 3 * (TOP - 2)


@on_one_database
def test_another_seed_is_another_study_from_the_first_rollout_on(base: Path, record: Record) -> None:
    first = run(study(base, QUICK), record)
    texts = set(record.query("SELECT transcript FROM rollout WHERE policy = 'model'").transcript)
    other = run(study(base, QUICK, seed=4), record)
    assert other.found == 1  # the published runs
    assert other.computed == first.computed - 1
    shown = record.query("SELECT DISTINCT rollout FROM v_step WHERE policy = 'model'").rollout
    both = record.query("SELECT id, transcript FROM rollout WHERE policy = 'model'").set_index("id").transcript
    assert len(shown) == len(both) / 2
    assert not set(both[shown]) & texts
    back = run(study(base, QUICK), record)
    assert (back.study_id, back.computed) == (first.study_id, 0)
    shown = record.query("SELECT DISTINCT rollout FROM v_step WHERE policy = 'model'").rollout
    assert set(both[shown]) == texts


def test_studies_share_what_they_have_in_common(base: Path, record: Record) -> None:
    first = run(study(base, QUICK), record)
    same = run(study(base, QUICK | {"name": "other"}), record)
    assert (same.computed, same.found) == (0, first.computed)
    views = record.query("SELECT study, count(*) AS n FROM v_step GROUP BY study")
    assert len(views) == 2 and views.n.nunique() == 1


@on_one_database
def test_a_title_is_no_part_of_what_a_study_is(base: Path, record: Record) -> None:
    first = run(study(base, QUICK, title="One"), record)
    other = run(study(base, QUICK, title="Another"), record)
    assert (other.study_id, other.computed) == (first.study_id, 0)
    assert record.query("SELECT revision, title FROM v_study").values.tolist() == [[1, "Another"]]


def test_results_of_changed_code_replace_those_before(
    base: Path, record: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = run(study(base, QUICK), record)
    planned = behaviour.units
    monkeypatch.setattr(behaviour, "units", lambda *given: [replace(unit, version=2) for unit in planned(*given)])
    second = run(study(base, QUICK), record)
    assert (second.study_id, second.computed) == (first.study_id, 1)
    assert count(record, "job WHERE stage = 'behaviour'") == 2
    shown = record.query("SELECT behaviour_model FROM v_behaviour_fit").behaviour_model
    assert shown.is_unique and len(shown) > 3
    assert count(record, "v_job WHERE stage = 'behaviour'") == 1


@on_one_database
def test_the_user_is_told_of_every_stage_in_order(base: Path, record: Record) -> None:
    def told() -> list[str]:
        heard = io.StringIO()
        run_study(study(base, QUICK), record, Console(file=heard, width=200))
        return [line.split()[1] for line in heard.getvalue().splitlines() if "✓" in line]

    assert told() == ["published", "play", "signals", "behaviour"]
    assert told() == ["published", "play", "signals", "behaviour"]


# --- failing


@on_one_database
@pytest.mark.parametrize(
    ("error", "said"),
    [
        (RuntimeError("boom " + "x" * 5000), "boom xxx"),
        (UserError("the disk is full", "make room"), "the disk is full\nmake room"),
    ],
)
def test_a_failing_unit_is_left_as_failed_with_its_error_and_tried_again(
    base: Path, record: Record, monkeypatch: pytest.MonkeyPatch, error: BaseException, said: str
) -> None:
    def fail(context: Context, unit: Unit) -> Publish:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(behaviour, "run", fail)
        with pytest.raises(type(error)):
            run(study(base, QUICK), record)
    left = jobs(record)
    assert left["behaviour"].state == "failed" and left["behaviour"].attempt == 1
    assert left["behaviour"].error.startswith(said) and len(left["behaviour"].error) <= 2000
    assert left["behaviour"].finished_at is not None
    assert {stage: job.state for stage, job in left.items() if stage != "behaviour"} == dict.fromkeys(
        ("published", "play", "signals"), "done"
    )
    assert count(record, "behaviour_fit") == 0
    again = run(study(base, QUICK), record)
    assert again.computed == 1
    mended = jobs(record)["behaviour"]
    assert (mended.state, mended.attempt, mended.error) == ("done", 2, None)
    assert count(record, "behaviour_fit") > 0


def test_rows_of_a_publication_that_fails_half_way_never_show(
    base: Path, record: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = behaviour.run

    def half(context: Context, unit: Unit) -> Publish:
        publish = whole(context, unit)

        def interrupted(session: Session, job_id: int) -> None:
            publish(session, job_id)
            session.flush()
            assert session.query(BehaviourFit).count() > 0
            raise RuntimeError("power cut")

        return interrupted

    with monkeypatch.context() as patch:
        patch.setattr(behaviour, "run", half)
        with pytest.raises(RuntimeError, match="power cut"):
            run(study(base, QUICK), record)
    assert count(record, "behaviour_fit") == 0
    assert jobs(record)["behaviour"].state == "failed"
    assert run(study(base, QUICK), record).computed == 1


def seize(record: Record, stage: str, owner: str, seconds: float) -> None:
    """What another worker does that is given a unit: it holds a lease."""
    with record.session() as session:
        taken = update(Job).where(Job.stage == stage).values(attempt=Job.attempt + 1, owner=owner, finished_at=None)
        session.execute(taken.values(state="leased", lease_until=leases.clock(seconds)))


@pytest.mark.parametrize("owner", ["elsewhere:1:1", "this process"])
def test_a_unit_given_away_meanwhile_is_not_published_by_who_had_it(
    base: Path, record: Record, monkeypatch: pytest.MonkeyPatch, owner: str
) -> None:
    whole, calls = behaviour.run, []

    def slow(context: Context, unit: Unit) -> Publish:
        publish = whole(context, unit)
        calls.append(unit)
        if len(calls) == 1:
            seize(record, "behaviour", this_process() if owner == "this process" else owner, 0.5)
        else:  # the other's lease has run out, and nothing of the first attempt is there
            assert count(record, "behaviour_fit") == 0
        return publish

    with monkeypatch.context() as patch:
        patch.setattr(behaviour, "run", slow)
        outcome = run(study(base, QUICK), record)
    left = jobs(record)["behaviour"]
    assert (left.state, left.attempt, left.owner, len(calls)) == ("done", 3, this_process(), 2)
    assert outcome.found == 0
    fits = record.query("SELECT behaviour_model FROM v_behaviour_fit").behaviour_model
    assert fits.is_unique and len(fits) > 3


def test_the_same_attempt_number_of_another_owner_publishes_nothing_either(
    base: Path, record: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, calls = signals.run, []

    def robbed(context: Context, unit: Unit) -> Publish:
        publish = whole(context, unit)
        calls.append(unit)
        if len(calls) == 1:
            with record.session() as session:
                stolen = update(Job).where(Job.stage == "signals", Job.state == "leased")
                session.execute(stolen.values(owner="elsewhere:1:1", lease_until=leases.clock(0.3)))
        return publish

    with monkeypatch.context() as patch:
        patch.setattr(signals, "run", robbed)
        run(study(base, QUICK), record)
    assert len(calls) == len(VARIANTS) + 1
    once = "SELECT count(*) AS n, count(DISTINCT signal_id * 1000000000000 + step_id) AS different FROM learning_signal"
    both = record.query(once).iloc[0]
    assert both.n == both.different > 0


@on_one_database
def test_another_workers_unit_is_waited_for(base: Path, record: Record, monkeypatch: pytest.MonkeyPatch) -> None:
    first = run(study(base, QUICK), record)
    seize(record, "behaviour", "elsewhere:1:1", 60)
    monkeypatch.setattr(behaviour, "run", lambda context, unit: pytest.fail("it is another's"))

    def finish() -> None:
        with record.session() as session:
            (claim,) = session.execute(
                select(Job.id, Job.identity, Job.attempt, Job.owner).where(Job.stage == "behaviour")
            )
            leases.publish(session, leases.Claim(*claim))

    timer = threading.Timer(1.0, finish)
    timer.start()
    outcome = run(study(base, QUICK), record)
    timer.join()
    assert (outcome.computed, outcome.found) == (0, first.computed)


def test_a_unit_of_a_process_that_is_gone_is_taken_over_at_once(base: Path, record: Record) -> None:
    run(study(base, QUICK), record)
    with record.session() as session:
        session.query(BehaviourFit).delete()
    gone = this_process().rsplit(":", 2)[0]
    seize(record, "behaviour", f"{gone}:{2**22 + 1}:1", 600)
    assert run(study(base, QUICK), record).computed == 1
    assert jobs(record)["behaviour"].attempt == 3


@on_one_database
@pytest.mark.parametrize("error", [KeyboardInterrupt(), DiskFull("the disk is full", "make room")])
def test_a_unit_that_is_not_to_blame_goes_back_in_line(
    base: Path, record: Record, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    def fail(context: Context, unit: Unit) -> Publish:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(behaviour, "run", fail)
        with pytest.raises(type(error)):
            run(study(base, QUICK), record)
    left = jobs(record)["behaviour"]
    assert (left.state, left.attempt) == ("pending", 1)
    assert pd.isna(left.owner) and pd.isna(left.error)
    assert run(study(base, QUICK), record).computed == 1


@on_one_database
def test_a_done_job_is_never_computed_again(base: Path, record: Record, monkeypatch: pytest.MonkeyPatch) -> None:
    run(study(base, QUICK), record)
    for stage in (play, signals, behaviour):
        monkeypatch.setattr(stage, "run", lambda context, unit: pytest.fail(f"{unit.stage} ran again"))
    assert run(study(base, QUICK), record).computed == 0


@on_one_database
def test_a_task_that_tells_a_rollout_otherwise_than_recorded_is_noticed(base: Path, record: Record) -> None:
    wanted: Study = study(base, QUICK, correlate={"controls": ["untrained"], "permutations": 19})

    run(study(base, QUICK), record)
    with record.session() as session:
        session.execute(text("UPDATE rollout SET transcript = 'x' || transcript WHERE policy = 'model'"))
    with pytest.raises(RuntimeError, match="its text differs"):
        run(wanted, record)


def test_a_block_whose_latents_are_all_dead_is_covered_and_cannot_be_changed(base: Path, record: Record) -> None:
    heavy = {"name": "heavy", "options": {"l1": 1e4}, "epochs": 60, "lr": 0.05, "batch_size": 32}
    dead = study(base, QUICK, sae=[heavy], correlate={"permutations": 19, "controls": ["shuffled"]})
    run(dead, record)
    covered = record.query("SELECT source, n_live, n_kept, r_threshold FROM v_coverage")
    assert set(covered.source) == {"sae", "shuffled"}
    assert (covered[["n_live", "n_kept"]] == 0).all().all() and covered.r_threshold.isna().all()
    assert count(record, "v_correlation") == count(record, "latent_activation") == 0
    changed = Study.model_validate(dead.model_dump() | {"intervention": [{"name": "zero", "sae": "heavy"}]})
    with pytest.raises(UserError, match="no live latent of heavy"):
        run(changed, record)
