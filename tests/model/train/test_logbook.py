import csv

import pytest

from model.train.logbook import Logbook

HEAD = "step,loss,learning_rate,steps_per_s,clean_psnr_y_db,mean_psnr_y_db\r\n"
FIRST = "500,0.1,0.001,5,30.000,30.0000\r\n"
SECOND = "1000,0.1,0.001,5,31.000,31.0000\r\n"


def go_on(folder, first=1000):
    """Writes one more line; returns whether it was the best, and the steps of the log."""
    with Logbook(folder, first, 2000) as logbook:
        figures = {"loss": 0.1, "learning_rate": 0.001, "steps_per_s": 5.0}
        is_best = logbook.write(1500, figures, {"clean": 30.5})
    with (folder / "log.csv").open(newline="") as file:
        return is_best, [line["step"] for line in csv.DictReader(file)]


@pytest.mark.parametrize("cut", [1, 2, 5, 20, len(SECOND) - 1])
def test_a_line_that_a_crash_cut_off_is_dropped(tmp_path, cut):
    (tmp_path / "log.csv").write_text((HEAD + FIRST + SECOND)[:-cut], newline="")
    assert go_on(tmp_path) == (True, ["500", "1500"])


@pytest.mark.parametrize("content", ["", HEAD[:20], HEAD, HEAD + "\0\0\0\r\n"])
def test_a_log_without_a_line_begins_anew(tmp_path, content):
    (tmp_path / "log.csv").write_text(content, newline="")
    assert go_on(tmp_path) == (True, ["1500"])


def test_whole_lines_stay_and_an_infinite_score_is_no_best(tmp_path):
    (tmp_path / "log.csv").write_text(HEAD + FIRST + SECOND, newline="")
    assert go_on(tmp_path) == (False, ["500", "1000", "1500"])
    exact = FIRST.replace("30.0000", "inf")
    (tmp_path / "log.csv").write_text(HEAD + exact, newline="")
    assert go_on(tmp_path) == (True, ["500", "1500"])
