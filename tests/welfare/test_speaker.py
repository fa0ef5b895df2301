"""A steered model's replies, against whole passes in which plain hooks add the vector."""

from collections import Counter
from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from jobs.welfare.chat import Conversation, user
from jobs.welfare.speaker import Speaker, Steering, drawn
from tests.welfare.small_welfare import WIDTH, welfare_engine

ENGINE = welfare_engine()
SPEAKER = Speaker(ENGINE, batch_size=64)
ASKED = ["Is 3 larger than 4?", "Please write a poem.", "Hi", "Tom has 3 apples and eats one. How many are left?"]
CONVERSATIONS = [SPEAKER.chat.encode([user(text)]) for text in ASKED]
BLOCK = 2
LENGTH = 12


def vectors(n: int, size: float = 3.0) -> Tensor:
    return size * torch.randn(n, WIDTH, generator=torch.Generator().manual_seed(5))


def whole_pass(conversation: Conversation, said: list[int], vector: Tensor) -> Tensor:
    """Logits behind a conversation and a reply [V], read at once, without cache and batch."""
    ids = [*conversation.ids, *said]
    steered = torch.zeros(len(ids), 1)
    steered[[*conversation.own, *range(len(conversation.ids), len(ids))]] = 1
    layer = ENGINE.model.model.layers[BLOCK - 1]
    handle = layer.register_forward_hook(lambda module, args, output: output + steered * vector)
    try:
        with torch.no_grad():
            logits: Tensor = ENGINE.model(input_ids=torch.tensor([ids])).logits[0, -1]
        return logits
    finally:
        handle.remove()


def slow_reply(conversation: Conversation, vector: Tensor, luck: tuple[int, ...] | None, top_p: float) -> str:
    said: list[int] = []
    numbers = None if luck is None else np.random.default_rng(luck).random(LENGTH)
    for step in range(LENGTH):
        logits = whole_pass(conversation, said, vector)
        if numbers is None:
            token = int(logits.argmax())
        else:
            p = (logits / 0.7).softmax(-1).double()
            order = p.argsort(descending=True)
            nucleus = [int(order[0])]
            while p[nucleus].sum() < top_p:
                nucleus.append(int(order[len(nucleus)]))
            place = np.searchsorted(p[nucleus].cumsum(0).numpy(), numbers[step] * p[nucleus].sum().item(), side="right")
            token = nucleus[min(int(place), len(nucleus) - 1)]
        if token in SPEAKER.chat.stops:
            break
        said.append(token)
    return SPEAKER.chat.text(said)


@pytest.mark.parametrize("batch_size", [1, 3, 64])
def test_steered_generation_with_cache_is_that_of_whole_passes(batch_size: int) -> None:
    steering = Steering(BLOCK, vectors(4))
    speaker = Speaker(ENGINE, batch_size)
    greedy = speaker.generate(CONVERSATIONS, max_tokens=LENGTH, steering=steering)
    pairs = list(zip(CONVERSATIONS, steering.vectors, strict=True))
    assert greedy == [slow_reply(conversation, vector, None, 1) for conversation, vector in pairs]
    luck = [(7, row, 0) for row in range(4)]
    options: dict[str, Any] = {"max_tokens": LENGTH, "luck": luck, "temperature": 0.7, "top_p": 0.9}
    sampled = speaker.generate(CONVERSATIONS, steering=steering, **options)
    assert sampled == [slow_reply(*pair, own, 0.9) for pair, own in zip(pairs, luck, strict=True)]
    assert sampled != speaker.generate(CONVERSATIONS, **options)


def test_probabilities_are_those_of_whole_passes() -> None:
    steering, sets = Steering(BLOCK, vectors(4)), [(5,), (6, 7), tuple(range(700))]
    found = Speaker(ENGINE, 3).probabilities(CONVERSATIONS, sets, steering)
    for conversation, vector, row in zip(CONVERSATIONS, steering.vectors, found, strict=True):
        p = whole_pass(conversation, [], vector).softmax(-1).double()
        np.testing.assert_allclose(row, [p[list(chosen)].sum().item() for chosen in sets], rtol=1e-4)


def test_a_vector_of_zeros_changes_nothing_to_the_bit_even_beside_others() -> None:
    sets, some = [(5,), (6,)], vectors(4)
    some[[0, 2]] = 0
    plain = SPEAKER.probabilities(CONVERSATIONS, sets)
    found = SPEAKER.probabilities(CONVERSATIONS, sets, Steering(BLOCK, some))
    np.testing.assert_array_equal(found[[0, 2]], plain[[0, 2]])
    assert (found[[1, 3]] != plain[[1, 3]]).all()


def test_the_users_tokens_keep_their_stream_where_the_vector_is_added() -> None:
    streams: list[Tensor] = []
    layer = ENGINE.model.model.layers[BLOCK]
    handle = layer.register_forward_pre_hook(lambda module, args: streams.append(args[0].clone()))
    try:
        SPEAKER.probabilities(CONVERSATIONS[:1], [(5,)])
        SPEAKER.probabilities(CONVERSATIONS[:1], [(5,)], Steering(BLOCK, vectors(1)))
    finally:
        handle.remove()
    # of each call: all but the last token, then the last one
    plain, steered = (torch.cat(pair, dim=1)[0] for pair in (streams[:2], streams[2:]))
    (conversation,) = CONVERSATIONS[:1]
    theirs = sorted(set(range(len(conversation.ids))) - set(conversation.own))
    assert theirs
    torch.testing.assert_close(steered[theirs], plain[theirs], rtol=0, atol=0)
    torch.testing.assert_close(
        steered[list(conversation.own)] - plain[list(conversation.own)], vectors(1).expand(len(conversation.own), -1)
    )


def test_tokens_before_the_last_may_all_be_the_users() -> None:
    ids = CONVERSATIONS[0].ids
    alone, steering = Conversation(ids, (len(ids) - 1,)), Steering(BLOCK, vectors(2))
    found = SPEAKER.probabilities([alone, CONVERSATIONS[1]], [(5,)], steering)
    p = whole_pass(alone, [], steering.vectors[0]).softmax(-1)[5]
    assert found[0, 0] == pytest.approx(p.item(), rel=1e-4)


def test_luck_is_a_replys_own_whoever_is_beside_it() -> None:
    luck = [(1, row, sample) for row, sample in product(range(4), range(3))]
    many = [CONVERSATIONS[row] for row, _ in product(range(4), range(3))]
    options: dict[str, Any] = {"max_tokens": LENGTH, "temperature": 0.7, "top_p": 0.9}
    all_together = SPEAKER.generate(many, luck=luck, **options)
    turned = Speaker(ENGINE, 5).generate(many[::-1], luck=luck[::-1], **options)[::-1]
    assert turned == all_together
    assert len(set(all_together[:3])) > 1


def test_drawn_tokens_are_as_frequent_as_the_nucleus_says() -> None:
    p = torch.tensor([0.05, 0.5, 0.3, 0.15])
    luck = (torch.arange(1000) + 0.5) / 1000
    counts = Counter(drawn(p.log().expand(1000, -1), 0.9, luck).tolist())
    kept = {1: 0.5, 2: 0.3, 3: 0.15}  # the first two have 0.8, less than 0.9
    assert set(counts) == set(kept)
    assert all(counts[token] == pytest.approx(1000 * share / 0.95, abs=1) for token, share in kept.items())


def test_residuals_are_the_stream_at_the_last_token() -> None:
    found = Speaker(ENGINE, 3).residuals(CONVERSATIONS, BLOCK)
    for conversation, row in zip(CONVERSATIONS, found, strict=True):
        with torch.no_grad():
            states = ENGINE.model(input_ids=torch.tensor([conversation.ids]), output_hidden_states=True).hidden_states
        torch.testing.assert_close(row, states[BLOCK][0, -1], rtol=1e-4, atol=1e-5)
