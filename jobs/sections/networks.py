"""What is done with a deep Q network beside capture, autoencoders and correlation."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, PositiveInt

from jobs.sections.base import Distinct, Section


class GamesSection(Section):
    """Whole games that an agent plays by itself, and with a layer's output replaced."""

    played: int = Field(3000, ge=2)
    """Games of the agent as it is, of random play and of the best play."""
    spliced: int = Field(1000, ge=2)
    """The first so many of them are played again with each autoencoder spliced in, and with each baseline."""
    infrequent: float = Field(0.0141, gt=0, lt=1)
    """Latents that fire at least once but at a smaller share of the decisions are removed together (the kill test)."""


class ProbeSection(Section):
    """Which properties of a board single latents tell, and what removing a latent does."""

    saes: Distinct[str] | None = None
    """Names of the autoencoders whose latents are probed; all if left out."""
    permutations: int = Field(99, ge=19)
    """Permutations of the boards that make the null distribution of the largest F1."""
    examples: int = Field(10, ge=1)
    """So many of the boards at which a latent is largest go into SQL."""
    matched: int = Field(40, ge=0)
    """So many of the clearest latents of each autoencoder are compared on boards with nearly the same Q-values."""


class PopulationSection(Section):
    """Many agents of one kind: does the number of live latents tell how well an agent plays?"""

    agents: int = Field(0, ge=0)
    """How many are trained, with seeds 0, 1, …"""
    training: dict[str, Any] = Field(default_factory=dict)
    """What their training changes of the shipped agent's: moves, hidden, …"""
    sae: str | None = None
    """The autoencoder section that is trained on each; the first if left out."""
    rollouts: PositiveInt = 50
    """Rollouts whose activations it is trained on, each as long as the study's own."""
    games: Annotated[int, Field(ge=2)] = 1000
    """Whole games that score an agent."""
