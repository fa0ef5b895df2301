"""A maze's turns as the tokens of one growing conversation.

Each turn's text is tokenized apart and put behind the letter that was chosen before: what the model reads in training
is token for token what it read in sampling. What a chat template puts before, between and behind is found once, by
letting it render marks instead of texts, so that a template that tells past turns in another way than present ones (it
may drop empty thoughts) doesn't change the past of a conversation that goes on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from jinja2 import TemplateError

from envs.maze import NOWHERE, MazeConfig
from envs.maze_prompts import ANSWER, BETWEEN, direction_ids, tile_ids, turn_text
from jobs.inference.tokens import TextTokenizer
from jobs.maze_training.config import Layout
from tdlens.errors import UserError

MARKS = ("Mark-1-1-Mark", "Mark-2-2-Mark", "Mark-3-3-Mark")
"""In place of a text, of a letter, and of the next text."""


@dataclass(frozen=True)
class Frame:
    """What stands around a turn's text."""

    first: str
    """Before the first one."""
    later: str
    """Before each later one, behind the letter."""
    answer: str
    """Behind a text, before the letter."""


class Dialogue:
    """Turns as tokens of a model.

    Attributes:
        letters: the token of each of :data:`envs.maze_prompts.LETTERS`.
        chat: whether turns are messages of a chat.
        pad_id: a token for padding.

    Args:
        tokenizer: the model's fast tokenizer.
        maze: whose tiles are told.
        layout: chat or plain text.

    Raises:
        UserError: a letter isn't one token of its own, a tile or word is unknown, or there is no usable template.
    """

    def __init__(self, tokenizer: Any, maze: MazeConfig, layout: Layout = Layout.AUTO) -> None:
        self._tokenizer = tokenizer
        text_tokenizer = TextTokenizer(tokenizer)
        self.pad_id = text_tokenizer.pad_id
        try:
            self.letters = direction_ids(tokenizer)
            tile_ids(tokenizer, maze)
        except ValueError as error:
            raise UserError(
                f"The model can't play the maze: {error}.",
                "Use a model whose tokenizer has each letter as one token, or other tiles (--variant, --path-tile …).",
            ) from error
        has_template = getattr(tokenizer, "chat_template", None) is not None
        if layout is Layout.CHAT and not has_template:
            raise UserError("The model's tokenizer has no chat template.", "Use plain text: --layout plain.")
        self.chat = has_template and layout is not Layout.PLAIN
        self._frame = _chat_frame(tokenizer) if self.chat else Frame("", BETWEEN, ANSWER)
        # special tokens before all: a chat template writes them itself
        (ids, offsets), *_ = text_tokenizer.encode([MARKS[0]])
        self._before = [] if self.chat else [token for token, (_, end) in zip(ids, offsets, strict=True) if not end]
        self._refuse_unknown(maze)

    def first(self, texts: Sequence[str]) -> list[list[int]]:
        """The tokens up to the first letter, of each conversation."""
        return [self._before + ids for ids in self._tokens(texts, self._frame.first)]

    def next(self, texts: Sequence[str]) -> list[list[int]]:
        """The tokens from behind a letter up to the next one, of each conversation."""
        return self._tokens(texts, self._frame.later)

    def whole(self, texts: Sequence[str], moves: Sequence[int]) -> tuple[list[int], list[int]]:
        """The tokens of a conversation, and at which of them each letter is predicted: the one before it.

        Args:
            texts: what is told before each move.
            moves: the moves; the letter of the last is left out, for nothing follows it.
        """
        (row,) = self.first(texts[:1])
        positions = [len(row) - 1]
        for move, chunk in zip(moves, self.next(texts[1:]) if len(texts) > 1 else [], strict=False):
            row += [self.letters[move], *chunk]
            positions.append(len(row) - 1)
        return row, positions

    def _tokens(self, texts: Sequence[str], before: str) -> list[list[int]]:
        told = [f"{before}{text}{self._frame.answer}" for text in texts]
        ids: list[list[int]] = self._tokenizer(told, add_special_tokens=False, verbose=False)["input_ids"]
        return ids

    def _refuse_unknown(self, maze: MazeConfig) -> None:
        """Raise UserError where a word of the texts is unknown; their numbers are the largest and the smallest."""
        unknown, far = self._tokenizer.unk_token_id, maze.size - 1
        if unknown is None:
            return
        texts = [turn_text(maze.glyphs, far, far, [0, 1, 2, NOWHERE], blown=blown) for blown in range(4)]
        texts.append(turn_text(maze.glyphs, 0, 0, [NOWHERE, 0, 1, 2]))
        # without what a chat template adds: a separator of its own may be the token that stands for what is unknown
        for word in " ".join(texts if self.chat else [*texts, ANSWER]).split():
            if unknown in self._tokenizer.encode(f" {word}", add_special_tokens=False):
                raise UserError(
                    f"The model's tokenizer doesn't know all words of the maze's texts, such as {word!r}.",
                    "Use a model whose vocabulary has them, or mazes of another size.",
                )


def _chat_frame(tokenizer: Any) -> Frame:
    """What a tokenizer's chat template puts around texts."""
    remedy = "Use plain text: --layout plain."

    def rendered(marks: Sequence[str]) -> str:
        roles = ("user", "assistant", "user")
        messages = [{"role": role, "content": mark} for role, mark in zip(roles, marks, strict=False)]
        try:
            # templates of models that may think out loud know the last argument, others pass over it
            text: str = tokenizer.apply_chat_template(
                messages, tokenize=False, add_generation_prompt=True, enable_thinking=False
            )
        except (TemplateError, TypeError, ValueError) as error:
            raise UserError(f"The tokenizer's chat template can't tell a maze's turns: {error}", remedy) from error
        return text

    one, three = rendered(MARKS[:1]), rendered(MARKS)
    if any(one.count(mark) != 1 for mark in MARKS[:1]) or any(three.count(mark) != 1 for mark in MARKS):
        raise UserError("The tokenizer's chat template changes the texts of turns, or leaves some out.", remedy)
    first, answer = one.split(MARKS[0])
    later = three.split(MARKS[1])[1].split(MARKS[2])[0]
    return Frame(first, later, answer)
