"""Whole trainings: they go on after an interruption with the same numbers, and leave models like any other."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from envs.maze import MazeConfig
from jobs.inference.files import find_model
from jobs.inference.weights import trained_model
from jobs.maze_training.config import Algorithm, Shuffled, TrainingConfig
from jobs.maze_training.policy import load_policy, load_tokenizer
from jobs.maze_training.run import Point, train
from jobs.maze_training.sft import draw_example, example_numbers
from tdlens.errors import UserError
from tests.maze_training.small_players import save_player, small_policy

MAZE = MazeConfig(size=8, turns=2)
CONFIG = TrainingConfig(
    maze=MAZE, steps=3, mazes=2, rollouts=2, minibatches=2, examples=2, checkpoint_every=2, lora_rank=2
)
SFT = replace(CONFIG, algorithm=Algorithm.SFT, epochs=2, lora_rank=0)
REINFORCE = replace(CONFIG, algorithm=Algorithm.REINFORCE, lora_rank=0, shuffled=Shuffled.BATCH)


class Killed(Exception):
    """Instead of a signal."""


@pytest.fixture(scope="module")
def player(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_player(tmp_path_factory.mktemp("player"))


def run(player: Path, out: Path, config: TrainingConfig, until: int | None = None) -> list[Point]:
    points: list[Point] = []

    def on_step(point: Point) -> None:
        points.append(point)
        if point.step == until:
            raise Killed

    train(find_model(str(player)), out, config, device="cpu", on_step=on_step)
    return points


@pytest.mark.parametrize("config", [CONFIG, SFT, REINFORCE], ids=["dr_grpo-lora", "sft", "reinforce-shuffled"])
def test_it_goes_on_with_the_same_numbers(player: Path, tmp_path: Path, config: TrainingConfig) -> None:
    state = torch.get_rng_state()
    whole = run(player, tmp_path / "whole", config)
    with pytest.raises(Killed):
        run(player, tmp_path / "cut", config, until=3)
    with (tmp_path / "cut" / "curve.jsonl").open("a") as curve:
        curve.write('{"step": 4, "mean_')  # as a kill leaves it
    again = run(player, tmp_path / "cut", config)
    assert again == whole and [point.step for point in whole] == [1, 2, 3]
    assert torch.equal(torch.get_rng_state(), state)  # nobody else's random numbers change
    for file in ("model.safetensors", "checkpoints/step-00002/model.safetensors"):
        one, other = load_file(tmp_path / "whole" / file), load_file(tmp_path / "cut" / file)
        assert all(torch.equal(one[name], other[name]) for name in one) and one.keys() == other.keys()
    lines = [json.loads(line) for line in (tmp_path / "cut" / "curve.jsonl").read_text().splitlines()]
    assert [Point(**line) for line in lines] == whole
    assert not (tmp_path / "cut" / "state").exists()
    plays = [point.mean_return is not None for point in whole]
    assert all(plays) and all(np.isfinite(point.loss) for point in whole)


def test_what_is_left_is_a_model_like_any_other(player: Path, tmp_path: Path) -> None:
    """With adapters added to its weights; other weights are as they were."""
    out = tmp_path / "out"
    config = replace(CONFIG, learning_rate=0.05)
    run(player, out, config)
    before, after = load_file(player / "model.safetensors"), load_file(out / "model.safetensors")
    assert before.keys() == after.keys()
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert moved == {name for name in before if name.endswith("proj.weight")}
    files = find_model(str(out))
    assert trained_model(files.folder, torch.float32).config.vocab_size == len(load_tokenizer(out))
    assert train(files=find_model(str(player)), folder=out, config=config, device="cpu") is False
    record = json.loads((out / "training.json").read_text())
    assert record["config"]["maze"]["size"] == 8 and record["cost"]["seconds"] >= 0


def test_saving_changes_nothing(player: Path, tmp_path: Path) -> None:
    policy = load_policy(player, load_tokenizer(player), replace(CONFIG, seed=3), device="cpu")
    with torch.no_grad():
        for name, weight in policy.learned.items():
            assert ".lora_" in name
            weight += 0.1
    ids = torch.arange(20)[None]
    logits = policy.model(ids).logits
    policy.save(tmp_path, load_tokenizer(player))
    assert torch.equal(policy.model(ids).logits, logits)
    saved = trained_model(tmp_path, torch.float32)(ids).logits
    torch.testing.assert_close(saved, logits, atol=1e-4, rtol=1e-4)
    assert not torch.allclose(saved, trained_model(player, torch.float32)(ids).logits, atol=1e-2)


def test_folders_in_the_way(player: Path, tmp_path: Path) -> None:
    with pytest.raises(Killed):
        run(player, tmp_path / "one", SFT, until=1)
    with pytest.raises(UserError, match=r"another training: it differs in learning_rate, turns\."):
        run(player, tmp_path / "one", replace(SFT, maze=replace(MAZE, turns=1), learning_rate=1.0))
    with pytest.raises(UserError, match="differs in fingerprint, model"):
        run(save_player(tmp_path / "other", seed=1), tmp_path / "one", SFT)
    (tmp_path / "two").mkdir()
    (tmp_path / "two" / "thesis.tex").touch()
    with pytest.raises(UserError, match="no training in the maze"):
        run(player, tmp_path / "two", SFT)
    with pytest.raises(UserError, match="is a file"):
        run(player, tmp_path / "two" / "thesis.tex", SFT)
    (tmp_path / "one" / "training.json").write_text("[]")
    with pytest.raises(UserError, match="isn't of a training"):
        run(player, tmp_path / "one", SFT)


def test_models_that_don_t_fit(player: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="the model's context is 2048"):
        run(player, tmp_path / "out", replace(CONFIG, maze=replace(MAZE, turns=60)))
    assert not (tmp_path / "out").exists()


def test_each_epoch_has_every_trajectory_once() -> None:
    config = replace(SFT, steps=6, examples=4, epochs=3)
    numbers = [number for step in range(1, 7) for number in example_numbers(config, step)]
    assert len(numbers) == 24
    epochs = [numbers[start : start + 8] for start in (0, 8, 16)]
    assert all(sorted(epoch) == list(range(8)) for epoch in epochs) and epochs[0] != epochs[1]


def test_an_example_is_told_up_to_its_last_letter() -> None:
    policy = small_policy(MAZE)
    example = draw_example(policy, MAZE, seed=0, number=3)
    assert len(example.positions) == len(example.moves) == 2
    assert example.row[example.positions[0] + 1] == policy.dialogue.letters[example.moves[0]]
    assert draw_example(policy, MAZE, seed=0, number=3) == example != draw_example(policy, MAZE, seed=1, number=3)


def test_fine_tuning_lowers_the_cross_entropy(player: Path, tmp_path: Path) -> None:
    points = run(player, tmp_path / "out", replace(SFT, steps=12, examples=8, checkpoint_every=12, learning_rate=1e-2))
    assert points[-1].loss < 0.6 * points[0].loss
    assert points[1].mean_return is None and points[-1].mean_return is not None


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"rollouts": 1}, "at least 2 rollouts"),
        ({"decay_steps": 2}, "at least the 3 steps"),
        ({"dual_clip": 1.1}, "above 1"),
        ({"minibatches": 5}, "can't be divided"),
        ({"algorithm": Algorithm.SFT, "shuffled": Shuffled.GROUP}, "no rewards"),
        ({"temperature": 0.0}, "temperature must be above 0"),
        ({"entropy": -1.0}, "entropy must not be negative"),
        ({"steps": 0}, "steps must be at least 1"),
    ],
)
def test_settings_that_don_t_fit(setting: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(CONFIG, **setting)  # type: ignore[arg-type]


def test_rates_fall_as_a_cosine() -> None:
    config = replace(CONFIG, steps=4)
    assert [config.falling(step) for step in (1, 3)] == pytest.approx([1, 0.5])
    assert replace(CONFIG, decay_steps=6).falling(3) == pytest.approx(0.75)
