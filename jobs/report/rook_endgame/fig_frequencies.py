"""How often latents fire in play."""

from __future__ import annotations

import numpy as np
import pandas as pd

from jobs.report.drawing import Drawing
from jobs.report.reader import NotRecorded, Reader, StudyFacts
from jobs.report.rook_endgame import authors
from jobs.report.rook_endgame.play import read_trained
from tdlens.figures import BLUE, GREY, ORANGE, VERMILION, canvas, number

NAME = "frequencies"
TITLE = "How often latents fire"
OVERLAY = "latents of the author's autoencoders that fire on none of all boards"

ACROSS = 5
RAREST = -5.0
"""Power of ten below which all latents are in one bar."""


def read_frequencies(reader: Reader, facts: StudyFacts) -> pd.DataFrame:
    """Of every latent: sae, latent, frequency (in play) and frequency_all (over all boards); 0 where it never fires.

    Raises:
        NotRecorded: none was measured.
    """
    rows = reader.ask(
        """
        SELECT sae, latent, measure, value FROM v_latent_measure
        WHERE study = :study AND model = :model AND measure IN ('frequency', 'frequency_all')
        AND block = (SELECT min(block) FROM v_latent_measure WHERE study = :study)
        ORDER BY sae, latent, measure
        """,
        model=facts.model,
    )
    if rows.empty:
        raise NotRecorded("how often latents fire (stage probe)")
    rows["value"] = pd.to_numeric(rows["value"])
    table = rows.pivot(index=["sae", "latent"], columns="measure", values="value").reset_index()
    return table.reindex(columns=["sae", "latent", "frequency", "frequency_all"])


def dead_shares(reader: Reader, facts: StudyFacts) -> dict[str, float]:
    """Share of each probed autoencoder's latents that fire on none of all boards."""
    fires = read_frequencies(reader, facts).set_index("sae")["frequency_all"] > 0
    alive = fires.groupby("sae").sum().to_dict()
    return {sae.name: 1 - alive[sae.name] / sae.latents for sae in read_trained(reader, facts) if sae.name in alive}


def draw(reader: Reader, facts: StudyFacts) -> Drawing:
    """A histogram for each autoencoder, with what counts as infrequent."""
    fired, dead = read_frequencies(reader, facts), dead_shares(reader, facts)
    saes = [sae for sae in read_trained(reader, facts) if sae.name in dead]
    bound = float(facts.config["games"]["infrequent"])
    middle = float(np.log10(bound))
    seldom, often = np.linspace(RAREST, middle, 16), np.linspace(middle, 0, 10)
    rows = -(-len(saes) // ACROSS)
    figure, axes = canvas(rows, min(ACROSS, len(saes)), height=2.1 * rows + 0.6, sharex=True, sharey=True)
    infrequent = []
    for ax, sae in zip(axes.flat, saes, strict=False):
        here = fired.loc[(fired["sae"] == sae.name) & (fired["frequency"] > 0), "frequency"].to_numpy()
        infrequent.append(int((here < bound).sum()))
        powers = np.log10(here).clip(min=RAREST)
        ax.hist(powers[here < bound], bins=seldom, color=ORANGE)
        ax.hist(powers[here >= bound], bins=often, color=BLUE)
        ax.axvline(middle, color=VERMILION, linewidth=1.1, linestyle="--")
        ax.set_title(sae.name)
        text = f"{100 * dead[sae.name]:.0f} % dead"
        ax.annotate(text, (0.03, 0.97), xycoords="axes fraction", va="top", fontsize=8.5, color=GREY)
        ax.set_xticks([-4, -2, 0], ["$10^{-4}$", "$10^{-2}$", "1"])
        ax.tick_params(labelbottom=True)
    for ax in axes.flat[len(saes) :]:
        ax.set_visible(False)
    for ax in axes[:, 0]:
        ax.set_ylabel("latents")
    axes[0, 0].set_ylim(0, 1.18 * axes[0, 0].get_ylim()[1])
    figure.supxlabel("share of decisions at which a latent fires (log scale)", fontsize=9.5)
    theirs = {row["k"]: row["dead"] / authors.LATENTS for row in authors.over_k()}
    lines = [
        f"{100 * dead[sae.name]:.0f} % at k = {sae.k} (author's {100 * theirs[sae.k]:.0f} %)"
        for sae in saes
        if sae.plain and sae.k in theirs
    ]
    decisions = facts.config["task"]["rollouts"] * facts.config["task"]["settings"].get("moves", float("nan"))
    return Drawing(
        figure,
        sees=(
            "Dead, that is, firing on none of the 13,800 boards on which three pieces can stand: "
            f"{'; '.join(lines) or 'see the panels'}. Of those that fire in play, {min(infrequent)} to "
            f"{max(infrequent)} an autoencoder do so at less than {100 * bound:g} % of the decisions (orange, left of "
            "the dashed line) and count as infrequent."
        ),
        beside=(
            "A latent fires where its value is above 0. Many dead latents mean that the dictionary is wider than the "
            "data need or that training lost them; revived ones (resampled) need not reconstruct better (verdicts)."
        ),
        n=f"{number(decisions, 0)} decisions in play",
    )
