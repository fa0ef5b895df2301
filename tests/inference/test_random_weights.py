"""Random models written block by block: they load, look as the library's own, and never lie in memory as a whole."""

from __future__ import annotations

import weakref
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny import CONFIGS

from jobs.inference import random_weights
from jobs.inference.fingerprint import hash_files
from jobs.inference.random_weights import write_random_model
from jobs.inference.weights import trained_model, untrained_model


@pytest.mark.parametrize("architecture", sorted(CONFIGS))
def test_a_written_model_is_the_architecture_as_the_library_initialises_it(architecture: str, tmp_path: Path) -> None:
    config = CONFIGS[architecture]()
    state = torch.get_rng_state()
    write_random_model(config, tmp_path, torch.float32, seed=1)
    assert torch.equal(torch.get_rng_state(), state)
    model = trained_model(tmp_path, torch.float32)
    expected, found = untrained_model(config, seed=1).state_dict(), model.state_dict()
    assert found.keys() == expected.keys()
    for name, weight in expected.items():
        assert found[name].shape == weight.shape
        if weight.numel() > 500:
            assert found[name].std().item() == pytest.approx(weight.std().item(), rel=0.15), name
        elif weight.unique().numel() == 1:  # norms and biases
            assert torch.equal(found[name], weight), name
    assert model(torch.tensor([[5, 9, 200, 31]])).logits.isfinite().all()


def test_the_seed_decides_the_weights(tmp_path: Path) -> None:
    prints = []
    for number, seed in enumerate((1, 1, 2)):
        folder = tmp_path / str(number)
        folder.mkdir()
        write_random_model(CONFIGS["llama"](), folder, torch.bfloat16, seed)
        prints.append(hash_files(folder))
    assert prints[0] == prints[1] != prints[2]


def test_one_block_is_in_memory_at_a_time_in_the_wanted_precision(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    earlier: list[weakref.ref[torch.nn.Parameter]] = []
    draw = random_weights._draw

    def drawing(model: Any, part: torch.nn.Module) -> None:
        assert not [weight for weight in earlier if weight() is not None]
        draw(model, part)
        assert {weight.dtype for weight in part.parameters()} == {torch.bfloat16}
        assert {weight.device.type for weight in part.parameters()} == {"cpu"}
        assert len(list(part.parameters())) <= len(list(model.model.layers[0].parameters()))
        earlier.extend(weakref.ref(weight) for weight in part.parameters())

    config = CONFIGS["llama"]()
    config.num_hidden_layers = 12
    monkeypatch.setattr(random_weights, "_draw", drawing)
    write_random_model(config, tmp_path, torch.bfloat16, seed=0)
    assert len(list(tmp_path.glob("*.safetensors"))) == 12 + 3  # embedding, norm and head besides
    assert len(earlier) == 12 * 9 + 3
