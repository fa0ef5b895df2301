"""Histories of learning agents in all three tasks, as token ids: the reference model's training data."""

from jobs.reference.histories.batch import Histories
from jobs.reference.histories.graph_walk import GraphWalkHistories
from jobs.reference.histories.grid_world import GridWorldHistories
from jobs.reference.histories.two_step import TwoStepHistories

__all__ = ["GraphWalkHistories", "GridWorldHistories", "Histories", "TwoStepHistories"]
