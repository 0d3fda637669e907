"""A Flink cluster on this machine, and the job on it.

    python deploy/flink/local_cluster.py --input images/ --output upscaled/

Takes the options of `run_pipeline.py`. Gets Flink from PyPI and Beam's job server from Maven
Central on the first call (Java 17 or newer and Maven are needed), starts a job manager and two
task managers on loopback, runs the job and stops them.
"""

import contextlib
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
FLINK_VERSION = "1.19.3"
DOWNLOADS = ROOT / "build/flink"
JOB_SERVER = DOWNLOADS / "job-server/flink-job-server.jar"
_OLDEST_JAVA = 17
_TASK_MANAGERS = 2
_UP_WITHIN_S = 120

# Flink's own start scripts, which PyPI does not ship, open these packages for Java 17.
_OPENED = (
    *("lang", "lang.invoke", "lang.reflect", "io", "net", "nio", "text", "time", "util"),
    *("util.concurrent", "util.concurrent.atomic", "util.concurrent.locks"),
)
_JAVA_17 = [
    *(f"--add-opens=java.base/java.{package}=ALL-UNNAMED" for package in _OPENED),
    "--add-opens=java.base/sun.nio.ch=ALL-UNNAMED",
    "--add-exports=java.base/sun.net.util=ALL-UNNAMED",
]
_LOGGING = """\
rootLogger.level = INFO
rootLogger.appenderRef.file.ref = File
appender.file.name = File
appender.file.type = FILE
appender.file.fileName = ${sys:log.file}
appender.file.layout.type = PatternLayout
appender.file.layout.pattern = %d{ISO8601} %-5p %c{1} - %m%n
"""


def missing_tools() -> list[str]:
    """What a first call needs and this machine does not have, in words."""
    missing = []
    version = _java_version()
    number = re.match(r"(1\.)?(\d+)", version or "")  # Java 8 called itself 1.8
    if number is None or int(number[2]) < _OLDEST_JAVA:
        found = "none was found" if version is None else f"found was {version}"
        missing.append(f"Java {_OLDEST_JAVA} or newer ({found})")
    if shutil.which("mvn") is None:
        missing.append("Maven (none was found)")
    return missing


def _java_version() -> str | None:
    """What `java` calls itself, like 17.0.15; None without one that runs."""
    if shutil.which("java") is None:
        return None
    done = subprocess.run(["java", "-version"], capture_output=True, text=True, check=False)
    named = re.search(r'version "([^"]*)"', done.stderr + done.stdout)
    return named[1] if named else None


def get_flink() -> Path:
    """Installs Flink below `build/flink` and builds Beam's job server, unless they are there.

    Returns:
        The folder of Flink's jars.

    Raises:
        SystemExit: if Java or Maven are missing, or Java is too old.
    """
    missing = missing_tools()
    if missing:
        raise SystemExit(f"Flink needs {' and '.join(missing)}")
    home = DOWNLOADS / f"flink-{FLINK_VERSION}"
    if not home.is_dir():
        # Under another name until it is whole: an interrupted download is not taken for Flink.
        part = DOWNLOADS / "part"
        shutil.rmtree(part, ignore_errors=True)
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps"]
        flink = f"apache-flink-libraries=={FLINK_VERSION}"
        subprocess.run([*pip, "--target", str(part), flink], check=True)
        part.rename(home)
    if not JOB_SERVER.is_file():
        pom = Path(__file__).with_name("pom.xml")
        subprocess.run(["mvn", "-B", "-q", "-f", str(pom), "package"], check=True)
    return home / "pyflink/lib"


class LocalCluster:
    """One job manager and two task managers, on ports of 127.0.0.1. A context manager.

    Each task manager has two slots and is given one task first: the one that is left when the
    other dies has room for all.

    Args:
        folder: for logs, temporary files and the workers' start script; must exist.
        environment: of the processes; the workers' storage credentials come from here.
    """

    def __init__(self, folder: Path, environment: dict[str, str] | None = None) -> None:
        self._folder = folder
        self._environment = dict(os.environ if environment is None else environment)
        self._processes: dict[str, subprocess.Popen] = {}
        self._lib = get_flink()
        self._rest_port = _free_port()
        self._rpc_port = _free_port()

    def __enter__(self) -> "LocalCluster":
        self._write_configuration()
        self._start(
            "jobmanager",
            "org.apache.flink.runtime.entrypoint.StandaloneSessionClusterEntrypoint",
            heap_mb=768,
        )
        for number in range(1, _TASK_MANAGERS + 1):
            self._start(
                f"taskmanager{number}",
                "org.apache.flink.runtime.taskexecutor.TaskManagerRunner",
                heap_mb=512,
            )
        try:
            self.wait_for_task_managers(_TASK_MANAGERS)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        # Task managers first: they stop their workers while they go.
        for process in reversed(self._processes.values()):
            process.terminate()
        for process in self._processes.values():
            try:
                process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    @property
    def processes(self) -> list[subprocess.Popen]:
        """All processes of the cluster but the workers, which they start."""
        return list(self._processes.values())

    @property
    def task_managers(self) -> dict[str, subprocess.Popen]:
        """The task managers' processes by name."""
        return {name: one for name, one in self._processes.items() if name != "jobmanager"}

    def log(self, name: str) -> Path:
        """The log of `jobmanager` or of a task manager, its workers' included."""
        return self._folder / f"{name}.log"

    def beam_options(self) -> list[str]:
        """What `run_pipeline.py` needs beside its own options."""
        worker = {
            "command": str(self._folder / "worker"),
            "env": {"PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "2"},
        }
        return [
            "--runner=FlinkRunner",
            f"--flink_master=127.0.0.1:{self._rest_port}",
            f"--flink_version={FLINK_VERSION.rpartition('.')[0]}",
            f"--flink_job_server_jar={JOB_SERVER}",
            *(f"--job_server_jvm_properties={option}" for option in _JAVA_17),
            f"--parallelism={_TASK_MANAGERS}",
            "--environment_type=PROCESS",
            f"--environment_config={json.dumps(worker)}",
            # Workers stay between two stages: each loads TensorFlow once.
            "--environment_cache_millis=60000",
        ]

    def rest(self, path: str) -> dict[str, Any]:
        """The job manager's answer to a GET of its REST interface."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self._rest_port}{path}") as answer:
            return json.load(answer)

    def wait_for_task_managers(self, count: int) -> None:
        """Returns when so many have registered.

        Raises:
            RuntimeError: if that takes two minutes, or a process ended.
        """
        give_up_at = time.monotonic() + _UP_WITHIN_S
        while time.monotonic() < give_up_at:
            with contextlib.suppress(urllib.error.URLError, ConnectionError):
                if len(self.rest("/taskmanagers")["taskmanagers"]) >= count:
                    return
            for name, process in self._processes.items():
                if process.poll() is not None:
                    raise RuntimeError(f"{name} ended: see {self.log(name)} and .out")
            time.sleep(0.5)
        raise RuntimeError(f"Flink is not up: see the logs in {self._folder}")

    def _start(self, name: str, main_class: str, *, heap_mb: int) -> None:
        command = [
            *("java", f"-Xmx{heap_mb}m", *_JAVA_17, f"-Dlog.file={self.log(name)}"),
            f"-Dlog4j.configurationFile={self._folder / 'log4j.properties'}",
            *("-cp", f"{self._lib}/*", main_class, "--configDir", str(self._folder)),
        ]
        with (self._folder / f"{name}.out").open("w") as out:
            self._processes[name] = subprocess.Popen(
                command, stdout=out, stderr=out, cwd=self._folder, env=self._environment
            )

    def _write_configuration(self) -> None:
        """Flink's configuration; also what its start scripts would work out."""
        settings = {
            "jobmanager.rpc.address": "127.0.0.1",
            "jobmanager.rpc.port": self._rpc_port,
            "jobmanager.bind-host": "127.0.0.1",
            "taskmanager.bind-host": "127.0.0.1",
            "taskmanager.host": "127.0.0.1",
            "rest.address": "127.0.0.1",
            "rest.bind-address": "127.0.0.1",
            "rest.port": self._rest_port,
            "io.tmp.dirs": str(self._folder / "tmp"),
            "taskmanager.numberOfTaskSlots": 2,
            "taskmanager.load-balance.mode": "SLOTS",
            "taskmanager.cpu.cores": 2.0,
            "taskmanager.memory.task.heap.size": "256mb",
            "taskmanager.memory.task.off-heap.size": "0mb",
            "taskmanager.memory.framework.heap.size": "128mb",
            "taskmanager.memory.framework.off-heap.size": "128mb",
            "taskmanager.memory.jvm-metaspace.size": "256mb",
            "taskmanager.memory.jvm-overhead.min": "192mb",
            "taskmanager.memory.jvm-overhead.max": "192mb",
            # Enough for the whole job on the one task manager that is left.
            "taskmanager.memory.network.min": "192mb",
            "taskmanager.memory.network.max": "192mb",
            "taskmanager.memory.managed.size": "256mb",
            "restart-strategy.type": "fixed-delay",
            "restart-strategy.fixed-delay.attempts": 5,
            # Longer than two heartbeats, after which a dead task manager is known to be dead:
            # an earlier restart would be sent to it again.
            "restart-strategy.fixed-delay.delay": "10s",
            "heartbeat.interval": 2000,
            "heartbeat.rpc-failure-threshold": 2,
            "classloader.check-leaked-classloader": "false",
        }
        (self._folder / "tmp").mkdir()
        lines = [f"{key}: {value}\n" for key, value in settings.items()]
        (self._folder / "config.yaml").write_text("".join(lines))
        (self._folder / "log4j.properties").write_text(_LOGGING)
        worker = self._folder / "worker"
        worker.write_text(
            f'#!/bin/sh\nexec "{sys.executable}" -m pipeline.runtime.beam_worker "$@"\n'
        )
        worker.chmod(0o755)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextlib.contextmanager
def _temporary_cluster() -> Iterator[LocalCluster]:
    with (
        tempfile.TemporaryDirectory(prefix="flink-", ignore_cleanup_errors=True) as folder,
        LocalCluster(Path(folder)) as cluster,
    ):
        yield cluster


def main(argv: list[str]) -> int:
    """Runs the job on a cluster of its own; returns its exit status."""
    with _temporary_cluster() as cluster:
        command = [sys.executable, str(ROOT / "run_pipeline.py"), *argv, *cluster.beam_options()]
        return subprocess.run(command, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
