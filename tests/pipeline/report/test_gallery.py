"""The gallery of a real run: static pages and the server on loopback, read and in a browser."""

import http.client
import io
import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import threading

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from model.imaging.sandbox import DecoderPool
from model.network import presets
from model.scenes.drawing import draw_scene
from pipeline import job
from pipeline.output.schema import to_batch
from pipeline.records import Status
from pipeline.report import __main__ as report
from pipeline.report.gallery import MAX_PIXELS, RunGallery
from pipeline.report.pages import PAGE_ROWS, web_image
from pipeline.report.selection import Query
from pipeline.report.server import GalleryServer, query_address
from pipeline.storage.base import StorageConfig
from pipeline.storage.routing import open_storage
from tests.image_data import ROOT
from tests.pipeline.browser import opened
from tests.pipeline.conftest import NOW, make_row
from tests.pipeline.report.test_html import HOSTILE, SIZES

COUNT = 3


def encoded(seed=1, height=60, width=80, file_format="JPEG"):
    buffer = io.BytesIO()
    Image.fromarray(draw_scene(seed, height, width)).save(buffer, file_format)
    return buffer.getvalue()


@pytest.fixture(scope="module")
def night(tmp_path_factory):
    """A run with good images, a broken and a missing one."""
    folder = tmp_path_factory.mktemp("night")
    for i in range(COUNT):
        (folder / f"{i}.jpg").write_bytes(encoded(i))
    (folder / "broken.jpg").write_bytes(encoded(9)[:500])
    names = [*(f"{i}.jpg" for i in range(COUNT)), "broken.jpg", "missing.jpg"]
    lines = [f"{name},P-{i}" for i, name in enumerate(names)]
    lines.append(f"{names[0]},Q-0")  # another product of the first image
    (folder / "manifest.csv").write_text("uri,product_id\n" + "\n".join(lines) + "\n")
    places = ["--input", str(folder / "manifest.csv"), "--output", str(folder / "out")]
    options = ["--run_id", "n1", "--max_failure_rate", "0.9", "--report", "no"]
    assert job.run([*places, *options, "--model", presets.DEFAULT]) == 0
    return folder / "out"


@pytest.fixture(scope="module")
def many(night, tmp_path_factory):
    """The same run with hostile rows and enough rows for three pages."""
    output = tmp_path_factory.mktemp("many") / "out"
    shutil.copytree(night / "runs", output / "runs")
    rows = [
        make_row(
            *(f"/nowhere/{i}{HOSTILE[i % len(HOSTILE)]}", Status.UPSCALED, NOW),
            product_id=HOSTILE[i % len(HOSTILE)],
            reason="gate:" + HOSTILE[1],
            detail=HOSTILE[0],
            self_gain_db=float(i),
            width=160,
            height=120,
            image=encoded(i % 2, 120, 160, "PNG"),
            image_format="png",
            image_bytes=1,
        )
        for i in range(2 * PAGE_ROWS + 4)
    ]
    folder = output / "rows/run_id=n1"
    folder.mkdir(parents=True)
    table = pa.Table.from_batches([to_batch(rows)])
    pq.write_table(table, folder / "part-0.parquet", row_group_size=20)
    return output


def test_static_pages_show_every_result_beside_its_source(night, tmp_path, capsys):
    folder = tmp_path / "pages"
    assert report.main([str(night), "--gallery", str(folder)]) == 0
    assert capsys.readouterr().out == f"{COUNT} rows: {folder / 'index.html'}\n"
    text = (folder / "index.html").read_text()
    addresses = re.findall(
        r'<img class="\w+(?: source)?" src="(images/[^"]+)" loading="lazy"', text
    )
    assert len(addresses) == 2 * COUNT
    assert 'title="P-0, Q-0">P-0 and 1 more</span>' in text
    for address in addresses:
        size = Image.open(folder / address).size
        assert size == ((160, 120) if "result" in address else (80, 60))
    assert report.main([str(night), "--gallery", str(folder)]) == 1
    assert "is not empty: give a new one" in capsys.readouterr().err


@pytest.mark.parametrize("size", SIZES)
def test_static_pages_in_a_browser(night, size, tmp_path):
    folder = tmp_path / "pages"
    assert report.main([str(night), "--gallery", str(folder)]) == 0
    with opened(folder / "index.html", **SIZES[size]) as view:
        width = SIZES[size]["viewport"]["width"]
        assert view.page.evaluate("document.documentElement.scrollWidth") <= width
        view.page.locator(".example").last.scroll_into_view_if_needed()
        view.wait_for_images()
        view.page.locator("#detail").check()
        first = view.page.locator(".example .after").first
        assert first.bounding_box()["width"] == 160  # a screen pixel for each of the result
        view.page.locator(".example .open").first.press("Enter")
        view.page.locator("dialog [data-zoom='4']").press("Enter")
        assert view.page.locator("dialog .after").bounding_box()["width"] == 640
        view.page.locator("dialog [data-show=slider]").press("Enter")
        assert view.visible("dialog .cut") and view.visible("dialog .before")
        assert view.problems == []


def test_pages_have_a_bounded_size_and_lead_to_each_other(many, tmp_path, capsys):
    folder = tmp_path / "pages"
    options = ["--sort", "self_gain_db", "--ascending", "--gallery", str(folder)]
    assert report.main([str(many), *options]) == 0
    names = {path.name for path in folder.glob("*.html")}
    assert names == {"index.html", "page-2.html", "page-3.html"}
    pages = [(folder / name).read_text() for name in ("index.html", "page-2.html", "page-3.html")]
    assert [page.count("<figure") for page in pages] == [PAGE_ROWS, PAGE_ROWS, 4]
    assert all(len(page) < 200_000 for page in pages)
    assert 'href="page-2.html">next' in pages[0] and 'href="index.html">1<' in pages[2]
    gains = re.findall(r'"measures">\+(\d+)\.00 dB', "".join(pages))
    assert gains == [str(i) for i in range(2 * PAGE_ROWS + 4)]
    few = tmp_path / "few"
    assert report.main([str(many), "--limit", "2", "--gallery", str(few)]) == 0
    assert f"2 rows of {2 * PAGE_ROWS + 4}; --limit raises it" in capsys.readouterr().out
    assert "The first 2 of 100 rows." in (few / "index.html").read_text()


def test_hostile_rows_do_nothing_on_static_pages(many, tmp_path):
    folder = tmp_path / "pages"
    assert report.main([str(many), "--gallery", str(folder)]) == 0
    text = (folder / "index.html").read_text()
    assert "SECRET" not in text and "u:pw" not in text
    assert "the source cannot be shown: no such file" in text
    with opened(folder / "index.html") as view:
        assert view.page.evaluate("document.scripts.length") == 1
        assert view.page.evaluate("document.querySelectorAll('img:not(.after)').length") == 0
        assert view.problems == []


def test_what_no_browser_shows_or_no_page_should_hold_is_converted():
    with DecoderPool(1, max_pixels=MAX_PIXELS) as decoders:
        assert web_image(encoded(), decoders).data == encoded()
        tiff = web_image(encoded(file_format="TIFF"), decoders)
        assert tiff.media_type == "image/webp"
        assert Image.open(io.BytesIO(tiff.data)).size == (80, 60)
        large = Image.effect_noise((2400, 1600), 90).convert("RGB")
        buffer = io.BytesIO()
        large.save(buffer, "PNG")
        shown = web_image(buffer.getvalue(), decoders)
        assert Image.open(io.BytesIO(shown.data)).size == (2000, 1333)


@pytest.fixture(scope="module")
def servers(night, many):
    """A server of each run."""
    with DecoderPool(1, max_pixels=MAX_PIXELS) as decoders:
        files = open_storage(StorageConfig())
        started = []
        for output in (night, many):
            server = GalleryServer(RunGallery(files, str(output), "n1", decoders), port=0)
            threading.Thread(target=server.serve_forever, daemon=True).start()
            started.append(server)
        yield started
        for server in started:
            server.shutdown()
            server.server_close()


def ask(server, path, method="GET", **headers):
    """Returns the response and its body."""
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=30)
    connection.putrequest(method, path, skip_host=True)
    for name, value in ({"Host": f"127.0.0.1:{server.server_port}"} | headers).items():
        connection.putheader(name, value)
    connection.endheaders()
    response = connection.getresponse()
    body = response.read()
    connection.close()
    return response, body


def names_on(server, query):
    response, body = ask(server, query)
    assert response.status == 200, body
    return re.findall(r'<b class="file" title="[^"]*">([^<]*)</b>', body.decode())


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("/", ["0.jpg", "1.jpg", "2.jpg"]),
        ("/?q=p-1", ["1.jpg"]),
        ("/?q=2.JPG", ["2.jpg"]),
        ("/?status=failed", ["broken.jpg", "missing.jpg"]),
        ("/?status=all&reason=not_found", ["missing.jpg"]),
        ("/?q=nothing", []),
        ("/?page=99", ["0.jpg", "1.jpg", "2.jpg"]),
    ],
)
def test_the_server_searches(servers, query, names):
    assert sorted(names_on(servers[0], query)) == names


def test_the_server_sorts_and_pages(servers):
    _, body = ask(servers[1], "/?sort=self_gain_db&page=2")
    gains = re.findall(r'"measures">\+(\d+)\.00 dB', body.decode())
    assert gains == [str(i) for i in range(PAGE_ROWS + 3, 3, -1)]
    assert 'href="/?sort=self_gain_db&amp;page=3">next' in body.decode()


def test_the_server_serves_results_and_sources(servers):
    _, body = ask(servers[0], "/")
    results = re.findall(r'src="(/result/[^"]+)"', body.decode())
    sources = re.findall(r'src="(/source/[^"]+)"', body.decode())
    assert len(results) == len(sources) == COUNT
    for paths, size in ((results, (160, 120)), (sources, (80, 60))):
        for path in paths:
            response, data = ask(servers[0], path)
            assert response.headers["Content-Type"] == "image/jpeg"
            assert response.headers["X-Content-Type-Options"] == "nosniff"
            assert response.headers["Cross-Origin-Resource-Policy"] == "same-origin"
            assert Image.open(io.BytesIO(data)).size == size
    response, data = ask(servers[0], results[0], "HEAD")
    assert int(response.headers["Content-Length"]) > 500 and data == b""


@pytest.mark.parametrize(
    "host",
    [
        "shop.example",
        "shop.example:{port}",
        "127.0.0.1",
        "127.0.0.1:1",
        "localhost.evil:{port}",
        "",
    ],
)
def test_a_host_other_than_loopback_is_refused(servers, host):
    """A website could otherwise read images by a DNS name that it points to 127.0.0.1."""
    response, body = ask(servers[0], "/", Host=host.format(port=servers[0].server_port))
    assert response.status == 421 and b"loopback" in body


def test_loopback_by_its_names(servers):
    for name in ("localhost", "127.0.0.1", "[::1]", "LOCALHOST"):
        assert ask(servers[0], "/", Host=f"{name}:{servers[0].server_port}")[0].status == 200
    assert servers[0].server_address[0] == "127.0.0.1"


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/../../../etc/passwd", 404),
        ("/result/../../etc/passwd", 404),
        ("/source/%2e%2e/%2e%2e", 404),
        ("/source//etc/passwd", 404),
        ("/result/0/-1", 404),
        ("/result/0/999999", 404),
        ("/result/7/0", 404),
        ("/result/0/0/x", 404),
        ("/source/0/0?uri=/etc/passwd", 200),
        ("//evil.example/", 404),
        ("/?status=nice", 400),
        ("/?sort=image", 400),
        ("/?page=-1", 400),
        ("/?page=" + "9" * 50, 400),
        ("/?" + "&".join(f"a{i}=1" for i in range(50)), 400),
        ("/?q=" + "x" * 5000, 200),
    ],
)
def test_no_part_of_a_request_becomes_a_path(servers, path, status):
    response, body = ask(servers[0], path)
    assert response.status == status, body
    assert b"root:" not in body


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "CONNECT"])
def test_other_methods_are_refused(servers, method):
    assert ask(servers[0], "/", method)[0].status == 501


def test_a_source_that_is_gone_is_not_found(servers):
    response, body = ask(servers[1], "/source/0/0")
    assert response.status == 404 and b"no such file" in body
    assert "sandbox" in response.headers["Content-Security-Policy"]


def test_a_source_that_is_too_large_is_not_read(night):
    with DecoderPool(1, max_pixels=MAX_PIXELS) as decoders:
        gallery = RunGallery(open_storage(StorageConfig()), str(night), "n1", decoders)
        (row, *_) = gallery.rows(gallery.select(Query()), 1)
        row.columns["source_bytes"] = 200_000_000
        with pytest.raises(ValueError, match="too large to show"):
            gallery.source(row)


def test_a_browser_that_hangs_up_leaves_no_traceback(servers, capfd):
    server = servers[0]
    with socket.create_connection(("127.0.0.1", server.server_port)) as connection:
        # Closing sends a reset: the server's next read or write fails.
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.sendall(b"GET / HTTP/1.1\r\n")
    assert ask(server, "/")[0].status == 200
    assert "Traceback" not in capfd.readouterr().err


def test_what_a_search_says_is_escaped(servers):
    query = query_address(Query(search=HOSTILE[1], status="all"))
    _, body = ask(servers[1], query)
    assert b"<img src=x" not in body and b"&lt;img src=x" in body


def open_server(server, tmp_path, query, **context):
    """Opens a page of the server by a local file that leads there."""
    path = tmp_path / "start.html"
    address = server.address.rstrip("/") + query
    path.write_text(f'<meta charset="utf-8"><a href="{address}">x</a>')
    return opened(path, **context)


@pytest.mark.parametrize("size", SIZES)
def test_the_server_in_a_browser(servers, size, tmp_path):
    with open_server(servers[0], tmp_path, "/", **SIZES[size]) as view:
        with view.page.expect_navigation():
            view.page.locator("a").click()
        width = SIZES[size]["viewport"]["width"]
        assert view.page.evaluate("document.documentElement.scrollWidth") <= width
        view.page.get_by_label("product or URI").fill("P-1")
        with view.page.expect_navigation():
            view.page.get_by_role("button", name="show").click()
        assert view.page.locator(".example .file").all_inner_texts() == ["1.jpg"]
        view.wait_for_images()
        own = servers[0].address
        assert [one for one in view.problems if not one.startswith(f"requested {own}")] == []


def test_the_server_without_scripts(servers, tmp_path):
    with open_server(servers[1], tmp_path, "/", java_script_enabled=False) as view:
        with view.page.expect_navigation():
            view.page.locator("a").click()
        view.page.get_by_label("sort by").select_option("self_gain_db")
        view.page.locator("select[name=order]").select_option("ascending")
        with view.page.expect_navigation():
            view.page.get_by_role("button", name="show").click()
        assert view.page.locator(".measures").first.inner_text().startswith("+0.00 dB gain")
        with view.page.expect_navigation():
            view.page.locator("a[rel=next]").first.click()
        assert view.page.locator(".measures").first.inner_text().startswith("+48.00 dB gain")
        assert not view.visible(".tools")
        assert view.page.locator("figure a").first.is_visible()
        assert not any("alert" in one for one in view.problems)


def test_the_command_serves_until_ctrl_c(night):
    words = [str(night), "--serve", "--port", "0", "--search", "P-2"]
    command = [sys.executable, "-m", "pipeline.report", *words]
    environment = os.environ | {"PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(
        command,
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # Programs that a shell starts in the background ignore Ctrl-C, and so do their heirs.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509
    ) as process:
        try:
            line = process.stdout.readline()
            found = re.match(r"run n1: http://127\.0\.0\.1:(\d+)(/\S*) \(Ctrl-C ends it\)", line)
            assert found, (line, process.stderr.read() if not line else "")
            connection = http.client.HTTPConnection("127.0.0.1", int(found[1]), timeout=30)
            connection.request("GET", found[2])
            body = connection.getresponse().read().decode()
            connection.close()
            assert "2.jpg" in body and "1.jpg" not in body
        finally:
            process.send_signal(signal.SIGINT)
            _, error = process.communicate()
    assert (process.returncode, error) == (0, "")


def test_a_port_that_is_taken_is_one_clear_line(servers, night, capsys):
    port = str(servers[0].server_port)
    assert report.main([str(night), "--serve", "--port", port]) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and f"port {port}" in error and "--port 0" in error


@pytest.mark.parametrize(
    ("options", "error"),
    [
        (["--limit", "0"], "at least 1: 0"),
        (["--port", "70000"], "0..65535: 70000"),
        (["--status", "nice"], "invalid choice"),
        (["--serve", "--gallery", "x"], "not allowed with"),
    ],
)
def test_wrong_options_are_usage_errors(options, error, capsys):
    with pytest.raises(SystemExit) as stopped:
        report.main(["out", *options])
    assert stopped.value.code == 2 and error in capsys.readouterr().err
