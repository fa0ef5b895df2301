"""The study files that come with tdlens: in a source checkout, and in an installed package."""

from __future__ import annotations

from pathlib import Path

import jobs
from tdlens.provenance import source_root


def study_file(name: str) -> Path:
    """The path of one of them: those of the papers that ``tdlens reproduce`` knows."""
    root = source_root()
    folder = root / "studies" if root is not None else Path(jobs.__file__).parent / "studies"
    return folder / f"{name}.toml"
