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
        text = Path(path).read_text(encoding="utf-8-sig")  # Windows puts a mark before it
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
    except (yaml.YAMLError, ValueError) as error:
        raise ConfigError(f"{path}: no YAML: {' '.join(str(error).split())}") from error
    if tree is None:
        return {}
    options = tree.value if isinstance(tree, yaml.MappingNode) else [(tree, tree)]
    given: dict[str, Any] = {}
    for name, node in options:
        if not isinstance(name, yaml.ScalarNode) or name is node:
            raise ConfigError(f"{path}: holds no options: write `name: value`, one on each line")
        if name.value in given:
            raise ConfigError(f"{path}: {name.value} stands in it twice")
        is_list = isinstance(node, yaml.SequenceNode)
        nodes = node.value if is_list else [node]
        for one in (node, *nodes):
            if one.tag not in yaml.SafeLoader.yaml_constructors:
                raise ConfigError(f"{path}: no YAML: {name.value} has the tag {one.tag}")
        values = [_yaml_value(one) for one in nodes]
        given[name.value] = values if is_list else values[0]
    return given


def _yaml_value(node: Any) -> Any:
    """A value as it is written: YAML would read 0123 as 83 and 12:30:00 as 45000."""
    kind = node.tag.removeprefix("tag:yaml.org,2002:")
    if isinstance(node.value, list):  # `_text` refuses it
        return {} if kind == "map" else []
    if kind == "null":
        return None
    if kind == "bool":
        return node.value.lower() in ("yes", "true", "on")
    return node.value


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
