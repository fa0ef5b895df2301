"""What MLflow is to show of a study, read from the record: a run a stage, with the numbers people browse."""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pandas as pd

from tdlens.identity import digest
from tdlens.record import Record
from tdlens.rows import rows

FORMAT = 1
"""Raised when the same jobs are to be shown otherwise: every run is then written again."""


@dataclass(frozen=True)
class Point:
    """One value of a metric; the step is an episode, a block, or a training step, as its key's docs say."""

    key: str
    value: float
    step: int


@dataclass(frozen=True)
class Capture:
    """Captured activations: one dataset, however many shards."""

    name: str
    sha256: str
    """Of its shards' checksums."""
    source: str
    profile: Mapping[str, Any]


@dataclass(frozen=True)
class Sae:
    """A trained autoencoder."""

    name: str
    path: Path
    sha256: str
    bytes: int
    config: Mapping[str, Any]


@dataclass(frozen=True)
class Run:
    """A run to be, without its numbers."""

    name: str
    identity: str
    """Changes with anything the run shows."""
    status: str
    started: datetime
    finished: datetime | None
    params: Mapping[str, str]
    tags: Mapping[str, str]


@dataclass(frozen=True)
class StudyRuns:
    """A study's current revision."""

    key: str
    """Of its name and configuration: the same in every projection of this revision."""
    run: Run
    stages: list[Run]
    """Those with jobs, in the order of the data."""
    files: tuple[Path, ...]
    """The report and its figures, as far as they were written."""


def read_study(record: Record, study: str) -> StudyRuns:
    """A study's runs; their numbers are read by `points`, `captures` and `saes`."""
    row = record.query("SELECT * FROM v_study WHERE study = :study", {"study": study}).iloc[0]
    jobs = record.query("SELECT * FROM v_job WHERE study = :study ORDER BY job", {"study": study})
    config = json.loads(row.config)
    key = digest({"study": study, "config": config})
    folder = record.settings.reports / study
    files = tuple(sorted([*folder.rglob("*.png"), *folder.glob("index.html")]))
    common = {"tdlens.study": study, "tdlens.revision": str(row.revision)}
    stages = [
        _run(stage, mine, common | {"tdlens.stage": str(stage)}, _shared([json.loads(c) for c in mine.config]))
        for stage, mine in jobs.groupby("stage", sort=False)
    ]
    shown = [stage.identity for stage in stages] + [f"{path}:{path.stat().st_mtime_ns}" for path in files]
    tags = common | {"tdlens.key": key, "mlflow.note.content": str(row.title)}
    whole = _run(f"{study} (revision {row.revision})", jobs, tags, flat(config), digest([FORMAT, shown]))
    return StudyRuns(key, whole, stages, files)


def _run(
    name: Any, jobs: pd.DataFrame, tags: dict[str, str], params: dict[str, str], identity: str | None = None
) -> Run:
    state = set(jobs.state)
    done = state == {"done"}
    made = {
        "tdlens.git_commit": _distinct(jobs.git_commit),
        "tdlens.git_dirty": _distinct(jobs.git_dirty),
        "tdlens.device": _distinct(jobs.device),
        "tdlens.jobs": str(len(jobs)),
        **{f"tdlens.version.{k}": v for versions in jobs.versions for k, v in json.loads(versions).items()},
    }
    # MLflow's own name for the source's commit, which its pages show
    if made["tdlens.git_commit"] and "," not in made["tdlens.git_commit"]:
        made["mlflow.source.git.commit"] = made["tdlens.git_commit"]
    shown = sorted(zip(jobs.identity, jobs.state, map(int, jobs.attempt), strict=True))
    return Run(
        name=str(name),
        identity=identity or digest([FORMAT, [list(job) for job in shown]]),
        status="FINISHED" if done else "FAILED" if "failed" in state else "RUNNING",
        started=min(jobs.started),
        finished=max(jobs.finished) if done else None,
        params=params,
        tags=tags | made,
    )


def points(record: Record, study: str, stage: str) -> Iterator[Point]:
    """The numbers of a stage."""
    if stage in SERIES:
        for key, sql in SERIES[stage]:
            table = record.query(sql, {"study": study})
            for row in rows(table):
                label, step, *values = row
                for name, value in zip(table.columns[2:], values, strict=True):
                    if value is not None and value == value:
                        yield Point(f"{label}/{key or name}", float(value), int(step))
    if stage == "train_sae":
        yield from _training(record, study)


def _model_metrics(stage: str) -> tuple[tuple[str, str], ...]:
    """What a stage recorded of how models play."""
    return (
        (
            "",
            "SELECT model.name || '/' || model_metric.name AS label, 0 AS step, value, ci_low, ci_high"  # noqa: S608
            " FROM model_metric JOIN model ON model.id = model_metric.model_id"
            " JOIN v_job ON v_job.job = model_metric.job_id AND v_job.study = :study"
            f" WHERE v_job.stage = '{stage}' ORDER BY label",
        ),
    )


SERIES: dict[str, tuple[tuple[str, str], ...]] = {
    "play": (
        (
            "return",
            "SELECT variant AS label, episode AS step, avg(return) AS value FROM v_episode"
            " WHERE study = :study AND intervention = 'none' AND policy = 'model'"
            " GROUP BY variant, episode ORDER BY label, step",
        ),
    ),
    "games": _model_metrics("games"),
    "train_in_maze": (
        (
            "",
            "SELECT training AS label, step, mean_return, golds, molds, entropy, loss, gradient, equalised_entropy,"
            " clipped, learning_rate FROM v_maze_progress WHERE study = :study ORDER BY label, step",
        ),
    ),
    "play_maze": _model_metrics("play_maze"),
    "concepts": (
        (
            "",
            "SELECT model || '/' || variant || '/' || concept AS label, block AS step, norm, auroc, cohen_d, overlap"
            " FROM v_concept_vector WHERE study = :study AND step IS NULL ORDER BY label, block",
        ),
    ),
    "emotions": _model_metrics("emotions"),
    "contrast": (
        (
            "",
            "SELECT training || '/' || reader || '/' || dose_kind || '/' || evaluation || '/' || measure || '/' ||"
            " quantity || '/' || source AS label, 0 AS step, value, ci_low, ci_high FROM v_steering_contrast"
            " WHERE study = :study ORDER BY label",
        ),
    ),
    "behaviour": (
        (
            "",
            "SELECT behaviour_model AS label, 0 AS step, nll, aic, bic, beta, nll_minus_q, ci_low, ci_high"
            " FROM v_behaviour_fit WHERE study = :study AND intervention = 'none'",
        ),
    ),
    "train_sae": (
        (
            "",
            "SELECT sae AS label, block AS step, explained_variance, fvu, l0, live, dead, non_constant"
            " FROM v_sae WHERE study = :study ORDER BY label, step",
        ),
    ),
    "rank": (
        (
            "",
            "SELECT label, block AS step, r, r_heldout, p_familywise FROM ("
            " SELECT source || coalesce('/' || sae, '') || '/' || signal AS label, block, r, r_heldout,"
            " p_familywise, row_number() OVER (PARTITION BY source, sae, block, signal"
            " ORDER BY r DESC, latent) AS place FROM v_correlation WHERE study = :study) AS ranked"
            " WHERE place = 1 ORDER BY label, step",
        ),
    ),
    "train_policy": (
        (
            "best_score",
            "SELECT search || '/' || task AS label, transitions AS step, best_score AS value"
            " FROM v_search_progress WHERE study = :study ORDER BY label, step",
        ),
    ),
    "search": (
        (
            "",
            "SELECT search || '/' || task || '/told ' || task_code || '/best of ' || best_of AS label, 0 AS step,"
            " avg(best_score) AS best_score, avg(oracle) AS oracle, avg(forward_passes) AS forward_passes"
            " FROM v_search_episode WHERE study = :study GROUP BY search, task, task_code, best_of ORDER BY label",
        ),
    ),
    "intervene": (
        (
            "return",
            "SELECT intervention AS label, episode AS step, avg(return) AS value FROM v_episode"
            " WHERE study = :study AND intervention <> 'none' GROUP BY intervention, episode"
            " ORDER BY label, step",
        ),
        (
            "",
            "SELECT intervention || '/' || metric AS label, coalesce(effect_block, 0) AS step, value,"
            " baseline, difference, ci_low, ci_high FROM v_intervention_effect WHERE study = :study"
            " ORDER BY label, step",
        ),
    ),
}
"""For each stage: name of the metric (none: the column's) and a query that gives label, step and values.

Steps are episodes for returns, blocks for everything about blocks, transitions or steps of training for what is
learnt, and 0 otherwise. Of correlations the highest of each block and signal is shown, as in Demircan et al. 2025,
Fig 2."""


def _training(record: Record, study: str) -> Iterator[Point]:
    """The course of every autoencoder's training, one value an epoch."""
    trained = record.query(
        "SELECT sae_checkpoint.name AS sae, sae_checkpoint.block AS block, artifact.blob AS blob"
        " FROM artifact JOIN v_job ON v_job.job = artifact.job_id AND v_job.study = :study"
        " JOIN sae_checkpoint ON sae_checkpoint.job_id = artifact.job_id"
        " WHERE artifact.name = 'history' AND v_job.state = 'done' ORDER BY sae, block",
        {"study": study},
    )
    for row in rows(trained):
        history = record.blobs.load_table(row.blob)
        for name in history.columns.drop("step"):
            for step, value in zip(history.step, history[name], strict=True):
                yield Point(f"{row.sae}/block {row.block}/{name}", float(value), int(step))


def captures(record: Record, study: str, stage: str) -> Iterator[Capture]:
    """What a stage captured, one dataset a capture."""
    shards = record.query(
        "SELECT shard.*, v_job.key AS key FROM v_activation_shard AS shard"
        " JOIN capture ON capture.id = shard.capture"
        " JOIN v_job ON v_job.job = capture.job_id AND v_job.study = shard.study"
        " WHERE shard.study = :study AND v_job.stage = :stage ORDER BY shard.capture, block, first_row",
        {"study": study, "stage": stage},
    )
    for _, mine in shards.groupby("capture"):
        first = mine.iloc[0]
        yield Capture(
            name=f"{first.model} {first.key}",
            sha256=digest(list(mine.blob)),
            source=record.settings.blobs_url or record.settings.blobs.as_uri(),
            profile={
                "rows": int(mine.groupby("block").n_rows.sum().iloc[0]),
                "blocks": sorted({int(block) for block in mine.block}),
                "width": int(first.d),
                "dtype": str(first["dtype"]),
                "positions": str(first.positions),
                "shards": len(mine),
                "bytes": int(mine.bytes.sum()),
            },
        )


def saes(record: Record, study: str) -> Iterator[Sae]:
    """The study's autoencoders."""
    trained = record.query(
        "SELECT v_sae.*, blob.suffix AS suffix FROM v_sae JOIN blob ON blob.sha256 = v_sae.blob"
        " WHERE study = :study ORDER BY sae, block",
        {"study": study},
    )
    for row in rows(trained):
        path = record.blobs.path(row.blob, row.suffix)
        yield Sae(f"{row.sae}-block-{row.block}", path, row.blob, row.bytes, json.loads(row.config))


def flat(config: Any, key: str = "") -> dict[str, str]:
    """Nested settings as dotted keys; a list of named sections goes by their names."""
    items: list[tuple[str, Any]]
    if isinstance(config, Mapping):
        items = list(config.items())
    elif isinstance(config, list) and config and all(isinstance(c, Mapping) and "name" in c for c in config):
        items = [(c["name"], {k: v for k, v in c.items() if k != "name"}) for c in config]
    else:
        return {key: config if isinstance(config, str) else json.dumps(config)}
    found: dict[str, str] = {}
    for name, value in items:
        found |= flat(value, f"{key}.{name}" if key else str(name))
    return found


def _shared(configs: list[Any]) -> dict[str, str]:
    """Settings of a stage's jobs; where they differ, the different values."""
    seen: dict[str, dict[str, None]] = {}
    for config in configs:
        for key, value in flat(config).items():
            seen.setdefault(key, {})[value] = None
    return {key: ", ".join(values) for key, values in seen.items()}


def _distinct(values: "pd.Series[Any]") -> str:
    text: Callable[[Any], str] = lambda value: str(value).lower() if isinstance(value, bool) else str(value)  # noqa: E731
    return ", ".join(dict.fromkeys(text(value) for value in values.dropna()))
