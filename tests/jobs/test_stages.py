"""Every stage of one small study on both databases: its rows against plain computation from other rows."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from sqlalchemy import select

from envs import TASKS
from envs.agents import Myopic, QLearning, QLearningConfig, Transitions, signal_sources
from envs.game import Step
from jobs.context import Context
from jobs.effects import resamples
from jobs.inference.models import load_engine
from jobs.inference.play import play
from jobs.interventions import later_blocks
from jobs.interventions.edits import edits_of
from jobs.pipeline import plan_study
from jobs.published import curve
from jobs.reading import read_rollouts
from jobs.selection import Selection
from jobs.stage import Unit
from jobs.stages.correlate import autoencoder_of
from sae.autoencoder import Autoencoder
from sae.checkpoint import from_bytes
from sae.metrics import evaluate
from sae.permutation_null import rollout_permutations
from sae.rollout_statistics import split_halves
from tdlens.record import Job, Record
from tests.jobs.small_study import (
    BLOCKS,
    COVARIATES,
    CUTOFF,
    EPISODES,
    FORCED,
    ROLLOUTS,
    SIGNALS,
    TOP,
    VARIANTS,
    WHOLE,
    WIDTH,
    context_of,
    fresh_record,
    model_folder,
    run,
    study,
)

T = 2 * EPISODES
SAES = {"paper", "topk"}
STRATA = np.repeat([0, 1], ROLLOUTS)


@dataclass
class Finished:
    """The record of the finished study, and what tests read from it again and again."""

    record: Record
    base: Path

    def rows(self, sql: str) -> pd.DataFrame:
        return self.record.query(sql)

    @cached_property
    def play(self) -> pd.DataFrame:
        """Decisions without intervention; variants in the study's order."""
        found = self.rows(
            "SELECT variant, rollout, rollout_index, episode, step, state, action, reward, next_state, done, forced, "
            "p_chosen, token_position FROM v_step WHERE policy = 'model' AND intervention = 'none'"
        )
        found["variant"] = pd.Categorical(found.variant, VARIANTS)
        return found.sort_values(["variant", "rollout_index", "step"], ignore_index=True)

    @cached_property
    def signals(self) -> pd.DataFrame:
        """Signals by name, in the rows of ``play``."""
        found = self.rows(
            "SELECT rollout, step, signal, value FROM v_learning_signal "
            "WHERE policy = 'model' AND intervention = 'none'"
        )
        wide = found.pivot(index=["rollout", "step"], columns="signal", values="value")
        return wide.loc[list(zip(self.play.rollout, self.play.step, strict=True))].reset_index(drop=True)

    def activations(self, block: int, untrained: bool = False) -> torch.Tensor:
        """The stream of one block in the rows of ``play``, read from the shards by hand."""
        shards = self.rows(f"SELECT * FROM v_activation_shard WHERE block = {block}")  # noqa: S608
        shards = shards[shards.model.str.endswith("-untrained") == untrained]
        steps = self.rows(
            'SELECT c.capture_id AS capture, c.row AS place, s.rollout_id AS rollout, s."index" AS step '
            "FROM capture_row c JOIN step s ON s.id = c.step_id"
        )
        found = {}
        for shard in shards.itertuples():
            tensors = self.record.blobs.load_tensors(shard.blob)
            x = tensors["activations"] + tensors["mean"]
            places = range(shard.first_row, shard.first_row + shard.n_rows)
            for row in steps[(steps.capture == shard.capture) & steps.place.isin(places)].itertuples():
                found[row.rollout, row.step] = x[row.place - shard.first_row]
        return torch.stack([found[key] for key in zip(self.play.rollout, self.play.step, strict=True)])

    def sae(self, name: str, block: int) -> Autoencoder:
        blob = self.rows(f"SELECT blob FROM v_sae WHERE sae = '{name}' AND block = {block}").blob.item()  # noqa: S608
        return from_bytes(self.record.blobs.read(blob, "safetensors"))

    def features(self, source: str, sae: str | None, block: int) -> np.ndarray:
        """What a source of correlations is made of, [N, F]."""
        x = self.activations(block)
        if source in ("sae", "shuffled"):
            return self.sae(sae or "paper", block).encode(x).double().numpy()
        return x.double().numpy()


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def done(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Finished]:
    base = tmp_path_factory.getbasetemp()
    with fresh_record(request.param, tmp_path_factory.mktemp(request.param)) as record:
        run(study(base, WHOLE), record)
        yield Finished(record, base)


def correlation(x: np.ndarray, y: np.ndarray) -> float:
    return float(np.corrcoef(x, y)[0, 1]) if np.ptp(x) > 0 else float("nan")


def rest(x: np.ndarray, covariates: np.ndarray) -> np.ndarray:
    """What least squares on the covariates leaves."""
    design = np.column_stack([np.ones(len(x)), covariates])
    return x - design @ np.linalg.lstsq(design, x, rcond=None)[0]


# --- play


def test_play_is_a_whole_study_of_choices(done: Finished) -> None:
    assert len(done.play) == len(VARIANTS) * ROLLOUTS * T
    assert (done.play.forced.astype(bool) == (done.play.episode < FORCED)).all()
    assert done.play.p_chosen.between(0, 1).all()
    own = done.play[done.play.episode >= FORCED]
    assert 0.2 < own.action.mean() < 0.8 and own.p_chosen.nunique() > 50


def test_every_token_position_decodes_to_the_decision_word(done: Finished) -> None:
    tokenizer = load_engine(str(model_folder(done.base))).tokenizer
    for rollout, transcript in done.rows("SELECT id, transcript FROM rollout WHERE policy = 'model'").itertuples(
        index=False
    ):
        ids = tokenizer(transcript)["input_ids"]
        steps = done.rows(
            f"SELECT token_position, action FROM v_step WHERE rollout = {rollout} ORDER BY step"  # noqa: S608
        )
        assert len(steps) == T and steps.token_position.is_monotonic_increasing
        for place, action in steps.itertuples(index=False):
            assert tokenizer.decode([ids[place]]) == " pick"
            assert tokenizer.decode([ids[place + 1]]) == (" left", " right")[action]


def test_captured_activations_are_those_of_the_model_reading_the_text(done: Finished) -> None:
    model = load_engine(str(model_folder(done.base))).model
    tokenizer = load_engine(str(model_folder(done.base))).tokenizer
    key = done.play.rollout.iloc[T]  # the second rollout
    text = done.rows(f"SELECT transcript FROM rollout WHERE id = {key}").transcript.item()  # noqa: S608
    places = done.play.token_position[T : 2 * T].tolist()
    with torch.no_grad():
        seen = model(torch.tensor([tokenizer(text)["input_ids"]]), output_hidden_states=True)
    for block in range(1, BLOCKS):  # the last entry of hidden_states comes after the final norm
        expected = seen.hidden_states[block][0, places]
        torch.testing.assert_close(done.activations(block)[T : 2 * T], expected, rtol=1e-4, atol=1e-4)
    actions = tokenizer.convert_tokens_to_ids([" left", " right"])
    p = seen.logits[0, places][:, actions].softmax(-1).numpy()
    taken = done.play.action[T : 2 * T].to_numpy()
    np.testing.assert_allclose(done.play.p_chosen[T : 2 * T], p[np.arange(T), taken], atol=1e-5)


def test_each_batch_has_a_shard_of_its_own(done: Finished) -> None:
    shards = done.rows("SELECT * FROM v_activation_shard ORDER BY capture, block, first_row")
    for _, mine in shards.groupby(["capture", "block"]):
        assert list(zip(mine.first_row, mine.n_rows, strict=True)) == [(0, 4 * T), (4 * T, 2 * T)]
    assert len(shards) == 2 * 2 * len(VARIANTS) * BLOCKS  # played, and read by the untrained model


# --- signals


def test_signals_are_the_agents_of_the_study_replaying_the_recorded_steps(done: Finished) -> None:
    assert WHOLE["signals"] == {"alpha": 0.3, "gamma": 0.9, "window": 3}  # not the defaults
    own = (QLearning(config=QLearningConfig(0.3, 0.9, 3)), Myopic(alpha=0.3, window=3))
    sources = signal_sources() | {learner.name: learner for learner in own}
    learners = [sources[name] for name in TASKS["two_step"].agents]
    assert set(done.signals) == {name for learner in learners for name in learner.describe()}
    names = ["episode", "state", "action", "reward", "next_state", "done", "forced"]
    for first in range(0, len(done.play), T):
        rows = done.play[names].iloc[first : first + T]
        history = Transitions.from_steps(Step(*row) for row in rows.itertuples(index=False))
        for learner in learners:
            for name, values in learner.replay(history).items():
                np.testing.assert_array_equal(done.signals[name][first : first + T], values)
    signals = done.rows("SELECT name, parameters FROM signal WHERE name IN ('td_error', 'myopic_error')")
    parameters = {name: p if isinstance(p, dict) else json.loads(p) for name, p in signals.values}
    assert parameters["myopic_error"] == {"alpha": 0.3, "gamma": 0.0, "window": 3}


def test_fig_7_is_the_published_curve(done: Finished) -> None:
    found = done.rows(
        "SELECT signal, step, value FROM v_learning_signal WHERE policy = 'published fig 7' ORDER BY step"
    ).pivot(index="step", columns="signal", values="value")
    published = curve("td_in_llms", "fig7_windows_TD")
    columns = {"td_error_k1": "n1", "td_error": "n4", "td_error_k11": "n10_label_actually_k11", "td_error_full": "full"}
    assert set(found) == set(columns) and len(found) == len(published) == 60
    for signal, column in columns.items():  # the figure draws an error at its transition, we have it one decision later
        assert found[signal][0] == 0
        np.testing.assert_allclose(found[signal][1:], published[column][:-1], rtol=0, atol=7e-6)  # five decimals


def test_fig_3_is_the_published_curves_after_min_max_normalisation(done: Finished) -> None:
    found = done.rows(
        "SELECT variant, rollout_index, step, value FROM v_learning_signal "
        "WHERE policy = 'published fig 3' AND signal = 'td_error' ORDER BY variant, rollout_index, step"
    )
    published = curve("td_in_llms", "fig3_runs")
    runs = list(published.groupby(["variant", "run"]))
    assert len(runs) * 60 == len(found) > 0
    for ((variant, _), rows), (key, ours) in zip(runs, found.groupby(["variant", "rollout_index"]), strict=True):
        assert key[0] == variant
        td = rows[["td_at_first_pick", "td_at_second_pick"]].to_numpy().ravel()
        value = ours.value.to_numpy()
        np.testing.assert_allclose((value - value.min()) / np.ptp(value), td, atol=5e-5)


# --- autoencoders


@pytest.mark.parametrize("name", sorted(SAES))
def test_a_checkpoint_round_trips_and_its_metrics_are_of_it(done: Finished, name: str) -> None:
    rows = done.rows(f"SELECT * FROM v_sae WHERE sae = '{name}' ORDER BY block")  # noqa: S608
    assert rows.block.tolist() == list(range(1, BLOCKS + 1))
    assert (set(rows.d_in), set(rows.d_latents)) == ({WIDTH}, {2 * WIDTH})
    for row in rows.itertuples():
        metrics = evaluate(done.sae(name, row.block), [done.activations(row.block)]).scalars()
        for metric in ("explained_variance", "fvu", "l0", "live", "dead", "non_constant"):
            assert getattr(row, metric) == pytest.approx(metrics[metric], rel=1e-4, abs=1e-3)
    assert rows.explained_variance.between(0.3, 1).all()  # it was trained, not drawn


# --- correlations


def found_correlations(done: Finished, source: str, sae: str | None, untrained: bool = False) -> pd.DataFrame:
    found = done.rows("SELECT * FROM v_correlation")
    found = found[(found.source == source) & (found.model.str.endswith("-untrained") == untrained)]
    found = found[found.sae == sae] if sae else found
    assert len(found) >= BLOCKS * len(SIGNALS)
    assert set(found.n) == {len(STRATA) * T} and set(found.n_rollouts) == {len(STRATA)}
    return found


@pytest.mark.parametrize("name", sorted(SAES))
def test_latent_correlations_are_numpys_on_signals_and_activations_read_back(done: Finished, name: str) -> None:
    selection = np.repeat(split_halves(STRATA, seed=WHOLE["seed"]), T)
    for block, rows in found_correlations(done, "sae", name).groupby("block"):
        z = done.features("sae", name, int(block))
        given = done.signals[list(COVARIATES)].to_numpy()
        for row in rows.itertuples():
            x, y = z[:, row.latent], done.signals[row.signal].to_numpy()
            assert row.r == pytest.approx(correlation(x, y), abs=1e-5)
            for half, r in ((selection, row.r_selection), (~selection, row.r_heldout)):
                assert r == pytest.approx(correlation(x[half], y[half]), abs=1e-5, nan_ok=True)
            partial = ((np.full(len(x), True), row.r_partial), (~selection, row.r_partial_heldout))
            for half, r in partial:
                if row.signal in COVARIATES or np.ptp(x[half]) == 0:  # nothing is left
                    assert np.isnan(r)
                else:
                    expected = correlation(rest(x[half], given[half]), rest(y[half], given[half]))
                    assert r == pytest.approx(expected, abs=1e-4)
            for low, r, high in (
                (row.ci_low, row.r, row.ci_high),
                (row.heldout_low, row.r_heldout, row.heldout_high),
                (row.partial_low, row.r_partial, row.partial_high),
            ):
                assert np.isnan([low, high]).all() if np.isnan(r) else low <= r + 1e-9 <= high + 2e-9
            if row.signal == "step" or row.null_sd == 0:  # the same in every rollout: permuting changes nothing
                assert row.null_sd == 0 and row.null_mean == pytest.approx(row.r, abs=1e-5)
                assert np.isnan(float(row.p_familywise or "nan")) and np.isnan(float(row.q_value or "nan"))
            else:
                assert 1 / 40 <= row.p_familywise <= 1 and 1 / 40 <= row.q_value <= 1


def test_the_strongest_latents_are_kept_and_no_stronger_one_is_missing(done: Finished) -> None:
    for (block, signal), rows in found_correlations(done, "sae", "topk").groupby(["block", "signal"]):
        z, y = done.features("sae", "topk", int(block)), done.signals[signal].to_numpy()
        strength = {j: abs(correlation(x, y)) for j, x in enumerate(z.T) if np.ptp(x) > 0}
        missing = max(r for latent, r in strength.items() if latent not in set(rows.latent))
        strongest = sorted(strength.values(), reverse=True)[:TOP]
        assert np.sort(rows.r.abs())[::-1][:TOP] == pytest.approx(strongest, abs=1e-5)
        assert missing <= min(strongest) + 1e-5


def test_raw_dimensions_are_correlated_directly(done: Finished) -> None:
    for block, rows in found_correlations(done, "raw", None).groupby("block"):
        x = done.features("raw", None, int(block))
        for row in rows.itertuples():
            assert row.r == pytest.approx(correlation(x[:, row.latent], done.signals[row.signal]), abs=1e-5)


def test_the_untrained_control_is_the_stream_of_fresh_weights(done: Finished) -> None:
    rows = found_correlations(done, "raw", None, untrained=True)
    fresh = load_engine(str(model_folder(done.base)), untrained_seed=WHOLE["seed"])
    assert set(rows.model) == {f"{model_folder(done.base)}-untrained"}
    fingerprints = done.rows("SELECT fingerprint FROM model WHERE name LIKE '%-untrained'").fingerprint
    assert set(fingerprints) == {fresh.describe().fingerprint}
    for block, here in rows.groupby("block"):
        x = done.activations(int(block), untrained=True).double().numpy()
        assert abs(x - done.activations(int(block)).double().numpy()).max() > 0.1
        for row in here.itertuples():
            assert row.r == pytest.approx(correlation(x[:, row.latent], done.signals[row.signal]), abs=1e-5)


def test_principal_components_are_correlated_up_to_their_sign(done: Finished) -> None:
    for block, rows in found_correlations(done, "pca", None).groupby("block"):
        x = done.features("pca", None, int(block))
        scores = (x - x.mean(0)) @ np.linalg.svd(x - x.mean(0), full_matrices=False)[2].T
        for row in rows[rows.latent < WIDTH // 2].itertuples():  # the last ones are hardly told apart
            assert abs(row.r) == pytest.approx(
                abs(correlation(scores[:, row.latent], done.signals[row.signal])), abs=1e-3
            )


def test_shuffled_signals_are_those_of_other_rollouts_of_the_variant(done: Finished) -> None:
    order = rollout_permutations(STRATA, 1, seed=WHOLE["seed"] + 1)[0]
    assert (STRATA[order] == STRATA).all() and (order != np.arange(len(order))).any()
    for block, rows in found_correlations(done, "shuffled", None).groupby("block"):
        z = done.features("shuffled", None, int(block))
        for row in rows.itertuples():
            y = done.signals[row.signal].to_numpy().reshape(len(STRATA), T)[order].ravel()
            assert row.r == pytest.approx(correlation(z[:, row.latent], y), abs=1e-5)


def test_coverage_has_every_block_signal_and_source(done: Finished) -> None:
    found = done.rows("SELECT * FROM v_coverage")
    found["source"] = found.source.mask(found.model.str.endswith("-untrained"), "untrained")
    wanted = {("sae", "paper"), ("sae", "topk"), ("shuffled", "paper"), ("raw", ""), ("pca", ""), ("untrained", "")}
    keys = list(zip(found.source, found.sae.fillna(""), found.block, found.signal, strict=True))
    assert sorted(keys) == sorted((*s, b, y) for s in wanted for b in range(1, BLOCKS + 1) for y in SIGNALS)
    kept = done.rows("SELECT * FROM v_correlation")
    kept["source"] = kept.source.mask(kept.model.str.endswith("-untrained"), "untrained")
    kept["sae"] = kept.sae.fillna("")
    by_key = kept.groupby(["source", "sae", "block", "signal"])
    for row, key in zip(found.itertuples(), keys, strict=True):
        rows = by_key.get_group(key)
        assert row.n_kept == len(rows) >= min(TOP, row.n_live)
        assert (row.top, row.cutoff) == (TOP, CUTOFF)
        matrix = done.record.blobs.load_table(row.blob)
        size = matrix[matrix.signal == row.signal].set_index("latent").r.abs()
        assert size.is_monotonic_decreasing and len(size) == row.n_live
        promised = set(size.index[:TOP]) | set(size.index[size >= CUTOFF])
        assert row.min_abs_r_kept == size[list(promised)].min()
        assert set(size.index[size >= row.min_abs_r_kept]) == promised <= set(rows.latent)
        assert row.n_latents == (2 * WIDTH if key[1] else WIDTH)
        assert row.n_live <= row.n_latents and row.r_threshold > 0
        assert row.family_size <= BLOCKS * len(SIGNALS) * row.n_latents
        assert (row.n_permutations, row.alpha) == (39, 0.05)


def test_live_latents_are_those_that_vary(done: Finished) -> None:
    found = done.rows("SELECT sae, block, n_live FROM v_coverage WHERE source = 'sae'")
    for (name, block), rows in found.groupby(["sae", "block"]):
        z = done.features("sae", str(name), int(block))
        assert set(rows.n_live) == {int((np.ptp(z, axis=0) > 0).sum())}


# --- behaviour


def likelihood(done: Finished, intervention: str, beta: float) -> float:
    """NLL of the model's own choices in the first variant under softmax(beta Q), from rows alone."""
    where = f"policy = 'model' AND intervention = '{intervention}' AND variant = '{VARIANTS[0]}'"
    steps = done.rows(f"SELECT rollout, step, action, forced FROM v_step WHERE {where}")  # noqa: S608
    q = done.rows(f"SELECT rollout, step, signal, value FROM v_learning_signal WHERE {where}")  # noqa: S608
    q = q[q.signal.isin(["q_left", "q_right"])].pivot(index=["rollout", "step"], columns="signal", values="value")
    own = steps[~steps.forced.astype(bool)].set_index(["rollout", "step"])
    values = beta * q.loc[own.index, ["q_left", "q_right"]].to_numpy()
    logs = values - np.log(np.exp(values).sum(1, keepdims=True))
    return float(-logs[np.arange(len(own)), own.action].sum())


def test_behaviour_fits_are_likelihoods_of_the_recorded_choices(done: Finished) -> None:
    fits = done.rows("SELECT * FROM v_behaviour_fit WHERE intervention = 'none'").set_index("behaviour_model")
    assert set(fits.index) == {"q_learning", "myopic", "repetition", "repetition_unfitted", "best_episode", "chance"}
    choices = ROLLOUTS * (EPISODES - FORCED) * 2
    assert set(fits.n_choices) == {choices} and set(fits.n_rollouts) == {ROLLOUTS}
    assert fits.nll["chance"] == pytest.approx(choices * np.log(2))
    q = fits.loc["q_learning"]
    assert q.nll == pytest.approx(likelihood(done, "none", q.beta))
    assert q.nll <= min(likelihood(done, "none", beta) for beta in (0.0, q.beta * 0.9, q.beta * 1.1 + 0.01)) + 1e-9
    assert (q.nll_minus_q, q.ci_low, q.ci_high) == (0, 0, 0)
    for name, fit in fits.iterrows():
        assert fit.nll_minus_q == pytest.approx(fit.nll - q.nll)
        assert fit.aic == pytest.approx(2 * fit.nll + 2 * fit.n_parameters), name


# --- interventions


def effects(done: Finished, intervention: str) -> pd.DataFrame:
    return done.rows(f"SELECT * FROM v_intervention_effect WHERE intervention = '{intervention}'")  # noqa: S608


def test_interventions_choose_by_the_selection_half(done: Finished) -> None:
    found = done.rows("SELECT * FROM v_intervention").set_index("intervention")
    assert set(found.index) == {wanted["name"] for wanted in WHOLE["intervention"]}
    selection = np.repeat(split_halves(STRATA, seed=WHOLE["seed"]), T)
    best: dict[tuple[int, int], float] = {}
    y = done.signals["td_error"].to_numpy()[selection]
    for block in range(1, BLOCKS):  # not the last: nothing comes after it
        for latent, x in enumerate(done.features("sae", "topk", block)[selection].T):
            if np.ptp(x) > 0:
                best[block, latent] = correlation(x, y)
    block, latent = max(best, key=best.__getitem__)
    row = found.loc["zero"]
    latents = row.latents if isinstance(row.latents, list) else json.loads(row.latents)
    assert (row.block, latents) == (block, [latent])
    assert found.control["random_direction"] == "random_direction"
    assert found.value["clamp"] == -10 and np.isnan(found.value["zero"])


def test_intervened_rollouts_are_paired_with_the_intact_ones(done: Finished) -> None:
    steps = done.rows(
        "SELECT intervention, rollout_index, step, action, forced, variant FROM v_step WHERE policy = 'model'"
    )
    intact = steps[(steps.intervention == "none") & (steps.variant == VARIANTS[0])]
    for _, rows in steps[steps.intervention != "none"].groupby("intervention"):
        both = rows.merge(intact, on=["rollout_index", "step"])
        assert len(both) == len(rows) == ROLLOUTS * T and set(rows.variant) == {VARIANTS[0]}
        forced = both.forced_x.astype(bool)
        assert (both.forced_x == both.forced_y).all()
        assert (both.action_x == both.action_y)[forced].all()
    seeds = done.rows("SELECT DISTINCT intervention, rollout_index, seed FROM v_episode WHERE policy = 'model'")
    assert seeds.groupby("rollout_index").seed.nunique().eq(1).all()


@pytest.mark.parametrize("intervention", [wanted["name"] for wanted in WHOLE["intervention"]])
def test_effects_on_behaviour_follow_from_the_recorded_rows(done: Finished, intervention: str) -> None:
    found = effects(done, intervention).set_index("metric")
    episodes = done.rows("SELECT * FROM v_episode WHERE policy = 'model'")
    episodes = episodes[(episodes.variant == VARIANTS[0]) & ~episodes.forced.astype(bool)]
    mean = episodes.groupby("intervention")["return"].mean()
    assert found.value["return"] == pytest.approx(mean[intervention])
    assert found.baseline["return"] == pytest.approx(mean["none"])
    fits = done.rows("SELECT * FROM v_behaviour_fit WHERE behaviour_model = 'q_learning'").set_index("intervention")
    beta = fits.beta["none"]
    assert found.value["nll_q"] == pytest.approx(likelihood(done, intervention, beta))
    assert found.baseline["nll_q"] == pytest.approx(fits.nll["none"])
    assert fits.nll[intervention] == pytest.approx(likelihood(done, intervention, fits.beta[intervention]))
    assert (found.difference == found.value - found.baseline).all()
    assert (found.ci_low <= found.ci_high).all() and set(found.n_rollouts) == {ROLLOUTS}


def test_multiplying_by_one_changes_nothing(done: Finished) -> None:
    found = effects(done, "nothing")
    assert len(found) > 5
    exact = found[found.metric.isin(["return", "return_last_10", "p_greedy", "nll_q", "choice_shift"])]
    assert len(exact) == 5 and (exact[["difference", "ci_low", "ci_high"]] == 0).all().all()
    # the stream without the intervention comes from centred shards: equal but for rounding
    assert (found[["difference", "ci_low", "ci_high"]].abs() < 1e-6).all().all()
    steps = done.rows(
        "SELECT intervention, rollout_index, step, action, p_chosen, variant FROM v_step "
        "WHERE policy = 'model' AND intervention IN ('none', 'nothing')"
    )
    none, same = (steps[(steps.intervention == i) & (steps.variant == VARIANTS[0])] for i in ("none", "nothing"))
    both = none.merge(same, on=["rollout_index", "step"])
    assert (both.action_x == both.action_y).all() and (both.p_chosen_x == both.p_chosen_y).all()


def choices(model: Any, texts: list[Any], block: int, move: Callable[[torch.Tensor], torch.Tensor]) -> np.ndarray:
    """Probability of *right* at each decision, when the output of a block is moved at the decision tokens."""
    left, right = model.tokenizer.convert_tokens_to_ids([" left", " right"])
    found = []
    for text, places in texts:

        def hook(_: Any, __: Any, out: Any, places: list[int] = places) -> Any:
            x = out[0] if isinstance(out, tuple) else out
            x[0, places] = x[0, places] + move(x[0, places])
            return out

        handle = model.model.model.layers[block - 1].register_forward_hook(hook)
        with torch.no_grad():
            logits = model.model(torch.tensor([model.tokenizer(text)["input_ids"]])).logits[0, places]
        handle.remove()
        found.append((logits[:, right] - logits[:, left]).sigmoid().numpy())
    return np.array(found)


@pytest.mark.parametrize("intervention", ["zero", "clamp", "mean"])
def test_the_choice_shift_is_that_of_latents_changed_by_hand(done: Finished, intervention: str) -> None:
    wanted = next(w for w in WHOLE["intervention"] if w["name"] == intervention)
    row = done.rows(f"SELECT * FROM v_intervention WHERE intervention = '{intervention}'").iloc[0]  # noqa: S608
    latents = row.latents if isinstance(row.latents, list) else json.loads(row.latents)
    assert len(latents) == wanted.get("latents", 1)
    sae = done.sae(wanted["sae"], row.block)
    means = sae.encode(done.activations(row.block)).mean(0)[latents]
    target = {"zero": torch.zeros(len(latents)), "clamp": torch.full((len(latents),), -10.0), "mean": means}

    def move(x: torch.Tensor) -> torch.Tensor:
        changed = (z := sae.encode(x)).clone()
        changed[:, latents] = target[intervention]
        return sae.decode(changed) - sae.decode(z)

    first = done.play[done.play.variant == VARIANTS[0]]
    transcripts = done.rows("SELECT id, transcript FROM rollout").set_index("id").transcript
    texts = [(transcripts[key], rows.token_position.tolist()) for key, rows in first.groupby("rollout", sort=False)]
    model = load_engine(str(model_folder(done.base)))
    moved, intact = (choices(model, texts, row.block, how) for how in (move, torch.zeros_like))
    shift = np.abs(moved - intact)[:, 2 * FORCED :].mean()
    found = effects(done, intervention).set_index("metric").loc["choice_shift"]
    assert found.value == pytest.approx(shift, rel=1e-3) and found.value > 1e-4
    assert found.baseline == 0 and 0 < found.ci_low < found.value < found.ci_high


def test_a_random_direction_moves_the_stream_as_far_as_the_latents_and_elsewhere(done: Finished) -> None:
    rows = done.rows("SELECT intervention, block, latents FROM v_intervention").set_index("intervention")
    assert rows.block["random_direction"] == rows.block["zero"]
    assert str(rows.latents["random_direction"]) == str(rows.latents["zero"])
    wanted = study(done.base, WHOLE)
    context = context_of(wanted, done.record)
    with done.record.session(read_only=True) as session:
        jobs = {job.identity: job.id for job in session.scalars(select(Job))}
    units = {unit.key: unit for unit in plan_study(context).of("intervene")}
    context.remember(jobs)
    sections = {section.name: section for section in wanted.intervention}
    chosen = Selection(rows.block["zero"], (int(str(rows.latents["zero"]).strip("[]")),), "")
    x = done.activations(chosen.block)
    changes = []
    for name in ("zero", "random_direction"):
        (edit,) = edits_of(context, units[name], sections[name], [chosen])
        changes.append(edit(x) - x)
    torch.testing.assert_close(changes[0].norm(dim=1), changes[1].norm(dim=1), rtol=1e-3, atol=1e-4)
    alike = torch.cosine_similarity(*changes, dim=1)[changes[0].norm(dim=1) > 0.1]
    assert len(alike) > 20 and alike.abs().max() < 0.9
    drawn = [sections["random_direction"].model_copy(update={"draw": draw}) for draw in range(3)]
    directions = [edits_of(context, units["random_direction"], one, [chosen])[0].direction for one in drawn]
    assert (torch.stack(directions) @ torch.stack(directions).T - torch.eye(3)).abs().max() < 0.9
    assert edits_of(context, units["zero"], sections["zero"], [replace(chosen, latents=())]) == []
    p = done.rows("SELECT p_chosen, intervention FROM v_step WHERE intervention IN ('zero', 'random_direction')")
    zero, random = (p[p.intervention == name].p_chosen.to_numpy() for name in ("zero", "random_direction"))
    assert np.abs(zero - random).max() > 1e-4


def test_baselines_of_later_blocks_are_the_intact_correlations(done: Finished) -> None:
    first = (done.play.variant == VARIANTS[0]).to_numpy()
    found = effects(done, "zero")
    found = found[found.metric.str.startswith("max_r_")]
    assert set(found.effect_block) == set(range(1, BLOCKS + 1))
    for row in found.itertuples():
        y = done.signals[row.metric.removeprefix("max_r_")].to_numpy()[first]
        z = done.features("sae", "topk", int(row.effect_block))[first]
        assert row.baseline == pytest.approx(max(correlation(x, y) for x in z.T if np.ptp(x) > 0), abs=1e-5)


def test_autoencoders_are_verified_once_however_many_batches_and_interventions(
    done: Finished, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = context_of(study(done.base, WHOLE), done.record)
    with done.record.session(read_only=True) as session:
        context.remember({job.identity: job.id for job in session.scalars(select(Job))})
    read: Counter[str] = Counter()

    def counting(context: Context, unit: Unit) -> Autoencoder:
        read[unit.key] += 1
        return autoencoder_of(context, unit)

    monkeypatch.setattr(later_blocks, "autoencoder_of", counting)
    units = [unit for unit in plan_study(context).of("intervene") if unit.key in ("zero", "clamp")]
    for unit in units:
        games = context.games(VARIANTS[0])
        later = later_blocks.Signals(context, unit, ("td_error",))
        take = later_blocks.taking(games, [later])
        play(context.engine, games, capture=context.blocks, take=take, seed=0, batch_size=2)
        later.differences(resamples(len(games), 10, 0))
    trained = {parent.key for unit in units for parent in unit.parents_of("train_sae")}
    assert len(trained) >= BLOCKS and read == dict.fromkeys(trained, 1)


# --- the record of it


def test_rollouts_read_back_are_the_views_rows(done: Finished) -> None:
    with done.record.session(read_only=True) as session:
        jobs = session.scalars(select(Job).where(Job.stage == "play").order_by(Job.id)).all()
        rollouts = [read_rollouts(session, job.id) for job in jobs]
    for variant, read in zip(VARIANTS, rollouts, strict=True):
        rows = done.play[done.play.variant == variant]
        assert np.concatenate([t.action for t in read.transitions]).tolist() == rows.action.tolist()
        assert read.forced.ravel().tolist() == rows.forced.astype(bool).tolist()


def test_jobs_say_what_they_computed(done: Finished) -> None:
    jobs = done.rows("SELECT * FROM v_job")
    assert set(jobs.state) == {"done"} and set(jobs.attempt) == {1}
    wanted = {"published": 1, "play": 2, "signals": 2, "behaviour": 1, "harvest": 2, "train_sae": 2 * BLOCKS}
    wanted |= {"correlate": 6 * BLOCKS, "rank": 6, "td_parts": 2, "intervene": len(WHOLE["intervention"])}
    assert jobs.stage.value_counts().to_dict() == wanted
    assert jobs.error.isna().all() and jobs.identity.nunique() == len(jobs)
