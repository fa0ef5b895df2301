"""Fig 10: centred kernel alignment of each block with the successor representation, its TD error and their rivals."""

from __future__ import annotations

from jobs.published import curve
from jobs.report.block_measures import STREAM, UNTRAINED, draw_null, highest_of, line, of, read_measures
from jobs.report.drawing import Drawing
from jobs.report.reader import Reader, StudyFacts
from jobs.report.strongest import PAPER_BLOCKS
from tdlens.figures import BLUE, GREEN, ORANGE, PURPLE, canvas, published

NAME = "fig10_cka"
TITLE = "Fig 10 · The same without autoencoders: CKA"
OVERLAY = "Fig 10 of the paper, by depth relative to 80 blocks"

SIGNALS = ("sr", "transition", "mixing", "sr_error", "surprise")
PANELS = (
    (
        "Successor representation",
        (("sr", "successor representation", "CKA_SR", None), ("transition", "transition matrix", "CKA_T", ":")),
    ),
    (
        "Its TD error",
        (("sr_error", "SR-TD error", "CKA_TD", None), ("surprise", "surprise", "CKA_surprise", ":")),
    ),
)


def draw(reader: Reader, facts: StudyFacts) -> Drawing:
    """Signals and rivals by depth."""
    rows = read_measures(reader, facts, ("cka",), SIGNALS)
    theirs = curve("td_in_llms", "fig10_CKA_by_layer")
    figure, axes = canvas(1, 2, height=4.0, sharey=True)
    for ax, (title, signals) in zip(axes[0], PANELS, strict=True):
        main = signals[0]
        draw_null(ax, of(rows, "cka", main[0], STREAM), facts)
        for _, label, column, linestyle in signals:
            style = {} if linestyle is None else {"linestyle": linestyle}
            published(ax, theirs["layer"] / PAPER_BLOCKS, theirs[column], f"{label} (published)", **style)
        untrained = of(rows, "cka", main[0], UNTRAINED)
        line(ax, untrained, facts, f"{main[1]}, untrained model", PURPLE, linewidth=1.1, marker=".")
        if main[0] == "sr":
            line(ax, of(rows, "cka", "mixing", STREAM), facts, "neighbour mixing", GREEN, linewidth=1.1, marker=".")
        for (signal, label, *_), colour in zip(reversed(signals), (ORANGE, BLUE), strict=True):
            line(ax, of(rows, "cka", signal, STREAM), facts, label, colour)
        ax.set(title=title, xlabel="relative depth (block / number of blocks)", xlim=(-0.02, 1.02), ylim=(0, 1))
        ax.legend(fontsize=7, loc="upper left", ncols=2)
    axes[0, 0].set_ylabel("centred kernel alignment")
    words = []
    for signal, label in (("sr", "SR"), ("transition", "transition"), ("sr_error", "SR-TD"), ("surprise", "surprise")):
        best = highest_of(rows, "cka", signal, STREAM)
        words.append(f"{label} {best.text() if best else '–'}")
    return Drawing(
        figure,
        sees=f"Highest over blocks: {', '.join(words)} [95 % over walks]. Published: 0.72, 0.63, 0.70, 0.24.",
        beside=(
            "CKA needs no autoencoder and no choice of latents, but any two slow signals align; the grey area lies "
            "below the family-wise threshold from permuted walks, and the untrained model is what the bare network "
            "makes of the words. Rows of the successor representation belong to the node just read, so a block that "
            "knows the node and nothing else aligns with them too."
        ),
        n=f"{int(rows['n_rollouts'].max())} walks",
    )
