"""Files of options: the same options in other words; the command line wins."""

import datetime

import pytest

from pipeline import cli
from pipeline.config_file import ConfigError, read_arguments

NOW = datetime.datetime(2026, 7, 8, 9, 10, 11, tzinfo=datetime.UTC)
TOML = """
input = "s3://shop/images/"
output = "s3://shop/upscaled"
max_side = 800
max_failure_rate = 0.2
retry = ["timeout", "gate:noise"]
report = "no"
dry_run = true
s3_unsigned = true
run_id = "2026-07-08"
runner = "FlinkRunner"
experiments = ["a", "b"]
"""
YAML = """
input: s3://shop/images/
output: s3://shop/upscaled
max_side: 800
max_failure_rate: 0.2
retry: [timeout, "gate:noise"]
report: no            # YAML's false
dry_run: yes          # and its true
s3_unsigned: yes
run_id: 2026-07-08    # and its date
runner: FlinkRunner
experiments:
  - a
  - b
"""


@pytest.fixture
def write(tmp_path):
    def write(text, name="night.toml"):
        (tmp_path / name).write_text(text)
        return str(tmp_path / name)

    return write


def parse(*arguments):
    return cli.parse(list(arguments), NOW)


@pytest.mark.parametrize(
    ("name", "text"), [("n.toml", TOML), ("n.yaml", YAML), ("n.YML", YAML), ("n.yml", YAML)]
)
def test_both_formats_say_the_same(write, name, text):
    path = write(text, name)
    settings, rest = parse("--config", path)
    assert (settings.input, settings.output) == ("s3://shop/images/", "s3://shop/upscaled")
    assert (settings.max_side, settings.max_failure_rate) == (800, 0.2)
    assert settings.retry == ("timeout", "gate:noise")
    assert (settings.report, settings.dry_run, settings.s3_unsigned) == ("no", True, "yes")
    assert (settings.run_id, settings.config) == ("2026-07-08", path)
    assert rest == ["--runner=FlinkRunner", "--experiments=a", "--experiments=b"]


def test_the_command_line_wins(write):
    path = write(TOML)
    settings, rest = parse("--max_side", "700", f"--config={path}", "--runner", "DirectRunner")
    assert (settings.max_side, settings.max_failure_rate) == (700, 0.2)
    assert rest[-2:] == ["--runner", "DirectRunner"]


def test_a_false_flag_is_not_given(write):
    path = write('input = "s3://a/"\noutput = "s3://b"\ndry_run = false')
    assert parse("--config", path)[0].dry_run is False


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("max_sid = 800", "unknown option --max_sid; did you mean --max_side?"),
        ('runer = "FlinkRunner"', "unknown option --runer; did you mean --runner?"),
        ("max_side = 8.5", "--max_side: must be a whole number of at least 1: 8.5"),
        ('images = "none"', "--images"),
        ("[s3]\nendpoint = 1", "s3 takes one value or a list of values, it has a dict"),
        ("retry = [[1]]", "retry takes one value or a list of values, it has a list"),
        ('config = "other.toml"', "cannot name another one"),
        ("max_side 800", "no TOML"),
        ("max_side = 1\nmax_side = 2", "no TOML: Cannot overwrite a value"),
    ],
)
def test_a_wrong_file_ends_with_one_line_that_names_it(write, capsys, text, says):
    path = write(text)
    with pytest.raises(SystemExit) as caught:
        parse("--config", path, "--input", "s3://a/", "--output", "s3://b")
    error = capsys.readouterr().err
    assert caught.value.code == 2 and error.count("\n") == 1
    assert error.startswith(f"run_pipeline.py: --config {path}: ") and says in error


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("max_side: 1\nmax_side: 2", "max_side stands in it twice"),
        ("max_side:", "max_side takes one value or a list of values, it has no value"),
        ("- max_side", "holds no options"),
        ("max_side: [", "no YAML: "),
        ("a: &a [*a]", "takes one value"),
        ("a: [{}]", "takes one value"),
        ("<<: {}", "takes one value"),
        ("? {}\n: 1", "holds no options"),
        ("? [a]\n: 1", "holds no options"),
        ("max_side", "holds no options"),
    ],
)
def test_yaml_that_cannot_be_options(write, text, says):
    path = write(text, "night.yaml")
    with pytest.raises(ConfigError, match=f"{path}: .*{says}") as caught:
        read_arguments(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("name", "text"), [("n.toml", TOML), ("n.yaml", YAML)])
def test_a_byte_order_mark_is_no_part_of_the_options(write, name, text):
    plain = read_arguments(write(text, name))
    assert read_arguments(write(f"\ufeff{text}", name)) == plain
    assert read_arguments(write(f"\ufeff{text.strip()}", name)) == plain


def test_an_empty_list_is_not_given(write):
    assert read_arguments(write("include = []\nexperiments = []")) == []


@pytest.mark.parametrize("text", ["", "# nothing\n"])
def test_an_empty_file_has_no_options(write, text):
    assert read_arguments(write(text, "night.yaml")) == read_arguments(write(text)) == []


@pytest.mark.parametrize(
    "value", ["0123", "010", "1_000", "12:30:00", "1.50", "2026-07-08", "1e3"]
)
def test_values_of_yaml_stay_as_they_are_written(write, value):
    path = write(f"run_id: {value}\n0x10: [{value}]", "night.yaml")
    assert read_arguments(path) == [f"--run_id={value}", f"--0x10={value}"]


def test_quoted_words_of_yaml_are_no_booleans(write):
    path = write('id_column: "yes"\nuri_column: "null"\ndry_run: On', "night.yaml")
    assert read_arguments(path) == ["--id_column=yes", "--uri_column=null", "--dry_run"]


def test_yaml_builds_no_objects(write):
    path = write("max_side: !!python/object/apply:os.getcwd []", "night.yaml")
    with pytest.raises(ConfigError, match="no YAML"):
        read_arguments(path)


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("none.toml", None, "No such file"),
        ("night.ini", b"", "ends in .toml, .yaml or .yml"),
        ("night.toml", b"a = '\xff'", "is not UTF-8"),
    ],
)
def test_a_file_that_cannot_be_read(tmp_path, capsys, name, content, says):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(SystemExit):
        parse("--config", str(tmp_path / name))
    assert says in capsys.readouterr().err


def test_a_missing_argument_and_a_missing_place(write, capsys):
    for arguments, says in (
        (["--config"], "expected one argument"),
        (["--config", write("max_side = 800")], "--input is required"),
    ):
        with pytest.raises(SystemExit):
            parse(*arguments)
        assert says in capsys.readouterr().err


def test_what_a_runner_requires_may_stand_in_the_file_and_on_the_command_line(write, capsys):
    path = write('runner = "DataflowRunner"\nproject = "shop-1"\nregion = "us-central1"')
    places = ["--input", "s3://a/", "--output", "s3://b", "--config", path]
    _, rest = parse(*places, "--temp_location", "gs://shop/temp")
    assert rest[-2:] == ["--temp_location", "gs://shop/temp"]
    with pytest.raises(SystemExit):
        parse(*places)
    assert "--runner DataflowRunner needs --temp_location" in capsys.readouterr().err


def test_a_secret_in_a_file_is_not_repeated(write, capsys):
    path = write('s3_endpoint_url = "http://me:PLANTED@host"\nnotify = "PLANTED"')
    with pytest.raises(SystemExit):
        parse("--config", path, "--input", "s3://a/", "--output", "s3://b")
    with pytest.raises(SystemExit):
        parse("--input", "s3://a/", "--output", "s3://b", "--notify", "ftp://PLANTED")
    with pytest.raises(SystemExit):
        parse("--input", "s3://a/", "--output", "s3://b", "--notify", "http://[PLANTED")
    assert "PLANTED" not in capsys.readouterr().err
