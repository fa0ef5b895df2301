"""The same scores and searches on models whose circuit was written into their weights: is it what they find?"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from hashlib import sha256

import numpy as np
from numpy.typing import NDArray
from sqlalchemy.orm import Session

from envs.circuit_tasks import CIRCUIT_TASKS, Prompts, Words, control_rows, induction
from envs.circuit_tasks.control_text import control_text
from envs.head_ablation import CONTROL_SEED, HeadAblationConfig, TableScores, evaluation_seed
from jobs.circuits.pairs import pair_damage
from jobs.circuits.planted import Planted, planted_models
from jobs.circuits.policy import PolicySearcher
from jobs.circuits.ppo import train_policy
from jobs.circuits.scoring import HeadScorer
from jobs.circuits.search_config import SearchConfig
from jobs.circuits.searchers import search
from jobs.context import Context
from jobs.stage import Plan, Publish, Unit
from tdlens.record import PlantedCircuit, insert_rows

NAME = "planted"
DESCRIPTION = "the same on models whose circuit was written into their weights: is it what is found?"

EPISODES = 8
"""For training, and as many to judge by."""
SENTENCES = 500
UPDATES = 48


def units(context: Context, plan: Plan) -> Iterable[Unit]:
    """One unit a model."""
    if not context.study.search.planted:
        return
    for name, planted in planted_models().items():
        training = _training(context, len(planted.heads))
        config = {
            "model": asdict(planted.engine.describe()),
            "control": sha256(control_text(SENTENCES, context.study.seed).encode()).hexdigest(),
            # no control text: these models know no language that an ablation should leave alone
            "task": asdict(HeadAblationConfig(variant=induction.NAME, prompts=16, control_weight=0.0)),
            "training": asdict(training),
            "episodes": EPISODES,
        }
        yield Unit(NAME, name, config, seed=context.study.seed)


def _training(context: Context, steps: int) -> SearchConfig:
    """Episodes of a step or two teach little each: many side by side, and larger steps than the paper's."""
    episodes = 32
    return SearchConfig(
        transitions=UPDATES * episodes * steps,
        episodes=episodes,
        minibatches=2,
        learning_rate=2e-3,
        entropy=0.01,
        seed=context.study.seed + 1,
    )


def run(context: Context, unit: Unit) -> Publish:
    planted = planted_models()[unit.key]
    n_blocks, n_heads = planted.engine.n_blocks, planted.engine.n_heads
    heads = n_blocks * n_heads
    with context.progress(f"planted {unit.key}", 2 * EPISODES + 1) as advance:
        tables: list[TableScores] = []
        for seed in _seeds(2 * EPISODES):
            tables.append(_scores(planted, unit, seed))
            advance(1)
        pool, judged = dict(zip(_seeds(EPISODES), tables, strict=False)), tables[EPISODES:]
        training = SearchConfig(**unit.config["training"])
        tasks = (induction.NAME,)
        # no longer than the circuit: else all of it is found in time in any order, and nothing says which comes first
        steps = len(planted.heads)
        trained = train_policy(
            training, lambda task, seed: pool[seed], n_blocks, n_heads, steps, tasks, {induction.NAME: list(pool)}
        )
        advance(1)
    found = search(PolicySearcher(trained.policy, (1.0,)), judged, heads, [(unit.seed, i) for i in range(EPISODES)])
    ranks = np.mean([np.argsort(one.heads) for one in found], axis=0) + 1
    scores = np.mean([table.scores for table in judged], axis=0)
    excess = _largest_excess(planted, _prompts(planted, unit, next(iter(pool))), heads)
    rows = [
        {
            "model": unit.key,
            "block": head // n_heads + 1,
            "head": head % n_heads,
            "role": planted.role(head),
            "score": float(scores[head]),
            "pair_excess": float(excess[head]),
            "found_rank": float(ranks[head]),
        }
        for head in range(heads)
    ]

    def publish(session: Session, job_id: int) -> None:
        insert_rows(session, PlantedCircuit, [{"job_id": job_id, **row} for row in rows])

    return publish


def _seeds(n: int) -> list[int]:
    return [evaluation_seed(0, episode) for episode in range(n)]


def _prompts(planted: Planted, unit: Unit, seed: int) -> Prompts:
    return CIRCUIT_TASKS[induction.NAME].make(planted.engine.tokenizer, unit.config["task"]["prompts"], seed)


def _scores(planted: Planted, unit: Unit, seed: int) -> TableScores:
    config, words = HeadAblationConfig(**unit.config["task"]), Words(planted.engine.tokenizer)
    stream = words.text(control_text(SENTENCES, unit.seed))
    control = control_rows(stream, words.bos, config.prompts, config.control_tokens, seed + CONTROL_SEED)
    prompts = _prompts(planted, unit, seed)
    return HeadScorer(planted.engine, prompts, control, ablation=config.ablation, weight=config.control_weight).table()


def _largest_excess(planted: Planted, prompts: Prompts, heads: int) -> NDArray[np.float64]:
    """Of the pairs that each head is in [heads]."""
    found = pair_damage(planted.engine, prompts, range(heads))
    excess = np.full((heads, heads), -np.inf)
    for (one, other), value in zip(found.pairs, found.excess, strict=True):
        excess[one, other] = excess[other, one] = value
    largest: NDArray[np.float64] = excess.max(axis=1)
    return largest
