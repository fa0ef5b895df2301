"""A whole study through the command line: rows everywhere, nothing twice, only what a change touches."""

from __future__ import annotations

from pathlib import Path

import pytest

from tdlens.record.views import VIEWS
from tests.cli.conftest import Invoke
from tests.tiny_study import Workplace, dump

RUN = ("run", "tiny.toml", "--no-report", "--no-mlflow")


def jobs(place: Workplace) -> dict[str, set[str]]:
    """Identities of all jobs in the record, of whichever study or revision, by stage."""
    record = place.record()
    try:
        table = record.query("SELECT stage, identity FROM job")
    finally:
        record.close()
    return {str(stage): set(mine.identity) for stage, mine in table.groupby("stage")}


NOT_HERE = {
    *("v_submission", "v_worker"),  # it is run inline
    *("v_block_measure", "v_map_point"),  # of tasks with matrix signals
    *("v_model_metric", "v_latent_measure", "v_latent_predicate", "v_latent_example"),  # of tasks seen as numbers
    *("v_head_score", "v_head_measure", "v_head_label", "v_head_pair", "v_planted_circuit"),  # of attention heads
    *("v_circuit_search", "v_search_progress", "v_search_episode", "v_search_step"),
    *("v_maze_training", "v_maze_progress", "v_maze_checkpoint"),  # of models that a study trains in the maze
    *("v_concept_vector", "v_concept_cosine", "v_concept_token", "v_concept_latent", "v_concept_signal"),
    *("v_emotion_cosine", "v_emotion_component", "v_goal_tracking"),
    *("v_steering_effect", "v_steered_text", "v_steering_contrast", "v_planted_axis"),
    "v_published_point",  # of `tdlens import-published`
}


@pytest.mark.parametrize("view", sorted(VIEWS.keys() - NOT_HERE))
def test_every_view_has_rows(done: Workplace, view: str) -> None:
    record = done.record()
    assert len(record.query(f"SELECT * FROM {view} WHERE study = 'tiny' LIMIT 1")) == 1  # noqa: S608
    record.close()


def test_the_run_says_what_it_did_and_what_to_do_next(done: Workplace) -> None:
    said = (done.home.parent / "stderr.txt").read_text()
    total = sum(map(len, jobs(done).values()))
    assert f"{total} units computed, 0 already in the record" in said
    page = done.home / "reports" / "tiny" / "index.html"
    assert page.is_file() and str(page) in said
    assert "tdlens show latents --signal td_error --study tiny" in said
    assert "Warning" not in said


def test_provenance_is_on_every_job(done: Workplace) -> None:
    record = done.record()
    table = record.query("SELECT state, config, versions, device, started, finished FROM v_job")
    record.close()
    assert set(table.state) == {"done"}
    assert table.notna().all().all()
    assert (table.finished >= table.started.dt.floor("s")).all()


def test_a_second_run_computes_nothing(copied: Workplace, invoke: Invoke) -> None:
    record = copied.record()
    before, jobs_before = dump(record), record.query("SELECT * FROM job").astype(str)
    result = invoke(copied, *RUN)
    assert result.exit_code == 0, result.stderr
    assert f"0 units computed, {len(jobs_before)} already in the record" in result.stderr
    assert dump(record) == before
    assert record.query("SELECT * FROM job").astype(str).equals(jobs_before)
    record.close()


@pytest.mark.parametrize(
    ("change", "touched"),
    [
        ("correlate.top=4", {"rank", "intervene"}),
        ("intervention.zero_td.operation=mean", {"intervene"}),
        ("sae.paper.epochs=1", {"train_sae", "correlate", "rank", "td_parts", "intervene"}),
        ("title=Another", set()),
    ],
)
def test_a_change_recomputes_only_what_depends_on_it(
    copied: Workplace, invoke: Invoke, change: str, touched: set[str]
) -> None:
    before = jobs(copied)
    result = invoke(copied, *RUN, "--set", change)
    assert result.exit_code == 0, result.stderr
    after = jobs(copied)
    assert {stage for stage in after if after[stage] - before[stage]} == touched
    record = copied.record()
    study = record.query("SELECT revision, jobs, jobs_done FROM v_study").iloc[0]
    assert study.revision == (2 if touched else 1)
    # the current revision shows one result for each unit, not the old one beside the new
    assert study.jobs == study.jobs_done == sum(map(len, before.values()))
    record.close()


def test_going_back_to_the_first_setting_computes_nothing(copied: Workplace, invoke: Invoke) -> None:
    record = copied.record()
    before = dump(record)
    assert invoke(copied, *RUN, "--set", "correlate.top=4").exit_code == 0
    assert dump(record) != before
    result = invoke(copied, *RUN)
    assert "0 units computed" in result.stderr
    assert dump(record) == before
    record.close()


def test_a_changed_model_replaces_results_in_the_same_revision(
    copied: Workplace, invoke: Invoke, tmp_path: Path
) -> None:
    import json
    import shutil

    model = tmp_path / "model"
    shutil.copytree(copied.folder / "model", model)
    assert invoke(copied, *RUN, "--model", str(model)).exit_code == 0
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps(config | {"rms_norm_eps": 0.1}))
    assert invoke(copied, *RUN, "--model", str(model)).exit_code == 0
    record = copied.record()
    assert record.query("SELECT revision FROM v_study").revision.item() == 2
    assert set(record.query("SELECT count(*) AS n FROM v_job WHERE stage = 'play'").n) == {2}
    assert len(record.query("SELECT DISTINCT rollout FROM v_episode WHERE policy = 'model'")) == 6 * (2 + 2)
    record.close()
