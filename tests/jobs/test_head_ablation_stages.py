"""The stages of a study of attention heads, each against its own numbers computed again by hand."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sqlalchemy import select

from jobs.circuits.attribution import attribution
from jobs.circuits.episodes import episodes_of, evaluation_seeds, measured_seed, pool_seeds
from jobs.circuits.policy import HeadPolicy, PolicySearcher
from jobs.circuits.ppo import train_policy
from jobs.circuits.search_config import SearchConfig
from jobs.circuits.searchers import search
from jobs.circuits.tables import read_episodes
from jobs.context import Context
from jobs.pipeline import plan_study
from jobs.stage import Unit
from jobs.stages.train_policy import deal_of
from jobs.study import validate
from tdlens.errors import UserError
from tdlens.record import Job, Record
from tests.jobs.head_study import BLOCKS, EPISODES, HEADS, POOL, SMALL, STEPS, TASKS, head_study
from tests.jobs.small_study import context_of, fresh_record, run


def planned(context: Context) -> list[Unit]:
    """The study's units, whose jobs the context then knows."""
    units = plan_study(context).units
    with context.record.session(read_only=True) as session:
        context.remember({row.identity: row.id for row in session.execute(select(Job.identity, Job.id))})
    return units


@dataclass
class Finished:
    """The record of the study, and what it was made with."""

    record: Record
    context: Context
    base: Path

    def ask(self, sql: str, **values: Any) -> pd.DataFrame:
        return self.record.query(sql, values)


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def done(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Finished]:
    base = tmp_path_factory.getbasetemp()
    with fresh_record(request.param, tmp_path_factory.mktemp("heads")) as record:
        study = head_study(base)
        assert run(study, record).found == 0
        context = context_of(study, record)
        yield Finished(record, context, base)
        context.close()


def test_again_nothing_is_computed(done: Finished) -> None:
    assert run(head_study(done.base), done.record).computed == 0


def test_episodes_of_training_and_evaluation_are_none_twice(done: Finished) -> None:
    for task in TASKS:
        evaluated, trained = evaluation_seeds(done.context, task), pool_seeds(done.context, task)
        assert len({*evaluated, *trained, measured_seed(done.context, task)}) == EPISODES + POOL + 1
    unseeded = context_of(head_study(done.base, search={"pool": 2}).model_copy(update={"seed": 0}), done.record)
    assert evaluation_seeds(unseeded, "ioi")[:2] == [10_010_000, 10_010_001]  # those of the paper
    assert evaluation_seeds(unseeded, "docstring")[:2] == [10_000_000, 10_000_001]


def test_scores_are_those_of_the_model_with_one_head_ablated(done: Finished) -> None:
    rows = done.ask("SELECT * FROM v_head_score WHERE study = 'heads' ORDER BY block, head")
    n = BLOCKS * HEADS
    assert len(rows) == n * (len(TASKS) * (EPISODES * 2 + 2) + 2 * POOL)  # own and mean ablation, zero for two episodes
    assert set(rows.loc[rows.split == "training", "task"]) == set(TASKS[:2])
    episodes, seed = episodes_of(done.context), evaluation_seeds(done.context, "docstring")[1]
    for ablation in ("value_bias", "mean", "zero"):
        mine = rows[(rows.task == "docstring") & (rows.seed == seed) & (rows.ablation == ablation)]
        table = episodes.scorer("docstring", seed, ablation).table()
        np.testing.assert_allclose(mine.score, table.scores, atol=1e-6)
        np.testing.assert_allclose(mine.task_damage - mine.control_damage, mine.score, atol=1e-12)
        assert mine.attribution.notna().all() == (ablation == "value_bias")
    estimate = attribution(
        done.context.engine,
        episodes.prompts("docstring", seed),
        episodes.control_rows(seed),
        ablation="value_bias",
        weight=1.0,
    )
    mine = rows[(rows.task == "docstring") & (rows.seed == seed) & (rows.ablation == "value_bias")]
    np.testing.assert_allclose(mine.attribution, estimate, atol=1e-6)
    assert list(mine.name) == [f"{layer}.{head}" for layer in range(BLOCKS) for head in range(HEADS)]


def test_a_search_is_an_episode_like_any_other(done: Finished) -> None:
    """What the views of searches say follows from the common tables and the head scores."""
    steps = done.ask(
        "SELECT s.*, e.reward AS reward, e.action AS action, e.state AS state, e.p_chosen AS p FROM v_search_step s"
        " JOIN v_search_episode f ON f.search = s.search AND f.task = s.task AND f.task_code = s.task_code"
        " AND f.best_of = s.best_of AND f.episode = s.episode JOIN v_step e ON e.rollout = f.rollout"
        " AND e.step = s.step WHERE s.study = 'heads' AND f.study = 'heads'"
        " ORDER BY s.search, s.task, s.task_code, s.best_of, s.episode, s.step"
    )
    scores = done.ask(
        "SELECT task, seed, name, score FROM v_head_score WHERE study = 'heads' AND split = 'evaluation'"
        " AND ablation = 'value_bias'"
    )
    known = {(row.task, row.seed, row.name): row.score for row in scores.itertuples()}
    best = scores.groupby(["task", "seed"]).score.max()
    for key, one in steps.groupby(["search", "task", "task_code", "best_of", "episode"]):
        seed = evaluation_seeds(done.context, key[1])[key[4]]
        assert len(one) == STEPS and one["head"].nunique() == STEPS and list(one.state) == [0, 1, 2]
        assert [known[key[1], seed, head] for head in one["head"]] == pytest.approx(list(one.score))
        assert list(one.reward) == pytest.approx(list(one.score))
        assert list(one.best_score) == pytest.approx(list(one.score.cummax()))
        assert set(one.oracle) == {best[key[1], seed]}
        assert (np.diff(one.forward_passes) >= 2 * (key[3] == 1)).all()
        assert one.p.notna().all() == (key[0].split("/")[0] in ("ppo_k1", "ppo_k5", "random", "layer_prior"))
    searches = set(steps.search)
    assert {"ppo_k1/0", "ppo_k5/1", "random/1", "training_mean/0", "attribution/0", "mean_ablation/0"} <= searches
    assert "training_mean/1" not in searches
    episodes = done.ask("SELECT * FROM v_search_episode WHERE study = 'heads'")
    assert (episodes[episodes.method == "oracle"].share == 1).all() and (episodes.best_score <= episodes.oracle).all()
    told = episodes[episodes.method == "ppo"].groupby(["search", "task", "best_of"]).task_code.unique()
    assert all(set(codes) == {"none", "induction", "ioi"} for codes in told)


def test_a_recorded_policy_searches_again_as_it_did(done: Finished) -> None:
    (blob,) = done.ask("SELECT blob FROM v_circuit_search WHERE study = 'heads' AND search = 'ppo_k5/1'").blob
    policy = HeadPolicy.from_bytes(done.record.blobs.path(blob, "safetensors").read_bytes())
    units = [u for u in planned(done.context) if u.stage == "ablate" and u.key.startswith("ioi/evaluation/value_bias")]
    episodes = read_episodes(done.context, units)
    seeds = [(1, episode.seed) for episode in episodes]
    found = search(PolicySearcher(policy, (0.0, 1.0), 5), [e.scores for e in episodes], STEPS, seeds)
    recorded = done.ask(
        "SELECT best_score FROM v_search_episode WHERE study = 'heads' AND search = 'ppo_k5/1' AND task = 'ioi'"
        " AND task_code = 'ioi' AND best_of = 5 ORDER BY episode"
    )
    assert [one.best_score for one in found] == pytest.approx(list(recorded.best_score))


def test_training_is_followed_on_the_tasks_that_it_is_of(done: Finished) -> None:
    curve = done.ask("SELECT * FROM v_search_progress WHERE study = 'heads' AND search = 'ppo_k1/0'")
    assert set(curve.task) == set(TASKS[:2]) and curve.transitions.min() == 0
    assert curve.transitions.max() == 594 == done.ask("SELECT max(transitions) AS n FROM v_circuit_search").n[0]
    assert (curve.n_episodes == EPISODES).all()


@pytest.mark.parametrize(
    ("changes", "kept"),
    [
        ({"search": {"evaluated_best_of": [1, 2]}}, ("train_policy", "ablate", "pairs")),
        ({"task": {"variants": [*TASKS, "greater_than"]}}, ("train_policy",)),
        ({"task": {"settings": SMALL["task"]["settings"] | {"steps": 4}}}, ("ablate", "heads", "pairs")),
    ],
)
def test_what_a_setting_does_not_change_is_not_computed_again(
    done: Finished, changes: dict[str, Any], kept: tuple[str, ...]
) -> None:
    before = {unit.identity for unit in plan_study(done.context).units}
    after = plan_study(context_of(head_study(done.base, **changes), done.record))
    for stage in kept:
        assert {unit.identity for unit in after.of(stage)} <= before, stage
    assert any(unit.identity not in before for unit in after.units)


def test_heads_are_measured_and_pairs_ablated(done: Finished) -> None:
    measures = done.ask("SELECT * FROM v_head_measure WHERE study = 'heads'")
    assert {"induction_score", "previous_token"} <= set(measures.measure)
    direct = measures[(measures.measure == "direct_effect") & (measures.task == "ioi")].set_index("name").value
    pairs = done.ask("SELECT * FROM v_head_pair WHERE study = 'heads' AND task = 'ioi'")
    chosen = set(direct.abs().nlargest(3).index)
    assert set(pairs.name) | set(pairs.other_name) == chosen
    single = done.ask(
        "SELECT seed, name, task_damage FROM v_head_score WHERE study = 'heads' AND task = 'ioi'"
        " AND ablation = 'value_bias' AND split = 'evaluation'"
    ).set_index(["seed", "name"])
    for row in pairs.itertuples():
        alone = sum(single.loc[(row.seed, name), "task_damage"] for name in (row.name, row.other_name))
        assert row.damage - alone == pytest.approx(row.excess, abs=1e-5)


def test_fresh_episodes_for_every_training_episode(done: Finished) -> None:
    """Without a pool the model itself is in the loop, as in the paper."""
    context = context_of(head_study(done.base, search={"pool": 0}), done.record)
    unit = next(unit for unit in plan_study(context).units if unit.stage == "train_policy")
    assert {parent.config["split"] for parent in unit.parents} == {"evaluation"}
    deal, pool = deal_of(context, unit)
    config = SearchConfig(transitions=2 * STEPS, episodes=2)
    trained = train_policy(config, deal, BLOCKS, HEADS, STEPS, TASKS[:2], pool)
    assert (trained.transitions, trained.forward_passes) == (2 * STEPS, 2 * (2 + 2 * STEPS))
    table = episodes_of(context).scorer("ioi", 5).table()
    np.testing.assert_allclose(deal("ioi", 5).score([0, 3]), table.scores[[0, 3]], atol=1e-6)
    context.close()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"sae": [{"name": "paper", "options": {"l1": 1e-3}}]}, "sae is not for head_ablation"),
        ({"search": {"tasks": ["greater_than"]}}, "unknown task among task.variants 'greater_than'"),
        ({"task": SMALL["task"] | {"settings": {"ablation": "none"}}}, "ablation"),
        ({"task": SMALL["task"] | {"settings": {"control_tokens": 1}}}, "control_tokens"),
        ({"task": SMALL["task"] | {"rollouts": 10_001}}, "task.rollouts and search.pool can be 10000 at most"),
        ({"seed": 20_000}, "takes seeds up to 16000"),
        ({"model": {"engine": "deepspeed"}}, "heads are ablated by the engine hf alone"),
        (
            {"task": SMALL["task"] | {"settings": {"prompts": 1}}, "search": {"compared": ["resample"]}},
            "on another row, so 2 at least",
        ),
    ],
)
def test_settings_that_do_not_fit_are_named(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said):
        validate(SMALL | changes, "study")


@pytest.mark.parametrize(
    ("section", "settings", "said"),
    [
        ("task", {"settings": {"control_tokens": 200}}, "reads 128 tokens at most, and a row of control text"),
        ("search", {"control_text": "/nowhere/text"}, "control text /nowhere/text can't be read"),
        ("search", {"transitions": 10}, "search.transitions is 10, and one update of a policy takes 297"),
    ],
)
def test_what_cannot_be_run_is_said_before_anything_is(
    done: Finished, section: str, settings: dict[str, Any], said: str
) -> None:
    context = context_of(head_study(done.base, **{section: settings}), done.record)
    with pytest.raises(UserError, match=said):
        plan_study(context)
