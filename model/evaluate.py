"""Measures a network on pairs of LR and HR pictures by the standard protocol.

    python -m model.evaluate --pairs Set5 [--model rdn-small] [--json FILE]
    python -m model.evaluate --hr pictures --shrink_first 2 --jpeg_quality 75 --sheet sheet.png

Pairs are files `NAME_LR.png` and `NAME_HR.png` (`*LR.*` beside `*HR.*`). With `--hr` LR is made
from each picture by anti-aliased bicubic, and compressed if asked for. PSNR and SSIM on BT.601
luma of the result rounded to uint8, borders of `scale` pixels cut, bicubic beside it.
"""

import argparse
import dataclasses
import itertools
import json
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from model import degrade, metrics, presets
from model.inference import Magnifier
from model.patches import Pair, find_pictures, make_pairs, read_rgb

_SHEET_ROWS = 8


@dataclasses.dataclass(frozen=True)
class Score:
    """Figures of one pair, or the mean of several."""

    name: str
    psnr_y_db: float
    bicubic_psnr_y_db: float
    ssim_y: float
    bicubic_ssim_y: float


def find_pairs(folder: Path) -> list[tuple[str, Path, Path]]:
    """Lists (name, LR file, HR file) of a folder, sorted by name.

    Raises:
        FileNotFoundError: if the folder is missing, holds no pair, or an LR has no HR.
    """
    files = {path.name: path for path in find_pictures(folder)}
    pairs = []
    for lr in files.values():
        if lr.stem.endswith("LR"):
            hr_name = lr.stem[:-2] + "HR" + lr.suffix
            if hr_name not in files:
                raise FileNotFoundError(f"{lr} has no {hr_name} beside it")
            pairs.append((lr.stem[:-2].rstrip("_"), lr, files[hr_name]))
    if not pairs:
        raise FileNotFoundError(f"no pairs *LR.png and *HR.png in {folder}")
    return pairs


def read_pairs(folder: Path) -> Iterator[Pair]:
    """Reads the pairs of `find_pairs`."""
    for name, lr, hr in find_pairs(folder):
        yield Pair(name, read_rgb(lr), read_rgb(hr))


def compressed(pairs: Iterable[Pair], jpeg_quality: int) -> Iterator[Pair]:
    """Compresses the LR pictures; 100 leaves them as they are."""
    for pair in pairs:
        if jpeg_quality < 100:
            lr = degrade.compress_jpeg(pair.lr, jpeg_quality)
            pair = dataclasses.replace(pair, lr=lr)  # noqa: PLW2901
        yield pair


def score(pair: Pair, magnifier: Magnifier, *, jpeg_quality: int = 100) -> Score:
    """Measures one pair.

    Args:
        pair: HR at least `scale` times LR; what is beyond that is cut off.
        magnifier: of any scale.
        jpeg_quality: with which the LR picture was compressed, 100 if it was not.

    Raises:
        ValueError: if HR is smaller than `scale` times LR.
    """
    name, lr, hr, s = pair.name, pair.lr, pair.hr, magnifier.scale
    height, width = lr.shape[0] * s, lr.shape[1] * s
    if hr.shape[0] < height or hr.shape[1] < width:
        raise ValueError(
            f"{name}: HR must be {s} times LR. Received: LR {lr.shape[:2]}, HR {hr.shape[:2]}"
        )
    hr = hr[:height, :width]
    sr = magnifier.magnify_rgb(lr, jpeg_quality=jpeg_quality)
    bicubic = degrade.to_uint8(degrade.bicubic(lr, height, width))
    return Score(
        name,
        metrics.psnr_y(hr, sr, border=s),
        metrics.psnr_y(hr, bicubic, border=s),
        metrics.ssim_y(hr, sr, border=s),
        metrics.ssim_y(hr, bicubic, border=s),
    )


def mean(scores: list[Score]) -> Score:
    """The mean over pictures, as papers report it."""
    columns = [dataclasses.astuple(one)[1:] for one in scores]
    return Score("mean", *(float(value) for value in np.mean(columns, axis=0)))


def sheet(
    pairs: Iterable[Pair], magnifier: Magnifier, *, jpeg_quality: int = 100, side: int = 240
) -> np.ndarray:
    """Lays centres of pictures side by side: LR enlarged plainly, bicubic, the network's, HR.

    Args:
        pairs: one row of the sheet each.
        magnifier: the network.
        jpeg_quality: see `score`.
        side: of each crop, HR pixels.

    Returns:
        uint8 [rows * side, 4 * side, 3].
    """
    s = magnifier.scale
    rows = []
    for pair in pairs:
        height, width = pair.lr.shape[0] * s, pair.lr.shape[1] * s
        versions = (
            pair.lr.repeat(s, axis=0).repeat(s, axis=1),
            degrade.to_uint8(degrade.bicubic(pair.lr, height, width)),
            magnifier.magnify_rgb(pair.lr, jpeg_quality=jpeg_quality),
            pair.hr[:height, :width],
        )
        top, left = max(0, (height - side) // 2), max(0, (width - side) // 2)
        crops = np.full((side, 4 * side, 3), 255, np.uint8)
        for i, version in enumerate(versions):
            crop = version[top : top + side, left : left + side]
            crops[: crop.shape[0], i * side : i * side + crop.shape[1]] = crop
        rows.append(crops)
    return np.vstack(rows)


def _table(scores: list[Score]) -> str:
    """One line a picture."""
    width = max(len(one.name) for one in scores)
    lines = [f"{'':{width}}   PSNR-Y  bicubic    gain    SSIM  bicubic"]
    lines += [
        f"{one.name:{width}}  {one.psnr_y_db:7.2f}  {one.bicubic_psnr_y_db:7.2f}"
        f"  {one.psnr_y_db - one.bicubic_psnr_y_db:+6.2f}"
        f"  {one.ssim_y:.4f}   {one.bicubic_ssim_y:.4f}"
        for one in scores
    ]
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> int:
    """Command line; returns the exit status: 0 done, 1 cannot evaluate."""
    parser = argparse.ArgumentParser(
        prog="python -m model.evaluate", description=(__doc__ or "").partition("\n")[0]
    )
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--pairs", type=Path, metavar="DIR", help="files *LR.png and *HR.png")
    source.add_argument("--hr", type=Path, metavar="DIR", help="HR pictures; LR is made of them")
    parser.add_argument(
        "--shrink_first", type=int, default=1, help="shrink HR pictures by this before their use"
    )
    parser.add_argument("--jpeg_quality", type=int, default=100, help="compress LR, 1..99")
    parser.add_argument("--limit", type=int, default=None, help="use this many pictures")
    parser.add_argument("--model", default=presets.DEFAULT, help="a shipped name or a .keras file")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    parser.add_argument("--sheet", type=Path, metavar="FILE", help="LR | bicubic | network | HR")
    arguments = parser.parse_args(argv)
    quality = arguments.jpeg_quality
    try:
        rdn = presets.load_by_name(arguments.model)
        magnifier = Magnifier(rdn)
        found: Iterable[Pair] = (
            read_pairs(arguments.pairs)
            if arguments.pairs
            else make_pairs(
                arguments.hr, scale=rdn.scale, min_lr_side=16, shrink_first=arguments.shrink_first
            )
        )
        pairs = list(itertools.islice(compressed(found, quality), arguments.limit))
        scores = [score(pair, magnifier, jpeg_quality=quality) for pair in pairs]
    except (OSError, ValueError) as error:
        print(f"model.evaluate: {error}", file=sys.stderr)
        return 1
    scores.append(mean(scores))
    folder = arguments.pairs or arguments.hr
    print(f"{arguments.model}, x{rdn.scale}, {rdn.count_params()} parameters, {folder}")
    print(_table(scores))
    if arguments.json:
        content = {
            "model": arguments.model,
            "pictures_from": str(folder),
            "jpeg_quality": quality,
            "scale": rdn.scale,
            "mean": dataclasses.asdict(scores[-1]),
            "pictures": [dataclasses.asdict(one) for one in scores[:-1]],
        }
        arguments.json.write_text(json.dumps(content, indent=2) + "\n")
    if arguments.sheet:
        shown = pairs[:: max(1, len(pairs) // _SHEET_ROWS)][:_SHEET_ROWS]
        Image.fromarray(sheet(shown, magnifier, jpeg_quality=quality)).save(arguments.sheet)
    return 0


if __name__ == "__main__":
    sys.exit(main())
