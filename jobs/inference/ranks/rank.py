"""What each rank runs: it does what the group's messages say until they end.

    python -m jobs.inference.ranks.rank SOCKET

The launcher's environment says which rank this is.
"""

from __future__ import annotations

import importlib
import os
import queue
import socket
import sys
import threading
import traceback
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import torch
from torch import Tensor

from jobs.inference.ranks.join import Rank, join, leave, prepare
from jobs.inference.ranks.wire import Hungup, Payload, receive, send
from tdlens.errors import UserError

ORPHANED = 70
"""Exit code of a rank whose group is gone."""

Say = Callable[[Mapping[str, Any]], None]
"""Tells the group something on the way to an answer."""


class Program(Protocol):
    """What ranks do: made with (rank, settings, say), then asked once for each message."""

    def answer(self, message: dict[str, Any], tensors: dict[str, Tensor]) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """What this rank has to say to a message that every rank gets."""


def main(path: str) -> None:
    """Serve the group that listens at ``path``."""
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(path)
    send(connection, {"rank": int(os.environ["RANK"]), "pid": os.getpid()})
    messages: queue.SimpleQueue[tuple[dict[str, Any], dict[str, Tensor]]] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(connection, messages), daemon=True).start()
    try:
        program = _begin(connection, *messages.get())
        send(connection, {"ready": True})
        while (received := messages.get())[0]:
            reply, tensors = program.answer(*received)
            payload = Payload.of(tensors)
            send(connection, reply, payload)
            payload.close()
    except Hungup:
        os._exit(ORPHANED)
    except BaseException as error:
        # The other ranks may wait for this one in a collective, so the group can't go on: it is told, and ends all.
        traceback.print_exc()
        send(connection, {"error": describe(error)})
        sys.stderr.flush()
        threading.Event().wait()
    leave()


def _begin(connection: socket.socket, settings: dict[str, Any], tensors: dict[str, Tensor]) -> Program:
    prepare(os.environ)
    rank: Rank = join(settings["device"], settings["timeout"], deepspeed=settings["deepspeed"])
    torch.set_num_threads(settings["threads"])
    module, name = settings["program"].split(":")
    made: Program = getattr(importlib.import_module(module), name)(
        rank, settings["about"], tensors, lambda said: send(connection, {"said": said})
    )
    return made


def _listen(connection: socket.socket, messages: queue.SimpleQueue[Any]) -> None:
    """Receive beside whatever the rank is doing: a rank that hangs in a collective must notice that it is orphaned."""
    try:
        while True:
            messages.put(receive(connection))
    except Hungup:
        os._exit(ORPHANED)


def describe(error: BaseException) -> dict[str, str]:
    """An error as data: its kind (``user``, ``memory``, ``timeout``, ``other``), message and remedy."""
    if isinstance(error, UserError):
        return {"kind": "user", "message": error.message, "remedy": error.remedy}
    text = str(error).strip() or type(error).__name__
    if isinstance(error, torch.OutOfMemoryError | MemoryError) or "out of memory" in text:
        kind = "memory"
    elif "Timed out" in text or "timeout" in text.lower():
        kind = "timeout"
    else:
        kind = "other"
    return {"kind": kind, "message": f"{type(error).__name__}: {text.splitlines()[0]}", "remedy": ""}


if __name__ == "__main__":
    main(sys.argv[1])
