"""Reads a file of options, TOML or YAML, as arguments of the command line.

    input = "s3://shop/images/"
    max_side = 800
    retry = ["timeout", "not_found"]

Names are those of the options without hyphens before them; Apache Beam's options go, too.
"""

import tomllib
from pathlib import Path
from typing import Any

from pipeline.settings import OPTIONS

_SUFFIXES = (".toml", ".yaml", ".yml")


class ConfigError(ValueError):
    """A file of options that cannot be used; its text names the file.

    Example:
        >>> read_arguments("night.ini")
        Traceback (most recent call last):
        pipeline.config_file.ConfigError: night.ini: a file of options ends in .toml, .yaml or .yml
    """


def read_arguments(path: str) -> list[str]:
    """Reads a file of options.

    Args:
        path: of a local file; its suffix says the format.

    Returns:
        `--name=value` for each option of the file, in its order. Options are not checked here.

    Raises:
        ConfigError: if the file cannot be read, is neither TOML nor YAML, or holds anything but
            options with one value or a list of values each.
    """
    if not path.lower().endswith(_SUFFIXES):
        raise ConfigError(f"{path}: a file of options ends in .toml, .yaml or .yml")
    try:
        text = Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: is not UTF-8") from error
    given = _parse_toml(path, text) if path.lower().endswith(".toml") else _parse_yaml(path, text)
    arguments = []
    for name, value in given.items():
        if name == "config":
            raise ConfigError(f"{path}: a file of options cannot name another one")
        arguments += _arguments(path, name, value)
    return arguments


def _parse_toml(path: str, text: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}: no TOML: {error}") from error


def _parse_yaml(path: str, text: str) -> dict[str, Any]:
    import yaml  # noqa: PLC0415 - only for YAML

    try:
        tree = yaml.compose(text, Loader=yaml.SafeLoader)
        given = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError) as error:
        raise ConfigError(f"{path}: no YAML: {' '.join(str(error).split())}") from error
    if given is None:
        return {}
    if not isinstance(given, dict):
        raise ConfigError(f"{path}: holds no options: write `name: value`, one on each line")
    names = [str(name) for name in given]
    if len(names) < len(tree.value):  # PyYAML takes the last of equal names silently
        written = [key.value for key, _ in tree.value]
        twice = next(name for name in written if written.count(name) > 1)
        raise ConfigError(f"{path}: {twice} stands in it twice")
    return dict(zip(names, given.values(), strict=True))


def _arguments(path: str, name: str, value: Any) -> list[str]:
    """The arguments of one option."""
    option = OPTIONS.get(name)
    if isinstance(value, bool):
        # YAML reads `yes` and `no` as true and false; options of ours take these words.
        if option is not None and option.choices:
            return [f"--{name}={'yes' if value else 'no'}"]
        return [f"--{name}"] if value else []
    if isinstance(value, list):
        values = [_text(path, name, one) for one in value]
        # Ours take words between commas, Beam's are repeated.
        joined = [",".join(values)] if values and option is not None else values
        return [f"--{name}={one}" for one in joined]
    return [f"--{name}={_text(path, name, value)}"]


def _text(path: str, name: str, value: Any) -> str:
    if value is None or isinstance(value, (dict, list, bool)):
        kind = "no value" if value is None else f"a {type(value).__name__}"
        raise ConfigError(f"{path}: {name} takes one value or a list of values, it has {kind}")
    return str(value)
