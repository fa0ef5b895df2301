"""The page on searches for attention heads: every figure, every verdict and their estimators, from synthetic rows."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html import unescape
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from jobs.report import write_report
from jobs.report.drawing import Claim
from jobs.report.head_ablation import REPORT, matched
from jobs.report.head_ablation.fig_budget import read_costs
from jobs.report.head_ablation.fig_learning import read_progress, transitions_to
from jobs.report.head_ablation.fig_pairs import above, read_pairs
from jobs.report.head_ablation.heads import known_for, read_picks, read_scores
from jobs.report.head_ablation.searches import Way, baseline, budget_of, count_heads, policy, read_found, usual
from jobs.report.reader import Reader, StudyFacts
from jobs.report.verdicts import Verdict
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
ATTRIBUTION = (
    "At equal forward passes, those of its training not counted, a policy is sooner than the order of attribution "
    "patching"
)
MEAN = "At equal steps it is sooner than the order of mean ablation, the sweep for it not counted"
PLANNING = (
    "Docstring, held out: told nothing, training with K = 5 does more than trying 5 heads a step at evaluation, at "
    "equal forward passes"
)
SWEEP = "The four heads whose ablation costs most on induction are those that are published, and cost as much"

TRUE = World(
    tasks=TASKS,
    baselines={"training_mean": 0.1, "attribution": 0.1, "mean_ablation": 0.1},
    overhead={"attribution": 0},
)
"""Where all holds; what is computed beforehand decides nothing."""
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
        ("ppo_k5", "docstring", "none"): 0.5,
        ("ppo_k1", "docstring", "none"): 0.6,
        ("ppo_k5", "docstring", "ioi"): 0.5,
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
    record = opened(tmp_path_factory.mktemp("searches"), TRUE)
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
    told = {text: claims[text].ruling.verdict for text in (FASTER, PAIRS, ATTRIBUTION, PLANTED, TWINS)}
    assert told == {FASTER: MAYBE, PAIRS: MAYBE, ATTRIBUTION: MAYBE, PLANTED: MAYBE, TWINS: MAYBE}
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


def test_where_heads_are_published_so_is_the_sweep(tmp_path: Path) -> None:
    """Names tell nothing: other weights may be called as the published ones."""
    record = opened(tmp_path / "published", World(published=True, stages=("heads",)))
    claim = claims_of(record)[SWEEP]
    record.close()
    assert claim.published.startswith("1.10 3.32, 0.9 2.82")
    assert claim.ruling.verdict is NO  # the synthetic model has other heads
    other = opened(tmp_path / "other", World(model="/models/gpt2", stages=("heads",)))
    assert SWEEP not in claims_of(other)
    other.close()


def test_what_chance_reaches_too_tells_nothing(tmp_path: Path) -> None:
    record = opened(tmp_path, World(baselines={"random": 1.0}))
    claims = claims_of(record)
    record.close()
    ends = [claims[REACHES].parts[0], *claims[NOTHING].parts, claims[TRANSFERS].parts[0], claims[TOLD].parts[0]]
    assert [part.ruling.verdict for part in ends] == [MAYBE] * 5
    assert all("random heads reaches" in part.ruling.rule for part in ends)


def test_nothing_is_learned_early_by_a_policy_that_is_there_untrained(tmp_path: Path) -> None:
    record = opened(tmp_path, World(starts={1: 0, 5: 0}))
    early = claims_of(record)[REACHES].parts[1]
    record.close()
    assert early.ruling.verdict is MAYBE and "before it has learned anything" in early.sentence


def test_a_list_may_know_the_best_head_of_a_held_out_task(tmp_path: Path) -> None:
    """Where it is that of a training task, a policy has to be sooner than the list."""
    alike = {("ppo_k5", "docstring", "none"): 0.9, ("ppo_k5", "docstring", "induction"): 0.9}
    for listed, expected in ((0.0, YES), (1.0, MAYBE)):
        record = opened(tmp_path / str(listed), World(skill=alike, shared=True, baselines={"training_mean": listed}))
        claims = claims_of(record)
        record.close()
        for part in (claims[TRANSFERS].parts[0], claims[TOLD].parts[0]):
            assert part.ruling.verdict is expected
            assert "is that of IOI (8 of 8), too" in part.ours and "less the fixed list" in part.ours


def test_a_rival_that_cannot_win_tells_nothing(tmp_path: Path) -> None:
    """What it computes beforehand is nearly all of the budget."""
    record = opened(tmp_path, World(overhead={"attribution": 2 * STEPS}))
    parts = claims_of(record)[ATTRIBUTION].parts
    record.close()
    assert {part.ruling.verdict for part in parts} == {MAYBE}
    assert all(float(part.ours.split()[0]) > 0 for part in parts)


@pytest.mark.parametrize("best_of", [(1,), (2, 3)])
def test_other_kinds_of_policies_have_nothing_published_beside_them(tmp_path: Path, best_of: tuple[int, ...]) -> None:
    record = opened(tmp_path, World(best_of=best_of))
    claims = claims_of(record)
    html = write_report(record, STUDY, tmp_path / "page").read_text(encoding="utf-8")
    record.close()
    compares = [text for text in claims if f"training with K = {best_of[-1]}" in text or "adds nothing" in text]
    assert bool(compares) == (len(best_of) > 1)
    published = [row.published for claim in claims.values() for row in (claim, *claim.parts) if "oracle" in row.text]
    assert (set(published) == {"–"}) == (best_of != (1,))
    assert "Not recorded" not in html


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
    interval = matched.of_found(one)
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
    told = dict(zip(pairs, above(list(pairs.values()), "hidden"), strict=True))
    assert [pair for pair, hides in told.items() if hides] == [("0.1", "0.2")]
