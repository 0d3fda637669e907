import pytest

from model import presets
from model.inference import Magnifier
from model.rdn import RDN


@pytest.fixture(scope="session")
def shipped() -> RDN:
    return presets.load_by_name(presets.DEFAULT)


@pytest.fixture(scope="session")
def magnifier(shipped: RDN) -> Magnifier:
    return Magnifier(shipped)
