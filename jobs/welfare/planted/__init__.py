"""Pairs of models into which a welfare axis was written, or was not: the ground truth that the analysis is held to."""

from jobs.welfare.planted.analysis import MAZE, Analysis, Settings, analyse
from jobs.welfare.planted.pairs import KINDS, Kind, Pair, planted_pair

__all__ = ["KINDS", "MAZE", "Analysis", "Kind", "Pair", "Settings", "analyse", "planted_pair"]
