"""The convolutional Q network: its sizes as published, and that cutting it at a block changes nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from jobs.networks.conv_network import AT_ONCE, ConvNetwork, convolutions
from jobs.networks.files import About, load_network, save
from jobs.networks.q_network import QNetwork, fresh
from tdlens.errors import UserError

N_INPUTS = 3 * 210 * 160


@pytest.fixture(scope="module")
def network() -> ConvNetwork:
    """Of the published sizes, untrained."""
    return fresh(ConvNetwork, N_INPUTS, (512, 512), 9, seed=0)


def screens(n: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(n)
    return torch.randint(0, 256, (n, 3, 210, 160), dtype=torch.uint8, generator=generator)


def about(**changes: object) -> About:
    sizes = {"kind": "conv_network", "n_inputs": N_INPUTS, "hidden": [8, 8], "n_actions": 9}
    rest = {"task": "ms_pacman", "variant": "standard", "gamma": 0.98, "reward_scale": 0.01}
    return About.model_validate({**sizes, **rest, "training": {}, "versions": {}, **changes})


def test_its_sizes_are_the_published_ones(network: ConvNetwork) -> None:
    sizes = {name: weight.numel() for name, weight in network.named_parameters()}
    expected = {
        "layers.0": (960 * 512, 512),
        "layers.1": (512 * 512, 512),
        "layers.2": (512 * 9, 9),
        "convolutions.0": (3 * 16 * 9 * 9, 16),
        "convolutions.3": (16 * 32 * 9 * 9, 32),
        "convolutions.5": (32 * 64 * 6 * 6, 64),
    }
    pairs = expected.items()
    assert sizes == {
        f"{layer}.{part}": n for layer, ns in pairs for part, n in zip(("weight", "bias"), ns, strict=True)
    }
    assert sum(sizes.values()) == 878_505
    assert convolutions()(screens(1).float()).shape == (1, 960)
    assert (network.n_blocks, network.width(1), network.width(2)) == (2, 512, 512)
    assert (network.n_inputs, network.widths, network.n_actions) == (N_INPUTS, (512, 512), 9)


@torch.no_grad()
def test_cut_at_any_block_it_gives_the_same_q_values(network: ConvNetwork) -> None:
    x = screens(3)
    plain = nn.Sequential(
        network.convolutions, network.layers[0], nn.ReLU(), network.layers[1], nn.ReLU(), network.layers[2]
    )
    expected = plain(x.float())
    assert torch.equal(network.q_values(x), expected) and expected.shape == (3, 9)
    for block in (1, 2):
        before_relu = network.hidden(x, block)
        assert torch.equal(before_relu, plain[: 2 * block](x.float())) and before_relu.min() < 0
        assert torch.equal(network.from_block(before_relu, block), expected)
    with pytest.raises(ValueError, match="no block 3"):
        network.hidden(x, 3)


@torch.no_grad()
def test_many_screens_are_seen_as_one_by_one(network: ConvNetwork, monkeypatch: pytest.MonkeyPatch) -> None:
    x = screens(5)
    whole = network.hidden(x, 1)
    assert AT_ONCE > 5
    monkeypatch.setattr("jobs.networks.conv_network.AT_ONCE", 2)
    torch.testing.assert_close(network.hidden(x, 1), whole)


def test_other_observations_are_refused() -> None:
    with pytest.raises(ValueError, match="100800 numbers, not 75"):
        ConvNetwork(75, (8, 8), 9)


def test_what_was_saved_comes_back(tmp_path: Path) -> None:
    network = fresh(ConvNetwork, N_INPUTS, (8, 8), 9, seed=1)
    save(network, tmp_path, about())
    loaded, found = load_network(tmp_path)
    assert type(loaded) is ConvNetwork and found == about()
    assert torch.equal(loaded.q_values(screens(2)), network.q_values(screens(2)))


def test_the_kind_tells_architectures_apart(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="of the kind conv_network"):
        save(fresh(QNetwork, N_INPUTS, (8, 8), 9, seed=1), tmp_path, about())
    save(fresh(ConvNetwork, N_INPUTS, (8, 8), 9, seed=1), tmp_path, about())
    config = tmp_path / "config.json"
    config.write_text(about(n_inputs=75).model_dump_json())
    with pytest.raises(UserError, match="describes no network"):
        load_network(tmp_path)
    config.write_text(about(kind="q_network").model_dump_json())
    with pytest.raises(UserError, match="can't be loaded"):
        load_network(tmp_path)
