"""``tdlens run --rehearse`` as a user types it."""

from __future__ import annotations

from pathlib import Path

from jobs.cli.overrides import overrides
from jobs.study import load
from tests.cli.conftest import Invoke
from tests.tiny_study import Workplace

LLAMA = Path(__file__).parents[2] / "studies/two_step_llama3_70b.toml"


def test_a_rehearsal_says_what_it_does_and_what_it_found(fresh: Workplace, invoke: Invoke) -> None:
    result = invoke(fresh, "run", str(fresh.study), "--rehearse", "--no-report")
    assert result.exit_code == 0, result.stderr
    for part in (
        "2 of 3 blocks, 176.8 kB of weights in float32; 4 of 6 rollouts",
        "Captured blocks [1, 2] become [1]",
        "--rehearse-rollouts 6 rehearses the memory of a whole one",
        "Your record stays as it is",
    ):
        assert part in result.stderr
    for part in ("tiny runs from beginning to end on 2 blocks", "intervene", "tokens of text a second", "tdlens plan"):
        assert part in result.stdout
    assert [path.name for path in fresh.home.iterdir()] == ["rehearsal"]
    assert not list((fresh.home / "rehearsal" / "tiny").glob("weights-*"))


def test_a_rehearsal_is_not_handed_to_others(fresh: Workplace, invoke: Invoke) -> None:
    result = invoke(fresh, "run", str(fresh.study), "--rehearse", "--executor", "slurm")
    assert result.exit_code == 2
    assert "runs in this process, not by --executor slurm" in result.stderr


def test_another_model_does_not_have_the_pinned_revision(fresh: Workplace, invoke: Invoke) -> None:
    pinned = load(LLAMA).model.revision
    assert load(LLAMA, overrides(None, model=None)).model.revision == pinned
    assert load(LLAMA, overrides(None, model="org/other")).model.revision == "main"
    assert load(LLAMA, overrides(None, model="org/other", revision="v1")).model.revision == "v1"
    assert load(LLAMA, overrides(["model.revision=v1"], model="org/other")).model.revision == "v1"
    model = str(fresh.folder / "model")
    result = invoke(fresh, "run", str(LLAMA), "--rehearse", "--model", model, "--revision", "v1")
    assert result.exit_code == 2
    assert "so it has no revision 'v1'" in result.stderr
