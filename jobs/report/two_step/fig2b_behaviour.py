"""Fig 2B: how well behaviour models explain the model's choices."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from jobs.published import headlines
from jobs.report.drawing import Drawing, Table
from jobs.report.reader import NotRecorded, Reader, StudyFacts
from jobs.report.verdicts import Interval
from tdlens.figures import BLUE, GREY, ORANGE, PUBLISHED, SKY, canvas, inscribe, intervals, mark, number

NAME = "fig2b_behaviour"
TITLE = "Fig 2B · Which learner explains the choices"
OVERLAY = "Fig 2B and text of the paper: 4,600 choices of Llama 3 70B (the number is inferred)"

LABELS = {
    "q_learning": "Q-learning",
    "myopic": "myopic (γ = 0)",
    "best_episode": "best episode so far",
    "repetition": "repetition, fitted",
    "repetition_unfitted": "repetition, as published",
    "chance": "chance",
}
"""Behaviour models as recorded, in the order of the figure."""

PUBLISHED_NLL = {
    "q_learning": "nll_q_learning",
    "myopic": "nll_myopic",
    "repetition_unfitted": "nll_repetition",
}
PUBLISHED_CHOICES = 4600


@dataclass(frozen=True)
class Fit:
    """How well one behaviour model explains the choices; sums over all choices, in nats."""

    n_choices: int
    n_rollouts: int
    n_parameters: int
    beta: float | None
    nll: float
    aic: float
    bic: float
    minus_q: Interval

    @property
    def per_choice(self) -> float:
        """Mean NLL of a choice."""
        return self.nll / self.n_choices


def read_fits(reader: Reader, facts: StudyFacts) -> dict[str, Fit]:
    """The fits to the model's own choices without an intervention, by behaviour model.

    Raises:
        NotRecorded: there is none.
    """
    rows = reader.rows(
        """
        SELECT behaviour_model, n_choices, n_rollouts, n_parameters, beta, nll, aic, bic, nll_minus_q, ci_low, ci_high
        FROM v_behaviour_fit
        WHERE study = :study AND model = :model AND policy = 'model' AND intervention = 'none'
        ORDER BY behaviour_model
        """,
        model=facts.model,
    )
    if not rows:
        raise NotRecorded("behaviour fits")
    plain = ("n_choices", "n_rollouts", "n_parameters", "beta", "nll", "aic", "bic")
    return {
        row["behaviour_model"]: Fit(
            **{name: row[name] for name in plain},
            minus_q=Interval(row["nll_minus_q"], row["ci_low"], row["ci_high"]),
        )
        for row in rows
    }


def draw(reader: Reader, facts: StudyFacts) -> Drawing:
    """NLL per choice of each behaviour model, and its difference to Q-learning."""
    fits = read_fits(reader, facts)
    names = [name for name in LABELS if name in fits and name != "chance"]
    first, theirs = fits[names[0]], headlines("td_in_llms")
    places = np.arange(len(names))[::-1]
    colours = [{"q_learning": BLUE, "myopic": ORANGE}.get(name, SKY) for name in names]

    figure, axes = canvas(1, 2, height=3.9, sharey=True, width_ratios=(1.15, 1))
    left, right = axes[0]
    left.barh(places, [fits[name].per_choice for name in names], height=0.55, color=colours)
    for place, name in zip(places, names, strict=True):
        if name in PUBLISHED_NLL:
            value = theirs[PUBLISHED_NLL[name]].value / PUBLISHED_CHOICES
            mark(left, value, place)
        inscribe(left, number(fits[name].nll, 0), place)
    mark(left, float("nan"), 0, label="Llama 3 70B (published)")
    left.axvline(np.log(2), color=GREY, linestyle=":", linewidth=1, label="chance (ln 2)")
    left.set(
        yticks=places,
        yticklabels=[LABELS[name] for name in names],
        title="Surprise per choice",
        xlabel="negative log likelihood (nats per choice; sums on the bars)",
    )
    left.grid(axis="y", visible=False)
    left.legend(loc="upper center", bbox_to_anchor=(0.5, -0.17), ncols=2)

    hollow = {"marker": "D", "color": PUBLISHED, "markerfacecolor": "white", "linestyle": "none"}
    for place, name, colour in zip(places, names, colours, strict=True):
        if name == "q_learning":
            right.annotate(
                "the reference", (0, place), xytext=(5, 0), textcoords="offset points", va="center", fontsize=8
            )
            continue
        ours = fits[name].minus_q
        value, low, high = (x / fits[name].n_choices for x in (ours.value, ours.low, ours.high))
        intervals(right, [value], [low], [high], [place], colour)
        if name in PUBLISHED_NLL:
            value = (theirs[PUBLISHED_NLL[name]].value - theirs["nll_q_learning"].value) / PUBLISHED_CHOICES
            right.plot(value, place + 0.22, **hollow)
    right.plot([], [], label="published", **hollow)
    right.plot([], [], marker="o", color=SKY, label="ours, 95 % interval")
    right.axvline(0, color=GREY, linewidth=1)
    right.set_xscale("symlog", linthresh=0.05)
    right.set(title="Worse than Q-learning by", xlabel="difference to Q-learning (nats per choice)")
    right.grid(axis="y", visible=False)
    right.margins(x=0.08)
    right.legend(loc="upper center", bbox_to_anchor=(0.5, -0.17), ncols=2)

    ranked = sorted(names, key=lambda name: fits[name].nll)
    ranking = ", ".join(f"{LABELS[name]} ({number(fits[name].nll, 0)})" for name in ranked)
    return Drawing(
        figure,
        sees=(
            f"Shorter bars explain more. From best to worst, in nats: {ranking}; chance would be "
            f"{number(first.n_choices * math.log(2), 0)}. Right: how much each is worse than Q-learning."
        ),
        beside=(
            "The paper compares sums without a test and leaves the repetition model unfitted; here every difference "
            "has a paired bootstrap interval over rollouts, repetition is also fitted, and the reviewers' rival "
            "(copy the best episode so far) is in the race. The right axis is linear up to 0.05 and logarithmic beyond."
        ),
        n=f"{first.n_choices:,} choices of {first.n_rollouts} rollouts (published: 4,600 of 100)",
        table=_table(fits),
    )


def _table(fits: dict[str, Fit]) -> Table:
    rows = []
    for name in (name for name in LABELS if name in fits):
        fit = fits[name]
        published = headlines("td_in_llms")[PUBLISHED_NLL[name]].value if name in PUBLISHED_NLL else None
        rows.append(
            (
                LABELS[name],
                number(fit.nll, 1),
                number(published, 0),
                "–" if name == "q_learning" else fit.minus_q.text(1),
                number(fit.aic, 1),
                number(fit.bic, 1),
                number(fit.beta, 3) if name != "chance" else "–",
                str(fit.n_parameters),
            )
        )
    header = ("model", "NLL", "published", "minus Q-learning [95 %]", "AIC", "BIC", "β", "fitted parameters")
    return Table(header, tuple(rows))
