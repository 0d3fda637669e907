"""Estimates the cost of a run: probes and counts all images, upscales a few for the rate.

The catalog takes the same steps as in a run, up to the size filter, so the counts are the run's.
"""

import heapq
import json
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import pyarrow as pa

from model.files import RangedFile
from model.inference.errors import OutOfMemoryError
from pipeline import text
from pipeline.records import Job, RunError
from pipeline.runs import cost
from pipeline.runs.layout import Layout
from pipeline.settings import RunPlan, Settings
from pipeline.storage.base import Storage, StorageError
from pipeline.upscale.job_rows import JobRows
from pipeline.upscale.machine import count_cores, count_gpus
from pipeline.upscale.source import SourceReader

if TYPE_CHECKING:  # it imports TensorFlow
    from pipeline.upscale.upscaling import ImageUpscaler

TO_UPSCALE = "to_upscale"
_SAMPLE = 12
# Enough for a rate within about a tenth; at least two images are upscaled.
_CALIBRATE_S = 20.0


class Pixels(NamedTuple):
    """Pixels of images at the stages that cost; a target size gives each image its own ratio.

    Attributes:
        source, network, result: before upscaling; input of all passes; of the published image.

    Example:
        >>> Pixels(source=10, network=10, result=40).plus(Pixels(1, 5, 16)).network
        15
    """

    source: int = 0
    network: int = 0
    result: int = 0

    @classmethod
    def of(cls, height: int, width: int, plan: RunPlan) -> "Pixels":
        """Of one image with this source."""
        enlargement = plan.settings.target.plan(height, width, plan.network_scale)
        source = height * width
        inputs = (source * plan.network_scale ** (2 * i) for i in range(enlargement.passes))
        return cls(source, sum(inputs), enlargement.height * enlargement.width)

    def plus(self, other: "Pixels") -> "Pixels":
        """The sum."""
        return Pixels(*(a + b for a, b in zip(self, other, strict=True)))


@dataclass(frozen=True)
class ProbedJob:
    """The outcome that a run would have for a job. Crosses a shuffle.

    Attributes:
        verdicts: (status, reason) of each of its URIs; `TO_UPSCALE` is a status here.
        pixels: of the image to upscale; 0 if there is none.
        requests: to read the source.
        job: for the sample, if there is something to upscale.

    Example:
        probed = probe(reader, job)
        probed.uris  # each with its verdict
    """

    verdicts: tuple[tuple[str, str | None], ...]
    pixels: Pixels
    requests: int
    job: Job | None

    @property
    def uris(self) -> int:
        """Number of the job's URIs."""
        return len(self.verdicts)


@dataclass(frozen=True)
class Counted:
    """The whole catalog, or a part of it.

    Attributes:
        verdicts: URIs by (status, reason).
        images: to upscale; several URIs may share one.
        pixels: of these.
        requests: GETs for images.
        sample: a few jobs to upscale, chosen by content key: the same in each dry run.

    Example:
        >>> add_up([ProbedJob((("failed", "not_found"),), Pixels(), 1, None)]).requests
        1
    """

    verdicts: Counter[tuple[str, str | None]]
    images: int
    pixels: Pixels
    requests: int
    sample: list[Job]


class Rate(NamedTuple):
    """Time and size of a few of the catalog's images that were upscaled on this machine.

    Attributes:
        images: their number.
        pixels: of all of them.
        seconds: network, measures and encoding.
        result_bytes: of the encoded images.

    Example:
        >>> Rate(images=3, pixels=Pixels(600, 600, 2400), seconds=2.0, result_bytes=90_000).images
        3
    """

    images: int
    pixels: Pixels
    seconds: float
    result_bytes: int


def probe(reader: SourceReader, job: Job, plan: RunPlan) -> ProbedJob:
    """Reads the header of a job's source, as the run would.

    Args:
        reader: of sources.
        job: with at least one URI.
        plan: of the run.
    """
    rows = JobRows(job)
    source = reader.probe(rows)
    verdicts = [(str(row.status), row.reason) for row in rows.finished]
    asked = len(verdicts)
    if source is None:
        return ProbedJob(tuple(verdicts), Pixels(), asked, None)
    verdicts += [(TO_UPSCALE, None)] * (len(rows.waiting) + rows.set_aside)
    asked += 1 if source.size_bytes <= RangedFile.BLOCK_BYTES else 2
    pixels = Pixels.of(source.header.height, source.header.width, plan)
    return ProbedJob(tuple(verdicts), pixels, asked, job)


def of_rows(rows: pa.RecordBatch) -> Counted:
    """Counts rows that are finished before their images were read, such as reused ones."""
    pairs = pa.table({"status": rows["status"], "reason": rows["reason"]})
    groups = pairs.group_by(["status", "reason"]).aggregate([([], "count_all")]).to_pylist()
    verdicts = {(one["status"], one["reason"]): one["count_all"] for one in groups}
    return Counted(Counter(verdicts), 0, Pixels(), 0, [])


def add_up(parts: Iterable[Any]) -> Counted:
    """Adds up parts of the catalog: `ProbedJob`, and sums of them, which are `Counted`."""
    verdicts: Counter[tuple[str, str | None]] = Counter()
    images = requests = 0
    pixels = Pixels()
    sample: list[Job] = []
    for part in parts:
        if isinstance(part, ProbedJob):
            verdicts.update(part.verdicts)
            if part.job is not None:
                images += 1
                sample.append(part.job)
        else:
            verdicts.update(part.verdicts)
            images += part.images
            sample += part.sample
        pixels = pixels.plus(part.pixels)
        requests += part.requests
        if len(sample) > 10 * _SAMPLE:
            sample = _chosen(sample)
    return Counted(verdicts, images, pixels, requests, _chosen(sample))


def _chosen(jobs: list[Job]) -> list[Job]:
    return heapq.nsmallest(_SAMPLE, jobs, key=lambda job: str(job.content_key))


def calibrate(
    reader: SourceReader, upscaler: "ImageUpscaler", jobs: Iterable[Job], plan: RunPlan
) -> Rate | None:
    """Upscales images for some seconds, one after the other, and keeps none of them.

    Args:
        reader: of sources.
        upscaler: in this process.
        jobs: the sample.
        plan: of the run.

    Returns:
        The rate; None if no image could be read.
    """
    rate, is_warm = Rate(0, Pixels(), 0.0, 0), False
    for job in jobs:
        decoded = reader.read(JobRows(job))
        if decoded is None:
            continue
        try:
            if not is_warm:
                upscaler.upscale(decoded, keep_result=False)  # pays for TensorFlow's start
                is_warm = True
            started = time.perf_counter()
            upscaled = upscaler.upscale(decoded, keep_result=False)
        except OutOfMemoryError:
            continue
        rate = Rate(
            rate.images + 1,
            rate.pixels.plus(Pixels.of(decoded.image.height, decoded.image.width, plan)),
            rate.seconds + time.perf_counter() - started,
            rate.result_bytes + len(upscaled.encoded.data),
        )
        if rate.images >= 2 and rate.seconds > _CALIBRATE_S:
            break
    return rate if rate.images else None


def write(
    files: Storage, settings: Settings, counted: Counted, rate: Rate | None
) -> dict[str, Any]:
    """Writes `estimate.json` into the run's folder.

    Args:
        files: where the run would write.
        settings: of the run.
        counted: the catalog.
        rate: measured here; None if there is no image to upscale, or none can be read.

    Returns:
        The content of estimate.json: counts; `expected` hours and bytes, None without a rate, and
        requests; `calibration`, the measurement behind them.

    Raises:
        RunError: if it cannot be written.
    """
    uris = counted.verdicts.total()
    by_status: Counter[str] = Counter()
    by_reason: Counter[str] = Counter()
    for (status, reason), count in counted.verdicts.items():
        by_status[status] += count
        if reason is not None:
            by_reason[reason] += count
    seconds_per_pixel = rate.seconds / rate.pixels.network if rate else None
    bytes_per_pixel = rate.result_bytes / rate.pixels.result if rate else None
    hours = _times(counted.pixels.network, seconds_per_pixel, 3600, 6)
    core_hours = None if hours is None else round(hours * count_cores(), 6)
    gpu_hours = None if hours is None else hours * min(1, count_gpus())
    requests = cost.count_requests(
        settings, images=counted.images, gets=counted.requests, uris=uris
    )
    estimate = {
        "run_id": settings.run_id,
        "uris": uris,
        "by_status": dict(by_status),
        "by_reason": dict(by_reason),
        "pictures_to_magnify": counted.images,
        "megapixels_to_magnify": round(counted.pixels.source / 1e6, 3),
        "expected": {
            "hours": hours,
            "core_hours": core_hours,
            "gpu_hours": gpu_hours,
            "gigabytes_of_pictures": _times(counted.pixels.result, bytes_per_pixel, 1e9, 6),
            "s3_requests": requests,
            "cost": cost.cost_of(
                settings, core_hours=core_hours, gpu_hours=gpu_hours, requests=requests
            ),
        },
        "calibration": rate
        and {
            "images": rate.images,
            "seconds": round(rate.seconds, 2),
            "megapixels_per_second": round(rate.pixels.source / rate.seconds / 1e6, 4),
            "processes": 1,
            "cores": count_cores(),
            "gpus": count_gpus(),
            "model": settings.model,
        },
    }
    uri = Layout.of(settings).estimate
    try:
        files.write(uri, (json.dumps(estimate, indent=2) + "\n").encode())
    except StorageError as error:
        raise RunError(f"cannot write {uri}: {error.detail}") from error
    return estimate


def read(files: Storage, settings: Settings) -> dict[str, Any]:
    """Reads the run's `estimate.json`; see `write`.

    Raises:
        RunError: if it cannot be read.
    """
    uri = Layout.of(settings).estimate
    try:
        return json.loads(files.read(uri))
    except StorageError as error:
        raise RunError(f"cannot read {uri}: {error.detail}") from error


def _times(pixels: int, per_pixel: float | None, unit: float, digits: int) -> float | None:
    if pixels == 0:
        return 0.0
    return None if per_pixel is None else round(pixels * per_pixel / unit, digits)


def describe(estimate: dict[str, Any], settings: Settings) -> str:
    """Describes an estimate in a few lines for people."""
    expected, calibration = estimate["expected"], estimate["calibration"]
    lines = [
        f"dry run: {text.count(estimate['uris'], 'image')}: "
        + ", ".join(
            f"{count} {status.replace('_', ' ')}"
            for status, count in estimate["by_status"].items()
        ),
        *(f"  {count:>7} {reason}" for reason, count in estimate["by_reason"].items()),
        f"{text.count(estimate['pictures_to_magnify'], 'different image')} to upscale, "
        f"{estimate['megapixels_to_magnify']:,.2f} megapixels",
    ]
    if calibration:
        lines += [
            f"expected: {text.duration(3600 * expected['hours'])}, "
            f"{expected['core_hours']:.3g} core hours, "
            + (f"{expected['gpu_hours']:.3g} GPU hours, " if calibration["gpus"] else "")
            + f"{text.size(1e9 * expected['gigabytes_of_pictures'])} of images",
            f"  measured on {calibration['images']} of them with one process on "
            f"{text.count(calibration['cores'], 'core')} of this machine: "
            f"{calibration['megapixels_per_second']:.2f} megapixels a second",
        ]
    elif estimate["pictures_to_magnify"]:
        lines.append("expected: unknown, none of the images tried could be decoded")
    asked = ", ".join(
        f"{count:,} {kind.replace('_', '/')}"
        for kind, count in expected["s3_requests"].items()
        if count
    )
    if asked:
        lines.append(f"S3 requests, about: {asked}")
    if expected["cost"] is not None:
        lines.append(cost.describe(expected["cost"]))
    lines.append(f"estimate: {Layout.of(settings).estimate}")
    return "\n".join(lines)
