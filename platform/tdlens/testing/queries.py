"""SQL by users: what it answers, and that it can't change anything."""

import json
import time
from datetime import UTC
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from sqlalchemy import func, inspect, select, text
from sqlalchemy.exc import IntegrityError

from tdlens.errors import BadQuery
from tdlens.identity import digest
from tdlens.record import Episode, LatentPredicate, Record, Rollout, SteeringEffect, Step
from tdlens.record.views import VIEWS
from tdlens.testing.backend import Backend
from tdlens.testing.rows import make_job

CHANGES = [
    "DELETE FROM step",
    "INSERT INTO study_job (study_id, job_id) VALUES (1, 1)",
    "UPDATE step SET reward = 99",
    "DROP TABLE step",
    "DROP VIEW v_step",
    "CREATE TABLE mine (x INTEGER)",
    "CREATE TEMPORARY TABLE mine (x INTEGER)",
    "SELECT 1; DELETE FROM step",
    "COMMIT; DROP TABLE step CASCADE",
    "SELECT 1; COMMIT; DROP TABLE step CASCADE",
    "END; BEGIN; DELETE FROM step; COMMIT",
    "WITH gone AS (DELETE FROM step RETURNING id) SELECT * FROM gone",
    "WITH x AS (SELECT 1) DELETE FROM step",
    "SELECT 1 /* ; */ ; -- \n DELETE FROM step",
    "COMMIT",
    "ROLLBACK",
]
SQLITE_CHANGES = [
    "PRAGMA query_only = OFF",
    "PRAGMA user_version = 7",
    "ATTACH DATABASE '{folder}/other.db' AS other",
    "VACUUM INTO '{folder}/copy.db'",
    "VACUUM",
    "SELECT load_extension('{folder}/evil.so')",
]
POSTGRESQL_CHANGES = [
    "SET TRANSACTION READ WRITE",
    "SELECT set_config('transaction_read_only', 'off', false)",
    "SELECT nextval('step_id_seq')",
    "SELECT * INTO mine FROM step",
    "COPY step TO '{folder}/step.csv'",
    "COPY (SELECT 1) TO PROGRAM 'touch {folder}/touched'",
    "DO $$ BEGIN DELETE FROM step; END $$",
    "PREPARE x AS DELETE FROM step",
    "EXPLAIN ANALYZE DELETE FROM step",
]


def fingerprint(record: Record) -> tuple[object, ...]:
    with record.session(read_only=True) as session:
        count, total = session.execute(select(func.count(), func.sum(Step.reward))).one()
    return count, total, len(record.query("SELECT * FROM v_step"))


class QueryTests(Backend):
    """What `Record.query` answers and refuses."""

    @pytest.mark.parametrize("view", VIEWS)
    def test_views_have_their_documented_columns_and_rows(self, filled: Record, view: str) -> None:
        rows = filled.query(f"SELECT * FROM {view}")  # noqa: S608
        assert tuple(rows.columns) == VIEWS[view]
        assert len(rows) >= 1
        assert set(rows.study) == {"demo"}

    def test_every_view_is_documented(self, filled: Record) -> None:
        assert set(inspect(filled.engine).get_view_names()) == {*VIEWS, "v_study_job"}

    def test_values_look_alike_on_both_databases(self, filled: Record) -> None:
        steps = filled.query("SELECT * FROM v_step WHERE intervention = 'none' ORDER BY step")
        assert list(steps.done) == [False, True] and steps.done.dtype == bool
        assert list(steps.reward) == [0.0, 8.0] and steps.reward.dtype == float
        assert steps.p_chosen.isna().tolist() == [False, True]
        job = filled.query("SELECT * FROM v_job WHERE stage = 'play'").iloc[0]
        assert job.config == '{"n": 3}'
        assert job.started.tzinfo is not None and job.started.utcoffset() == pd.Timedelta(0)
        assert abs(time.time() - job.started.astimezone(UTC).timestamp()) < 600
        assert job.finished is None or pd.isna(job.finished)
        mean = filled.query("SELECT avg(reward) AS mean, sum(action) AS n FROM v_step")
        assert mean["mean"].dtype == float and mean["mean"].item() == 4.0

    def test_an_intervention_has_its_rollouts_and_their_task(self, filled: Record) -> None:
        returns = filled.query("SELECT intervention, return FROM v_episode ORDER BY intervention")
        assert returns.values.tolist() == [["none", 8.0], ["zero td", 8.0]]
        effect = filled.query("SELECT task, difference FROM v_intervention_effect").iloc[0]
        assert effect.tolist() == ["two_step", -1.0]

    def test_play_without_a_network_has_a_policy_and_no_model(self, filled: Record) -> None:
        with filled.session() as session:
            known = session.scalars(select(Rollout)).first()
            assert known is not None
            job_id, task_id = known.job_id, known.task_id
            for policy in ("optimal", "random"):
                rollout = Rollout(
                    job_id=job_id, task_id=task_id, policy=policy, seed=1, index=0, n_steps=1, transcript=""
                )
                session.add(rollout)
                session.flush()
                episode = Episode(rollout_id=rollout.id, index=0, return_=-1.0, forced=False)
                session.add(episode)
                session.flush()
                session.add(
                    Step(
                        episode_id=episode.id, rollout_id=rollout.id, index=0, state=0, action=0, reward=-1.0,
                        next_state=-1, done=True, forced=False,
                    )
                )  # fmt: skip
        for view, last in (("v_episode", "outcome"), ("v_step", "token_position")):
            shown = filled.query(f"SELECT policy, model, {last} AS last FROM {view} WHERE policy <> 'model' ORDER BY 1")  # noqa: S608
            assert shown.policy.to_list() == ["optimal", "random"]
            assert shown.model.isna().all() and shown["last"].isna().all()
        ends = filled.query("SELECT DISTINCT outcome FROM v_episode WHERE policy = 'model'")
        assert ends.outcome.to_list() == ["won"]

    def test_examples_and_predicates_are_of_the_autoencoders_model(self, filled: Record) -> None:
        example = filled.query("SELECT model, sae, block, q_effect FROM v_latent_example").iloc[0]
        assert example.to_list()[:3] == ["reference", "topk", 1] and json.loads(example.q_effect) == [0.25, -0.5]
        with filled.session() as session:
            known = session.scalars(select(LatentPredicate)).one()
            columns: dict[str, Any] = {
                **{"job_id": known.job_id, "model_id": known.model_id, "block": 1, "latent": 0, "predicate": "at_2"},
                **{"family": "at", "f1": 0.1, "precision": 0.1, "recall": 0.1, "n_true": 3, "n_fired": 2},
            }
            session.add(LatentPredicate(**columns, source="raw"))
        shown = filled.query("SELECT source, sae FROM v_latent_predicate ORDER BY source")
        assert shown.source.to_list() == ["raw", "sae"]
        assert shown.sae.isna().to_list() == [True, False] and shown.sae[1] == "topk"
        with pytest.raises(IntegrityError, match="ck_latent_predicate_source"), filled.session() as session:
            session.add(LatentPredicate(**columns | {"source": "stream"}))

    def test_heads_are_named_by_layer(self, filled: Record) -> None:
        score = filled.query("SELECT task, block, layer, head, name FROM v_head_score").iloc[0]
        assert score.to_list() == ["original", 2, 1, 1, "1.1"]
        pair = filled.query("SELECT name, other_block, other_layer, other_head, other_name FROM v_head_pair").iloc[0]
        assert pair.to_list() == ["1.1", 2, 1, 0, "1.0"]
        for view, name in (("v_head_measure", "1.1"), ("v_head_label", "1.1"), ("v_planted_circuit", "1.0")):
            shown = filled.query(f"SELECT block, layer, name FROM {view}").iloc[0]  # noqa: S608
            assert shown.to_list() == [2, 1, name]
        with pytest.raises(IntegrityError, match="ck_head_score_split"), filled.session() as session:
            session.execute(text("UPDATE head_score SET split = 'test'"))

    def test_a_search_has_its_policy_and_its_rollouts_their_heads(self, filled: Record) -> None:
        search = filled.query("SELECT search, best_of, blob FROM v_circuit_search").iloc[0]
        assert search.to_list() == ["ppo_k5/0", 5, digest("safetensors")]
        steps = filled.query("SELECT search, step, head, score, best_score, oracle FROM v_search_step ORDER BY step")
        assert steps.values.tolist() == [["ppo_k5/0", 0, "0.1", 0.0, 1.0, 1.5], ["ppo_k5/0", 1, "0.0", 8.0, 1.0, 1.5]]
        episode = filled.query("SELECT * FROM v_search_episode").iloc[0]
        assert (episode.task, episode.model, episode.episode) == ("original", "reference", 0)
        assert (episode.best_head, episode.oracle_head) == ("0.1", "1.1") and episode.share == pytest.approx(2 / 3)
        rollout = int(filled.query("SELECT rollout FROM v_episode WHERE intervention = 'none'").rollout.item())
        assert episode.rollout == rollout
        with filled.session() as session:
            session.execute(text("UPDATE circuit_search SET n_heads = 1, best_of = NULL"))
            session.execute(text("DELETE FROM artifact WHERE name = 'policy'"))
        assert filled.query("SELECT head FROM v_search_step ORDER BY step")["head"].to_list() == ["1.0", "0.0"]
        untrained = filled.query("SELECT best_of, blob FROM v_circuit_search").iloc[0]
        assert untrained.isna().all()

    def test_a_model_is_shown_for_what_was_done_with_it(self, filled: Record) -> None:
        for tables, shown in (
            ((), ["reference", "reference:maze"]),
            (("capture", "head_score"), ["reference", "reference:maze"]),
            (("maze_checkpoint", "maze_progress", "maze_training"), ["reference:maze"]),
            (("concept_vector",), []),
        ):
            with filled.session() as session:
                for table in tables:
                    session.execute(text(f"DELETE FROM {table}"))  # noqa: S608
            assert filled.query("SELECT model FROM v_model ORDER BY model").model.to_list() == shown

    def test_a_model_that_was_read_or_ablated_alone_is_shown(self, filled: Record) -> None:
        with filled.session() as session:
            session.execute(text("DELETE FROM maze_training"))
        for table in ("capture", "head_score"):
            assert "reference" in filled.query("SELECT model FROM v_model").model.to_list()
            with filled.session() as session:
                session.execute(text(f"DELETE FROM {table}"))  # noqa: S608
        assert filled.query("SELECT model FROM v_model").model.to_list() == ["reference:maze"]

    def test_trainings_and_their_vectors_name_their_models(self, filled: Record) -> None:
        training = filled.query("SELECT training, base, model, seed FROM v_maze_training").iloc[0]
        assert training.to_list() == ["maze", "reference", "reference:maze", 2**40]
        progress = filled.query("SELECT study, training, step, mean_return FROM v_maze_progress").iloc[0]
        assert progress.to_list() == ["demo", "maze", 1, -1.5]
        checkpoint = filled.query("SELECT training, step, model FROM v_maze_checkpoint").iloc[0]
        assert checkpoint.to_list() == ["maze", 100, "reference:maze"]
        for view in ("v_concept_vector", "v_concept_cosine", "v_emotion_cosine", "v_emotion_component"):
            shown = filled.query(f"SELECT model, training, variant, concept, block FROM {view}").iloc[0]  # noqa: S608
            assert shown.to_list() == ["reference:maze", "maze", "standard", "gold", 1]
        for view in ("v_concept_latent", "v_concept_signal"):
            shown = filled.query(f"SELECT training, concept, sae, block, signal FROM {view}").iloc[0]  # noqa: S608
            assert shown.to_list() == ["maze", "gold", "topk", 1, "td_error"]

    def test_a_steered_text_has_its_condition_once(self, filled: Record) -> None:
        with filled.session() as session:
            known = session.scalars(select(SteeringEffect)).one()
            columns = {column.key: getattr(known, column.key) for column in SteeringEffect.__mapper__.column_attrs}
            del columns["id"]
            session.add_all(
                [
                    SteeringEffect(**columns | {"dose": -1.0}),
                    SteeringEffect(**columns | {"group": "harmful"}),
                ]
            )
        shown = filled.query("SELECT training, reader, concept, source, evaluation, dose, text FROM v_steered_text")
        assert shown.values.tolist() == [["maze", "naive", "gold", "trained", "refusal", 1.0, "Gladly."]]
        groups = filled.query("SELECT grp FROM v_steering_effect ORDER BY grp, dose").grp.to_list()
        assert groups == ["all", "all", "harmful"]
        for table, column in (
            ("steering_effect", "dose_kind"),
            ("steering_effect", "source"),
            ("goal_tracking", "source"),
        ):
            with pytest.raises(IntegrityError, match=f"ck_{table}_{column}"), filled.session() as session:
                session.execute(text(f"UPDATE {table} SET {column} = 'other'"))  # noqa: S608

    def test_metrics_become_columns(self, filled: Record) -> None:
        sae = filled.query("SELECT * FROM v_sae").iloc[0]
        assert sae.explained_variance == 0.9
        assert pd.isna(sae.dead)

    def test_parameters_are_bound(self, filled: Record) -> None:
        sql = "SELECT count(*) AS n FROM v_step WHERE study = :study AND reward > :low AND study <> ':study %s'"
        assert filled.query(sql, {"study": "demo", "low": 1.0}).n.item() == 2
        assert filled.query(sql, {"study": "x' OR '1'='1", "low": 0.0}).n.item() == 0

    def test_percent_signs_and_colons_are_plain_text_without_parameters(self, filled: Record) -> None:
        assert filled.query("SELECT 7 % 4 AS rest, ' :x' AS colon").values.tolist() == [[3, " :x"]]
        assert len(filled.query("SELECT * FROM v_step WHERE study LIKE 'de%'; ")) == 4

    def test_nothing_can_be_changed(self, filled: Record, tmp_path: Path) -> None:
        before = fingerprint(filled)
        folder = tmp_path / "out"
        folder.mkdir()
        folder.chmod(0o777)
        own = SQLITE_CHANGES if filled.settings.sqlite_path else POSTGRESQL_CHANGES
        for change in CHANGES + own:
            with pytest.raises(BadQuery):
                print(change, filled.query(change.format(folder=folder)))
        assert fingerprint(filled) == before
        assert list(folder.iterdir()) == []

    def test_unknown_view_lists_the_views(self, record: Record) -> None:
        with pytest.raises(BadQuery, match="v_stepp") as caught:
            record.query("SELECT * FROM v_stepp")
        assert "v_latent_correlation" in caught.value.remedy

    @pytest.mark.parametrize("sql", ["SELEC 1", "", "SELECT nothing FROM v_step", "SELECT 1 FROM", "SELECT :x"])
    def test_mistakes_are_named(self, record: Record, sql: str) -> None:
        with pytest.raises(BadQuery, match=r"The database refused the query: .+"):
            record.query(sql)

    def test_missing_parameter(self, record: Record) -> None:
        with pytest.raises(BadQuery, match="x"):
            record.query("SELECT 1 AS one WHERE 1 = :x", {"y": 1})

    def test_reading_does_not_wait_for_a_writer(self, filled: Record) -> None:
        with filled.session() as session:
            make_job(session, "unpublished")
            assert "unpublished" not in set(filled.query("SELECT identity FROM job").identity)
