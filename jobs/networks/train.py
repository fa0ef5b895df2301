"""Train an agent of the rook endgame with stable-baselines3's DQN, after DuPlessie (2024).

The source plays one game at a time and learns after each: ten updates an episode, four million in all. Here many games
are played side by side, updates come in proportion to the moves, and the learning rate falls, so that far fewer of both
are needed. ``AgentConfig`` says of every setting what the source has, the card of the shipped agent (``rook_128``) what
the differences do.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

from stable_baselines3 import DQN
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.utils import LinearSchedule

from envs.rook_endgame import N_ACTIONS, Variant
from envs.rook_games import RookEndgameVector
from envs.rook_values import play_out
from jobs.global_state import generators_put_back, one_thread
from jobs.networks.evaluate import N_INPUTS, TASK, greedy_policy
from jobs.networks.files import About
from jobs.networks.learned import PACKAGES, REWARD_SCALE, with_layers_of, write_trained
from jobs.networks.q_network import QNetwork
from jobs.networks.vec_env import VectorGames


@dataclass(frozen=True)
class AgentConfig:
    """Everything that decides an agent; the defaults made the shipped one.

    Raises:
        ValueError: a setting that makes no sense.
    """

    hidden: tuple[int, ...] = (128, 128)
    """Units of each hidden layer. Source: 128-128, and 512-512 and 512."""
    variant: Variant = Variant.SMART
    """How Black answers. Source: smart."""
    moves: int = 1_000_000
    """Moves in all games together. Source: 400,000 episodes."""
    games: int = 64
    """Games side by side. Source: 1."""
    updates: int = 8
    """Gradient steps after each move of all games. Source: 10 an episode."""
    batch: int = 32
    """Transitions of an update. Source: the same."""
    learning_rate: float = 5e-4
    """Adam's, at first; it falls linearly. Source: 5e-4."""
    final_learning_rate: float = 1e-5
    """Adam's, at the end. Source: 5e-4."""
    gamma: float = 0.98
    """Discount. Source: the same."""
    buffer: int = 50_000
    """Transitions in the replay memory. Source: the same."""
    learning_starts: int = 2_000
    """Moves before the first update, made at random. Source: the same number, made by the untrained network."""
    target_interval: int = 320
    """Moves between copies to the target network. Source: 20 episodes; at 16 moves each these are as many."""
    exploration: float = 0.08
    """Share of random moves, at first; it falls linearly. Source: the same. All games make one at once, or none."""
    final_exploration: float = 0.01
    """Share of random moves after that. Source: the same."""
    exploration_moves: int = 2_800
    """Moves over which it falls. Source: 1,400 episodes, which a beginner loses in two moves each."""
    seed: int = 0
    """Seeds weights, games, exploration and replay."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "variant", Variant(self.variant))
        counts = ("moves", "games", "updates", "batch", "buffer", "target_interval", "exploration_moves")
        for name in counts:
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1")
        if not self.hidden or min(self.hidden) < 1:
            raise ValueError("hidden must name the units of at least one layer")
        for name in ("gamma", "exploration", "final_exploration"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must be from 0 to 1")
        for name in ("learning_rate", "final_learning_rate", "learning_starts"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must not be negative")
        if not 0 <= self.seed < 2**32:
            raise ValueError("seed must be from 0 to 4294967295")


POPULATION = AgentConfig(moves=120_000)
"""A short training, some ten seconds: with other seeds it makes agents that play well or badly."""


@dataclass(frozen=True)
class Progress:
    """How far a training is."""

    moves: int
    games: int
    """That have come to an end."""
    updates: int
    """Gradient steps."""
    mean_return: float
    """Expected return of the greedy policy, exact."""
    outcomes: dict[str, float]
    """And how likely its games end in each way."""


def train_agent(
    config: AgentConfig, on_progress: Callable[[Progress], None] | None = None, reports: int = 25
) -> QNetwork:
    """Train a network; the same configuration gives the same weights, to the bit, on the same machine.

    One thread does it: the layers are too small for more, and the number of threads would change the weights.

    Args:
        config: everything that decides the result.
        on_progress: called about ``reports`` times, and at the end.
        reports: how often.
    """
    games = VectorGames(RookEndgameVector(config.games, config.variant), REWARD_SCALE)
    callback = None if on_progress is None else _Reports(config, on_progress, reports)
    with one_thread(), generators_put_back():
        dqn = DQN(
            "MlpPolicy",
            games,
            learning_rate=LinearSchedule(config.learning_rate, config.final_learning_rate, end_fraction=1.0),
            buffer_size=config.buffer,
            learning_starts=config.learning_starts,
            batch_size=config.batch,
            gamma=config.gamma,
            train_freq=1,
            gradient_steps=config.updates,
            target_update_interval=config.target_interval,
            exploration_fraction=min(1.0, config.exploration_moves / config.moves),
            exploration_initial_eps=config.exploration,
            exploration_final_eps=config.final_exploration,
            max_grad_norm=float("inf"),
            policy_kwargs={"net_arch": list(config.hidden), "optimizer_kwargs": {"fused": True}},
            seed=config.seed,
            device="cpu",
        )
        dqn.learn(config.moves, callback=callback, log_interval=None)  # type: ignore[arg-type]
        return _network_of(dqn, config)


def train_into(
    folder: Path, config: AgentConfig, on_progress: Callable[[Progress], None] = lambda progress: None
) -> QNetwork:
    """Train a network and write it with its configuration, cost and curve into a folder, made if missing."""
    return write_trained(folder, config, about(config), partial(train_agent, config), on_progress)


def about(config: AgentConfig) -> About:
    """What the folder of an agent with this configuration says of it."""
    return About(
        task=TASK,
        variant=config.variant.value,
        n_inputs=N_INPUTS,
        hidden=list(config.hidden),
        n_actions=N_ACTIONS,
        gamma=config.gamma,
        reward_scale=REWARD_SCALE,
        training=json.loads(json.dumps(asdict(config))),
        versions={package: version(package) for package in PACKAGES},
    )


class _Reports(BaseCallback):
    """Judges the network from time to time."""

    def __init__(self, config: AgentConfig, on_progress: Callable[[Progress], None], reports: int) -> None:
        super().__init__()
        self.config, self.on_progress = config, on_progress
        self.every = max(1, config.moves // reports)
        self.reported = 0

    def _on_step(self) -> bool:
        due = self.num_timesteps // self.every > self.reported // self.every
        if due and self.num_timesteps < self.config.moves:  # updates follow the last move
            self._report()
        return True

    def _on_training_end(self) -> None:
        self._report()

    def _report(self) -> None:
        self.reported = self.num_timesteps
        played = play_out(greedy_policy(_network_of(self.model, self.config)), self.config.variant)
        outcomes = {outcome.name.lower(): share for outcome, share in played.shares.items()}
        games, updates = self.model._episode_num, self.model._n_updates
        self.on_progress(Progress(self.num_timesteps, games, updates, played.mean_return, outcomes))


def _network_of(dqn: Any, config: AgentConfig) -> QNetwork:
    """A copy of the network that a DQN trains."""
    return with_layers_of(dqn, QNetwork(N_INPUTS, config.hidden, N_ACTIONS))
