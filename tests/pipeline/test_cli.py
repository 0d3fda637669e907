import datetime
import pickle

import pytest

from pipeline import cli

NOW = datetime.datetime(2026, 7, 8, 9, 10, 11, tzinfo=datetime.UTC)
REQUIRED = ["--input", "s3://shop/m.csv", "--output", "s3://shop/out/"]


def parse(*arguments):
    return cli.parse([*REQUIRED, *arguments], NOW)


def test_the_contract_s_defaults():
    settings, rest = parse()
    assert rest == []
    assert (settings.input, settings.output) == ("s3://shop/m.csv", "s3://shop/out")
    assert settings.run_id == "20260708T091011Z"
    assert (settings.min_side, settings.max_side) == (32, 1000)
    assert settings.max_pixels == 40_000_000
    assert (settings.images, settings.image_format) == ("parquet", "auto")
    assert settings.max_failure_rate == 0.05
    assert settings.s3_endpoint_url is None


def test_workers_are_a_number_or_chosen_by_the_run():
    assert parse()[0].workers is None and parse("--workers", "auto")[0].workers is None
    assert parse("--workers", "3")[0].workers == 3
    with pytest.raises(SystemExit):
        parse("--workers", "0")


def test_who_wants_larger_results_takes_larger_images():
    assert parse("--target_side", "1600")[0].max_side == 1600
    assert parse("--target_side", "600")[0].max_side == 1000
    assert parse("--target_side", "1600", "--max_side", "400")[0].max_side == 400


def test_a_scale_is_a_number_or_the_network_s_own():
    assert parse("--scale", "auto")[0].scale is None and parse("--scale", "3")[0].scale == 3


def test_beam_options_are_passed_on():
    _, rest = parse("--runner=FlinkRunner", "--flink_version", "1.20", "--parallelism=2")
    assert rest == ["--runner=FlinkRunner", "--flink_version", "1.20", "--parallelism=2"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--max_sid", "800"], "did you mean --max_side"),
        (
            ["--allow_schemes", "https"],
            "images are read from s3 and file only",
        ),
        (["--input", "s3://shop/pictures"], "did you mean s3://shop/pictures/?"),
        (["--output", __file__], "is a file, not a folder"),
        (["--runer=FlinkRunner"], "did you mean --runner"),
        (["--runner", "DirectRuner"], "--runner DirectRuner: no such runner; did you mean Direct"),
        (["--runner", "Mill"], "--runner Mill: no such runner; they are DataflowRunner, "),
        (["--runner", "no.such.Runner"], "--runner no.such.Runner: No module named 'no'"),
        (["--runner", "json.JSONDecoder"], "--runner json.JSONDecoder: it is no PipelineRunner"),
        (["--runner"], "--runner: expected one argument"),
        (["--num_workers", "abc"], "--num_workers: invalid int value: 'abc'"),
        (["--environment_type", "PROCESS"], "process_command is required"),
        (
            ["--runner", "DataflowRunner"],
            "--runner DataflowRunner needs --temp_location, --project, --region",
        ),
        (
            ["--runner=DataflowRunner", "--temp_location=gs://abc/t", "--region=us-central1"],
            "--runner DataflowRunner needs --project",
        ),
        (
            [
                *("--runner=DataflowRunner", "--project=shop-1", "--region=us-central1"),
                "--temp_location=s3://abc/t",
            ],
            "Beam refuses its options: Invalid GCS path (s3://abc/t), given for the option",
        ),
        (["stray"], "unknown option stray"),
        (["--run_id", "../x"], "--run_id"),
        (["--run_id", ""], "--run_id"),
        (["--min_side", "0"], "at least 1"),
        (["--min_side", "x"], "--min_side: must be a whole number of at least 1: x"),
        (["--min_side", "500", "--max_side", "400"], "--max_side 400 is below"),
        (["--target_side", "32"], "--target_side 32 leaves no image: --min_side is 32"),
        (["--scale", "5"], "--scale: must be 2, 3, 4 or auto: 5"),
        (["--source_sharpening", "9"], "--source_sharpening: must be unknown or a number from"),
        (["--source_sharpening", "some"], "as model.sharpening prints it: some"),
        (["--max_failure_rate", "5"], "--max_failure_rate: must be a number from 0 to 1"),
        (["--images", "none"], "--images"),
        (["--image_format", "bmp"], "--image_format"),
        (["--input", "s3://shop/manifest.xlsx"], "neither a manifest"),
        (["--input", "gs://shop/m.csv"], "gs:// is not supported"),
        (["--input", "s3:///m.csv"], "s3://bucket/key"),
        (["--output", "s3://"], "s3://bucket/key"),
        (["--input", "s3://shop/", "--output", "s3://shop/out"], "is below --input"),
        (["--input", "s3://shop/images/", "--output", "s3://shop"], "images/ of --output"),
        (["--input", "s3://shop/images/a/", "--output", "s3://shop/"], "give another --output"),
        (["--input", "/shop/out/rows/", "--output", "/shop/out"], "rows/ of --output"),
        (["--s3_endpoint_url", "localhost:9000"], "--s3_endpoint_url"),
        (["--s3_endpoint_url", "http://me:secret@host"], "may not carry credentials"),
        (["--s3_endpoint_url", "http://[::1"], "--s3_endpoint_url: must be http://host:port"),
        (
            ["--s3_endpoint_url", "http://host:99999"],
            "--s3_endpoint_url: must be http://host:port",
        ),
        (["--input", "file://host/a/"], "--input: a file URI is file:///path, on this machine"),
        (["--input", "file:///x%00/"], "--input: a path may not hold a NUL byte"),
        (["--output", "file://host/a"], "--output: a file URI"),
        (["--metrics_file", "file://host/a"], "--metrics_file: a file URI"),
        (["--input", "S3://shop/", "--output", "s3://shop/out"], "is below --input"),
    ],
)
def test_a_wrong_command_line_ends_with_status_2_and_one_line(capsys, arguments, says):
    with pytest.raises(SystemExit) as caught:
        parse(*arguments)
    assert caught.value.code == 2
    error = capsys.readouterr().err
    assert says in error
    assert error.count("\n") == 1
    assert "secret" not in error


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--output", "x"], "--input is required"),
        (["--input", "x/"], "--output is required"),
        (["--inptu", "x/", "--output", "x"], "unknown option --inptu; did you mean --input?"),
    ],
)
def test_a_missing_place_is_named_unless_it_is_misspelt(capsys, arguments, says):
    with pytest.raises(SystemExit) as caught:
        cli.parse(arguments, NOW)
    assert caught.value.code == 2
    assert says in capsys.readouterr().err


def test_local_places_become_absolute(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "images").mkdir()
    settings, _ = cli.parse(["--input", "images", "--output", "out/"], NOW)
    assert settings.input == f"{tmp_path}/images/"
    assert settings.output == f"{tmp_path}/out"
    settings, _ = cli.parse(["--input", "m.txt", "--output", "out"], NOW)
    assert settings.input == f"{tmp_path}/m.txt"


def test_schemes_become_small_letters(tmp_path):
    places = {
        "--input": "S3://shop/a/",
        "--output": "S3://out/B",
        "--model": "S3://shop/M.keras",
        "--sharpening_table": "S3://shop/t.csv",
        "--metrics_file": f"FILE://{tmp_path}/m.prom",
    }
    settings, _ = cli.parse([word for pair in places.items() for word in pair], NOW)
    assert (settings.input, settings.output) == ("s3://shop/a/", "s3://out/B")
    assert (settings.model, settings.sharpening_table) == ("s3://shop/M.keras", "s3://shop/t.csv")
    assert settings.metrics_file == f"{tmp_path}/m.prom"


def test_a_sibling_with_a_common_start_is_not_below_the_input(tmp_path):
    (tmp_path / "in").mkdir()
    settings, _ = cli.parse(["--input", f"{tmp_path}/in/", "--output", f"{tmp_path}/in2"], NOW)
    assert settings.output == f"{tmp_path}/in2"


def test_settings_travel_to_workers():
    settings, _ = parse("--allow_schemes", "file,", "--max_side", "800")
    assert pickle.loads(pickle.dumps(settings)) == settings
    assert settings.allow_schemes == ("file",)


def test_a_part_of_the_catalog_cannot_be_replayed_or_chosen_twice(capsys):
    for arguments, said in (
        (["--limit", "5", "--sample", "5"], "give one of them"),
        (["--retry", "timeout", "--limit", "5"], "cannot go with --limit"),
        (["--retry", "timeout", "--exclude", "a"], "cannot go with --exclude"),
        (["--retry", "timeout", "--sharpening_table", "a"], "go with --sharpening_table"),
        (["--limit", "0"], "at least 1"),
    ):
        with pytest.raises(SystemExit):
            parse(*arguments)
        assert said in capsys.readouterr().err


def test_lists_may_be_given_in_several_options():
    settings, _ = parse("--include", "a/**,*.jpg", "--include", "b")
    assert settings.include == ("a/**", "*.jpg", "b")


@pytest.mark.parametrize(
    "name",
    ["m.csv.gz", "m.tsv", "m.JSONL.GZ", "part-*.parquet", "m.txt", "export.parquet/", "a/m.csv"],
)
def test_manifests_by_their_names(name):
    found = cli.parse(["--input", f"s3://shop/{name}", "--output", "s3://shop/out"], NOW)[0]
    assert found.input == f"s3://shop/{name}"


@pytest.mark.parametrize("name", ["m.parquet.gz", "m.gz", "m.xlsx", "m.csv.zip"])
def test_names_that_are_no_manifests(name, capsys):
    with pytest.raises(SystemExit):
        cli.parse(["--input", f"s3://shop/{name}", "--output", "s3://shop/out"], NOW)
    assert ".tsv" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("s3://shop/images/", "names a prefix or folder"),
        ("s3://shop/m.txt.gz", "names a list of URIs, without columns"),
    ],
)
@pytest.mark.parametrize("name", ["keep_columns", "uri_column", "id_column"])
def test_only_a_manifest_has_columns(capsys, source, said, name):
    with pytest.raises(SystemExit) as ended:
        cli.parse(["--input", source, "--output", "s3://out/o", f"--{name}", "brand"], NOW)
    error = capsys.readouterr().err
    assert ended.value.code == 2 and f"--{name} " in error and said in error


def test_only_a_manifest_names_schemes(capsys):
    places = ["--input", "s3://shop/images/", "--output", "s3://out/o"]
    with pytest.raises(SystemExit):
        cli.parse([*places, "--allow_schemes", "file"], NOW)
    assert "--allow_schemes is about a manifest" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "value"), [("include", ""), ("exclude", ""), ("retry", ","), ("allow_schemes", "")]
)
def test_an_empty_variable_of_a_shell_is_no_list(capsys, name, value):
    with pytest.raises(SystemExit) as ended:
        parse(f"--{name}", value)
    assert ended.value.code == 2
    assert f"--{name}: leave the option out, or name something" in capsys.readouterr().err
