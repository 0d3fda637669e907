import os

import pytest

from pipeline.catalog import manifest
from pipeline.catalog.folders import list_folder
from pipeline.records import Reason, RunError


@pytest.fixture
def shop(tmp_path):
    """A folder with an image, beside a folder that is not the catalog's."""
    for name in ("in/real/a.jpg", "in/b.jpg", "other/secret.jpg"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    return tmp_path


def found(folder, **options):
    """Reasons by the path below the folder."""
    entries = list(list_folder(f"{folder}/", **options))
    assert [entry.position for entry in entries] == list(range(len(entries)))
    prefix = f"{folder.as_uri()}/"
    return {entry.uri.removeprefix(prefix): entry.reason for entry in entries}


def test_links_within_the_folder_are_followed(shop):
    (shop / "in/c.jpg").symlink_to("b.jpg")
    (shop / "in/link").symlink_to("real")
    assert found(shop / "in") == dict.fromkeys(["b.jpg", "c.jpg", "link/a.jpg", "real/a.jpg"])


def test_links_to_nowhere_and_out_are_rows(shop):
    (shop / "in/dangling.jpg").symlink_to("none.jpg")
    (shop / "in/file.jpg").symlink_to(shop / "other/secret.jpg")
    (shop / "in/folder").symlink_to(shop / "other")
    rows = found(shop / "in")
    assert rows["dangling.jpg"] == Reason.NOT_FOUND
    assert rows["file.jpg"] == rows["folder"] == Reason.ACCESS_DENIED
    allowed = found(shop / "in", may_leave=True)
    assert allowed["file.jpg"] is None and allowed["folder/secret.jpg"] is None
    assert allowed["dangling.jpg"] == Reason.NOT_FOUND


def test_links_in_a_circle_end(shop):
    (shop / "in/real/up").symlink_to("..")
    (shop / "in/real/self").symlink_to(".")
    (shop / "other/back").symlink_to(shop / "in")
    (shop / "in/away").symlink_to(shop / "other")
    rows = found(shop / "in", may_leave=True)
    assert rows["real/up"] == rows["real/self"] == Reason.BAD_URI
    assert "away/secret.jpg" in rows and len(rows) < 20


def test_a_folder_that_is_itself_a_link(shop):
    (shop / "link").symlink_to("in")
    assert found(shop / "link") == {"b.jpg": None, "real/a.jpg": None}


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_folder_without_permission_is_a_row(shop):
    (shop / "in/real").chmod(0)
    try:
        assert found(shop / "in") == {"b.jpg": None, "real": Reason.ACCESS_DENIED}
    finally:
        (shop / "in/real").chmod(0o755)


def test_names_that_are_not_utf8(shop, local_files):
    (shop / "in" / os.fsdecode(b"caf\xe9.jpg")).write_bytes(b"coffee")
    entries = {entry.uri: entry for entry in manifest.read_catalog(local_files, f"{shop}/in/")}
    uri = f"{(shop / 'in').as_uri()}/caf%E9.jpg"
    assert local_files.read(entries[uri].location) == b"coffee"
    (shop / "m.csv").write_text(f"uri\n{uri}\n")
    (named,) = manifest.read_catalog(local_files, str(shop / "m.csv"))
    assert named.location.isascii() and local_files.read(named.location) == b"coffee"


def test_a_missing_folder_stops_the_run(tmp_path):
    with pytest.raises(RunError, match="no such folder"):
        list(list_folder(f"{tmp_path}/none/"))
