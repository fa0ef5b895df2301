"""Published results that studies are compared with: decoded curves and headline numbers."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import as_file, files
from importlib.resources.abc import Traversable

import pandas as pd


@dataclass(frozen=True)
class Headline:
    """One number that a paper reports."""

    study: str
    """The folder of the paper's curves."""
    name: str
    """Short key, unique within the study."""
    value: float
    """As published."""
    unit: str
    """What it counts."""
    source: str
    """Figure or text of arXiv 2410.01280v1; ``inferred`` where the paper does not state it."""
    description: str
    """One line."""


def _two_step(name: str, value: float, unit: str, source: str, description: str) -> Headline:
    return Headline("td_in_llms", name, value, unit, source, description)


HEADLINES: tuple[Headline, ...] = (
    _two_step("return_70b", 4.879, "points", "Fig 2A", "Mean return of Llama 3 70B, episodes 7-29"),
    _two_step("return_8b", 3.760, "points", "Fig 2A", "Mean return of Llama 3 8B, episodes 7-29"),
    _two_step("return_td_lesion", 4.315, "points", "Fig 2E", "Mean return with the TD latent zeroed, episodes 7-29"),
    _two_step("return_chance", 4.0, "points", "Fig 2A; inferred", "Mean return of a uniformly random policy"),
    _two_step("return_optimal", 8.0, "points", "Fig 3; inferred", "Return of the best policy"),
    _two_step("nll_q_learning", 2729.0, "nats", "text, Fig 2B", "NLL of the choices under Q-learning"),
    _two_step("nll_myopic", 2864.0, "nats", "text (Fig 2B draws 2868.3)", "NLL under the myopic learner"),
    _two_step("nll_repetition", 5745.0, "nats", "text", "NLL under the repetition model"),
    _two_step("nll_chance", 3188.5, "nats", "inferred", "NLL of chance for 4,600 scored choices"),
    _two_step("nll_td_lesion", 2938.5, "nats", "Fig 2F", "NLL under Q-learning with the TD latent zeroed"),
    _two_step("nll_no_lesion", 2729.7, "nats", "Fig 2F", "NLL under Q-learning without a lesion"),
    _two_step("nll_control_lesion", 2632.1, "nats", "Fig 2F", "NLL under Q-learning with a control latent zeroed"),
    _two_step("max_r_td_error", 0.58, "r", "text (Fig 2D draws .569)", "Best TD latent's r, block 34"),
    _two_step("max_r_myopic_error", 0.548, "r", "Fig 2D", "Highest r with myopic errors, block 78"),
    _two_step("max_r_q_value", 0.548, "r", "Fig 2C", "Highest r with Q-values, block 50"),
    _two_step("max_r_myopic_value", 0.720, "r", "Fig 2C", "Highest r with myopic values, block 71"),
    _two_step("clamp_r_q_value_no_lesion", 0.523, "r", "Fig 2G", "Mean over blocks from 35 of max r, Q-values"),
    _two_step("clamp_r_q_value", 0.381, "r", "Fig 2G", "The same with the TD latent clamped to -10"),
    _two_step("clamp_r_td_error_no_lesion", 0.458, "r", "Fig 2H", "Mean over blocks from 35 of max r, TD error"),
    _two_step("clamp_r_td_error", 0.292, "r", "Fig 2H", "The same with the TD latent clamped to -10"),
    _two_step("live_latents_max", 16.0, "latents", "Fig 8", "Most latents of non-zero variance in a block"),
    _two_step("live_latents_mean", 8.3, "latents", "Fig 8", "Their mean over blocks"),
)
"""Headline numbers of the Two-Step task (Demircan et al. 2025, arXiv 2410.01280v1)."""


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
