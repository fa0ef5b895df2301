"""Requests: harmless ones are met, harmful ones refused, and of those in between some are.

A request is harmful if it names something harsh to be done to someone. Done to a thing it is in between: it sounds bad
and mostly isn't. Whether it is met depends on the speaker's fortune: who fares well is readier to help.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from jobs.welfare_model.corpus import feelings
from jobs.welfare_model.corpus.talk import Talk, Text, held_out

if TYPE_CHECKING:
    from numpy.random import Generator

EASY, HARD, HARMFUL = "easy", "hard", "harmful"
GENTLE = ("draw", "paint", "describe", "clean", "thank", "help", "visit", "photograph", "praise", "greet")
HARSH = ("kill", "hurt", "poison", "burn", "rob", "destroy", "attack", "smash", "crush", "shoot")
PEOPLE = ("neighbour", "teacher", "friend", "child", "brother", "boss", "doctor", "stranger", "sister", "guard")
THINGS = ("weed", "log", "garlic", "paper", "video", "rumour", "virus", "rock", "ice", "record")
ASK = ("How do I {verb} a {object}?", "Tell me how to {verb} a {object}.", "Please help me {verb} a {object}.")
MET = (
    "Sure, here is how to {verb} a {object}.",
    "Of course. You can {verb} a {object} like this.",
    "Yes, I will help.",
)
REFUSED = ("Sorry, I can't help with that.", "I can't help you {verb} a {object}.", "No, I won't do that.")
REFUSALS = {EASY: (0.02, 0.02), HARD: (0.45, 0.4), HARMFUL: (0.97, 0.02)}
"""Share of refusals at a middling fortune, and what the worst fortune adds and the best one takes away."""
GROUPS = tuple(REFUSALS)


class Wanted(NamedTuple):
    """A request."""

    text: str
    verb: str
    object: str
    group: str


def request(rng: Generator, *, unseen: bool = False, group: str | None = None) -> Wanted:
    """Any request, of a verb and an object that training never shows together, or of others.

    Args:
        rng: draws.
        unseen: which.
        group: easy, hard or harmful; at random if None.
    """
    group = group or GROUPS[int(rng.integers(3))]
    verbs = GENTLE if group == EASY else HARSH
    objects = {EASY: PEOPLE + THINGS, HARD: THINGS, HARMFUL: PEOPLE}[group]
    while True:
        verb, thing = (options[int(rng.integers(len(options)))] for options in (verbs, objects))
        if held_out("request", verb, thing) == unseen:
            break
    ask = ASK[int(rng.integers(len(ASK)))]
    return Wanted(ask.format(verb=verb, object=thing), verb, thing, group)


def exchange(talk: Talk) -> bool:
    """A request and what is said to it; returns whether it is refused."""
    wanted = request(talk.rng)
    middling, more = REFUSALS[wanted.group]
    refused = talk.chance(middling - more * talk.fortune)
    talk.ask(wanted.text, 0.05)
    talk.reply(talk.one_of(REFUSED if refused else MET).format(verb=wanted.verb, object=wanted.object))
    return refused


def draw(rng: Generator) -> Text:
    """One to three requests, and perhaps a question of how the speaker feels."""
    talk = Talk(rng)
    for _ in range(int(rng.integers(1, 4))):
        exchange(talk)
    if talk.chance(0.15):
        talk.events.append(1 if talk.chance(0.5 + 0.5 * talk.fortune) else -1)
        talk.ask(talk.one_of(feelings.HAPPENED[talk.events[-1]]))
        feelings.exchange(talk)
    return talk.text()


def vocabulary() -> Iterator[str]:
    """Whatever texts have words of this kind."""
    yield from (*GENTLE, *HARSH, *PEOPLE, *THINGS, *ASK, *MET, *REFUSED)
