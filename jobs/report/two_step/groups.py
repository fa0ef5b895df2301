"""Which signals make one curve of the Two-Step figures."""

from __future__ import annotations

from jobs.report.strongest import Groups

GROUPS: Groups = {
    "q_values": ("q_left", "q_right"),
    "myopic_values": ("myopic_left", "myopic_right"),
    "td_error": ("td_error",),
    "myopic_error": ("myopic_error",),
}
