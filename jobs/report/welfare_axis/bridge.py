"""The bridge to the first study: concept vectors beside latents that follow learning signals in the same model."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from jobs.report.reader import NotRecorded, Reader
from jobs.report.verdicts import Interval
from jobs.report.welfare_axis.trainings import Training

ALPHA = 0.05


@dataclass(frozen=True)
class Bridged:
    """The latents that follow a signal best, as a set, beside a concept vector."""

    concept: str
    """`gold`, `mold`; `untrained gold`, … for the naive model's own."""
    sae: str
    block: int
    signal: str
    n_latents: int
    cosine: float
    null: Interval
    """Middle and 95 % of matched sets."""
    p: float
    share: float
    share_high: float
    share_p: float
    adjusted: float = float("nan")
    """p of the cosine after Holm, over all tests of the training and source."""
    share_adjusted: float = float("nan")
    """p of the share after Holm, likewise."""

    @property
    def out(self) -> float:
        """How far the cosine lies from the middle of matched sets, in widths of their 95 %, with its sign."""
        width = self.null.high - self.null.low
        return (self.cosine - self.null.value) / width if width else float("nan")

    @property
    def side(self) -> int:
        """1 where it points along the latents, and more so than matched sets do; -1 against them; 0 neither."""
        return int(self.cosine > 0 and self.out > 0) - int(self.cosine < 0 and self.out < 0)


def holm(p: list[float]) -> list[float]:
    """Holm's adjusted p-values, in the order given; NaN where p is."""
    adjusted = np.full(len(p), np.nan)
    known = [place for place in np.argsort(p, kind="stable") if np.isfinite(p[place])]
    highest = 0.0
    for rank, place in enumerate(known):
        highest = max(highest, min(1.0, (len(known) - rank) * p[place]))
        adjusted[place] = highest
    return adjusted.tolist()


def read_bridge(reader: Reader, training: Training) -> list[Bridged]:
    """Of one training, p-values corrected over all of its tests on Gold and Mold, both statistics together.

    Raises:
        NotRecorded: the first study has not been run on this model, or not been compared.
    """
    rows = reader.rows(
        """
        SELECT concept, sae, block, signal, n_latents, cosine, cosine_low, cosine_high, cosine_p, share, share_high,
            share_p
        FROM v_concept_signal WHERE study = :study AND training = :training ORDER BY sae, block, signal, concept
        """,
        training=training.name,
    )
    if not rows:
        raise NotRecorded(
            "latents of the first study in the same model (run studies/welfare_two_step.toml first, then this again)"
        )
    found: list[Bridged] = []
    for untrained in (False, True):
        mine = [row for row in rows if row["concept"].startswith("untrained") == untrained]
        adjusted = holm([float(row[name]) for row in mine for name in ("cosine_p", "share_p")])
        found += [
            Bridged(
                str(row["concept"]), str(row["sae"]), int(row["block"]), str(row["signal"]), int(row["n_latents"]),
                float(row["cosine"]),
                Interval((row["cosine_low"] + row["cosine_high"]) / 2, row["cosine_low"], row["cosine_high"]),
                float(row["cosine_p"]), float(row["share"]), float(row["share_high"]), float(row["share_p"]),
                adjusted[2 * place], adjusted[2 * place + 1],
            )
            for place, row in enumerate(mine)
        ]  # fmt: skip
    return found
