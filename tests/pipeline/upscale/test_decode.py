import dataclasses
import time

import numpy as np
import pytest

from model.imaging.header import Header, UnreadableImageError
from model.imaging.image import RasterImage
from model.imaging.sandbox import DecoderUnavailableError
from pipeline.catalog.size_filter import SizeLimits
from pipeline.records import Reason, RunError
from pipeline.row.parts import Timings
from pipeline.upscale.decode import decode
from pipeline.upscale.steps import Decoded, Probed, Rejected

HEADER = Header("TIFF", "RGB", 100, 100, is_lossless=True, jpeg_quality=100)
LIMITS = SizeLimits(min_side_px=32, max_side_px=1000, max_pixels=40_000_000)


class File:
    """A source whose rest takes some time to fetch."""

    def whole(self):
        time.sleep(0.01)
        return b"data"


class Decoders:
    """Finds an image of this size in any file, or fails."""

    def __init__(self, height=100, width=100, error=None):
        self.size, self.error = (height, width), error

    def decode(self, data, *, max_pixels, first_frame):
        time.sleep(0.01)
        if self.error is not None:
            raise self.error
        height, width = self.size
        header = dataclasses.replace(HEADER, height=height, width=width)
        return header, RasterImage(np.zeros((height, width, 3), np.uint8))


def decoded_by(decoders):
    probed = Probed(File(), 4, HEADER, Timings(fetch_ms=2.0))
    return decode(probed, decoders, limits=LIMITS, first_frame=False)


def test_a_probed_source_is_decoded():
    found = decoded_by(Decoders())
    assert isinstance(found, Decoded)
    assert (found.image.height, found.image.width) == (100, 100)
    assert found.timings.fetch_ms >= 12 and found.timings.decode_ms >= 10


@pytest.mark.parametrize(
    ("height", "width", "reason"),
    [(4000, 4000, Reason.LARGE_ENOUGH), (100, 1001, Reason.LARGE_ENOUGH), (1, 9, "too_small")],
)
def test_the_size_filter_is_asked_again_about_the_decoded_size(height, width, reason):
    """A TIFF with its size tags twice says 100 x 100 and is decoded at 4000 x 4000."""
    found = decoded_by(Decoders(height, width))
    assert isinstance(found, Rejected)
    assert found.reason == reason and f"{width} x {height}" in found.detail
    assert (found.header.height, found.header.width) == (height, width)


def test_a_broken_file_keeps_what_its_header_said():
    found = decoded_by(Decoders(error=UnreadableImageError("truncated")))
    assert (found.reason, found.detail) == (Reason.UNREADABLE, "truncated")
    assert found.header == HEADER


def test_a_broken_file_tells_how_long_it_took():
    found = decoded_by(Decoders(error=UnreadableImageError("truncated")))
    assert found.timings.fetch_ms >= 12 and found.timings.decode_ms >= 10


def test_a_machine_without_decoders_stops_the_run():
    with pytest.raises(RunError, match="cannot start"):
        decoded_by(Decoders(error=DecoderUnavailableError("cannot start a decoder process")))
