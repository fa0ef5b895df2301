"""A real Slurm of two nodes on this machine, unpacked from Debian's packages: nothing is installed.

Each node has a host name and process numbers of its own, as another machine would: nobody can look from one at the
processes of the other, and it dies as a whole.
"""

from __future__ import annotations

import os
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

NODES = ("n1", "n2")
CONF = """
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={port}
SlurmUser=root
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
KillWait=300
SlurmdTimeout=8
MinJobAge=300
NodeName=n1 NodeAddr=127.0.0.1 Port={n1} CPUs=2 RealMemory=4000
NodeName=n2 NodeAddr=127.0.0.1 Port={n2} CPUs=2 RealMemory=4000
PartitionName=low Nodes=n1,n2 Default=YES PriorityTier=1 PreemptMode=REQUEUE MaxTime=INFINITE
PartitionName=grace Nodes=n1,n2 PriorityTier=1 PreemptMode=REQUEUE GraceTime=5 MaxTime=INFINITE
PartitionName=high Nodes=n1,n2 PriorityTier=10 PreemptMode=OFF MaxTime=INFINITE
"""
ALONE = ("setpriv", "--pdeathsig", "KILL")
"""Before a command: it ends with these tests, however they end."""
NODE = (*ALONE, "unshare", "--pid", "--fork", "--kill-child", "--mount-proc", "--uts", "sh", "-c")
"""Before a shell's script: it is the first process of a machine of its own."""


def problem(folder: Path) -> str | None:
    """Why no cluster can run here from the packages unpacked in the folder, or None."""
    if not (folder / "unpacked").exists():
        return f"no Slurm in {folder}: tests/slurm/fetch.sh {folder} unpacks it"
    if subprocess.run([*NODE, "hostname n1"], capture_output=True, check=False).returncode != 0:
        return "Slurm's nodes need process numbers of their own (unshare --pid), which only root can make"
    return None


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
    """slurmctld, and a slurmd on each of two nodes."""

    root: Path
    folder: Path
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    @cached_property
    def environment(self) -> dict[str, str]:
        """Variables that make Slurm's commands speak to this cluster."""
        (libraries,) = (self.root / "usr/lib").glob("*-linux-gnu")
        return {
            "PATH": f"{self.root}/usr/bin:{os.environ['PATH']}",
            "LD_LIBRARY_PATH": f"{libraries}:{libraries}/slurm-wlm:{self.root}/lib/{libraries.name}",
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
        (plugins,) = (self.root / "usr/lib").glob("*-linux-gnu/slurm-wlm")
        port, n1, n2 = _free_ports(3)
        host = socket.gethostname().split(".")[0]
        conf = CONF.format(host=host, port=port, n1=n1, n2=n2, folder=self.folder, plugins=plugins)
        (self.folder / "slurm.conf").write_text(conf)
        self._daemon("slurmctld", *ALONE, str(self.root / "usr/sbin/slurmctld-wlm"), "-D")
        for node in NODES:
            self.start_node(node)
        self.clear()

    def start_node(self, node: str) -> None:
        """Switch a node on."""
        programs = self.root / "usr/sbin"
        slurmd = f"'{programs}/slurmd-wlm' -D -N {node} -d '{programs}/slurmstepd-wlm'"
        # the shell stays, to bury what slurmd's children leave behind
        self._daemon(node, *NODE, f"hostname {node} && {slurmd} & wait")

    def _daemon(self, name: str, *command: str) -> None:
        with (self.folder / f"{name}.out").open("ab") as out:
            self.processes[name] = subprocess.Popen(
                command, env=os.environ | self.environment, stdout=out, stderr=out, start_new_session=True
            )

    def nodes(self) -> dict[str, str]:
        """State of each node."""
        with suppress(AssertionError):
            lines = self.run("sinfo", "--Node", "--noheader", "--partition=low", "--format=%N %T").splitlines()
            return dict(line.split() for line in lines)
        return {}

    def jobs(self) -> list[str]:
        """Running and waiting jobs: number, state, node."""
        return self.run("squeue", "--noheader", "--array", "--format=%i %T %N").splitlines()

    def submit(self, *options: str) -> str:
        """Number of a job that has nothing to do with the tests' study."""
        return self.run("sbatch", "--parsable", "--output=/dev/null", *options).strip()

    def ended(self) -> set[str]:
        """Numbers of jobs that have come to their end."""
        lines = self.run("squeue", "--noheader", "--states=all", "--format=%A %T").splitlines()
        return {number for number, state in map(str.split, lines) if state in ("COMPLETED", "CANCELLED", "FAILED")}

    def limit(self, number: str, minutes: int) -> None:
        """Change how long a job may run from its start."""
        self.run("scontrol", "update", f"JobId={number}", f"TimeLimit={minutes}")

    def release_requeued(self) -> None:
        """Have requeued jobs start now; Slurm makes each wait for two minutes."""
        self.wait_for(lambda: all("PENDING" in job for job in self.jobs()), "end of what was requeued")
        for job in self.jobs():
            # not in the second of its end, at which the node would refuse it
            self.run("scontrol", "update", f"JobId={job.split()[0]}", "StartTime=now+3")

    def kill_node(self, node: str) -> None:
        """The machine dies, and everything on it."""
        daemon = self.processes.pop(node)
        daemon.kill()
        daemon.wait()

    def clear(self) -> None:
        """Back to two idle nodes and no jobs."""
        for node in NODES:
            if node not in self.processes:
                self.start_node(node)
        self.wait_for(lambda: len(self.nodes()) == len(NODES), "answer of slurmctld")
        self.run("scancel", "--signal=KILL", "--full", "--user=root")
        self.run("scancel", "--user=root")
        self.wait_for(lambda: set(self.nodes().values()) == {"idle"} and not self.jobs(), "two idle nodes")

    def stop(self) -> None:
        """Switch everything off."""
        for process in self.processes.values():
            process.kill()
            process.wait()

    def wait_for(self, condition: Callable[[], bool], what: str, seconds: float = 300) -> None:
        """Until the condition holds."""
        end = time.monotonic() + seconds
        while not condition():
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
