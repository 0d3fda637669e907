import io

import pytest

from model.files import RangedFile, appearing

DATA = bytes(i % 251 for i in range(300_000))


class Ranges:
    """Serves ranges of some bytes and remembers which."""

    def __init__(self, data):
        self.data = data
        self.asked = []

    def __call__(self, start, stop):
        self.asked.append((start, stop))
        return self.data[start:stop]


def test_only_the_blocks_that_are_read_are_fetched():
    ranges = Ranges(DATA)
    file = RangedFile(ranges, len(DATA))
    assert file.read(1000) == DATA[:1000]
    assert file.read(10) == DATA[1000:1010]
    assert ranges.asked == [(0, 65536)]
    file.seek(-5, io.SEEK_END)
    assert file.read() == DATA[-5:]
    assert ranges.asked == [(0, 65536), (262144, 300_000)]
    file.seek(65_530)
    assert file.read(100) == DATA[65_530:65_630]
    assert file.whole() == DATA
    assert ranges.asked[2:] == [(65536, 131072), (131072, 300_000)]


def test_a_small_file_is_whole_after_its_first_block():
    ranges = Ranges(DATA[:5000])
    file = RangedFile(ranges, 5000)
    file.read(10)
    assert file.whole() == DATA[:5000]
    assert ranges.asked == [(0, 5000)]


def test_a_first_block_that_the_caller_has_is_not_fetched():
    ranges = Ranges(DATA)
    file = RangedFile(ranges, len(DATA), head=DATA[: RangedFile.BLOCK_BYTES])
    assert file.read(70_000) == DATA[:70_000]
    assert ranges.asked == [(65536, 131072)]


def test_the_missing_blocks_of_one_read_are_one_request():
    ranges = Ranges(DATA)
    file = RangedFile(ranges, len(DATA))
    file.seek(70_000)
    assert file.read(180_000) == DATA[70_000:250_000]
    assert ranges.asked == [(65_536, 262_144)]
    file.seek(0)
    assert file.read(400_000) == DATA  # on both sides of the blocks that it has
    assert ranges.asked[1:] == [(0, 65_536), (262_144, 300_000)]
    file.seek(0)
    assert file.read(400_000) == DATA and len(ranges.asked) == 3


@pytest.mark.parametrize("most", [65_536, 196_608])
def test_a_request_has_a_largest_size(monkeypatch, most):
    monkeypatch.setattr(RangedFile, "MAX_REQUEST_BYTES", most)
    ranges = Ranges(DATA)
    file = RangedFile(ranges, len(DATA))
    file.seek(10)
    assert file.read(400_000) == DATA[10:]
    sizes = [stop - start for start, stop in ranges.asked]
    assert sum(sizes) == len(DATA) and max(sizes) == most


def test_blocks_that_were_fetched_before_an_error_are_kept(monkeypatch):
    monkeypatch.setattr(RangedFile, "MAX_REQUEST_BYTES", 131_072)
    ranges = Ranges(DATA[:200_000])
    file = RangedFile(ranges, len(DATA))
    with pytest.raises(OSError, match="instead of"):
        file.read(400_000)
    ranges.data = DATA
    file.seek(0)
    assert file.read(400_000) == DATA
    assert ranges.asked == [
        (0, 131_072),
        (131_072, 262_144),
        (131_072, 262_144),
        (262_144, 300_000),
    ]


@pytest.mark.parametrize("left", [0, 10, 65_536, 70_000])
def test_a_file_that_shrank_is_an_error_and_no_endless_loop(left):
    with pytest.raises(OSError, match="instead of"):
        io.BufferedReader(RangedFile(Ranges(DATA[:left]), len(DATA))).read()
    with pytest.raises(OSError, match="instead of"):
        RangedFile(Ranges(DATA[:left]), len(DATA)).whole()


def test_a_file_appears_whole_or_not_at_all(tmp_path):
    path = tmp_path / "log.csv"
    with appearing(path) as partial:
        partial.write_text("old")
        assert not path.exists() and partial.name.startswith(".log.csv")
    with pytest.raises(OSError, match="full"), appearing(path, keep_suffix=True) as partial:
        partial.write_text("ne")
        assert partial.suffix == ".csv" and path.read_text() == "old"
        raise OSError("full")
    assert [one.name for one in tmp_path.iterdir()] == ["log.csv"] and path.read_text() == "old"


def test_a_file_s_data_is_on_the_disk_before_its_name(tmp_path, monkeypatch):
    flushed = []
    monkeypatch.setattr("os.fsync", lambda _: flushed.append((tmp_path / "a").exists()))
    with appearing(tmp_path / "a") as partial:
        partial.write_text("x")
    assert flushed[0] is False  # of the file; then, where folders can be flushed, of its folder
