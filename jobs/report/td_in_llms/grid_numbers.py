"""Headline numbers of the Grid World."""

from __future__ import annotations

from collections.abc import Callable

from envs.grid_world import Variant
from jobs.report.grid_world.groups import GROUPS
from jobs.report.lesions import read_lesions, td_lesion
from jobs.report.prediction import BINS, LAST_FROM, NO_LESION, read_predictions
from jobs.report.reader import NotRecorded, Reader, StudyFacts
from jobs.report.td_in_llms.row import Measured, Row
from jobs.report.td_in_llms.two_step_numbers import FINDS_Q, FINDS_TD, highest_r, live_latents
from tdlens.figures import number

FORETELLS = "The model comes to foretell the agent's actions"
REWARDS = "It foretells them better from the true rewards, on the same moves"
COSTS = "Zeroing the TD latents of several blocks spoils the predictions, more than zeroing anything else"
STRONG = "Several blocks have a latent that follows the TD error at r ≥ 0.75"


def _last(variant: Variant) -> Callable[[Reader, StudyFacts], Measured]:
    def measure(reader: Reader, facts: StudyFacts) -> Measured:
        return read_predictions(reader, facts).mean(variant, share=LAST_FROM)

    return measure


def _lesioned(control: str) -> Callable[[Reader, StudyFacts], Measured]:
    def measure(reader: Reader, facts: StudyFacts) -> Measured:
        lesions, found = read_lesions(reader, facts), read_predictions(reader, facts)
        lesion = td_lesion(lesions)
        of = [one for one in (lesion, *lesion.controls(lesions)) if one.control == control]
        if not of or not found.has(Variant.TRUE, of[0].name):
            raise NotRecorded("predictions under the lesion")
        return found.mean(Variant.TRUE, of[0].name, LAST_FROM)

    return measure


def _gap(variant: Variant) -> Callable[[Reader, StudyFacts], Measured]:
    def measure(reader: Reader, facts: StudyFacts) -> Measured:
        # in parts of which one begins at decision 150 of 320, as the published means do
        found = read_predictions(reader, facts, bins=2 * BINS)
        return found.change((Variant.TRUE, NO_LESION), (variant, NO_LESION), 150 / 320)

    return measure


def _blocks(reader: Reader, facts: StudyFacts) -> Measured:
    lesion = td_lesion(read_lesions(reader, facts))
    rows = reader.rows(
        """
        SELECT block, latent, r FROM v_latent_correlation
        WHERE study = :study AND sae = :sae AND signal = 'td_error' AND block IN :blocks ORDER BY block
        """,
        sae=lesion.sae,
        blocks=lesion.blocks,
    )
    known = {(row["block"], row["latent"]): row["r"] for row in rows}
    return ", ".join(f"{block} ({number(known.get((block, latent)))})" for block, latent in lesion.places)


ROWS: tuple[Row, ...] = (
    Row("p of the agent's action at the end", "grid_p_true", _last(Variant.TRUE), "fig4a_prediction", FORETELLS, 3),
    Row("… random rewards", "grid_p_random", _last(Variant.RANDOM), "fig4a_prediction", REWARDS, 3),
    Row("… control latents zeroed", "grid_p_control_lesion", _lesioned("lowest"), "fig4d_lesions", COSTS, 3),
    Row("… TD latents zeroed", "grid_p_td_lesion", _lesioned("none"), "fig4d_lesions", COSTS, 3),
    Row(
        "True rewards less removed ones, decisions 150 to 319",
        "grid_p_removed_gap",
        _gap(Variant.REMOVED),
        "fig9_reward_controls",
        REWARDS,
        3,
    ),
    Row(
        "True rewards less swapped ones, decisions 150 to 319",
        "grid_p_swapped_gap",
        _gap(Variant.SWAPPED),
        "fig9_reward_controls",
        REWARDS,
        3,
    ),
    Row("Lesioned blocks (r)", "43 (0.76), 53 (0.75), 55 (0.80), 59 (0.76)", _blocks, "fig4d_lesions", STRONG),
    *(
        Row(
            f"Highest r with {name}, all blocks (published: from block 40 on, smoothed)",
            f"grid_max_r_{key}",
            highest_r(GROUPS[group]),
            "fig4bc_correlations",
            claim,
        )
        for group, key, name, claim in (
            ("q_values", "q_value", "Q-values", FINDS_Q),
            ("td_error", "td_error", "the TD error", FINDS_TD),
        )
    ),
    Row("Latents of a block that vary", "1 to 15", live_latents, "fig8_latents"),
)
