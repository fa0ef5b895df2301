"""Train an agent of Ms. Pac-Man with stable-baselines3's DQN, after DuPlessie (2024), on one game at a time.

Updates come after each game, and the target network follows every so many games, as in the source. All of its 20,000
games take days without a GPU; ``moves`` says how far to go, and exploration falls over the same share of them.

The replay memory holds screens, 100,800 bytes each. They are kept once, not as what comes before and after a move both:
the default's 10,000 take 1.0 GB, the source's 50,000 would take 5.0 GB.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from importlib.metadata import version
from math import prod
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from gymnasium.wrappers import TransformReward
from stable_baselines3 import DQN
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from torch import Tensor

from envs.ms_pacman import EMULATOR, N_ACTIONS, SHAPE, MsPacmanConfig, environment
from jobs.global_state import generators_put_back
from jobs.networks.conv_network import N_FEATURES, ConvNetwork, convolutions
from jobs.networks.files import About
from jobs.networks.learned import PACKAGES, REWARD_SCALE, with_layers_of, write_trained

TASK = "ms_pacman"
N_INPUTS = prod(SHAPE)
EXPLORING = 3 / 14
"""Share of the training over which exploration falls: ε = max(0.05, 0.20 - 0.05·14·n/20,000) at the source's game n."""
RECENT = 100
"""So many last games of the training are its score."""


@dataclass(frozen=True)
class PacmanAgentConfig:
    """Everything that decides an agent of Ms. Pac-Man.

    Raises:
        ValueError: a setting that makes no sense.
    """

    hidden: tuple[int, ...] = (512, 512)
    """Units of each hidden linear layer. Source: the same."""
    moves: int = 200_000
    """Decisions in all games together; the last is played to its end. Source: 20,000 games, a beginner's some 600
    decisions each."""
    updates: int = 5
    """Gradient steps after each game. Source: the same."""
    batch: int = 256
    """Transitions of an update. Source: the same."""
    learning_rate: float = 5e-4
    """Adam's. Source: the same."""
    gamma: float = 0.98
    """Discount. Source: the same."""
    buffer: int = 10_000
    """Transitions in the replay memory. Source: 50,000."""
    learning_starts: int = 2_000
    """Decisions before the first update, made at random. Source: the same number, made by the untrained network."""
    target_games: int = 20
    """Games between copies to the target network. Source: the same."""
    exploration: float = 0.20
    """Share of random moves, at first; it falls linearly over ``EXPLORING`` of the training. Source: the same."""
    final_exploration: float = 0.05
    """Share of random moves after that. Source: the same."""
    max_frames: int = MsPacmanConfig.max_frames
    """Frames after which a game is stopped. Source: the same. It counts as lost."""
    seed: int = 0
    """Seeds weights, games, exploration and replay."""

    def __post_init__(self) -> None:
        for name in ("moves", "updates", "batch", "buffer", "target_games"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1")
        if not self.hidden or min(self.hidden) < 1:
            raise ValueError("hidden must name the units of at least one layer")
        for name in ("gamma", "exploration", "final_exploration"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must be from 0 to 1")
        MsPacmanConfig(max_frames=self.max_frames)
        for name in ("learning_rate", "learning_starts"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must not be negative")
        if not 0 <= self.seed < 2**32:
            raise ValueError("seed must be from 0 to 4294967295")


@dataclass(frozen=True)
class Progress:
    """How far a training is."""

    moves: int
    games: int
    """That have come to an end."""
    updates: int
    """Gradient steps."""
    mean_return: float | None
    """Points of the last games that ended, at most ``RECENT``, exploration included; None before the first."""


def train_agent(config: PacmanAgentConfig, on_progress: Callable[[Progress], None] | None = None) -> ConvNetwork:
    """Train a network.

    Args:
        config: everything that decides the result, beside the number of threads.
        on_progress: called after each game, and at the end.

    Raises:
        ImportError: ale-py isn't installed; the message says how to.
    """
    screens = environment(MsPacmanConfig(max_frames=config.max_frames))
    games: gymnasium.Env[Any, Any] = TransformReward(screens, lambda points: float(points) * REWARD_SCALE)
    with generators_put_back():
        dqn = DQN(
            "CnnPolicy",
            games,
            learning_rate=config.learning_rate,
            buffer_size=config.buffer,
            learning_starts=config.learning_starts,
            batch_size=config.batch,
            gamma=config.gamma,
            train_freq=(1, "episode"),
            gradient_steps=config.updates,
            target_update_interval=config.moves + 1,  # never: _Games copies
            exploration_fraction=EXPLORING,
            exploration_initial_eps=config.exploration,
            exploration_final_eps=config.final_exploration,
            max_grad_norm=float("inf"),
            optimize_memory_usage=True,
            replay_buffer_kwargs={"handle_timeout_termination": False},  # or it keeps screens twice
            policy_kwargs={
                "net_arch": list(config.hidden),
                "features_extractor_class": _Screens,
                "normalize_images": False,
            },
            stats_window_size=RECENT,
            seed=config.seed,
            device="auto",
        )
        dqn.learn(config.moves, callback=_Games(config.target_games, on_progress), log_interval=None)  # type: ignore[arg-type]
        games.close()
        return _network_of(dqn, config)


def train_into(
    folder: Path, config: PacmanAgentConfig, on_progress: Callable[[Progress], None] = lambda progress: None
) -> ConvNetwork:
    """Train a network and write it with its configuration, cost and curve into a folder, made if missing."""
    return write_trained(folder, config, about(config), partial(train_agent, config), on_progress)


def about(config: PacmanAgentConfig) -> About:
    """What the folder of an agent with this configuration says of it."""
    return About(
        kind="conv_network",
        task=TASK,
        variant=MsPacmanConfig().variant.value,
        n_inputs=N_INPUTS,
        hidden=list(config.hidden),
        n_actions=N_ACTIONS,
        gamma=config.gamma,
        reward_scale=REWARD_SCALE,
        training=json.loads(json.dumps(asdict(config))),
        versions={package: version(package) for package in (*PACKAGES, EMULATOR.package)},
    )


class _Screens(BaseFeaturesExtractor):
    """The convolutions, as stable-baselines3 wants them."""

    def __init__(self, observation_space: gymnasium.Space[Any]) -> None:
        super().__init__(observation_space, N_FEATURES)
        self.convolutions = convolutions()

    def forward(self, screens: Tensor) -> Tensor:
        """Features [n, 960] of screens [n, 3, 210, 160]."""
        return self.convolutions(screens.float())  # type: ignore[no-any-return]


class _Games(BaseCallback):
    """Counts games: copies the network to its target from time to time, and tells of each."""

    def __init__(self, target_games: int, on_progress: Callable[[Progress], None] | None) -> None:
        super().__init__()
        self.target_games, self.on_progress = target_games, on_progress
        self.model: Any

    def _on_step(self) -> bool:
        return True

    def _on_rollout_end(self) -> None:
        """A game has ended, and its updates follow."""
        if self.model._episode_num and self.model._episode_num % self.target_games == 0:
            self.model.q_net_target.load_state_dict(self.model.q_net.state_dict())
        self._tell()

    def _on_training_end(self) -> None:
        self._tell()

    def _tell(self) -> None:
        if self.on_progress is not None:
            returns = [game["r"] / REWARD_SCALE for game in self.model.ep_info_buffer]
            mean = float(np.mean(returns)) if returns else None
            self.on_progress(Progress(self.num_timesteps, self.model._episode_num, self.model._n_updates, mean))


def _network_of(dqn: Any, config: PacmanAgentConfig) -> ConvNetwork:
    """A copy of the network that a DQN trains."""
    network = ConvNetwork(N_INPUTS, config.hidden, N_ACTIONS)
    network.convolutions.load_state_dict(dqn.q_net.features_extractor.convolutions.state_dict())
    return with_layers_of(dqn, network)
