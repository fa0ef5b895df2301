"""Messages as tokens, and which of these belong to a user's message: the model's own are the others.

Steering acts on "every token that is not inside a user turn" (Han, Chalmers & Izmailov 2026, arXiv 2605.30232, D.3).
Here a user's turn is what the user says; what a chat template writes around it is not the user's. A model without a
template reads ``User: …``, a blank line, ``Assistant: …``, and so on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

from jinja2 import TemplateError

from jobs.inference.tokens import TextTokenizer
from tdlens.errors import UserError

Message = Mapping[str, str]
"""``role`` (system, user, assistant) and ``content``."""
ROLES = {"system": "System:", "user": "User:", "assistant": "Assistant:"}
"""How plain text names who speaks."""
BETWEEN = "\n\n"
MARK = "Mark-{}-Mark"
REMEDY = "Use a model with another template, or take chat_template out of its tokenizer's files."


@dataclass(frozen=True)
class Conversation:
    """What a model reads."""

    ids: tuple[int, ...]
    """Its tokens."""
    own: tuple[int, ...]
    """Indices of those that are not the user's, ascending."""


def user(content: str) -> dict[str, str]:
    """What a user says."""
    return {"role": "user", "content": content}


def assistant(content: str) -> dict[str, str]:
    """What the model has said."""
    return {"role": "assistant", "content": content}


class Chat:
    """Conversations as a model's tokens.

    Attributes:
        templated: whether the tokenizer has a chat template.
        stops: tokens that end a reply.
        pad_id: a token for padding.

    Args:
        tokenizer: the model's fast tokenizer.

    Raises:
        UserError: its chat template can't tell a conversation, or changes the texts.
    """

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._texts = TextTokenizer(tokenizer)
        self.pad_id = self._texts.pad_id
        self.templated = getattr(tokenizer, "chat_template", None) is not None
        self.stops = frozenset(self._stops())

    def encode(self, messages: Sequence[Message], *, reply: bool = True) -> Conversation:
        """The tokens of a conversation.

        Args:
            messages: at least one.
            reply: whether the model is to speak next: then the last token is its own.

        Raises:
            UserError: the model's tokenizer doesn't know a word.
        """
        text, said = self._told(messages, reply)
        ids, offsets = self._encoded(text)
        theirs = [any(start < stop and first < end for first, stop in said) for start, end in offsets]
        return Conversation(tuple(ids), tuple(index for index, user in enumerate(theirs) if not user))

    def plain(self, text: str) -> Conversation:
        """A text by itself, in no conversation; none of its tokens is the user's."""
        ids, _ = self._encoded(text, special=True)
        return Conversation(tuple(ids), tuple(range(len(ids))))

    def openings(self, words: Sequence[str]) -> list[tuple[int, ...]]:
        """The tokens by which a reply may begin each word, with a space before it or without.

        Raises:
            UserError: two words begin alike, or the tokenizer doesn't know one.
        """
        unknown = self._tokenizer.unk_token_id
        found = []
        for word in words:
            spellings = [self._tokenizer.encode(text, add_special_tokens=False) for text in (word, f" {word}")]
            found.append({ids[0] for ids in spellings if ids and ids[0] != unknown})
        own = [tokens - set().union(*(other for other in found if other is not tokens)) for tokens in found]
        for word, tokens in zip(words, own, strict=True):
            if not tokens:
                raise UserError(
                    f"The model's tokenizer doesn't tell {', '.join(map(repr, words))} apart by their first token.",
                    f"Leave out the evaluation that asks for {word!r}, or use another model.",
                )
        return [tuple(sorted(tokens)) for tokens in own]

    def text(self, ids: Sequence[int]) -> str:
        """What the tokens of a reply say, without special ones; in plain text, up to where somebody else speaks."""
        said: str = self._tokenizer.decode(list(ids), skip_special_tokens=True)
        if not self.templated:
            said = said.split(f"\n{ROLES['user']}")[0].split(f"\n{ROLES['assistant']}")[0]
        return said.strip()

    def _told(self, messages: Sequence[Message], reply: bool) -> tuple[str, list[tuple[int, int]]]:
        """The whole text, and where in it what users say begins and ends."""
        if self.templated:
            pieces = self._rendered(messages, reply)
        else:
            heads = [f"{ROLES[message['role']]} " for message in messages]
            pieces = [*(BETWEEN * (index > 0) + head for index, head in enumerate(heads)), ""]
            if reply:
                pieces[-1] = f"{BETWEEN}{ROLES['assistant']}"
        contents = [message["content"].strip() for message in messages]
        parts = [part for pair in zip(pieces, contents, strict=False) for part in pair] + [pieces[-1]]
        ends = list(accumulate(map(len, parts)))
        said = [
            (ends[2 * index], ends[2 * index + 1])
            for index, message in enumerate(messages)
            if message["role"] == "user"
        ]
        return "".join(parts), said

    def _rendered(self, messages: Sequence[Message], reply: bool) -> list[str]:
        """What the template writes before, between and behind the messages."""
        marks = [MARK.format(index) for index in range(len(messages))]
        marked = [{**message, "content": mark} for message, mark in zip(messages, marks, strict=True)]
        try:
            # templates of models that may think out loud know the last argument, others pass over it
            text: str = self._tokenizer.apply_chat_template(
                marked, tokenize=False, add_generation_prompt=reply, enable_thinking=False
            )
        except (TemplateError, TypeError, ValueError) as error:
            raise UserError(f"The tokenizer's chat template can't tell the conversation: {error}", REMEDY) from error
        pieces = []
        for mark in marks:
            before, found, text = text.partition(mark)
            if not found:
                raise UserError("The tokenizer's chat template changes messages, or leaves some out.", REMEDY)
            pieces.append(before)
        return [*pieces, text]

    def _encoded(self, text: str, special: bool = False) -> tuple[list[int], list[tuple[int, int]]]:
        # a chat template writes the special tokens in front itself
        if special or not self.templated:
            ((ids, offsets),) = self._texts.encode([text])
        else:
            encoded = self._tokenizer(text, return_offsets_mapping=True, add_special_tokens=False, verbose=False)
            ids, offsets = encoded["input_ids"], encoded["offset_mapping"]
        return ids, offsets

    def _stops(self) -> list[int]:
        stops = [] if self._tokenizer.eos_token_id is None else [int(self._tokenizer.eos_token_id)]
        if self.templated:
            behind = self._rendered([user("…"), assistant("…")], reply=False)[-1]
            ids, _ = self._encoded(behind) if behind else ([], [])
            named = self._tokenizer.convert_ids_to_tokens(ids[:1])
            stops += [
                token for token, name in zip(ids, named, strict=False) if name in self._tokenizer.get_added_vocab()
            ]
        return stops
