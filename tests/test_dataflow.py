"""What can be known about a run on Dataflow without a cloud."""

import datetime
import importlib.util
import json
import os
import pickle
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import apache_beam as beam
import pytest
from apache_beam.options.pipeline_options import (
    DebugOptions,
    PipelineOptions,
    SetupOptions,
    StandardOptions,
)
from apache_beam.portability import python_urns
from apache_beam.portability.api import beam_runner_api_pb2
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from uv import find_uv_bin

from deploy.dataflow import show_hints
from deploy.dataflow.launch import DEFAULTS, with_defaults
from pipeline import cli, graph, job
from pipeline.settings import OPTIONS
from tests.pipeline.conftest import make_plan

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "deploy/dataflow"
UV = find_uv_bin()
NOW = datetime.datetime(2026, 1, 2, tzinfo=datetime.UTC)
T4 = "type:nvidia-tesla-t4;count:1;install-nvidia-driver"
PLACES = ["--input", "s3://shop/manifest.csv", "--output", "s3://shop/out"]
# For each parameter of the template, a value that a user may give and one that must be refused
# before a machine is paid for.
VALUES = {
    "input": ("s3://shop/images/", "gs://shop/images/"),
    "output": ("s3://shop/out", "/tmp/out"),
    "run_id": ("2026-01-02", "-night"),
    "limit": ("20", "0"),
    "sample": ("200", "5%"),
    "include": ("shoes/**,*.jpg", ","),
    "exclude": ("thumbs/", ""),
    "min_side": ("16", "0"),
    "max_side": ("800", "8e2"),
    "max_pixels": ("1000000", "-1"),
    "model": ("s3://shop/ours.keras", "/home/me/ours.keras"),
    "scale": ("4", "x4"),
    "target_side": ("1200", "0"),
    "source_sharpening": ("-0.25", "0,75"),
    "sharpening_table": ("s3://shop/shops.csv", "/home/me/shops.csv"),
    "images": ("both", "none"),
    "image_format": ("webp", "gif"),
    "quality": ("80", "101"),
    "progressive": ("yes", "true"),
    "profile": ("srgb", "adobe"),
    "metadata": ("none", "all"),
    "animated": ("first_frame", "all"),
    "previous": ("none", "../x"),
    "retry": ("timeout,gate:colour", "timeout, not_found"),
    "max_failure_rate": ("0.2", "5%"),
    "s3_endpoint_url": ("https://storage.googleapis.com", "https://me:secret@host"),
    "s3_requester_pays": ("yes", "true"),
    "s3_unsigned": ("yes", "true"),
    "allow_schemes": ("file", "file:"),
    "look_ahead": ("8", "many"),
    "partitions": ("500", "0"),
    "precision": ("bfloat16", "half"),
    "blank": ("magnify", "no"),
    "self_psnr": ("off", "none"),
    "accelerator": (T4, "nvidia-tesla-t4"),
}
# Dataflow starts the processes itself, nobody waits for the run to write its page or to tell its
# outcome, its workers have no folders of images, and the template is the configuration.
NOT_ON_DATAFLOW = {
    *("workers", "report", "dry_run", "follow_links", "config", "notify", "metrics_file"),
    *("log_format", "price_core_hour", "price_gpu_hour", "price_1000_reads", "price_1000_writes"),
}


@pytest.fixture(scope="module")
def parameters():
    metadata = json.loads((FOLDER / "metadata.json").read_text())
    assert metadata["name"] and metadata["description"]
    found = {one["name"]: one for one in metadata["parameters"]}
    assert len(found) == len(metadata["parameters"])
    return found


def test_the_template_has_the_options_of_the_job(parameters):
    assert set(parameters) == set(OPTIONS) - NOT_ON_DATAFLOW
    for name, parameter in parameters.items():
        assert parameter["isOptional"] is not OPTIONS[name].is_required
        assert parameter["label"] and parameter["helpText"].endswith(".")
        told = re.search(r"Default: ([^:]+)\.$", parameter["helpText"])
        if told:
            assert told[1].removeprefix("the ") == OPTIONS[name].default_name


@pytest.mark.parametrize("name", VALUES)
def test_the_template_takes_what_the_job_takes(parameters, name, capsys):
    good, bad = VALUES[name]
    (pattern,) = parameters[name]["regexes"]
    assert re.fullmatch(pattern, good) and not re.fullmatch(pattern, bad)
    settings, _ = cli.parse([*PLACES, f"--{name}", good], NOW)
    assert settings is not None


def test_the_templates_choices_are_the_jobs(parameters):
    for name, option in OPTIONS.items():
        if option.choices and name not in NOT_ON_DATAFLOW:
            (pattern,) = parameters[name]["regexes"]
            assert pattern == f"^({'|'.join(option.choices)})$"


def test_the_launcher_leaves_one_process_with_the_gpu_and_does_not_wait():
    required = ["--project=shop-1", "--region=us-central1", "--temp_location=gs://shop/temp"]
    settings, rest = cli.parse(with_defaults([*PLACES, "--accelerator", T4, *required]), NOW)
    assert settings.accelerator == T4 and rest == [*DEFAULTS, *required]
    beam_options = PipelineOptions(rest)
    assert beam_options.view_as(StandardOptions).runner == "DataflowRunner"
    assert beam_options.view_as(StandardOptions).no_wait_until_finish
    assert beam_options.view_as(DebugOptions).number_of_worker_harness_threads == 2
    assert "no_use_multiple_sdk_containers" in beam_options.view_as(DebugOptions).experiments
    assert beam_options.view_as(SetupOptions).sdk_location == "container"


@pytest.mark.parametrize("words", [["-m", "deploy.dataflow.launch"], [FOLDER / "launch.py"]])
def test_the_launcher_starts_from_a_checkout_and_where_the_package_is_installed(words, tmp_path):
    is_module = words[0] == "-m"
    places = {} if is_module else {"PYTHONPATH": str(ROOT)}
    environment = {name: os.environ[name] for name in os.environ.keys() - {"PYTHONPATH"}} | places
    told = subprocess.run(
        [sys.executable, *words, "--help"],
        cwd=ROOT if is_module else tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert told.stdout.startswith("usage: ") and told.stderr == ""


def test_a_run_that_is_not_waited_for_is_only_started(tmp_path, capsys):
    (tmp_path / "m.txt").write_text("a.jpg\n")
    arguments = ["--input", str(tmp_path / "m.txt"), "--output", str(tmp_path / "out")]
    assert job.run([*arguments, "--no_wait_until_finish"]) == job.DONE
    assert capsys.readouterr().out.startswith("started; results will be under")


def hinted_steps(proto):
    """Names of the outermost steps whose environment asks for an accelerator."""
    environments = proto.components.environments
    return {
        step.unique_name.partition("/")[0]: environments[step.environment_id].resource_hints[
            "beam:resources:accelerator:v1"
        ]
        for step in proto.components.transforms.values()
        if "beam:resources:accelerator:v1" in environments[step.environment_id].resource_hints
    }


def test_the_hint_survives_the_way_to_the_runner_and_is_on_one_step():
    pipeline = beam.Pipeline(runner=FnApiRunner(), options=PipelineOptions([]))
    graph.build(pipeline, make_plan(accelerator=T4))
    data = pipeline.to_runner_api().SerializeToString()
    proto = beam_runner_api_pb2.Pipeline.FromString(data)
    assert hinted_steps(proto) == {"UpscaleAndWrite": T4.encode()}


def test_the_hints_can_be_shown(capsys):
    command = [sys.executable, "-m", "deploy.dataflow.show_hints", *PLACES, "--accelerator", T4]
    told = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    shown = dict(line.split(maxsplit=1) for line in told.splitlines())
    assert shown.pop("UpscaleAndWrite") == T4
    assert {"ReadCatalog", "JoinPrevious", "Summarise"} <= set(shown)
    assert set(shown.values()) == {"-"}
    assert show_hints.main([*command[3:], "--whole"]) == 0
    assert capsys.readouterr().out.count("beam:resources:accelerator:v1") >= 1


def test_steps_need_no_main_session(tmp_path):
    """What a worker unpickles names modules of the package, whatever program started the job."""
    pipeline = beam.Pipeline(runner=FnApiRunner(), options=PipelineOptions([]))
    graph.build(pipeline, make_plan(accelerator=T4))
    specs = [
        beam_runner_api_pb2.ParDoPayload.FromString(step.spec.payload).do_fn
        for step in pipeline.to_runner_api().components.transforms.values()
        if step.spec.urn == "beam:transform:pardo:v1"
    ]
    # Others are Beam's own and known by name.
    functions = [spec.payload for spec in specs if spec.urn == python_urns.PICKLED_DOFN_INFO]
    assert len(functions) > 10 and all(functions)
    (tmp_path / "functions").write_bytes(pickle.dumps(functions))
    code = (
        "import pickle, sys\n"
        "from apache_beam.internal import pickler\n"
        "for one in pickle.load(open('functions', 'rb')): pickler.loads(one)\n"
        "assert 'pipeline.job' not in sys.modules; print('all')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.split()[-1:] == ["all"], done.stderr


needs_gcp = pytest.mark.skipif(
    importlib.util.find_spec("apitools") is None,
    reason="needs pip install 'apache-beam[gcp]'",
)


@needs_gcp
def test_dataflow_gets_the_hint():
    from apache_beam.runners.dataflow.dataflow_runner import DataflowRunner  # noqa: PLC0415

    arguments = [*DEFAULTS, "--project=shop", "--region=europe-west1", "--dry_run=True"]
    arguments += ["--no_auth", "--temp_location=gs://shop/tmp", "--sdk_container_image=image"]
    runner = DataflowRunner()
    pipeline = beam.Pipeline(runner=runner, options=PipelineOptions(arguments))
    graph.build(pipeline, make_plan(accelerator=T4))
    pipeline.run()
    assert hinted_steps(runner.proto_pipeline) == {"UpscaleAndWrite": T4.encode()}


@pytest.mark.slow
def test_the_images_python_part_installs_into_a_clean_environment(tmp_path):
    """The pip lines of the Dockerfile: the libraries resolve together, the package is complete."""
    text = (FOLDER / "Dockerfile").read_text().replace("\\\n", " ")
    commands = [shlex.split(line) for line in re.findall(r"(?m)^RUN (pip install .*)$", text)]
    libraries, package = commands
    tree = tmp_path / "source"
    shutil.copytree(
        ROOT, tree, ignore=shutil.ignore_patterns(".*", "build", "tests", "demo-output", "*.egg*")
    )
    for name in re.findall(r"(?m)^COPY ((?!--).*) \./$", text)[0].split():
        shutil.copy(ROOT / name, tree)
    # uv takes the same arguments, and resolves in seconds what takes pip two minutes.
    clean = tmp_path / "clean"
    subprocess.run([UV, "venv", "--quiet", f"--python={sys.executable}", clean], check=True)
    pip = [UV, "pip", "install", "--quiet", f"--python={clean}"]
    # CUDA comes to gigabytes: that all versions agree, and that the pinned ones are there for the
    # image's Python, is enough.
    subprocess.run([*pip, *libraries[2:], "--dry-run"], cwd=tree, check=True)
    (python,) = set(re.findall(r"python(3\.\d+) -m venv", text))
    wheels = ["--only-binary=:all:", f"--python-version={python}", "--target=none", "--no-deps"]
    subprocess.run([*pip, *libraries[2:], "--dry-run", *wheels], cwd=tree, check=True)
    subprocess.run([*pip, *package[2:]], cwd=tree, check=True)
    (site,) = (clean / "lib").glob("python*/site-packages")
    shutil.rmtree(tree / "model")
    assert {path.name for path in (ROOT / "model/weights").glob("*.keras")} == {
        path.name for path in (site / "model/weights").glob("*.keras")
    }
    assert (clean / "bin/catalog-magnifier-worker").is_file()


def test_the_image_has_the_versions_of_the_project():
    text = (FOLDER / "Dockerfile").read_text()
    pinned = dict(
        line.split("==") for line in (ROOT / "requirements.txt").read_text().splitlines()[1:]
    )
    (image,) = re.findall(r"apache/beam_python([\d.]+)_sdk:([\d.]+)", text)
    (launcher,) = re.findall(r"python(\d)(\d+)-template-launcher-base", text)
    assert image == (".".join(launcher), pinned["apache-beam"])
    for line in (FOLDER / "requirements-dataflow.txt").read_text().splitlines()[1:]:
        name, version = re.fullmatch(r"([a-z-]+)\[[a-z-]+\]==(.*)", line).groups()
        assert pinned[name] == version
