"""The pages on what a model reads, and the whole paper's: figures, claims and headline numbers from synthetic rows."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from jobs.published import headlines
from jobs.report import td_in_llms
from jobs.report.drawing import Claim
from jobs.report.graph_walk.accuracy import overall, read_accuracy
from jobs.report.lesions import read_lesions, td_lesion
from jobs.report.page import REPORTS, section_of
from jobs.report.prediction import in_parts, read_predictions
from jobs.report.reader import Reader, StudyFacts
from jobs.report.td_in_llms.table import ROWS, lines_of
from jobs.report.td_in_llms.traps import TRAPS
from jobs.report.verdicts import Verdict
from tdlens.errors import UserError
from tdlens.record import Record
from tdlens.record.views import VIEWS
from tdlens.settings import Settings
from tests.report.conftest import write_study
from tests.report.synthetic_reading import NOTHING, STEPS, World, write_reading

GRID, GRAPH = "grid_world", "graph_walk"
REWARDS = "It foretells them better from the true rewards, on the same moves"
COST = "Zeroing the TD latents of several blocks spoils the predictions, more than zeroing anything else"
ERRORS = "The autoencoder finds latents that follow the TD error"
SR = "Latents follow the successor representation"
GRAPH_COST = "Zeroing the SR-TD latent spoils the predictions, more than zeroing anything else"


def opened(home: Path, *tasks: str, world: World) -> Record:
    record = Record.open(Settings.from_environment({"TDLENS_HOME": str(home)}))
    for task in tasks:
        write_reading(record, task, world)
    return record


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Record]:
    """Both studies, with everything to be found; read only."""
    record = opened(tmp_path_factory.mktemp("found"), GRID, GRAPH, world=World())
    yield record
    record.close()


def claims_of(record: Record, study: str) -> dict[str, Claim]:
    reader = Reader(record, study)
    return {claim.text: claim for claim in REPORTS[study].claims(reader, StudyFacts(reader))}


def part(claim: Claim, beginning: str) -> Claim:
    (one,) = [row for row in claim.parts if row.text.startswith(beginning)]
    return one


@pytest.mark.parametrize("study", [GRID, GRAPH])
def test_every_figure_is_drawn_from_views(found: Record, tmp_path: Path, study: str) -> None:
    section = section_of(Reader(found, study), tmp_path)
    assert {figure.anchor: figure.missing for figure in section.figures if figure.missing} == {}
    assert {path.stem for path in tmp_path.iterdir()} == {module.NAME for module in section.report.figures}
    for sql in (*section.claim_queries, *(sql for figure in section.figures for sql in figure.queries)):
        tables = set(re.findall(r"(?:FROM|JOIN)\s+(v?_?\w+)", sql)) - {"ranked"}
        assert tables <= set(VIEWS)
        found.query(sql)


def test_verdicts_follow_the_data(found: Record, tmp_path: Path) -> None:
    """Studies in which everything is to be found, beside others in which nothing is."""
    nothing = opened(tmp_path, GRID, GRAPH, world=NOTHING)
    for study, texts in ((GRID, (REWARDS, COST, ERRORS)), (GRAPH, (SR, GRAPH_COST))):
        strong, weak = claims_of(found, study), claims_of(nothing, study)
        assert list(strong) == list(weak)
        for text in texts:
            assert strong[text].ruling.verdict is Verdict.REPLICATES, (text, [p.text for p in strong[text].parts])
            assert weak[text].ruling.verdict is not Verdict.REPLICATES, text
    nothing.close()


def test_an_early_edit_is_judged_by_what_comes_later(found: Record, tmp_path: Path) -> None:
    moment = opened(tmp_path, GRID, world=World(carried=0.0))
    row = part(claims_of(found, GRID)[COST], "… also late, if the edit ends")
    assert row.ruling.verdict is Verdict.REPLICATES
    assert part(claims_of(moment, GRID)[COST], "… also late").ruling.verdict is not Verdict.REPLICATES
    moment.close()


def test_controls_are_those_of_the_same_edit(found: Record) -> None:
    reader = Reader(found, GRID)
    lesions = read_lesions(reader, StudyFacts(reader))
    lesion = td_lesion(lesions)
    assert (lesion.name, lesion.blocks) == ("td_zero", (3, 4, 5))
    controls = {control.name for control in lesion.controls(lesions)}
    assert {"lowest_zero", "matched_zero", "step_matched_zero", "random_direction"} <= controls
    assert not {"td10_matched_zero", "td_early_zero", "td_one_zero"} & controls
    early, rest = lesion.early(lesions), lesion.without_q(lesions)
    assert early is not None and early.name == "td_early_zero"
    assert rest is not None and rest.name == "td_minus_q_zero"


def test_predictions_are_means_of_the_record(found: Record) -> None:
    reader = Reader(found, GRID)
    table = read_predictions(reader, StudyFacts(reader))
    (expected,) = found.query(
        "SELECT avg(p_chosen) AS p FROM v_step WHERE study = 'grid_world' AND variant = 'true' "
        "AND intervention = 'none' AND step >= :first",
        {"first": STEPS[GRID] * 5 // 8},
    )["p"]
    late = table.mean("true")
    assert late is not None and late.value == pytest.approx(expected)
    gap = table.change(("true", "none"), ("removed", "none"))
    assert gap is not None and gap.low < 0.3 < gap.high


def test_published_curves_are_averaged_over_the_same_parts() -> None:
    assert in_parts(range(6), [1, 3, 5, 7, 9, 11], 4).to_dict() == {0: 4.0, 4: 10.0}


def test_accuracy_is_that_of_the_most_probable_node(found: Record) -> None:
    reader = Reader(found, GRAPH)
    table = read_accuracy(reader, StudyFacts(reader))
    rows = found.query(
        "SELECT action, action_probabilities FROM v_step WHERE study = 'graph_walk' AND intervention = 'none'"
    )
    expected = np.mean([np.argmax(json.loads(p)) == a for a, p in rows.itertuples(index=False)])
    whole = overall(table)
    assert table.shape[1] == STEPS[GRAPH]
    assert whole is not None and whole.value == pytest.approx(expected)


def test_every_headline_number_has_its_row() -> None:
    """A claim, a figure and a published number that exist; in the table every number of the paper's tasks."""
    shown = set()
    for task, rows in ROWS.items():
        names = {module.NAME for module in REPORTS[task].figures}
        for row in rows:
            assert row.figure in names, row.quantity
            shown.add(row.published)
    known = set(headlines("td_in_llms"))
    assert {name for name in shown if re.fullmatch(r"[a-z_0-9]+", name)} <= known
    needed = {name for name in known if name.startswith(("return_", "nll_", "clamp_", "grid_p_", "graph_cka_"))}
    assert needed <= shown


def test_headline_numbers_have_the_verdicts_of_their_claims(found: Record, tmp_path: Path) -> None:
    for study in (GRID, GRAPH):
        reader = Reader(found, study)
        section = section_of(reader, tmp_path / study)
        claims = {claim.text for claim in section.claims}
        assert {row.claim for row in ROWS[study]} - {""} <= claims
        for line, row in zip(lines_of(study, reader, section), ROWS[study], strict=True):
            assert line.ours != "not recorded", line.quantity
            assert (line.claim is None) == (row.claim == "")
    lines = lines_of(GRID, Reader(found, GRID), None)
    assert {line.ours for line in lines} == {"not recorded"}


def test_traps_point_to_figures_that_exist() -> None:
    anchors = {f"{task}-{module.NAME}" for task, report in REPORTS.items() for module in report.figures}
    assert {figure for trap in TRAPS for figure in trap.figures} <= anchors
    assert len({trap.name for trap in TRAPS}) == len(TRAPS) >= 14


def test_the_whole_paper_is_one_page(found: Record, tmp_path: Path) -> None:
    """With one of its three studies not run."""
    page = td_in_llms.write_paper(found, tmp_path)
    html = page.read_text(encoding="utf-8")
    links, names = set(re.findall(r'href="#([^"]+)"', html)), re.findall(r' id="([^"]+)"', html)
    assert links <= set(names)
    assert len(names) == len(set(names))
    assert "tdlens reproduce td-in-llms --only two_step" in html
    assert (tmp_path / "figures" / "graph_walk" / "fig10_cka.png").is_file()
    assert (tmp_path / "figures" / "fig1_tasks.png").is_file()
    assert not re.search(r'(?:src|href)="(?!#|data:)', html)


def test_the_whole_paper_with_all_studies(record: Record, tmp_path: Path) -> None:
    write_study(record)
    write_reading(record, GRID, World())
    html = td_in_llms.write_paper(record, tmp_path).read_text(encoding="utf-8")
    chapter = html[html.index('id="headlines"') : html.index('id="traps"')]
    assert chapter.count("not recorded") == sum(row.measure is not None for row in ROWS[GRAPH])
    assert "The studies are of different models" not in html


def test_without_any_study_there_is_no_page(record: Record, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="None of the paper's studies") as caught:
        td_in_llms.write_paper(record, tmp_path / "page")
    assert "tdlens reproduce td-in-llms" in caught.value.remedy
    assert not (tmp_path / "page").exists()
