import concurrent.futures
import os
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from model.imaging.decode import decode
from model.imaging.image import RasterImage
from model.inference import backends
from model.network import presets
from model.scenes.drawing import draw_scene
from pipeline import graph
from pipeline.records import RunError, Status
from pipeline.upscale import quality_gate, upscaling
from pipeline.upscale.upscaling import Maker, MakerProcesses, choose_precision, choose_workers
from tests.pipeline.conftest import image_bytes, make_plan

TIMES = ("inference_ms", "measure_ms", "encode_ms")


@pytest.fixture(scope="module")
def processes():
    saved = presets.resolve(presets.DEFAULT)
    return MakerProcesses(saved, make_plan(), 2)


def decoded(**image):
    return decode(image_bytes(60, 80, **image), max_pixels=10**6)


@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA"])
def test_other_processes_make_the_same_bits(processes, upscaler, mode):
    header, source = decoded(mode=mode, file_format="PNG")
    here = Maker(upscaler, make_plan()).make(source, header, keep_result=True)
    there = processes.make(source, header, keep_result=True)
    assert there.encoded == here.encoded
    np.testing.assert_array_equal(there.result.rgb, here.result.rgb)
    columns = [{k: v for k, v in made.columns.items() if k not in TIMES} for made in (here, there)]
    assert columns[0] == columns[1]
    assert columns[0]["status"] == Status.UPSCALED


def test_pixels_travel_only_where_they_are_wanted(processes):
    header, source = decoded()
    assert processes.make(source, header, keep_result=False).result is None


def test_a_process_that_dies_stops_the_run_with_advice():
    processes = MakerProcesses(presets.resolve(presets.DEFAULT), make_plan(), 1)
    header, source = decoded()
    processes.make(source, header, keep_result=False)
    (child,) = processes._pool._processes
    os.kill(child, signal.SIGKILL)
    with pytest.raises(RunError, match="fewer --workers"):
        processes.make(source, header, keep_result=False)


PARENT = """
import os, signal, sys
from model.network import presets
from model.imaging.decode import decode
from pipeline.upscale.upscaling import MakerProcesses
from tests.pipeline.conftest import make_plan, image_bytes

if __name__ == "__main__":
    processes = MakerProcesses(presets.resolve(presets.DEFAULT), make_plan(), 1)
    header, source = decode(image_bytes(60, 80), max_pixels=10**6)
    processes.make(source, header, keep_result=False)
    print(*processes._pool._processes, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_no_process_outlives_a_killed_parent(tmp_path, request):
    script = tmp_path / "parent.py"
    script.write_text(PARENT)
    environment = os.environ | {"PYTHONPATH": str(request.config.rootpath)}
    told = subprocess.run(
        [sys.executable, str(script)], env=environment, stdout=subprocess.PIPE, check=False
    )
    assert told.returncode == -signal.SIGKILL
    child = int(told.stdout)
    for _ in range(100):
        try:
            os.kill(child, 0)
        except ProcessLookupError:
            return
        time.sleep(0.1)
    pytest.fail(f"process {child} still lives")


@pytest.mark.parametrize(
    ("cpu", "memory_gib", "expected"),
    [(None, None, 3), ("max 100000", "max", 3), ("250000 100000", 60, 2), ("max 100000", 5, 2)],
)
def test_the_number_of_processes(monkeypatch, tmp_path, cpu, memory_gib, expected):
    """One for each core, as far as the container's limits allow."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0, 1, 5})
    monkeypatch.setattr(os, "sysconf", lambda name: 1 << 18)
    monkeypatch.setattr(upscaling, "_CONTROL_GROUP", tmp_path)
    if cpu is not None:
        memory = memory_gib if memory_gib == "max" else memory_gib << 30
        (tmp_path / "cpu.max").write_text(f"{cpu}\n")
        (tmp_path / "memory.max").write_text(f"{memory}\n")
    assert choose_workers(None, is_local=True, uris=upscaling.WORTH_PROCESSES) == expected


def test_when_one_process_is_enough(monkeypatch):
    many = upscaling.WORTH_PROCESSES
    assert choose_workers(None, is_local=True, uris=many - 1) == 1
    assert choose_workers(None, is_local=False, uris=many) == 1
    assert choose_workers(5, is_local=False, uris=1) == 5
    monkeypatch.setattr(upscaling.tf.config, "list_physical_devices", lambda kind: [kind])
    assert choose_workers(None, is_local=True, uris=many) == 1


def test_the_precision_is_the_machines_own_only_where_the_run_is():
    assert choose_precision("auto", is_local=True) == backends.fastest_dtype()
    assert choose_precision("auto", is_local=False) == "float32"
    assert choose_precision("float16", is_local=False) == "float16"


def test_the_network_computes_as_the_run_says(monkeypatch):
    told = []
    monkeypatch.setattr(upscaling, "Upscaler", lambda rdn, **options: told.append(options))
    monkeypatch.setattr(upscaling, "Maker", lambda upscaler, plan: None)
    saved = presets.resolve(presets.DEFAULT)
    for dtype in ("float32", "bfloat16"):
        upscaling.load(saved, make_plan(compute_dtype=dtype))
    assert [one["compute_dtype"] for one in told] == ["float32", "bfloat16"]


def test_with_a_gpu_images_do_not_wait_for_each_other():
    """Two images meet within the device: with turns, the first would wait for ever."""
    meeting = threading.Barrier(2, timeout=60)

    class Gpu:
        scale = 2
        one_at_a_time = False

        def upscale_image(self, image, *, jpeg_quality):
            meeting.wait()
            return quality_gate.bicubic_image(image, 2)

    maker = Maker(Gpu(), make_plan(self_psnr="off"))
    header, source = decoded(file_format="PNG")
    with concurrent.futures.ThreadPoolExecutor(2) as threads:
        made = [threads.submit(maker.make, source, header, keep_result=False) for _ in range(2)]
        assert all(one.result().columns["width"] == 2 * source.width for one in made)


def test_a_image_made_in_another_precision_is_no_other_content():
    low, high = make_plan(compute_dtype="bfloat16"), make_plan(compute_dtype="float32")
    assert low.fingerprint == high.fingerprint


@pytest.mark.parametrize("self_psnr", ["window", "full", "off"])
def test_the_self_psnr_is_measured_as_asked(upscaler, self_psnr):
    source = RasterImage(draw_scene(5, 200, 240))
    header, _ = decoded(file_format="PNG")
    maker = Maker(upscaler, make_plan(self_psnr=self_psnr))
    columns = maker.make(source, header, keep_result=False).columns
    assert (columns["self_psnr_db"] is None) == (self_psnr == "off")


def test_blank_background_is_skipped_unless_asked(local_files):
    saved = presets.resolve(presets.DEFAULT)
    for blank in ("skip", "magnify"):
        plan = make_plan(blank=blank, model=saved.name, model_sha256=saved.sha256)
        maker = graph.load_maker(local_files, plan)
        assert maker._upscaler._skips_background == (blank == "skip")
    assert make_plan(blank="skip").fingerprint != make_plan(blank="magnify").fingerprint
