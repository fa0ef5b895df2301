"""What is written into the record comes back unchanged: play, signals, activations."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console
from rich.progress import Progress
from sqlalchemy import text
from sqlalchemy.orm import Session

from envs.agents import QLearning, QLearningConfig, Transitions, signal_sources
from envs.game import Step
from envs.two_step import TwoStep, TwoStepConfig, Variant
from jobs.context import Context
from jobs.inference.play import Played
from jobs.reading import Rollouts, read_activations, read_rollouts, read_signals, signal_ids
from jobs.recording import (
    Replayed,
    record_model,
    record_rollouts,
    record_signals,
    record_task,
    replay_sources,
)
from jobs.shards import ShardWriters, record_capture, write_shard
from jobs.study import validate
from tdlens.blobs import BlobStore
from tdlens.errors import CorruptBlob, MissingBlob
from tdlens.record import Artifact, Blob, LearningSignal, Record, Signal, insert_columns, record_artifact
from tdlens.testing.rows import make_job
from tests.inference.tiny import tiny_engine

ENGINE = tiny_engine("llama")
CONFIG = TwoStepConfig(Variant.REWARD_DISRUPTION, episodes=6, random_episodes=2, change_episode=3)
R, T = 3, 12


def games(first_seed: int = 0) -> list[TwoStep]:
    """Three finished rollouts with random choices."""
    rng = np.random.default_rng(first_seed)
    made = [TwoStep(CONFIG, first_seed + i) for i in range(R)]
    for game in made:
        while not game.done:
            forced = game.forced_action
            game.act(int(rng.integers(2)) if forced is None else forced)
    return made


def played(made: list[TwoStep], seed: int = 0) -> Played:
    """As if a model had played them: probabilities and places at random."""
    rng = np.random.default_rng(seed)
    return Played(
        actions=np.array([[step.action for step in game.steps] for game in made]),
        probabilities=rng.dirichlet([1, 1], size=(R, T)),
        token_positions=np.cumsum(rng.integers(1, 9, size=(R, T)), axis=1),
        transcripts=[game.transcript() for game in made],
    )


def recorded(session: Session, made: list[TwoStep], seen: Played | None, identity: str, **common: Any) -> Any:
    """Job and step keys of the rollouts, written as a unit of play would."""
    job = make_job(session, identity)
    task = record_task(session, "two_step", {"variant": CONFIG.variant, "episodes": 6}, ["left", "right"])
    model = record_model(session, "tiny", "here", ENGINE)
    seeds = [100 + i for i in range(R)]
    common = {"job_id": job.id, "task_id": task, "model_id": model, "policy": "model", **common}
    return job.id, record_rollouts(session, [game.steps for game in made], seeds, seen, **common)


def same(read: Rollouts, made: list[TwoStep], seen: Played) -> None:
    expected = Rollouts.of_games(made, seen)
    for ours, theirs in zip(read.transitions, expected.transitions, strict=True):
        for name, values in vars(theirs).items():
            np.testing.assert_array_equal(getattr(ours, name), values)
    np.testing.assert_array_equal(read.forced, expected.forced)
    np.testing.assert_array_equal(read.probabilities, expected.probabilities)  # to the bit
    assert read.transcripts == expected.transcripts
    np.testing.assert_array_equal(read.returns(), expected.returns())


def test_play_comes_back_and_jobs_do_not_mix(record: Record) -> None:
    first, second = games(0), games(50)
    seen = played(first, 0), played(second, 1)
    with record.session() as session:
        one, keys = recorded(session, first, seen[0], "one")
        two, other_keys = recorded(session, second, seen[1], "two")
    with record.session(read_only=True) as session:
        read, other = read_rollouts(session, one), read_rollouts(session, two)
    same(read, first, seen[0])
    same(other, second, seen[1])
    np.testing.assert_array_equal(read.step_ids, keys)
    np.testing.assert_array_equal(other.step_ids, other_keys)
    assert keys.shape == (R, T) and len(np.unique([keys, other_keys])) == 2 * R * T
    assert [mask.tolist() for mask in read.scored] == [[False] * 4 + [True] * 8] * R
    with record.session() as session:  # rollouts come by their index, not by their key
        session.execute(text('UPDATE rollout SET "index" = 102 - "index"'))
        session.execute(text('UPDATE rollout SET "index" = "index" - 100'))
        np.testing.assert_array_equal(read_rollouts(session, one).step_ids, keys[::-1])
        assert read_rollouts(session, one).transcripts == [game.transcript().text for game in first[::-1]]


def test_rows_say_what_was_played(record: Record) -> None:
    made = games()
    seen = played(made)
    with record.session() as session:
        recorded(session, made, seen, "one")
    episodes = record.query(
        'SELECT r."index" AS r, e."index" AS e, e."return" AS g, e.forced AS f '
        "FROM episode e JOIN rollout r ON r.id = e.rollout_id"
    )
    for row in episodes.itertuples():
        mine = [step for step in made[row.r].steps if step.episode == row.e]
        assert row.g == sum(step.reward for step in mine)
        assert bool(row.f) == all(step.forced for step in mine)
    assert len(episodes) == R * 6
    steps = record.query(
        'SELECT r."index" AS r, s.*, e."index" AS e FROM step s '
        "JOIN rollout r ON r.id = s.rollout_id JOIN episode e ON e.id = s.episode_id"
    )
    assert len(steps) == R * T
    for row in steps.itertuples():
        step = made[row.r].steps[row.index]
        assert (row.e, row.state, row.action, row.reward) == step[:4]
        assert (row.next_state, bool(row.done), bool(row.forced)) == step[4:]
        assert row.p_chosen == seen.probabilities[row.r, row.index, step.action]
        assert row.token_position == seen.token_positions[row.r, row.index]
    rollouts = record.query('SELECT seed, n_steps, policy, transcript FROM rollout ORDER BY "index"')
    assert rollouts.seed.tolist() == [100, 101, 102] and set(rollouts.n_steps) == {T}
    assert rollouts.transcript.tolist() == [game.transcript().text for game in made]


def test_an_episode_sums_its_rewards_and_is_forced_only_if_every_decision_was(record: Record) -> None:
    rewards, forced = [[1.0, 2.0, 4.0], [-1.0, 0.0, 0.5]], [[True, True, True], [True, False, True]]
    steps = [
        Step(e, t, 0, rewards[e][t], t + 1 if t < 2 else -1, t == 2, forced[e][t]) for e in range(2) for t in range(3)
    ]
    with record.session() as session:
        job = make_job(session, "one").id
        task = record_task(session, "other", {"variant": "long"}, ["stay"])
        record_rollouts(session, [steps], [0], job_id=job, task_id=task, policy="published")
    rows = record.query('SELECT "return" AS g, forced FROM episode ORDER BY "index"')
    assert rows.g.tolist() == [7.0, -0.5]
    assert rows.forced.astype(bool).tolist() == [True, False]


def test_play_of_no_model_of_ours_has_no_probabilities(record: Record) -> None:
    with record.session() as session:
        recorded(session, games(), None, "one", model_id=None, policy="published")
    steps = record.query("SELECT p_chosen, action_probabilities, token_position FROM step")
    assert steps.isna().all().all() and len(steps) == R * T
    assert set(record.query("SELECT policy, transcript FROM rollout").transcript) == {""}


def test_rows_that_jobs_share_are_made_once(record: Record) -> None:
    with record.session() as session:
        recorded(session, games(), played(games()), "one")
        recorded(session, games(), played(games()), "two")
        assert record_model(session, "other", "here", ENGINE) != record_model(session, "tiny", "here", ENGINE)
        other = record_task(session, "two_step", {"variant": CONFIG.variant, "episodes": 7}, ["left", "right"])
        assert other != record_task(session, "two_step", {"variant": CONFIG.variant, "episodes": 6}, ["left", "right"])
    assert len(record.query("SELECT * FROM model")) == 2
    tasks = record.query("SELECT name, variant, actions FROM task")
    assert len(tasks) == 2 and set(tasks.variant) == {"reward_disruption"}


# --- learning signals

LEARNER = QLearning(config=QLearningConfig(alpha=0.4, window=2))


def test_signals_come_back_at_their_steps_whatever_the_order_of_rows(record: Record) -> None:
    made = games()
    histories = [Transitions.from_steps(game.steps) for game in made]
    replayed = replay_sources(histories, [LEARNER, signal_sources()["context"]])
    names = ["step", "q_left", "td_error", "q_chosen", "max_so_far"]
    expected = np.stack(
        [[(LEARNER.replay(t) | signal_sources()["context"].replay(t))[name] for t in histories] for name in names], -1
    )
    with record.session() as session:
        job, keys = recorded(session, made, played(made), "one")
        record_signals(session, job, keys, replayed)
        other = make_job(session, "two", stage="signals").id  # the same signals of another learner, rows shuffled
        ids = signal_ids(session, job, names)
        shuffled = np.random.default_rng(0).permutation(keys.ravel())
        columns = {"job_id": other, "signal_id": ids["q_left"], "step_id": shuffled, "value": shuffled * 0.5}
        insert_columns(session, LearningSignal, columns)
    with record.session(read_only=True) as session:
        read = read_signals(session, job, keys, names)
        np.testing.assert_array_equal(read, expected)
        backwards = read_signals(session, job, keys[::-1, ::-1], names[::-1])
        np.testing.assert_array_equal(backwards, expected[::-1, ::-1, ::-1])
        np.testing.assert_array_equal(read_signals(session, other, keys, ["q_left"])[..., 0], keys * 0.5)
        assert np.isnan(read_signals(session, other, keys, ["td_error"])).all()


def test_a_signal_without_value_comes_back_as_none(record: Record) -> None:
    made, values = games(), np.arange(R * T, dtype=np.float64).reshape(R, T)
    values[1, 3] = np.nan
    with record.session() as session:
        job, keys = recorded(session, made, played(made), "one")
        record_signals(session, job, keys, [Replayed(LEARNER, {"td_error": values})])
    assert record.query("SELECT count(*) AS n FROM learning_signal WHERE value IS NULL").n.item() == 1
    with record.session(read_only=True) as session:
        np.testing.assert_array_equal(read_signals(session, job, keys, ["td_error"])[..., 0], values)


def test_signals_of_other_settings_are_other_signals(record: Record) -> None:
    histories = [Transitions.from_steps(game.steps) for game in games()]
    jobs, found = [], []
    with record.session() as session:
        for identity, learner in {"one": LEARNER, "two": replace(LEARNER, config=QLearningConfig(alpha=0.1))}.items():
            job, keys = recorded(session, games(), played(games()), identity)
            record_signals(session, job, keys, replay_sources(histories, [learner], ["td_error"]))
            jobs.append(job)
        again, keys = recorded(session, games(), played(games()), "three")
        record_signals(session, again, keys, replay_sources(histories, [LEARNER], ["td_error"]))
        found = [signal_ids(session, job, ["td_error", "q_left"]) for job in (*jobs, again)]
        rows = {row.id: row for row in session.query(Signal)}
    assert found[0] == found[2] != found[1]
    assert all(set(ids) == {"td_error"} for ids in found)
    assert len(rows) == 2
    first = rows[found[0]["td_error"]]
    assert (first.agent, first.parameters) == ("q_learning", {"alpha": 0.4, "gamma": 0.99, "window": 2})
    assert first.description


def test_only_the_signals_asked_for_are_kept() -> None:
    histories = [Transitions.from_steps(game.steps) for game in games()]
    (kept,) = replay_sources(histories, [LEARNER], ["q_left", "step"])
    assert set(kept.values) == {"q_left"} and kept.values["q_left"].shape == (R, T)
    (everything,) = replay_sources(histories, [LEARNER])
    assert list(everything.values) == list(LEARNER.describe())


# --- activations


def context(record: Record, dtype: str) -> Context:
    study = validate({"name": "test", "capture": {"dtype": dtype}}, "test")
    made = Context(study, record, Progress(console=Console(quiet=True)))
    made.__dict__["engine"] = ENGINE
    return made


def captured(record: Record, dtype: str, activations: dict[int, torch.Tensor], batch_size: int = R) -> int:
    """The job that holds a capture of these activations, at recorded steps."""
    made = context(record, dtype)
    with ShardWriters.of(made) as writers:
        for first in range(0, R, batch_size):
            writers.take({block: x[first : first + batch_size] for block, x in activations.items()})
        shards = writers.results()
    with record.session() as session:
        job, keys = recorded(session, games(), played(games()), f"capture {dtype}")
        model = record_model(session, "tiny", "here", ENGINE)
        record_capture(session, made, shards, keys, job_id=job, model_id=model)
    return int(job)


def residual(block: int, width: int = 32) -> torch.Tensor:
    """A stream with a large constant part, as residual streams have, [R, T, d]."""
    generator = torch.Generator().manual_seed(block)
    return torch.randn(R, T, width, generator=generator) + 200 * torch.randn(width, generator=generator)


def read(record: Record, job: int, block: int) -> torch.Tensor:
    return torch.cat(list(read_activations(record, [job], block)))


def test_activations_come_back_in_the_order_of_the_steps(record: Record) -> None:
    x = {1: residual(1), 3: residual(3)}
    job = captured(record, "float32", x, batch_size=2)
    for block, stream in x.items():
        found = read(record, job, block)
        assert found.dtype == torch.float32
        torch.testing.assert_close(found, stream.reshape(R * T, 32), rtol=1e-6, atol=0)
    rows = record.query("SELECT c.row, c.step_id FROM capture_row c ORDER BY c.row")
    with record.session(read_only=True) as session:
        assert rows.step_id.tolist() == read_rollouts(session, job).step_ids.ravel().tolist()
    shards = record.query("SELECT block, first_row, n_rows, dtype FROM activation_shard ORDER BY block, first_row")
    assert list(shards.itertuples(index=False, name=None)) == [
        (block, *rows, "float32") for block in (1, 3) for rows in ((0, 2 * T), (2 * T, T))
    ]
    assert record.query("SELECT n_rows, positions, hook FROM capture").values.tolist() == [
        [R * T, "decision", "block_output"]
    ]


def test_shards_hold_centred_values_and_their_mean(record: Record) -> None:
    x = residual(1)
    job = captured(record, "float32", {1: x})
    sha256 = record.query("SELECT blob FROM activation_shard").blob.item()
    tensors = record.blobs.load_tensors(sha256)
    assert set(tensors) == {"activations", "mean"}
    # centred by the mean as it is kept, so that adding it gives back what was captured
    assert (tensors["activations"].mean(0).abs() <= tensors["mean"].abs() * 2**-24 + 1e-6).all()
    torch.testing.assert_close(tensors["mean"], x.mean((0, 1)))
    assert tensors["mean"].dtype == torch.float32
    assert job


def test_bfloat16_loses_little_because_of_the_centring(record: Record) -> None:
    x = residual(1)
    found = read(record, captured(record, "bfloat16", {1: x}), 1).reshape(x.shape)
    spread = (x - x.mean((0, 1))).abs()
    assert ((found - x).abs() <= spread * 2**-8 + 1e-4).all()  # half a unit in the last of eight places, twice
    uncentred = (x.bfloat16().float() - x).square().mean()
    assert (found - x).square().mean() < 1e-3 * uncentred
    sha256 = record.query("SELECT blob FROM activation_shard").blob.item()
    assert record.blobs.load_tensors(sha256)["activations"].dtype == torch.bfloat16


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**6), size=st.floats(1e-3, 1e4), offset=st.floats(-1e4, 1e4))
def test_float32_is_exact_to_its_precision(
    tmp_path_factory: pytest.TempPathFactory, seed: int, size: float, offset: float
) -> None:
    x = size * torch.randn(R, T, 8, generator=torch.Generator().manual_seed(seed)) + offset
    made = context(Record(None, None, BlobStore(tmp_path_factory.getbasetemp() / "shards")), "float32")
    tensors = made.record.blobs.load_tensors(write_shard(made.record.blobs, x.flatten(0, 1), torch.float32).sha256)
    found = tensors["activations"] + tensors["mean"]
    scale = x.abs().max()
    assert (found - x.reshape(-1, 8)).abs().max() <= 1e-6 * scale


@pytest.mark.parametrize("damage", ["flip", "truncate", "remove"])
def test_a_damaged_shard_is_refused(record: Record, damage: str) -> None:
    job = captured(record, "float32", {1: residual(1), 2: residual(2)})
    sha256, suffix = record.query(
        "SELECT b.sha256, b.suffix FROM activation_shard a JOIN blob b ON b.sha256 = a.blob WHERE a.block = 1"
    ).iloc[0]
    path = record.blobs.path(sha256, suffix)
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    if damage == "remove":
        path.unlink()
    else:
        path.write_bytes(content if damage == "flip" else content[:-1])
    with pytest.raises(MissingBlob if damage == "remove" else CorruptBlob, match=sha256):
        read(record, job, 1)
    assert read(record, job, 2).shape == (R * T, 32)


def test_artifacts_are_named_blobs_and_equal_ones_share_a_row(record: Record) -> None:
    one, again = (record.blobs.put_bytes(b"the same", "parquet") for _ in range(2))
    with record.session() as session:
        jobs = [make_job(session, name).id for name in "ab"]
        for job, blob in zip(jobs, (one, again), strict=True):
            record_artifact(session, job, "matrix", blob)
    with record.session(read_only=True) as session:
        assert [(a.job_id, a.name, a.blob) for a in session.query(Artifact).order_by(Artifact.job_id)] == [
            (job, "matrix", one.sha256) for job in jobs
        ]
        (row,) = session.query(Blob)
        assert (row.suffix, row.bytes) == ("parquet", 8)
