"""What capturing every block at the decision tokens adds to a forward pass, on one CPU thread.

    OMP_NUM_THREADS=1 python benchmarks/capture.py

A Llama-architecture model of about 10M parameters reads batches the size of Two-Step rollouts (Demircan et
al. 2025, arXiv 2410.01280): 60 decisions among 1024 tokens, some of them padding. The bare pass calls the
model's own decoder stack; the other goes through the engine, with hooks on all blocks. Both leave out the LM
head. The two take turns within every round, and the ratio is taken within the round, so that what else the
machine does hits both alike.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from jobs.inference.base import TokenBatch
from jobs.inference.huggingface import HuggingFaceEngine

ROUNDS = 31
BATCH, LENGTH, DECISIONS = 2, 1024, 60
LIMIT = 1.05


def seconds(run: Callable[[], object]) -> float:
    """Processor time of one call: on one thread it is its work, whoever else wants the processor."""
    start = time.process_time()
    run()
    return time.process_time() - start


def main() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=2048,
        hidden_size=320,
        intermediate_size=864,
        num_hidden_layers=8,
        num_attention_heads=8,
        num_key_value_heads=4,
        max_position_embeddings=2048,
    )
    engine = HuggingFaceEngine(LlamaForCausalLM(config), tokenizer=None, fingerprint="")
    rows = [torch.randint(2048, (LENGTH - 7 * index,)).tolist() for index in range(BATCH)]
    tokens = TokenBatch.from_rows(rows, pad_id=0)
    decisions = torch.linspace(100, LENGTH - 1, DECISIONS).long().expand(BATCH, -1)
    position_ids = (tokens.mask.cumsum(1) - 1).clamp(min=0)
    blocks = range(engine.n_blocks + 1)

    @torch.no_grad()
    def bare() -> object:
        return engine.model.model(
            input_ids=tokens.ids,
            attention_mask=tokens.mask.long(),
            position_ids=position_ids,
            use_cache=False,
        )

    def captured() -> object:
        return engine.forward(tokens, positions=decisions, capture=blocks, logits=False)

    bare(), captured()
    times: dict[str, list[float]] = {"bare": [], "captured": []}
    for index in range(ROUNDS):
        pair = [("bare", bare), ("captured", captured)]
        for name, run in pair if index % 2 else reversed(pair):
            times[name].append(seconds(run))
    ratios = [captured / bare for captured, bare in zip(times["captured"], times["bare"], strict=True)]
    low, middle, high = statistics.quantiles(ratios, n=4)
    print(f"parameters      {engine.describe().n_parameters / 1e6:.1f}M, {engine.n_blocks} blocks, fp32")
    print(f"bare forward    {statistics.median(times['bare']) * 1e3:.1f} ms")
    print(f"with capture    {statistics.median(times['captured']) * 1e3:.1f} ms")
    print(f"ratio           {middle:.3f} (quartiles {low:.3f} to {high:.3f}, {ROUNDS} rounds)")
    if middle > LIMIT:
        raise SystemExit(f"capture costs more than {LIMIT:.2f} of the bare forward pass")


if __name__ == "__main__":
    main()
