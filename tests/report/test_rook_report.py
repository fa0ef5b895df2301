"""The page on the rook endgame: every figure and every verdict, from synthetic rows."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html import unescape
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from envs.rook_endgame import LEGAL, N_ACTIONS, encode
from envs.rook_predicates import library
from jobs.report import verdicts, write_report
from jobs.report.drawing import Claim
from jobs.report.page import REPORTS
from jobs.report.reader import Reader, StudyFacts
from jobs.report.reproductions import REPRODUCTIONS
from jobs.report.rook_endgame import REPORT, authors
from jobs.report.rook_endgame.boards import draw_board
from jobs.report.rook_endgame.fig_features import chosen
from jobs.report.rook_endgame.fig_population import fit
from jobs.report.rook_endgame.latents import CLEAR, COLOURS, THEMES, read_sheet, said, theme
from jobs.report.rook_endgame.play import paired_returns
from jobs.report.verdicts import Interval, Verdict
from tdlens.errors import UserError
from tdlens.figures import canvas
from tdlens.record import Record
from tdlens.record.views import VIEWS
from tdlens.settings import Settings
from tests.report.synthetic_rook import LATENTS, LIVE, STAGES, STUDY, Rook, write_rook

YES, NO, MAYBE = Verdict.REPLICATES, Verdict.DIFFERS, Verdict.UNCLEAR

AGENT = "The agent plays at least as well as the author's"
DECOMPOSES = "Autoencoders decompose the layer's activations into few latents each"
MANY = "Many latents can be interpreted"
HIDDEN = "Some latents show what the outputs alone don't: they tell boards apart that have nearly equal Q-values"
DECODER = "Some tell their property better than a decoder of all Q-values (trees or perceptron, on 3,520 boards)"
IDLE = "Some latents stand for what does not help the agent to play"
COSTLESS = "… or to earn more by it"
VALUE = "A latent follows the highest Q-value"
POPULATION = "Agents whose autoencoders have a middling number of live latents play best (Ms. Pac-Man, 2026)"
KILL = "Latents that seldom fire matter for play (the kill test, k = 20)"
RESAMPLING = "Starting dead latents again does not help reconstruction (k = 20)"


def opened(home: Path, world: Rook) -> Record:
    record = Record.open(Settings.from_environment({"TDLENS_HOME": str(home)}))
    write_rook(record, world)
    return record


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Record]:
    """A study in which everything holds; read only."""
    record = opened(tmp_path_factory.mktemp("rook"), Rook())
    yield record
    record.close()


@pytest.fixture(scope="module")
def out(whole: Record, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_report(whole, STUDY, tmp_path_factory.mktemp("page")).parent


def claims_of(record: Record) -> dict[str, Claim]:
    reader = Reader(record, STUDY)
    return {claim.text: claim for claim in REPORT.claims(reader, StudyFacts(reader))}


def part(claim: Claim, beginning: str) -> Claim:
    (one,) = [row for row in claim.parts if row.text.startswith(beginning)]
    return one


def test_all_claims_hold_where_all_is_true(whole: Record, record: Record) -> None:
    """On either database."""
    write_rook(record, Rook())
    for held in (whole, record):
        claims = claims_of(held)
        assert {claim.ruling.verdict for claim in claims.values()} == {YES}
        assert {AGENT, DECOMPOSES, MANY, HIDDEN, DECODER, IDLE, COSTLESS, VALUE, POPULATION, KILL, RESAMPLING} <= set(
            claims
        )


@pytest.mark.parametrize(
    ("world", "text", "condition", "verdict"),
    [
        (Rook(earned=30), AGENT, "", NO),
        (Rook(earned=45.5), AGENT, "", MAYBE),
        (Rook(fvu=5), DECOMPOSES, "… leaving less than 2 %", NO),
        (Rook(agreement={"k20": 0.76, "k30": 0.758}), DECOMPOSES, "… the more closely", MAYBE),
        (Rook(agreement={"k20": 0.8, "k30": 0.7}), DECOMPOSES, "… the more closely", NO),
        (Rook(spoilt=40), DECOMPOSES, "… well enough to play on", NO),
        (Rook(spoilt=9), DECOMPOSES, "… well enough to play on", MAYBE),
        (Rook(spoilt=160), DECOMPOSES, "… and better than with the layer at its mean", NO),
        (Rook(live=20), DECOMPOSES, "… with 65 to 95 %", NO),
        (Rook(f1=0.01), MANY, "… at least half", NO),
        (Rook(units=0.95, f1=0.3), MANY, "… more clearly than the layer's own units", NO),
        (Rook(units=0.9), MANY, "… more clearly than the layer's own units", MAYBE),
        (Rook(matched=0.48), HIDDEN, "", NO),
        (Rook(matched=0.56), HIDDEN, "", MAYBE),
        (Rook(decoder=0.99), DECODER, "", NO),
        (Rook(decoder=0.93), DECODER, "", MAYBE),
        (Rook(flips=0.05), IDLE, "", NO),
        (Rook(flips=0.05), COSTLESS, "", NO),
        (Rook(f1=0.3), COSTLESS, "", MAYBE),
        (Rook(f1=0.3), IDLE, "", MAYBE),
        (Rook(r=0.1), VALUE, "… beyond the best of as many chance latents", NO),
        (Rook(r=0.4), VALUE, "… and beyond the layer's own units", NO),
        (Rook(r=0.58), VALUE, "… and beyond the layer's own units", MAYBE),
        (Rook(bend=8), POPULATION, "", NO),
        (Rook(bend=0), POPULATION, "", MAYBE),
        (Rook(seldom=-12), KILL, "… removing all of them costs return", NO),
        (Rook(seldom=1, often=-2), KILL, "… removing all of them costs return", MAYBE),
        (Rook(seldom=12, often=30), KILL, "… more than removing others", NO),
        (Rook(resampled=(0.5, 0.5)), RESAMPLING, "", NO),
        (Rook(resampled=(1.0, 0.5)), RESAMPLING, "", MAYBE),
    ],
)
def test_verdicts_follow_the_data(tmp_path: Path, world: Rook, text: str, condition: str, verdict: Verdict) -> None:
    record = opened(tmp_path, world)
    claim = claims_of(record)[text]
    record.close()
    judged = part(claim, condition) if condition else claim
    assert judged.ruling.verdict is verdict, judged.ours
    if condition:
        assert claim.ruling.verdict is verdict


@pytest.mark.parametrize("stages", [(), ("play",), ("play", "games"), tuple(s for s in STAGES if s != "probe")])
def test_what_is_missing_is_named(tmp_path: Path, stages: tuple[str, ...]) -> None:
    record = opened(tmp_path / "home", Rook(stages=stages))
    html = write_report(record, STUDY, tmp_path / "page").read_text(encoding="utf-8")
    drawn = {module.NAME for module in REPORT.figures if f'alt="{module.TITLE}.' in html}
    expected = {"agent"} if "games" in stages else set()
    if "splice" in stages:
        expected |= {"over_k", "kill_test", "population", "correlations"}
    assert drawn == expected
    assert html.count('alt="Not recorded in this study:') == len(REPORT.figures) - len(drawn)
    told = {text for text, claim in claims_of(record).items() if claim.ruling.verdict is not MAYBE}
    assert told == ({AGENT} if "games" in stages else set()) | (
        {POPULATION, KILL, RESAMPLING, VALUE, *(t for t in told if t.startswith("A latent"))}
        if "splice" in stages
        else set()
    )
    record.close()


def test_the_page_shows_all_and_says_whose_numbers_they_are(whole: Record, out: Path) -> None:
    html = (out / "index.html").read_text(encoding="utf-8")
    assert {path.stem for path in (out / "figures").iterdir()} == {module.NAME for module in REPORT.figures}
    assert "Not recorded" not in html
    assert "<th>Recomputed</th>" in html and "<th>Published</th>" not in html
    assert "None is printed in the paper" in html
    text = " ".join(unescape(html).split())
    for claim in claims_of(whole).values():
        for row in (claim, *claim.parts):
            assert row.ruling.rule in text


def test_every_shown_query_asks_views_and_can_be_copied(whole: Record, out: Path) -> None:
    html = unescape((out / "index.html").read_text(encoding="utf-8"))
    shown = set(re.findall(r"<pre>(SELECT.*?)</pre>", html, flags=re.S))
    assert len(shown) > 10
    for sql in shown:
        whole.query(sql)
        asked = set(re.findall(r"(?:FROM|JOIN)\s+(\w+)", sql))
        assert asked <= set(VIEWS)


def test_the_page_is_the_same_when_made_again(whole: Record, out: Path, tmp_path: Path) -> None:
    write_report(whole, STUDY, tmp_path)
    assert (tmp_path / "index.html").read_bytes() == (out / "index.html").read_bytes()


def test_latents_are_chosen_by_the_stated_rules(whole: Record) -> None:
    reader = Reader(whole, STUDY)
    sheet = read_sheet(reader, StudyFacts(reader))
    assert (sheet.sae, sheet.live, len(sheet.rows)) == ("k20", LIVE, LIVE)
    rules = dict(chosen(sheet))
    clearest = [latent for latent, rule in rules.items() if rule == "clearest of its family"]
    families = sheet.rows.loc[clearest, "family"]
    assert len(clearest) == families.nunique() == 3
    assert clearest[0] == sheet.rows["clear"].idxmax()
    others = [latent for latent in rules if latent not in clearest]
    (hidden, idle, moving) = others
    assert sheet.rows.loc[hidden, "added_low"] == sheet.matched.drop(clearest, errors="ignore")["added_low"].max()
    assert (
        sheet.rows.loc[idle, "clear"] >= CLEAR and sheet.rows.loc[idle, "flip_rate"] == sheet.clear["flip_rate"].min()
    )
    assert sheet.rows.loc[moving, "flips"] == sheet.rows["flips"].drop([*clearest, hidden, idle]).max()


def test_removals_are_compared_game_by_game(whole: Record) -> None:
    """Games differ by 20 points among each other, and hardly between two removals."""
    reader = Reader(whole, STUDY)
    found = paired_returns(reader, StudyFacts(reader), "k20_kill_infrequent", "k20_kill_frequent")
    rows = whole.query(
        'SELECT intervention, seed, "return" FROM v_episode WHERE study = :study AND intervention LIKE :kind',
        {"study": STUDY, "kind": "k20_kill_%"},
    )
    table = rows.pivot(index="seed", columns="intervention", values="return")
    difference = table["k20_kill_infrequent"] - table["k20_kill_frequent"]
    assert found is not None and found.value == pytest.approx(difference.mean())
    assert found.high - found.low < 2.5 < table.std().min()
    assert paired_returns(reader, StudyFacts(reader), "k20_kill_infrequent", "nothing") is None


def test_the_fit_is_that_of_least_squares() -> None:
    rng = np.random.default_rng(2)
    live = rng.uniform(100, 600, 24)
    score = 900 - 0.01 * (live - 350) ** 2 + rng.normal(0, 200, 24)
    found = fit(live, score)
    assert found is not None
    x = (live - live.mean()) / live.std(ddof=1)
    design = np.stack([x**2, x, np.ones_like(x)], axis=1)
    expected, *_ = np.linalg.lstsq(design, score, rcond=None)
    np.testing.assert_allclose(found.coefficients, expected)
    residual, total = ((score - design @ expected) ** 2).sum(), ((score - score.mean()) ** 2).sum()
    f = ((total - residual) / 2) / (residual / 21)
    assert (found.r_squared, found.f) == pytest.approx((1 - residual / total, f))
    assert found.p == pytest.approx(stats.f.sf(f, 2, 21))
    assert found.curvature.low < found.curvature.value < found.curvature.high
    again = fit(live, score)
    assert again is not None and np.array_equal(again.low, found.low)
    assert fit(live[:5], score[:5]) is None and fit(np.repeat(live[:2], 6), score[:12]) is None


def test_the_authors_fit_has_the_p_of_its_f() -> None:
    theirs = authors.pacman_fit()
    assert stats.f.sf(theirs["f"], 2, theirs["agents"] - 3) == pytest.approx(theirs["p"], rel=0.02)
    r_squared = theirs["f"] * 2 / (theirs["f"] * 2 + theirs["agents"] - 3)
    assert r_squared == pytest.approx(theirs["r_squared"], abs=0.001)


def test_the_authors_autoencoders_are_told_apart() -> None:
    assert [row["k"] for row in authors.over_k()] == [5, 10, 20, 30, 40, 50]
    assert authors.autoencoder(20)["dead"] == 853 and authors.autoencoder(20, "resampled")["dead"] == 590
    assert authors.agents()[0]["return"] == 49.1


def test_a_board_shows_each_piece_on_its_square_and_each_move_on_its_own() -> None:
    figure, axes = canvas(height=2)
    state = int(encode(12, 0, 24))
    effects = np.zeros(N_ACTIONS)
    effects[8] = 1.0  # the rook one square to the east
    draw_board(axes[0, 0], state, effects, 1.0)
    places = {text.get_text() + text.get_color(): text.get_position() for text in axes[0, 0].texts}
    assert set(places.values()) == {(2.5, 2.46), (0.5, 0.46), (4.5, 4.46)}
    assert places["♜white"] == (2.5, 2.46)
    coloured = [
        p for p in axes[0, 0].patches if np.allclose(p.get_facecolor()[:3], (0, 114 / 255, 178 / 255), atol=0.01)
    ]
    assert [patch.get_xy() for patch in coloured] == [(3, 2)]
    figure.canvas.draw()  # type: ignore[no-untyped-call]


def test_every_family_has_a_theme_with_a_colour() -> None:
    families = {predicate.family for predicate in library().values()}
    assert {theme(family) for family in families} <= set(COLOURS)
    assert {family for several in THEMES.values() for family in several} <= families
    assert said("rook_on_0") == "The rook stands on a1"
    assert said("no_longer_known") == "no longer known"
    assert LEGAL.sum() == 13_800


@given(st.integers(0, 40), st.integers(1, 40))
def test_a_shares_interval_holds_it(hits: int, n: int) -> None:
    hits = min(hits, n)
    found = verdicts.share_interval(hits, n)
    assert found is not None
    assert 0 <= found.low <= found.value <= found.high <= 1
    assert verdicts.share_interval(0, 0) is None


def test_intervals_are_widened_for_their_number() -> None:
    one = Interval(0.6, 0.5, 0.75)
    same = verdicts.widened(one, 1)
    assert (same.low, same.high) == pytest.approx((one.low, one.high))
    several = verdicts.widened(one, 10)
    factor = stats.norm.ppf(1 - 0.05 / 20) / stats.norm.ppf(0.975)
    assert (several.low, several.high) == pytest.approx((0.6 - 0.1 * factor, 0.6 + 0.15 * factor))


@pytest.mark.parametrize(
    ("ruling", "verdict"),
    [
        (verdicts.between(0.5, 0, 1), YES),
        (verdicts.between(2.0, 0, 1), NO),
        (verdicts.between(None, 0, 1), MAYBE),
        (verdicts.rises([Interval(1, 0, 2), Interval(1.5, 1, 2)], "k"), YES),
        (verdicts.rises([Interval(1.5, 1, 2), Interval(1, 0, 2)], "k"), MAYBE),
        (verdicts.rises([Interval(1.5, 1, 2), Interval(0.5, 0, 0.9)], "k"), NO),
        (verdicts.rises([Interval(1.5, 1, 2)], "k"), MAYBE),
        (verdicts.any_exceeds([Interval(1, 0.5, 2), Interval(0, -1, 1)], 0.4, "it"), YES),
        (verdicts.any_exceeds([Interval(1, 0.5, 2), Interval(0, -1, 1)], 0.6, "it"), MAYBE),
        (verdicts.any_exceeds([Interval(1, 0.5, 2), Interval(0, -1, 1)], 2.5, "it"), NO),
        (verdicts.any_exceeds([], 0.5, "it"), MAYBE),
    ],
)
def test_rules(ruling: verdicts.Ruling, verdict: Verdict) -> None:
    assert ruling.verdict is verdict


def test_the_papers_page_is_the_studys(whole: Record, record: Record, tmp_path: Path) -> None:
    paper = REPRODUCTIONS["dqn-saes"]
    assert set(paper.studies) <= set(REPORTS)
    page = paper.write(whole, tmp_path / "paper")
    assert "A synthetic endgame" in page.read_text(encoding="utf-8")
    assert len(whole.query(paper.query)) == 20
    with pytest.raises(UserError, match="not in the record") as caught:
        paper.write(record, tmp_path / "none")
    assert "tdlens reproduce dqn-saes" in caught.value.remedy
    assert not (tmp_path / "none").exists()
    assert LATENTS == authors.LATENTS
