"""URIs and paths: their schemes and parts."""

import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

_SCHEME = re.compile(r"^([A-Za-z][A-Za-z0-9+.-]*):/")


def scheme_of(uri: str) -> str:
    """The scheme in lower case; `""` for a plain path."""
    match = _SCHEME.match(uri)
    return match[1].lower() if match else ""


def join(folder: str, name: str) -> str:
    """Appends a name to a folder's URI or path."""
    return f"{folder.rstrip('/')}/{name}"


def local_path(uri: str) -> Path:
    """The path that a plain path or a (percent-encoded) file:// URI names."""
    return Path(unquote(urlsplit(uri).path) if scheme_of(uri) == "file" else uri)


def split_s3(uri: str) -> tuple[str, str]:
    """Splits s3://bucket/key into bucket and key; the key may be empty, and is taken literally."""
    bucket, _, key = uri.partition("://")[2].partition("/")
    return bucket, key
