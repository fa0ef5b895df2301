"""Rows of a synthetic study of searches for attention heads, as a real run writes them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jobs.recording import INDEX_BITS, record_task
from tdlens.record import (
    CircuitSearch,
    Episode,
    HeadLabel,
    HeadPair,
    HeadScore,
    PlantedCircuit,
    Record,
    Rollout,
    SearchEpisode,
    SearchProgress,
    SearchStep,
    Step,
    current_study,
    insert_columns,
    insert_rows,
    new_ids,
)
from tests.report.synthetic_play import Writer

Floats = NDArray[np.float64]

STUDY, MODEL = "head_ablation", "circuits"
TASKS, TRAINED = ("induction", "ioi", "docstring", "greater_than"), ("induction", "ioi")
BLOCKS, HEADS, STEPS, EPISODES, SEEDS = 6, 8, 17, 8, 3
PAIRED = 16
"""Episodes in which pairs are ablated."""
ALL = BLOCKS * HEADS
STAGES = ("heads", "search", "planted")
CHANCE = ("random", "layer_prior", "ucb")
OVERHEAD = {"attribution": 4, "mean_ablation": 2 * ALL + 2}
KNOWN = 16
"""Heads of IOI that are known; the first half of them has the highest scores."""

SKILL: dict[tuple[str, str, str], float] = {
    **{(kind, task, task): 1.0 for kind in ("ppo_k1", "ppo_k5") for task in TRAINED},
    **{("ppo_k5", task, "none"): 0.9 for task in TASKS},
    **{("ppo_k1", task, "none"): -0.1 for task in TASKS},
    **{("ppo_k5", task, "induction"): 1.0 for task in ("docstring", "greater_than")},
    **{("ppo_k1", task, "induction"): 0.9 for task in ("docstring", "greater_than")},
    **{("ppo_k5", task, "ioi"): -0.3 for task in ("docstring", "greater_than")},
    **{("ppo_k1", task, "ioi"): 0.05 for task in ("docstring", "greater_than")},
}
"""Of policies by name, task and code: 1 orders heads by their scores, 0 by chance, less than 0 the other way round."""
BASELINE_SKILL = {
    "random": -0.6,
    "layer_prior": 0.15,
    "ucb": 0.1,
    "training_mean": 0.5,
    "attribution": 0.6,
    "mean_ablation": 0.5,
    "oracle": 1.0,
}


@dataclass(frozen=True)
class World:
    """What is true in a synthetic study.

    Attributes:
        skill: of policies, where it is another than `SKILL`.
        baselines: of baselines, where it is another than `BASELINE_SKILL`.
        starts: transitions after which policies of each K are as good as they get.
        excess: of the pair of IOI that stands in for each other, nats.
        known: whether the known heads of IOI are half those of the highest scores, or the lowest.
        movers: whether the redundant ones are those of the lower half.
        twins: score of the planted twins alone.
        first: whether the planted circuit is tried first.
        stages: that were run.
        model: whose heads these are.
        tasks: of the study.
        best_of: heads that policies try at each step of training.
        overhead: forward passes that baselines spend beforehand, where others than `OVERHEAD`.
        shared: whether docstring needs the same heads as IOI.
        published: whether the labels are of a publication.
    """

    skill: Mapping[tuple[str, str, str], float] = field(default_factory=dict)
    baselines: Mapping[str, float] = field(default_factory=dict)
    starts: Mapping[int, int] = field(default_factory=lambda: {1: 4000, 5: 400})
    excess: float = 1.4
    known: bool = True
    movers: bool = True
    twins: float = 0.05
    first: bool = True
    stages: tuple[str, ...] = STAGES
    model: str = MODEL
    tasks: tuple[str, ...] = TASKS[:3]
    best_of: tuple[int, ...] = (1, 5)
    overhead: Mapping[str, int] = field(default_factory=dict)
    shared: bool = False
    published: bool = False


def configuration(world: World) -> dict[str, Any]:
    """As much of a study's configuration as its report reads."""
    return {
        "task": {
            "name": STUDY,
            "variants": list(world.tasks),
            "rollouts": EPISODES,
            "settings": {"prompts": 32, "ablation": "value_bias"},
        },
        "model": {"name": world.model},
        "search": {
            "tasks": list(TRAINED),
            "best_of": list(world.best_of),
            "seeds": SEEDS,
            "transitions": 20_000,
            "pool": 4,
        },
        "bootstrap": 400,
        "sae": [],
    }


def true_scores() -> dict[str, Floats]:
    """Score of every head in every episode by task, [E, H]."""
    rng = np.random.default_rng(11)
    scores = {}
    for task in TASKS:
        order = rng.permutation(ALL)
        mean = np.zeros(ALL)
        mean[order] = np.concatenate(
            [[2.2, 1.8, 1.2, 1.0, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3], np.linspace(0.1, -0.2, ALL - 10)]
        )
        scores[task] = mean + rng.normal(0, 0.12, (EPISODES, ALL))
    return scores


def write_searches(record: Record, world: World) -> None:
    """A study in which that is true."""
    with record.session() as session:
        study = current_study(session, name=STUDY, title="A synthetic search", config=configuration(world))
        w = Writer(session, study, np.random.default_rng(3))
        model, scores = w.model(world.model), true_scores()
        if world.shared:
            scores["docstring"] = scores["ioi"]
        tasks = {
            task: record_task(session, STUDY, {"variant": task}, tuple(map(str, range(ALL)))) for task in world.tasks
        }
        writers = {
            "heads": lambda: _heads(w, model, tasks, scores, world),
            "search": lambda: _searches(w, model, tasks, scores, world),
            "planted": lambda: _planted(w, world),
        }
        for stage in world.stages:
            writers[stage]()


def known_heads(scores: Floats, world: World) -> list[int]:
    """Of IOI: the heads that are called known, the first half first."""
    order = np.argsort(-scores.mean(0))
    return order[:8].tolist() + order[-8:].tolist() if world.known else order[-KNOWN:].tolist()


def _heads(w: Writer, model: int, tasks: Mapping[str, int], scores: Mapping[str, Floats], world: World) -> None:
    described = {
        "name": world.model, "fingerprint": "sha256:abc", "architecture": "GPT2LMHeadModel", "dtype": "float32",
        "n_blocks": BLOCKS, "d_model": 128, "n_parameters": 1_200_000,
    }  # fmt: skip
    block, head = (grid.ravel() for grid in np.meshgrid(np.arange(1, BLOCKS + 1), np.arange(HEADS), indexing="ij"))
    for task, task_id in tasks.items():
        job_id = w.job("heads", task, task={"name": STUDY, "variant": task}, model=described)
        for kind, noise in (("value_bias", 0.0), ("mean", 0.3), ("zero", 0.5), ("resample", 0.2)):
            for episode, values in enumerate(scores[task][: EPISODES if kind == "value_bias" else 3]):
                score = values + w.rng.normal(0, noise, ALL) if noise else values
                control = w.rng.uniform(0, 0.05, ALL)
                insert_columns(
                    w.session,
                    HeadScore,
                    {
                        "job_id": job_id, "model_id": model, "task_id": task_id, "ablation": kind,
                        "seed": 10_000_000 + episode, "block": block, "head": head, "split": "evaluation",
                        "task_damage": score + control, "control_damage": control, "score": score,
                        "attribution": 0.6 * score + w.rng.normal(0, 0.15, ALL),
                    },
                )  # fmt: skip
        _labels(w, job_id, model, task, scores[task], world)
        _pairs(w, job_id, model, task, task_id, scores[task], world)


def _labels(w: Writer, job_id: int, model: int, task: str, scores: Floats, world: World) -> None:
    if task == "ioi":
        known = known_heads(scores, world)
        top, rest = ("s_inhibition", "backup_name_mover") if world.movers else ("name_mover", "s_inhibition")
        labels = [(head, top if place < 8 else rest) for place, head in enumerate(known)]
    elif task == "induction":
        order = np.argsort(-scores.mean(0))
        labels = [(head, "induction") for head in (order[:4] if world.known else order[-4:]).tolist()]
    else:
        return
    rows = [
        {
            "task": task,
            "label": f"{'published ' * world.published}{label}",
            "block": head // HEADS + 1,
            "head": head % HEADS,
            "source": "attention pattern",
        }
        for head, label in labels
    ]
    insert_rows(w.session, HeadLabel, [{"job_id": job_id, "model_id": model, **row} for row in rows])


def _pairs(w: Writer, job_id: int, model: int, task: str, task_id: int, scores: Floats, world: World) -> None:
    rows = []
    for a, b in combinations(range(6), 2):
        twins = task == "ioi" and (a, b) == (1, 2)
        for episode in range(PAIRED):
            excess = (world.excess if twins else -0.8) + float(w.rng.normal(0, 0.02))
            damage = float(scores[episode % EPISODES, [a, b]].sum()) + excess
            rows.append(
                {"seed": 10_000_000 + episode, "block": 1, "head": a, "other_block": 1, "other_head": b}
                | {"damage": damage, "excess": excess}
            )
    insert_rows(w.session, HeadPair, [{"job_id": job_id, "model_id": model, "task_id": task_id, **row} for row in rows])


def _searches(w: Writer, model: int, tasks: Mapping[str, int], scores: Mapping[str, Floats], world: World) -> None:
    for k in world.best_of:
        for seed in range(SEEDS):
            search, job_id = _search(w, model, f"ppo_k{k}/{seed}", "ppo", seed, k)
            _progress(w, search, tasks, scores, k, world)
            for task in tasks:
                for code in (task,) if task in TRAINED else ("none", *TRAINED):
                    kind = f"ppo_k{5 if k > 1 and k == max(world.best_of) else 1}", task, code
                    skill = world.skill.get(kind, SKILL[kind])
                    for best_of in (1, 5) if code in ("none", task) else (1,):
                        about = Run(search, job_id, tasks[task], code, best_of, 0, f"ppo_k{k}/{seed}")
                        _episodes(w, about, scores[task], skill)
    for method, usual in BASELINE_SKILL.items():
        for seed in range(SEEDS if method in CHANCE else 1):
            search, job_id = _search(w, model, f"{method}/{seed}", method, seed, None)
            for task in tasks:
                for code in (task,) if task in TRAINED else ("none", *TRAINED):
                    skill = world.baselines.get(method, usual)
                    overhead = world.overhead.get(method, OVERHEAD.get(method, 0))
                    about = Run(search, job_id, tasks[task], code, 1, overhead, f"{method}/{seed}")
                    _episodes(w, about, scores[task], skill)


def _search(w: Writer, model: int, name: str, method: str, seed: int, best_of: int | None) -> tuple[int, int]:
    job_id = w.job("search", name)
    trained = best_of is not None
    row = CircuitSearch(
        job_id=job_id, model_id=model, n_heads=HEADS, name=name, method=method, best_of=best_of, seed=seed,
        transitions=20_000 if trained else 0, forward_passes=48_000 * (best_of or 0), parameters={},
    )  # fmt: skip
    w.session.add(row)
    w.session.flush()
    return row.id, job_id


def _progress(
    w: Writer, search: int, tasks: Mapping[str, int], scores: Mapping[str, Floats], k: int, world: World
) -> None:
    rows = []
    for task in TRAINED:
        oracle = float(scores[task][:4].max(1).mean())
        for transitions in (0, 400, 1000, 4000, 10_000, 20_000):
            start = world.starts[1 if k == 1 else 5]
            learned = min(1.0, transitions / start) if start else 1.0
            share = 0.6 + 0.1 * (k > 1) + (0.39 - 0.1 * (k > 1)) * learned
            best = share * oracle * (1 + 0.005 * float(w.rng.uniform(-1, 1)))
            rows.append({"transitions": transitions, "task_id": tasks[task], "best_score": best, "n_episodes": 4})
    insert_rows(w.session, SearchProgress, [{"search_id": search, **row} for row in rows])


@dataclass(frozen=True)
class Run:
    """One search in the episodes of one task."""

    search: int
    job: int
    task: int
    code: str
    best_of: int
    overhead: int
    name: str


def _episodes(w: Writer, run: Run, scores: Floats, skill: float) -> None:
    ids = new_ids(w.session, Rollout, EPISODES)
    heads, passes, rises = zip(*(_walk(w, run, values, skill) for values in scores), strict=True)
    common = {"job_id": run.job, "task_id": run.task, "model_id": None, "intervention_id": None, "transcript": ""}
    common |= {"policy": f"{run.name} {run.code} {run.best_of}", "n_steps": STEPS}
    insert_rows(w.session, Rollout, [{"id": id_, "index": e, "seed": e, **common} for e, id_ in enumerate(ids)])
    episodes, rollout_ids = [], []
    columns: dict[str, list[Any]] = {
        name: [] for name in ("id", "episode_id", "rollout_id", "index", "action", "reward")
    }
    found: dict[str, list[Any]] = {name: [] for name in ("step_id", "forward_passes", "best_score")}
    for e, id_ in enumerate(ids):
        base, values = id_ << INDEX_BITS, scores[e]
        earned = values[heads[e]]
        episodes.append({"id": base, "rollout_id": id_, "index": 0, "return_": float(earned.sum()), "forced": False})
        best, oracle = int(heads[e][earned.argmax()]), int(values.argmax())
        rollout_ids.append(
            {
                "rollout_id": id_, "search_id": run.search, "task_code": run.code, "best_of": run.best_of,
                "best_score": float(earned.max()), "oracle": float(values.max()), "forward_passes": int(passes[e][-1]),
                "best_by_pass": rises[e],
                "best_block": best // HEADS + 1, "best_head": best % HEADS, "oracle_block": oracle // HEADS + 1,
                "oracle_head": oracle % HEADS,
            }
        )  # fmt: skip
        keys = [base + t for t in range(STEPS)]
        columns["id"] += keys
        columns["episode_id"] += [base] * STEPS
        columns["rollout_id"] += [id_] * STEPS
        columns["index"] += range(STEPS)
        columns["action"] += heads[e].tolist()
        columns["reward"] += earned.tolist()
        found["step_id"] += keys
        found["forward_passes"] += passes[e].tolist()
        found["best_score"] += np.maximum.accumulate(earned).tolist()
    insert_rows(w.session, Episode, episodes)
    insert_columns(w.session, Step, {**columns, "state": 0, "next_state": 0, "done": False, "forced": False})
    insert_rows(w.session, SearchEpisode, rollout_ids)
    insert_columns(w.session, SearchStep, found)


def _walk(
    w: Writer, run: Run, scores: Floats, skill: float
) -> tuple[NDArray[np.int64], NDArray[np.int64], list[list[float]]]:
    """Heads tried in one episode, in the order of scores, blurred by want of skill.

    Returns:
        The heads, forward passes after each, and passes and the best score asked for whenever that rose.
    """
    wanted = skill * scores / scores.std() + (1 - abs(skill)) * 2.5 * w.rng.normal(0, 1, ALL)
    order, asked, tried, passes = np.argsort(-wanted).tolist(), set[int](), [], []
    rises: list[list[float]] = []
    for _ in range(STEPS):
        candidates = order[: run.best_of]
        for head in candidates:
            asked.add(head)
            if not rises or scores[head] > rises[-1][1]:
                rises.append([run.overhead + 2 + 2 * len(asked), float(scores[head])])
        best = max(candidates, key=lambda head: scores[head])
        order.remove(best)
        tried.append(best)
        passes.append(run.overhead + 2 + 2 * len(asked))
    return np.array(tried), np.array(passes), rises


def _planted(w: Writer, world: World) -> None:
    job_id = w.job("planted")
    insert_rows(w.session, PlantedCircuit, [{"job_id": job_id, **row} for row in _planted_heads(world)])


def _planted_heads(world: World) -> Iterator[dict[str, Any]]:
    roles = {
        "induction": {(1, 1): "circuit", (2, 2): "circuit"},
        "backup": {(1, 0): "circuit", (2, 1): "hidden", (3, 3): "hidden"},
    }
    for model, layers in (("induction", 2), ("backup", 3)):
        for block in range(1, layers + 1):
            for head in range(HEADS):
                role = roles[model].get((block, head), "other")
                score = {"circuit": 5.0, "hidden": world.twins, "other": 0.0}[role]
                rank = 1.5 if role == "circuit" else 6.0
                yield {
                    "model": model, "block": block, "head": head, "role": role, "score": score,
                    "pair_excess": 4.8 if role == "hidden" else None,
                    "found_rank": rank if world.first or role != "circuit" else 9.0,
                }  # fmt: skip
