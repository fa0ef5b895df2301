"""A group of ranks: started by a launcher, asked all together, and ended when one of them fails."""

from __future__ import annotations

import os
import re
import selectors
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import psutil
from torch import Tensor

from jobs.cores import available_cores
from jobs.inference.parallel import Launcher
from jobs.inference.ranks.wire import Hungup, Payload, receive, send
from tdlens.errors import UserError

Reply = tuple[dict[str, Any], dict[str, Tensor]]

LAST_WORDS = 8.0
"""Seconds that the launcher is given to say how a rank ended."""
STARTING = 600.0
"""Seconds in which all ranks must have begun."""
AFTERMATH = 1.5
"""Seconds in which the failures that follow from one failure are expected."""
GRAVITY = ("memory", "death", "user", "other", "timeout")
"""Kinds of failures, from what causes others to what is caused by them."""
GOODBYE = 10.0
"""Seconds that ranks are given to end by themselves."""


class RanksFailed(UserError):
    """The ranks couldn't go on. What they computed is lost, and what they were asked can be asked of new ones."""


@dataclass(frozen=True)
class GroupSettings:
    """How ranks are started."""

    n: int
    device: Literal["cpu", "cuda"]
    launcher: Launcher = "deepspeed"
    timeout: float = 1800.0
    """Seconds in which ranks at work must be heard of; a collective that hangs ends a little earlier by itself."""


@dataclass(frozen=True)
class Failure:
    """How a rank failed."""

    rank: int
    kind: str
    message: str = ""
    remedy: str = ""

    def explained(self, settings: GroupSettings, log: Path) -> UserError:
        """What is said of it."""
        who, printed = f"Rank {self.rank} of {settings.n}", f"What the ranks printed is in {log}."
        match self.kind:
            case "user":
                return UserError(self.message, self.remedy)
            case "memory":
                return RanksFailed(
                    f"{who} ran out of memory: {self.message}",
                    "Use a smaller model.batch_size, more ranks, or offload; tdlens plan says what fits.",
                )
            case "timeout":
                return RanksFailed(
                    f"{who} waited in vain for the others: {self.message}",
                    f"{printed} If they were only slow, raise model.parallel.timeout.",
                )
        return RanksFailed(f"{who} failed: {self.message}", printed)


def command(settings: GroupSettings, path: Path, environment: dict[str, str]) -> list[str]:
    """The launcher's command line; ``environment`` is completed for it.

    DeepSpeed's launcher, told a number of GPUs, takes the first of the machine and not those in CUDA_VISIBLE_DEVICES.
    So where that is set it is cut to the number, and the launcher left to read it.
    """
    visible = environment.get("CUDA_VISIBLE_DEVICES", "") if settings.device == "cuda" else ""
    chosen = [name.strip() for name in visible.split(",") if name.strip()][: settings.n]
    if chosen:
        environment["CUDA_VISIBLE_DEVICES"] = ",".join(chosen)
    module = ["--module", "jobs.inference.ranks.rank", str(path)]
    # DeepSpeed's launcher knows GPUs by number alone, and not by the names that a partitioned card has
    if settings.launcher == "torchrun" or not all(name.isdigit() for name in chosen):
        run = ["-m", "torch.distributed.run", "--nnodes=1", f"--nproc-per-node={settings.n}"]
        return [sys.executable, *run, "--rdzv-backend=c10d", "--rdzv-endpoint=127.0.0.1:0", *module]
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    run = ["-m", "deepspeed.launcher.runner", "--hostfile", os.devnull, "--master_addr", "127.0.0.1"]
    count = [] if chosen else ["--num_gpus", str(settings.n)]
    return [sys.executable, *run, "--master_port", str(port), *count, "--no_local_rank", *module]


class RankGroup:
    """Ranks that run one program.

    Args:
        program: ``module:class`` of a :class:`~jobs.inference.ranks.rank.Program`.
        about: its settings (JSON values).
        settings: how many ranks, and where.
        tensors: handed to the program, shared by all ranks.
        deepspeed: whether DeepSpeed's communication is set up.
        heard: takes what ranks say on the way to an answer, with the rank's index.

    Raises:
        UserError: what the program found that is to be put right.
        RanksFailed: the ranks didn't start.
    """

    def __init__(
        self,
        program: str,
        about: Mapping[str, Any],
        settings: GroupSettings,
        *,
        tensors: Mapping[str, Tensor] | None = None,
        deepspeed: bool = True,
        heard: Callable[[int, dict[str, Any]], None] = lambda rank, said: None,
    ) -> None:
        self._settings = settings
        self._heard = heard
        self.pids: list[int] = []
        """Process numbers, by rank."""
        self._connections: list[socket.socket] = []
        self.folder = Path(tempfile.mkdtemp(prefix="tdlens-ranks-"))
        self.log = self.folder / "ranks.log"
        environment = dict(os.environ) | ({"DS_ACCELERATOR": "cpu"} if settings.device == "cpu" else {})
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(self.folder / "socket"))
            listener.listen(settings.n)
            argv = command(settings, self.folder / "socket", environment)
            with self.log.open("wb") as log:
                self._launcher = subprocess.Popen(
                    argv, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
                )
            self._finalizer = weakref.finalize(self, _end, self._launcher, self._connections, self.pids, self.folder)
            try:
                self._gather(listener)
            except BaseException:
                self._finalizer()
                raise
        first = {
            "program": program,
            "about": dict(about),
            "device": settings.device,
            "deepspeed": deepspeed,
            "timeout": 0.9 * settings.timeout,
            "threads": max(1, available_cores() // settings.n),
        }
        self.ask([first] * settings.n, [Payload.of(tensors or {})] * settings.n)

    def ask(self, messages: Sequence[Mapping[str, Any]], payloads: Sequence[Payload]) -> list[Reply]:
        """Send each rank its message, and wait for all answers; payloads are used up.

        Raises:
            RanksFailed: a rank died, ran out of memory or gave no answer in time. The group has ended.
            UserError: what a rank found that is to be put right. The group has ended.
        """
        try:
            try:
                for connection, message, payload in zip(self._connections, messages, payloads, strict=True):
                    with suppress(Hungup):  # a rank that is gone is found when its answer doesn't come
                        send(connection, message, payload)
            finally:
                for payload in {id(payload): payload for payload in payloads}.values():
                    payload.close()
            return self._answers()
        except BaseException:
            self._finalizer()
            raise

    def close(self) -> None:
        """End the ranks; harmless to repeat."""
        if not self._finalizer.alive:
            return
        with suppress(Hungup, subprocess.TimeoutExpired):
            for connection in self._connections:
                send(connection, {})
            self._launcher.wait(GOODBYE)
        self._finalizer()

    @property
    def alive(self) -> bool:
        """Whether it can be asked."""
        return self._finalizer.alive

    def _gather(self, listener: socket.socket) -> None:
        """Wait until every rank has said who it is."""
        deadline = time.monotonic() + STARTING
        listener.settimeout(0.2)
        known: dict[int, tuple[socket.socket, int]] = {}
        while len(known) < self._settings.n:
            if self._launcher.poll() is not None:
                raise self._died(None)
            if time.monotonic() > deadline:
                raise RanksFailed(
                    f"The {self._settings.n} ranks didn't begin within {STARTING:.0f} s.",
                    f"What was printed is in {self._kept_log()}.",
                )
            with suppress(TimeoutError):
                connection, _ = listener.accept()
                connection.setblocking(True)
                hello, _ = receive(connection)
                known[hello["rank"]] = (connection, hello["pid"])
        for _, (connection, pid) in sorted(known.items()):
            self._connections.append(connection)
            self.pids.append(pid)

    def _answers(self) -> list[Reply]:
        deadline = time.monotonic() + self._settings.timeout
        answers: dict[int, Reply] = {}
        failures: list[Failure] = []
        with selectors.DefaultSelector() as selector:
            for rank, connection in enumerate(self._connections):
                selector.register(connection, selectors.EVENT_READ, rank)
            while len(answers) < self._settings.n and selector.get_map():
                ready = selector.select(max(0.0, deadline - time.monotonic()))
                if not ready:
                    break
                for key, _ in ready:
                    failure = self._hear(key.data, answers)
                    if failure is not None:
                        selector.unregister(key.fileobj)
                        # one that fails takes others with it: which was the first shows within moments
                        deadline = min(deadline, time.monotonic() + AFTERMATH)
                        failures.append(failure)
                    elif not failures:
                        deadline = time.monotonic() + self._settings.timeout
        if failures:
            worst = min(failures, key=lambda failure: GRAVITY.index(failure.kind))
            raise self._died(worst.rank) if worst.kind == "death" else worst.explained(self._settings, self._kept_log())
        if len(answers) < self._settings.n:
            raise self._silent()
        return [answers[rank] for rank in range(self._settings.n)]

    def _hear(self, rank: int, answers: dict[int, Reply]) -> Failure | None:
        try:
            message, tensors = receive(self._connections[rank])
        except Hungup:
            return Failure(rank, "death")
        if "error" in message:
            return Failure(rank, **message["error"])
        if "said" in message:
            self._heard(rank, message["said"])
        else:
            answers[rank] = (message, tensors)
        return None

    def _silent(self) -> RanksFailed:
        return RanksFailed(
            f"The {self._settings.n} ranks gave no answer for {self._settings.timeout:.0f} s.",
            f"What they printed is in {self._kept_log()}. If they were only slow, raise model.parallel.timeout.",
        )

    def _died(self, rank: int | None) -> UserError:
        """A rank is gone: its launcher knows how it ended, and says so in the log."""
        with suppress(subprocess.TimeoutExpired):
            self._launcher.wait(LAST_WORDS)
        who = "The ranks" if rank is None else f"Rank {rank} of {self._settings.n}"
        said = self.log.read_text(errors="replace")
        if "collective operation timeout" in said:  # NCCL's watchdog ends the process
            text = "a collective operation timed out"
            return Failure(rank or 0, "timeout", text).explained(self._settings, self._kept_log())
        codes = re.findall(r"(?:return code =|exitcode\s*:)\s*(-?\d+)", said)
        code = int(codes[-1]) if codes else self._launcher.returncode
        if code is not None and code < 0:
            how = f"died of signal {-code} ({signal.Signals(-code).name})"
            how += "; out of host memory?" if code == -signal.SIGKILL else ""
        else:
            how = f"ended with exit code {code}" if code else "ended without a word"
        return RanksFailed(f"{who} {how}.", f"What the ranks printed is in {self._kept_log()}.")

    def _kept_log(self) -> Path:
        """A copy of what the ranks printed that outlives them."""
        descriptor, path = tempfile.mkstemp(prefix="tdlens-ranks-", suffix=".log")
        os.close(descriptor)
        return Path(shutil.copyfile(self.log, path))


def _end(launcher: subprocess.Popen[bytes], connections: list[socket.socket], pids: list[int], folder: Path) -> None:
    """End all processes and wait until they are gone, so that their GPU memory is free for others."""
    for connection in connections:
        connection.close()
    # the launcher and what it starts are a session, but for ranks of torchrun, which have sessions of their own
    with suppress(ProcessLookupError):
        os.killpg(launcher.pid, signal.SIGKILL)
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    launcher.wait()
    psutil.wait_procs([psutil.Process(pid) for pid in pids if psutil.pid_exists(pid)], timeout=GOODBYE)
    shutil.rmtree(folder, ignore_errors=True)
