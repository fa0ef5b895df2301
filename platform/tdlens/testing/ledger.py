"""The ledger: what is planned, who may claim what, when a unit is lost."""

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from tdlens.record import Job, JobParent, Record, StudyJob, leases
from tdlens.record.leases import ERROR_LENGTH, Claim, clock
from tdlens.testing.backend import Backend
from tdlens.testing.units import PROVENANCE, claim, claimed, job, let_expire, plan, publish, states, unit


def members(record: Record, study_id: int) -> set[str]:
    """Identities of the study's units."""
    sql = "SELECT identity FROM job JOIN study_job ON job_id = job.id WHERE study_id = :study"
    return set(record.query(sql, {"study": study_id}).identity)


def settle(record: Record, held: Claim, word: str) -> bool:
    """Says `fail`, `lose`, `release` or `renew` of a unit."""
    with record.session() as session:
        return say(session, held, word)


def say(session: Session, held: Claim, word: str) -> bool:
    """The same, in a transaction that has begun."""
    match word:
        case "fail":
            return leases.fail(session, held, "it raised")
        case "lose":
            return leases.lose(session, held, "it is gone")
        case "release":
            return leases.release(session, held)
        case _:
            return leases.renew(session, held)


class LedgerTests(Backend):
    """Planning and claiming."""

    def test_a_plan_is_put_down_once(self, record: Record) -> None:
        units = [unit("a"), unit("b", "a"), unit("c", "a", "b", "a")]
        study_id = plan(record, *units)
        with record.session() as session:
            ids = leases.enqueue(session, study_id, units)
            assert ids == leases.enqueue(session, study_id, units[::-1])
            parents = session.execute(select(JobParent.job_id, JobParent.parent_id)).all()
            assert session.scalar(select(func.count()).select_from(StudyJob)) == 3
        assert sorted(map(tuple, parents)) == [(ids["b"], ids["a"]), (ids["c"], ids["a"]), (ids["c"], ids["b"])]
        assert states(record) == dict.fromkeys("abc", "pending")
        row = job(record, "c")
        assert (row.stage, row.key, row.config, row.seed, row.attempt, row.owner) == (
            *("play", "key of c", {"n": 3}, 7),
            *(0, None),
        )

    def test_a_long_plan(self, record: Record) -> None:
        units = [unit(f"{number:04}") for number in range(1203)]
        plan(record, *units[::7])
        study_id = plan(record, *units)
        with record.session() as session:
            ids = leases.enqueue(session, study_id, units)
        assert list(ids) == [one.identity for one in units] and len(set(ids.values())) == 1203

    def test_planned_again_units_keep_their_state(self, record: Record) -> None:
        study_id = plan(record, unit("a"), unit("b"), unit("c"))
        publish(record, claimed(record, study_id))
        held = claimed(record, study_id)
        plan(record, unit("a"), unit("b"), unit("c"), unit("d"))
        assert states(record) == {"a": "done", "b": "leased", "c": "pending", "d": "pending"}
        assert job(record, "b").owner == held.owner

    def test_a_plan_that_shrinks_and_grows_again(self, record: Record) -> None:
        study_id = plan(record, unit("a"), unit("b"), unit("c", "b"))
        publish(record, claimed(record, study_id))
        plan(record, unit("c"), unit("d"))
        assert members(record, study_id) == {"c", "d"}
        assert states(record) == {"a": "done", "b": "pending", "c": "pending", "d": "pending"}
        plan(record, unit("a"))
        assert members(record, study_id) == {"a"} and claim(record, study_id) is None

    def test_studies_share_a_unit(self, record: Record) -> None:
        one, other = plan(record, unit("a"), unit("b"), study="one"), plan(record, unit("b"), study="other")
        held = claimed(record, other)
        assert held.identity == "b"
        assert claimed(record, one).identity == "a" and claim(record, one) is None
        plan(record, unit("c"), study="other")
        assert members(record, one) == {"a", "b"} and members(record, other) == {"c"}
        publish(record, held)
        assert states(record) == {"a": "leased", "b": "done", "c": "pending"}

    def test_units_are_claimed_in_the_plans_order_and_after_their_parents(self, record: Record) -> None:
        study_id = plan(record, unit("child", "one", "two"), unit("one"), unit("two"))
        one, two = claimed(record, study_id), claimed(record, study_id)
        assert (one.identity, two.identity) == ("one", "two") and claim(record, study_id) is None
        publish(record, two)
        assert claim(record, study_id) is None
        publish(record, one)
        assert claimed(record, study_id).identity == "child"

    def test_a_failed_parent_holds_its_children_back(self, record: Record) -> None:
        study_id = plan(record, unit("a"), unit("b", "a"))
        settle(record, claimed(record, study_id), "fail")
        with record.session(read_only=True) as session:
            assert not leases.unsettled(session, study_id)
        assert claim(record, study_id) is None

    def test_unsettled_while_somebody_computes_or_could(self, record: Record) -> None:
        study_id = plan(record, unit("a"), unit("b", "a"))

        def unsettled() -> bool:
            with record.session(read_only=True) as session:
                return leases.unsettled(session, study_id)

        assert unsettled()
        held = claimed(record, study_id)
        assert unsettled()
        publish(record, held)
        assert unsettled()
        publish(record, claimed(record, study_id))
        assert not unsettled()

    def test_a_claim_says_who_has_the_unit_since_when_and_until(self, record: Record) -> None:
        study_id = plan(record, unit("a"))
        with record.session() as session:
            before = session.scalars(select(clock(0.0))).one()
            held = leases.claim(session, study_id, "me", lease=100.0, provenance=PROVENANCE)
            after = session.scalars(select(clock(0.0))).one()
        row = job(record, "a")
        assert held == Claim(row.id, "a", 1, "me")
        assert (row.state, row.attempt, row.owner, row.error, row.finished_at) == ("leased", 1, "me", None, None)
        assert {name: getattr(row, name) for name in PROVENANCE} == PROVENANCE
        assert row.started_at is not None and before <= row.started_at <= after
        assert row.lease_until is not None
        assert (row.lease_until - before).total_seconds() > 99.9 and (row.lease_until - after).total_seconds() <= 100.0

    def test_a_lease_that_ran_out_is_lost(self, record: Record) -> None:
        study_id = plan(record, unit("a"), unit("b"))
        late, other = claimed(record, study_id), claimed(record, study_id)
        let_expire(record, late)
        with record.session() as session:
            assert (leases.reap(session), leases.reap(session)) == (1, 0)
        assert states(record) == {"a": "lost", "b": "leased"}
        row = job(record, "a")
        assert (row.error, row.lease_until, row.owner) == ("its worker gave no sign of life", None, late.owner)
        assert job(record, "b").owner == other.owner

    def test_a_lost_unit_is_anybodys(self, record: Record) -> None:
        study_id = plan(record, unit("a"))
        let_expire(record, claimed(record, study_id, "late"))
        again = claimed(record, study_id, "other")
        assert (again.identity, again.attempt) == ("a", 2)
        row = job(record, "a")
        assert (row.state, row.owner, row.attempt, row.error) == ("leased", "other", 2, None)

    def test_leases_of_less_than_a_second_and_of_days(self, record: Record) -> None:
        study_id = plan(record, unit("a"), unit("b"))
        claim(record, study_id, lease=90_000.0)
        claim(record, study_id, lease=-0.001)
        held = claimed(record, study_id)
        assert (held.identity, held.attempt) == ("b", 2) and job(record, "a").attempt == 1

    def test_a_released_unit_goes_back_in_line(self, record: Record) -> None:
        study_id = plan(record, unit("a"), unit("b"))
        held = claimed(record, study_id)
        assert settle(record, held, "release")
        row = job(record, "a")
        assert (row.state, row.owner, row.lease_until, row.attempt) == ("pending", None, None, 1)
        assert not settle(record, held, "release")
        again = claimed(record, study_id, "other")
        assert (again.identity, again.attempt) == ("a", 2)

    def test_a_failed_unit_waits_until_it_is_retried(self, record: Record) -> None:
        study_id, other = plan(record, unit("a"), unit("b")), plan(record, unit("c"), study="other")
        for study in (study_id, other):
            assert settle(record, claimed(record, study), "fail")
        row = job(record, "a")
        assert (row.state, row.error, row.lease_until, row.owner) == ("failed", "it raised", None, "me")
        assert row.finished_at is not None
        assert claimed(record, study_id).identity == "b" and claim(record, study_id) is None
        with record.session() as session:
            assert (leases.retry_failed(session, study_id), leases.retry_failed(session, study_id)) == (1, 0)
        assert states(record) == {"a": "pending", "b": "leased", "c": "failed"}
        again = claimed(record, study_id)
        assert (again.identity, again.attempt) == ("a", 2)
        row = job(record, "a")
        assert (row.error, row.finished_at) == (None, None)

    def test_a_failed_unit_is_tried_again_for_whoever_asks_for_it_anew(self, record: Record) -> None:
        study_id = plan(record, unit("a"))
        assert settle(record, claimed(record, study_id), "fail")
        assert plan(record, unit("a")) == study_id and states(record) == {"a": "failed"}  # another worker of the study
        again = claimed(record, plan(record, unit("a"), study="other"))
        assert (again.identity, again.attempt) == ("a", 2)

    def test_a_unit_whose_process_is_gone_is_lost_at_once(self, record: Record) -> None:
        study_id = plan(record, unit("a"))
        held = claimed(record, study_id)
        assert settle(record, held, "lose")
        row = job(record, "a")
        assert (row.state, row.error, row.lease_until) == ("lost", "it is gone", None)
        assert claimed(record, study_id, "other").attempt == 2
        assert not settle(record, held, "lose") and job(record, "a").state == "leased"

    def test_errors_are_cut(self, record: Record) -> None:
        study_id = plan(record, unit("a"), unit("b"))
        with record.session() as session:
            for word in (leases.fail, leases.lose):
                held = leases.claim(session, study_id, "me", provenance=PROVENANCE)
                assert held is not None and word(session, held, "é" * (ERROR_LENGTH + 1))
        assert [job(record, name).error for name in "ab"] == ["é" * ERROR_LENGTH] * 2

    def test_a_unit_that_is_lost_again_and_again_counts_as_failed(self, record: Record) -> None:
        study_id = plan(record, unit("a"))
        for attempt in range(1, leases.MOST_ATTEMPTS + 1):
            held = claimed(record, study_id)
            assert held.attempt == attempt
            if attempt % 2:
                assert settle(record, held, "lose")
            else:
                let_expire(record, held)
        row = job(record, "a")
        assert (row.state, row.error) == ("failed", "it is gone") and row.finished_at is not None
        assert claim(record, study_id, "other") is None

    def test_a_heartbeat_holds_a_unit(self, record: Record) -> None:
        study_id = plan(record, unit("a"))
        held = claimed(record, study_id)
        let_expire(record, held)
        assert settle(record, held, "renew")
        with record.session() as session:
            assert leases.reap(session) == 0
            left = session.execute(select(Job.lease_until, clock(0.0))).one()
        assert left[0] is not None and 50.0 < (left[0] - left[1]).total_seconds() <= leases.LEASE

    def test_a_heartbeat_takes_a_unit_back_that_nobody_took(self, record: Record) -> None:
        study_id = plan(record, unit("a"))
        held = claimed(record, study_id)
        let_expire(record, held)
        with record.session() as session:
            assert leases.reap(session) == 1
            assert leases.renew(session, held)
        row = job(record, "a")
        assert (row.state, row.owner, row.attempt, row.error) == ("leased", "me", 1, None)
        assert claim(record, study_id, "other") is None
        publish(record, held)

    def test_a_heartbeat_for_a_unit_that_another_has_changes_nothing(self, record: Record) -> None:
        study_id = plan(record, unit("a"))
        late = claimed(record, study_id, "late")
        let_expire(record, late)
        other = claimed(record, study_id, "other")
        let_expire(record, other)
        before = job(record, "a").lease_until
        assert not settle(record, late, "renew")
        assert job(record, "a").lease_until == before
