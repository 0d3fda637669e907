"""Trains an RDN on HR images; LR is made on the fly."""

import contextlib
import logging
import math
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import keras
import numpy as np
from keras import ops

from model import files
from model.data.feeding import Batch, Feed
from model.data.patches import Cutter, Group, prepare
from model.imaging import resampling
from model.metrics import full_reference
from model.metrics.quality import MAX_PSNR_DB
from model.network import loading
from model.network.grow import grow
from model.network.rdn import RDN, jit_compile, precision, with_planes
from model.train.config import LOSSES, TrainConfig
from model.train.logbook import Logbook
from model.train.run_folder import check_folder, check_images, write_config, write_images
from model.train.schedule import learning_rate
from model.train.teacher import Teacher
from model.train.training_data import MeasuredSet, list_files, load_groups, measured_sets

_log = logging.getLogger("model.train")


class InterruptedTrainingError(Exception):
    """A signal stopped the run; its checkpoint is written.

    Example:
        try:
            train(config, Path("runs/mine"))
        except InterruptedTrainingError:
            ...  # the checkpoint is saved; the same call continues
    """


def train(
    config: TrainConfig, run_dir: Path, *, checkpoint_every: int = 500, feed_processes: int = 0
) -> Path:
    """Trains from the run's checkpoint if it has one, else from the start.

    Args:
        config: must equal the run's `config.json` if there is one.
        run_dir: made if missing.
        checkpoint_every: steps between checkpoints, validations and lines of `log.csv`.
        feed_processes: that read images and make patches, see `Feed.feeders`; the weights do not
            depend on it.

    Returns:
        The path of the finished `model.keras`.

    Raises:
        ValueError: if the folder belongs to a run with another configuration or other images, an
            option has no effect, or no image is large enough.
        OSError: if a source does not exist or an image cannot be read; the message names it.
        InterruptedTrainingError: after SIGINT or SIGTERM, when the checkpoint is written.
    """
    check_folder(config, run_dir)
    checkpoint, stable = run_dir / "checkpoint.keras", run_dir / "stable.keras"
    groups, held_out = load_groups(config, processes=feed_processes)
    if checkpoint.exists() or stable.exists():
        check_images(groups, held_out, run_dir)
    run_dir.mkdir(parents=True, exist_ok=True)
    feed = _feed(config, groups, run_dir, feed_processes)
    measured = measured_sets(config, groups, held_out)
    with (
        feed.feeders(feed_processes) as feeders,
        precision(config.precision),
        _stop_signals() as stopped,
    ):
        rdn = continued(config, checkpoint, stable) or new_network(config)
        teacher = _teacher(config)
        # Only now: a mistake in the options must not bar the corrected command.
        write_config(config, run_dir)
        write_images(groups, held_out, run_dir)
        for name, images in held_out.items():
            list_files(images, run_dir / f"held_out_{name}.txt")
        first = int(rdn.optimizer.iterations)
        _log.info(
            "steps %d to %d of %s: %d parameters, %d images, %s",
            *(first, config.steps, run_dir.name, rdn.count_params()),
            *(sum(len(group.images) for group in groups), keras.backend.backend()),
        )
        if config.schedule == "stable" and first == config.stable_steps:
            _save(rdn, stable)  # stopped here, to let the rate fall
        with Logbook(run_dir, first, config.steps) as logbook:
            losses: list[float] = []
            since = time.monotonic()
            for step, batch in enumerate(feeders.batches(range(first, config.steps)), first + 1):
                losses.append(_train_on(rdn, batch, step, teacher))
                logbook.tick(losses[-1])
                if step % checkpoint_every == 0 or step == config.steps or stopped:
                    rate = len(losses) / (time.monotonic() - since)
                    _record(logbook, rdn, measured, run_dir, step, float(np.mean(losses)), rate)
                    _save(rdn, checkpoint)
                    losses, since = [], time.monotonic()
                if config.schedule == "stable" and step == config.stable_steps:
                    _save(rdn, stable)
                if stopped and step < config.steps:
                    raise InterruptedTrainingError(f"stopped after step {step} of {config.steps}")
        finished = run_dir / "model.keras"
        if not finished.exists():  # moved away since
            _save(RDN.from_config(rdn.get_config()), finished, weights=averaged(rdn))
    _log.info("finished: %s", finished)
    return finished


def _teacher(config: TrainConfig) -> Teacher | None:
    """The network whose results are part of the target, if the run has one."""
    if not config.teacher:
        return None
    return Teacher.load(config.teacher, config.teacher_share, scale=config.scale)


def _train_on(rdn: RDN, batch: Batch, step: int, teacher: Teacher | None) -> float:
    """Makes one step, the run's `step`-th; returns its loss."""
    lr = with_planes(batch.lr, rdn.conditions(batch.quality, batch.sharpening))
    target = batch.hr if teacher is None else teacher.target(batch)
    loss = float(rdn.train_on_batch(lr, target))
    # With float16, Keras leaves out an update whose gradients overflow, and does not count it.
    # It is a step of the run: else the rate, and where the run goes on, would lag behind.
    if hasattr(rdn.optimizer, "inner_optimizer"):
        rdn.optimizer.iterations.assign(step)
    return loss


def new_network(config: TrainConfig) -> RDN:
    """A compiled network at step 0.

    Raises:
        ValueError: if `initial_weights` name no network, or one that cannot grow into this one.
    """
    keras.utils.set_random_seed(config.seed)
    rdn = RDN(
        convs_per_block=config.convs_per_block,
        num_blocks=config.num_blocks,
        growth_rate=config.growth_rate,
        features=config.features,
        scale=config.scale,
        knows_quality=bool(config.knows_quality),
        knows_sharpening=bool(config.knows_sharpening),
        believes_source=config.degradation.degraded_share == 0,
    )
    if config.initial_weights:
        grow(loading.load_by_name(config.initial_weights), rdn)
    optimizer = keras.optimizers.Adam(
        learning_rate(config),
        global_clipnorm=config.clip_norm or None,
        use_ema=config.ema_momentum > 0,
        ema_momentum=config.ema_momentum,
    )
    rdn.compile(optimizer=optimizer, loss=LOSSES[config.loss], jit_compile=jit_compile())
    # Else the first step makes its variables, and TensorFlow traces it twice: 14 s, not 4.
    rdn.optimizer.build(rdn.trainable_variables)
    if optimizer.use_ema:  # from zeros, an average of no update would be a network of zeros
        averages = optimizer._model_variables_moving_average  # noqa: SLF001 - not offered
        for average, variable in zip(averages, rdn.trainable_variables, strict=True):
            average.assign(np.array(variable))  # JAX must not share the buffer
    return rdn


def continued(config: TrainConfig, checkpoint: Path, stable: Path) -> RDN | None:
    """The compiled network of a run that has begun.

    Args:
        config: of the run; with the schedule `stable` its `steps` may be new.
        checkpoint: the last state.
        stable: the state before the rate fell.

    Returns:
        The network at the last state that lies on the way to `config.steps`; None if the run has
        not begun.

    Raises:
        ValueError: if `steps` have changed and both states lie beyond the stable part of one of
            the two ways.
    """
    wanted = learning_rate(config)
    states, remedy = [], ""
    for path in (checkpoint, stable):
        if not path.exists():
            continue
        rdn = keras.saving.load_model(path)
        step = int(rdn.optimizer.iterations)
        optimizer = getattr(rdn.optimizer, "inner_optimizer", rdn.optimizer)  # float16 wraps it
        # Keras offers the schedule by this attribute only; the public one is its current value.
        before = optimizer._learning_rate  # noqa: SLF001
        has_fallen = step > before.steps - before.decay_steps
        is_on_the_way = step <= config.stable_steps and not has_fallen
        if before.get_config() == wanted.get_config() or is_on_the_way:
            optimizer.learning_rate = wanted
            return rdn
        states.append(f"{path.name} at step {step}")
        if not has_fallen:
            remedy = f"give --steps {step + config.decay_steps} or more, or fewer --decay_steps"
        elif not remedy:
            same = f"--steps {before.steps} --decay_steps {before.decay_steps}"
            remedy = f"this run can only end as before, {same}; begin another one in another --out"
    if states:
        raise ValueError(
            f"the rate would fall from step {config.stable_steps} on, but {', '.join(states)} "
            f"came later or fell already: {remedy}"
        )
    return None


def _feed(config: TrainConfig, groups: list[Group], run_dir: Path, processes: int) -> Feed:
    """What makes the batches."""
    cutter = Cutter(config.scale, config.lr_patch_px, config.degradation, config.cut_out_share)
    return Feed(
        groups=prepare(groups, config.feeding, cutter, run_dir, processes=processes),
        cutter=cutter,
        batch_size=config.batch_size,
        images_per_batch=1 if config.feeding == "image" else config.batch_size,
        min_variation=config.min_variation_at,
        seed=config.seed,
    )


def averaged(rdn: RDN) -> list[np.ndarray]:
    """The moving average of a compiled network's weights; the weights where there is none."""
    now = rdn.get_weights()
    rdn.optimizer.finalize_variable_values(rdn.trainable_variables)
    average = rdn.get_weights()
    rdn.set_weights(now)
    return average


def _record(  # noqa: PLR0917 - everything of one moment
    logbook: Logbook,
    rdn: RDN,
    measured: dict[str, MeasuredSet],
    run_dir: Path,
    step: int,
    loss: float,
    rate: float,
) -> None:
    """Measures the averaged network, writes it all down, keeps the last and the best."""
    now = rdn.get_weights()
    average = averaged(rdn)
    rdn.set_weights(average)
    scores, errors = {}, []
    for name, one in measured.items():
        pairs = one.pairs
        results = [upscale(rdn, pair.lr, one.jpeg_quality) for pair in pairs]
        scores[name] = float(
            np.mean(
                [
                    min(full_reference.psnr_y(pair.hr, result, border=rdn.scale), MAX_PSNR_DB)
                    for pair, result in zip(pairs, results, strict=True)
                ]
            )
        )
        if not name.startswith("train_"):
            errors += [
                np.abs(pair.hr - result.astype(np.float32)).mean() / 255
                for pair, result in zip(pairs, results, strict=True)
            ]
        enlarged = pairs[0].lr.repeat(rdn.scale, axis=0).repeat(rdn.scale, axis=1)
        logbook.show(step, name, np.hstack([enlarged, results[0], pairs[0].hr]))
    rdn.set_weights(now)
    figures = {
        "loss": loss,
        "validation_l1": float(np.mean(errors)) if errors else float("nan"),
        "learning_rate": float(ops.convert_to_numpy(rdn.optimizer.learning_rate)),
        "steps_per_s": rate,
    }
    network = RDN.from_config(rdn.get_config())
    _save(network, run_dir / "model.keras", weights=average)
    if logbook.write(step, figures, scores):
        _save(network, run_dir / "best.keras")


def upscale(rdn: RDN, lr: np.ndarray, jpeg_quality: int) -> np.ndarray:
    """Upscales a small image in any backend; `model.inference.upscaler` is for all else.

    Args:
        rdn: the network.
        lr: uint8 [H, W, 3].
        jpeg_quality: 1..100; a network may be conditioned on it.

    Returns:
        uint8 [H * scale, W * scale, 3].
    """
    unit = lr[None].astype(np.float32) / 255
    (sr,) = rdn.predict_on_batch(with_planes(unit, rdn.conditions(jpeg_quality, math.nan)))
    return resampling.to_uint8(sr.astype(np.float32) * 255)


def _save(rdn: RDN, path: Path, *, weights: list[np.ndarray] | None = None) -> None:
    """Saves a network so that the file is either the old or the new one, never half."""
    if weights is not None:
        rdn.set_weights(weights)
    with files.appearing(path, keep_suffix=True) as partial:
        rdn.save(partial)


@contextlib.contextmanager
def _stop_signals() -> Iterator[list[int]]:
    """Collects SIGINT and SIGTERM, so that a step is finished before the run stops."""
    received: list[int] = []
    before = {
        number: signal.signal(number, lambda number, _: received.append(number))
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
