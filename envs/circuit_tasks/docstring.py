"""Docstring completion: a function's parameters are described in their order, and the next is asked for.

After Heimersheim and Janiak (2023), with the words and the layout of Khadka (2026, arXiv 2605.26343). Per row one
``random.Random(seed)`` is asked for: five parameters (``sample``), which of the first four is the wrong answer
(``choice``), and the description of each of the four (``choice``).
"""

from __future__ import annotations

import random
from typing import Any, NamedTuple

from envs.circuit_tasks.prompts import CORRUPTION_SEED, Prompts, Span, Words, find

NAME = "docstring"
PARAMETERS = tuple(
    "files data size shape state option value name items config path mode flag key token user color type index label "
    "limit scale rate weight depth count offset result target source".split()
)
DESCRIPTIONS = (
    "example value",
    "the input value",
    "an integer flag",
    "a list of items",
    "configuration entry",
    "the requested item",
    "string identifier",
    "metadata field",
    "an optional argument",
    "the source object",
)
DESCRIBED = 4


class Function(NamedTuple):
    """What is drawn for one prompt."""

    parameters: tuple[str, ...]
    """Five, in the definition's order."""
    wrong: str
    descriptions: tuple[str, ...]
    """Of the first four."""
    described: tuple[str, ...]
    """The names that the docstring gives the first four: theirs, unless it is corrupted."""

    @property
    def text(self) -> str:
        lines = [f"def fn(self, {', '.join(self.parameters)}):", '    """']
        lines += [f"    :param {name}: {what}" for name, what in zip(self.described, self.descriptions, strict=True)]
        return "\n".join([*lines, "    :param"])

    @property
    def words(self) -> dict[str, Span]:
        """Where the words are that must be single tokens."""
        text, last = self.text, len(self.parameters) - 1
        defined = {
            f"p{index + 1}_def": find(text, name, ", ", "):" if index == last else ",")
            for index, name in enumerate(self.parameters)
        }
        documented = {
            f"p{index + 1}_doc": find(text, name, ":param ", ":") for index, name in enumerate(self.described)
        }
        return defined | documented


def draw(rng: random.Random) -> Function:
    """One prompt, in the paper's order of calls."""
    parameters = tuple(rng.sample(PARAMETERS, DESCRIBED + 1))
    wrong = rng.choice(parameters[:DESCRIBED])
    descriptions = tuple(rng.choice(DESCRIPTIONS) for _ in range(DESCRIBED))
    return Function(parameters, wrong, descriptions, parameters[:DESCRIBED])


def make(tokenizer: Any, n: int, seed: int) -> Prompts:
    """n prompts. Corrupted, definition and docstring name nine other parameters, so that neither tells what is next.

    Roles: ``p1_def`` to ``p5_def``, the parameters in the definition; ``before_p5``, the token before the last of them;
    ``p1_doc`` to ``p4_doc``, those in the docstring; ``end``, the last token.

    Raises:
        UnsuitableTokenizer: one of ``PARAMETERS`` isn't a single token, or another word isn't known.
    """
    words = Words(tokenizer)
    _refuse_unsuitable(words)
    rng, stand_ins = random.Random(seed), random.Random(seed + CORRUPTION_SEED)
    functions = [draw(rng) for _ in range(n)]
    read = words.read([function.text for function in functions], [function.words for function in functions])
    corrupted = words.read([_corrupted(function, stand_ins).text for function in functions]).rows
    answers = [function.parameters.index(function.wrong) + 1 for function in functions]
    return Prompts(
        rows=read.rows,
        corrupted=corrupted,
        right=tuple((row[at],) for row, at in zip(read.rows, read.places["p5_def"], strict=True)),
        wrong=tuple(
            (row[read.places[f"p{answer}_def"][index]],)
            for index, (row, answer) in enumerate(zip(read.rows, answers, strict=True))
        ),
        texts=tuple(function.text for function in functions),
        roles={
            **read.places,
            "before_p5": tuple(at - 1 for at in read.places["p5_def"]),
            "end": tuple(len(row) - 1 for row in read.rows),
        },
    )


def _corrupted(function: Function, rng: random.Random) -> Function:
    others = rng.sample([name for name in PARAMETERS if name not in function.parameters], 2 * DESCRIBED + 1)
    return function._replace(parameters=tuple(others[: DESCRIBED + 1]), described=tuple(others[DESCRIBED + 1 :]))


def _refuse_unsuitable(words: Words) -> None:
    """Read a few prompts in which each of the task's words occurs at each place, whatever a seed would draw."""
    functions = []
    for index in range(len(PARAMETERS)):
        names = tuple(PARAMETERS[(index + shift) % len(PARAMETERS)] for shift in range(DESCRIBED + 1))
        what = tuple(DESCRIPTIONS[(index + shift) % len(DESCRIPTIONS)] for shift in range(DESCRIBED))
        functions.append(Function(names, names[0], what, names[:DESCRIBED]))
    words.read([function.text for function in functions], [function.words for function in functions])
