"""What DeepSpeed needs to keep weights on NVMe: an operation that it compiles when it is first used."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from torch.utils.cpp_extension import get_default_build_root

from tdlens.errors import UserError

OPERATION = "async_io"


def refuse_locked_build() -> None:
    """Refuse to start where another build of the operation holds its lock.

    A build that was killed leaves the lock behind, and whoever comes next waits for it without end or word.

    Raises:
        UserError: there is a lock.
    """
    root = Path(os.environ.get("TORCH_EXTENSIONS_DIR") or get_default_build_root())
    for lock in (root / OPERATION / "lock", *root.glob(f"*/{OPERATION}/lock")):
        if lock.exists():
            raise UserError(
                f"DeepSpeed's {OPERATION} is being compiled, or a build was killed and left its lock: {lock}",
                "Wait for the other build. If there is none, delete the lock.",
            )


def refuse_unbuildable() -> None:
    """Say what is missing rather than fail deep inside a compiler's output.

    Raises:
        UserError: no ninja, or no libaio with its headers.
    """
    from deepspeed.ops.op_builder import AsyncIOBuilder

    if shutil.which("ninja") is None:
        raise UserError("Weights on NVMe need ninja, and it isn't here.", "Install it: pip install ninja")
    if not AsyncIOBuilder().is_compatible(verbose=False):
        raise UserError(
            "Weights on NVMe need libaio and its headers, and they aren't here.",
            "Install them: apt-get install libaio-dev. Or use model.parallel.offload=cpu.",
        )
