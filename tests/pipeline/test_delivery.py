"""What a run delivers: files with their rights, in the encoding that was asked for."""

import io

import pyarrow.parquet as pq
import pytest
from PIL import Image

from model.imaging.decode import decode
from pipeline import job
from tests.malformed import saved
from tests.model.imaging.metadata import files

BOMB = (
    b'<!DOCTYPE x [<!ENTITY a "'
    + b"a" * 900
    + b'">'
    + b"".join(b'<!ENTITY %c "%s">' % (new, b"&%c;" % (new - 1) * 10) for new in range(98, 106))
)
BOMB += b'] ><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">&i;</rdf:RDF>'


@pytest.fixture
def shop(tmp_path):
    """A folder with an image with rights, one without, and one with an XML bomb."""
    folder = tmp_path / "in"
    folder.mkdir()
    image = files.plain_image(side=40)
    exif = files.exif_block("J. Müller", "© Müller")
    (folder / "rights.jpg").write_bytes(saved(image, "JPEG", exif=exif, xmp=files.PACKET))
    (folder / "plain.png").write_bytes(saved(image, "PNG"))
    (folder / "bomb.webp").write_bytes(saved(image, "WEBP", xmp=BOMB, exif=exif))
    return folder


def run(shop, run_id, *options):
    """Runs the job; returns its rows by the sources' names."""
    output = shop.parent / "out"
    arguments = ["--input", str(shop), "--output", str(output), "--run_id", run_id]
    assert job.run([*arguments, "--report", "no", *options]) == 0
    rows = pq.read_table(output / f"rows/run_id={run_id}").to_pylist()
    return {row["uri"].rpartition("/")[2]: row for row in rows}


def creators(row):
    """Texts of the published image."""
    _, image = decode(row["image"]["bytes"], max_pixels=10**6)
    return () if image.rights is None else image.rights.texts("exif:Artist")


def test_a_run_keeps_rights_and_nothing_else(shop):
    rows = run(shop, "r1")
    assert {row["status"] for row in rows.values()} <= {"upscaled", "fallback"}
    assert creators(rows["rights.jpg"]) == creators(rows["bomb.webp"]) == ("J. Müller",)
    assert creators(rows["plain.png"]) == ()
    for row in rows.values():
        assert files.SECRET.encode() not in row["image"]["bytes"]
    assert {row["status"] for row in run(shop, "r2").values()} == {"unchanged"}
    rows = run(shop, "r3", "--metadata", "none")  # another result: another content key
    for row in rows.values():
        assert row["status"] != "unchanged" and creators(row) == ()


def test_a_run_encodes_as_it_is_told(shop):
    good = run(shop, "r1", "--image_format", "avif")
    small = run(shop, "r2", "--image_format", "avif", "--quality", "30")
    for name, row in small.items():
        assert row["status"] != "unchanged" and row["image_format"] == "avif"
        assert row["image"]["path"].endswith(".avif")
        assert Image.open(io.BytesIO(row["image"]["bytes"])).size == (80, 80)
        assert row["image_bytes"] < good[name]["image_bytes"]
        assert creators(row) == creators(good[name])


def test_a_machine_without_avif_stops_the_run_at_its_start(shop, monkeypatch, capsys):
    monkeypatch.setattr("PIL.features.check", lambda name: name != "avif")
    arguments = ["--input", str(shop), "--output", str(shop.parent / "out")]
    assert job.run([*arguments, "--image_format", "avif"]) == 1
    error = capsys.readouterr().err
    assert error.startswith("run_pipeline.py: --image_format avif: this Pillow was built without")
    assert error.count("\n") == 1 and not (shop.parent / "out").exists()
