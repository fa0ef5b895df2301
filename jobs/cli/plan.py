"""``tdlens plan``: what a study will need, before it starts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from jobs.cli.console import output, table
from jobs.cli.overrides import ENGINE_HELP, Engine, overrides
from jobs.planning.devices import GPUS

if TYPE_CHECKING:
    from rich.console import Console

    from jobs.planning.estimate import Estimate
    from jobs.planning.models import KnownModel
    from jobs.planning.speed import Machine

NODE = "The node"


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command()(plan)


def plan(
    study_file: Annotated[Path, typer.Argument(metavar="STUDY.toml", show_default=False)],
    changes: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Change one setting; may be repeated."),
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="reference, a folder, or a Hugging Face id; short for --set model.name=…")
    ] = None,
    revision: Annotated[
        str | None,
        typer.Option(help="Commit, branch or tag of a hub model; short for --set model.revision=…"),
    ] = None,
    engine: Annotated[Engine | None, typer.Option(help=ENGINE_HELP)] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="The study as the table [quick] of its file makes it small.")
    ] = False,
    gpus: Annotated[
        int | None,
        typer.Option(min=0, help="GPUs of the node; by default those of this machine.", rich_help_panel=NODE),
    ] = None,
    gpu: Annotated[
        str | None,
        typer.Option(
            help=f"Their kind: {', '.join(GPUS)}.",
            rich_help_panel=NODE,
        ),
    ] = None,
    gpu_memory: Annotated[
        float | None, typer.Option(min=0.1, metavar="GB", help="Memory of each GPU.", rich_help_panel=NODE)
    ] = None,
    cores: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Processor cores; by default this machine's. The speed is measured here and scaled.",
            rich_help_panel=NODE,
        ),
    ] = None,
    host_memory: Annotated[
        float | None,
        typer.Option(
            min=0.1, metavar="GB", help="Main memory; of another node unknown, and not checked.", rich_help_panel=NODE
        ),
    ] = None,
    disk_free: Annotated[
        float | None,
        typer.Option(min=0, metavar="GB", help="Free disk space for blobs, likewise.", rich_help_panel=NODE),
    ] = None,
    disk_speed: Annotated[
        float, typer.Option(min=0.001, metavar="GB/s", help="What that disk writes.", rich_help_panel=NODE)
    ] = 1.0,
    nvme_speed: Annotated[
        float,
        typer.Option(min=0.001, metavar="GB/s", help="What model.parallel.nvme reads.", rich_help_panel=NODE),
    ] = 7.0,
    mfu: Annotated[
        float,
        typer.Option(min=0.01, max=1, help="Share of the peak that matrix products reach.", rich_help_panel=NODE),
    ] = 0.5,
    as_json: Annotated[bool, typer.Option("--json", help="All numbers as JSON, in bytes and seconds.")] = False,
) -> None:
    """
    Estimate what a study will need: memory, disk, arithmetic, hours. Nothing is computed, nothing recorded.

    Sizes are counted from the model's configuration, which needs no weights; those of Llama 3 8B and 70B ship with
    tdlens. Texts are measured on rollouts of a random player, with the model's tokenizer if it is on this machine.
    The plan shows where the weights will lie, names the resource that binds, and exits with 2 and a list of changes
    that would fit if the study doesn't.

    Memory and disk are upper estimates. Hours are of the work alone: loading, starting and the smaller stages come
    on top, and **--mfu 0.5** is what large batches reach. The statistics (**correlate**, and the end of **intervene**)
    run on the processor, whose speed is measured on this machine; they are right within a factor of two.

    **Examples**

    $ tdlens plan studies/two_step_demo.toml

    $ tdlens plan studies/two_step_llama3_70b.toml --gpu h100 --gpus 8 --cores 96

    $ tdlens plan studies/two_step_llama3_70b.toml --gpu a100 --gpus 4 --host-memory 500 --disk-free 200

    $ tdlens plan studies/two_step_demo.toml --model meta-llama/Meta-Llama-3-8B --set model.dtype=bfloat16 --gpu l40s
    """
    from jobs.cores import use_available_cores
    from jobs.study import load, refuse_untold

    study = load(study_file, overrides(changes, model=model, revision=revision, engine=engine), quick=quick)
    refuse_untold(study, "A plan")

    from dataclasses import replace

    from envs import TASKS
    from jobs.names import with_names
    from jobs.planning.devices import measured_cpu
    from jobs.planning.estimate import estimate, refusal
    from jobs.planning.models import known_model
    from jobs.planning.nodes import Space, node_of
    from jobs.planning.remedies import what_would_fit
    from jobs.planning.scope import Scope
    from jobs.planning.speed import Machine
    from jobs.planning.texts import measure
    from tdlens.errors import UserError
    from tdlens.settings import Settings

    use_available_cores()
    known = known_model(study.model.name, study.model.revision)
    seed = study.seed * 100_000
    task, settings = TASKS[study.task.name], study.task.settings
    if known.tokenizer is not None:
        settings = with_names(task, settings, known.tokenizer, study.model.name)
    texts = measure(task, settings, study.task.variants, seed, known.tokenizer)
    scope = Scope(study, known.shape, texts)
    cpu = measured_cpu(cores)
    node, device = node_of(
        cpu,
        gpus=0 if study.model.device == "cpu" else gpus,
        gpu=gpu,
        gpu_memory=gpu_memory and gpu_memory * 1e9,
        host_memory=host_memory and host_memory * 1e9,
    )
    another = gpu is not None or gpus is not None or gpu_memory is not None
    space = Space() if another else Space.here(Settings.from_environment())
    if disk_free is not None:
        space = replace(space, blobs=round(disk_free * 1e9))
    machine = Machine(device, node.n_gpus > 0, cpu, mfu, nvme=nvme_speed * 1e9, disk=disk_speed * 1e9)
    try:
        found = estimate(scope, node, machine, space)
    except UserError as error:
        others = what_would_fit(scope, node, machine, space)
        raise UserError(error.message, "; or: ".join([error.remedy.rstrip("."), *others]) + ".") from error
    if as_json:
        typer.echo(json.dumps(_numbers(found, known, machine), indent=2))
    else:
        _show(output(), found, known, machine)
    if (problem := refusal(found)) is not None:
        others = what_would_fit(scope, node, machine, space) or ["a smaller study or model, or a larger node"]
        raise UserError(problem, f"What would fit: {'; or: '.join(others)}.")


def _show(console: Console, found: Estimate, known: KnownModel, machine: Machine) -> None:
    from jobs.inference.layout import readable

    scope, shape, texts = found.scope, known.shape, found.scope.texts
    study = scope.study
    console.print(f"[bold]{study.name}[/] on {study.model.name}, {study.model.dtype} ({known.source})")
    console.print(
        f"Model: {shape.architecture}, {shape.parameters / 1e6:,.1f} million parameters, "
        f"{readable(shape.parameters * scope.dtype_bytes)}; {shape.n_blocks} blocks, {shape.d_model} wide"
    )
    console.print(f"Play:  {found.play.reason}")
    if found.read is not None:
        console.print(f"Read:  {found.read.reason}")
    how = "with the model's tokenizer" if texts.measured else "estimated from words, as the tokenizer isn't here"
    console.print(
        f"Texts: {texts.tokens:,.0f} tokens a rollout, at most {texts.longest:,}, {texts.n_decisions} decisions ({how})"
    )
    decision = found.residual_bytes
    console.print(
        f"Bytes: {readable(decision)} of residual stream a decision ({len(scope.blocks)} blocks, "
        f"{study.capture.dtype}), {readable(decision * texts.n_decisions)} a rollout; "
        f"{readable(found.kv_bytes)} of keys and values a token\n"
    )
    rows: list[tuple[Any, ...]] = [
        (
            stage.name,
            stage.units,
            stage.what,
            f"{stage.flops / 1e15:,.3g}",
            readable(stage.written) if stage.written else "",
            _hours(stage.hours),
            stage.binding,
        )
        for stage in found.stages
    ]
    flops = sum(stage.flops for stage in found.stages)
    rows.append(("all", "", "", f"{flops / 1e15:,.3g}", readable(found.disk.total), _hours(found.hours), ""))
    columns = ("stage", "units", "work", "PFLOP", "written", "hours", "mostly waits for")
    console.print(table(columns, rows, numeric=("units", "PFLOP", "written", "hours")))
    console.print()
    held = [
        (
            room.name,
            readable(room.needed),
            "not known" if room.available is None else readable(room.available),
            "" if room.available is None else f"{room.share:.0%}",
            room.when,
        )
        for room in found.rooms
    ]
    console.print(
        table(("resource", "needed", "there is", "used", "most in"), held, numeric=("needed", "there is", "used"))
    )
    spent = ", ".join(f"{name} {_hours(seconds / 3600)}" for name, seconds in found.waits.items())
    console.print(f"\nBinding: [bold]{found.binding}[/]. Hours: {spent}.")
    device, cpu = machine.device, machine.cpu
    if machine.has_gpu:
        console.print(
            f"GPU: {machine.mfu:.0%} of {device.flops(study.model.dtype) / 1e12:,.3g} Tflop/s ({device.name})."
        )
    console.print(
        f"Processor: {cpu.flops32 / 1e12:,.2f} Tflop/s and {cpu.bandwidth / 1e9:,.3g} GB/s ({cpu.name}). "
        f"Disk: {machine.disk / 1e9:g} GB/s."
    )


def _hours(hours: float) -> str:
    return "< 0.01" if hours < 0.01 else f"{hours:,.2f}" if hours < 10 else f"{hours:,.0f}"


def _numbers(found: Estimate, known: KnownModel, machine: Machine) -> dict[str, Any]:
    """All that an estimate says, in bytes, seconds and floating-point operations."""
    from dataclasses import asdict

    from jobs.planning.memory import kv_cache

    scope, shape, texts = found.scope, known.shape, found.scope.texts
    return {
        "study": scope.study.name,
        "model": {
            "name": scope.study.model.name,
            "known_from": known.source,
            "dtype": scope.study.model.dtype,
            **{name: value for name, value in asdict(shape).items() if not name.startswith("block_")},
            "block_parameters": max(shape.block_parameters),
            "weights_bytes": shape.parameters * scope.dtype_bytes,
        },
        "node": asdict(found.node),
        "speeds": {
            "device": asdict(machine.device),
            "processor": asdict(machine.cpu),
            "mfu": machine.mfu,
            "disk": machine.disk,
            "nvme": machine.nvme,
        },
        "texts": {
            "measured": texts.measured,
            "tokens": texts.tokens,
            "longest": texts.longest,
            "decisions": texts.n_decisions,
        },
        "layouts": {"play": asdict(found.play), "read": asdict(found.read) if found.read else None},
        "bytes": {
            "residual_a_decision": found.residual_bytes,
            "residual_a_rollout": found.residual_bytes * texts.n_decisions,
            "kv_a_token": found.kv_bytes,
            "kv_cache_a_device": kv_cache(scope, found.play.kind, found.play.ranks),
            "disk": asdict(found.disk),
        },
        "stages": [{**asdict(stage), "hours": stage.hours, "waits_for": stage.binding} for stage in found.stages],
        "hours": found.hours,
        "seconds_by_wait": found.waits,
        "rooms": [asdict(room) for room in found.rooms],
        "binding": found.binding,
        "fits": found.fits,
    }
