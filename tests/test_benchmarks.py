"""What several benchmarks measure with."""

import pytest

from benchmarks import listing, pipeline_vs_network


@pytest.mark.parametrize(
    ("options", "value"),
    [
        ([], None),
        (["--precision"], ""),
        (["--precision", "float32", "--workers", "1"], "float32"),
        (["--workers=1", "--precision=float32"], "float32"),
        (["--precision=float32", "--precision", "bfloat16"], "bfloat16"),
        (["--precisions=float32"], None),
    ],
)
def test_an_option_of_the_pipeline_is_seen_in_both_spellings(options, value):
    assert pipeline_vs_network.value_of("--precision", options) == value


def test_making_the_clients_is_no_part_of_a_listing(monkeypatch):
    made, timed = [], []
    session, measure_time = listing.boto3.session.Session, listing.time.process_time

    class Counting(session):
        def client(self, *args, **kwargs):
            made.append(measure_time())
            return super().client(*args, **kwargs)

    def noted():
        timed.append(measure_time())
        return timed[-1]

    monkeypatch.setattr(listing.boto3.session, "Session", Counting)
    monkeypatch.setattr(listing.time, "process_time", noted)
    with listing.made_up_credentials():
        ways = listing.measure(keys=1500, latency_ms=0, rounds=2)
    assert list(ways) == list(listing.WAYS)
    assert len(timed) == 2 * 2 * len(ways)
    assert made and max(made) < min(timed)
