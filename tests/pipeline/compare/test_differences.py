import io
import json

import pyarrow as pa
import pytest
from PIL import Image

from model.network import loading
from model.scenes.drawing import draw_scene
from pipeline import job
from pipeline.compare import __main__ as command
from pipeline.compare import differences
from pipeline.compare.differences import group_of
from pipeline.output.schema import to_batch
from pipeline.records import Status
from tests.pipeline.browser import opened
from tests.pipeline.conftest import make_row


def table(*rows):
    return pa.Table.from_batches([to_batch(rows)]).select(list(differences.COLUMNS))


def row(uri, status=Status.UPSCALED, *, gain=None, reference=None, etag="e", sha="s", reason=None):
    return make_row(
        f"s3://b/{uri}",
        status,
        reason=reason,
        source_etag=etag,
        self_gain_db=gain,
        reference_psnr_db=reference,
        image_sha256=sha,
    )


def test_counts_and_uris():
    a = table(row("x/1"), row("x/2"), row("x/3", Status.FAILED, reason="timeout"), row("x/4"))
    b = table(row("x/1"), row("x/2", sha="t"), row("x/3"), row("x/4", etag="new"), row("y/5"))
    found = differences.compare(a, b)
    assert found.counts == [
        ("upscaled", None, 3, 5),
        ("failed", "timeout", 1, 0),
    ]
    assert (found.appeared, found.disappeared) == (1, 0)
    assert (found.common, found.rewritten, found.identical) == (3, 1, 2)
    assert found.worse == []


@pytest.mark.parametrize(
    ("before", "after", "why"),
    [
        (row("p", gain=2.0), row("p", gain=1.4), "self_gain_db 2.00 to 1.40"),
        (row("p", gain=2.0), row("p", gain=1.6), None),
        (row("p", gain=2.0), row("p", gain=9.0), None),
        # The reference decides where there is one, in both directions.
        (row("p", gain=2.0, reference=30.0), row("p", gain=0.0, reference=30.1), None),
        (
            row("p", gain=2.0, reference=30.0),
            row("p", gain=3.0, reference=29.7),
            "reference_psnr_db 30.00 to 29.70",
        ),
        (row("p"), row("p", Status.FAILED, reason="timeout"), "failed now: timeout"),
        (row("p", Status.FAILED), row("p", Status.FAILED), None),
        (row("p"), row("p", Status.FALLBACK, reason="gate:noise"), "bicubic now: gate:noise"),
        (
            row("p", Status.FALLBACK, reason="gate:noise"),
            row("p", Status.UNCHANGED, reason="gate:noise"),
            None,
        ),
        (row("p", gain=2.0), row("p", gain=0.0, etag="rewritten"), None),
        # Gone from the storage: without an etag, and worse all the same.
        (
            row("p"),
            row("p", Status.FAILED, reason="not_found", etag=None),
            "failed now: not_found",
        ),
        (row("p"), row("p", Status.SKIPPED, reason="large_enough"), None),
    ],
)
def test_what_got_worse(before, after, why):
    worse = differences.compare(table(before, row("q")), table(after, row("q"))).worse
    assert [one.why for one in worse] == ([why] if why else [])


def test_the_greatest_loss_comes_first():
    a = table(*(row(name, gain=5.0) for name in "abcd"))
    b = table(
        row("a", gain=4.0),
        row("b", gain=2.0),
        row("c", Status.FAILED),
        row("d", Status.FALLBACK, reason="gate:shift", gain=5.0),
    )
    found = differences.compare(a, b)
    assert [one.uri[-1] for one in found.worse] == ["c", "d", "b", "a"]
    assert found.worse_share == 1.0


def test_drifts_of_groups():
    a = table(*(row(f"{g}/{i}", gain=1.0) for g in "xy" for i in range(4)), row("x/none"))
    b = table(*(row(f"{g}/{i}", gain=2.0 + i * (g == "y")) for g in "xy" for i in range(4)))
    everything, x, y = differences.compare(a, b).drifts
    assert (everything.group, everything.images, everything.change) == ("all", 8, 1.75)
    assert (x.group, x.images, x.change, x.error) == ("s3://b/x", 4, 1.0, 0.0)
    assert (y.group, y.before, y.after, y.change) == ("s3://b/y", 1.0, 3.5, 2.5)
    assert y.error == pytest.approx(0.6455, abs=1e-4)  # sd 1.2910 of four, over 2


@pytest.mark.parametrize(
    ("group_by", "uri", "product_id", "group"),
    [
        ("folder", "s3://b/shoes/red/1.jpg", None, "s3://b/shoes/red"),
        ("product", "s3://b/1.jpg", "SHOE-17", "SHOE"),
        ("product", "s3://b/1.jpg", "bag17", "bag"),
        ("product", "s3://b/1.jpg", None, "(none)"),
        ("format", "s3://b/x.y/1.JPG", None, "jpg"),
        ("format", "s3://b/x.y/1", None, "(none)"),
        ("folder", "a.jpg", None, "(none)"),
    ],
)
def test_groups(group_by, uri, product_id, group):
    assert group_of(uri, product_id, group_by) == group


@pytest.fixture(scope="module")
def two_models(tmp_path_factory):
    """The same catalog by two networks, of which the second one learned nothing."""
    folder = tmp_path_factory.mktemp("models")
    (folder / "in").mkdir()
    for i in range(3):
        buffer = io.BytesIO()
        Image.fromarray(draw_scene(i, 90, 100)).save(buffer, "PNG")
        (folder / f"in/{i}.png").write_bytes(buffer.getvalue())
    model = loading.load_by_name("rdn-small")
    for weight in model.weights:
        weight.assign(weight * 0.6)
    model.save(folder / "weak.keras")
    for name, network in (("good", "rdn-small"), ("weak", str(folder / "weak.keras"))):
        arguments = ["--input", str(folder / "in"), "--output", str(folder / name)]
        assert job.run([*arguments, "--run_id", "r", "--model", network, "--report", "no"]) == 0
    return folder


def test_two_models_on_one_catalog(two_models, tmp_path, capsys):
    a, b = (str(two_models / f"{name}/runs/r") for name in ("good", "weak"))
    page, figures = tmp_path / "worse.html", tmp_path / "f.json"
    options = ["--page", str(page), "--json", str(figures)]
    assert command.main([a, b, *options]) == 3
    output = capsys.readouterr()
    assert "3 images got worse (100.0%)" in output.out and "allows 1.0%" in output.err
    found = json.loads(figures.read_text())
    assert found["worse_share"] == 1.0 and len(found["worse"]) == 3
    with opened(page, viewport={"width": 390, "height": 800}) as view:
        assert view.page.locator(".example").count() == 3
        assert view.page.evaluate("document.documentElement.scrollWidth") <= 390
        view.page.locator("[data-show=change]").first.click()
        view.page.locator("canvas").wait_for()
        assert view.problems == []
    assert command.main([b, a]) == 0
    assert command.main([a, b, "--max_worse", "1"]) == 0
    assert command.main([a, a, "--max_worse", "0"]) == 0
    assert "3 results identical to the last byte" in capsys.readouterr().out


@pytest.mark.parametrize("run", ["nowhere/runs/x", "nowhere"])
def test_no_such_run_is_one_clear_line(run, capsys):
    assert command.main([run, run]) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and run in error


def test_a_share_out_of_range_is_a_usage_error(capsys):
    with pytest.raises(SystemExit) as stopped:
        command.main(["a", "b", "--max_worse", "5"])
    assert stopped.value.code == 2 and "0..1: 5.0" in capsys.readouterr().err
