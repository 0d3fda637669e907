"""Places on the command lines of all commands about runs."""

import importlib

import pytest

from pipeline.options.declaration import place

COMMANDS = {
    "prune": ["{}"],
    "report": ["{}"],
    "compare": ["out/runs/a", "{}"],
    "read": ["out", "{}"],
}


@pytest.mark.parametrize("uri", ["file://host/a", "file:///x%00/"])
@pytest.mark.parametrize("command", COMMANDS)
def test_a_place_that_cannot_be_is_one_line_and_status_2(capsys, command, uri):
    main = importlib.import_module(f"pipeline.{command}.__main__").main
    with pytest.raises(SystemExit) as ended:
        main([word.format(uri) for word in COMMANDS[command]])
    error = capsys.readouterr().err
    assert ended.value.code == 2 and error.count("\n") == 1 and uri in error


def test_a_scheme_gets_small_letters_and_a_path_stays():
    assert place("S3://Shop/A") == "s3://Shop/A"
    assert place("Out/S3:") == "Out/S3:"
