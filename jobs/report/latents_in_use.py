"""How many latents of each autoencoder vary, and how much they explain (Fig 8)."""

from __future__ import annotations

import pandas as pd

from jobs.published import curve
from jobs.report.drawing import Drawing
from jobs.report.reader import NotRecorded, Reader, StudyFacts
from jobs.report.strongest import PAPER_BLOCKS
from tdlens.figures import CYCLE, canvas, number, published


def read_saes(reader: Reader, facts: StudyFacts) -> pd.DataFrame:
    """Every autoencoder of the model that plays, with its metrics.

    Raises:
        NotRecorded: there is none.
    """
    rows = reader.ask(
        """
        SELECT sae, block, architecture, d_in, d_latents, explained_variance, fvu, l0, live, dead, non_constant
        FROM v_sae WHERE study = :study AND model = :model ORDER BY sae, block
        """,
        model=facts.model,
    )
    if rows.empty:
        raise NotRecorded("sparse autoencoders")
    metrics = ["explained_variance", "fvu", "l0", "live", "dead", "non_constant"]
    rows[metrics] = rows[metrics].apply(pd.to_numeric)
    return rows


def draw_latents(reader: Reader, facts: StudyFacts, column: str, width: int, judged: str) -> Drawing:
    """Varying latents by relative depth, and explained variance.

    Args:
        column: the task's curve in the published figure.
        width: latents of a published autoencoder.
        judged: the figure whose threshold counts all candidates.
    """
    saes, theirs = read_saes(reader, facts), curve("td_in_llms", "fig8_L0_by_block")
    figure, axes = canvas(1, 2, height=3.6)
    left, right = axes[0]
    published(left, theirs["index"] / PAPER_BLOCKS, theirs[column], "Llama 3 70B (published)")
    for colour, name in zip(CYCLE, facts.saes, strict=False):
        here = saes[saes["sae"] == name]
        depth = here["block"] / facts.n_blocks
        ours = int(here["d_latents"].iloc[0]) if len(here) else 0
        left.plot(depth, here["non_constant"], color=colour, marker="o", label=f"{name} (of {ours:,})")
        right.plot(depth, here["explained_variance"], color=colour, marker="o", label=name)
    left.set_yscale("log")
    left.set(title="Latents that vary", ylabel="latents (log scale)", xlabel="relative depth", xlim=(-0.02, 1.02))
    right.set(title="Explained variance", ylabel="share of variance", xlabel="relative depth", xlim=(-0.02, 1.02))
    right.set_ylim(min(0.0, float(saes["explained_variance"].min())) - 0.02, 1.02)
    for ax in (left, right):
        ax.legend(loc="best")
    first = saes[saes["sae"] == facts.sae]
    return Drawing(
        figure,
        sees=(
            f"In {facts.sae!r}, {number(first['non_constant'].min(), 0)} to {number(first['non_constant'].max(), 0)} "
            f"latents a block vary at all, and they explain {number(100 * first['explained_variance'].min(), 1)} to "
            f"{number(100 * first['explained_variance'].max(), 1)} % of the variance (in-sample). Published: "
            f"{int(theirs['L0_two'].min())} to {int(theirs['L0_two'].max())} of {width:,}."
        ),
        beside=(
            "The paper reports no reconstruction. Few varying latents mean few candidates for a maximum, many mean a "
            f"higher bar for chance: the family-wise threshold in {judged} counts them all."
        ),
        n=f"{len(saes)} autoencoders in {saes['block'].nunique()} blocks",
    )
