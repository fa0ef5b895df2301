"""``tdlens run --rehearse``: what is rehearsed, and what it found."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jobs.cli.console import messages, output, table

if TYPE_CHECKING:
    from rich.console import Console

    from jobs.rehearsal import Measured, Rehearsal
    from jobs.study import Study
    from tdlens.settings import Settings


def rehearse(study: Study, settings: Settings, blocks: int, rollouts: int, report: bool) -> None:
    """Rehearse a study and say what came of it."""
    from jobs.cores import use_available_cores
    from jobs.rehearsal import Rehearsal
    from jobs.study import refuse_untold

    refuse_untold(study, "A rehearsal")
    use_available_cores()
    console = messages()
    rehearsal = Rehearsal(study, settings, console, blocks=blocks, rollouts=rollouts)
    _announce(rehearsal, console)
    _show(rehearsal, rehearsal.run(report=report))


def _announce(rehearsal: Rehearsal, console: Console) -> None:
    from jobs.inference.layout import readable

    cut, study = rehearsal.cut, rehearsal.cut.whole
    played, rows = cut.study.task.rollouts, min(study.model.batch_size, study.task.rollouts)
    lines = [
        f"[bold]Rehearsal of {study.name}[/]: {study.model.name} as a shape, with random weights.",
        f"  {cut.blocks} of {cut.depth} blocks, {readable(rehearsal.weight_bytes)} of weights in {study.model.dtype}; "
        f"{played} of {study.task.rollouts} rollouts of each variant. All else is the study's.",
    ]
    if study.capture.blocks != "all" and study.capture.blocks != cut.study.capture.blocks:
        lines.append(
            f"  Captured blocks {list(study.capture.blocks)} become {list(cut.study.capture.blocks)}: the last stays "
            "the last, the others are spread over those before it."
        )
    if played < rows:
        lines.append(
            f"  A batch has {played} rows, not {rows}: --rehearse-rollouts {rows} rehearses the memory of a whole one."
        )
    if rehearsal.layout_note:
        lines.append(f"  {rehearsal.layout_note}")
    lines.append(f"  Your record stays as it is; this one lies in {rehearsal.home}.")
    for line in lines:
        console.print(line, soft_wrap=True)


def _show(rehearsal: Rehearsal, found: Measured) -> None:
    from jobs.inference.layout import readable

    cut, console = rehearsal.cut, output()
    console.print(f"\n[bold]{cut.whole.name}[/] runs from beginning to end on {cut.blocks} blocks of random weights.\n")
    rows = [
        (time.stage, time.units, f"{time.seconds:.1f}", _longest(time.seconds if time.most is None else time.most))
        for time in found.stages
    ]
    console.print(
        table(
            ("stage", "units", "seconds", "all of it at most"), rows, numeric=("units", "seconds", "all of it at most")
        )
    )
    console.print(
        f"\nThe last column: this machine's time for {cut.whole.task.rollouts} rollouts and {cut.depth} blocks if all "
        "of it grew with them. But larger batches are faster by the row, and starting up is paid once.",
        soft_wrap=True,
    )
    memory = [f"{readable(found.host_bytes)} in this process"]
    if cut.whole.model.engine == "deepspeed":
        memory.append(f"{readable(found.child_bytes)} of main memory in the largest rank")
    if found.gpu_bytes:
        memory.append(f"{readable(found.gpu_bytes)} allocated by it on a GPU")
    console.print(
        f"While it played it went through {found.tokens_per_second:,.0f} tokens of text a second. "
        f"Peak of memory: {', '.join(memory)}.",
        soft_wrap=True,
    )
    if found.report is not None:
        console.print(f"Report, of random weights: {found.report}", soft_wrap=True)
    console.print("What all blocks need on which node: tdlens plan", soft_wrap=True)


def _longest(seconds: float) -> str:
    return (
        f"{seconds:.1f} s"
        if seconds < 120
        else f"{seconds / 60:.0f} min"
        if seconds < 7200
        else f"{seconds / 3600:.0f} h"
    )
