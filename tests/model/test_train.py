import json

import keras
import numpy as np
import pytest
from PIL import Image

from model import degrade, train
from model.patches import Compression, draw_pairs, find_pictures, make_pairs, sample_batch
from model.rdn import RDN
from model.scenes import draw_scene
from model.train import TrainConfig


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A folder of drawn HR pictures, one of them too small for a patch."""
    folder = tmp_path_factory.mktemp("hr")
    for i in range(7):
        Image.fromarray(draw_scene(i, 60 + i, 80)).save(folder / f"{i}.png")
    Image.fromarray(draw_scene(9, 20, 80)).save(folder / "small.png")
    return folder


def config(data, **changes):
    small = {"convs_per_block": 1, "num_blocks": 1, "growth_rate": 4, "features": 4}
    short = {"steps": 12, "batch_size": 3, "lr_patch_px": 12, "warmup_steps": 2}
    return TrainConfig(data=(str(data),), **(small | short | changes))


def weights_of(path):
    return keras.saving.load_model(path, compile=False).get_weights()


def test_an_interrupted_run_ends_in_the_same_weights(data, tmp_path, monkeypatch):
    straight = train.train(config(data), tmp_path / "straight", checkpoint_every=6)

    def interrupted(*arguments, **options):
        if len(calls) == 8:
            raise KeyboardInterrupt
        calls.append(1)
        return sample_batch(*arguments, **options)

    calls = []
    with monkeypatch.context() as patch:
        patch.setattr(train, "sample_batch", interrupted)
        with pytest.raises(KeyboardInterrupt):
            train.train(config(data), tmp_path / "broken", checkpoint_every=6)
    assert not (tmp_path / "broken/model.keras").exists()
    resumed = train.train(config(data), tmp_path / "broken", checkpoint_every=6)
    for first, second in zip(weights_of(straight), weights_of(resumed), strict=True):
        np.testing.assert_array_equal(first, second)


def test_training_lowers_the_loss_and_beats_its_start(data, tmp_path):
    path = train.train(config(data, steps=60), tmp_path / "run", checkpoint_every=20)
    lines = (tmp_path / "run/log.csv").read_text().splitlines()
    assert lines[0] == "step,l1,steps_per_s,clean_psnr_y_db"
    losses = [float(line.split(",")[1]) for line in lines[1:]]
    scores = [float(line.split(",")[3]) for line in lines[1:]]
    assert len(losses) == 3 and losses[2] < losses[0] and scores[2] > scores[0]
    rdn = keras.saving.load_model(path)
    assert isinstance(rdn, RDN) and not rdn.compiled
    assert json.loads((tmp_path / "run/config.json").read_text())["steps"] == 60


def test_a_folder_of_another_run_is_refused(data, tmp_path):
    train.train(config(data, steps=1), tmp_path)
    with pytest.raises(ValueError, match=r"another configuration \(seed differ\)"):
        train.train(config(data, steps=1, seed=2), tmp_path)


def test_small_pictures_are_skipped_with_a_note(data, caplog):
    pairs = make_pairs(data, scale=2, min_lr_side=12)
    assert [pair.name for pair in pairs] == [f"{i}.png" for i in range(7)]
    assert "small.png" in caplog.text
    assert pairs[1].hr.shape == (60, 80, 3) and pairs[1].lr.shape == (30, 40, 3)


def test_compressed_pictures_are_shrunk_before_they_serve_as_hr(data):
    (pair, *_) = make_pairs(data, scale=2, min_lr_side=12, shrink_first=2)
    assert pair.hr.shape == (30, 40, 3) and pair.lr.shape == (15, 20, 3)


def test_patches_are_aligned_turned_alike_and_in_range(data):
    pairs = make_pairs(data, scale=2, min_lr_side=12)
    batch = sample_batch(
        [(1.0, pairs)], batch_size=40, lr_patch_px=12, generator=np.random.default_rng(1)
    )
    lr, hr = batch.lr, batch.hr
    assert (batch.quality == 100).all()
    assert lr.shape == (40, 12, 12, 3) and hr.shape == (40, 24, 24, 3)
    assert lr.dtype == hr.dtype == np.float32
    assert min(lr.min(), hr.min()) >= 0 and max(lr.max(), hr.max()) <= 1
    for one, truth in zip(lr, hr, strict=True):
        again = np.clip(degrade.shrink(truth, 2), 0, 1)
        np.testing.assert_allclose(one[3:-3, 3:-3], again[3:-3, 3:-3], atol=0.6 / 255)


def test_compressed_patches_are_noisy_told_and_aligned(data):
    pairs = make_pairs(data, scale=2, min_lr_side=12)

    def batch(compression):
        generator = np.random.default_rng(1)
        groups = [(1.0, pairs)]
        return sample_batch(
            groups, batch_size=60, lr_patch_px=16, generator=generator, compression=compression
        )

    mixed = batch(Compression(0.5, 20, 60))
    clean = mixed.quality == 100
    assert 0.2 < clean.mean() < 0.8
    assert mixed.quality[~clean].min() >= 20 and mixed.quality[~clean].max() <= 60
    for lr, hr, is_clean in zip(mixed.lr, mixed.hr, clean, strict=True):
        error = np.abs(lr - np.clip(degrade.shrink(hr, 2), 0, 1))[3:-3, 3:-3]
        assert error.mean() < 0.08  # a shifted patch would be far off
        assert error.max() <= 0.6 / 255 or not is_clean
    noise = [
        np.abs(batch(Compression(1, q, q)).lr - batch(Compression(1, 95, 95)).lr).mean()
        for q in (20, 60)
    ]
    assert noise[0] > noise[1] > 0


def test_drawn_scenes_as_data(tmp_path):
    assert [pair.lr.shape for pair in draw_pairs(2, scale=3, lr_side=20)] == [(20, 20, 3)] * 2
    drawn = TrainConfig(
        convs_per_block=1,
        num_blocks=1,
        growth_rate=4,
        features=4,
        steps=2,
        batch_size=2,
        lr_patch_px=12,
        drawn_scenes=6,
        jpeg_share=1.0,
        knows_quality=1,
    )
    path = train.train(drawn, tmp_path)
    assert keras.saving.load_model(path).knows_quality


def test_batches_depend_on_the_generator_alone(data):
    pairs = make_pairs(data, scale=2, min_lr_side=12)

    def batch(seed):
        generator = np.random.default_rng(seed)
        groups = [(0.5, pairs[:3]), (0.5, pairs[3:])]
        return sample_batch(groups, batch_size=4, lr_patch_px=12, generator=generator).lr

    np.testing.assert_array_equal(batch(1), batch(1))
    assert (batch(1) != batch(2)).any()


@pytest.mark.parametrize("scale", [3, 4])
def test_other_scales_train_by_the_same_code(data, tmp_path, scale):
    path = train.train(config(data, scale=scale, steps=2, lr_patch_px=8), tmp_path)
    assert keras.saving.load_model(path).scale == scale


def test_the_command_line(data, tmp_path, capsys):
    out = tmp_path / "run"
    small = "--convs_per_block 1 --num_blocks 1 --growth_rate 4 --features 4 --steps 2"
    arguments = [*small.split(), "--batch_size", "2", "--lr_patch_px", "12"]
    assert train.main(["--data", str(data), "--out", str(out), *arguments]) == 0
    assert (out / "model.keras").exists()
    assert train.main(["--data", str(tmp_path / "no"), "--out", str(tmp_path / "x")]) == 1
    assert "no such folder" in capsys.readouterr().err
    assert train.main(["--data", str(data), "--out", str(tmp_path / "y"), "--steps", "0"]) == 1
    assert "steps >= 1" in capsys.readouterr().err


def test_folders_without_pictures(tmp_path):
    with pytest.raises(FileNotFoundError, match="no pictures"):
        find_pictures(tmp_path)


def test_an_interrupted_command_says_how_to_go_on(data, tmp_path, capsys, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(train, "sample_batch", interrupted)
    small = "--convs_per_block 1 --num_blocks 1 --growth_rate 4 --features 4 --lr_patch_px 12"
    assert train.main(["--data", str(data), "--out", str(tmp_path / "run"), *small.split()]) == 130
    assert f"continues from {tmp_path / 'run'}" in capsys.readouterr().err


def test_a_finished_run_stays_as_it_is(data, tmp_path):
    path = train.train(config(data, steps=2), tmp_path)
    first = weights_of(path)
    train.train(config(data, steps=2), tmp_path)
    for before, after in zip(first, weights_of(path), strict=True):
        np.testing.assert_array_equal(before, after)
    assert len((tmp_path / "log.csv").read_text().splitlines()) == 2


def test_held_out_pictures_are_not_trained_on(data):
    both = config(data, compressed_data=(str(data),), compressed_share=0.3)
    groups, validation = train._load_groups(both)
    assert [share for share, _ in groups] == pytest.approx([0.7, 0.3])
    assert list(validation) == ["clean", "compressed"]
    for (_, pairs), held_out in zip(groups, validation.values(), strict=True):
        assert len(pairs) + len(held_out) == 7 and pairs and held_out
        assert not {pair.name for pair in pairs} & {pair.name for pair in held_out}
    assert groups[0][1][0].hr.shape[1] == 2 * groups[1][1][0].hr.shape[1] == 80


def test_a_picture_that_cannot_be_read_is_named(tmp_path, capsys):
    (tmp_path / "broken.png").write_bytes(b"no picture")
    assert train.main(["--data", str(tmp_path), "--out", str(tmp_path / "run")]) == 1
    assert "broken.png" in capsys.readouterr().err
