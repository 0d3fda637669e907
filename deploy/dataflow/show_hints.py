"""Shows which steps of the job ask the runner for an accelerator, or the whole of Beam's proto.

    python -m deploy.dataflow.show_hints --input s3://shop/manifest.csv \\
      --output s3://shop/upscaled --accelerator "type:nvidia-tesla-t4;count:1" [--whole]

Takes the options of `run_pipeline.py`; nothing is run or asked of a cloud.
"""

import datetime
import sys
from typing import TYPE_CHECKING

from pipeline import cli
from pipeline.runtime import startup
from pipeline.settings import RunPlan

if TYPE_CHECKING:
    from apache_beam.portability.api.beam_runner_api_pb2 import Pipeline

_ACCELERATOR = "beam:resources:accelerator:v1"


def job_proto(argv: list[str]) -> "Pipeline":
    """The job as every runner gets it.

    Raises:
        SystemExit: with status 2 for a wrong command line.
    """
    now = datetime.datetime.now(datetime.UTC)
    settings, beam_arguments = cli.parse(argv, now)
    plan = RunPlan(settings, now, model_sha256="", workers=1, compute_dtype="float32")
    import apache_beam as beam  # noqa: PLC0415 - after the command line is parsed
    from apache_beam.options.pipeline_options import PipelineOptions  # noqa: PLC0415
    from apache_beam.runners.portability.fn_api_runner import FnApiRunner  # noqa: PLC0415

    from pipeline import graph  # noqa: PLC0415

    job = beam.Pipeline(runner=FnApiRunner(), options=PipelineOptions(beam_arguments))
    graph.build(job, plan)
    return job.to_runner_api()


def hints(proto: "Pipeline") -> dict[str, str]:
    """Accelerator hints by outermost step; empty text for a step without one."""
    environments, steps = proto.components.environments, proto.components.transforms
    outermost = steps[proto.root_transform_ids[0]].subtransforms
    found = {steps[step].unique_name: "" for step in outermost}
    for step in steps.values():
        name = step.unique_name.partition("/")[0]
        asked = environments[step.environment_id].resource_hints if step.environment_id else {}
        if name in found and _ACCELERATOR in asked:
            found[name] = asked[_ACCELERATOR].decode()
    return found


def main(argv: list[str]) -> int:
    """Command line."""
    is_whole = "--whole" in argv
    proto = job_proto([one for one in argv if one != "--whole"])
    if is_whole:
        print(proto)
        return 0
    for name, hint in hints(proto).items():
        print(f"{name:20} {hint or '-'}")
    return 0


if __name__ == "__main__":
    sys.exit(startup.run_command("show_hints", main))
