"""Which signals make one curve of the graph's figures, and which latents are lesioned."""

from __future__ import annotations

from jobs.report.lesions import Lesion, td_lesion
from jobs.report.strongest import Groups

TARGET = "sr_error"
"""The paper lesions the latent that follows the TD error of the successor representation best."""

GROUPS: Groups = {"sr": ("sr",), "sr_error": ("sr_error",)}


def sr_lesion(lesions: list[Lesion]) -> Lesion:
    """The lesion of the SR-TD latents.

    Raises:
        NotRecorded: there is none.
    """
    return td_lesion(lesions, target=TARGET)
