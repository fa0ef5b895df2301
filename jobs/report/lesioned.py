"""Which latents a lesion changes, beside those that the correlation claim and Fig 3 speak of."""

from __future__ import annotations

from dataclasses import dataclass

from jobs.report.claims import or_none
from jobs.report.lesions import TARGET, Lesion
from jobs.report.reader import Reader, StudyFacts
from jobs.report.strongest import best, selected
from tdlens.figures import number


@dataclass(frozen=True)
class Place:
    """Where a latent is: an autoencoder's name, a block, an index."""

    sae: str
    block: int
    latent: int

    def __str__(self) -> str:
        return f"block {self.block}, latent {self.latent} of {self.sae!r}"


def about(reader: Reader, facts: StudyFacts, lesion: Lesion) -> str:
    """Sentences for a caption: the lesioned latents with their r, and those that other figures speak of."""
    places = [Place(lesion.sae, *place) for place in lesion.places]
    others: dict[Place, list[str]] = {}
    for figure, place in (
        ("the correlation claim", _claimed(reader, facts, lesion.target)),
        ("Fig 3", _traced(reader, facts, lesion.target)),
    ):
        if place is not None:
            others.setdefault(place, []).append(figure)
    sentences = [changed(reader, lesion)]
    if lesion.asked["block"] == "best":
        sentences.append(
            "The choice leaves out the last block, after which an edit could change nothing but the choice itself, so "
            "it may differ from that of the correlation claim and of Fig 3."
        )
    for place, figures in others.items():
        same = "the same latent" if [place] == places else str(place)
        sentences.append(f"Here {' and '.join(figures)} speak{'s' if len(figures) == 1 else ''} of {same}.")
    return " ".join(sentences)


def changed(reader: Reader, lesion: Lesion) -> str:
    """A sentence for a caption: the lesioned latents with their r."""
    what = "TD error" if lesion.target == TARGET else lesion.target.replace("_", " ")
    r = _r(reader, lesion)
    named = "; ".join(f"{Place(lesion.sae, *place)}, {r.get(place, 'r not kept')}" for place in lesion.places)
    return f"Lesioned, for the {what}: {named or 'no latent'}."


def _r(reader: Reader, lesion: Lesion) -> dict[tuple[int, int], str]:
    """Over all rollouts and on the held-out half, of those latents that are among the kept ones."""
    rows = reader.rows(
        """
        SELECT block, latent, r, r_heldout FROM v_latent_correlation
        WHERE study = :study AND sae = :sae AND block IN :blocks AND signal = :signal ORDER BY block, latent
        """,
        sae=lesion.sae,
        blocks=lesion.blocks,
        signal=lesion.target,
    )
    return {
        (row["block"], row["latent"]): f"r = {number(row['r'])}, held out {number(row['r_heldout'])}"
        for row in rows
        if (row["block"], row["latent"]) in lesion.places
    }


def _claimed(reader: Reader, facts: StudyFacts, signal: str) -> Place | None:
    chosen = or_none(lambda: selected(reader, facts, (signal,)))
    feature = best(chosen, "sae", signal, facts.sae) if chosen is not None else None
    return Place(facts.sae, feature.block, feature.latent) if feature is not None else None


def _traced(reader: Reader, facts: StudyFacts, signal: str) -> Place | None:
    rows = reader.rows(
        """
        SELECT DISTINCT block, latent FROM v_latent_activation
        WHERE study = :study AND sae = :sae AND model = :model AND signal = :signal AND intervention = 'none'
          AND rollout_index = 0 AND step = 0
        """,
        sae=facts.sae,
        model=facts.model,
        signal=signal,
    )
    return Place(facts.sae, rows[0]["block"], rows[0]["latent"]) if rows else None
