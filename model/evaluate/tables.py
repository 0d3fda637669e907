"""Scores of an evaluation as text, JSON and CSV."""

import csv
import dataclasses
import json
import math
from pathlib import Path
from typing import Any

from model.evaluate import scoring
from model.evaluate.scoring import AGAINST, BICUBIC, OURS, Score


def as_record(score: Score) -> dict[str, str | float]:
    """Flattens the score of one image.

    Args:
        score: of one image, or the mean.

    Returns:
        `name`, then our figures without a prefix (`psnr_y_db`, ...), then those of the other
        methods with theirs (`bicubic_psnr_y_db`, ...).
    """
    record: dict[str, str | float] = {"name": score.name}
    for method in sorted(score.figures, key=lambda method: method != OURS):  # ours first
        prefix = "" if method == OURS else f"{method}_"
        for field, value in dataclasses.asdict(score.figures[method]).items():
            record[prefix + field] = value
    return record


def as_json(scores: list[Score], settings: dict[str, Any]) -> str:
    """Formats the settings, the mean and every image as strict JSON.

    Args:
        scores: of the images, at least one.
        settings: the first keys of the JSON object, with values that JSON can hold.

    Returns:
        JSON text; a figure that is not finite is null.
    """

    def strict(score: Score) -> dict[str, str | float | None]:
        return {
            key: None if isinstance(value, float) and not math.isfinite(value) else value
            for key, value in as_record(score).items()
        }

    content = {
        **settings,
        "images_in_mean_psnr": sum(one.is_finite for one in scores),
        "images_in_mean_psnr_c": sum(one.has_color_error for one in scores),
        "images_in_mean_noise": sum(one.has_background for one in scores),
        "mean": strict(scoring.mean(scores)),
        "images": [strict(one) for one in scores],
    }
    return json.dumps(content, indent=2, allow_nan=False) + "\n"


def write_csv(path: Path, scores: list[Score]) -> None:
    """Writes one line per image. The mean has no line: readers would take it for an image.

    Args:
        path: the file to write.
        scores: of the images, at least one.

    Raises:
        OSError: if the file cannot be written.
    """
    records = [as_record(one) for one in scores]
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, records[0], lineterminator="\n")
        writer.writeheader()
        for record in records:
            writer.writerow(
                {
                    key: "" if isinstance(value, float) and math.isnan(value) else value
                    for key, value in record.items()
                }
            )


def as_text(scores: list[Score]) -> str:
    """Formats a table for people: one line per image, the mean, and what the mean leaves out.

    Args:
        scores: of the images, at least one.

    Returns:
        Lines without a newline at the end.
    """
    mean = scoring.mean(scores)
    methods = list(mean.figures)
    gains = [("gain", BICUBIC)] + ([("gain 2", AGAINST)] if AGAINST in methods else [])
    groups = [
        ("PSNR-Y, dB", [*methods, *(title for title, _ in gains)]),
        ("SSIM-Y", methods),
        ("background noise", methods),
        ("PSNR-C, dB", methods),
    ]
    name_width = max(len(one.name) for one in [*scores, mean])
    lines = [
        " " * name_width
        + "".join(f"    {title:<{9 * len(columns) - 2}}" for title, columns in groups).rstrip(),
        " " * name_width + _cells([columns for _, columns in groups]),
    ]
    for one in [*scores, mean]:
        figures = one.figures.values()
        cells = [
            [_cell(each.psnr_y_db, ".2f") for each in figures]
            + [_cell(one.gain_db(over), "+.2f") for _, over in gains],
            [_cell(each.ssim_y, ".4f") for each in figures],
            [_cell(each.background_noise, ".2f") for each in figures],
            [_cell(each.psnr_c_db, ".2f") for each in figures],
        ]
        lines.append(f"{one.name:{name_width}}{_cells(cells)}")
    lines.append("gain: ours over bicubic" + (", gain 2: over against" if gains[1:] else ""))
    return "\n".join([*lines, *_left_out(scores)])


def _cells(groups: list[list[str]]) -> str:
    """One line of the table after its name."""
    return "".join("  " + "".join(f"{cell:>9}" for cell in group) for group in groups)


def _cell(value: float, spec: str) -> str:
    """A figure for the table."""
    return "-" if math.isnan(value) else format(value, spec)


def _left_out(scores: list[Score]) -> list[str]:
    """Notes on images that have no part in a mean."""
    notes = []
    exact = sum(not one.is_finite for one in scores)
    if exact:
        images = "image" if exact == 1 else "images"
        notes.append(f"mean PSNR-Y without {exact} {images} on which a method is exact")
    flat = sum(one.has_background for one in scores)
    if flat < len(scores):
        notes.append(
            f"background noise: mean over {flat} of {len(scores)} images, "
            "the others have no flat background"
        )
    grey = [one.name for one in scores if not one.has_color_error]
    if grey:
        images = "image" if len(grey) == 1 else "images"
        notes.append(
            f"mean PSNR-C without {len(grey)} {images} on which a method's chroma is exact, as of "
            f"grey ones: {', '.join(grey[:5])}{', ...' if len(grey) > 5 else ''}"
        )
    return notes
