"""The stages of a study of a deep Q network, each against its own numbers computed again by hand."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.metrics import f1_score
from sqlalchemy import select

from envs import TASKS
from envs.rook_endgame import LEGAL, STARTS, observations
from envs.rook_games import RookEndgameConfig, whole_game
from envs.rook_predicates import predicates
from envs.rook_values import play_out
from jobs.context import Context
from jobs.networks.player import Player, load_player
from jobs.networks.q_network import QNetwork
from jobs.pipeline import plan_study
from jobs.sections import ModelSection
from jobs.stage import Unit
from jobs.stages.games import greedy
from jobs.study import validate
from sae.autoencoder import Autoencoder
from sae.checkpoint import mapped
from sae.predicates import random_half
from tdlens.errors import UserError
from tdlens.record import Artifact, Job, Record, SaeCheckpoint
from tests.jobs.small_study import context_of, fresh_record, run

ROLLOUTS, MOVES, GAMES, SPLICED = 6, 40, 30, 12
STATES = TASKS["rook_endgame"].seen.states
ROOK: dict[str, Any] = {
    "name": "rook",
    "bootstrap": 100,
    "task": {"name": "rook_endgame", "rollouts": ROLLOUTS, "settings": {"moves": MOVES}},
    "capture": {"blocks": [2]},
    "sae": [
        {"name": "k8", "architecture": "topk", "expansion": 1, "options": {"k": 8, "centre": True}, "epochs": 40}
        | {"lr": 0.01, "batch_size": 64}
    ],
    "correlate": {"permutations": 19, "controls": ["raw", "untrained", "shuffled"]},
    "games": {"played": GAMES, "spliced": SPLICED, "infrequent": 0.03},
    "probe": {"permutations": 19, "examples": 3, "matched": 4},
    "population": {"agents": 2, "training": {"moves": 3000, "hidden": [16, 16]}, "rollouts": 2, "games": 20},
}


@dataclass
class Finished:
    """The record of the study, and what it was made with."""

    record: Record
    context: Context
    units: list[Unit]

    @cached_property
    def player(self) -> Player:
        return load_player(ModelSection(name="rook_128"), "rook_endgame", TASKS["rook_endgame"])

    @cached_property
    def sae(self) -> Autoencoder:
        with self.record.session(read_only=True) as session:
            blob = session.scalars(select(SaeCheckpoint.blob).where(SaeCheckpoint.name == "k8")).one()
        return mapped(self.record.blobs.verified(blob, "safetensors"))

    def outputs(self, which: np.ndarray) -> torch.Tensor:
        """The second layer's output on some boards."""
        return self.player.look(observations(np.flatnonzero(which)), [2]).activations[2]

    def effects(self, intervention: str) -> pd.DataFrame:
        rows = self.record.query(
            "SELECT * FROM v_intervention_effect WHERE intervention = :name", {"name": intervention}
        )
        return rows.set_index("metric")


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Finished]:
    study = validate(ROOK, "rook")
    with fresh_record("sqlite", tmp_path_factory.mktemp("rook")) as record, pytest.MonkeyPatch.context() as patch:
        patch.setattr("sae.matched_pairs.PASSES", 3)
        run(study, record)
        context = context_of(study, record)
        yield Finished(record, context, plan_study(context).units)


def test_every_unit_is_computed_once(done: Finished) -> None:
    with done.record.session(read_only=True) as session:
        states = list(session.scalars(select(Job.state)))
    assert states == ["done"] * len(done.units)
    assert {unit.stage for unit in done.units} == {
        *("play", "games", "signals", "harvest", "train_sae", "correlate", "rank", "splice", "probe", "population")
    }
    outcome = run(validate(ROOK, "rook"), done.record)
    assert outcome.computed == 0


def test_play_is_greedy_and_its_games_have_outcomes(done: Finished) -> None:
    steps = done.record.query(
        "SELECT * FROM v_step WHERE policy = 'model' AND variant = 'smart' ORDER BY rollout, step"
    )
    played = steps[steps["rollout"].isin(steps["rollout"].unique()[:ROLLOUTS])]
    assert len(played) == ROLLOUTS * MOVES
    q = done.player.look(observations(played["state"].to_numpy())).q
    assert q.argmax(1).tolist() == played["action"].tolist()
    ended = done.record.query('SELECT outcome, "return" AS points FROM v_episode WHERE outcome IS NOT NULL')
    assert set(ended["outcome"]) <= {"illegal", "blunder", "stalemate", "time_out", "checkmate"}
    assert (ended.loc[ended["outcome"] == "checkmate", "points"] > 50).all()


def test_the_networks_own_signals_are_recorded(done: Finished) -> None:
    rows = done.record.query(
        "SELECT l.signal, l.value, s.state FROM v_learning_signal l JOIN v_step s ON s.rollout = l.rollout "
        "AND s.step = l.step AND s.study = l.study WHERE l.signal IN ('q_max', 'optimal_value')"
    )
    for name, table in (("q_max", done.player.look(observations(np.arange(len(LEGAL)))).q.numpy()),):
        found = rows[rows["signal"] == name]
        np.testing.assert_allclose(found["value"], table[found["state"]].max(1), rtol=1e-5)
    best = rows[rows["signal"] == "optimal_value"]
    np.testing.assert_allclose(best["value"], STATES.best_values("smart")[best["state"]].max(1))


def test_games_of_all_players_are_the_same_games(done: Finished) -> None:
    games = done.record.query(
        "SELECT policy, rollout_index, state FROM v_step WHERE step = 0 AND intervention = 'none' "
        "AND rollout IN (SELECT rollout FROM v_episode GROUP BY rollout HAVING count(*) = 1)"
    )
    starts = {policy: rows.set_index("rollout_index")["state"] for policy, rows in games.groupby("policy")}
    for index in range(GAMES):
        state = whole_game(RookEndgameConfig(), done.context.rollout_seeds[0] + index).state
        assert all(starts[policy][index] == state for policy in ("random", "optimal"))


def test_metrics_of_the_agent_are_those_of_its_games(done: Finished) -> None:
    metrics = done.record.query("SELECT * FROM v_model_metric WHERE model = 'rook_128'").set_index("metric")
    exact = play_out(greedy(done.player, STATES), "smart")
    assert metrics.loc["expected_return", "value"] == pytest.approx(exact.mean_return)
    assert metrics.loc["ceiling", "value"] == pytest.approx(STATES.ceiling("smart"))
    assert metrics.loc["return", "n"] == GAMES
    assert metrics.loc["return", "ci_low"] < metrics.loc["return", "value"] < metrics.loc["return", "ci_high"]
    outcomes = ("checkmate", "time_out", "illegal", "blunder", "stalemate")
    assert metrics.loc[list(outcomes), "value"].sum() == pytest.approx(1)


def test_a_splice_is_the_reconstruction(done: Finished) -> None:
    effects = done.effects("k8_splice")
    x = done.outputs(LEGAL)
    with torch.no_grad():
        back = done.sae(x)
    after, before = done.player.onwards(back, 2), done.player.onwards(x, 2)
    assert effects.loc["agreement_all", "value"] == pytest.approx((after.argmax(1) == before.argmax(1)).double().mean())
    fvu = ((back - x).double() ** 2).sum() / ((x.double() - x.double().mean(0)) ** 2).sum()
    assert effects.loc["fvu_all", "value"] == pytest.approx(float(fvu), rel=1e-5)
    policy = np.zeros(len(LEGAL), np.int64)
    policy[LEGAL] = after.argmax(1).numpy()
    assert effects.loc["expected_return", "value"] == pytest.approx(play_out(policy, "smart").mean_return)
    assert effects.loc["return", "n_rollouts"] == SPLICED
    assert effects.loc["return", "ci_low"] <= effects.loc["return", "difference"] <= effects.loc["return", "ci_high"]


def test_baselines_leave_nothing_of_the_layer(done: Finished) -> None:
    for name in ("mean_layer", "zero_layer"):
        effects = done.effects(name)
        assert effects.loc["agreement", "value"] < 0.5 and effects.loc["return", "value"] < 0
    assert done.effects("mean_layer").loc["fvu", "value"] == pytest.approx(1, abs=0.05)  # of other rollouts
    assert done.effects("zero_layer").loc["fvu", "value"] > 1


def test_the_kill_test_removes_what_fires_seldom_and_its_control_as_many_others(done: Finished) -> None:
    removed = done.record.query("SELECT intervention, latent FROM v_intervention_latent").groupby("intervention")
    latents = {name: set(rows["latent"]) for name, rows in removed}
    frequency = (
        done.record.query("SELECT latent, value FROM v_latent_measure WHERE measure = 'frequency' AND sae = 'k8'")
        .set_index("latent")["value"]
        .to_dict()
    )
    seldom = {latent for latent, share in frequency.items() if 0 < share < 0.03}
    assert latents["k8_kill_infrequent"] == seldom and seldom
    others = latents["k8_kill_frequent"]
    assert len(others) <= len(seldom) and all(frequency[latent] >= 0.03 for latent in others)
    x = done.outputs(LEGAL)
    with torch.no_grad():
        z = done.sae.encode(x)
        kept = z.clone()
        kept[:, sorted(seldom)] = 0
        without = done.player.onwards(x + done.sae.decode(kept) - done.sae.decode(z), 2)
    same = (without.argmax(1) == done.player.onwards(x, 2).argmax(1)).double().mean()
    assert done.effects("k8_kill_infrequent").loc["agreement_all", "value"] == pytest.approx(float(same), abs=1e-3)


def test_scores_are_those_of_scikit_learn(done: Finished) -> None:
    rows = done.record.query("SELECT * FROM v_latent_predicate WHERE source = 'sae' ORDER BY f1 DESC").head(20)
    with torch.no_grad():
        z = done.sae.encode(done.outputs(STARTS)).numpy()
    half = random_half(len(z), 0)
    for row in rows.itertuples():
        holds, feature = predicates()[row.predicate][STARTS], z[:, row.latent]
        positive = feature[half][feature[half] > 0]
        thresholds = [0.0, *np.quantile(positive, [0.5, 0.75, 0.9, 0.95, 0.99])]
        scores = [f1_score(holds[half], feature[half] > each) for each in thresholds]
        assert row.f1 == pytest.approx(max(scores), abs=0.02)
        assert row.n_true == holds.sum()


def test_controls_are_scored_beside_the_latents(done: Finished) -> None:
    rows = done.record.query(
        "SELECT source, model, max(latent) AS most, min(p_familywise) AS p FROM v_latent_predicate "
        "GROUP BY source, model"
    ).set_index("source")
    assert set(rows.index) == {"sae", "raw", "untrained", "shuffled"}
    assert rows.loc["raw", "most"] == rows.loc["untrained", "most"] == 255
    assert rows.loc["untrained", "model"] == "rook_128-untrained"
    assert rows.loc["shuffled", "p"] > 0.05 >= rows.loc["sae", "p"]


def test_what_a_latent_does_is_what_is_lost_without_it(done: Finished) -> None:
    measured = done.record.query("SELECT latent, measure, value FROM v_latent_measure WHERE sae = 'k8'")
    table = measured.pivot(index="latent", columns="measure", values="value")
    x = done.outputs(STARTS)
    with torch.no_grad():
        z = done.sae.encode(x)
        everywhere = (done.sae.encode(done.outputs(LEGAL)) > 0).double().mean(0)
    np.testing.assert_allclose(table["frequency_all"], everywhere.numpy()[table.index])
    q, latent = done.player.onwards(x, 2), int(table["flips"].idxmax())
    fires = z[:, latent] > 0
    without = done.player.onwards(x - z[:, latent, None] * done.sae.decoder_rows()[latent], 2)
    flipped = (without.argmax(1) != q.argmax(1))[fires]
    assert table.loc[latent, "flip_rate"] == pytest.approx(float(flipped.double().mean()), abs=1e-3)
    assert table.loc[latent, "q_effect"] == pytest.approx(float((q - without)[fires].abs().mean()), rel=1e-3)
    examples = done.record.query(
        "SELECT * FROM v_latent_example WHERE sae = 'k8' AND latent = :latent ORDER BY rank", {"latent": latent}
    )
    boards = np.flatnonzero(STARTS)
    assert examples["value"].tolist() == pytest.approx(z[:, latent].topk(3).values.tolist())
    first = int(np.flatnonzero(boards == examples["state"][0])[0])
    np.testing.assert_allclose(json.loads(examples["q_effect"][0]), (q - without)[first].numpy(), atol=1e-5)


def test_clear_latents_are_compared_where_the_outputs_hardly_differ(done: Finished) -> None:
    rows = done.record.query("SELECT * FROM v_latent_predicate WHERE decoder_f1 IS NOT NULL")
    assert 1 <= len(rows) <= 4 and (rows["p_familywise"] <= 0.05).all()
    assert rows["decoder_f1"].between(0, 1).all()
    effects = done.record.query("SELECT latent, value FROM v_latent_measure WHERE measure = 'return_effect'")
    assert set(effects["latent"]) == set(rows["latent"])


def test_an_agent_of_the_population_is_what_its_weights_say(done: Finished) -> None:
    metrics = done.record.query("SELECT * FROM v_model_metric WHERE model LIKE 'population/%'")
    table = metrics.pivot(index="model", columns="metric", values="value")
    assert list(table.index) == ["population/00", "population/01"]
    with done.record.session(read_only=True) as session:
        blob = session.scalars(
            select(Artifact.blob).join(Job, Job.id == Artifact.job_id).where(Job.stage == "population", Job.key == "01")
        ).one()
    network = QNetwork(75, (16, 16), 24)
    network.load_state_dict(done.record.blobs.load_tensors(blob))
    player = Player(network.eval(), gamma=0.98, reward_scale=0.01, source="", fingerprint="")
    exact = play_out(greedy(player, STATES), "smart").mean_return
    assert table.loc["population/01", "expected_return"] == pytest.approx(exact)
    assert (table["live"] + table["dead"] == 16).all() and (table["live"] > 0).all()
    saes = done.record.query("SELECT DISTINCT model, sae FROM v_sae")
    assert set(saes["sae"]) == {"k8", "population_k8"}


def test_settings_of_the_population_that_no_training_has_are_refused(done: Finished) -> None:
    study = validate(ROOK | {"population": {"agents": 1, "training": {"movs": 3}}}, "rook")
    with pytest.raises(UserError, match=r"population\.training: .*movs"):
        plan_study(context_of(study, done.record))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"intervention": [{"name": "zero", "sae": "k8"}]}, "is for tasks told as text"),
        ({"task": {"name": "rook_endgame", "controls": ["uniform"]}}, "task.controls is for tasks told as text"),
        ({"sae": [], "population": {"agents": 2}}, "needs an autoencoder"),
        ({"probe": {"saes": ["k9"]}}, "unknown [[sae]] 'k9'"),
    ],
)
def test_what_no_agent_can_do_is_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError) as refused:
        validate(ROOK | changes, "rook")
    assert said in str(refused.value)


def test_no_agents_are_trained_for_a_task_told_as_text() -> None:
    with pytest.raises(UserError, match="two_step is told as text"):
        validate({"name": "x", "population": {"agents": 1}}, "x")
