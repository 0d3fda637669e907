"""The schedules of deploy/: each tool's own check of its file, and our check of the command."""

import ast
import datetime
import importlib.util
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import kubernetes_validate
import pytest
import yaml
from croniter import croniter

from pipeline import lock, options

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


def arguments_of(schedule):
    """What `run_pipeline.py` gets, with the shell's and the tools' parts replaced."""
    if schedule == "cronjob.yaml":
        return [re.sub(r"\$\(\w+\)", "x", word) for word in container()["args"]]
    if schedule == "crontab":
        command = cron_line().replace(r"\%", "%").partition(" >>")[0]
    elif schedule == "catalog-magnifier.service":
        (start,) = [line for line in lines(schedule) if line.startswith("ExecStart=")]
        command = shlex.split(start)[-1].replace("$$", "$").replace("%%", "%")
    else:
        command = airflow_command()
    plain = re.sub(r"\$\([^)]*\)|\{\{.*?\}\}", "x", command)
    return shlex.split(plain.partition("run_pipeline.py ")[2])


@pytest.mark.parametrize(
    "schedule", ["crontab", "catalog-magnifier.service", "cronjob.yaml", "airflow_dag.py"]
)
def test_the_command_is_one_that_the_job_takes(schedule):
    settings, rest = options.parse(arguments_of(schedule), datetime.datetime.now(datetime.UTC))
    assert rest == []
    assert settings.input == "s3://shop/pictures/" and settings.output == "s3://shop/magnified"
    assert settings.run_id.endswith("x")  # named after the night, so that tries share it


def test_cron_takes_the_line():
    assert croniter.is_valid(" ".join(cron_line().split()[:5]))
    assert cron_line().startswith(NIGHTLY)
    assert not re.search(r"(?<!\\)%", cron_line())  # cron would end the command there


def test_the_shell_takes_crons_command():
    command = cron_line().split(maxsplit=5)[5].replace(r"\%", "%")
    subprocess.run(["sh", "-n", "-c", command], check=True)


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
    assert sum(pauses_s) > lock.DEAD_AFTER_S


def test_the_image_has_what_the_job_imports():
    copied = re.findall(r"^COPY (\S+)", (SCHEDULES / "Dockerfile").read_text(), re.MULTILINE)
    assert set(copied) == {"requirements.txt", "run_pipeline.py", "model", "pipeline"}
    assert all((SCHEDULES.parents[1] / name).exists() for name in copied)


def test_airflow_gets_a_nightly_dag():
    compile(airflow_tree(), "airflow_dag.py", "exec")
    assert airflow_schedule() == NIGHTLY


@pytest.mark.skipif(importlib.util.find_spec("airflow") is None, reason="Airflow is large")
def test_airflow_takes_the_dag():
    spec = importlib.util.spec_from_file_location("dag", SCHEDULES / "airflow_dag.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.dag.task_ids == ["magnify"]
