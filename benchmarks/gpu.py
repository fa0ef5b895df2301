"""A node with GPUs: the same numbers as plain Hugging Face in bfloat16, and how much of the cards' speed is used.

    PYTHONPATH=. python benchmarks/gpu.py            # writes benchmarks/results/gpu-<card>.json
    PYTHONPATH=. python benchmarks/gpu.py --smoke    # toy size, without GPUs too: shows that it runs, not how fast

Models of random weights, shaped as Llama 3 8B and Llama 3 70B and cut to as many blocks as leave room for three
copies on a card. On each, every layout that the node allows: in this process, and over ranks whole, with ZeRO-3, with
ZeRO-3 from main memory, and with tensor parallelism by DeepSpeed and by Hugging Face.

Parity: residual stream of all blocks and logits at the decision tokens of prompts of mixed lengths. Plain Hugging
Face in bfloat16 lies at some distance (relative norm) from plain Hugging Face in float32. A layout may differ from the
former by twice that distance: two roundings of the same numbers, and no more.

Speed: prompts of 1024 tokens, in turns with the bare pass of plain Hugging Face with its LM head on the first card.
What is captured is brought to main memory within the time. The share of the peak is of what bfloat16 matrix products
reach on the same card in the same run. ZeRO-3 from main memory is also measured with larger batches, as it reads all
weights anew for each.
"""

from __future__ import annotations

import argparse
import gc
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from gpu_reference import Readings, bare_pass, distances, prompts, read_plainly
from machine import machine
from random_model import write_model
from torch import Tensor
from transformers import AutoConfig, LlamaConfig
from transformers.utils.logging import disable_progress_bar

from jobs.inference.base import Engine, TokenBatch
from jobs.inference.huggingface import HuggingFaceEngine
from jobs.inference.models import find_device, load_engine
from jobs.inference.offload import Offload
from jobs.inference.parallel import Parallel
from jobs.inference.shapes import ModelShape, shipped_config
from jobs.inference.weights import trained_model
from tdlens.errors import UserError

RESULTS = Path(__file__).parent / "results"
SHAPES = ("meta-llama/Meta-Llama-3-8B", "meta-llama/Meta-Llama-3-70B")
SHARE = 0.25
"""Share of a card's memory for one copy of the weights: plain Hugging Face's in float32 takes two."""


@dataclass(frozen=True)
class Scale:
    """How much is measured."""

    length: int
    """Tokens of a prompt."""
    rows: int
    """Prompts a card."""
    decisions: int
    """Decision tokens of a prompt."""
    rounds: int
    matrices: tuple[int, ...]
    """Sides of the square matrices whose product says what the card can do."""


FULL = Scale(length=1024, rows=8, decisions=60, rounds=7, matrices=(8192, 16384))
SMOKE = Scale(length=64, rows=2, decisions=8, rounds=2, matrices=(256,))


@dataclass(frozen=True)
class Task:
    """What is wanted of a model."""

    name: str
    blocks: range
    every_position: bool = False
    choices: bool = False
    """Whether the logits of two tokens are wanted too."""

    def run(self, engine: Engine, tokens: TokenBatch, decisions: Tensor, offload: Offload) -> None:
        """One pass, at whose end everything lies in main memory."""
        rows, length = tokens.ids.shape
        result = engine.forward(
            tokens,
            positions=torch.arange(length).expand(rows, -1) if self.every_position else decisions,
            capture=self.blocks,
            logits=self.choices,
            choices=torch.tensor([[0, 1]]).expand(rows, -1) if self.choices else None,
        )
        brought = [offload.host(x) for x in result.activations.values()]
        if result.logits is not None:
            brought.append(result.logits.cpu())
        offload.finish()


@dataclass(frozen=True)
class Bench:
    """One model, and what it is measured against."""

    scale: Scale
    folder: Path
    shape: ModelShape
    peak: float
    """Floating-point operations a second that the card can do."""
    plain: Any
    """Plain Hugging Face's model in bfloat16 on the first card."""
    readings: Readings
    """What it reads of the prompts of mixed lengths."""
    rounding: dict[str, float]
    """How far these are from float32."""

    @property
    def blocks(self) -> range:
        return range(self.shape.n_blocks + 1)

    def tasks(self) -> list[Task]:
        return [
            Task("all blocks and choices at decision tokens", self.blocks, choices=True),
            Task("all blocks at decision tokens", self.blocks),
            Task("all blocks at every position", self.blocks, every_position=True),
            Task("first half of the blocks at decision tokens", range(self.shape.n_blocks // 2 + 1)),
        ]

    def parity(self, engine: Engine) -> dict[str, Any]:
        tokens, positions = prompts(
            self.shape.vocabulary, self.scale.rows, self.scale.length, self.scale.decisions, mixed=True
        )
        result = engine.forward(tokens, positions=positions, capture=self.blocks)
        assert result.logits is not None
        found = {f"block {block}": x.cpu() for block, x in result.activations.items()}
        distance = distances(found | {"logits": result.logits.cpu()}, self.readings)
        far = {name: value for name, value in distance.items() if not value <= 2 * self.rounding[name]}
        return {"distance": distance, **({"too_far": far} if far else {})}

    def speed(self, engine: Engine, cards: int, rows: int, tasks: list[Task]) -> list[dict[str, Any]]:
        """Tokens a second of each task, in turns with the bare pass, which reads ``scale.rows`` rows."""
        vocabulary, length = self.shape.vocabulary, self.scale.length
        tokens, decisions = prompts(vocabulary, rows, length, self.scale.decisions, mixed=False)
        few, _ = prompts(vocabulary, self.scale.rows, length, self.scale.decisions, mixed=False)
        offload = Offload.of(engine.device)
        passes: dict[str, Callable[[], object]] = {"bare": lambda: bare_pass(self.plain, few)}
        for task in tasks:
            passes[task.name] = lambda task=task: task.run(engine, tokens, decisions, offload)
        times: dict[str, list[float]] = {name: [] for name in passes}
        for index in range(self.scale.rounds + 2):
            for name, run in passes.items():
                synchronise(self.plain.device)
                start = time.perf_counter()
                run()
                synchronise(self.plain.device)
                if index > 1:
                    times[name].append(time.perf_counter() - start)
        bare = length * self.scale.rows / statistics.median(times["bare"])
        whole, heads = self.shape.n_blocks, {task.name: self.scale.decisions / length * task.choices for task in tasks}
        used = {"bare": whole} | {task.name: task.blocks[-1] for task in tasks}
        found = []
        for name, seconds in times.items():
            n_rows, n_cards = (self.scale.rows, 1) if name == "bare" else (rows, cards)
            tokens_a_second = length * n_rows / statistics.median(seconds)
            work = tokens_a_second * self._operations(used[name], heads.get(name, 1.0))
            found.append(
                {
                    "task": name,
                    "rows": n_rows,
                    "cards": n_cards,
                    "tokens_a_second": round(tokens_a_second, 1),
                    "times_bare": round(tokens_a_second / bare, 4),
                    "share_of_peak": round(work / n_cards / self.peak, 4),
                    "seconds": seconds,
                }
            )
        return found

    def _operations(self, blocks: int, heads: float) -> float:
        """Floating-point operations a token: two a weight, and attention over half of the prompt on average."""
        attention = 2 * self.shape.n_heads * self.shape.d_head * self.scale.length
        return 2 * sum(self.shape.block_weights[:blocks]) + blocks * attention + 2 * heads * self.shape.head


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--smoke", action="store_true", help="toy size")
    parser.add_argument("--out", type=Path, help="the JSON file to write")
    parser.add_argument("--scratch", type=Path, help="a folder for the models while they are measured")
    options = parser.parse_args()
    scale, device = SMOKE if options.smoke else FULL, find_device("auto")
    if device.type != "cuda" and not options.smoke:
        raise SystemExit("There is no GPU here. With --smoke the script runs at toy size without one.")
    disable_progress_bar()
    card = torch.cuda.get_device_name(0) if device.type == "cuda" else "cpu"
    name = f"gpu-{'smoke-' if options.smoke else ''}{card.replace(' ', '-').lower()}.json"
    out = options.out or (Path(tempfile.gettempdir()) if options.smoke else RESULTS) / name
    peak = matrix_peak(device, scale.matrices)
    print(f"{card}: bfloat16 matrix products reach {peak / 1e12:.3g} TFLOP/s")
    report: dict[str, Any] = machine(["deepspeed", "accelerate"]) | {"matrix_peak": peak, "models": {}}
    for model, config in configurations(device, smoke=options.smoke):
        with tempfile.TemporaryDirectory(dir=options.scratch) as folder:
            write_model(config, Path(folder), torch.bfloat16)
            report["models"][model] = measure(model, Path(folder), scale, device, peak)
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(json.dumps(report, indent=1) + "\n")
    print(f"\nWritten to {out}")
    wrong = [
        f"{model}, {found['layout']}: {found.get('failed') or found['too_far']}"
        for model, result in report["models"].items()
        for found in result["layouts"]
        if "failed" in found or "too_far" in found
    ]
    if wrong:
        raise SystemExit("\n".join(wrong))


def matrix_peak(device: torch.device, sides: tuple[int, ...]) -> float:
    """Floating-point operations a second of bfloat16 matrix products; of the sizes the fastest, median of 20."""
    best = 0.0
    for side in sides:
        a, b = torch.randn(2, side, side, dtype=torch.bfloat16, device=device)
        times = []
        for _ in range(25):
            synchronise(device)
            start = time.perf_counter()
            a @ b
            synchronise(device)
            times.append(time.perf_counter() - start)
        best = max(best, 2 * side**3 / statistics.median(times[5:]))
    return best


def configurations(device: torch.device, *, smoke: bool) -> Iterator[tuple[str, Any]]:
    """Names and configurations of the models, cut to the blocks that fit."""
    if smoke:
        sizes = {"hidden_size": 256, "intermediate_size": 512, "num_attention_heads": 4, "num_key_value_heads": 2}
        yield "toy", LlamaConfig(**sizes, num_hidden_layers=4, vocab_size=512, rope_theta=500000.0)
        return
    room = SHARE * torch.cuda.get_device_properties(device).total_memory
    for name in SHAPES:
        config = shipped_config(name)
        assert config is not None
        shape = ModelShape.of(config)
        fitting = int((room / 2 - shape.embedding - shape.head) // max(shape.block_parameters))
        if fitting < 2:
            print(f"{name}: no two blocks fit into {room / 1e9:.0f} GB")
            continue
        config.num_hidden_layers = min(shape.n_blocks, fitting)
        yield name, config


def layouts(device: torch.device) -> Iterator[Parallel]:
    """Every way to spread a model over this node; over two ranks where there are no GPUs."""
    n = torch.cuda.device_count() if device.type == "cuda" else 2
    yield Parallel(1, "single")
    for ranks in sorted({1, n}):
        yield Parallel(ranks, "zero3", "none")
        yield Parallel(ranks, "zero3", "cpu")
    if n > 1:
        yield Parallel(n, "tensor")
        yield Parallel(n, "hf_tensor")


def measure(model: str, folder: Path, scale: Scale, device: torch.device, peak: float) -> dict[str, Any]:
    """Parity and speed of one model in every layout."""
    shape = ModelShape.of(AutoConfig.from_pretrained(folder))
    tokens, positions = prompts(shape.vocabulary, scale.rows, scale.length, scale.decisions, mixed=True)
    truth = read_plainly(trained_model(folder, torch.float32).to(device).eval(), tokens, positions)
    give_back_memory()
    plain = trained_model(folder, torch.bfloat16).to(device).eval()
    readings = read_plainly(plain, tokens, positions)
    bench = Bench(scale, folder, shape, peak, plain, readings, distances(readings, truth))
    print(f"\n{model}, {shape.n_blocks} blocks, {shape.parameters / 1e9:.3g}B parameters")
    print(f"plain bfloat16 lies {max(bench.rounding.values()):.4f} from float32")
    found = [measure_layout(bench, "in process", Parallel(1), lambda: HuggingFaceEngine(plain, None, ""))]
    for parallel in layouts(device):
        name = f"{parallel.layout}{' offload' if parallel.offload == 'cpu' else ''} x {parallel.ranks}"
        found.append(measure_layout(bench, name, parallel, lambda parallel=parallel: _on_ranks(bench, parallel)))
    return {
        "parameters": shape.parameters,
        "blocks": shape.n_blocks,
        "bfloat16_from_float32": bench.rounding,
        "layouts": found,
    }


def _on_ranks(bench: Bench, parallel: Parallel) -> Engine:
    device = bench.plain.device.type
    return load_engine(
        str(bench.folder), engine="deepspeed", dtype="bfloat16", device=device, parallel=parallel, job="read"
    )


def measure_layout(bench: Bench, name: str, parallel: Parallel, load: Callable[[], Engine]) -> dict[str, Any]:
    """Parity and speed in one layout, or why it failed."""
    cards = parallel.ranks or 1
    rows = bench.scale.rows * (cards if parallel.layout == "zero3" else 1)
    found: dict[str, Any] = {"layout": name}
    give_back_memory()
    try:
        engine = load()
        try:
            found |= bench.parity(engine)
            found["speed"] = bench.speed(engine, cards, rows, bench.tasks())
            if parallel.offload == "cpu":
                for larger in (2 * rows, 4 * rows):
                    found["speed"] += bench.speed(engine, cards, larger, bench.tasks()[1:2])
        finally:
            engine.close()
    except (UserError, torch.OutOfMemoryError) as error:
        found["failed"] = str(error)
    show(found)
    return found


def show(found: dict[str, Any]) -> None:
    print(f"\n{found['layout']}: {found.get('failed') or 'lies ' + format(max(found['distance'].values()), '.4f')}")
    for one in found.get("speed", []):
        print(
            f"  {one['task']:44} {one['rows']:3} rows {one['tokens_a_second']:10.0f} tokens/s "
            f"{one['times_bare']:7.3f} x bare {one['share_of_peak']:7.1%} of the peak",
            flush=True,
        )


def give_back_memory() -> None:
    """Leave what earlier models took of the first card to the ranks."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


if __name__ == "__main__":
    main()
