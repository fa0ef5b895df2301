"""What all trainings with stable-baselines3's DQN have in common, whatever the task."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol, TypeVar

import torch

from jobs.networks.files import About, save
from jobs.networks.q_network import QNetwork

REWARD_SCALE = 0.01
"""Rewards are divided by 100, as in the source."""
TRAINING = "training.json"
"""File beside the weights that says how they came to be: configuration, cost and curve."""
PACKAGES = ("stable-baselines3", "gymnasium", "torch", "numpy")
"""Whose versions decide the weights."""


class Point(Protocol):
    """How far a training is; a dataclass."""

    @property
    def moves(self) -> int:
        """Made."""

    @property
    def games(self) -> int:
        """That have come to an end."""

    @property
    def updates(self) -> int:
        """Gradient steps."""


P = TypeVar("P", bound=Point)
N = TypeVar("N", bound=QNetwork)


def write_trained(
    folder: Path, config: Any, about: About, train: Callable[[Callable[[P], None]], N], on_progress: Callable[[P], None]
) -> N:
    """Train a network and write it with its configuration, cost and curve into a folder, made if missing.

    Args:
        folder: where to.
        config: of the training, a dataclass.
        about: what the folder says of the agent.
        train: trains it, and tells how far it is, at the end at least.
        on_progress: told the same.
    """
    curve: list[Any] = []

    def keep(progress: P) -> None:
        curve.append(progress)
        on_progress(progress)

    started, cpu_started = time.perf_counter(), time.process_time()
    network = train(keep)
    cost = {
        "moves": curve[-1].moves,
        "games": curve[-1].games,
        "updates": curve[-1].updates,
        "seconds": round(time.perf_counter() - started),
        "cpu_seconds": round(time.process_time() - cpu_started),
    }
    save(network, folder, about)
    record = {"config": asdict(config), "cost": cost, "curve": [asdict(point) for point in curve]}
    (folder / TRAINING).write_text(json.dumps(record, indent=2) + "\n")
    return network


def with_layers_of(dqn: Any, network: N) -> N:
    """A network of ours with the linear layers of the one that a DQN trains, ready to be used."""
    linear = [layer for layer in dqn.q_net.q_net if isinstance(layer, torch.nn.Linear)]
    for ours, theirs in zip(network.layers, linear, strict=True):
        ours.load_state_dict(theirs.state_dict())
    return network.eval().requires_grad_(False)
