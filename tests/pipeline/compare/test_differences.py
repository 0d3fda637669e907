"""Verdicts on images and runs, from rows that a test makes."""

import pyarrow as pa
import pytest

from pipeline.compare import differences
from pipeline.compare.differences import group_of
from pipeline.compare.judging import PixelMeasures
from pipeline.compare.verdict import sign_test
from pipeline.output.schema import to_batch
from pipeline.records import RunError, Status
from tests.pipeline.conftest import make_row


def table(*rows):
    return pa.Table.from_batches([to_batch(rows)]).select(list(differences.COLUMNS))


def row(uri, status=Status.UPSCALED, *, etag="e", sha="s", **columns):
    return make_row(f"s3://b/{uri}", status, source_etag=etag, image_sha256=sha, **columns)


def looks(overshoot=(0.1, 0.1), edges=(1.2, 1.2)):
    """A `look` that finds the same measures in every image."""
    return lambda uris: dict.fromkeys(uris, PixelMeasures(*overshoot, *edges))


def test_counts_and_uris():
    a = table(row("x/1"), row("x/2"), row("x/3", Status.FAILED, reason="timeout"), row("x/4"))
    b = table(row("x/1"), row("x/2", sha="t"), row("x/3"), row("x/4", etag="new"), row("y/5"))
    found = differences.compare(a, b)
    assert found.counts == [
        ("upscaled", None, 3, 5),
        ("failed", "timeout", 1, 0),
    ]
    assert (found.appeared, found.disappeared) == (1, 0)
    assert (found.common, found.rewritten, found.identical) == (3, 1, 2)
    assert found.worse == []


REFERENCE = {"reference_psnr_db": 30.0, "reference_ssim": 0.9}


@pytest.mark.parametrize(
    ("before", "after", "verdict", "why"),
    [
        ({"background_noise": 0.7}, {"background_noise": 1.4}, "worse", "noise 0.70 to 1.40"),
        ({"background_noise": 1.4}, {"background_noise": 0.7}, "better", "noise 1.40 to 0.70"),
        ({"background_noise": 0.7}, {"background_noise": 0.75}, "same", "beyond its margin"),
        ({"background_noise": 5.0}, {"background_noise": 5.3}, "same", "beyond its margin"),
        ({"background_grain": 0.1}, {"background_grain": 1.2}, "worse", "grain 0.10 to 1.20"),
        ({"blockiness": 1.0}, {"blockiness": 1.6}, "worse", "blocks 1.00 to 1.60"),
        ({"blockiness": 0.7}, {"blockiness": 1.0}, "same", "beyond its margin"),
        # Round trip and self PSNR reward a network for keeping compression noise.
        ({"self_gain_db": 5.0}, {"self_gain_db": 1.0}, "same", "beyond its margin"),
        ({"roundtrip_psnr_db": 39.0}, {"roundtrip_psnr_db": 62.0}, "same", "beyond its margin"),
        (
            {"background_noise": 0.7, "blockiness": 1.6},
            {"background_noise": 1.4, "blockiness": 1.0},
            "worse",  # noise hides the blocks
            "noise 0.70 to 1.40",
        ),
        # The reference alone decides where there is one, in both directions.
        (
            REFERENCE | {"background_noise": 0.7},
            REFERENCE | {"background_noise": 1.4},
            "same",
            "beyond its margin",
        ),
        (REFERENCE, REFERENCE | {"reference_psnr_db": 29.7}, "worse", "30.00 to 29.70"),
        (REFERENCE, REFERENCE | {"reference_ssim": 0.91}, "better", "SSIM to the reference"),
        (
            REFERENCE,
            {"reference_psnr_db": 30.5, "reference_ssim": 0.89},
            "not decided",
            "PSNR to the reference 30.00 to 30.50; SSIM",
        ),
    ],
)
def test_the_verdict_on_an_image_by_its_rows(before, after, verdict, why):
    a, b = table(row("p", sha="1", **before)), table(row("p", sha="2", **after))
    found = differences.compare(a, b, look=looks())
    (image,) = [*found.judged, *found.worse]
    assert image.verdict == verdict and why in image.why


@pytest.mark.parametrize(
    ("overshoot", "edges", "verdict", "why"),
    [
        ((0.1, 0.6), (1.2, 1.2), "worse", "overshoot 0.10 to 0.60"),
        ((0.1, 0.6), (1.2, 1.6), "worse", "overshoot 0.10 to 0.60"),  # oversharpened
        ((0.6, 0.1), (1.4, 1.1), "better", "overshoot 0.60 to 0.10"),
        ((0.1, 0.1), (1.2, 1.6), "better", "edge sharpness 1.20 to 1.60"),
        ((0.1, 0.1), (1.6, 1.2), "worse", "edge sharpness 1.60 to 1.20"),
        ((0.6, 0.0), (1.2, 0.8), "worse", "softer than bicubic: edges ×0.80"),
        ((0.0, 0.6), (0.8, 1.2), "better", "softer than bicubic before"),
    ],
)
def test_the_verdict_on_an_image_by_its_pixels(overshoot, edges, verdict, why):
    a, b = table(row("p", sha="1")), table(row("p", sha="2"))
    found = differences.compare(a, b, look=looks(overshoot, edges))
    (image,) = [*found.judged, *found.worse]
    assert image.verdict == verdict and why in image.why


def test_less_noise_and_a_blur_is_worse():
    a = table(row("p", sha="1", background_noise=1.4))
    b = table(row("p", sha="2", background_noise=0.2))
    (image,) = differences.compare(a, b, look=looks(edges=(1.2, 0.8))).worse
    assert "softer than bicubic" in image.why


def test_less_noise_in_an_image_that_cannot_be_looked_at_is_not_decided():
    a = table(row("p", sha="1", background_noise=1.4))
    b = table(row("p", sha="2", background_noise=0.7))
    (image,) = differences.compare(a, b).judged
    assert image.verdict == "not decided" and "may be a blur" in image.why


FALLBACK = {"status": Status.FALLBACK, "reason": "gate:noise", "sha": "bicubic"}
FAILED = {"status": Status.FAILED, "reason": "timeout", "sha": None}


@pytest.mark.parametrize(
    ("before", "after", "verdict", "why"),
    [
        ({}, FAILED, "worse", "failed now: timeout"),
        (FAILED, {}, "better", "failed before: timeout"),
        ({}, FALLBACK, "worse", "bicubic now: gate:noise"),
        (FALLBACK, {}, "better", "bicubic before: gate:noise"),
        # Gone from the storage: without an etag, and worse all the same.
        ({}, FAILED | {"reason": "not_found", "etag": None}, "worse", "failed now: not_found"),
        ({}, {"status": Status.SKIPPED, "reason": "large_enough", "sha": None}, "same", ""),
    ],
)
def test_the_verdict_on_an_image_by_its_status(before, after, verdict, why):
    found = differences.compare(table(row("p", **before)), table(row("p", **after)))
    (image,) = [*found.judged, *found.worse]
    assert image.verdict == verdict and why in image.why


def test_rows_that_are_the_same_are_not_judged():
    failed = row("p", Status.FAILED, reason="timeout", sha=None)
    rewritten = row("r", sha="2", etag="new", background_noise=9.0)
    # The same bytes, measured by another release.
    again = row("q", background_noise=9.0)
    a, b = table(failed, row("q", background_noise=1.0), row("r")), table(failed, again, rewritten)
    found = differences.compare(a, b)
    assert found.worse == found.judged == []
    assert found.verdict.verdict == "not decided" and "no image" in found.verdict.why


def test_the_clearest_loss_comes_first():
    a = table(*(row(name, sha="1", background_noise=0.5) for name in "abcd"))
    b = table(
        row("a", sha="2", background_noise=0.8),
        row("b", sha="2", background_noise=1.8),
        row("c", Status.FAILED, sha=None, reason="timeout"),
        row("d", Status.FALLBACK, sha="2", reason="gate:shift"),
    )
    found = differences.compare(a, b, look=looks())
    assert [one.uri[-1] for one in found.worse] == ["c", "d", "b", "a"]
    assert found.worse_share == 1.0


def runs_of(better, worse, **options):
    """Compares two runs with images that got better, and images that got worse."""
    noise = [(1.4, 0.7)] * better + [(0.7, 1.4)] * worse
    a, b = (
        table(
            *(
                row(f"{i % 2}/{i}", sha=str(side), background_noise=one[side])
                for i, one in enumerate(noise)
            )
        )
        for side in (0, 1)
    )
    return differences.compare(a, b, look=looks(), **options)


@pytest.mark.parametrize(
    ("better", "worse", "verdict"),
    [
        (12, 0, "better"),
        (0, 12, "worse"),
        (6, 0, "better"),
        (5, 0, "not decided"),  # a coin does so once in 16 times
        (9, 1, "better"),
        (8, 2, "not decided"),
        (6, 6, "not decided"),
    ],
)
def test_the_verdict_counts_images(better, worse, verdict):
    found = runs_of(better, worse)
    assert found.verdict.verdict == verdict
    assert (found.verdict.better, found.verdict.worse) == (better, worse)
    assert len(found.worse) == worse


def test_one_large_gain_does_not_outweigh_many_losses():
    noise = [(90.0, 0.1)] + [(0.7, 1.0)] * 8
    tables = [
        table(*(row(str(i), sha=str(s), background_noise=n[s]) for i, n in enumerate(noise)))
        for s in (0, 1)
    ]
    found = differences.compare(*tables, look=looks())
    assert found.drifts[0].change < 0  # the mean says less noise
    assert found.verdict.verdict == "worse"


def test_the_sample_is_the_same_every_time_and_bounds_what_is_looked_at():
    asked = []

    def look(uris):
        asked.append(sorted(uris))
        return looks()(uris)

    a = table(*(row(str(i), sha="1", background_noise=0.7) for i in range(50)))
    b = table(*(row(str(i), sha="2", background_noise=1.4) for i in range(50)))
    found = [differences.compare(a, b, look=look, max_looked_at=10) for _ in range(2)]
    assert len(asked[0]) == 10 and asked[0] == asked[1]
    assert found[0].verdict.worse == found[0].looked_at == 10 and len(found[0].worse) == 50


def test_groups_are_counted():
    assert [(one.group, one.better, one.worse, one.other) for one in runs_of(2, 2).groups] == [
        ("s3://b/0", 1, 1, 0),
        ("s3://b/1", 1, 1, 0),
    ]


@pytest.mark.parametrize(
    ("a", "b", "remedy"),
    [
        (
            row("old/1"),
            row("new/1"),
            "s3://b/old/1 and s3://b/new/1; run both with the same --input",
        ),
        (row("1", etag="x"), row("1", etag="y"), "give two runs on the same content"),
    ],
)
def test_nothing_in_common_is_an_error_with_a_remedy(a, b, remedy):
    with pytest.raises(RunError, match="nothing in common") as raised:
        differences.compare(table(a), table(b))
    assert remedy in str(raised.value)


def test_the_sign_test():
    assert sign_test(0, 0) == 1.0
    assert sign_test(9, 1) == pytest.approx(0.021484375)  # scipy.stats.binomtest(1, 10).pvalue
    assert sign_test(600, 520) == pytest.approx(0.01822, abs=2e-4)  # the same of (520, 1120)


def test_drifts_of_groups():
    noise = "background_noise"
    a = table(*(row(f"{g}/{i}", **{noise: 1.0}) for g in "xy" for i in range(4)), row("x/none"))
    b = table(*(row(f"{g}/{i}", **{noise: 2.0 + i * (g == "y")}) for g in "xy" for i in range(4)))
    everything, x, y = differences.compare(a, b).drifts
    assert (everything.group, everything.images, everything.change) == ("all", 8, 1.75)
    assert (x.group, x.images, x.change, x.error) == ("s3://b/x", 4, 1.0, 0.0)
    assert (y.group, y.before, y.after, y.change) == ("s3://b/y", 1.0, 3.5, 2.5)
    assert y.error == pytest.approx(0.6455, abs=1e-4)  # sd 1.2910 of four, over 2


@pytest.mark.parametrize(
    ("group_by", "uri", "product_id", "group"),
    [
        ("folder", "s3://b/shoes/red/1.jpg", None, "s3://b/shoes/red"),
        ("product", "s3://b/1.jpg", "SHOE-17", "SHOE"),
        ("product", "s3://b/1.jpg", "bag17", "bag"),
        ("product", "s3://b/1.jpg", None, "(none)"),
        ("format", "s3://b/x.y/1.JPG", None, "jpg"),
        ("format", "s3://b/x.y/1", None, "(none)"),
        ("folder", "a.jpg", None, "(none)"),
    ],
)
def test_groups(group_by, uri, product_id, group):
    assert group_of(uri, product_id, group_by) == group
