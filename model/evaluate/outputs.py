"""Checks before an evaluation that its output files can be written."""

from collections.abc import Mapping
from pathlib import Path

from PIL import Image


def check_outputs(
    outputs: dict[str, Path], images: set[str], *, inputs: Mapping[Path, str]
) -> None:
    """Makes sure that every result can be written, before the long work starts.

    Args:
        outputs: files to write, by the option that named them.
        images: those of the options that write an image.
        inputs: files that must not be overwritten, and what each is, for the message.

    Raises:
        OSError: if a file cannot be written.
        ValueError: if two options name one file, a file is among the inputs, or an image's
            format is unknown.
    """
    taken: dict[Path, str] = {path.resolve(): what for path, what in inputs.items()}
    for option, path in outputs.items():
        if path.resolve() in taken:
            raise ValueError(f"{option} {path} would overwrite {taken[path.resolve()]}")
        taken[path.resolve()] = f"the output of {option}"
        if option in images:
            kind = Image.registered_extensions().get(path.suffix.lower())
            if kind not in Image.SAVE:
                raise ValueError(
                    f"{option} {path} needs an image's suffix, for example .png. "
                    f"Received: {path.suffix!r}"
                )
        _check_writable(option, path)


def _check_writable(option: str, path: Path) -> None:
    """Opens a file for writing and leaves everything as it was."""
    existed = path.exists()
    try:
        path.open("ab").close()
    except OSError as error:
        raise OSError(f"cannot write {option} {path}: {error.strerror}") from error
    if not existed:
        path.unlink()
