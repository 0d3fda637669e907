"""What can be known about Flink without one; the job on it is in pipeline/test_runners.py."""

import pytest

from deploy.flink import local_cluster
from deploy.flink.local_cluster import missing_tools

NO_JAVA = "Java 17 or newer (none was found)"


@pytest.fixture
def programs(monkeypatch, tmp_path):
    """Makes programs of one command each, the only ones on the path."""
    monkeypatch.setenv("PATH", str(tmp_path))

    def make(**commands):
        for name, command in commands.items():
            program = tmp_path / name
            program.write_text(f"#!/bin/sh\n{command}\n")
            program.chmod(0o755)

    return make


def told(version):
    return f"""echo 'openjdk version "{version}" 2025-04-15' >&2"""


@pytest.mark.parametrize("version", ["17.0.15", "17", "21.0.1", "25-ea"])
def test_java_17_and_later_will_do(programs, version):
    programs(java=told(version), mvn="exit 0")
    assert missing_tools() == []


@pytest.mark.parametrize("version", ["1.8.0_392", "11.0.2", "9", "unknown"])
def test_an_older_java_is_missed_by_its_version(programs, version):
    programs(java=told(version), mvn="exit 0")
    assert missing_tools() == [f"Java 17 or newer (found was {version})"]


def test_a_java_that_does_not_run_is_none(programs):
    """As on a Mac without Java, which has a program of that name."""
    programs(java="echo 'Unable to locate a Java Runtime.' >&2; exit 1")
    assert missing_tools() == [NO_JAVA, "Maven (none was found)"]


def test_without_tools_nothing_is_downloaded(programs, monkeypatch, tmp_path):
    monkeypatch.setattr(local_cluster, "DOWNLOADS", tmp_path / "build")
    with pytest.raises(SystemExit, match=r"Flink needs Java 17 .* and Maven"):
        local_cluster.get_flink()
    assert not (tmp_path / "build").exists()
