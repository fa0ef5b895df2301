"""What an autoencoder is: validated, and written out as canonical JSON."""

from __future__ import annotations

import dataclasses
import difflib
import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, get_args, get_type_hints


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """The end of an error message: the nearest known name, if one is near, and all of them."""
    known = sorted(known)
    near = difflib.get_close_matches(name, known, n=1)
    return (f"; did you mean {near[0]!r}?" if near else ";") + f" known: {', '.join(known)}"


def _name(kind: Any) -> str:
    return kind.__name__ if isinstance(kind, type) else str(kind)


LATER = ("transpose_init", "signed", "resamplings")
"""Options that came after autoencoders had been recorded: written down only where they differ from their defaults."""


@dataclass(frozen=True)
class SAEConfig:
    """Configuration of a sparse autoencoder.

    Raises ValueError for a value that makes no sense; options that do not belong to the architecture are
    refused by `sae.architectures.check`.
    """

    architecture: str
    """Name in the registry: "relu" (Demircan et al. 2025, arXiv 2410.01280) or "topk"."""
    d_in: int
    """Width of the residual stream."""
    d_latents: int
    """Number of latents; the paper has 2 * d_in for the two-step task and the grid, d_in for the graph."""
    k: int | None = None
    """topk: latents that may fire per sample."""
    l1: float | None = None
    """relu: weight of the sparsity term; the paper has 1e-5 at d_in = 8192."""
    l1_squared: bool = True
    """relu: square the L1 norm of each sample, as equation 3 of the paper is printed."""
    mse_reduction: str = "mean"
    """Squared error of a sample over its features: "mean" or "sum". The batch is always averaged."""
    scale: bool = True
    """Scale the data to a mean norm of sqrt(d_in) before the encoder."""
    centre: bool = False
    """Subtract the mean of the training data first. The paper does not; topk does well with it."""
    aux_k: int | None = None
    """topk: dead latents that model the residual (AuxK); by default half of d_in."""
    aux_weight: float = 1 / 32
    """topk: weight of the AuxK term; 0 switches it off."""
    dead_after: int = 18_000
    """topk, and with resamplings: rows without firing after which a latent counts as dead; one pass of the paper's
    data set."""
    transpose_init: bool | None = None
    """Encoder rows start as the decoder's rows, or are drawn independently; by default topk's do, relu's don't."""
    signed: bool = False
    """topk: keep the k largest whatever their sign, without the ReLU (DuPlessie 2024)."""
    resamplings: int = 0
    """So many times, evenly spread over training, latents that count as dead start again: see `sae.resampling`."""

    def __post_init__(self) -> None:
        for field, kind in get_type_hints(type(self)).items():
            value = getattr(self, field)
            fits = isinstance(value, kind) or (isinstance(value, int) and isinstance(float(value), kind))
            boolean = kind is bool or bool in get_args(kind)
            self._require(fits and (boolean or not isinstance(value, bool)), field, f"a value of type {_name(kind)}")
        for field in ("d_in", "d_latents", "dead_after"):
            self._require(getattr(self, field) >= 1, field, "at least 1")
        self._require(self.resamplings >= 0, "resamplings", "at least 0")
        self._require(self.k is None or 1 <= self.k <= self.d_latents, "k", "between 1 and d_latents")
        self._require(self.aux_k is None or self.aux_k >= 1, "aux_k", "at least 1")
        for field in ("l1", "aux_weight"):
            value = getattr(self, field)
            self._require(value is None or (math.isfinite(value) and value >= 0), field, "finite and >= 0")
        self._require(self.mse_reduction in ("mean", "sum"), "mse_reduction", "'mean' or 'sum'")

    def _require(self, holds: bool, field: str, rule: str) -> None:
        if not holds:
            raise ValueError(f"autoencoder option {field} must be {rule}, not {getattr(self, field)!r}")

    @classmethod
    def from_dict(cls, options: Mapping[str, Any]) -> SAEConfig:
        """Build from a mapping. Raises ValueError for an unknown or missing option."""
        fields = {field.name: field for field in dataclasses.fields(cls)}
        for name in options:
            if name not in fields:
                raise ValueError(f"unknown autoencoder option {name!r}{did_you_mean(name, fields)}")
        missing = [
            name for name, field in fields.items() if field.default is dataclasses.MISSING and name not in options
        ]
        if missing:
            raise ValueError(f"autoencoder options missing: {', '.join(missing)}")
        return cls(**options)

    def to_dict(self) -> dict[str, Any]:
        """What `from_dict` reads. Options that came later are left out at their defaults: identities stay."""
        defaults = {field.name: field.default for field in dataclasses.fields(self)}
        values = dataclasses.asdict(self)
        return {name: value for name, value in values.items() if name not in LATER or value != defaults[name]}

    def to_json(self) -> str:
        """Canonical JSON of `to_dict`: sorted keys, no spaces."""
        return json.dumps(self.to_dict(), sort_keys=True, separators=(",", ":"))
