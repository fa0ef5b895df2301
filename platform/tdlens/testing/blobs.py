"""Blobs and the rows that name them: fsck and gc."""

import os
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from sqlalchemy import select, text

from tdlens.errors import BlobVanished
from tdlens.fsck import check_blobs
from tdlens.garbage import collect
from tdlens.record import (
    ActivationShard,
    Artifact,
    Blob,
    Capture,
    ConceptSignal,
    ConceptVector,
    Job,
    JobParent,
    Model,
    Record,
    SaeCheckpoint,
    StudyJob,
    current_study,
    record_blob,
)
from tdlens.testing.backend import Backend
from tdlens.testing.rows import make_job


def kinds(record: Record, *, full: bool = True) -> list[str]:
    return sorted(finding.kind for finding in check_blobs(record, full=full))


def age(record: Record, seconds: float) -> None:
    for file in record.blobs.stored():
        path = record.blobs.path(file.sha256, file.suffix)
        os.utime(path, (path.stat().st_mtime - seconds,) * 2)


class BlobTests(Backend):
    """What is found damaged, and what may go."""

    @pytest.fixture
    def shard(self, record: Record) -> tuple[Record, Path]:
        """A record with one activation shard and its file."""
        blob = record.blobs.put_tensors({"activations": torch.zeros(6, 4), "mean": torch.zeros(4)})
        with record.session() as session:
            job = make_job(session, "shard", state="done", lease_until=None, finished_at=pd.Timestamp.now("UTC"))
            model = Model(
                name="m", source="", fingerprint="f", architecture="llama", n_blocks=1, d_model=4, n_parameters=1,
                dtype="float32",
            )  # fmt: skip
            session.add(model)
            session.flush()
            capture = Capture(
                job_id=job.id, model_id=model.id, positions="decision", hook="block_output", dtype="float32", n_rows=6
            )
            session.add(capture)
            record_blob(session, blob)
            session.flush()
            about: dict[str, Any] = {"block": 1, "first_row": 0, "n_rows": 6, "d": 4, "dtype": "float32"}
            session.add(ActivationShard(capture_id=capture.id, blob=blob.sha256, **about))
        return record, record.blobs.path(blob.sha256, "safetensors")

    def test_an_intact_record(self, shard: tuple[Record, Path]) -> None:
        assert kinds(shard[0]) == []

    def test_damage_of_each_kind_is_found(self, shard: tuple[Record, Path]) -> None:
        record, path = shard
        whole = path.read_bytes()
        path.unlink()
        assert kinds(record, full=False) == ["missing"]
        path.write_bytes(whole[:-1])
        assert kinds(record, full=False) == ["size"]
        flipped = bytearray(whole)
        flipped[-1] ^= 1
        path.write_bytes(flipped)
        assert kinds(record, full=False) == [] and kinds(record) == ["content"]
        path.write_bytes(whole)
        record.blobs.put_bytes(b"left by a killed run", "bin")
        assert kinds(record) == ["orphan"]

    @pytest.mark.parametrize("change", ["n_rows = 5", "d = 3", "dtype = 'bfloat16'"])
    def test_a_shape_other_than_recorded_is_found(self, shard: tuple[Record, Path], change: str) -> None:
        record = shard[0]
        with record.session() as session:
            session.execute(text(f"UPDATE activation_shard SET {change}"))  # noqa: S608
        assert kinds(record, full=False) == [] and kinds(record) == ["shape"]

    def test_gc_deletes_what_nothing_names_once_it_is_old(self, shard: tuple[Record, Path]) -> None:
        record, kept = shard
        orphan = record.blobs.put_bytes(b"orphan", "bin")
        found = collect(record, grace=3600)
        assert (found.files, found.kept) == ([], 1)
        age(record, 4000)
        looked = collect(record, grace=3600, dry_run=True)
        assert [file.sha256 for file in looked.files] == [orphan.sha256] and looked.bytes == 6
        assert record.blobs.size(orphan.sha256, "bin") == 6
        assert collect(record, grace=3600) == looked
        assert record.blobs.size(orphan.sha256, "bin") is None and kept.exists() and kinds(record) == []

    def test_gc_spares_what_a_unit_in_progress_may_be_about_to_name(self, record: Record) -> None:
        with record.session() as session:
            make_job(session, "live", started_at=pd.Timestamp.now("UTC") - pd.Timedelta(hours=10))
        record.blobs.put_bytes(b"of the unit", "bin")
        age(record, 5 * 3600)  # older than the grace period, younger than the unit
        assert collect(record, grace=3600).kept == 1
        age(record, 6 * 3600)
        assert collect(record, grace=3600).kept == 0

    def test_a_lease_that_ran_out_holds_nothing(self, record: Record) -> None:
        then = pd.Timestamp.now("UTC") - pd.Timedelta(hours=10)
        with record.session() as session:
            make_job(session, "dead", started_at=then, lease_until=then)
        record.blobs.put_bytes(b"of the unit", "bin")
        age(record, 5 * 3600)
        assert len(collect(record, grace=3600).files) == 1

    def test_gc_forgets_blobs_that_no_row_names_any_more(self, shard: tuple[Record, Path]) -> None:
        record, path = shard
        with record.session() as session:
            session.execute(text("DELETE FROM activation_shard"))
        age(record, 10)
        found = collect(record, grace=0)
        assert len(found.rows) == len(found.files) == 1 and not path.exists()
        with record.session(read_only=True) as session:
            assert session.scalars(select(Blob)).all() == []

    def test_gc_forgets_results_of_earlier_revisions_only_when_asked(self, record: Record) -> None:
        def study(number: int, *identities: str) -> None:
            with record.session() as session:
                study_id = current_study(session, name="demo", title="", config={"number": number}).id
                for identity in identities:
                    job = session.scalars(select(Job).where(Job.identity == identity)).one()
                    session.add(StudyJob(study_id=study_id, job_id=job.id))

        done: dict[str, object] = {"state": "done", "lease_until": None, "finished_at": pd.Timestamp.now("UTC")}
        with record.session() as session:
            ids = {
                name: make_job(session, name, key=name, **done).id for name in ("shared", "old", "child", "nobody's")
            }
            for child, parent in (("old", "shared"), ("child", "old")):
                session.add(JobParent(job_id=ids[child], parent_id=ids[parent]))
            blob = record_blob(session, record.blobs.put_bytes(b"old", "bin"))
            session.add(Artifact(job_id=ids["child"], name="result", blob=blob))
        study(1, "shared", "old", "child")
        study(2, "shared")
        age(record, 10)
        assert collect(record, grace=0).jobs == []
        wanted = ["play nobody's", "play child", "play old"]
        for dry_run in (True, True, False):
            found = collect(record, grace=0, old_revisions=True, dry_run=dry_run)
            assert (found.jobs, found.rows, len(found.files)) == (wanted, [blob], 1)
        with record.session(read_only=True) as session:
            assert session.scalars(select(Job.identity)).all() == ["shared"]
        assert list(record.blobs.stored()) == []

    def test_gc_spares_what_a_unit_in_progress_of_no_study_reads(self, record: Record) -> None:
        done = {"state": "done", "lease_until": None, "finished_at": pd.Timestamp.now("UTC")}
        with record.session() as session:
            first, second = make_job(session, "first", **done), make_job(session, "second", **done)
            live = make_job(session, "live")
            for child, parent in ((second, first), (live, second)):
                session.add(JobParent(job_id=child.id, parent_id=parent.id))
        assert collect(record, grace=0, old_revisions=True).jobs == []

    def test_gc_spares_an_earlier_revision_that_is_being_computed(self, record: Record) -> None:
        with record.session() as session:
            study_id = current_study(session, name="demo", title="", config={}).id
            done = {"state": "done", "lease_until": None, "finished_at": pd.Timestamp.now("UTC")}
            for job in (make_job(session, "parent", **done), make_job(session, "live")):
                session.add(StudyJob(study_id=study_id, job_id=job.id))
            current_study(session, name="demo", title="", config={"another": 1})
        assert collect(record, grace=0, old_revisions=True).jobs == []

    def test_gc_spares_autoencoders_that_concept_vectors_are_compared_with(self, record: Record) -> None:
        done = {"state": "done", "lease_until": None, "finished_at": pd.Timestamp.now("UTC")}
        blob = record.blobs.put_bytes(b"weights", "bin")
        with record.session() as session:
            before, trained, bridge = (make_job(session, name, **done) for name in ("before", "trained", "bridge"))
            session.add(JobParent(job_id=trained.id, parent_id=before.id))
            model = Model(
                name="m", source="", fingerprint="f", architecture="llama", n_blocks=1, d_model=4, n_parameters=1,
                dtype="float32",
            )  # fmt: skip
            session.add(model)
            session.flush()
            sae = SaeCheckpoint(
                job_id=trained.id, model_id=model.id, name="sae", block=1, architecture="topk", d_in=4, d_latents=8,
                config={}, blob=record_blob(session, blob), seed=0,
            )  # fmt: skip
            session.add(sae)
            session.flush()
            numbers = dict.fromkeys(
                ("cosine", "cosine_low", "cosine_high", "cosine_p", "share", "share_high", "share_p"), 0.5
            )
            session.add(
                ConceptSignal(
                    job_id=bridge.id, sae_id=sae.id, training="maze", concept="gold", block=1, signal="td_error",
                    n_latents=1, **numbers,
                )
            )  # fmt: skip
            study = current_study(session, name="maze", title="", config={})
            session.add(StudyJob(study_id=study.id, job_id=bridge.id))
        assert collect(record, grace=0, old_revisions=True).jobs == []
        with record.session() as session:
            current_study(session, name="maze", title="", config={"another": 1})
        assert collect(record, grace=0, old_revisions=True).jobs == ["play all"] * 3

    def test_a_shape_other_than_a_concept_vectors_model_has_is_found(self, shard: tuple[Record, Path]) -> None:
        record = shard[0]
        blob = record.blobs.put_tensors({"gold": torch.zeros(2, 4), "mold": torch.zeros(2, 4)})
        with record.session() as session:
            model, job = session.scalars(select(Model)).one(), session.scalars(select(Job)).one()
            about: dict[str, Any] = {"job_id": job.id, "model_id": model.id, "training": None, "step": None}
            about |= dict.fromkeys(("norm", "stream_norm", "auroc", "cohen_d", "overlap"), 0.5)
            about |= {"variant": "standard", "chosen": False, "n": 3, "blob": record_blob(session, blob)}
            for concept in ("gold", "mold"):
                session.add_all(ConceptVector(**about, concept=concept, block=block) for block in (0, 1))
        assert kinds(record) == []
        with record.session() as session:
            session.execute(text("UPDATE concept_vector SET concept = 'path' WHERE concept = 'mold'"))
        assert kinds(record) == ["shape"]

    def test_a_blob_deleted_before_its_row_is_noticed(self, record: Record) -> None:
        blob = record.blobs.put_bytes(b"abc", "bin")
        age(record, 10)
        collect(record, grace=0)
        with pytest.raises(BlobVanished), record.session() as session:
            record_blob(session, blob)
        with record.session(read_only=True) as session:
            assert session.scalars(select(Blob)).all() == []
