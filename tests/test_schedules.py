"""The schedules of deploy/: each tool's own check of its file, and our check of the command."""

import ast
import datetime
import importlib.util
import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path
from types import SimpleNamespace

import kubernetes_validate
import pytest
import yaml
from croniter import croniter

from pipeline import cli
from pipeline.runs import lock

SCHEDULES = Path(__file__).parents[1] / "deploy/schedules"
NIGHTLY = "30 1 * * *"
needs_systemd = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="this machine has no systemd"
)


def cron_line():
    (line,) = [line for line in lines("crontab") if re.match(r"[\d*]", line)]
    return line


def cron_job():
    return yaml.safe_load((SCHEDULES / "cronjob.yaml").read_text())


def container():
    return cron_job()["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"][0]


def lines(name):
    return (SCHEDULES / name).read_text().splitlines()


def airflow_tree():
    return ast.parse((SCHEDULES / "airflow_dag.py").read_text())


def airflow_command():
    for node in airflow_tree().body:
        if isinstance(node, ast.Assign) and node.targets[0].id == "COMMAND":
            return ast.literal_eval(node.value)
    raise AssertionError("no COMMAND")


def airflow_schedule():
    (found,) = [
        node.value.value
        for node in ast.walk(airflow_tree())
        if isinstance(node, ast.keyword) and node.arg == "schedule"
    ]
    return found


def shell_command(schedule):
    """What the tool gives to the shell."""
    if schedule == "crontab":
        return cron_line().split(maxsplit=5)[5].replace(r"\%", "%")
    (start,) = [line for line in lines(schedule) if line.startswith("ExecStart=")]
    return shlex.split(start)[-1].replace("$$", "$").replace("%%", "%")


def arguments_of(schedule):
    """What `run_pipeline.py` gets, with the shell's and the tools' parts replaced."""
    if schedule == "cronjob.yaml":
        return [re.sub(r"\$\(\w+\)", "x", word) for word in container()["args"]]
    if schedule == "airflow_dag.py":
        command = airflow_command()
    else:
        command = shell_command(schedule).partition(" >>")[0]
    plain = re.sub(r"\$\([^)]*\)|\{\{.*?\}\}", "x", command)
    return shlex.split(plain.partition("run_pipeline.py ")[2])


@pytest.mark.parametrize(
    "schedule", ["crontab", "catalog-magnifier.service", "cronjob.yaml", "airflow_dag.py"]
)
def test_the_command_is_one_that_the_job_takes(schedule):
    settings, rest = cli.parse(arguments_of(schedule), datetime.datetime.now(datetime.UTC))
    assert rest == []
    assert settings.input == "s3://shop/images/" and settings.output == "s3://shop/upscaled"
    assert settings.run_id.endswith("x")  # named after the night, so that tries share it


def test_cron_takes_the_line():
    assert croniter.is_valid(" ".join(cron_line().split()[:5]))
    assert cron_line().startswith(NIGHTLY)
    assert not re.search(r"(?<!\\)%", cron_line())  # cron would end the command there


def test_the_shell_takes_crons_command():
    subprocess.run(["sh", "-n", "-c", shell_command("crontab")], check=True)


# GNU's date at another time: it gets `-u -d "1 hour ago" +FORMAT`.
CLOCK = """#!/bin/sh
exec {date} "$1" "$2" "$NOW UTC $3" "$4"
"""


@pytest.mark.parametrize("schedule", ["crontab", "catalog-magnifier.service"])
@pytest.mark.parametrize(
    ("now", "night"),
    [
        ("2026-01-01 00:59", "20251231"),
        ("2026-01-01 01:30", "20260101"),
        ("2026-01-01 23:50", "20260101"),
        ("2026-01-02 00:10", "20260101"),
        ("2026-01-02 01:30", "20260102"),
    ],
)
def test_tries_before_and_after_midnight_share_the_run_id(tmp_path, schedule, now, night):
    clock = tmp_path / "date"
    clock.write_text(CLOCK.format(date=shutil.which("date")))
    clock.chmod(0o755)
    named = re.search(r"--run_id (.*?\))", shell_command(schedule))[1] + '"'
    told = subprocess.run(
        ["sh", "-c", f"echo {named}"],
        env={"PATH": f"{tmp_path}:{os.environ['PATH']}", "NOW": now},
        capture_output=True,
        text=True,
        check=True,
    )
    assert (told.stdout, told.stderr) == (f"night-{night}\n", "")


@needs_systemd
def test_systemd_takes_the_units():
    units = [str(SCHEDULES / f"catalog-magnifier.{kind}") for kind in ("service", "timer")]
    checked = subprocess.run(
        ["systemd-analyze", "verify", *units], capture_output=True, text=True, check=False
    )
    assert (checked.returncode, checked.stderr) == (0, "")


@needs_systemd
def test_systemd_takes_the_calendar():
    (when,) = [line for line in lines("catalog-magnifier.timer") if line.startswith("OnCalendar=")]
    subprocess.run(["systemd-analyze", "calendar", when.partition("=")[2]], check=True)


def test_kubernetes_takes_the_job():
    kubernetes_validate.validate(cron_job(), "1.37", strict=True)
    assert cron_job()["spec"]["schedule"] == NIGHTLY
    named = cron_job()["spec"]["jobTemplate"]["spec"]["podFailurePolicy"]["rules"][0]
    assert named["onExitCodes"]["containerName"] == container()["name"]


def test_kubernetes_still_tries_when_a_killed_pod_is_taken_for_dead():
    tries = cron_job()["spec"]["jobTemplate"]["spec"]["backoffLimit"]
    pauses_s = [min(10 * 2**i, 360) for i in range(tries)]  # the job controller's back-off
    assert sum(pauses_s) > lock.Timing().dead_after_s


def test_the_image_has_what_the_job_imports():
    copied = re.findall(r"^COPY (\S+)", (SCHEDULES / "Dockerfile").read_text(), re.MULTILINE)
    assert set(copied) == {"requirements.txt", "run_pipeline.py", "model", "pipeline"}
    assert all((SCHEDULES.parents[1] / name).exists() for name in copied)


def test_airflow_gets_a_nightly_dag():
    compile(airflow_tree(), "airflow_dag.py", "exec")
    assert airflow_schedule() == NIGHTLY


@pytest.fixture
def airflow_task():
    """The DAG's one task, made by Airflow."""
    if importlib.util.find_spec("airflow") is None:
        pytest.skip("Airflow is large")
    spec = importlib.util.spec_from_file_location("dag", SCHEDULES / "airflow_dag.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    (task,) = module.dag.tasks
    return task


def test_airflow_takes_the_dag(airflow_task):
    assert airflow_task.task_id == "upscale"
    assert airflow_task.bash_command == airflow_command()


@pytest.mark.parametrize(
    ("run_after", "run_id"), [("2026-01-02 01:30", "20260102"), ("2026-01-02 00:10", "20260101")]
)
def test_airflow_names_the_night(airflow_task, run_after, run_id):
    dag_run = SimpleNamespace(run_after=datetime.datetime.fromisoformat(run_after))
    macros = SimpleNamespace(timedelta=datetime.timedelta)
    airflow_task.render_template_fields({"dag_run": dag_run, "macros": macros})
    assert airflow_task.bash_command.endswith(f"--run_id night-{run_id}")


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (0, None),
        (1, "AirflowException"),  # tried again
        (2, "AirflowFailException"),  # not
        (3, "AirflowFailException"),
        (130, "AirflowException"),
    ],
)
def test_airflow_tries_again_only_where_that_helps(airflow_task, tmp_path, status, error):
    airflow_task.cwd, airflow_task.bash_command = str(tmp_path), f"exit {status}"
    try:
        airflow_task.execute({})
    except Exception as raised:
        assert type(raised).__name__ == error
    else:
        assert error is None
