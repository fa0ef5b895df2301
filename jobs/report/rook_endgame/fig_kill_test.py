"""The kill test: all latents that seldom fire are removed together, and others that are active as often."""

from __future__ import annotations

from jobs.report.drawing import Drawing, Table
from jobs.report.reader import NotRecorded, Reader, StudyFacts
from jobs.report.rook_endgame.estimates import draw_estimates
from jobs.report.rook_endgame.latents import main_sae
from jobs.report.rook_endgame.play import CONTROL, KILL, read_effects
from tdlens.figures import BLUE, GREY, VERMILION, canvas

NAME = "kill_test"
TITLE = "The kill test"
OVERLAY = "none: the author's code has the test, its outcome isn't among the released files"

KINDS = (
    (KILL, VERMILION, "all infrequent latents removed"),
    (CONTROL, BLUE, "others removed that are active as often, drawn at random"),
)


def draw(reader: Reader, facts: StudyFacts) -> Drawing:
    """The change in return and in mates under each removal, by autoencoder."""
    effects = read_effects(reader)
    names = [name for name in facts.saes if {f"{name}_{kind}" for kind, _, _ in KINDS} & effects.interventions]
    if not names:
        raise NotRecorded("games without the infrequent latents (stage splice)")
    figure, axes = canvas(1, 2, height=0.42 * len(names) + 1.6, sharey=True)
    places = list(range(len(names)))[::-1]
    for ax, metric, title, unit in (
        (axes[0, 0], "return", "Change of the return", "points a game"),
        (axes[0, 1], "checkmate", "Change of games won by mate", "share of games"),
    ):
        for shift, (kind, colour, label) in zip((0.13, -0.13), KINDS, strict=True):
            found = [
                (place, effects.change(f"{name}_{kind}", metric)) for place, name in zip(places, names, strict=True)
            ]
            kept = [(place + shift, one) for place, one in found if one is not None]
            heights, changes = [place for place, _ in kept], [one for _, one in kept]
            face = colour if kind == KILL else "white"
            draw_estimates(ax, changes, heights, colour, markerfacecolor=face, label=label)
        ax.axvline(0, color=GREY, linewidth=1)
        ax.set(title=title, xlabel=unit)
        ax.grid(axis="y", visible=False)
        ax.margins(x=0.1)
    axes[0, 0].set(yticks=places, yticklabels=names, ylim=(-0.6, len(names) - 0.4))
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=2)
    main = main_sae(facts)
    whole = [(label, effects.change(f"{main}_{kind}", "return")) for kind, _, label in KINDS]
    told = [f"{label}: {change.text(1)} points" for label, change in whole if change is not None]
    return Drawing(
        figure,
        sees=f"In {main}, {'; '.join(told) or 'neither was removed'} [95 %, paired by game].",
        beside=(
            "Latents are removed from the layer's own output, which keeps what the autoencoder leaves unexplained. The "
            "control matches how many of the removed latents are active at a decision, not their number or size, and "
            "is one random draw."
        ),
        n=f"{effects.games:,} games with each removal",
        table=_table(reader),
    )


def _table(reader: Reader) -> Table:
    rows = reader.rows(
        """
        SELECT intervention, description FROM v_intervention
        WHERE study = :study AND operation IN :kinds ORDER BY intervention
        """,
        kinds=[kind for kind, _, _ in KINDS],
    )
    lines = tuple((str(row["intervention"]), str(row["description"])) for row in rows)
    return Table(("intervention", "what it does"), lines, words=(0, 1))
