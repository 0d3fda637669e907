"""Counts, sizes, durations and texts of rows as people read them."""

import pytest

from pipeline import text


@pytest.mark.parametrize(
    ("number", "expected"),
    [(0, "0 images"), (1, "1 image"), (2, "2 images"), (1234, "1,234 images")],
)
def test_a_noun_agrees_with_its_number(number, expected):
    assert text.count(number, "image") == expected


@pytest.mark.parametrize(
    ("size_bytes", "expected"),
    [
        (0, "0 bytes"),
        (999, "999 bytes"),
        (1000, "1.0 kB"),
        (4_350_000, "4.3 MB"),
        (7e12, "7.0 TB"),
    ],
)
def test_sizes_in_powers_of_1000(size_bytes, expected):
    assert text.size(size_bytes) == expected


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(1.25, "1.2 s"), (89, "89 s"), (90, "1 min 30 s"), (4000, "67 min"), (9000, "2 h 30 min")],
)
def test_durations(seconds, expected):
    assert text.duration(seconds) == expected


@pytest.mark.parametrize(
    ("dirty", "cleaned"),
    [
        ("https://u:p@h/a?X-Amz-Signature=abc&b=1", "https://h/a?blake2b=d65be76d1b3c7fc4"),
        ("see s3://b/k?token=abc, again", "see s3://b/k?blake2b=14a625a917a1b757 again"),
        ("a\x00\nb", "a��b"),
        (None, ""),
        ("x" * 400, "x" * 300 + "…"),
    ],
)
def test_texts_of_rows_are_cleaned(dirty, cleaned):
    assert text.clean(dirty) == cleaned
