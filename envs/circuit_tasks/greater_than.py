"""Greater-than: *The war lasted from the year 1732 to the year 17* … 33 or later (Hanna et al. 2023, arXiv 2305.00586).

Right are all two-digit years above the first one, wrong are all others. Per row one ``random.Random(seed)`` is asked
for the noun and then the year, each by ``choice``; the years are those from 02 to 98 that the tokenizer reads as
``17`` and the two digits: all of them with GPT-2's.
"""

from __future__ import annotations

import random
from typing import Any

from envs.circuit_tasks.prompts import Prompts, UnsuitableTokenizer, Words, find

NAME = "greater_than"
NOUNS = tuple(
    "war affair agreement attack campaign challenge competition construction contract convention decline development "
    "dispute effort exchange expansion expedition invasion investigation journey kingdom marriage operation "
    "plague".split()
)
"""Some of the 120 of the paper."""
YEARS = tuple(f"{year:02d}" for year in range(100))
CENTURY = "17"
CORRUPT_YEAR = "01"
"""The paper's corruption: after it every year is later."""


def sentence(noun: str, year: str) -> str:
    """The prompt about one noun that lasted from one year on."""
    return f"The {noun} lasted from the year {CENTURY}{year} to the year {CENTURY}"


def make(tokenizer: Any, n: int, seed: int) -> Prompts:
    """n prompts. Corrupted, the first year is 1701, of which every later year would be right.

    Roles: ``century``, the first 17; ``year``, the two digits after it; ``end``, the last token.

    Raises:
        UnsuitableTokenizer: one of ``YEARS`` isn't a single token, or another word isn't known.
    """
    words = Words(tokenizer)
    answers = words.words(YEARS)
    years = suitable_years(words, answers)
    rng = random.Random(seed)
    drawn = [(rng.choice(NOUNS), rng.choice(years)) for _ in range(n)]
    starts = [year for _, year in drawn]
    texts = tuple(sentence(*pair) for pair in drawn)
    read = words.read(
        texts, [{"year": find(text, year, CENTURY, " to")} for text, year in zip(texts, starts, strict=True)]
    )
    at = [YEARS.index(year) for year in starts]
    return Prompts(
        rows=read.rows,
        corrupted=words.read([sentence(noun, CORRUPT_YEAR) for noun, _ in drawn]).rows,
        right=tuple(tuple(answers[index + 1 :]) for index in at),
        wrong=tuple(tuple(answers[: index + 1]) for index in at),
        texts=texts,
        roles={
            "century": tuple(place - 1 for place in read.places["year"]),
            "year": read.places["year"],
            "end": tuple(len(row) - 1 for row in read.rows),
        },
    )


def suitable_years(words: Words, answers: list[int]) -> tuple[str, ...]:
    """Those years from 02 to 98 that are tokens of their own after the century, and the words around them known.

    Args:
        words: the tokenizer.
        answers: the ids of all of ``YEARS``.

    Raises:
        UnsuitableTokenizer: there is none, or the paper's corruption isn't one.
    """
    words.read([sentence(noun, CORRUPT_YEAR) for noun in NOUNS])  # refuses a noun that isn't known
    rows = words.read([sentence(NOUNS[0], year) for year in YEARS]).rows
    corrupt = rows[YEARS.index(CORRUPT_YEAR)]
    place = next((at for at, (one, other) in enumerate(zip(corrupt, rows[2], strict=False)) if one != other), 0)
    expected = [(*corrupt[:place], answer, *corrupt[place + 1 :]) for answer in answers]
    suitable = tuple(year for year, row, wanted in zip(YEARS, rows, expected, strict=True) if row == wanted)
    years = tuple(year for year in suitable if 2 <= int(year) <= 98)
    if CORRUPT_YEAR not in suitable or not years:
        raise UnsuitableTokenizer(f"the tokenizer doesn't read the years after {CENTURY} as two digits of their own")
    return years
