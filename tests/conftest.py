"""Fixtures of all tests.

TensorFlow is imported within them: the process that only hands the tests out to others would
print what it says at import behind the summary.
"""

import functools
import os
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from tests.signatures import remembering

# As in the job. Several test processes on the same cores: threads of numpy's BLAS that wait for
# each other would take 50 times the processor time of a small decode.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


@pytest.fixture(scope="session", autouse=True)
def networks_are_loaded_once() -> Iterator[None]:
    """Equal bytes give an equal network; loading and tracing it takes a second each time."""
    if "model.network.loading" not in sys.modules:  # no test of this session needs one
        yield
        return
    from model.inference import backends  # noqa: PLC0415 - see above
    from model.network import loading  # noqa: PLC0415 - see above

    load, loaded = loading.load, {}

    def load_once(saved: Any) -> Any:
        if saved.sha256 not in loaded:
            loaded[saved.sha256] = load(saved)
        return loaded[saved.sha256]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loading, "load", load_once)
        patch.setattr(backends, "Network", functools.cache(backends.Network))
        yield


@pytest.fixture(scope="session", autouse=True)
def beam_looks_at_each_method_once() -> Iterator[None]:
    """Saves half of the processor time of a run on a few small images."""
    if "apache_beam" not in sys.modules:
        yield
        return
    from apache_beam.transforms import core  # noqa: PLC0415 - see above

    with pytest.MonkeyPatch.context() as patch:
        look_once = remembering(core.get_function_args_defaults)
        patch.setattr(core, "get_function_args_defaults", look_once)
        yield


@pytest.fixture(scope="session")
def shipped() -> Any:
    from model.network import loading, presets  # noqa: PLC0415 - see above

    return loading.load_by_name(presets.DEFAULT)


@pytest.fixture(scope="session")
def decoders() -> Iterator[Any]:
    from model.imaging.sandbox import DecoderPool  # noqa: PLC0415 - see above

    with DecoderPool(2, max_pixels=40_000_000) as pool:
        yield pool


@pytest.fixture(scope="session")
def upscaler(shipped: Any) -> Any:
    from model.inference.upscaler import Upscaler  # noqa: PLC0415 - see above

    return Upscaler(shipped)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with slow tests first, so that no process works on one alone at the end."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)
