"""Studies in which the model reads what another did: their rows against plain computation."""

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
from transformers import AutoModelForCausalLM, AutoTokenizer

from envs import TASKS
from envs.agents import QLearning, QLearningConfig, Transitions
from envs.game import Step
from envs.graph_walk import ADJACENCY, WORDS, GraphWalk, GraphWalkConfig
from envs.grid_world import GridWorld, GridWorldConfig
from jobs.inference.play import tell
from jobs.learners import matrix_sources
from jobs.names import MOST
from jobs.pipeline import plan_study
from tdlens.errors import UserError
from tdlens.record import Record
from tests.jobs.forced_study import BLOCKS, GRAPH, GRID, ROLLOUTS, STEPS, WIDTH, model_folder, study, word_level
from tests.jobs.small_study import context_of, fresh_record, run

FURTHER = GRAPH["task"]["further_rollouts"]
SEED = GRID["seed"] * 100_000


@dataclass
class Finished:
    """The record of a finished study."""

    record: Record
    base: Path

    def rows(self, sql: str) -> pd.DataFrame:
        return self.record.query(sql)

    def steps(self, variant: str, indices: range) -> pd.DataFrame:
        """Decisions by rollout and step, as the tables have them."""
        found = self.rows(
            'SELECT t.variant, r."index" AS rollout_index, r.seed AS seed, r.transcript AS transcript, s.id AS id, '
            's."index" AS step, e."index" AS episode, s.state, s.action, s.reward, s.next_state, s.done, s.forced, '
            "s.p_chosen, s.action_probabilities, s.token_position "
            "FROM step s JOIN rollout r ON r.id = s.rollout_id JOIN episode e ON e.id = s.episode_id "
            "JOIN task t ON t.id = r.task_id ORDER BY 2, 6"
        )
        return found[(found.variant == variant) & found.rollout_index.isin(indices)]


def finished(data: dict[str, Any], factory: pytest.TempPathFactory) -> Iterator[Finished]:
    base = factory.getbasetemp()
    with fresh_record("sqlite", factory.mktemp(data["name"])) as record:
        run(study(base, data), record)
        yield Finished(record, base)


@pytest.fixture(scope="module")
def grid(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Finished]:
    yield from finished(GRID, tmp_path_factory)


@pytest.fixture(scope="module")
def graph(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Finished]:
    yield from finished(GRAPH, tmp_path_factory)


def grid_game(variant: str, index: int) -> GridWorld:
    game = GridWorld(GridWorldConfig(variant, **GRID["task"]["settings"]), SEED + index)
    tell(game)
    return game


def graph_game(words: tuple[str, ...], index: int) -> GraphWalk:
    game = GraphWalk(GraphWalkConfig(steps=STEPS, words=words), SEED + index)
    tell(game)
    return game


def words_of(graph: Finished) -> tuple[str, ...]:
    """The pool of names that the study's rollouts drew from."""
    return tuple(json.loads(graph.rows("SELECT config FROM task").config.item())["words"])


def read_plainly(base: Path, text: str, decision: str) -> tuple[list[int], torch.Tensor, torch.Tensor, Any]:
    """Places of the decision token in a text; logits there [T, V] and hidden states [blocks + 1, T, d]."""
    folder = model_folder(base)
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModelForCausalLM.from_pretrained(folder).eval()
    ids = tokenizer(text, return_tensors="pt").input_ids
    places = [i for i, token in enumerate(ids[0].tolist()) if token == tokenizer.convert_tokens_to_ids(decision)]
    with torch.no_grad():
        result = model(ids, output_hidden_states=True)
    hidden = torch.stack([layer[0, places] for layer in result.hidden_states])
    return places, result.logits[0, places], hidden, tokenizer


@pytest.mark.parametrize("index", [0, ROLLOUTS - 1])
def test_a_grid_rollout_is_what_the_agent_did_and_what_the_model_thought_of_it(grid: Finished, index: int) -> None:
    game, rows = grid_game("true", index), grid.steps("true", range(index, index + 1))
    assert rows.transcript.iloc[0] == game.transcript().text and (rows.seed == SEED + index).all()
    for name in ("episode", "state", "action", "reward", "next_state"):
        assert rows[name].tolist() == [getattr(step, name) for step in game.steps], name
    assert rows.forced.all() and rows.episode.max() >= 3
    places, logits, _, tokenizer = read_plainly(grid.base, game.transcript().text, " go")
    assert rows.token_position.tolist() == places
    chances = logits[:, tokenizer.convert_tokens_to_ids(list(game.actions))].softmax(-1).numpy()
    np.testing.assert_allclose([json.loads(p) for p in rows.action_probabilities], chances, atol=1e-5)
    np.testing.assert_allclose(rows.p_chosen, chances[np.arange(STEPS), rows.action], atol=1e-5)


def test_every_walk_is_predicted_among_its_own_words(graph: Finished) -> None:
    words = words_of(graph)
    for index in (0, ROLLOUTS - 1, ROLLOUTS + 1):  # the last one of the further rollouts
        game, rows = graph_game(words, index), graph.steps("community", range(index, index + 1))
        assert rows.transcript.iloc[0] == game.transcript().text
        assert ADJACENCY[rows.state, rows.action].all()
        _, logits, _, tokenizer = read_plainly(graph.base, game.transcript().text, ",")
        chances = logits[:, tokenizer.convert_tokens_to_ids(list(game.actions))].softmax(-1).numpy()
        np.testing.assert_allclose([json.loads(p) for p in rows.action_probabilities], chances, atol=1e-5)
    assert len({graph_game(words, index).actions for index in range(ROLLOUTS)}) == ROLLOUTS


def test_names_are_the_first_words_that_are_single_tokens(graph: Finished) -> None:
    assert words_of(graph) == WORDS[:MOST]
    without = word_level(without=WORDS[1:4])
    context = context_of(study(graph.base, GRAPH), graph.record)
    context.engine.tokenizer = without
    assert context.task_settings["words"] == (WORDS[0], *WORDS[4 : MOST + 3])


def test_too_few_single_tokens_name_the_tokenizer_and_the_count(graph: Finished) -> None:
    context = context_of(study(graph.base, GRAPH), graph.record)
    context.engine.tokenizer = word_level(without=WORDS[14:])
    with pytest.raises(UserError, match=rf"tokenizer of .*random-reader has only 14 of {len(WORDS)} words") as caught:
        plan_study(context)
    assert "task.settings.words" in caught.value.remedy


def test_the_stream_is_captured_at_every_decision_of_every_variant_that_is_analysed(grid: Finished) -> None:
    _, _, hidden, _ = read_plainly(grid.base, grid_game("true", 4).transcript().text, " go")
    captures = grid.rows("SELECT id, n_rows FROM capture")
    assert captures.n_rows.tolist() == [ROLLOUTS * STEPS] * 2  # of the model and of the untrained one
    for block in range(1, BLOCKS + 1):
        shards = grid.rows(
            f"SELECT * FROM activation_shard WHERE capture_id = {captures.id.min()} AND block = {block} "  # noqa: S608
            "ORDER BY first_row"
        )
        tensors = [grid.record.blobs.load_tensors(blob) for blob in shards.blob]
        x = torch.cat([one["activations"] + one["mean"] for one in tensors])
        assert x.shape == (ROLLOUTS * STEPS, WIDTH)
        if block < BLOCKS:  # Hugging Face applies the last norm to the last of its hidden states
            torch.testing.assert_close(x[4 * STEPS : 5 * STEPS], hidden[block], atol=1e-4, rtol=1e-4)


def test_controls_tell_the_same_actions_and_are_not_captured(grid: Finished) -> None:
    true = grid.steps("true", range(ROLLOUTS))
    for variant in GRID["task"]["controls"]:
        rows = grid.steps(variant, range(ROLLOUTS))
        assert (rows.action.to_numpy() == true.action.to_numpy()).all()
        assert (rows.p_chosen.to_numpy() != true.p_chosen.to_numpy()).any()
    captured = set(grid.rows("SELECT step_id FROM capture_row").step_id)
    assert captured == set(true.id)
    assert set(grid.rows("SELECT DISTINCT step_id FROM learning_signal").step_id) == set(true.id)


def test_further_rollouts_go_on_counting_and_are_not_captured(graph: Finished) -> None:
    rows = graph.rows('SELECT seed, "index", intervention_id FROM rollout ORDER BY "index"')
    assert rows["index"].tolist() == list(range(ROLLOUTS + FURTHER))
    assert rows.seed.tolist() == [SEED + index for index in range(ROLLOUTS + FURTHER)]
    captured = graph.steps("community", range(ROLLOUTS)).id
    assert set(graph.rows("SELECT step_id FROM capture_row").step_id) == set(captured)


def transitions_of(rows: pd.DataFrame) -> Transitions:
    columns = ["episode", "state", "action", "reward", "next_state", "done", "forced"]
    return Transitions.from_steps(Step(*row) for row in rows[columns].itertuples(index=False))


def test_signals_are_those_of_the_learner_over_the_whole_history(grid: Finished) -> None:
    rows = grid.steps("true", range(2, 3))
    learner = QLearning(("left", "right", "up", "down"), QLearningConfig(window=None))
    found = grid.rows(
        "SELECT g.name, v.step_id, v.value FROM learning_signal v JOIN signal g ON g.id = v.signal_id "
        "WHERE g.agent = 'q_learning'"
    ).set_index("step_id")
    for name, expected in learner.replay(transitions_of(rows)).items():
        np.testing.assert_allclose(found[found.name == name].loc[rows.id, "value"], expected, err_msg=name)


def test_matrices_lie_in_blobs_with_a_row_for_every_decision(graph: Finished) -> None:
    wanted = study(graph.base, GRAPH)
    artifacts = graph.rows(
        "SELECT a.name, a.blob FROM artifact a JOIN job j ON j.id = a.job_id WHERE j.stage = 'signals'"
    ).set_index("name")
    assert set(artifacts.index) == {"sr", "sr_error", "transition", "surprise", "mixing"}
    rows = graph.steps("community", range(3, 4))
    for source in matrix_sources(wanted.signals, context_of(wanted, graph.record).task):
        for name, expected in source.replay_matrix(transitions_of(rows)).items():
            table = graph.record.blobs.load_table(artifacts.blob[name]).set_index("step_id")
            assert len(table) == ROLLOUTS * STEPS
            assert table.columns.tolist() == [f"state_{i}" for i in range(15)] and set(map(str, table.dtypes)) == {
                "float32"
            }
            np.testing.assert_allclose(table.loc[rows.id], expected, rtol=1e-6, err_msg=name)


def test_what_the_paper_leaves_open_comes_from_the_settings(graph: Finished) -> None:
    wanted = study(graph.base, GRAPH, signals={"sr_initial": 1.0, "surprise_clip": 0.1})
    t = transitions_of(graph.steps("community", range(1)))
    sr, transitions = (s.replay_matrix(t) for s in matrix_sources(wanted.signals, TASKS["graph_walk"])[:2])
    assert sr["sr"][0].tolist() == [float(state == t.state[0]) for state in range(15)]
    assert transitions["surprise"].max() == pytest.approx(-np.log(0.1))


def test_a_choice_that_is_not_the_models_is_not_fitted(grid: Finished, graph: Finished) -> None:
    for done in (grid, graph):
        stages = set(done.rows("SELECT DISTINCT stage FROM job").stage)
        assert {"play", "compare", "signals", "train_sae", "correlate", "rank"} <= stages and "behaviour" not in stages


def test_the_strongest_correlations_come_into_sql(grid: Finished) -> None:
    found = grid.rows("SELECT * FROM v_correlation WHERE source = 'sae' AND signal = 'td_error'")
    assert len(found) and found.block.nunique() == BLOCKS
    traced = grid.rows("SELECT DISTINCT signal FROM v_latent_activation")
    assert traced.signal.tolist() == ["td_error"]


def test_a_further_control_recomputes_nothing_else(grid: Finished) -> None:
    again = run(study(grid.base, GRID), grid.record)
    more = run(study(grid.base, GRID, task={"controls": ["random", "removed", "swapped"]}), grid.record)
    assert (again.computed, more.computed) == (0, 1)
