"""The same rows from every runner: one process, two, and a Flink cluster that loses a machine.

`make test` runs what needs no Java; `make test-flink` the rest, with Java 17 and Maven; see
deploy/flink.
"""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow.dataset as ds
import pyarrow.fs as pafs
import pytest

from deploy.flink.local_cluster import ROOT, LocalCluster, missing_tools
from pipeline.demo.loopback import made_up_credentials
from pipeline.demo.sample_catalog import SampleCatalog, sample_catalog
from pipeline.demo.sample_run import upload
from pipeline.row.parts import TIMED_STAGES

pytestmark = pytest.mark.slow
MISSING = missing_tools()
needs_java = pytest.mark.skipif(bool(MISSING), reason=f"Flink needs {' and '.join(MISSING)}")
# What may differ between two runs of the same work.
TIMES = [*TIMED_STAGES, "processed_at"]
TWO_PROCESSES = ["--direct_running_mode=multi_processing", "--direct_num_workers=2"]
BUCKET = "flink-shop"


class Shop:
    """The sample catalog in a bucket, and runs of the job on it, each to an output of its own."""

    def __init__(self, endpoint):
        self.endpoint = endpoint
        with made_up_credentials():
            self.manifest = upload(endpoint, BUCKET, small_catalog())
        self.files = pafs.S3FileSystem(
            access_key="demo", secret_key="demo", endpoint_override=endpoint, region="us-east-1"
        )

    def start(self, output, options):
        arguments = ["--input", self.manifest, "--output", f"s3://{BUCKET}/{output}"]
        arguments += ["--run_id", "night", "--images", "both", "--max_failure_rate", "0.2"]
        arguments += ["--precision", "float32"]  # auto is float32 only where others do the work
        arguments += ["--s3_endpoint_url", self.endpoint, *options]
        return subprocess.Popen(
            [sys.executable, "run_pipeline.py", *arguments],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def rows(self, output, process):
        """All columns but times, by URI, of a run that has to succeed."""
        told, _ = process.communicate(timeout=500)
        assert process.returncode == 0, told
        names = self.names(f"{output}/runs/night")
        assert names >= {"_SUCCESS", "summary.json"} and "staging" not in names
        data = ds.dataset(f"{BUCKET}/{output}/rows/run_id=night", filesystem=self.files)
        columns = [name for name in data.schema.names if name not in TIMES]
        return sorted(data.to_table(columns=columns).to_pylist(), key=lambda row: row["uri"])

    def summary(self, output):
        with self.files.open_input_file(f"{BUCKET}/{output}/runs/night/summary.json") as file:
            return json.loads(file.read())

    def names(self, folder):
        found = pafs.FileSelector(f"{BUCKET}/{folder}", allow_not_found=True)
        return {item.base_name for item in self.files.get_file_info(found)}


def small_catalog():
    """Every kind of sample, but few of the plain images that differ in size only."""
    drawn = sample_catalog()
    chosen = [one for one in drawn.samples if not re.match(r"images/00([12]|0[4-9])", one.key)]
    return SampleCatalog(chosen, drawn.references)


@pytest.fixture(scope="module")
def shop(s3_endpoint):
    return Shop(s3_endpoint)


@pytest.fixture(scope="module")
def expected(shop):
    """The rows of the DirectRunner in one process."""
    with made_up_credentials():
        return shop.rows("direct", shop.start("direct", []))


@pytest.fixture
def cluster(tmp_path):
    with LocalCluster(tmp_path) as running:
        yield running


def check_same(found, expected):
    """Column by column: every output has the same rows."""
    assert [row["uri"] for row in found] == [row["uri"] for row in expected]
    assert {row["status"] for row in expected} == {"upscaled", "skipped", "failed"}
    for row, other in zip(found, expected, strict=True):
        # Names only: a diff of images' bytes takes pytest minutes.
        assert [name for name in row if row[name] != other[name]] == [], row["uri"]


def test_two_processes_of_the_direct_runner_give_the_same_rows(shop, expected):
    check_same(shop.rows("two", shop.start("two", TWO_PROCESSES)), expected)


def test_two_processes_that_upscale_give_the_same_rows(shop, expected):
    check_same(shop.rows("workers", shop.start("workers", ["--workers", "2"])), expected)


@pytest.mark.flink
@needs_java
def test_flink_gives_the_same_rows(shop, expected, cluster):
    check_same(shop.rows("flink", shop.start("flink", cluster.beam_options())), expected)
    (job,) = cluster.rest("/jobs/overview")["jobs"]
    assert job["state"] == "FINISHED"
    summary = shop.summary("flink")
    counted = summary["beam_metrics"]["counters"]["rows"]
    assert counted == {status: n for status, n in summary["by_status"].items() if n}
    assert all(has_worked(cluster, name) for name in cluster.task_managers)
    # Flink's log has the time and the level; the workers name the run.
    assert all("[night] " in cluster.log(name).read_text() for name in cluster.task_managers)


@pytest.mark.flink
@needs_java
def test_a_killed_task_manager_costs_no_row(shop, expected, cluster):
    run = shop.start("killed", cluster.beam_options())
    wait_until(lambda: len(shop.names("killed/runs/night/staging")) >= 3, run)
    victim = cluster.task_managers["taskmanager1"]
    orphans = children(victim.pid)
    assert orphans and "_SUCCESS" not in shop.names("killed/runs/night")
    os.kill(victim.pid, signal.SIGKILL)
    check_same(shop.rows("killed", run), expected)
    (job,) = cluster.rest("/jobs/overview")["jobs"]
    failures = cluster.rest(f"/jobs/{job['jid']}/exceptions")["exceptionHistory"]["entries"]
    assert job["state"] == "FINISHED" and failures
    assert not [pid for pid in orphans if Path(f"/proc/{pid}").exists()]


def has_worked(cluster, name):
    return "Python sdk harness starting" in cluster.log(name).read_text()


def children(pid):
    """Processes that this one started."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(stat.read_text().rpartition(")")[2].split()[1])
        except OSError:  # it ended just now
            continue
        if parent == pid:
            found.append(int(stat.parent.name))
    return found


def wait_until(is_so, process):
    for _ in range(1200):
        if is_so():
            return
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.2)
    raise AssertionError("the run does not get that far")
