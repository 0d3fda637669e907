"""Batches across shuffles: what goes in comes out, equal keys in one partition."""

import collections

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline import columns

BATCH = pa.record_batch(
    {
        "uri": [f"s3://shop/{i}ü.jpg" for i in range(1000)],
        "ids": pa.array([None, [], ["a", "b"], ["c"]] * 250, pa.list_(pa.string())),
        "size": pa.array([None, *range(999)], pa.int64()),
    }
)


def test_a_packed_batch_is_small_and_comes_back_whole():
    parts = [BATCH.slice(0, 10), BATCH.slice(10, 0), BATCH.slice(10)]
    packed = [columns.pack(part) for part in parts]
    assert columns.unpack(packed, BATCH.schema).equals(BATCH)
    assert sum(map(len, packed)) < BATCH.nbytes / 2
    assert columns.unpack([], BATCH.schema).num_rows == 0


@pytest.mark.parametrize("partitions", [1, 2, 300])
def test_each_row_comes_into_the_partition_of_its_key(partitions):
    found = collections.defaultdict(list)
    batches = [BATCH.slice(0, 600), BATCH.slice(0, 0), BATCH.slice(500)]  # 100 rows twice
    for number, packed in columns.split(batches, columns.uri_of, partitions):
        found[number] += columns.unpack([packed], BATCH.schema).to_pylist()
    assert set(found) <= set(range(partitions))
    for number, rows in found.items():
        keys = pa.array([row["uri"] for row in rows])
        assert set(columns.partition_of(keys, partitions)) == {number}
    every = [row["uri"] for rows in found.values() for row in rows]
    assert sorted(every) == sorted([*BATCH["uri"].to_pylist(), *BATCH["uri"].to_pylist()[500:600]])


def test_partitions_are_the_same_on_every_machine():
    keys = pa.array(["s3://shop/a.jpg", "s3://shop/b.jpg", "ü", ""])
    assert columns.partition_of(keys, 1000).tolist() == [263, 111, 789, 0]  # of zlib.crc32


@given(st.lists(st.text(min_size=1), min_size=1, max_size=50), st.integers(1, 9))
def test_equal_keys_meet(keys, partitions):
    where = columns.partition_of(pa.array([*keys, *keys]), partitions)
    assert where[: len(keys)].tolist() == where[len(keys) :].tolist()
    assert where.min() >= 0 and where.max() < partitions
