"""A cluster with a study to run on it, whose autoencoders take as long as a test wants."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from jobs.executors.slurm import SlurmSettings, submit_array
from jobs.study import load
from tdlens.record import Record
from tests.slurm.cluster import Cluster
from tests.tiny_study import Workplace, dump

Rows = dict[str, list[tuple[object, ...]]]

PATIENT = """
import importlib.util, os, sys, time


class Patient:
    def find_spec(self, name, path, target=None):
        if name != "jobs.stages.train_sae":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        load = spec.loader.exec_module

        def patched(module):
            load(module)
            train = module.run

            def run(context, unit):
                while os.path.exists(os.environ["HOLD"]):
                    time.sleep(0.05)
                return train(context, unit)

            module.run = run

        spec.loader.exec_module = patched
        return spec


sys.meta_path.insert(0, Patient())
"""
"""As sitecustomize of the workers: no autoencoder is trained while there is a file HOLD."""


@dataclass
class Site:
    """A cluster, and a study to run on it."""

    cluster: Cluster
    place: Workplace
    record: Record
    folder: Path

    @property
    def hold(self) -> Path:
        """While this file is there, workers stay in their first autoencoder."""
        return self.folder / "hold"

    @property
    def environment(self) -> dict[str, str]:
        """Of whoever submits; Slurm hands it on to the jobs."""
        path = os.pathsep.join(filter(None, [str(self.folder), os.environ.get("PYTHONPATH")]))
        ours = {"HOLD": str(self.hold), "PYTHONPATH": path}
        return self.place.environment | self.cluster.environment | self.record.settings.environment | ours

    def prepare(self) -> None:
        """Make the files that the jobs see."""
        self.folder.mkdir()
        (self.folder / "sitecustomize.py").write_text(PATIENT)

    def submit(self, settings: SlurmSettings) -> str:
        """As `tdlens run --executor slurm` does; the Slurm job's number."""
        return str(submit_array(self.record, load(self.place.study, []), settings).scheduler_id)

    def states(self) -> dict[str, int]:
        """Units by state."""
        found = self.record.query("SELECT state, count(*) AS n FROM job GROUP BY state")
        return dict(zip(found.state, map(int, found.n), strict=True))

    def leased(self) -> int:
        """Units in progress."""
        return self.states().get("leased", 0)

    def training(self) -> int:
        """Autoencoders in progress."""
        query = "SELECT count(*) AS n FROM job WHERE state = 'leased' AND stage = 'train_sae'"
        return int(self.record.query(query).n[0])

    def complete(self) -> bool:
        """Whether the study is computed."""
        states = self.states()
        return states.get("done", 0) == sum(states.values()) > 0

    def said(self, words: str) -> int:
        """How often the jobs said that."""
        return self.output().count(words)

    def output(self) -> str:
        """What the jobs said."""
        folder = self.record.settings.home / "slurm"
        return "\n".join(path.read_text() for path in sorted(folder.glob("*/*_log.*")))

    def wait_for(self, condition: Callable[[], bool], what: str, seconds: float = 300) -> None:
        """Until the condition holds."""
        end = time.monotonic() + seconds
        while not condition():
            about = f"{self.states()} {self.cluster.nodes()} {self.cluster.jobs()}\n{self.output()[-4000:]}"
            assert time.monotonic() < end, f"no {what} within {seconds} s: {about}"
            time.sleep(0.2)

    def rows(self) -> Rows:
        """All that the study found, to be compared."""
        return dump(self.record)
