import csv
import json
import os
import shutil
import signal
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from tensorboardX.proto.event_pb2 import Event

from model.data.pairs import make_pairs
from model.data.recipes import RECIPES
from model.network.rdn import RDN, precision, with_planes
from model.scenes.drawing import draw_scene
from model.train import __main__ as command
from model.train import training, training_data
from model.train.config import TrainConfig, from_options
from model.train.schedule import WarmUpThenFall

SMALL = {"convs_per_block": 1, "num_blocks": 1, "growth_rate": 4, "features": 4}
SMALL_OPTIONS = [f"--{key}={value}" for key, value in SMALL.items()]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A folder of drawn HR images, one of them too small for a patch.

    They have many sizes, but their measured centres one: TensorFlow traces each shape anew.
    """
    folder = tmp_path_factory.mktemp("hr")
    for i in range(12):
        Image.fromarray(draw_scene(i, 192 + i, 200)).save(folder / f"{i:02}.png")
    Image.fromarray(draw_scene(9, 20, 80)).save(folder / "small.png")
    return folder


def config(data, **changes):
    short = {"steps": 12, "batch_size": 3, "lr_patch_px": 12, "warmup_steps": 2}
    return from_options({"data": (str(data),), **SMALL, **short, **changes})


@pytest.fixture(scope="module")
def trained_once(data, tmp_path_factory):
    """The folder of a finished run of one step, for tests to copy."""
    folder = tmp_path_factory.mktemp("once")
    training.train(config(data, steps=1), folder)
    return folder


@pytest.fixture(scope="module")
def straight(data, tmp_path_factory):
    """The folder of a run of twelve steps that nothing disturbed."""
    folder = tmp_path_factory.mktemp("straight")
    training.train(config(data), folder, checkpoint_every=6)
    return folder


@pytest.fixture(scope="module")
def run_by_command(data, tmp_path_factory):
    """The folder of a run that degrades, trained by the command."""
    folder = tmp_path_factory.mktemp("command") / "run"
    options = [*SMALL_OPTIONS, "--steps=4", "--batch_size=2", "--lr_patch_px=12", "--held_out=3"]
    options += ["--degraded_share=0.5", "--blur_px", "0", "0.5", "--jpeg_quality", "40", "90"]
    options += ["--kernels", "bicubic=2", "box=1", "--checkpoint_every=2"]
    assert command.main(["--data", str(data), "--out", str(folder), *options]) == 0
    return folder


@pytest.fixture
def finished_run(trained_once, tmp_path):
    """The same, to go on with."""
    return shutil.copytree(trained_once, tmp_path / "finished")


def weights_of(path):
    return keras.saving.load_model(path, compile=False).get_weights()


def assert_same_weights(path, other):
    for one, two in zip(weights_of(path), weights_of(other), strict=True):
        np.testing.assert_array_equal(one, two)


def log_of(run_dir):
    with (run_dir / "log.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def events_of(run_dir):
    """{tag: {step: value}}; an image's value is its PNG."""
    found = {}
    for path in sorted((run_dir / "tensorboard").iterdir()):
        for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
            event = Event.FromString(record)
            for value in event.summary.value:
                kind = value.WhichOneof("value")
                content = value.simple_value if kind == "simple_value" else value.image
                found.setdefault(value.tag, {})[event.step] = content
    return found


class Stopping:
    """Sends this process a signal after so many steps, as Ctrl-C would."""

    def __init__(self, monkeypatch, after):
        self.left = after
        tick = training.Logbook.tick

        def counting(logbook, loss):
            tick(logbook, loss)
            self.left -= 1
            if not self.left:
                os.kill(os.getpid(), signal.SIGINT)

        monkeypatch.setattr(training.Logbook, "tick", counting)


def assert_twice_six_steps_equal_twelve(twelve, straight, broken, monkeypatch):
    with monkeypatch.context() as patch:
        Stopping(patch, after=6)
        with pytest.raises(training.InterruptedTrainingError, match="after step 6 of 12"):
            training.train(twelve, broken, checkpoint_every=6)
    stopped = keras.saving.load_model(broken / "checkpoint.keras")
    average = weights_of(broken / "model.keras")  # of use although it is not finished
    for first, second in zip(training.averaged(stopped), average, strict=True):
        np.testing.assert_array_equal(first, second)
    training.train(twelve, broken, checkpoint_every=6)
    # The shipped weights are the moving average, so that this compares the averages, too.
    assert_same_weights(straight / "model.keras", broken / "model.keras")
    optimizers = [
        keras.saving.load_model(folder / "checkpoint.keras").optimizer.variables
        for folder in (straight, broken)
    ]
    assert len(optimizers[0]) > 3 * len(average)  # two moments and the average
    for first, second in zip(*optimizers, strict=True):
        np.testing.assert_array_equal(np.asarray(first), np.asarray(second), err_msg=first.path)
    logs = [[{**line, "steps_per_s": ""} for line in log_of(one)] for one in (straight, broken)]
    assert logs[0] == logs[1] and [line["step"] for line in logs[0]] == ["6", "12"]


def test_twelve_steps_equal_six_and_six(data, tmp_path, monkeypatch, straight):
    assert_twice_six_steps_equal_twelve(config(data), straight, tmp_path, monkeypatch)


def test_twelve_steps_with_every_option_equal_six_and_six(data, tmp_path, monkeypatch):
    everything = config(
        data,
        schedule="halving",
        halve_every=4,
        clip_norm=0.5,
        loss="mse",
        degraded_share=0.5,
        noise_share=0.5,
        knows_quality=1,
        knows_sharpening=1,
        sharpening_told_share=0.5,
        min_variation=(8, 2),
        held_out=1,
    )
    straight, broken = tmp_path / "straight", tmp_path / "broken"
    training.train(everything, straight, checkpoint_every=6)
    assert_twice_six_steps_equal_twelve(everything, straight, broken, monkeypatch)


def test_a_killed_run_drops_what_lies_beyond_its_checkpoint(data, tmp_path, straight):
    # As after a kill between the log's line and the checkpoint of step 6.
    shutil.copy(straight / "config.json", tmp_path)
    lines = (straight / "log.csv").read_text().splitlines(keepends=True)
    (tmp_path / "log.csv").write_text("".join(lines[:2]))
    resumed = training.train(config(data), tmp_path, checkpoint_every=6)
    assert [line["step"] for line in log_of(tmp_path)] == ["6", "12"]
    assert_same_weights(straight / "model.keras", resumed)


def test_training_lowers_the_loss_and_beats_its_start(data, tmp_path):
    wide = {"convs_per_block": 2, "growth_rate": 16, "features": 16, "lr_patch_px": 16}
    # Twice that rate is at the edge: which sums a machine adds first decides whether it learns.
    slow = {"learning_rate": 1e-3, "warmup_steps": 30, "ema_momentum": 0.9}
    varied = {"batch_size": 4, "min_variation": (10, 10), "seed": 2}
    long = config(data, steps=160, **wide, **slow, **varied)
    path = training.train(long, tmp_path / "run", checkpoint_every=40)
    first, *_, last = log_of(tmp_path / "run")
    assert float(last["validation_l1"]) < 0.96 * float(first["validation_l1"])
    assert float(last["clean_psnr_y_db"]) > float(first["clean_psnr_y_db"]) + 0.5
    rdn = keras.saving.load_model(path)
    assert isinstance(rdn, RDN) and not rdn.compiled
    assert json.loads((tmp_path / "run/config.json").read_text())["steps"] == 160


def test_the_moving_average_is_what_is_shipped(data, tmp_path, monkeypatch):
    seen = []
    train_on_batch = RDN.train_on_batch

    def noting(rdn, *batch):
        loss = train_on_batch(rdn, *batch)
        seen.append(rdn.get_weights())
        return loss

    with monkeypatch.context() as patch:
        patch.setattr(RDN, "train_on_batch", noting)
        path = training.train(config(data, ema_momentum=0.9), tmp_path / "average")
    plain = training.train(config(data, ema_momentum=0), tmp_path / "plain")
    # Averaging does not disturb training.
    assert_same_weights(tmp_path / "average/checkpoint.keras", plain)
    expected = seen[0]
    for now in seen[1:]:
        expected = [0.9 * old + 0.1 * new for old, new in zip(expected, now, strict=True)]
    for one, other in zip(weights_of(path), expected, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)


def test_the_best_is_kept(data, tmp_path):
    # A rate that lets the network diverge: the best is then an early one.
    wild = config(data, steps=30, learning_rate=0.2, ema_momentum=0, warmup_steps=30)
    training.train(wild, tmp_path, checkpoint_every=5)
    scores = [float(line["mean_psnr_y_db"]) for line in log_of(tmp_path)]
    assert max(scores) > scores[-1]
    best, last = (
        training.upscale(keras.saving.load_model(tmp_path / name), draw_scene(1, 30, 30), 100)
        for name in ("best.keras", "model.keras")
    )
    assert (best != last).any()


def assert_weights_are_float32(mixed, run_dir):
    """Of a finished run with mixed precision."""
    assert keras.config.dtype_policy().name == "float32"
    rdn = keras.saving.load_model(run_dir / "model.keras")
    assert {variable.dtype for variable in rdn.weights} == {"float32"}
    assert rdn.get_layer("sfe1").compute_dtype == "float32"
    again = training.train(mixed, run_dir)  # the finished run loads under its own precision
    for first, second in zip(rdn.get_weights(), weights_of(again), strict=True):
        np.testing.assert_array_equal(first, second)


def test_a_step_that_float16_leaves_out_counts(data, tmp_path, monkeypatch):
    """Gradients that overflow at the scale that Keras has reached by then."""
    new_network = training.new_network

    def at_a_large_scale(options):
        rdn = new_network(options)
        rdn.optimizer.dynamic_scale.assign(2.0**34)
        return rdn

    monkeypatch.setattr(training, "new_network", at_a_large_scale)
    eight = config(data, steps=8, precision="mixed_float16", warmup_steps=0)
    path = training.train(eight, tmp_path / "straight", checkpoint_every=4)
    with precision("mixed_float16"):
        rdn = keras.saving.load_model(tmp_path / "straight/checkpoint.keras")
    assert int(rdn.optimizer.iterations) == 8 and float(rdn.optimizer.dynamic_scale) < 2.0**32
    rates = [float(line["learning_rate"]) for line in log_of(tmp_path / "straight")]
    cosine = [0.5e-3 * (1 + np.cos(np.pi * step / 8)) for step in (4, 8)]
    assert rates == pytest.approx(cosine, rel=1e-4, abs=1e-9)
    assert_weights_are_float32(eight, tmp_path / "straight")
    with monkeypatch.context() as patch:
        Stopping(patch, after=1)  # the average is still that of no update
        with pytest.raises(training.InterruptedTrainingError):
            training.train(eight, tmp_path / "broken", checkpoint_every=4)
    average = weights_of(tmp_path / "broken/model.keras")
    assert any(weights.any() for weights in average)
    resumed = training.train(eight, tmp_path / "broken", checkpoint_every=4)
    for first, second in zip(weights_of(path), weights_of(resumed), strict=True):
        np.testing.assert_array_equal(first, second)


def test_bfloat16_trains_float32_weights(data, tmp_path):
    mixed = config(data, steps=2, precision="mixed_bfloat16")
    training.train(mixed, tmp_path)
    assert_weights_are_float32(mixed, tmp_path)


def test_learning_rates():
    def rates(schedule):
        rate = WarmUpThenFall(
            **{"peak": 1.0, "warmup_steps": 10, "steps": 110, "schedule": schedule},
            **{"halve_every": 40, "decay_steps": 40},
        )
        again = WarmUpThenFall(**rate.get_config())
        return [float(again(step)) for step in (0, 4, 9, 39, 40, 60, 80, 110)]

    half = 0.5 * (1 + np.cos(np.pi * np.array([0.29, 0.3, 0.5, 0.7, 1])))
    assert rates("cosine") == pytest.approx([0.1, 0.5, 1.0, *half], abs=1e-6)
    assert rates("halving") == pytest.approx([0.1, 0.5, 1, 1, 0.5, 0.5, 0.25, 0.25])
    assert rates("stable") == pytest.approx([0.1, 0.5, 1, 1, 1, 1, 0.75, 0])


def stable(data, steps, **changes):
    return config(data, schedule="stable", steps=steps, decay_steps=5, **changes)


@pytest.fixture(scope="module")
def straight_stable(data, tmp_path_factory):
    """The network of a run whose end was known from its start."""
    return training.train(stable(data, 20), tmp_path_factory.mktemp("stable"))


@pytest.fixture(scope="module")
def open_run(data, tmp_path_factory):
    """The folder of a run whose end is open, stopped by a signal after five steps."""
    folder = tmp_path_factory.mktemp("open")
    with pytest.MonkeyPatch.context() as patch:
        Stopping(patch, after=5)
        with pytest.raises(training.InterruptedTrainingError):
            training.train(stable(data, 1000), folder)
    return folder


@pytest.fixture(scope="module")
def ended(data, open_run, tmp_path_factory):
    """{steps: the folder of the open run that was told to end there}.

    At ten steps the rate falls from the next step on.
    """
    folders = {}
    for steps in (10, 15):
        folders[steps] = shutil.copytree(open_run, tmp_path_factory.mktemp("ended") / f"{steps}")
        training.train(stable(data, steps), folders[steps])
    return folders


@pytest.mark.parametrize("end", [10, 15])
def test_a_stable_run_continues_as_if_its_end_had_always_been_later(
    data, tmp_path, ended, end, straight_stable
):
    run = shutil.copytree(ended[end], tmp_path / "run")
    assert float(log_of(run)[-1]["learning_rate"]) == pytest.approx(0, abs=1e-9)
    late = training.train(stable(data, 20), run)
    assert_same_weights(straight_stable, late)
    assert any(
        (one != other).any()
        for one, other in zip(
            weights_of(ended[end] / "model.keras"), weights_of(late), strict=True
        )
    )
    assert json.loads((run / "config.json").read_text())["steps"] == 20


def test_a_stable_run_ends_only_where_its_rate_has_not_fallen(data, tmp_path, ended):
    run = shutil.copytree(ended[15], tmp_path / "run")
    with pytest.raises(
        ValueError, match=r"would fall from step 7 on, but checkpoint\.keras at step 15"
    ) as refused:
        training.train(stable(data, 12), run)
    assert "give --steps 15 or more, or fewer --decay_steps" in str(refused.value)
    (run / "stable.keras").unlink()
    with pytest.raises(ValueError, match="only end as before, --steps 15 --decay_steps 5"):
        training.train(stable(data, 40), run)
    with pytest.raises(ValueError, match="would fall from the start"):
        training.train(stable(data, 5), run)
    with pytest.raises(ValueError, match="min_variation must be the same"):
        stable(data, 30, min_variation=(6, 2))
    with pytest.raises(ValueError, match=r"another configuration \(schedule, steps differ\)"):
        training.train(config(data, steps=50, decay_steps=5), run)


def test_a_mistake_does_not_bar_the_corrected_command(data, tmp_path):
    out = tmp_path / "run"
    with pytest.raises(FileNotFoundError, match="no such folder"):
        training.train(config(tmp_path / "missing"), out)
    assert not out.exists()
    for mistake in ({"initial_weights": "nowhere"}, {"lr_patch_px": 500}):
        with pytest.raises(ValueError, match=r"nowhere|no image of the group"):
            training.train(config(data, steps=1, **mistake), out)
    training.train(config(data, steps=1), out)


def test_tensorboard(run_by_command):
    events = events_of(run_by_command)
    log = log_of(run_by_command)
    for tag, column in (
        ("loss", "loss"),
        ("validation_l1", "validation_l1"),
        ("psnr_y_db/clean", "clean_psnr_y_db"),
        ("psnr_y_db/train_clean", "train_clean_psnr_y_db"),
        ("psnr_y_db/clean_jpeg75", "clean_jpeg75_psnr_y_db"),
    ):
        assert list(events[tag]) == [2, 4]
        assert [float(line[column]) for line in log] == pytest.approx(
            list(events[tag].values()), abs=1e-3
        )
    image = events["examples/clean"][4]
    assert (image.height, image.width) == (192, 3 * 192)


def test_a_finished_run_stays_as_it_is(data, finished_run):
    before = (finished_run / "model.keras").read_bytes()
    assert training.train(config(data, steps=1), finished_run) == finished_run / "model.keras"
    assert (finished_run / "model.keras").read_bytes() == before
    assert len(log_of(finished_run)) == 1


def test_a_finished_network_that_was_moved_away_is_written_again(data, finished_run, trained_once):
    path = finished_run / "model.keras"
    path.unlink()
    assert training.train(config(data, steps=1), finished_run) == path
    assert_same_weights(trained_once / "model.keras", path)


def test_a_run_does_not_go_on_with_other_images(data, tmp_path, trained_once):
    changed = shutil.copytree(data, tmp_path / "images")
    run = tmp_path / "run"
    training.train(config(changed, steps=1), run)
    held_out = (run / "held_out_clean.txt").read_text()
    Image.fromarray(draw_scene(50, 170, 170)).save(changed / "000.png")
    with pytest.raises(ValueError, match=r"images of .*run have changed .*clean: 13 then, 14 now"):
        training.train(config(changed, steps=1), run)
    assert (run / "held_out_clean.txt").read_text() == held_out
    (changed / "01.png").unlink()
    with pytest.raises(ValueError, match="clean: 13 then, 13 now, or of other names"):
        training.train(config(changed, steps=1), run)
    (run / "images.json").unlink()  # as of an older version
    training.train(config(changed, steps=1), run)
    assert (run / "images.json").exists()
    (changed / "000.png").unlink()
    (run / "checkpoint.keras").unlink()  # nothing is trained yet: the images may change
    (run / "stable.keras").unlink(missing_ok=True)
    training.train(config(changed, steps=1), run)


def test_images_too_small_to_measure_are_left_out_and_exact_ones_count_up_to_100_db(
    data, tmp_path, caplog
):
    images = shutil.copytree(data, tmp_path / "images")
    for i, name in enumerate(("00.png", "04.png", "08.png")):  # held out
        grey = np.full((160, 160, 3), 40 * i, np.uint8)
        Image.fromarray(grey[:4, :4] if not i else grey).save(images / name)
    run = tmp_path / "run"
    training.train(config(images, steps=2), run, checkpoint_every=1)
    assert "skipped 00.png: 4 x 4, but needed are 12 x 12" in caplog.text
    assert [line["clean_psnr_y_db"] for line in log_of(run)] == ["100.000"] * 2
    for path in sorted(images.glob("*.png"))[:12:4]:
        Image.fromarray(np.zeros((3, 3, 3), np.uint8)).save(path)
    only_small = config(images)
    sets = training_data.measured_sets(only_small, *training_data.load_groups(only_small))
    assert list(sets) == ["train_clean"]


def test_a_run_of_an_older_version_goes_on(data, finished_run):
    """Its config.json lacks the options that came later."""
    written = json.loads((finished_run / "config.json").read_text())
    del written["clip_norm"], written["degradation"]["webp_share"]
    (finished_run / "config.json").write_text(json.dumps(written))
    training.train(config(data, steps=1), finished_run)
    (finished_run / "config.json").write_text(json.dumps(written))
    with pytest.raises(ValueError, match=r"another configuration \(clip_norm differ\)"):
        training.train(config(data, steps=1, clip_norm=1.0), finished_run)


def test_a_folder_of_another_run_is_refused(data, finished_run):
    with pytest.raises(ValueError, match=r"another configuration \(seed differ\)"):
        training.train(config(data, steps=1, seed=2), finished_run)


def test_training_goes_on_from_given_weights(data, tmp_path, straight):
    first = straight / "model.keras"
    large = config(
        data, initial_weights=str(first), growth_rate=8, num_blocks=2, learning_rate=1e-9, steps=1
    )
    second = training.train(large, tmp_path / "second")
    lr = draw_scene(1, 30, 30)[None].astype(np.float32) / 255
    small, grown = (keras.saving.load_model(path) for path in (first, second))
    np.testing.assert_allclose(small(lr), grown(lr), atol=1e-5)
    assert grown.num_blocks == 2
    with pytest.raises(ValueError, match="no-such-network"):
        training.train(config(data, initial_weights="no-such-network"), tmp_path / "third")


def test_a_teacher_s_result_is_part_of_the_target(data, tmp_path, trained_once):
    """A new network is bicubic, and so is this teacher: it finds the target reached already."""
    bicubic = tmp_path / "bicubic.keras"
    RDN(**SMALL, scale=2).save(bicubic)
    taught = config(data, steps=1, teacher=str(bicubic), teacher_share=0.75)
    training.train(taught, tmp_path / "taught")
    loss, alone = (float(log_of(run)[0]["loss"]) for run in (tmp_path / "taught", trained_once))
    assert alone > 0.001
    assert loss == pytest.approx(alone / 4, rel=0.1)  # but for what bicubic overshoots
    x3 = tmp_path / "x3.keras"
    RDN(**SMALL, scale=3).save(x3)
    with pytest.raises(ValueError, match=r"x3.keras enlarges by 3, the run by 2"):
        training.train(config(data, teacher=str(x3)), tmp_path / "other")
    with pytest.raises(ValueError, match="no-such-network"):
        training.train(config(data, teacher="no-such-network"), tmp_path / "other")
    assert not list((tmp_path / "other").glob("*"))


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"teacher": "rdn-large", "teacher_share": 0.0}, "--teacher has no effect"),
        ({"teacher_share": 0.3}, "no effect without --teacher"),
        ({"teacher": "rdn-large", "teacher_share": 1.5}, "teacher_share is 0..1. Received: 1.5"),
    ],
)
def test_a_teacher_without_effect_is_refused(data, tmp_path, options, says):
    with pytest.raises(ValueError, match=says):
        training.train(config(data, **options), tmp_path / "run")


@pytest.mark.parametrize(("scale", "feeding"), [(3, "images"), (4, "image"), (2, "grid")])
def test_every_scale_and_every_way_of_feeding_trains(data, tmp_path, scale, feeding):
    """The other tests feed from memory."""
    path = training.train(
        config(data, scale=scale, feeding=feeding, steps=3, lr_patch_px=8), tmp_path
    )
    assert keras.saving.load_model(path).scale == scale
    assert len(list(tmp_path.glob("grid-clean-*.u8"))) == (feeding == "grid")


def test_held_out_images_are_not_trained_on(data, tmp_path):
    both = config(data, compressed_data=(str(data),), compressed_share=0.3, held_out=3)
    groups, held_out = training_data.load_groups(both)
    for name, images in held_out.items():  # as `train` does
        training_data.list_files(images, tmp_path / f"held_out_{name}.txt")
    assert [group.share for group in groups] == pytest.approx([0.7, 0.3])
    measured = training_data.measured_sets(both, groups, held_out)
    assert list(measured) == ["train_clean", "clean", "train_compressed", "compressed"]
    for group in groups:
        listed = list(make_pairs(tmp_path / f"held_out_{group.name}.txt", scale=2))
        assert [pair.name for pair in listed] == ["00.png", "04.png", "08.png"]
        assert [image.name for image in held_out[group.name]] == ["00.png", "04.png", "08.png"]
        assert len(group.images) == 10
        assert not {image.name for image in group.images} & {p.name for p in listed}
    shapes = [group.images[0].read().shape for group in groups]
    assert shapes == [(193, 200, 3), (96, 100, 3)]


def test_every_place_holds_out_its_own(data):
    both = config(data, compressed_data=(str(data), str(data)), held_out=60)
    _, held_out = training_data.load_groups(both)
    assert [image.name for image in held_out["compressed"]] == ["00.png", "04.png", "08.png"] * 2


@pytest.mark.parametrize("places", ["a folder twice", "a list of the folder"])
def test_what_one_place_holds_out_is_not_trained_on_from_another(data, tmp_path, places):
    other = str(data)
    if places == "a list of the folder":
        other = str(tmp_path / "list.txt")
        names = sorted((path.name for path in data.glob("*.png")), reverse=True)
        (tmp_path / "list.txt").write_text("".join(f"{data}/../{data.name}/{n}\n" for n in names))
    for overlapping in (
        TrainConfig(data=(str(data), other)),
        TrainConfig(data=(str(data),), compressed_data=(other,)),
    ):
        groups, held_out = training_data.load_groups(overlapping)
        hidden = {image.name for images in held_out.values() for image in images}
        assert "00.png" in hidden
        for group in groups:
            assert group.images and not hidden & {image.name for image in group.images}


def test_shares_are_those_that_were_asked_for(data):
    for options, expected in (
        ({"data": 1, "drawn_scenes": 4, "drawn_share": 0.25}, {"clean": 0.75, "drawn": 0.25}),
        ({"drawn_scenes": 4, "compressed_share": 0.0}, {"drawn": 1.0}),
        ({"data": 1}, {"clean": 1.0}),
        ({"drawn_scenes": 4, "compressed_data": 1}, {"compressed": 0.5, "drawn": 0.5}),
    ):
        places = {name: (str(data),) for name, value in options.items() if name.endswith("data")}
        groups, _ = training_data.load_groups(TrainConfig(**(options | places)))
        shares = {group.name: group.share for group in groups}
        assert sum(shares.values()) == pytest.approx(1)
        assert expected == {name: pytest.approx(shares[name]) for name in expected}


def test_degrading_runs_are_measured_by_named_recipes(data):
    degraded = config(data, degraded_share=0.5, held_out=2)
    measured = training_data.measured_sets(degraded, *training_data.load_groups(degraded))
    told = {name: one.jpeg_quality for name, one in measured.items()}
    assert told == {
        **{"train_clean": 100, "clean": 100, "clean_jpeg75": 75, "clean_sharpened80-jpeg80": 80},
        **{"clean_lanczos": 100, "clean_nearest": 100, "clean_jpeg75-png": 75},
    }
    for name in ("jpeg75", "nearest"):
        for pair, clean in zip(
            measured[f"clean_{name}"].pairs, measured["clean"].pairs, strict=True
        ):
            expected = RECIPES[name].make_lr(clean.hr, 2, np.random.default_rng(0))
            np.testing.assert_array_equal(pair.lr, expected)


def test_a_network_learns_to_use_what_it_is_told_of_sharpening(tmp_path):
    options = {
        **{"drawn_scenes": 6, "compressed_share": 0.0, "drawn_share": 1.0, "held_out": 0},
        **{"degraded_share": 0.5, "sharpened_share": 1.0, "sharpen_percent": (150, 150)},
        **{"jpeg_share": 0.0, "knows_sharpening": 1, "sharpening_told_share": 1.0},
        **{"steps": 200, "batch_size": 4, "lr_patch_px": 16, "learning_rate": 3e-3},
        **{"warmup_steps": 20, "ema_momentum": 0.9, "min_variation": (5, 5)},
    }
    rdn = keras.saving.load_model(training.train(from_options(SMALL | options), tmp_path))
    hr = draw_scene(900, 96, 96)
    lr = RECIPES["sharpened150"].make_lr(hr, 2, np.random.default_rng(0))
    unit = lr[None].astype(np.float32) / 255
    told = RECIPES["sharpened150"].sharpening(hr, 2)
    errors = {
        level: np.abs(np.asarray(rdn(with_planes(unit, rdn.conditions(100, level))))[0] - hr / 255)
        for level in (told, 0.0)
    }
    assert errors[told].mean() < 0.95 * errors[0.0].mean()


def test_drawn_scenes_as_data(tmp_path):
    options = {"drawn_scenes": 8, "compressed_share": 0.0, "degraded_share": 1.0, "held_out": 2}
    short = {"steps": 2, "batch_size": 2, "lr_patch_px": 12, "knows_quality": 1}
    drawn = from_options(SMALL | short | options)
    path = training.train(drawn, tmp_path)
    network = keras.saving.load_model(path)
    assert network.knows_quality and not network.knows_sharpening
    assert not network.believes_source
    assert "drawn_jpeg75_psnr_y_db" in log_of(tmp_path)[0]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"steps": 0}, "steps >= 1"),
        ({"compressed_share": 1.5}, "compressed_share is 0..1"),
        ({"degraded_share": -0.1}, "0..1. Received: -0.1"),
        ({"jpeg_quality": (80, 30)}, "jpeg_quality is a range within 1..100. Received: 80 30"),
        ({"noise_levels": (-1, 30)}, "noise_levels is a range"),
        ({"loss": "l3"}, "loss is one of l1, mse. Received: 'l3'"),
        ({"knows_sharpening": 1}, "needs a sharpening_told_share above 0.* Received: 1 and 0.0"),
        ({"sharpening_told_share": 0.5}, "and the other way round. Received: 0 and 0.5"),
        ({"feeding": "spoon"}, "feeding is one of"),
        ({"ema_momentum": 1.0}, "ema_momentum"),
        ({"learning_rate": -1e-3}, "learning_rate is above 0. Received: -0.001"),
        ({"learning_rate": float("nan")}, "learning_rate is above 0"),
        ({"clip_norm": -1.0}, "clip_norm is 0 or more"),
        ({"min_variation": (-1.0, 2.0)}, "min_variation is two numbers of 0 or more"),
        ({"drawn_scenes": -3}, "drawn_scenes >= 0"),
        ({"seed": -1}, "seed >= 0"),
        ({"seed": 2**32}, "seed is at most"),
        ({"scale": 1}, "scale >= 2"),
        ({"num_blocks": 0}, "num_blocks >= 1"),
        ({"knows_quality": 2}, "knows_quality is one of 0, 1"),
        ({"kernels": (("bicubic", 2.0), ("nearest", -1.0))}, "weights of 0 or more"),
        ({"kernels": (("bicubic", float("nan")),)}, "weights of 0 or more"),
    ],
)
def test_a_wrong_configuration_says_what_is_wrong(data, changes, message):
    with pytest.raises(ValueError, match=message):
        config(data, **changes)


def test_the_command_line(data, tmp_path, capsys, run_by_command):
    assert (run_by_command / "model.keras").exists()
    written = json.loads((run_by_command / "config.json").read_text())["degradation"]
    assert written["blur_px"] == [0.0, 0.5] and written["jpeg_quality"] == [40, 90]
    assert written["kernels"] == [["bicubic", 2.0], ["box", 1.0]]
    assert command.main(["--data", str(tmp_path / "no"), "--out", str(tmp_path / "x")]) == 1
    assert "no such folder" in capsys.readouterr().err
    assert command.main(["--data", str(data), "--out", str(tmp_path / "y"), "--steps", "0"]) == 1
    assert "steps >= 1" in capsys.readouterr().err
    assert command.main(["--out", str(tmp_path / "z")]) == 1
    assert "nothing to train on" in capsys.readouterr().err
    for option in ("--checkpoint_every=0", "--feed_processes=-1"):
        with pytest.raises(SystemExit) as error:
            command.main(["--data", str(data), "--out", str(tmp_path / "z"), option])
        assert error.value.code == 2
    assert "--checkpoint_every is 1 or more: 0" in capsys.readouterr().err
    assert not (tmp_path / "z").exists()


@pytest.mark.parametrize("value", ["bicubic=abc", "bicubic", "bicubic="])
def test_a_kernel_needs_a_weight(data, tmp_path, capsys, value):
    with pytest.raises(SystemExit, match="2"):
        command.main(["--data", str(data), "--out", str(tmp_path / "run"), "--kernels", value])
    assert f"needs a name and its weight, as in bicubic=0.4. Received: {value} (" in (
        capsys.readouterr().err
    )


def test_an_image_that_cannot_be_read_is_named(tmp_path, capsys):
    (tmp_path / "broken.png").write_bytes(b"no image")
    assert command.main(["--data", str(tmp_path), "--out", str(tmp_path / "run")]) == 1
    assert "broken.png" in capsys.readouterr().err


def test_ctrl_c_leaves_a_checkpoint_and_says_how_to_go_on(data, tmp_path, capsys, monkeypatch):
    Stopping(monkeypatch, after=4)
    options = ["--data", str(data), "--out", str(tmp_path), "--lr_patch_px=12", "--batch_size=2"]
    assert command.main([*options, *SMALL_OPTIONS]) == 130
    assert f"after step 4 of 7000; the same command continues from {tmp_path}" in (
        capsys.readouterr().err
    )
    assert int(keras.saving.load_model(tmp_path / "checkpoint.keras").optimizer.iterations) == 4


def test_who_makes_the_patches_does_not_change_the_weights(data, tmp_path, straight):
    fed = training.train(config(data), tmp_path, feed_processes=2)
    assert_same_weights(straight / "model.keras", fed)


def test_jax_trains_and_resumes_without_tensorflow(data, tmp_path):
    """In a process of its own, which must not import TensorFlow; others feed it."""
    script = (
        "import sys; sys.modules['tensorflow'] = None; from model.train.__main__ import main; "
        "sys.exit(main(sys.argv[1:]))"
    )
    options = [*SMALL_OPTIONS, "--batch_size=2", "--lr_patch_px=12", "--steps=100000"]
    command = [sys.executable, "-c", script, "--data", str(data), "--out", str(tmp_path), *options]
    environment = {**os.environ, "KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu"}
    # What the first process compiled, the second need not.
    environment |= {"JAX_COMPILATION_CACHE_DIR": str(tmp_path / "compiled")}
    environment |= {"JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
    command += ["--checkpoint_every=5", "--feed_processes=1"]
    for expected in (1, 2):
        process = subprocess.Popen(
            command, env=environment, stderr=subprocess.PIPE, text=True, start_new_session=True
        )
        for line in process.stderr:
            if "mean_psnr_y_db" in line:
                os.killpg(process.pid, signal.SIGTERM)  # all processes, as Ctrl-C does
                break
        assert process.wait(timeout=120) == 130
        steps = [int(line["step"]) for line in log_of(tmp_path)]
        assert len(steps) >= expected and steps == sorted(set(steps))
    rdn = keras.saving.load_model(tmp_path / "checkpoint.keras")  # TensorFlow reads it, too
    assert int(rdn.optimizer.iterations) == steps[-1]
