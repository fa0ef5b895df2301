"""Two-Step gates: does the model use reward, or does it copy past choices?

Agreement with an agent's choices, likelihood and correlation with Q-values are all excellent in a model that merely
copies past choices. Two measures aren't: what it earns when it plays itself, and whether one changed reward changes
its next choice. The task instances are the study's own, whose points never occur in the training histories.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from envs.agents.learner import QLearner, Softmax
from envs.agents.q_learning import QLearningConfig
from envs.transcript import Span, Transcript
from envs.two_step import ACTIONS, N_STATES, START, TwoStep, TwoStepConfig, Variant
from jobs.inference.base import Engine
from jobs.inference.play import play, replay
from jobs.reference.gates.measure import Measure, at_least
from jobs.reference.histories import TwoStepHistories
from jobs.reference.histories.two_step import MAX_POINTS

MIN_SLOPE = 0.5
"""Gate: logits per unit of reward (10 points = 1) that a changed reward moves the next choice by."""
MIN_SHARE = 0.75
"""Gate: share of the way from random play to the Q-learner's own return, in the last third of the episodes."""

Player = Callable[[TwoStep, np.random.Generator], int]


def measure(engine: Engine, untrained: Engine, *, seed: int, n: int) -> list[Measure]:
    """Both gates and their baselines, on the standard variant; the disrupted ones are reported."""
    config = TwoStepConfig()
    slope, low = reward_swap(engine, seed=seed, n=n)
    returns = _returns(engine, config, seed, n) | {"untrained": _self_play(untrained, config, seed, n)}
    others = [variant for variant in Variant if variant is not Variant.STANDARD]
    return [
        at_least("two-step: reward-swap slope (logits per 10 points)", slope, MIN_SLOPE),
        Measure("two-step: reward-swap slope, 2.5 % bound", low),
        Measure("two-step: reward-swap slope, untrained", reward_swap(untrained, seed=seed, n=n)[0]),
        at_least("two-step: self-play, share of the Q-learner's gain", share(returns), MIN_SHARE),
        *(Measure(f"two-step: return in the last third: {who}", value) for who, value in returns.items()),
        *(
            Measure(f"two-step: return in the last third, {variant}: {who}", value)
            for variant in others
            for who, value in _returns(engine, replace(config, variant=variant), seed, n).items()
        ),
    ]


def share(returns: Mapping[str, float]) -> float:
    """The model's place between random play (0) and the Q-learner (1)."""
    return (returns["model"] - returns["random"]) / (returns["q_learner"] - returns["random"])


def _returns(engine: Engine, config: TwoStepConfig, seed: int, n: int) -> dict[str, float]:
    """Mean return in the last third of the episodes, of the model and of simple players on the same instances."""
    players: dict[str, Player] = {"q_learner": _q_learner(seed), "copy_only": _copy, "random": _random}
    others = {name: _last_third(_played(config, player, seed, n)) for name, player in players.items()}
    return {"model": _self_play(engine, config, seed, n), **others}


def reward_swap(engine: Engine, *, seed: int, n: int, episodes: int = 12) -> tuple[float, float]:
    """Change one reward in the text and read the next choice in the same state.

    Random play of ``episodes`` episodes; in the last one, at the second decision, the log odds of the action that was
    taken at the latest earlier visit to this fruit. The points of that visit are replaced by another number.

    Returns:
        Slope of the change in log odds on the change in reward (10 points = 1) through the origin, and its 2.5 %
        bound by a bootstrap over instances. A model that only copies choices has slope 0.
    """
    rng = np.random.default_rng((seed, 1))
    config = TwoStepConfig(episodes=episodes, random_episodes=episodes)
    pairs: list[tuple[TwoStep, int, int]] = []
    while len(pairs) < n:
        game = TwoStep(config, int(rng.integers(2**31)))
        while not game.done:
            game.observe()
            game.act(game.forced_action or 0)
        fruit = game.steps[-1].state
        visits = [i for i, step in enumerate(game.steps[:-1]) if step.state == fruit]
        if visits:
            pairs.append((game, visits[-1], int(rng.integers(MAX_POINTS + 1))))
    originals = [game.transcript() for game, _, _ in pairs]
    swapped = [_with_points(game.transcript(), visit, points) for game, visit, points in pairs]
    taken = np.array([game.steps[visit].action for game, visit, _ in pairs])
    change = np.array([(points - game.steps[visit].reward) / MAX_POINTS for game, visit, points in pairs])

    def log_odds(transcripts: list[Transcript]) -> NDArray[np.float64]:
        p = replay(engine, transcripts, ACTIONS).probabilities[:, -1]
        everyone = np.arange(n)
        return np.asarray(np.log(p[everyone, taken]) - np.log(p[everyone, 1 - taken]))

    moved = log_odds(swapped) - log_odds(originals)
    weights = rng.multinomial(n, np.full(n, 1 / n), size=1000)
    slopes = (weights @ (moved * change)) / (weights @ change**2)
    return float((moved @ change) / (change @ change)), float(np.quantile(slopes, 0.025))


def _with_points(transcript: Transcript, decision: int, points: int) -> Transcript:
    """The transcript with other points after one decision."""
    text, spans = transcript.text, transcript.decisions
    start = text.index("You get ", spans[decision].end) + len("You get ")
    end = text.index(" ", start)
    shift = len(str(points)) - (end - start)
    moved = tuple(Span(s.start + shift, s.end + shift) if s.start > start else s for s in spans)
    return Transcript(f"{text[:start]}{points}{text[end:]}", moved)


def _self_play(engine: Engine, config: TwoStepConfig, seed: int, n: int) -> float:
    games = [TwoStep(config, _instance(seed, i)) for i in range(n)]
    play(engine, games, seed=seed, batch_size=n)
    return _last_third(games)


def _played(config: TwoStepConfig, player: Player, seed: int, n: int) -> list[TwoStep]:
    games = [TwoStep(config, _instance(seed, i)) for i in range(n)]
    for index, game in enumerate(games):
        rng = np.random.default_rng((seed, 2, index))
        while not game.done:
            game.observe()
            choice = player(game, rng)
            game.act(choice if game.forced_action is None else game.forced_action)
    return games


def _instance(seed: int, index: int) -> int:
    return seed * 100_000 + 50_000 + index


def _last_third(games: list[TwoStep]) -> float:
    first = games[0].config.episodes * 2 // 3
    return float(np.mean([[s.reward for s in game.steps if s.episode >= first and s.done] for game in games]))


def _q_learner(seed: int) -> Player:
    """Agents like those of the training histories, each instance with its own rates; they learn from every step."""
    learners: dict[int, tuple[QLearner, int]] = {}
    rng, about = np.random.default_rng((seed, 3)), TwoStepHistories()

    def choose(game: TwoStep, choices: np.random.Generator) -> int:
        if id(game) not in learners:
            rates = QLearningConfig(alpha=rng.uniform(*about.alpha), gamma=rng.uniform(*about.gamma), window=1)
            beta = float(np.exp(rng.uniform(*np.log(about.beta))))
            learners[id(game)] = QLearner(N_STATES, len(ACTIONS), rates, Softmax(beta)), 0
        learner, seen = learners[id(game)]
        for step in game.steps[seen:]:
            learner.update(step.state, step.action, step.reward / MAX_POINTS, step.next_state, step.done)
        learners[id(game)] = learner, len(game.steps)
        return int(learner.act(game.steps[-1].next_state if game.steps and not game.steps[-1].done else START, choices))

    return choose


def _copy(game: TwoStep, rng: np.random.Generator) -> int:
    """Repeats the most frequent earlier choice in this state: what imitation without reward comes to."""
    state = game.steps[-1].next_state if game.steps and not game.steps[-1].done else START
    counts = np.bincount([s.action for s in game.steps if s.state == state], minlength=len(ACTIONS))
    return int(rng.choice(np.flatnonzero(counts == counts.max())))


def _random(game: TwoStep, rng: np.random.Generator) -> int:
    return int(rng.integers(len(ACTIONS)))
