import pytest

from model.sharpening import table

HEADER = "prefix,source_sharpening\n"


def test_what_is_appended_is_read_again(tmp_path):
    path = tmp_path / "shops.csv"
    assert table.read(path) == {}
    table.append(path, "s3://shop/a/", 0.754)
    table.append(path, 's3://shop/b, "ü"/', -0.0)
    assert table.read(path) == {"s3://shop/a/": 0.75, 's3://shop/b, "ü"/': 0.0}
    assert path.read_text().startswith(f"{HEADER}s3://shop/a/,0.75\n")


def test_lines_written_by_hand_stay(tmp_path):
    path = tmp_path / "shops.csv"
    path.write_text(f"\ufeff{HEADER}s3://shop/a/,\n\ns3://shop/b/, 1.25")
    table.append(path, "s3://shop/c/", 0.5)
    assert table.read(path) == {"s3://shop/a/": None, "s3://shop/b/": 1.25, "s3://shop/c/": 0.5}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "line 1 is not prefix,source_sharpening"),
        ("uri,source_sharpening\n", "line 1 is not prefix,source_sharpening"),
        (f"{HEADER}a/,1,2\n", "line 2 has 3 fields, not 2"),
        (f"{HEADER}a/\n", "line 2 has 1 fields, not 2"),
        (f"{HEADER}a,1\n", "line 2: the prefix does not end in /: a"),
        (f"{HEADER}a/,1\nb/,1\na/,1\n", "line 4 names a/ again"),
        (f"{HEADER}a/,much\n", "line 2: the number must be empty or from -0.75 to 1.5"),
        (f"{HEADER}a/,1.6\n", "line 2: the number must be empty or from -0.75 to 1.5"),
        (f"{HEADER}a/,nan\n", "line 2: the number must be empty or from -0.75 to 1.5"),
        (HEADER + "x" * 200_000, "line 2 is no CSV: field larger than"),
    ],
)
def test_another_file_is_refused(tmp_path, text, message):
    path = tmp_path / "shops.csv"
    path.write_text(text)
    with pytest.raises(ValueError, match=message) as error:
        table.read(path)
    assert str(error.value).startswith(f"{path}: ")


def test_a_table_in_no_folder_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="no such folder"):
        table.read(tmp_path / "none/shops.csv")
