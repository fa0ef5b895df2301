"""Checkpoints: round trips to the bit, and refusals."""

import json
from pathlib import Path

import pytest
import safetensors.torch
import torch

from sae.architectures import build
from sae.autoencoder import Autoencoder
from sae.checkpoint import HEADER, from_bytes, load, mapped, save, to_bytes
from sae.config import SAEConfig

CONFIGS = [
    SAEConfig("relu", 5, 9, l1=1e-5, centre=True),
    SAEConfig("topk", 5, 9, k=2),
    SAEConfig("topk", 5, 9, k=2, transpose_init=False, signed=True, resamplings=3),
]


def trained(config: SAEConfig) -> tuple[Autoencoder, torch.Tensor]:
    x = torch.randn(20, 5, generator=torch.Generator().manual_seed(1)) + 4
    sae = build(config, torch.Generator().manual_seed(2))
    sae.fit_scaling(x)
    return sae, x


@pytest.mark.parametrize("config", CONFIGS, ids=["relu", "topk", "topk, later options"])
def test_round_trip_to_the_bit(config: SAEConfig, tmp_path: Path) -> None:
    sae, x = trained(config)
    save(sae, tmp_path / "sae.safetensors")
    for again in (load(tmp_path / "sae.safetensors"), mapped(tmp_path / "sae.safetensors")):
        assert again.config == config
        assert torch.equal(again(x), sae(x))
        assert to_bytes(again) == to_bytes(sae) == (tmp_path / "sae.safetensors").read_bytes()
        assert not any(parameter.requires_grad for parameter in again.parameters())


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="the system doesn't list what is mapped")
@pytest.mark.parametrize("config", CONFIGS, ids=["relu", "topk", "topk, later options"])
def test_a_mapped_autoencoder_has_its_weights_in_the_file(config: SAEConfig, tmp_path: Path) -> None:
    path = tmp_path / "sae.safetensors"
    save(trained(config)[0], path)
    sae = mapped(path)
    lines = [line.split() for line in Path("/proc/self/maps").read_text().splitlines() if line.endswith(str(path))]
    ranges = [[int(edge, 16) for edge in line[0].split("-")] for line in lines]
    for tensor in sae.state_dict().values():
        assert any(first <= tensor.data_ptr() < last for first, last in ranges)


def test_options_that_came_later_are_written_where_they_are_used() -> None:
    """What was recorded before them keeps its configuration, its identity and its bytes."""
    assert CONFIGS[1].to_json() == (
        '{"architecture":"topk","aux_k":null,"aux_weight":0.03125,"centre":false,"d_in":5,"d_latents":9,'
        '"dead_after":18000,"k":2,"l1":null,"l1_squared":true,"mse_reduction":"mean","scale":true}'
    )
    later = {"transpose_init": False, "signed": True, "resamplings": 3}
    assert CONFIGS[2].to_dict() == {**CONFIGS[1].to_dict(), **later}
    for config in CONFIGS:
        assert SAEConfig.from_dict(json.loads(config.to_json())) == config


def rewritten(**changes: object) -> bytes:
    """A relu file with entries of its header changed."""
    sae, _ = trained(CONFIGS[0])
    header = {"format": 1, "config": json.loads(sae.config.to_json())}
    for name, value in changes.items():
        (header if name == "format" else header["config"])[name] = value  # type: ignore[index]
    return safetensors.torch.save(dict(sae.state_dict()), {HEADER: json.dumps(header)})


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "not an autoencoder file"),
        (b"\x08" + bytes(40), "not an autoencoder file"),
        (to_bytes(trained(CONFIGS[0])[0])[:-7], "not an autoencoder file"),
        (safetensors.torch.save({"a": torch.zeros(2)}), "not an autoencoder file"),
        (rewritten(format=2), "format 2, this version reads up to 1: upgrade"),
        (rewritten(architecture="gated"), "unknown autoencoder architecture 'gated'"),
        (rewritten(threshold=1.0), "unknown autoencoder option 'threshold'"),
        (rewritten(d_latents=10), "do not fit"),
        (rewritten(architecture="topk", k=2, l1=None), "do not fit"),
    ],
)
def test_what_does_not_fit_is_refused(data: bytes, words: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=words):
        from_bytes(data)
    (tmp_path / "bad").write_bytes(data)
    with pytest.raises(ValueError, match=words):
        mapped(tmp_path / "bad")
    with pytest.raises(ValueError, match=f"bad: .*{words}"):
        load(tmp_path / "bad")
