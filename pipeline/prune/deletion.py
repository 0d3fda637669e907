"""Decides which runs can go, and deletes them so that a kill in between loses nothing else."""

import concurrent.futures
import re
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass

from pipeline.prune.inventory import DELETING, State, StoredRun, parts_among
from pipeline.records import RunError
from pipeline.runs import reader
from pipeline.runs.layout import OWN_FOLDERS, Layout
from pipeline.storage import local, locations
from pipeline.storage.base import Storage, StoredObject
from pipeline.storage.routing import list_if_any

_THREADS = 16
# What the job writes under images/: named by content key, in a folder of its first two digits.
_IMAGE = re.compile(r"([0-9a-f]{2})/\1[0-9a-f]{30}\.[a-z]+")
# Deleted first, one after the other: from then on the run is neither continued nor reused.
_FIRST = ("run.json", "_SUCCESS")


@dataclass(frozen=True)
class Choice:
    """What becomes of the runs of an output.

    Attributes:
        goes: runs that can be deleted, in this order: the newest first, whose rows may refer to
            images of the others.
        stays: the ids of all others, with the reason.
        catalogs: how many catalogs the finished runs among them are of.

    Example:
        choice = choose(runs, keep=7)
        for run in choice.goes:
            delete_run(files, "s3://shop/upscaled", run, check=lambda: None)
    """

    goes: tuple[StoredRun, ...]
    stays: dict[str, str]
    catalogs: int = 0


def choose(runs: Sequence[StoredRun], *, keep: int, unfinished_too: bool = False) -> Choice:
    """Decides which runs can be deleted.

    Args:
        runs: of `read_runs`, the newest finished one first.
        keep: number of finished runs to keep in any case, at least 1. A run counts against
            another one only if it saw all of the catalog that the other one saw: a trial on a few
            images lets no full run go, nor does a run on another catalog (`Seen`).
        unfinished_too: whether runs that did not end can go, with what they have finished.

    Raises:
        RunError: if the rows of a run that stays cannot be read.
    """
    finished = [run for run in runs if run.state is State.FINISHED]
    stays = {}
    for number, run in enumerate(finished):
        if sum(newer.seen.covers(run.seen) for newer in finished[:number]) < keep:
            of_catalog = f" of {run.seen.catalog}" if run.seen.catalog else ""
            stays[run.run_id] = f"one of the newest {keep}{of_catalog}"
    for run in runs:
        if run.state is State.DRY_RUN:
            stays[run.run_id] = "an estimate only"
        if run.state is State.UNFINISHED and not unfinished_too:
            stays[run.run_id] = f"not finished: continue it with --run_id {run.run_id}"
    _add_referenced({run.run_id: run for run in runs}, stays)
    catalogs = {run.seen.catalog for run in finished if run.run_id in stays}
    return Choice(tuple(run for run in runs if run.run_id not in stays), stays, len(catalogs))


def _add_referenced(runs: dict[str, StoredRun], stays: dict[str, str]) -> None:
    """Adds the runs that hold images of those that stay, and so on."""
    waiting = list(stays)
    while waiting:
        run = runs[waiting.pop()]
        if run.problem:
            raise RunError(
                f"nothing is deleted: {run.problem}; run {run.run_id} stays, and the runs that "
                "its rows refer to are unknown: restore the file, or delete the run by hand"
            )
        for holder, images in run.refers_to.items():
            if holder in runs and holder not in stays:
                stays[holder] = f"holds {images:,} images of run {run.run_id}"
                waiting.append(holder)


def delete_run(files: Storage, output: str, run: StoredRun, *, check: Callable[[], None]) -> None:
    """Deletes the files of a run; after a kill the next call for it deletes the rest.

    Args:
        files: storage of the runs.
        output: folder or prefix that holds all runs.
        run: to delete.
        check: raises an error if another process took over; called before the first deletion.

    Raises:
        StorageError: if a file cannot be deleted.
    """
    layout = Layout(output, run.run_id)
    check()
    mark = locations.join(layout.folder, DELETING)
    files.write(mark, b"")
    uris = {item.uri for item in run.files if not item.uri.endswith(f"/{DELETING}")}
    for name in _FIRST:
        files.delete(locations.join(layout.folder, name))
    _delete_all(files, uris)
    files.delete(mark)
    remove_empty_folders(layout.rows)
    remove_empty_folders(layout.folder)


def unnamed_images(files: Storage, output: str, runs: Iterable[StoredRun]) -> list[StoredObject]:
    """Lists the images that the job wrote under `images/` and no row of some runs names.

    Files with other names are somebody else's, and are never listed.

    Args:
        files: storage of the runs.
        output: folder or prefix that holds all runs.
        runs: all that stay; memory grows with their images, 100 bytes each.

    Raises:
        RunError: if rows cannot be read.
    """
    named: set[str] = set()
    for run in runs:
        for *_, batch in reader.read_batches(files, parts_among(run.files), ["image_uri"]):
            for image_uri in batch["image_uri"].drop_null().unique().to_pylist():
                if reader.split_pointer(image_uri) is None:
                    named.update(_below_images(image_uri))
    folder = Layout(output, "").images
    return [
        item
        for item in list_if_any(files, folder)
        if _IMAGE.fullmatch(path := locations.path_below(folder, item.uri)) and path not in named
    ]


def delete_files(
    files: Storage, output: str, items: Collection[StoredObject], *, check: Callable[[], None]
) -> None:
    """Deletes `unnamed_images` or `unfinished_files` of an output; see `delete_run`."""
    check()
    _delete_all(files, {item.uri for item in items})
    remove_empty_folders(Layout(output, "").images)


def unfinished_files(output: str) -> list[StoredObject]:
    """Lists what killed processes left half written among a local output's files.

    Args:
        output: folder or prefix that holds all runs; while one goes on, its files are listed, too.

    Raises:
        StorageError: if a file cannot be looked at.
    """
    folders = (locations.join(output, name) for name in OWN_FOLDERS)
    return [item for folder in folders for item in local.unfinished_files(folder)]


def remove_empty_folders(folder: str) -> None:
    """Removes a local folder and those in it that hold no file; S3 has no folders."""
    if locations.scheme_of(folder) == "s3":
        return
    root = locations.local_path(folder)
    with local.local_errors():
        deepest_first = sorted(
            (path for path in root.rglob("*") if path.is_dir()),
            key=lambda path: len(path.parts),
            reverse=True,
        )
        for path in [*deepest_first, root]:
            if path.is_dir() and not any(path.iterdir()):
                path.rmdir()


def _below_images(image_uri: str) -> list[str]:
    """The paths within `images/` that a pointer may mean.

    An absolute one may be older than a move of the output: all that it may mean is kept.
    """
    if image_uri.startswith("images/"):
        return [image_uri.removeprefix("images/")]
    if locations.scheme_of(image_uri) == "file":
        image_uri = str(locations.local_path(image_uri))
    names = image_uri.split("/images/")
    return ["/images/".join(names[start:]) for start in range(1, len(names))]


def _delete_all(files: Storage, uris: Collection[str]) -> None:
    with concurrent.futures.ThreadPoolExecutor(_THREADS) as threads:
        for _ in threads.map(files.delete, uris):
            pass
