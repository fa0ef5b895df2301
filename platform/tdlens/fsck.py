"""Are the blobs as the record says? Rows without files, files without rows, wrong sizes, contents and shapes."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pyarrow
import pyarrow.parquet

from tdlens.blobs import BlobStore
from tdlens.errors import CorruptBlob, MissingBlob
from tdlens.record import Record
from tdlens.rows import rows

Kind = Literal["missing", "size", "content", "shape", "orphan"]

MAKERS = """
SELECT artifact.blob AS blob, job.id AS id, stage, key FROM artifact JOIN job ON job.id = artifact.job_id
UNION SELECT sae_checkpoint.blob, job.id, stage, key
FROM sae_checkpoint JOIN job ON job.id = sae_checkpoint.job_id
UNION SELECT activation_shard.blob, job.id, stage, key
FROM activation_shard JOIN capture ON capture.id = activation_shard.capture_id
JOIN job ON job.id = capture.job_id
UNION SELECT concept_vector.blob, job.id, stage, key
FROM concept_vector JOIN job ON job.id = concept_vector.job_id
"""
"""Which jobs made each blob."""
SHARDS = "SELECT blob, n_rows, d, dtype FROM activation_shard"
SAES = "SELECT blob, d_in, d_latents FROM sae_checkpoint"
MATRICES = """
SELECT blob, sum(n_live) AS n_rows FROM coverage WHERE blob IS NOT NULL GROUP BY analysis_id, block, blob
"""
VECTORS = """
SELECT blob, concept, n_blocks, d_model FROM concept_vector JOIN model ON model.id = concept_vector.model_id
GROUP BY blob, concept, n_blocks, d_model
"""
DTYPES = {"float32": "F32", "bfloat16": "BF16", "float16": "F16"}
"""Names in the record and in a safetensors header."""


@dataclass(frozen=True)
class Finding:
    """Something that isn't as recorded."""

    kind: Kind
    sha256: str
    suffix: str
    text: str

    @property
    def damage(self) -> bool:
        """Whether results are touched; an orphan only takes space."""
        return self.kind != "orphan"


def check_blobs(record: Record, *, full: bool, advance: Callable[[int], None] = lambda n: None) -> Iterator[Finding]:
    """Compares every blob with its row.

    Args:
        full: also read every blob, and compare content and shape.
        advance: is called with the number of bytes looked at.
    """
    blobs = record.query("SELECT sha256, suffix, bytes FROM blob ORDER BY sha256")
    stored = {file.sha256: file for file in record.blobs.stored()}
    shapes = _shapes(record) if full else {}
    for blob in rows(blobs):
        where = record.blobs.address(blob.sha256, blob.suffix)
        file = stored.pop(blob.sha256, None)
        if file is None:
            yield Finding("missing", blob.sha256, blob.suffix, f"{where} is missing")
        elif file.bytes != blob.bytes:
            found = f"{where} has {file.bytes} bytes instead of {blob.bytes}"
            yield Finding("size", blob.sha256, blob.suffix, found)
        elif full:
            yield from _check_content(record.blobs, blob.sha256, blob.suffix, shapes.get(blob.sha256, []))
        advance(int(blob.bytes))
    for file in stored.values():
        where = record.blobs.address(file.sha256, file.suffix)
        yield Finding("orphan", file.sha256, file.suffix, f"{where} ({file.bytes} bytes) is named by no row")


def makers(record: Record) -> dict[str, str]:
    """Who made each blob, for people."""
    return {row.blob: f"{row.stage} {row.key}, job {row.id}" for row in rows(record.query(MAKERS))}


Expected = tuple[str, Any]
"""What a row says of its blob's shape: a kind of row, and the row."""


def _shapes(record: Record) -> dict[str, list[Expected]]:
    found: dict[str, list[Expected]] = {}
    for kind, sql in (("shard", SHARDS), ("sae", SAES), ("matrix", MATRICES), ("vector", VECTORS)):
        for row in rows(record.query(sql)):
            found.setdefault(row.blob, []).append((kind, row))
    return found


def _check_content(store: BlobStore, sha256: str, suffix: str, expected: list[Expected]) -> Iterator[Finding]:
    try:
        path = store.check(sha256, suffix)
    except (CorruptBlob, MissingBlob) as error:
        yield Finding("content", sha256, suffix, error.message)
        return
    for kind, row in expected:
        where = store.address(sha256, suffix)
        try:
            if kind == "matrix":
                n_rows = pyarrow.parquet.read_metadata(path).num_rows
                if n_rows != row.n_rows:
                    yield Finding("shape", sha256, suffix, f"{where} has {n_rows} correlations instead of {row.n_rows}")
                continue
            tensors = _header(path)
        except (pyarrow.ArrowInvalid, ValueError, AttributeError) as error:
            yield Finding("shape", sha256, suffix, f"{where} is no {suffix} file: {error}")
            continue
        if kind in ("shard", "vector"):
            name, wanted = _tensor_of(kind, row)
            found = tensors.get(name, {})
            if {about: found.get(about) for about in wanted} != wanted:
                yield Finding("shape", sha256, suffix, f"{where} holds {found or f'no {name}'} instead of {wanted}")
        elif not any(sorted(tensor["shape"]) == sorted([row.d_in, row.d_latents]) for tensor in tensors.values()):
            yield Finding(
                "shape", sha256, suffix, f"{where} has no weights of {row.d_in} features x {row.d_latents} latents"
            )


def _tensor_of(kind: str, row: Any) -> tuple[str, dict[str, Any]]:
    """The name of the tensor that a row of activations or of a concept's vectors is about, with its shape and type."""
    if kind == "shard":
        return "activations", {"shape": [row.n_rows, row.d], "dtype": DTYPES.get(row.dtype, row.dtype)}
    return row.concept, {"shape": [row.n_blocks + 1, row.d_model], "dtype": "F32"}


def _header(path: Path) -> dict[str, dict[str, Any]]:
    """Shapes and types of a safetensors file's tensors, from its beginning."""
    with path.open("rb") as file:
        header = json.loads(file.read(min(1 << 27, int.from_bytes(file.read(8), "little"))))
    return {name: about for name, about in header.items() if name != "__metadata__"}
