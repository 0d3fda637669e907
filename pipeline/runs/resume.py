"""The start of a run: a new one, one that goes on after a kill, or one that is finished."""

import dataclasses
import json
import logging

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.records import RunError, Shard
from pipeline.runs.layout import Layout
from pipeline.settings import OPTIONS, RunPlan
from pipeline.storage import locations
from pipeline.storage.base import Storage, StorageError
from pipeline.storage.ranged import open_ranged
from pipeline.storage.routing import list_if_any

_log = logging.getLogger(__name__)


def claim(files: Storage, plan: RunPlan) -> None:
    """Writes the run's settings, or checks that a run with this id began with the same.

    Raises:
        RunError: if it began with others, or the output cannot be written.
    """
    settings, uri = plan.settings, Layout.of(plan.settings).started
    ours = dataclasses.asdict(settings) | {
        "model_sha256": plan.model_sha256,
        "started_at": plan.started_at.isoformat(),
    }
    text = json.dumps(ours, indent=2) + "\n"
    try:
        if files.create(uri, text.encode()):
            return
        theirs = json.loads(files.read(uri))
    except StorageError as error:
        raise RunError(f"--output {settings.output} cannot be written: {error.detail}") from error
    plain = json.loads(text)
    must_match = [option.name for option in OPTIONS.values() if option.resume_must_match]
    for name in (*must_match, "model_sha256"):
        if theirs.get(name) != plain[name]:
            raise RunError(
                f"run {settings.run_id} began with --{name} {theirs.get(name)}, now it is "
                f"{plain[name]}: go on with the same options, or take another --run_id"
            )


def recover(files: Storage, layout: Layout) -> tuple[Shard, ...]:
    """Finds what an earlier attempt of this run has finished, and removes its leftovers.

    Complete shards are kept, unless their rows are in another one too. Parts that were published
    just before the run was killed go back among the shards, so that a run without _SUCCESS has no
    rows in sight.

    Args:
        files: where the run writes.
        layout: of the run, whose lock this process holds.

    Returns:
        The shards to publish with those that this try will make.

    Raises:
        RunError: if they cannot be read.
    """
    try:
        for uri in list_if_any(files, layout.rows):
            name = uri.rpartition("/")[2]
            if name.endswith(".parquet"):
                files.move(uri, locations.join(layout.staging, name))
        shards = _disjoint(files, list_if_any(files, layout.staging))
    except StorageError as error:
        raise RunError(f"cannot go on with run {layout.run_id}: {error.detail}") from error
    if shards:
        rows = sum(shard.rows for shard in shards)
        _log.warning("run %s goes on: %d rows are finished already", layout.run_id, rows)
    return shards


def _disjoint(files: Storage, uris: list[str]) -> tuple[Shard, ...]:
    """Shards whose rows are in no other; the larger of two that overlap stays."""
    found: list[tuple[Shard, set[str]]] = []
    for uri in uris:
        rows = _uris_of(files, uri)
        size_bytes = files.identify(uri).size_bytes if rows else 0
        found.append((Shard(uri, len(rows), size_bytes), rows))
    kept: list[Shard] = []
    seen: set[str] = set()
    for shard, rows in sorted(found, key=lambda one: (-one[0].rows, one[0].uri)):
        if rows and seen.isdisjoint(rows):
            kept.append(shard)
            seen |= rows
        else:
            files.delete(shard.uri)
    return tuple(kept)


def _uris_of(files: Storage, uri: str) -> set[str]:
    """The URIs in a shard; empty for what is no complete shard."""
    if not uri.endswith(".parquet"):
        return set()
    try:
        with open_ranged(files, uri) as file:
            return set(pq.ParquetFile(file).read(columns=["uri"])["uri"].to_pylist())
    except (pa.ArrowInvalid, pa.ArrowException, OSError):
        return set()
