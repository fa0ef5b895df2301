"""Pairs of models into which a welfare axis was written, or was not: the ground truth that the analysis is held to."""

from jobs.welfare.planted.analysis import MAZE, Analysis, Settings, analyse
from jobs.welfare.planted.pairs import KINDS, Kind, Pair, as_json, planted_pair

__all__ = ["KINDS", "MAZE", "Analysis", "Kind", "Pair", "Settings", "analyse", "as_json", "planted_pair"]
