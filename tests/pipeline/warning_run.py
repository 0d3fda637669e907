"""A run whose processes warn; see runtime/test_logs.py.

python -m tests.pipeline.warning_run upscaler | worker | upscaler+worker <options of Beam>
"""

import logging
import sys
import warnings

from tests.pipeline import started  # noqa: F401 - first, as in run_pipeline.py

# isort: split
import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions

from model.network import presets
from pipeline import dofns, job
from pipeline.runtime import logs
from pipeline.upscale.processes import UpscalerProcesses
from tests.pipeline.conftest import make_plan


def warn(who):
    """Warns in both ways, in two lines."""
    warnings.warn(f"{who}: Python\nas well", stacklevel=1)
    logging.getLogger("pipeline.step").warning("%s: we\nas well", who)


def step(who, settings):
    dofns.join_run(settings)
    warn(who)


def main(kinds, *beam_arguments):
    logs.name_run("night1")
    plan = make_plan(run_id="night1")
    if "upscaler" in kinds:
        processes = UpscalerProcesses(presets.resolve("rdn-small"), plan, 1)
        processes._pool.submit(warn, "upscaler").result()  # noqa: SLF001
    if "worker" in kinds:
        warn_in_worker(plan, beam_arguments)


def warn_in_worker(plan, beam_arguments):
    options = PipelineOptions(beam_arguments)
    runner = job._runner(beam_arguments) or job._local_runner(options)  # noqa: SLF001
    with beam.Pipeline(runner=runner, options=options) as run:
        _ = run | beam.Create(["worker"]) | beam.Map(step, plan.settings)


if __name__ == "__main__":
    main(*sys.argv[1:])
