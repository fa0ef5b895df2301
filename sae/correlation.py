"""Pearson and partial correlation of many latents with a few signals, in one pass."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

Array = Tensor | NDArray[np.generic] | ArrayLike

# A variable of which the covariates leave less than this share of variance has no partial correlation: what
# is left is rounding of the centred moments, not data.
RESIDUAL_SHARE = 1e-9
# A variable with a spread below this share of its mean does not vary: float64 leaves a constant about 1e-15.
ROUNDING = 1e-13


class StreamingCorrelation:
    """Correlates x [N, n_x] with y [N, n_y], and again given covariates [N, n_covariates].

    Chunks are centred on their own means and merged in float64 by the pairwise rule of Chan, Golub and
    LeVeque (1983), so neither large means nor the way the rows are cut matter, and two accumulators of
    different rows can be merged. Memory is n_x * (n_y + n_covariates + 4) numbers; the products of a chunk
    are taken on the device of x.
    """

    def __init__(self, n_x: int, n_y: int, n_covariates: int = 0) -> None:
        n_w = n_y + n_covariates  # signals and covariates side by side
        self.n_y = n_y
        self.n = 0
        self._x_mean, self._w_mean = _zeros(n_x), _zeros(n_w)
        self._xx, self._xw, self._ww = _zeros(n_x), _zeros(n_x, n_w), _zeros(n_w, n_w)

    def update(self, x: Array, y: Array, covariates: Array | None = None) -> None:
        """Add rows. Raises ValueError where shapes do not fit or a number is not finite."""
        x = torch.as_tensor(x)
        parts = [torch.as_tensor(part).to(x.device, torch.float64) for part in (y, covariates) if part is not None]
        w = torch.cat(parts, 1)
        expected = (len(self._x_mean), self.n_y, len(self._w_mean))
        if (x.shape[1], parts[0].shape[1], w.shape[1]) != expected or len(x) != len(w):
            raise ValueError(
                f"expected x [N, {expected[0]}], y [N, {expected[1]}] and covariates "
                f"[N, {expected[2] - expected[1]}], not {[list(part.shape) for part in (x, *parts)]}"
            )
        if len(x) == 0:
            return
        chunk = StreamingCorrelation(expected[0], expected[1], expected[2] - expected[1])
        x_mean, w_mean = x.mean(0, dtype=torch.float64), w.mean(0)
        for kind, mean in (("latent", x_mean), ("signal or covariate", w_mean)):
            if not bool(torch.isfinite(mean).all()):
                raise ValueError(f"a {kind} holds a number that is not finite")
        x_centred, w_centred = x - x_mean, w - w_mean
        chunk.n = len(x)
        chunk._x_mean, chunk._w_mean = x_mean.cpu(), w_mean.cpu()
        chunk._xx = torch.linalg.vector_norm(x_centred, dim=0).square().cpu()
        chunk._xw = (x_centred.T @ w_centred).cpu()
        chunk._ww = (w_centred.T @ w_centred).cpu()
        self.merge(chunk)

    def merge(self, other: StreamingCorrelation) -> None:
        """Add the rows that `other` has seen. Raises ValueError where it has other variables."""
        if (other._xw.shape, other.n_y) != (self._xw.shape, self.n_y):
            raise ValueError("only correlations of the same variables can be merged")
        total = self.n + other.n
        if total == 0:
            return
        share = self.n * other.n / total
        dx, dw = other._x_mean - self._x_mean, other._w_mean - self._w_mean
        self._xx += other._xx + dx.square() * share
        self._xw += other._xw + torch.outer(dx, dw) * share
        self._ww += other._ww + torch.outer(dw, dw) * share
        self._x_mean += dx * (other.n / total)
        self._w_mean += dw * (other.n / total)
        self.n = total

    @property
    def r(self) -> NDArray[np.float64]:
        """Signed Pearson r [n_x, n_y]; NaN where either does not vary."""
        yy = self._ww.diagonal()[: self.n_y]
        return _correlation(self._xw[:, : self.n_y], self._xx, yy, self._x_varies, self._w_varies[: self.n_y])

    @property
    def _x_varies(self) -> Tensor:
        return self._xx > self.n * (ROUNDING * self._x_mean).square()

    @property
    def _w_varies(self) -> Tensor:
        return self._ww.diagonal() > self.n * (ROUNDING * self._w_mean).square()

    @property
    def partial_r(self) -> NDArray[np.float64]:
        """Signed r of what the covariates leave of x and of y [n_x, n_y], by the Schur complement.

        NaN where either does not vary or is a linear function of the covariates. Covariates may be constant
        or linearly dependent.
        """
        c = slice(self.n_y, None)
        y = slice(0, self.n_y)
        spread = torch.where(self._w_varies[c], self._ww.diagonal()[c].sqrt(), torch.inf)
        covariate_r = self._ww[c, c] / torch.outer(spread, spread)
        inverse = torch.linalg.pinv(covariate_r, hermitian=True, rtol=1e-10)
        xc, yc = self._xw[:, c] / spread, self._ww[y, c] / spread
        xx = self._xx - ((xc @ inverse) * xc).sum(1)
        yy = self._ww.diagonal()[y] - ((yc @ inverse) * yc).sum(1)
        xy = self._xw[:, y] - xc @ inverse @ yc.T
        x_left = self._x_varies & (xx > RESIDUAL_SHARE * self._xx)
        y_left = self._w_varies[y] & (yy > RESIDUAL_SHARE * self._ww.diagonal()[y])
        return _correlation(xy, xx, yy, x_left, y_left)


def _zeros(*shape: int) -> Tensor:
    return torch.zeros(*shape, dtype=torch.float64)


def _correlation(xy: Tensor, xx: Tensor, yy: Tensor, x_ok: Tensor, y_ok: Tensor) -> NDArray[np.float64]:
    scale = torch.outer(xx.clamp_min(0).sqrt(), yy.clamp_min(0).sqrt())
    r = (xy / scale).clamp(-1, 1)
    r[~torch.outer(x_ok, y_ok)] = torch.nan
    return r.numpy()
