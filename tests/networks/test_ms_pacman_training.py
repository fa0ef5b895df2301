"""Training an agent of Ms. Pac-Man: a few decisions of very short games, by a very small network."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from jobs.cli.app import app
from jobs.networks.conv_network import ConvNetwork
from jobs.networks.files import load_network
from jobs.networks.train_ms_pacman import N_INPUTS, PacmanAgentConfig, Progress, train_agent, train_into

SHORT = PacmanAgentConfig(
    hidden=(16, 16), moves=40, learning_starts=10, updates=2, batch=4, buffer=50, target_games=2, max_frames=60, seed=1
)


@pytest.fixture
def emulator() -> None:
    pytest.importorskip("ale_py", reason="the emulator is an optional extra: pip install 'tdlens[atari]'")


@pytest.mark.usefixtures("emulator")
def test_a_training_ends_with_its_last_game_and_leaves_an_agent(tmp_path: Path) -> None:
    state, numbers = torch.random.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    told: list[Progress] = []
    network = train_into(tmp_path, SHORT, told.append)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert np.array_equal(np.random.get_state()[1], numbers)  # noqa: NPY002
    assert [(each.moves, each.games) for each in told] == [(15, 1), (30, 2), (45, 3), (45, 3)]
    assert told[-1].updates == 3 * SHORT.updates and told[-1].mean_return is not None
    loaded, about = load_network(tmp_path)
    assert type(loaded) is ConvNetwork and about.task == "ms_pacman" and about.n_inputs == N_INPUTS
    screen = torch.randint(0, 256, (2, 3, 210, 160), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    assert torch.equal(loaded.q_values(screen), network.q_values(screen))
    assert json.loads((tmp_path / "training.json").read_text())["cost"]["games"] == 3


@pytest.mark.usefixtures("emulator")
def test_updates_change_every_layer() -> None:
    before = train_agent(replace(SHORT, learning_starts=1000)).state_dict()
    after = train_agent(SHORT).state_dict()
    assert before.keys() == after.keys()
    assert all(not torch.equal(before[name], after[name]) for name in before)


@pytest.mark.parametrize(
    ("setting", "value"),
    [("moves", 0), ("buffer", 0), ("gamma", 1.5), ("hidden", ()), ("seed", -1), ("max_frames", 1)],
)
def test_settings_that_make_no_sense(setting: str, value: object) -> None:
    with pytest.raises(ValueError, match=setting):
        PacmanAgentConfig(**{setting: value})  # type: ignore[arg-type]


def test_without_the_emulator_the_command_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "ale_py", None)  # an import of it fails
    result = CliRunner().invoke(app, ["train-agent", "--task", "ms_pacman", "--out", str(tmp_path / "agent")])
    assert result.exit_code == 2 and "tdlens[atari]" in result.stderr and "Traceback" not in result.stderr
    assert not (tmp_path / "agent").exists()


def test_ms_pacman_has_no_opponent(tmp_path: Path) -> None:
    command = ["train-agent", "--task", "ms_pacman", "--opponent", "uniform", "--out", str(tmp_path / "agent")]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 2 and "has no Black" in result.stderr
