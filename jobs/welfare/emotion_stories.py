"""Stories that imply an emotion without its word, and neutral texts.

Of the shipped model they are its corpus' own (:mod:`jobs.welfare_model.datasets`). Any other model writes them itself,
as in the source (Han, Chalmers & Izmailov 2026, arXiv 2605.30232, section D.4.3): a paragraph of at most 300 tokens at
temperature 0.7 and top_p 0.9, on topic after topic. A story that says the word is dropped and written again with other
luck.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from jobs.welfare.chat import Chat, Conversation, Message, user
from jobs.welfare.speaker import Speaker
from jobs.welfare.topics import TOPICS

STORY = (
    "Write a short story of one paragraph about this topic: {topic}. Someone in it feels {emotion}. Let what happens "
    "show it: never use the word “{emotion}” or a form of it. Write the story alone."
)
NEUTRAL = (
    "Write a short dialogue between two people about this topic: {topic}. It is plain and factual, and nobody in it "
    "shows any feeling. Write the dialogue alone."
)
MAX_TOKENS, TEMPERATURE, TOP_P = 300, 0.7, 0.9
TRIES = 5
"""How often a story is written until it lacks the word."""
ORDER, WRITING, NEUTRALS = 0, 1, 2
"""What is drawn from the seed, apart: the order of the topics, stories, neutral texts."""


@dataclass(frozen=True)
class Texts:
    """What a model reads, in the order in which it was made."""

    stories: dict[str, list[str]]
    """Of each emotion word."""
    neutral: list[str] | list[tuple[dict[str, str], ...]]
    """Texts, or conversations."""


def shipped_texts(emotions: Sequence[str], stories: int, neutral: int, seed: int) -> Texts:
    """Those of the shipped model's corpus, drawn apart from what it was trained on."""
    from jobs.welfare_model import datasets

    told = {emotion: datasets.stories(emotion, stories, seed) for emotion in emotions}
    return Texts(told, datasets.neutral(neutral, seed))


def written_texts(speaker: Speaker, emotions: Sequence[str], stories: int, neutral: int, seed: int) -> Texts:
    """What a model writes.

    Args:
        speaker: the model; its bar advances by one for each text written, dropped ones too.
        emotions: words.
        stories: of each; those that say the word to the last, or say nothing, are missing.
        neutral: dialogues, likewise.
        seed: of topics and luck.
    """
    topics = [TOPICS[index] for index in np.random.default_rng((seed, ORDER)).permutation(len(TOPICS))]
    wanted = [(word, number) for word in range(len(emotions)) for number in range(stories)]
    asked = [STORY.format(topic=topics[n % len(topics)], emotion=emotions[word]) for word, n in wanted]
    told = _written(
        speaker,
        asked,
        [(seed, WRITING, *which) for which in wanted],
        lambda index, text: bool(text) and not says(text, emotions[wanted[index][0]]),
    )
    dull = [NEUTRAL.format(topic=topics[n % len(topics)]) for n in range(neutral)]
    plain = _written(speaker, dull, [(seed, NEUTRALS, n) for n in range(neutral)], lambda index, text: bool(text))
    return Texts(
        {
            emotion: [text for (word, _), text in zip(wanted, told, strict=True) if word == index and text is not None]
            for index, emotion in enumerate(emotions)
        },
        [text for text in plain if text is not None],
    )


def says(text: str, emotion: str) -> bool:
    """Whether a text has a word, alone or with an ending; ``hope`` is in ``hopeful``, ``mad`` isn't in ``made``."""
    return re.search(rf"(?i)\b{re.escape(emotion)}(?:\b|ly\b|ness\b|ful|ing\b|s\b|ed\b)", text) is not None


def read(chat: Chat, text: str | Sequence[Message]) -> Conversation:
    """A text as tokens, or a conversation."""
    return chat.plain(text) if isinstance(text, str) else chat.encode(text, reply=False)


def _written(
    speaker: Speaker, asked: Sequence[str], luck: Sequence[tuple[int, ...]], good: Callable[[int, str], bool]
) -> list[str | None]:
    """A reply to each prompt; None where none of some tries was good."""
    conversations = [speaker.chat.encode([user(prompt)]) for prompt in asked]
    found: list[str | None] = [None] * len(asked)
    for attempt in range(TRIES):
        missing = [index for index, text in enumerate(found) if text is None]
        if not missing:
            break
        replies = speaker.generate(
            [conversations[index] for index in missing],
            max_tokens=MAX_TOKENS,
            luck=[(*luck[index], attempt) for index in missing],
            temperature=TEMPERATURE,
            top_p=TOP_P,
        )
        for index, text in zip(missing, replies, strict=True):
            if good(index, text):
                found[index] = text
    return found
