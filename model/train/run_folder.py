"""What a run's folder says of the run: its options and the images that it began with."""

import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from model import files
from model.data.hr_sources import HrFile, HrImage
from model.data.patches import Group
from model.train.config import TrainConfig
from model.train.effects import check_decay, check_effects

_CONFIG, _IMAGES = "config.json", "images.json"


def check_folder(config: TrainConfig, run_dir: Path) -> None:
    """Compares the configuration with the run's `config.json`, if there is one.

    With the schedule `stable`, `steps` and `decay_steps` may differ.

    Raises:
        ValueError: if the folder belongs to a run with another configuration, its `config.json`
            is damaged, or an option of a run that begins has no effect.
    """
    path = run_dir / _CONFIG
    if not path.exists():
        check_effects(config)
        return
    wanted, written = _as_json(config), _read(path)
    # An option that came after the run had no effect on it: its default.
    defaults = _as_json(TrainConfig())
    found = defaults | written
    found["degradation"] = defaults["degradation"] | written.get("degradation", {})
    different = {key for key in wanted.keys() | found.keys() if wanted.get(key) != found.get(key)}
    if config.schedule == "stable":
        ends = different & {"steps", "decay_steps"}
        if ends:
            check_decay(config)
        different -= ends
    if different:
        raise ValueError(
            f"{run_dir} holds a run with another configuration ({', '.join(sorted(different))} "
            "differ): choose another --out, or repeat its options to continue it"
        )


def write_config(config: TrainConfig, run_dir: Path) -> None:
    """Writes the run's `config.json`."""
    _write(run_dir / _CONFIG, _as_json(config))


def check_images(
    groups: Sequence[Group], held_out: Mapping[str, Sequence[HrImage]], run_dir: Path
) -> None:
    """Compares the images with those that the run has been trained on.

    Other images would be held out by the same rule: some that the run has seen, so that its
    scores would no longer count. A folder of an older version, which has no `images.json`, passes.

    Raises:
        ValueError: if there are more, fewer or other images, or their order differs.
    """
    path = run_dir / _IMAGES
    if not path.exists():
        return
    wanted, written = _images_as_json(groups, held_out), _read(path)
    for name in wanted.keys() | written.keys():
        now, then = wanted.get(name, {}), written.get(name, {})
        if now != then:
            raise ValueError(
                f"the images of {run_dir} have changed since it began ({name}: "
                f"{then.get('images', 0)} then, {now.get('images', 0)} now, or of other names): "
                "images that it was trained on would be held out. Restore them, or begin a new "
                "run in another --out"
            )


def write_images(
    groups: Sequence[Group], held_out: Mapping[str, Sequence[HrImage]], run_dir: Path
) -> None:
    """Writes which images the run has, for `check_images`."""
    _write(run_dir / _IMAGES, _images_as_json(groups, held_out))


def _images_as_json(
    groups: Sequence[Group], held_out: Mapping[str, Sequence[HrImage]]
) -> dict[str, dict[str, Any]]:
    """By group: how many images, and a digest of their names in order, the held-out ones first."""
    content = {}
    for group in groups:
        images = [*held_out[group.name], *group.images]
        names = [image.uri if isinstance(image, HrFile) else image.name for image in images]
        digest = hashlib.sha256("\n".join(names).encode("utf-8", "surrogateescape"))
        content[group.name] = {"images": len(images), "sha256": digest.hexdigest()}
    return content


def _read(path: Path) -> dict[str, Any]:
    """A JSON object of the folder.

    Raises:
        ValueError: if it is none; the message names the file and the remedy.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(content, dict):
            raise ValueError("no JSON object")
    except ValueError as error:
        raise ValueError(
            f"{path} is damaged ({error}): delete it and repeat the run's own command, which "
            "writes it again, or choose another --out"
        ) from error
    return content


def _write(path: Path, content: dict[str, Any]) -> None:
    """Writes JSON whole, and only what is new."""
    text = json.dumps(content, indent=2) + "\n"
    if path.exists() and path.read_text(encoding="utf-8", errors="replace") == text:
        return
    with files.appearing(path) as partial:
        partial.write_text(text, encoding="utf-8")


def _as_json(config: TrainConfig) -> dict[str, Any]:
    """The configuration as JSON gives it back."""
    return json.loads(json.dumps(dataclasses.asdict(config)))
