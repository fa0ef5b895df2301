"""Blocks of a Q network: what they are, and that cutting the network at one changes nothing."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from jobs.networks.q_network import QNetwork, untrained

HIDDEN = st.lists(st.integers(1, 9), min_size=1, max_size=4)


def plain(network: QNetwork) -> nn.Sequential:
    """The same layers as an ordinary torch model."""
    parts: list[nn.Module] = []
    for layer in network.layers:
        parts += [layer, nn.ReLU()]
    return nn.Sequential(*parts[:-1])


@given(hidden=HIDDEN, seed=st.integers(0, 99))
def test_cut_at_any_block_it_gives_the_same_q_values(hidden: list[int], seed: int) -> None:
    network = untrained(5, hidden, 3, seed)
    x = torch.randn(7, 5, generator=torch.Generator().manual_seed(seed))
    expected = plain(network)(x)
    assert network.n_blocks == len(hidden)
    assert torch.equal(network.q_values(x), expected)
    for block in range(1, network.n_blocks + 1):
        before_relu = network.hidden(x, block)
        assert before_relu.shape == (7, network.width(block)) == (7, hidden[block - 1])
        assert torch.equal(before_relu, plain(network)[: 2 * block - 1](x))
        assert torch.equal(network.from_block(before_relu, block), expected)


def test_a_replaced_block_passes_through_relu_and_output_layer() -> None:
    network = untrained(4, (6, 5), 3, seed=0)
    h = torch.tensor([[-1.0, 2.0, -3.0, 0.5, 0.0]])
    last = network.layers[-1]
    expected = torch.tensor([[0.0, 2.0, 0.0, 0.5, 0.0]]) @ last.weight.T + last.bias
    torch.testing.assert_close(network.from_block(h, 2), expected)


def test_fresh_weights_come_from_the_seed_alone() -> None:
    state = torch.random.get_rng_state()
    first, again, other = (untrained(4, (3,), 2, seed).state_dict() for seed in (1, 1, 2))
    assert torch.equal(torch.random.get_rng_state(), state)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["layers.0.weight"], other["layers.0.weight"])


@pytest.mark.parametrize("hidden", [(), (3, 0)])
def test_sizes_that_make_no_network(hidden: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="hidden layers"):
        QNetwork(4, hidden, 2)


@pytest.mark.parametrize("block", [0, 3, -1])
def test_there_is_no_such_block(block: int) -> None:
    network = untrained(4, (3, 3), 2, seed=0)
    x = torch.zeros(1, 4)
    for use in (lambda: network.hidden(x, block), lambda: network.from_block(x, block), lambda: network.width(block)):
        with pytest.raises(ValueError, match=f"no block {block}: this network has blocks 1 to 2"):
            use()
