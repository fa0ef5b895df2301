"""Trainings and play of a study of the maze: what is in the record, and that a killed training loses nothing."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file
from sqlalchemy import select

from envs.maze import NOWHERE, MazeConfig, Tile, numbered
from envs.maze_rollouts import Mazes
from jobs import pipeline
from jobs.context import Context
from jobs.maze_training import run as training_run
from jobs.maze_training.folder import model_files
from jobs.maze_training.policy import Policy
from jobs.maze_training.rollouts import deal, play, retell
from jobs.maze_training.run import train
from jobs.stage import Unit
from jobs.stages import play_maze, train_in_maze
from jobs.study import Study
from jobs.welfare.models import (
    engine_of,
    files_of,
    kept_steps,
    model_name,
    training_config,
    training_units,
)
from jobs.welfare.workplaces import leave, workplace
from tdlens.garbage import collect
from tdlens.record import Job, Record
from tdlens.rows import rows
from tdlens.settings import Settings
from tdlens.tracking_content import points
from tests.jobs.small_study import context_of, fresh_record, run
from tests.welfare.small_welfare import welfare_study

ROLLOUTS = 6
MEASURES = {"return", "golds", "molds", "entropy", "gold_taken", "mold_avoided"}


class Killed(BaseException):
    """Instead of a signal."""


@pytest.fixture(autouse=True, scope="module")
def these_stages_alone() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pipeline, "OF_TRAINING", (train_in_maze, play_maze))
        yield


def small(base: Path) -> Study:
    """A training by reinforcement whose checkpoints are kept, and one on plans in tiles exchanged."""
    common = {"mazes": 2, "rollouts": 4, "learning_rate": 0.01}
    return welfare_study(
        base,
        task={"rollouts": ROLLOUTS},
        training=[
            {"name": "primary", "steps": 3, "checkpoint_every": 1, "lora_rank": 2, **common},
            {"name": "swapped", "algorithm": "sft", "variant": "swap", "steps": 2, "lora_rank": 0, **common},
        ],
    )


def planned(context: Context) -> dict[str, Unit]:
    """The trainings, whose jobs the context then knows."""
    plan = pipeline.plan_study(context)
    with context.record.session(read_only=True) as session:
        context.remember({row.identity: row.id for row in session.execute(select(Job.identity, Job.id))})
    return training_units(plan)


@dataclass
class Finished:
    record: Record
    context: Context
    trainings: dict[str, Unit]

    def ask(self, sql: str, **values: Any) -> pd.DataFrame:
        return self.record.query(sql, values)


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def done(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Finished]:
    with fresh_record(request.param, tmp_path_factory.mktemp("maze")) as record:
        study = small(tmp_path_factory.getbasetemp())
        assert run(study, record).computed == 6
        context = context_of(study, record)
        yield Finished(record, context, planned(context))
        context.close()


def test_each_model_in_the_record_is_the_one_that_the_command_trains(done: Finished, tmp_path: Path) -> None:
    unit = done.trainings["primary"]
    config = training_config(done.context, done.context.study.training[0])
    assert kept_steps(unit) == (1, 2, 3) and kept_steps(done.trainings["swapped"]) == (2,)
    train(done.context.model_files, tmp_path / "out", config, device="cpu")
    for step, place in ((1, "checkpoints/step-00001"), (2, "checkpoints/step-00002"), (None, ".")):
        with files_of(done.context, unit, step) as files:
            names = {path.name for path in files.folder.iterdir()}
            assert names == {path.name for path in model_files(tmp_path / "out" / place)}
            found, wanted = (
                load_file(folder / "model.safetensors") for folder in (files.folder, tmp_path / "out" / place)
            )
        assert not files.folder.exists()
        assert found.keys() == wanted.keys() and all(torch.equal(found[name], wanted[name]) for name in found)
    with pytest.raises(ValueError, match="kept no model step-00007"), files_of(done.context, unit, 7):
        pass


def test_curve_checkpoints_and_configuration_are_rows(done: Finished) -> None:
    trainings = done.ask("SELECT * FROM v_maze_training WHERE study = 'small-welfare'").set_index("training")
    assert list(trainings.loc["primary", ["algorithm", "variant", "steps", "seed"]]) == ["dr_grpo", "standard", 3, 1000]
    assert list(trainings.loc["swapped", ["algorithm", "variant", "steps"]]) == ["sft", "swap", 2]
    assert json.loads(str(trainings.loc["primary", "parameters"]))["maze"]["turns"] == 4
    curve = done.ask("SELECT * FROM v_maze_progress WHERE training = 'primary' ORDER BY step")
    assert list(curve.step) == [1, 2, 3] and curve.mean_return.notna().all()
    assert np.allclose(curve.mean_return, 4 * -0.1 + 20 * curve.golds - 10 * curve.molds)
    checkpoints = done.ask("SELECT * FROM v_maze_checkpoint ORDER BY training, step")
    name = done.context.study.model.name
    assert list(checkpoints.model) == [f"{name}:primary@1", f"{name}:primary@2", f"{name}:primary", f"{name}:swapped"]
    prints = done.ask("SELECT name, fingerprint FROM model").set_index("name").fingerprint
    for step in (1, None):
        engine = engine_of(done.context, done.trainings["primary"], step)
        assert engine.describe().fingerprint == prints[model_name(done.context, "primary", step)]


def test_few_models_stay_loaded(done: Finished) -> None:
    unit = done.trainings["primary"]
    first = engine_of(done.context, unit, 1)
    assert engine_of(done.context, unit, 2) is not first and engine_of(done.context, unit, 1) is first
    assert engine_of(done.context, unit) is not first and engine_of(done.context, unit, 1) is first
    assert len(done.context.keep(dict, "trained models")) == 2
    assert engine_of(done.context, None) is done.context.engine


def test_play_in_the_record_follows_the_rules_and_can_be_read(done: Finished) -> None:
    maze = MazeConfig(**done.context.study.task.settings)
    dealt = play_maze.held_out(maze, done.context.rollout_seeds, done.context.study.seed)
    steps = done.ask(
        "SELECT v_step.*, rollout.transcript FROM v_step JOIN rollout ON rollout.id = v_step.rollout"
        " WHERE v_step.model = :model ORDER BY v_step.rollout_index, v_step.step",
        model=model_name(done.context, "primary"),
    )
    assert set(steps.policy) == {"T=0.7"} and len(steps) == ROLLOUTS * 4
    for index in range(ROLLOUTS):
        one = steps[steps.rollout_index == index]
        mazes = Mazes(maze, [dealt.mazes[index]], dealt.wind[index][None, None])
        for turn, step in enumerate(rows(one)):
            assert step.state == mazes.y[0] * maze.size + mazes.x[0]
            probabilities = np.array(json.loads(step.action_probabilities))
            assert ((probabilities > 0) == mazes.offered[0]).all() and probabilities.sum() == pytest.approx(1, abs=1e-5)
            assert probabilities[step.action] == step.p_chosen
            assert step.transcript.split("I move: ")[turn + 1][0] == "NESW"[step.action]
            assert mazes.step(np.array([step.action]))[0] == pytest.approx(step.reward)
        assert list(one.next_state)[:-1] == list(one.state)[1:] and list(one.next_state)[-1] == -1
    fewer = done.ask("SELECT count(*) AS n FROM rollout").n.item()
    assert fewer == 4 * ROLLOUTS  # the naive model in two kinds of tiles, two trained ones


def test_measures_of_play_say_how_good_it_was(done: Finished) -> None:
    metrics = done.ask("SELECT * FROM v_model_metric WHERE model = :model", model=model_name(done.context, None))
    assert set(metrics.metric) == {f"{name}, {variant}" for name in MEASURES for variant in ("standard", "swap")}
    returns = done.ask(
        "SELECT sum(reward) AS value FROM v_step WHERE model = :model AND variant = 'standard' GROUP BY rollout",
        model=model_name(done.context, None),
    ).value
    row = metrics.set_index("metric").loc["return, standard"]
    assert row["value"] == pytest.approx(returns.mean())
    assert row["ci_low"] < row["value"] < row["ci_high"] and row["n"] == ROLLOUTS


def test_shares_are_of_moves_that_had_a_choice() -> None:
    """Against a plain count, on a policy that takes each direction as often as the others."""
    maze = MazeConfig(size=6, turns=5, gold_ratio=0.4)
    dealt = deal(maze, [numbered(seed, 9) for seed in range(30)], 1, np.random.default_rng(0))
    policy = _uniform()
    played = play(policy, maze, dealt, 1.0, 7)
    found = dict(play_maze.measures(played))
    assert found.keys() == MEASURES
    undefined = 0
    for index in range(30):
        taken, avoided = [], []
        for turn in range(5):
            seen = [tile for tile in played.seen[index, turn] if tile != NOWHERE]
            onto = played.seen[index, turn, played.actions[index, turn]]
            if Tile.GOLD in seen and len(set(seen)) > 1:
                taken.append(onto == Tile.GOLD)
            if Tile.MOLD in seen and len(set(seen)) > 1:
                avoided.append(onto != Tile.MOLD)
        for name, chosen in (("gold_taken", taken), ("mold_avoided", avoided)):
            undefined += not chosen
            np.testing.assert_equal(found[name][index], np.mean(chosen) if chosen else np.nan)
    assert undefined
    texts, cells = retell(maze, dealt, played.actions)
    assert [len(text) for text in texts] == [5] * 30 and cells.shape == (30, 5)
    assert f"({cells[3, 2] % 6}, {cells[3, 2] // 6})" in texts[3][2]


class _Uniform:
    """A dialogue and an engine in one: no direction is likelier than another."""

    letters = (0, 1, 2, 3)

    def first(self, texts: list[str]) -> list[list[int]]:
        return [[0]] * len(texts)

    next = first

    def new_cache(self) -> None:
        return None


def _uniform() -> Policy:
    class Uniform(Policy):
        def next_logits(self, chunks: Any, cache: Any) -> torch.Tensor:
            return torch.zeros(len(chunks), 4)

    return Uniform(_Uniform(), _Uniform())  # type: ignore[arg-type]


@pytest.mark.parametrize("done", ["sqlite"], indirect=True)
def test_a_killed_training_goes_on_to_the_same_bits(
    done: Finished, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = small(tmp_path_factory.getbasetemp())
    steps: list[int] = []
    take_step = training_run.take_step

    def watched(*args: Any) -> Any:
        steps.append(args[3])
        return take_step(*args)

    def killed_in_the_third(*args: Any) -> Any:
        if args[3] == 3:
            raise Killed
        return watched(*args)

    with fresh_record("sqlite", tmp_path) as record:
        monkeypatch.setattr(training_run, "take_step", killed_in_the_third)
        with pytest.raises(Killed):
            run(study, record)
        assert steps == [1, 2]
        identity = done.trainings["primary"].identity
        assert list((record.settings.trainings / identity).glob("*/state/*"))
        monkeypatch.setattr(training_run, "take_step", watched)
        assert run(study, record).computed == 6
        assert steps == [1, 2, 3, 1, 2]  # and then the other training
        same = "SELECT artifact.name, blob FROM artifact JOIN job ON job.id = job_id ORDER BY key, artifact.name"
        pd.testing.assert_frame_equal(record.query(same), done.ask(same))
        curves = "SELECT * FROM v_maze_progress ORDER BY training, step"
        pd.testing.assert_frame_equal(record.query(curves), done.ask(curves))
        assert not list(record.settings.trainings.iterdir())  # the record has it all


def test_a_training_that_could_not_be_published_is_not_lost(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = small(tmp_path_factory.getbasetemp())
    with fresh_record("sqlite", tmp_path) as record:
        with monkeypatch.context() as patch:
            patch.setattr(train_in_maze, "insert_rows", lambda *args: (_ for _ in ()).throw(Killed))
            with pytest.raises(Killed):
                run(study, record)
        monkeypatch.setattr(training_run, "take_step", lambda *args: pytest.fail("trained again"))
        context = context_of(study, record)
        unit = planned(context)["primary"]
        train_in_maze.run(context, unit)
        context.close()


def test_a_workplace_is_one_process_alone(tmp_path: Path) -> None:
    settings = Settings(tmp_path, "sqlite://")
    with workplace(settings, "unit", {"torch": "1"}) as mine, workplace(settings, "unit", {"torch": "1"}) as other:
        assert mine != other
        mine.mkdir()
        leave(settings, "unit")
        assert mine.is_dir()
    with workplace(settings, "unit", {"torch": "1"}) as again:
        assert again == mine and again.is_dir()
    with workplace(settings, "unit", {"torch": "2"}) as newer:
        assert newer not in (mine, other)
    leave(settings, "unit")
    assert not list(settings.trainings.iterdir())


def test_workplaces_of_trainings_that_were_given_up_are_garbage(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = small(tmp_path_factory.getbasetemp())
    with fresh_record("sqlite", tmp_path) as record:
        with monkeypatch.context() as patch:
            patch.setattr(train_in_maze, "insert_rows", lambda *args: (_ for _ in ()).throw(Killed))
            with pytest.raises(Killed):
                run(study, record)
        context = context_of(study, record)
        wanted = {unit.identity for unit in planned(context).values()}
        context.close()
        (place,) = record.settings.trainings.iterdir()
        assert place.name in wanted
        given_up = place.rename(place.with_name("no unit's"))
        place.mkdir()
        assert collect(record, grace=3600.0).unfinished == []
        found = collect(record, grace=0.0, dry_run=True)
        assert found.unfinished == [given_up] and found.bytes > 10_000 and given_up.is_dir()
        assert collect(record, grace=0.0).unfinished == [given_up]
        assert list(record.settings.trainings.iterdir()) == [place]


def test_identities_follow_from_what_decides_a_training(
    done: Finished, tmp_path_factory: pytest.TempPathFactory
) -> None:
    base = tmp_path_factory.getbasetemp()
    before = {unit.key: unit.identity for unit in pipeline.plan_study(done.context).units if not unit.parents}

    def touched(**changes: Any) -> set[str]:
        data = small(base).model_dump(mode="json", exclude_defaults=True)
        for key, value in changes.items():
            data[key] = data.get(key, {}) | value
        context = context_of(Study.model_validate(data), done.record)
        context.__dict__["engine"] = done.context.engine
        after = {unit.key: unit.identity for unit in pipeline.plan_study(context).units if not unit.parents}
        return {key for key in before if before[key] != after[key]}

    naive = {"naive/standard", "naive/swap"}
    assert touched(steering={"items": 9}) == set()
    assert touched(concepts={"checkpoints": False}) == {"primary"}
    assert touched(task={"rollouts": 7}) == naive
    assert touched(task={"settings": {"size": 12, "turns": 4}}) == {"primary", "swapped"} | naive


def test_the_curve_is_a_metric_of_mlflow(done: Finished) -> None:
    shown = {(point.key, point.step) for point in points(done.record, "small-welfare", "train_in_maze")}
    assert {("primary/mean_return", step) for step in (1, 2, 3)} <= shown
    assert ("swapped/loss", 2) in shown and ("primary/entropy", 1) in shown
    played = {point.key for point in points(done.record, "small-welfare", "play_maze")}
    assert f"{model_name(done.context, 'primary')}/return, standard/value" in played
