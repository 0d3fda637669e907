"""Takes stock of an output: its runs with their files, and which run's images a run refers to."""

import collections
import datetime
import enum
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.catalog.seen import NOT_KNOWN, Seen
from pipeline.catalog.selection import Selection
from pipeline.records import RunError
from pipeline.runs import finished, reader
from pipeline.runs.layout import Layout
from pipeline.runs.reader import UnreadableRowsError
from pipeline.storage import locations
from pipeline.storage.base import Storage, StoredObject
from pipeline.storage.routing import list_if_any

# Local listings spell the equals sign as %3D.
_ROWS_FILE = re.compile(r".*/run_id(?:=|%3D)([^/]+)/[^/]+", re.DOTALL)
# The run that holds the image of a pointer into a Parquet file.
_HOLDER = r"(?:^|/)(?:rows/run_id(?:=|%3D)(?P<a>[^/]+)|runs/(?P<b>[^/]+)/images)/[^/]+#row=[0-9]+$"
_DRY_RUN = {"estimate.json"}
# Marks a run whose deletion has begun.
DELETING = "_DELETING"


class State(enum.StrEnum):
    """What a run's files say about it.

    Example:
        >>> State.FINISHED.value
        'finished'
    """

    FINISHED = "finished"
    # It can be continued with its run_id.
    UNFINISHED = "unfinished"
    # A deletion was interrupted.
    REMAINS = "half deleted"
    DRY_RUN = "dry run"


@dataclass(frozen=True)
class StoredRun:
    """A run as it lies in the storage.

    Attributes:
        run_id: its id.
        files: all its files, in `rows/` and `runs/`; not those in `images/`.
        finished_at: by its summary, else when `_SUCCESS` was written; None without that file.
        rows: number of rows; None if the run is not finished.
        seen: the part of which catalog it saw.
        refers_to: number of images by the run whose Parquet files hold them, other than itself.
        problem: why references may be incomplete; empty otherwise.

    Example:
        for run in read_runs(files, "s3://shop/upscaled"):
            print(run.run_id, run.size_bytes)
    """

    run_id: str
    files: tuple[StoredObject, ...]
    finished_at: datetime.datetime | None = None
    rows: int | None = None
    seen: Seen = NOT_KNOWN
    refers_to: Mapping[str, int] = field(default_factory=dict)
    problem: str = ""

    @property
    def selection(self) -> Selection:
        """The part of its catalog that it saw."""
        return self.seen.selection

    @property
    def size_bytes(self) -> int:
        """Size of all files."""
        return sum(item.size_bytes for item in self.files)

    @property
    def state(self) -> State:
        """Whether the run is finished; see `State`."""
        names = {item.uri.rpartition("/")[2] for item in self.files}
        if self.finished_at is not None:
            return State.FINISHED
        if names == _DRY_RUN:
            return State.DRY_RUN
        # A run that begins again writes run.json first, and a deletion removes it first.
        is_marked = DELETING in names and not names & {"run.json", "lock.json"}
        return State.REMAINS if is_marked else State.UNFINISHED

    @property
    def has_lock(self) -> bool:
        """Whether a process works on the run, or one has died."""
        return any(item.uri.endswith("/lock.json") for item in self.files)


def read_runs(files: Storage, output: str) -> list[StoredRun]:
    """Reads what runs there are, and the pointers of their rows.

    Args:
        files: storage of the runs.
        output: folder or prefix that holds all runs.

    Returns:
        The runs, the newest finished one first, those without `_SUCCESS` last.

    Raises:
        RunError: if there is no run, or the storage does not answer.
    """
    found = _files_by_run(files, output)
    if not found:
        raise RunError(f"there is no run under {output}")
    runs = [_read_run(files, Layout(output, one), items) for one, items in found.items()]
    oldest = datetime.datetime.min.replace(tzinfo=datetime.UTC)
    return sorted(runs, key=lambda run: (run.finished_at or oldest, run.run_id), reverse=True)


def _files_by_run(files: Storage, output: str) -> dict[str, list[StoredObject]]:
    layout = Layout(output, "")
    found: dict[str, list[StoredObject]] = collections.defaultdict(list)
    for item in list_if_any(files, locations.join(output, "rows")):
        if match := _ROWS_FILE.fullmatch(item.uri):
            found[match[1]].append(item)
    for item in list_if_any(files, layout.runs):
        run_id, slash, _ = locations.path_below(layout.runs, item.uri).partition("/")
        if slash and not run_id.startswith("."):  # not latest.json, nor this command's lock
            found[run_id].append(item)
    return dict(found)


def _read_run(files: Storage, layout: Layout, items: list[StoredObject]) -> StoredRun:
    successes = [item.modified_at for item in items if item.uri.endswith("/_SUCCESS")]
    refers_to: collections.Counter[str] = collections.Counter()
    rows, problem = 0, ""
    for part in parts_among(items):
        try:
            for *_, batch in reader.read_batches(files, [part], ["image_uri"]):
                rows += batch.num_rows
                refers_to.update(filter(None, holders(batch["image_uri"])))
        except UnreadableRowsError as error:
            problem = str(error)
    refers_to.pop(layout.run_id, None)
    try:
        summary = finished.read_summary(files, layout)
    except RunError as error:
        summary, problem = None, problem or str(error)
    return StoredRun(
        layout.run_id,
        tuple(items),
        finished_at=(finished.end_of(summary) or max(successes)) if successes else None,
        rows=rows if successes else None,
        seen=Seen.of_summary(summary),
        refers_to=dict(refers_to),
        problem=problem,
    )


def parts_among(items: Iterable[StoredObject]) -> list[str]:
    """Returns the URIs of a run's Parquet files of rows, staged ones included."""
    return [
        item.uri
        for item in items
        if item.uri.endswith(".parquet") and not _is_copied_images(item.uri)
    ]


def _is_copied_images(uri: str) -> bool:
    return uri.rpartition("/")[0].endswith("/images")


def holders(image_uris: pa.Array) -> list[str | None]:
    """Returns the run ids of the Parquet files that pointers name; None for other pointers.

    Args:
        image_uris: values of the column `image_uri`, relative or absolute.

    Example:
        >>> holders(pa.array(["rows/run_id=n1/part-0.parquet#row=7", "images/ab/abc.png", None]))
        ['n1', None, None]
    """
    found = pc.extract_regex(image_uris, _HOLDER)
    in_rows, in_copies = (pc.struct_field(found, name) for name in ("a", "b"))
    return pc.if_else(pc.equal(in_rows, ""), in_copies, in_rows).to_pylist()
