"""The benchmark of the bare network on JAX, in a process of its own without TensorFlow."""

import json
import os
import subprocess
import sys

import pytest

WITHOUT_TENSORFLOW = """
import runpy, sys
sys.modules["tensorflow"] = None
runpy.run_module("benchmarks.device", run_name="__main__", alter_sys=True)
"""


@pytest.mark.slow
def test_it_measures_a_small_network_without_tensorflow(tmp_path):
    path = tmp_path / "figures.json"
    options = "--shape 1,1,4,4 --sides 140x72 --batches 1 --seconds 0.01 --limit 500"
    subprocess.run(
        [sys.executable, "-c", WITHOUT_TENSORFLOW, *options.split(), "--json", str(path)],
        env=os.environ | {"JAX_PLATFORMS": "cpu"},
        check=True,
        timeout=300,
    )
    figures = json.loads(path.read_text())
    precisions = {"bfloat16", "float16", "float32", "float32 exact"}
    assert set(figures["peak_tflop_per_s"]) == precisions
    points = figures["points"]
    assert {point["precision"] for point in points} == precisions
    # A network of halo 6 sees the image in two tiles, both of one call.
    assert [one["batch"] for one in points] == [1, 1, 1, 1, 2]
    assert figures["differences"]["float32"]["levels"] <= 1
    assert figures["differences"]["tiles"]["levels"] <= 1
    assert figures["operation_by_operation"] > 0
    assert figures["cores_to_feed"] > 0
