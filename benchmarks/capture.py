"""What capturing the residual stream costs beside the model's bare forward pass, with and without writing it.

    python benchmarks/capture.py

A Llama architecture of random weights, 70M parameters, whose LM head has the share of the work that it has in Llama
3.2 3B, an eighth, reads 2 rows of 1024 tokens with 60 decisions each, as rollouts of Two-Step have (Demircan et al.
2025, arXiv 2410.01280). The bare pass is the Hugging Face model called with its LM head at every token. Beside it a
bare pass whose LM head sees the decision tokens alone, as this project's does: what capturing costs is measured
against that, not against work which is merely left out.

Where shards are written, to the disk of TMPDIR, the pool of writers is at work while the model reads the next rows. The
disk's own time is that of the same shards through the same pool with nothing else to do.

All take turns within each round, in an order that is drawn anew, and ratios are taken within the round, so that what
else the machine does, and what the pass before left behind, hits all alike. One thread computes, and limits are held
against processor time: it is the work, of writers too, whoever else wants the processor. The clock on the wall beside
it shows what is waited for.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch
from machine import machine
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM

from jobs.inference.base import TokenBatch
from jobs.inference.huggingface import HuggingFaceEngine
from jobs.shards import ShardWriters
from tdlens.blobs import BlobStore

BATCH, LENGTH, DECISIONS, VOCABULARY, BLOCKS, PASSES = 2, 1024, 60, 12288, 12, 3
CONFIG = LlamaConfig(
    vocab_size=VOCABULARY,
    hidden_size=640,
    intermediate_size=1728,
    num_hidden_layers=BLOCKS,
    num_attention_heads=10,
    num_key_value_heads=5,
    max_position_embeddings=2048,
    rope_theta=500000.0,
)
RESULTS = Path(__file__).parent / "results" / "capture.json"

BARE = "bare forward pass, logits at every token"
AT_DECISIONS = "bare forward pass, logits at decision tokens"
DECISION = "all blocks at decision tokens, and logits there"
UNPREDICTED = "all blocks at decision tokens, no logits"
THREE_QUARTERS = "first three quarters of the blocks, no logits"
EVERY = "all blocks at every position, and logits"
WRITTEN = "all blocks at every position, logits, written"
DISK = "the same shards written alone"


class Times(NamedTuple):
    """Seconds of one pass."""

    wall: float
    processor: float
    """Of all threads together."""


class Passes:
    """What is compared, by name."""

    def __init__(self, folder: Path) -> None:
        torch.manual_seed(0)
        self.engine = HuggingFaceEngine(LlamaForCausalLM(CONFIG), tokenizer=None, fingerprint="")
        ids = torch.randint(VOCABULARY, (BATCH, LENGTH))
        self.tokens = TokenBatch(ids, torch.ones_like(ids, dtype=torch.bool))
        rows = [torch.linspace(100 + 3 * row, LENGTH - 1 - 7 * row, DECISIONS) for row in range(BATCH)]
        self.decisions = torch.stack(rows).long()
        self.every = torch.arange(LENGTH).expand(BATCH, -1)
        self.folder = folder
        self.activations = self.captured(self.every, BLOCKS, logits=False)
        self.runs: dict[str, Callable[[], object]] = {
            BARE: self.bare,
            AT_DECISIONS: self.bare_at_decisions,
            DECISION: lambda: self.captured(self.decisions, BLOCKS),
            UNPREDICTED: lambda: self.captured(self.decisions, BLOCKS, logits=False),
            THREE_QUARTERS: lambda: self.captured(self.decisions, 3 * BLOCKS // 4, logits=False),
            EVERY: lambda: self.captured(self.every, BLOCKS),
            WRITTEN: lambda: self.written(lambda: self.captured(self.every, BLOCKS)),
            DISK: lambda: self.written(lambda: self.activations),
        }

    @torch.no_grad()
    def bare(self) -> Tensor:
        return self.engine.model(input_ids=self.tokens.ids, use_cache=False).logits

    @torch.no_grad()
    def bare_at_decisions(self) -> Tensor:
        model = self.engine.model
        stream = model.model(input_ids=self.tokens.ids, use_cache=False).last_hidden_state
        return model.lm_head(stream[torch.arange(BATCH)[:, None], self.decisions])

    def captured(self, positions: Tensor, blocks: int, logits: bool = True) -> dict[int, Tensor]:
        forward = self.engine.forward(self.tokens, positions=positions, capture=range(1, blocks + 1), logits=logits)
        return forward.activations

    def written(self, batch: Callable[[], dict[int, Tensor]]) -> None:
        """Several batches through the pool; seconds are of all of them."""
        store = BlobStore(self.folder / "blobs")
        with ShardWriters(store, "float32") as writers:
            for _ in range(PASSES):
                writers.take(batch())
            assert len(writers.results()) == PASSES * BLOCKS

    def clean(self) -> None:
        """Room for the next round: not timed."""
        shutil.rmtree(self.folder / "blobs", ignore_errors=True)


def measure(passes: Passes, rounds: int) -> dict[str, list[Times]]:
    """What each takes in each round, a pass of the model, or as many as are written together."""
    times: dict[str, list[Times]] = {name: [] for name in passes.runs}
    shuffled = random.Random(0)
    for index in range(-1, rounds):  # the first round warms up
        for name in shuffled.sample(list(passes.runs), len(passes.runs)):
            wall, processor = time.perf_counter(), time.process_time()
            passes.runs[name]()
            if index >= 0:
                times[name].append(Times(time.perf_counter() - wall, time.process_time() - processor))
            passes.clean()
    return times


def ratios(times: dict[str, list[Times]], clock: str) -> dict[str, list[float]]:
    """What the issue bounds, in each round."""
    s = {name: [getattr(one, clock) for one in each] for name, each in times.items()}
    return {
        "decision tokens": [a / b for a, b in zip(s[DECISION], s[AT_DECISIONS], strict=True)],
        "decision tokens beside the whole bare pass": [a / b for a, b in zip(s[DECISION], s[BARE], strict=True)],
        "no logits, times as fast": [b / a for a, b in zip(s[UNPREDICTED], s[BARE], strict=True)],
        "no logits, three quarters, times as fast": [b / a for a, b in zip(s[THREE_QUARTERS], s[BARE], strict=True)],
        "every position": [a / b for a, b in zip(s[EVERY], s[BARE], strict=True)],
        "every position, written, less the disk's own time": [
            (a - disk) / (PASSES * b) for a, disk, b in zip(s[WRITTEN], s[DISK], s[BARE], strict=True)
        ],
    }


LIMITS: dict[str, tuple[str, float, float]] = {
    "decision tokens": ("processor", 0.0, 1.03),
    "no logits, times as fast": ("processor", 1.1, float("inf")),
    "no logits, three quarters, times as fast": ("processor", 1.1, float("inf")),
    "every position": ("processor", 0.0, 1.10),
    "every position, written, less the disk's own time": ("processor", 0.0, 1.10),
}
"""By which clock, and between which bounds the median must be."""


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        passes = Passes(Path(folder))
        megabytes = sum(x.nbytes for x in passes.activations.values()) / 1e6
        about = passes.engine.describe()
        print(f"{about.n_parameters / 1e6:.0f}M parameters, {about.n_blocks} blocks, {about.dtype}")
        times = measure(passes, options.rounds)
    for name, each in times.items():
        wall, processor = (statistics.median(values) for values in zip(*each, strict=True))
        print(f"{name:52} {wall * 1e3:8.0f} ms {processor * 1e3:8.0f} ms of processor")
    disk = PASSES * megabytes / statistics.median(one.wall for one in times[DISK])
    print(f"{'the disk alone':52} {disk:8.0f} MB/s")
    found = {clock: ratios(times, clock) for clock in Times._fields}
    missed = []
    for name in found["wall"]:
        quartiles = {clock: statistics.quantiles(found[clock][name], n=4) for clock in Times._fields}
        text = ", ".join(f"{clock} {q[1]:.3f} ({q[0]:.3f} to {q[2]:.3f})" for clock, q in quartiles.items())
        print(f"{name:52} {text}")
        if name in LIMITS:
            clock, low, high = LIMITS[name]
            if not low <= quartiles[clock][1] <= high:
                missed.append(f"{name}: {quartiles[clock][1]:.3f}, not between {low} and {high}")
    options.out.parent.mkdir(parents=True, exist_ok=True)
    report = {**machine(["safetensors"]), "written_megabytes": PASSES * megabytes, "ratios": found, "seconds": times}
    options.out.write_text(json.dumps(report) + "\n")
    if missed:
        raise SystemExit("\n".join(missed))


if __name__ == "__main__":
    main()
