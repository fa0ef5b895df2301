"""Host memory at its highest while a model plays, or reads, and its residual stream is written: 1, 4 and 16 times as
many rollouts.

    OMP_NUM_THREADS=1 python benchmarks/capture_memory.py

A Llama architecture of random weights, 2048 wide, 8 blocks of two narrow heads, so that activations are many and
arithmetic little. Each number is a process of its own: its highest resident memory by the operating system's account,
and how much of that came after the first rollout. Beside it the same with every batch kept, as a check that the number
would show it. The exponent is that of a power law through the first and the last: 0 for memory that doesn't depend on
the number of rollouts, 1 for memory in proportion to it. What may grow is the play itself, texts and steps: some
kilobytes a rollout, beside megabytes of activations.

glibc keeps freed memory in pieces between others, now more and now less of it, whatever the program. Here it is told to
give back at once what is freed, so that what is resident is in use.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

import psutil
import torch
from machine import machine
from transformers import LlamaConfig, LlamaForCausalLM

from envs.two_step import ACTIONS, TwoStep, TwoStepConfig
from jobs.inference.huggingface import HuggingFaceEngine
from jobs.inference.play import play, read
from jobs.reference.vocabulary import build_tokenizer, tokens
from jobs.shards import ShardWriters
from tdlens.blobs import BlobStore

WIDTH, BLOCKS, BATCH, ROLLOUTS, EPISODES = 2048, 8, 16, 48, 16
TIMES = (1, 4, 16)
AT_ONCE = {"MALLOC_MMAP_THRESHOLD_": str(1 << 20)}
"""Memory that glibc takes from the system piece by piece."""
WAYS = ("play", "read", "play, everything kept")
MOST = 0.05
"""The exponent that is allowed, of a process's whole memory."""
RESULTS = Path(__file__).parent / "results" / "capture_memory.json"


def engine() -> HuggingFaceEngine:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokens()),
        hidden_size=WIDTH,
        intermediate_size=64,
        num_hidden_layers=BLOCKS,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=32,
        max_position_embeddings=1024,
    )
    return HuggingFaceEngine(LlamaForCausalLM(config), build_tokenizer(), fingerprint="")


def games(rollouts: int) -> list[TwoStep]:
    return [TwoStep(TwoStepConfig(episodes=EPISODES), seed) for seed in range(rollouts)]


def megabytes(way: str, rollouts: int) -> tuple[float, float]:
    """Highest resident memory of this process, and how much of it came with the rollouts."""
    model = engine()
    blocks = range(1, BLOCKS + 1)
    told = games(rollouts)
    if way == "read":
        for index, game in enumerate(told):
            while not game.done:
                game.observe()
                game.act((index + len(game.steps)) % len(ACTIONS))
    kept: list[object] = []
    with tempfile.TemporaryDirectory() as folder, ShardWriters(BlobStore(Path(folder)), "float32") as writers:
        # what is allocated once, by the first pass of all
        play(model, games(1), capture=blocks, take=writers.take, seed=0)
        before = psutil.Process().memory_info().rss
        if way == "read":
            texts = [game.transcript() for game in told]
            read(model, texts, capture=blocks, take=writers.take, batch_size=BATCH)
        else:
            take = kept.append if way == WAYS[-1] else writers.take
            play(model, told, capture=blocks, take=take, seed=0, batch_size=BATCH)
        writers.results()
    highest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return highest / 1e6, (highest - before) / 1e6


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--one", nargs=2, metavar=("WAY", "ROLLOUTS"), help="print one number, in this process")
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(megabytes(options.one[0], int(options.one[1]))))
        return
    batch = BATCH * 2 * EPISODES * WIDTH * BLOCKS * 4 / 1e6
    print(f"activations of a batch of {BATCH} rollouts: {batch:.0f} MB")
    report, exponents = {}, {}
    for way in WAYS:
        report[way] = {}
        for times in TIMES:
            command = [sys.executable, __file__, "--one", way, str(ROLLOUTS * times)]
            done = subprocess.run(command, env=os.environ | AT_ONCE, check=True, stdout=subprocess.PIPE, text=True)
            report[way][times] = whole, added = json.loads(done.stdout)
            print(f"{way:28} {ROLLOUTS * times:5} rollouts {whole:8.0f} MB, {added:6.0f} added", flush=True)
        first, last = report[way][TIMES[0]], report[way][TIMES[-1]]
        exponents[way] = [math.log(b / a) / math.log(TIMES[-1] / TIMES[0]) for a, b in zip(first, last, strict=True)]
        print(f"{way:28} exponent {exponents[way][0]:.3f}, of what was added {exponents[way][1]:.3f}")
    options.out.parent.mkdir(parents=True, exist_ok=True)
    about = {"megabytes_of_a_batch": batch, "megabytes": report, "exponents": exponents}
    options.out.write_text(json.dumps({**machine(["safetensors"]), **about}) + "\n")
    missed = [f"{way}: exponent {exponents[way][0]:.3f}" for way in WAYS[:2] if exponents[way][0] > MOST]
    if missed:
        raise SystemExit("\n".join(missed))


if __name__ == "__main__":
    main()
