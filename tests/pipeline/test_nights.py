"""Night after night over the same output: increments, retries, snapshots."""

import csv
import hashlib
import io
import json
import shutil
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from pipeline import job
from pipeline.read import __main__ as read
from pipeline.read.images import ImageReader
from pipeline.runs import finished
from pipeline.runs.layout import Layout
from pipeline.storage import locations
from pipeline.storage.base import StorageConfig
from pipeline.storage.routing import open_storage
from pipeline.upscale import quality_gate
from tests.pipeline.conftest import image_bytes
from tests.pipeline.fault_proxy import fault_proxy


def png(seed, side=40):
    return image_bytes(side, side, file_format="PNG", seed=seed)


class Nights:
    """Runs the job night after night on a folder or a bucket; counts the network's calls."""

    def __init__(self, source, output, *options):
        self.folder = source
        self.source, self.output, self.options = str(source), str(output), options

    def run(self, run_id, *options, expect=0):
        arguments = ["--input", self.source, "--output", self.output, "--run_id", run_id]
        # A report would start a process to decode the images that it shows.
        arguments += ["--report", "no", *self.options, *options]
        assert job.run(arguments) == expect
        return self.rows(run_id)

    def rows(self, run_id):
        """The run's rows by the last part of their URI."""
        table = ds.dataset(f"{self.output}/rows/run_id={run_id}").to_table()
        rows = {row["uri"].rpartition("/")[2]: row for row in table.to_pylist()}
        assert len(rows) == table.num_rows
        return rows

    def summary(self, run_id):
        files = open_storage(StorageConfig())
        return finished.read_summary(files, Layout(str(self.output), run_id))


def statuses(rows):
    return {name: row["status"] for name, row in rows.items()}


def inferences(rows):
    return sum(row["inference_ms"] is not None for row in rows.values())


@pytest.fixture
def nights(tmp_path):
    source = tmp_path / "in"
    source.mkdir()
    for i in range(3):
        (source / f"{i}.png").write_bytes(png(i))
    (source / "icon.png").write_bytes(png(9, side=20))
    (source / "broken.jpg").write_bytes(image_bytes(90, 90)[:500])
    return Nights(source, tmp_path / "out", "--max_failure_rate", "1")


def digest(data):
    return hashlib.sha256(data).hexdigest()


def change(nights, name, data):
    (nights.folder / name).write_bytes(data)


def remove(nights, name):
    (nights.folder / name).unlink()


def test_the_second_night_does_nothing_again(nights):
    first = nights.run("night1")
    assert inferences(first) == 3
    second = nights.run("night2")
    assert inferences(second) == 0
    assert statuses(second) == {
        **dict.fromkeys(("0.png", "1.png", "2.png"), "unchanged"),
        "icon.png": "skipped",
        "broken.jpg": "failed",
    }
    for name, row in second.items():
        before = first[name]
        if row["status"] == "unchanged":
            assert row["reason"] == "same_content" and row["image"] is None
        else:
            assert (row["reason"], row["detail"]) == (before["reason"], before["detail"])
        for column in ("content_key", "source_width", "width", "self_gain_db", "model_sha256"):
            assert row[column] == before[column], (name, column)
        for column in ("processed_at", "image_sha256", "image_bytes", "source_format"):
            assert row[column] == before[column], (name, column)
    summary = nights.summary("night2")
    assert (summary["previous_run"], summary["disappeared"]) == ("night1", 0)


def test_unchanged_rows_point_to_the_image_over_many_nights(nights, tmp_path):
    first = nights.run("night1")
    nights.run("night2")
    third = nights.run("night3")
    for name in ("0.png", "1.png", "2.png"):
        assert third[name]["image_uri"].startswith("rows/run_id=night1/part-")
    exported = tmp_path / "exported"
    assert read.main([nights.output, str(exported)]) == 0
    with (exported / "pictures.csv").open() as file:
        index = {uri.rpartition("/")[2]: name for uri, name in list(csv.reader(file))[1:]}
    assert sorted(index) == ["0.png", "1.png", "2.png"]
    for name, exported_name in index.items():
        assert (exported / exported_name).read_bytes() == first[name]["image"]["bytes"]


def test_one_changed_image_costs_one_inference(nights):
    nights.run("night1")
    change(nights, "1.png", png(77))
    second = nights.run("night2")
    assert inferences(second) == 1
    assert (second["1.png"]["status"], second["0.png"]["status"]) == ("upscaled", "unchanged")


def test_renamed_new_removed(nights):
    nights.run("night1")
    change(nights, "renamed.png", png(2))
    remove(nights, "2.png")
    change(nights, "new.png", png(50))
    second = nights.run("night2")
    assert statuses(second)["renamed.png"] == "unchanged"
    assert statuses(second)["new.png"] == "upscaled"
    assert "2.png" not in second and inferences(second) == 1
    assert nights.summary("night2")["disappeared"] == 1


def test_what_once_was_there_is_not_forgotten_while_the_chain_holds(nights):
    """An image that disappears for a night is made again: only one snapshot is looked at."""
    nights.run("night1")
    data = png(0)
    remove(nights, "0.png")
    nights.run("night2")
    change(nights, "0.png", data)
    third = nights.run("night3")
    assert inferences(third) == 1
    fourth = nights.run("night4", "--previous", "night1")
    assert inferences(fourth) == 0


def test_settings_that_change_the_result_do_all_again(nights):
    nights.run("night1")
    assert inferences(nights.run("webp", "--image_format", "webp")) == 3
    assert inferences(nights.run("none", "--previous", "none")) == 3
    assert inferences(nights.run("small", "--model", "rdn-small", "--previous", "night1")) == 3


def test_size_limits_are_asked_again_without_a_look_at_the_files(nights):
    nights.run("night1")
    rows = nights.run("night2", "--max_side", "35")
    assert statuses(rows)["0.png"] == "skipped" and rows["0.png"]["reason"] == "large_enough"
    assert rows["0.png"]["width"] is None and rows["0.png"]["image_uri"] is None
    rows = nights.run("night3", "--min_side", "16", "--previous", "night1")
    assert statuses(rows)["icon.png"] == "upscaled" and inferences(rows) == 1


def test_the_first_frame_of_an_animation_on_request(nights):
    frames = [Image.open(io.BytesIO(png(i))) for i in range(3)]
    buffer = io.BytesIO()
    frames[0].save(buffer, "GIF", save_all=True, append_images=frames[1:])
    change(nights, "moving.gif", buffer.getvalue())
    assert nights.run("night1")["moving.gif"]["reason"] == "animated"
    row = nights.run("night2", "--animated", "first_frame")["moving.gif"]
    assert row["status"] == "upscaled"
    result = Image.open(io.BytesIO(row["image"]["bytes"]))
    assert result.size == (80, 80) and not getattr(result, "is_animated", False)


@pytest.mark.parametrize("images", ["parquet", "files"])
def test_a_moved_output_is_read_and_goes_on(nights, tmp_path, images):
    first = nights.run("night1", "--images", images)
    nights.run("night2", "--images", images)
    moved = tmp_path / "moved to"
    shutil.move(nights.output, moved)
    exported = tmp_path / "exported"
    assert read.main([str(moved), str(exported)]) == 0
    digests = {digest(path.read_bytes()) for path in exported.iterdir() if path.suffix == ".png"}
    assert digests == {row["image_sha256"] for row in first.values() if row["image_sha256"]}
    nights.output = str(moved)
    third = nights.run("night3", "--images", images)
    assert inferences(third) == 0 and statuses(third)["0.png"] == "unchanged"
    latest = json.loads((moved / "runs/latest.json").read_text())
    assert latest == {"run_id": "night3", "rows": "rows/run_id=night3"}


def test_absolute_pointers_of_older_runs_are_read_and_replaced(nights):
    """Rows of version 0.1.0, whose pointers hold the whole path."""
    nights.run("night1", "--images", "files")
    (part,) = Path(nights.output, "rows/run_id=night1").iterdir()
    table = pq.read_table(part)
    absolute = [uri and f"{nights.output}/{uri}" for uri in table["image_uri"].to_pylist()]
    at = table.column_names.index("image_uri")
    pq.write_table(table.set_column(at, "image_uri", pa.array(absolute)), part)
    second = nights.run("night2", "--images", "files")
    assert inferences(second) == 0
    assert second["0.png"]["image_uri"].startswith("images/")


def test_images_as_files_are_found_too(nights):
    first = nights.run("night1", "--images", "files")
    second = nights.run("night2", "--images", "files")
    assert inferences(second) == 0
    assert second["0.png"]["image_uri"] == first["0.png"]["image_uri"]
    third = nights.run("night3")  # parquet: a pointer is all that is asked for
    assert inferences(third) == 0
    nights.run("parquet", "--previous", "none")
    # Now the newest run has them in rows only, and files are asked for.
    assert inferences(nights.run("night4", "--images", "files")) == 3


@pytest.mark.parametrize("damaged", [b"", b"<Error/>"])
def test_a_damaged_image_file_is_upscaled_again_and_not_exported(
    nights, tmp_path, capsys, caplog, damaged
):
    first = nights.run("night1", "--images", "files")
    place = Path(nights.output, first["0.png"]["image_uri"])
    right = place.read_bytes()
    place.write_bytes(damaged)
    exported = tmp_path / "exported"
    assert read.main([nights.output, str(exported)]) == 1
    said = f"the {len(damaged)} bytes at {place.as_uri()} are not the image of its row"
    assert said in capsys.readouterr().err
    assert damaged not in [path.read_bytes() for path in exported.iterdir()]
    second = nights.run("night2", "--images", "files")
    assert statuses(second)["0.png"] == "upscaled" and inferences(second) == 1
    assert place.read_bytes() == right
    assert "1 image that " in caplog.text and "upscaled again" in caplog.text
    assert read.main([nights.output, str(exported)]) == 0


def test_that_images_in_rows_serve_no_run_with_files_is_told(nights, caplog, capsys):
    nights.run("night1")
    nights.run("night2")
    in_rows = "images:  in the rows, those of unchanged rows where image_uri says\n"
    assert in_rows in capsys.readouterr().out and "upscaled again" not in caplog.text
    nights.run("night3", "--images", "files")
    told = "run night2 has its images in its rows: with --images files they are upscaled again"
    assert told in caplog.text


def test_that_a_run_with_other_options_serves_no_night_is_told(nights, caplog):
    first = nights.run("night1")
    nights.run("trial", "--target_side", "100")
    told = "run night1 was made with --target_side not given (now 100): its results do not fit"
    assert told in caplog.text
    caplog.clear()
    nights.run("night2", "--previous", "night1")
    assert "made with" not in caplog.text and inferences(nights.rows("night2")) == 0
    nights.run("night3", "--model", "rdn-small", "--previous", "night2")
    told = "run night2 was made with --model rdn-product (now rdn-small): its results do not fit"
    assert told in caplog.text and first.keys() == nights.rows("night3").keys()


def test_nothing_is_said_of_the_options_of_a_run_whose_summary_is_damaged(nights, caplog):
    nights.run("night1", "--target_side", "100")
    locations.local_path(f"{nights.output}/runs/night1/summary.json").write_text("{")
    second = nights.run("night2", "--target_side", "100")
    assert inferences(second) == 0 and "made with" not in caplog.text


def test_an_image_whose_file_was_deleted_is_made_again(nights):
    nights.run("night1")
    for part in locations.local_path(f"{nights.output}/rows/run_id=night1").iterdir():
        part.unlink()
    nights.run("night2", "--previous", "none")
    change(nights, "extra.png", png(60))
    nights.run("night3")
    for part in locations.local_path(f"{nights.output}/rows/run_id=night2").iterdir():
        part.unlink()
    fourth = nights.run("night4")
    assert statuses(fourth)["0.png"] == "upscaled" and statuses(fourth)["extra.png"] == "unchanged"


def test_retry_replays_only_the_rows_with_these_reasons(nights, tmp_path):
    manifest = tmp_path / "catalog.csv"
    names = ["0.png", "1.png", "broken.jpg", "late.png", "icon.png"]
    manifest.write_text("uri,product_id\n" + "".join(f"in/{n},p-{n}\n" for n in names) + "x,y,z\n")
    nights.source = str(manifest)
    first = nights.run("night1")
    assert first["late.png"]["reason"] == "not_found"
    change(nights, "late.png", png(70))
    change(nights, "1.png", png(71))  # not asked for: its row stays
    second = nights.run("night2", "--retry", "not_found,timeout")
    assert statuses(second) == statuses(first) | {
        "0.png": "unchanged",
        "1.png": "unchanged",
        "late.png": "upscaled",
    }
    assert inferences(second) == 1
    assert second["late.png"]["product_id"] == "p-late.png"
    assert second["broken.jpg"]["reason"] == "unreadable"
    assert second["catalog.csv#line=7"]["reason"] == "bad_line"
    third = nights.run("night3", "--retry", "unreadable")
    assert inferences(third) == 0 and third["broken.jpg"]["status"] == "failed"


@pytest.mark.parametrize("reason", ["bad_line", "bad_uri"])
def test_a_replay_of_rows_that_name_nothing_is_told(nights, tmp_path, caplog, reason):
    nights.source = str(tmp_path / "catalog.csv")
    (tmp_path / "catalog.csv").write_text("uri\ns3://-/x.jpg\nx,y,z\n")
    first = nights.run("night1")
    assert {row["reason"] for row in first.values()} == {"bad_line", "bad_uri"}
    assert statuses(nights.run("night2", "--retry", reason)) == statuses(first)
    told = f"--retry {reason} repeats nothing: correct what the details of these rows name, and"
    assert f"{told} run without --retry" in caplog.text


def test_a_replay_follows_no_link_that_a_run_does_not_follow(nights, tmp_path):
    (tmp_path / "secret.png").write_bytes(png(80))
    (tmp_path / "folder").mkdir()
    (nights.folder / "file.png").symlink_to(tmp_path / "secret.png")
    (nights.folder / "linked").symlink_to(tmp_path / "folder")
    first = nights.run("night1")
    told = {name: first[name]["detail"] for name in ("file.png", "linked")}
    assert set(told.values()) == {"a link that leads out of --input"}
    replayed = nights.run("night2", "--retry", "access_denied")
    assert statuses(replayed)["file.png"] == statuses(replayed)["linked"] == "failed"
    assert replayed["file.png"]["detail"] == told["file.png"]
    assert replayed["linked"]["detail"] == "a folder: a run without --retry lists it"
    (nights.folder / "file.png").unlink()
    change(nights, "file.png", png(81))
    assert statuses(nights.run("night3", "--retry", "access_denied"))["file.png"] == "upscaled"


def test_the_gate_s_bicubic_is_carried_over_until_it_is_replayed(nights, monkeypatch):
    with monkeypatch.context() as strict:
        limits = quality_gate.GateLimits(min_roundtrip_psnr_db=99, max_detail_error=-1.0)
        strict.setattr(quality_gate, "GateLimits", lambda: limits)
        first = nights.run("night1")
    assert first["0.png"]["status"] == "fallback"
    assert first["0.png"]["reason"] == "gate:roundtrip"
    second = nights.run("night2")
    assert inferences(second) == 0
    assert second["0.png"]["status"] == "unchanged"
    assert second["0.png"]["reason"] == "gate:roundtrip"
    third = nights.run("night3", "--retry", "gate:roundtrip")
    assert inferences(third) == 3 and third["0.png"]["status"] == "upscaled"


def test_retry_without_an_earlier_run_and_unknown_ids_are_clear_errors(nights, capsys):
    for options, says in (
        (("--retry", "timeout"), "no finished run"),
        (("--previous", "night0"), "no such finished run"),
    ):
        arguments = ["--input", nights.source, "--output", nights.output, "--run_id", options[1]]
        assert job.run([*arguments, *options]) == 1
        assert says in capsys.readouterr().err


def test_a_finished_run_is_left_as_it_is(nights, capsys):
    first = nights.run("night1")
    change(nights, "new.png", png(50))
    assert nights.run("night1") == first
    assert "finished already" in capsys.readouterr().out
    nights.run("night1", expect=0)
    arguments = ["--input", nights.source, "--output", nights.output, "--run_id", "night1"]
    assert job.run([*arguments, "--max_side", "900"]) == 1
    assert "began with --max_side 1000, now it is 900" in capsys.readouterr().err


def test_references_decide_whether_a_row_serves(tmp_path):
    hr = np.asarray(Image.open(io.BytesIO(png(5, side=80))))
    for name, array in (("hr1.png", hr), ("hr2.png", hr[::-1])):
        Image.fromarray(np.ascontiguousarray(array)).save(tmp_path / name)
    (tmp_path / "lr.png").write_bytes(png(5))
    manifest = tmp_path / "m.csv"
    nights = Nights(manifest, tmp_path / "out")
    manifest.write_text("uri,reference_uri\nlr.png,hr1.png\n")
    first = nights.run("night1")["lr.png"]
    assert first["reference_uri"] == "hr1.png" and first["reference_psnr_db"] > 15
    second = nights.run("night2")["lr.png"]
    assert second["status"] == "unchanged"
    assert second["reference_psnr_db"] == first["reference_psnr_db"]
    manifest.write_text("uri,reference_uri\nlr.png,hr2.png\n")
    third = nights.run("night3")["lr.png"]
    assert third["status"] == "upscaled"
    assert third["reference_psnr_db"] < first["reference_psnr_db"]


def test_a_manifest_tells_each_image_its_sharpening(tmp_path):
    """Equal content with two numbers is two images; another number upscales that image alone."""
    for name in ("a.png", "b.png", "c.png"):
        (tmp_path / name).write_bytes(png(1))
    (tmp_path / "broken.jpg").write_bytes(image_bytes(90, 90)[:500])
    manifest = tmp_path / "m.csv"

    def tell(*numbers):
        names = ("a.png", "b.png", "c.png", "broken.jpg")
        lines = (f"{name},{number}\n" for name, number in zip(names, numbers, strict=True))
        manifest.write_text("uri,source_sharpening\n" + "".join(lines))

    shops = Nights(manifest, tmp_path / "out", "--max_failure_rate", "1")
    tell("", 0.7, "", 0.7)
    first = shops.run("n1")
    assert first["a.png"]["image_sha256"] == first["c.png"]["image_sha256"]
    assert first["a.png"]["image_sha256"] != first["b.png"]["image_sha256"]
    told = {name: row["source_sharpening"] for name, row in first.items()}
    assert told == {
        "a.png": None,
        "b.png": pytest.approx(0.7),
        "c.png": None,
        "broken.jpg": pytest.approx(0.7),
    }
    again = shops.run("n2")
    assert inferences(again) == 0
    assert again["b.png"]["source_sharpening"] == pytest.approx(0.7)
    replayed = shops.run("n3", "--retry", "unreadable")
    assert inferences(replayed) == 0 and replayed["b.png"]["status"] == "unchanged"
    assert replayed["broken.jpg"]["source_sharpening"] == pytest.approx(0.7)
    tell("", 0.3, "", 0.7)
    changed = shops.run("n4")
    assert [name for name, row in changed.items() if row["status"] == "upscaled"] == ["b.png"]


def test_a_table_tells_the_images_of_each_shop_their_sharpening(tmp_path):
    """Of a listing, too; a changed number upscales the images below its prefix alone."""
    for name in ("a/1.png", "a/old/2.png", "b/3.png", "4.png"):
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "in" / name).write_bytes(png(1))
    table = tmp_path / "shops.csv"
    shops = Nights(f"{tmp_path}/in/", tmp_path / "out", "--sharpening_table", str(table))

    def tell(a, b):
        lines = (f"{tmp_path}/in/a/,{a}", f"{tmp_path}/in/a/old/,", f"{tmp_path}/in/b/,{b}")
        table.write_text("\n".join(("prefix,source_sharpening", *lines)))

    tell(0.7, 0.3)
    first = shops.run("n1")
    told = {name: row["source_sharpening"] for name, row in first.items()}
    assert told == {
        "1.png": pytest.approx(0.7),
        "2.png": None,
        "3.png": pytest.approx(0.3),
        "4.png": None,
    }
    assert len({row["image_sha256"] for row in first.values()}) == 3
    assert inferences(shops.run("n2")) == 0
    tell(0.7, 0.4)
    changed = shops.run("n3")
    assert [name for name, row in changed.items() if row["status"] == "upscaled"] == ["3.png"]
    assert shops.summary("n3")["with_source_sharpening"] == 2


def test_rows_from_before_the_column_of_the_sharpening_are_reused(nights):
    first = nights.run("n1")
    (part,) = Path(nights.output).glob("rows/run_id=n1/*.parquet")
    table = pq.read_table(part, partitioning=None)
    pq.write_table(table.drop_columns("source_sharpening"), part)
    assert inferences(nights.run("n2")) == 0
    retried = nights.run("n3", "--retry", "unreadable")
    assert statuses(retried)["0.png"] == "unchanged" and first["0.png"]["status"] == "upscaled"


@pytest.mark.parametrize("partitions", ["1", "5"])
def test_an_image_of_several_products_names_them_all_every_night(nights, tmp_path, partitions):
    manifest = tmp_path / "catalog.csv"
    nights.source = str(manifest)
    nights.options += ("--partitions", partitions)
    manifest.write_text(
        "uri,product_id\nin/0.png,b\nin/1.png,x\nin/0.png,a\nin/0.png,b\nin/2.png,\n"
    )
    rows = nights.run("night1")
    ids = {name: (row["product_id"], row["product_ids"]) for name, row in rows.items()}
    assert ids == {"0.png": ("b", ["b", "a"]), "1.png": ("x", ["x"]), "2.png": (None, None)}
    assert nights.summary("night1")["repeats"] == 2
    manifest.write_text("uri,product_id\nin/0.png,c\nin/0.png,b\nin/1.png,\n")
    rows = nights.run("night2")
    assert set(statuses(rows).values()) == {"unchanged"}
    assert (rows["0.png"]["product_id"], rows["0.png"]["product_ids"]) == ("c", ["c", "b"])
    assert (rows["1.png"]["product_id"], rows["1.png"]["product_ids"]) == (None, None)
    rows = nights.run("night3", "--retry", "not_found")
    assert rows["0.png"]["product_ids"] == ["c", "b"]


def test_kept_columns_are_tonight_s_also_of_unchanged_images(nights, tmp_path):
    def catalogs(rows):
        return {name: row["catalog"] and json.loads(row["catalog"]) for name, row in rows.items()}

    manifest = tmp_path / "catalog.csv"
    nights.source, nights.options = (
        str(manifest),
        (*nights.options, "--keep_columns", "brand,size"),
    )
    (tmp_path / "in" / "twin.png").write_bytes((tmp_path / "in" / "0.png").read_bytes())
    manifest.write_text(
        "uri,size,brand\nin/0.png,S,old\nin/twin.png,M,old\nin/gone.png,L,old\n"
        "in/0.png,XL,repeat\n"
    )
    rows = nights.run("night1")
    first = {
        "0.png": {"brand": "old", "size": "S"},
        "twin.png": {"brand": "old", "size": "M"},
        "gone.png": {"brand": "old", "size": "L"},
    }
    assert catalogs(rows) == first
    # A replay knows no manifest but the previous rows.
    manifest.write_text("uri,size,brand\nin/0.png,?,?\nin/twin.png,?,?\nin/gone.png,?,?\n")
    assert catalogs(nights.run("night2", "--retry", "not_found")) == first
    manifest.write_text("uri,size,brand\nin/0.png,S,new\nin/twin.png,,old\nin/gone.png,L,\n")
    rows = nights.run("night3")
    assert statuses(rows) == {"0.png": "unchanged", "twin.png": "unchanged", "gone.png": "failed"}
    assert catalogs(rows) == {
        "0.png": {"brand": "new", "size": "S"},
        "twin.png": {"brand": "old", "size": None},
        "gone.png": {"brand": None, "size": "L"},
    }
    nights.options = nights.options[:-2]
    assert set(catalogs(nights.run("night4")).values()) == {None}


NAMES = st.sampled_from(["a.png", "b.png", "c.png", "deep/d.png"])
CONTENTS = st.integers(0, 5)  # the last two are too small
CHANGES = st.one_of(
    st.tuples(st.just("write"), NAMES, CONTENTS),
    st.tuples(st.just("delete"), NAMES),
    st.tuples(st.just("rename"), NAMES, NAMES),
)


def apply(catalog, change):
    """A change to a catalog {name: content}."""
    kind, name, *rest = change
    if kind == "write":
        catalog[name] = rest[0]
    elif name in catalog:
        content = catalog.pop(name)
        if kind == "rename":
            catalog[rest[0]] = content


@pytest.mark.slow
@pytest.mark.timeout(900)
@settings(deadline=None, derandomize=True, max_examples=5, suppress_health_check=HealthCheck)
@given(
    evenings=st.lists(st.lists(CHANGES, min_size=2, max_size=6), min_size=3, max_size=3),
    partitions=st.lists(st.sampled_from(["1", "3", "16"]), min_size=3, max_size=3),
)
def test_any_changes_between_nights_give_the_right_snapshot(evenings, partitions):
    with tempfile.TemporaryDirectory() as folder:
        nights = Nights(Path(folder, "in"), Path(folder, "out"))
        catalog, known, digests = {"first.png": 0}, set(), {}
        for number, evening in enumerate(evenings):
            for one in evening:
                apply(catalog, one)
            shutil.rmtree(nights.folder, ignore_errors=True)
            for name, content in catalog.items():
                path = nights.folder / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(png(content, side=34 if content < 4 else 20))
            rows = nights.run(f"night{number}", "--partitions", partitions[number])
            check_snapshot(nights.output, rows, catalog, known, digests)
            known = set(catalog.values())


def check_snapshot(output, rows, catalog, known, digests):
    """Rows against the catalog of that night and the contents of the night before."""
    assert set(rows) == {name.rpartition("/")[2] for name in catalog}
    reader = ImageReader(open_storage(StorageConfig()))
    for name, content in catalog.items():
        row = rows[name.rpartition("/")[2]]
        if content >= 4:
            assert (row["status"], row["reason"]) == ("skipped", "too_small")
            continue
        assert row["status"] == ("unchanged" if content in known else "upscaled")
        place = f"{output}/{row['image_uri']}"
        image = row["image"]["bytes"] if row["image"] else reader.read(place)
        digest = hashlib.sha256(image).hexdigest()
        assert row["image_sha256"] == digest == digests.setdefault(content, digest)
    made = [row["content_key"] for row in rows.values() if row["inference_ms"] is not None]
    assert len(set(made)) == len({c for c in catalog.values() if c < 4} - known)


def test_an_unchanged_prefix_costs_no_request_for_any_image(bucket, tmp_path):
    for i in range(6):
        bucket.put(f"in/{i}.png", png(i, side=20 if i > 3 else 40))
    with fault_proxy(bucket.endpoint) as proxy:
        arguments = ["--input", bucket.uri("in/"), "--output", bucket.uri("out")]
        # A report reads the few sources that it shows.
        arguments += ["--s3_endpoint_url", proxy.endpoint, "--report", "no"]
        assert job.run([*arguments, "--run_id", "night1"]) == 0
        assert len(proxy.of("GET", f"/{bucket.name}/in/")) == 6
        proxy.requests.clear()
        assert job.run([*arguments, "--run_id", "night2"]) == 0
        assert proxy.of("GET", f"/{bucket.name}/in/") == []
        # However many images: each of two listings is checked by one HEAD.
        assert len(proxy.of("HEAD", f"/{bucket.name}/in/")) <= 2
    endpoint = ["--s3_endpoint_url", bucket.endpoint]
    assert read.main([bucket.uri("out"), str(tmp_path / "got"), *endpoint]) == 0
    assert len(list((tmp_path / "got").glob("*.png"))) == 4


def test_a_manifest_of_one_folder_is_listed_rather_than_asked_one_by_one(bucket):
    keys = [f"in/{i:03d}.png" for i in range(40)]
    for key in keys:
        bucket.put(key, png(1, side=20))
    bucket.put("m.txt", "\n".join(bucket.uri(key) for key in [*keys, "in/020.none"]).encode())
    with fault_proxy(bucket.endpoint) as proxy:
        arguments = ["--input", bucket.uri("m.txt"), "--output", bucket.uri("out")]
        arguments += ["--s3_endpoint_url", proxy.endpoint, "--max_failure_rate", "1"]
        arguments += ["--report", "no"]
        assert job.run([*arguments, "--run_id", "night1"]) == 0
        # Of 41: one that checks the listing, and the missing one.
        assert len(proxy.of("HEAD", f"/{bucket.name}/in/")) == 2
        proxy.requests.clear()
        assert job.run([*arguments, "--run_id", "night2"]) == 0
        assert proxy.of("GET", f"/{bucket.name}/in/") == []
        assert len(proxy.of("HEAD", f"/{bucket.name}/in/")) == 2


def test_trials_on_a_part_of_the_catalog_lose_nothing(nights, capsys):
    """Neither the full run before them, nor their own results."""
    trial = nights.run("trial1", "--limit", "2")
    assert statuses(trial) == {"0.png": "upscaled", "1.png": "upscaled"}
    assert "a part of the catalog: --limit 2; all other images" in capsys.readouterr().out
    assert nights.summary("trial1")["selection"] == {"limit": 2}
    full = nights.run("night1")
    assert inferences(full) == 1 and full["0.png"]["status"] == "unchanged"
    assert nights.summary("night1")["selection"] is None
    assert "part of the catalog" not in capsys.readouterr().out
    change(nights, "2.png", png(50))
    remove(nights, "1.png")
    trial = nights.run("trial2", "--include", "2.*", "--include", "icon.png")
    assert statuses(trial) == {"2.png": "upscaled", "icon.png": "skipped"}
    summary = nights.summary("trial2")
    assert (summary["previous_run"], summary["disappeared"]) == ("night1", 0)
    assert summary["selection"] == {"include": ["2.*", "icon.png"]}
    replay = nights.run("replay", "--retry", "too_small", "--previous", "trial2")
    assert set(replay) == {"2.png", "icon.png"}
    assert nights.summary("replay")["selection"] == {"include": ["2.*", "icon.png"]}
    last = nights.run("night2")
    assert inferences(last) == 0 and len(last) == 4
    summary = nights.summary("night2")
    assert (summary["previous_run"], summary["disappeared"]) == ("night1", 1)


def test_a_trial_s_dry_run_says_what_it_saw(nights, capsys):
    nights.source += "/"
    arguments = ["--input", nights.source, "--output", nights.output, "--dry_run"]
    assert job.run([*arguments, "--sample", "2", "--exclude", "icon.*"]) == 0
    said = capsys.readouterr().out
    assert "a part of the catalog: --sample 2 --exclude icon.*" in said
    assert "dry run: 2 images" in said


def test_patterns_that_choose_nothing_say_what_there_is(nights, capsys):
    arguments = ["--input", nights.source, "--output", nights.output]
    assert job.run([*arguments, "--include", "shoes/*"]) == 1
    error = capsys.readouterr().err
    assert "--include shoes/* chooses; the first path that patterns are compared with is" in error
    assert error.rstrip().endswith("is 0.png")
