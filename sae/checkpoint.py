"""An autoencoder as one safetensors file, its configuration in the header."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import safetensors.torch
import torch

from sae.architectures import build
from sae.autoencoder import Autoencoder
from sae.config import SAEConfig

FORMAT = 1
# One metadata entry, because safetensors writes several in an order that changes from process to process, and
# equal autoencoders must give equal bytes.
HEADER = "sae"


def to_bytes(sae: Autoencoder) -> bytes:
    """The file as bytes; equal autoencoders give equal bytes."""
    header = {"config": sae.config.to_dict(), "format": FORMAT}
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in sae.state_dict().items()}
    text = json.dumps(header, sort_keys=True, separators=(",", ":"))
    return safetensors.torch.save(tensors, {HEADER: text})  # type: ignore[no-any-return]


def from_bytes(data: bytes) -> Autoencoder:
    """The autoencoder, on the CPU, without gradients.

    Raises ValueError where the bytes are no such file, a newer version wrote them, the architecture is
    unknown or the tensors do not fit the configuration.
    """
    with _damage_named():
        tensors = safetensors.torch.load(data)
        length = int.from_bytes(data[:8], "little")
        header = json.loads(json.loads(data[8 : 8 + length])["__metadata__"][HEADER])
    return _restored(header, tensors)


def mapped(path: Path) -> Autoencoder:
    """As `from_bytes`, its weights mapped from the file: not to be changed, and read from the disk as they are used.

    They take no memory that the system can't have back, so that many can be kept.
    """
    with _damage_named(), safetensors.safe_open(path, "pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        header = json.loads((file.metadata() or {})[HEADER])
    return _restored(header, tensors, assign=True)


@contextmanager
def _damage_named() -> Iterator[None]:
    try:
        yield
    except (safetensors.SafetensorError, KeyError, ValueError) as error:
        raise ValueError(f"not an autoencoder file, or a damaged one: {error!r}") from error


def _restored(header: dict[str, Any], tensors: dict[str, torch.Tensor], *, assign: bool = False) -> Autoencoder:
    if header["format"] > FORMAT:
        raise ValueError(
            f"the autoencoder file has format {header['format']}, this version reads up to {FORMAT}: upgrade tdlens"
        )
    sae = build(SAEConfig.from_dict(header["config"]), torch.Generator().manual_seed(0))
    try:
        sae.load_state_dict(tensors, assign=assign)
    except RuntimeError as error:
        raise ValueError(f"the tensors do not fit the autoencoder's configuration: {error}") from error
    return sae.requires_grad_(False).eval()


def save(sae: Autoencoder, path: Path | str) -> None:
    """Write the file."""
    Path(path).write_bytes(to_bytes(sae))


def load(path: Path | str) -> Autoencoder:
    """Read the file. Raises as `from_bytes` does, naming the path."""
    try:
        return from_bytes(Path(path).read_bytes())
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
