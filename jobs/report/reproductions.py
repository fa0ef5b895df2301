"""The papers that one command reproduces: which studies each takes, and how its page is written."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from jobs.report import td_in_llms
from jobs.report.page import write_report
from tdlens.errors import UserError
from tdlens.record import Record


@dataclass(frozen=True)
class Reproduction:
    """A paper."""

    name: str
    """What it is called in commands and folders."""
    studies: Mapping[str, str]
    """Task and the study of it, in the paper's order."""
    publication: str
    """Under this name tdlens import-published has the numbers beside ours."""
    write: Callable[[Record, Path], Path]
    """Writes the page into a folder from the record alone and gives its path; raises UserError without a study."""
    query: str
    """SQL to go on with."""
    siblings: Mapping[str, str] = field(default_factory=dict)
    """Models whose studies have files of their own, studies/TASK_….toml: name and ending."""


def _td_in_llms(record: Record, out: Path) -> Path:
    return td_in_llms.write_paper(record, out)


def _of_one_study(paper: str, study: str) -> Callable[[Record, Path], Path]:
    """The page of a paper whose one study's page it is."""

    def write(record: Record, out: Path) -> Path:
        if study not in set(record.query("SELECT study FROM v_study")["study"]):
            raise UserError("The paper's study is not in the record.", f"Run it: tdlens reproduce {paper}")
        return write_report(record, study, out)

    return write


REPRODUCTIONS = {
    paper.name: paper
    for paper in (
        Reproduction(
            td_in_llms.NAME,
            td_in_llms.STUDIES,
            td_in_llms.PUBLICATION,
            _td_in_llms,
            "SELECT * FROM v_intervention_effect",
        ),
        Reproduction(
            "dqn-saes",
            {"rook_endgame": "rook_endgame"},
            "duplessie2024",
            _of_one_study("dqn-saes", "rook_endgame"),
            "SELECT sae, latent, predicate, f1_heldout FROM v_latent_predicate ORDER BY f1_heldout DESC LIMIT 20",
        ),
        Reproduction(
            "mechrl",
            {"head_ablation": "head_ablation"},
            "khadka2026",
            _of_one_study("mechrl", "head_ablation"),
            "SELECT task, name, avg(score) AS score FROM v_head_score WHERE split = 'evaluation' AND "
            "ablation = 'value_bias' GROUP BY task, name ORDER BY score DESC LIMIT 20",
        ),
        Reproduction(
            "welfare-axis",
            {"two_step": "welfare_two_step", "maze": "welfare_axis"},
            "han2026",
            _of_one_study("welfare-axis", "welfare_axis"),
            "SELECT training, reader, evaluation, measure, source, value, ci_low, ci_high FROM v_steering_contrast "
            "WHERE quantity = 'contrast' AND dose_kind = 'alpha' ORDER BY training, reader, evaluation, measure, "
            "source",
            siblings={"Qwen/Qwen3-4B-Instruct-2507": "qwen3_4b"},
        ),
    )
}
"""By name."""
