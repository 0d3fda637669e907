"""Beam's Python worker as a program, for runners that start it as a process (`PROCESS`).

    catalog-magnifier-worker --id=1 --provision_endpoint=... --control_endpoint=...

Runners such as Flink add the arguments. Beam's container images have the program `boot` for this;
pip does not ship it. Unlike `boot` this program installs nothing: the job's package must be
installed on every worker machine.
"""

import argparse
import os

import grpc
from apache_beam.portability.api import beam_provision_api_pb2 as provision_api
from apache_beam.portability.api import beam_provision_api_pb2_grpc as provision_grpc
from apache_beam.portability.api import endpoints_pb2
from apache_beam.runners.worker import sdk_worker_main
from apache_beam.runners.worker.worker_id_interceptor import WorkerIdInterceptor
from google.protobuf import json_format, text_format

from model import startup

_PROVISION_TIMEOUT_S = 60


def main(argv: list[str] | None = None) -> None:
    """Gets the job from the runner and works until the runner ends it.

    Args:
        argv: the arguments without the program's name; those of this process by default.

    Raises:
        grpc.RpcError: if the runner does not answer.
    """
    arguments = _parse(argv)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # TensorFlow is imported with the job
    startup.end_with_parent()
    os.environ.update(worker_environment(arguments.id, _provision_info(arguments), arguments))
    sdk_worker_main.main([])


def worker_environment(
    worker_id: str, info: provision_api.ProvisionInfo, arguments: argparse.Namespace
) -> dict[str, str]:
    """Returns the environment variables that Beam's worker reads.

    Args:
        worker_id: from the runner.
        info: the job's options, and endpoints that override the arguments.
        arguments: endpoints of the command line.
    """
    endpoints = {
        "CONTROL_API_SERVICE_DESCRIPTOR": info.control_endpoint.url or arguments.control_endpoint,
        "LOGGING_API_SERVICE_DESCRIPTOR": info.logging_endpoint.url or arguments.logging_endpoint,
    }
    return {
        "WORKER_ID": worker_id,
        "PIPELINE_OPTIONS": json_format.MessageToJson(info.pipeline_options),
        "RUNNER_CAPABILITIES": " ".join(info.runner_capabilities),
    } | {
        name: text_format.MessageToString(endpoints_pb2.ApiServiceDescriptor(url=url))
        for name, url in endpoints.items()
        if url
    }


def _provision_info(arguments: argparse.Namespace) -> provision_api.ProvisionInfo:
    with grpc.insecure_channel(arguments.provision_endpoint) as channel:
        named = grpc.intercept_channel(channel, WorkerIdInterceptor(arguments.id))
        answer = provision_grpc.ProvisionServiceStub(named).GetProvisionInfo(
            provision_api.GetProvisionInfoRequest(), timeout=_PROVISION_TIMEOUT_S
        )
    return answer.info


def _parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="catalog-magnifier-worker", description=__doc__)
    parser.add_argument("--id", required=True)
    parser.add_argument("--provision_endpoint", required=True)
    for name in ("logging", "artifact", "control"):
        parser.add_argument(f"--{name}_endpoint", default="")
    return parser.parse_args(argv)


if __name__ == "__main__":
    main()
