"""Where the images of a manifest lie: its URIs, checked and made absolute."""

import re
from collections.abc import Iterable

from pipeline.records import NOT_COMPARED, CatalogEntry, Reason
from pipeline.storage import locations

# Schemes of URIs that can be read; a plain path has none.
SCHEMES = ("s3", "file")
# The first buckets of S3 have up to 255 letters, capitals among them.
BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{2,254}")


class BadUriError(ValueError):
    """A URI that cannot be fetched; becomes a rejected entry.

    Example:
        raise BadUriError(Reason.BAD_URI, "an S3 URI is s3://bucket/key")
    """

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail


class Place:
    """A manifest's place, which decides what its URIs mean and which it may name.

    Args:
        manifest: its URI; relative paths in a local manifest start at its folder.
        extra_schemes: schemes allowed besides: an S3 manifest may name s3 only, a local one
            s3, file and plain paths.

    Example:
        >>> Place("/data/manifest.csv").locate("images/a.jpg")
        '/data/images/a.jpg'
    """

    def __init__(self, manifest: str, extra_schemes: Iterable[str] = ()) -> None:
        self.manifest = manifest
        self._is_local = locations.scheme_of(manifest) in ("file", "")
        own = {"s3", "file", ""} if self._is_local else {"s3"}
        self._allowed = own | set(extra_schemes)

    def locate(self, uri: str) -> str:
        """Returns the absolute path, or S3 or file URI, that a URI of the manifest means.

        Raises:
            BadUriError: if the URI is malformed, or its scheme is not allowed.
        """
        scheme = locations.scheme_of(uri)
        if scheme and scheme not in SCHEMES:
            raise BadUriError(
                Reason.SCHEME_NOT_ALLOWED, f"{scheme}:// is not supported: use s3:// or file://"
            )
        if scheme not in self._allowed:
            raise BadUriError(
                Reason.SCHEME_NOT_ALLOWED,
                f"a manifest on S3 may not name {scheme + '://' if scheme else 'a plain path'} "
                "unless --allow_schemes says so",
            )
        return _check_s3(uri) if scheme == "s3" else self._locate_path(uri)

    def locate_entry(self, entry: CatalogEntry) -> CatalogEntry:
        """Fills in where an entry's image and its reference are fetched.

        A reference that names nothing fetchable costs the comparison alone: `detail` says why.

        Raises:
            BadUriError: of the image; see `locate`.
        """
        entry = entry._replace(location=self.locate(entry.uri))
        if not entry.reference_uri:
            return entry
        try:
            return entry._replace(reference_location=self.locate(entry.reference_uri))
        except BadUriError as error:
            return entry._replace(detail=NOT_COMPARED + error.detail)

    def _locate_path(self, uri: str) -> str:
        try:
            path = locations.local_path(uri)
        except ValueError as error:
            raise BadUriError(Reason.BAD_URI, str(error)) from error
        if self._is_local:
            path = locations.local_path(self.manifest).absolute().parent / path
        if not path.is_absolute():
            raise BadUriError(Reason.BAD_URI, "a path in a manifest on S3 must be absolute")
        try:
            str(path).encode()
        except UnicodeEncodeError:  # bytes that are not UTF-8 cross shuffles percent-encoded
            return path.as_uri()
        return str(path)


def _check_s3(uri: str) -> str:
    bucket, key = locations.split_s3(uri)
    if not bucket or not key:
        raise BadUriError(Reason.BAD_URI, "an S3 URI is s3://bucket/key")
    if not BUCKET.fullmatch(bucket):
        raise BadUriError(
            Reason.BAD_URI,
            "no bucket can have this name: a name has 3 to 63 letters, digits, '.' and '-', and "
            "begins with a letter or digit",
        )
    return f"s3://{bucket}/{key}"
