"""What the record says about single latents of the agent: what each tells of a board, and what its removal does."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pandas as pd

from envs.rook_predicates import describe
from jobs.report.reader import NotRecorded, Reader, StudyFacts
from tdlens.figures import BLUE, GREEN, GREY, ORANGE, PURPLE, SKY, VERMILION

CLEAR = 0.5
"""A latent whose held-out F1, corrected for chance, is at least this stands for its property."""
NO_EFFECT = 0.01
"""A latent changes nothing in play if its removal changes the greedy action on at most this share of its boards."""
NO_COST = 0.1
"""A latent costs nothing if the agent's expected return without it is lower by at most so many points."""
NONE = "no property found"

THEMES: dict[str, tuple[str, ...]] = {
    "where the rook is": ("rook_square", "rook_file", "rook_rank"),
    "where the white king is": ("white_king_square", "white_king_file", "white_king_rank"),
    "where the black king is": ("black_king_square", "black_king_file", "black_king_rank", "edge", "corner"),
    "check, mate, danger": (
        *("check", "check_by_rook", "mate", "mate_by_rook", "stalemate"),
        *("rook_safety", "rook_attacked_from", "race", "safe_moves"),
    ),
    "confinement": ("box", "cut_off", "black_moves", "opposition"),
}
"""Families of predicates that one colour stands for; the others relate one piece to another."""
OTHER_THEME = "one piece to another"
COLOURS = dict(zip((*THEMES, OTHER_THEME), (VERMILION, BLUE, PURPLE, ORANGE, GREEN, SKY), strict=True)) | {NONE: GREY}


def main_sae(facts: StudyFacts) -> str:
    """The autoencoder whose latents are looked at one by one: that of the population, or the first.

    Raises:
        NotRecorded: the study trains none.
    """
    chosen = facts.config.get("population", {}).get("sae")
    return str(chosen) if chosen in facts.saes else facts.sae


def theme(family: str) -> str:
    """What a family of predicates is about."""
    return next((name for name, families in THEMES.items() if family in families), OTHER_THEME)


def said(predicate: str) -> str:
    """A predicate in words without a full stop; its name where the task no longer knows it."""
    try:
        return describe(predicate).rstrip(".")
    except KeyError:
        return predicate.replace("_", " ")


def read_best(reader: Reader) -> pd.DataFrame:
    """Each feature's predicate whose F1 lies farthest above chance on the boards that chose it, of all sources.

    Columns: source, sae, latent, predicate, family, f1, f1_heldout, its interval, null_mean, null_threshold,
    p_familywise, n_true, n_fired, matched_pairs, matched_share and added_share with their intervals, and decoder_f1; to
    these come ``clear`` (the
    held-out F1 corrected for chance: 0 for a feature that fires as often at random, 1 for a perfect one) and its
    interval.

    Raises:
        NotRecorded: no latent was probed.
    """
    rows = reader.ask(
        """
        SELECT source, sae, latent, predicate, family, f1, f1_heldout, ci_low, ci_high, null_mean, null_threshold,
               p_familywise, n_true, n_fired, matched_pairs, matched_share, matched_low, matched_high,
               added_share, added_low, added_high, decoder_f1
        FROM (
            SELECT *, row_number() OVER (
                PARTITION BY source, sae, block, latent ORDER BY (f1 - null_mean) / (1 - null_mean) DESC, predicate
            ) AS place
            FROM v_latent_predicate
            WHERE study = :study AND block = (SELECT min(block) FROM v_latent_predicate WHERE study = :study)
        ) AS ranked
        WHERE place = 1 ORDER BY source, sae, latent
        """
    )
    if rows.empty:
        raise NotRecorded("what latents tell of a board (stage probe)")
    numbers = [name for name in rows.columns if name not in ("source", "sae", "predicate", "family")]
    rows[numbers] = rows[numbers].apply(pd.to_numeric)
    room = 1 - rows["null_mean"]
    for name, column in (("clear", "f1_heldout"), ("clear_low", "ci_low"), ("clear_high", "ci_high")):
        rows[name] = (rows[column] - rows["null_mean"]) / room
    return rows


def told(rows: pd.DataFrame, facts: StudyFacts) -> pd.Series[bool]:
    """Which features tell their predicate beyond the best of the family by chance, on boards that didn't choose it."""
    return (rows["p_familywise"] <= facts.alpha) & (rows["f1_heldout"] > rows["null_threshold"])


def of_source(rows: pd.DataFrame, source: str, sae: str | None = None) -> pd.DataFrame:
    """The rows of one source of features, of one autoencoder."""
    chosen = rows[rows["source"] == source]
    return chosen if sae is None else chosen[chosen["sae"] == sae]


def read_measures(reader: Reader, facts: StudyFacts, sae: str) -> pd.DataFrame:
    """Every measure of an autoencoder's latents: a row a latent, a column a measure.

    Raises:
        NotRecorded: none was measured.
    """
    rows = reader.ask(
        """
        SELECT latent, measure, value FROM v_latent_measure
        WHERE study = :study AND sae = :sae AND model = :model
        AND block = (SELECT min(block) FROM v_latent_measure WHERE study = :study) ORDER BY latent, measure
        """,
        sae=sae,
        model=facts.model,
    )
    if rows.empty:
        raise NotRecorded("measures of single latents (stage probe)")
    table = rows.pivot(index="latent", columns="measure", values="value")
    return table.astype(float)


@dataclass(frozen=True)
class Sheet:
    """An autoencoder's latents: what each tells of a board beside what removing it does."""

    sae: str
    rows: pd.DataFrame
    """Indexed by latent: the columns of :func:`read_best`, the measures, and ``told``."""
    live: int
    """Latents that fire on some board that occurs, told or not."""

    @property
    def told(self) -> pd.DataFrame:
        """Those that tell a predicate, the clearest first."""
        return self.rows[self.rows["told"]].sort_values("clear", ascending=False, kind="stable")

    @property
    def clear(self) -> pd.DataFrame:
        """Those that stand for a predicate."""
        return self.told[self.told["clear"] >= CLEAR]

    @property
    def matched(self) -> pd.DataFrame:
        """Those that were compared on boards of nearly the same Q-values."""
        return self.told[self.told["matched_share"].notna()]


def read_sheet(reader: Reader, facts: StudyFacts, sae: str | None = None) -> Sheet:
    """The main autoencoder's sheet, or another's.

    Raises:
        NotRecorded: its latents weren't probed.
    """
    name = sae or main_sae(facts)
    best = of_source(read_best(reader), "sae", name)
    if best.empty:
        raise NotRecorded(f"what the latents of {name} tell of a board (stage probe)")
    measures = read_measures(reader, facts, name)
    rows = best.assign(told=told(best, facts)).set_index("latent").join(measures)
    live = int(measures["mean_active"].notna().sum())
    return Sheet(name, rows.drop(columns=["source", "sae"]), live)


def records(rows: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows of a sheet one by one, each with its latent's number."""
    return [{str(name): value for name, value in row.items()} for row in rows.reset_index().to_dict("records")]


def short(predicate: str, longest: int = 46) -> str:
    """A predicate in so many characters at most."""
    text = said(predicate)
    return text if len(text) <= longest else text[: longest - 2] + " …"
