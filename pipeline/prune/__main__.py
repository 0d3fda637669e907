"""Lists the runs of an output, and deletes old ones that no kept run refers to.

    python -m pipeline.prune upscaled/
    python -m pipeline.prune s3://shop/upscaled --keep 7
    python -m pipeline.prune s3://shop/upscaled --keep 1 --compact --images

Without `--keep`, `--compact` or `--images` it changes nothing. It refuses to work while a run is
going on, and no run starts while it works. After a kill the same command does the rest. In a local
output it also deletes what killed processes left half written, under hidden names.
"""

import argparse
import dataclasses
import sys
from collections.abc import Callable

from model.command_line import CommandParser
from pipeline import text
from pipeline.options.declaration import place
from pipeline.prune import deletion
from pipeline.prune.compaction import compact, count_images
from pipeline.prune.inventory import State, StoredRun, read_runs
from pipeline.prune.lock import pruning
from pipeline.read import s3_access
from pipeline.records import RunError
from pipeline.redaction import redact
from pipeline.runs import finished
from pipeline.runs.layout import Layout
from pipeline.runtime import startup
from pipeline.storage.base import Storage, StorageError


def main(argv: list[str]) -> int:
    """Runs the command.

    Args:
        argv: the arguments without the program's name.

    Returns:
        The exit status: 0, or 1 if there is no run, a run is going on, or rows cannot be read.

    Raises:
        SystemExit: with status 2 for a wrong command line; with 0 after `--help`.
    """
    options = _parse(argv)
    try:
        files = s3_access.open_runs(options)
        runs = read_runs(files, options.output)
        print(describe(runs))
        if options.dry_run or not (options.keep or options.compact or options.images):
            _foretell(files, runs, options)
            return 0
        with pruning(files, options.output) as check:
            _prune(files, options, check)
    except (RunError, StorageError, OSError) as error:
        print(f"pipeline.prune: {error}", file=sys.stderr)
        return 1
    return 0


def _parse(argv: list[str]) -> argparse.Namespace:
    parser = CommandParser("pipeline.prune", __doc__, clean=redact)
    add = parser.add_argument
    add("output", type=place, help="the --output of the runs")
    add(
        "--keep",
        type=int,
        help="delete runs beyond this many newest finished ones, unless a run "
        "that stays refers to them; default: delete none",
    )
    add(
        "--compact",
        action="store_true",
        help="first copy images that the newest finished run "
        "refers to into its folder, so that older runs can go",
    )
    add(
        "--images",
        action="store_true",
        help="delete images that the job wrote under images/ and that no row of the remaining "
        "runs names; other files stay",
    )
    add("--unfinished", action="store_true", help="with --keep: delete runs that did not end, too")
    add("--dry_run", action="store_true", help="say what would be deleted, and change nothing")
    s3_access.add_options(parser)
    options = parser.parse_args(argv)
    if options.keep is not None and options.keep < 1:
        parser.error(f"--keep is 1 or more: {options.keep}")
    if options.unfinished and options.keep is None:
        parser.error("--unfinished needs --keep")
    return options


def describe(runs: list[StoredRun]) -> str:
    """Lists runs for people: size, rows, what they refer to, and what refers to them.

    Args:
        runs: of `read_runs`.

    Returns:
        A line for each run.
    """
    width = max(len(run.run_id) for run in runs)
    return "\n".join(
        f"{run.run_id:<{width}}  {text.size(run.size_bytes):>9}  "
        + ", ".join(filter(None, (_content(run), *_references(run, runs))))
        for run in runs
    )


def _content(run: StoredRun) -> str:
    if run.state is not State.FINISHED or run.rows is None:
        return run.state.value
    part = f" of a part of the catalog: {run.selection}" if str(run.selection) else ""
    return text.count(run.rows, "row") + part


def _references(run: StoredRun, runs: list[StoredRun]) -> list[str]:
    """Who points to a run's images, and where its own rows point to."""
    pointed = [other.run_id for other in runs if run.run_id in other.refers_to]
    points = [f"{images:,} of its images in run {one}" for one, images in run.refers_to.items()]
    return [
        f"referred to by {', '.join(pointed)}" if pointed else "",
        *sorted(points),
        run.problem,
        "locked" if run.has_lock else "",
    ]


def _foretell(files: Storage, runs: list[StoredRun], options: argparse.Namespace) -> None:
    """Prints what `_prune` would do, if all images that `--compact` copies can be read."""
    if options.compact:
        runs = _foretell_copies(files, options.output, runs)
    if options.keep:
        choice = deletion.choose(runs, keep=options.keep, unfinished_too=options.unfinished)
        for run in choice.goes:
            print(f"would delete run {run.run_id}: {text.size(run.size_bytes)}")
        _tell_stays("would keep", choice, options.keep)
        runs = [run for run in runs if run.run_id in choice.stays]
    if options.images:
        images = deletion.unnamed_images(files, options.output, runs)
        print(f"would delete {_sum(images)} under images/")
    if unfinished := deletion.unfinished_files(options.output):
        print(f"would delete {_sum(unfinished)} that killed processes left half written")


def _foretell_copies(files: Storage, output: str, runs: list[StoredRun]) -> list[StoredRun]:
    """Prints what `_compact` would do; returns the runs as they would be afterwards."""
    newest = _latest(files, output)
    images = count_images(files, Layout(output, newest))
    print(f"would copy {text.count(images, 'image')} into run {newest}")
    return [
        dataclasses.replace(run, refers_to={}) if run.run_id == newest else run for run in runs
    ]


def _prune(files: Storage, options: argparse.Namespace, check: Callable[[], None]) -> None:
    """Compacts, deletes runs and deletes images, with the lock held."""
    output = options.output
    if options.compact:
        _compact(files, output, check)
    runs = read_runs(files, output)
    if options.keep:
        choice = deletion.choose(runs, keep=options.keep, unfinished_too=options.unfinished)
        for run in choice.goes:
            deletion.delete_run(files, output, run, check=check)
            print(f"deleted run {run.run_id}: {text.size(run.size_bytes)}")
        _tell_stays("kept", choice, options.keep)
        runs = [run for run in runs if run.run_id in choice.stays]
    if options.images:
        images = deletion.unnamed_images(files, output, runs)
        deletion.delete_files(files, output, images, check=check)
        print(f"deleted {_sum(images)} under images/")
    if unfinished := deletion.unfinished_files(output):
        deletion.delete_files(files, output, unfinished, check=check)
        print(f"deleted {_sum(unfinished)} that killed processes left half written")
    finished.name_latest(files, output)


def _tell_stays(verb: str, choice: deletion.Choice, keep: int) -> None:
    """Prints why runs stay, and what helps where each night is a catalog of its own."""
    for run_id, why in choice.stays.items():
        print(f"{verb} run {run_id}: {why}")
    if choice.catalogs > keep and not choice.goes:
        print(
            f"no run can go: they are of {choice.catalogs} catalogs, each of which keeps its "
            f"newest {keep}. Manifests are one catalog if their names differ in a date alone: "
            "give them such names, or copy each to the same place first"
        )


def _compact(files: Storage, output: str, check: Callable[[], None]) -> None:
    newest = _latest(files, output)
    done = compact(files, Layout(output, newest), check=check)
    copied = f"{text.count(done.images, 'image')}, {text.size(done.image_bytes)}"
    print(f"copied {copied} into run {newest}")
    if done.lost:
        print(f"{text.count(done.lost, 'image')} cannot be read and were not copied; see the log")


def _latest(files: Storage, output: str) -> str:
    newest = finished.latest_finished(files, output)
    if newest is None:
        raise RunError(f"--compact: there is no finished run under {output}")
    return newest


def _sum(images: list) -> str:
    size_bytes = sum(item.size_bytes for item in images)
    return f"{text.count(len(images), 'file')}, {text.size(size_bytes)},"


if __name__ == "__main__":
    sys.exit(startup.run_command("pipeline.prune", main))
