"""Feeds a training run with batches of patches, made ahead by threads or processes."""

import contextlib
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from model.data.hr_sources import note_too_small
from model.data.patches import TRIES, Cutter, Group
from model.data.processes import forked

# How often an image that is too small is drawn again.
_SMALL_IMAGE_TRIES = 100


@dataclass(frozen=True)
class Batch:
    """Patches for one step.

    Attributes:
        lr: float32 [N, P, P, 3], 0..1.
        hr: float32 [N, P * scale, P * scale, 3], 0..1, clean.
        quality: int [N], JPEG quality on which the network is conditioned for each LR patch;
            100 for clean ones.
        sharpening: float [N], log2, on which it is conditioned; not a number where it is unknown.

    Example:
        batch = feed.batch(step=0)
        batch.lr.shape, batch.hr.shape  # (16, 32, 32, 3), (16, 64, 64, 3)
    """

    lr: np.ndarray
    hr: np.ndarray
    quality: np.ndarray
    sharpening: np.ndarray


@dataclass(frozen=True)
class Feed:
    """Makes the batch of any step, from (seed, step) alone: a resumed run repeats none.

    Attributes:
        groups: what to draw from; the shares sum to 1.
        cutter: how to cut.
        batch_size: N.
        images_per_batch: N random images give one patch each, or 1 gives all N.
        min_variation: least variation of a patch at a step, grey levels.
        seed: of the run.

    Example:
        feed = Feed(groups, cutter, 16, 16, min_variation=lambda step: 3.0, seed=1)
        feed.batch(step=0).hr.shape  # (16, 64, 64, 3)
    """

    groups: Sequence[Group]
    cutter: Cutter
    batch_size: int
    images_per_batch: int
    min_variation: Callable[[int], float]
    seed: int

    def batch(self, step: int) -> Batch:
        """Reads images, cuts, degrades and stacks.

        Raises:
            OSError: if an image cannot be read.
            ValueError: if hardly any image is large enough.
        """
        return _as_batch(self.stacks(step))

    def stacks(self, step: int) -> tuple[np.ndarray, ...]:
        """What a batch is made of, in a quarter of its memory.

        Returns:
            LR uint8 [N, P, P, 3], HR uint8 [N, P * scale, P * scale, 3], quality int [N],
            sharpening float [N].

        Raises:
            OSError, ValueError: see `batch`.
        """
        generator = np.random.default_rng([self.seed, step])
        lowest = self.min_variation(step)
        patches_each = self.batch_size // self.images_per_batch
        patches = []
        for _ in range(self.images_per_batch):
            hr = self._varied_image(generator, lowest)
            for _ in range(patches_each):
                region = self.cutter.region(hr, lowest, generator)
                patches.append(self.cutter.pair(region, generator))
        lr, hr, quality, sharpening = zip(*patches, strict=True)
        return np.stack(lr), np.stack(hr), np.array(quality), np.array(sharpening)

    @contextlib.contextmanager
    def feeders(self, processes: int = 0) -> Iterator["Feeders"]:
        """Starts what makes batches ahead.

        Args:
            processes: how many processes, see `forked`; 0 for two threads, enough for a network
                on the same CPU.

        Raises:
            ValueError: if `processes` is negative.
            OSError: within the block, if a process is killed.
        """
        if processes:
            with forked(processes, _adopt, self) as pool:
                yield Feeders(pool, _adopted_stacks, ahead=3 * processes)
            return
        threads = ThreadPoolExecutor(2, "feed")
        try:
            yield Feeders(threads, self.stacks, ahead=6)
        finally:
            threads.shutdown(wait=False, cancel_futures=True)

    def _varied_image(self, generator: np.random.Generator, min_variation: float) -> np.ndarray:
        """A random image; of a grid, where an image is one patch, another while it is too flat."""
        for _ in range(TRIES):
            hr = self._image(generator)
            if not self.cutter.is_flat_throughout(hr, min_variation):
                break
        return hr

    def _image(self, generator: np.random.Generator) -> np.ndarray:
        """A random image that is large enough."""
        shares = [group.share for group in self.groups]
        for _ in range(_SMALL_IMAGE_TRIES):
            group = self.groups[int(generator.choice(len(self.groups), p=shares))]
            image = group.images[int(generator.integers(len(group.images)))]
            hr = image.read()
            if min(hr.shape[:2]) >= self.cutter.region_px:
                return hr
            note_too_small(image.name, hr, self.cutter.region_px)
        raise ValueError(
            f"hardly any training image has the {self.cutter.region_px} x "
            f"{self.cutter.region_px} pixels that a patch with its margins needs"
        )


@dataclass(frozen=True)
class Feeders:
    """Threads or processes that make the batches of a `Feed`.

    Example:
        with feed.feeders(processes=8) as feeders:
            for batch in feeders.batches(range(1000)):
                train_on(batch)
    """

    pool: Executor
    make: Callable[[int], tuple[np.ndarray, ...]]
    ahead: int

    def batches(self, steps: range) -> Iterator[Batch]:
        """Yields the batches of some steps in order; they do not depend on how they are made.

        Raises:
            OSError, ValueError: see `Feed.batch`.
        """
        waiting: deque[Future] = deque()
        for step in steps:
            waiting.append(self.pool.submit(self.make, step))
            if len(waiting) > self.ahead:
                yield _as_batch(waiting.popleft().result())
        while waiting:
            yield _as_batch(waiting.popleft().result())


# In a process of `Feed.feeders`: the feed that it makes batches of.
_adopted: list[Feed] = []


def _adopt(feed: Feed) -> None:
    """Tells a process its feed."""
    _adopted.append(feed)


def _adopted_stacks(step: int) -> tuple[np.ndarray, ...]:
    """See `Feed.stacks`."""
    return _adopted[0].stacks(step)


def _as_batch(stacks: tuple[np.ndarray, ...]) -> Batch:
    """Grey levels as 0..1."""
    lr, hr, quality, sharpening = stacks
    return Batch(_as_unit(lr), _as_unit(hr), quality, sharpening)


def _as_unit(patches: np.ndarray) -> np.ndarray:
    """uint8 to float32 in 0..1."""
    return patches.astype(np.float32) / np.float32(255)
