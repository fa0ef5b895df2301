"""One number about a model, and the gate that it must pass, if there is one."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Measure:
    """A row of the evaluation."""

    name: str
    """What was measured, the task first."""
    value: float
    gate: str = ""
    """The bound in words; empty where the value is only reported."""
    passed: bool | None = None
    """Whether the gate holds; None where there is none."""


def at_least(name: str, value: float, bound: float) -> Measure:
    """A value that must reach a bound."""
    return Measure(name, value, f"≥ {bound:.3g}", bool(value >= bound))


def at_most(name: str, value: float, bound: float) -> Measure:
    """A value that may not exceed a bound."""
    return Measure(name, value, f"≤ {bound:.3g}", bool(value <= bound))
