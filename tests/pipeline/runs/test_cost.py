"""What hours and requests cost."""

import pytest

from pipeline.runs import cost
from tests.pipeline.conftest import make_settings

REQUESTS = {"list": 3, "head": 500, "get": 1500, "put_copy_delete": 97}


def priced(core_hours=10.0, gpu_hours=0.0, **prices):
    return cost.cost_of(
        make_settings(**prices), core_hours=core_hours, gpu_hours=gpu_hours, requests=REQUESTS
    )


def test_each_amount_has_its_price():
    found = priced(
        gpu_hours=2.0,
        price_core_hour=0.05,
        price_gpu_hour=3.0,
        price_1000_reads=0.4,
        price_1000_writes=5.0,
    )
    assert found == {"cores": 0.5, "gpus": 6.0, "reads": 0.8, "writes": 0.5, "total": 7.8}
    assert cost.describe(found) == (
        "cost: 7.80 (cores 0.50, gpus 6.00, reads 0.80, writes 0.50), "
        "in the currency of the prices"
    )


def test_what_has_no_price_costs_nothing_and_is_not_told():
    found = priced(price_core_hour=0.05)
    assert found == {"cores": 0.5, "gpus": None, "reads": None, "writes": None, "total": 0.5}
    assert "reads" not in cost.describe(found)
    assert priced() is None


def test_unknown_hours_have_no_total():
    found = priced(core_hours=None, price_core_hour=0.05, price_1000_reads=1.0)
    assert (found["cores"], found["reads"], found["total"]) == (None, 2.0, None)
    assert cost.describe(found) == "cost: unknown, because the hours are"
    assert priced(core_hours=None, price_1000_reads=1.0)["total"] == 2.0


@pytest.mark.parametrize(
    ("core_hours", "shown"), [(0.0, "0.00"), (0.00123, "6.2e-05"), (40_000.0, "2,000.00")]
)
def test_small_and_large_amounts_can_be_read(core_hours, shown):
    told = cost.describe(priced(core_hours=core_hours, price_core_hour=0.05))
    assert told.startswith(f"cost: {shown} (cores {shown})")
