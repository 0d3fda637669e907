import datetime

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.output.schema import to_batch
from pipeline.read.images import ImageReader
from pipeline.records import Status
from pipeline.report.aggregate import (
    PUBLISHED,
    LocatedRow,
    SmallestKeyRows,
    ValueSample,
    aggregate,
)
from tests.pipeline.conftest import NOW, make_row

START = NOW.timestamp()


def row_number(i):
    return LocatedRow({"uri": str(i)}, None)


@pytest.mark.parametrize("batches", [1, 7])
def test_the_rows_with_the_smallest_keys_of_all_batches_are_kept(batches):
    keys = np.random.default_rng(1).permutation(500).astype(float)
    keys[::9] = np.nan
    kept, at = SmallestKeyRows(6), 0
    for part in np.array_split(keys, batches):
        kept.offer(part, lambda i, at=at: row_number(at + i))
        at += len(part)
    expected = np.argsort(keys)[:6]  # nan sorts to the end
    assert [row.columns["uri"] for row in kept.rows()] == [str(i) for i in expected]


def test_rows_that_are_not_kept_are_never_built():
    kept, asked = SmallestKeyRows(2), []
    for keys in ([3.0, 1.0], [5.0, 4.0], [0.0, 9.0]):
        kept.offer(np.array(keys), lambda i, k=keys: asked.append(k[i]) or row_number(i))
    assert asked == [1.0, 3.0, 0.0]


def test_a_sample_is_everything_until_it_is_full_and_then_fair():
    generator = np.random.default_rng(1)
    sample = ValueSample(100)
    sample.add(np.array([1.0, np.nan, 3.0]), generator.random(3))
    assert sorted(sample.values()) == [1.0, 3.0] and sample.seen == 2
    sample = ValueSample(2000)
    for start in range(0, 100_000, 1000):
        sample.add(np.arange(start, start + 1000.0), generator.random(1000))
    values = sample.values()
    assert len(values) == 2000 == len(set(values)) and sample.seen == 100_000
    assert abs(values.mean() - 50_000) < 2500  # four standard errors


@pytest.fixture
def parts(tmp_path):
    """40 rows in two files: upscaled, fallbacks, reused and failed."""
    rows = []
    for i in range(20):
        at = NOW + datetime.timedelta(seconds=i)
        rows.append(
            make_row(
                *(f"s3://b/{i}", Status.UPSCALED, at),
                self_gain_db=float(i),
                width=20,
                height=10,
                inference_ms=2.0,
                image_bytes=3,
                source_bytes=2,
                image={"bytes": b"abc", "path": "a"},
            )
        )
    rows += [
        make_row(f"s3://b/f{i}", Status.FALLBACK, NOW, reason="gate:noise", self_gain_db=-9.0)
        for i in range(3)
    ]
    rows += [
        make_row(f"s3://b/u{i}", Status.UNCHANGED, NOW, reason="same_content", self_gain_db=99.0)
        for i in range(7)
    ]
    rows += [make_row(f"s3://b/b{i}", Status.FAILED, NOW, reason="unreadable") for i in range(10)]
    found = [str(tmp_path / f"{half}.parquet") for half in range(2)]
    for half, path in enumerate(found):
        pq.write_table(pa.Table.from_batches([to_batch(rows[half::2])]), path)
    return found


def aggregate_parts(files, parts, **options):
    defaults = {"statuses": PUBLISHED, "window": (START, START + 20), "seed": "x"}
    return aggregate(files, parts, **(defaults | options))


def test_an_aggregate_of_rows(local_files, parts):
    found = aggregate_parts(local_files, parts)
    assert found.rows == 40
    assert found.counts == {
        ("upscaled", None): 20,
        ("fallback", "gate:noise"): 3,
        ("unchanged", "same_content"): 7,
        ("failed", "unreadable"): 10,
    }
    assert [row.columns["uri"] for row in found.best.rows()] == [
        f"s3://b/{i}" for i in range(19, 13, -1)
    ]
    assert [row.columns["self_gain_db"] for row in found.worst.rows()] == [0, 1, 2, 3, 4, 5]
    assert {row.columns["reason"] for row in found.fallbacks.rows()} == {"gate:noise"}
    assert len(found.examples["failed", "unreadable"].rows()) == 5
    assert sorted(found.measures["self_gain_db"].values()) == [-9] * 3 + list(range(20))
    assert found.times_ms["inference_ms"] == 40 and found.times_ms["fetch_ms"] == 0
    assert (found.source_bytes, found.image_bytes, found.result_pixels) == (40, 60, 4000)
    assert found.published_at.sum() == 23 and found.published_at[0] == 4


def test_a_row_s_image_uri_leads_to_its_image(local_files, parts):
    found = aggregate_parts(local_files, parts)
    reader = ImageReader(local_files)
    uris = [row.image_uri for row in (*found.best.rows(), *found.worst.rows())]
    assert {reader.read(uri) for uri in uris} == {b"abc"}
    assert found.fallbacks.rows()[0].image_uri is None


def test_the_same_seed_gives_the_same_samples(local_files, parts):
    def uris(seed):
        return [
            row.columns["uri"]
            for row in aggregate_parts(local_files, parts, seed=seed).random.rows()
        ]

    assert uris("a") == uris("a") != uris("b")


def test_a_run_that_published_nothing(local_files, parts):
    found = aggregate_parts(local_files, parts, statuses=(Status.UNCHANGED,))
    assert set(found.measures["self_gain_db"].values()) == {99.0}
    assert len(found.best.rows()) == 6


def test_files_of_an_older_version_lack_columns(local_files, parts, tmp_path):
    old = tmp_path / "old.parquet"
    pq.write_table(pq.read_table(parts[0]).drop_columns(["background_noise", "image"]), old)
    found = aggregate_parts(local_files, [str(old)])
    assert found.rows == 20 and found.measures["background_noise"].seen == 0
