"""Text becomes the same tokens piece by piece as in one go, and every misfit is named."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import TOKENIZERS, byte_level_tokenizer, small_games, word_tokenizer
from tokenizers import Tokenizer, models
from transformers import PreTrainedTokenizer, PreTrainedTokenizerFast

from envs.transcript import Span, Transcript
from envs.two_step import ACTIONS, INSTRUCTION, TwoStep, TwoStepConfig, Variant
from jobs.inference.tokens import TextTokenizer
from jobs.reference.vocabulary import build_tokenizer
from tdlens.errors import UserError

ALL = {**TOKENIZERS, "reference": build_tokenizer}
MADE = {name: make() for name, make in ALL.items()}
PROMPT = INSTRUCTION + "Episode 0: You pick"


@pytest.mark.parametrize("name", ALL)
@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10_000), variant=st.sampled_from(Variant), choices=st.integers(0, 2**60 - 1))
def test_pieces_join_to_the_tokens_of_the_whole_text(name: str, seed: int, variant: Variant, choices: int) -> None:
    tokenizer = TextTokenizer(MADE[name])
    game = TwoStep(TwoStepConfig(variant), seed)
    text, row, positions = "", [], []
    while not game.done:
        piece = game.observe()
        row += tokenizer.extend(text, piece)
        text += piece
        positions.append(len(row) - 1)
        game.act(choices >> len(game.steps) & 1)
    transcript = game.transcript()
    ((whole, _),) = tokenizer.encode([transcript.text])
    assert whole[: len(row)] == row
    assert tokenizer.decisions([transcript])[1] == [positions]
    tokenizer.verify([transcript.text], [row])


@pytest.mark.parametrize("name", ALL)
def test_decision_tokens_decode_to_the_decision_word(name: str) -> None:
    tokenizer = MADE[name]
    (game,) = small_games(1, episodes=30)
    while not game.done:
        game.act(len(game.steps) % 2)
    ((row,), (positions,)) = TextTokenizer(tokenizer).decisions([game.transcript()])
    assert len(positions) == 60
    space = "" if name == "word" else " "
    for place in positions:
        decoded = tokenizer.decode([row[place]])
        assert decoded == ("pick" if name == "unigram" else f"{space}pick")
        assert tokenizer.decode([row[place + 1]]).strip() in ("left", "right")


@pytest.mark.parametrize("name", ALL)
def test_actions_are_one_token_each_and_the_special_tokens_stay_in_front(name: str) -> None:
    tokenizer = TextTokenizer(MADE[name])
    left, right = tokenizer.action_ids(PROMPT, ACTIONS)
    assert left != right
    ((whole, offsets),) = tokenizer.encode([PROMPT + " right"])
    assert whole[-1] == right
    assert (offsets[0] == (0, 0)) == (name in ("byte_level", "reference"))


def test_an_action_of_several_tokens_is_refused_with_its_pieces() -> None:
    tokenizer = TextTokenizer(byte_level_tokenizer())
    with pytest.raises(UserError, match=r"' zigzag' is not one token.*\[.*'z'.*'g'.*\]") as caught:
        tokenizer.action_ids(PROMPT, (" left", " zigzag"))
    assert "single, distinct tokens" in caught.value.remedy


def test_an_action_that_merges_with_the_decision_word_is_refused() -> None:
    tokenizer = TextTokenizer(word_tokenizer("you pick picks left"))
    with pytest.raises(UserError, match=r"'s' is not one token after the decision word, but \['picks'\]"):
        tokenizer.action_ids("you pick", ("s", " left"))


def test_actions_that_are_one_and_the_same_token_are_refused() -> None:
    tokenizer = TextTokenizer(word_tokenizer("you pick left"))
    with pytest.raises(UserError, match="' left' and '  left' are the same token"):
        tokenizer.action_ids("you pick", (" left", "  left"))


def test_words_outside_the_vocabulary_are_refused() -> None:
    tokenizer = TextTokenizer(word_tokenizer("you pick left"))
    with pytest.raises(UserError, match="doesn't know ' up'"):
        tokenizer.action_ids("you pick", (" left", " up"))
    with pytest.raises(UserError, match="doesn't know 'pears'"):
        tokenizer.extend("", "you pears pick")
    with pytest.raises(UserError, match="doesn't know 'pears'"):
        tokenizer.decisions([Transcript("you pears pick left", (Span(10, 14),))])


def test_a_tokenizer_that_merges_across_the_decision_is_refused() -> None:
    merged = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(
            models.BPE(
                vocab={"p": 0, "i": 1, "pi": 2, "x": 3, "xp": 4, "xpi": 5, "l": 6, "il": 7},
                merges=[("i", "l"), ("p", "i"), ("x", "p"), ("x", "pi")],
            )
        )
    )
    tokenizer = TextTokenizer(merged)
    with pytest.raises(UserError, match="merges 'xpi' with the text that follows it, 'l'"):
        tokenizer.extend("xpi", "l")
    with pytest.raises(UserError, match="no token ends where the decision word"):
        tokenizer.decisions([Transcript("xpil", (Span(0, 3),))])


def test_tokens_that_depend_on_far_text_are_caught_by_the_final_check() -> None:
    tokenizer = TextTokenizer(word_tokenizer("you pick left right"))
    row = tokenizer.encode(["you pick left you pick"])[0][0]
    tokenizer.verify(["you pick left you pick right"], [row])
    with pytest.raises(UserError, match="first at character 9"):
        tokenizer.verify(["you pick right you pick"], [row])


def test_a_slow_tokenizer_is_refused() -> None:
    class Slow(PreTrainedTokenizer):
        @property
        def vocab_size(self) -> int:
            return 1

        def get_vocab(self) -> dict[str, int]:
            return {"a": 0}

        def _tokenize(self, text: str) -> list[str]:
            return list(text)

    with pytest.raises(UserError, match="Slow"):
        TextTokenizer(Slow())


def test_words_that_are_one_token_each_are_told_apart_from_others() -> None:
    tokenizer = TextTokenizer(word_tokenizer("a, cake, horse, ice"))
    words = [" cake", " horse", " unheard", " ice-cake", " cake", " ice"]
    assert tokenizer.single("a,", words, ",") == [" cake", " horse", " ice"]
    pieces = TextTokenizer(byte_level_tokenizer())
    assert pieces.single("You pick", [" left", " cake", " right"], ".") == [" left", " right"]
