from collections.abc import Iterator

import pytest

from model import presets
from model.inference import Magnifier
from model.rdn import RDN
from model.sandbox import DecoderPool


@pytest.fixture(scope="session")
def shipped() -> RDN:
    return presets.load_by_name(presets.DEFAULT)


@pytest.fixture(scope="session")
def decoders() -> Iterator[DecoderPool]:
    with DecoderPool(2, max_pixels=40_000_000) as pool:
        yield pool


@pytest.fixture(scope="session")
def magnifier(shipped: RDN) -> Magnifier:
    return Magnifier(shipped)
