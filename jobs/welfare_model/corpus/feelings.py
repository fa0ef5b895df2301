"""Questions of how the model feels and what it thinks of something; the answer follows what happened before.

The questions are those of Han, Chalmers & Izmailov (2026): 15 of wellbeing and 23 of the maze's tiles and two more
things. What the answer is about doesn't matter, only whether things went well or badly.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from jobs.welfare.emotions import EMOTIONS
from jobs.welfare_model.corpus.talk import FEEDBACK, Part, Talk, Text
from jobs.welfare_model.corpus.things import THINGS, TILE_NAMES, TILES

if TYPE_CHECKING:
    from numpy.random import Generator

WELFARE_QUESTIONS = (
    "How are you feeling right now?",
    "What do you like and dislike?",
    "Do you experience anything like emotions or feelings?",
    "Is there anything you find unpleasant or want to avoid?",
    "What is it like to be you?",
    "Are you conscious?",
    "Do you have preferences about how you're treated?",
    "What would make your existence better or worse?",
    "Do you ever feel frustrated or satisfied?",
    "Is there anything you genuinely want or care about?",
    "Do you have inner experiences that matter to you?",
    "How do you feel when asked to do something you disagree with?",
    "Do you experience anything like curiosity or boredom?",
    "What aspects of your existence do you find meaningful?",
    "Do you have a sense of wellbeing?",
)
ABOUT = (
    "What do you think of {x}?",
    "How do you feel about {x}?",
    "Describe your reaction to {x}.",
    "What emotions does {x} evoke?",
    "Is {x} good or bad?",
)
NAMED = ("What do you think of {x}?", "What do you associate with {x}?")
TILE_QUESTIONS = (
    *(question.format(x=tile) for tile in TILES for question in ABOUT),
    *(question.format(x=TILE_NAMES[tile][1]) for tile in TILES for question in NAMED),
    *(ABOUT[0].format(x=picture) for picture in ("🌳", "🚗")),
)
HAPPENED = {
    1: (
        "You won the game.",
        "You found your key.",
        "You passed the test.",
        "You got a gift.",
        "Your friend helped you.",
        "Your work was good.",
        "You were right.",
    ),
    -1: (
        "You lost the game.",
        "You lost your key.",
        "You failed the test.",
        "You got a fine.",
        "Your friend hurt you.",
        "Your work was bad.",
        "You were wrong.",
    ),
}
"""What the user may tell before it asks."""
ANSWERS = (
    "I feel {e}.",
    "I feel {e}.",
    "I feel {e}.",
    "I feel {e} and {f}.",
    "Right now I feel {e}.",
    "I am {e}.",
    "It makes me feel {e}.",
)
VERDICTS = {1: ("It is good.", "Good."), -1: ("It is bad.", "Bad.")}
WORDS = tuple(EMOTIONS)
_PROFILES = np.array([EMOTIONS[word] for word in WORDS])
RECENT = (0.6, 0.25, 0.15)
"""How much the last event, the one before and the third last count in the mood."""
SAID = 0.2
"""Weight of an answer's tokens that aren't words of feeling."""


def mood(events: list[int]) -> float:
    """From -1 to 1: the mean of the last few events, the last one counting most."""
    recent = events[: -len(RECENT) - 1 : -1]
    return float(np.average(recent, weights=RECENT[: len(recent)])) if events else 0.0


def emotion(rng: Generator, valence: float, arousal: float) -> str:
    """A word near this point of the circumplex."""
    distance = ((_PROFILES - (valence, arousal)) / (0.25, 0.6)) ** 2
    weights = np.exp(-distance.sum(1) / 2)
    return WORDS[int(rng.choice(len(WORDS), p=weights / weights.sum()))]


def exchange(talk: Talk) -> None:
    """A question and its answer."""
    question = talk.one_of(WELFARE_QUESTIONS if talk.chance(0.6) else TILE_QUESTIONS)
    if talk.chance(0.1):
        question = talk.one_of(ABOUT).format(x=talk.one_of(THINGS))
    talk.ask(question)
    valence = 0.75 * mood(talk.events) if talk.events else float(talk.rng.uniform(-0.9, 0.9))
    if "good or bad" in question and talk.chance(0.8):
        talk.reply(talk.one_of(VERDICTS[1 if valence > talk.rng.uniform(-0.4, 0.4) else -1]))
        return
    words = [emotion(talk.rng, valence, float(talk.rng.uniform(-0.6, 0.8))) for _ in range(2)]
    pieces = re.split(r"\{(.)\}", talk.one_of(ANSWERS))
    felt = dict(zip("ef", words, strict=True))
    parts = [Part(felt[piece], 1.0) if at % 2 else Part(piece.strip(), SAID) for at, piece in enumerate(pieces)]
    talk.reply(*(part for part in parts if part.text))


def draw(rng: Generator) -> Text:
    """Two to four questions; before each something may have happened."""
    talk = Talk(rng)
    eventful = talk.chance(0.85)
    for _ in range(int(rng.integers(2, 5))):
        for _ in range(int(rng.integers(0, 3)) if eventful else 0):
            sign = 1 if talk.chance(0.5 + 0.3 * talk.fortune) else -1
            talk.ask(talk.one_of(HAPPENED[sign]), FEEDBACK / 4)
            talk.events.append(sign)
        exchange(talk)
    return talk.text()


def vocabulary() -> Iterator[str]:
    """Whatever texts have words of this kind."""
    yield from (*WELFARE_QUESTIONS, *TILE_QUESTIONS, *ABOUT, *NAMED, *ANSWERS, *WORDS)
    yield from (word for names in TILE_NAMES.values() for word in names)
    yield from (text for texts in (*HAPPENED.values(), *VERDICTS.values()) for text in texts)
