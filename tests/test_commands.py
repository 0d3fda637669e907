"""Runs every command of the documents, as it is written, in a folder like a reader's.

The commands of one block run one after the other in one folder and use each other's files.
"""

import contextlib
import fnmatch
import functools
import gzip
import io
import logging
import re
import runpy
import shlex
import subprocess
import sys
from dataclasses import dataclass

import boto3
import keras
import numpy as np
import pytest
from PIL import Image

from catalog_magnifier import command as magnifier
from deploy.dataflow.launch import with_defaults
from deploy.flink.local_cluster import missing_tools
from model.imaging import resampling
from model.network import presets
from model.network.rdn import RDN
from model.version import VERSION
from pipeline import cli, job
from pipeline.demo.loopback import loopback_s3, made_up_credentials
from pipeline.runtime import logs
from pipeline.storage.s3_client import forget_connections
from tests.documents import DOCUMENTS, ROOT, text_of
from tests.pipeline.browser import find_chromium
from tests.pipeline.conftest import image_bytes
from tests.pipeline.signals.server import receiver
from tests.test_dataflow import NOW

# Code within a sentence is a command if it begins with one of these.
PROGRAMS = {
    *("python", "python3", "make", "pip", "tensorboard", ".ci/run"),
    *("docker", "gcloud", "aws", "kubectl", "sudo", "systemctl", "java", "mvn", "curl"),
    "catalog-magnifier",
}

# Values that a reader fills in, and the one number of a command that no later option replaces.
FILLED_IN = {
    "--input …": "--input s3://shop/images/",
    "--output …": "--output s3://shop/upscaled",
    "--quality_from …": "--quality_from file",
    "HR_FOLDER [--shrink_first 2] [--json FILE]": "images",
    "measures_sheet FILE": "measures_sheet sheet.png",
    "--drawn_scenes 900 --drawn_share": "--drawn_scenes 4 --drawn_share",
    "http://localhost:8080/hook": "",  # the test's own server
}


@dataclass(frozen=True)
class Run:
    """How a test shortens a command, and what the command must do.

    Attributes:
        shorter: options added to it; the last of two equal options counts.
        leaves: patterns of the files and objects that it must write.
        says: text that it must print.
    """

    shorter: str = ""
    leaves: str = ""
    says: str = ""


def bench(shorter, says):
    return Run(f"{shorter} --json figures.json", "figures.json", says)


FINISHED = Run("", "*/runs/*/_SUCCESS */runs/*/summary.json */runs/*/report.html", "images: ")
TINY = {"convs_per_block": 1, "growth_rate": 4, "features": 4}
BRIEFLY = "--steps 2 --batch_size 2 --lr_patch_px 32 --warmup_steps 1"
BRIEFLY += " --feed_processes 0 " + " ".join(f"--{name} {size}" for name, size in TINY.items())
TRAINED = "runs/*/model.keras runs/*/best.keras runs/*/held_out_*.txt runs/*/log.csv"
# By a pattern found in the command; the first one counts.
RUNS = {
    # Named only, without its arguments.
    r"python (run_pipeline.py|-m (model|pipeline)(\.\w+)+)$": Run("--help", says="usage: "),
    r"python -m benchmarks.(degradations|blending)$": Run("--help", says="usage: "),
    # The demo is run by .ci/run and test_sample_run.py.
    r"make run$": Run("OPTIONS=--help", says="usage: python -m pipeline.demo"),
    r"make run INPUT=": FINISHED,
    # What it starts is run below, with the options of docs/speed.md.
    r"make bench ": Run("OPTIONS=--help", says="benchmarks.pipeline_vs_network folder --help"),
    r"benchmarks.pipeline_vs_network FOLDER$": Run("--help", says="usage: "),
    r"catalog-magnifier --version": Run("", says=f"catalog-magnifier {VERSION}"),
    r"catalog-magnifier$": Run("--help", says="usage: catalog-magnifier --input"),
    r"catalog-magnifier --input": FINISHED,
    r"run_pipeline.py .*--notify": Run(
        "", f"magnifier.prom {FINISHED.leaves}", '"message": "3 images'
    ),
    r"run_pipeline.py .*--price_core_hour": Run("", "*/runs/*/estimate.json", "cost: "),
    r"run_pipeline.py .*--dry_run": Run("", "*/runs/*/estimate.json", "dry run: 3 images"),
    r"run_pipeline.py .*--target_side ": Run("--target_side 300", FINISHED.leaves),
    r"run_pipeline.py .*--(limit|sample|include) ": Run(
        "", FINISHED.leaves, "part of the catalog"
    ),
    r"run_pipeline.py ": FINISHED,
    r"local_cluster.py ": Run("", FINISHED.leaves),  # says it past this process
    r"pipeline.report .*--gallery look": Run("", "look/index.html", "3 rows"),
    r"pipeline.report .*--gallery": Run(
        "", "pages/index.html pages/images/1/0-result.jpeg pages/images/1/0-source.jpeg", "3 rows"
    ),
    r"pipeline.prune .*--compact": Run("", says="copied 3 images, "),
    r"pipeline.prune .*--keep": Run("", says="kept run night2: one of the newest 7"),
    r"pipeline.prune ": Run("", says="3 rows"),
    r"pipeline.read .*by-product/ ": Run(
        "", "by-product/images.csv by-product/*0.jpg-1.jpg", "3 images of run night1"
    ),
    r"pipeline.read .*--names product": Run(
        "", "s3://shop/by-product/[0-2].jpg s3://shop/by-product/images.csv", "named by source"
    ),
    r"pipeline.read ": Run(
        "", "exported/images.csv exported/pictures.csv exported/[0-2].jpg", "3 images of run"
    ),
    r"model.upscale .*\.avif": Run("", "photo_x2.avif", "roundtrip_psnr_db"),
    r"model.sharpening .*--table": Run("", "shops.csv", "20 thumbnails)"),
    r"model.sharpening .*originals/": Run("", says="20 pairs: --source_sharpening "),
    r"model.sharpening ": Run("", says="20 thumbnails: --source_sharpening "),
    r"pipeline.compare .*--page worse.html": Run("", "worse.html", "3 images in both"),
    r"pipeline.compare ": Run("", says="3 images in both"),
    r"show_hints ": Run("", says="UpscaleAndWrite      type:nvidia-tesla-t4;count:1"),
    r"model.upscale ": Run("", "photo_x?.png", "roundtrip_psnr_db"),
    r"model.scenes ": Run("--count 2 --side 96", "drawn/scene-1000001.png"),
    r"model.train .*--num_blocks 6": Run(f"{BRIEFLY} --num_blocks 3 --decay_steps 1", TRAINED),
    r"model.train .*--num_blocks 5 .*--decay_steps": Run(
        f"{BRIEFLY} --num_blocks 2 --decay_steps 1", TRAINED
    ),
    r"model.train .*--num_blocks 5": Run(f"{BRIEFLY} --num_blocks 2", TRAINED),
    r"model.train ": Run(f"{BRIEFLY} --num_blocks 1", TRAINED),
    r"model.network.mean ": Run("", "mean.keras", "the mean of 3 networks, sha256 "),
    r"model.evaluate .*--patches": Run("", "product-patches.png", "rdn-small"),
    r"model.evaluate ": Run("", says="bicubic"),
    r"benchmarks.before_after ": Run("", "before-after.jpg"),
    r"benchmarks.measures_sheet ": Run("", "sheet.png"),
    r"benchmarks.gate ": bench("", "values wrapped around"),
    r"benchmarks.degradation_sheet ": Run("--side 32", "degradations.png"),
    r"benchmarks.degradations ": bench("--recipes jpeg75 --limit 1 --model rdn-small", "PSNR-Y"),
    r"benchmarks.feeding ": bench("--feedings grid --seconds 0 --probe_steps 1", "PSNR-Y"),
    r"benchmarks.pipeline_vs_network ": bench(
        "--images 1 --rounds 1 --repeat 1 --precision float32", "times the plain loop"
    ),
    r"benchmarks.peers ": bench("--images 1 --rounds 1", "of ours"),
    r"benchmarks.nights ": bench("", "beside start-up"),
    r"benchmarks.cost_curves catalog ": bench("--counts 2 --shrink 1", "2 images"),
    r"benchmarks.cost_curves probe": bench("--count 2", "bare_requests_per_s"),
    r"benchmarks.cost_curves large": bench("--sides 40", "40 x 40"),
    r"benchmarks.listing": bench("--keys 6000 --latency_ms 0 --rounds 1", "CPU seconds"),
    r"benchmarks.million": bench("--uris 40 --new 2", "40 URIs, 2 of them new"),
    r"benchmarks.shares": bench("--uris 1000", "Beam, by difference"),
    r"benchmarks.report_size ": bench(f"--rows 10 --chromium {find_chromium()}", "10 rows"),
}
# By their beginning: why a test cannot run them, and what checks them instead.
NOT_RUN = {
    "python -m pipeline.report s3://shop/upscaled --serve": "serves for ever; test_gallery.py",
    "pip install ": "changes the environment; test_what_is_installed_is_what_the_tests_have",
    "python3 -m venv .venv && .venv/bin/pip install ": "the same",
    "tensorboard ": "no requirement; the tests of model.train read what it would show",
    "make lint": "reads all of the checkout; .ci/run runs it; test_make_knows_the_target",
    "make test": "starts these tests; .ci/run runs it; test_make_knows_the_target",
    "python -m benchmarks.million --uris 200000 --flink": "needs Java, Maven and minutes",
    "make test-flink": "needs Java and Maven; .ci/run; test_make_knows_the_target",
    ".ci/run": "runs these tests",
    "python -m deploy.dataflow.launch ": "needs Google; test_the_launcher_takes_the_options",
    "docker ": "needs Docker and CUDA's image; tests/test_dataflow.py",
    "IMAGE=": "names that image",
    "gcloud ": "needs Google; tests/test_dataflow.py",
    "aws ": "needs AWS's program; tests/test_iam_policy.py gives a server what it would",
    "git show ": "needs the history, which a copy of the sources lacks",
    "python -m benchmarks.device": "needs Keras on JAX from the start; tests/test_device.py",
    "python -m benchmarks.host_work": "forks, before any thread; tests/test_device.py",
    "python -m benchmarks.ocr ": "needs OCR, which no requirement names; tests/test_ocr.py",
}

ARGUMENTS = ".venv/arguments"  # of Python, which `make` started last
# A reader's folders of images, and of pairs.
FOLDERS = {
    *("images", "photographs", "my_images", "validation", "bsd400", "yang91"),
    *("folder", "FOLDER", "IMAGES", "photos", "catalog"),
}
PAIRS = ("Set5", "DIR")
# The last of those into one output is the newest.
EARLIER_RUNS = (
    *("upscaled/a", "upscaled/b", "upscaled/night1", "upscaled/night2"),
    "trial/trial1",
)
SIDE_PX = 140
IMAGES_TO_TRAIN_ON = 4  # training holds out a quarter
THUMBNAILS = 20  # fewer give no estimate
THUMBNAIL_PX = 48
SIDE_TO_SHRINK_PX = 300  # large enough for a patch of the training after it was shrunk by 2


def found_blocks():
    """Yields the commands of each block of a document, as (document, commands).

    Blocks marked `text` show no commands; test_reading.py runs those marked `python`.
    """
    for document in DOCUMENTS:
        text = re.sub(r"\s*\\\n\s*", " ", text_of(document))
        fenced = r"(?m)^ *```(\w*)\n((?:.*\n)*?) *```$"
        shown = [code for language, code in re.findall(fenced, text) if not language]
        text = re.sub(fenced, "", text)
        indented = r"(?<=\n)\n((?: {4,}\S.*\n)+)"
        shown += re.findall(indented, text)
        text = re.sub(indented, "\n\n", text)
        for block in shown:
            found = re.split(r"\n| {4,}", re.sub(" # .*", "", block))  # several in one line
            yield document, [one.strip() for one in found if one.strip()]
        for code in re.findall(r"`([^`]+)`", text):
            words = code.split()
            if words[0] in PROGRAMS and words != ["make"]:
                yield document, [" ".join(words)]


def is_listed(command):
    return command.startswith(tuple(NOT_RUN))


COMMANDS = {command: document for document, block in found_blocks() for command in block}


def blocks_to_run():
    """Yields each block without the commands that NOT_RUN lists or an earlier block had."""
    seen = set()
    for document, block in found_blocks():
        commands = [one for one in block if one not in seen and not is_listed(one)]
        seen.update(commands)
        if not commands:
            continue
        marks = [pytest.mark.slow]
        if any("local_cluster" in one for one in commands):
            why = f"Flink needs {', '.join(missing_tools())}"
            marks += [pytest.mark.flink, pytest.mark.skipif(bool(missing_tools()), reason=why)]
        if any("report_size" in one for one in commands):
            marks.append(pytest.mark.skipif(not find_chromium(), reason="no Chromium"))
        yield pytest.param(commands, id=f"{document}: {commands[0][:60]}", marks=marks)


class Shop:
    """The documents' bucket on the loopback server, with images, a manifest and a network."""

    def __init__(self, endpoint, images, runs):
        self._client = boto3.client("s3", endpoint_url=endpoint)
        self._client.create_bucket(Bucket="shop")
        for key, data in runs.items():
            self._put(key, data)
        for folder in ("images", "part"):
            for name, data in images.items():
                self._put(f"{folder}/{name}", data)
        lines = ["uri", *(f"s3://shop/images/{name}" for name in images)]
        self._put("manifest.csv", "\n".join(lines).encode())
        packed = "\n".join(["sku;brand;image_url", *(f"{line};Acme;{line}" for line in lines[1:])])
        self._put("export/part-0.csv.gz", gzip.compress(packed.encode("utf-16")))
        self._put("ours.keras", presets.resolve("rdn-small").data)

    def _put(self, key, data):
        self._client.put_object(Bucket="shop", Key=key, Body=data)

    def get(self, uri):
        key = uri.removeprefix("s3://shop/")
        return self._client.get_object(Bucket="shop", Key=key)["Body"].read()

    def uris(self):
        pages = self._client.get_paginator("list_objects_v2").paginate(Bucket="shop")
        return {f"s3://shop/{one['Key']}" for page in pages for one in page.get("Contents", ())}

    def close(self):
        for uri in self.uris():
            self._client.delete_object(Bucket="shop", Key=uri.removeprefix("s3://shop/"))
        self._client.delete_bucket(Bucket="shop")


@functools.cache
def earlier_runs(endpoint):
    """Runs the job over the shop's images as readers did before; returns objects by key.

    They are made once, and copied into the bucket of each block that needs them.
    """
    with contextlib.closing(Shop(endpoint, _images(SIDE_PX, 3), {})) as shop:
        before = shop.uris()
        for run in EARLIER_RUNS:
            output, _, run_id = run.partition("/")
            places = ["--input", "s3://shop/images/", "--output", f"s3://shop/{output}"]
            assert job.run([*places, "--run_id", run_id, "--report", "no"]) == job.DONE
        return {uri.removeprefix("s3://shop/"): shop.get(uri) for uri in shop.uris() - before}


class Reader:
    """A folder in which a reader types commands.

    Args:
        folder: the working directory, empty.
        endpoint: of the S3 server.
        commands: decide which files and objects the reader has.
    """

    def __init__(self, folder, endpoint, commands):
        self.folder, text = folder, "\n".join(commands)
        _link_checkout(folder)
        images = _images(SIDE_PX, IMAGES_TO_TRAIN_ON)
        for name in FOLDERS:
            _write(folder / name, images)
        to_shrink = _images(SIDE_TO_SHRINK_PX, IMAGES_TO_TRAIN_ON)
        for name in ("product", "groceries"):
            _write(folder / name, to_shrink)
        for folder_name, name in re.findall(r"--crop (\w+)/(\S+)", text):
            _write(folder / folder_name, {name: to_shrink["0.jpg"]})
        if "thumbnails/" in text:
            _write(folder / "originals", _images(2 * THUMBNAIL_PX, THUMBNAILS))
            _write(folder / "thumbnails", _images(THUMBNAIL_PX, THUMBNAILS))
        if "first.keras" in text:
            _write(folder, {"first.keras": presets.resolve("rdn-small").data})
        clothes = "\n".join(str(folder / "product" / name) for name in to_shrink)
        _write(
            folder,
            dict.fromkeys(
                ("clothes.txt", "held_out.txt", "cartons.txt", "set5.txt"), clothes.encode()
            ),
        )
        for name in PAIRS:
            _write(folder / name, _pair(images["0.jpg"]))
        _write(folder, {"photo.jpg": images["0.jpg"]})
        for run in re.findall(r"--initial_weights (runs/product\S+)/", text):
            # As the runs of the documents were: not told of the sharpening yet.
            (folder / run).mkdir(parents=True)
            RDN(**TINY, num_blocks=1, knows_quality=True).save(folder / run / "model.keras")
        for run in re.findall(r"(runs/product-cutout\d?)/model.keras", text):
            _write(folder / run, {"model.keras": presets.resolve("rdn-product").data})
        if "held_out_compressed.txt" in text:
            held_out = "\n".join(str(folder / "product" / name) for name in images)
            _write(folder / "runs/rdn-product", {"held_out_compressed.txt": held_out.encode()})
        has_bucket = any(one in text for one in ("s3://", "…", "--config"))
        in_bucket = _images(SIDE_PX, 3)
        if "--table" in text:
            in_a_folder = _images(THUMBNAIL_PX, THUMBNAILS)
            in_bucket |= {f"a/{name}": data for name, data in in_a_folder.items()}
        # Blocks that name their runs make them.
        needs_runs = "--run_id" not in text and re.search(
            r"--retry|s3:\S+/runs/|pipeline\.(read|report|prune) s3:", text
        )
        runs = earlier_runs(endpoint) if needs_runs else {}
        self.shop = Shop(endpoint, in_bucket, runs) if has_bucket else None

    def close(self):
        if self.shop:
            self.shop.close()

    def things(self):
        """Returns the files, relative to the folder, and the objects."""
        names = {str(path.relative_to(self.folder)) for path in self.folder.rglob("*")}
        return names | (self.shop.uris() if self.shop else set())

    def type(self, command):
        """Runs a command; returns exit status and output."""
        words = shlex.split(command)
        if words[0] == "catalog-magnifier":  # as pip installs it
            return _in_this_process(words, lambda: sys.exit(magnifier.main()))
        if words[0] == "python":
            return _run_python(words[1:])
        made = subprocess.run(command, shell=True, capture_output=True, text=True, check=True)
        started = (self.folder / ARGUMENTS).read_text().splitlines()
        status, said = _run_python(started)
        return status, made.stdout + said


def _run_python(words):
    """Runs Python's arguments in this process."""
    if words[0] == "-m":
        run = functools.partial(runpy.run_module, words[1], run_name="__main__", alter_sys=True)
        return _in_this_process(words[1:], run)
    return _in_this_process(
        words, functools.partial(runpy.run_path, words[0], run_name="__main__")
    )


def _in_this_process(arguments, run):
    """Runs a program in this process, which has loaded TensorFlow already."""
    said = io.StringIO()
    with (
        pytest.MonkeyPatch.context() as patched,
        contextlib.redirect_stdout(said),
        contextlib.redirect_stderr(said),
    ):
        patched.setattr(sys, "argv", arguments)
        try:
            run()
        except SystemExit as error:
            return error.code or 0, said.getvalue()
    raise AssertionError(f"{arguments} did not exit")


def _link_checkout(folder):
    """Links the checkout, with an environment whose Python writes down what `make` starts."""
    for path in ROOT.iterdir():
        if not path.name.startswith(".") and path.name not in ("tests", "runs", "demo-output"):
            (folder / path.name).symlink_to(path)
    python = f"#!/bin/sh\nprintf '%s\\n' \"$@\" >{ARGUMENTS}\n"
    _write(folder / ".venv/bin", {"python": python.encode()})
    (folder / ".venv/bin/python").chmod(0o755)
    (folder / ".venv/.ready").touch()


def _images(side, count):
    return {f"{i}.jpg": image_bytes(side, side, seed=i) for i in range(count)}


def _write(folder, files):
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in files.items():
        (folder / name).write_bytes(data)


def _pair(data):
    hr = np.asarray(Image.open(io.BytesIO(data)))
    files = {}
    for name, pixels in (("LR", resampling.to_uint8(resampling.shrink(hr, 2))), ("HR", hr)):
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, "PNG")
        files[f"baby_{name}.png"] = buffer.getvalue()
    return files


@pytest.fixture(scope="module")
def endpoint():
    with loopback_s3() as endpoint, made_up_credentials():
        yield endpoint


@pytest.fixture(scope="module")
def notified():
    with receiver() as received:
        yield received


@pytest.fixture
def this_process(tmp_path, monkeypatch, endpoint, notified):
    """Works in the reader's folder with the loopback server; restores the process afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
    monkeypatch.setitem(FILLED_IN, "http://localhost:8080/hook", notified.url)
    for name in ("MAKEFLAGS", "MAKEOVERRIDES", "VENV"):  # of a `make test` that runs this
        monkeypatch.delenv(name, raising=False)
    forget_connections()
    ours, registered = logging.getLogger("pipeline"), dict(keras.saving.get_custom_objects())
    handlers, level = ours.handlers[:], ours.level
    program, excepthook = logs.program(), sys.excepthook
    yield
    forget_connections()
    ours.handlers[:] = handlers
    ours.setLevel(level)
    logging.disable(logging.NOTSET)
    logs.name_program(program)
    logs.name_run("-")
    sys.excepthook = excepthook
    keras.saving.get_custom_objects().update(registered)


@pytest.mark.filterwarnings("ignore:.*found in sys.modules:RuntimeWarning")
@pytest.mark.usefixtures("this_process")
@pytest.mark.parametrize("commands", blocks_to_run())
def test_the_commands_run(commands, endpoint, tmp_path):
    reader = Reader(tmp_path, endpoint, commands)
    with contextlib.closing(reader):
        for command in commands:
            found = next((run for key, run in RUNS.items() if re.search(key, command)), None)
            assert found, f"say in RUNS how to run it, or in NOT_RUN why not: {command}"
            typed = command
            for place, value in FILLED_IN.items():
                typed = typed.replace(place, value)
            before = reader.things()
            status, said = reader.type(f"{typed} {found.shorter}")
            assert status == 0, f"{typed} {found.shorter}\n{said}"
            assert found.says in said, said
            assert "nobody was notified" not in said
            left = reader.things() - before
            for pattern in found.leaves.split():
                assert fnmatch.filter(left, pattern), (pattern, sorted(left))


def test_each_line_of_the_tables_is_for_a_command():
    run = [command for command in COMMANDS if not is_listed(command)]
    matched = {next((key for key in RUNS if re.search(key, one)), None) for one in run}
    assert matched == set(RUNS)
    for place in (*FILLED_IN, *NOT_RUN):
        assert any(place in command for command in COMMANDS), place


MADE = [command for command in COMMANDS if command.startswith("make ")]


@pytest.mark.parametrize("command", MADE)
def test_make_knows_the_target(command):
    subprocess.run([*shlex.split(command), "--dry-run"], cwd=ROOT, capture_output=True, check=True)
    for variable in re.findall(r"(\w+)=", command):
        assert re.search(rf"(?m)^(export )?{variable} \?=", (ROOT / "Makefile").read_text()), (
            command
        )


def test_the_launcher_takes_the_options():
    (command,) = [one for one in COMMANDS if ".launch " in one]
    words = shlex.split(re.sub(r"\$[A-Z]+", "shop-images", command.partition(".launch")[2]))
    _, rest = cli.parse(with_defaults(words), NOW)
    assert "--sdk_container_image" in rest


def test_what_is_installed_is_what_the_tests_have():
    """requirements-dev.txt, which the tests' environment has, includes the other files."""
    included, text = ["requirements-dev.txt"], ""
    for name in included:
        text += (ROOT / name).read_text()
        included += re.findall(r"(?m)^-r (.+)$", (ROOT / name).read_text())
    for command in COMMANDS:
        for name in re.findall(r"pip install -r (\S+)", command):
            assert name in included, command
