"""Text that a task writes for a language model, and where in it the decisions lie."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Span:
    """Characters ``start`` (inclusive) to ``end`` (exclusive) of a text."""

    start: int
    end: int


@dataclass(frozen=True)
class Transcript:
    """A prompt as the model reads it, with the spans of its decision words in order."""

    text: str
    decisions: tuple[Span, ...]


def token_indices(offsets: Sequence[tuple[int, int]], spans: Sequence[Span]) -> list[int]:
    """Index of the last token of each span, given the character offsets of every token.

    The last token is the one whose logits predict what follows the decision word, whatever the tokenizer:
    one token (``" pick"``), several (``" p" "ick"``), with or without the leading space.

    Args:
        offsets: ``(start, end)`` characters of each token of the text; special tokens are ``(0, 0)``.
        spans: decision words in the order of the text.

    Raises:
        ValueError: a span ends inside a token, so that no token's logits predict what follows it.
    """
    last_token_ending_at = {end: index for index, (start, end) in enumerate(offsets) if end > start}
    missing = [span for span in spans if span.end not in last_token_ending_at]
    if missing:
        raise ValueError(
            f"no token ends where the decision word at characters {missing[0].start}-{missing[0].end} ends "
            f"({len(missing)} of {len(spans)} decisions): the tokenizer merges it with the text that follows"
        )
    return [last_token_ending_at[span.end] for span in spans]
