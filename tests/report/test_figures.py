"""The house style leaves no trace, and equal figures are equal files."""

from __future__ import annotations

import base64
from pathlib import Path

import matplotlib as mpl
import pytest

from tdlens import figures


def test_the_style_is_given_back() -> None:
    before = dict(mpl.rcParams)
    with figures.house_style():
        assert mpl.rcParams["axes.spines.top"] is False
    assert dict(mpl.rcParams) == before


def test_equal_figures_are_equal_files(tmp_path: Path) -> None:
    def draw(name: str) -> bytes:
        with figures.house_style():
            figure, axes = figures.canvas(height=1)
            figures.published(axes[0, 0], [0, 1], [1, 2], "published")
            return figures.png(figure, tmp_path / name)

    first, second = draw("a.png"), draw("b.png")
    assert first == second == (tmp_path / "a.png").read_bytes()
    uri = figures.data_uri(first)
    assert base64.b64decode(uri.removeprefix("data:image/png;base64,")) == first


@pytest.mark.parametrize(
    ("value", "digits", "text"),
    [
        (-0.125, 2, "−0.12"),
        (4599.6, 0, "4,600"),
        (-0.001, 2, "0.00"),
        (None, 2, "–"),
        (float("nan"), 2, "–"),
        (float("inf"), 2, "–"),
    ],
)
def test_numbers_for_people(value: float | None, digits: int, text: str) -> None:
    assert figures.number(value, digits) == text
