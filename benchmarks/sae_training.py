"""Training time against a plain PyTorch loop of the same autoencoder, interleaved in one run.

    OMP_NUM_THREADS=1 python benchmarks/sae_training.py

18,000 rows as in the two-step task of Demircan et al. 2025, at d = 128 and 256 latents, for 5 of its 30
epochs a round; medians of 5 rounds. The plain loop indexes a tensor, has nn.Linear layers and
torch.optim.Adam with its defaults, and records nothing.
"""

from __future__ import annotations

import statistics
import time

import torch
from torch import Tensor, nn

from sae.config import SAEConfig
from sae.training import TrainingConfig, train

EPOCHS = 5


def plain(x: Tensor) -> None:
    """The paper's autoencoder in a dozen lines."""
    torch.manual_seed(0)
    h = x * (128**0.5 / x.norm(dim=1).mean())
    encoder, decoder = nn.Linear(128, 256), nn.Linear(256, 128)
    optimiser = torch.optim.Adam([*encoder.parameters(), *decoder.parameters()], lr=1e-4)
    for _ in range(EPOCHS):
        for rows in torch.randperm(len(h)).split(256):
            batch = h[rows]
            z = torch.relu(encoder(batch))
            loss = (decoder(z) - batch).square().mean() + 1e-5 * z.sum(1).square().mean()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()


def main() -> None:
    generator = torch.Generator().manual_seed(0)
    codes = torch.relu(torch.randn(18_000, 20, generator=generator) - 1)
    x = codes @ torch.randn(20, 128, generator=generator) + 3
    training = TrainingConfig(epochs=EPOCHS)
    relu = SAEConfig("relu", 128, 256, l1=1e-5)
    topk = SAEConfig("topk", 128, 256, k=16, centre=True)
    cases = {
        "plain PyTorch, relu": lambda: plain(x),
        "sae.training, relu": lambda: train(relu, training, x, seed=0),
        "sae.training, topk": lambda: train(topk, training, x, seed=0),
    }
    seconds: dict[str, list[float]] = {name: [] for name in cases}
    for _ in range(6):
        for name, run in cases.items():
            start = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - start)
    reference = statistics.median(seconds["plain PyTorch, relu"][1:])
    for name, values in seconds.items():
        median = statistics.median(values[1:])  # the first round warms up
        rate = 18_000 * EPOCHS / median
        print(f"{name:22} {median:6.2f} s  {rate:9,.0f} rows/s  {median / reference:5.2f} x the plain loop")


if __name__ == "__main__":
    main()
