"""Published results as rows of the record: the curves, and example runs where there are any.

All of it is one unit of a study of its own, inserted in one transaction: it is there as a whole or not at all.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy.orm import Session

from jobs.owner import this_process
from jobs.published import replay
from jobs.published.points import Point, points
from jobs.published.replay import PUBLISHED, Player
from jobs.published.runs import example_runs
from jobs.sections import hint
from jobs.stage import Unit
from tdlens.errors import UserError
from tdlens.identity import digest
from tdlens.provenance import provenance
from tdlens.record import PublishedPoint, Record, current_study, insert_columns, leases

STAGE = "import"


@dataclass(frozen=True)
class Publication:
    """Where published results come from."""

    citation: str
    """What the rows name as their source."""
    curves: str
    """The folder of its curves."""
    player: Player | None = None
    """Who played its example runs; None for a publication without any."""


PUBLICATIONS = {
    "demircan2025": Publication(
        citation="Demircan et al. 2025, arXiv 2410.01280v1",
        curves="td_in_llms",
        player=Player(
            model={
                "name": "meta-llama/Meta-Llama-3-70B",
                "fingerprint": PUBLISHED,
                "dtype": "unknown",
                "architecture": "LlamaForCausalLM",
                "n_blocks": 80,
                "d_model": 8192,
                "n_parameters": 70_553_706_496,
            },
            block=34,
        ),
    ),
    "duplessie2024": Publication(
        citation="DuPlessie 2024, recomputed from the released checkpoints and logs (5cb6e578)",
        curves="dqn_saes",
    ),
    "khadka2026": Publication(
        citation="Khadka 2026, arXiv 2605.26343v1, result files and logs (21b1d98c), in part recomputed from them",
        curves="mechrl",
    ),
    "han2026": Publication(
        citation="Han, Chalmers & Izmailov 2026, arXiv 2605.30232, and the data of its site's figures (28f1ad5)",
        curves="welfare_axis",
    ),
}
"""By the name of the study that holds their results."""


def import_published(record: Record, name: str) -> bool:
    """Bring the record to hold a publication's results.

    Returns:
        Whether they were inserted now; False if they were there.

    Raises:
        UserError: no such publication.
    """
    if name not in PUBLICATIONS:
        raise UserError(
            f"There are no published results called {name!r}{hint(name, list(PUBLICATIONS))}.",
            f"These can be imported: {', '.join(PUBLICATIONS)}.",
        )
    publication = PUBLICATIONS[name]
    drawn = list(points(publication.curves))
    runs = example_runs() if publication.player else []
    unit = Unit(STAGE, name, _config(publication, drawn) | (replay.settings(runs) if runs else {}))
    there = "SELECT job FROM v_job WHERE study = :study AND identity = :identity AND state = 'done'"
    if len(record.query(there, {"study": name, "identity": unit.identity})):
        return False
    analysed = replay.analyse(runs) if runs else None
    about = {"name": name, "task": {"name": PUBLISHED}, **unit.config}
    with record.session() as session:
        title = f"Published results: {publication.citation}"
        study = current_study(session, name=name, title=title, config=about)
        leases.enqueue(session, study.id, [leases.Planned(unit.identity, STAGE, name, unit.config, unit.seed, ())])
        held = leases.claim(session, study.id, this_process(), provenance=asdict(provenance()))
        if held is None:
            return False  # another process was quicker
        _insert_points(session, held.job_id, publication.citation, drawn)
        if publication.player and analysed:
            replay.insert_runs(session, held.job_id, publication.citation, publication.player, runs, analysed)
        leases.publish(session, held)
    return True


def _config(publication: Publication, drawn: list[Point]) -> dict[str, Any]:
    """Everything that decides the rows, but for those of the runs."""
    player = asdict(publication.player) if publication.player else {}
    about = {"citation": publication.citation, "curves": publication.curves, **player}
    return {"publication": about, "points": digest(drawn)}


def _insert_points(session: Session, job_id: int, citation: str, drawn: list[Point]) -> None:
    columns = dict(zip(Point._fields, map(list, zip(*drawn, strict=True)), strict=True))
    insert_columns(session, PublishedPoint, {"job_id": job_id, "source": citation, **columns})
