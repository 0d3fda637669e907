import pytest

from model.command_line import CommandParser
from model.version import VERSION


@pytest.fixture
def parser():
    made = CommandParser("pipeline.read", "Exports images.\n\nMore.")
    made.add_argument("output")
    made.add_argument("--run_id")
    made.add_argument("--uri", nargs="*", default=[])
    return made


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "the following arguments are required: output"),
        (["--urii", "x"], "unknown option --urii; did you mean --uri?"),
        (["out", "--run_di=x"], "unknown option --run_di; did you mean --run_id?"),
        (["out", "--zzzzzz"], "unknown option --zzzzzz"),
        (["out", "stray"], "unrecognized arguments: stray"),
        (["out", "--run_id"], "argument --run_id: expected one argument"),
    ],
)
def test_a_wrong_command_line_ends_with_status_2_and_one_line(parser, capsys, arguments, says):
    with pytest.raises(SystemExit) as caught:
        parser.parse_args(arguments)
    assert caught.value.code == 2
    assert capsys.readouterr().err == f"pipeline.read: {says} (--help shows all options)\n"


def test_beginnings_of_options_and_arguments_after_two_hyphens_pass(parser):
    found = parser.parse_args(["--run", "a", "--", "--urii"])
    assert (found.run_id, found.output) == ("a", "--urii")


def test_version_and_help_need_no_other_argument(parser, capsys):
    for option, says in (("--version", VERSION), ("--help", "Exports images.")):
        with pytest.raises(SystemExit) as caught:
            parser.parse_args([option])
        assert caught.value.code == 0
        assert says in capsys.readouterr().out
