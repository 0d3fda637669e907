import numpy as np
import pytest

from model.data.pairs import make_pairs
from model.imaging import resampling


def test_pairs_are_made_and_small_images_left_out_with_a_note(folder, caplog):
    pairs = list(make_pairs(folder, scale=2, min_lr_side=12))
    assert [pair.name for pair in pairs] == ["a.jpg", "b.png"]
    assert "skipped small.png: 60 x 10" in caplog.text
    assert pairs[0].hr.shape == (40, 60, 3) and pairs[0].lr.shape == (20, 30, 3)
    np.testing.assert_array_equal(
        pairs[1].lr, resampling.to_uint8(resampling.shrink(pairs[1].hr, 2))
    )
    with pytest.raises(FileNotFoundError, match="at least 1000 x 1000"):
        list(make_pairs(folder, scale=2, min_lr_side=500))


def test_compressed_images_are_shrunk_before_they_serve_as_hr(folder):
    (first, *_) = make_pairs(folder, scale=2, min_lr_side=2, shrink_first=2)
    assert first.hr.shape == (20, 30, 3) and first.lr.shape == (10, 15, 3)
