"""The example runs of Fig 3: what Llama 3 70B chose and was paid, and what its block-34 latent did meanwhile."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from envs.game import TERMINAL, Step
from envs.two_step import START
from jobs.published import curve

RANDOM_EPISODES = 7
"""Leading episodes of the paper's runs, played by a uniformly random policy."""


@dataclass(frozen=True, eq=False)
class ExampleRun:
    """One of the paper's runs, decoded from its figure (Demircan et al. 2025, arXiv 2410.01280, Fig 3)."""

    variant: str
    run: int
    """1, 2, …: its place among the figure's runs of the variant."""
    steps: list[Step]
    """T decisions and their outcomes. Which choice is called left, and which fruit it leads to, is arbitrary."""
    td_error: NDArray[np.float64]
    """The published TD error at each decision [T], from 0 at the run's minimum to 1 at its maximum."""
    latent: NDArray[np.float64]
    """Activation of the block-34 latent that follows it best [T], likewise."""


def example_runs() -> list[ExampleRun]:
    """The decoded runs (6 of the figure's 18), by variant and number."""
    found = []
    for (variant, run), rows in curve("td_in_llms", "fig3_runs").groupby(["variant", "run"], sort=True):
        columns = rows[["episode", "first_action", "branch", "second_action", "reward"]].to_numpy(np.int64)
        steps = [step for row in columns.tolist() for step in two_steps(*row)]
        td_error, latent = (
            rows[[f"{name}_at_first_pick", f"{name}_at_second_pick"]].to_numpy(np.float64).ravel()
            for name in ("td", "latent")
        )
        found.append(ExampleRun(str(variant), int(str(run)), steps, td_error, latent))
    return found


def two_steps(episode: int, first: int, branch: int, second: int, points: int) -> tuple[Step, Step]:
    """The two decisions of one episode in which the first choice led to ``branch`` and the second paid ``points``."""
    fruit, forced = 1 + branch, episode < RANDOM_EPISODES
    return (
        Step(episode, START, first, 0.0, fruit, False, forced),
        Step(episode, fruit, second, float(points), TERMINAL, True, forced),
    )
