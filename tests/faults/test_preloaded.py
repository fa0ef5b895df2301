"""The process that all others of these tests are forked from."""

from __future__ import annotations

import json
import socket
from pathlib import Path

from tests.faults.preloaded import Preloaded


def test_it_outlives_whoever_is_killed_while_asking(preloaded: Preloaded, tmp_path: Path) -> None:
    for said in (None, {"list": str(tmp_path)}, {"kill": 0}):
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as connection:
            connection.connect(preloaded.address)
            if said is not None:
                connection.send(json.dumps(said).encode())
    assert preloaded.alive(tmp_path) == {}
