"""An S3 server on this machine, for the demo, the tests and the benchmarks."""

import contextlib
import logging
import os
from collections.abc import Iterator


@contextlib.contextmanager
def loopback_s3() -> Iterator[str]:
    """Runs an S3 server on a free port of 127.0.0.1 while the block runs.

    Yields:
        The URL of its endpoint.

    Raises:
        SystemExit: if moto, a development requirement, is not installed.
    """
    try:
        from moto.server import ThreadedMotoServer  # noqa: PLC0415 - no requirement of the job
    except ImportError as error:
        raise SystemExit(
            "the S3 server for loopback is missing: pip install -r requirements-dev.txt"
        ) from error
    logging.getLogger("werkzeug").setLevel(logging.WARNING)  # a line for each request
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        yield f"http://{host}:{port}"
    finally:
        server.stop()


@contextlib.contextmanager
def made_up_credentials() -> Iterator[None]:
    """Sets credentials in the environment while the block runs.

    The loopback server accepts any credentials; boto3 needs some and must not send the user's own.
    """
    made_up = {
        "AWS_ACCESS_KEY_ID": "demo",
        "AWS_SECRET_ACCESS_KEY": "demo",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    saved = {name: os.environ.get(name) for name in (*made_up, "AWS_PROFILE", "AWS_SESSION_TOKEN")}
    for name in saved:
        os.environ.pop(name, None)
    os.environ.update(made_up)
    try:
        yield
    finally:
        for name, value in saved.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value
