"""One autoencoder trained over several ranks against one process, with equal results, in one run.

    python benchmarks/sae_ranks.py --ranks 8 --d 8192 --batch 256 2048

As wide as Llama 3 70B's residual stream and with 2 d latents, on 18,000 random rows; on GPUs, one a rank, where there
are any. The first epoch warms up and counts for neither.
"""

from __future__ import annotations

import argparse
import time

import torch

from jobs.inference.ranks.group import GroupSettings
from jobs.training.trainers import Fitted, LocalTrainer, RankedTrainer, Trainer
from sae.config import SAEConfig
from sae.training import TrainingConfig


def timed(trainer: Trainer, config: SAEConfig, training: TrainingConfig, x: torch.Tensor) -> tuple[Fitted, float]:
    """What was trained, and seconds an epoch without the first."""
    steps: list[float] = []
    fitted = trainer.fit(config, training, x, seed=0, on_step=lambda: steps.append(time.perf_counter()))
    first = len(steps) // training.epochs
    return fitted, (steps[-1] - steps[first - 1]) / (training.epochs - 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--d", type=int, default=512)
    parser.add_argument("--rows", type=int, default=18_000)
    parser.add_argument("--batch", type=int, nargs="+", default=[256, 2048])
    wanted = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    x = torch.randn(wanted.rows, wanted.d, generator=torch.Generator().manual_seed(0)) + 1
    config = SAEConfig("relu", wanted.d, 2 * wanted.d, l1=1e-5)
    alone = LocalTrainer(device)
    ranked = RankedTrainer(GroupSettings(wanted.ranks, "cuda" if device.type == "cuda" else "cpu", "torchrun"))
    name = torch.cuda.get_device_name(0) if device.type == "cuda" else "CPU"
    print(f"{name}, d = {wanted.d}, {2 * wanted.d} latents, {wanted.rows:,} rows, float32")
    for batch in wanted.batch:
        training = TrainingConfig(batch_size=batch, epochs=3)
        one, seconds = timed(alone, config, training, x)
        many, shared = timed(ranked, config, training, x)
        weights = many.sae.state_dict()
        apart = max(float((weights[key] - own).abs().max()) for key, own in one.sae.state_dict().items())
        print(
            f"batch {batch:6}: 1 process {seconds:8.3f} s an epoch, {wanted.ranks} ranks {shared:8.3f} s, "
            f"{seconds / shared:5.2f} x as fast; weights differ by {apart:.1e} at most"
        )
    ranked.close()


if __name__ == "__main__":
    main()
