"""The section on the published runs says what the record holds."""

from __future__ import annotations

from pathlib import Path

import pytest

from jobs.published.importing import import_published
from jobs.report.reader import NotRecorded, Reader, StudyFacts
from jobs.report.td_in_llms import published_runs
from tdlens.figures import house_style, number, png
from tdlens.record import Record
from tests.report.conftest import STUDY

MEASURE = "SELECT value FROM v_block_measure WHERE study = 'demircan2025' AND signal = :signal AND measure = :measure"


def test_without_an_import_it_says_which_command_makes_it(synthetic: Record) -> None:
    reader = Reader(synthetic, STUDY)
    with pytest.raises(NotRecorded, match="tdlens import-published demircan2025"):
        published_runs.draw(reader, StudyFacts(reader))


def test_it_says_what_the_record_holds(record: Record, tmp_path: Path) -> None:
    import_published(record, "demircan2025")
    reader = Reader(record, "demircan2025")
    facts = StudyFacts(reader)
    with house_style():
        drawing = published_runs.draw(reader, facts)
        assert png(drawing.figure, tmp_path / "figure.png")
    for signal, measure in (("td_error", "r"), ("step", "r"), ("td_error", "r_partial[step]")):
        value = record.query(MEASURE, {"signal": signal, "measure": measure}).value.item()
        assert number(value) in drawing.sees
    assert drawing.table is not None
    shown = {row[0]: row for row in drawing.table.rows}
    assert shown["Latent with TD error, pooled"][2] == number(0.60)
    assert "0 to 1 within each run" in drawing.beside
    for sql in reader.asked:
        assert not record.query(sql).empty
