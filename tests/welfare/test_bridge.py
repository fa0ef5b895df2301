"""Concept vectors beside latents of a signal: against plain computation, in a world of known answers, in a record."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import kstest
from sqlalchemy import select
from transformers import AutoTokenizer

from jobs import pipeline
from jobs.stages import bridge, concepts, correlate, play, rank, signals, train_in_maze, train_sae
from jobs.stages.bridge import LATENTS, RANKED, SETS, SIGNALS, ranked
from jobs.stages.concepts import final_units, naive_unit
from jobs.study import Study
from jobs.welfare.bridge import OTHERS, STRATUM, Array, Indices, beside, matched_sets, shares, strongest, unit_rows
from jobs.welfare.concept_vectors import read_vectors
from sae.architectures.topk import TopKAutoencoder
from sae.checkpoint import from_bytes
from tdlens.record import Job, Model, Record, SaeCheckpoint
from tdlens.rows import rows
from tests.jobs.small_study import QUICK, context_of, fresh_record, run
from tests.jobs.small_study import study as small_study
from tests.welfare.small_welfare import welfare_llama, welfare_model, welfare_study

D, LIVE, K, DRAWS = 24, 80, 6, 199


@dataclass(frozen=True, eq=False)
class World:
    """Live latents in random directions that fire at random rates and follow nothing but by chance."""

    directions: Array
    frequency: Array
    correlation: Array

    @classmethod
    def random(cls, seed: int, *, live: int = LIVE, d: int = D) -> World:
        rng = np.random.default_rng(seed)
        rows = unit_rows(rng.standard_normal((live, d)))
        return cls(rows, rng.uniform(0.01, 0.9, live), rng.uniform(-1, 1, live))

    def beside(self, vectors: Array, seed: int = 0) -> list[Any]:
        chosen = strongest(self.correlation, K)
        sets = matched_sets(chosen, self.frequency, DRAWS, np.random.default_rng(seed))
        return beside(vectors, self.directions, self.correlation, chosen, sets)


def plain_cosine(vector: Array, world: World, latents: Indices) -> float:
    total = sum(np.sign(world.correlation[latent]) * world.directions[latent] for latent in latents)
    return float(vector @ total / np.linalg.norm(vector) / np.linalg.norm(total))


def plain_share(vector: Array, world: World, latents: Indices) -> float:
    rows = world.directions[latents].T
    fitted = rows @ np.linalg.lstsq(rows, vector, rcond=None)[0]
    return float(fitted @ fitted / (vector @ vector))


@given(st.integers(0, 10**6))
@settings(max_examples=15, deadline=None)
def test_numbers_are_those_of_plain_computation(seed: int) -> None:
    world = World.random(seed)
    vectors = np.random.default_rng((seed, 1)).standard_normal((2, D)) * 5
    chosen = strongest(world.correlation, K)
    assert sorted(chosen) == sorted(sorted(range(LIVE), key=lambda at: -abs(world.correlation[at]))[:K])
    sets = matched_sets(chosen, world.frequency, 40, np.random.default_rng(seed))
    for vector, found in zip(vectors, beside(vectors, world.directions, world.correlation, chosen, sets), strict=True):
        drawn = np.array([plain_cosine(vector, world, one) for one in sets])
        spanned = np.array([plain_share(vector, world, one) for one in sets])
        assert found.cosine == pytest.approx(plain_cosine(vector, world, chosen), abs=1e-12)
        assert found.share == pytest.approx(plain_share(vector, world, chosen), abs=1e-12)
        assert (found.cosine_low, found.cosine_high) == pytest.approx(np.quantile(drawn, [0.025, 0.975]), abs=1e-12)
        assert found.share_high == pytest.approx(np.quantile(spanned, 0.95), abs=1e-12)
        assert found.share_p == (1 + sum(spanned >= found.share)) / 41
        below, above = sum(drawn <= found.cosine), sum(drawn >= found.cosine)
        assert found.cosine_p == min(1.0, 2 * (1 + min(below, above)) / 41)


@given(st.integers(0, 10**6), st.integers(3, 90), st.integers(1, 12))
@settings(max_examples=30, deadline=None)
def test_sets_are_of_latents_that_fire_alike(seed: int, live: int, wanted: int) -> None:
    world = World.random(seed, live=live)
    chosen = strongest(world.correlation, wanted)
    assert len(chosen) == min(wanted, live // (1 + OTHERS)) >= 1
    sets = matched_sets(chosen, world.frequency, 5, np.random.default_rng(seed))
    assert sets.shape == (5, len(chosen))
    assert all(len(set(one)) == len(one) for one in sets.tolist())
    ranks = np.argsort(np.argsort(world.frequency))
    for one in sets:
        apart = np.abs(np.sort(ranks[one]) - np.sort(ranks[chosen]))
        assert (apart < min(live, 2 * STRATUM)).all()
    again = matched_sets(chosen, world.frequency, 5, np.random.default_rng(seed))
    np.testing.assert_array_equal(sets, again)


def test_every_latent_of_a_stratum_is_drawn_alike() -> None:
    frequency, chosen = np.linspace(0.1, 0.9, 3 * STRATUM), np.array([0, 5, 2 * STRATUM])
    sets = matched_sets(chosen, frequency, 4000, np.random.default_rng(0))
    counts = np.bincount(sets.ravel(), minlength=3 * STRATUM).reshape(3, STRATUM)
    assert counts[1].sum() == 0 and counts.sum(1).tolist() == [8000, 0, 4000]
    assert np.abs(counts[0] - 400).max() < 100 and np.abs(counts[2] - 200).max() < 70  # 5 standard deviations


def test_too_few_latents_are_no_set() -> None:
    assert len(strongest(np.array([0.9, -0.2]), 10)) == 0


def test_a_span_of_equal_directions_is_one_direction() -> None:
    row = unit_rows(np.ones((1, 3)))
    rows, sets = np.concatenate([row, row, -row, np.zeros((1, 3))]), np.array([[0, 1, 2], [3, 3, 3]])
    vectors = np.array([[1.0, 0.0, 0.0], [2.0, 2.0, 2.0]])
    np.testing.assert_allclose(shares(vectors, rows, sets), [[1 / 3, 1.0], [0.0, 0.0]], atol=1e-12)


def test_a_vector_made_of_the_signals_latents_is_found_with_its_sign() -> None:
    world = World.random(3)
    chosen = strongest(world.correlation, K)
    rng = np.random.default_rng(4)
    made = (np.sign(world.correlation[chosen]) * rng.uniform(0.5, 1.5, K)) @ world.directions[chosen]
    noisy = made + 0.3 * np.linalg.norm(made) * unit_rows(rng.standard_normal((1, D)))[0]
    for vector, sign in ((noisy, 1), (-noisy, -1)):
        (found,) = world.beside(vector[None])
        assert sign * found.cosine > 0.6 and abs(found.cosine) > max(found.cosine_high, -found.cosine_low)
        assert found.cosine_p == 2 / (DRAWS + 1) and found.share_p == 1 / (DRAWS + 1)
        assert found.share > 0.85 > found.share_high


def test_signs_that_are_mixed_up_hide_the_direction_but_not_the_span() -> None:
    world = World.random(3)
    chosen = strongest(world.correlation, K)
    mixed = np.sign(world.correlation[chosen]) * np.array([1, -1] * (K // 2))
    (found,) = world.beside((mixed @ world.directions[chosen])[None])
    assert found.share == pytest.approx(1) and found.share_p == 1 / (DRAWS + 1)
    assert abs(found.cosine) < 0.5


def test_of_random_vectors_as_many_are_found_as_the_level_says() -> None:
    ps = []
    for seed in range(150):
        vector = np.random.default_rng((seed, 7)).standard_normal((1, D))
        world = World.random(seed)
        chosen = strongest(world.correlation, K)
        sets = matched_sets(chosen, world.frequency, 99, np.random.default_rng(seed))
        (found,) = beside(vector, world.directions, world.correlation, chosen, sets)
        ps.append((found.cosine_p, found.share_p))
    for p in np.array(ps).T:
        assert kstest(p, "uniform").pvalue > 0.01
        assert (p <= 0.05).mean() < 0.1  # 3 standard deviations


def test_what_all_latents_of_a_firing_rate_share_is_not_found() -> None:
    """Busy latents have a direction of their own in common, and the signal's are all busy."""
    rng, common = np.random.default_rng(5), np.eye(D)[0]
    busy = np.arange(LIVE) < LIVE // 2
    rows = unit_rows(rng.standard_normal((LIVE, D)) * 0.3 + np.where(busy[:, None], common, 0.0))
    frequency = np.where(busy, rng.uniform(0.4, 0.6, LIVE), rng.uniform(0.001, 0.002, LIVE))
    correlation = np.where(np.arange(LIVE) < K, 0.9, 0.1)
    world = World(rows, frequency, correlation)
    (found,) = world.beside(common[None])
    assert found.cosine > 0.8 and found.cosine_p > 0.05 and found.share_p > 0.05
    anything = np.random.default_rng(6).permuted(np.tile(np.arange(LIVE), (DRAWS, 1)), axis=1)[:, :K]
    (found,) = beside(common[None], rows, correlation, np.arange(K), anything)
    assert found.cosine_p < 0.05  # as it would be without regard to the rate


def test_latents_are_ranked_by_the_first_correlation_that_is_known() -> None:
    columns: dict[str, Any] = {"signal": ["td_error"] * 4 + ["step"], "latent": [7, 2, 5, 4, 1]}
    columns |= {"frequency": [0.5, 0.1, 0.0, 0.3, 0.9], "r": [0.1, 0.2, 0.3, np.nan, 0.5]}
    columns |= {"r_partial": np.nan, "r_partial_selection": np.nan, "r_selection": [0.4, np.nan, 0.6, 0.7, 0.8]}
    matrix = pd.DataFrame(columns)
    assert ranked(matrix, "td_error")[["latent", "ranked"]].values.tolist() == [[7, 0.4]]
    matrix["r_partial_selection"] = [-0.3, 0.2, 0.1, 0.1, np.nan]
    assert ranked(matrix, "td_error")[["latent", "ranked"]].values.tolist() == [[2, 0.2], [7, -0.3]]
    del matrix["r_partial_selection"], matrix["r_selection"]
    assert ranked(matrix, "td_error")["ranked"].to_list() == [0.2, 0.1]
    assert RANKED[-1] == "r"


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("bridge")


@pytest.fixture(autouse=True, scope="module")
def these_stages_alone() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pipeline, "OF_TRAINING", (train_in_maze, concepts, bridge))
        patch.setattr(pipeline, "OF_PLAY", (play, signals, train_sae, correlate, rank))
        yield


def model_of_both(base: Path) -> Path:
    """The small model of the maze, which also knows the two actions of the Two-Step task as tokens."""
    folder = base / "of-both"
    if not folder.exists():
        tokenizer = AutoTokenizer.from_pretrained(welfare_model(base))
        tokenizer.add_tokens([" left", " right"])
        model = welfare_llama()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(1)
            model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
    return folder


def two_step(base: Path, **changes: Any) -> Study:
    """A study of TD errors in the model that the maze trains."""
    data = copy.deepcopy(QUICK)
    data["task"] |= {"variants": ["standard"], "settings": {"episodes": 5, "random_episodes": 1}, "rollouts": 4}
    data["correlate"]["permutations"] = 19
    data["sae"] = [
        {"name": "topk", "architecture": "topk", "expansion": 2, "epochs": 2, "lr": 0.01, "batch_size": 16}
        | {"options": {"k": 8, "centre": True}}
    ]
    data["capture"] = {"blocks": [1, 2]}
    return small_study(base, data, **({"model": {"name": str(model_of_both(base))}} | changes))


def maze(base: Path) -> Study:
    training = {"name": "first", "steps": 1, "mazes": 2, "rollouts": 4, "lora_rank": 0}
    return welfare_study(base, model={"name": str(model_of_both(base))}, training=[training])


@pytest.fixture(scope="module")
def finished(base: Path) -> Iterator[Record]:
    with fresh_record("sqlite", base / "home") as record:
        assert run(two_step(base), record).computed > 0
        assert run(maze(base), record).computed == 4
        yield record


def test_without_a_study_of_the_model_there_is_nothing_to_compare(base: Path, tmp_path: Path) -> None:
    with fresh_record("sqlite", tmp_path) as record:
        plan = pipeline.plan_study(context_of(maze(base), record))
        assert final_units(plan) and plan.of(bridge.NAME) == []


def test_rows_are_those_of_plain_computation(base: Path, finished: Record) -> None:
    context = context_of(maze(base), finished)
    plan = pipeline.plan_study(context)
    final = final_units(plan)["first"]
    with finished.session(read_only=True) as session:
        context.remember({identity: job for identity, job in session.execute(select(Job.identity, Job.id))})
        saes = {sae.block: (sae.id, sae.blob) for sae in session.scalars(select(SaeCheckpoint))}
    vectors = {"": read_vectors(context, final), "untrained ": read_vectors(context, naive_unit(final))}
    latents, sets = finished.query("SELECT * FROM v_concept_latent"), finished.query("SELECT * FROM v_concept_signal")
    assert set(sets.training) == {"first"} and set(sets.sae) == {"topk"} and set(sets.study) == {"small-welfare"}
    assert set(sets.signal) == {"td_error", "q_chosen"} and set(sets.block) == {1, 2}  # q_max isn't recorded there
    assert len(sets) == 4 * 2 * 2
    recorded = rows(finished.query("SELECT * FROM v_correlation WHERE source = 'sae'"))
    known = {(one.block, one.signal, one.latent): (one.r, one.r_partial) for one in recorded}
    ranks = {(b, name): selected(finished, b, name) for b in (1, 2) for name in set(sets.signal)}
    coders = {b: from_bytes(finished.blobs.verified(blob, "safetensors").read_bytes()) for b, (_, blob) in saes.items()}
    for row in rows(sets):
        mine = latents[(latents.block == row.block) & (latents.signal == row.signal) & (latents.concept == row.concept)]
        assert len(mine) == row.n_latents
        sae, rank_of = coders[row.block], ranks[row.block, row.signal]
        assert isinstance(sae, TopKAutoencoder)
        before, concept = ("untrained ", row.concept[10:]) if row.concept.startswith("untrained") else ("", row.concept)
        vector = vectors[before].of(concept)[row.block].double()
        unit_vector = vector / vector.norm()
        total = torch.zeros_like(vector)
        spanned = []
        for one in rows(mine):
            direction = sae.decoder_rows()[one.latent].double()
            direction = direction / direction.norm()
            spanned.append(direction.numpy())
            assert one.cosine == pytest.approx(float(direction @ unit_vector), abs=1e-6)
            at = torch.zeros(len(vector))
            read = sae.activations(sae.scaled(at + unit_vector.float())) - sae.activations(sae.scaled(at))
            assert one.activation == pytest.approx(float(read[one.latent]), abs=1e-4)
            assert (one.r, one.r_partial) == known[row.block, row.signal, one.latent]
            total += np.sign(rank_of[one.latent]) * direction
        assert row.cosine == pytest.approx(float(total @ unit_vector / total.norm()), abs=1e-6)
        span = np.stack(spanned).T
        fitted = span @ np.linalg.lstsq(span, unit_vector.numpy(), rcond=None)[0]
        assert row.share == pytest.approx(float(fitted @ fitted), abs=1e-6)
        assert row.cosine_low < row.cosine_high and 1 / (SETS + 1) <= row.share_p <= 1 and 0 < row.cosine_p <= 1
        # the chosen ones are those that follow the signal best on the half that chooses
        best = rank_of.abs().sort_values(ascending=False, kind="stable")
        assert set(mine.latent) == set(best.index[: row.n_latents]) and row.n_latents <= LATENTS


def selected(record: Record, block: int, signal: str) -> pd.Series[float]:
    """Each latent's correlation given the covariates, on the half that chooses."""
    sql = "SELECT DISTINCT blob FROM v_coverage WHERE source = 'sae' AND block = :block"
    (blob,) = record.query(sql, {"block": block}).blob
    table = record.blobs.load_table(blob)
    table = table[(table.signal == signal) & (table.frequency > 0)].sort_values("latent")
    series: pd.Series[float] = table.set_index("latent")["r_partial_selection"].dropna()
    return series


def test_its_identity_follows_from_what_was_found(base: Path, finished: Record) -> None:
    (unit,) = pipeline.plan_study(context_of(maze(base), finished)).of(bridge.NAME)
    ranks = finished.query("SELECT identity FROM v_job WHERE stage = 'rank' ORDER BY identity").identity
    assert unit.config["analyses"] == ranks.to_list() and unit.config["signals"] == list(SIGNALS)
    assert run(maze(base), finished).computed == 0  # the same again
    with finished.session() as session:
        for job in session.scalars(select(Job).where(Job.stage == "rank")):
            job.state = "failed"
    assert pipeline.plan_study(context_of(maze(base), finished)).of(bridge.NAME) == []
    with finished.session() as session:
        for job in session.scalars(select(Job).where(Job.stage == "rank")):
            job.state = "done"


def test_another_models_latents_are_none_of_its_own(base: Path, finished: Record) -> None:
    with finished.session() as session:
        models = finished.query("SELECT DISTINCT model FROM v_sae").model.to_list()
        assert len(models) == 1
        model = session.scalars(select(Model).where(Model.name == models[0])).one()
        own, model.fingerprint = model.fingerprint, "another"
    assert pipeline.plan_study(context_of(maze(base), finished)).of(bridge.NAME) == []
    with finished.session() as session:
        session.scalars(select(Model).where(Model.fingerprint == "another")).one().fingerprint = own
