"""Task text as a model's tokens: decision tokens, action tokens, and text that grows during a game."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from envs.transcript import Transcript, token_indices
from tdlens.errors import UserError

CONTEXT_CHARACTERS = 48
"""How much of the preceding text, cut at a space, is tokenised again in front of a new piece."""


class TextTokenizer:
    """A fast Hugging Face tokenizer, as the closed loop and the replay use it.

    Special tokens that the tokenizer puts in front of a text (BOS) are kept; any that it puts behind are not,
    because the text goes on.

    Args:
        tokenizer: any fast tokenizer, with or without a padding token.

    Raises:
        UserError: a slow tokenizer, which can't say where in the text a token lies.
    """

    def __init__(self, tokenizer: Any) -> None:
        if not tokenizer.is_fast:
            raise UserError(
                f"The tokenizer ({type(tokenizer).__name__}) can't tell which characters a token covers.",
                "Save the model with a fast tokenizer (a tokenizer.json file).",
            )
        self._tokenizer = tokenizer
        # padding is masked out everywhere, so that any id serves
        self.pad_id = 0 if tokenizer.pad_token_id is None else int(tokenizer.pad_token_id)
        self._pieces: dict[tuple[str, str], list[int]] = {}

    def encode(self, texts: Sequence[str]) -> list[tuple[list[int], list[tuple[int, int]]]]:
        """Ids and character offsets of each whole text, with (0, 0) for the special tokens in front."""
        encoded = self._tokenizer(
            list(texts), return_offsets_mapping=True, return_special_tokens_mask=True, verbose=False
        )
        rows = []
        for ids, offsets, special in zip(
            encoded["input_ids"], encoded["offset_mapping"], encoded["special_tokens_mask"], strict=True
        ):
            length = len(special) - special[::-1].index(0)
            rows.append((ids[:length], offsets[:length]))
        return rows

    def decisions(self, transcripts: Sequence[Transcript]) -> tuple[list[list[int]], list[list[int]]]:
        """Token ids of each transcript, and the index of the last token of each of its decision words.

        Raises:
            UserError: the tokenizer merges a decision word with what follows it, or doesn't know a word (its
                token would be that of every unknown word).
        """
        rows, positions = [], []
        for (ids, offsets), transcript in zip(
            self.encode([transcript.text for transcript in transcripts]), transcripts, strict=True
        ):
            self._refuse_unknown(transcript.text, ids, offsets)
            try:
                positions.append(token_indices(offsets, transcript.decisions))
            except ValueError as error:
                raise UserError(
                    f"Decision tokens not found: {error}.",
                    "Choose a decision word that ends where a token ends, or another model.",
                ) from error
            rows.append(ids)
        return rows, positions

    def action_ids(self, text: str, actions: Sequence[str]) -> list[int]:
        """The one token by which each action continues ``text``, which ends with a decision word.

        Raises:
            UserError: an action is several tokens, no token, unknown, or the same token as another action.
        """
        remedy = "Name the actions by words that are single, distinct tokens of this model, or use another model."
        before, *continued = (ids for ids, _ in self.encode([text, *(text + action for action in actions)]))
        chosen: dict[int, str] = {}
        for action, after in zip(actions, continued, strict=True):
            pieces = [token for i, token in enumerate(after) if after[: i + 1] != before[: i + 1]]
            if after[: len(before)] != before or len(pieces) != 1:
                shown = self._tokenizer.convert_ids_to_tokens(pieces)
                raise UserError(f"Action {action!r} is not one token after the decision word, but {shown}.", remedy)
            self._refuse_unknown(action, pieces, [(0, len(action))])
            if pieces[0] in chosen:
                raise UserError(
                    f"Actions {chosen[pieces[0]]!r} and {action!r} are the same token "
                    f"({self._tokenizer.convert_ids_to_tokens(pieces)[0]!r}).",
                    remedy,
                )
            chosen[pieces[0]] = action
        return list(chosen)

    def single(self, text: str, words: Sequence[str], follows: str) -> list[str]:
        """Those of the words that continue ``text`` as one token each, whatever word goes before and after.

        Args:
            text: ends with a decision word.
            words: candidates, leading space included; of two that are the same token only the first is kept.
            follows: what comes after the word.
        """
        (before, _), *continued = self.encode([text, *(text + word + follows for word in words)])
        kept: dict[int, str] = {}
        n, unknown = len(before), self._tokenizer.unk_token_id
        for word, (ids, offsets) in zip(words, continued, strict=True):
            alone = ids[:n] == before and len(ids) > n and offsets[n][1] == len(text + word)
            if alone and ids[n] != unknown:
                kept.setdefault(ids[n], word)
        return list(kept.values())

    def extend(self, text: str, piece: str) -> list[int]:
        """Token ids of ``piece`` as it continues ``text``; a first piece brings the special tokens in front.

        Only the end of ``text`` is tokenised again, and results are kept: games repeat themselves. That this
        gives the tokens of the whole text is what :meth:`verify` checks.

        Raises:
            UserError: the tokenizer merges the end of ``text`` with ``piece``, or doesn't know a word.
        """
        context = text[-CONTEXT_CHARACTERS:]
        context = context[max(context.find(" "), 0) :]
        key = (context, piece)
        if key not in self._pieces:
            ((ids, offsets),) = self.encode([context + piece])
            split = len(context)
            if any(start < split < end for start, end in offsets):
                raise UserError(
                    f"The tokenizer merges {context[-12:]!r} with the text that follows it, {piece[:12]!r}.",
                    "Use a tokenizer that splits at words, or another model.",
                )
            first = next(i for i, (_, end) in enumerate(offsets) if end > split) if text else 0
            # words cut off at the start of the context may be unknown, those of the piece may not
            self._refuse_unknown(context + piece, ids[first:], offsets[first:])
            self._pieces[key] = ids[first:]
        return self._pieces[key]

    def verify(self, texts: Sequence[str], rows: Sequence[Sequence[int]]) -> None:
        """Check that ids gathered piece by piece are how the tokens of each whole text begin.

        Raises:
            UserError: the tokenizer treats a text differently when it is longer.
        """
        for (ids, offsets), row in zip(self.encode(texts), rows, strict=True):
            if ids[: len(row)] != list(row):
                place = next(i for i, (a, b) in enumerate(zip(ids, row, strict=False)) if a != b)
                raise UserError(
                    f"The tokenizer gives other tokens for a growing text than for the whole one, first at "
                    f"character {offsets[place][0]}.",
                    "Use another tokenizer: this one looks further ahead than one sentence.",
                )

    def _refuse_unknown(self, text: str, ids: list[int], offsets: list[tuple[int, int]]) -> None:
        unknown = self._tokenizer.unk_token_id
        if unknown is not None and unknown in ids:
            start, end = offsets[ids.index(unknown)]
            raise UserError(
                f"The tokenizer doesn't know {text[start:end]!r} in {text[max(start - 12, 0) : end + 12]!r}.",
                "Use a model whose vocabulary has every word of the task, or change task.settings: the reference model "
                "knows the episodes 0 to 63, to which fewer steps or episodes keep, and a Grid World of 5 x 5 cells "
                "whose episodes last 40 moves at most (cap).",
            )
