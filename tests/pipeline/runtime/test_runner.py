"""Beam's runners that cannot start, and mistakes that are not theirs."""

import socket
import urllib.error

import apache_beam as beam
import pytest
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.utils.subprocess_server import JavaJarServer

from pipeline import job
from pipeline.runtime import runner


@pytest.fixture
def offline(tmp_path, monkeypatch):
    """Beam's cache of job servers is empty, and nothing can be downloaded."""

    def fail(_url, _path, _user_agent=None):
        raise urllib.error.URLError("no network")

    monkeypatch.setattr(JavaJarServer, "JAR_CACHE", str(tmp_path / "jars"))
    monkeypatch.setattr(JavaJarServer, "_download_jar_to_cache", fail)


@pytest.mark.parametrize(
    "options", [["--runner=SparkRunner"], ["--runner=FlinkRunner", "--flink_master=localhost:1"]]
)
def test_a_runner_that_cannot_start_is_one_line(tmp_path, offline, capsys, options):
    (tmp_path / "m.txt").write_text("missing.png\n")
    places = ["--input", str(tmp_path / "m.txt"), "--output", str(tmp_path / "out")]
    assert job.run([*places, *options]) == job.FAILED
    error = capsys.readouterr().err.splitlines()[-1]
    name = options[0].partition("=")[2]
    assert f"--runner {name} could not start the job: Unable to fetch remote job server" in error
    assert "no network" in error and f"stage the jar at {tmp_path}/jars/" in error


def test_a_job_server_that_does_not_answer_is_named(tmp_path, capsys, caplog):
    caplog.set_level("INFO", "pipeline")
    (tmp_path / "m.txt").write_text("missing.png\n")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        endpoint = f"127.0.0.1:{free.getsockname()[1]}"
    options = ["--input", str(tmp_path / "m.txt"), "--output", str(tmp_path / "out")]
    options += ["--runner=PortableRunner", f"--job_endpoint={endpoint}", "--job_server_timeout=1"]
    assert job.run([*options, "--environment_type=LOOPBACK"]) == job.FAILED
    assert f"hands the job to {endpoint}, which has 1 seconds to answer" in caplog.messages
    error = capsys.readouterr().err.splitlines()[-1]
    assert f"no job server answered at {endpoint} within 1 seconds (--job_endpoint, " in error


class Step(beam.DoFn):
    """It has a mistake once the pipeline is built: before, Beam says so itself."""

    is_broken = False

    def __reduce__(self):
        if Step.is_broken:
            raise RuntimeError("a mistake")
        return Step, ()

    def process(self, element):
        yield element


def test_a_mistake_in_a_step_passes_through(offline, monkeypatch):
    pipeline = beam.Pipeline(runner="SparkRunner", options=PipelineOptions([]))
    _ = pipeline | beam.Create([1]) | beam.ParDo(Step())
    monkeypatch.setattr(Step, "is_broken", True)
    with pytest.raises(RuntimeError, match=r"Unable to translate ParDo\(Step\)"):
        runner.start(pipeline, "SparkRunner")
