import os

import pytest

from model.sharpening import table

HEADER = "prefix,source_sharpening\n"


def test_what_is_appended_is_read_again(tmp_path):
    path = tmp_path / "shops.csv"
    assert table.read(path) == {}
    table.append(path, "s3://shop/a/", 0.754)
    table.append(path, 's3://shop/b, "ü"/', -0.0)
    table.append(path, "s3://shop/c\rd\n/", 1)
    assert table.read(path) == {
        "s3://shop/a/": 0.75,
        's3://shop/b, "ü"/': 0.0,
        "s3://shop/c\rd\n/": 1.0,
    }
    assert path.read_text().startswith(f"{HEADER}s3://shop/a/,0.75\n")


def test_lines_written_by_hand_stay(tmp_path):
    path = tmp_path / "shops.csv"
    written = f"\ufeff{HEADER}s3://shop/a/,\n \n,\ns3://shop/b/, 1.25".replace(
        "\n", "\r\n"
    ).encode()
    path.write_bytes(written)
    (tmp_path / "link.csv").symlink_to(path)
    table.append(tmp_path / "link.csv", "s3://shop/c/", 0.5)
    assert table.read(path) == {"s3://shop/a/": None, "s3://shop/b/": 1.25, "s3://shop/c/": 0.5}
    assert path.read_bytes().startswith(written)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "line 1 must be prefix,source_sharpening, it is empty"),
        ("prefix;source_sharpening\n", "source_sharpening, it is prefix;source_sharpening"),
        (f"{HEADER}a/,1,2\n", "line 2 must be a prefix, a comma and a number: a/,1,2"),
        (f"{HEADER}a/\n", "line 2 must be a prefix, a comma and a number: a/"),
        (f"{HEADER}a,1\n", "line 2: a prefix ends in /: a"),
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


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everything")
def test_a_table_that_may_not_be_written_is_refused_before_work(tmp_path):
    path = tmp_path / "shops.csv"
    path.write_text(HEADER)
    path.chmod(0o444)
    with pytest.raises(PermissionError, match="no permission to write"):
        table.read(path)


def test_a_table_in_no_folder_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="no such folder"):
        table.read(tmp_path / "none/shops.csv")
