r"""How many ruined results the gate catches, and how many good ones it loses.

    python -m benchmarks.gate IMAGES [--model rdn-small --model rdn-product] [--half even]
        [--cache FOLDER] [--json FILE] [--csv FILE] [--source_quality 30]

Upscales the images of a folder, ruins each result in every way of `RUINS`, and asks the gate
about the good and the ruined. The images are counted from 0 in the order of their names: the
gate's limits were chosen on the odd ones; `--half even`, the default, reports on the others. The
cache keeps the results of the networks between runs. `--csv` gets one line for each judged result
with all its measures: thresholds can be tried on it without computing anything again.
"""

import argparse
import csv
import dataclasses
import hashlib
import io
import json
import sys
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter

from model.data import degradation
from model.data.hr_sources import find_images
from model.imaging import resampling
from model.imaging.decode import assumed_quality, decode
from model.inference.measured import UpscaledImage, upscale_with_self_test
from model.inference.upscaler import Upscaler
from model.metrics import quality
from model.metrics.quality import Measures
from model.network import loading, presets
from pipeline.settings import RESULT_VERSION
from pipeline.upscale import quality_gate

_MAX_PIXELS = 40_000_000
# The good results, in tables.
GOOD = "good"
_PERCENTILES = (0, 5, 50, 95, 100)


@dataclasses.dataclass(frozen=True, eq=False)
class Sample:
    """An image with its result, on its way to be ruined.

    Attributes:
        scale: of the network.
        sr: uint8 [H, W, 3], the result.
        other: uint8 [H, W, 3], the result of another image, resized.
        generator: the only source of randomness.
    """

    scale: int
    sr: np.ndarray
    other: np.ndarray
    generator: np.random.Generator


Ruin = Callable[[Sample], np.ndarray]
TileRuin = Callable[[Sample, slice, slice], np.ndarray]


def in_tile(ruin: TileRuin) -> Ruin:
    """Ruins a tile of 32 x 32 source pixels only, among the most textured parts of the image.

    Args:
        ruin: returns the tile's pixels from the sample, the tile's rows and its columns.
    """

    def ruin_tile(sample: Sample) -> np.ndarray:
        rows, columns = _textured_tile(sample, 32 * sample.scale)
        ruined = sample.sr.copy()
        ruined[rows, columns] = ruin(sample, rows, columns)
        return ruined

    return ruin_tile


def _textured_tile(sample: Sample, side: int) -> tuple[slice, slice]:
    """One at random of the quarter with the largest steps, of 64 at random."""
    height, width = sample.sr.shape[:2]
    side = min(side, height, width)
    steps = np.abs(np.diff(sample.sr.astype(np.int16), axis=1)).sum(axis=2)
    tops = sample.generator.integers(0, height - side + 1, 64)
    lefts = sample.generator.integers(0, width - side + 1, 64)
    texture = [
        steps[top : top + side, left : left + side].sum()
        for top, left in zip(tops, lefts, strict=True)
    ]
    k = sample.generator.choice(np.argsort(texture)[-16:])
    return slice(tops[k], tops[k] + side), slice(lefts[k], lefts[k] + side)


def shifted(px: int) -> Ruin:
    """All of the image moved right or down by result pixels."""
    return lambda s: np.roll(s.sr, px, axis=s.generator.integers(2))


def tile_shifted(px: int) -> Ruin:
    """A tile moved right or down by result pixels."""

    def ruin(s: Sample, rows: slice, columns: slice) -> np.ndarray:
        return np.roll(s.sr, px, axis=s.generator.integers(2))[rows, columns]

    return in_tile(ruin)


def tinted(share: float) -> Ruin:
    """One channel at random stronger or weaker by a share."""

    def ruin(s: Sample) -> np.ndarray:
        factors = np.ones(3)
        factors[s.generator.integers(3)] += s.generator.choice([-share, share])
        return resampling.to_uint8(s.sr * factors)

    return ruin


def noisy(sigma_levels: float) -> Ruin:
    """White noise on every channel."""
    return lambda s: resampling.to_uint8(degradation.add_noise(s.sr, sigma_levels, s.generator))


def coarsely_noisy(sigma_levels: float) -> Ruin:
    """Noise as smooth as if the source had had it."""

    def ruin(s: Sample) -> np.ndarray:
        height, width = s.sr.shape[:2]
        small = s.generator.normal(0, sigma_levels, (height // s.scale, width // s.scale, 3))
        return resampling.to_uint8(s.sr + resampling.bicubic(small, height, width))

    return ruin


def sharpened(radius_px: float, percent: int) -> Ruin:
    """Halos along every edge: an unsharp mask."""
    mask = ImageFilter.UnsharpMask(radius_px, percent, 0)
    return lambda s: np.asarray(Image.fromarray(s.sr).filter(mask))


def brighter(levels: int) -> Ruin:
    """All grey levels moved up, or down if negative."""
    return lambda s: resampling.to_uint8(s.sr.astype(np.int16) + levels)


def truncated(s: Sample) -> np.ndarray:
    """`astype(uint8)` instead of rounding: half of the values one level too low."""
    return resampling.to_uint8(s.sr.astype(np.int16) - s.generator.integers(0, 2, s.sr.shape))


def wrapped(s: Sample) -> np.ndarray:
    """Values above 255 begin at 0 again, as in a cast without clipping."""
    return s.sr + np.uint8(3)


def gamma(exponent: float) -> Ruin:
    """Mid-tones darker (above 1) or brighter."""
    return lambda s: resampling.to_uint8(255 * (s.sr / 255) ** exponent)


def contrast(factor: float) -> Ruin:
    """Around middle grey."""
    return lambda s: resampling.to_uint8((s.sr - 128.0) * factor + 128)


def saturation(factor: float) -> Ruin:
    """Colours stronger or paler; 0 leaves grey."""

    def ruin(s: Sample) -> np.ndarray:
        grey = s.sr.mean(axis=2, keepdims=True)
        return resampling.to_uint8(grey + (s.sr - grey) * factor)

    return ruin


def flat(level: int) -> Ruin:
    """Nothing but one grey level."""
    return lambda s: np.full_like(s.sr, level)


def _garbage(s: Sample) -> np.ndarray:
    return s.generator.integers(0, 256, s.sr.shape, dtype=np.uint8)


def _brighter_tile(s: Sample, rows: slice, columns: slice) -> np.ndarray:
    return resampling.to_uint8(s.sr[rows, columns].astype(np.int16) + 5)


RUINS: dict[str, Ruin] = {
    "another image": lambda s: s.other,
    "mirrored": lambda s: s.sr[:, ::-1],
    "moved by 1 px": shifted(1),
    "moved by 2 px": shifted(2),
    "tile moved by 1 px": tile_shifted(1),
    "tile moved by 2 px": tile_shifted(2),
    "tile moved by 4 px": tile_shifted(4),
    "tile of another image": in_tile(lambda s, rows, columns: s.other[rows, columns]),
    "tile black": in_tile(lambda _s, _rows, _columns: np.zeros((1, 1, 3), np.uint8)),
    "tile grey": in_tile(lambda _s, _rows, _columns: np.full((1, 1, 3), 128, np.uint8)),
    "tile brighter by 5": in_tile(_brighter_tile),
    "red and blue swapped": lambda s: s.sr[..., ::-1],
    "tinted by 2 %": tinted(0.02),
    "tinted by 5 %": tinted(0.05),
    "colours 10 % paler": saturation(0.9),
    "without colours": saturation(0),
    "noise, sigma 2": noisy(2),
    "noise, sigma 3": noisy(3),
    "noise, sigma 5": noisy(5),
    "noise, sigma 10": noisy(10),
    "coarse noise, sigma 5": coarsely_noisy(5),
    "sharpened, 1 px, 200 %": sharpened(1, 200),
    "sharpened, 2 px, 100 %": sharpened(2, 100),
    "sharpened, 2 px, 200 %": sharpened(2, 200),
    "blurred, sigma 1 px": lambda s: degradation.blur(s.sr, 1),
    "blurred, sigma 2 px": lambda s: degradation.blur(s.sr, 2),
    "JPEG of quality 10": lambda s: degradation.compress_jpeg(s.sr, 10),
    "black": flat(0),
    "grey": flat(128),
    "white": flat(255),
    "garbage": _garbage,
    "values wrapped around": wrapped,
    "truncated, not rounded": truncated,
    "darker by 1": brighter(-1),
    "darker by 2": brighter(-2),
    "gamma 0.95": gamma(0.95),
    "gamma 1.05": gamma(1.05),
    "contrast 0.95": contrast(0.95),
    "contrast 1.05": contrast(1.05),
    "contrast 1.2": contrast(1.2),
}


class Network:
    """A network whose results are kept in a folder.

    Args:
        name_or_path: what `--model` takes.
        cache: the folder; None keeps nothing.
    """

    def __init__(self, name_or_path: str, cache: Path | None) -> None:
        saved = presets.resolve(name_or_path)
        self.name = saved.name
        self._sha256 = saved.sha256
        self._upscaler = Upscaler(loading.load(saved))
        self.scale = self._upscaler.scale
        self._cache = cache

    def upscale(self, data: bytes) -> UpscaledImage:
        """Upscales an encoded image as the nightly job does, or takes it from the cache."""
        header, source = decode(data, max_pixels=_MAX_PIXELS)
        path = self._path(data)
        if path is not None and path.exists():
            with np.load(path) as kept:
                result = source.with_pixels(kept["rgb"], kept.get("alpha"))
                self_test = quality.self_test(source, self.scale)
                told = float(kept["told"]) if "told" in kept else None
                return UpscaledImage(
                    source, result, self.scale, self_test, kept.get("self_sr"), told
                )
        upscaled = upscale_with_self_test(
            self._upscaler, source, jpeg_quality=assumed_quality(header)
        )
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            result = upscaled.result
            kept = {"rgb": result.rgb, "alpha": result.alpha, "self_sr": upscaled.self_sr}
            kept["told"] = None if upscaled.sharpening is None else np.array(upscaled.sharpening)
            kept = {name: pixels for name, pixels in kept.items() if pixels is not None}
            np.savez(path, **kept)
        return upscaled

    def _path(self, data: bytes) -> Path | None:
        """Where the result of an image is kept."""
        if self._cache is None:
            return None
        folder = self._cache / f"{self._sha256[:16]}-{RESULT_VERSION}"
        return folder / f"{hashlib.sha256(data).hexdigest()[:16]}.npz"


@dataclasses.dataclass(frozen=True)
class Judged:
    """One result, good or ruined, and the gate's verdict.

    Attributes:
        model: the network that upscaled it.
        image: file name of the source.
        kind: `good`, or how it was ruined.
        rule: the rule that rejected it; None if it passed.
        measures: of it.
    """

    model: str
    image: str
    kind: str
    rule: str | None
    measures: Measures


def judge(network: Network, paths: list[Path], source_quality: int | None) -> Iterator[Judged]:
    """Asks the gate about the good result and all ruined ones of each image.

    Args:
        network: whose results.
        paths: the images.
        source_quality: JPEG quality at which the images are compressed first; None leaves
            them as they are.
    """
    images = [_read(path, source_quality) for path in (*paths, paths[0])]
    for path, data, next_data in zip(paths, images, images[1:], strict=False):
        good = network.upscale(data)
        limits = quality_gate.GateLimits().at_scale(good.scale)
        limits = limits.for_sharpening(good.sharpening)
        sr = good.result.rgb
        next_rgb = Image.fromarray(network.upscale(next_data).result.rgb)
        other = np.asarray(next_rgb.resize(sr.shape[1::-1]))
        for kind, ruin in {GOOD: None, **RUINS}.items():
            seed = zlib.crc32(f"{path.name} {kind}".encode())
            sample = Sample(network.scale, sr, other, np.random.default_rng(seed))
            rgb = np.ascontiguousarray(sr if ruin is None else ruin(sample))
            replaced = dataclasses.replace(good.result, rgb=rgb)
            measures = dataclasses.replace(good, result=replaced).measure()
            rejection = quality_gate.failed_rule(measures, limits)
            rule = None if rejection is None else rejection.rule
            yield Judged(network.name, path.name, kind, rule, measures)


def _read(path: Path, source_quality: int | None) -> bytes:
    """An image's file, compressed once more if asked for."""
    data = path.read_bytes()
    if source_quality is None:
        return data
    _, image = decode(data, max_pixels=_MAX_PIXELS)
    buffer = io.BytesIO()
    Image.fromarray(image.over_white()).save(buffer, "JPEG", quality=source_quality)
    return buffer.getvalue()


def summarise(judged: list[Judged]) -> dict:
    """Counts by model and kind, and the measures of the good results.

    Returns:
        For each model `caught` (by kind: of, caught, by rule), and `good` (by measure: its
        percentiles where it is defined).
    """
    summary: dict = {}
    for model in dict.fromkeys(one.model for one in judged):
        of_model = [one for one in judged if one.model == model]
        caught = {}
        for kind in dict.fromkeys(one.kind for one in of_model):
            rules = [one.rule for one in of_model if one.kind == kind]
            by_rule = Counter(rule for rule in rules if rule is not None)
            caught[kind] = {"of": len(rules), "caught": by_rule.total(), "rules": dict(by_rule)}
        good = [one.measures for one in of_model if one.kind == GOOD]
        summary[model] = {"caught": caught, "good": _spread(good)}
    return summary


def _spread(measures: list[Measures]) -> dict[str, list[float]]:
    """Percentiles of each measure, see `_PERCENTILES`."""
    spread = {}
    for field in dataclasses.fields(Measures):
        values = [getattr(one, field.name) for one in measures]
        defined = [value for value in values if value is not None]
        if defined:
            percentiles = np.percentile(defined, _PERCENTILES)
            spread[field.name] = [round(float(value), 4) for value in percentiles]
    return spread


def print_tables(summary: dict) -> None:
    """Prints what is caught by which rule, and the spread of the good results' measures."""
    kinds = list(next(iter(summary.values()))["caught"])
    print(f"{'caught':26}" + "".join(f"{model:>16}" for model in summary) + "   by rule")
    for kind in kinds:
        cells, rules = "", Counter[str]()
        for figures in summary.values():
            count = figures["caught"][kind]
            cells += f"{count['caught']:>11}/{count['of']:<4}"
            rules.update(count["rules"])
        by_rule = ", ".join(f"{rule} {count}" for rule, count in rules.most_common())
        print(f"{kind:26}{cells}   {by_rule}")
    for model, figures in summary.items():
        percentiles = "".join(f"{percent:>7} %" for percent in _PERCENTILES)
        print(f"\n{f'good results of {model}':32}{percentiles}")
        for name, values in figures["good"].items():
            print(f"{name:32}" + "".join(f"{value:>9.3g}" for value in values))


def main(argv: list[str] | None = None) -> int:
    """Command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gate")
    parser.add_argument("images", type=Path, help="a folder")
    parser.add_argument("--model", action="append", help="default: the two that fit a CPU")
    parser.add_argument("--half", choices=["even", "odd", "all"], default="even")
    parser.add_argument("--source_quality", type=int, help="compress the sources first")
    parser.add_argument("--cache", type=Path, metavar="FOLDER")
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--csv", type=Path, metavar="FILE")
    arguments = parser.parse_args(argv)
    half = {"even": slice(0, None, 2), "odd": slice(1, None, 2), "all": slice(None)}
    paths = find_images(arguments.images)[half[arguments.half]]
    judged: list[Judged] = []
    for name in arguments.model or presets.ON_A_CPU:
        network = Network(name, arguments.cache)
        judged += judge(network, paths, arguments.source_quality)
    summary = summarise(judged)
    print_tables(summary)
    if arguments.json:
        arguments.json.write_text(json.dumps(summary, indent=2) + "\n")
    if arguments.csv:
        _write_csv(arguments.csv, judged)
    return 0


def _write_csv(path: Path, judged: list[Judged]) -> None:
    """One line for each judged result."""
    names = [field.name for field in dataclasses.fields(Measures)]
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["model", "image", "kind", "rule", *names])
        for one in judged:
            values = dataclasses.astuple(one.measures)
            writer.writerow([one.model, one.image, one.kind, one.rule, *values])


if __name__ == "__main__":
    sys.exit(main())
