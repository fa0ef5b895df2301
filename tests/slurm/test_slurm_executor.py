"""Studies on a real Slurm: an array over two nodes, preemption, a node that dies, time limits, scancel."""

from __future__ import annotations

import time

import pytest
from submitit.core.utils import DelayedSubmission

from jobs.executors.slurm import UNLIMITED, SlurmSettings
from tests.slurm.site import Rows, Site

pytestmark = pytest.mark.slow


def test_an_array_over_two_nodes_computes_a_study(site: Site, undisturbed: Rows) -> None:
    options = ("--array", "2", "--partition", "low", "--cpus-per-task", "2", "--slurm", "comment=try")
    ran = site.place.tdlens("run", str(site.place.study), "--executor", "slurm", *options, **site.environment)
    assert ran.returncode == 0, ran.stderr
    (number,) = site.record.query("SELECT scheduler_id FROM v_submission").scheduler_id
    assert f"tiny: submission 1, Slurm job {number}, 2 workers" in ran.stderr
    for command in ("tdlens status --watch", f"squeue --job {number} ", f"scancel {number} ", "tdlens report tiny"):
        assert f"  {command}" in ran.stderr
    assert "Comment=try" in site.cluster.run("scontrol", "show", "job", number)

    site.wait_for(site.complete, "finished study")
    site.wait_for(lambda: not site.cluster.jobs(), "end of the jobs")
    assert site.rows() == undisturbed
    owners = set(site.record.query("SELECT owner FROM job").owner)
    assert {owner.split("/")[0] for owner in owners} == {"n1", "n2"}
    # nobody asked Slurm's accounting, which is switched off
    assert "sacct" not in ran.stderr + site.output() and "Warning" not in ran.stderr

    folder = site.record.settings.home / "slurm" / "1"
    pickles = [path.read_bytes() for path in folder.glob("*_submitted.pkl")]
    assert len(pickles) == 2
    for pickled in pickles:
        assert b"WorkerJob" in pickled and len(pickled) < 500
        assert not any(word in pickled for word in (b"postgresql", b"sae", b"tiny"))


def test_preempted_workers_give_back_and_come_again(site: Site, undisturbed: Rows) -> None:
    site.hold.touch()
    site.submit(SlurmSettings(array=2, partition="grace", minutes=60, cpus_per_task=2, worker=("--grace", "1")))
    site.wait_for(lambda: site.training() == 2, "two units in progress")
    before = set(site.record.query("SELECT owner FROM job WHERE state = 'leased'").owner)
    urgent = site.cluster.submit("--partition=high", "--nodes=2", "--exclusive", "--wrap=sleep 1")

    site.wait_for(lambda: site.said("goes back in line.") == 2, "two units given back")
    assert site.said("SIGTERM: no new units") == 2
    assert site.leased() == 0 and site.states()["pending"] > 2
    site.wait_for(lambda: urgent in site.cluster.ended(), "end of what preempted")
    assert site.leased() == 0 and [job.split()[1] for job in site.cluster.jobs()] == ["PENDING", "PENDING"]

    site.hold.unlink()
    site.cluster.release_requeued()
    site.wait_for(site.complete, "finished study")
    assert site.rows() == undisturbed
    again = site.record.query("SELECT owner, attempt FROM job WHERE stage = 'train_sae'")
    assert set(again.attempt) == {2} and not before & set(again.owner)


def test_the_unit_of_a_node_that_died_is_taken_up(site: Site, undisturbed: Rows) -> None:
    site.hold.touch()
    site.submit(SlurmSettings(array=2, partition="low", cpus_per_task=2, worker=("--lease", "10")))
    site.wait_for(lambda: site.training() == 2, "two units in progress")
    site.cluster.kill_node("n1")
    site.hold.unlink()
    site.wait_for(site.complete, "finished study")
    assert site.rows() == undisturbed
    trained = site.record.query("SELECT owner, attempt FROM job WHERE stage = 'train_sae'")
    assert sorted(trained.attempt) == [1, 2] and all(owner.startswith("n2/") for owner in trained.owner)


def test_a_job_comes_again_after_its_time_limit_but_not_after_scancel(site: Site) -> None:
    site.hold.touch()
    began = time.monotonic()
    number = site.submit(SlurmSettings(partition="low", minutes=10, worker=("--grace", "1")))
    site.wait_for(lambda: site.training() == 1, "a unit in progress")
    ran = int((time.monotonic() - began) / 60)
    site.cluster.limit(number, ran + 2)
    site.wait_for(lambda: site.said("Requeued job") == 1, "requeued job")
    assert site.said("no new units") == site.said("goes back in line.") == 1 and site.leased() == 0

    site.cluster.limit(number, 60)
    site.cluster.release_requeued()
    site.wait_for(lambda: len(site.record.query("SELECT 1 FROM worker")) == 2, "worker")
    site.cluster.run("scancel", "--signal=USR2", number)  # as Slurm does before the limit
    site.wait_for(lambda: site.said("Requeued job") == 2, "requeued job")
    (submitted,) = (site.record.settings.home / "slurm").glob("*/*_submitted.pkl")
    assert DelayedSubmission.load(submitted)._timeout_countdown == UNLIMITED - 2  # submitit's own default allows three

    site.cluster.release_requeued()
    site.wait_for(lambda: len(site.record.query("SELECT 1 FROM worker")) == 3, "worker")
    site.cluster.run("scancel", number)
    site.wait_for(lambda: site.said("no new units") == 3, "end of claims")
    site.wait_for(lambda: not site.cluster.jobs(), "end of the job", seconds=200)  # before Slurm kills it
    assert number in site.cluster.ended() and "failed" not in site.states()
