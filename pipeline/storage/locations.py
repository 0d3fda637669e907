"""URIs and paths: their schemes and parts."""

import os
import re
from pathlib import Path
from urllib.parse import unquote_to_bytes

_SCHEME = re.compile(r"^([A-Za-z][A-Za-z0-9+.-]*):/")
_FILE = re.compile(r"(?i)^file:(?://(?P<host>[^/]*))?(?P<path>/.*)?$", re.DOTALL)


def scheme_of(uri: str) -> str:
    """Returns the scheme in lower case; `""` for a plain path."""
    match = _SCHEME.match(uri)
    return match[1].lower() if match else ""


def join(folder: str, name: str) -> str:
    """Appends a name to a folder's URI or path."""
    return f"{folder.rstrip('/')}/{name}"


def path_below(folder: str, uri: str) -> str:
    """Returns the path of a listed file within its folder, decoded: `a b/1.jpg`.

    Args:
        folder: URI or path, without a final `/` on S3.
        uri: as `Storage.list` spells it.

    Example:
        >>> path_below("s3://shop/out", "s3://shop/out/images/ab/abc.png")
        'images/ab/abc.png'
    """
    if scheme_of(folder) == "s3":
        return uri.removeprefix(f"{folder}/")
    return local_path(uri).relative_to(local_path(folder).absolute()).as_posix()


def local_path(uri: str) -> Path:
    """Returns the path that a plain path or a (percent-encoded) file:// URI names.

    File URIs have no query and no fragment: `?` and `#` belong to the name. Names need not be
    UTF-8: `%FF` is the byte 255.

    Raises:
        ValueError: if a file:// URI names another host, or no path, or the path holds a NUL byte.
    """
    path = uri
    if scheme_of(uri) == "file":
        match = _FILE.match(uri)
        if match is None or (match["host"] or "").lower() not in ("", "localhost"):
            raise ValueError("a file URI is file:///path, on this machine")
        path = os.fsdecode(unquote_to_bytes(os.fsencode(match["path"] or "")))
        if not path:
            raise ValueError("a file URI is file:///path")
    if "\0" in path:
        raise ValueError("a path may not hold a NUL byte")
    return Path(path)


def split_s3(uri: str) -> tuple[str, str]:
    """Splits s3://bucket/key into bucket and key; the key may be empty, and is taken literally."""
    bucket, _, key = uri.partition("://")[2].partition("/")
    return bucket, key
