import multiprocessing
import os
import signal
import subprocess
import sys
from multiprocessing import connection
from pathlib import Path

import numpy as np
import psutil
import pytest
from PIL import Image

from model.data import hr_sources
from model.data.drawn_recipes import Degradation
from model.data.feeding import Feed
from model.data.hr_sources import HrArray, HrFile
from model.data.patches import MARGIN_PX, Cutter, Group, prepare, variation
from model.data.processes import forked
from model.imaging import resampling
from model.scenes.drawing import draw_scene

CLEAN = Degradation()


def images(count=5):
    return [HrArray(f"{i}", draw_scene(i, 98 + i, 104)) for i in range(count)]


def feed(groups=None, *, degradation=CLEAN, batch_size=24, lowest=0.0, **changes):
    cutter = Cutter(scale=2, lr_patch_px=16, degradation=degradation)
    options = {"images_per_batch": batch_size, "min_variation": lambda _: lowest, "seed": 1}
    return Feed(
        groups=groups or [Group("all", 1.0, images())],
        cutter=cutter,
        batch_size=batch_size,
        **(options | changes),
    )


def test_patches_are_aligned_turned_alike_and_in_range():
    batch = feed().batch(0)
    assert (batch.quality == 100).all()
    assert batch.lr.shape == (24, 16, 16, 3) and batch.hr.shape == (24, 32, 32, 3)
    assert batch.lr.dtype == batch.hr.dtype == np.float32
    assert min(batch.lr.min(), batch.hr.min()) >= 0 and max(batch.lr.max(), batch.hr.max()) <= 1
    for lr, hr in zip(batch.lr, batch.hr, strict=True):
        again = np.clip(resampling.shrink(hr, 2), 0, 1)
        np.testing.assert_allclose(lr[3:-3, 3:-3], again[3:-3, 3:-3], atol=0.6 / 255)


def test_a_clean_patch_is_a_cut_out_of_the_image_s_own_lr():
    hr = draw_scene(2, 120, 120)
    whole = resampling.to_uint8(resampling.shrink(hr, 2))
    cutter = Cutter(scale=2, lr_patch_px=16, degradation=CLEAN)
    region = hr[6 : 6 + cutter.region_px, 10 : 10 + cutter.region_px]
    at = slice(3 + MARGIN_PX, 3 + MARGIN_PX + 16), slice(5 + MARGIN_PX, 5 + MARGIN_PX + 16)
    ways = [np.rot90(o, turns) for o in (whole[at], whole[at][:, ::-1]) for turns in range(4)]
    seen = set()
    for i in range(80):
        patch = cutter.pair(region, np.random.default_rng(i))[0].astype(int)
        # One level: rows and columns are shrunk in another order in a turned image.
        near = [number for number, way in enumerate(ways) if np.abs(patch - way).max() <= 1]
        assert len(near) == 1
        seen.update(near)
    assert seen == set(range(8))


def test_degraded_patches_are_told_and_aligned():
    mixed = feed(degradation=Degradation(0.5, jpeg_quality=(20, 60)), batch_size=60).batch(3)
    clean = mixed.quality == 100
    assert 0.2 < clean.mean() < 0.8
    assert mixed.quality[~clean].min() >= 20 and mixed.quality[~clean].max() <= 60
    for lr, hr, is_clean in zip(mixed.lr, mixed.hr, clean, strict=True):
        error = np.abs(lr - np.clip(resampling.shrink(hr, 2), 0, 1))[3:-3, 3:-3]
        assert error.mean() < 0.08  # a shifted patch would be far off
        assert error.max() <= 0.6 / 255 or not is_clean


def test_jpeg_blocks_begin_anywhere():
    # Two flat halves: each block is flat, or rings, by where its edge falls in the block.
    hr = np.full((96, 96, 3), 90, np.uint8)
    hr[:, 48:] = 160
    cutter = Cutter(2, 16, Degradation(1.0, jpeg_quality=(30, 30)))
    patches = {cutter.pair(hr, np.random.default_rng(i))[0].tobytes() for i in range(300)}
    assert len(patches) > 20


def test_flat_patches_are_thinned_out():
    half = draw_scene(4, 120, 240)
    half[:, :170] = 255
    groups = [Group("half", 1.0, [HrArray("half", half)])]

    def flat_share(lowest):
        hr = feed(groups, lowest=lowest, batch_size=100).batch(1).hr
        return np.mean([variation(resampling.to_uint8(patch * 255)) < 5 for patch in hr])

    assert flat_share(0) > 0.4
    assert flat_share(5) < flat_share(0) / 3


def test_an_image_that_is_flat_all_over_still_gives_patches():
    flat = [Group("flat", 1.0, [HrArray("flat", np.full((104, 104, 3), 200, np.uint8))])]
    assert feed(flat, lowest=20).batch(0).hr.shape == (24, 32, 32, 3)


def test_flat_patches_of_a_grid_are_thinned_out(tmp_path):
    """Each is an image of its own with one position: another one is drawn."""
    half = draw_scene(4, 200, 400)
    half[:, :280] = 255
    cutter = Cutter(scale=2, lr_patch_px=16, degradation=CLEAN)
    whole = [Group("half", 1.0, [HrArray("half", half)])]
    groups = prepare(whole, "grid", cutter, tmp_path)

    def flat_share(lowest):
        hr = feed(groups, lowest=lowest, batch_size=100).batch(1).hr
        return np.mean([variation(resampling.to_uint8(patch * 255)) < 5 for patch in hr])

    assert flat_share(0) > 0.4
    assert flat_share(5) < flat_share(0) / 3


def test_variation_is_the_deviation_of_luma():
    stripes = np.zeros((8, 8, 3), np.uint8)
    stripes[::2] = 255
    assert variation(stripes) == pytest.approx(219 / 2, abs=0.1)  # luma's range is 16..235
    assert variation(np.full((8, 8, 3), 77, np.uint8)) == 0


def test_shares_of_groups():
    black, white = (
        HrArray(name, np.full((104, 104, 3), grey, np.uint8))
        for name, grey in (("b", 0), ("w", 255))
    )
    groups = [Group("black", 0.8, [black]), Group("white", 0.2, [white])]
    means = np.concatenate([feed(groups).batch(i).hr.mean((1, 2, 3)) for i in range(20)])
    assert set(means) == {0.0, 1.0}
    assert 0.12 < means.mean() < 0.28


def test_one_image_gives_all_patches():
    greys = [HrArray(f"{g}", np.full((104, 104, 3), g, np.uint8)) for g in range(0, 250, 10)]
    for count, spread in ((1, 1), (24, 12)):
        batch = feed([Group("all", 1.0, greys)], images_per_batch=count).batch(2)
        assert batch.hr.shape[0] == 24
        assert len(set(batch.hr.mean((1, 2, 3)))) >= spread
        assert count > 1 or len(set(batch.hr.mean((1, 2, 3)))) == 1


def test_batches_depend_on_seed_and_step_alone():
    one, two = feed(), feed()
    two.batch(0)
    np.testing.assert_array_equal(one.batch(5).lr, two.batch(5).lr)
    assert (one.batch(5).lr != one.batch(6).lr).any()
    assert (one.batch(5).lr != feed(seed=2).batch(5).lr).any()


@pytest.mark.parametrize("processes", [0, 2])
def test_batches_come_in_order_and_errors_reach_the_caller(processes):
    source = feed(batch_size=4)
    with source.feeders(processes) as feeders:
        for step, batch in zip(range(7, 27), feeders.batches(range(7, 27)), strict=True):
            expected = source.batch(step)
            np.testing.assert_array_equal(batch.lr, expected.lr)
            np.testing.assert_array_equal(batch.hr, expected.hr)
            np.testing.assert_array_equal(batch.quality, expected.quality)
        assert list(feeders.batches(range(0))) == []
    missing = feed([Group("files", 1.0, [HrFile("/nowhere/x.png")])])
    with missing.feeders(processes) as feeders, pytest.raises(OSError, match=r"x\.png"):
        list(feeders.batches(range(3)))


def test_a_killed_process_is_told():
    with (
        pytest.raises(OSError, match=r"was killed, .*: continue with fewer --feed_processes"),
        feed().feeders(processes=2) as feeders,
    ):
        for batch in feeders.batches(range(10**6)):
            assert batch.lr.shape == (24, 16, 16, 3)
            multiprocessing.active_children()[0].kill()


def dies_in_its_answer():
    """In a fork: writes half of its result, and is killed."""

    def send(self, data):
        os.write(self.fileno(), bytes(data)[: len(data) // 2])
        os.kill(os.getpid(), signal.SIGKILL)

    connection.Connection._send = send  # noqa: SLF001 - the fault
    return bytes(1 << 10)


def test_a_process_killed_in_its_answer_is_told():
    """The pool waits for the rest of that answer, the other process for its turn to write."""
    with pytest.raises(OSError, match="was killed"), forked(2) as pool:
        for future in [pool.submit(dies_in_its_answer) for _ in range(4)]:
            future.result()


def test_less_than_no_process():
    with pytest.raises(ValueError, match=r"feed_processes is at least 0\. Received: -1"):
        feed().feeders(processes=-1).__enter__()


def test_the_processes_end_with_a_killed_run():
    script = """if True:
        import multiprocessing, time
        import numpy as np
        from model.data.feeding import Feed
        from model.data.hr_sources import HrArray
        from model.data.patches import Cutter, Group
        from model.data.drawn_recipes import Degradation
        grey = HrArray("grey", np.full((104, 104, 3), 9, np.uint8))
        feed = Feed([Group("all", 1.0, [grey])], Cutter(2, 16, Degradation()), 4, 4, float, 1)
        with feed.feeders(processes=2) as feeders:
            next(feeders.batches(range(9)))
            print(*(p.pid for p in multiprocessing.active_children()), flush=True)
            time.sleep(60)
    """
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE) as process:
        feeding = [psutil.Process(int(pid)) for pid in process.stdout.readline().split()]
        assert len(feeding) == 2
        process.kill()
    assert psutil.wait_procs(feeding, timeout=60)[1] == []


@pytest.fixture
def files(tmp_path):
    """Two large files, a small one."""
    for name, side in (("a", 124), ("b", 164), ("small", 40)):
        Image.fromarray(draw_scene(3, side, side)).save(tmp_path / f"{name}.png")
    return [Group("files", 1.0, hr_sources.list_images(str(tmp_path)))]


@pytest.mark.parametrize(
    ("feeding", "count"), [("memory", 2), ("images", 3), ("image", 3), ("grid", 10)]
)
def test_every_way_of_feeding_gives_patches_of_the_images(
    feeding, count, files, tmp_path_factory, caplog
):
    run_dir = tmp_path_factory.mktemp("run")
    cutter = Cutter(scale=2, lr_patch_px=16, degradation=CLEAN)
    (group,) = prepare(files, feeding, cutter, run_dir)
    assert len(group.images) == count
    batch = feed([group], batch_size=8).batch(1)
    assert batch.lr.shape == (8, 16, 16, 3)
    assert "skipped small.png: 40 x 40, but needed are 96 x 96" in caplog.text
    whole = {
        patch.tobytes()
        for image in files[0].images
        for patch in np.lib.stride_tricks.sliding_window_view(image.read(), (32, 32), axis=(0, 1))
        .transpose(0, 1, 3, 4, 2)
        .reshape(-1, 32, 32, 3)
    }
    for patch in resampling.to_uint8(batch.hr * 255):
        ways = [np.rot90(one, t).tobytes() for one in (patch, patch[:, ::-1]) for t in range(4)]
        assert any(way in whole for way in ways)


def test_the_grid_is_cut_once_and_used_again(files, tmp_path_factory):
    run_dir = tmp_path_factory.mktemp("run")
    cutter = Cutter(scale=2, lr_patch_px=16, degradation=CLEAN)
    (first,) = prepare(files, "grid", cutter, run_dir)
    for image in files[0].images:
        Path(image.uri).unlink()
    (second,) = prepare(files, "grid", cutter, run_dir)
    np.testing.assert_array_equal(first.images[4].read(), second.images[4].read())


def test_a_grid_of_other_patches_or_images_is_cut_again(files, tmp_path):
    """A command that was wrong leaves its grid for the corrected one."""
    cutter = Cutter(scale=2, lr_patch_px=200, degradation=CLEAN)
    with pytest.raises(ValueError, match="has the 464 x 464"):
        prepare(files, "grid", cutter, tmp_path)
    for lr_patch_px, first, count in ((32, 1, 1), (16, 0, 10)):
        cutter = Cutter(scale=2, lr_patch_px=lr_patch_px, degradation=CLEAN)
        (cut,) = prepare(files, "grid", cutter, tmp_path)
        side = cutter.region_px
        assert len(cut.images) == count
        np.testing.assert_array_equal(
            cut.images[0].read(), files[0].images[first].read()[:side, :side]
        )
        assert len(list(tmp_path.glob("*.u8"))) == 1
    other = [Group("files", 1.0, [HrFile("/nowhere/x.png")])]
    with pytest.raises(OSError, match=r"x\.png"):
        prepare(other, "grid", cutter, tmp_path)


def test_nothing_large_enough(files, tmp_path):
    cutter = Cutter(scale=2, lr_patch_px=200, degradation=CLEAN)
    for feeding in ("memory", "grid"):
        with pytest.raises(ValueError, match=r"'files' has the 464 x 464"):
            prepare(files, feeding, cutter, tmp_path)
    with pytest.raises(ValueError, match="hardly any"):
        feed([Group("s", 1.0, [HrArray("s", np.zeros((20, 20, 3), np.uint8))])]).batch(0)
