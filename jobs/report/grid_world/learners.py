"""Whose TD error is it? The study's learner beside the one that made the moves and one fitted to the predictions."""

from __future__ import annotations

from typing import Any

import pandas as pd

from jobs.report.drawing import Drawing, Table
from jobs.report.reader import NotRecorded, Reader, StudyFacts
from jobs.report.strongest import Feature, best, selected
from jobs.report.verdicts import Interval, mean_interval
from tdlens.figures import BLUE, GREEN, GREY, canvas, intervals, number

NAME = "learners"
TITLE = "Whose TD error the latents follow"
OVERLAY = "none: the paper correlates with one learner's errors"

STUDY = "td_error"
SIGNALS = {
    STUDY: "the study's learner",
    "generator_error": "the learner that made the moves",
    "fitted_error": "a learner fitted to the predictions",
    "generator_last_error": "… that made the moves, last error alone",
    "fitted_last_error": "… fitted, last error alone",
}


def draw(reader: Reader, facts: StudyFacts) -> Drawing:
    """Left: how alike the errors are. Right: how closely the best latent follows each."""
    alike, agents = _alike(reader, facts)
    chosen = selected(reader, facts, tuple(alike))
    features = {name: best(chosen, "sae", name, facts.sae) for name in alike}
    figure, axes = canvas(1, 2, height=0.36 * len(alike) + 1.5, sharey=True)
    left, right = axes[0]
    places = list(range(len(alike)))[::-1]
    for place, (name, interval) in zip(places, alike.items(), strict=True):
        intervals(left, [interval.value], [interval.low], [interval.high], [place], GREY)
        feature = features[name]
        if feature is not None:
            for shift, shown, colour in ((0.12, feature.heldout, BLUE), (-0.12, feature.partial, GREEN)):
                intervals(right, [shown.value], [shown.low], [shown.high], [place + shift], colour)
    for colour, label in ((BLUE, "held out"), (GREEN, "partial, all rollouts")):
        right.plot([], [], color=colour, marker="o", linestyle="", label=label)
    left.set(yticks=places, yticklabels=[SIGNALS[name] for name in alike], xlim=(-1.05, 1.05), xlabel="Pearson r")
    left.set(title="r with the study's TD error")
    left.tick_params(axis="y", labelsize=7.5)
    right.set(title="r of the best latent", xlabel="r", xlim=(-0.1, 1.05))
    right.legend(fontsize=7)
    for ax in (left, right):
        ax.axvline(0, color=GREY, linewidth=0.9)
        ax.grid(axis="y", visible=False)
    return Drawing(
        figure,
        sees=(
            "Left: each learner's error against the study's, r within a rollout with its 95 % interval over rollouts. "
            "Right: the latent that follows each best, chosen on one half of the rollouts: r on the other half, and "
            f"given {', '.join(facts.covariates)} over all rollouts.".replace("_", " ")
        ),
        beside=(
            "The learner that made the moves has the task's learning rate and discount and saw the true rewards; with "
            "the study's own settings it is the study's learner, and its errors are the same numbers. The fitted one "
            "has the learning rate and discount under which the model's own probabilities of the actions are "
            "likeliest; how well that is says the table. Both learn from the whole history after each move, so that "
            "their averaged errors tell the time; the error of the last transition alone does so less."
        ),
        n=f"{int(chosen['n_rollouts'].min())} rollouts",
        table=_table(alike, agents, features),
    )


def _alike(reader: Reader, facts: StudyFacts) -> tuple[dict[str, Interval], dict[str, str]]:
    """Of each error its r with the study's, and the name of its agent, which tells the parameters.

    Raises:
        NotRecorded: no other learner has replayed the rollouts.
    """
    rows = reader.ask(
        """
        SELECT rollout_index, step, signal, agent, value FROM v_learning_signal
        WHERE study = :study AND model = :model AND variant = :variant AND intervention = 'none'
          AND signal IN :signals
        """,
        model=facts.model,
        variant=facts.variant,
        signals=tuple(SIGNALS),
    )
    if rows.empty or not {STUDY, "fitted_error"} <= set(rows["signal"]):
        raise NotRecorded("the TD errors of several learners")
    agents = {str(name): str(agent) for name, agent in rows.groupby("signal")["agent"].first().items()}
    values = rows.pivot_table(index=["rollout_index", "step"], columns="signal", values="value")
    found = {}
    for name in SIGNALS:
        if name in values:
            interval = mean_interval(_per_rollout(values, name))
            if interval is not None:
                found[name] = interval
    return found, agents


def _per_rollout(values: pd.DataFrame, name: str) -> list[float]:
    return [float(here[STUDY].corr(here[name])) for _, here in values.groupby(level=0)]


def _table(alike: dict[str, Interval], agents: dict[str, str], features: dict[str, Feature | None]) -> Table:
    header = ("TD error of", "as recorded", "r with the study's", "best latent", "held out", "partial")
    rows: list[tuple[str, ...]] = []
    for name, interval in alike.items():
        feature = features[name]
        cells: tuple[Any, ...] = ("–", "–", "–")
        if feature is not None:
            place = f"{feature.block}/{feature.latent}"
            partial = f"{feature.partial.text()}; held out {number(feature.partial_heldout)}"
            cells = (place, feature.heldout.text(), partial)
        rows.append((SIGNALS[name], agents[name].replace("_", " "), interval.text(), *cells))
    return Table(header, tuple(rows), words=(0, 1))
