"""``tdlens train-in-maze`` on the smallest possible scale."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from jobs.cli.app import app
from tests.maze_training.small_players import save_player

SMALL = "--size 8 --turns 2 --mazes 1 --rollouts 2 --steps 2 --device cpu".split()


@pytest.fixture(scope="module")
def player(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_player(tmp_path_factory.mktemp("player"))


def test_a_training(player: Path, tmp_path: Path) -> None:
    command = ["train-in-maze", str(player), "--out", str(tmp_path / "out"), *SMALL, "--variant", "swap"]
    command += ["--algorithm", "reinforce", "--shuffled-rewards", "group", "--lora-rank", "2", "--seed", "5"]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 0, result.output
    assert "--model" in result.output
    config = json.loads((tmp_path / "out" / "training.json").read_text())["config"]
    assert config["algorithm"] == "reinforce" and config["shuffled"] == "group" and config["seed"] == 5
    assert config["maze"]["variant"] == "swap" and config["maze"]["turns"] == 2 and config["lora_rank"] == 2
    assert len((tmp_path / "out" / "curve.jsonl").read_text().splitlines()) == 2
    again = CliRunner().invoke(app, command)
    assert again.exit_code == 0 and "finished already" in again.output
    other = CliRunner().invoke(app, [*command, "--seed", "6"])
    assert other.exit_code == 2 and "differs in seed" in " ".join(other.output.split())


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--rollouts", "1"], "at least 2 rollouts"),
        (["--gold-ratio", "1"], "gold_ratio must lie between"),
        (["--variant", "custom", "--path-tile", "tea"], "needs a path_tile, a mold_tile and a gold_tile"),
        (["--algorithm", "sft", "--shuffled-rewards", "batch"], "SFT has no rewards"),
        (["--size", "100"], "doesn't know all words"),
        (["--turns", "90"], "Play fewer turns"),
        (["--layout", "chat"], "no chat template"),
        (["--device", "abacus"], "no device"),
    ],
)
def test_mistakes_are_named(player: Path, tmp_path: Path, more: list[str], message: str) -> None:
    result = CliRunner().invoke(app, ["train-in-maze", str(player), "--out", str(tmp_path / "out"), *SMALL, *more])
    assert result.exit_code == 2
    assert message in " ".join(result.output.split())
    assert not (tmp_path / "out").exists()
