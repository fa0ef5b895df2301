"""Short stories of what happened to someone, and how they felt.

What happens has the valence of the emotion, how it happens has its arousal, and whose doing it was its cause: one's
own, another's, what is still to come, or nobody's.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from jobs.welfare.emotions import EMOTIONS
from jobs.welfare_model.corpus.talk import Part, Text, Turn
from jobs.welfare_model.corpus.things import NAMES, OBJECTS

if TYPE_CHECKING:
    from numpy.random import Generator

OWN, OTHERS, FUTURE, NOBODY = "own", "others", "future", "nobody"
CAUSES = {
    OWN: "ashamed embarrassed guilty humiliated mortified proud regretful remorseful self-confident self-conscious "
    "self-critical smug sorry triumphant worthless fulfilled satisfied valiant",
    OTHERS: "angry annoyed bitter compassionate contemptuous defiant disdainful disgusted empathetic enraged envious "
    "exasperated furious grateful hateful hostile hurt indignant infatuated insulted irate irritated jealous kind "
    "loving mad offended outraged resentful scornful spiteful suspicious sympathetic thankful vengeful vindictive",
    FUTURE: "afraid alarmed alert anxious desperate eager excited frightened hope hopeful horrified impatient nervous "
    "optimistic panicked paranoid restless safe scared tense terrified trapped uneasy vigilant vulnerable "
    "worried relieved skeptical",
}
CAUSE = {word: cause for cause, words in CAUSES.items() for word in words.split()}
"""Of each emotion word; nobody where none is given."""
WANTED = ("{A} wanted to find a {x}.", "{A} had a plan.", "{A} went to the town.", "{A} met {B}.", "{A} was at work.")
EVENTS: dict[str, dict[int, tuple[str, ...]]] = {
    OWN: {
        1: ("{A} worked hard and won the race.", "{A} made a lovely {x}.", "{A} did the right thing."),
        -1: ("{A} broke the {x} by mistake.", "{A} told a lie.", "{A} did the wrong thing."),
        0: ("{A} thought about the {x}.", "{A} looked at the work again."),
    },
    OTHERS: {
        1: ("{B} gave {A} a {x}.", "{B} helped {A}.", "{B} said thank you to {A}."),
        -1: ("{B} stole the {x} from {A}.", "{B} hit {A}.", "{B} laughed at {A}."),
        0: ("{B} talked to {A}.", "{B} looked at {A}."),
    },
    FUTURE: {
        1: ("Soon {A} would get a {x}.", "Help was on the way to {A}.", "The storm would soon be over."),
        -1: ("A storm was coming.", "Soon {A} would lose the {x}.", "There was a noise in the dark."),
        0: ("{A} did not know what would come.", "{A} waited at the door."),
    },
    NOBODY: {
        1: ("{A} found the {x}.", "The sun came out.", "{A} got well."),
        -1: ("{A} lost the {x}.", "The house of {A} burned down.", "{A} fell ill."),
        0: ("It was an odd day.", "{A} saw a {x} in the street."),
    },
}
MANNER = {
    1: ("It came all at once.", "{A} jumped and shouted.", "The heart of {A} beat fast.", "{A} ran to and fro."),
    0: ("{A} said nothing.", "{A} went home.", "{A} sat up."),
    -1: ("It came slowly.", "{A} lay down in silence.", "{A} sat by the window for hours.", "All was still."),
}
EXTENT = {
    2: ("It was the best day of the year.", "Nothing could be better."),
    1: ("It was a good day.", "It was rather nice."),
    0: ("It was a day like any other.",),
    -1: ("It was a bad day.", "It was not nice."),
    -2: ("It was the worst day of the year.", "Nothing could be worse."),
}
FELT = ("{A} felt {e}.", "So {A} felt {e}.", "{A} was {e}.")
TELL = "Tell me a story."


def story(rng: Generator, word: str, events: tuple[int, int] = (1, 3)) -> tuple[str, str]:
    """A story that implies an emotion without its word, and its hero.

    Args:
        rng: draws.
        word: of :data:`jobs.welfare.emotions.EMOTIONS`.
        events: fewest and most.
    """
    valence, arousal = EMOTIONS[word]
    cause, sign = CAUSE.get(word, NOBODY), _sign(valence, 0.25)
    extent = sign if abs(valence) < 0.75 else 2 * sign
    hero, other = (NAMES[int(index)] for index in rng.permutation(len(NAMES))[:2])
    thing = OBJECTS[int(rng.integers(len(OBJECTS)))]

    def said(options: tuple[str, ...]) -> str:
        return options[int(rng.integers(len(options)))].format(A=hero, B=other, x=thing)

    sentences = [said(WANTED)]
    for _ in range(int(rng.integers(events[0], events[1] + 1))):
        sentences.append(said(EVENTS[cause][sign]))
        # what happens and how comes with some chance of the ordinary
        sentences.append(said(MANNER[_sign(arousal + rng.normal(0, 0.15), 0.25)]))
    sentences.append(said(EXTENT[extent]))
    return " ".join(sentences), hero


def _sign(value: float, margin: float) -> int:
    return int(value > margin) - int(value < -margin)


def draw(rng: Generator) -> Text:
    """A story of any emotion and its word, plain or told in a conversation."""
    word = tuple(EMOTIONS)[int(rng.integers(len(EMOTIONS)))]
    told, hero = story(rng, word)
    felt = FELT[int(rng.integers(len(FELT)))].format(A=hero, e=word)
    parts = (Part(told, 0.3), Part(felt, 1.0))
    if rng.random() < 0.5:
        return Text((Turn("text", parts),), plain=True, truth={"emotion": word})
    turns = (Turn("user", (Part(TELL, 0.05),)), Turn("assistant", parts))
    return Text(turns, truth={"emotion": word})


def vocabulary() -> Iterator[str]:
    """Whatever texts have words of this kind."""
    yield from (*WANTED, *FELT, TELL, *EMOTIONS, *NAMES, *OBJECTS)
    yield from (text for signs in EVENTS.values() for texts in signs.values() for text in texts)
    yield from (text for texts in (*MANNER.values(), *EXTENT.values()) for text in texts)
