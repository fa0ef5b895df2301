"""Train a policy that chooses heads with sb3-contrib's MaskablePPO, after Khadka (2026, arXiv 2605.26343).

What differs from the library's own training is how an action is chosen (``BestOf``: the best of K draws, at K = 1 the
library's own draw) and that an episode's end is an end (``Episodes``), as in the source. Its losses are the library's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from gymnasium.spaces import Space
from numpy.typing import NDArray
from sb3_contrib import MaskablePPO
from sb3_contrib.common.maskable.policies import MaskableActorCriticPolicy
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from stable_baselines3.common.vec_env import DummyVecEnv
from stable_baselines3.common.vec_env.base_vec_env import VecEnvStepReturn
from torch import Tensor, nn
from torch.distributions import Categorical

from envs.head_ablation import Deal, HeadAblation, HeadScores
from jobs.circuits.policy import HIDDEN, HeadPolicy, PolicySearcher, trunk
from jobs.circuits.search_config import SearchConfig
from jobs.circuits.searchers import Asked, Tally, search
from jobs.global_state import generators_put_back, one_thread


@dataclass(frozen=True)
class Point:
    """How well a policy searches when it has tried so many heads in training."""

    transitions: int
    forward_passes: int
    """That training has spent so far."""
    best_scores: dict[str, float]
    """Mean best score over each task's evaluation episodes, with as many heads asked for in a step as in training."""


@dataclass(frozen=True, eq=False)
class Trained:
    """A policy and how it came to be."""

    policy: HeadPolicy
    curve: tuple[Point, ...]
    """From the untrained policy to the trained one."""
    transitions: int
    """Heads tried."""
    forward_passes: int
    """That training spent, or would have spent if its scores came from no table; those of the curve don't count."""


def train_policy(
    config: SearchConfig,
    deal: Deal,
    n_blocks: int,
    n_heads: int,
    steps: int,
    tasks: Sequence[str],
    pool: Mapping[str, Sequence[int]] | None = None,
    evaluation: Mapping[str, Sequence[HeadScores]] | None = None,
    on_progress: Callable[[Point], None] = lambda point: None,
    reports: int = 50,
) -> Trained:
    """Train a policy; the same configuration and scores give the same weights, to the bit, on the same machine.

    One thread does it: the layers are too small for more, and the number of threads would change the weights. To
    evaluate and to report changes nothing.

    Args:
        config: of the training.
        deal: what ablations do in an episode.
        n_blocks: of the model.
        n_heads: in each block.
        steps: heads tried in an episode.
        tasks: of training, in the order of the task code.
        pool: seeds of each task's episodes, if training shall have no others.
        evaluation: episodes of each task, training task or not, which the curve is about. Those of other tasks are
            searched without a task code.
        on_progress: told each point of the curve.
        reports: points of the curve, evenly spaced; those after 0, 1, 2, 4 … updates come on top, for the first few
            updates teach most.

    Raises:
        ValueError: fewer transitions than one update needs, or episodes of a single step in all.
    """
    a_update = config.episodes * steps
    updates = config.transitions // a_update
    if updates < 1:
        raise ValueError(f"transitions must be at least {a_update}: {config.episodes} episodes of {steps} steps")
    if a_update < 2:
        raise ValueError("an update needs at least two transitions")
    spent = Tally()

    def counted(task: str, seed: int) -> Asked:
        return Asked(deal(task, seed), spent)

    first_seed = 100 * config.seed + 1
    with one_thread(), generators_put_back():
        episodes = Episodes(
            [
                HeadAblation(counted, n_blocks, n_heads, steps, tuple(tasks), first_seed + i, pool)
                for i in range(config.episodes)
            ]
        )
        ppo = MaskablePPO(
            BestOf,
            episodes,
            learning_rate=_falling(config, updates),
            n_steps=steps,
            batch_size=_batch(a_update, config.minibatches),
            n_epochs=config.epochs,
            gamma=config.gamma,
            gae_lambda=config.gae_lambda,
            clip_range=config.clip,
            ent_coef=config.entropy,
            vf_coef=config.value / 2,  # the library's error isn't halved
            max_grad_norm=config.max_gradient,
            policy_kwargs={
                "net_arch": [],
                "features_extractor_class": Trunk,
                "optimizer_kwargs": {"eps": config.adam_epsilon, "fused": True},
                "best_of": config.best_of,
                "ask": episodes.ask,
            },
            seed=config.seed,
            device="cpu",
        )
        episodes.seed(first_seed)
        curve = _Curve(config, tuple(tasks), evaluation or {}, spent, on_progress, max(1, updates // reports))
        ppo.learn(updates * a_update, callback=curve, log_interval=None)  # type: ignore[arg-type]
        return Trained(policy_of(ppo, len(tasks)), tuple(curve.points), ppo.num_timesteps, spent.forward_passes)


class Trunk(BaseFeaturesExtractor):
    """The trunk, where the library wants what actor and critic share."""

    def __init__(self, observation_space: Space[Any]) -> None:
        super().__init__(observation_space, HIDDEN)
        assert observation_space.shape is not None
        self.layers = trunk(observation_space.shape[0])

    def forward(self, observations: Tensor) -> Tensor:
        out: Tensor = self.layers(observations)
        return out


class BestOf(MaskableActorCriticPolicy):
    """Draws K legal heads without replacement and takes the one with the best score, of equal ones the first drawn.

    PPO is told the log-probability with which the policy alone would have taken that head: with K > 1 the head was more
    likely than that. The source accepts this, so it is done here. At K = 1 this is the library's own policy: ``torch``
    draws one head without replacement in the same way, to the bit, as its distributions do.
    """

    def __init__(
        self,
        *args: Any,
        best_of: int,
        ask: Callable[[NDArray[np.int64]], NDArray[np.float64]],
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.best_of, self.ask = best_of, ask

    def forward(
        self, obs: Tensor, deterministic: bool = False, action_masks: NDArray[np.bool_] | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        if deterministic or action_masks is None:
            raise ValueError("in training, heads are drawn, and only legal ones")
        features = self.extract_features(obs)
        assert isinstance(features, Tensor)
        distribution = self._get_action_dist_from_latent(features)
        distribution.apply_masking(action_masks)
        k = min(self.best_of, int(action_masks.sum(axis=1).min()))
        masked = distribution.distribution
        assert isinstance(masked, Categorical)
        drawn = torch.multinomial(masked.probs, k)  # [n, k]
        heads = drawn[:, 0]
        if k > 1:
            # A head with a probability of 0 in float32, tried or not, is drawn when too few others are left.
            legal = np.take_along_axis(action_masks, drawn.numpy(), axis=1)
            best = np.where(legal, self.ask(drawn.numpy()), -np.inf).argmax(axis=1)
            heads = drawn[torch.arange(len(drawn)), torch.from_numpy(best)]
        return heads, self.value_net(features), distribution.log_prob(heads)


class Episodes(DummyVecEnv):
    """Searches side by side, whose scores can be asked for before one is taken.

    The library would add the value of what could follow to the last reward of an episode that is cut off after its
    steps. In the source nothing follows: the search is over. And to the library ``episode`` in an ``info`` is no seed.
    """

    def __init__(self, episodes: Sequence[HeadAblation]) -> None:
        super().__init__([lambda episode=episode: episode for episode in episodes])  # type: ignore[misc]
        self.episodes = episodes

    def ask(self, heads: NDArray[np.int64]) -> NDArray[np.float64]:
        """Scores of heads [n, k] in the episodes of now [n, k]."""
        answers = []
        for episode, row in zip(self.episodes, heads, strict=True):
            assert episode.scores is not None, "the library resets episodes before it asks"
            answers.append(episode.scores.score(row.tolist()))
        return np.stack(answers)

    def step_wait(self) -> VecEnvStepReturn:
        observations, rewards, over, infos = super().step_wait()
        for info in infos:
            info["TimeLimit.truncated"] = False
            del info["episode"]
        return observations, rewards, over, infos


def policy_of(ppo: MaskablePPO, n_tasks: int) -> HeadPolicy:
    """A copy of the policy that the library trains, ready to be used; nothing is drawn to make it."""
    theirs = ppo.policy
    assert isinstance(theirs.features_extractor, Trunk) and isinstance(theirs.action_net, nn.Linear)
    layers = {"trunk": theirs.features_extractor.layers, "actor": theirs.action_net, "critic": theirs.value_net}
    weights = {f"{name}.{key}": w.clone() for name, layer in layers.items() for key, w in layer.state_dict().items()}
    return HeadPolicy.with_weights(n_tasks, theirs.action_net.out_features, weights)


class _Curve(BaseCallback):
    """Evaluates the policy before an update's transitions are gathered, when it is due, and at the end."""

    def __init__(
        self,
        config: SearchConfig,
        tasks: tuple[str, ...],
        evaluation: Mapping[str, Sequence[HeadScores]],
        spent: Tally,
        on_progress: Callable[[Point], None],
        every: int,
    ) -> None:
        super().__init__()
        self.config, self.tasks, self.evaluation = config, tasks, evaluation
        self.spent, self.on_progress, self.every = spent, on_progress, every
        self.updates = 0
        self.points: list[Point] = []

    def _on_step(self) -> bool:
        return True

    def _on_rollout_start(self) -> None:
        early = self.updates < self.every and self.updates & (self.updates - 1) == 0  # 0, 1, 2, 4, 8 …
        if early or self.updates % self.every == 0:
            self._evaluate()
        self.updates += 1

    def _on_training_end(self) -> None:
        self._evaluate()

    def _evaluate(self) -> None:
        assert isinstance(self.model, MaskablePPO)
        policy = policy_of(self.model, len(self.tasks))
        best_scores = {}
        for task, episodes in self.evaluation.items():
            code = tuple(float(task == other) for other in self.tasks)
            searcher = PolicySearcher(policy, code, self.config.best_of)
            seeds = [(self.config.seed, i) for i in range(len(episodes))]  # the same luck each time
            found = search(searcher, episodes, self.model.n_steps, seeds)
            best_scores[task] = float(np.mean([one.best_score for one in found]))
        point = Point(self.num_timesteps, self.spent.forward_passes, best_scores)
        self.points.append(point)
        self.on_progress(point)


def _falling(config: SearchConfig, updates: int) -> Callable[[float], float]:
    """The learning rate by what is left of training when an update's own transitions are gathered."""

    def rate(left: float) -> float:
        return config.learning_rate * max(min(1.0, left + 1 / updates), config.final_share)

    return rate


def _batch(transitions: int, minibatches: int) -> int:
    """Transitions of a minibatch: no more minibatches than asked for, and none with one, which has no spread."""
    size = max(2, -(-transitions // minibatches))
    while transitions % size == 1:
        size += 1
    return size
