"""Upscales the small images of a catalog.

    python run_pipeline.py --input s3://shop/manifest.csv --output s3://shop/upscaled
    python run_pipeline.py --input images/ --output upscaled/

`--help` shows all options; the README describes the output.
"""

import datetime
import sys

from model.startup import collection_paused
from pipeline.runs.interruption import Ending
from pipeline.runtime import logs, scratch, startup


def main(argv: list[str]) -> int:
    """Parses the command line, then loads Beam and runs the job.

    Args:
        argv: the arguments without the program's name.

    Returns:
        The exit status: see `pipeline.job.run`.

    Raises:
        SystemExit: with status 2 for a wrong command line; with 0 after `--help`.
    """
    from pipeline import cli  # noqa: PLC0415 - after `run_command` has prepared numpy

    started_at = datetime.datetime.now(datetime.UTC)
    settings, beam_arguments = cli.parse(argv, started_at)
    logs.name_run(settings.run_id, settings.log_format)
    ending = Ending(settings.run_id, can_continue=not settings.dry_run)
    with ending.on_signals():
        try:
            scratch.use_own_folder()
        except OSError as error:
            place = f" in {error.filename}" if error.filename else ""
            problem = f"cannot write temporary files{place}: {error.strerror}"
            logs.complain(f"{problem}; free space, or set TMPDIR")
            return 1
        ending.before(scratch.remove_own_folder)
        with collection_paused():
            from pipeline import job  # noqa: PLC0415 - imports Beam

    return job.run_parsed(settings, beam_arguments, started_at)


if __name__ == "__main__":
    sys.exit(startup.run_command("run_pipeline.py", main))
elif __name__ == "__mp_main__":  # in a process of --workers
    startup.join_parent()
