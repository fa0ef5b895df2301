"""tdlens: the record of how neural networks compute reinforcement learning, and what reads and writes it."""

from importlib.metadata import version

__version__ = version("tdlens")
