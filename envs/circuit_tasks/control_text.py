"""Control text: plain English from a small grammar, on which an ablation must do no harm.

Short tales of two people, a place and a few things, so that words recur as they do in any text. People are never the
goal of *to*: what an indirect object is can't be learned from this text, only from the task's own sentences.
"""

from __future__ import annotations

from random import Random

from envs.circuit_tasks.docstring import DESCRIPTIONS, PARAMETERS
from envs.circuit_tasks.ioi import NAMES, OBJECTS, PLACES

OTHERS = ("teacher", "doctor", "farmer", "child", "woman", "driver", "student", "neighbour", "singer", "baker")
ANIMALS = ("dog", "cat", "horse", "bird", "cow", "sheep", "duck", "mouse")
FURNITURE = ("table", "chair", "door", "window", "wall", "box", "lamp", "bed", "bench", "bridge", "road", "river")
QUALITIES = (
    *("old", "new", "small", "large", "red", "blue", "green", "quiet", "tired", "young", "cold", "warm", "heavy"),
    *("bright", "clean", "broken", "happy", "strange", "empty", "full"),
)
TIMES = ("morning", "evening", "summer", "winter", "spring", "night", "week", "afternoon")
HOW = ("slowly", "quickly", "quietly", "often", "again", "alone", "together", "carefully")
DID = ("found", "lost", "bought", "sold", "carried", "opened", "watched", "liked", "wanted", "kept", "cleaned", "saw")
RESTED = ("slept", "waited", "laughed", "walked", "sat", "stood", "sang", "worked", "played", "talked")
WHERE = ("near", "behind", "under", "beside", "above", "inside")

SENTENCES = (
    "{one} {did} the {thing} in the {place}.",
    "{one} and {two} {rested} near the {furniture}.",
    "The {quality} {animal} {rested} {where} the {furniture}.",
    "In the {time} the {other} {did} the {quality} {thing}.",
    "The {property} of the {thing} was {quality}.",
    "{one} looked at the {property} of the {furniture} and {rested} {how}.",
    "{two} wrote down {note}.",
    "Then {two} {did} it {how}.",
    "When the {animal} came, {one} {rested} {how}.",
    "After that {time}, {two} {did} the {thing} {where} the {furniture}.",
    "While it was {quality}, the {other} {rested} in the {place}.",
    "It was a {plain} {time}, but {one} {rested} because the {thing} was {quality}.",
    "The {other} did not know the {property} or the {second}.",
    "{one} asked for the {thing}, and {two} {did} the {animal}.",
    "The {place} was {quality} and the {other} {did} it with {one}.",
    "One {time}, {one} met the {other} at the {place}.",
    "They {rested} there with the {animal} of {two}.",
    "The {furniture} {where} the {place} was {quality}, and so was the {thing}.",
)
"""Forms of sentences. ``one`` and ``two`` are a tale's people; things, place and animal stay the same within a tale
too, the other words are drawn anew for each sentence."""
DRAWN = {
    **{"property": PARAMETERS, "second": PARAMETERS, "note": DESCRIPTIONS, "other": OTHERS, "furniture": FURNITURE},
    **{"quality": QUALITIES, "time": TIMES, "how": HOW, "did": DID, "rested": RESTED, "where": WHERE},
    "animal": ANIMALS,
    "plain": tuple(word for word in QUALITIES if word[0] not in "aeiou"),
}


def control_text(n_sentences: int, seed: int) -> str:
    """So many sentences in tales of 4 to 8, separated by spaces; the same for the same seed."""
    rng = Random(seed)
    sentences: list[str] = []
    while len(sentences) < n_sentences:
        cast = rng.sample(NAMES, 2)
        things, place, animal = rng.sample(OBJECTS, 2), rng.choice(PLACES), rng.choice(ANIMALS)
        for _ in range(rng.randint(4, 8)):
            one, two = cast if rng.random() < 0.5 else reversed(cast)
            words = {slot: rng.choice(choices) for slot, choices in DRAWN.items()}
            words |= {"one": one, "two": two, "thing": rng.choice(things), "place": place, "animal": animal}
            sentences.append(rng.choice(SENTENCES).format_map(words))
    return " ".join(sentences[:n_sentences])
