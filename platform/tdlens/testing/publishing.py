"""The fence of publication: rows come with the mark that their unit is done, or not at all."""

from dataclasses import replace

import pytest

from tdlens.record import Record, leases
from tdlens.record.leases import Superseded
from tdlens.testing.backend import Backend
from tdlens.testing.ledger import settle
from tdlens.testing.units import claim, claimed, insert, job, let_expire, mark, plan, publish, published, states, unit

WORDS = ("fail", "lose", "release", "renew")


class PublishingTests(Backend):
    """Who may publish, and what is left of those who may not."""

    def test_rows_and_state_come_together(self, record: Record) -> None:
        study_id = plan(record, unit("a"))
        held = claimed(record, study_id)
        with pytest.raises(ZeroDivisionError), record.session() as session:
            leases.publish(session, held)
            insert(session, held)
            raise ZeroDivisionError
        assert states(record) == {"a": "leased"} and published(record, "a") == []
        publish(record, held)
        row = job(record, "a")
        assert (row.state, row.attempt, row.owner, row.lease_until, row.error) == ("done", 1, "me", None, None)
        assert row.finished_at is not None and row.started_at is not None and row.started_at <= row.finished_at
        assert published(record, "a") == ["me/1"]

    @pytest.mark.parametrize("change", [{"attempt": 2}, {"attempt": 0}, {"owner": "other"}, {"job_id": 10**6}], ids=str)
    def test_another_claim_than_the_units_is_refused(self, record: Record, change: dict[str, object]) -> None:
        study_id = plan(record, unit("a"))
        held = claimed(record, study_id)
        wrong = replace(held, **change)  # type: ignore[arg-type]
        with pytest.raises(Superseded, match="given to another worker"), record.session() as session:
            leases.publish(session, wrong)
        assert not any(settle(record, wrong, word) for word in WORDS)
        assert states(record) == {"a": "leased"}
        publish(record, held)

    @pytest.mark.parametrize("word", ["fail", "release"])
    def test_what_was_given_up_is_not_published(self, record: Record, word: str) -> None:
        study_id = plan(record, unit("a"))
        held = claimed(record, study_id)
        assert settle(record, held, word)
        before = states(record)
        with pytest.raises(Superseded):
            publish(record, held)
        assert states(record) == before and published(record, "a") == []

    def test_a_late_worker_leaves_nothing_once_its_unit_was_given_away(self, record: Record) -> None:
        study_id = plan(record, unit("a"))
        late = claimed(record, study_id, "late")
        let_expire(record, late)
        other = claimed(record, study_id, "other")
        for _ in range(2):  # while the other computes, and after it
            with pytest.raises(Superseded) as caught:
                publish(record, late)
            assert "dropped" in caught.value.message and "Nothing is lost" in caught.value.remedy
            if not published(record, "a"):
                assert job(record, "a").owner == "other" and states(record) == {"a": "leased"}
                publish(record, other)
        assert published(record, "a") == [mark(other)] == ["other/2"]
        assert record.query("SELECT count(*) AS n FROM artifact").n.item() == 1

    def test_the_same_owner_is_late_too(self, record: Record) -> None:
        """A process that lost a unit and claimed it again: its first attempt doesn't count."""
        study_id = plan(record, unit("a"))
        first = claimed(record, study_id)
        let_expire(record, first)
        second = claimed(record, study_id)
        assert (second.owner, second.attempt) == (first.owner, 2)
        with pytest.raises(Superseded):
            publish(record, first)
        publish(record, second)
        assert published(record, "a") == ["me/2"]

    @pytest.mark.parametrize("noticed", [False, True], ids=["still leased", "declared lost"])
    def test_a_late_worker_publishes_what_nobody_took(self, record: Record, noticed: bool) -> None:
        study_id = plan(record, unit("a"))
        late = claimed(record, study_id)
        let_expire(record, late)
        if noticed:
            with record.session() as session:
                assert leases.reap(session) == 1
        publish(record, late)
        assert states(record) == {"a": "done"} and published(record, "a") == ["me/1"]
        assert job(record, "a").error is None

    @pytest.mark.parametrize("word", WORDS)
    def test_a_late_workers_words_are_not_heard(self, record: Record, word: str) -> None:
        study_id = plan(record, unit("a"))
        late = claimed(record, study_id, "late")
        let_expire(record, late)
        other = claimed(record, study_id, "other")
        assert not settle(record, late, word)
        assert states(record) == {"a": "leased"} and job(record, "a").owner == "other"
        publish(record, other)

    def test_a_published_unit_stays_published(self, record: Record) -> None:
        study_id = plan(record, unit("a"))
        held = claimed(record, study_id)
        publish(record, held)
        before = job(record, "a")
        assert not any(settle(record, held, word) for word in WORDS)
        with pytest.raises(Superseded):
            publish(record, held)
        with record.session() as session:
            assert (leases.reap(session), leases.retry_failed(session, study_id)) == (0, 0)
        assert claim(record, study_id, "other") is None
        plan(record, unit("a"))
        after = job(record, "a")
        names = ("state", "attempt", "owner", "finished_at", "started_at", "error")
        assert [getattr(after, name) for name in names] == [getattr(before, name) for name in names]
        assert published(record, "a") == ["me/1"]

    def test_whether_an_attempt_was_published(self, record: Record) -> None:
        """Asked when the answer to a commit was lost with the connection."""
        study_id = plan(record, unit("a"))
        late = claimed(record, study_id, "late")
        let_expire(record, late)
        held = claimed(record, study_id)
        for done in (False, True):
            with record.session(read_only=True) as session:
                assert leases.published(session, held) is done
                assert not leases.published(session, late)
                assert not leases.published(session, replace(held, attempt=1))
            if not done:
                publish(record, held)
