"""A proxy before PostgreSQL that cuts connections around a COMMIT."""

from __future__ import annotations

import random
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Literal

COMMIT = b"Q\x00\x00\x00\x0bCOMMIT\x00"
"""As it goes over the wire: a simple query."""
PUBLISHES = b"INSERT INTO artifact"
"""What a transaction holds that publishes a unit of the study of short units."""
LATE = 0.5
"""Seconds by which a cut connection's COMMIT may arrive late: longer than a client waits before it tries again."""

Cut = Literal["before", "after", "late"]
"""The COMMIT is lost; it is done, but its answer is lost; or the client is gone before it arrives."""


@dataclass(eq=False)
class Proxy:
    """Stands on a port of its own for the server's."""

    upstream: int
    random: random.Random
    left: dict[bool, list[Cut]]
    """The cuts to come: of transactions that publish a unit, and of others."""
    port: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def _choose(self, publishes: bool) -> Cut | None:
        with self._lock:
            wanted = self.random.random() < (0.5 if publishes else 0.2)
            return self.left[publishes].pop() if wanted and self.left[publishes] else None

    def accept(self, listener: socket.socket) -> None:
        """Serve connections until the listener is closed."""
        with suppress(OSError):
            while True:
                client, _ = listener.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client, socket.create_connection(("127.0.0.1", self.upstream)) as server:
            answers = threading.Event()
            answers.set()
            back = threading.Thread(target=self._answer, args=(server, client, answers), daemon=True)
            back.start()
            with suppress(OSError):
                self._ask(client, server, answers)
            for one in (client, server):
                with suppress(OSError):
                    one.shutdown(socket.SHUT_RDWR)
            back.join()

    def _ask(self, client: socket.socket, server: socket.socket, answers: threading.Event) -> None:
        transaction = b""
        while data := client.recv(65536):
            transaction += data
            if COMMIT in transaction:
                match self._choose(PUBLISHES in transaction):
                    case "before":
                        return
                    case "after":
                        answers.clear()
                        server.sendall(data)
                        time.sleep(0.2)
                        return
                    case "late":
                        client.shutdown(socket.SHUT_RDWR)
                        time.sleep(LATE)
                        server.sendall(data)
                        time.sleep(0.2)
                        return
                transaction = b""
            server.sendall(data)

    def _answer(self, server: socket.socket, client: socket.socket, answers: threading.Event) -> None:
        with suppress(OSError):
            while data := server.recv(65536):
                if answers.is_set():
                    client.sendall(data)
        with suppress(OSError):
            client.shutdown(socket.SHUT_RDWR)


@contextmanager
def cutting(upstream: int, times: int, seed: int) -> Iterator[Proxy]:
    """A proxy before the server on a port of this machine, that makes each kind of cut so often, at random."""
    chance = random.Random(seed)
    kinds: list[Cut] = ["before", "after", "late"] * times
    left = {publishes: chance.sample(kinds, len(kinds)) for publishes in (True, False)}
    proxy = Proxy(upstream, chance, left)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        proxy.port = int(listener.getsockname()[1])
        threading.Thread(target=proxy.accept, args=(listener,), daemon=True).start()
        yield proxy
        listener.shutdown(socket.SHUT_RDWR)
