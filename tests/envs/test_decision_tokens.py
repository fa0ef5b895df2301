"""Where the decision words lie among the tokens of real tokenizers, checked by decoding every position."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from envs.transcript import Span, Transcript, token_indices
from envs.two_step import TwoStep, TwoStepConfig, Variant
from jobs.reference.vocabulary import build_tokenizer
from tests.inference.tiny import byte_level_tokenizer, played_texts, unigram_tokenizer, word_tokenizer


def character_tokenizer() -> PreTrainedTokenizerFast:
    """One token a character: a decision word is four of them."""
    letters = {letter: i for i, letter in enumerate(sorted(set("".join(played_texts()))))}
    tokenizer = Tokenizer(models.WordLevel(letters, unk_token="Y"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    tokenizer.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer)


def wordpiece_tokenizer() -> PreTrainedTokenizerFast:
    """As BERT has: pieces of a word are marked with ##; ``pick`` is two of them."""
    words = {word.strip() for text in played_texts() for word, _ in splitter.pre_tokenize_str(text)} - {"pick"}
    vocabulary = {piece: i for i, piece in enumerate(["[UNK]", "pi", "##ck", *sorted(words)])}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = splitter
    tokenizer.decoder = decoders.WordPiece()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="[UNK]")


splitter = pre_tokenizers.BertPreTokenizer()
TOKENIZERS = {
    "word": word_tokenizer(),
    "byte_level": byte_level_tokenizer(),
    "unigram": unigram_tokenizer(),
    "reference": build_tokenizer(),
    "character": character_tokenizer(),
    "wordpiece": wordpiece_tokenizer(),
}
TOKENS_OF_PICK = {"character": 4, "wordpiece": 2}


@pytest.mark.parametrize("name", TOKENIZERS)
@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), variant=st.sampled_from(Variant), choices=st.integers(0, 2**60 - 1))
def test_every_position_decodes_to_the_decision_word(name: str, seed: int, variant: Variant, choices: int) -> None:
    game = TwoStep(TwoStepConfig(variant), seed)
    while not game.done:
        game.act(choices >> len(game.steps) & 1)
    transcript, tokenizer = game.transcript(), TOKENIZERS[name]
    encoded = tokenizer(transcript.text, return_offsets_mapping=True)
    ids, offsets = encoded["input_ids"], encoded["offset_mapping"]
    positions = token_indices(offsets, transcript.decisions)
    assert len(positions) == 60
    assert tokenizer.unk_token_id is None or tokenizer.unk_token_id not in ids
    size = TOKENS_OF_PICK.get(name, 1)
    for position, step in zip(positions, game.steps, strict=True):
        assert tokenizer.decode(ids[position - size + 1 : position + 1]).strip() == "pick"
        following = tokenizer.decode(ids[position + 1 : position + 8]).strip()
        assert following.startswith("left" if step.action == 0 else "right")


def test_a_word_merged_with_what_follows_has_no_token() -> None:
    text = "You pick left. You pick right."
    spans = (Span(4, 8), Span(19, 23))
    assert text[4:8] == text[19:23] == "pick"
    with pytest.raises(ValueError, match=r"4-8 ends \(1 of 2 decisions\).*merges it with the text that follows"):
        token_indices([(0, 3), (3, 9), (9, 23), (23, 30)], spans)


def test_special_tokens_and_empty_offsets_are_never_chosen() -> None:
    transcript = Transcript("pick", (Span(0, 4),))
    assert token_indices([(0, 0), (0, 4), (4, 4), (0, 0)], transcript.decisions) == [1]


@given(data=st.data(), cuts=st.sets(st.integers(1, 99), min_size=1), specials=st.integers(0, 3))
def test_the_index_is_that_of_the_token_that_ends_with_the_word(
    data: st.DataObject, cuts: set[int], specials: int
) -> None:
    edges = [0, *sorted(cuts), 100]
    offsets = [(0, 0)] * specials + list(pairwise(edges))
    ends = data.draw(st.lists(st.sampled_from(edges[1:]), unique=True, min_size=1).map(sorted))
    spans = [Span(end - data.draw(st.integers(1, end)), end) for end in ends]
    found = token_indices(offsets, spans)
    assert [offsets[i][1] for i in found] == ends
    assert all(offsets[i][0] < span.end for i, span in zip(found, spans, strict=True))
