"""An agent's folder: what was saved comes back, and nothing else is taken for an agent."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from jobs.inference.files import REFERENCE_MODEL
from jobs.networks.files import About, find_agent, fingerprint, load_network, save
from jobs.networks.q_network import untrained
from tdlens.errors import UserError

ABOUT = About(
    task="rook_endgame",
    variant="smart",
    n_inputs=6,
    hidden=[5, 4],
    n_actions=3,
    gamma=0.98,
    reward_scale=0.01,
    training={"seed": 1, "hidden": [5, 4]},
    versions={"torch": "2"},
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A saved agent, untrained."""
    save(untrained(6, (5, 4), 3, seed=0), tmp_path / "agent", ABOUT)
    return tmp_path / "agent"


def test_what_was_saved_comes_back(folder: Path) -> None:
    network, about = load_network(folder)
    assert about == ABOUT
    expected = untrained(6, (5, 4), 3, seed=0).state_dict()
    assert network.state_dict().keys() == expected.keys()
    for name, weight in network.state_dict().items():
        assert weight.dtype == torch.float32 and torch.equal(weight, expected[name])
    assert not network.training and not any(weight.requires_grad for weight in network.parameters())


def test_the_fingerprint_changes_with_weights_and_configuration(folder: Path, tmp_path: Path) -> None:
    save(untrained(6, (5, 4), 3, seed=0), tmp_path / "same", ABOUT)
    save(untrained(6, (5, 4), 3, seed=1), tmp_path / "weights", ABOUT)
    save(untrained(6, (5, 4), 3, seed=0), tmp_path / "config", ABOUT.model_copy(update={"gamma": 0.9}))
    known = fingerprint(folder)
    assert len(known) == 64 and fingerprint(tmp_path / "same") == known
    assert len({known, fingerprint(tmp_path / "weights"), fingerprint(tmp_path / "config")}) == 3


def test_a_description_of_another_network_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="sizes"):
        save(untrained(6, (5,), 3, seed=0), tmp_path / "agent", ABOUT)
    assert not (tmp_path / "agent").exists()


def no_config(folder: Path) -> None:
    (folder / "config.json").unlink()


def no_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()


def no_json(folder: Path) -> None:
    (folder / "config.json").write_text("{")


def other_kind(folder: Path) -> None:
    (folder / "config.json").write_text('{"model_type": "llama"}')


def no_object(folder: Path) -> None:
    (folder / "config.json").write_text("[1]")


def unknown_key(folder: Path) -> None:
    _change(folder, dueling=True)


def wrong_type(folder: Path) -> None:
    _change(folder, hidden=["5", 4])


def other_sizes(folder: Path) -> None:
    _change(folder, hidden=[5, 5])


def cut_off(folder: Path) -> None:
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-40])


def not_finite(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    weights["layers.1.weight"][0, 0] = float("nan")
    save_file(weights, folder / "model.safetensors")


def _change(folder: Path, **values: object) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


@pytest.mark.parametrize(
    ("damage", "complaint"),
    [
        (no_config, "no readable config.json"),
        (no_weights, "can't be loaded"),
        (no_json, "isn't JSON"),
        (other_kind, "something else"),
        (no_object, "something else"),
        (unknown_key, "dueling"),
        (wrong_type, "hidden"),
        (other_sizes, "can't be loaded"),
        (cut_off, "can't be loaded"),
        (not_finite, "aren't all finite"),
    ],
)
def test_what_is_no_agent_is_refused(folder: Path, damage: Callable[[Path], None], complaint: str) -> None:
    damage(folder)
    with pytest.raises(UserError, match=complaint) as refused:
        load_network(folder)
    assert str(folder) in refused.value.message
    assert "train-agent" in refused.value.remedy


def test_a_language_model_is_no_agent() -> None:
    with pytest.raises(UserError, match="something else"):
        fingerprint(REFERENCE_MODEL)


def test_no_fingerprint_without_weights(folder: Path) -> None:
    no_weights(folder)
    with pytest.raises(UserError, match=r"holds no model\.safetensors"):
        fingerprint(folder)


def test_agents_are_found_by_folder(folder: Path) -> None:
    assert find_agent(str(folder)) == folder
    with pytest.raises(UserError, match="There is no agent rook_1024") as refused:
        find_agent("rook_1024")
    assert "rook_128" in refused.value.remedy
