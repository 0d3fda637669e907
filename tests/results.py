"""What the job makes of an image before the quality gate."""

from typing import Any

import numpy as np


def result_of(upscaler: Any, rgb: np.ndarray, jpeg_quality: int = 100) -> np.ndarray:
    """Upscales uint8 [H, W, 3]; the network sees for itself how it was sharpened."""
    from model.imaging.image import RasterImage  # noqa: PLC0415 - see tests/conftest.py
    from model.inference.measured import upscale_with_self_test  # noqa: PLC0415

    made = upscale_with_self_test(
        upscaler, RasterImage(rgb), jpeg_quality=jpeg_quality, extent="off"
    )
    return made.result.rgb
