"""What searches found on the evaluation episodes, step by step, as arrays over seeds and episodes."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from jobs.report.reader import NotRecorded, Reader, StudyFacts
from tdlens.figures import BLUE, GREEN, GREY, INK, ORANGE, PURPLE, SKY, VERMILION

Floats = NDArray[np.float64]

POLICY, RANDOM, LAYERS, BANDIT = "ppo", "random", "layer_prior", "ucb"
LIST, ATTRIBUTION, MEAN = "training_mean", "attribution", "mean_ablation"
BASELINES = {
    RANDOM: ("random heads", GREY),
    LAYERS: ("random, by layer", SKY),
    BANDIT: ("bandit over layers", PURPLE),
    LIST: ("fixed list", ORANGE),
    ATTRIBUTION: ("attribution patching", GREEN),
    MEAN: ("order of mean ablation", INK),
}
"""Ways to search that learn nothing from reward across episodes but for the list's order: label and colour."""
NO_CODE = "none"


@dataclass(frozen=True)
class Way:
    """A way to search, as it was evaluated."""

    method: str
    trained: int
    """Heads tried at each step of training, of which the best was executed; 0 without a training."""
    code: str
    """The task that it was told."""
    best_of: int
    """Heads tried at each step of the evaluation."""

    @property
    def label(self) -> str:
        """For legends."""
        return BASELINES[self.method][0] if self.method in BASELINES else f"policy, K = {self.trained}"

    @property
    def colour(self) -> str:
        """Of all its curves."""
        if self.method in BASELINES:
            return BASELINES[self.method][1]
        return BLUE if self.trained == 1 else VERMILION


@dataclass(frozen=True)
class Found:
    """What one way found in the episodes that all of its seeds have."""

    best: Floats
    """Highest score so far after each step, nats, [S, E, T]."""
    passes: Floats
    """Forward passes so far, [S, E, T]."""
    rises: Floats
    """Forward passes, and the best score so far of any head asked for, whenever that score rose, [S, E, R, 2].

    Unlike the steps they tell apart heads that are asked for in one step. Where the score rose less often than
    elsewhere the last ones are never reached: their passes are infinite."""
    oracle: Floats
    """Highest score of all heads in the same episode, [E]."""
    seeds: tuple[int, ...]
    episodes: tuple[int, ...]
    learned: bool
    """Whether a seed is one training, which has a level of its own, or but other draws of the same search."""

    def at_end(self) -> Floats:
        """Score of the best head of each episode, [S, E]."""
        last: Floats = self.best[:, :, -1]
        return last

    @property
    def steps(self) -> int:
        """Of an episode."""
        return int(self.best.shape[2])

    @property
    def _gained(self) -> Floats:
        return np.maximum(self.best, 0)

    def on(self, episodes: tuple[int, ...]) -> Found:
        """The same of some of its episodes."""
        kept = [self.episodes.index(one) for one in episodes]
        return replace(
            self,
            best=self.best[:, kept],
            passes=self.passes[:, kept],
            rises=self.rises[:, kept],
            oracle=self.oracle[kept],
            episodes=episodes,
        )

    def curve(self) -> Floats:
        """Share of the oracle after each step: mean over episodes, scores below 0 as 0, [S, T]."""
        curve: Floats = self._gained.mean(1) / self.oracle.mean()
        return curve

    def within(self, budgets: Floats) -> Floats:
        """Highest score asked for within so many forward passes; 0 before a head above 0 was found, [S, E, B]."""
        done = (self.rises[..., None, :, 0] <= budgets[:, None]).sum(-1)
        padded = np.concatenate([np.zeros((*self.best.shape[:2], 1)), np.maximum(self.rises[..., 1], 0)], axis=2)
        return np.take_along_axis(padded, done, axis=2)

    def per_step(self) -> Floats:
        """Mean over the steps of an episode of the highest score so far: the sooner it is found the higher, [S, E].

        Scores below 0 count as 0: a head that does harm is no find.
        """
        mean: Floats = self._gained.mean(2)
        return mean

    def per_pass(self, budget: int) -> Floats:
        """The same over the forward passes up to a budget, [S, E]."""
        mean: Floats = self.within(np.arange(1.0, budget + 1)).mean(2)
        return mean

    def at_once(self) -> float:
        """Forward passes after which the first head has been tried, what is computed beforehand included."""
        return float(self.rises[:, :, 0, 0].min())

    def reach(self, share: float) -> Floats:
        """Step at which so much of its own final score was reached, from 1 on; all of one below 0, [S, E]."""
        last = self.at_end()[:, :, None]
        reached = self.best >= np.minimum(share * last, last)
        step: Floats = reached.argmax(2) + 1.0
        return step


Searches = Mapping[str, Mapping[Way, Found]]
"""What was found, by task."""


def count_heads(reader: Reader, facts: StudyFacts) -> int:
    """Heads of the model.

    Raises:
        NotRecorded: none was ablated.
    """
    rows = reader.rows(
        "SELECT COUNT(DISTINCT name) AS heads FROM v_head_score WHERE study = :study AND model = :model",
        model=facts.model,
    )
    if not rows[0]["heads"]:
        raise NotRecorded("scores of all heads (stage ablate)")
    return int(rows[0]["heads"])


def trained_tasks(facts: StudyFacts) -> list[str]:
    """The variants that policies were trained on."""
    return [str(name) for name in facts.config["search"]["tasks"]]


def held_out_tasks(facts: StudyFacts) -> list[str]:
    """The others."""
    trained = trained_tasks(facts)
    return [str(name) for name in facts.config["task"]["variants"] if name not in trained]


def kinds(facts: StudyFacts) -> tuple[int, int]:
    """The fewest and the most heads that were tried at each step of a training."""
    several = [int(k) for k in facts.config["search"]["best_of"]]
    return min(several), max(several)


def own_code(facts: StudyFacts, task: str) -> str:
    """What a policy is told in the usual evaluation of a task: nothing, unless it was trained on it."""
    return task if task in trained_tasks(facts) else NO_CODE


def read_found(reader: Reader, facts: StudyFacts, task: str) -> dict[Way, Found]:
    """What each way to search found in a task's evaluation episodes.

    Raises:
        NotRecorded: there was no search.
    """
    rows = reader.ask(
        """
        SELECT method, trained_best_of, seed, task_code, best_of, episode, step, best_score, oracle, forward_passes
        FROM v_search_step WHERE study = :study AND model = :model AND task = :task
        ORDER BY method, trained_best_of, task_code, best_of, seed, episode, step
        """,
        model=facts.model,
        task=task,
    )
    if rows.empty:
        raise NotRecorded(f"searches in episodes of {said(task)} (stage search)")
    episodes = reader.ask(
        """
        SELECT method, trained_best_of, seed, task_code, best_of, episode, CAST(best_by_pass AS TEXT) AS rises
        FROM v_search_episode WHERE study = :study AND model = :model AND task = :task
        ORDER BY method, trained_best_of, task_code, best_of, seed, episode
        """,
        model=facts.model,
        task=task,
    )
    rises = dict(by_way(episodes))
    return {way: _found(way, one, rises[way]) for way, one in by_way(rows)}


def by_way(rows: pd.DataFrame) -> Iterator[tuple[Way, pd.DataFrame]]:
    """The rows of each way to search; they have its columns."""
    columns = ["method", "trained_best_of", "task_code", "best_of"]
    key: Any
    for key, one in rows.fillna({"trained_best_of": 0}).groupby(columns, sort=True):
        method, trained, code, best_of = key
        yield Way(method, int(trained), code, int(best_of)), one


def _found(way: Way, rows: pd.DataFrame, rises: pd.DataFrame) -> Found:
    """A block of seeds by episodes by steps, from rows in this order; what some seeds lack is left out."""
    n_seeds = rows["seed"].nunique()
    rows, rises = (one[one.groupby("episode")["seed"].transform("nunique") == n_seeds] for one in (rows, rises))
    episodes = rows["episode"].drop_duplicates()
    shape = (n_seeds, len(episodes), rows["step"].nunique())
    best, passes, oracle = (
        rows[name].to_numpy(float).reshape(shape) for name in ("best_score", "forward_passes", "oracle")
    )
    seeds = rows["seed"].drop_duplicates()
    asked = _padded([json.loads(one) for one in rises["rises"]]).reshape(*shape[:2], -1, 2)
    return Found(
        best, passes, asked, oracle[0, :, 0], tuple(seeds.tolist()), tuple(episodes.tolist()), way.method == POLICY
    )


def _padded(several: list[list[list[float]]]) -> Floats:
    """Pairs of passes and score as one array; to the shorter lists pairs are added that no budget reaches."""
    longest = max(len(one) for one in several)
    return np.array([[*one, *[[np.inf, 0.0]] * (longest - len(one))] for one in several])


def policy(found: Mapping[Way, Found], trained: int, code: str, best_of: int = 1) -> Found | None:
    """What the policies found that were trained with so many heads a step; None unless they were so evaluated."""
    return found.get(Way(POLICY, trained, code, best_of))


def baseline_way(found: Mapping[Way, Found], method: str, code: str) -> Way | None:
    """A baseline that tries one head a step, told a task as policies are; if it can't be told, as it is."""
    several = [way for way in found if way.method == method and way.best_of == 1]
    return next((way for way in several if way.code == code), several[0] if several else None)


def baseline(found: Mapping[Way, Found], method: str, code: str) -> Found | None:
    """What it found."""
    way = baseline_way(found, method, code)
    return None if way is None else found[way]


def usual(found: Mapping[Way, Found], facts: StudyFacts, task: str) -> dict[Way, Found]:
    """The ways that are compared on a task, one head a step: policies that are told what is usual, and baselines."""
    code = own_code(facts, task)
    ways = [way for way in found if (way.method, way.code, way.best_of) == (POLICY, code, 1)]
    several = [baseline_way(found, method, code) for method in BASELINES]
    ways = sorted(ways, key=lambda way: way.trained) + [way for way in several if way is not None]
    return {way: found[way] for way in ways}


def budget_of(found: Mapping[Way, Found]) -> int | None:
    """Forward passes of an episode in which one head is tried at each step and nothing is computed before."""
    one = baseline(found, RANDOM, NO_CODE) or next((f for way, f in found.items() if way.best_of == 1), None)
    return None if one is None else int(one.passes[:, :, -1].max())


def said(task: str) -> str:
    """A task's name for people."""
    return {"ioi": "IOI", "greater_than": "greater-than"}.get(task, task.replace("_", " "))


def titled(task: str) -> str:
    """The same at the beginning of a sentence."""
    return said(task)[0].upper() + said(task)[1:]
