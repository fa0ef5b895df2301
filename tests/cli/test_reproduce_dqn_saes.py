"""A deep Q network's study by one command, from the shipped agent to a page, at a size of seconds."""

from __future__ import annotations

from pathlib import Path

from tests.cli.conftest import Invoke
from tests.tiny_study import Workplace

SMALLER = (
    *("task.rollouts=4", "task.settings.moves=60", "games.played=24", "games.spliced=8", "bootstrap=100"),
    *("sae.k20.expansion=0.5", "sae.k20.epochs=4", "sae.k50.expansion=0.5", "sae.k50.epochs=4"),
    *("correlate.permutations=19", "probe.permutations=19", "probe.matched=0"),
)
COMMAND = ("reproduce", "dqn-saes", "--quick", "--no-mlflow", *(f"--set={change}" for change in SMALLER))


def test_from_the_shipped_agent_to_a_page(fresh: Workplace, invoke: Invoke) -> None:
    result = invoke(fresh, *COMMAND)
    assert result.exit_code == 0, result.stderr
    page = Path(next(line.split(": ", 1)[1] for line in result.stderr.splitlines() if line.startswith("Report: ")))
    text = page.read_text(encoding="utf-8")
    assert "The agent plays at least as well as the author" in text
    assert len(list(page.parent.rglob("*.png"))) == 11

    again = invoke(fresh, *COMMAND)
    assert again.exit_code == 0 and "rook_endgame: 0 units computed" in again.stderr

    question = "SELECT round(value, 1) AS points FROM v_model_metric WHERE metric = 'expected_return'"
    assert "92.6" in invoke(fresh, "sql", question).stdout
    latents = invoke(fresh, "show", "latents", "--signal", "q_max", "--study", "rook_endgame")
    assert latents.exit_code == 0 and "k20" in latents.stdout


def test_what_only_language_models_have_is_refused(fresh: Workplace, invoke: Invoke) -> None:
    for command, said in (
        (("reproduce", "dqn-saes", "--quick", "--model", "reference"), "There is no agent reference"),
        (("reproduce", "dqn-saes", "--quick", "--set=capture.blocks=[3]"), "has 2 hidden layers"),
        (
            ("reproduce", "dqn-saes", "--quick", "--set=sae.k50.expansion=0.2"),
            "The autoencoder k50 doesn't fit rook_128",
        ),
    ):
        result = invoke(fresh, *command, "--no-mlflow")
        assert result.exit_code == 2 and said in result.stderr.replace("\n", " "), result.stderr
