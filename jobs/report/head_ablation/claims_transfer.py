"""Claims about tasks that policies were not trained on, and what keeps a share of the oracle from telling anything."""

from __future__ import annotations

from dataclasses import dataclass

from jobs.report import verdicts
from jobs.report.claims import NOT_PUBLISHED, UNRECORDED, claim, or_none, shown, together
from jobs.report.drawing import Claim
from jobs.report.head_ablation import authors, matched
from jobs.report.head_ablation.heads import read_oracles
from jobs.report.head_ablation.searches import (
    LIST,
    NO_CODE,
    RANDOM,
    Found,
    Searches,
    baseline,
    held_out_tasks,
    kinds,
    policy,
    said,
    titled,
    trained_tasks,
)
from jobs.report.reader import Reader, StudyFacts
from jobs.report.verdicts import Interval, Ruling, percent
from tdlens.figures import number

ORACLE = 0.95
"""Share of the oracle that counts as reaching it."""
TRANSFERRED = 0.85
"""Share that counts as transfer to a task that was not trained on."""
MOST = 0.5
"""Share of the episodes from which on the best head of a training task counts as that of another, too."""


def transfer_claims(reader: Reader, searches: Searches, facts: StudyFacts) -> list[Claim]:
    """Two claims for each held-out task: told nothing, and told what."""
    oracles = or_none(lambda: read_oracles(reader, facts)) or {}
    shared = {task: _shared(oracles, facts, task) for task in held_out_tasks(facts)}
    return [
        *[_transfers(searches, facts, task, shared[task]) for task in held_out_tasks(facts)],
        *[_told(searches, facts, task, shared[task]) for task in held_out_tasks(facts)],
    ]


@dataclass(frozen=True)
class Shared:
    """A head that is the best of a training task and of a held-out one."""

    head: str
    own: tuple[int, int]
    """In how many of how many episodes of the held-out task."""
    task: str
    other: tuple[int, int]
    """Of that training task."""

    @property
    def text(self) -> str:
        """For a table's cell."""
        (own, all_own), (other, all_other) = self.own, self.other
        return (
            f"its best head, {self.head} in {own} of {all_own} episodes, is that of {said(self.task)} "
            f"({other} of {all_other}), too"
        )


def _shared(oracles: dict[str, dict[str, int]], facts: StudyFacts, task: str) -> Shared | None:
    """The best head of a training task that is the best in most episodes of this one, too."""
    mine = oracles.get(task, {})
    for trained in trained_tasks(facts):
        theirs = oracles.get(trained, {})
        for head, episodes in mine.items():
            own, other = (episodes, sum(mine.values())), (theirs.get(head, 0), sum(theirs.values()))
            if own[0] > MOST * own[1] and other[0] > MOST * other[1]:
                return Shared(head, own, trained, other)
    return None


def chance_reaches(ruling: Ruling, chance: Found | None, bound: float) -> Ruling:
    """A ruling on what policies find by the end of episodes, where random heads may come as far."""
    theirs = matched.of_found(chance)
    return verdicts.unless(
        ruling,
        theirs is not None and theirs.known and theirs.high >= bound,
        f"the interval of random heads reaches {number(bound)} of the oracle, too",
    )


def with_seeds(found: Found | None) -> str:
    """A share with its interval, and each seed."""
    ours = matched.of_found(found)
    if ours is None or found is None:
        return UNRECORDED
    seeds = ", ".join(number(float(one.mean() / found.oracle.mean())) for one in found.at_end())
    return f"{ours.text()}; seeds {seeds}" if len(found.seeds) > 1 else ours.text()


@dataclass(frozen=True)
class _Listed:
    """What a fixed list leaves of a claim of transfer, where the best head is that of a training task."""

    shared: Shared | None
    lead: Interval | None
    """Of the policy over the list, mean over the steps."""

    def rules(self, ruling: Ruling) -> Ruling:
        """The ruling, if a list would not do as well."""
        beaten = self.lead is not None and self.lead.known and self.lead.low > 0
        return verdicts.unless(
            ruling,
            self.shared is not None and not beaten,
            "the best head in most episodes is that of a training task, too, and the policy is not sooner than the "
            "fixed list of what did best in training (95 % interval above 0)",
        )

    def beside(self, ours: str) -> str:
        """Our numbers, with those that belong to them."""
        if self.shared is None or ours == UNRECORDED:
            return ours
        return f"{ours}; {self.shared.text}; over the steps less the fixed list {shown(self.lead)}"


def _listed(found: Found | None, searches: Searches, task: str, code: str, shared: Shared | None) -> _Listed:
    return _Listed(shared, matched.compare(found, baseline(searches[task], LIST, code), Found.per_step))


def _transfers(searches: Searches, facts: StudyFacts, task: str, shared: Shared | None) -> Claim:
    single, several = kinds(facts)
    found = searches[task]
    many, one = (policy(found, k, NO_CODE) for k in (several, single))
    chance = baseline(found, RANDOM, NO_CODE)
    lead, start = (matched.compare(a, b, Found.at_end) for a, b in ((many, one), (one, chance)))
    theirs, first = (_published(task, k, NO_CODE) for k in (several, single))
    gain = theirs[0] - first[0] if theirs and first else None
    excess = first[1] - authors.random_share() if first else None
    lists = [_listed(mine, searches, task, NO_CODE, shared) for mine in (many, one)]
    reaches = verdicts.exceeds(matched.of_found(many), TRANSFERRED, "that share")
    parts = [
        claim(
            f"… K = {several}: at least {percent(TRANSFERRED)} of the best head's score in the same episodes",
            _share_said(theirs),
            lists[0].beside(with_seeds(many)),
            lists[0].rules(chance_reaches(reaches, chance, TRANSFERRED)),
            yes="It finds the best head of a task that it never saw, or one nearly as good.",
            no="It stays further behind the best head.",
            maybe="Whether it comes so close, and closer than chance or a list would, can't be told.",
        )
    ]
    if several > single:
        parts.append(
            claim(
                f"… more than K = {single}",
                f"by {number(gain)} of the oracle" if gain is not None else NOT_PUBLISHED,
                shown(lead),
                verdicts.effect(lead, gain, expected=1),
                yes=f"Training with the best of {several} transfers better.",
                no=f"Training with the best of {several} transfers no better.",
                maybe="Whether the two differ can't be told.",
            )
        )
    parts.append(
        claim(
            f"… {'and ' if several > single else ''}K = {single} more than random heads",
            f"by {number(excess)} of the oracle (unmatched)" if excess is not None else NOT_PUBLISHED,
            lists[1].beside(shown(start)),
            lists[1].rules(verdicts.effect(start, None, expected=1)),
            yes="What was learned helps with this task.",
            no="What was learned misleads in this task.",
            maybe="Whether what was learned helps, and more than a list of heads would, can't be told.",
        )
    )
    return together(
        f"{titled(task)}, held out: told nothing, a policy trained with K = {several} finds the head that matters most",
        NOT_PUBLISHED,
        parts,
        yes="It transfers as the paper says.",
        no="At least one condition does not hold.",
        maybe="At least one condition is missing or not clear.",
    )


def _told(searches: Searches, facts: StudyFacts, task: str, shared: Shared | None) -> Claim:
    several, found = kinds(facts)[1], searches[task]
    kind, misled = authors.TRAINED
    told, other, nothing = (policy(found, several, code) for code in (kind, misled, NO_CODE))
    cost = matched.compare(other, nothing, Found.at_end)
    right, wrong, none = (_published(task, several, code) for code in (kind, misled, NO_CODE))
    loss = wrong[0] - none[0] if wrong and none else None
    listed = _listed(told, searches, task, kind, shared)
    reaches = verdicts.exceeds(matched.of_found(told), ORACLE, "that share")
    parts = [
        claim(
            f"… told {said(kind)}, at least {percent(ORACLE)} of the best head's score in the same episodes",
            _share_said(right),
            listed.beside(with_seeds(told)),
            listed.rules(chance_reaches(reaches, baseline(found, RANDOM, NO_CODE), ORACLE)),
            yes=f"Told {said(kind)} it reaches the oracle.",
            no=f"Told {said(kind)} it does not reach the oracle.",
            maybe="Whether it reaches the oracle, where chance or a list would not, can't be told.",
        ),
        claim(
            f"… told {said(misled)}, less than told nothing",
            f"by {number(-loss)} of the oracle" if loss is not None else NOT_PUBLISHED,
            shown(cost),
            verdicts.effect(cost, loss, expected=-1),
            yes="The code of the other task misleads it.",
            no="The code of the other task does not mislead it.",
            maybe="Whether the code of the other task misleads it can't be told.",
        ),
    ]
    return together(
        f"{titled(task)}, held out: the task code decides what a policy of K = {several} finds",
        NOT_PUBLISHED,
        parts,
        yes="The code decides what it looks for.",
        no="At least one condition does not hold.",
        maybe="At least one condition is missing or not clear.",
    )


def _published(task: str, k: int, code: str) -> tuple[float, float] | None:
    """Share of the oracle on the same episodes, and as it is printed; None of what the paper does not have."""
    same, printed = authors.matched(k, code), authors.printed(k, code)
    if task != authors.HELD_OUT or same is None or printed is None:
        return None
    return same, printed


def _share_said(theirs: tuple[float, float] | None) -> str:
    if theirs is None:
        return NOT_PUBLISHED
    return f"{number(100 * theirs[0], 1)} % (printed: {number(100 * theirs[1], 1)} %, unmatched)"
