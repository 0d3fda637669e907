"""The documents name what the code has, no more and no less, and their links lead somewhere."""

import ast
import dataclasses
import json
import re
from fnmatch import fnmatch

import jsonschema
import pytest

from model.inference.dtypes import COMPUTE_DTYPES
from model.metrics.quality import Measures
from model.network import presets
from pipeline import job
from pipeline.output.schema import SCHEMA
from pipeline.records import Reason, Status
from pipeline.row.row import COLUMNS
from pipeline.runs import interruption
from pipeline.settings import OPTIONS
from pipeline.signals import outcome
from pipeline.upscale.blending import BlendLimits
from pipeline.upscale.quality_gate import GateLimits, failed_rule
from tests.documents import CHANGELOG, DOCUMENTS, ROOT, names_in, table, text_of
from tests.pipeline.conftest import image_bytes
from tests.pipeline.signals.server import receiver

REFERENCE, MEASURES, NETWORK = "docs/reference.md", "docs/measures.md", "docs/network.md"
GATE = "gate:<rule>"


def first_names(document, header):
    return [name for row in table(document, header) for name in names_in(row[0])]


# Tables of the reference.


def test_every_option_is_described():
    described = first_names(REFERENCE, "| option | default |")
    assert described == [f"--{name}" for name in OPTIONS]


@pytest.mark.parametrize("document", [REFERENCE, "README.md"])
def test_the_defaults_are_the_declared_ones(document):
    for option, default, *_ in table(document, "| option | default |"):
        declared = OPTIONS[names_in(option)[0].removeprefix("--")]
        expected = "required" if declared.is_required else declared.default_name
        assert default.strip("`") == expected, option


def test_every_choice_is_described():
    for option, _, _, meaning in table(REFERENCE, "| option | default |"):
        choices = OPTIONS[names_in(option)[0].removeprefix("--")].choices
        assert [choice for choice in choices if f"`{choice}`" not in meaning] == [], option


def test_the_roles_of_the_options_are_described():
    for name, _, kept, _ in table(REFERENCE, "| option | default | kept |"):
        option = OPTIONS[names_in(name)[0].removeprefix("--")]
        roles = ((option.in_content_key, "R"), (option.resume_must_match, "C"))
        roles += ((option.is_replayed, "P"),)
        assert kept == "".join(letter for is_meant, letter in roles if is_meant), name


def test_every_exit_status_is_described():
    statuses = [job.DONE, job.FAILED, 2, job.TOO_MANY_FAILURES, *interruption.STATUS.values()]
    for document in (REFERENCE, "README.md"):
        assert [int(row[0]) for row in table(document, "| exit status |")] == statuses


def test_every_column_is_described_in_the_declaration_s_words_with_its_type():
    rows = table(REFERENCE, "| column | type |")
    assert {names_in(row[0])[0]: row[2] for row in rows} == {
        column.name: column.meaning for column in COLUMNS
    }
    assert [names_in(row[0])[0] for row in rows] == SCHEMA.names
    for name, kind, _ in rows:
        assert str(SCHEMA.field(names_in(name)[0]).type).startswith(kind), name


def test_every_status_is_described():
    _, described = text_of(REFERENCE).split("## Statuses and reasons")
    assert re.findall(r"(?m)^\| `(\w+)` \| [a-z]", described)[: len(Status)] == list(Status)
    assert all(f"`{status}`" in text_of("README.md") for status in Status)


def test_every_reason_is_described_with_its_status():
    described = {
        names_in(reason)[0]: names_in(status)[0]
        for reason, status, _ in table(REFERENCE, "| reason | status |")
    }
    expected = {str(reason): str(reason.status) for reason in Reason}
    assert described == expected | {GATE: str(Status.FALLBACK)}


# Files and their keys, as a run really writes them.


@pytest.fixture(scope="module")
def receives():
    """A web server that takes the notification of the finished run."""
    with receiver() as received:
        yield received


@pytest.fixture(scope="module")
def output(tmp_path_factory, receives):
    """The folder of a finished run and of a dry run."""
    folder = tmp_path_factory.mktemp("documented")
    (folder / "in").mkdir()
    (folder / "in/1.png").write_bytes(image_bytes(40, 50, file_format="PNG"))
    (folder / "in/2.png").write_bytes(b"no image")
    places = ["--input", f"{folder}/in/", "--output", f"{folder}/out", "--images", "both"]
    signals = ["--notify", receives.url, "--metrics_file", str(folder / "m.prom")]
    assert job.run([*places, *signals, "--run_id", "dry", "--dry_run"]) == job.DONE
    signals += ["--max_failure_rate", "1"]
    assert job.run([*places, *signals, "--run_id", "real"]) == job.DONE
    return folder / "out"


def test_every_file_of_a_run_is_described(output):
    patterns = [
        re.sub("<[a-z_ ]+>", "*", name)
        for name in first_names(REFERENCE, "| file under `--output` |")
    ]
    files = [one for one in output.rglob("*") if one.is_file()]
    written = [re.sub("^images/../", "images/ab/", str(one.relative_to(output))) for one in files]
    for name in written:
        assert any(fnmatch(name, pattern) for pattern in patterns), name
    at_other_times = {"runs/*/lock.json", "runs/*/staging/", "runs/*/images/part-*.parquet"}
    for pattern in set(patterns) - at_other_times:
        assert any(fnmatch(name, pattern) for name in written), pattern


@pytest.mark.parametrize(
    ("title", "name"),
    [("summary.json", "runs/real/summary.json"), ("estimate.json", "runs/dry/estimate.json")],
)
def test_every_key_is_described(output, title, name):
    _, _, described = text_of(REFERENCE).partition(f"\n## {title}\n")
    keys = re.findall(r"(?m)^\| `(\w+)` \|", described.split("\n## ")[0])
    assert keys == list(json.loads((output / name).read_text()))


def test_a_real_summary_fits_its_schema_and_the_schema_is_strict(output):
    summary = json.loads((output / "runs/real/summary.json").read_text())
    schema = json.loads(text_of("docs/summary.schema.json"))
    validator = jsonschema.Draft202012Validator(
        schema, format_checker=jsonschema.FormatChecker(["date-time"])
    )
    validator.check_schema(schema)
    validator.validate(summary)
    assert set(schema["properties"]) == set(summary)
    assert set(schema["required"]) == set(summary) - {"beam_metrics"}
    assert set(schema["properties"]["by_status"]["required"]) == set(Status)
    dtypes = schema["properties"]["resolved"]["properties"]["compute_dtype"]["enum"]
    assert tuple(dtypes) == COMPUTE_DTYPES
    for key in set(summary) - {"settings"}:
        assert not validator.is_valid(summary | {key: [1]}), key
        assert key == "beam_metrics" or not validator.is_valid(
            {name: value for name, value in summary.items() if name != key}
        )


def test_every_key_of_a_notification_is_described(output, receives):
    described = first_names(REFERENCE, "| key of a notification |")
    assert described == list(receives.content)
    outcomes = [value for name, value in vars(outcome).items() if name.isupper()]
    (row,) = [one for one in table(REFERENCE, "| key of a notification |") if "`outcome`" in one]
    assert names_in(row[1]) == outcomes


def test_every_metric_is_described_with_its_labels(output):
    written = {}
    for line in (output.parent / "m.prom").read_text().splitlines():
        if not line.startswith("#"):
            name, labels = re.match(r"catalog_magnifier_(\w+)\{(.*)\} ", line).groups()
            written[name] = re.findall(r'(\w+)="', labels)
    rows = table(REFERENCE, "| metric, after `catalog_magnifier_` |")
    assert {names_in(row[0])[0]: ["output", *names_in(row[1])] for row in rows} == written


def test_the_alert_names_a_metric():
    (named,) = set(re.findall(r"catalog_magnifier_(\w+)", text_of("docs/operating.md")))
    assert named in first_names(REFERENCE, "| metric, after `catalog_magnifier_` |")


# The quality gate and the networks.


def test_every_rule_of_the_gate_is_described_with_its_limits():
    """Just beyond a limit of the table the rule rejects, within it does not."""
    described = table(MEASURES, "| rule | the gate rejects the result if |")
    (gate,) = [row for row in table(REFERENCE, "| reason | status |") if GATE in row[0]]
    assert names_in(gate[2]) == [names_in(rule)[0] for rule, *_ in described]
    limits_left = list(dataclasses.asdict(GateLimits()).values())
    for rule, condition, _ in described:
        measure = names_in(condition)[0]
        bounds = re.findall(r"(below|above|or above|plus) (-?[\d.]+)", condition)
        assert bounds, rule
        for side, limit in bounds:
            limits_left.remove(float(limit))
            beyond = -1e-3 if side == "below" else 1e-3
            for value, is_rejected in (
                (float(limit) + beyond, True),
                (float(limit) - beyond, False),
            ):
                rejection = failed_rule(Measures(**{measure: value}), GateLimits())
                assert (rejection is not None and f"`{rejection.rule}`" == rule) == is_rejected
    # The noise that the source brings: "half of `background_noise_source` plus 0.4". And what the
    # network removes with it, or by undoing a sharpening.
    assert limits_left == [1.0, 0.42, 0.5, 0.25]
    told = " ".join(text_of(MEASURES).split())
    assert "`detail_error` is at most 1" in told and "above 0.42 times" in told
    assert "`sharpness_ratio` may fall to 0.33 and `block_shift_px` grow to 0.55" in told
    doubled = GateLimits().for_sharpening(1.0)
    assert round(doubled.min_sharpness_ratio, 2) == 0.33 and doubled.max_block_shift_px == 0.55
    noisy = Measures(background_noise_source=2.0, background_grain=1.39)
    assert failed_rule(noisy, GateLimits()) is None


def test_the_limits_of_blending_are_described():
    described = table(MEASURES, "| limit | value |")
    limits = dataclasses.asdict(BlendLimits())
    assert [names_in(name)[0] for name, *_ in described] == list(limits)
    for (name, value, *_), limit in zip(described, limits.values(), strict=True):
        expected = " and ".join(map(str, limit if isinstance(limit, tuple) else [limit]))
        assert value == expected, name


def test_the_figures_are_the_presets_figures():
    rows = {
        (scale, name): row
        for scale in (2, 3, 4)
        for row in table(NETWORK, f"| x{scale}, PSNR-Y in dB |")
        for name in presets.PRESETS
        if row[0] == f"`{name}`"
    }
    assert set(rows) == {(one.scale, one.name) for one in presets.PRESETS.values()}
    for preset in presets.PRESETS.values():
        figures = [f"{preset.parameters:,}", f"{preset.set5_psnr_y_db:.2f}"]
        row = rows[preset.scale, preset.name]
        assert row[1:4] == [*figures, f"{preset.set14_psnr_y_db:.2f}"]


def test_the_gain_in_the_readme_is_that_of_the_table():
    products = {row[0].strip("`"): float(row[4]) for row in table(NETWORK, "| x2, PSNR-Y in dB |")}
    gain_db = products[presets.DEFAULT] - products["bicubic"]
    assert f"is {gain_db:.2f} dB\nabove bicubic" in text_of("README.md")


# Folders, files and links.


def test_contributing_shows_each_folder_with_its_own_words():
    """The listing has the first paragraph of each docstring; a failure prints the right one."""
    listing = re.search(r"```text\n(.*?)```", text_of("CONTRIBUTING.md"), re.DOTALL)[1]
    expected = ""
    for package in ("pipeline", "model"):
        modules = sorted((ROOT / package).glob("[!_]*.py"))
        for path in [*modules, *sorted((ROOT / package).glob("*/__init__.py"))]:
            about = ast.get_docstring(ast.parse(path.read_text())).split("\n\n")[0]
            expected += f"{path.relative_to(ROOT)}\n".replace("__init__.py", "")
            expected += "".join(f"    {line}\n" for line in about.splitlines())
    assert listing == expected


@pytest.mark.parametrize("document", [*DOCUMENTS, CHANGELOG])
def test_links_lead_to_files_and_headings(document):
    for target in re.findall(r"\]\(([^)\s]+)\)", text_of(document)):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, heading = target.partition("#")
        linked = (ROOT / document).parent / path if path else ROOT / document
        assert linked.exists(), target
        if heading:
            titles = re.findall(r"(?m)^#+ (.+)$", linked.read_text(encoding="utf-8"))
            slugs = [re.sub(r"[^\w\- ]", "", title).replace(" ", "-").lower() for title in titles]
            assert heading in slugs, target


@pytest.mark.parametrize("document", DOCUMENTS)
def test_files_named_in_the_documents_exist(document):
    named = r"`((?:benchmarks|deploy|docs|model|pipeline|tests)/[\w./-]*)`"
    for name in re.findall(named, text_of(document)):
        assert (ROOT / name).exists(), name


def test_every_document_is_linked_from_another():
    """So that a reader of the README finds all of them."""
    linked = {
        (((ROOT / document).parent) / target.partition("#")[0]).resolve()
        for document in DOCUMENTS
        for target in re.findall(r"\]\(([^)\s:]+)\)", text_of(document))
    }
    missing = [one for one in [*DOCUMENTS, CHANGELOG] if (ROOT / one).resolve() not in linked]
    assert missing == ["README.md"]
