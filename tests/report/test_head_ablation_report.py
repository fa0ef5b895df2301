"""The page on searches for attention heads: every figure, every verdict and their estimators, from synthetic rows."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from html import unescape
from math import comb
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.effects import resamples
from jobs.report import verdicts, write_report
from jobs.report.drawing import Claim
from jobs.report.head_ablation import REPORT, authors, matched
from jobs.report.head_ablation.fig_budget import read_costs
from jobs.report.head_ablation.fig_learning import read_progress, transitions_to
from jobs.report.head_ablation.fig_pairs import above, read_pairs
from jobs.report.head_ablation.heads import known_for, overlap, read_picks, read_scores
from jobs.report.head_ablation.searches import Found, Way, baseline, budget_of, count_heads, policy, read_found, usual
from jobs.report.reader import Reader, StudyFacts
from jobs.report.verdicts import Interval, Verdict
from tdlens.record import Record
from tdlens.record.views import VIEWS
from tdlens.settings import Settings
from tests.report.synthetic_searches import (
    ALL,
    EPISODES,
    SEEDS,
    STEPS,
    STUDY,
    TASKS,
    World,
    true_scores,
    write_searches,
)

YES, NO, MAYBE = Verdict.REPLICATES, Verdict.DIFFERS, Verdict.UNCLEAR

REACHES = "On the tasks that it was trained on, a policy of K = 1 finds the head that matters most"
NOTHING = "Trying the best of 5 in training adds nothing on the tasks that are trained on"
FASTER = "With K = 5 a policy learns in fewer steps, evaluated as it was trained"
TRANSFERS = "Docstring, held out: told nothing, a policy trained with K = 5 finds the head that matters most"
TOLD = "Docstring, held out: the task code decides what a policy of K = 5 finds"
KNOWN = "What is found are heads that are known to play a part in the task"
MOVERS = "IOI: redundant heads (name movers, negative and backup ones) are found less often than other known heads"
PAIRS = "IOI: heads stand in for each other, so that single ablation hides them"
PLANTED = "In models whose circuit was written into the weights, searches try the circuit's heads first"
TWINS = "… and a head with a twin that stands in for it hides from single ablation"
LIST = "A policy is more than a fixed list: it is sooner than the heads that did best in training"
ATTRIBUTION = "At equal forward passes a policy is sooner than the order of attribution patching"
MEAN = "At equal steps it is sooner than the order of mean ablation, the sweep for it not counted"
PLANNING = (
    "Docstring, held out: told nothing, training with K = 5 does more than trying 5 heads a step at evaluation, at "
    "equal forward passes"
)
SWEEP = "The four heads whose ablation costs most on induction cost as much as published"

FALSE = World(
    skill={
        **{("ppo_k1", task, task): 0.1 for task in ("induction", "ioi")},
        ("ppo_k5", "docstring", "none"): -0.6,
        ("ppo_k1", "docstring", "none"): 1.0,
        ("ppo_k5", "docstring", "induction"): -0.6,
        ("ppo_k5", "docstring", "ioi"): 1.0,
    },
    baselines={"random": 0.6, "training_mean": 1.0, "attribution": 1.0, "mean_ablation": 1.0},
    starts={1: 400, 5: 4000},
    excess=-0.4,
    known=False,
    twins=3.0,
    first=False,
)
"""Where nothing holds."""
ALIKE = World(
    skill={
        **{("ppo_k1", task, task): 0.55 for task in ("induction", "ioi")},
        ("ppo_k5", "docstring", "none"): 0.4,
        ("ppo_k5", "docstring", "ioi"): 0.4,
    },
    baselines={"training_mean": 0.55},
    starts={1: 400, 5: 400},
    excess=0.0,
    movers=False,
    stages=("heads", "search"),
)
"""Where much is alike."""


def opened(home: Path, world: World) -> Record:
    record = Record.open(Settings.from_environment({"TDLENS_HOME": str(home)}))
    write_searches(record, world)
    return record


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Record]:
    """A study of four tasks in which everything holds; read only."""
    record = opened(tmp_path_factory.mktemp("searches"), World(tasks=TASKS))
    yield record
    record.close()


@pytest.fixture(scope="module")
def out(whole: Record, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_report(whole, STUDY, tmp_path_factory.mktemp("page")).parent


def about(record: Record) -> tuple[Reader, StudyFacts]:
    reader = Reader(record, STUDY)
    return reader, StudyFacts(reader)


def claims_of(record: Record) -> dict[str, Claim]:
    return {claim.text: claim for claim in REPORT.claims(*about(record))}


def rows_of(record: Record) -> list[Claim]:
    return [row for claim in claims_of(record).values() for row in (claim, *claim.parts)]


def test_all_claims_hold_where_all_is_true(whole: Record) -> None:
    claims = claims_of(whole)
    assert {text: claim.ours for text, claim in claims.items() if claim.ruling.verdict is not YES} == {}
    expected = {
        REACHES,
        NOTHING,
        FASTER,
        TRANSFERS,
        TOLD,
        KNOWN,
        MOVERS,
        PAIRS,
        PLANTED,
        TWINS,
        LIST,
        ATTRIBUTION,
        MEAN,
    }
    assert expected | {PLANNING} <= set(claims)
    assert SWEEP not in claims  # it is about GPT-2 small


def test_none_holds_where_none_is_true(record: Record) -> None:
    """On either database."""
    write_searches(record, FALSE)
    claims = claims_of(record)
    assert {text: claim.ours for text, claim in claims.items() if claim.ruling.verdict is not NO} == {}
    (most, lead, start) = claims[TRANSFERS].parts
    assert (most.ruling.verdict, lead.ruling.verdict, start.ruling.verdict) == (NO, NO, MAYBE)
    assert all(part.ruling.verdict is NO for part in claims[LIST].parts)


def test_what_cannot_be_told_is_not(tmp_path: Path) -> None:
    record = opened(tmp_path, ALIKE)
    claims = claims_of(record)
    record.close()
    told = {text: claims[text].ruling.verdict for text in (FASTER, TOLD, PAIRS, ATTRIBUTION, PLANTED, TWINS)}
    assert told == {FASTER: MAYBE, TOLD: MAYBE, PAIRS: MAYBE, ATTRIBUTION: MAYBE, PLANTED: MAYBE, TWINS: MAYBE}
    assert claims[MOVERS].ruling.verdict is NO  # the name movers are those that are found
    lead = claims[TRANSFERS].parts[1]
    assert lead.ruling.verdict is NO  # around 0, and short of the published difference
    assert claims[PLANTED].sentence == "This study has not recorded what it takes to tell."


def test_nothing_is_learned_where_all_heads_are_tried(tmp_path: Path) -> None:
    record = opened(tmp_path, World(starts={1: 4000, 5: 0}))
    claim = claims_of(record)[FASTER]
    record.close()
    assert claim.ruling.verdict is MAYBE
    assert all("before it has learned anything" in part.sentence for part in claim.parts)


def test_gpt2_has_the_published_sweep_beside_it(tmp_path: Path) -> None:
    record = opened(tmp_path, World(model="openai-community/gpt2", stages=("heads",)))
    claim = claims_of(record)[SWEEP]
    record.close()
    assert claim.published.startswith("1.10 3.32, 0.9 2.82")
    assert claim.ruling.verdict is MAYBE  # the synthetic model has no head 1.10


@pytest.mark.parametrize("stages", [(), ("heads", "planted"), ("search",)])
def test_what_is_missing_is_named(tmp_path: Path, stages: tuple[str, ...]) -> None:
    record = opened(tmp_path / "home", World(stages=stages))
    html = write_report(record, STUDY, tmp_path / "page").read_text(encoding="utf-8")
    drawn = {module.NAME for module in REPORT.figures if f'alt="{module.TITLE}.' in html}
    expected = {"heads", "known", "pairs", "attribution", "kinds"} if "heads" in stages else set()
    expected |= {"planted"} if "planted" in stages else set()
    expected |= {"learning", "transfer", "planning"} if "search" in stages else set()
    assert drawn == expected
    assert html.count('alt="Not recorded in this study:') == len(REPORT.figures) - len(drawn)
    decided = {text for text, claim in claims_of(record).items() if claim.ruling.verdict is not MAYBE}
    assert (REACHES in decided) == ("search" in stages)
    assert (PAIRS in decided) == ("heads" in stages)
    assert (TWINS in decided) == ("planted" in stages)
    record.close()


def test_the_page_shows_all_and_speaks_of_no_autoencoders(whole: Record, out: Path) -> None:
    html = (out / "index.html").read_text(encoding="utf-8")
    assert {path.stem for path in (out / "figures").iterdir()} == {module.NAME for module in REPORT.figures}
    assert "Not recorded" not in html and "utoencoder" not in html and "Learner" not in html
    assert "GPT2LMHeadModel, 6 blocks of 128 dimensions" in html  # as described where heads were ablated
    targets = set(re.findall(r'href="#([^"]+)"', html))
    assert targets <= set(re.findall(r'id="([^"]+)"', html))
    text = " ".join(unescape(html).split())
    for row in rows_of(whole):
        assert row.ruling.rule in text


def test_every_shown_query_asks_views_and_can_be_copied(whole: Record, out: Path) -> None:
    html = unescape((out / "index.html").read_text(encoding="utf-8"))
    shown = set(re.findall(r"<pre>(SELECT.*?)</pre>", html, flags=re.S))
    assert len(shown) > 10
    for sql in shown:
        whole.query(sql)
        assert set(re.findall(r"(?:FROM|JOIN)\s+(\w+)", sql)) <= set(VIEWS)


def test_the_page_is_the_same_when_made_again(whole: Record, out: Path, tmp_path: Path) -> None:
    write_report(whole, STUDY, tmp_path)
    assert (tmp_path / "index.html").read_bytes() == (out / "index.html").read_bytes()


def test_searches_are_read_seed_by_seed(whole: Record) -> None:
    reader, facts = about(whole)
    found = read_found(reader, facts, "docstring")
    one = policy(found, 5, "none")
    assert one is not None and one.best.shape == (SEEDS, EPISODES, STEPS)
    np.testing.assert_allclose(one.oracle, true_scores()["docstring"].max(1))
    for row in whole.query(
        "SELECT seed, episode, step, best_score, forward_passes FROM v_search_step WHERE task = 'docstring' AND "
        "method = 'ppo' AND trained_best_of = 5 AND task_code = 'none' AND best_of = 1 AND step IN (0, 7)"
    ).itertuples(index=False):
        assert one.best[row.seed, row.episode, row.step] == row.best_score
        assert one.passes[row.seed, row.episode, row.step] == row.forward_passes
    shares = whole.query(
        "SELECT avg(best_score) / avg(oracle) AS share FROM v_search_episode WHERE task = 'docstring' AND "
        "method = 'ppo' AND trained_best_of = 5 AND task_code = 'none' AND best_of = 1"
    )
    interval = matched.of_found(one, 200)
    assert interval is not None and interval.value == pytest.approx(shares["share"][0])
    assert (count_heads(reader, facts), budget_of(found)) == (ALL, 2 + 2 * STEPS)
    assert read_costs(reader, facts) == {1: 48_000, 5: 240_000}
    ways = usual(found, facts, "docstring")
    assert {way.code for way in ways} == {"none"} and {way.best_of for way in ways} == {1}
    assert [way.label for way in ways][:3] == ["policy, K = 1", "policy, K = 5", "random heads"]


def test_baselines_are_told_what_policies_are(whole: Record) -> None:
    found = read_found(*about(whole), "docstring")
    for code in ("none", "induction", "ioi"):
        assert baseline(found, "training_mean", code) is found[Way("training_mean", 0, code, 1)]
    only = {way: one for way, one in found.items() if way.code == "ioi"}
    assert baseline(only, "random", "none") is only[Way("random", 0, "ioi", 1)]
    assert baseline({}, "random", "none") is None


def test_picks_are_means_over_all_rollouts(whole: Record) -> None:
    picks = read_picks(*about(whole), "ioi")[Way("random", 0, "ioi", 1)]
    rows = whole.query(
        "SELECT seed, episode, step, head FROM v_search_step WHERE task = 'ioi' AND method = 'random' AND best_of = 1"
    )
    tried = {(row.seed, row.episode, row.head): row.step + 1 for row in rows.itertuples()}
    rollouts = [(seed, episode) for seed in range(SEEDS) for episode in range(EPISODES)]
    for head in rows["head"].unique():
        expected = np.mean([tried.get((*rollout, head), STEPS + 1) for rollout in rollouts])
        assert picks[head] == pytest.approx(expected)
    assert picks.is_monotonic_increasing


def test_learning_is_measured_against_the_oracle_of_the_same_episodes(whole: Record) -> None:
    progress = read_progress(*about(whole))
    first = progress[(progress["task"] == "ioi") & (progress["transitions"] == 0)].iloc[0]
    oracle = true_scores()["ioi"][:4].max(1).mean()
    assert first["share"] == pytest.approx(first["best_score"] / oracle)
    assert transitions_to(progress, "ioi", 1) == {seed: 4000.0 for seed in range(SEEDS)}
    assert transitions_to(progress, "ioi", 5) == {seed: 400.0 for seed in range(SEEDS)}
    assert transitions_to(progress, "ioi", 5, bound=2.0) == {seed: float("inf") for seed in range(SEEDS)}


def test_heads_are_known_for_a_tasks_own_parts_and_for_general_ones() -> None:
    labels = pd.DataFrame(
        [
            ("", "induction", "5.5"),
            ("", "induction", "6.9"),
            ("", "duplicate_token", "0.1"),
            ("ioi", "name_mover", "9.9"),
            ("ioi", "name_mover", "9.9"),
        ],
        columns=["task", "label", "name"],
    )
    general = {"induction": ["5.5", "6.9"]}
    assert known_for(labels, "induction") == general
    assert known_for(labels, "ioi") == {**general, "duplicate_token": ["0.1"], "name_mover": ["9.9"]}
    assert known_for(labels, "greater_than") == {}
    published = pd.DataFrame([("ioi", "published s_inhibition", "8.6")], columns=labels.columns)
    assert known_for(pd.concat([labels, published], ignore_index=True), "ioi") == {"s_inhibition": ["8.6"]}


def test_scores_are_means_over_evaluation_episodes(whole: Record) -> None:
    scores = read_scores(*about(whole))
    mine = scores[scores["task"] == "ioi"].sort_values(["layer", "head"])
    np.testing.assert_allclose(mine["score"], true_scores()["ioi"].mean(0))
    np.testing.assert_allclose(mine["high"], true_scores()["ioi"].max(0))


def synthetic_found(rng: np.random.Generator, episodes: tuple[int, ...] = (0, 1, 2, 3), seeds: int = 2) -> Found:
    shape = (seeds, len(episodes), 5)
    best = np.maximum.accumulate(rng.normal(1, 1, shape), axis=2)
    passes = np.cumsum(rng.integers(1, 4, shape), axis=2) + 2.0
    return Found(best, passes, best.max((0, 2)) + rng.uniform(0.1, 1, len(episodes)), tuple(range(seeds)), episodes)


def test_pairs_are_hidden_where_single_ablation_shows_less_than_half(whole: Record) -> None:
    pairs = {(one.name, one.other): one for one in read_pairs(*about(whole))["ioi"]}
    rows = whole.query("SELECT name, other_name, damage, excess FROM v_head_pair WHERE task = 'ioi'")
    assert len(pairs) == 15
    for (name, other), mine in rows.groupby(["name", "other_name"]):
        one = pairs[name, other]
        alone = (mine["damage"] - mine["excess"]).to_numpy()
        assert one.alone == pytest.approx(alone.mean())
        assert one.hidden.value == pytest.approx(
            np.mean([e - max(a, 0) for e, a in zip(mine["excess"], alone, strict=True)])
        )
    told = dict(zip(pairs, above([one.hidden for one in pairs.values()]), strict=True))
    assert [pair for pair, hides in told.items() if hides] == [("0.1", "0.2")]


@given(st.integers(0, 2**32))
def test_scores_over_passes_agree_with_a_plain_loop(seed: int) -> None:
    found = synthetic_found(np.random.default_rng(seed))
    budget = 12
    measured = found.per_pass(budget)
    for s in range(2):
        for e in range(4):
            held = []
            for passes in range(1, budget + 1):
                done = [t for t in range(found.steps) if found.passes[s, e, t] <= passes]
                held.append(max(found.best[s, e, done[-1]], 0.0) if done else 0.0)
            assert measured[s, e] == pytest.approx(np.mean(held))
            assert found.per_step()[s, e] == pytest.approx(np.mean([max(one, 0.0) for one in found.best[s, e]]))
            last = found.best[s, e, -1]
            first = next(t for t in range(found.steps) if found.best[s, e, t] >= (0.9 * last if last > 0 else last))
            assert found.reach(0.9)[s, e] == first + 1


def test_shares_and_differences_agree_with_a_plain_bootstrap() -> None:
    rng = np.random.default_rng(4)
    first, second = synthetic_found(rng, seeds=3), synthetic_found(rng, seeds=1)
    count, oracle = 50, first.oracle
    episodes, seeds = resamples(4, count, 0), resamples(3, count, 1)
    shares, differences = [], []
    for drawn_episodes, drawn_seeds in zip(episodes.astype(int), seeds.astype(int), strict=True):
        e, s = np.repeat(np.arange(4), drawn_episodes), np.repeat(np.arange(3), drawn_seeds)
        mine = np.mean([first.best[i, j, -1] for i in s for j in e])
        other = np.mean([second.best[0, j, -1] for j in e])
        shares.append(mine / oracle[e].mean())
        differences.append((mine - other) / oracle[e].mean())
    interval = matched.of_found(first, count)
    assert interval is not None
    assert (interval.low, interval.high) == pytest.approx(tuple(np.quantile(shares, [0.025, 0.975])))
    difference = matched.compare(first, second, count, Found.at_end)
    assert difference is not None
    assert difference.value == pytest.approx((first.at_end().mean() - second.at_end().mean()) / oracle.mean())
    assert (difference.low, difference.high) == pytest.approx(tuple(np.quantile(differences, [0.025, 0.975])))


def test_only_common_episodes_are_compared() -> None:
    rng = np.random.default_rng(5)
    first, second = synthetic_found(rng, (0, 1, 2, 3)), synthetic_found(rng, (2, 3, 4, 5))
    found = matched.compare(first, second, 50, Found.at_end)
    assert found is not None
    expected = (first.best[:, 2:, -1].mean() - second.best[:, :2, -1].mean()) / first.oracle[2:].mean()
    assert found.value == pytest.approx(expected)
    assert matched.compare(first, synthetic_found(rng, (7, 8, 9, 10)), 50, Found.at_end) is None
    assert matched.compare(first, None, 50, Found.at_end) is None


def test_there_is_no_share_of_nothing() -> None:
    found = synthetic_found(np.random.default_rng(6))
    idle = replace(found, oracle=np.full(4, -0.1))
    share, difference = matched.of_found(idle, 50), matched.compare(idle, idle, 50, Found.at_end)
    assert share is not None and difference is not None
    assert not share.known and not difference.known
    assert verdicts.exceeds(share, 0.5, "half").verdict is MAYBE


@given(st.integers(1, 20), st.integers(1, 40), st.integers(0, 10))
def test_the_overlap_has_the_probability_of_drawing_so_many(known: int, heads: int, hits: int) -> None:
    heads = max(heads, known)
    k = min(10, known)
    hits = min(hits, k)
    ranking = [f"known{i}" for i in range(hits)] + [f"other{i}" for i in range(heads - known)]
    ranking += [f"known{i}" for i in range(hits, known)]
    found = overlap(ranking, {f"known{i}" for i in range(known)}, heads)
    n = len(found.hits)
    p = sum(comb(known, i) * comb(heads - known, k - i) for i in range(n, k + 1)) / comb(heads, k)
    assert (found.k, found.known, n >= hits) == (k, known, True)
    assert found.p == pytest.approx(p) and found.expected == pytest.approx(k * known / heads)


def test_the_papers_own_numbers_agree_with_each_other() -> None:
    (found, known), (others, all_others) = authors.classes()
    assert (found, known, others, all_others) == (1, 13, 5, 13)
    published = authors.overlap("ioi", "k1")
    assert published is not None and published.startswith(f"{found + others} of 10 (chance 1.8")
    for k in (1, 5):
        for code in ("none", "induction", "ioi"):
            share, printed = authors.matched(k, code), authors.printed(k, code)
            assert share is not None and printed is not None and share < printed + 0.02
    assert authors.matched(5, "docstring") is None
    steps, curves = authors.curves()
    assert steps[-1] == 50 and curves["random"][-1] == pytest.approx(authors.random_share(), abs=0.005)
    assert authors.learning("docstring") == {} and authors.learning("ioi")[5].iloc[0] == 1


@pytest.mark.parametrize(
    ("difference", "verdict"),
    [
        (Interval(0.0, -0.01, 0.02), YES),
        (Interval(0.05, 0.03, 0.07), NO),
        (Interval(-0.05, -0.07, -0.03), NO),
        (Interval(0.01, -0.01, 0.03), MAYBE),
        (Interval(0.01, float("nan"), 0.03), MAYBE),
        (None, MAYBE),
    ],
)
def test_what_is_negligible(difference: Interval | None, verdict: Verdict) -> None:
    assert verdicts.negligible(difference, 0.02).verdict is verdict
