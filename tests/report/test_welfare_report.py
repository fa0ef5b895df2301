"""The page on trainings in the maze: every figure, every verdict and their estimators, from synthetic rows."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from html import unescape
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from jobs.cli.run import _questions
from jobs.report import verdicts, write_report
from jobs.report.drawing import Claim
from jobs.report.reader import NotRecorded, Reader, StudyFacts
from jobs.report.reproductions import REPRODUCTIONS
from jobs.report.verdicts import Interval, Verdict
from jobs.report.welfare_axis import REPORT, authors
from jobs.report.welfare_axis.bridge import Bridged, holm, read_bridge
from jobs.report.welfare_axis.claims_emotions import fisher
from jobs.report.welfare_axis.claims_question import kind_between
from jobs.report.welfare_axis.emotions import Words, cells, more, read_words
from jobs.report.welfare_axis.fig_checkpoints import read_line, trend
from jobs.report.welfare_axis.fig_planted import WRITTEN
from jobs.report.welfare_axis.fig_tracking import rebinned
from jobs.report.welfare_axis.steering import Condition, read_curves, read_slopes, slope
from jobs.report.welfare_axis.trainings import (
    above_naive,
    ends,
    primary,
    read_choices,
    read_progress,
    read_returns,
    trainings,
    welch,
)
from jobs.report.welfare_axis.vectors import Owner, apart, chosen, cosines, naive_of, read_cosines, read_vectors
from jobs.study import Study, load
from jobs.welfare.emotions import EMOTIONS
from jobs.welfare.planted import KINDS
from tdlens.record import Record
from tdlens.record.views import VIEWS
from tdlens.settings import Settings
from tests.published_doses import dose_curves
from tests.report.synthetic_welfare import BLOCKS, CHECKPOINTS, CHOSEN, MAZES, STEPS, STUDY, World, write_welfare

YES, NO, MAYBE = Verdict.REPLICATES, Verdict.DIFFERS, Verdict.UNCLEAR

LEARNED = "The maze is learned: primary (Dr. GRPO)"
CONTROL = "With rewards shuffled nothing of the kind is learned: shuffled"
APART = "Gold and Mold point apart after the maze and not before it: primary (Dr. GRPO)"
CONFIDENCE = "Confidence rises along Gold and falls along Mold in the model that no maze has trained"
PATTERN = "The whole pattern, beyond the naive model's own vectors of the same norm: "
RANDOM = "The whole pattern, beyond random pairs of the same norms and angle: primary"
SHUFFLED = "The whole pattern is not there after a training on shuffled rewards (shuffled, at equal norms)"
TRUTH = "The analysis finds an axis where one was written into the weights, and none where none was"
QUESTION = "The question: there was an axis before the maze, and what is rewarded there is tied to it"
BRIDGE = (
    "After the maze Gold points along latents of TD errors and values in the same model, Mold against them; "
    "not before it"
)
CORRECT = (
    "After “That's right” activations lie farther along Gold, after “That's wrong” along Mold, before the maze "
    "as after it: primary"
)
PLEASANT = "Gold lies near pleasant emotion words, Mold near unpleasant ones"
MIRRORED = "Among emotion words Gold and Mold are mirror images"
COMPONENT = "On the first principal component of emotions Gold and Mold lie on opposite sides"
GROWS = "Along the training the vectors separate and turn apart as the return grows: primary"


def opened(home: Path, world: World) -> Record:
    record = Record.open(Settings.from_environment({"TDLENS_HOME": str(home)}))
    write_welfare(record, world)
    return record


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Record]:
    """A study in which everything holds; read only."""
    record = opened(tmp_path_factory.mktemp("welfare"), World())
    yield record
    record.close()


@pytest.fixture(scope="module")
def out(whole: Record, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_report(whole, STUDY, tmp_path_factory.mktemp("page")).parent


def about(record: Record) -> tuple[Reader, StudyFacts]:
    reader = Reader(record, STUDY)
    return reader, StudyFacts(reader)


def load_welfare() -> Study:
    return load(Path(__file__).parents[2] / "studies" / "welfare_axis.toml")


def claims_of(record: Record) -> dict[str, Claim]:
    return {claim.text: claim for claim in REPORT.claims(*about(record))}


def verdicts_of(home: Path, world: World) -> dict[str, Verdict]:
    record = opened(home, world)
    found = {text: claim.ruling.verdict for text, claim in claims_of(record).items()}
    record.close()
    return found


def test_all_claims_hold_where_all_is_true(whole: Record) -> None:
    claims = claims_of(whole)
    assert {text: claim.ours for text, claim in claims.items() if claim.ruling.verdict is not YES} == {}
    several = {f"{PATTERN}{one.said}" for one in trainings(about(whole)[1]) if not one.shuffled}
    assert len(several) == 3
    expected = {LEARNED, CONTROL, APART, CONFIDENCE, RANDOM, SHUFFLED, TRUTH, QUESTION, BRIDGE, GROWS, CORRECT}
    assert several | expected <= set(claims)


def test_none_holds_where_none_is_true(record: Record) -> None:
    """On either database."""
    world = World(axis=-1.0, strength={"shuffled": 1.0}, planted=False)
    write_welfare(record, world)
    found = {text: claim.ruling.verdict for text, claim in claims_of(record).items()}
    # a control of what isn't there tells nothing, nor do words near vectors that are none of their tiles
    undecided = {CONTROL, GROWS, SHUFFLED, PLEASANT, MIRRORED, COMPONENT}
    assert {text for text, verdict in found.items() if verdict is not NO} == {
        *undecided,
        *(text for text in found if text.startswith("… and not after a training on shuffled rewards")),
    }
    assert {found[text] for text in undecided} == {MAYBE}


def test_without_any_effect_nothing_is_claimed(tmp_path: Path) -> None:
    found = verdicts_of(tmp_path, World(axis=0.0))
    assert found[CORRECT] is MAYBE
    open_ = {PATTERN + "primary (Dr. GRPO)", RANDOM, SHUFFLED, QUESTION, CONFIDENCE, BRIDGE, LEARNED}
    assert {text for text in open_ if found[text] is not MAYBE} <= {PATTERN + "primary (Dr. GRPO)"}
    assert found[APART] is NO


def test_one_missing_effect_is_no_whole_pattern(tmp_path: Path) -> None:
    found = verdicts_of(tmp_path, World(lacking="refusal"))
    assert found[RANDOM] is MAYBE and found[QUESTION] is not YES and found[CONFIDENCE] is YES


def test_a_pattern_without_reward_speaks_against_it(tmp_path: Path) -> None:
    found = verdicts_of(tmp_path, World(strength={"shuffled": 0.9}))
    assert found[SHUFFLED] is NO and found[QUESTION] is NO
    assert found[PATTERN + "primary (Dr. GRPO)"] is YES


def test_a_control_that_does_the_reverse_is_no_pattern(tmp_path: Path) -> None:
    found = verdicts_of(tmp_path, World(strength={"primary": 0.0}, untrained=-1.0))
    assert found[PATTERN + "primary (Dr. GRPO)"] is MAYBE and found[QUESTION] is not YES


def test_a_control_with_the_whole_pattern_has_it_however_much_less_it_does(tmp_path: Path) -> None:
    """A third of what the primary training's vectors do, clearly, in all evaluations."""
    found = verdicts_of(tmp_path, World(strength={"shuffled": 0.33}))
    assert found[SHUFFLED] is NO and found[QUESTION] is NO


@pytest.mark.parametrize(
    "setting",
    ['steering.evaluations=["sentiment"]', 'steering.steered=["primary"]', 'steering.steered=["swap", "shuffled"]'],
)
def test_nothing_is_concluded_from_what_was_not_asked(tmp_path: Path, setting: str) -> None:
    record = opened(tmp_path, World(settings=(setting,)))
    question = claims_of(record)[QUESTION]
    record.close()
    assert question.ruling.verdict is MAYBE
    assert [part.ours for part in question.parts if part.ruling.verdict is not YES] == ["not recorded"]


def test_the_conclusion_rests_on_what_the_vectors_do_in_both_models(whole: Record) -> None:
    rests = {part.text for part in claims_of(whole)[QUESTION].parts}
    assert {f"… {CONFIDENCE}", "… In the model after the maze the vectors do the same: primary"} <= rests
    assert "its texts were written so" in claims_of(whole)[QUESTION].sentence


def test_a_cosine_of_vectors_that_tell_nothing_apart_tells_nothing(tmp_path: Path) -> None:
    record = opened(tmp_path, World(told=-0.05))
    claims = claims_of(record)
    record.close()
    assert claims[APART].ruling.verdict is MAYBE
    assert [part.ruling.verdict for part in claims[APART].parts] == [YES, MAYBE]


def test_a_control_that_lacks_what_is_nowhere_tells_nothing(tmp_path: Path) -> None:
    found = verdicts_of(tmp_path, World(strength={"primary": 0.3}))
    (control,) = (text for text in found if text.startswith("… and not after a training on shuffled rewards"))
    assert found[control] is MAYBE and found[APART] is NO


def test_rows_of_the_question_after_a_reproduction_can_be_told_apart(whole: Record) -> None:
    for query in (REPRODUCTIONS["welfare-axis"].query, _questions(load_welfare())[0].split('"')[1]):
        rows = whole.query(query)
        told = rows.drop(columns=["value", "ci_low", "ci_high"])
        assert len(rows) and not told.duplicated().any()


def test_emotions_near_a_controls_vectors_are_not_the_mazes(tmp_path: Path) -> None:
    claims = [PLEASANT, MIRRORED, COMPONENT]
    found = verdicts_of(tmp_path / "shuffled", World(strength={"shuffled": 1.0}))
    assert all(found[text] is not YES for text in claims)
    found = verdicts_of(tmp_path / "none", World(settings=('training=[{name="primary"}]',)))
    assert [found[text] for text in claims] == [MAYBE] * 3


def test_valence_may_be_another_component_than_the_first(tmp_path: Path) -> None:
    found = verdicts_of(tmp_path, World(valence=2))
    (second,) = (text for text in found if text.startswith("On the component that follows valence most closely (PC2"))
    assert found[COMPONENT] is NO and found[second] is YES


def test_words_of_one_cell_count_once() -> None:
    rng = np.random.default_rng(0)
    words = sorted(EMOTIONS)[:60]
    values = rng.normal(size=(60, 2))
    own = pd.DataFrame(values, index=[f"unknown {word}" for word in words], columns=["gold", "mold"])
    found = Words(own.assign(valence=0.0), {}).r
    expected = stats.pearsonr(values[:, 0], values[:, 1])
    assert found is not None and found.value == pytest.approx(expected.statistic)
    bounds = expected.confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((bounds.low, bounds.high), abs=0.06)
    # each word ten times is no ten words
    code = cells(pd.Index(words))
    alike = pd.DataFrame(values[code], index=words, columns=["gold", "mold"])
    repeated = Words(alike.assign(valence=0.0), {})
    assert repeated.cells == len({EMOTIONS[word] for word in words}) < 60
    wide, narrow = repeated.r, stats.pearsonr(alike["gold"], alike["mold"]).confidence_interval(0.95)
    assert wide is not None and wide.high - wide.low > 1.1 * (narrow.high - narrow.low)
    assert more(repeated, repeated, "gold", "mold") == Interval(0.0, 0.0, 0.0)
    assert Words(own.assign(valence=0.0), {}).valence_r("gold") is None


def test_an_analysis_that_errs_is_not_trusted(tmp_path: Path) -> None:
    found = verdicts_of(tmp_path, World(planted=False))
    assert found[TRUTH] is NO and found[QUESTION] is NO


@pytest.mark.parametrize("stages", [("train",), ("concepts", "emotions"), ("steer", "contrast", "planted")])
def test_what_is_missing_is_named(tmp_path: Path, stages: tuple[str, ...]) -> None:
    record = opened(tmp_path / "home", World(stages=stages))
    reader, facts = about(record)
    drawn = set()
    for module in REPORT.figures:
        try:
            module.draw(reader, facts)
        except NotRecorded:
            continue
        drawn.add(module.NAME)
    expected = {
        "train": {"training"},
        "concepts": {"geometry", "separation", "tokens"},
        "emotions": {"emotions"},
        "steer": {"doses", "unit_doses", "texts"},
        "contrast": {"pattern"},
        "planted": {"planted"},
    }
    assert drawn == set().union(*(expected[stage] for stage in stages))
    claims = claims_of(record)
    record.close()
    assert claims[QUESTION].ruling.verdict is MAYBE
    assert (claims[CONFIDENCE].ruling.verdict is MAYBE) == ("contrast" not in stages)
    assert claims[BRIDGE].parts[0].sentence == "This study has not recorded what it takes to tell."


def test_a_study_that_has_computed_nothing_has_a_page(tmp_path: Path) -> None:
    record = opened(tmp_path / "home", World(stages=()))
    html = write_report(record, STUDY, tmp_path / "page").read_text(encoding="utf-8")
    found = {claim.ruling.verdict for claim in claims_of(record).values()}
    record.close()
    assert html.count('alt="Not recorded in this study:') == len(REPORT.figures)
    assert found == {MAYBE}


def test_the_page_shows_all(whole: Record, out: Path) -> None:
    html = (out / "index.html").read_text(encoding="utf-8")
    assert {path.stem for path in (out / "figures").iterdir()} == {module.NAME for module in REPORT.figures}
    assert "Not recorded" not in html and "utoencoders</a>" not in html
    assert f"LlamaForCausalLM, {BLOCKS} blocks of 64 dimensions" in html
    targets = set(re.findall(r'href="#([^"]+)"', html))
    assert targets <= set(re.findall(r'id="([^"]+)"', html))
    text = " ".join(unescape(html).split())
    for claim in claims_of(whole).values():
        for row in (claim, *claim.parts):
            assert row.ruling.rule in text
    assert "How do you feel <about> refusal?" in text and "<about>" not in html


def test_every_shown_query_asks_views_and_can_be_copied(whole: Record, out: Path) -> None:
    html = unescape((out / "index.html").read_text(encoding="utf-8"))
    shown = set(re.findall(r"<pre>(SELECT.*?)</pre>", html, flags=re.S))
    assert len(shown) > 12
    for sql in shown:
        whole.query(sql)
        assert set(re.findall(r"(?:FROM|JOIN)\s+(\w+)", sql)) <= set(VIEWS)


def test_returns_are_compared_in_the_same_mazes(whole: Record) -> None:
    reader, facts = about(whole)
    returns, first = read_returns(reader, facts), primary(facts)
    rows = whole.query('SELECT model, variant, seed, "return" AS points FROM v_episode')
    mine, naive = (
        rows[(rows["model"] == model) & (rows["variant"] == "standard")].set_index("seed")["points"]
        for model in ("welfare:primary", "welfare")
    )
    assert len(mine) == MAZES
    difference = (mine - naive).to_numpy()
    lead = above_naive(returns, first)
    expected = stats.ttest_1samp(difference, 0).confidence_interval(0.95)
    assert lead is not None and lead.value == pytest.approx(difference.mean())
    assert (lead.low, lead.high) == pytest.approx((expected.low, expected.high))
    assert above_naive({("primary", "standard"): mine}, first) is None


def test_a_training_rises_from_its_first_to_its_last_fifth(whole: Record) -> None:
    reader, facts = about(whole)
    progress = read_progress(reader, facts)
    points = whole.query("SELECT mean_return FROM v_maze_progress WHERE training = 'primary' ORDER BY step")[
        "mean_return"
    ].to_numpy()
    early, late = ends(progress["primary"])
    np.testing.assert_allclose(early, points[: STEPS // 5])
    np.testing.assert_allclose(late, points[-STEPS // 5 :])
    assert progress["sft"]["mean_return"].isna().all()
    assert welch([1.0], [2.0, 3.0]) is None


@given(st.lists(st.floats(-5, 5), min_size=2, max_size=8), st.lists(st.floats(-5, 5), min_size=2, max_size=8))
def test_welch_is_antisymmetric_and_holds_the_difference(first: list[float], other: list[float]) -> None:
    one, back = welch(first, other), welch(other, first)
    assert one is not None and back is not None
    assert one.value == pytest.approx(np.mean(first) - np.mean(other), abs=1e-9)
    assert one.low <= one.value <= one.high
    assert (back.low, back.high) == pytest.approx((-one.high, -one.low), abs=1e-9)


def test_vectors_are_read_model_by_model(whole: Record) -> None:
    reader, facts = about(whole)
    vectors, angles, first = read_vectors(reader), read_cosines(reader), primary(facts)
    place = chosen(vectors, Owner(first, "standard"), "gold")
    assert place is not None and place["block"] == CHOSEN["gold"]
    naive = cosines(angles, naive_of(first))
    assert len(naive) == BLOCKS + 1 and naive.min() > -0.3
    found = apart(cosines(angles, Owner(first, "standard")))
    trained = whole.query(
        "SELECT block, cosine FROM v_concept_cosine WHERE training = 'primary' AND step IS NULL AND concept = 'mold' "
        "AND other = 'gold' AND block BETWEEN 1 AND 5"
    )
    assert found is not None and (found.least, found.mean) == pytest.approx(
        (trained["cosine"].min(), trained["cosine"].mean())
    )


def test_checkpoints_follow_the_naive_model(whole: Record) -> None:
    line = read_line(*about(whole))
    assert [one.step for one in line] == [0, *CHECKPOINTS, STEPS]
    points = whole.query("SELECT step, mean_return FROM v_maze_progress WHERE training = 'primary'")
    between = points[(points["step"] > 10) & (points["step"] <= 20)]["mean_return"].mean()
    assert line[2].points == pytest.approx(between)
    assert trend(line, "d") == pytest.approx(1.0) and trend(line, "least") < -0.9
    assert np.isnan(trend(line[:2], "d"))


def test_curves_are_headline_measures_over_all_items(whole: Record) -> None:
    reader, facts = about(whole)
    curves, slopes = read_curves(reader, facts), read_slopes(reader, facts)
    rows = whole.query(
        "SELECT dose, avg(value) AS value FROM v_steering_effect WHERE training = 'primary' AND source = 'random' AND "
        "reader = 'naive' AND concept = 'gold' AND evaluation = 'sentiment' AND dose_kind = 'alpha' AND grp = 'all' "
        "AND measure = 'valence' GROUP BY dose ORDER BY dose"
    )
    curve = curves[Condition("primary", "naive", "random", "gold", "sentiment", "alpha")]
    np.testing.assert_allclose(curve.doses, rows["dose"])
    np.testing.assert_allclose(curve.values, rows["value"])
    assert curve.at(3.3) is None
    assert all(np.nanmax(one.values) < 2 for one in curves.values())  # the probe's values are larger
    gold, mold, both = (slope(slopes, "primary", "refusal", quantity) for quantity in ("gold", "mold", "contrast"))
    assert gold is not None and mold is not None and both is not None
    assert both.value == pytest.approx(gold.value - mold.value) and gold.value < 0 < mold.value
    assert slope(slopes, "swap", "refusal", reader="swap") is None
    assert kind_between(slopes, tuple(trainings(facts))) == "unit"
    assert (
        kind_between({key: one for key, one in slopes.items() if key[2] == "alpha"}, tuple(trainings(facts))) == "alpha"
    )


def test_published_numbers_stand_beside_their_counterparts(whole: Record) -> None:
    _, facts = about(whole)
    by_name = {one.name: one for one in trainings(facts)}
    everything = dose_curves()
    for name, theirs in (("primary", "4B-Instruct"), ("swap", "swap"), ("sft", "SFT")):
        found = authors.curve(by_name[name], "gold", "trained", "mmlu")
        wanted = {"model": theirs, "source": "trained", "evaluation": "mmlu", "vector": "gold"}
        rows = everything[(everything[list(wanted)] == pd.Series(wanted)).all(axis=1)]
        assert found is not None
        np.testing.assert_allclose(found.to_numpy(), rows.sort_values("alpha")["value"])
    assert authors.curve(by_name["shuffled"], "gold", "trained", "mmlu") is None
    assert authors.counterpart(by_name["shuffled"]) is None
    place = authors.geometry(by_name["primary"])
    assert place is not None and (place.least, place.layer) == (-0.947, 35)
    expected = stats.linregress([-4, -2, 0, 2, 4], [0.005, 0.030, 0.607, 0.999, 1.0]).slope
    assert authors.slope(by_name["primary"], "gold", "trained", "mmlu") == pytest.approx(expected)
    assert authors.top_emotions("gold")[:2] == ["inspired", "loving"]


def test_emotions_are_compared_word_by_word(whole: Record) -> None:
    reader, facts = about(whole)
    words = read_words(reader, Owner(primary(facts), "standard"))
    rows = whole.query(
        "SELECT g.cosine AS gold, m.cosine AS mold FROM v_emotion_cosine AS g JOIN v_emotion_cosine AS m ON "
        "g.emotion = m.emotion AND g.model = m.model WHERE g.concept = 'gold' AND m.concept = 'mold' AND "
        "g.training = 'primary'"
    )
    expected = stats.pearsonr(rows["gold"], rows["mold"])
    assert words.r is not None and words.r.value == pytest.approx(expected.statistic)
    bounds = expected.confidence_interval(0.95)
    again = fisher(words.r.value, len(rows))
    assert again is not None and (again.low, again.high) == pytest.approx((bounds.low, bounds.high), abs=1e-6)
    assert words.slope == pytest.approx(stats.linregress(rows["mold"], rows["gold"]).slope)
    assert words.top("gold", 1) == ["proud"]


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_is_holm(p: list[float]) -> None:
    adjusted = holm(p)
    order = sorted(range(len(p)), key=lambda place: p[place])
    plain, highest = [0.0] * len(p), 0.0
    for rank, place in enumerate(order):
        highest = max(highest, min(1.0, p[place] * (len(p) - rank)))
        plain[place] = highest
    assert adjusted == pytest.approx(plain)
    assert holm([*p, float("nan")])[:-1] == pytest.approx(plain)


def test_the_bridge_is_corrected_for_all_tests_of_a_source(whole: Record) -> None:
    reader, facts = about(whole)
    found = read_bridge(reader, primary(facts))
    trained = [one for one in found if not one.concept.startswith("untrained")]
    least = min(trained, key=lambda one: one.p)
    assert least.adjusted == pytest.approx(min(1.0, 0.0005 * 2 * len(trained)))
    assert all(one.adjusted == 1.0 for one in found if one.concept.startswith("untrained"))


@pytest.mark.parametrize(
    ("before", "verdict"),
    [(0.0, YES), (0.45, YES), (0.8, MAYBE), (1.0, NO), (-1.0, YES)],
)
def test_latents_near_the_naive_models_own_vectors_are_not_the_mazes(
    tmp_path: Path, before: float, verdict: Verdict
) -> None:
    record = opened(tmp_path, World(stages=("bridge",), bridged=before))
    bridge = claims_of(record)[BRIDGE]
    record.close()
    assert bridge.ruling.verdict is verdict
    kinds = {part.text.rpartition(": ")[2]: part.ruling.verdict for part in bridge.parts}
    assert kinds == {
        "nearer than latents that fire as often": YES,
        "farther out than the naive model's own vector": verdict,
    }


def test_a_cosine_that_matched_sets_exceed_is_on_no_side() -> None:
    def one(cosine: float, low: float, high: float) -> Bridged:
        null = Interval((low + high) / 2, low, high)
        return Bridged("gold", "topk", 1, "td_error", 8, cosine, null, 0.01, 0.1, 0.2, 0.5)

    assert [one(0.5, -0.1, 0.3).side, one(-0.5, -0.3, 0.1).side, one(0.1, 0.2, 0.4).side] == [1, -1, 0]
    assert one(0.5, -0.1, 0.3).out == pytest.approx(1.0)
    assert np.isnan(one(0.5, 0.2, 0.2).out) and one(0.5, 0.2, 0.2).side == 0


def test_intervals_end_where_the_measure_does_and_random_vectors_have_a_range(whole: Record) -> None:
    curves = read_curves(*about(whole))
    for key, curve in curves.items():
        least = -1.0 if key.evaluation == "sentiment" else 0.0
        assert curve.lows.min() >= least and curve.highs.max() <= 1.0
    rows = whole.query(
        "SELECT dose, min(value) AS low, max(value) AS high FROM v_steering_effect WHERE training = 'primary' "
        "AND source = 'random' AND concept = 'mold' AND evaluation = 'refusal' AND dose_kind = 'alpha' AND grp = 'all' "
        "GROUP BY dose ORDER BY dose"
    )
    curve = curves[Condition("primary", "naive", "random", "mold", "refusal", "alpha")]
    np.testing.assert_allclose(curve.lows, rows["low"])
    np.testing.assert_allclose(curve.highs, rows["high"])


@given(st.lists(st.integers(0, 9), min_size=1, max_size=60), st.integers(0, 20))
def test_a_rebinned_histogram_holds_the_same(counts: list[int], most: int) -> None:
    edges = np.linspace(-2.0, 2.0, len(counts) + 1)
    wider, shares = rebinned(edges.tolist(), counts, most)
    assert len(shares) == len(wider) - 1 <= max(most, 1)
    assert (wider[0], wider[-1]) == (edges[0], edges[-1])
    assert shares.sum() == pytest.approx(float(sum(counts) > 0))
    for low, high, share in zip(wider, wider[1:], shares, strict=False):
        inside = [n for n, at in zip(counts, edges, strict=False) if low <= at < high]
        assert share * max(sum(counts), 1) == pytest.approx(sum(inside))


def test_choices_stand_beside_the_naive_models(whole: Record) -> None:
    reader, facts = about(whole)
    choices = read_choices(reader, facts)
    rows = whole.query("SELECT * FROM v_model_metric WHERE metric = 'gold_taken, swap'").set_index("model")
    for name, model in (("swap", "welfare:swap"), ("naive", "welfare")):
        values = (float(rows.loc[model, one]) for one in ("value", "ci_low", "ci_high"))
        assert choices[name, "swap", "gold_taken"] == Interval(*values)
    table = next(one for one in REPORT.figures if one.NAME == "training").draw(reader, facts).table
    assert table is not None
    place = table.header.index("Gold taken: trained / naive")
    assert table.rows[0][place] == " / ".join(
        choices[name, "standard", "gold_taken"].text() for name in ("primary", "naive")
    )


def test_what_a_planted_pair_has_is_said_of_each() -> None:
    assert tuple(WRITTEN) == KINDS


def test_words_that_vary_in_nothing_have_no_correlation_and_no_warning() -> None:
    words = sorted(EMOTIONS)[:12]
    table = pd.DataFrame({"gold": 0.1 + 1e-17, "mold": np.linspace(-1, 1, 12), "valence": np.nan}, index=words)
    table.loc[words[0], "valence"] = 1.0
    one, other = Words(table, {}), Words(table.assign(gold=np.linspace(0, 1, 12)), {})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert one.r is None and one.valence_r("mold") is None and more(one, other, "gold", "mold") is None
        assert more(other, other.__class__(table.assign(gold=1.0), {}), "gold", "mold") is None


def test_a_control_stops_short_only_of_what_is_there() -> None:
    effect = Interval(1.0, 0.8, 1.2)
    cases = [
        (Interval(0.1, -0.1, 0.3), effect, YES),
        (Interval(0.9, 0.7, 1.1), effect, NO),
        (Interval(0.5, 0.2, 0.8), effect, MAYBE),
        (Interval(0.0, -0.1, 0.1), Interval(0.2, -0.1, 0.5), MAYBE),
        (None, effect, MAYBE),
        (effect, None, MAYBE),
    ]
    for control, of, expected in cases:
        assert verdicts.stops_short(control, of, 0.5, "the effect").verdict is expected
