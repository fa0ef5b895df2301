"""What a study that leaves a setting out takes from its task."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from envs import TASKS

GRID_ACTIONS = TASKS["grid_world"].actions
DEFAULTS: dict[str, dict[str, Any]] = {
    "grid_world": {
        "signals": {"window": "all"},
        "correlate": {
            "signals": (
                *("td_error", "generator_error", "generator_last_error", "fitted_error", "fitted_last_error"),
                *("myopic_error", "random_error"),
                *(f"{values}_{action}" for values in ("q", "myopic", "random_q") for action in GRID_ACTIONS),
                *("q_chosen", "q_max", "fitted_q_max", "best_return", "step", "log_step"),
            ),
            "covariates": ("step", "log_step", "episode_step", "previous_reward", "last_reward", "max_so_far"),
        },
    },
    "graph_walk": {
        "signals": {"alpha": 0.05, "window": 1},
        "correlate": {
            "signals": (
                *("sr_error_norm", "sr_self", "surprise_taken", "transition_entropy", "mixing_change"),
                *("step", "log_step"),
            ),
            "covariates": ("step", "log_step"),
        },
    },
    "rook_endgame": {
        "model": {"name": "rook_128"},
        "correlate": {
            "signals": (
                *("td_error", "td_error_ahead", "q_max", "q_mean", "q_gap", "advantage"),
                *("optimal_value", "episode_step", "step"),
            ),
            "covariates": ("episode_step", "previous_reward"),
        },
    },
    "head_ablation": {
        "task": {"variants": TASKS["head_ablation"].variants},
        "model": {"name": "circuits"},
        "correlate": {"signals": (), "covariates": ()},
    },
    "maze": {
        "model": {"name": "welfare"},
        "training": ({"name": "primary"},),
        "correlate": {"signals": (), "covariates": ()},
    },
    "ms_pacman": {
        "correlate": {
            "signals": (
                *("td_error", "td_error_ahead", "q_max", "q_mean", "q_gap", "advantage"),
                *("episode_step", "step"),
            ),
            "covariates": ("episode_step", "previous_reward"),
        },
    },
}
"""By task and section: what isn't as in the sections themselves, whose defaults are those of two_step."""


def completed(study: Mapping[str, Any]) -> dict[str, Any]:
    """A study with what fits its task where it says nothing: variant, agents, learning rates, signals.

    Args:
        study: as read from a file; what isn't as it should be is left to whoever checks it.
    """
    section = study.get("task", {})
    name = section.get("name", "two_step") if isinstance(section, Mapping) else None
    if name not in TASKS:
        return dict(study)
    task, own = TASKS[name], DEFAULTS.get(name, {})
    return {
        **study,
        "task": {"variants": (str(task.variants[0]),), **own.get("task", {}), **section},
        "signals": _filled(study, "signals", {"agents": task.agents, **own.get("signals", {})}),
        **{section: _filled(study, section, own[section]) for section in ("model", "correlate") if section in own},
        **({"training": study.get("training", own["training"])} if "training" in own else {}),
    }


def _filled(study: Mapping[str, Any], section: str, defaults: dict[str, Any]) -> Any:
    given = study.get(section, {})
    return {**defaults, **given} if isinstance(given, Mapping) else given
