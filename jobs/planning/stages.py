"""Work, hours and bytes of each stage of a study that takes any."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from envs import TASKS
from jobs.inference.layout import Layout
from jobs.planning.disk import Disk
from jobs.planning.scope import Scope
from jobs.planning.speed import (
    DISK,
    Machine,
    Seconds,
    added,
    passes_seconds,
    statistics_seconds,
    times,
    training_seconds,
)
from jobs.planning.work import Flops, Passes, sae_parameters, sae_pass_flops, sae_step_flops
from jobs.state_measures import LARGEST, PAIRED


@dataclass(frozen=True)
class Stage:
    """What a stage takes."""

    name: str
    units: int
    """Units in the ledger."""
    what: str
    """For people: how much of what."""
    flops: float
    """Floating-point operations of the model and the autoencoders."""
    seconds: Seconds
    """By what they are spent on."""
    written: int
    """Bytes of blobs."""

    @property
    def hours(self) -> float:
        return sum(self.seconds.values()) / 3600

    @property
    def binding(self) -> str:
        """What most of the time goes to."""
        return max(self.seconds, key=lambda name: self.seconds[name])


def stages_of(
    scope: Scope, machine: Machine, play: Layout, read: Layout | None, disk: Disk, training: list[int]
) -> list[Stage]:
    """The stages in their order; what takes no time to speak of (signals, behaviour, rank) is left out.

    Args:
        scope: the study.
        machine: the node's speed.
        play: how the model is laid out.
        read: how the untrained one is, if there is one.
        disk: what is written.
        training: processes that train each section's autoencoders.
    """
    return [_written_meanwhile(stage, machine) for stage in _stages(scope, machine, play, read, disk, training)]


def _stages(
    scope: Scope, machine: Machine, play: Layout, read: Layout | None, disk: Disk, training: list[int]
) -> Iterator[Stage]:
    study, shape, dtype = scope.study, scope.shape, scope.study.model.dtype
    variants, blocks = len(study.task.variants), len(scope.blocks)
    decisions = scope.rollouts * scope.texts.n_decisions

    def forward(layout: Layout, passes: Passes, count: float) -> Seconds:
        return times(passes_seconds(machine, shape, dtype, layout, passes), count)

    passes = scope.play(play.readers)
    yield Stage(
        "play",
        variants,
        f"{variants * scope.rollouts:,} rollouts, {_tokens(passes) * variants:,} tokens",
        Flops.of_passes(shape, passes).total * variants,
        forward(play, passes, variants),
        disk.shards,
    )
    if compared := scope.compare(play.readers):
        n = len(study.task.controls) + bool(study.task.further_rollouts)
        rollouts = len(study.task.controls) * scope.rollouts + study.task.further_rollouts
        what = f"{rollouts:,} rollouts, {_tokens(compared):,} tokens"
        yield Stage("compare", n, what, Flops.of_passes(shape, compared).total, forward(play, compared, 1), 0)
    if read is not None:
        harvest = scope.harvest(read.readers)
        yield Stage(
            "harvest",
            variants,
            f"{_tokens(harvest) * variants:,} tokens, by an untrained model",
            Flops.of_passes(shape, harvest).total * variants,
            forward(read, harvest, variants),
            disk.control_shards,
        )
    if scope.autoencoders:
        yield _training(scope, machine, training, disk)
    if scope.features:
        yield _correlating(scope, machine, disk)
    if scope.state_columns:
        yield _representing(scope, machine)
    if study.intervention:
        n = len(study.intervention)
        used = {intervention.sae for intervention in study.intervention}
        configs = dict(zip((section.name for section in study.sae), scope.autoencoders, strict=True))
        encoded = [configs[each.sae] for each in study.intervention] + [configs[name] for name in used]
        encoding = sum(sae_pass_flops(config, decisions) for config in encoded) * blocks
        # latents and their squares in float64, centred, and their products with signals
        moments = sum(100.0 * decisions * config.d_latents for config in encoded) * blocks
        # what the model chose is read again, for the same contexts under the edits
        reread = [] if scope.reads else scope.reread(play.readers)
        yield Stage(
            "intervene",
            n,
            f"{n} × {scope.rollouts:,} rollouts" + (" read" if scope.reads else " played, and as many read"),
            Flops.of_passes(shape, passes).total * n + Flops.of_passes(shape, reread).total * (n + 1) + encoding,
            added(
                [
                    forward(play, passes, n),
                    forward(play, reread, n + 1),
                    statistics_seconds(machine, moments, flops32=encoding),
                ]
            ),
            0,
        )


def _training(scope: Scope, machine: Machine, ranks: list[int], disk: Disk) -> Stage:
    blocks = len(scope.blocks)
    flops, seconds, total_steps = 0.0, [], 0
    for section, config, n in zip(scope.study.sae, scope.autoencoders, ranks, strict=True):
        steps = section.epochs * -(-scope.all_rows // section.batch_size)
        step_flops = sae_step_flops(config, section.batch_size)
        flops += steps * step_flops + 2 * sae_pass_flops(config, scope.all_rows)
        seconds.append(times(training_seconds(machine, sae_parameters(config), step_flops, n), steps))
        total_steps += steps
    return Stage(
        "train_sae",
        blocks * len(scope.autoencoders),
        f"{scope.all_rows:,} rows a block, {total_steps * blocks:,} steps",
        flops * blocks,
        times(added(seconds), blocks),
        disk.autoencoders,
    )


def _correlating(scope: Scope, machine: Machine, disk: Disk) -> Stage:
    """Mostly memory read and written, as fitted to measurements: right within a factor of two."""
    correlate, rows, d = scope.study.correlate, scope.all_rows, scope.shape.d_model
    rollouts, signals = len(scope.study.task.variants) * scope.rollouts, len(correlate.signals)
    pairs = len(scope.study.task.variants) * scope.rollouts**2
    n_bytes = flops32 = flops64 = 0.0
    encoded = dict(zip((section.name for section in scope.study.sae), scope.autoencoders, strict=True))
    for source, features in scope.features.items():
        tests = features * signals
        n_bytes += 1500 * rows * features + 24 * correlate.permutations * rollouts * tests + 20 * pairs * tests
        flops32 += 2 * pairs * tests * scope.texts.n_decisions
        if source in encoded:
            flops32 += 2 * sae_pass_flops(encoded[source], rows)
        elif source == "shuffled":
            flops32 += 2 * sae_pass_flops(scope.autoencoders[0], rows)
        elif source == "pca":
            # covariance, its eigenvectors, and projections on them
            flops64 += 4.0 * rows * d**2 + 9.0 * d**3
    blocks = len(scope.blocks)
    return Stage(
        "correlate",
        blocks * len(scope.features),
        f"{sum(scope.features.values()) * signals * blocks:,} correlations, {correlate.permutations:,} permutations",
        blocks * (flops32 + flops64),
        times(statistics_seconds(machine, n_bytes, flops32, flops64), blocks),
        disk.correlations,
    )


def _representing(scope: Scope, machine: Machine) -> Stage:
    """Mostly products in float64 of every rollout's features with the signals of those that it is paired with."""
    rows, d = scope.all_rows, scope.shape.d_model
    paired = min(PAIRED, scope.rollouts) * scope.state_columns
    sources = {name: features for name, features in scope.features.items() if name != "shuffled"}
    # of all features and, as a whole, of the residual stream and the untrained model's
    compared = len(LARGEST) * sum(sources.values()) + d * (1 + scope.untrained)
    flops64 = 2.0 * rows * compared * paired + (4.0 * rows * d**2 + 9.0 * d**3) * ("pca" in sources)
    flops32 = sum(2 * sae_pass_flops(config, rows) for config in scope.autoencoders)
    blocks = len(scope.blocks)
    return Stage(
        "represent",
        len(sources) + 1,
        f"{len(scope.study.signals.matrices(TASKS[scope.study.task.name]))} signals of every state, {blocks:,} blocks",
        blocks * (flops32 + flops64),
        times(statistics_seconds(machine, 100.0 * rows * compared, flops32, flops64), blocks),
        0,
    )


def _written_meanwhile(stage: Stage, machine: Machine) -> Stage:
    """Blobs are written while the next ones are computed: the slower of the two decides."""
    writing = stage.written / machine.disk
    if writing <= sum(stage.seconds.values()):
        return stage
    return Stage(stage.name, stage.units, stage.what, stage.flops, {DISK: writing}, stage.written)


def _tokens(passes: Passes) -> int:
    return sum(work.tokens * count for work, count in passes)
