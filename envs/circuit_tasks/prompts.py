"""Prompts of a circuit task as token ids, and what a tokenizer must do for them.

What a task asks about (a name, a parameter, a year) is a single token, so that one position holds it and one logit is
the answer. A tokenizer that splits it, or doesn't know it, is refused by the word's name: a score on other words would
be one of another task.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

Span = tuple[int, int]
"""First character, and the one behind the last."""
CORRUPTION_SEED = 104_729
"""Added to a task's seed for what is drawn beside its published calls, so that those stay as they are."""


class UnsuitableTokenizer(ValueError):
    """A task's word isn't one known token of the model's tokenizer."""


@dataclass(frozen=True, eq=False)
class Prompts:
    """n prompts of one task.

    How well a model does on a row, in nats: logsumexp of the right answers' logits less that of the wrong ones', at
    the row's last token; with one of each it is their logit difference.

    Raises:
        ValueError: rows, answers or roles don't belong together.
    """

    rows: tuple[tuple[int, ...], ...]
    """Token ids, BOS first, unpadded."""
    corrupted: tuple[tuple[int, ...], ...]
    """The same rows, of the same lengths, without what the task needs."""
    right: tuple[tuple[int, ...], ...]
    """Ids of each row's right answers, one or more."""
    wrong: tuple[tuple[int, ...], ...]
    """Ids of each row's wrong answers, one or more."""
    texts: tuple[str, ...]
    """What the rows read as, without BOS; empty for prompts that are no text."""
    roles: Mapping[str, tuple[int, ...]]
    """Named positions in each row, 0 being BOS."""

    def __post_init__(self) -> None:
        n = len(self.rows)
        if not n or any(len(part) != n for part in (self.corrupted, self.right, self.wrong, *self.roles.values())):
            raise ValueError("every row needs a corrupted one, answers and a position for each role")
        if [len(row) for row in self.rows] != [len(row) for row in self.corrupted]:
            raise ValueError("a corrupted row must be as long as its row")
        if not all(self.right) or not all(self.wrong):
            raise ValueError("every row needs a right and a wrong answer")
        lengths = [len(row) for row in self.rows]
        if any(not 0 <= at < end for places in self.roles.values() for at, end in zip(places, lengths, strict=True)):
            raise ValueError("a role must be a position within its row")
        object.__setattr__(self, "roles", MappingProxyType(dict(self.roles)))


@dataclass(frozen=True)
class Read:
    """Some texts as a tokenizer reads them."""

    rows: tuple[tuple[int, ...], ...]
    """Token ids, BOS first."""
    places: Mapping[str, tuple[int, ...]]
    """Positions of each marked word in each row."""


class Words:
    """A Hugging Face fast tokenizer, as the tasks use it.

    Attributes:
        bos: the id that begins every row: the tokenizer's BOS, else its end of text, as GPT-2 has it.
        n_ids: how many ids there are.

    Raises:
        UnsuitableTokenizer: it has neither, or isn't a fast one.
    """

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        bos = tokenizer.eos_token_id if tokenizer.bos_token_id is None else tokenizer.bos_token_id
        if bos is None:
            raise UnsuitableTokenizer("the tokenizer has neither a BOS token nor an end of text to begin a prompt with")
        if not tokenizer.is_fast:
            raise UnsuitableTokenizer("the tokenizer is a slow one, which can't tell where its tokens lie in a text")
        self.bos = int(bos)
        self.n_ids = len(tokenizer)

    def text(self, text: str) -> list[int]:
        """The ids of a text of any origin, no special ones added.

        White space that the tokenizer doesn't know, as some know no line breaks, reads as one space, and where that
        isn't known either as nothing.

        Raises:
            UnsuitableTokenizer: a word isn't known.
        """
        ids, spans = self._encode([text])[0]
        if blanks := self._unknown_space(text, ids, spans):
            starts, ends = zip(*blanks, strict=True)
            between = [text[end:start] for end, start in zip((0, *ends), (*starts, len(text)), strict=True)]
            text = " ".join(piece for piece in between if piece)
            ids, spans = self._encode([text])[0]
            blanks = self._unknown_space(text, ids, spans)
            kept = [(token, span) for token, span in zip(ids, spans, strict=True) if span not in blanks]
            ids, spans = [token for token, _ in kept], [span for _, span in kept]
        self._refuse_unknown(text, ids, spans)
        return ids

    def words(self, words: Sequence[str]) -> list[int]:
        """The ids of some words by themselves, their leading spaces included.

        Raises:
            UnsuitableTokenizer: one of them isn't one token.
        """
        found = []
        for word, row in zip(words, self.read(words).rows, strict=True):
            if len(row) != 2:
                raise self._not_single(word, row[1:])
            found.append(row[1])
        return found

    def read(self, texts: Sequence[str], marks: Sequence[Mapping[str, Span]] = ()) -> Read:
        """The rows of some texts, and where their marked words are.

        Args:
            texts: what is read.
            marks: for each text, the characters of words that must be single tokens (a space before may belong to the
                token), by the names that they go by; the same names in every text.

        Raises:
            UnsuitableTokenizer: a word isn't known, or a marked one isn't a single token.
        """
        encoded = self._encode(texts)
        places: dict[str, list[int]] = {name: [] for name in (marks[0] if marks else ())}
        for index, (text, (ids, spans)) in enumerate(zip(texts, encoded, strict=True)):
            self._refuse_unknown(text, ids, spans)
            for name, (start, end) in (marks[index] if marks else {}).items():
                touching = [at for at, (first, last) in enumerate(spans) if first < end and last > start]
                first, last = spans[touching[0]]
                if len(touching) > 1 or last != end or text[first:start] not in ("", " ") or first > start:
                    raise self._not_single(text[start:end], [ids[at] for at in touching])
                places[name].append(touching[0] + 1)  # BOS comes before
        rows = tuple((self.bos, *ids) for ids, _ in encoded)
        return Read(rows, {name: tuple(at) for name, at in places.items()})

    def _encode(self, texts: Sequence[str]) -> list[tuple[list[int], list[Span]]]:
        """Ids and characters of each text's tokens."""
        encoded = self._tokenizer(list(texts), add_special_tokens=False, return_offsets_mapping=True)
        return list(zip(encoded["input_ids"], encoded["offset_mapping"], strict=True))

    def _unknown_space(self, text: str, ids: Sequence[int], spans: Sequence[Span]) -> dict[Span, None]:
        """Where tokens are unknown and nothing but white space, in order."""
        unknown = self._tokenizer.unk_token_id
        tokens = zip(ids, spans, strict=True)
        return {(start, end): None for token, (start, end) in tokens if token == unknown and text[start:end].isspace()}

    def _refuse_unknown(self, text: str, ids: Sequence[int], spans: Sequence[Span]) -> None:
        unknown = self._tokenizer.unk_token_id
        if unknown is not None and unknown in ids:
            start, end = spans[ids.index(unknown)]
            raise UnsuitableTokenizer(f"the tokenizer doesn't know {text[start:end]!r}")

    def _not_single(self, word: str, ids: Sequence[int]) -> UnsuitableTokenizer:
        pieces = self._tokenizer.convert_ids_to_tokens(list(ids))
        return UnsuitableTokenizer(
            f"the task needs {word!r} as a token of its own, and the tokenizer makes it {pieces}"
        )


def find(text: str, word: str, before: str = " ", behind: str = "") -> Span:
    """The characters of the first ``word`` in ``text`` that stands between two pieces."""
    start = text.index(before + word + behind) + len(before)
    return start, start + len(word)
