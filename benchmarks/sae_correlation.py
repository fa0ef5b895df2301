"""Streaming correlation against np.corrcoef, and the permutation null against plain products.

    OMP_NUM_THREADS=1 python benchmarks/sae_correlation.py

300 rollouts of 60 decisions in three variants, 256 latents, 16 signals, 5 covariates, as a block of the
two-step task at d = 128; medians of 5 interleaved rounds. The plain null takes a float32 product of the
latents with each permuted signal; it is timed on 50 permutations and scaled to 1000.
"""

from __future__ import annotations

import resource
import statistics
import time
from collections.abc import Callable

import numpy as np

from sae.correlation import StreamingCorrelation
from sae.permutation_null import permutation_null, rollout_permutations
from sae.rollout_statistics import correlate, correlate_rollouts, split_halves


def main() -> None:
    rng = np.random.default_rng(0)
    z = np.maximum(rng.standard_normal((300, 60, 256)), 0).astype(np.float32)
    y, c = rng.standard_normal((300, 60, 16)).cumsum(1), rng.standard_normal((300, 60, 5))
    flat_z, flat_y = z.reshape(-1, 256), y.reshape(-1, 16)
    strata = np.repeat([0, 1, 2], 100)
    permutations = rollout_permutations(strata, 1000, seed=0)
    selection = split_halves(strata, seed=0)
    y32 = y.astype(np.float32)

    def plain_null() -> None:
        for order in permutations[:50]:
            flat_z.T @ y32[order].reshape(-1, 16)

    def in_chunks() -> None:
        correlation = StreamingCorrelation(256, 16)
        for first in range(0, len(flat_z), 600):
            correlation.update(flat_z[first : first + 600], flat_y[first : first + 600])

    cases: dict[str, tuple[Callable[[], object], int]] = {
        "np.corrcoef": (lambda: np.corrcoef(flat_z, flat_y, rowvar=False), 1),
        "correlate": (lambda: correlate(z, y), 1),
        "correlate in chunks of 10 rollouts": (in_chunks, 1),
        "correlate, r and partial_r": (lambda: correlate(z, y, c).partial_r, 1),
        "plain null of 1000 permutations": (plain_null, 20),
        "permutation_null, 1000": (
            lambda: permutation_null(z, y, strata=strata, permutations=permutations),
            1,
        ),
        "correlate_rollouts, everything": (
            lambda: correlate_rollouts(
                z, y, covariates=c, strata=strata, selection=selection, permutations=permutations
            ),
            1,
        ),
    }
    seconds: dict[str, list[float]] = {name: [] for name in cases}
    for _ in range(6):
        for name, (run, factor) in cases.items():
            start = time.perf_counter()
            run()
            seconds[name].append((time.perf_counter() - start) * factor)
    for name, values in seconds.items():
        print(f"{name:34} {statistics.median(values[1:]):7.3f} s")  # the first round warms up
    error = np.abs(correlate(z, y).r - np.corrcoef(flat_z, flat_y, rowvar=False)[:256, 256:]).max()
    print(f"largest difference of r: {error:.1e}")
    print(f"peak memory: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MiB")


if __name__ == "__main__":
    main()
