"""Lesions of a model that reads: their rows against hooks on the model's own blocks and plain computation."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.typing import NDArray
from transformers import AutoModelForCausalLM, AutoTokenizer

from envs.agents import Transitions
from envs.game import Game
from envs.graph_walk import ADJACENCY
from jobs.context import Context
from jobs.inference.play import tell
from jobs.learners import matrix_sources
from jobs.pipeline import plan_study
from jobs.study import validate
from sae.autoencoder import Autoencoder
from sae.checkpoint import from_bytes
from sae.rollout_statistics import split_halves
from tdlens.errors import UserError
from tdlens.record import Record
from tests.jobs.forced_study import BLOCKS, GRAPH, GRID, ROLLOUTS, STEPS, model_folder, study
from tests.jobs.small_study import context_of, fresh_record, run

Floats = NDArray[np.float64]
EARLY = [3, 9]
CLAMP = {"sae": "topk", "operation": "clamp", "value": 4.0}
LESIONS: dict[str, dict[str, Any]] = {
    "grid": {
        "best": CLAMP,
        "two": {**CLAMP, "blocks": 2},
        "later": {"sae": "topk", "latents": 2, "blocks": 2, "from_block": 0.5},
        "early": {**CLAMP, "blocks": 2, "decisions": EARLY},
        "nothing": {"sae": "topk", "latents": 3, "blocks": 2, "operation": "multiply", "value": 1.0},
        "direction": {**CLAMP, "blocks": 2, "control": "random_direction"},
        "clock": {**CLAMP, "control": "step_matched"},
    },
    "graph": {
        "best": {**CLAMP, "signal": "sr_error"},
        "two": {**CLAMP, "signal": "sr_error", "blocks": 2},
        "partial": {**CLAMP, "signal": "sr", "rank_by": "r_partial"},
        "matched": {**CLAMP, "signal": "sr_error", "control": "matched"},
        "nothing": {"sae": "topk", "signal": "sr", "latents": 2, "operation": "multiply", "value": 1.0},
        "norm": {**CLAMP, "signal": "sr_error_norm", "decisions": EARLY},
    },
}
BY_HAND = [("grid", name) for name in ("best", "two", "later", "early", "clock")] + [
    ("graph", name) for name in ("best", "two", "partial", "norm")
]


@dataclass
class Finished:
    """The record of a finished study, and what tests compute from it by hand."""

    record: Record
    context: Context
    base: Path

    def rows(self, sql: str) -> pd.DataFrame:
        return self.record.query(sql)

    @cached_property
    def games(self) -> list[Game]:
        games = self.context.games(self.context.study.task.variants[0])
        for game in games:
            tell(game)
        return games

    def probabilities(self, intervention: str) -> Floats:
        """As recorded, [R, T, A]; without intervention of the rollouts that are analysed."""
        found = self.rows(
            "SELECT rollout_index, step, action_probabilities FROM v_step "  # noqa: S608
            f"WHERE intervention = '{intervention}' AND rollout_index < {ROLLOUTS} ORDER BY rollout_index, step"
        )
        return np.array([json.loads(p) for p in found.action_probabilities]).reshape(ROLLOUTS, STEPS, -1)

    @cached_property
    def signals(self) -> dict[str, Floats]:
        """Scalars [R, T]; those with a value for every state [R, T, S]."""
        found = self.rows(
            "SELECT rollout_index, step, signal, value FROM v_learning_signal WHERE intervention = 'none'"
        )
        wide = found.pivot(index=["rollout_index", "step"], columns="signal", values="value")
        scalars = {str(name): wide[name].to_numpy().reshape(ROLLOUTS, STEPS) for name in wide}
        histories = [Transitions.from_steps(game.steps) for game in self.games]
        for source in matrix_sources(self.context.study.signals, self.context.task):
            for name in source.describe_matrices():
                scalars[name] = np.stack([source.replay_matrix(history)[name] for history in histories])
        return scalars

    @cached_property
    def saes(self) -> dict[int, Autoencoder]:
        rows = self.rows("SELECT block, blob FROM v_sae WHERE sae = 'topk'")
        return {row.block: from_bytes(self.record.blobs.read(row.blob, "safetensors")) for row in rows.itertuples()}

    def latents(self, intervention: str) -> dict[int, list[int]]:
        rows = self.rows(
            f"SELECT block, latent FROM v_intervention_latent WHERE intervention = '{intervention}'"  # noqa: S608
        )
        return {int(block): sorted(found.latent) for block, found in rows.groupby("block")}

    def effects(self, intervention: str) -> pd.DataFrame:
        return self.rows(f"SELECT * FROM v_intervention_effect WHERE intervention = '{intervention}'")  # noqa: S608

    def read(self, latents: dict[int, list[int]], about: dict[str, Any]) -> tuple[Floats, torch.Tensor]:
        """Probabilities [R, T, A] and stream [R, blocks + 1, T, d] when latents are set by hand, text by text."""
        folder = model_folder(self.base)
        tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModelForCausalLM.from_pretrained(folder).eval()
        word = {"grid_world": " go", "graph_walk": ","}[self.context.study.task.name]
        first, last = about.get("decisions", [0, STEPS - 1])
        chances, streams = [], []
        for game in self.games:
            ids = tokenizer(game.transcript().text, return_tensors="pt").input_ids
            places = [i for i, t in enumerate(ids[0].tolist()) if t == tokenizer.convert_tokens_to_ids(word)]
            edited = places[first : last + 1]
            stream: dict[int, torch.Tensor] = {}

            def visit(block: int, edited: list[int] = edited, places: list[int] = places, into: Any = stream) -> Any:
                def hook(_: Any, __: Any, out: Any) -> None:
                    x = out[0] if isinstance(out, tuple) else out
                    if block in latents:
                        z = self.saes[block].encode(x[0, edited])
                        changed = z.clone()
                        changed[:, latents[block]] = about.get("value", 0.0)
                        x[0, edited] += self.saes[block].decode(changed) - self.saes[block].decode(z)
                    into[block] = x[0, places].clone()

                return hook

            handles = [
                layer.register_forward_hook(visit(block)) for block, layer in enumerate(model.model.layers, start=1)
            ]
            with torch.no_grad():
                logits = model(ids).logits[0, places]
            for handle in handles:
                handle.remove()
            chances.append(logits[:, tokenizer.convert_tokens_to_ids(list(game.actions))].softmax(-1).numpy())
            streams.append(torch.stack([stream[block] for block in range(1, BLOCKS + 1)]))
        return np.array(chances, dtype=np.float64), torch.stack(streams)


def finished(name: str, data: dict[str, Any], factory: pytest.TempPathFactory) -> Iterator[Finished]:
    base = factory.getbasetemp()
    data = copy.deepcopy(data)
    data["task"] |= {"controls": [], "further_rollouts": 0}
    data["correlate"] |= {"controls": []}
    data["intervention"] = [{"name": lesion, **about} for lesion, about in LESIONS[name].items()]
    with fresh_record("sqlite", factory.mktemp(name)) as record:
        wanted = study(base, data)
        run(wanted, record)
        yield Finished(record, context_of(wanted, record), base)


@pytest.fixture(scope="module")
def grid(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Finished]:
    yield from finished("grid", GRID, tmp_path_factory)


@pytest.fixture(scope="module")
def graph(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Finished]:
    yield from finished("graph", GRAPH, tmp_path_factory)


@pytest.fixture
def done(name: str, request: pytest.FixtureRequest) -> Finished:
    found: Finished = request.getfixturevalue(name)
    return found


both = pytest.mark.parametrize("name", ["grid", "graph"])


def pearson(x: Floats, y: Floats) -> float:
    return float(np.corrcoef(x, y)[0, 1]) if np.ptp(x) > 1e-9 and np.ptp(y) > 1e-9 else float("nan")


def of_states(z: Floats, y: Floats) -> Floats:
    """r of every latent with every state's column in one rollout, [L, S]."""
    return np.array([[pearson(latent, column) for column in y.T] for latent in z.T])


def mean_of_highest(r: Floats) -> float:
    """The mean over states of the highest r over latents; what has no r is left out."""
    highest = np.where(np.isnan(r), -np.inf, r).max(0)
    return float(highest[np.isfinite(highest)].mean())


# --- which latents


def test_the_strongest_blocks_and_latents_on_the_selection_half_are_lesioned(grid: Finished) -> None:
    _, stream = grid.read({}, {})
    half = split_halves(np.zeros(ROLLOUTS), seed=GRID["seed"])
    y = grid.signals["td_error"][half].ravel()
    r: dict[int, list[tuple[float, int]]] = {}
    for block in range(1, BLOCKS + 1):
        z = grid.saes[block].encode(stream[half, block - 1]).double().numpy().reshape(len(y), -1)
        r[block] = sorted(((-pearson(x, y), latent) for latent, x in enumerate(z.T) if np.ptp(x) > 0))
    best = {block: [latent for _, latent in found] for block, found in r.items()}
    # there are enough blocks to leave the last one out, but not from the middle of the model on
    assert grid.latents("two") == {block: best[block][:1] for block in (1, 2)}
    assert grid.latents("later") == {block: sorted(best[block][:2]) for block in (2, 3)}
    (strongest,) = grid.latents("best")
    assert grid.latents("best") == {strongest: best[strongest][:1]}
    assert r[strongest][0] == min(r[1][0], r[2][0])
    assert grid.latents("direction") == grid.latents("early") == grid.latents("two")
    rows = grid.rows("SELECT * FROM v_intervention").set_index("intervention")
    for name in LESIONS["grid"]:
        first = min(grid.latents(name))
        assert (rows.block[name], sorted(json.loads(rows.latents[name]))) == (first, grid.latents(name)[first])
    saes = grid.rows(
        "SELECT l.block, c.block AS trained FROM intervention_latent l JOIN sae_checkpoint c ON c.id = l.sae_id"
    )
    assert len(saes) > 7 and (saes.block == saes.trained).all()


def test_of_a_signal_with_a_value_for_every_state_the_mean_over_rollouts_of_the_highest_r_counts(
    graph: Finished,
) -> None:
    _, stream = graph.read({}, {})
    half = split_halves(np.zeros(ROLLOUTS), seed=GRAPH["seed"])
    scores = {}
    for block in (1, 2):
        z = graph.saes[block].encode(stream[:, block - 1]).double().numpy()
        r = [of_states(z[i], graph.signals["sr_error"][i]) for i in np.flatnonzero(half)]
        highest = np.where(np.isnan(r), -np.inf, r).max(2)
        mean = np.where(np.isinf(highest), 0.0, highest).mean(0)
        mean[np.isinf(highest).all(0)] = -np.inf
        scores |= {(block, latent): score for latent, score in enumerate(mean)}
    block, latent = max(scores, key=scores.__getitem__)
    assert graph.latents("best") == {block: [latent]}
    assert set(graph.latents("two")) == {1, 2}
    assert graph.latents("matched").keys() == {block} and graph.latents("matched") != graph.latents("best")


def test_a_step_matched_control_says_what_it_was_matched_on(grid: Finished) -> None:
    (block,) = grid.latents("best")
    (found,) = grid.latents("clock")[block]
    assert found not in grid.latents("best")[block]
    _, stream = grid.read({}, {})
    half = split_halves(np.zeros(ROLLOUTS), seed=GRID["seed"])
    z = grid.saes[block].encode(stream[half, block - 1]).double().numpy().reshape(-1, 32)
    step = np.tile(np.arange(STEPS), half.sum()).astype(np.float64)
    r = [abs(pearson(z[:, latent], step)) for latent in (found, *grid.latents("best")[block])]
    text = grid.rows("SELECT description FROM v_intervention WHERE intervention = 'clock'").description.item()
    alike = "like" if abs(r[0] - r[1]) <= 0.15 else "unlike"
    assert f"|r| with the step {r[0]:.2f}, {alike} {r[1]:.2f} of {grid.latents('best')[block]}" in text


# --- what they do


@pytest.mark.parametrize(("name", "lesion"), BY_HAND)
def test_predictions_are_those_of_latents_changed_by_hand(done: Finished, name: str, lesion: str) -> None:
    chances, _ = done.read(done.latents(lesion), LESIONS[name][lesion])
    np.testing.assert_allclose(done.probabilities(lesion), chances, atol=2e-5)
    intact, _ = done.read({}, {})
    np.testing.assert_allclose(done.probabilities("none"), intact, atol=2e-5)
    assert np.abs(chances - intact).max() > 1e-3


@pytest.mark.parametrize(("name", "lesion"), [("grid", "early"), ("graph", "norm")])
def test_before_an_early_lesion_nothing_changes_to_the_bit(done: Finished, name: str, lesion: str) -> None:
    changed = (done.probabilities(lesion) != done.probabilities("none")).any((0, 2))
    assert not changed[: EARLY[0]].any()
    assert changed[EARLY[0] : EARLY[1] + 1].all() and changed[EARLY[1] + 1 :].any()


@pytest.mark.parametrize(("name", "lesion"), [*BY_HAND, ("grid", "direction"), ("graph", "matched")])
def test_effects_on_predictions_follow_from_the_recorded_rows(done: Finished, name: str, lesion: str) -> None:
    found = done.effects(lesion).set_index("metric")
    found = found[found.effect_block.isna()]
    steps = [step for game in done.games for step in game.steps]
    action = np.array([step.action for step in steps]).reshape(ROLLOUTS, STEPS)
    state = np.array([step.state for step in steps]).reshape(ROLLOUTS, STEPS)
    sides = {"value": done.probabilities(lesion), "baseline": done.probabilities("none")}
    for side, p in sides.items():
        chosen = np.array([[p[i, t, action[i, t]] for t in range(STEPS)] for i in range(ROLLOUTS)])
        wanted = {
            "p_chosen": chosen.mean(),
            "p_chosen_late": chosen[:, -11:].mean(),  # three eighths of 30
            "log_p_chosen": np.log(chosen).mean(),
            "accuracy": (p.argmax(-1) == action).mean(),
        }
        if name == "graph":
            wanted["neighbour_mass"] = (p * ADJACENCY[state]).sum(-1).mean()
        for metric, value in wanted.items():
            assert found[side][metric] == pytest.approx(value), metric
        assert set(found.index) == {*wanted, "choice_shift"}
    shift = np.abs(sides["value"] - sides["baseline"]).sum(-1).mean() / 2
    assert found.value["choice_shift"] == pytest.approx(shift) and shift > 1e-4
    assert (found.ci_low <= found.ci_high).all() and set(found.n_rollouts) == {ROLLOUTS}
    chances = done.rows(f"SELECT avg(p_chosen) AS p FROM v_step WHERE intervention = '{lesion}'")  # noqa: S608
    assert found.value["p_chosen"] == pytest.approx(chances.p.item())


@pytest.mark.parametrize("lesion", ["two", "later", "early"])
def test_correlations_in_later_blocks_are_those_of_the_lesioned_stream(grid: Finished, lesion: str) -> None:
    found = grid.effects(lesion).dropna(subset=["effect_block"]).set_index(["metric", "effect_block"])
    names = ["td_error", *(f"q_{action}" for action in grid.context.task.actions)]
    assert set(found.index) == {(f"max_r_{name}", block) for name in names for block in range(1, BLOCKS + 1)}
    for side, stream in (
        ("value", grid.read(grid.latents(lesion), LESIONS["grid"][lesion])[1]),
        ("baseline", grid.read({}, {})[1]),
    ):
        for block in range(1, BLOCKS + 1):
            z = grid.saes[block].encode(stream[:, block - 1]).double().numpy().reshape(ROLLOUTS * STEPS, -1)
            for name in names:
                wanted = np.nanmax([pearson(x, grid.signals[name].ravel()) for x in z.T])
                assert found[side][f"max_r_{name}", block] == pytest.approx(wanted, abs=1e-3), (block, name)


@pytest.mark.parametrize("lesion", ["best", "norm"])
def test_states_in_later_blocks_are_those_of_the_lesioned_stream(graph: Finished, lesion: str) -> None:
    found = graph.effects(lesion).dropna(subset=["effect_block"]).set_index(["metric", "effect_block"])
    measures = graph.rows(
        f"SELECT * FROM v_block_measure WHERE intervention = '{lesion}'"  # noqa: S608
    ).set_index(["signal", "block"])
    _, stream = graph.read(graph.latents(lesion), LESIONS["graph"][lesion])
    for block in range(1, BLOCKS + 1):
        z = graph.saes[block].encode(stream[:, block - 1]).double().numpy()
        for name in ("sr", "sr_error", "transition", "surprise", "mixing"):
            each = [mean_of_highest(of_states(z[i], graph.signals[name][i])) for i in range(ROLLOUTS)]
            assert found.value[f"max_r_{name}", block] == pytest.approx(np.mean(each), abs=1e-3)
            row = measures.loc[name, block]
            assert row.value == pytest.approx(np.mean(each), abs=1e-3) and row.ci_low < row.value < row.ci_high
            assert (row.source, row.measure, row.sae, row.n_rollouts) == ("sae", "max_r", "topk", ROLLOUTS)
    assert (("max_r_sr_error_norm", 1) in found.index) == (lesion == "norm")
    intact = graph.rows(
        "SELECT block, signal, value FROM v_block_measure "
        "WHERE intervention = 'none' AND source = 'sae' AND measure = 'max_r'"
    ).set_index(["signal", "block"])
    for (signal, block), value in intact.value.items():
        assert found.baseline[f"max_r_{signal}", block] == pytest.approx(value, abs=1e-6)


def test_states_are_mapped_in_the_first_lesioned_block_and_the_next(graph: Finished) -> None:
    rows = graph.rows("SELECT * FROM v_map_point WHERE source = 'stream'").set_index(["intervention", "block", "item"])
    rows = rows.sort_index()
    met = {step.state for step in graph.games[0].steps}
    for lesion in LESIONS["graph"]:
        first = min(graph.latents(lesion))
        assert set(rows.loc[lesion].index.get_level_values("block")) == {first, first + 1}
        for block in (first, first + 1):
            here, intact = rows.loc[lesion, block], rows.loc["none", block]
            assert set(here.index) == met and (here.label == intact.label).all()
            moved = np.hypot(here.x - intact.x, here.y - intact.y).max()
            if lesion == "nothing":
                assert moved < 1e-3
            elif lesion != "norm":  # which is over before most nodes are met for the last time
                assert moved > 1e-4


@both
def test_multiplying_by_one_changes_nothing(done: Finished, name: str) -> None:
    found = done.effects("nothing")
    exact = found[found.effect_block.isna()]
    assert len(exact) == {"grid": 5, "graph": 6}[name] and (exact[["difference", "ci_low", "ci_high"]] == 0).all(
        axis=None
    )
    assert (found[["difference", "ci_low", "ci_high"]].abs() < 1e-6).all(axis=None)
    np.testing.assert_array_equal(done.probabilities("nothing"), done.probabilities("none"))


@both
def test_no_behaviour_is_fitted_and_no_signal_recorded_again(done: Finished, name: str) -> None:
    assert done.rows("SELECT * FROM v_behaviour_fit WHERE policy = 'model'").empty
    assert set(done.rows("SELECT DISTINCT intervention FROM v_learning_signal").intervention) == {"none"}
    steps = done.rows("SELECT intervention, count(*) AS n FROM v_step GROUP BY intervention").set_index("intervention")
    assert set(steps.index) == {"none", *LESIONS[name]} and set(steps.n) == {ROLLOUTS * STEPS}


def test_decisions_beyond_the_end_are_refused_before_anything_runs(grid: Finished) -> None:
    data = copy.deepcopy(GRID) | {"intervention": [{"name": "late", **CLAMP, "decisions": [5, STEPS]}]}
    context = context_of(study(grid.base, data), grid.record)
    with pytest.raises(UserError, match=f"decision {STEPS} is to be edited, but the last one is {STEPS - 1}") as caught:
        plan_study(context)
    assert "intervention.late.decisions" in caught.value.remedy


@pytest.mark.parametrize(
    ("data", "about", "said"),
    [
        (GRAPH, {"signal": "sr_error", "control": "td_minus_q"}, "without it there are no Q-values"),
        (GRAPH, {"signal": "td_error"}, "unknown signal in"),
        (GRID, {"block": 2, "blocks": 2}, "block 2 is given, so blocks and from_block have nothing to choose"),
        (GRID, {"block": 2, "from_block": 0.5}, "nothing to choose"),
        (GRID, {"decisions": [9, 3]}, "the first comes after the last"),
        (GRID, {"from_block": 1.5}, "from_block"),
        (GRID, {"min_r": 1.5}, "min_r"),
    ],
)
def test_what_a_task_does_not_have_is_refused(data: dict[str, Any], about: dict[str, Any], said: str) -> None:
    wrong = copy.deepcopy(data) | {"intervention": [{"name": "wrong", "sae": "topk", **about}]}
    with pytest.raises(UserError, match=said):
        validate(wrong, "study")


def test_a_step_matched_control_needs_the_step() -> None:
    wrong = copy.deepcopy(GRID) | {"intervention": [{"name": "wrong", "sae": "topk", "control": "step_matched"}]}
    wrong["correlate"] |= {"covariates": ["log_step"]}
    with pytest.raises(UserError, match="needs step among the signals and the covariates"):
        validate(wrong, "study")
