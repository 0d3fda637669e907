import os

import pytest

from model.inference import backends
from pipeline.upscale import machine
from pipeline.upscale.machine import choose_dtype, choose_workers


@pytest.mark.parametrize(
    ("cpu", "memory_gib", "expected"),
    [(None, None, 3), ("max 100000", "max", 3), ("250000 100000", 60, 2), ("max 100000", 5, 2)],
)
def test_the_number_of_processes(monkeypatch, tmp_path, cpu, memory_gib, expected):
    """One for each core, as far as the container's limits allow."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0, 1, 5})
    monkeypatch.setattr(os, "sysconf", lambda name: 1 << 18)
    monkeypatch.setattr(machine, "CONTROL_GROUP", tmp_path)
    if cpu is not None:
        memory = memory_gib if memory_gib == "max" else memory_gib << 30
        (tmp_path / "cpu.max").write_text(f"{cpu}\n")
        (tmp_path / "memory.max").write_text(f"{memory}\n")
    assert choose_workers(None, is_local=True, uris=machine.WORTH_PROCESSES) == expected


def test_more_processes_than_fit_are_a_warning(monkeypatch, caplog):
    monkeypatch.setattr(os, "sysconf", lambda name: 1 << 17)  # 16 GiB
    assert choose_workers(8, is_local=True, uris=1) == 8 and not caplog.text
    assert choose_workers(64, is_local=True, uris=1) == 64
    assert "--workers 64: this machine's memory fits about 8" in caplog.text
    caplog.clear()
    assert choose_workers(64, is_local=False, uris=1) == 64 and not caplog.text


def test_when_one_process_is_enough(monkeypatch):
    many = machine.WORTH_PROCESSES
    assert choose_workers(None, is_local=True, uris=many - 1) == 1
    assert choose_workers(None, is_local=False, uris=many) == 1
    assert choose_workers(5, is_local=False, uris=1) == 5
    monkeypatch.setattr(machine, "count_gpus", lambda: 1)
    assert choose_workers(None, is_local=True, uris=many) == 1


def test_the_dtype_is_the_machine_s_own_only_where_the_run_is():
    assert choose_dtype("auto", is_local=True) == backends.fastest_dtype()
    assert choose_dtype("auto", is_local=False) == "float32"
    assert choose_dtype("float16", is_local=False) == "float16"
