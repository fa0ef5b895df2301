"""A run that is asked to end gives its unit back, also where the signal would be ignored by itself."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest

from tests.cli.conftest import Invoke
from tests.faults.preloaded import HOOK, Preloaded
from tests.tiny_study import Workplace

HELD = "SELECT count(*) AS n FROM job WHERE state = 'leased'"


def install() -> None:
    """The first process of a container has no default reaction to signals."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


def test_sigterm_puts_the_unit_of_a_run_back_in_line(fresh: Workplace, preloaded: Preloaded, tmp_path: Path) -> None:
    # enough epochs that a unit is in progress when the signal comes
    command = ("run", str(fresh.study), "--set", "sae.paper.epochs=100000", "--no-report", "--no-mlflow")
    output = tmp_path / "output"
    process = preloaded.start("jobs.cli", *command, environment=fresh.environment | {HOOK: __name__}, output=output)
    record = fresh.record()
    training = f"{HELD} AND stage = 'train_sae'"
    try:
        end = time.monotonic() + 300
        while record.query(training).n.item() == 0:
            assert process.poll() is None and time.monotonic() < end, output.read_text()
            time.sleep(0.1)
        process.terminate()
        code, said = process.wait(timeout=300), output.read_text()
    finally:
        process.kill()
        process.wait()
    assert code == 130 and "same command goes on" in " ".join(said.split()), said
    assert record.query(HELD).n.item() == 0
    left = record.query("SELECT state FROM job WHERE stage = 'train_sae' ORDER BY id").state
    assert left[0] in ("pending", "lost")
    record.close()


def test_an_interrupt_that_a_library_complains_of_is_one(fresh: Workplace, invoke: Invoke) -> None:
    def interrupted(*_: object, **__: object) -> None:
        try:
            raise KeyboardInterrupt
        finally:
            raise RuntimeError("close() can't be called here")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("jobs.study.load", interrupted)
        ended = invoke(fresh, "run", "tiny.toml")
    assert ended.exit_code == 130 and "Interrupted" in ended.stderr
