"""Commands parse before they import a framework, and start up without noise."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.pipeline.conftest import image_bytes

ROOT = Path(__file__).parents[1]
HEAVY = ("tensorflow", "keras", "apache_beam")
LIGHT_COMMANDS = ["pipeline.read", "pipeline.prune", "pipeline.report", "pipeline.compare"]
COMMANDS = [
    "run_pipeline",
    "pipeline.demo",
    *LIGHT_COMMANDS,
    *("model.upscale", "model.scenes", "model.evaluate", "model.train"),
]
# Runs a command and then prints which of the heavy modules it has imported.
PROBE = f"""
import atexit, runpy, sys
atexit.register(lambda: print("imported:", *[one for one in {HEAVY} if one in sys.modules]))
sys.argv[0] = sys.argv[1]
name = sys.argv.pop(1)
runpy.run_module(name, run_name="__main__", alter_sys=True)
"""


def python(*arguments, **options):
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        **options,
    )


def imported(done):
    """The heavy modules that a probed command imported."""
    return done.stdout.rpartition("imported:")[2].split()


@pytest.mark.parametrize(
    "module",
    ["model", "pipeline", "model.startup", "pipeline.runtime.startup", "catalog_magnifier"],
)
def test_an_import_has_no_effect(module):
    code = (
        "import logging, os, sys; before = dict(os.environ), list(logging.getLogger().handlers), "
        f"sys.stdout; import {module}; "
        "after = dict(os.environ), list(logging.getLogger().handlers), sys.stdout; "
        f"print(before == after, *[one for one in {HEAVY} if one in sys.modules])"
    )
    done = python("-c", code, env=os.environ | {"CATALOG_MAGNIFIER_RUN_ID": "night1"})
    assert (done.stdout, done.stderr) == ("True\n", "")


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("option", ["--help", "--version"])
def test_help_needs_no_framework_and_is_quiet(command, option):
    done = python("-c", PROBE, command, option)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("usage: " if option == "--help" else "catalog-magnifier ")
    assert imported(done) == []


@pytest.mark.parametrize("command", COMMANDS)
def test_a_typo_needs_no_framework_and_is_the_only_message(command):
    done = python("-c", PROBE, command, "--inptu", "x")
    assert done.returncode == 2
    assert "imported:" in done.stdout and "tensorflow" not in imported(done)
    assert done.stderr.count("\n") == 1
    name, _, problem = done.stderr.partition(": ")
    assert name in (command, "run_pipeline.py") and problem.startswith("unknown option --inptu")


@pytest.mark.parametrize("command", ["run_pipeline", *LIGHT_COMMANDS])
def test_a_wrong_command_line_keeps_its_secrets(command):
    done = python("-c", PROBE, command, "a", "b", "c", "s3://KEY:planted@shop/up")
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1 and "planted" not in done.stderr


@pytest.mark.parametrize("command", LIGHT_COMMANDS)
def test_commands_that_read_rows_import_no_framework(command, tmp_path):
    missing = [str(tmp_path / "out"), "--run_id", "none"]
    arguments = {
        "pipeline.read": [missing[0], str(tmp_path / "images"), *missing[1:]],
        "pipeline.prune": missing[:1],
        "pipeline.report": missing,
        "pipeline.compare": [f"{missing[0]}/runs/a", f"{missing[0]}/runs/b"],
    }[command]
    done = python("-c", PROBE, command, *arguments)
    assert done.returncode == 1
    assert done.stderr.startswith(f"{command}: ") and done.stderr.count("\n") == 1
    assert imported(done) == []


@pytest.mark.parametrize("command", LIGHT_COMMANDS)
def test_a_wrong_command_line_is_told_without_its_secrets(command):
    done = python("-m", command, "a", "b", "s3://KEY:planted@shop/out")
    assert done.returncode == 2
    assert "unrecognized arguments" in done.stderr and "planted" not in done.stderr
    done = python("-m", command, "a", "b", "--x=/a?sig=planted")
    assert done.returncode == 2
    assert "unknown option --x" in done.stderr and "planted" not in done.stderr


CLOSED = """
import sys
from model import startup

def main(argv):
    for _ in range(100_000):
        print("a line of the output")
    print("finished", file=sys.stderr)
    return 7

sys.exit(startup.run_command("command", main))
"""


def test_a_reader_who_leaves_early_does_not_fail_the_command():
    with subprocess.Popen(
        [sys.executable, "-c", CLOSED],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout.readline() == "a line of the output\n"
        process.stdout.close()
        error = process.stderr.read()
    assert (process.returncode, error) == (7, "finished\n")


def test_ctrl_c_is_one_line():
    code = (
        "import sys; from model import startup\n"
        "def main(argv): raise KeyboardInterrupt\n"
        "sys.exit(startup.run_command('model.upscale', main))"
    )
    done = python("-c", code)
    assert (done.returncode, done.stderr) == (130, "model.upscale: interrupted\n")


STOPPED = """
import os, signal, sys, time, run_pipeline
from pipeline.runtime import startup

class Slow:
    def find_spec(self, name, *_):
        if name == "{module}":
            if name == "tensorflow":
                os.write(2, b"noise of an import")
            os.kill(os.getpid(), signal.{sign})
            time.sleep(60)

sys.meta_path.insert(0, Slow())
sys.exit(startup.run_command("run_pipeline", run_pipeline.main))
"""


@pytest.mark.parametrize("module", ["apache_beam", "tensorflow"])
@pytest.mark.parametrize(
    ("sign", "status", "told"),
    [
        ("SIGINT", 130, "run_pipeline.py: interrupted; --run_id r1 continues it"),
        ("SIGTERM", 143, "WARNING r1 SIGTERM: the run ends; --run_id r1 continues it"),
    ],
)
def test_a_signal_while_a_framework_is_imported_is_one_line(tmp_path, module, sign, status, told):
    """Beam before the run begins, TensorFlow in its midst."""
    for name in ("tmp", "in"):
        (tmp_path / name).mkdir()
    (tmp_path / "in/a.png").write_bytes(image_bytes(40, 40, file_format="PNG"))
    places = ["--input", str(tmp_path / "in"), "--output", str(tmp_path / "out")]
    environment = os.environ | {"TMPDIR": str(tmp_path / "tmp")}
    code = STOPPED.format(module=module, sign=sign)
    done = python("-c", code, *places, "--run_id", "r1", env=environment)
    assert done.returncode == status
    assert done.stderr.endswith(f"{told}\n") and "noise" not in done.stderr
    assert done.stderr.count("\n") == 1
    assert list((tmp_path / "tmp").iterdir()) == []


def test_a_run_without_work_imports_no_tensorflow(tmp_path):
    (tmp_path / "m.txt").write_text("none.png\n")
    places = ["--input", str(tmp_path / "m.txt"), "--output", str(tmp_path / "out")]
    done = python("-c", PROBE, "run_pipeline", *places, "--max_failure_rate", "1")
    assert done.returncode == 0, done.stderr
    assert "1 not_found" in done.stdout and imported(done) == ["apache_beam"]


def test_ctrl_c_drops_what_an_import_prints():
    code = (
        "import os, sys; from model import startup\n"
        "class Slow:\n"
        "    def find_spec(self, name, *_):\n"
        "        if name == 'tensorflow':\n"
        "            os.write(2, b'noise')\n"
        "            raise KeyboardInterrupt\n"
        "sys.meta_path.insert(0, Slow())\n"
        "def main(argv): startup.import_tensorflow()\n"
        "sys.exit(startup.run_command('model.upscale', main))"
    )
    done = python("-c", code)
    assert (done.returncode, done.stderr) == (130, "model.upscale: interrupted\n")


QUIET = """
import sys
from model.startup import import_tensorflow
import_tensorflow()
assert "tensorflow" in sys.modules
# Nor does it import what only other users of TensorFlow need, which stays importable.
assert not {"jax", "matplotlib", "pandas", "scipy"} & set(sys.modules)
import gc, os
import pandas, scipy.sparse
assert gc.isenabled()
import keras
assert keras.backend.backend() == "tensorflow"
os.write(2, b"after")
"""


@pytest.mark.slow
@pytest.mark.parametrize("has_room", [True, False])
def test_tensorflow_is_imported_quietly(has_room):
    code = QUIET
    if not has_room:  # nowhere to hold its messages back: they are printed
        code = "import tempfile; tempfile.TemporaryFile = lambda: open('/nowhere/x')\n" + QUIET
    done = python("-c", code, env=os.environ | {"KERAS_BACKEND": "jax"})
    assert done.returncode == 0
    assert (done.stderr == "after") == has_room and done.stderr.endswith("after")


def test_no_room_for_temporary_files_is_one_line(tmp_path):
    code = (
        "import errno, sys, tempfile, run_pipeline\n"
        "def full(*_, **__): raise OSError(errno.ENOSPC, 'No space left on device', '/x')\n"
        "tempfile.mkdtemp = full\n"
        f"sys.exit(run_pipeline.main(['--input', {str(tmp_path)!r}, '--output', '/nowhere/out']))"
    )
    done = python("-c", code)
    assert done.returncode == 1
    assert done.stderr == (
        "run_pipeline.py: cannot write temporary files in /x: No space left on device; free "
        "space, or set TMPDIR\n"
    )


def test_a_full_output_is_one_line(tmp_path):
    """Beam logs the error of a step as well, with its traceback."""
    (tmp_path / "m.txt").write_text("none.png\n")
    code = (
        "import errno, shutil, sys, run_pipeline\n"
        "from pipeline.runtime import startup\n"
        "def full(*_): raise OSError(errno.ENOSPC, 'No space left on device')\n"
        "shutil.copyfile = full\n"
        "sys.exit(startup.run_command('run_pipeline.py', run_pipeline.main))"
    )
    places = ["--input", str(tmp_path / "m.txt"), "--output", str(tmp_path / "out")]
    done = python("-c", code, *places, "--run_id", "r1")
    assert done.returncode == 1
    staging = re.escape(f"{tmp_path}/out/runs/r1/staging/")
    assert re.fullmatch(
        rf"run_pipeline.py: cannot write {staging}\w+.parquet: No space left on device; free "
        r"space there, or name another folder\n",
        done.stderr,
    ), done.stderr


@pytest.mark.slow
def test_a_run_whose_reader_leaves_finishes(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "tmp").mkdir()
    (tmp_path / "in/a.png").write_bytes(image_bytes(40, 40, file_format="PNG"))
    places = ["--input", str(tmp_path / "in"), "--output", str(tmp_path / "out")]
    with subprocess.Popen(
        [sys.executable, "run_pipeline.py", *places, "--run_id", "r1"],
        cwd=ROOT,
        env=os.environ | {"TMPDIR": str(tmp_path / "tmp")},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        process.stdout.close()
        error = process.stderr.read()
    assert (process.returncode, error) == (0, "")
    assert (tmp_path / "out/runs/r1/_SUCCESS").exists()
    assert (tmp_path / "out/runs/r1/report.html").exists()
    assert list((tmp_path / "tmp").iterdir()) == []  # nor is anything left there
