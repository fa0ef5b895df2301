"""The page holds everything it shows, says what the record says, and names what is missing."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from jobs.report import write_report
from jobs.report.drawing import Claim
from jobs.report.page import REPORTS
from jobs.report.reader import NotRecorded, Reader, StudyFacts
from jobs.report.two_step import REPORT, fig3_published, fig7_windows
from jobs.report.two_step.returns import own_return, read_returns
from jobs.report.verdicts import Verdict
from jobs.study import TASKS, load
from tdlens.errors import UserError
from tdlens.record import Record, current_study
from tdlens.record.views import VIEWS
from tests.report.conftest import claims_of
from tests.report.synthetic_play import MODEL, STUDY, Writer, write_play


class Page(HTMLParser):
    """Tags with their attributes, and the text outside of style and script."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self._open: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        while self._open and self._open.pop() != tag:
            pass

    def handle_data(self, data: str) -> None:
        if "style" not in self._open:
            self.words.append(data)


@pytest.fixture(scope="module")
def out(synthetic: Record, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("out")
    assert write_report(synthetic, STUDY, folder) == folder / "index.html"
    return folder


@pytest.fixture(scope="module")
def page(out: Path) -> Page:
    return Page((out / "index.html").read_text(encoding="utf-8"))


def rows_of(record: Record) -> list[Claim]:
    return [row for claim in claims_of(record).values() for row in (claim, *claim.parts)]


def test_the_page_needs_nothing_but_itself(page: Page) -> None:
    assert "script" not in {tag for tag, _ in page.tags}
    addresses = [
        (tag, value)
        for tag, attributes in page.tags
        for name, value in attributes.items()
        if name in ("src", "href", "srcset", "action", "data") and value is not None
    ]
    assert addresses
    for tag, address in addresses:
        assert address.startswith("data:image/png;base64," if tag == "img" else "#")


def test_links_within_the_page_lead_somewhere(page: Page) -> None:
    names = {attributes.get("id") for _, attributes in page.tags}
    targets = {str(attributes["href"])[1:] for tag, attributes in page.tags if tag == "a"}
    assert targets <= names


def test_every_figure_is_a_png_and_in_the_page(out: Path, page: Page) -> None:
    files = {path.name for path in (out / "figures").iterdir()}
    assert files == {f"{module.NAME}.png" for module in REPORT.figures}
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in (out / "figures").iterdir())
    images = [attributes for tag, attributes in page.tags if tag == "img"]
    assert len(images) == len(REPORT.figures)
    assert all(image["alt"] for image in images)
    assert "Not recorded" not in " ".join(page.words)


def test_what_users_wrote_is_escaped(out: Path) -> None:
    html = (out / "index.html").read_text(encoding="utf-8")
    assert "A synthetic &lt;study&gt;" in html
    assert "<study>" not in html


def test_every_shown_query_can_be_copied(synthetic: Record, out: Path) -> None:
    html = (out / "index.html").read_text(encoding="utf-8")
    shown = [Page(text).words[0] for text in re.findall(r"<pre>(SELECT.*?)</pre>", html, flags=re.S)]
    assert len(shown) > 20
    for sql in shown:
        synthetic.query(sql)
        tables = set(re.findall(r"(?:FROM|JOIN)\s+(\w+)", sql))
        assert tables
        assert tables <= set(VIEWS)


def test_the_page_is_the_same_when_made_again(synthetic: Record, out: Path, tmp_path: Path) -> None:
    write_report(synthetic, STUDY, tmp_path)
    assert (tmp_path / "index.html").read_bytes() == (out / "index.html").read_bytes()


def test_numbers_are_those_of_the_record(synthetic: Record, page: Page) -> None:
    (expected,) = synthetic.query(
        """
        SELECT avg("return") AS own FROM v_episode
        WHERE study = :study AND variant = 'standard' AND policy = 'model' AND intervention = 'none' AND NOT forced
        """,
        {"study": STUDY},
    )["own"]
    reader = Reader(synthetic, STUDY)
    ours = own_return(read_returns(reader, StudyFacts(reader)))
    assert ours is not None
    assert ours.value == pytest.approx(expected)
    assert ours.text() in " ".join(page.words)


def test_every_claim_has_its_row(synthetic: Record, page: Page) -> None:
    text = " ".join(" ".join(page.words).split())
    for claim in rows_of(synthetic):
        assert claim.text in text
        assert claim.ruling.rule in text
        assert claim.sentence in text


def test_the_published_curves_are_drawn_by_our_learner(synthetic: Record) -> None:
    reader = Reader(synthetic, STUDY)
    runs, windows = fig3_published.replayed_runs(reader), fig7_windows.read_windows(reader)
    assert runs.groupby(["variant", "run"]).ngroups == 6
    assert fig3_published.largest_error(runs) < fig3_published.TOLERANCE
    assert {signal for signal, _, _ in fig7_windows.WINDOWS} <= set(windows.columns)
    assert fig7_windows.largest_error(windows) < fig7_windows.TOLERANCE
    windows.loc[20, "td_error_full"] += 0.01
    assert fig7_windows.largest_error(windows) == pytest.approx(0.01, abs=1e-4)
    runs.loc[5, "ours"] += 0.02
    assert fig3_published.largest_error(runs) == pytest.approx(0.02, abs=1e-4)


def test_what_is_missing_is_named(record: Record, tmp_path: Path) -> None:
    """A study that has only played so far."""
    config = load(Path(__file__).parents[2] / "studies" / "two_step_demo.toml").model_dump(mode="json")
    with record.session() as session:
        study = current_study(session, name=STUDY, title="Half a study", config=config)
        writer = Writer(session, study, np.random.default_rng(0))
        write_play(writer, writer.model(MODEL))
    page = write_report(record, STUDY, tmp_path)
    html = page.read_text(encoding="utf-8")
    drawn = {"fig2a_returns"}
    assert html.count('alt="Not recorded in this study:') == len(REPORT.figures) - len(drawn)
    assert len(list((tmp_path / "figures").iterdir())) == len(REPORT.figures)
    verdicts = {text: claim.ruling.verdict for text, claim in claims_of(record).items()}
    assert verdicts.pop("The model earns more than chance") is Verdict.REPLICATES
    assert set(verdicts.values()) == {Verdict.UNCLEAR}


def test_a_study_without_any_job_still_has_a_page(record: Record, tmp_path: Path) -> None:
    config = load(Path(__file__).parents[2] / "studies" / "two_step_demo.toml").model_dump(mode="json")
    with record.session() as session:
        current_study(session, name=STUDY, title="", config=config)
    html = write_report(record, STUDY, tmp_path).read_text(encoding="utf-8")
    assert html.count('alt="Not recorded in this study:') == len(REPORT.figures)
    reader = Reader(record, STUDY)
    with pytest.raises(NotRecorded):
        REPORT.figures[0].draw(reader, StudyFacts(reader))


def test_an_unknown_study_writes_nothing(synthetic: Record, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="Did you mean"):
        write_report(synthetic, "two_step", tmp_path / "report")
    assert not (tmp_path / "report").exists()


def test_a_task_without_a_report_is_named(record: Record, tmp_path: Path) -> None:
    with record.session() as session:
        current_study(session, name="new", title="", config={"task": {"name": "bandit", "variants": ["plain"]}})
    with pytest.raises(UserError, match="'bandit'") as caught:
        write_report(record, "new", tmp_path / "report")
    assert "two_step" in caught.value.remedy
    assert not (tmp_path / "report").exists()


def test_every_task_that_a_model_ships_for_has_a_report() -> None:
    assert set(REPORTS) == set(TASKS) - {"ms_pacman"}
