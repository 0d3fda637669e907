"""Draws the demo's sheet: the most detailed block of some images, bicubic beside the network."""

import io
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from PIL import Image

from model.evaluate.panels import Panel, Row, lay_out
from model.imaging import resampling
from model.metrics import full_reference

BLOCK_PX = 160
ZOOM = 2
_IMAGES = 6
_IMAGES_PER_ROW = 2


def draw_sheet(rows_folder: Path, sources: Mapping[str, bytes]) -> np.ndarray | None:
    """Draws a sheet with some JPEGs of a run.

    Args:
        rows_folder: folder of the run's Parquet files, with images in the rows.
        sources: source files by URI.

    Returns:
        uint8 [h, w, 3]; None if the run upscaled no JPEG.
    """
    columns = ["uri", "status", "source_format", "model", "image"]
    rows = [
        row
        for row in pq.read_table(rows_folder, columns=columns).to_pylist()
        if row["status"] == "upscaled" and row["source_format"] == "JPEG"
    ]
    rows.sort(key=lambda row: row["uri"])
    chosen = rows[:: max(1, len(rows) // _IMAGES)][:_IMAGES]
    panels = [panel for row in chosen for panel in _pair(row, sources[row["uri"]])]
    if not panels:
        return None
    model = chosen[0]["model"]
    heading = f"bicubic beside ours ({model}): the most detailed block of each image, {ZOOM}:1"
    return lay_out(heading, list(_in_rows(panels, 2 * _IMAGES_PER_ROW)))


def max_detail_block(pixels: np.ndarray, side: int) -> tuple[slice, slice]:
    """Finds the block with the largest sum of luma gradients.

    Args:
        pixels: uint8 [h, w, 3].
        side: of the block, pixels; a shorter side of the image shortens it.

    Returns:
        Rows and columns of the block.
    """
    plane = full_reference.luma(pixels)
    down, across = np.gradient(plane)
    height, width = (min(side, length) for length in plane.shape)
    sums = full_reference.window_sums(np.hypot(down, across), height, width)
    top, left = np.unravel_index(np.argmax(sums), sums.shape)
    return slice(int(top), int(top) + height), slice(int(left), int(left) + width)


def _pair(row: Mapping[str, Any], source: bytes) -> list[Panel]:
    """Two labelled panels of one image; none if EXIF turned it and the plain decoder does not."""
    lr = np.asarray(Image.open(io.BytesIO(source)).convert("RGB"))
    sr = np.asarray(Image.open(io.BytesIO(row["image"]["bytes"])).convert("RGB"))
    if (lr.shape[0] * 2, lr.shape[1] * 2) != sr.shape[:2]:
        return []
    bicubic = resampling.to_uint8(resampling.bicubic(lr, *sr.shape[:2]))
    block = max_detail_block(bicubic, BLOCK_PX)
    name = row["uri"].rpartition("/")[2]
    return [
        Panel(f"{name}: {label}", pixels[block].repeat(ZOOM, 0).repeat(ZOOM, 1))
        for label, pixels in (("bicubic", bicubic), ("ours", sr))
    ]


def _in_rows(panels: Sequence[Panel], per_row: int) -> Iterator[Row]:
    for start in range(0, len(panels), per_row):
        yield Row("", list(panels[start : start + per_row]))
