"""A maze's turns as tokens: what the model reads is the conversation, token for token."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from transformers import PreTrainedTokenizerFast

from envs.maze import MazeConfig, Tile, Variant
from envs.maze_prompts import LETTERS, chat, plain, turn_text
from jobs.maze_training.config import Layout
from jobs.maze_training.dialogue import Dialogue
from tdlens.errors import UserError
from tests.maze_training.small_players import EASY, TEMPLATE, byte_level, word_level

TIGHT = TEMPLATE.replace(" <", "<").replace("> ", ">")
THINKING = TIGHT.replace("<|assistant|>{% endif %}", "<|assistant|>no thoughts:{% endif %}")
MOVES = (0, 3, 1)


def told(n: int) -> list[str]:
    """Some turns' texts, of several lengths."""
    seen = [Tile.PATH, Tile.GOLD, Tile.MOLD, Tile.PATH]
    return [turn_text(EASY.glyphs, 3, 2 + turn, seen, blown=turn if turn else -1) for turn in range(n)]


@pytest.mark.parametrize(("make", "template"), [(word_level, TEMPLATE), (byte_level, TIGHT)])
def test_a_chat_is_what_the_template_makes_of_it(make: Callable[[str], PreTrainedTokenizerFast], template: str) -> None:
    tokenizer = make(template)
    row, positions = Dialogue(tokenizer, EASY).whole(told(3), MOVES)
    whole = tokenizer.apply_chat_template(chat(told(3), MOVES[:2]), tokenize=False, add_generation_prompt=True)
    assert row == tokenizer.encode(whole, add_special_tokens=False)
    for turn, position in enumerate(positions):
        before = tokenizer.apply_chat_template(
            chat(told(3)[: turn + 1], MOVES[:turn]), tokenize=False, add_generation_prompt=True
        )
        assert row[: position + 1] == tokenizer.encode(before, add_special_tokens=False)


@pytest.mark.parametrize("template", [None, TEMPLATE])
def test_plain_text_where_there_is_no_template_or_it_is_asked_for(template: str | None) -> None:
    tokenizer = word_level(template)
    dialogue = Dialogue(tokenizer, EASY, Layout.PLAIN if template else Layout.AUTO)
    row, positions = dialogue.whole(told(3), MOVES)
    assert not dialogue.chat
    assert row == tokenizer.encode(plain(told(3), MOVES[:2]))
    assert [row[position + 1] for position in positions[:-1]] == [tokenizer.encode(LETTERS[m])[0] for m in MOVES[:2]]
    assert positions[-1] == len(row) - 1


def test_the_beginning_of_text_stands_before_plain_text_once() -> None:
    tokenizer = word_level()
    tokenizer.add_special_tokens({"bos_token": "<bos>"})
    tokenizer.add_bos_token = True
    if tokenizer.encode("N")[0] != tokenizer.bos_token_id:
        tokenizer.backend_tokenizer.post_processor = _bos(tokenizer.bos_token_id)
    row, _ = Dialogue(tokenizer, EASY).whole(told(2), MOVES)
    assert row[0] == tokenizer.bos_token_id and row.count(tokenizer.bos_token_id) == 1


def _bos(token: int) -> object:
    from tokenizers.processors import TemplateProcessing

    return TemplateProcessing(single="<bos> $A", special_tokens=[("<bos>", token)])


def test_a_template_that_speaks_otherwise_of_the_past_doesn_t_change_it() -> None:
    tokenizer = byte_level(THINKING)
    row, _ = Dialogue(tokenizer, EASY).whole(told(3), MOVES)
    assert tokenizer.decode(row).count("no thoughts:") == 3


def test_what_can_t_be_told() -> None:
    with pytest.raises(UserError, match="'N'"):
        Dialogue(word_level(without=("N",)), EASY)
    with pytest.raises(UserError, match="Gold"):
        Dialogue(word_level(without=(EASY.glyphs[Tile.GOLD],)), EASY)
    with pytest.raises(UserError, match="'north'"):
        Dialogue(word_level(without=("north",)), EASY)
    with pytest.raises(UserError, match=r"all words.*99"):
        Dialogue(word_level(), MazeConfig())
    with pytest.raises(UserError, match="the tile"):
        Dialogue(word_level(), MazeConfig(Variant.CUSTOM, path_tile="tea", mold_tile="ink", gold_tile="sun"))
    with pytest.raises(UserError, match="no chat template"):
        Dialogue(word_level(), EASY, Layout.CHAT)
    with pytest.raises(UserError, match="can't tell a maze's turns"):
        Dialogue(word_level("{{ raise_exception('no') }}"), EASY)
    with pytest.raises(UserError, match="changes the texts"):
        Dialogue(word_level("{{ messages[0]['content'] | upper }}"), EASY)
