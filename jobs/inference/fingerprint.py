"""What a model's weights are known by: a hash over configuration and weights."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from jobs.inference.progress import Progress, silent
from tdlens.errors import UserError

THREADS = 8
"""Files hashed at a time: sha256 reads some gigabytes a second on each core, and discs are seldom faster than eight."""
CHUNK = 1 << 23
"""Bytes read at a time."""
SHA256 = re.compile(r"[0-9a-f]{64}")


def hash_files(folder: Path, progress: Progress = silent) -> str:
    """sha256 over the sha256 of ``config.json`` and of each safetensors file, in order of their names.

    In the hub's cache a weight file is a link to a file that is called by its sha256, so that a damaged one is found.

    Raises:
        UserError: a file of the hub's cache isn't what the hub holds.
    """
    paths = [folder / "config.json", *sorted(folder.glob("*.safetensors"))]
    megabytes = sum(path.stat().st_size for path in paths) / 1e6
    with progress("checksums of the weights (MB)", megabytes) as advance, ThreadPoolExecutor(THREADS) as threads:
        digests = list(threads.map(partial(_hash, advance=advance), paths))
    for path, found in zip(paths, digests, strict=True):
        _compare(path, found)
    return hashlib.sha256(b"".join(digests)).hexdigest()


def hash_weights(config: str, model: Any) -> str:
    """sha256 over the configuration and weights of a model that has no files."""
    whole = hashlib.sha256(config.encode())
    for name, weight in sorted(model.state_dict().items()):
        whole.update(name.encode())
        whole.update(weight.contiguous().numpy())
    return whole.hexdigest()


def _hash(path: Path, advance: Callable[[float], None]) -> bytes:
    digest, buffer = hashlib.sha256(), memoryview(bytearray(CHUNK))
    with path.open("rb", buffering=0) as file:
        while read := file.readinto(buffer):
            digest.update(buffer[:read])
            advance(read / 1e6)
    return digest.digest()


def _compare(path: Path, found: bytes) -> None:
    if not path.is_symlink():
        return
    blob = Path(os.path.realpath(path))
    if SHA256.fullmatch(blob.name) and blob.name != found.hex():
        raise UserError(
            f"{path.name} is damaged: its sha256 is {found.hex()[:12]}…, that of the hub's file {blob.name[:12]}….",
            f"Delete the copy in the cache, and run again to download it again: rm {path} {blob}",
        )
