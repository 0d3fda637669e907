import concurrent.futures
import dataclasses
import functools
import threading

import keras
import numpy as np
import pytest
import tensorflow as tf

from model.data import degradation
from model.imaging import resampling
from model.inference import backends, dtypes
from model.inference.backends import Network, TileBatchBackend, WholeImageBackend
from model.inference.upscaler import Upscaler
from model.metrics import full_reference
from model.network import loading
from model.scenes.drawing import draw_scene

AWKWARD = [(1, 1), (3, 200), (95, 97), (96, 128), (133, 100), (160, 530), (161, 299)]


@pytest.fixture(scope="module")
def product():
    return shipped_network()


@functools.cache
def shipped_network():
    return loading.load_by_name("rdn-product")


def told(*qualities):
    """What the network is told of images of these JPEG qualities."""
    return shipped_network().conditions(np.array(qualities), 0.0)


@pytest.fixture(scope="module")
def network(product):
    return Network(product, "float32")


@pytest.fixture(scope="module")
def lower(product):
    return WholeImageBackend(Network(product, "bfloat16"))


class Watched:
    """A network that counts its calls, and may run out of memory."""

    def __init__(self, network, max_px=1 << 40):
        self.scale, self.halo_px = network.scale, network.halo_px
        self._network = network
        self._max_px = max_px
        self.calls = []
        self.hold = threading.Event()
        self.hold.set()

    def rounded(self, lr, conditions):
        self.hold.wait()
        self.calls.append(tuple(lr.shape[:3]))
        if np.prod(self.calls[-1]) > self._max_px:
            raise tf.errors.ResourceExhaustedError(None, None, "injected")
        return self._network.rounded(lr, conditions)


def image(height, width, seed=1):
    return draw_scene(seed, max(height, 64), max(width, 64))[:height, :width]


@pytest.mark.parametrize("size", AWKWARD)
def test_tiles_of_few_shapes_give_the_whole_image(network, size):
    lr = np.stack([image(*size, seed=1), image(*size, seed=2)])
    conditions = told(60, 100)
    whole, tiled = WholeImageBackend(network), TileBatchBackend(network, max_call_px=100_000)
    np.testing.assert_array_equal(tiled.rounded(lr, conditions), whole.rounded(lr, conditions))
    # One image: `rounded` above has shown that a batch keeps its order.
    lr, conditions = lr[:1], conditions[:1]
    # The order of a convolution's sums depends on the call: see NOISE in test_tiling.py.
    levels, expected = tiled.levels(lr, conditions), whole.levels(lr, conditions)
    np.testing.assert_allclose(levels, expected, rtol=0, atol=0.0005)


class Repeated:
    """Stands for a network where only the calls matter: repeats pixels."""

    def __init__(self, network):
        self.scale, self.halo_px = network.scale, network.halo_px

    def rounded(self, lr, _):
        return tf.repeat(tf.repeat(lr, self.scale, axis=1), self.scale, axis=2)


def test_images_of_many_sizes_share_few_shapes(network):
    watched = Watched(Repeated(network))
    tiled = TileBatchBackend(watched, max_call_px=100_000)
    for width in range(200, 320, 7):
        tiled.rounded(image(64, width)[None], told(100))
    assert len({shape[1:] for shape in watched.calls}) < 6


def test_images_of_several_threads_go_through_one_call(network):
    watched = Watched(network)
    tiled = TileBatchBackend(watched, max_call_px=100_000)
    images = [image(80, 90, seed) for seed in range(9)]
    qualities = [100, 40, 70, 100, 30, 90, 100, 55, 80]
    watched.hold.clear()
    with concurrent.futures.ThreadPoolExecutor(9) as threads:
        made = [
            threads.submit(tiled.rounded, one[None], told(quality))
            for one, quality in zip(images, qualities, strict=True)
        ]
        # One is in its call, the others wait. The queue has no public view (SLF001).
        while sum(map(len, tiled._waiting.values())) + 1 < len(images):  # noqa: SLF001
            pass
        watched.hold.set()
        results = [one.result()[0] for one in made]
    assert watched.calls == [(1, 80, 90), (8, 80, 90)]
    whole = WholeImageBackend(network)
    for one, quality, result in zip(images, qualities, results, strict=True):
        np.testing.assert_array_equal(result, whole.rounded(one[None], told(quality))[0])


def test_threads_may_share_tiles_of_many_shapes(network):
    tiled, whole = TileBatchBackend(network, max_call_px=60_000), WholeImageBackend(network)
    images = [image(40 + 17 * i, 130 - 9 * i, seed=i)[None] for i in range(10)]
    of_75 = told(75)
    alone = [whole.rounded(one, of_75) for one in images]
    with concurrent.futures.ThreadPoolExecutor(6) as threads:
        for _ in range(3):
            together = list(threads.map(lambda one: tiled.rounded(one, of_75), images))
            for expected, result in zip(alone, together, strict=True):
                np.testing.assert_array_equal(result, expected)


def test_a_batch_that_does_not_fit_is_halved_and_nothing_is_lost(network):
    watched = Watched(network, max_px=2 * 64 * 64)
    tiled = TileBatchBackend(watched, max_call_px=1 << 20)
    lr = np.stack([image(64, 64, seed) for seed in range(7)])
    lossless = told(*[100] * 7)
    result = tiled.rounded(lr, lossless)
    np.testing.assert_array_equal(result, WholeImageBackend(network).rounded(lr, lossless))
    assert [shape[0] for shape in watched.calls] == [4, 2, 2, 2, 1]


def test_a_call_that_fails_is_the_error_of_all_threads_whose_tiles_it_holds(network):
    class Failing(Watched):
        def rounded(self, lr, conditions):
            self.hold.wait()
            raise tf.errors.InternalError(None, None, "cuDNN launch failure")

    failing = Failing(network)
    failing.hold.clear()
    tiled = TileBatchBackend(failing, max_call_px=1 << 20)
    with concurrent.futures.ThreadPoolExecutor(4) as threads:
        one = image(64, 64)[None]
        waiting = [threads.submit(tiled.rounded, one, told(100)) for _ in range(4)]
        failing.hold.set()
        assert {type(done.exception()) for done in waiting} == {tf.errors.InternalError}


def test_a_tile_that_does_not_fit_is_its_images_error_alone(network):
    watched = Watched(network, max_px=70 * 70)
    tiled = TileBatchBackend(watched, max_call_px=1 << 20)
    with pytest.raises(tf.errors.ResourceExhaustedError):
        tiled.rounded(image(80, 80)[None], told(100))
    assert tiled.rounded(image(60, 60)[None], told(100)).shape == (1, 120, 120, 3)


def test_the_upscaler_makes_smaller_tiles_where_a_gpu_has_no_room(network, product):
    small = TileBatchBackend(Watched(network, max_px=130 * 130), max_call_px=1 << 20)
    upscaler = Upscaler(product, backend=small, skip_background=False)
    whole = Upscaler(product, backend=WholeImageBackend(network), skip_background=False)
    lr = image(200, 260)
    np.testing.assert_array_equal(upscaler.upscale_rgb(lr), whole.upscale_rgb(lr))


@pytest.mark.parametrize("seed", range(4))
def test_bfloat16_gives_the_same_image_within_one_level(network, lower, seed):
    hr = draw_scene(seed, 240, 320)
    clean = resampling.to_uint8(resampling.shrink(hr, 2))
    for quality in (100, 50):
        lr = clean if quality == 100 else degradation.compress_jpeg(clean, quality)
        exact = WholeImageBackend(network).rounded(lr[None], told(quality))[0]
        result = lower.rounded(lr[None], told(quality))[0]
        difference = np.abs(np.subtract(exact, result, dtype=np.int16))
        assert difference.max() <= 1
        assert 0 < difference.mean() < 0.03
        first, second = (full_reference.psnr_y(hr, one, border=2) for one in (exact, result))
        assert abs(first - second) < 0.03  # of 40 dB; either may be ahead


def test_tiles_are_invisible_in_bfloat16_too(product):
    whole = Upscaler(product, compute_dtype="bfloat16")
    tiled = Upscaler(product, compute_dtype="bfloat16", max_call_px=70 * 70)
    lr = np.random.default_rng(1).integers(0, 256, (150, 130, 3), dtype=np.uint8)
    np.testing.assert_array_equal(tiled.upscale_rgb(lr), whole.upscale_rgb(lr))


def test_another_precision_leaves_the_network_as_it_is(product):
    before = product.get_weights()
    Network(product, "float16")
    for old, new in zip(before, product.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    assert product.get_layer("rdb1_conv1").compute_dtype == "float32"


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ("flags\t\t: fpu avx512f avx512_bf16 fsrm", "bfloat16"),
        ("flags\t\t: fpu amx_bf16 amx_tile", "bfloat16"),
        ("flags\t\t: fpu avx2 avx512f", "float32"),
        ("Features\t: asimd", "float32"),
    ],
)
def test_the_processor_decides(monkeypatch, tmp_path, flags, expected):
    (tmp_path / "cpuinfo").write_text(f"processor\t: 0\n{flags}\n")
    monkeypatch.setattr(dtypes, "CPU_INFO", tmp_path / "cpuinfo")
    monkeypatch.delenv("TF_ENABLE_ONEDNN_OPTS", raising=False)
    assert backends.fastest_dtype() == expected
    monkeypatch.setenv("TF_ENABLE_ONEDNN_OPTS", "0")
    assert backends.fastest_dtype() == "float32"


def test_without_a_description_of_the_processor_float32(monkeypatch, tmp_path):
    monkeypatch.setattr(dtypes, "CPU_INFO", tmp_path / "none")
    assert backends.fastest_dtype() == "float32"


@dataclasses.dataclass
class FakeGpus:
    """TensorFlow's description of a machine with a GPU."""

    capability: tuple

    def put_into(self, monkeypatch):
        monkeypatch.setattr(tf.config, "list_physical_devices", lambda _: ["gpu"])
        details = {"compute_capability": self.capability}
        monkeypatch.setattr(tf.config.experimental, "get_device_details", lambda _: details)


@pytest.mark.parametrize(
    ("capability", "expected"),
    [((9, 0), "bfloat16"), ((8, 0), "bfloat16"), ((7, 5), "float16"), ((6, 1), "float32")],
)
def test_a_gpu_decides_by_its_capability_and_gets_tiles(
    monkeypatch, product, capability, expected
):
    FakeGpus(capability).put_into(monkeypatch)
    assert backends.fastest_dtype() == expected
    chosen = backends.choose_backend(product, compute_dtype=expected, max_call_px=1000)
    assert isinstance(chosen, TileBatchBackend) and not chosen.one_at_a_time


def test_keras_on_another_backend_is_told(shipped, monkeypatch):
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    with pytest.raises(RuntimeError, match=r"has it on jax: set .* KERAS_BACKEND to tensorflow"):
        Network(shipped, "float32")
