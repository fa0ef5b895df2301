"""Models with a circuit written into their weights: the ground truth that searches for heads are held to."""

from jobs.circuits.planted.circuits import Planted, Role, planted_models

__all__ = ["Planted", "Role", "planted_models"]
