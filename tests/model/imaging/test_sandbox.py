import gc
import io
import os
import re
import resource
import signal
import struct
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from model.imaging import decoder_process
from model.imaging.decode import decode
from model.imaging.decoder_process import DecoderProcess
from model.imaging.errors import (
    AnimatedImageError,
    DecoderKilledError,
    DecodeTimeoutError,
    ImageError,
    TooManyPixelsError,
    UnreadableImageError,
    UnsupportedFormatError,
)
from model.imaging.header import read_header
from model.imaging.sandbox import DecoderPool, DecoderUnavailableError
from tests.malformed import (
    animated_gif,
    malformed_files,
    saved,
    scan_bomb,
    slow_bmp,
    tag_bomb,
    valid_files,
)

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")

LIMIT = 40_000_000
VALID = valid_files()
JPEG = VALID["baseline.jpg"]
# Some three seconds in a decoder.
SLOW = slow_bmp(19_000_000)
SLOWEST = slow_bmp(19_900_000)


@pytest.fixture(scope="module")
def shared_pool():
    with DecoderPool(2, max_pixels=LIMIT) as pool:
        yield pool


def children(parent=None):
    """Process ids of a process's decoders."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            status = (folder / "stat").read_text().rpartition(") ")[2].split()
            command = (folder / "cmdline").read_bytes()
        except OSError:
            continue
        if int(status[1]) == (parent or os.getpid()) and b"model.imaging.decoder_child" in command:
            found.append(int(folder.name))
    return sorted(found)


@pytest.fixture
def mine():
    """Lists the decoders that the test started, beside those of the shared pool."""
    others = set(children())
    return lambda: sorted(set(children()) - others)


def is_alive(process):
    try:
        status = Path(f"/proc/{process}/stat").read_text().rpartition(") ")[2].split()
    except OSError:
        return False
    return status[0] != "Z"


def wait_until(condition, seconds=20):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.02)


def assert_works(pool):
    header, image = pool.decode(JPEG, max_pixels=10_000)
    assert (header.height, header.width) == (61, 47) == (image.height, image.width)


@pytest.mark.parametrize("name", VALID)
def test_it_is_what_this_process_would_decode(shared_pool, name):
    data = VALID[name]
    assert shared_pool.read_header(io.BytesIO(data)) == read_header(io.BytesIO(data))
    header, image = shared_pool.decode(data, max_pixels=LIMIT, first_frame=True)
    expected_header, expected = decode(data, max_pixels=LIMIT, first_frame=True)
    assert header == expected_header
    np.testing.assert_array_equal(image.rgb, expected.rgb)
    assert image.rgb.dtype == np.uint8
    assert (image.alpha is None) == (expected.alpha is None)
    if expected.alpha is not None:
        np.testing.assert_array_equal(image.alpha, expected.alpha)
    assert image.is_grey is expected.is_grey
    assert image.icc_profile == expected.icc_profile


@pytest.mark.parametrize(
    ("data", "kind", "text"),
    [
        (b"", UnreadableImageError, "empty"),
        (JPEG[:300], UnreadableImageError, "broken"),
        (b"<html>", UnsupportedFormatError, "JPEG, PNG"),
        (VALID["frames.gif"], AnimatedImageError, "more than one frame"),
        (saved(Image.new("L", (100, 100)), "PNG"), TooManyPixelsError, "the limit is 9999"),
    ],
)
def test_the_known_errors_come_back(shared_pool, data, kind, text):
    before = children()
    with pytest.raises(kind, match=text):
        shared_pool.decode(data, max_pixels=9999)
    assert_works(shared_pool)
    assert set(before) <= set(children())  # a reported error costs no process


def test_malformed_files_end_in_an_image_or_its_error(mine):
    """None crashes, hangs or bloats anything, and the pool goes on."""
    before_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    outcomes = {"image": 0}

    def outcome(file):
        name, data = file
        try:
            found = pool.read_header(io.BytesIO(data))
            header, image = pool.decode(data, max_pixels=2_000_000)
        except ImageError as error:
            assert "crashed" not in str(error) and "invalid" not in str(error), name
            assert not isinstance(error, DecodeTimeoutError), name
            assert "\n" not in str(error) and len(str(error)) < 500, name
            return type(error).__name__
        assert image.rgb.shape == (header.height, header.width, 3), name
        assert found.format == header.format, name
        return "image"

    with (
        DecoderPool(2, timeout_s=20, max_pixels=2_000_000) as pool,
        ThreadPoolExecutor(2) as threads,
    ):
        for kind in threads.map(outcome, malformed_files()):
            outcomes[kind] = outcomes.get(kind, 0) + 1
        assert len(mine()) <= 2
        assert_works(pool)
    assert sum(outcomes.values()) > 400
    assert all(
        outcomes.get(kind.__name__, 0) > 3
        for kind in (UnreadableImageError, AnimatedImageError, TooManyPixelsError)
    )
    assert outcomes["image"] > 50 and outcomes["UnsupportedFormatError"] > 10
    after_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert after_kb - before_kb < 100_000


@pytest.mark.parametrize(
    "data", [SLOW, scan_bomb(6000, 6000, 800)], ids=["run lengths", "progressive scans"]
)
def test_a_file_that_takes_too_long(data, mine):
    assert len(data) < 150_000
    with DecoderPool(1, timeout_s=0.3, max_pixels=LIMIT) as pool:
        with pytest.raises(DecodeTimeoutError, match=r"longer than 0\.3 s") as caught:
            pool.decode(data, max_pixels=LIMIT)
        assert caught.value.reason == "decode_timeout"
        assert mine() == []
        assert_works(pool)


def test_a_header_that_takes_too_long():
    """Pillow joins a GIF's comment from blocks of 255 bytes, in quadratic time."""
    comment = b"GIF89a\x0a\0\x0a\0\0\0\0!\xfe" + (b"\xff" + bytes(255)) * 50_000
    with DecoderPool(1, timeout_s=0.5, max_pixels=LIMIT) as pool:
        with pytest.raises(DecodeTimeoutError):
            pool.read_header(io.BytesIO(comment))
        assert_works(pool)


def kill_when_busy(kill, mine, times):
    """Sends a signal to each new decoder once it is at work, so many times; returns them."""
    killed = []
    while len(killed) < times:
        for child in set(mine()) - set(killed):
            time.sleep(0.3)
            os.kill(child, kill)
            killed.append(child)
        time.sleep(0.02)
    return killed


@pytest.mark.parametrize("sign", [signal.SIGSEGV, signal.SIGABRT])
def test_a_decoder_that_crashes(sign, mine):
    with DecoderPool(1, max_pixels=LIMIT) as pool, ThreadPoolExecutor(1) as threads:
        assert_works(pool)
        (child,) = mine()
        answer = threads.submit(pool.decode, SLOW, max_pixels=LIMIT)
        time.sleep(0.2)
        os.kill(child, sign)
        with pytest.raises(
            UnreadableImageError, match=rf"crashed on this file \(signal {sign.value}\)"
        ):
            answer.result()
        assert_works(pool)
        assert mine() != [child]


@pytest.mark.parametrize("sign", [signal.SIGKILL, signal.SIGTERM])
def test_a_decoder_killed_from_outside_decodes_once_more(sign, mine, caplog):
    """As the system kills for want of memory: the file is not at fault."""
    with DecoderPool(1, max_pixels=LIMIT) as pool, ThreadPoolExecutor(1) as threads:
        assert_works(pool)
        (child,) = mine()
        answer = threads.submit(pool.decode, SLOW, max_pixels=LIMIT)
        time.sleep(0.2)
        os.kill(child, sign)
        with pytest.raises(UnreadableImageError, match=r"broken BMP|truncated"):
            answer.result()  # the file's own fault, found by the second decoder
        assert f"killed on this file (signal {sign.value})" in caplog.text
        assert child not in mine()
        assert_works(pool)


def test_a_decoder_killed_twice_is_no_lasting_verdict(mine):
    with DecoderPool(2, max_pixels=LIMIT) as pool, ThreadPoolExecutor(1) as threads:
        answer = threads.submit(pool.decode, SLOWEST, max_pixels=LIMIT)
        kill_when_busy(signal.SIGKILL, mine, times=2)
        with pytest.raises(DecoderKilledError, match=r"signal 9\).*no other image") as caught:
            answer.result()
        assert caught.value.reason == "out_of_memory"
        assert_works(pool)


def test_a_killed_decoder_reads_a_header_once_more(mine):
    with DecoderPool(1, max_pixels=LIMIT) as pool, ThreadPoolExecutor(1) as threads:
        file = StoredFile(late_header(3), delay_s=0.3)
        answer = threads.submit(pool.read_header, file)
        kill_when_busy(signal.SIGKILL, mine, times=1)
        assert answer.result().height == 61


def test_the_second_attempt_works_alone(mine):
    with DecoderPool(3, max_pixels=LIMIT) as pool, ThreadPoolExecutor(8) as threads:
        for answer in [threads.submit(assert_works, pool) for _ in range(30)]:
            answer.result()
        with pool._all_ended():  # as the second attempt does  # noqa: SLF001
            assert mine() == []
            answers = [threads.submit(assert_works, pool) for _ in range(30)]
            while not all(answer.done() for answer in answers):
                assert len(mine()) <= 1
        for answer in answers:
            answer.result()


def test_a_decoder_killed_at_its_start_does_not_end_the_run(tmp_path, monkeypatch, caplog):
    """The first two starts are killed; no image is lost but the one that was hit twice."""
    count = tmp_path / "count"
    program = tmp_path / "decoder"
    program.write_text(
        f"#!/bin/sh\necho >> {count}\n[ $(wc -l < {count}) -gt $KILLS ] || kill -9 $$\n"
        f'exec {sys.executable} "$@"\n'
    )
    program.chmod(0o700)
    monkeypatch.setattr(sys, "executable", str(program))
    monkeypatch.setattr(
        decoder_process, "INHERITED_VARIABLES", (*decoder_process.INHERITED_VARIABLES, "KILLS")
    )
    monkeypatch.setenv("KILLS", "1")
    with DecoderPool(1, max_pixels=LIMIT) as pool:
        assert_works(pool)
    assert "killed at its start (signal 9)" in caplog.text
    count.unlink()
    monkeypatch.setenv("KILLS", "2")
    with DecoderPool(1, max_pixels=LIMIT) as pool:
        with pytest.raises(DecoderKilledError, match="killed at its start"):
            pool.decode(JPEG, max_pixels=10_000)
        assert_works(pool)


def test_a_child_that_died_while_idle_is_replaced(shared_pool):
    assert_works(shared_pool)
    for child in children():
        os.kill(child, signal.SIGKILL)
        wait_until(lambda child=child: not is_alive(child))
    assert_works(shared_pool)


def test_a_traceback_is_an_event_of_the_job(caplog, capfd):
    process = DecoderProcess(timeout_s=30, max_pixels=LIMIT)
    with pytest.raises(UnreadableImageError, match=r"exit status 1"):
        process.ask({"no": "such request"}, JPEG)
    process.end()
    wait_until(lambda: caplog.messages)
    (logged,) = caplog.messages
    assert re.match(r"A decoder process ended: Traceback .*TypeError: .* 'no'$", logged, re.S)
    assert capfd.readouterr().err == ""


def test_memory_is_limited(mine):
    """3 GB of tags, by a file of 1 MB; the process that refuses them goes on."""
    with DecoderPool(1, max_pixels=1_000_000) as pool:
        assert_works(pool)
        (child,) = mine()
        with pytest.raises(UnreadableImageError, match="more memory than allowed"):
            pool.decode(tag_bomb(3000, 1_000_000), max_pixels=1_000_000)
        peak_kb = int(proc_value(child, "status", "VmHWM"))
        assert 200_000 < peak_kb < 600_000
        limit = int(proc_value(child, "limits", "Max address space"))
        assert limit == (512 << 20) + 32 * 1_000_000
        assert_works(pool)
        assert mine() == [child]


def proc_value(process, name, key):
    for line in Path(f"/proc/{process}/{name}").read_text().splitlines():
        if line.startswith(key):
            return line.removeprefix(key).lstrip(": \t").split()[0]
    raise AssertionError(f"no {key}")


def test_the_largest_image_fits_into_the_memory():
    """Of the format that takes most: WebP keeps two canvases, and 16 bits take wide sums."""
    pixels = np.random.default_rng(1).integers(0, 256, (1500, 2000, 4), dtype=np.uint8)
    deep = Image.fromarray(pixels[..., 0].astype(np.int32) * 257)
    with DecoderPool(1, max_pixels=3_000_000) as pool:
        for data in (
            saved(Image.fromarray(pixels), "WEBP", lossless=True, method=0, quality=0),
            saved(deep, "TIFF"),
        ):
            assert pool.decode(data, max_pixels=3_000_000)[1].width == 2000


def test_many_threads_share_few_children(mine):
    names = [*VALID] * 4
    with DecoderPool(2, max_pixels=LIMIT) as pool, ThreadPoolExecutor(8) as threads:
        assert mine() == []  # none before it is needed

        def height_of(name):
            return pool.decode(VALID[name], max_pixels=LIMIT, first_frame=True)[1].height

        heights = list(threads.map(height_of, names))
        assert len(mine()) == 2
    expected = {
        n: decode(d, max_pixels=LIMIT, first_frame=True)[1].height for n, d in VALID.items()
    }
    assert heights == [expected[name] for name in names]


def test_closing_leaves_no_process(mine):
    # Long enough that on a slow machine the other decoder works before the slow one is ended.
    pool = DecoderPool(2, timeout_s=8, max_pixels=LIMIT)
    with ThreadPoolExecutor(2) as threads:
        slow = threads.submit(pool.decode, SLOW, max_pixels=LIMIT)
        wait_until(mine)
        assert_works(pool)
        assert len(mine()) == 2
        pool.close()  # after what is under way
        assert slow.done() or slow.exception(timeout=1)
        assert mine() == []
    pool.close()
    for call in (
        lambda: pool.decode(JPEG, max_pixels=LIMIT),
        lambda: pool.read_header(io.BytesIO(JPEG)),
    ):
        with pytest.raises(ValueError, match="closed"):
            call()


def test_a_pool_that_nobody_holds_leaves_no_process(mine):
    pool = DecoderPool(2, max_pixels=LIMIT)
    assert_works(pool)
    assert len(mine()) == 1
    del pool
    gc.collect()
    assert mine() == []


PARENT = """
import sys, threading, time
from model.imaging.sandbox import DecoderPool
from tests.malformed import saved, slow_bmp
from PIL import Image
pool = DecoderPool(1, timeout_s=0.7, max_pixels=40_000_000)
pool.decode(saved(Image.new("L", (9, 9)), "PNG"), max_pixels=100)
if sys.argv[1] == "busy":
    pool._timeout_s = 60  # the child's own limit is to be seen, not the parent's
    threading.Timer(0.3, print, ["ready"], {"flush": True}).start()
    pool.decode(slow_bmp(19_000_000), max_pixels=40_000_000)
print("ready", flush=True)
time.sleep(60)
"""


@pytest.mark.parametrize("state", ["idle", "busy"])
def test_the_child_ends_with_its_parent(state):
    root = Path(__file__).parents[3]
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, state], stdout=subprocess.PIPE, cwd=root, text=True
    )
    with parent:
        assert parent.stdout.readline() == "ready\n"
        (child,) = children(parent.pid)
        assert os.getsid(child) != os.getsid(parent.pid)  # Ctrl-C does not reach it
        parent.kill()
        parent.wait()
        wait_until(lambda: not is_alive(child), seconds=8)


def test_the_child_knows_neither_secrets_nor_the_network_s_libraries(monkeypatch, mine):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "very-secret")
    with DecoderPool(1, max_pixels=LIMIT) as pool:
        assert_works(pool)
        (child,) = mine()
        assert b"very-secret" not in Path(f"/proc/{child}/environ").read_bytes()
        mapped = Path(f"/proc/{child}/maps").read_text()
    assert "_imaging" in mapped and "tensorflow" not in mapped
    code = (
        "import sys, model.imaging.decoder_child;"
        "print(*{m.partition('.')[0] for m in sys.modules})"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=Path(__file__).parents[3],
        capture_output=True,
        text=True,
        check=True,
    )
    assert not {"tensorflow", "keras", "apache_beam", "boto3"} & set(done.stdout.split())


def test_a_child_is_replaced_after_many_images(monkeypatch, mine):
    monkeypatch.setattr(decoder_process, "_MAX_CALLS", 3)
    with DecoderPool(1, max_pixels=LIMIT) as pool:
        seen = []
        for _ in range(7):
            assert_works(pool)
            seen += mine()
    assert len(seen) == 7 and len(set(seen)) == 3


class StoredFile(io.RawIOBase):
    """Like `model.files.RangedFile`: counts requests, is slow, and fails on request."""

    def __init__(self, data, *, fails_from=None, delay_s=0.0):
        super().__init__()
        self._file = io.BytesIO(data)
        self._fails_from = fails_from
        self._delay_s = delay_s
        self.read_bytes = 0

    def readable(self):
        return True

    def seekable(self):
        return True

    def seek(self, offset, whence=0):
        return self._file.seek(offset, whence)

    def readinto(self, buffer):
        if self._fails_from is not None and self._file.tell() >= self._fails_from:
            raise LookupError("the storage is gone")
        time.sleep(self._delay_s)
        count = self._file.readinto(buffer)
        self.read_bytes += count
        return count


def late_header(padding):
    """A JPEG whose size stands behind `padding` segments of 64 KB."""
    segment = b"\xff\xef" + struct.pack(">H", 65535) + bytes(65533)
    return JPEG[:2] + segment * padding + JPEG[2:]


def test_a_header_is_fetched_in_ranges(shared_pool):
    big = JPEG + bytes(5_000_000)
    file = StoredFile(big)
    assert shared_pool.read_header(file) == read_header(io.BytesIO(JPEG))
    assert file.read_bytes == 64 << 10
    file = StoredFile(late_header(20) + bytes(5_000_000))
    assert shared_pool.read_header(file) == read_header(io.BytesIO(JPEG))
    assert 20 * 65536 < file.read_bytes < 23 * 65536
    pages = saved(Image.new("RGB", (700, 500)), "TIFF")  # its directory is at the end
    file = StoredFile(pages)
    assert (shared_pool.read_header(file).width, file.read_bytes < 200_000) == (700, True)


def test_a_header_without_end_is_refused(shared_pool):
    file = StoredFile(late_header(400))
    with pytest.raises(UnreadableImageError, match="more than 16 MiB"):
        shared_pool.read_header(file)
    assert file.read_bytes < 17 << 20
    assert_works(shared_pool)


@pytest.mark.parametrize("fails_from", [0, 200_000])
def test_what_the_file_raises_reaches_the_caller(shared_pool, fails_from):
    with pytest.raises(LookupError, match="the storage is gone"):
        shared_pool.read_header(StoredFile(late_header(20), fails_from=fails_from))
    assert_works(shared_pool)


def test_fetching_does_not_count_as_decoding():
    with DecoderPool(1, timeout_s=0.5, max_pixels=LIMIT) as pool:
        file = StoredFile(late_header(3), delay_s=0.3)
        started = time.monotonic()
        assert pool.read_header(file).height == 61
        assert time.monotonic() - started > 0.9


# Programs in a decoder's place. Each gets one request and sends what stands in its braces.
TAKEN_OVER = """#!{python}
import os, struct, sys, time
sys.path.insert(0, {root!r})
from model.imaging.decoder_child import receive, send
out = sys.stdout.buffer
send(out, {{"ready": True}})
receive(sys.stdin.buffer, 10**9)
header = dict(format="JPEG", mode="RGB", height=2, width=2, is_lossless=False)
header |= dict(jpeg_quality=9, found_jpeg_quality=None, note=None)
rest = b"", b"", b""
{lie}
out.flush()
time.sleep(60)
"""
LIES = {
    "no message": 'out.write(b"Traceback (most recent call last)")',
    "a giant header": 'out.write(struct.pack(">I", 2**31))',
    "deep JSON": 'out.write(struct.pack(">I", 60_000) + b"[" * 60_000)',
    "no JSON": 'out.write(struct.pack(">I", 4) + b"1, 2")',
    "a list": 'out.write(struct.pack(">I", 2) + b"[]")',
    "giant parts": 'out.write(struct.pack(">I", 19) + b\'{"parts": [9999999]}\'[:19])',
    "parts beyond the limit": 'send(out, {"header": header}, bytes(5 << 20))',
    "negative parts": 'out.write(struct.pack(">I", 15) + b\'{"parts": [-1]}\')',
    "another size": 'send(out, {"header": header}, bytes(11), *rest)',
    "too few parts": 'send(out, {"header": header}, bytes(12))',
    "a foreign format": 'send(out, {"header": header | {"format": "EPS"}}, bytes(12), *rest)',
    "no size": 'send(out, {"header": header | {"height": None}}, bytes(12), *rest)',
    "an endless size": 'send(out, {"header": header | {"width": 1e999}}, bytes(12), *rest)',
    "a side beyond a row": 'send(out, {"header": header | {"height": 2**31}}, b"", *rest)',
    "a negative side": 'send(out, {"header": header | {"width": -2}}, bytes(12), *rest)',
    "a wild quality": 'send(out, {"header": header | {"jpeg_quality": 2**40}}, bytes(12))',
    "no rights": 'send(out, {"header": header}, bytes(12), b"", b"", b"[7]")',
    "no header": 'send(out, {"header": 7})',
    "an unknown error": 'send(out, {"error": "SystemExit", "detail": "bye"})',
    "another's file": 'send(out, {"read": [-5, 7]})',
    "all of the file": 'send(out, {"read": [0, 2**60]})',
    "a strange range": 'send(out, {"read": "/etc/passwd"})',
}


@pytest.fixture
def taken_over(tmp_path, monkeypatch):
    def install(lie):
        program = tmp_path / "decoder"
        root = str(Path(__file__).parents[3])
        program.write_text(TAKEN_OVER.format(python=sys.executable, root=root, lie=lie))
        program.chmod(0o700)
        monkeypatch.setattr(sys, "executable", str(program))

    return install


@pytest.mark.parametrize("lie", LIES)
def test_a_decoder_that_was_taken_over_is_not_believed(taken_over, lie, mine):
    taken_over(LIES[lie])
    with DecoderPool(1, timeout_s=20, max_pixels=1000) as pool:
        for call in (
            lambda: pool.decode(JPEG, max_pixels=1000),
            lambda: pool.read_header(io.BytesIO(late_header(1))),
        ):
            try:
                header = call()  # a header may come with parts too many
                assert (header.height, header.width) == (2, 2)
            except UnreadableImageError as error:
                assert "answer on this file is invalid" in str(error) or "16 MiB" in str(error)
                assert mine() == []


def test_a_decoder_that_does_not_start(tmp_path, monkeypatch):
    program = tmp_path / "decoder"
    program.write_text("#!/bin/sh\nexit 3\n")
    program.chmod(0o700)
    for executable in (program, tmp_path / "missing"):
        monkeypatch.setattr(sys, "executable", str(executable))
        with DecoderPool(1, max_pixels=100) as pool:
            for _ in range(2):
                with pytest.raises(DecoderUnavailableError, match=r"start"):
                    pool.decode(JPEG, max_pixels=100)


def test_wrong_use(mine):
    with pytest.raises(ValueError, match="at least one child"):
        DecoderPool(0, max_pixels=100)
    with DecoderPool(1, max_pixels=100) as pool:
        with pytest.raises(ValueError, match="Received: 101"):
            pool.decode(JPEG, max_pixels=101)
        with pytest.raises(UnreadableImageError, match="the limit is"):
            pool.decode(bytes((128 << 20) + 801), max_pixels=100)
        assert mine() == []


def test_thousands_of_frames(shared_pool):
    data = animated_gif(100_000)
    with pytest.raises(AnimatedImageError):
        shared_pool.decode(data, max_pixels=LIMIT)
    _, image = shared_pool.decode(data, max_pixels=LIMIT, first_frame=True)
    assert image.rgb.shape == (1, 1, 3)
