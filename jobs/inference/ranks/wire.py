"""Messages between a process and its ranks: JSON over a Unix socket, tensors in shared memory.

Tensors are laid into one memory file without a name whose descriptor travels with the message, so that they are
copied once, whoever sends and however many receive; whoever maps it last frees it. Nothing is pickled.
"""

from __future__ import annotations

import json
import mmap
import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

ALIGNMENT = 64
PREFIX = 8


class Hungup(Exception):
    """The other end is gone."""


@dataclass(frozen=True)
class Payload:
    """Tensors in a memory file, ready to be sent any number of times."""

    table: dict[str, Any]
    """Name to (dtype, shape, offset in bytes)."""
    descriptor: int | None

    @classmethod
    def of(cls, tensors: Mapping[str, Tensor]) -> Payload:
        """Copy tensors from any device into a new memory file."""
        table, size = {}, 0
        for name, tensor in tensors.items():
            table[name] = (str(tensor.dtype).removeprefix("torch."), list(tensor.shape), size)
            size += -(-tensor.numel() * tensor.element_size() // ALIGNMENT) * ALIGNMENT
        if not size:
            return cls(table, None)
        descriptor = os.memfd_create("tdlens")
        os.ftruncate(descriptor, size)
        for name, view in _mapped(table, descriptor, size).items():
            view.copy_(tensors[name])
        return cls(table, descriptor)

    def close(self) -> None:
        """Let go of the memory; receivers keep theirs."""
        if self.descriptor is not None:
            os.close(self.descriptor)


def send(connection: socket.socket, message: Mapping[str, Any], payload: Payload | None = None) -> None:
    """Send one message.

    Raises:
        Hungup: nobody is there to receive it.
    """
    payload = payload or Payload({}, None)
    text = json.dumps({"message": message, "tensors": payload.table}).encode()
    head, descriptors = len(text).to_bytes(PREFIX, "little"), [] if payload.descriptor is None else [payload.descriptor]
    try:
        socket.send_fds(connection, [head], descriptors)
        connection.sendall(text)
    except OSError as error:
        raise Hungup from error


def receive(connection: socket.socket) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The next message and its tensors, which belong to the caller.

    Raises:
        Hungup: the other end has closed.
    """
    try:
        head, descriptors, _, _ = socket.recv_fds(connection, PREFIX, 1)
        head += _exactly(connection, PREFIX - len(head)) if head else b""
        if not head:
            raise Hungup
        sent = json.loads(_exactly(connection, int.from_bytes(head, "little")))
    except OSError as error:
        raise Hungup from error
    if not descriptors:
        return sent["message"], {name: _empty(*about) for name, about in sent["tensors"].items()}
    try:
        return sent["message"], _mapped(sent["tensors"], descriptors[0], os.fstat(descriptors[0]).st_size)
    finally:
        os.close(descriptors[0])


def _exactly(connection: socket.socket, n: int) -> bytes:
    parts = []
    while n:
        part = connection.recv(min(n, 1 << 20))
        if not part:
            raise Hungup
        parts.append(part)
        n -= len(part)
    return b"".join(parts)


def _mapped(table: Mapping[str, Any], descriptor: int, size: int) -> dict[str, Tensor]:
    memory = mmap.mmap(descriptor, size)
    tensors = {}
    for name, (dtype, shape, offset) in table.items():
        empty = _empty(dtype, shape, offset)
        n = empty.numel()
        tensors[name] = (
            torch.frombuffer(memory, dtype=empty.dtype, count=n, offset=offset).reshape(shape) if n else empty
        )
    return tensors


def _empty(dtype: str, shape: list[int], offset: int) -> Tensor:
    return torch.empty(shape, dtype=getattr(torch, dtype), device="cpu" if 0 in shape else "meta")
