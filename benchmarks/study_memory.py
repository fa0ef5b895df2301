"""Time and memory of a study's stages at 1, 4 and 16 times as many rollouts.

    OMP_NUM_THREADS=1 python benchmarks/study_memory.py

The studies of `studies/` as they are, but for: a Llama architecture of random weights, two blocks of 128 dimensions, of
which the second is captured; one epoch of each autoencoder; the first intervention alone; 8 rollouts at a time, as many
as there are at 1x; and so many rollouts. Each run is a process of its own, whose resident memory is sampled with its
children's every 20 ms; a stage's peak is the highest sample while one of its units was computed, its time the sum over
its units. "Own" is what of it isn't mapped from files, so that the system can't have it back. The exponent is that of a
power law through the first and the last: 0 for what doesn't depend on the number of rollouts, 1 for what is in
proportion to it.

glibc is told to give back at once what is freed, so that what is resident is in use.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
import time
import tomllib
from pathlib import Path
from typing import Any

import psutil

STUDIES = {"two_step": "two_step_demo", "grid_world": "grid_world", "graph_walk": "graph_walk"}
"""Each study's file."""
BATCH = 8
"""Rollouts of a variant at 1x, and rollouts that the model plays or reads at a time."""
TIMES = (1, 4, 16)
WIDTH, BLOCKS = 128, 2
AT_ONCE = {"MALLOC_MMAP_THRESHOLD_": str(1 << 20)}
EVERY = 0.02
"""Seconds between samples."""
SETTLED = 25
"""Samples, five a second, in which nothing changes any more."""
MOST = 0.05
"""The exponent of peak memory that is allowed."""
ROOT = Path(__file__).resolve().parents[1]
RESULTS = Path(__file__).parent / "results" / "study_memory.json"


def study_of(name: str, model: Path, rollouts: int) -> Any:
    """The validated study."""
    from jobs.study import validate

    path = ROOT / "studies" / f"{STUDIES[name]}.toml"
    data = tomllib.loads(path.read_text(encoding="utf-8"))
    data.pop("quick", None)
    data["task"] |= {"rollouts": rollouts}
    if "further_rollouts" in data["task"]:
        data["task"]["further_rollouts"] = rollouts
    data["model"] = {"name": str(model), "batch_size": BATCH}
    data["capture"] = {"blocks": [BLOCKS]}
    data["sae"] = [section | {"epochs": 1} for section in data["sae"]]
    several = ("blocks", "from_block", "min_r")
    first = {name: value for name, value in data["intervention"][0].items() if name not in several}
    data["intervention"] = [first | {"block": BLOCKS}]
    return validate(data, str(path))


def write_model(folder: Path) -> None:
    """Weights that nobody trained, and the reference model's tokenizer, which reads all three tasks."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from jobs.reference.vocabulary import build_tokenizer, tokens

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokens()),
        hidden_size=WIDTH,
        intermediate_size=64,
        num_hidden_layers=BLOCKS,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=4096,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    build_tokenizer().save_pretrained(folder)


def compute(name: str, model: Path, rollouts: int, home: Path) -> None:
    """Run the study in this process, and write when each of its units began and ended."""
    from rich.console import Console

    from jobs.pipeline import Work
    from jobs.stage import Publish, Unit
    from jobs.worker import inline
    from tdlens.record import Record
    from tdlens.settings import Settings

    spans: list[tuple[str, float, float]] = []

    class Timed(Work):
        """Notes when a stage's code runs, and when its rows are inserted."""

        def stage(self, unit: Unit) -> Any:
            real = super().stage(unit)

            class Noted:
                NAME, DESCRIPTION = real.NAME, real.DESCRIPTION

                @staticmethod
                def run(context: Any, unit: Unit) -> Publish:
                    if not spans:
                        settle()
                    began = time.time()
                    publish = real.run(context, unit)

                    def noted(session: Any, job_id: int) -> None:
                        publish(session, job_id)
                        spans.append((unit.stage, began, time.time()))

                    return noted

            return Noted

    inline.Work = Timed  # type: ignore[misc]
    record = Record.open(Settings.from_environment({"TDLENS_HOME": str(home)}))
    inline.run_study(study_of(name, model, rollouts), record, Console(quiet=True))
    record.close()
    (home / "spans.json").write_text(json.dumps(spans))


def settle() -> None:
    """Wait until the process that renews leases has loaded what it needs: it belongs to every stage alike."""
    this, before, quiet = psutil.Process(), 0.0, 0
    while quiet < SETTLED:
        time.sleep(0.2)
        whole, _ = resident(this)
        quiet, before = (quiet + 1 if abs(whole - before) < 1 else 0), whole


def measure(name: str, model: Path, rollouts: int) -> dict[str, dict[str, float]]:
    """Seconds and peak megabytes of each stage, and of all."""
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        command = [sys.executable, __file__, "--one", name, str(model), str(rollouts), str(home)]
        samples: list[tuple[float, float, float]] = []
        with subprocess.Popen(command, env=os.environ | AT_ONCE) as child:
            tree = psutil.Process(child.pid)
            while child.poll() is None:
                samples.append((time.time(), *resident(tree)))
                time.sleep(EVERY)
        if child.returncode:
            raise SystemExit(f"{name} with {rollouts} rollouts ended with {child.returncode}")
        spans = [(stage, began, ended) for stage, began, ended in json.loads((home / "spans.json").read_text())]
    found: dict[str, dict[str, float]] = {}
    for stage in dict.fromkeys(span[0] for span in spans):
        mine = [(began, ended) for one, began, ended in spans if one == stage]
        seen = [sample for sample in samples if any(began <= sample[0] <= ended + EVERY for began, ended in mine)]
        found[stage] = {"seconds": sum(ended - began for began, ended in mine), **peaks(seen or samples[-1:])}
    found["all"] = {"seconds": samples[-1][0] - samples[0][0], **peaks(samples)}
    return found


def peaks(samples: list[tuple[float, float, float]]) -> dict[str, float]:
    """The highest of each."""
    return {"megabytes": max(whole for _, whole, _ in samples), "own": max(own for _, _, own in samples)}


def resident(tree: psutil.Process) -> tuple[float, float]:
    """Megabytes of a process and its children, and those not mapped from files; of those that end meanwhile, none."""
    whole = own = 0
    for process in [tree, *children(tree)]:
        try:
            memory = process.memory_info()
        except psutil.NoSuchProcess:
            continue
        whole, own = whole + memory.rss, own + memory.rss - memory.shared
    return whole / 1e6, own / 1e6


def children(tree: psutil.Process) -> list[psutil.Process]:
    try:
        return tree.children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def report_on(name: str, model: Path, base: int, multiples: list[int]) -> dict[str, Any]:
    """Measure a study, and print a line a stage."""
    runs = {times: measure(name, model, base * times) for times in sorted(multiples)}
    first, last = min(runs), max(runs)
    exponents = {
        stage: {what: exponent(runs[first][stage][what], runs[last][stage][what], last / first) for what in of_stage}
        for stage, of_stage in runs[first].items()
    }
    print(f"{name}, {base} rollouts of a variant at 1x")
    for stage, slopes in exponents.items():
        cells = []
        for what, unit, width in (("seconds", "s", 8), ("megabytes", "MB", 6), ("own", "MB own", 6)):
            values = " ".join(f"{run[stage][what]:{width}.{1 if unit == 's' else 0}f}" for run in runs.values())
            cells.append(f"{values} {unit} ^{slopes[what]:.3f}")
        print(f"  {stage:10} {'   '.join(cells)}", flush=True)
    return {"rollouts": base, "runs": runs, "exponents": exponents}


def exponent(first: float, last: float, ratio: float) -> float:
    return math.log(last / first) / math.log(ratio)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--study", choices=STUDIES, action="append", help="only this one; may be repeated")
    parser.add_argument("--rollouts", type=int, default=BATCH, help="rollouts of a variant at 1x")
    parser.add_argument("--times", type=int, nargs="+", default=list(TIMES), help="two multiples of these, or more")
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument(
        "--one", nargs=4, metavar=("STUDY", "MODEL", "ROLLOUTS", "HOME"), help="one run, in this process"
    )
    options = parser.parse_args()
    if options.one:
        name, model, rollouts, home = options.one
        compute(name, Path(model), int(rollouts), Path(home))
        return
    if len(set(options.times)) < 2:
        parser.error("an exponent needs two multiples")
    from machine import machine

    with tempfile.TemporaryDirectory() as folder:
        write_model(Path(folder))
        studies = {
            name: report_on(name, Path(folder), options.rollouts, options.times) for name in options.study or STUDIES
        }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps({**machine(["numpy", "scipy", "sqlalchemy"]), "studies": studies}) + "\n")
    grown = {name: found["exponents"]["all"]["megabytes"] for name, found in studies.items()}
    missed = [f"{name}: memory grows with exponent {slope:.3f}" for name, slope in grown.items() if slope > MOST]
    if missed:
        raise SystemExit("\n".join(missed))


if __name__ == "__main__":
    main()
