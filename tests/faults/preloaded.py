"""Processes of tdlens without the seconds that importing torch takes: forked from one that has imported it.

`Preloaded` starts such a process; `start` then stands for ``python -m MODULE …``. In what it starts, `subprocess.Popen`
does the same for modules of ours, for torchrun and for DeepSpeed's launcher, so that a run's workers, their computing
processes and a model's ranks are forked too: each is a process of its own with its own connections, as in production,
and can be killed like one. The first process never opens a database: SQLite doesn't survive a fork.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import time
import traceback
import warnings
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

ADDRESS = "TESTS_PRELOADED"
"""Environment variable: the socket of the first process."""
HOOK = "TESTS_HOOK"
"""Environment variable: a module whose ``install`` is called first in each process that is started."""
ROOT = Path(__file__).resolve().parents[2]
HEAVY = (
    *("jobs.cli", "jobs.pipeline", "jobs.report", "jobs.worker.serve", "jobs.worker.inline", "tdlens.tracking_store"),
    *("jobs.inference.ranks.rank", "torch.distributed.run", "transformers.models.llama.modeling_llama"),
)
"""What takes long to import."""
RANKS = "torch.distributed.elastic.multiprocessing.subprocess_handler.subprocess_handler"
"""The module that starts torchrun's processes, which has a name of its own for `subprocess.Popen`."""
WAITS = {
    "jobs.worker.serve": ("POLL", 0.2),
    "jobs.executors.local": ("POLL", 0.1),
    "jobs.worker.patience": ("PAUSE", 0.2),
}
"""Seconds that processes started here wait before they look again, by module; a user's wait longer."""
LARGEST = 1 << 18
"""Bytes of a request."""
really_start = subprocess.Popen


class Process:
    """A started process, used as a `subprocess.Popen`."""

    def __init__(
        self,
        command: list[str],
        *,
        env: dict[str, str] | None = None,
        stdin: Any = None,
        stdout: Any = None,
        stderr: Any = None,
        text: bool = False,
        start_new_session: bool = False,
    ) -> None:
        environment = dict(os.environ if env is None else env)
        self.args = command
        self.returncode: int | None = None
        self.stdin: IO[Any] | None = None
        self.stdout: IO[Any] | None = None
        theirs, close = [], []
        for number, wanted in enumerate((stdin, stdout, stderr)):
            if wanted == subprocess.PIPE:
                read, write = os.pipe()
                mine, given = (write, read) if number == 0 else (read, write)
                opened = os.fdopen(mine, ("w" if number == 0 else "r") + ("" if text else "b"), -1 if text else 0)
                setattr(self, ("stdin", "stdout", "stderr")[number], opened)
                close.append(given)
            elif wanted == subprocess.DEVNULL:
                given = os.open(os.devnull, os.O_RDWR)
                close.append(given)
            else:
                given = number if wanted is None else wanted if isinstance(wanted, int) else wanted.fileno()
            theirs.append(given)
        self._connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._connection.connect(environment.get(ADDRESS) or os.environ[ADDRESS])
        asked = {"command": command[2:], "environment": environment, "folder": str(Path.cwd())}
        asked["group"] = 0 if start_new_session else os.getpgrp()
        socket.send_fds(self._connection, [json.dumps(asked).encode()], theirs)
        for descriptor in close:
            os.close(descriptor)
        self.pid = int(self._connection.recv(64))

    def poll(self) -> int | None:
        return self._ask(0.0)

    def wait(self, timeout: float | None = None) -> int:
        code = self._ask(timeout)
        if code is None:
            raise subprocess.TimeoutExpired(self.args, timeout or 0.0)
        return code

    def _ask(self, timeout: float | None) -> int | None:
        if self.returncode is None:
            self._connection.settimeout(timeout)
            with suppress(TimeoutError, BlockingIOError):
                self.returncode = int(self._connection.recv(64) or -signal.SIGKILL)
                self._connection.close()
        return self.returncode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


def start(args: Any, **options: Any) -> Any:
    """In place of `subprocess.Popen`."""
    words = [args] if isinstance(args, str) else [word for word in args if word != "-u"]
    ours = words[1:2] == ["-m"] and words[2].startswith(("jobs.", "torch.distributed.run", "deepspeed.launcher."))
    return Process(words, **options) if ours else really_start(args, **options)


@dataclass(eq=False)
class Preloaded:
    """The first process, from the side of the tests."""

    address: str
    held: int
    """The write end of its standard input: it lives while somebody has that open."""
    process: subprocess.Popen[bytes] | None = None
    """None where somebody else started it."""

    @classmethod
    def begin(cls, folder: Path) -> Preloaded:
        """Start it, or join those who have; to be called by one at a time. It ends after the last one's `end`."""
        address, held = folder / "preloaded", folder / "held"
        with suppress(OSError):  # there is none yet, or not any more
            return cls(str(address), os.open(held, os.O_WRONLY | os.O_NONBLOCK))
        for left in (address, held):
            left.unlink(missing_ok=True)
        os.mkfifo(held)
        read = os.open(held, os.O_RDONLY | os.O_NONBLOCK)
        write = os.open(held, os.O_WRONLY)
        environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path]), "OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-m", "tests.faults.preloaded", str(address)]
        process = subprocess.Popen(command, stdin=read, stdout=subprocess.PIPE, env=environment)
        os.close(read)
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        return cls(str(address), write, process)

    def start(self, *command: str, environment: dict[str, str], output: Path, own_group: bool = False) -> Process:
        """``python -m MODULE …`` with its output, of both kinds, appended to a file."""
        with output.open("ab") as file:
            return Process(
                [sys.executable, "-m", *command],
                env=environment | {ADDRESS: self.address},
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                start_new_session=own_group,
            )

    def alive(self, home: Path) -> dict[int, list[str]]:
        """Module and arguments of all its processes that work in a home, by process number."""
        found = self._asked({"list": str(home)})
        return {int(pid): command for pid, command in found.items()}

    def kill(self, pid: int) -> bool:
        """SIGKILL to one of its processes; whether it still ran."""
        return bool(self._asked({"kill": pid}))

    def kill_all(self, home: Path) -> int:
        """What a machine's sudden death does to everything that works in a home; how many processes there were."""
        return sum(self.kill(pid) for pid in self.alive(home))

    def rest(self, home: Path, patience: float = 120.0) -> None:
        """Wait until none of its processes works in a home any more."""
        deadline = time.monotonic() + patience
        while alive := self.alive(home):
            assert time.monotonic() < deadline, f"still there: {alive}"
            time.sleep(0.1)

    def end(self) -> None:
        """Stop it and all it started, once nobody else needs it."""
        os.close(self.held)
        if self.process is not None and self.process.stdout is not None:
            self.process.wait()
            self.process.stdout.close()

    def _asked(self, question: dict[str, Any]) -> Any:
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as connection:
            connection.connect(self.address)
            connection.send(json.dumps(question).encode())
            return json.loads(connection.recv(LARGEST))


@dataclass(eq=False)
class _Child:
    connection: socket.socket
    command: list[str]
    home: str


class _Server:
    def __init__(self, address: str) -> None:
        self.children: dict[int, _Child] = {}
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.listener.bind(address)
        self.listener.listen(64)
        self.listener.setblocking(False)
        self.woken, self.waker = socket.socketpair()
        self.waker.setblocking(False)
        signal.signal(signal.SIGCHLD, lambda number, frame: None)
        signal.set_wakeup_fd(self.waker.fileno())

    def serve(self) -> None:
        """Answer until standard input ends."""
        while True:
            ready, _, _ = select.select([0, self.listener, self.woken], [], [])
            if self.woken in ready:
                self.woken.recv(4096)
                self._bury()
            if 0 in ready and not os.read(0, 64):
                break
            if self.listener in ready:
                with suppress(BlockingIOError):
                    self._answer(self.listener.accept()[0])
        for pid in self.children:
            os.kill(pid, signal.SIGKILL)

    def _answer(self, connection: socket.socket) -> None:
        connection.setblocking(True)
        try:
            message, descriptors, _, _ = socket.recv_fds(connection, LARGEST, 3)
        except OSError:
            message, descriptors = b"", []
        if not message:  # who asks may be killed before it has said what for
            connection.close()
            return
        asked = json.loads(message)
        if "list" in asked:
            found = {pid: child.command for pid, child in self.children.items() if child.home == asked["list"]}
            with suppress(OSError):
                connection.send(json.dumps(found).encode())
        elif "kill" in asked:
            if asked["kill"] in self.children:  # not waited for yet: the number is nobody else's
                os.kill(asked["kill"], signal.SIGKILL)
            with suppress(OSError):
                connection.send(json.dumps(asked["kill"] in self.children).encode())
        else:
            pid = os.fork()
            if pid == 0:
                self._become(connection, descriptors, asked)
            for descriptor in descriptors:
                os.close(descriptor)
            self.children[pid] = _Child(connection, asked["command"], asked["environment"].get("TDLENS_HOME", ""))
            with suppress(OSError):
                connection.send(str(pid).encode())
            return
        connection.close()

    def _become(self, connection: socket.socket, descriptors: list[int], asked: dict[str, Any]) -> None:
        """In a forked process: be the one that was asked for."""
        code = 1
        try:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            signal.signal(signal.SIGINT, signal.default_int_handler)  # also where the tests run in the background
            others = (child.connection for child in self.children.values())
            for one in (connection, self.listener, self.woken, self.waker, *others):
                one.close()
            for number, descriptor in enumerate(descriptors):
                os.dup2(descriptor, number)
                os.close(descriptor)
            with suppress(PermissionError):  # who asked was the last of its group, and is gone
                os.setpgid(0, asked["group"])
            os.environ.clear()
            os.environ.update(asked["environment"])
            os.chdir(asked["folder"])
            sys.argv[1:] = asked["command"][1:]
            if hook := os.environ.get(HOOK):
                importlib.import_module(hook).install()
            runpy.run_module(asked["command"][0], run_name="__main__", alter_sys=True)
            code = 0
        except SystemExit as ended:
            code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
        except BaseException:
            traceback.print_exc()
        finally:
            with suppress(OSError):
                sys.stdout.flush()
            os._exit(code)

    def _bury(self) -> None:
        for pid in list(self.children):
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                child = self.children.pop(pid)
                with suppress(OSError):
                    child.connection.send(str(os.waitstatus_to_exitcode(status)).encode())
                child.connection.close()


def main(address: str) -> None:
    """Import everything that commands need, then start processes on request."""
    for module in HEAVY:
        importlib.import_module(module)
    for module, (name, seconds) in WAITS.items():
        assert hasattr(importlib.import_module(module), name)
        setattr(sys.modules[module], name, seconds)
    server = _Server(address)
    gc.collect()
    gc.freeze()  # else each process would copy what all share, only to look for garbage in it
    warnings.filterwarnings("ignore", ".* found in sys.modules", RuntimeWarning)  # each module is run a second time
    subprocess.Popen = start  # type: ignore[assignment,misc]
    sys.modules[RANKS].Popen = start  # type: ignore[attr-defined]
    os.write(1, b"ready\n")
    server.serve()


if __name__ == "__main__":
    main(sys.argv[1])
