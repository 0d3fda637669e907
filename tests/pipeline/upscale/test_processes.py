import dataclasses
import hashlib
import io
import json
import os
import signal
import subprocess
import sys
import time
import zipfile

import keras
import numpy as np
import psutil
import pytest

from model.imaging.decode import decode
from model.network import presets
from pipeline.records import RunError, Status
from pipeline.row.parts import NOT_TIMED
from pipeline.upscale import processes
from pipeline.upscale.processes import UpscalerProcesses, open_upscaler
from pipeline.upscale.steps import Decoded
from pipeline.upscale.upscaling import LocalUpscaler
from tests.pipeline.conftest import image_bytes, make_plan


@pytest.fixture(scope="module")
def in_processes():
    return UpscalerProcesses(presets.resolve(presets.DEFAULT), make_plan(), 2)


def decoded(**image):
    header, pixels = decode(image_bytes(60, 80, **image), max_pixels=10**6)
    return Decoded(pixels, header, NOT_TIMED)


@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA"])
def test_other_processes_give_the_same_bits(in_processes, upscaler, mode):
    source = decoded(mode=mode, file_format="PNG")
    here = LocalUpscaler(upscaler, make_plan()).upscale(source, keep_result=True)
    there = in_processes.upscale(source, keep_result=True)
    np.testing.assert_array_equal(there.result.rgb, here.result.rgb)
    here, there = (
        dataclasses.replace(one, timings=NOT_TIMED, result=None) for one in (here, there)
    )
    assert dataclasses.asdict(there) == dataclasses.asdict(here)
    assert here.status == Status.UPSCALED


def test_pixels_travel_only_where_they_are_wanted(in_processes):
    assert in_processes.upscale(decoded(), keep_result=False).result is None


def test_a_process_that_dies_stops_the_run_with_advice():
    others = set(psutil.Process().children())
    upscaler = UpscalerProcesses(presets.resolve(presets.DEFAULT), make_plan(), 1)
    upscaler.upscale(decoded(), keep_result=False)
    (child,) = [
        one
        for one in set(psutil.Process().children()) - others
        if "spawn_main" in str(one.cmdline())
    ]
    child.kill()
    with pytest.raises(RunError, match="fewer --workers"):
        upscaler.upscale(decoded(), keep_result=False)


PARENT = """
import os, signal

import psutil

from model.imaging.decode import decode
from model.network import presets
from pipeline.row.parts import NOT_TIMED
from pipeline.upscale.processes import UpscalerProcesses
from pipeline.upscale.steps import Decoded
from tests.pipeline.conftest import image_bytes, make_plan

if __name__ == "__main__":
    upscaler = UpscalerProcesses(presets.resolve(presets.DEFAULT), make_plan(), 1)
    header, pixels = decode(image_bytes(60, 80), max_pixels=10**6)
    upscaler.upscale(Decoded(pixels, header, NOT_TIMED), keep_result=False)
    children = psutil.Process().children()
    print(*(one.pid for one in children if "spawn_main" in str(one.cmdline())), flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_no_process_outlives_a_killed_parent_and_none_is_loud(tmp_path, request):
    script = tmp_path / "parent.py"
    script.write_text(PARENT)
    environment = os.environ | {"PYTHONPATH": str(request.config.rootpath)}
    told = subprocess.run(
        [sys.executable, str(script)], env=environment, capture_output=True, check=False
    )
    assert told.returncode == -signal.SIGKILL
    assert b"absl" not in told.stderr  # TensorFlow is loaded quietly, whatever the parent is
    child = int(told.stdout)
    for _ in range(100):
        if not psutil.pid_exists(child):
            return
        time.sleep(0.1)
    pytest.fail(f"process {child} still lives")


def test_a_model_that_changed_since_the_start_stops_the_run(local_files):
    with pytest.raises(RunError, match="changed since the run began"):
        open_upscaler(local_files, make_plan(model_sha256="f" * 64))


@pytest.mark.parametrize("workers", [1, 2])
def test_a_network_with_weights_that_are_no_numbers_stops_the_run(
    local_files, tmp_path, shipped, workers
):
    """The gate would reject each of its results, and the run would end as if all were well."""
    path = tmp_path / "diverged.keras"
    shipped.save(path)
    rdn = keras.saving.load_model(path, compile=False)
    rdn.set_weights([weights * np.nan for weights in rdn.get_weights()])
    rdn.save(path)
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    plan = make_plan(model=str(path), model_sha256=sha256, workers=workers)
    with pytest.raises(RunError, match="finite"):
        open_upscaler(local_files, plan)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_network_that_cannot_be_built_is_told_as_such(local_files, tmp_path, workers):
    """Its weights are not those of its configuration; no process died for want of memory."""
    path = tmp_path / "other.keras"
    with (
        zipfile.ZipFile(io.BytesIO(presets.resolve("rdn-small").data)) as saved,
        zipfile.ZipFile(path, "w") as made,
    ):
        for name in saved.namelist():
            content = saved.read(name)
            if name == "config.json":
                config = json.loads(content)
                config["config"]["knows_quality"] = True
                content = json.dumps(config).encode()
            made.writestr(name, content)
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    plan = make_plan(model=str(path), model_sha256=sha256, workers=workers)
    with pytest.raises(RunError, match=r"other\.keras is no saved RDN"):
        open_upscaler(local_files, plan).upscale(decoded(), keep_result=False)


def test_the_run_chooses_between_this_process_and_others(local_files, monkeypatch):
    monkeypatch.setattr(processes, "UpscalerProcesses", lambda saved, plan, count: count)
    sha256 = presets.resolve(presets.DEFAULT).sha256
    settings = make_plan(model_sha256=sha256)
    local = open_upscaler(local_files, dataclasses.replace(settings, workers=1))
    assert isinstance(local, LocalUpscaler)
    assert open_upscaler(local_files, dataclasses.replace(settings, workers=3)) == 3
