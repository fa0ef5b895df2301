"""Which signals make one curve of the Grid World figures."""

from __future__ import annotations

from envs.grid_world import ACTIONS
from jobs.report.strongest import Groups


def _columns(values: str) -> tuple[str, ...]:
    return tuple(f"{values}_{action.strip()}" for action in ACTIONS)


GROUPS: Groups = {
    "q_values": _columns("q"),
    "myopic_values": _columns("myopic"),
    "random_values": _columns("random_q"),
    "td_error": ("td_error",),
    "myopic_error": ("myopic_error",),
    "random_error": ("random_error",),
}
OTHER_LEARNERS: Groups = {name: (name,) for name in ("generator_error", "fitted_error", "fitted_last_error")}
"""TD errors of learners beside the study's."""
RIVALS: Groups = {"step": ("step",), "log_step": ("log_step",), "best_return": ("best_return",)}
"""What a latent may follow instead: the clock, and the best episode so far."""
