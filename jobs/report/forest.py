"""Every intervention beside its controls: what each did, as a forest plot."""

from __future__ import annotations

from jobs.report.drawing import Drawing, Table
from jobs.report.lesions import Lesion, read_effects, read_lesions
from jobs.report.reader import NotRecorded, Reader, StudyFacts
from tdlens.figures import GREY, canvas, intervals

Metric = tuple[str, str, str]
"""A metric's name, its title, its unit."""


def draw_forest(reader: Reader, facts: StudyFacts, metrics: tuple[Metric, ...], note: str) -> Drawing:
    """A forest plot: the change in each metric with its interval; the caption speaks of the first.

    Raises:
        NotRecorded: there is no effect.
    """
    lesions, effects = read_lesions(reader, facts), read_effects(reader)
    if not effects:
        raise NotRecorded("effects of interventions")
    figure, axes = canvas(1, len(metrics), height=0.34 * len(lesions) + 1.5, sharey=True)
    heights = range(len(lesions))[::-1]
    for ax, (metric, title, unit) in zip(axes[0], metrics, strict=True):
        for height, lesion in zip(heights, lesions, strict=True):
            effect = effects.get((lesion.name, metric))
            if effect is not None:
                change, face = effect.difference, lesion.colour if lesion.control == "none" else "white"
                bounds = [change.value], [change.low], [change.high]
                intervals(ax, *bounds, [height], lesion.colour, markerfacecolor=face)
        ax.axvline(0, color=GREY, linewidth=1)
        ax.set(title=title, xlabel=unit)
        ax.title.set_fontsize(9.5)
        ax.grid(axis="y", visible=False)
        ax.margins(x=0.12)
        ax.locator_params(axis="x", nbins=4)
    labels = [f"{lesion.name}\n{lesion.label}, {_extent(lesion, lesions)}" for lesion in lesions]
    axes[0, 0].set(yticks=list(heights), yticklabels=labels, ylim=(-0.6, len(lesions) - 0.4))
    axes[0, 0].tick_params(axis="y", labelsize=7.2)
    clear = [
        lesion.name
        for lesion in lesions
        if (effect := effects.get((lesion.name, metrics[0][0]))) is not None
        and (effect.difference.low > 0 or effect.difference.high < 0)
    ]
    return Drawing(
        figure,
        sees=(
            "Each point is the change against the same seeds without an intervention, with its 95 % interval. "
            f"That of the {' '.join(metrics[0][1].split())} excludes 0 under {len(clear)} of {len(lesions)}: "
            f"{', '.join(clear) or 'none'}; about one in twenty would by chance."
        ),
        beside=(
            "Filled points change the chosen latents, hollow ones a control. The chosen latents matter in "
            "particular only where a filled point lies beyond its hollow neighbours. "
            f"{note} A control is as good as its choice (see the table): a distance of 1 in logarithms is a factor of "
            "2.7 in firing rate or size; what hardly fires is easy to beat."
        ),
        n=f"{min(effect.n_rollouts for effect in effects.values())} rollouts each",
        table=_table(lesions),
    )


def _table(lesions: list[Lesion]) -> Table:
    header = ("intervention", "block", "latents", "how they were chosen")
    rows = [(lesion.name, ", ".join(map(str, lesion.blocks)), _latents(lesion), _choice(lesion)) for lesion in lesions]
    return Table(header, tuple(rows), words=(0, 2, 3))


def _latents(lesion: Lesion) -> str:
    """Their indices, each with its block where there are several blocks."""
    several = len(lesion.blocks) > 1
    return ", ".join(f"{block}/{latent}" if several else str(latent) for block, latent in lesion.places) or "none"


def _extent(lesion: Lesion, lesions: list[Lesion]) -> str:
    """How many latents were changed in which way, or why this is no edit of its own."""
    plain = next((other for other in lesions if other.control == "none" and other.without_q(lesions) is lesion), None)
    reason = plain.untested(lesion) if plain is not None else None
    return reason or f"{len(lesion.places)} × {lesion.done}"


def _choice(lesion: Lesion) -> str:
    if lesion.control != "random_direction":
        return lesion.description
    return f"a random direction, moved along as far as this edit of these latents moves: {lesion.description}"
