"""Measures a network on pairs of LR and HR pictures by the standard protocol.

    python -m model.evaluate --pairs Set5 [--model rdn-small] [--json FILE]

Pairs are files `NAME_LR.png` and `NAME_HR.png` (`*LR.*` beside `*HR.*`). PSNR and SSIM on BT.601
luma of the result rounded to uint8, borders of `scale` pixels cut, bicubic beside it.
"""

import argparse
import dataclasses
import json
import sys
from pathlib import Path

import numpy as np

from model import degrade, metrics, presets
from model.inference import Magnifier
from model.patches import find_pictures, read_rgb


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


def score(name: str, lr: np.ndarray, hr: np.ndarray, magnifier: Magnifier) -> Score:
    """Measures one pair.

    Args:
        name: for the table.
        lr: uint8 [H, W, 3].
        hr: uint8, at least [H * scale, W * scale, 3]; what is beyond that is cut off.
        magnifier: of any scale.

    Raises:
        ValueError: if `hr` is smaller than `scale` times `lr`.
    """
    s = magnifier.scale
    height, width = lr.shape[0] * s, lr.shape[1] * s
    if hr.shape[0] < height or hr.shape[1] < width:
        raise ValueError(
            f"{name}: HR must be {s} times LR. Received: LR {lr.shape[:2]}, HR {hr.shape[:2]}"
        )
    hr = hr[:height, :width]
    sr = magnifier.magnify_rgb(lr)
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
    parser.add_argument("--pairs", required=True, type=Path, metavar="DIR")
    parser.add_argument("--model", default=presets.DEFAULT, help="a shipped name or a .keras file")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    arguments = parser.parse_args(argv)
    try:
        pairs = find_pairs(arguments.pairs)
        rdn = presets.load_by_name(arguments.model)
        magnifier = Magnifier(rdn)
        scores = [score(name, read_rgb(lr), read_rgb(hr), magnifier) for name, lr, hr in pairs]
    except (OSError, ValueError) as error:
        print(f"model.evaluate: {error}", file=sys.stderr)
        return 1
    scores.append(mean(scores))
    print(f"{arguments.model}, x{rdn.scale}, {rdn.count_params()} parameters, {arguments.pairs}")
    print(_table(scores))
    if arguments.json:
        content = {
            "model": arguments.model,
            "pairs": str(arguments.pairs),
            "scale": rdn.scale,
            "mean": dataclasses.asdict(scores[-1]),
            "pictures": [dataclasses.asdict(one) for one in scores[:-1]],
        }
        arguments.json.write_text(json.dumps(content, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
