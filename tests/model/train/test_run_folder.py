import pytest

from model.data.drawn_recipes import Degradation
from model.data.hr_sources import HrFile
from model.data.patches import Group
from model.train import run_folder
from model.train.config import TrainConfig, from_options


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"jpeg_share": 0.8, "blur_share": 0.2}, "--blur_share, --jpeg_share: no effect"),
        ({"kernels": (("box", 1.0),)}, "--kernels: no effect without degraded patches"),
        ({"knows_quality": 1}, "--knows_quality: no effect"),
        (
            {"degraded_share": 0.5, "noise_levels": (1.0, 3.0)},
            "--noise_levels has no effect without --noise_share above 0",
        ),
        (
            {"degraded_share": 0.5, "jpeg_share": 0.0, "jpeg_quality": (40, 80)},
            "--jpeg_quality has no effect without --jpeg_share",
        ),
        (
            {"degraded_share": 0.5, "measured_share": 0.5},
            "--measured_share has no effect without --twice_share or --hidden_share",
        ),
        ({"drawn_share": 0.5}, "--drawn_share 0.5 has no effect without --drawn_scenes"),
        ({"compressed_share": 0.5}, "--compressed_share 0.5 has no effect without"),
        ({"compressed_data": ("b",), "compressed_share": 0.0}, "leaves --compressed_data without"),
        (
            {"drawn_scenes": 4, "drawn_share": 0.5, "compressed_data": ("b",)}
            | {"compressed_share": 0.5},
            "leave nothing for --data: those of the other sources sum to 1",
        ),
        ({"decay_steps": 500}, "--decay_steps has no effect without --schedule stable"),
        (
            {"schedule": "stable", "halve_every": 500},
            "--halve_every has no effect without --schedule halving",
        ),
        (
            {"schedule": "stable", "steps": 2000},
            "with --steps 2000 and --decay_steps 2000 .* give fewer --decay_steps",
        ),
    ],
)
def test_an_option_without_effect_is_refused_where_a_run_begins(tmp_path, options, message):
    config = from_options({"data": ("a",), **options})
    with pytest.raises(ValueError, match=message):
        run_folder.check_folder(config, tmp_path)
    run_folder.write_config(config, tmp_path)  # as an older version did: such a run goes on
    run_folder.check_folder(config, tmp_path)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"compressed_share": 0.0, "drawn_share": 0.0, "jpeg_quality": (30, 95)},
        {"initial_weights": "rdn-product", "knows_quality": 1},
        {"drawn_scenes": 4, "data": (), "compressed_data": ("b",), "compressed_share": 1.0},
        {"schedule": "stable", "steps": 2001},
        {"schedule": "stable", "steps": 2001, "decay_steps": 500},
        {"schedule": "halving", "halve_every": 500},
    ],
)
def test_options_with_an_effect_pass(tmp_path, options):
    run_folder.check_folder(from_options({"data": ("a",), **options}), tmp_path)


@pytest.mark.parametrize("content", ["", "{", "[]", '{"steps": 10'])
def test_a_damaged_file_is_named_with_the_remedy(tmp_path, content):
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(ValueError, match=r"config\.json is damaged .*: delete it and repeat"):
        run_folder.check_folder(TrainConfig(data=("a",)), tmp_path)


def test_files_are_written_only_where_something_is_new(tmp_path):
    config, path = TrainConfig(data=("a",)), tmp_path / "config.json"
    run_folder.write_config(config, tmp_path)
    before = path.stat()
    run_folder.write_config(config, tmp_path)
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    changed = TrainConfig(data=("a",), degradation=Degradation(degraded_share=0.5))
    run_folder.write_config(changed, tmp_path)
    assert '"degraded_share": 0.5' in path.read_text()
    assert [one.name for one in tmp_path.iterdir()] == ["config.json"]


def test_the_order_of_the_images_counts(tmp_path):
    def images(*names):
        return [Group("clean", 1.0, [HrFile(name) for name in names])], {"clean": [HrFile("h")]}

    run_folder.write_images(*images("a", "b"), tmp_path)
    run_folder.check_images(*images("a", "b"), tmp_path)
    for other in (("b", "a"), ("a",), ("a", "b", "c")):
        with pytest.raises(ValueError, match="have changed since it began"):
            run_folder.check_images(*images(*other), tmp_path)
