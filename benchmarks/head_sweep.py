"""Scores of all heads of a model: the resumed, batched sweep beside one forward pass a head and batch.

    OMP_NUM_THREADS=1 PYTHONPATH=. python benchmarks/head_sweep.py

A GPT-2 architecture of random weights, 6 blocks of 8 heads, width 128, 2,000 tokens; 32 induction prompts of 61 tokens
and 32 rows of 60 tokens of control text, as published (Khadka 2026, arXiv 2605.26343). What is compared with:

- Hugging Face: the model called once for each head and batch, a hook setting the head's slice to its value bias, logits
  of the prompts at their last token alone. Nobody who ablates head by head needs do more.
- the engine's whole passes, with a HeadEdit each: logits at every token.

Scores must be equal to float32 rounding. All take turns within each round, in an order that is drawn anew. Times are
the processor's, of all threads.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from machine import machine
from numpy.typing import NDArray
from transformers import GPT2Config, GPT2LMHeadModel

from envs.circuit_tasks.prompts import Prompts
from jobs.circuits import sweep
from jobs.circuits.ablation import value_biases
from jobs.circuits.scoring import HeadScorer, cross_entropy, padded, task_metric, task_values
from jobs.circuits.sweep import WholeSweep
from jobs.inference.huggingface import HuggingFaceEngine

BLOCKS, HEADS, WIDTH, VOCABULARY = 6, 8, 128, 2000
ROWS, PROMPT, TEXT = 32, 61, 60
LIMIT = 1.5
"""Times as fast as Hugging Face, at least. The sweep needs 1.77 times fewer multiplications here: what precedes the
ablated heads needn't be run again; the LM head at every token of the control text must."""
RESULTS = Path(__file__).parent / "results" / "head_sweep.json"

HUGGING_FACE, WHOLE = "Hugging Face, one pass a head", "whole passes of the engine"


class Case:
    """The model, its rows, and the ways to score its heads."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        config = GPT2Config(
            vocab_size=VOCABULARY,
            n_embd=WIDTH,
            n_layer=BLOCKS,
            n_head=HEADS,
            n_inner=2 * WIDTH,
            n_positions=128,
            activation_function="gelu_pytorch_tanh",
            initializer_range=0.1,
            bos_token_id=1,
            eos_token_id=1,
        )
        self.engine = HuggingFaceEngine(GPT2LMHeadModel(config), tokenizer=None, fingerprint="")
        rng = np.random.default_rng(0)

        def rows(length: int) -> tuple[tuple[int, ...], ...]:
            return tuple((1, *rng.integers(10, VOCABULARY, length - 1).tolist()) for _ in range(ROWS))

        answers = rng.integers(10, VOCABULARY, (2, ROWS, 1)).tolist()
        right, wrong = (tuple(tuple(ids) for ids in each) for each in answers)
        self.prompts, self.text = Prompts(rows(PROMPT), rows(PROMPT), right, wrong, (), {}), rows(TEXT)

    def resumed(self) -> NDArray[np.float64]:
        return HeadScorer(self.engine, self.prompts, self.text).table().scores

    @torch.no_grad()
    def hugging_face(self) -> NDArray[np.float64]:
        model, d_head = self.engine.model, WIDTH // HEADS
        biases = value_biases(self.engine)
        prompts, text = padded(self.prompts.rows).ids, padded(self.text).ids
        metric, surprise, every = task_metric(self.prompts), cross_entropy(text), torch.arange(ROWS)

        def read() -> tuple[float, float]:
            last = model(prompts, use_cache=False, logits_to_keep=1).logits
            logits = model(text, use_cache=False).logits[:, :-1]
            return float(metric(last, every).mean()), float(surprise(logits, every).mean())

        untouched, scores = read(), []
        for block, layer in enumerate(model.transformer.h):
            for head in range(HEADS):
                own = slice(head * d_head, (head + 1) * d_head)

                def ablate(module: object, args: tuple[torch.Tensor], block: int = block, own: slice = own) -> object:
                    mixed = args[0].clone()
                    mixed[..., own] = biases[block].flatten()[own]
                    return (mixed,)

                handle = layer.attn.c_proj.register_forward_pre_hook(ablate)
                ablated = read()
                handle.remove()
                scores.append((untouched[0] - ablated[0]) - (ablated[1] - untouched[1]))
        return np.array(scores)

    def whole(self) -> NDArray[np.float64]:
        prompts, text = padded(self.prompts.rows), padded(self.text)
        ends, every = torch.full((ROWS, 1), PROMPT - 1), torch.arange(TEXT - 1).expand(ROWS, -1)
        alone = [(head,) for head in range(BLOCKS * HEADS)]
        values = task_values(self.engine, self.prompts, "value_bias")
        change = []
        for tokens, at, measure in (
            (prompts, ends, task_metric(self.prompts)),
            (text, every, cross_entropy(text.ids)),
        ):
            swept = WholeSweep(self.engine, tokens, at, measure)
            change.append(swept.run(alone, values).mean(axis=1) - swept.untouched.mean())
        return -change[0] - change[1]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--tokens", type=int, nargs="+", default=[sweep.TOKENS["cpu"]], help="sizes of a pass")
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    case = Case()

    def sweep_with(tokens: int) -> Callable[[], NDArray[np.float64]]:
        def run() -> NDArray[np.float64]:
            sweep.TOKENS["cpu"] = tokens
            return case.resumed()

        return run

    runs = {HUGGING_FACE: case.hugging_face, WHOLE: case.whole}
    runs |= {f"sweep, {tokens} tokens a pass": sweep_with(tokens) for tokens in options.tokens}
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    shuffled = random.Random(0)
    expected = case.hugging_face()
    for _ in range(options.rounds):
        for name in shuffled.sample(list(runs), len(runs)):
            before = time.process_time()
            scores = runs[name]()
            seconds[name].append(time.process_time() - before)
            np.testing.assert_allclose(scores, expected, atol=2e-5, err_msg=name)
    ratios = {
        name: [peer / own for peer, own in zip(seconds[HUGGING_FACE], each, strict=True)]
        for name, each in seconds.items()
    }
    for name, each in seconds.items():
        first, middle, third = statistics.quantiles(ratios[name], n=4)
        print(f"{name:32} {statistics.median(each):7.2f} s  {middle:.2f} ({first:.2f} to {third:.2f})")
    report = {**machine([]), "heads": BLOCKS * HEADS, "seconds": seconds, "ratios": ratios}
    options.out.write_text(json.dumps(report) + "\n")
    best = max(statistics.median(each) for name, each in ratios.items() if name.startswith("sweep"))
    if best < LIMIT:
        raise SystemExit(f"{best:.2f} times as fast as {HUGGING_FACE}, not {LIMIT}")


if __name__ == "__main__":
    main()
