"""The job as Beam transforms: thin wrappers around functions that know no Beam.

Every outcome is a record on one output, and nothing is looked up beside it: tagged outputs merged
again, or a side input from the same entries, would break the fusion of the last stage and send
pictures through the runner's memory.
"""

import collections
import concurrent.futures
import hashlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import apache_beam as beam
from apache_beam.metrics import Metrics
from apache_beam.transforms.window import GlobalWindow
from apache_beam.utils.shared import Shared
from apache_beam.utils.windowed_value import WindowedValue

from model import presets
from model.inference import Magnifier
from pipeline import manifest, storage
from pipeline.magnify import PictureWorker, Work
from pipeline.options import Settings
from pipeline.records import CatalogEntry, Job, RunError, Shard
from pipeline.rows import Row
from pipeline.sink import ShardWriter
from pipeline.storage import Storage, StorageError
from pipeline.summary import finish_run

# Results that wait for measuring and encoding while the device goes on.
_BEHIND = 4


def build(pipeline: beam.Pipeline, settings: Settings) -> None:
    """Puts the whole job on a pipeline; the same picture's way as drawn in the README.

    Args:
        pipeline: of any runner.
        settings: checked, with the model's digest filled in.
    """
    mentions = pipeline | "ReadCatalog" >> ReadCatalog(settings)
    entries = mentions | "OnePerUri" >> OnePerUri()
    shards = (
        entries
        | "Identify" >> Identify(settings)
        | "JoinPrevious" >> JoinPrevious(settings)
        | "MagnifyAndWrite" >> MagnifyAndWrite(settings).with_hint()
    )
    _ = shards | "Summarise" >> Summarise(settings, mentions, entries)


class ReadCatalog(beam.PTransform):
    """The manifest or prefix as `CatalogEntry`s, one for each mention."""

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        self._settings = settings

    def expand(self, pcoll: Any) -> Any:
        """Beam: from the pipeline's begin."""
        return (
            pcoll
            | "Input" >> beam.Create([self._settings.input])
            | "Read" >> beam.FlatMap(read_catalog, self._settings)
        )


def read_catalog(source: str, settings: Settings) -> Iterator[CatalogEntry]:
    """See `manifest.read_catalog`."""
    files = storage.open_storage(settings.storage)
    return manifest.read_catalog(files, source, settings.allow_schemes)


class OnePerUri(beam.PTransform):
    """Keeps the first mention of each URI."""

    def expand(self, pcoll: Any) -> Any:
        """Beam: entries to entries with distinct URIs."""
        return (
            pcoll
            | "KeyByUri" >> beam.WithKeys(lambda entry: entry.uri)
            | "First" >> beam.CombinePerKey(earliest)
            | "DropKey" >> beam.Values()
        )


def earliest(entries: Iterable[CatalogEntry]) -> CatalogEntry:
    """The mention that comes first in the manifest."""
    return min(entries, key=lambda entry: entry.position)


class Identify(beam.PTransform):
    """Adds etag and size where the listing did not give them, many requests at a time."""

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        self._settings = settings

    def expand(self, pcoll: Any) -> Any:
        """Beam: entries to entries."""
        return pcoll | "Ask" >> beam.ParDo(_IdentifyDoFn(self._settings))


def identify(files: Storage, entry: CatalogEntry) -> CatalogEntry:
    """Asks the storage for an entry's etag and size, unless they are known or it was rejected."""
    if entry.reason is not None or entry.etag is not None:
        return entry
    try:
        found = files.identify(entry.location)
    except StorageError as error:
        return entry.rejected(error.reason, error.detail)
    return entry._replace(etag=found.etag, size_bytes=found.size_bytes)


class _IdentifyDoFn(beam.DoFn):
    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def setup(self) -> None:
        self._files = storage.open_storage(self._settings.storage)
        self._threads = concurrent.futures.ThreadPoolExecutor(2 * self._settings.look_ahead)

    def start_bundle(self) -> None:
        self._waiting: collections.deque = collections.deque()

    def process(self, entry: CatalogEntry) -> Iterator[CatalogEntry]:
        self._waiting.append(self._threads.submit(identify, self._files, entry))
        if len(self._waiting) > 4 * self._settings.look_ahead:
            yield self._waiting.popleft().result()

    def finish_bundle(self) -> Iterator[WindowedValue]:
        while self._waiting:
            yield _global(self._waiting.popleft().result())

    def teardown(self) -> None:
        self._threads.shutdown(cancel_futures=True)


class JoinPrevious(beam.PTransform):
    """Joins URIs of equal content into one `Job`, by content key.

    The last shuffle: small records only. What follows runs fused, from the URI to the file.
    """

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        self._fingerprint = settings.fingerprint

    def expand(self, pcoll: Any) -> Any:
        """Beam: entries to jobs."""
        return (
            pcoll
            | "KeyByContent" >> beam.WithKeys(content_key, self._fingerprint)
            | "SameContent" >> beam.GroupByKey()
            | "Job" >> beam.MapTuple(make_job)
        )


def content_key(entry: CatalogEntry, fingerprint: str) -> str:
    """Identity of a picture's content together with what will be done to it.

    Args:
        entry: identified or rejected.
        fingerprint: see `Settings.fingerprint`.

    Returns:
        32 hexadecimal digits; for a rejected entry `uri:` and its URI, a key of its own.
    """
    if entry.reason is not None:
        return f"uri:{entry.uri}"
    identity = f"{entry.etag}\n{entry.size_bytes}\n{fingerprint}"
    return hashlib.sha256(identity.encode()).hexdigest()[:32]


def make_job(key: str, entries: Iterable[CatalogEntry]) -> Job:
    """The entries of one content key, in the manifest's order."""
    ordered = tuple(sorted(entries, key=lambda entry: entry.position))
    return Job(None if ordered[0].reason is not None else key, ordered)


class MagnifyAndWrite(beam.PTransform):
    """Jobs to staged shards, in one fused stage: no picture's bytes leave it but into a file.

    An accelerator hint belongs here, on the whole composite: on one step inside it would make
    the runner cut the stage, and the pictures cross the cut.
    """

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        self._settings = settings

    def expand(self, pcoll: Any) -> Any:
        """Beam: jobs to shards."""
        return (
            pcoll
            | "Magnify" >> beam.ParDo(_MagnifyDoFn(self._settings))
            | "WriteRows" >> beam.ParDo(_WriteRowsDoFn(self._settings))
        )

    def with_hint(self) -> "MagnifyAndWrite":
        """This transform with the run's accelerator hint, if it has one."""
        if self._settings.accelerator:
            return self.with_resource_hints(accelerator=self._settings.accelerator)
        return self


class _MagnifyDoFn(beam.DoFn):
    """Keeps threads busy around the device.

    process:   job ─> [prepare … prepare]  ─>  compute  ─>  [finish … finish] ─> rows
                       look-ahead threads      this thread    the same threads
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._shared = Shared()

    def setup(self) -> None:
        files = storage.open_storage(self._settings.storage)
        # One network for all threads of a process.
        magnifier = self._shared.acquire(lambda: load_magnifier(files, self._settings))
        self._worker = PictureWorker(files, magnifier, self._settings)
        self._threads = concurrent.futures.ThreadPoolExecutor(self._settings.look_ahead)

    def start_bundle(self) -> None:
        self._ahead: collections.deque = collections.deque()
        self._behind: collections.deque = collections.deque()

    def process(self, job: Job) -> Iterator[Row]:
        self._ahead.append(self._threads.submit(self._worker.prepare, job))
        if len(self._ahead) > self._settings.look_ahead:
            self._compute_next()
            while len(self._behind) > _BEHIND:
                yield from self._next_rows()

    def finish_bundle(self) -> Iterator[WindowedValue]:
        while self._ahead or self._behind:
            if self._ahead:
                self._compute_next()
            while len(self._behind) > (_BEHIND if self._ahead else 0):
                yield from map(_global, self._next_rows())

    def teardown(self) -> None:
        self._threads.shutdown(cancel_futures=True)

    def _compute_next(self) -> None:
        work: Work = self._worker.compute(self._ahead.popleft().result())
        self._behind.append(self._threads.submit(self._worker.finish, work))

    def _next_rows(self) -> list[Row]:
        rows: list[Row] = self._behind.popleft().result()
        for row in rows:
            Metrics.counter("rows", str(row.status)).inc()
            if row.reason is not None:
                Metrics.counter("reasons", row.reason).inc()
            if row.inference_ms is not None:
                Metrics.distribution("magnify", "inference_ms").update(int(row.inference_ms))
        return rows


def load_magnifier(files: Storage, settings: Settings) -> Magnifier:
    """Loads the run's network in a worker.

    Raises:
        RunError: if it cannot be read, or is not the one with which the run began.
    """
    saved = read_model(files, settings.model)
    if saved.sha256 != settings.model_sha256:
        raise RunError(f"the model {settings.model} changed since the run began")
    try:
        return Magnifier(presets.load(saved))
    except presets.ModelError as error:
        raise RunError(str(error)) from error


def read_model(files: Storage, name: str) -> presets.SavedModel:
    """Reads a shipped model by name, another one from a path or S3 URI.

    Raises:
        RunError: if there is none.
    """
    try:
        if name in presets.PRESETS:
            return presets.resolve(name)
        if storage.scheme_of(name) not in ("s3", "file", ""):
            raise RunError(f"--model {name}: use a shipped name, a path or an s3:// URI")
        return presets.from_bytes(name, files.read(name))
    except presets.ModelError as error:
        raise RunError(f"--model: {error}") from error
    except StorageError as error:
        raise RunError(
            f"--model {name}: {error.detail}; shipped models: {', '.join(presets.PRESETS)}"
        ) from error


class _WriteRowsDoFn(beam.DoFn):
    """Rows to staged shards; only small records leave it."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def setup(self) -> None:
        files = storage.open_storage(self._settings.storage)
        self._writer = ShardWriter(files, self._settings.staging_folder)

    def start_bundle(self) -> None:
        self._writer.abandon()  # what a failed bundle left

    def process(self, row: Row) -> Iterator[Shard]:
        shard = self._writer.add(row)
        if shard is not None:
            yield shard

    def finish_bundle(self) -> Iterator[WindowedValue]:
        shard = self._writer.close()
        if shard is not None:
            yield _global(shard)

    def teardown(self) -> None:
        self._writer.abandon()


class Summarise(beam.PTransform):
    """Publishes the shards, reconciles rows with URIs, writes the summary."""

    def __init__(self, settings: Settings, mentions: Any, entries: Any) -> None:
        super().__init__()
        self._settings = settings
        self._mentions = mentions
        self._entries = entries

    def expand(self, pcoll: Any) -> Any:
        """Beam: shards to the one summary."""
        count: Callable = beam.combiners.Count.Globally
        return (
            pcoll
            | "AllShards" >> beam.combiners.ToList()
            | "Finish"
            >> beam.Map(
                summarise_shards,
                self._settings,
                uris=beam.pvalue.AsSingleton(self._entries | "CountUris" >> count()),
                mentions=beam.pvalue.AsSingleton(self._mentions | "CountMentions" >> count()),
            )
        )


def summarise_shards(
    shards: list[Shard], settings: Settings, *, uris: int, mentions: int
) -> dict[str, Any]:
    """See `summary.finish_run`; what it cannot read or write stops the run."""
    files = storage.open_storage(settings.storage)
    try:
        return finish_run(files, settings, shards, uris=uris, mentions=mentions)
    except StorageError as error:
        raise RunError(f"cannot finish the run in {settings.output}: {error.detail}") from error


def _global(value: Any) -> WindowedValue:
    """A value that leaves a bundle at its end."""
    return WindowedValue(value, GlobalWindow().max_timestamp(), [GlobalWindow()])
