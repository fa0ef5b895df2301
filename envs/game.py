"""What the closed loop needs of a task: one rollout, told as text, advanced by actions."""

from __future__ import annotations

from typing import NamedTuple, Protocol

from envs.transcript import Transcript

TERMINAL = -1
"""``next_state`` of a step that ends its episode."""


class Step(NamedTuple):
    """One decision and its outcome, in the task's own numbering of states and actions."""

    episode: int
    state: int
    action: int
    reward: float
    next_state: int
    done: bool
    forced: bool
    """The action was imposed by the task (random exploration), not chosen by the player."""


class Game(Protocol):
    """One rollout: several episodes of one task instance, written into one prompt.

    A game belongs to one player and is advanced in turn by ``observe`` and ``act``. All of its randomness
    comes from the seed it was made with, so two players given equal seeds meet the same task instance.
    """

    @property
    def actions(self) -> tuple[str, ...]:
        """What each action appends to the text right after the decision word, leading space included."""

    @property
    def steps(self) -> list[Step]:
        """Decisions taken so far."""

    @property
    def n_decisions(self) -> int:
        """How many decisions the whole rollout has."""

    @property
    def done(self) -> bool:
        """All episodes have been played."""

    @property
    def forced_action(self) -> int | None:
        """The action to take now whatever the player says (exploration), or None."""

    def observe(self) -> str:
        """The text since the last call, up to and including the decision word. Call once before each act."""

    def act(self, action: int) -> None:
        """Take ``action`` and write its outcome. Raises ValueError after the end, or if there is no such action."""

    def transcript(self) -> Transcript:
        """The whole text so far and the spans of all decision words in it."""
