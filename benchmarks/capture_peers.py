"""Capturing the residual stream: this project beside nnsight, TransformerLens and the bare forward pass, in one run.

    python -m venv peers
    peers/bin/pip install -c constraints.txt -e . -r benchmarks/requirements-peers.txt
    peers/bin/python benchmarks/capture_peers.py

All four load one folder: a Llama architecture of random weights, 65M parameters, whose LM head has the share of the
work that it has in Llama 3.2 3B, an eighth. They read the same two rows of 1024 tokens, each as its own documentation
advises where speed matters:

- nnsight: one trace for all blocks, without gradients, left with ``tracer.stop()`` where no logits are wanted; beside
  it the same trace without ``stop()``.
- TransformerLens: ``TransformerBridge`` (``HookedTransformer`` is gone since its version 4), ``run_with_cache`` with
  ``names_filter``, without gradients, and ``stop_at_layer`` where no logits are wanted.
- bare: the Hugging Face model itself with its LM head and nothing captured, whatever the task.

Before anything is timed, every captured activation must equal what Hugging Face's own hooks give, to 1e-4 of the
block's root mean square. In every round all take turns, in an order that is drawn, and ratios are taken within the
round, so that what else the machine does hits all alike.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

os.environ["HF_HUB_OFFLINE"] = "1"

import nnsight
import torch
from machine import machine
from random_model import write_model
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge
from transformers import AutoModelForCausalLM, LlamaConfig
from transformers.utils.logging import disable_progress_bar

from jobs.inference.base import TokenBatch
from jobs.inference.models import load_engine

BATCH, LENGTH, DECISIONS, VOCABULARY, BLOCKS = 2, 1024, 60, 12288, 12
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
TOLERANCE = 1e-4
NO_STOP = "nnsight without stop"
LIMITS = {NO_STOP: 1.1, "TransformerLens": 1.3}
"""How many times as fast as a peer this project must be, wherever that peer takes part."""
RESULTS = Path(__file__).parent / "results" / "capture_peers.json"


class Times(NamedTuple):
    """Seconds of one pass."""

    wall: float
    processor: float
    """Of all threads together: the work itself, whoever else wants the processor. Ratios are judged by it."""


Activations = dict[int, Tensor]
"""Residual stream by block, [B, P, d]."""


@dataclass(frozen=True)
class Task:
    """What is wanted of the model."""

    title: str
    blocks: range
    positions: Tensor
    """Columns of each row [B, P]."""
    every_position: bool
    logits: bool

    @property
    def at(self) -> Any:
        """Index of the positions into [B, T, d]; all of them without a copy."""
        return slice(None) if self.every_position else (torch.arange(BATCH)[:, None], self.positions)


def tasks() -> list[Task]:
    """Rows differ in where their decisions lie, as rollouts do."""
    decisions = torch.stack([torch.linspace(100 + 3 * row, LENGTH - 1 - 7 * row, DECISIONS) for row in range(BATCH)])
    every = torch.arange(LENGTH).expand(BATCH, -1)
    whole, half = range(1, BLOCKS + 1), range(1, BLOCKS // 2 + 1)
    return [
        Task("all blocks at decision tokens, and logits", whole, decisions.long(), False, True),
        Task("all blocks at every position, and logits", whole, every, True, True),
        Task("all blocks at decision tokens", whole, decisions.long(), False, False),
        Task("all blocks at every position", whole, every, True, False),
        Task("first half of the blocks at decision tokens", half, decisions.long(), False, False),
    ]


class HuggingFace:
    """The bare forward pass, and what its own hooks say, for the comparison of activations."""

    def __init__(self, folder: Path, inputs: dict[str, Any]) -> None:
        self.model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
        self.inputs = inputs

    @torch.no_grad()
    def __call__(self, task: Task) -> Activations:
        self.model(**self.inputs)
        return {}

    def hooked(self, task: Task) -> Activations:
        found: Activations = {}

        def keeping(block: int) -> Callable[..., None]:
            def hook(module: Any, args: Any, output: Tensor) -> None:
                found[block] = output[task.at]

            return hook

        hooks = [self.model.model.layers[block - 1].register_forward_hook(keeping(block)) for block in task.blocks]
        self(task)
        for hook in hooks:
            hook.remove()
        return found


class Ours:
    def __init__(self, folder: Path, inputs: dict[str, Any]) -> None:
        self.engine = load_engine(str(folder), device="cpu")
        self.tokens = TokenBatch(inputs["input_ids"], inputs["attention_mask"].bool())

    def __call__(self, task: Task) -> Activations:
        return self.engine.forward(
            self.tokens, positions=task.positions, capture=task.blocks, logits=task.logits
        ).activations


class Nnsight:
    def __init__(self, folder: Path, inputs: dict[str, Any], stops: bool) -> None:
        self.model = nnsight.NNsight(AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval())
        self.inputs = inputs
        self.stops = stops

    @torch.no_grad()
    def __call__(self, task: Task) -> Activations:
        layers = [self.model.model.layers[block - 1] for block in task.blocks]
        at = task.at
        if task.logits:
            with self.model.trace(**self.inputs):
                found = nnsight.save([layer.output[at] for layer in layers])
                nnsight.save(self.model.output.logits)
        elif self.stops:
            with self.model.trace(**self.inputs) as tracer:
                found = nnsight.save([layer.output[at] for layer in layers])
                tracer.stop()
        else:
            with self.model.trace(**self.inputs):
                found = nnsight.save([layer.output[at] for layer in layers])
        return dict(zip(task.blocks, found, strict=True))


class TransformerLens:
    def __init__(self, folder: Path, inputs: dict[str, Any]) -> None:
        self.model = TransformerBridge.boot_transformers(str(folder), device="cpu", dtype=torch.float32)
        self.ids = inputs["input_ids"]

    @torch.no_grad()
    def __call__(self, task: Task) -> Activations:
        names = [f"blocks.{block - 1}.hook_out" for block in task.blocks]
        _, cache = self.model.run_with_cache(
            self.ids,
            return_cache_object=False,
            names_filter=names,
            stop_at_layer=None if task.logits else task.blocks[-1],
            use_cache=False,
        )
        return {block: cache[name][task.at] for block, name in zip(task.blocks, names, strict=True)}


def check(task: Task, name: str, found: Activations, expected: Activations) -> float:
    """The largest difference, as a share of its block's root mean square."""
    if found.keys() != expected.keys():
        raise SystemExit(f"{name} gave blocks {sorted(found)} for the task: {task.title}")
    worst = max(float((found[b] - expected[b]).abs().max() / expected[b].square().mean().sqrt()) for b in expected)
    if not worst <= TOLERANCE:
        raise SystemExit(f"{name} differs from Hugging Face by {worst:.1e} for the task: {task.title}")
    return worst


def measure(runners: dict[str, Any], task: Task, rounds: int) -> dict[str, list[Times]]:
    """What each runner takes in each round; in a new order each time, as one leaves caches and memory to the next."""
    times: dict[str, list[Times]] = {name: [] for name in runners}
    order = random.Random(0)
    for _ in range(rounds):
        for name in order.sample(list(runners), len(runners)):
            wall, processor = time.perf_counter(), time.process_time()
            runners[name](task)
            times[name].append(Times(time.perf_counter() - wall, time.process_time() - processor))
    return times


def times_faster(times: dict[str, list[Times]]) -> dict[str, dict[str, list[float]]]:
    """How many times faster this project is than the others: quartiles over the rounds, by either clock."""
    ratios = {}
    for name in times.keys() - {"tdlens"}:
        pairs = list(zip(times[name], times["tdlens"], strict=True))
        ratios[name] = {
            clock: statistics.quantiles([getattr(other, clock) / getattr(ours, clock) for other, ours in pairs], n=4)
            for clock in Times._fields
        }
    return ratios


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    disable_progress_bar()
    ids = torch.randint(VOCABULARY, (BATCH, LENGTH))
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "use_cache": False}
    with tempfile.TemporaryDirectory() as folder:
        write_model(CONFIG, Path(folder), torch.float32)
        bare = HuggingFace(Path(folder), inputs)
        runners = {
            "bare": bare,
            "tdlens": Ours(Path(folder), inputs),
            "nnsight": Nnsight(Path(folder), inputs, stops=True),
            NO_STOP: Nnsight(Path(folder), inputs, stops=False),
            "TransformerLens": TransformerLens(Path(folder), inputs),
        }
    report: list[dict[str, Any]] = []
    for task in tasks():
        taking_part = {name: run for name, run in runners.items() if name != NO_STOP or not task.logits}
        expected = bare.hooked(task)
        differences = {
            name: check(task, name, run(task), expected) for name, run in taking_part.items() if name != "bare"
        }
        del expected
        times = measure(taking_part, task, options.rounds)
        ratios = times_faster(times)
        show(task, times, ratios, differences)
        report.append(
            {"task": task.title, "largest_difference": differences, "times_faster_quartiles": ratios, "seconds": times}
        )
    options.out.parent.mkdir(exist_ok=True)
    options.out.write_text(json.dumps({**machine(["nnsight", "transformer-lens"]), "tasks": report}) + "\n")
    short = [
        f"{result['task']}: {ratio:.2f} times as fast as {name}, wanted {LIMITS[name]}"
        for result in report
        for name in LIMITS.keys() & result["times_faster_quartiles"].keys()
        if (ratio := result["times_faster_quartiles"][name]["processor"][1]) < LIMITS[name]
    ]
    if short:
        raise SystemExit("\n".join(short))


def show(
    task: Task,
    times: dict[str, list[Times]],
    ratios: dict[str, dict[str, list[float]]],
    differences: dict[str, float],
) -> None:
    print(f"\n{task.title:52} times as fast is tdlens (quartiles), by the wall, difference")
    for name, each in times.items():
        line = f"  {name:22} {statistics.median(one.processor for one in each) * 1e3:6.0f} ms"
        if name in ratios:
            low, middle, high = ratios[name]["processor"]
            line += f"{middle:25.3f} ({low:.3f} to {high:.3f}) {ratios[name]['wall'][1]:8.3f}"
        if name in differences:
            line += f" {differences[name]:11.0e}"
        print(line, flush=True)


if __name__ == "__main__":
    main()
