"""Packed batches on disk: what was written comes back, also in another process."""

import concurrent.futures
import multiprocessing

import pytest

from pipeline.records import RunError
from pipeline.runtime import spill

PIECES = [(number % 3, bytes([number]) * (100 * number)) for number in range(50)]


def test_references_are_small_and_lead_to_the_pieces(tmp_path):
    written = list(spill.write(PIECES, str(tmp_path)))
    assert [partition for partition, _ in written] == [partition for partition, _ in PIECES]
    assert max(len(reference) for _, reference in written) < len(str(tmp_path)) + 100
    backwards = [reference for _, reference in reversed(written)]
    assert list(spill.read(backwards)) == [packed for _, packed in reversed(PIECES)]


def test_without_a_folder_the_pieces_cross_themselves():
    assert list(spill.write(PIECES, None)) == PIECES
    assert list(spill.read([packed for _, packed in PIECES])) == [packed for _, packed in PIECES]


def test_threads_and_processes_do_not_mix_up_their_pieces(tmp_path):
    spawned = multiprocessing.get_context("spawn")
    with (
        concurrent.futures.ThreadPoolExecutor(4) as threads,
        concurrent.futures.ProcessPoolExecutor(1, mp_context=spawned) as process,
    ):
        results = [threads.submit(write_all, str(tmp_path)) for _ in range(8)]
        results.append(process.submit(write_all, str(tmp_path)))
        for result in results:
            assert list(spill.read(result.result())) == [packed for _, packed in PIECES]


def write_all(folder):
    return [reference for _, reference in spill.write(PIECES, folder)]


def test_a_folder_that_cannot_be_written_stops_the_run(tmp_path):
    with pytest.raises(RunError, match=r"cannot write temporary files .* set TMPDIR"):
        list(spill.write(PIECES, str(tmp_path / "none")))
