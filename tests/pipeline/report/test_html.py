"""The report of a run, read as text and opened in a real browser."""

import io
import json
import shlex
import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from model.network import presets
from model.scenes.drawing import draw_scene
from pipeline import cli, job
from pipeline.output.schema import to_batch
from pipeline.records import RunError, Status
from pipeline.report import __main__ as report
from pipeline.report import html
from pipeline.report.html import replay_command
from pipeline.report.notes import write_notes
from tests.pipeline.browser import opened
from tests.pipeline.conftest import NOW, make_row

HOSTILE = (
    "</script><script>alert(1)</script>",
    '"><img src=x onerror=alert(2)>',
    "{{ 7*7 }}<!--",
    "javascript:alert(3)\x00\x1b\u202e",
    "https://u:pw@shop.example/a?X-Amz-Signature=SECRET&x=1",
)


def jpeg(seed, height=90, width=120):
    buffer = io.BytesIO()
    Image.fromarray(draw_scene(seed, height, width)).save(buffer, "JPEG", quality=85)
    return buffer.getvalue()


@pytest.fixture(scope="module")
def night(tmp_path_factory):
    """An output with one run, by the command line: good images, a broken and a missing one."""
    folder = tmp_path_factory.mktemp("night")
    for i in range(8):
        (folder / f"{i}.jpg").write_bytes(jpeg(i))
    (folder / "broken.jpg").write_bytes(jpeg(9)[:900])
    lines = [f"{i}.jpg,P{i}" for i in range(8)]
    lines += ["broken.jpg,B", "missing.jpg,M", 'odd <b>"&.jpg,<i>&']
    (folder / "manifest.csv").write_text("uri,product_id\n" + "\n".join(lines) + "\n")
    arguments = ["--input", str(folder / "manifest.csv"), "--output", str(folder / "out")]
    assert job.run([*arguments, "--run_id", "n1", "--max_failure_rate", "0.5"]) == 0
    return folder / "out"


def report_of(night):
    return night / "runs/n1/report.html"


def test_the_run_writes_its_report(night):
    text = report_of(night).read_text()
    assert "n1: 8 of 11 images upscaled" in text
    assert text.count('<figure class="example"') == 18  # worst 6, best 6, random 6
    assert "P3" in text and "no such file" in text
    assert 50_000 < len(text) < 2_000_000


def test_the_report_can_be_written_again(night, capsys):
    before = report_of(night).read_text()
    report_of(night).unlink()
    assert report.main([str(night)]) == 0
    assert capsys.readouterr().out.strip() == str(report_of(night))
    again = report_of(night).read_text()
    footer = "<footer"  # it holds the time of writing
    assert again.partition(footer)[0] == before.partition(footer)[0]


def test_the_report_is_that_of_the_run_that_latest_json_names(night, tmp_path, capsys):
    output = tmp_path / "out"
    shutil.copytree(night, output)
    summary = json.loads((output / "runs/n1/summary.json").read_text())
    options = ["--output", str(output), "--run_id", "trial", "--limit", "1", "--report", "no"]
    assert job.run(["--input", summary["input"], *options, "--max_failure_rate", "1"]) == 0
    assert json.loads((output / "runs/latest.json").read_text())["run_id"] == "n1"
    capsys.readouterr()
    assert report.main([str(output)]) == 0
    assert capsys.readouterr().out.strip() == str(output / "runs/n1/report.html")
    shutil.rmtree(output / "runs/n1")  # where there are trials only, the newest
    assert report.main([str(output)]) == 0
    assert capsys.readouterr().out.strip() == str(output / "runs/trial/report.html")


@pytest.mark.parametrize("arguments", [["--run_id", "none"], []])
def test_no_such_run_is_one_clear_line(tmp_path, night, capsys, arguments):
    output = night if arguments else tmp_path
    assert report.main([str(output), *arguments]) == 1
    assert "there is no finished run" in capsys.readouterr().err


def test_a_report_that_cannot_be_written_does_not_fail_the_run(
    tmp_path, monkeypatch, caplog, capsys
):
    (tmp_path / "in").mkdir()
    (tmp_path / "in/a.jpg").write_bytes(jpeg(1, 40, 40))

    def broken(*_, **__):
        raise RuntimeError("the report broke")

    monkeypatch.setattr(html, "make_report", broken)
    arguments = ["--input", str(tmp_path / "in"), "--output", str(tmp_path / "out")]
    assert job.run([*arguments, "--run_id", "n1"]) == 0
    assert "the report broke" in caplog.text
    assert (tmp_path / "out/runs/n1/_SUCCESS").exists()
    assert job.run([*arguments, "--run_id", "n2", "--report", "no"]) == 0
    assert not (tmp_path / "out/runs/n2/report.html").exists()
    assert "report:" not in capsys.readouterr().out


SIZES = {
    "desktop": {"viewport": {"width": 1360, "height": 900}},
    "dark": {"viewport": {"width": 1360, "height": 900}, "color_scheme": "dark"},
    "phone": {
        "viewport": {"width": 360, "height": 740},
        "device_scale_factor": 2,
        "is_mobile": True,
        "has_touch": True,
    },
}


@pytest.mark.parametrize("size", SIZES)
def test_the_report_in_a_browser(night, size):
    with opened(report_of(night), **SIZES[size]) as view:
        found = view.page
        width = found.evaluate("document.documentElement.scrollWidth")
        assert width <= SIZES[size]["viewport"]["width"], "it scrolls sideways"
        images = found.evaluate(
            "Promise.all([...document.images].map(i => i.decode().then(() => i.naturalWidth)))"
        )
        assert len(images) == 36 and min(images) == 240
        assert found.evaluate("[...document.images].every(i => i.alt)")
        paper = found.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (sum(int(n) for n in paper[4:-1].split(",")) < 150) == (size == "dark")
        assert view.problems == []


def test_slider_maps_and_large_view_by_keyboard(night):
    with opened(report_of(night), **SIZES["desktop"]) as view:
        first = view.page.locator(".example").first
        cut = first.locator(".cut")
        cut.focus()
        for _ in range(10):
            view.page.keyboard.press("ArrowRight")
        shape = "getComputedStyle(document.querySelector('.layer.top')).clipPath"
        assert "60%" in view.page.evaluate(shape)
        for what, text in (("error", "round-trip error"), ("change", "difference of ours")):
            first.locator(f"[data-show={what}]").press("Enter")
            first.locator("canvas").wait_for()
            assert text in first.locator(".key").inner_text()
            assert first.locator("canvas").get_attribute("role") == "img"
        brightest = view.page.evaluate(
            "(c => Math.max(...c.getContext('2d').getImageData(0, 0, c.width, c.height).data"
            ".filter((_, i) => i % 4 == 0)))(document.querySelector('canvas'))"
        )
        assert brightest > 240
        first.locator("[data-show=slider]").press("Enter")
        assert not first.locator("canvas").is_visible()
        first.locator(".open").press("Enter")
        name = view.page.locator("dialog .file").inner_text()
        view.page.locator("dialog [data-zoom='4']").press("Enter")
        assert view.page.locator("dialog .view").bounding_box()["width"] == 960
        view.page.keyboard.press("n")
        assert view.page.locator("dialog .file").inner_text() != name
        view.page.keyboard.press("p")
        assert view.page.locator("dialog .file").inner_text() == name
        view.page.keyboard.press("Escape")
        assert not view.visible("dialog") and view.page.locator(".example").count() == 18
        assert view.problems == []


@pytest.fixture
def summary(night):
    return json.loads((night / "runs/n1/summary.json").read_text())


def test_hostile_texts_do_nothing(summary, local_files, tmp_path):
    rows = [
        make_row(
            *(f"s3://b/{text}", status, NOW),
            product_id=text,
            reason="unreadable" if status == Status.FAILED else text,
            detail=text,
            self_gain_db=1.0,
            image_bytes=1,
            image_uri=f"/nowhere/{text}",
            reference_uri=text,
        )
        for text in HOSTILE
        for status in (Status.FAILED, Status.UPSCALED, Status.FALLBACK)
    ]
    run = tmp_path / "out/rows/run_id=n1"
    run.mkdir(parents=True)
    pq.write_table(pa.Table.from_batches([to_batch(rows)]), run / "part-0.parquet")
    hostile = summary | {
        "input": f"/nowhere/{HOSTILE[1]}.csv",
        "by_status": dict.fromkeys(Status, 5),
    }
    text = html.make_report(local_files, str(tmp_path / "out"), hostile)
    assert "SECRET" not in text and "u:pw" not in text
    assert "alert(1)&lt;/script&gt;" in text and "{{ 7*7 }}" in text
    assert "\x1b" not in text and "\u202e" not in text
    path = tmp_path / "hostile.html"
    path.write_text(text)
    with opened(path) as view:
        assert view.page.evaluate("document.scripts.length") == 1
        assert view.page.evaluate("document.querySelectorAll('img').length") == 0
        assert view.problems == []


def test_what_the_policy_forbids_would_not_run_even_unescaped(night, tmp_path):
    text = report_of(night).read_text()
    path = tmp_path / "mistake.html"
    path.write_text(text.replace("<h1>", "<h1><img src=x onerror='document.title=1'>"))
    with opened(path) as view:
        view.page.wait_for_timeout(200)
        assert view.page.title() == "Run n1"
        assert any("Content Security Policy" in problem for problem in view.problems)


def test_images_are_left_out_where_the_report_is_full(night, summary, local_files):
    text = html.make_report(local_files, str(night), summary, max_bytes=10_000)
    assert "the report has enough images" in text
    whole = report_of(night).read_text()
    assert text.count("data:image/webp") < whole.count("data:image/webp") == 54


def test_an_image_in_several_parts_of_the_report_is_read_once(
    night, summary, local_files, monkeypatch
):
    read = []
    original = local_files.read

    def counted(uri, *arguments, **options):
        read.append(uri)
        return original(uri, *arguments, **options)

    monkeypatch.setattr(local_files, "read", counted)
    html.make_report(local_files, str(night), summary)
    sources = [uri for uri in read if uri.endswith(".jpg")]
    assert len(sources) == len(set(sources)) == 8


def test_a_source_that_is_gone_or_another(night, summary, local_files, tmp_path):
    moved = summary | {"input": str(tmp_path / "manifest.csv")}
    text = html.make_report(local_files, str(night), moved)
    assert "the source cannot be shown: no such file" in text
    assert 'class="after"' in text and 'class="before"' not in text


@pytest.mark.parametrize("size", [(120, 90), (60, 45), (1, 1)])
def test_another_image_in_the_source_s_place_is_not_shown(
    night, summary, local_files, tmp_path, size
):
    """A shop replaced it since the run, by a placeholder perhaps."""
    for i in range(8):
        Image.new("RGB", size, (9, 9, 200)).save(tmp_path / f"{i}.jpg")
    moved = summary | {"input": str(tmp_path / "manifest.csv")}
    text = html.make_report(local_files, str(night), moved)
    assert "the source cannot be shown: the file changed" in text
    assert 'class="after"' in text and 'class="before"' not in text


def rejected_row(night, folder, status):
    """Writes a run whose one row's result was rejected: bicubic was published."""
    source = Image.open(io.BytesIO(jpeg(3))).convert("RGB")
    published = np.asarray(source.resize((240, 180), Image.Resampling.BICUBIC))
    png = io.BytesIO()
    Image.fromarray(published).save(png, "PNG")
    row = make_row(
        *(str(night.parent / "3.jpg"), status, NOW),
        reason="gate:noise",
        detail="published is bicubic",
        image_bytes=png.tell(),
        image={"bytes": png.getvalue(), "path": "a.png"},
    )
    run = folder / "out/rows/run_id=n1"
    run.mkdir(parents=True)
    pq.write_table(pa.Table.from_batches([to_batch([row])]), run / "part-0.parquet")
    return str(folder / "out"), {"by_status": dict.fromkeys(Status, 0) | {status: 1}}


def test_a_rejected_result_is_upscaled_again_to_be_shown(night, summary, local_files, tmp_path):
    output, counts = rejected_row(night, tmp_path, Status.FALLBACK)
    text = html.make_report(local_files, output, summary | counts)
    assert "published: bicubic" in text and ">rejected<" in text
    other = {"model": {"name": presets.DEFAULT, "sha256": "0"}}
    text = html.make_report(local_files, output, summary | counts | other)
    assert "cannot be shown: the network was replaced since the run" in text


def test_a_run_with_nothing_to_upscale_loads_no_network_for_its_report(
    night, summary, local_files, tmp_path
):
    """Its model is not even there."""
    output, counts = rejected_row(night, tmp_path, Status.UNCHANGED)
    missing = {"model": {"name": "/nowhere/a.keras", "sha256": "0"}}
    text = html.make_report(local_files, output, summary | counts | missing)
    assert "an earlier run rejected the result" in text
    assert 'class="after"' in text and "cannot be shown" not in text


def test_the_replay_command_is_understood_by_the_job(summary):
    given = {
        "max_side": 800,
        "s3_endpoint_url": "http://localhost:9000",
        "allow_schemes": ["file"],
    }
    changed = summary | {"settings": summary["settings"] | given}
    command = shlex.split(replay_command(changed, "timeout", "not_found"))
    assert command[:2] == ["python", "run_pipeline.py"]
    settings, rest = cli.parse(command[2:], NOW)
    assert rest == []
    assert settings.input == summary["input"] and settings.output == summary["output"]
    assert (settings.previous, settings.retry) == ("n1", ("timeout", "not_found"))
    assert (settings.max_side, settings.allow_schemes) == (800, ("file",))
    assert settings.max_failure_rate == 0.5
    assert settings.s3_endpoint_url == "http://localhost:9000"


def test_the_replay_command_replays(night, summary):
    command = shlex.split(replay_command(summary, "not_found"))
    missing = night.parent / "missing.jpg"
    missing.write_bytes(jpeg(77))
    try:
        assert job.run([*command[2:], "--run_id", "n2", "--report", "no"]) == 0
    finally:
        missing.unlink()
    found = json.loads((night / "runs/n2/summary.json").read_text())
    assert found["by_status"]["upscaled"] == 1 and found["by_status"]["unchanged"] == 8


def notes(summary, before=None, **changes):
    return [(note.level, note.text) for note in write_notes(summary | changes, before)]


def test_notes_tell_the_worst_first(summary):
    assert ("watch", "3 images failed, within the limit") in notes(summary)
    bad = notes(summary, failure_rate=0.6)
    assert bad[0] == ("bad", "60.0% of the images failed, the limit is 50.0%")
    rejected = notes(summary, by_status={"upscaled": 90, "fallback": 10})
    assert ("watch", "the quality gate rejected 10 of 100 results") in rejected
    gone = notes(summary, disappeared=4, previous_run="n0")
    assert ("watch", "4 images of n0 disappeared from the catalog") in gone


def test_a_note_says_that_the_run_saw_a_part_of_the_catalog(summary):
    part = {"limit": 20, "include": ["shoes/"]}
    said = ("watch", "the run saw a part of the catalog: --limit 20 --include shoes/")
    assert said in notes(summary, selection=part)
    assert said not in notes(summary, selection=None)


def test_notes_against_the_previous_run(summary):
    def with_gain(gain):
        return summary | {"percentiles": {"self_gain_db": {"p50": gain}}}

    before = with_gain(3.0) | {"by_reason": {}}
    fell = notes(with_gain(2.5), before)
    assert ("watch", "median gain +2.50 dB, -0.50 against the previous run") in fell
    assert ("watch", "new since the previous run: not_found, unreadable") in fell
    assert ("good", "median gain +3.10 dB, +0.10 against the previous run") in notes(
        with_gain(3.1), before
    )


def test_an_unfinished_run_has_no_report(tmp_path, local_files):
    with pytest.raises(RunError, match="no finished run x"):
        html.write_report(local_files, str(tmp_path), "x")


def test_the_report_of_a_run_on_s3(bucket):
    bucket.put("in/a.jpg", jpeg(1, 60, 60))
    places = ["--input", bucket.uri("in/"), "--output", bucket.uri("out")]
    assert job.run([*places, "--run_id", "n1", "--s3_endpoint_url", bucket.endpoint]) == 0
    text = bucket.get("out/runs/n1/report.html").decode()
    assert text.count('class="before"') == 3
    assert f"--run_id n1 --serve --s3_endpoint_url {bucket.endpoint}" in text
