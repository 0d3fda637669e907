"""What is installed on workers holds all they need: code, weights, and the worker's program."""

import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import boto3
import pyarrow.dataset as ds
import pyarrow.fs as pafs
import pytest

from model.network import presets
from model.version import VERSION
from pipeline.demo.loopback import loopback_s3, made_up_credentials
from tests.pipeline.conftest import Bucket, image_bytes

ROOT = Path(__file__).parents[1]
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """The package in a folder of its own, from its source distribution."""
    tree = tmp_path_factory.mktemp("source") / "tree"
    shutil.copytree(
        ROOT,
        tree,
        ignore=shutil.ignore_patterns(
            ".*", "tests", "demo-output", "build", "__pycache__", "*.egg-info"
        ),
    )
    python = [sys.executable]
    subprocess.run([*python, "setup.py", "-q", "sdist"], cwd=tree, check=True)
    (archive,) = (tree / "dist").iterdir()
    target = tmp_path_factory.mktemp("installed")
    install = ["-m", "pip", "install", "-q", "--no-deps", "--no-build-isolation", "--no-compile"]
    subprocess.run([*python, *install, "--target", target, archive], check=True, cwd=target)
    return target


def bare_environment(installed, folder):
    """Of a machine that has Python, its libraries, the installed package, and nothing else."""
    credentials = {name: value for name, value in os.environ.items() if name.startswith("AWS_")}
    return credentials | {
        "PATH": f"{installed / 'bin'}:{Path(sys.executable).parent}",
        "PYTHONPATH": str(installed),
        "HOME": str(folder),
        "TF_CPP_MIN_LOG_LEVEL": "3",
    }


def test_the_command_runs_outside_of_the_checkout(installed, tmp_path):
    """Also with --workers, whose processes import the command's script again."""
    (tmp_path / "in").mkdir()
    for i in range(3):
        (tmp_path / f"in/{i}.jpg").write_bytes(image_bytes(40, 50, seed=i))
    command = [sys.executable, installed / "bin/catalog-magnifier"]
    places = ["--input", "in/", "--output", "out", "--run_id", "r1", "--workers", "2"]

    def run(*options):
        return subprocess.run(
            [*command, *options],
            cwd=tmp_path,
            env=bare_environment(installed, tmp_path) | {"TF_CPP_MIN_LOG_LEVEL": "2"},
            capture_output=True,
            text=True,
            check=False,
        )

    assert run("--version").stdout == f"catalog-magnifier {VERSION}\n"
    wrong = run("--inptu", "x")
    assert wrong.returncode == 2 and wrong.stderr.startswith("catalog-magnifier: unknown option")
    done = run(*places)
    assert (done.returncode, done.stderr) == (0, "")
    assert "3 images: 3 upscaled" in done.stdout
    assert (tmp_path / "out/runs/r1/report.html").exists()


def test_the_source_distribution_installs_with_code_and_networks(installed, tmp_path):
    code = (
        "import numpy, model, pipeline.graph, catalog_magnifier as magnifier;"
        f"assert model.__file__.startswith(r'{installed}');"
        f"assert pipeline.graph.__file__.startswith(r'{installed}');"
        "print(*[magnifier.upscale(numpy.zeros((8, 9), numpy.uint8), model=name).shape"
        " for name in ('rdn-small', 'rdn-product', 'rdn-large', 'rdn-product-x3',"
        " 'rdn-product-x4')])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=bare_environment(installed, tmp_path),
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "(16, 18) (16, 18) (16, 18) (24, 27) (32, 36)\n"


@pytest.fixture
def bucket():
    with loopback_s3() as endpoint, made_up_credentials():
        client = boto3.client("s3", endpoint_url=endpoint)
        client.create_bucket(Bucket="remote")
        yield Bucket("remote", endpoint, client)


@pytest.fixture
def worker_pool(installed, tmp_path, bucket):
    """A machine that starts workers in an empty folder, its home; yields address and log."""
    empty, log = tmp_path / "empty", tmp_path / "worker.log"
    empty.mkdir()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = ["-m", "apache_beam.runners.worker.worker_pool_main", f"--service_port={port}"]
    with log.open("w") as told:
        process = subprocess.Popen(
            [sys.executable, *command, "--container_executable=catalog-magnifier-worker"],
            cwd=empty,
            env=bare_environment(installed, empty),
            stdout=told,
            stderr=told,
        )
    yield f"127.0.0.1:{port}", log
    process.terminate()
    process.wait()


def test_a_worker_with_nothing_but_the_package_does_the_job(bucket, worker_pool):
    """Everything else comes over the network: images, and here the model too."""
    address, log = worker_pool
    images = {f"in/{i}.jpg": image_bytes(40 + i, 50, seed=i) for i in range(3)}
    for key, data in images.items():
        bucket.put(key, data)
    saved = presets.resolve("rdn-small")
    model = bucket.put("models/ours.keras", saved.data)
    arguments = ["--input", bucket.uri("in/"), "--output", bucket.uri("out"), "--model", model]
    arguments += ["--s3_endpoint_url", bucket.endpoint, "--run_id", "remote", "--images", "both"]
    arguments += ["--runner=PortableRunner", "--job_endpoint=embed"]
    arguments += ["--environment_type=EXTERNAL", f"--environment_config={address}"]
    subprocess.run([sys.executable, "run_pipeline.py", *arguments], cwd=ROOT, check=True)
    files = pafs.S3FileSystem(
        access_key="demo", secret_key="demo", endpoint_override=bucket.endpoint, region="us-east-1"
    )
    rows = ds.dataset("remote/out/rows", filesystem=files, partitioning="hive").to_table()
    assert sorted(rows["uri"].to_pylist()) == [bucket.uri(key) for key in sorted(images)]
    assert set(rows["status"].to_pylist()) == {"upscaled"}
    assert {name.removesuffix(" blended") for name in rows["model"].to_pylist()} == {model}
    assert set(rows["model_sha256"].to_pylist()) == {saved.sha256}
    assert "Starting worker with command ['catalog-magnifier-worker'" in log.read_text()
