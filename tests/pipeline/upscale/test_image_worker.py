import concurrent.futures
import errno
import io
import threading
import time
import types

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont
from PIL.PngImagePlugin import PngInfo

from model.data.recipes import RECIPES
from model.imaging.errors import (
    DecoderKilledError,
    DecodeTimeoutError,
    TooManyPixelsError,
    UnreadableImageError,
)
from model.inference.errors import OutOfMemoryError
from model.inference.upscaler import Upscaler
from model.metrics import full_reference
from model.network import loading, presets
from model.scenes.drawing import draw_scene
from pipeline.records import CatalogEntry, Job, Reason, RunError, Status
from pipeline.storage.base import StorageError
from pipeline.upscale import image_worker
from pipeline.upscale.image_worker import ImageWorker
from pipeline.upscale.upscaling import LocalUpscaler
from tests.fake_networks import FakeNetwork
from tests.pipeline.conftest import image_bytes, make_plan
from tests.pipeline.output.test_schema import by_column


class World:
    """Local files and a worker over them."""

    def __init__(self, files, folder, decoders, upscaler, **settings):
        self.files = files
        self.folder = folder
        self.decoders = decoders
        settings = {"output": str(folder / "out"), "min_side": 16, **settings}
        plan = make_plan(**settings)
        self.worker = worker(files, decoders, LocalUpscaler(upscaler, plan), plan)

    def entry(self, name, data=None, position=0, **fields):
        """An identified entry; without data its file does not exist."""
        path = self.folder / name
        if data is not None:
            path.write_bytes(data)
            etag = self.files.identify(str(path)).etag
            fields = {"etag": etag, "size_bytes": len(data), **fields}
        return CatalogEntry(f"uri/{name}", str(path), position, **fields)

    def rows(self, *entries):
        """The rows of a job, their columns as attributes."""
        rows = self.worker.process(Job("key", entries))
        return [types.SimpleNamespace(**by_column(row)) for row in rows]


@pytest.fixture
def world(local_files, tmp_path, decoders, upscaler):
    def make(**settings):
        return World(local_files, tmp_path, decoders, upscaler, **settings)

    return make


def worker(files, decoders, upscaler, plan=None):
    plan = plan or make_plan()
    folder = f"{plan.settings.output}/images"
    return ImageWorker(files, decoders, upscaler, plan, images_folder=folder)


def local(upscaler):
    return LocalUpscaler(upscaler, make_plan())


def opened(row):
    return Image.open(io.BytesIO(row.image["bytes"]))


@pytest.mark.parametrize("is_in_manifest", [False, True])
def test_what_the_user_tells_of_the_sharpening_reaches_the_network(world, is_in_manifest):
    """The number of the manifest wins over the option."""
    hr = draw_scene(2_000_021, 300, 300)
    sharpened = RECIPES["sharpened80"]
    buffer = io.BytesIO()
    Image.fromarray(sharpened.make_lr(hr, 2, np.random.default_rng(1))).save(buffer, "PNG")
    truth = sharpened.sharpening(hr, 2)
    psnr_db = []
    for told in (None, truth):
        option, number = (-0.5 if told else None, told) if is_in_manifest else (told, None)
        told_world = world(source_sharpening=option)
        entry = told_world.entry("a.png", buffer.getvalue(), source_sharpening=number)
        (row,) = told_world.rows(entry)
        assert row.status == Status.UPSCALED
        assert row.source_sharpening == number
        assert row.told_sharpening == pytest.approx(truth if told else 0.5, abs=0.3)
        assert not told or row.told_sharpening == told
        rgb = np.asarray(opened(row).convert("RGB"))
        psnr_db.append(full_reference.psnr_y(hr, rgb, border=2))
    assert psnr_db[1] > psnr_db[0] + 0.5


def test_what_somebody_told_is_trusted_more_than_what_the_network_saw(world):
    """Crisp graphics look sharpened: print that an art department drew at this size."""
    drawn = Image.new("RGB", (160, 60), "white")
    draw = ImageDraw.Draw(drawn)
    draw.text((8, 8), "Logo & Co. SALE 50 %", font=ImageFont.load_default(14), fill="darkred")
    buffer = io.BytesIO()
    drawn.save(buffer, "PNG")
    rows = []
    for number in (None, 0.8):
        entry = world().entry("a.png", buffer.getvalue(), source_sharpening=number)
        rows += world().rows(entry)
    assert rows[0].told_sharpening > 0.25
    assert rows[0].network_share < rows[1].network_share == 1


def test_a_network_that_cannot_be_told_of_the_sharpening_ends_the_run(
    local_files, tmp_path, decoders
):
    rdn_small = Upscaler(loading.load_by_name("rdn-small"))
    small = World(local_files, tmp_path, decoders, rdn_small, model="rdn-small")
    data = image_bytes(40, 60)
    assert small.rows(small.entry("a.jpg", data))[0].status == Status.UPSCALED
    with pytest.raises(
        RunError, match="in the column source_sharpening, but rdn-small was not trained"
    ):
        small.rows(small.entry("b.jpg", data, source_sharpening=0.5))


def test_damage_that_browsers_ignore_is_in_the_detail(world):
    whole = image_bytes(40, 61, quality=80)
    (cut,) = world().rows(world().entry("cut.jpg", whole[:-2]))
    (complete,) = world().rows(world().entry("whole.jpg", whole))
    assert (cut.status, cut.detail) == (Status.UPSCALED, "the JPEG's end marker is missing")
    assert complete.detail is None
    assert cut.image_sha256 == complete.image_sha256


def test_an_image_becomes_one_full_row(world):
    data = image_bytes(40, 61, quality=80)
    (row,) = world().rows(world().entry("a.jpg", data, product_ids=("p1",)))
    assert (row.uri, row.product_id, row.status) == ("uri/a.jpg", "p1", Status.UPSCALED)
    assert (row.reason, row.detail) == (None, None)
    assert (row.source_format, row.source_mode) == ("JPEG", "RGB")
    assert (row.source_height, row.source_width, row.source_bytes) == (40, 61, len(data))
    assert abs(row.source_jpeg_quality - 80) <= 1
    assert (row.height, row.width, row.scale) == (80, 122, 2)
    assert opened(row).size == (122, 80) and opened(row).format == "JPEG"
    assert row.image_bytes == len(row.image["bytes"]) and row.image["path"] == "key.jpg"
    assert row.image_uri is None
    assert row.model == presets.DEFAULT
    assert row.roundtrip_psnr_db > 27
    assert row.self_gain_db == pytest.approx(row.self_psnr_db - row.self_bicubic_psnr_db)
    assert row.reference_psnr_db is None
    assert row.sharpness_ratio > 1 and row.channel_drift < 1.5
    for name in ("fetch_ms", "decode_ms", "inference_ms", "measure_ms", "encode_ms"):
        assert getattr(row, name) > 0, name


@pytest.mark.parametrize(
    ("images", "has_column", "has_file"),
    [("parquet", True, False), ("files", False, True), ("both", True, True)],
)
def test_where_images_go(world, images, has_column, has_file):
    here = world(images=images)
    (row,) = here.rows(here.entry("a.png", image_bytes(40, 40, file_format="PNG")))
    assert (row.image is not None) == has_column
    assert (row.image_uri is not None) == has_file
    if has_file:
        assert row.image_uri == "images/ke/key.png"
        data = here.files.read(f"{here.folder}/out/{row.image_uri}")
        assert len(data) == row.image_bytes
        assert Image.open(io.BytesIO(data)).size == (80, 80)


@pytest.mark.parametrize(
    ("options", "size", "scale", "model"),
    [
        ({"scale": 2}, (80, 122), 2, "rdn-product"),
        ({"scale": 3}, (120, 183), 3, "rdn-product x2 twice"),
        ({"scale": 4}, (160, 244), 4, "rdn-product x2 twice"),
        ({"target_side": 100}, (66, 100), 2, "rdn-product"),
        ({"target_side": 200}, (131, 200), 4, "rdn-product x2 twice"),
        ({"target_side": 900}, (160, 244), 4, "rdn-product x2 twice"),
    ],
)
def test_an_image_gets_the_size_that_was_asked_for(world, options, size, scale, model):
    here = world(**options)
    data = image_bytes(40, 61, file_format="PNG")
    (row,) = here.rows(here.entry("a.png", data))
    assert (row.status, row.reason) == (Status.UPSCALED, None)
    assert (row.height, row.width, row.scale) == (*size, scale)
    assert opened(row).size == size[::-1]
    share = "" if row.network_share == 1 else " blended"
    assert row.model == model + share
    assert row.roundtrip_psnr_db > 30 and row.self_psnr_db is not None


def test_an_image_that_has_the_target_side_is_skipped(world):
    here = world(target_side=61)
    (row,) = here.rows(here.entry("a.png", image_bytes(40, 61, file_format="PNG")))
    assert (row.status, row.reason) == (Status.SKIPPED, Reason.LARGE_ENOUGH)


REJECTED = {
    "gate_small.png": (image_bytes(15, 99, file_format="PNG"), {}, Reason.TOO_SMALL),
    "gate_large.jpg": (image_bytes(40, 300), {"max_side": 200}, Reason.LARGE_ENOUGH),
    "pixels.jpg": (image_bytes(60, 60), {"max_pixels": 3000}, Reason.TOO_MANY_PIXELS),
    "empty.jpg": (b"", {}, Reason.UNREADABLE),
    "truncated.jpg": (image_bytes(200, 200)[:900], {}, Reason.UNREADABLE),
    "text.jpg": (b"<html>not found</html>", {}, Reason.UNSUPPORTED_FORMAT),
    "missing.jpg": (None, {"size": 100}, Reason.NOT_FOUND),
    "giant.jpg": (None, {"size": 1 << 40}, Reason.TOO_MANY_BYTES),
}


@pytest.mark.parametrize("name", REJECTED)
def test_what_cannot_be_upscaled_is_one_row_with_a_reason(world, name):
    data, settings, reason = REJECTED[name]
    fields = {"etag": "e", "size_bytes": settings.pop("size")} if "size" in settings else {}
    here = world(**settings)
    (row,) = here.rows(here.entry(name, data, **fields))
    assert (row.status, row.reason) == (reason.status, reason)
    assert row.detail and "\n" not in row.detail
    assert row.image is None and row.width is None


@pytest.mark.parametrize(
    ("name", "stages"),
    [("text.jpg", ["fetch_ms"]), ("truncated.jpg", ["fetch_ms", "decode_ms"])],
)
def test_a_broken_file_tells_how_long_its_stages_took(world, name, stages):
    here = world()
    (row,) = here.rows(here.entry(name, REJECTED[name][0]))
    assert all(getattr(row, stage) > 0 for stage in stages)
    assert row.inference_ms is None


def test_skipped_images_still_tell_what_was_found(world):
    here = world(max_side=200)
    (row,) = here.rows(here.entry("a.jpg", image_bytes(40, 300, quality=60)))
    assert row.status == Status.SKIPPED
    assert (row.source_format, row.source_height, row.source_width) == ("JPEG", 40, 300)
    assert abs(row.source_jpeg_quality - 60) <= 1


class Ranges:
    """Records the ranges that are read; the rest is the real storage."""

    def __init__(self, files):
        self._files = files
        self.read_bytes = 0

    def read(self, uri, start=0, stop=None, etag=None):
        data = self._files.read(uri, start, stop, etag)
        self.read_bytes += len(data)
        return data


@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "WEBP", "TIFF", "BMP", "AVIF"])
def test_a_filtered_image_is_not_downloaded_whole(
    world, decoders, upscaler, local_files, file_format
):
    noise = np.random.default_rng(1).integers(0, 256, (600, 1400, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noise).save(buffer, file_format)
    data = buffer.getvalue()
    assert len(data) > 300_000
    here = world()
    ranges = Ranges(local_files)
    here.worker = worker(ranges, decoders, local(upscaler))
    (row,) = here.rows(here.entry("big", data))
    assert (row.reason, row.source_width, row.source_height) == ("large_enough", 1400, 600)
    assert ranges.read_bytes <= 2 * 65536


def test_same_content_is_upscaled_once_and_gets_a_row_for_each_uri(world):
    here = world()
    data = image_bytes(40, 40)
    first = here.entry("a.jpg", data, 0, product_ids=("1",))
    twin = here.entry("b.jpg", data, 1, product_ids=("2",))
    rows = here.rows(first, twin)
    assert [(row.uri, row.product_id) for row in rows] == [("uri/a.jpg", "1"), ("uri/b.jpg", "2")]
    assert rows[0].image == rows[1].image and rows[0].inference_ms == rows[1].inference_ms


def test_a_twin_that_cannot_be_read_does_not_take_the_others_with_it(world):
    here = world()
    gone = here.entry("gone.jpg", None, 0, etag="e", size_bytes=1000)
    rows = here.rows(gone, here.entry("b.jpg", image_bytes(40, 40), 1))
    assert [(row.uri, row.status) for row in rows] == [
        ("uri/gone.jpg", Status.FAILED),
        ("uri/b.jpg", Status.UPSCALED),
    ]


def test_a_twin_that_was_rewritten_is_taken_as_it_is_now_and_harms_no_other(world):
    """Also with nonsense, which costs only its own row."""
    here, data = world(), image_bytes(40, 40)
    names = ("new.jpg", "bad.jpg", "c.jpg", "d.jpg")
    entries = [here.entry(name, data, i) for i, name in enumerate(names)]
    other = image_bytes(44, 48, seed=2)
    here.entry("new.jpg", other)
    here.entry("bad.jpg", b"nonsense" * 30)
    rows = {row.uri.removeprefix("uri/"): row for row in here.rows(*entries)}
    assert [rows[name].status for name in names] == ["upscaled", "failed", "upscaled", "upscaled"]
    assert rows["bad.jpg"].reason == "unsupported_format"
    assert (rows["new.jpg"].source_width, rows["new.jpg"].source_bytes) == (48, len(other))
    assert rows["c.jpg"].image == rows["d.jpg"].image != rows["new.jpg"].image
    assert rows["c.jpg"].content_key == rows["d.jpg"].content_key == "key"
    assert len({row.content_key for row in rows.values()}) == 3


def test_a_twin_whose_listed_etag_is_not_the_head_s_is_no_failure(world):
    here, data = world(), image_bytes(40, 40)
    entries = [here.entry("a.jpg", data, 0, etag="listed"), here.entry("b.jpg", data, 1)]
    assert [row.status for row in here.rows(*entries)] == ["upscaled", "upscaled"]


class VanishesAfterProbe:
    """The first image disappears between its probe and the reading of the rest."""

    def __init__(self, files, name):
        self._files = files
        self._name = name

    def read(self, uri, start=0, stop=None, etag=None):
        if self._name in uri and start > 0:
            raise StorageError(Reason.CHANGED, "412")
        return self._files.read(uri, start, stop, etag)

    def identify(self, uri):
        return self._files.identify(uri)


@pytest.mark.parametrize("ahead_max_pixels", [0, 10**9])
def test_an_image_that_vanishes_after_its_probe(
    world, local_files, decoders, upscaler, monkeypatch, ahead_max_pixels
):
    monkeypatch.setattr(image_worker, "AHEAD_MAX_PIXELS", ahead_max_pixels)
    image = Image.open(io.BytesIO(image_bytes(200, 200, file_format="PNG")))
    info = PngInfo()
    info.add_text("comment", "x" * 100_000)  # larger than the probe's first block
    buffer = io.BytesIO()
    image.save(buffer, "PNG", pnginfo=info)
    here = world()
    here.worker = worker(VanishesAfterProbe(local_files, "a.png"), decoders, local(upscaler))
    a, b = (here.entry(name, buffer.getvalue(), i) for i, name in enumerate(("a.png", "b.png")))
    assert sorted((row.uri, row.reason) for row in here.rows(a, b)) == [
        ("uri/a.png", "changed"),
        ("uri/b.png", None),
    ]


def in_two_threads(here):
    """The rows of two images that two threads process."""
    entries = [
        here.entry(f"{seed}.png", image_bytes(40, 40, file_format="PNG", seed=seed))
        for seed in range(2)
    ]
    with concurrent.futures.ThreadPoolExecutor(2) as threads:
        return [row for (row,) in threads.map(here.rows, entries)]


def test_small_images_are_decoded_ahead(world, monkeypatch):
    """Two of them meet in the decoder: one after the other, the first would wait in vain."""
    here, meeting = world(), threading.Barrier(2, timeout=60)
    decode = here.decoders.decode

    def meet(*arguments, **options):
        meeting.wait()
        return decode(*arguments, **options)

    monkeypatch.setattr(here.decoders, "decode", meet)
    assert [row.status for row in in_two_threads(here)] == [Status.UPSCALED] * 2


def test_large_images_are_decoded_one_at_a_time(world, monkeypatch):
    here, busy, overlapped = world(), threading.Lock(), []
    monkeypatch.setattr(image_worker, "AHEAD_MAX_PIXELS", 100)
    decode = here.decoders.decode

    def alone(*arguments, **options):
        is_alone = busy.acquire(blocking=False)
        overlapped.append(not is_alone)
        time.sleep(0.3)  # the other thread would come by now
        result = decode(*arguments, **options)
        if is_alone:
            busy.release()
        return result

    monkeypatch.setattr(here.decoders, "decode", alone)
    assert [row.status for row in in_two_threads(here)] == [Status.UPSCALED] * 2
    assert overlapped == [False, False]


def test_a_device_without_memory_fails_the_image_not_the_run(world, decoders):
    class NoMemory(FakeNetwork):
        def upscale_image(self, image, *, jpeg_quality, **_):
            raise OutOfMemoryError("no memory for 4096 pixels")

    here = world()
    here.worker = worker(here.files, decoders, local(NoMemory()))
    (row,) = here.rows(here.entry("a.jpg", image_bytes(40, 40)))
    assert (row.status, row.reason) == (Status.FAILED, Reason.OUT_OF_MEMORY)


class Tinting(FakeNetwork):
    """A network that went wrong: all it makes is a little redder."""

    def __init__(self, upscaler):
        self._upscaler = upscaler
        self.scale = upscaler.scale
        self.upscale_rgb = upscaler.upscale_rgb

    def upscale_image(self, image, *, jpeg_quality, **_):
        right = self._upscaler.upscale_image(image, jpeg_quality=jpeg_quality)
        rgb = np.add(right.rgb, (8, 0, 0), dtype=int)
        return right.with_pixels(np.clip(rgb, 0, 255).astype(np.uint8), right.alpha)


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_a_rejected_result_is_replaced_by_bicubic_and_the_row_says_so(
    world, decoders, upscaler, mode
):
    here = world()
    here.worker = worker(here.files, decoders, local(Tinting(upscaler)))
    data = image_bytes(40, 50, mode=mode, file_format="PNG")
    (row,) = here.rows(here.entry("a.png", data))
    assert (row.status, row.reason) == (Status.FALLBACK, "gate:colour")
    assert row.detail.startswith("published is bicubic: largest drift of a channel")
    assert (row.model, row.model_sha256) == ("bicubic", None)
    assert row.channel_drift < 1 and row.self_gain_db > 0  # of what is published, of the network
    size = (100, 80)
    expected = Image.open(io.BytesIO(data)).resize(size, Image.Resampling.BICUBIC)
    assert opened(row).mode == mode and opened(row).size == size
    difference = np.abs(np.asarray(opened(row)).astype(int) - np.asarray(expected).astype(int))
    visible = np.asarray(expected.convert("RGBA"))[..., 3] > 64
    # Under a soft edge the colours are continued beyond it first.
    assert difference[visible].max() <= (2 if mode == "RGB" else 8)


def test_reference_measures(world):
    here = world()
    hr = np.asarray(Image.open(io.BytesIO(image_bytes(81, 100, file_format="PNG"))))
    lr = Image.fromarray(hr[:80]).resize((50, 40), Image.Resampling.BICUBIC)
    lr_file, hr_file = io.BytesIO(), io.BytesIO()
    lr.save(lr_file, "PNG")
    Image.fromarray(hr).save(hr_file, "PNG")
    (here.folder / "hr.png").write_bytes(hr_file.getvalue())
    location = str(here.folder / "hr.png")
    entry = here.entry("lr.png", lr_file.getvalue(), reference_location=location)
    (row,) = here.rows(entry)
    assert row.reference_psnr_db > row.reference_bicubic_psnr_db > 30
    assert 0.9 < row.reference_ssim <= 1


def test_why_a_reference_has_no_place_stands_in_the_row(world):
    here, why = world(), "not compared with the reference: https:// is not supported"
    (row,) = here.rows(here.entry("a.jpg", image_bytes(40, 40), detail=why))
    assert (row.status, row.reason, row.detail) == (Status.UPSCALED, None, why)


@pytest.mark.parametrize("reference", ["missing", "wrong_size", "text"])
def test_a_useless_reference_is_said_and_harms_nothing(world, reference):
    here = world()
    content = {"wrong_size": image_bytes(90, 90), "text": b"none"}.get(reference)
    if content is not None:
        (here.folder / "hr").write_bytes(content)
    entry = here.entry("a.jpg", image_bytes(40, 40))
    (row,) = here.rows(entry._replace(reference_location=str(here.folder / "hr")))
    assert row.status == Status.UPSCALED and row.reference_psnr_db is None
    assert row.detail.startswith("not compared with the reference: ")


@pytest.mark.parametrize(
    ("trouble", "kept"),
    [
        (StorageError(Reason.STORAGE_ERROR, "no luck"), None),
        (StorageError(Reason.TIMEOUT, "no luck"), None),
        (DecodeTimeoutError("no luck"), None),
        (DecoderKilledError("no luck"), None),
        (StorageError(Reason.ACCESS_DENIED, "no luck"), "r1"),
        (UnreadableImageError("no luck"), "r1"),
        (TooManyPixelsError("no luck"), "r1"),
        (ValueError("no luck"), "r1"),
    ],
)
def test_a_reference_with_trouble_that_may_pass_is_asked_for_again(
    world, monkeypatch, trouble, kept
):
    """The next run looks for a result with the reference's ETag, and finds none."""
    here, reference = world(), b"a reference"
    (here.folder / "hr").write_bytes(reference)
    decode = here.decoders.decode

    def fail(data, **options):
        if data == reference:
            raise trouble
        return decode(data, **options)

    monkeypatch.setattr(here.decoders, "decode", fail)
    entry = here.entry("a.jpg", image_bytes(40, 40), reference_uri="r", reference_etag="r1")
    (row,) = here.rows(entry._replace(reference_location=str(here.folder / "hr")))
    assert (row.status, row.reference_uri, row.reference_etag) == (Status.UPSCALED, "r", kept)
    assert row.detail == "not compared with the reference: no luck"


@pytest.mark.parametrize(
    ("mode", "file_format", "expected"),
    [
        ("RGB", "PNG", ("PNG", "RGB")),
        ("RGBA", "PNG", ("PNG", "RGBA")),
        ("L", "PNG", ("PNG", "L")),
        ("LA", "PNG", ("PNG", "LA")),
        ("P", "PNG", ("PNG", "RGB")),
        ("1", "PNG", ("PNG", "L")),
        ("P", "GIF", ("PNG", "RGB")),
        ("RGB", "BMP", ("PNG", "RGB")),
        ("L", "JPEG", ("JPEG", "L")),
        ("CMYK", "JPEG", ("JPEG", "RGB")),
        ("CMYK", "TIFF", ("PNG", "RGB")),
        ("RGB", "WEBP", ("WEBP", "RGB")),
        ("RGBA", "WEBP", ("WEBP", "RGBA")),
    ],
)
def test_format_and_mode_survive(world, mode, file_format, expected):
    here = world()
    data = image_bytes(40, 50, mode=mode, file_format=file_format)
    (row,) = here.rows(here.entry("a", data))
    # Dither is noise that the network smooths too much: the gate may choose bicubic.
    published = (Status.UPSCALED, Status.FALLBACK) if mode in ("P", "1") else (Status.UPSCALED,)
    assert row.status in published, row.detail
    assert (opened(row).format, opened(row).mode) == expected
    assert row.image_format == expected[0].lower()
    # Palettes and bilevel images are dithered here, and lossy formats blur such loud colours:
    # noise that the network smooths.
    lossy = 27 if file_format in ("JPEG", "WEBP") else 35
    assert row.roundtrip_psnr_db > {"P": 20, "1": 9}.get(mode, lossy)


def test_orientation_is_applied_once(world):
    here = world()
    upright = Image.open(io.BytesIO(image_bytes(40, 60, file_format="PNG")))
    exif = Image.Exif()
    exif[0x0112] = 6
    stored = io.BytesIO()
    upright.transpose(Image.Transpose.ROTATE_90).save(stored, "JPEG", quality=95, exif=exif)
    (row,) = here.rows(here.entry("a.jpg", stored.getvalue()))
    assert (row.source_height, row.source_width) == (40, 60)
    result = opened(row)
    assert result.size == (120, 80) and not result.getexif()
    shrunk = np.asarray(result.resize((60, 40), Image.Resampling.BICUBIC), dtype=float)
    assert np.abs(shrunk - np.asarray(upright, dtype=float)).mean() < 4


def test_a_result_that_cannot_be_written_is_a_failed_row(world):
    here = world(images="files")
    (here.folder / "out").write_bytes(b"a file where the folder should be")
    (row,) = here.rows(here.entry("a.png", image_bytes(40, 40, file_format="PNG")))
    assert row.status == Status.FAILED and row.image_uri is None
    assert row.detail.startswith("the result could not be written: ")
    for name in ("fetch_ms", "decode_ms", "inference_ms", "measure_ms", "encode_ms"):
        assert getattr(row, name) > 0, name


def test_a_full_disk_stops_the_run_instead_of_failing_each_image(world, monkeypatch):
    def full(self, data):
        raise OSError(errno.ENOSPC, "No space left on device")

    here = world(images="files")
    entry = here.entry("a.png", image_bytes(40, 40, file_format="PNG"))
    monkeypatch.setattr("pathlib.Path.write_bytes", full)
    with pytest.raises(RunError, match=r"cannot write .*/out/images/ke/key\.png: No space left"):
        here.rows(entry)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 40), (2, 3)])
def test_the_smallest_images_are_upscaled_if_asked_for(world, height, width):
    here = world(min_side=1)
    data = image_bytes(height, width, file_format="PNG")
    (row,) = here.rows(here.entry("a.png", data))
    assert (row.status, row.height, row.width) == (Status.UPSCALED, 2 * height, 2 * width)
    assert row.self_gain_db is None and row.roundtrip_psnr_db is None


def test_a_hidden_jpeg_is_upscaled_as_what_it_is(world):
    """The file states no compression; the pixels show it, and the network removes its noise."""
    pixels = draw_scene(5, 120, 160)
    jpeg, png, clean = io.BytesIO(), io.BytesIO(), io.BytesIO()
    Image.fromarray(pixels).save(jpeg, "JPEG", quality=50)
    with Image.open(jpeg) as opened:
        opened.save(png, "PNG")
    Image.fromarray(pixels).save(clean, "PNG")
    here = world(image_format="png")
    honest, hidden, never = (
        here.rows(here.entry(name, data.getvalue()))[0]
        for name, data in (("a.jpg", jpeg), ("a.png", png), ("b.png", clean))
    )
    assert (honest.source_jpeg_quality, hidden.source_jpeg_quality) == (50, 100)
    assert abs(hidden.source_found_jpeg_quality - 50) <= 1
    assert never.source_found_jpeg_quality is None
    difference = opened_rgb(honest).astype(int) - opened_rgb(hidden)
    assert np.abs(difference).max() <= 2  # at most one step of quality between them


def opened_rgb(row):
    return np.asarray(opened(row).convert("RGB"))
