"""The pages on what a model reads, and the whole paper's: figures, claims and headline numbers from synthetic rows."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterator
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest

from jobs.published import headlines
from jobs.report import td_in_llms, td_parts
from jobs.report.drawing import Claim
from jobs.report.graph_walk.accuracy import overall, read_accuracy
from jobs.report.grid_world.claims import OF_OTHERS
from jobs.report.later_blocks import changes
from jobs.report.lesions import Lesion, read_lesions, td_lesion
from jobs.report.page import REPORTS
from jobs.report.prediction import in_parts, read_predictions
from jobs.report.reader import NotRecorded, Reader, StudyFacts
from jobs.report.td_in_llms.table import ROWS, lines_of
from jobs.report.td_in_llms.traps import TRAPS
from jobs.report.verdicts import Interval, Verdict, mean_interval
from jobs.selection import NO_CONTROL
from tdlens.errors import UserError
from tdlens.record import Record
from tdlens.record.views import VIEWS
from tdlens.settings import Settings
from tests.report.synthetic_play import BLOCKS, STUDY
from tests.report.synthetic_reading import NOTHING, STEPS, World, write_reading

GRID, GRAPH = "grid_world", "graph_walk"
REWARDS = "It foretells them better from the true rewards, on the same moves"
COST = "Zeroing the TD latents of several blocks spoils the predictions, more than zeroing anything else"
ERRORS = "The autoencoder finds latents that follow the TD error"
WHOSE = "Latents follow the TD error whichever learner has it"
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


def test_verdicts_follow_the_data(found: Record, record: Record) -> None:
    """Studies in which everything is to be found, beside others, on either database, in which nothing is."""
    for study, texts in ((GRID, (REWARDS, COST, ERRORS, WHOSE)), (GRAPH, (SR, GRAPH_COST))):
        write_reading(record, study, NOTHING)
        strong, weak = claims_of(found, study), claims_of(record, study)
        assert list(strong) == list(weak)
        for text in texts:
            assert strong[text].ruling.verdict is Verdict.REPLICATES, (text, [p.text for p in strong[text].parts])
            assert weak[text].ruling.verdict is not Verdict.REPLICATES, text


def test_a_control_that_is_none_tests_nothing(found: Record, monkeypatch: pytest.MonkeyPatch) -> None:
    misfit = f"|r| with the step 0.30, unlike 0.90 of [0] by up to 0.60: {NO_CONTROL}"
    whole = f"{misfit}; |r| with td_error given the covariates at most 0.05"

    def read(reader: Reader, facts: StudyFacts) -> list[Lesion]:
        lesions = read_lesions(reader, facts)
        return [replace(one, description=whole) if one.control == "step_matched" else one for one in lesions]

    monkeypatch.setattr(import_module("jobs.report.grid_world.claims"), "read_lesions", read)
    claims = claims_of(found, GRID)
    assert claims[COST].ruling.verdict is Verdict.UNCLEAR
    for claim in (claims[COST], claims["The lesion lowers later blocks' correlation with the TD error"]):
        row = part(claim, "… more than the same edit on step-matched")
        assert row.ruling.verdict is Verdict.UNCLEAR and row.ours == misfit
        assert row.sentence.endswith("so nothing is tested.")


def test_whose_error_is_followed_is_judged_for_each_learner(found: Record) -> None:
    claim = claims_of(found, GRID)[WHOSE]
    assert [row.text.split(":")[0] for row in claim.parts[::2]] == [f"… {one.name}" for one in OF_OTHERS]


def test_latents_that_follow_a_difference_are_told_by_opposed_weights(found: Record) -> None:
    reader = Reader(found, GRID)
    drawing = td_parts.draw(reader, StudyFacts(reader))
    later = ", ".join(str(block) for block in BLOCKS if block > 2)
    assert f"({later}); with the covariates held constant, the latents of 0 of {len(BLOCKS)} blocks." in drawing.sees
    assert drawing.table is not None and len(drawing.table.rows) == 2 * len(BLOCKS)
    block, held, *cells = drawing.table.rows[0]
    assert (block.split("/")[0], held) == (str(BLOCKS[0]), "free") and cells[-2:] == ["0.50", "0.45"]


def test_an_early_edit_is_judged_by_what_comes_later(found: Record, tmp_path: Path) -> None:
    moment = opened(tmp_path, GRID, world=World(carried=0.0))
    row = part(claims_of(found, GRID)[COST], "… also late, if the edit ends")
    assert row.ruling.verdict is Verdict.REPLICATES
    assert part(claims_of(moment, GRID)[COST], "… also late").ruling.verdict is not Verdict.REPLICATES
    moment.close()


def test_an_early_edit_that_is_not_over_tests_nothing(tmp_path: Path) -> None:
    longer = opened(tmp_path, GRID, world=World(early=0.75))
    row = part(claims_of(longer, GRID)[COST], "… also late")
    assert row.ruling.verdict is Verdict.UNCLEAR
    assert row.ours == "the edit reaches into what counts as late, from decision 40 on"
    longer.close()


def test_lesions_of_the_same_walks_are_compared_in_pairs(found: Record) -> None:
    """A difference as wide as that of each walk's own change, and not of two separate intervals."""
    reader = Reader(found, GRAPH)
    facts = StudyFacts(reader)
    walks = [read_accuracy(reader, facts, name).mean(axis=1) for name in ("sr_error_zero", "matched_zero")]
    rows = claims_of(found, GRAPH)[GRAPH_COST].parts
    row = next(row for row in rows if row.text == "… more than the same edit on matched latents")
    expected = mean_interval((walks[0] - walks[1]).tolist())
    assert expected is not None and row.ours == expected.text(3)
    with pytest.raises(NotRecorded):
        read_accuracy(reader, facts, "no_such_edit")


def test_communities_are_judged_apart_from_what_they_are_like(found: Record) -> None:
    """Also where the transition matrix is followed as closely as the successor representation."""
    claims = claims_of(found, GRAPH)
    communities = claims["The representations of nodes come to show the communities"]
    assert communities.ruling.verdict is Verdict.REPLICATES
    assert len(communities.parts) == 2
    alike = claims["Similarities of nodes follow the successor representation more closely than the transition matrix"]
    assert alike.ruling.verdict is Verdict.REPLICATES


def test_a_lesion_is_judged_by_the_error_of_later_blocks_too(found: Record) -> None:
    claim = claims_of(found, GRAPH)["The lesion lowers later blocks' correlation with the SR-TD error"]
    assert (claim.published, claim.ruling.verdict) == ("0.00 in r", Verdict.REPLICATES)


def test_a_rollout_ends_better_than_it_began(found: Record) -> None:
    claim = claims_of(found, GRID)["The model comes to foretell the agent's actions"]
    assert part(claim, "… and better").ruling.verdict is Verdict.REPLICATES
    assert claim.ruling.verdict is Verdict.REPLICATES


def test_controls_are_those_of_the_same_edit(found: Record) -> None:
    reader = Reader(found, GRID)
    lesions = read_lesions(reader, StudyFacts(reader))
    lesion = td_lesion(lesions)
    assert (lesion.name, lesion.blocks) == ("td_zero", tuple(range(3, 3 + lesion.asked["blocks"])))
    controls = {control.name for control in lesion.controls(lesions)}
    assert {"lowest_zero", "matched_zero", "step_matched_zero", "random_direction"} <= controls
    assert not {"td10_matched_zero", "td_early_zero", "td_one_zero"} & controls
    early, rest = lesion.early(lesions), lesion.without_q(lesions)
    assert early is not None and early.name == "td_early_zero"
    assert rest is not None and rest.name == "td_minus_q_zero"


def test_a_change_of_later_blocks_is_not_that_of_edited_ones(found: Record) -> None:
    """In every synthetic study the highest r falls by 0.1 more where a latent was taken away."""
    reader = Reader(found, GRID)
    lesion = td_lesion(read_lesions(reader, StudyFacts(reader)))
    assert [block for block in BLOCKS if lesion.before(block)] == list(range(max(lesion.blocks) + 1, max(BLOCKS) + 1))
    later, earlier = changes(reader, lesion, ("td_error",))
    assert later is not None and later.value == pytest.approx(-World().cost)
    assert earlier is not None and earlier.value == pytest.approx(0)


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


def test_headline_numbers_have_the_verdicts_of_their_claims(found: Record, synthetic: Record) -> None:
    for task, study, record in (("two_step", STUDY, synthetic), (GRID, GRID, found), (GRAPH, GRAPH, found)):
        reader = Reader(record, study)
        facts = StudyFacts(reader)
        claims = REPORTS[task].claims(reader, facts)
        assert {row.claim for row in ROWS[task]} - {""} <= {claim.text for claim in claims}
        for line, row in zip(lines_of(task, reader, facts, claims), ROWS[task], strict=True):
            assert line.ours != "not recorded", line.quantity
            assert (line.ours == "–") == (row.measure is None)
            assert (line.claim is None) == (row.claim == "")
    lines = lines_of(GRID, Reader(found, GRID), None, ())
    assert {line.ours for line in lines} == {"not recorded"}


def test_traps_point_to_figures_that_exist() -> None:
    anchors = {f"{task}-{module.NAME}" for task, report in REPORTS.items() for module in report.figures}
    assert {figure for trap in TRAPS for figure in trap.figures} <= anchors
    assert len({trap.name for trap in TRAPS}) == len(TRAPS) >= 14


@pytest.fixture(scope="module")
def paper(found: Record, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page with two of the paper's three studies run."""
    return td_in_llms.write_paper(found, tmp_path_factory.mktemp("paper")).parent


def test_the_whole_paper_is_one_page(paper: Path) -> None:
    text = (paper / "index.html").read_text(encoding="utf-8")
    links, names = set(re.findall(r'href="#([^"]+)"', text)), re.findall(r' id="([^"]+)"', text)
    assert links <= set(names)
    assert len(names) == len(set(names))
    assert not re.search(r'(?:src|href)="(?!#|data:)', text)
    assert "tdlens reproduce td-in-llms --only two_step" in text
    assert "The studies are of different models" not in text
    table = text[text.index('id="headlines"') : text.index('id="traps"')]
    assert table.count("not recorded") == sum(row.measure is not None for row in ROWS["two_step"])


@pytest.mark.parametrize("study", [GRID, GRAPH])
def test_every_figure_is_drawn(paper: Path, study: str) -> None:
    """But for that of the published runs, which are not imported here."""
    assert {path.stem for path in (paper / "figures" / study).iterdir()} == {m.NAME for m in REPORTS[study].figures}
    missing = re.findall(r'alt="Not recorded in this study: ([^"]*)', (paper / "index.html").read_text("utf-8"))
    assert missing == ["the published runs (tdlens import-published demircan2025)."]
    assert (paper / "figures" / "fig1_tasks.png").is_file()


def test_every_shown_query_asks_views(found: Record, paper: Path) -> None:
    shown = re.findall(r"<pre>(SELECT.*?)</pre>", (paper / "index.html").read_text("utf-8"), flags=re.S)
    assert len(shown) > 100
    for sql in {html.unescape(text) for text in shown}:
        assert set(re.findall(r"(?:FROM|JOIN)\s+(\w+)", sql)) <= set(VIEWS)
        found.query(sql)


def test_without_any_study_there_is_no_page(record: Record, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="None of the paper's studies") as caught:
        td_in_llms.write_paper(record, tmp_path / "page")
    assert "tdlens reproduce td-in-llms" in caught.value.remedy
    assert not (tmp_path / "page").exists()


def test_a_mean_gap_begins_at_the_published_decision(found: Record) -> None:
    """150 of 320: between the beginnings of two sixteenths of a rollout."""
    reader = Reader(found, GRID)
    (row,) = [row for row in ROWS[GRID] if row.published == "grid_p_removed_gap"]
    assert row.measure is not None
    means = [
        found.query(
            "SELECT avg(p_chosen) AS p FROM v_step WHERE study = 'grid_world' AND variant = :variant "
            "AND intervention = 'none' AND step >= :first",
            {"variant": variant, "first": STEPS[GRID] * 150 // 320},
        )["p"][0]
        for variant in ("true", "removed")
    ]
    measured = row.measure(reader, StudyFacts(reader))
    assert isinstance(measured, Interval) and measured.value == pytest.approx(means[0] - means[1])
