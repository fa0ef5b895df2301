"""Bytes that a study needs beside the weights: on each GPU, and in main memory. Upper estimates of the peak."""

from __future__ import annotations

from jobs.inference.layout import Job, Kind
from jobs.inference.offload import CAPACITY, SLOTS
from jobs.planning.scope import Scope
from jobs.planning.speed import dtype_size
from jobs.planning.work import Pass, Passes, sae_parameters
from jobs.training.trainers import ROWS_A_RANK
from jobs.writing import MOST_THREADS
from sae.rollout_statistics import CHUNK

RESERVED = 1.5e9
"""On each GPU: CUDA's context, libraries, NCCL's buffers, and what the allocator can't use."""
PROCESS = 1.5e9
"""Main memory of a process that has loaded PyTorch and its libraries."""
ADAM_NUMBERS = 4
"""Of each parameter in training: itself, its gradient, two moments."""


def device_working(scope: Scope, job: Job, kind: Kind, ranks: int, *, has_gpu: bool) -> int:
    """Bytes that each device needs beside weights for its fullest forward pass, cache and captures included.

    Args:
        scope: the study.
        job: ``play``, interventions among it, or ``read``: the untrained model.
        kind: how the model is laid out.
        ranks: over how many processes.
        has_gpu: whether CUDA takes its part.
    """
    split = ranks if kind in ("tensor", "hf_tensor") else 1
    dealt = ranks if kind == "zero3" else 1
    if job == "read":
        return round(
            _fullest(scope, scope.harvest(dealt), split, dealt, cached=False, has_gpu=has_gpu) + has_gpu * RESERVED
        )
    played = _fullest(scope, scope.play(dealt), split, dealt, cached=not scope.reads, has_gpu=has_gpu)
    if not scope.study.intervention:
        return round(played + has_gpu * RESERVED)
    reread = _fullest(scope, scope.reread(dealt), split, dealt, cached=False, has_gpu=has_gpu)
    edit = max(4 * sae_parameters(config) for config in scope.autoencoders)
    return round(max(played, reread) + edit + has_gpu * RESERVED)


def kv_cache(scope: Scope, kind: Kind, ranks: int) -> int:
    """Bytes of the keys and values of a whole batch on each device, at its end; whole texts need no cache."""
    if scope.reads:
        return 0
    split = ranks if kind in ("tensor", "hf_tensor") else 1
    dealt = ranks if kind == "zero3" else 1
    rows = -(-min(scope.study.model.batch_size, scope.rollouts) // dealt)
    return rows * sum(scope.texts.padded) * scope.shape.kv_bytes(scope.dtype_bytes) // split


def training_device(scope: Scope) -> int:
    """Bytes on the device where the largest autoencoder is trained. Data that find no room there come in batches."""
    found = [
        4 * (ADAM_NUMBERS * sae_parameters(config) + 4 * section.batch_size * (config.d_in + config.d_latents))
        for section, config in zip(scope.study.sae, scope.autoencoders, strict=True)
    ]
    return max(found, default=0)


def training_ranks(scope: Scope, n_gpus: int) -> list[int]:
    """Processes that train each section's autoencoders."""
    model = scope.study.model
    most = (model.parallel.ranks or n_gpus) if model.engine == "deepspeed" and n_gpus else 1
    return [section.ranks or max(1, min(most, section.batch_size // ROWS_A_RANK)) for section in scope.study.sae]


def host_needs(
    scope: Scope, model_bytes: int, processes: int, training: list[int], play: Passes, harvest: Passes
) -> dict[str, int]:
    """Main memory at the fullest moment of each stage.

    Args:
        scope: the study.
        model_bytes: what the model takes of it all the time.
        processes: that hold PyTorch, ranks among them.
        training: processes that train each section's autoencoders.
        play: passes in which one variant is played or read.
        harvest: passes in which the untrained model reads, if there is one.
    """
    base = model_bytes + round(processes * PROCESS)
    d = scope.shape.d_model
    batch = max(work.rows for work, _ in play)
    needs = {"play": base + captured_batch(scope, batch)}
    if harvest:
        # fresh weights are drawn in float32, whatever they are cast to
        read = captured_batch(scope, max(work.rows for work, _ in harvest))
        needs["harvest"] = base + max(4 * scope.shape.parameters, read)
    if scope.autoencoders:
        # mapped from a file, and handed to other processes
        copies, others = (3, max(training)) if max(training) > 1 else (1, 0)
        needs["train_sae"] = base + copies * 4 * scope.all_rows * d + round(others * PROCESS)
    if scope.features:
        # a shard and its features; of some features and all signals: in float64, centred, standardised, and what
        # covariates leave of them
        shard = batch * scope.texts.n_decisions * (2 * 4 * d + 3 * 8 * max(scope.features.values()))
        correlated = len(scope.study.correlate.signals) + len(scope.study.correlate.covariates)
        at_once = max(CHUNK, scope.all_rows) + scope.all_rows * correlated
        needs["correlate"] = base + shard + (4 + 6 * 8) * at_once
    if scope.study.intervention:
        widest = max(config.d_latents for config in scope.autoencoders)
        latents = scope.texts.n_decisions * widest * (4 + 4 * 8)
        rows = scope.rollouts * scope.texts.n_decisions
        intact = max(2 * 4 * rows * d, captured_batch(scope, batch))
        needs["intervene"] = base + intact + latents + 4 * sae_parameters(scope.autoencoders[0])
    return needs


def captured_batch(scope: Scope, rollouts: int) -> int:
    """Main memory of a batch's captures: being filled, the one before being written, and copies of its blocks."""
    block = rollouts * scope.texts.n_decisions * scope.shape.d_model
    written = MOST_THREADS * block * dtype_size(scope.study.capture.dtype)
    return 2 * len(scope.blocks) * block * scope.dtype_bytes + written


def largest(needs: dict[str, int]) -> tuple[str, int]:
    """The stage that needs most, and how much."""
    stage = max(needs, key=lambda name: needs[name])
    return stage, needs[stage]


def _fullest(scope: Scope, passes: Passes, split: int, dealt: int, *, cached: bool, has_gpu: bool) -> float:
    return max(_pass_bytes(scope, work, split, dealt, cached=cached, has_gpu=has_gpu) for work, _ in passes)


def _pass_bytes(scope: Scope, work: Pass, split: int, dealt: int, *, cached: bool, has_gpu: bool) -> float:
    """Bytes of one forward pass on the fullest device.

    Args:
        scope: the study.
        work: the pass of the whole batch.
        split: ranks among which heads and neurons are split.
        dealt: ranks among which rows are dealt out.
        cached: whether keys and values of all blocks are kept.
        has_gpu: whether captures leave the device.
    """
    shape, size = scope.shape, scope.dtype_bytes
    rows = -(-work.rows // dealt)
    tokens, context = rows * work.new, rows * (work.seen + work.new)
    # in the stream's width: what enters, its norm, attention's output, the sum; the norm again in float32
    stream = tokens * shape.d_model * (4 * size + 8)
    heads = tokens * (2 * shape.n_heads + 2 * shape.n_kv_heads) * shape.d_head * size / split
    neurons = 3 * tokens * shape.d_mlp * size / split
    # a mask of every token and what it sees; keys and values repeated for heads that share them
    attention: float = rows * work.new * (work.seen + work.new) * size
    if shape.n_kv_heads < shape.n_heads:
        attention += 2 * context * shape.n_heads * shape.d_head * size / split
    block = rows * work.captured * shape.d_model * size
    kept = len(scope.blocks) * block
    if has_gpu and not cached:
        # they leave while later blocks are computed: what is on its way stays, and what was just computed
        kept = min(kept, SLOTS * CAPACITY + 2 * block)
    # chosen tokens only are handed out, but all are computed
    logits = rows * work.predicted * shape.vocabulary * (size + 4)
    # a block's cache is copied when it grows
    cache = context * shape.kv_bytes(size) / split * (1 + 1 / shape.n_blocks) if cached else 0
    return stream + max(heads + attention, neurons) + kept + logits + cache
