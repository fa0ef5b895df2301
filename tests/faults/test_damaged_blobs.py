"""A blob that decays before the unit that needs it reads it: refused by name, found, forgotten, computed again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tdlens.settings import Settings
from tests.faults.places import Rows, storm
from tests.faults.preloaded import Preloaded
from tests.faults.storm_study import ONLY, UNITS

PLAYS = 6
SHARDS = """
SELECT job.key AS unit, activation_shard.blob AS blob FROM activation_shard
JOIN capture ON capture.id = activation_shard.capture_id JOIN job ON job.id = capture.job_id
WHERE activation_shard.block = 1
"""


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(content)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-8])


DAMAGES: dict[str, tuple[Callable[[Path], None], str, str]] = {
    "0": (flip, "is corrupt", "content"),
    "1": (truncate, "is corrupt", "size"),
    "2": (Path.unlink, "is missing", "missing"),
}
"""What happens to the blob of each play: to the file, what a reader says, what fsck calls it."""


def test_a_damaged_blob_is_refused_found_and_made_again(
    own: Settings, preloaded: Preloaded, tmp_path: Path, storm_rows: Callable[[int], Rows]
) -> None:
    place = storm(preloaded, tmp_path, own, plays=PLAYS, seconds=0.0)
    first = place.set(**{ONLY: "play"}).run()
    assert first.returncode == 0, first.said
    with place.record() as record:
        shards = record.query(SHARDS)
        paths = {unit: record.blobs.path(blob, "safetensors") for unit, blob in shards.itertuples(index=False)}
    for unit, (damage, _, _) in DAMAGES.items():
        damage(paths[unit])

    refused = place.run("--executor", "local", "--workers", "2")
    assert refused.returncode == 2 and "3 units failed" in refused.said, refused.said
    jobs = place.query("SELECT stage, key, state, error FROM job").set_index(["stage", "key"])
    for unit, (_, says, _) in DAMAGES.items():
        digest = jobs.loc["digest", unit]
        assert digest.state == "failed"
        assert f"The blob {paths[unit]} {says}" in digest.error and "tdlens doctor --repair" in digest.error
    assert (jobs.state == "done").sum() == UNITS * PLAYS - len(DAMAGES)  # a damaged blob stops nobody else

    found = place.tdlens("fsck", "--full")
    assert found.returncode == 1, found.said
    lines = [line for line in found.said.splitlines() if "sha256" in line]
    assert len(lines) == len(DAMAGES)
    for unit, (_, _, kind) in DAMAGES.items():
        assert any(line.startswith(kind) and str(paths[unit]) in line and f"play {unit}" in line for line in lines)

    repaired = place.tdlens("doctor", "--repair")
    assert repaired.returncode == 0, repaired.said
    again = place.run()
    assert again.returncode == 0 and f"{UNITS * len(DAMAGES)} units computed" in again.said, again.said
    assert place.rows() == storm_rows(PLAYS)
    assert place.damage() == []
