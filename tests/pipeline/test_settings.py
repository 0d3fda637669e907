"""Options: declared once, and read by the parser, the content key, a resume and a replay."""

import datetime
import hashlib
import pickle
import subprocess
import sys

import pytest

from pipeline import cli, settings
from pipeline.settings import OPTIONS, RESULT_VERSION, replay_arguments
from tests.pipeline.conftest import make_plan, make_settings

NOW = datetime.datetime(2026, 7, 8, 9, 10, 11, tzinfo=datetime.UTC)
PLACES = ["--input", "s3://shop/m.csv", "--output", "s3://shop/out"]
# For each option, a value that is not the default: as argument, and as the field's value.
OTHER = {
    "input": ("s3://shop/n.csv", "s3://shop/n.csv"),
    "output": ("s3://shop/else", "s3://shop/else"),
    "run_id": ("night2", "night2"),
    "limit": ("20", 20),
    "sample": ("20", 20),
    "include": ("shoes/**,*.jpg", ("shoes/**", "*.jpg")),
    "exclude": ("thumbs/", ("thumbs/",)),
    "uri_column": ("image_url", "image_url"),
    "id_column": ("sku", "sku"),
    "keep_columns": ("brand,price", ("brand", "price")),
    "min_side": ("16", 16),
    "max_side": ("800", 800),
    "max_pixels": ("1000000", 1_000_000),
    "model": ("s3://shop/ours.keras", "s3://shop/ours.keras"),
    "images": ("both", "both"),
    "scale": ("3", 3),
    "target_side": ("800", 800),
    "source_sharpening": ("-0.25", -0.25),
    "sharpening_table": ("shops.csv", "shops.csv"),
    "image_format": ("webp", "webp"),
    "quality": ("80", 80),
    "progressive": ("yes", "yes"),
    "profile": ("srgb", "srgb"),
    "metadata": ("none", "none"),
    "animated": ("first_frame", "first_frame"),
    "previous": ("night1", "night1"),
    "retry": ("timeout,gate:colour", ("timeout", "gate:colour")),
    "max_failure_rate": ("0.2", 0.2),
    "s3_endpoint_url": ("http://localhost:9000", "http://localhost:9000"),
    "s3_requester_pays": ("yes", "yes"),
    "s3_unsigned": ("yes", "yes"),
    "follow_links": ("anywhere", "anywhere"),
    "allow_schemes": ("file,", ("file",)),
    "look_ahead": ("8", 8),
    "workers": ("3", 3),
    "partitions": ("7", 7),
    "precision": ("bfloat16", "bfloat16"),
    "blank": ("magnify", "magnify"),
    "self_psnr": ("off", "off"),
    "accelerator": ("type:nvidia-tesla-t4;count:1", "type:nvidia-tesla-t4;count:1"),
    "report": ("no", "no"),
    "dry_run": (None, True),
    "notify": ("https://shop.com/hook", "https://shop.com/hook"),
    "metrics_file": ("/tmp/m.prom", "/tmp/m.prom"),
    "log_format": ("json", "json"),
    "price_core_hour": ("0.05", 0.05),
    "price_gpu_hour": ("2", 2.0),
    "price_1000_reads": ("0", 0.0),
    "price_1000_writes": ("0.005", 0.005),
}


@pytest.fixture(scope="module", autouse=True)
def config_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("config") / "empty.toml"
    path.touch()
    OTHER["config"] = (str(path), str(path))


def parse(arguments):
    return cli.parse([*PLACES, *arguments], NOW)[0]


@pytest.mark.parametrize("name", OPTIONS)
def test_the_command_line_has_every_declared_option(name):
    text, value = OTHER[name]
    arguments = [f"--{name}"] if text is None else [f"--{name}", text]
    settings = parse(arguments)
    assert getattr(settings, name) == value != getattr(parse([]), name)
    assert pickle.loads(pickle.dumps(settings)) == settings


@pytest.mark.parametrize("name", OPTIONS)
def test_the_content_key_changes_with_what_changes_an_image(name):
    changed = make_plan(**{name: OTHER[name][1]}) if name != "workers" else make_plan(workers=3)
    is_other = changed.fingerprint != make_plan().fingerprint
    of_files = {"image_format", "quality", "progressive", "profile", "metadata"}
    of_results = {"animated", "blank", "scale", "target_side", "source_sharpening", "self_psnr"}
    assert is_other == (name in of_files | of_results)


def test_the_content_key_changes_with_the_models_bytes():
    assert make_plan(model_sha256="f" * 64).fingerprint != make_plan().fingerprint


def test_a_raised_result_version_reuses_nothing(monkeypatch):
    """Such as verdicts of decoders that have been put right since."""
    before = make_plan().fingerprint
    monkeypatch.setattr(settings, "RESULT_VERSION", RESULT_VERSION + 1)
    assert make_plan().fingerprint != before


def test_the_content_key_is_what_it_was_in_earlier_runs():
    """Rows of runs before an option existed must be found: its default adds nothing."""
    decisive = f'[{RESULT_VERSION}, "{"0" * 64}", {{}}]'
    assert make_plan().fingerprint == hashlib.sha256(decisive.encode()).hexdigest()


@pytest.mark.parametrize("name", OPTIONS)
def test_a_replay_repeats_what_decides_images_and_measures(name):
    """Not the places, nor what belongs to one night or one machine."""
    value = OTHER[name][1]
    as_json = list(value) if isinstance(value, tuple) else value
    arguments = replay_arguments({name: as_json})
    if name in {
        *("input", "output", "run_id", "previous", "retry", "look_ahead", "workers"),
        *("partitions", "accelerator", "report", "dry_run"),
        *("limit", "sample", "include", "exclude"),
        *("config", "notify", "metrics_file", "log_format"),
        "sharpening_table",  # each row has its number
        *("price_core_hour", "price_gpu_hour", "price_1000_reads", "price_1000_writes"),
    }:
        assert arguments == []
    else:
        assert getattr(parse(arguments), name) == value


def test_a_replay_of_defaults_needs_no_arguments():
    assert replay_arguments(vars(make_settings())) == []


def test_settings_import_no_framework():
    """What only parses a command line, or reads rows, must start at once."""
    code = (
        "import sys, pipeline.settings, pipeline.runs.layout;"
        "print(sorted({'apache_beam', 'tensorflow', 'keras', 'boto3', 'pyarrow', 'numpy'}"
        " & sys.modules.keys()))"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "[]"


def test_a_command_line_without_options_for_beam_does_not_import_it():
    code = (
        "import sys, datetime; from pipeline import cli;"
        f"cli.parse({PLACES}, datetime.datetime.now(datetime.UTC));"
        "print(sorted({'apache_beam', 'tensorflow', 'keras', 'boto3'} & sys.modules.keys()))"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "[]"
