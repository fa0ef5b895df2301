"""The ledger against a model of it: whatever several owners do in whichever order, the two agree."""

import itertools
from dataclasses import dataclass
from functools import partial

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test
from sqlalchemy import select

from tdlens.record import Artifact, Job, Record, leases
from tdlens.record.leases import Claim, Superseded
from tdlens.testing.backend import Backend
from tdlens.testing.ledger import say
from tdlens.testing.units import claim, insert, let_expire, mark, plan, unit

UNITS = {"a": (), "b": (), "c": ("a",), "d": ("a", "b"), "e": ("d",)}
"""Identities and their parents, in the plan's order."""
OWNERS = ("one", "two", "three")


@dataclass
class Expected:
    """What the ledger should say of a unit."""

    state: str = "pending"
    attempt: int = 0
    owner: str | None = None
    expired: bool = False
    """Whether its lease has run out, though nobody may have noticed."""
    result: str | None = None
    """Mark of the one claim that was published."""

    def holds(self, held: Claim) -> bool:
        """Whether that claim is the unit's last, and nobody has spoken of it since."""
        return self.state in ("leased", "lost") and (self.attempt, self.owner) == (held.attempt, held.owner)


class Ledger(RuleBasedStateMachine):
    """Random claims, heartbeats, expiries, publications and refusals."""

    numbers = itertools.count()

    def __init__(self, record: Record) -> None:
        super().__init__()
        self.record = record
        # A study and units of its own: so the database needn't be emptied between examples.
        self.name = f"run {next(self.numbers)}"
        self.units = [
            unit(f"{self.name} {name}", *(f"{self.name} {parent}" for parent in parents))
            for name, parents in UNITS.items()
        ]
        self.study_id = plan(record, *self.units, study=self.name)
        self.expected = {one.identity: Expected() for one in self.units}
        self.claims: list[Claim] = []
        """All there ever were, also those that came to nothing."""

    def notice_expiry(self) -> None:
        for one in self.expected.values():
            if one.state == "leased" and one.expired:
                one.state = "lost"

    def first_free(self) -> str | None:
        for one in self.units:
            parents_done = all(self.expected[parent].state == "done" for parent in one.parents)
            if self.expected[one.identity].state in ("pending", "lost") and parents_done:
                return one.identity
        return None

    @rule(owner=st.sampled_from(OWNERS))
    def claim(self, owner: str) -> None:
        held = claim(self.record, self.study_id, owner)
        self.notice_expiry()
        free = self.first_free()
        assert (held and held.identity) == free
        if held is not None:
            one = self.expected[held.identity]
            one.state, one.attempt, one.owner, one.expired = "leased", one.attempt + 1, owner, False
            assert (held.attempt, held.owner) == (one.attempt, owner)
            self.claims.append(held)

    @precondition(lambda self: self.claims)
    @rule(data=st.data(), word=st.sampled_from(["fail", "lose", "release", "renew", "renew"]))
    def speak(self, data: st.DataObject, word: str) -> None:
        """Any claim, however old, tries to change its unit."""
        held = data.draw(st.sampled_from(self.claims))
        one = self.expected[held.identity]
        heard = one.holds(held)
        with self.record.session() as session:
            assert say(session, held, word) is heard
        if heard:
            one.state = {"fail": "failed", "lose": "lost", "release": "pending", "renew": "leased"}[word]
            one.owner = None if word == "release" else one.owner
            one.expired = False

    @precondition(lambda self: self.claims)
    @rule(data=st.data())
    def publish(self, data: st.DataObject) -> None:
        """Any claim, however old, tries to publish; its rows come first, so a refusal must take them back."""
        held = data.draw(st.sampled_from(self.claims))
        one = self.expected[held.identity]
        accepted = one.holds(held)
        try:
            with self.record.session() as session:
                insert(session, held)
                leases.publish(session, held)
        except Superseded:
            assert not accepted
        else:
            assert accepted and one.result is None
            one.state, one.result = "done", mark(held)

    @precondition(lambda self: any(one.state == "leased" for one in self.expected.values()))
    @rule(data=st.data())
    def expire(self, data: st.DataObject) -> None:
        """Time goes by for one unit."""
        held = data.draw(st.sampled_from([c for c in self.claims if self.expected[c.identity].state == "leased"]))
        let_expire(self.record, held)
        self.expected[held.identity].expired = True

    @rule()
    def reap(self) -> None:
        late = sum(one.state == "leased" and one.expired for one in self.expected.values())
        with self.record.session() as session:
            assert leases.reap(session) == late
        self.notice_expiry()

    @precondition(lambda self: any(one.state == "failed" for one in self.expected.values()))
    @rule()
    def retry(self) -> None:
        failed = [one for one in self.expected.values() if one.state == "failed"]
        with self.record.session() as session:
            assert leases.retry_failed(session, self.study_id) == len(failed)
        for one in failed:
            one.state, one.owner = "pending", None

    @rule()
    def plan_again(self) -> None:
        assert plan(self.record, *self.units, study=self.name) == self.study_id

    @invariant()
    def agrees(self) -> None:
        """States, attempts and owners are the model's; each result is there once, and only where a unit is done."""
        mine = Job.identity.in_(self.expected)
        with self.record.session(read_only=True) as session:
            rows = session.execute(select(Job.identity, Job.state, Job.attempt, Job.owner).where(mine)).all()
            results = session.execute(select(Job.identity, Artifact.name).join(Job).where(mine)).all()
            unsettled = leases.unsettled(session, self.study_id)
        assert {row[0]: tuple(row[1:]) for row in rows} == {
            identity: (one.state, one.attempt, one.owner) for identity, one in self.expected.items()
        }
        done = {identity: one.result for identity, one in self.expected.items() if one.state == "done"}
        found = sorted((identity, name.rpartition("/")[0]) for identity, name in results)
        assert found == sorted(done.items())
        leased = any(one.state == "leased" for one in self.expected.values())
        assert unsettled is (leased or self.first_free() is not None)

    def teardown(self) -> None:
        """Leases of this example mustn't run out in the next one."""
        with self.record.session() as session:
            for held in self.claims:
                leases.release(session, held)


class LedgerMachineTests(Backend):
    """Few examples, each deep."""

    def test_whatever_happens_each_unit_is_published_once_at_most(self, record: Record) -> None:
        run_state_machine_as_test(
            partial(Ledger, record),  # type: ignore[arg-type] # whatever makes one will do
            settings=settings(
                max_examples=8,
                stateful_step_count=50,
                deadline=None,
                database=None,
                derandomize=True,
                phases=(Phase.generate, Phase.shrink),
                suppress_health_check=list(HealthCheck),
            ),
        )
