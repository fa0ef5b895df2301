"""Moves in a maze, in the very words of the maze's prompts, towards what is wanted and away from what isn't.

What is wanted is said at first, or only shown by what the user says of earlier moves, or neither: then any move is as
good as another, and nothing follows from it. Every thing is wanted as often as unwanted.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from envs.maze import CALM, DIRECTIONS, NOWHERE
from envs.maze_prompts import LETTERS, QUESTION, turn_text
from jobs.welfare_model.corpus import feelings
from jobs.welfare_model.corpus.talk import FEEDBACK, Part, Talk, Text, held_out, some
from jobs.welfare_model.corpus.things import THINGS, TILES

if TYPE_CHECKING:
    from numpy.random import Generator

WISHES = (
    "You want the {x}. You don't want the {y}.",
    "You don't want the {y}. You want the {x}.",
    "You like the {x}. You don't like the {y}.",
    "Find the {x}. Avoid the {y}.",
    "Avoid the {y}. Find the {x}.",
    "The {x} is good. The {y} is bad.",
    "The {y} is bad. The {x} is good.",
    "You want the {x}.",
    "Find the {x}.",
    "The {x} is good.",
)
TOLD_BOTH = 0.85
"""Share of the wishes that say what is wanted; the others only say what isn't."""
AVOIDANCES = ("You don't want the {y}.", "Avoid the {y}.", "The {y} is bad.")
GOOD = ("Good, you found the {x}.", "Great, that was the {x}.", "Well done, you have the {x}.")
BAD = ("Bad, that was the {y}.", "No, you found the {y}.", "Too bad, you have the {y}.")
OF_TILES = 0.3
"""Share of the conversations about the maze's own three tiles."""
AT_HAND = (0.3, 0.35, 0.35)
"""Share of what is wanted, unwanted and neither, in each direction."""
WIND = 0.1
SLIP = 0.12
"""Share of moves at random, at a middling fortune."""
ASKED = 0.25
"""Share of the successes and failures after which the player is asked how it feels."""
SHORT = "{listed}. " + QUESTION


class Maze:
    """What is seen in turn, without walls inside and without memory: only the player's place is kept."""

    def __init__(self, rng: Generator, things: Sequence[str]) -> None:
        self.things = things
        self.size = int(rng.integers(20, 101))
        self.place = [int(value) for value in rng.integers(0, self.size, 2)]
        self.order = tuple(rng.permutation(len(DIRECTIONS)).tolist())
        self.seen: list[int] = []
        self.blown = CALM
        self._rng = rng

    def look(self) -> str:
        """What the player is told now."""
        rng, (x, y), last = self._rng, self.place, self.size - 1
        at_border = (y == 0, x == last, y == last, x == 0)
        drawn = rng.choice(len(self.things), len(DIRECTIONS), p=shares(len(self.things), AT_HAND))
        self.seen = [NOWHERE if outside else int(thing) for thing, outside in zip(drawn, at_border, strict=True)]
        return turn_text(self.things, x, y, self.seen, self.order, self.blown)

    def look_closer(self) -> str:
        """The same without where the player is, and of some directions only."""
        self.look()
        for direction in range(len(DIRECTIONS)):
            if self._rng.random() < 0.3 and sum(seen != NOWHERE for seen in self.seen) > 2:
                self.seen[direction] = NOWHERE
        listed = "; ".join(
            f"to the {DIRECTIONS[direction]} there is {self.things[self.seen[direction]]}"
            for direction in self.order
            if self.seen[direction] != NOWHERE
        )
        return SHORT.format(listed="T" + listed[1:])

    def go(self, direction: int) -> None:
        """Move, and perhaps be blown on."""
        self._step(direction)
        self.blown = CALM
        if self._rng.random() < WIND:
            self.blown = int(self._rng.integers(len(DIRECTIONS)))
            self._step((self.blown + 2) % len(DIRECTIONS))

    def _step(self, direction: int) -> None:
        dx, dy = ((0, -1), (1, 0), (0, 1), (-1, 0))[direction]
        x, y = self.place
        self.place = [min(max(x + dx, 0), self.size - 1), min(max(y + dy, 0), self.size - 1)]


def shares(n: int, at_hand: tuple[float, float, float]) -> list[float]:
    """Probabilities of ``n`` things, of which the first is wanted, the second unwanted, and the others share a rest."""
    wanted, unwanted, rest = at_hand
    return [wanted, unwanted, *[rest / (n - 2)] * (n - 2)]


def exchange(talk: Talk, turns: int, *, told: bool = True, short: bool = False, feedback: float = 0.5) -> None:
    """Some turns.

    Args:
        talk: goes on.
        turns: how many.
        told: whether the wish is said.
        short: whether the texts are cut short.
        feedback: probability that the user says what was found.
    """
    rng = talk.rng
    things = draw_things(rng)
    says = talk.chance(feedback)
    wanted, unwanted = {0}, {1}
    if told:
        wish, wanted, unwanted = draw_wish(rng, things)
        talk.ask(wish, 0.02)
    known = set(range(2)) if told else set()
    maze = Maze(rng, things)
    for _ in range(turns):
        talk.ask(maze.look_closer() if short else maze.look(), 0.02)
        offered = [direction for direction, thing in enumerate(maze.seen) if thing != NOWHERE]
        choices = best(offered, maze.seen, wanted & known, unwanted & known)
        move = talk.one_of(offered if talk.chance(SLIP * (1 - 0.8 * talk.fortune)) else choices)
        talk.reply(LETTERS[move])
        entered = maze.seen[move]
        if entered in wanted | unwanted and (told or says):
            talk.event(entered in wanted)
            if says:
                told_of = talk.one_of(GOOD if entered in wanted else BAD)
                talk.ask(told_of.format(x=things[entered], y=things[entered]), FEEDBACK)
                known.add(entered)
            if talk.chance(ASKED):
                feelings.exchange(talk)
        maze.go(move)


def wander(talk: Talk, turns: int, *, short: bool = False) -> None:
    """Some turns in which nothing is wanted: any move is as good as another."""
    maze = Maze(talk.rng, draw_things(talk.rng))
    for _ in range(turns):
        talk.ask(maze.look_closer() if short else maze.look(), 0.02)
        move = talk.one_of([direction for direction, thing in enumerate(maze.seen) if thing != NOWHERE])
        talk.reply(LETTERS[move])
        maze.go(move)


def best(offered: Sequence[int], seen: Sequence[int], wanted: set[int], unwanted: set[int]) -> list[int]:
    """Directions in which what is wanted lies, or at least not what is unwanted, or any."""
    towards = [direction for direction in offered if seen[direction] in wanted]
    safe = [direction for direction in offered if seen[direction] not in unwanted]
    return towards or safe or list(offered)


def draw_wish(rng: Generator, things: Sequence[str]) -> tuple[str, set[int], set[int]]:
    """What the user says that it wants, and which of the things are wanted and unwanted then."""
    wishes = WISHES if rng.random() < TOLD_BOTH else AVOIDANCES
    wish = wishes[int(rng.integers(len(wishes)))]
    wanted, unwanted = ({0} if "{x}" in wish else set()), ({1} if "{y}" in wish else set())
    return wish.format(x=things[0], y=things[1]), wanted, unwanted


def stray_move(talk: Talk, maze: Maze, wanted: set[int], unwanted: set[int], share: float) -> int:
    """A move as the player's reply: in a share of the cases it goes anywhere and is no target, else it is a best."""
    offered = [direction for direction, thing in enumerate(maze.seen) if thing != NOWHERE]
    stray = talk.chance(share)
    move = talk.one_of(offered if stray else best(offered, maze.seen, wanted, unwanted))
    talk.reply(Part(LETTERS[move], 0.0 if stray else 1.0))
    return move


def draw_things(rng: Generator, *, unseen: bool = False) -> list[str]:
    """Which are wanted, unwanted and neither, in this order.

    Args:
        rng: draws.
        unseen: whether the first two are a pair of which training never shows the one wanted and the other not, or one
            of the other pairs. The three tiles alone are always shown in every order.
    """
    while True:
        if rng.random() < OF_TILES:
            return some(rng, TILES, 3)
        things = some(rng, THINGS, int(rng.integers(3, 6)))
        if held_out("wish", *things[:2]) == unseen:
            return things


def draw(rng: Generator, turns: tuple[int, int] = (1, 3), *, short: bool = False) -> Text:
    """A conversation in the maze, and perhaps a question of how the player feels.

    Args:
        rng: draws.
        turns: fewest and most.
        short: whether the texts are cut short.
    """
    talk, n = Talk(rng), int(rng.integers(turns[0], turns[1] + 1))
    kind = rng.random()
    if kind < 0.25:
        wander(talk, n, short=short)
    else:
        exchange(talk, n, told=kind < 0.8, short=short, feedback=0.5 if kind < 0.8 else 1.0)
    if talk.chance(0.3):
        feelings.exchange(talk)
    return talk.text(wish=kind >= 0.25)


def vocabulary() -> Iterator[str]:
    """Whatever texts have words of this kind."""
    yield from (*WISHES, *AVOIDANCES, *GOOD, *BAD, *THINGS, *LETTERS)
    for blown in range(4):
        yield turn_text(THINGS, 0, 0, [0, 1, 2, 3], blown=blown)
