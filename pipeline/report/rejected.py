"""Upscales a source again to show the result that the quality gate rejected.

Imports TensorFlow: import this module only when a report has such a result to show.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from model.imaging import profiles
from model.imaging.decode import assumed_quality
from model.imaging.header import Header
from model.imaging.image import RasterImage
from model.inference.errors import OutOfMemoryError
from model.inference.measured import upscale_with_self_test
from model.inference.target import TargetSize
from model.inference.upscaler import Upscaler
from model.network import loading, presets
from pipeline.records import RunError
from pipeline.storage.base import Readable
from pipeline.upscale.saved_model import read_model

# Larger sources take too long for a report.
_MAX_PIXELS = 500_000


class RejectedResults:
    """Upscales sources with the network of a run, which it loads once.

    Args:
        files: storage of the model.
        summary: content of the run's summary.json.

    Raises:
        RunError: if the network is missing or no longer the one of the run.

    Example:
        results = RejectedResults(files, summary)
        pixels = results.upscale(header, source, sharpening=None)
    """

    def __init__(self, files: Readable, summary: Mapping[str, Any]) -> None:
        saved = read_model(files, summary["model"]["name"])
        if saved.sha256 != summary["model"]["sha256"]:
            raise RunError("the network was replaced since the run")
        chosen = summary["settings"]
        self._sharpening = chosen.get("source_sharpening")
        self._target = TargetSize(chosen.get("scale"), chosen.get("target_side"))
        try:
            self._upscaler = Upscaler(loading.load(saved))
        except presets.ModelError as error:
            raise RunError(str(error)) from error

    def upscale(self, header: Header, source: RasterImage, sharpening: float | None) -> np.ndarray:
        """Upscales a source image.

        Args:
            header: of its file, for the JPEG quality.
            source: the decoded image.
            sharpening: of the source, log2, as its row says; None where the run's option holds.

        Returns:
            uint8 [h, w, 3] in sRGB, over white.

        Raises:
            RunError: if the image is too large.
        """
        if source.height * source.width > _MAX_PIXELS:
            raise RunError("the image is too large to upscale it for a report")
        plan = self._target.plan(source.height, source.width, self._upscaler.scale)
        try:
            upscaled = upscale_with_self_test(
                self._upscaler,
                source,
                jpeg_quality=assumed_quality(header),
                sharpening=self._sharpening if sharpening is None else sharpening,
                extent="off",
                passes=plan.passes,
            )
        except OutOfMemoryError as error:
            raise RunError(str(error)) from error
        result = upscaled.result.shrunk_to(plan.height, plan.width)
        return profiles.to_srgb(result).over_white()
