"""Finding rows of a run by a query, and reading those of a page."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.output.schema import to_batch
from pipeline.records import Status
from pipeline.report.selection import Query, read_rows, select
from pipeline.runs import reader
from tests.pipeline.conftest import make_row

GAINS = [3.0, None, 1.0, 2.0]


@pytest.fixture
def parts(tmp_path):
    """Two files with rows 0..3 and 4..7, in row groups of 2 rows."""
    paths = []
    for part in range(2):
        rows = [
            make_row(
                f"s3://b/shoes/{4 * part + i}.jpg",
                (Status.UPSCALED, Status.FALLBACK, Status.SKIPPED, Status.FAILED)[i],
                product_id=f"Red-{i}" if part else None,
                product_ids=[f"Red-{i}", f"Blue-{i}"] if part and i else None,
                reason=(None, "gate:noise", "large_enough", "timeout")[i],
                self_gain_db=None if GAINS[i] is None else GAINS[i] + part / 2,
                image=b"x" * 10 if i < 2 else None,
                image_format="png" if i < 2 else None,
                image_bytes=10 if i < 2 else None,
                image_uri="s3://b/own.png" if part and i == 0 else None,
            )
            for i in range(4)
        ]
        path = tmp_path / f"part-{part}.parquet"
        pq.write_table(pa.Table.from_batches([to_batch(rows)]), path, row_group_size=2)
        paths.append(str(path))
    return paths


@pytest.mark.parametrize(
    ("query", "found"),
    [
        (Query(), [0, 1, 4, 5]),
        (Query(status="all"), [0, 1, 2, 3, 4, 5, 6, 7]),
        (Query(status="failed"), [3, 7]),
        (Query(status="all", reason="large_enough"), [2, 6]),
        (Query(reason="gate:"), [1, 5]),
        (Query(search="SHOES/4"), [4]),
        (Query(search="red-1"), [5]),
        (Query(search="blue-", status="all"), [5, 6, 7]),
        (Query(search="red-", status="all"), [4, 5, 6, 7]),  # also those of older versions
        (Query(search=".*"), []),  # no pattern, only text
        (Query(search="nothing"), []),
        (Query(status="all", sort="self_gain_db"), [4, 0, 7, 3, 6, 2, 1, 5]),
        (Query(status="all", sort="self_gain_db", ascending=True), [2, 6, 3, 7, 0, 4, 1, 5]),
    ],
)
def test_which_rows_match_and_in_which_order(parts, local_files, query, found):
    selection = select(local_files, parts, query)
    assert (4 * selection.parts + selection.numbers).tolist() == found
    rows = read_rows(local_files, parts, selection, range(100))
    assert [row.columns["uri"] for row in rows] == [f"s3://b/shoes/{i}.jpg" for i in found]


@pytest.mark.parametrize(
    ("search", "found"),
    [
        *(("sp ace", [0]), ("sp%20ace", [0]), ("ü", [1, 2, 4]), ("Ü.JPG", [1, 2, 4])),
        *(("u\u0308", [1, 2, 4]), ("100% ", [3]), ("%20", [0, 3, 5])),
    ],
)
def test_files_are_found_by_their_names_and_keys_of_s3_as_they_are(
    tmp_path, local_files, search, found
):
    uris = [
        Path(f"/shop/{name}").as_uri() for name in ("sp ace", "ü.jpg", "u\u0308.jpg", "100% x")
    ]
    uris += ["file:///shop/%C3%BC.jpg", "s3://b/sp%20.ace"]
    rows = [make_row(uri, image_format="png") for uri in uris]
    path = tmp_path / "part-0.parquet"
    pq.write_table(pa.Table.from_batches([to_batch(rows)]), path)
    selection = select(local_files, [str(path)], Query(search=search))
    assert selection.numbers.tolist() == found


def test_a_row_knows_where_its_image_is(parts, local_files):
    selection = select(local_files, parts, Query(status="all"))
    rows = read_rows(local_files, parts, selection, range(8))
    assert rows[1].image_uri == f"{parts[0]}#row=1" and rows[4].image_uri == "s3://b/own.png"
    assert rows[2].image_uri is None


def test_a_page_reads_only_the_row_groups_of_its_rows_and_no_image(
    parts, local_files, monkeypatch
):
    asked = []
    original = reader.read_row_group

    def counted(files, part, number, columns):
        asked.append((part, number))
        assert "image" not in columns
        return original(files, part, number, columns)

    monkeypatch.setattr(reader, "read_row_group", counted)
    selection = select(local_files, parts, Query(status="all", sort="self_gain_db"))
    rows = read_rows(local_files, parts, selection, range(2, 4))
    assert [row.columns["uri"][-5] for row in rows] == ["7", "3"]
    assert asked == [(parts[0], 3), (parts[1], 3)]


def test_an_older_file_without_a_column(tmp_path, local_files):
    table = pa.Table.from_batches([to_batch([make_row("s3://b/a.jpg", image_format="png")])])
    path = tmp_path / "part-0.parquet"
    pq.write_table(table.drop_columns(["background_grain", "product_id"]), path)
    query = Query(sort="background_grain")
    found = read_rows(local_files, [str(path)], select(local_files, [str(path)], query), range(9))
    assert found[0].columns["product_id"] is None


def test_ten_thousand_rows_are_selected_as_numbers(tmp_path, local_files):
    rows = [make_row(f"s3://b/{i}.jpg", image_format="png", self_gain_db=i) for i in range(10_000)]
    path = tmp_path / "part-0.parquet"
    pq.write_table(pa.Table.from_batches([to_batch(rows)]), path, row_group_size=3000)
    found = select(local_files, [str(path)], Query(sort="self_gain_db"))
    assert found.numbers.tolist() == list(range(10_000))[::-1]
    assert found.numbers.nbytes + found.parts.nbytes == 120_000
    assert isinstance(found.numbers, np.ndarray)


@pytest.mark.parametrize("wrong", [{"status": "nice"}, {"sort": "uri"}, {"sort": "image"}])
def test_an_unknown_status_or_measure_is_an_error(wrong):
    with pytest.raises(ValueError, match="is one of"):
        Query(**wrong)
