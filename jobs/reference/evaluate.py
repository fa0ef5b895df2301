"""Does a model do reinforcement learning in context, or does it only look as if? All gates, on held-out instances."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from jobs.inference.models import load_engine
from jobs.reference.gates import graph_walk, grid_world, two_step
from jobs.reference.gates.measure import Measure

GATES = {"two-step": two_step.measure, "grid world": grid_world.measure, "graph": graph_walk.measure}
"""What measures each task."""


@dataclass(frozen=True)
class Evaluation:
    """What was measured in every task."""

    measures: tuple[Measure, ...]

    @property
    def passed(self) -> bool:
        """All gates hold."""
        return all(measure.passed for measure in self.measures if measure.passed is not None)

    def value(self, name: str) -> float:
        """The value of one measure."""
        return next(measure.value for measure in self.measures if measure.name == name)


def evaluate(
    model: str,
    *,
    seed: int = 0,
    n: int = 200,
    device: str = "auto",
    note: Callable[[str], None] = lambda line: None,
) -> Evaluation:
    """Measure the gates and their baselines, an untrained model of the same architecture among them.

    Args:
        model: ``reference``, a folder or a hub id.
        seed: draws task instances, exploration and choices.
        n: task instances for each Two-Step measure; the other tasks, whose contexts are longer, take a quarter.
        device: where the model runs.
        note: told which task is being measured.

    Raises:
        UserError: the model can't be loaded, or its tokenizer splits an action.
    """
    engine = load_engine(model, device=device)
    untrained = load_engine(model, device=device, untrained_seed=seed)
    found: list[Measure] = []
    for task, measure in GATES.items():
        note(task)
        instances = n if task == "two-step" else max(2, n // 4)
        found += measure(engine, untrained, seed=seed, n=instances)
    return Evaluation(tuple(found))
