import pytest

from pipeline.catalog.size_filter import SizeLimits, reject_size
from pipeline.records import Reason

LIMITS = SizeLimits(min_side_px=32, max_side_px=1000, max_pixels=500_000)


@pytest.mark.parametrize(
    ("height", "width", "expected"),
    [
        (32, 32, None),
        (31, 400, Reason.TOO_SMALL),
        (400, 31, Reason.TOO_SMALL),
        (1, 1, Reason.TOO_SMALL),
        (500, 1000, None),
        (32, 1001, Reason.LARGE_ENOUGH),
        (1001, 32, Reason.LARGE_ENOUGH),
        (501, 1000, Reason.TOO_MANY_PIXELS),
        (60_000, 60_000, Reason.LARGE_ENOUGH),  # never decoded, so no failure
        (10, 60_000, Reason.TOO_SMALL),
    ],
)
def test_limits_are_inclusive_and_ordered(height, width, expected):
    rejection = reject_size(height, width, LIMITS)
    assert (rejection and rejection[0]) == expected


def test_detail_names_the_size_and_the_limit():
    _, detail = reject_size(20, 400, LIMITS)
    assert "400 x 20" in detail and "32" in detail


def test_an_image_with_the_target_side_is_large_enough():
    limits = SizeLimits(32, 1000, 500_000, target_side_px=600)
    assert reject_size(300, 599, limits) is None
    reason, detail = reject_size(300, 600, limits)
    assert reason == Reason.LARGE_ENOUGH and "target side is 600" in detail
