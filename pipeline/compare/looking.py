"""Measures overshoot and edges of two results of an image: reads the source and both results."""

import os
from collections.abc import Mapping, Sequence

import numpy as np

from model.imaging import resampling
from model.imaging.errors import ImageError
from model.imaging.sandbox import DecoderPool
from model.metrics import edges, full_reference
from pipeline.catalog.places import Place
from pipeline.compare.finished_run import FinishedRun, read_located_rows
from pipeline.compare.judging import PixelMeasures
from pipeline.report.examples import MAX_PIXELS, ExampleReader, is_enlarged
from pipeline.runs.reader import reading_order
from pipeline.storage.base import Readable, Storage, StorageError


def measure_images(
    files: Storage,
    runs: tuple[FinishedRun, FinishedRun],
    uris: Sequence[str],
    *,
    sources: Readable | None = None,
) -> Mapping[str, PixelMeasures]:
    """Measures the results of some images in both runs.

    Args:
        files: storage of the runs.
        runs: A and B.
        uris: of the images.
        sources: storage of the sources; None for the same.

    Returns:
        Measures by URI, without the images whose source or results cannot be read, or whose
        results have different sizes.

    Raises:
        RunError: if the rows cannot be read.
    """
    if not uris:
        return {}
    rows = [read_located_rows(files, run, uris) for run in runs]
    found = {}
    with DecoderPool(os.cpu_count() or 1, max_pixels=MAX_PIXELS) as decoders:
        readers = [ExampleReader(files, decoders, place_of(run), sources=sources) for run in runs]
        for uri in sorted(uris, key=lambda uri: reading_order(rows[1][uri].image_uri)):
            try:
                source = readers[1].source(rows[1][uri]).over_white()
                results = [
                    reader.published(located[uri]).over_white()
                    for reader, located in zip(readers, rows, strict=True)
                ]
            except (StorageError, ImageError, ValueError):
                continue  # a source that is gone costs its image's verdict, not the comparison
            measured = measure_pixels(source, results[0], results[1])
            if measured is not None:
                found[uri] = measured
    return found


def measure_pixels(source: np.ndarray, a: np.ndarray, b: np.ndarray) -> PixelMeasures | None:
    """Measures two results of one image.

    Args:
        source: uint8 [H, W, 3].
        a, b: uint8 [h, w, 3]; with a target side h / H need not be a whole number.

    Returns:
        None if the sizes of the three do not belong together, or the image has no edges.
    """
    if a.shape != b.shape or not is_enlarged(source.shape, a.shape):
        return None
    luma = full_reference.luma(source, dtype=np.float32)
    bicubic = resampling.bicubic(luma, *a.shape[:2])
    halos, sharpness = [], []
    for result in (a, b):
        plane = full_reference.luma(result, dtype=np.float32)
        halos.append(edges.overshoot(luma, plane))
        sharpness.append(edges.edge_sharpness(luma, bicubic, plane))
    if None in halos or None in sharpness:
        return None
    return PixelMeasures(*halos, *sharpness)  # type: ignore[arg-type]  # None is excluded


def place_of(run: FinishedRun) -> Place:
    """Returns the place that the URIs of a run's rows start at."""
    summary = run.summary
    return Place(summary["input"], summary["settings"].get("allow_schemes", ()))
