"""Short options for settings of a study."""

from __future__ import annotations

import json
from collections.abc import Iterable
from enum import StrEnum

ENGINE_HELP = (
    "What runs the model: **hf**, in this process on one device; **deepspeed**, on all GPUs of a node, as the settings "
    "model.parallel.* say (tdlens run --keys lists them). Short for --set model.engine=…"
)


class Engine(StrEnum):
    """What runs the model."""

    hf = "hf"
    deepspeed = "deepspeed"


def overrides(
    changes: Iterable[str] | None, *, model: str | None, revision: str | None = None, engine: str | None = None
) -> list[str]:
    """What ``--set``, ``--model``, ``--revision`` and ``--engine`` ask for, as ``key=value``.

    Another model than the study's doesn't have the revision that the study pins.
    """
    if model is not None and revision is None:
        revision = "main"
    short = (("model.name", model), ("model.revision", revision), ("model.engine", engine))
    return [f"{key}={json.dumps(value)}" for key, value in short if value is not None] + list(changes or [])
