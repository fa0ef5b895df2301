"""Published results that studies are compared with: decoded curves and headline numbers."""

from __future__ import annotations

from importlib.resources import as_file, files
from importlib.resources.abc import Traversable

import pandas as pd

from jobs.published.head_numbers import HEADLINES_OF_HEADS
from jobs.published.headline import Headline
from jobs.published.welfare_numbers import HEADLINES_OF_WELFARE


def _headline(name: str, value: float, unit: str, source: str, description: str) -> Headline:
    return Headline("td_in_llms", name, value, unit, source, description)


_TD_IN_LLMS = (
    _headline("return_70b", 4.879, "points", "Fig 2A", "Mean return of Llama 3 70B, episodes 7-29"),
    _headline("return_8b", 3.760, "points", "Fig 2A", "Mean return of Llama 3 8B, episodes 7-29"),
    _headline("return_td_lesion", 4.315, "points", "Fig 2E", "Mean return with the TD latent zeroed, episodes 7-29"),
    _headline("return_chance", 4.0, "points", "Fig 2A; inferred", "Mean return of a uniformly random policy"),
    _headline("return_optimal", 8.0, "points", "Fig 3; inferred", "Return of the best policy"),
    _headline("nll_q_learning", 2729.0, "nats", "text, Fig 2B", "NLL of the choices under Q-learning"),
    _headline("nll_myopic", 2864.0, "nats", "text (Fig 2B draws 2868.3)", "NLL under the myopic learner"),
    _headline("nll_repetition", 5745.0, "nats", "text", "NLL under the repetition model"),
    _headline("nll_chance", 3188.5, "nats", "inferred", "NLL of chance for 4,600 scored choices"),
    _headline("nll_td_lesion", 2938.5, "nats", "Fig 2F", "NLL under Q-learning with the TD latent zeroed"),
    _headline("nll_no_lesion", 2729.7, "nats", "Fig 2F", "NLL under Q-learning without a lesion"),
    _headline("nll_control_lesion", 2632.1, "nats", "Fig 2F", "NLL under Q-learning with a control latent zeroed"),
    _headline("max_r_td_error", 0.58, "r", "text (Fig 2D draws .569)", "Best TD latent's r, block 34"),
    _headline("max_r_myopic_error", 0.548, "r", "Fig 2D", "Highest r with myopic errors, block 78"),
    _headline("max_r_q_value", 0.548, "r", "Fig 2C", "Highest r with Q-values, block 50"),
    _headline("max_r_myopic_value", 0.720, "r", "Fig 2C", "Highest r with myopic values, block 71"),
    _headline("clamp_r_q_value_no_lesion", 0.523, "r", "Fig 2G", "Mean over blocks from 35 of max r, Q-values"),
    _headline("clamp_r_q_value", 0.381, "r", "Fig 2G", "The same with the TD latent clamped to -10"),
    _headline("clamp_r_td_error_no_lesion", 0.458, "r", "Fig 2H", "Mean over blocks from 35 of max r, TD error"),
    _headline("clamp_r_td_error", 0.292, "r", "Fig 2H", "The same with the TD latent clamped to -10"),
    _headline("fig3_r_td_error", 0.60, "r", "Fig 3; inferred", "Latent with TD error, pooled over all 18 runs"),
    _headline("fig3_r_step", -0.61, "r", "Fig 3; inferred", "The same latent with the step index, likewise"),
    _headline("fig3_td_error_r_step", -0.35, "r", "Fig 3; inferred", "TD error with the step index, likewise"),
    _headline("live_latents_max", 16.0, "latents", "Fig 8", "Most latents of non-zero variance in a block"),
    _headline("live_latents_mean", 8.3, "latents", "Fig 8", "Their mean over blocks"),
    # Grid World
    _headline("grid_p_true", 0.960, "probability", "Fig 4A", "p of the agent's action, last 20 of 320 decisions"),
    _headline("grid_p_random", 0.904, "probability", "Fig 4A", "The same with random rewards in the prompt"),
    _headline("grid_p_control_lesion", 0.935, "probability", "Fig 4D", "The same, lowest-correlation latents zeroed"),
    _headline("grid_p_td_lesion", 0.441, "probability", "Fig 4D", "The same with the TD latents of 4 blocks zeroed"),
    _headline("grid_p_removed_gap", 0.024, "probability", "Fig 9", "True minus removed rewards, decisions 150-319"),
    _headline("grid_p_swapped_gap", 0.012, "probability", "Fig 9", "True minus swapped rewards, decisions 150-319"),
    _headline("grid_lesion_least_r", 0.75, "r", "text", "Least r with the TD error of a lesioned latent"),
    _headline("grid_max_r_q_value", 0.714, "r", "Fig 4B (.767 unsmoothed)", "Highest r with Q-values, block 34"),
    _headline("grid_max_r_td_error", 0.727, "r", "Fig 4C (.795 unsmoothed)", "Highest r with TD errors from block 40"),
    _headline("grid_mean_r_q_value", 0.483, "r", "Fig 4B", "Mean over blocks from 43 of the highest r, Q-values"),
    _headline("grid_mean_r_myopic_value", 0.365, "r", "Fig 4B", "The same for myopic values"),
    _headline("grid_mean_r_random_value", 0.234, "r", "Fig 4B", "The same for values of random rewards"),
    _headline("grid_mean_r_td_error", 0.527, "r", "Fig 4C", "The same for TD errors"),
    _headline("grid_mean_r_myopic_error", 0.489, "r", "Fig 4C", "The same for myopic errors"),
    _headline("grid_mean_r_random_error", 0.424, "r", "Fig 4C", "The same for errors of random rewards"),
    _headline("grid_lesion_r_q_value", -0.025, "r", "Fig 4E", "Change of max r under the lesion, blocks from 43"),
    _headline("grid_lesion_r_td_error", -0.194, "r", "Fig 4F", "The same for TD errors"),
    _headline("grid_live_latents_max", 15.0, "latents", "Fig 8", "Most latents of non-zero variance in a block"),
    # Graph
    _headline("graph_accuracy", 0.243, "share", "text, Fig 6A", "Next node foretold, all decisions"),
    _headline("graph_accuracy_lesion", 0.189, "share", "text, Fig 6A", "The same with the block-64 TD latent zeroed"),
    _headline("graph_accuracy_ceiling", 0.25, "share", "Fig 5B", "Four equally likely neighbours"),
    _headline("graph_accuracy_chance", 1 / 15, "share", "Fig 5B", "One of fifteen nodes"),
    _headline("graph_max_r_sr", 0.62, "r", "text, Fig 5D", "Highest r with the successor representation, block 78"),
    _headline("graph_max_r_transition", 0.49, "r", "text, Fig 5D", "Highest r with the transition matrix, block 78"),
    _headline("graph_max_r_sr_error", 0.60, "r", "text, Fig 5E", "Highest r with SR-TD errors, block 65"),
    _headline("graph_max_r_surprise", 0.18, "r", "text, Fig 5E", "Highest r with surprise, block 76"),
    _headline("graph_lesion_r_sr", -0.093, "r", "Fig 6B", "Change of max r under the lesion, blocks from 65, SR"),
    _headline("graph_lesion_r_sr_error", 0.0, "r", "Fig 6C", "The same, SR-TD errors (-.08 in 65, then recovering)"),
    _headline("graph_decoding", 0.661, "accuracy", "Fig 5C", "Bottleneck nodes decoded, block 35"),
    _headline("graph_cka_sr", 0.719, "CKA", "Fig 10", "Highest CKA with the successor representation"),
    _headline("graph_cka_transition", 0.634, "CKA", "Fig 10", "Highest CKA with the transition matrix"),
    _headline("graph_cka_sr_error", 0.703, "CKA", "Fig 10", "Highest CKA with SR-TD errors"),
    _headline("graph_cka_surprise", 0.243, "CKA", "Fig 10", "Highest CKA with surprise"),
    _headline("graph_live_latents_max", 27.0, "latents", "Fig 8", "Most latents of non-zero variance in a block"),
)
"""Headline numbers of Demircan et al. (2025, arXiv 2410.01280v1): first those of the Two-Step task."""

HEADLINES: tuple[Headline, ...] = (*_TD_IN_LLMS, *HEADLINES_OF_HEADS, *HEADLINES_OF_WELFARE)


def headlines(study: str) -> dict[str, Headline]:
    """The headline numbers of one study, by name."""
    return {headline.name: headline for headline in HEADLINES if headline.study == study}


def curve_names(study: str) -> list[str]:
    """The curves at hand for a study, sorted; empty for a study without any."""
    folder = _folder(study)
    if not folder.is_dir():
        return []
    return sorted(f.name.removesuffix(".csv") for f in folder.iterdir() if f.name.endswith(".csv"))


def curve(study: str, name: str) -> pd.DataFrame:
    """The numbers of one published figure; the study's ``SOURCE.md`` says what the columns are.

    Raises:
        ValueError: there is no such curve.
    """
    if name not in curve_names(study):
        known = ", ".join(curve_names(study)) or "none"
        raise ValueError(f"no published curve {name!r} for the study {study!r}; there are: {known}")
    with as_file(_folder(study) / f"{name}.csv") as path:
        return pd.read_csv(path)


def _folder(study: str) -> Traversable:
    return files(__name__) / study
