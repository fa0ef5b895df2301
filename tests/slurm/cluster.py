"""A real Slurm of two nodes on this machine, unpacked from Debian's packages: nothing is installed."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

CONF = """
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={port}
SlurmUser={user}
SlurmdUser=root
AuthType=auth/none
CredType=cred/none
PluginDir={plugins}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SlurmdParameters=config_overrides
SchedulerParameters=sched_interval=1,bf_interval=1,sched_min_interval=100000
ReturnToService=2
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
JobRequeue=1
KillWait=5
SlurmdTimeout=8
MinJobAge=300
LaunchParameters=use_interactive_step
NodeName=n1 NodeHostname={host} NodeAddr=127.0.0.1 Port={n1} CPUs=2 RealMemory=4000
NodeName=n2 NodeHostname={host} NodeAddr=127.0.0.1 Port={n2} CPUs=2 RealMemory=4000
PartitionName=low Nodes=n1,n2 Default=YES PriorityTier=1 PreemptMode=REQUEUE MaxTime=INFINITE OverSubscribe=NO
PartitionName=high Nodes=n1,n2 PriorityTier=10 PreemptMode=OFF MaxTime=INFINITE OverSubscribe=NO
"""


def _free_ports(n: int) -> list[int]:
    sockets = [socket.socket() for _ in range(n)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


@dataclass
class Cluster:
    """slurmctld and two slurmd."""

    root: Path
    folder: Path
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    @property
    def environment(self) -> dict[str, str]:
        """Variables that make Slurm's commands speak to this cluster."""
        libraries = self.root / "usr/lib/x86_64-linux-gnu"
        return {
            "PATH": f"{self.root}/usr/bin:{self.folder}/sbin:{os.environ['PATH']}",
            "LD_LIBRARY_PATH": f"{libraries}:{libraries}/slurm-wlm:{self.root}/lib/x86_64-linux-gnu",
            "SLURM_CONF": f"{self.folder}/slurm.conf",
        }

    def run(self, *command: str) -> str:
        """What one of Slurm's commands prints."""
        done = subprocess.run(command, env=os.environ | self.environment, capture_output=True, text=True)
        assert done.returncode == 0, f"{command}: {done.stderr}"
        return done.stdout

    def start(self) -> None:
        """Start the daemons, and wait until both nodes are idle."""
        (self.folder / "state").mkdir(parents=True)
        port, n1, n2 = _free_ports(3)
        conf = CONF.format(
            host=socket.gethostname().split(".")[0], port=port, n1=n1, n2=n2, folder=self.folder, user="root",
            plugins=self.root / "usr/lib/x86_64-linux-gnu/slurm-wlm",
        )  # fmt: skip
        (self.folder / "slurm.conf").write_text(conf)
        self._daemon("slurmctld", "slurmctld-wlm", "-D")
        for node in ("n1", "n2"):
            self.start_node(node)
        self.wait_for(lambda: sorted(self.nodes().values()) == ["idle", "idle"], "two idle nodes")

    def start_node(self, node: str) -> None:
        """Start a node's daemon."""
        self._daemon(node, "slurmd-wlm", "-D", "-N", node, "-d", str(self.root / "usr/sbin/slurmstepd-wlm"))

    def _daemon(self, name: str, program: str, *arguments: str) -> None:
        with (self.folder / f"{name}.out").open("ab") as out:
            self.processes[name] = subprocess.Popen(
                [str(self.root / "usr/sbin" / program), *arguments],
                env=os.environ | self.environment, stdout=out, stderr=out, start_new_session=True,
            )  # fmt: skip

    def nodes(self) -> dict[str, str]:
        """State of each node."""
        with suppress(AssertionError):
            lines = self.run("sinfo", "--Node", "--noheader", "--partition=low", "--format=%N %T").split("\n")
            return dict(line.split() for line in lines if line)
        return {}

    def jobs(self) -> list[str]:
        """Running and waiting jobs: number, state, node."""
        return self.run("squeue", "--noheader", "--array", "--format=%i %T %N").splitlines()

    def kill_node(self, node: str) -> None:
        """The machine dies: its daemon, and everything that it started there."""
        daemon = self.processes.pop(node)
        spool = f"spool-{node}"
        doomed = [daemon.pid]
        for process in psutil.process_iter(["pid", "environ", "cmdline"]):
            environment = process.info["environ"] or {}
            if environment.get("SLURMD_NODENAME") == node or spool in " ".join(process.info["cmdline"] or ()):
                doomed.append(process.info["pid"])
        for pid in doomed:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        daemon.wait()

    def stop(self) -> None:
        """End the daemons and what they run."""
        with suppress(AssertionError):
            self.run("scancel", "--signal=KILL", "--full", "--user=root")
            self.run("scancel", "--user=root")
        for node in ("n1", "n2"):
            if node in self.processes:
                self.kill_node(node)
        for process in self.processes.values():
            process.kill()
            process.wait()

    def wait_for(self, condition: object, what: str, seconds: float = 60) -> None:
        """Until the condition holds."""
        end = time.monotonic() + seconds
        while not condition():  # type: ignore[operator]
            assert time.monotonic() < end, f"no {what} within {seconds} s: {self.nodes()} {self.jobs()}"
            time.sleep(0.2)


@contextmanager
def running(root: Path, folder: Path) -> Iterator[Cluster]:
    """A cluster that ends with the block."""
    cluster = Cluster(root, folder)
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()
