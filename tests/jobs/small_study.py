"""A whole study in a few seconds: a random Llama 16 wide that reads the reference tokenizer's phrases."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import Progress
from transformers import LlamaConfig, LlamaForCausalLM

from jobs.context import Context
from jobs.reference.vocabulary import build_tokenizer, tokens
from jobs.study import Study, validate
from jobs.worker.inline import Outcome, run_study
from tdlens.record import Record
from tdlens.record.migrate import upgrade
from tdlens.settings import Settings
from tests.databases import empty_sqlite, require_postgres, temporary_database

BLOCKS, WIDTH, ROLLOUTS, EPISODES, FORCED = 3, 16, 6, 8, 2
VARIANTS = ("standard", "transition_disruption")
SIGNALS = ("td_error", "td_error_full", "q_left", "q_right", "q_chosen", "q_difference", "myopic_error", "step")
COVARIATES = ("step", "is_second_pick", "last_reward")
TOP, CUTOFF = 5, 0.6
QUICK: dict[str, Any] = {
    "name": "quick",
    "seed": 3,
    "bootstrap": 100,
    "task": {
        "variants": list(VARIANTS),
        "rollouts": ROLLOUTS,
        "settings": {"episodes": EPISODES, "random_episodes": FORCED, "change_episode": 4},
    },
    "correlate": {"signals": list(SIGNALS), "covariates": list(COVARIATES), "controls": [], "permutations": 39},
}
"""Play, signals, behaviour: no autoencoder, no control."""
WHOLE: dict[str, Any] = copy.deepcopy(QUICK) | {
    "name": "whole",
    "signals": {"alpha": 0.3, "gamma": 0.9, "window": 3},
    "sae": [
        {"name": "paper", "options": {"l1": 1e-3}, "epochs": 4, "lr": 0.01, "batch_size": 32},
        {"name": "topk", "architecture": "topk", "options": {"k": 4, "centre": True}, "epochs": 4, "lr": 0.01},
    ],
    "intervention": [
        {"name": "zero", "sae": "topk"},
        {"name": "nothing", "sae": "topk", "latents": 3, "operation": "multiply", "value": 1.0},
        {"name": "clamp", "sae": "paper", "operation": "clamp", "value": -10.0, "rank_by": "r_partial"},
        {"name": "mean", "sae": "topk", "latents": 2, "operation": "mean"},
        {"name": "random_direction", "sae": "topk", "control": "random_direction"},
    ],
}
WHOLE["correlate"] |= {"controls": ["raw", "pca", "untrained", "shuffled"], "top": TOP, "cutoff": CUTOFF}
"""Every stage, two autoencoders, all controls, five interventions."""


def model_folder(base: Path) -> Path:
    """The saved model; made once below ``base``."""
    folder = base / "random-llama"
    if not folder.exists():
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            config = LlamaConfig(
                vocab_size=len(tokens()),
                hidden_size=WIDTH,
                intermediate_size=32,
                num_hidden_layers=BLOCKS,
                num_attention_heads=2,
                num_key_value_heads=2,
                max_position_embeddings=512,
                initializer_range=0.3,
            )
            LlamaForCausalLM(config).save_pretrained(folder)
        build_tokenizer().save_pretrained(folder)
    return folder


def study(base: Path, data: dict[str, Any], **changes: Any) -> Study:
    """A study on the saved model, in two batches; ``changes`` are top-level sections whose keys are set."""
    data = copy.deepcopy(data) | {"model": {"name": str(model_folder(base)), "batch_size": ROLLOUTS - 2}}
    for key, value in changes.items():
        data[key] = data.get(key, {}) | value if isinstance(value, dict) else value
    return validate(data, "small study")


def run(wanted: Study, record: Record, **options: Any) -> Outcome:
    """As ``tdlens run`` does, in silence."""
    return run_study(wanted, record, Console(quiet=True), **options)


def context_of(wanted: Study, record: Record) -> Context:
    """For planning without running."""
    return Context(wanted, record, Progress(console=Console(quiet=True)))


@contextmanager
def fresh_record(database: str, home: Path) -> Iterator[Record]:
    """An empty record of its own on either database."""
    if database == "sqlite":
        record = Record.open(empty_sqlite(home))
        yield record
        record.close()
        return
    require_postgres()
    with temporary_database() as address:
        settings = Settings(home, address)
        upgrade(settings)
        record = Record.open(settings)
        yield record
        record.close()
