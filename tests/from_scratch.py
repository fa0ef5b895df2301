"""What is asked of every model that is trained from scratch, and of every one of them that ships."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from jobs.from_scratch import TRAINING, Config, Progress
from jobs.inference.models import load_engine

MEGABYTE = 1_000_000

Trained = tuple[Path, list[Progress]]


def train_into(folder: Path, train: Callable[..., Any], config: Config, *, every: int) -> Trained:
    """The folder, and what the training said; nobody else's random numbers change."""
    reports = list[Progress]()
    state = torch.get_rng_state()
    train(config, folder, reports.append, every=every)
    assert torch.equal(torch.get_rng_state(), state)
    return folder, reports


def assert_reproducible(folder: Path, train: Callable[..., Any], config: Config, other: Config) -> None:
    """A configuration gives the same weights, whatever the state that training finds; another one gives others."""
    weights = []
    for name, each in {"one": config, "again": config, "other": other}.items():
        torch.manual_seed(len(name))
        train(each, folder / name)
        weights.append(load_file(folder / name / "model.safetensors"))
    one, again, different = weights
    assert all(torch.equal(one[key], again[key]) for key in one)
    assert any(not torch.equal(one[key], different[key]) for key in one)


def cost_of(folder: Path, config: Config) -> dict[str, Any]:
    """The cost that stands beside the weights, with the configuration that made them."""
    left = json.loads((folder / TRAINING).read_text())
    assert left["config"] == json.loads(json.dumps(asdict(config)))
    cost: dict[str, Any] = left["cost"]
    return cost


class Textbook:
    """Muon for matrices, AdamW for the rest; gradients clipped."""

    def __init__(self, model: PreTrainedModel, matrices: Sequence[Tensor], config: Config) -> None:
        self._model, self._rates = model, (config.muon_rate, config.adamw_rate)
        others = [p for p in model.parameters() if all(p is not matrix for matrix in matrices)]
        self._optimisers = (
            torch.optim.Muon(matrices, lr=1.0, weight_decay=config.weight_decay, adjust_lr_fn="match_rms_adamw"),
            torch.optim.AdamW(others, lr=1.0, betas=(0.9, 0.98), weight_decay=0.0),
        )

    def learn(self, loss: Tensor, factor: float) -> None:
        """One step down the loss, at this share of the peak rates."""
        self._model.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self._model.parameters(), 1.0)
        for optimiser, rate in zip(self._optimisers, self._rates, strict=True):
            optimiser.param_groups[0]["lr"] = rate * factor
            optimiser.step()


def textbook_nll(model: PreTrainedModel, ids: Any) -> Tensor:
    """Of each token after the first, in nats [N, L - 1]."""
    logs = model(torch.from_numpy(ids)).logits[:, :-1].log_softmax(-1)
    return -logs.gather(-1, torch.from_numpy(ids[:, 1:, None]))[..., 0]


def assert_small_and_in_safetensors(folder: Path) -> None:
    files = {path.name: path.stat().st_size for path in folder.iterdir()}
    assert {name for name, size in files.items() if size > MEGABYTE / 2} == {"model.safetensors"}
    assert files["model.safetensors"] <= 10 * MEGABYTE
    assert {name.rsplit(".")[-1] for name in files} <= {"safetensors", "json", "md"}


def assert_shipped_tokenizer(name: str, built: PreTrainedTokenizerFast) -> None:
    shipped = load_engine(name).tokenizer
    assert shipped.get_vocab() == built.get_vocab() and shipped.padding_side == built.padding_side
    assert json.loads(shipped.backend_tokenizer.to_str()) == json.loads(built.backend_tokenizer.to_str())


def numbers_in(card: str) -> dict[str, float]:
    """What the rows of a card's tables say was measured, by name."""
    return {
        row[1].strip(): float(row[2])
        for line in card.splitlines()
        if re.match(r"\| [^|]+ \| -?\d", line)
        for row in [line.split("|")]
    }
