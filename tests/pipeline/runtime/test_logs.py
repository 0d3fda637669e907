"""Each event is one line that names the run once, whichever process of the run it comes from."""

import contextlib
import json
import logging
import os
import re
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest
from apache_beam.portability.api import beam_fn_api_pb2_grpc

from pipeline.runtime import logs
from tests.documents import names_in, table
from tests.pipeline.conftest import image_bytes

ROOT = Path(__file__).parents[3]
LINE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ WARNING night1 (.*)")
TWO_PROCESSES = ["--direct_running_mode=multi_processing", "--direct_num_workers=2"]


def warnings_of(*arguments):
    """What the lines on standard error tell, of which there may be no others."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.pipeline.warning_run", *arguments],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
        check=True,
    )
    lines = done.stderr.splitlines()
    assert all(LINE.fullmatch(line) for line in lines), done.stderr
    assert all(line.count("night1") == 1 for line in lines), done.stderr
    return [LINE.fullmatch(line)[1] for line in lines]


@pytest.mark.slow
@pytest.mark.parametrize("beam_arguments", [[], TWO_PROCESSES])
def test_processes_on_this_machine_name_the_run(beam_arguments):
    """Those that upscale, and Beam's workers: in this process, or others."""
    kinds = ("worker",) if beam_arguments else ("upscaler", "worker")
    lines = iter(warnings_of("+".join(kinds), *beam_arguments))
    for kind, pythons, ours in zip(kinds, lines, lines, strict=True):
        assert re.match(rf".*UserWarning: {kind}: Python \| as well", pythons)
        assert ours == f"{kind}: we | as well"


@pytest.fixture
def worker_pool(tmp_path):
    """The address of a program that starts workers as a cluster would."""
    worker = tmp_path / "worker"
    worker.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m pipeline.runtime.beam_worker "$@"\n')
    worker.chmod(0o755)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = ["-m", "apache_beam.runners.worker.worker_pool_main", f"--service_port={port}"]
    with (tmp_path / "log").open("w") as told:
        process = subprocess.Popen(
            [sys.executable, *command, f"--container_executable={worker}"],
            cwd=ROOT,
            stdout=told,
            stderr=told,
        )
    yield f"127.0.0.1:{port}"
    process.terminate()
    process.wait()


@pytest.mark.slow
def test_what_remote_workers_send_names_the_run_once(worker_pool):
    """The portable runner puts their messages into lines of the process that waits for it."""
    arguments = ["--runner=PortableRunner", "--job_endpoint=embed"]
    arguments += ["--environment_type=EXTERNAL", f"--environment_config={worker_pool}"]
    told = warnings_of("worker", *arguments)
    assert sum("UserWarning: worker: Python | as well" in message for message in told) == 1
    assert sum('message: "worker: we | as well"' in message for message in told) == 1


REMOTE = """
import logging, sys, warnings
from apache_beam.portability.api import endpoints_pb2
from apache_beam.runners.worker.log_handler import FnApiLogRecordHandler
runner = FnApiLogRecordHandler(endpoints_pb2.ApiServiceDescriptor(url=sys.argv[1]))
logging.getLogger().addHandler(runner)

from pipeline import dofns
from tests.pipeline.conftest import make_plan
for _ in range(2):
    dofns.WriteRowsDoFn(make_plan(run_id="night1")).setup()
logging.getLogger("pipeline.step").warning("%s\\nas well", "we")
warnings.warn("Python\\nas well")
runner.close()
"""


class RunnersLog(beam_fn_api_pb2_grpc.BeamFnLoggingServicer):
    """What workers send to a runner."""

    def __init__(self):
        self.messages = []

    def Logging(self, request_iterator, context):
        for entries in request_iterator:
            self.messages += [entry.message for entry in entries.log_entries]
        return iter([])


def test_a_step_names_the_run_to_a_runner_that_knows_no_ids():
    log, server = RunnersLog(), grpc.server(ThreadPoolExecutor(2))
    beam_fn_api_pb2_grpc.add_BeamFnLoggingServicer_to_server(log, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    bare = {name: value for name, value in os.environ.items() if name != logs.RUN_ID_VARIABLE}
    done = subprocess.run(
        [sys.executable, "-c", REMOTE, f"127.0.0.1:{port}"],
        cwd=ROOT,
        env=bare | {"WORKER_ID": "w"},
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    server.stop(None)
    assert done.returncode == 0, done.stderr
    ours, pythons = [message for message in log.messages if "as well" in message]
    assert ours == "[night1] we | as well"
    assert re.fullmatch(r"\[night1\] [^[]*UserWarning: Python \| as well[^[]*", pythons)
    # Beam has given the process a handler, too, by logging before there was one.
    lines = [line for line in done.stderr.splitlines() if "as well" in line]
    assert len(lines) == 2 and all(LINE.fullmatch(line) for line in lines)


@contextlib.contextmanager
def handlers_of_root(*own):
    """The root logger's while the block runs; its log names no run yet."""
    root, run_id = logging.getLogger(), logs._run_id  # noqa: SLF001
    others, root.handlers, logs._run_id = root.handlers, list(own), "-"  # noqa: SLF001
    try:
        yield root.handlers
    finally:
        root.handlers, logs._run_id = others, run_id  # noqa: SLF001
        logging.captureWarnings(False)


def told_by(handler):
    return handler.format(logging.LogRecord("x", logging.WARNING, "x", 1, "told %d", (1,), None))


def test_a_format_that_somebody_chose_stays():
    chosen, default, none = (logging.StreamHandler() for _ in range(3))
    chosen.setFormatter(logging.Formatter("chosen: %(message)s"))
    default.setFormatter(logging.Formatter(logging.BASIC_FORMAT))
    with handlers_of_root(chosen, default, none):
        logs.join_run("night1")
        assert told_by(chosen) == "chosen: told 1" and told_by(none) == "[night1] told 1"
        assert LINE.fullmatch(told_by(default))[1] == "told 1"


def test_a_line_of_no_run_names_none():
    """As of `pipeline.report`, which warns of a storage that does not answer."""
    line, worker = logging.StreamHandler(), logging.StreamHandler()
    with handlers_of_root(line):
        logs.write_lines()
        assert told_by(line).endswith("Z WARNING told 1")
        worker.setFormatter(logs._Message())  # noqa: SLF001
        assert told_by(worker) == "told 1"


def test_a_worker_of_the_next_run_names_that_one():
    with handlers_of_root(logging.StreamHandler()) as (handler,):
        logs.join_run("night1")
        logs.join_run("night2")
        assert told_by(handler) == "[night2] told 1"


def test_a_process_that_no_run_has_started_keeps_its_log(monkeypatch):
    with handlers_of_root() as handlers:
        monkeypatch.delenv(logs.RUN_ID_VARIABLE, raising=False)
        logs.join_run_of_parent()
        assert handlers == []
        monkeypatch.setenv(logs.RUN_ID_VARIABLE, "night1")
        logs.join_run_of_parent()
        assert LINE.fullmatch(told_by(handlers[0]))[1] == "told 1"


def run_job(tmp_path, *options):
    """Runs the job on a folder with a good image and a broken one; its lines, of both streams."""
    folder = tmp_path / "in"
    folder.mkdir(exist_ok=True)
    (folder / "good.png").write_bytes(image_bytes(40, 50, file_format="PNG"))
    (folder / "broken.png").write_bytes(b"no image")
    places = ["--input", f"{folder}/", "--output", f"{tmp_path}/out", "--run_id", "night1"]
    done = subprocess.run(
        [sys.executable, "run_pipeline.py", *places, "--log_format", "json", *options],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, [
        [json.loads(line) for line in stream.splitlines()] for stream in (done.stdout, done.stderr)
    ]


@pytest.mark.slow
def test_with_json_every_line_of_both_streams_is_an_object(tmp_path):
    status, (events, errors) = run_job(tmp_path, "--workers", "2")
    assert status == 3
    for event in [*events, *errors]:
        assert set(event) == {"time", "level", "run_id", "logger", "message"}
        assert event["run_id"] == "night1"
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", event["time"])
    assert any(event["message"].startswith("started: ") for event in events)
    (counts,) = [one["message"] for one in events if one["message"].startswith("2 images: ")]
    assert "1 upscaled, 1 failed\n" in counts
    assert [(error["level"], error["message"]) for error in errors] == [
        ("ERROR", "50.0% of the images failed, --max_failure_rate allows 5.0%")
    ]


@pytest.mark.slow
def test_with_json_a_run_that_fails_says_so_in_one_object(tmp_path):
    status, (_, errors) = run_job(tmp_path, "--model", "gone.keras")
    assert status == 1
    (error,) = errors
    assert error["level"] == "ERROR" and error["message"].startswith("--model gone.keras: ")


def test_with_json_an_error_of_the_program_is_one_line_without_secrets():
    code = (
        "from pipeline.runtime import logs; logs.write_lines(); logs.name_run('n1', 'json');"
        "raise ValueError('of s3://KEY:PLANTED@shop/a.jpg')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    (line,) = done.stderr.splitlines()
    event = json.loads(line)
    assert (event["level"], event["message"]) == (
        "CRITICAL",
        "ValueError: of s3://***@shop/a.jpg",
    )
    assert "Traceback" in event["exception"] and "PLANTED" not in line
    described = table("docs/reference.md", "| key of a line |")
    assert [names_in(row[0])[0] for row in described] == list(event)
