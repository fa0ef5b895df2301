"""Measures of whole blocks and maps of states, on a small walk: rows against plain computation from other rows."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import scipy.stats
import torch
from numpy.typing import NDArray
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC

from envs.agents import Transitions
from envs.game import Step
from envs.graph_walk import BOTTLENECKS, GraphWalk, GraphWalkConfig
from jobs.learners import matrix_sources
from jobs.pipeline import plan_study
from jobs.state_measures import LARGEST, Design, Followed, Structure
from sae.checkpoint import from_bytes
from sae.permutation_null import rollout_permutations
from sae.rollout_statistics import split_halves
from tdlens.record import Record
from tests.jobs.forced_study import GRAPH, GRID, ROLLOUTS, STEPS, WIDTH, study
from tests.jobs.small_study import context_of, fresh_record, run

Floats = NDArray[np.float64]
N, BLOCKS = 15, (1, 3)
SIGNALS = ("sr", "sr_error", "transition", "surprise", "mixing")
COVARIATES = ("step", "log_step")
MEASURES = ("max_r", "max_r_partial", "max_r_given_states")
WALK: dict[str, Any] = copy.deepcopy(GRAPH) | {
    "capture": {"blocks": list(BLOCKS)},
    "correlate": {"permutations": 39, "controls": ["raw", "untrained", "shuffled"]},
}
WALK["task"]["further_rollouts"] = 0


@dataclass
class Finished:
    """The record of the finished study, and what tests compute from it by hand."""

    record: Record
    base: Path

    def rows(self, sql: str) -> pd.DataFrame:
        return self.record.query(sql)

    @cached_property
    def measures(self) -> pd.DataFrame:
        keys = ["source", "measure", "signal", "block"]
        return self.rows("SELECT * FROM v_block_measure").set_index(keys).sort_index()

    @cached_property
    def play(self) -> list[pd.DataFrame]:
        columns = "rollout_index, episode, state, action, reward, next_state, done, forced"
        found = self.rows(f"SELECT {columns} FROM v_step ORDER BY rollout_index, step")  # noqa: S608
        return [rows.drop(columns="rollout_index") for _, rows in found.groupby("rollout_index")]

    @cached_property
    def signals(self) -> dict[str, Floats]:
        """What the agents know of every state, [R, T, S]."""
        wanted = study(self.base, WALK)
        histories = [Transitions.from_steps(Step(*row) for row in rows.itertuples(index=False)) for rows in self.play]
        found = {}
        for source in matrix_sources(wanted.signals, context_of(wanted, self.record).task):
            for name in source.describe_matrices():
                found[name] = np.stack([source.replay_matrix(history)[name] for history in histories])
        return found

    @cached_property
    def covariates(self) -> Floats:
        names = "', '".join(COVARIATES)
        found = self.rows(f"SELECT * FROM v_learning_signal WHERE signal IN ('{names}')")  # noqa: S608
        wide = found.pivot(index=["rollout_index", "step"], columns="signal", values="value").sort_index()
        return wide[list(COVARIATES)].to_numpy().reshape(ROLLOUTS, STEPS, 2)

    def stream(self, block: int, untrained: bool = False) -> torch.Tensor:
        shards = self.rows(f"SELECT * FROM v_activation_shard WHERE block = {block} ORDER BY first_row")  # noqa: S608
        shards = shards[shards.model.str.endswith("-untrained") == untrained]
        parts = [self.record.blobs.load_tensors(blob) for blob in shards.blob]
        return torch.cat([part["activations"] + part["mean"] for part in parts]).view(ROLLOUTS, STEPS, WIDTH)

    def features(self, source: str, block: int) -> Floats:
        x = self.stream(block, source == "untrained")
        if source == "sae":
            blob = self.rows(f"SELECT blob FROM v_sae WHERE block = {block}").blob.item()  # noqa: S608
            x = from_bytes(self.record.blobs.read(blob, "safetensors")).encode(x.flatten(0, 1)).view(*x.shape[:2], -1)
        return x.double().numpy()


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Finished]:
    base = tmp_path_factory.getbasetemp()
    with fresh_record("sqlite", tmp_path_factory.mktemp("represent")) as record:
        run(study(base, WALK), record)
        yield Finished(record, base)


def residual(values: Floats, covariates: Floats | None) -> Floats:
    if covariates is None:
        return values
    design = np.column_stack([np.ones(len(values)), covariates])
    return values - design @ np.linalg.lstsq(design, values, rcond=None)[0]


def correlations(x: Floats, y: Floats, given: tuple[Floats, Floats] | None = None) -> Floats:
    """r of features [T, L] with states [T, S]; NaN where either does not vary.

    Each is freed of its own covariates, states then of the features', too.
    """
    of_x, of_y = given or (None, None)
    u, v = residual(x, of_x), residual(residual(y, of_y), of_x)
    with np.errstate(invalid="ignore", divide="ignore"):
        r = np.corrcoef(u, v, rowvar=False)[: x.shape[1], x.shape[1] :]
    varies = [np.ptp(left, axis=0) > 1e-6 * np.ptp(whole, axis=0) for left, whole in ((u, x), (v, y))]
    r[~np.outer(*varies)] = np.nan
    return r


def mean_of_largest(r: Floats) -> float:
    known = ~np.isnan(r).all(0)
    return float(np.nanmax(r[:, known], axis=0).mean())


def interval(values: Floats) -> tuple[float, float, float]:
    low, high = scipy.stats.t.interval(0.95, len(values) - 1, values.mean(), scipy.stats.sem(values))
    return float(values.mean()), float(low), float(high)


def shown(row: pd.Series) -> tuple[float, float, float]:
    return row["value"], row.ci_low, row.ci_high


def last(x: Floats, states: NDArray[np.int64]) -> Floats:
    """Of one rollout, each state's row when it was met last."""
    rows = np.full((N, x.shape[1]), np.nan)
    for t, state in enumerate(states):
        rows[state] = x[t]
    return rows


def test_every_source_block_and_signal_is_measured_once(done: Finished) -> None:
    found = done.measures
    assert not found.index.duplicated().any()
    sources = {"sae", "shuffled", "raw", "untrained"}
    largest = {(s, m, k, b) for s in sources for m in MEASURES for k in SIGNALS for b in BLOCKS}
    assert MEASURES == LARGEST
    structure = [("cka", name) for name in SIGNALS] + [("similarity", name) for name in ("sr", "transition")]
    structure += [("decoding", "bottleneck"), ("contrast", "community")]
    assert set(found.index) == largest | {
        (source, *one, block) for source in ("stream", "untrained") for one in structure for block in BLOCKS
    }
    assert set(found.loc[["sae", "shuffled"]].sae) == {"topk"} and found.loc[["raw", "stream"]].sae.isna().all()
    assert found.loc["untrained"].model.str.endswith("-untrained").all()
    assert not found.loc[["sae", "raw", "stream"]].model.str.endswith("-untrained").any()
    assert set(found.intervention) == {"none"} and set(found.task) == {"graph_walk"} and set(found.n_rollouts) == {6}


@pytest.mark.parametrize("source", ["sae", "raw", "untrained"])
@pytest.mark.parametrize("measure", MEASURES)
@pytest.mark.parametrize("signal", ["sr_error", "transition"])
def test_the_largest_r_and_its_null_and_shuffled_control(
    done: Finished, source: str, measure: str, signal: str
) -> None:
    y, covariates, means = done.signals[signal], done.covariates, []
    if measure == "max_r_given_states":
        states = np.eye(N)[[rows.state for rows in done.play]]
        before = np.stack([np.vstack([np.zeros(N), one[:-1]]) for one in states])
        covariates = np.concatenate([covariates, states, before], axis=2)
    order = [np.arange(ROLLOUTS), *rollout_permutations(np.zeros(ROLLOUTS), 39, seed=WALK["seed"])]
    for block in BLOCKS:
        x = done.features(source, block)
        pairs = np.empty((ROLLOUTS, ROLLOUTS))
        for i, j in np.ndindex(pairs.shape):
            given = (covariates[i], covariates[j]) if measure != "max_r" else None
            pairs[i, j] = mean_of_largest(correlations(x[i], y[j], given))
        row = done.measures.loc[source, measure, signal, block]
        assert shown(row) == pytest.approx(interval(pairs.diagonal()), abs=1e-5)
        if source == "sae":
            others = (pairs.sum(1) - pairs.diagonal()) / (ROLLOUTS - 1)
            shuffled = done.measures.loc["shuffled", measure, signal, block]
            assert shown(shuffled) == pytest.approx(interval(others), abs=1e-5)
        means.append([np.mean([pairs[i, p[i]] for i in range(ROLLOUTS)]) for p in order])
        assert row.null_mean == pytest.approx(np.mean(means[-1]), abs=1e-5)
    under_null = np.array(means)  # [blocks, permutations], the true order among them
    z = (under_null - under_null.mean(1, keepdims=True)) / under_null.std(1, keepdims=True)
    threshold = np.sort(z.max(0))[-3]  # of 40 the largest two are 5 %
    for block, of_block in zip(BLOCKS, under_null, strict=True):
        expected = of_block.mean() + threshold * of_block.std()
        assert done.measures.loc[source, measure, signal, block].null_threshold == pytest.approx(expected, abs=1e-5)


def test_cka_of_each_rollout(done: Finished) -> None:
    for source, signal in (("stream", "sr"), ("untrained", "surprise")):
        x, y = done.stream(3, source == "untrained").double().numpy(), done.signals[signal]
        x, y = x - x.mean(1, keepdims=True), y - y.mean(1, keepdims=True)
        values = [
            ((b.T @ a) ** 2).sum() / np.sqrt(((a.T @ a) ** 2).sum() * ((b.T @ b) ** 2).sum())
            for a, b in zip(x, y, strict=True)
        ]
        row = done.measures.loc[source, "cka", signal, 3]
        assert shown(row) == pytest.approx(interval(np.array(values)), abs=1e-5)


def test_similar_states_are_near_each_other(done: Finished) -> None:
    x, above = done.stream(3).double().numpy(), np.triu_indices(N, 1)
    similarity, contrast = [], []
    for one, rows, sr in zip(x, done.play, done.signals["sr"], strict=True):
        centred = one - one.mean(0)
        met = [state for state in range(N) if (rows.state == state).any()]
        means = np.array([centred[rows.state == state].mean(0) for state in met])
        cosines = np.full((N, N), np.nan)
        lengths = np.linalg.norm(means, axis=1)
        cosines[np.ix_(met, met)] = means @ means.T / np.outer(lengths, lengths)
        nearness = last(sr, rows.state.to_numpy())
        both = np.isfinite(cosines[above])
        pairs = (nearness + nearness.T)[above][both]
        similarity.append(scipy.stats.spearmanr(cosines[above][both], pairs).statistic)
        same = (above[0] // 5 == above[1] // 5)[both]
        contrast.append(cosines[above][both][same].mean() - cosines[above][both][~same].mean())
    for measure, signal, values in (("similarity", "sr", similarity), ("contrast", "community", contrast)):
        row = done.measures.loc["stream", measure, signal, 3]
        assert shown(row) == pytest.approx(interval(np.array(values)), abs=1e-4)
        assert abs(row.null_mean) < 0.1 < row.null_threshold


def test_bottlenecks_are_decoded_from_rollouts_that_were_not_trained_on(done: Finished) -> None:
    x = done.stream(1).double().numpy()
    rows = np.stack([last(one, play.state.to_numpy()) for one, play in zip(x, done.play, strict=True)])
    labels = np.isin(np.arange(N), BOTTLENECKS)
    met = np.isfinite(rows).all(2)
    accuracy = []
    for i in range(ROLLOUTS):
        others = [(rows[j][met[j]], labels[met[j]]) for j in range(ROLLOUTS) if j != i]
        machine = make_pipeline(StandardScaler(), LinearSVC(class_weight="balanced", dual=False))
        machine.fit(np.concatenate([a for a, _ in others]), np.concatenate([b for _, b in others]))
        right = machine.predict(rows[i][met[i]]) == labels[met[i]]
        accuracy.append(np.mean([right[labels[met[i]] == label].mean() for label in (True, False)]))
    row = done.measures.loc["stream", "decoding", "bottleneck", 1]
    assert shown(row) == pytest.approx(interval(np.array(accuracy)), abs=1e-6)
    assert row.null_mean == pytest.approx(0.5, abs=0.05) and row.null_threshold > 0.5


def test_maps_show_the_first_walks_states_by_their_words(done: Finished) -> None:
    points = done.rows("SELECT * FROM v_map_point ORDER BY item")
    met = sorted(set(done.play[0].state))
    words = context_of(study(done.base, WALK), done.record).task_settings["words"]
    game = GraphWalk(GraphWalkConfig(steps=STEPS, words=words), WALK["seed"] * 100_000)
    maps = {key: rows for key, rows in points.groupby(["source", "block"], dropna=False)}
    assert len(maps) == 1 + 2 * len(BLOCKS)
    for rows in maps.values():
        assert rows.item.tolist() == met
        assert rows.label.tolist() == [game.words[state] for state in met]
        assert rows.grp.tolist() == [state // 5 for state in met]
    assert set(points.method) == {"mds"} and set(points.rollout_index) == {0}
    signal = next(rows for (source, _), rows in maps.items() if source == "sr")
    assert signal.block.isna().all()
    rows = done.play[0].state.to_numpy()
    for (source, block), found in maps.items():
        x = done.signals["sr"][0] if source == "sr" else done.stream(int(block), source == "untrained")[0].numpy()
        shown_distances = scipy.spatial.distance.pdist(found[["x", "y"]])
        wanted = scipy.spatial.distance.pdist(last(np.asarray(x, np.float64), rows)[met], "cosine")
        # most states' rows of a short walk's SR are at right angles, which no plane can show
        assert np.corrcoef(shown_distances, wanted)[0, 1] > (0.3 if source == "sr" else 0.7), (source, block)
        # turned onto the signal's map: no rotation brings it closer
        a, b = (one[["x", "y"]].to_numpy() for one in (found, signal))
        np.testing.assert_allclose(a.mean(0), b.mean(0), atol=1e-9)
        cross = (a - a.mean(0)).T @ (b - b.mean(0))
        assert np.trace(cross) == pytest.approx(np.linalg.svd(cross, compute_uv=False).sum())


def test_each_latents_correlation_is_kept_for_choosing_some(done: Finished) -> None:
    blob = done.rows(
        "SELECT a.blob FROM artifact a JOIN job j ON j.id = a.job_id WHERE j.stage = 'represent' AND a.name = 'matrix'"
    ).blob.item()
    table = done.record.blobs.load_table(blob).set_index(["block", "signal", "latent"]).sort_index()
    halves = {"": np.ones(ROLLOUTS, bool), "_selection": split_halves(np.zeros(ROLLOUTS), seed=WALK["seed"])}
    halves["_heldout"] = ~halves["_selection"]
    x, y = done.features("sae", 3), done.signals["sr_error"]
    live = np.flatnonzero(np.ptp(x, axis=(0, 1)) > 0)
    assert table.loc[3, "sr_error"].index.tolist() == live.tolist()
    assert set(table.index.unique("signal")) == set(SIGNALS) and set(table.index.unique("block")) == set(BLOCKS)
    for kind in ("r", "r_partial"):
        given = [(c, c) if kind == "r_partial" else None for c in done.covariates]
        r = np.stack([correlations(*one) for one in zip(x[..., live], y, given, strict=True)])
        best = np.where(np.isnan(r), -np.inf, r).max(2)
        for half, rollouts in halves.items():
            known = np.isfinite(best[rollouts])
            expected = np.where(known.any(0), np.where(known, best[rollouts], 0).mean(0), np.nan)
            np.testing.assert_allclose(table.loc[3, "sr_error"][f"{kind}{half}"], expected, atol=1e-5)
        following = np.stack(
            [correlations(*one) for one in zip(x[..., live], np.roll(y, -1, axis=0), given, strict=True)]
        )
        best = np.where(np.isnan(following), -np.inf, following).max(2)[halves["_selection"]]
        chance = np.where(np.isfinite(best).any(0), np.where(np.isfinite(best), best, 0).mean(0), np.nan)
        np.testing.assert_allclose(table.loc[3, "sr_error"][f"{kind}_chance_selection"], chance, atol=1e-5)
    np.testing.assert_allclose(table.loc[3, "sr"].frequency, (x[..., live] > 0).mean((0, 1)))


def test_rollouts_that_the_null_pairs_come_in_groups(done: Finished, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jobs.state_measures.PAIRED", 4)
    context = context_of(study(done.base, WALK), done.record)
    jobs = done.rows("SELECT identity, id FROM job")
    context.remember(dict(zip(jobs.identity, jobs.id.tolist(), strict=True)))
    design = Design(context, plan_study(context).of("represent")[0])
    assert [design.group_from(rollout) for rollout in range(ROLLOUTS)] == [
        slice(0, 4), None, None, None, slice(4, 6), None
    ]  # fmt: skip
    x = torch.from_numpy(done.features("sae", 3)).float()
    followed = Followed(design, pd.DataFrame({"latent": range(x.shape[2])}), scored=True)
    structure = Structure(design)
    for rollout, features in enumerate(x):
        followed.add(rollout, features)
        structure.add(rollout, done.stream(3)[rollout])
    within = (np.arange(ROLLOUTS) < 4) == (np.arange(ROLLOUTS) < 4)[:, None]
    one = next(m for m in followed.measurements() if (m.measure, m.signal) == ("max_r_partial", "sr_error"))
    y, covariates = done.signals["sr_error"], done.covariates
    pairs = np.full((ROLLOUTS, ROLLOUTS), np.nan)
    for i, j in np.argwhere(within):
        r = correlations(x[i].double().numpy(), y[j], (covariates[i], covariates[j]))
        pairs[i, j] = mean_of_largest(r)
    np.testing.assert_allclose(one.values, pairs.diagonal(), atol=1e-5)
    np.fill_diagonal(pairs, np.nan)
    assert one.shuffled is not None
    np.testing.assert_allclose(one.shuffled, np.nanmean(pairs, axis=1), atol=1e-5)
    whole = done.measures.loc["stream", "cka", "sr", 3]
    cka = next(m for m in structure.measurements() if (m.measure, m.signal) == ("cka", "sr"))
    assert cka.values.mean() == pytest.approx(whole["value"], abs=1e-6)  # of a rollout with itself: groups don't matter


def test_a_task_without_such_signals_has_no_such_stage(done: Finished) -> None:
    plan = plan_study(context_of(study(done.base, GRID), done.record))
    assert plan.of("rank") and not plan.of("represent")
