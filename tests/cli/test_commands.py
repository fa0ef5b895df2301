"""What each command prints."""

from __future__ import annotations

import io
import json
import re
import socket
import subprocess
import sys
import time
import tomllib
import urllib.request
from pathlib import Path
from typing import get_args

import pandas as pd
import pytest
from sqlalchemy import text, update
from typer.testing import CliRunner

from jobs.cli import app
from jobs.cli.overrides import Engine
from jobs.inference.models import ENGINES
from jobs.sections import ModelSection
from tdlens.record.views import VIEWS
from tests.cli.conftest import Invoke
from tests.tiny_study import Workplace

COMMANDS = (
    *("run", "status", "sql", "show latents", "report", "ui", "sync-mlflow", "db upgrade", "db check", "db script"),
    *("plan", "worker", "doctor", "fsck", "gc", "backup", "restore", "train-reference", "evaluate-reference"),
    "import-published",
    "reproduce",
)


def test_help_imports_nothing_heavy() -> None:
    script = (
        "import sys\n"
        "from jobs.cli import app\n"
        "try:\n    app(['--help'])\nexcept SystemExit: pass\n"
        "heavy = {'torch', 'transformers', 'mlflow', 'pandas', 'sqlalchemy', 'numpy'} & set(sys.modules)\n"
        "sys.exit(f'imported {heavy}' if heavy else 0)"
    )
    subprocess.run([sys.executable, "-c", script], check=True, capture_output=True)


def test_sql_imports_no_torch(done: Workplace) -> None:
    script = (
        "import sys\n"
        "from jobs.cli import app\n"
        "try:\n    app(['sql', 'SELECT 1 AS one'])\nexcept SystemExit: pass\n"
        "sys.exit(f'imported {heavy}' if (heavy := {'torch', 'transformers', 'mlflow'} & set(sys.modules)) else 0)"
    )
    command = [sys.executable, "-c", script]
    subprocess.run(command, check=True, capture_output=True, env=done.environment)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(command: str) -> None:
    result = CliRunner().invoke(app, [*command.split(), "--help"], env={"COLUMNS": "200"})
    assert result.exit_code == 0
    assert len(result.stdout.splitlines()) > 5


def test_examples_in_help_are_valid_commands() -> None:
    """Every `$ tdlens …` line of the help parses: commands and options exist."""
    for command in ("", *COMMANDS):
        shown = CliRunner().invoke(app, [*command.split(), "--help"], env={"COLUMNS": "250"}).stdout
        for line in shown.splitlines():
            if "$ tdlens " in line:
                words = line.split("$ tdlens ")[1].split()
                names = [word for word in words if word.startswith("--")]
                group = 2 if words[0] in ("show", "db") else 1
                known = CliRunner().invoke(app, [*words[:group], "--help"], env={"COLUMNS": "250"})
                assert known.exit_code == 0, line
                assert all(name in known.stdout for name in names), line


def test_help_of_sql_names_every_view() -> None:
    shown = CliRunner().invoke(app, ["sql", "--help"], env={"COLUMNS": "250"}).stdout
    listed = shown[: shown.index("Examples")]
    assert re.findall(r"\bv_\w+", listed) == list(VIEWS)


def test_engines_of_the_command_line_are_those_of_a_study() -> None:
    assert set(Engine) == set(ENGINES) == set(get_args(ModelSection.model_fields["engine"].annotation))


def test_run_keys_lists_every_key_of_the_demo_study() -> None:
    shown = CliRunner().invoke(app, ["run", "--keys"], env={"COLUMNS": "200"}).stdout
    keys = {line.split(" = ")[0].strip() for line in shown.splitlines() if not line.startswith(" ")}
    study = tomllib.loads(Path("studies/two_step_demo.toml").read_text())
    assert study.pop("quick") and "quick.KEY" in keys
    for section, value in study.items():
        inner = value[0] if isinstance(value, list) else value
        name = ".NAME" if isinstance(value, list) else ""
        for key in inner if isinstance(inner, dict) else [None]:
            assert (f"{section}{name}.{key}" if key else section) in keys


def test_status(done: Workplace, invoke: Invoke) -> None:
    shown = invoke(done, "status").stdout
    assert "tiny revision 1" in shown and "Tiny [test] study" in shown
    counts = {line.split()[0]: line.split()[2:] for line in shown.splitlines() if line.startswith("  ")}
    assert counts["play"] == ["100%", "2", "0", "0", "0", "0"]
    assert counts["correlate"] == ["100%", "6", "0", "0", "0", "0"]


def test_status_without_a_study(fresh: Workplace, invoke: Invoke) -> None:
    assert invoke(fresh, "db", "upgrade").exit_code == 0
    result = invoke(fresh, "status")
    assert result.exit_code == 0 and "No study yet" in result.stderr


QUERY = "SELECT variant, episode, avg(return) AS mean, max(forced) AS forced FROM v_episode GROUP BY 1, 2"


def test_sql_formats_give_the_same_rows(done: Workplace, invoke: Invoke, tmp_path: Path) -> None:
    expected = done.record().query(QUERY)
    csv = pd.read_csv(io.StringIO(invoke(done, "sql", QUERY, "--format", "csv").stdout))
    pd.testing.assert_frame_equal(csv, expected, check_dtype=False)
    rows = json.loads(invoke(done, "sql", QUERY, "--format", "json").stdout)
    pd.testing.assert_frame_equal(pd.DataFrame(rows), expected, check_dtype=False)
    file = tmp_path / "rows.parquet"
    assert invoke(done, "sql", QUERY, "--format", "parquet", "--output", str(file)).exit_code == 0
    pd.testing.assert_frame_equal(pd.read_parquet(file), expected)
    piped = done.tdlens("sql", "SELECT count(*) AS n FROM v_step", "--format", "table")
    assert piped.stdout.split() == ["n", str(len(done.record().query("SELECT * FROM v_step")))]


def test_sql_keeps_digits_moments_and_nulls(done: Workplace, invoke: Invoke) -> None:
    sql = "SELECT 1.0/3 AS third, NULL AS missing, started FROM v_job LIMIT 1"
    row = json.loads(invoke(done, "sql", sql, "--format", "json").stdout)[0]
    assert row["third"] == 1 / 3 and row["missing"] is None
    assert row["started"].endswith("+00:00")


def test_sql_never_cuts_what_is_piped(done: Workplace) -> None:
    long = "x" * 3000
    assert (
        long
        in done.tdlens("sql", "SELECT replace(hex(zeroblob(1500)), '0', 'x') AS long, config FROM v_job LIMIT 1").stdout
    )


def test_sql_changes_nothing(done: Workplace, invoke: Invoke) -> None:
    before = len(done.record().query("SELECT * FROM v_step"))
    for change in ("DELETE FROM step", "DROP VIEW v_step", "UPDATE step SET reward = 9", "SELECT 1; DELETE FROM step"):
        result = invoke(done, "sql", change)
        assert result.exit_code == 2 and "refused" in result.stderr
    assert len(done.record().query("SELECT * FROM v_step")) == before


def test_show_latents(done: Workplace, invoke: Invoke) -> None:
    result = invoke(done, "show", "latents", "--signal", "td_error", "--top", "3")
    rows = done.record().query(
        "SELECT block, latent, r FROM v_latent_correlation WHERE signal = 'td_error' ORDER BY abs(r) DESC LIMIT 3"
    )
    lines = [line.split() for line in result.stdout.splitlines() if line.startswith("paper")]
    assert [(int(x[1]), int(x[2]), x[3]) for x in lines] == [
        (row.block, row.latent, f"{row.r:+.3f}") for row in rows.itertuples()
    ]
    only = invoke(done, "show", "latents", "--signal", "td_error", "--block", "2", "--sae", "paper").stdout
    assert {line.split()[1] for line in only.splitlines() if line.startswith("paper")} == {"2"}


def test_show_latents_says_when_nothing_is_significant(copied: Workplace, invoke: Invoke) -> None:
    record = copied.record()
    with record.session() as session:
        session.execute(text("UPDATE latent_correlation SET p_familywise = 0.5"))
    record.close()
    shown = invoke(copied, "show", "latents", "--signal", "step").stdout
    assert "None is significant" in shown and "0.5" in shown


@pytest.mark.parametrize(
    ("options", "hint"),
    [
        (("--signal", "td_eror"), "did you mean td_error?"),
        (("--signal", "step", "--study", "tinny"), "did you mean tiny?"),
        (("--signal", "step", "--sae", "papers"), "did you mean paper?"),
        (("--signal", "step", "--block", "9"), "Blocks: 1, 2."),
    ],
)
def test_show_latents_suggests(done: Workplace, invoke: Invoke, options: tuple[str, ...], hint: str) -> None:
    result = invoke(done, "show", "latents", *options)
    assert result.exit_code == 2 and hint in result.stderr


def test_doctor_finds_nothing_wrong(done: Workplace, invoke: Invoke) -> None:
    result = invoke(done, "doctor", "--full")
    assert result.exit_code == 0
    lines = [line.split() for line in result.stdout.splitlines() if line.startswith(("ok", "warn", "fail"))]
    assert len(lines) == 14
    assert [line[1] for line in lines if line[0] != "ok"] in ([], ["reference"], ["threads"])


def test_doctor_names_leavings_and_repair_deletes_them(copied: Workplace, invoke: Invoke) -> None:
    orphan = copied.home / "blobs" / "sha256" / "ab" / f"{'ab' * 32}.parquet"
    orphan.parent.mkdir(exist_ok=True)
    unfinished = copied.home / "blobs" / "unfinished" / "0123"
    for path in (orphan, unfinished):
        path.write_text("left")
    result = invoke(copied, "doctor")
    assert result.exit_code == 0
    assert str(orphan) in result.stdout and str(unfinished) in result.stdout
    repaired = invoke(copied, "doctor", "--repair")
    assert repaired.exit_code == 0 and not orphan.exists() and not unfinished.exists()
    assert "none beside" in repaired.stdout


def test_doctor_tells_dead_runs_from_live_ones(copied: Workplace, invoke: Invoke) -> None:
    from jobs.owner import this_process
    from tdlens.record import Job, leases

    owner = this_process()
    dead = owner.rsplit(":", 1)[0] + ":1"  # this process's number, started at another time
    record = copied.record()
    take = update(Job).where(Job.stage == "rank").values(state="leased", finished_at=None)
    cases = (
        (dead, 600, "0 being computed, 3 left"),
        ("elsewhere:1:1", -1, "0 being computed, 3 left"),
        (owner, 600, "3 being computed, 0 left"),
    )
    for one, seconds, finding in cases:
        with record.session() as session:
            session.execute(take.values(owner=one, lease_until=leases.clock(seconds)))
        assert finding in invoke(copied, "doctor").stdout
    assert invoke(copied, "doctor", "--repair").exit_code == 2
    record.close()


def test_db(fresh: Workplace, invoke: Invoke) -> None:
    missing = invoke(fresh, "db", "check")
    assert missing.exit_code == 2 and "tdlens db upgrade" in missing.stderr
    assert "nothing → " in invoke(fresh, "db", "upgrade").stderr
    assert "was up to date" in invoke(fresh, "db", "upgrade").stderr
    assert invoke(fresh, "db", "check").exit_code == 0


def test_ui_serves_the_runs_on_loopback(done: Workplace) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-c", "from jobs.cli import main; main()", "ui", "--port", str(port)]
    process = subprocess.Popen(
        command, env=done.environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True
    )
    try:
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}/api/2.0/mlflow/experiments/search",
            data=b'{"max_results": 10}',
            headers={"Content-Type": "application/json"},
        )
        for _ in range(3000):  # a busy machine takes its time
            assert process.poll() is None
            try:
                answer = json.load(urllib.request.urlopen(request, timeout=5))
                break
            except OSError:
                time.sleep(0.1)
        assert "tdlens" in [experiment["name"] for experiment in answer["experiments"]]
    finally:
        import os
        import signal

        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    assert process.stdout is not None
    assert f"http://127.0.0.1:{port}" in process.stdout.read().decode()


def test_ui_says_where_a_servers_pages_are(fresh: Workplace, invoke: Invoke) -> None:
    server = {"MLFLOW_TRACKING_URI": "http://mlflow:5000"}
    assert invoke(fresh, "ui", **server).stdout.endswith("browse http://mlflow:5000\n")
    outside = invoke(fresh, "ui", TDLENS_MLFLOW_PAGES="http://127.0.0.1:5005", **server)
    assert outside.stdout.endswith("browse http://127.0.0.1:5005\n")


def test_ui_refuses_a_port_in_use_and_a_home_without_runs(done: Workplace, fresh: Workplace, invoke: Invoke) -> None:
    assert "sync-mlflow" in invoke(fresh, "ui").stderr
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        result = invoke(done, "ui", "--port", str(port))
    assert result.exit_code == 2 and f"--port {port + 1}" in result.stderr


def test_doctor_names_jobs_of_no_study_and_repair_forgets_them(copied: Workplace, invoke: Invoke) -> None:
    record = copied.record()
    with record.session() as session:
        session.execute(
            text("DELETE FROM study_job WHERE job_id IN (SELECT id FROM job WHERE stage IN ('rank', 'intervene'))")
        )
    found = invoke(copied, "doctor").stdout
    assert "jobs of no study" in found and "rank sae:" in found and "doctor --repair" in found
    assert invoke(copied, "doctor", "--repair").exit_code == 0
    left = json.loads(invoke(copied, "sql", "SELECT DISTINCT stage FROM job ORDER BY 1", "--format", "json").stdout)
    assert "rank" not in str(left) and "intervene" not in str(left) and "correlate" in str(left)
    record.close()
    again = invoke(copied, "run", "tiny.toml", "--no-report", "--no-mlflow")
    assert again.exit_code == 0 and "jobs of no study" in invoke(copied, "doctor").stdout


def test_import_published(fresh: Workplace, invoke: Invoke) -> None:
    first = invoke(fresh, "import-published", "demircan2025")
    assert first.exit_code == 0 and "imported" in first.stderr
    lines = {line.split("  ")[0]: line for line in first.stdout.splitlines()}
    sql = "SELECT value, ci_low, ci_high FROM v_block_measure WHERE signal = 'td_error' AND measure = 'r_partial[step]'"
    (shown,) = pd.read_csv(io.StringIO(invoke(fresh, "sql", sql, "--format", "csv").stdout)).itertuples(index=False)
    given_step = lines["Latent with TD error, given step"]
    assert all(f"{number:+.2f}" in given_step for number in shown)
    second = invoke(fresh, "import-published", "demircan2025")
    assert "already there" in second.stderr and second.stdout == first.stdout
    refused = invoke(fresh, "import-published", "demircan")
    assert refused.exit_code == 2 and "did you mean demircan2025" in refused.stderr


def test_import_of_what_was_recomputed(fresh: Workplace, invoke: Invoke) -> None:
    first = invoke(fresh, "import-published", "duplessie2024")
    assert first.exit_code == 0 and "imported" in first.stderr and "recomputed" in first.stderr
    lines = dict(line.split(maxsplit=1) for line in first.stdout.splitlines())
    sql = "SELECT count(DISTINCT series), count(*) FROM v_published_point WHERE figure = 'dqn_topk'"
    counted = invoke(fresh, "sql", sql, "--format", "csv").stdout.splitlines()[1]
    assert lines["dqn_topk"].split() == counted.split(",")


def test_an_import_that_another_process_is_at_is_said(
    fresh: Workplace, invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tdlens.record.leases.claim", lambda *_, **__: None)
    shown = invoke(fresh, "import-published", "demircan2025")
    assert shown.exit_code == 2 and "being imported by another process" in shown.stderr


def test_published_results_are_not_the_study_that_ran_last(copied: Workplace, invoke: Invoke) -> None:
    invoke(copied, "import-published", "demircan2025")
    assert "tiny" in invoke(copied, "show", "latents", "--signal", "td_error").stdout
