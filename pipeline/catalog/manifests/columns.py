"""The columns of a manifest that the job reads."""

import dataclasses
import functools
from collections.abc import Iterable, Mapping

from pipeline.records import RunError


@dataclasses.dataclass(frozen=True)
class ManifestColumns:
    """Names of a manifest's columns, or keys.

    Attributes:
        uri: of the image; required.
        product_id: of the product.
        reference_uri: of a true large image to compare with.
        source_sharpening: how the image was sharpened, log2.
        kept: of other columns, which the rows carry.

    Example:
        >>> ManifestColumns(uri="image_url", product_id="sku").reference_uri
        'reference_uri'
    """

    uri: str = "uri"
    product_id: str = "product_id"
    reference_uri: str = "reference_uri"
    source_sharpening: str = "source_sharpening"
    kept: tuple[str, ...] = ()

    @functools.cached_property
    def asked(self) -> dict[str, str]:
        """The columns that the user asked for, other than that of URIs, by the option."""
        asked = dict.fromkeys(self.kept, "--keep_columns")
        if self.product_id != ManifestColumns.product_id:
            asked[self.product_id] = "--id_column"
        asked.pop(self.uri, None)
        return asked

    def read(self) -> set[str]:
        """All columns that the job reads."""
        return {*self.by_field().values(), self.source_sharpening, *self.kept}

    def by_field(self) -> Mapping[str, str]:
        """The columns of texts by the field of a record that they fill, without those kept."""
        return {
            "uri": self.uri,
            "product_id": self.product_id,
            "reference_uri": self.reference_uri,
        }

    def check(self, found: list[str], name: str) -> None:
        """Checks the header of a manifest: without its columns it is the wrong file.

        Args:
            found: columns that the manifest has.
            name: of the manifest.

        Raises:
            RunError: if the column of URIs is not there once, or another one that the user named
                is not, or one that the job reads is there more than once.
        """
        for column in self.read() - {self.uri, *self.kept}:
            if found.count(column) > 1:
                raise RunError(
                    f"the manifest {name} has several columns {column}; rename or remove one. "
                    f"Received: {_listed(found)}"
                )
        for column, option in ({self.uri: "--uri_column"} | self.asked).items():
            if found.count(column) != 1:
                has = "several columns" if column in found else "no column"
                raise RunError(
                    f"the manifest {name} has {has} {column}; {option} names another one. "
                    f"Received: {_listed(found)}"
                )

    def check_keys(self, lacking: Iterable[str], found: Iterable[str], name: str) -> None:
        """Checks a manifest without a header, whose lines have each their own keys.

        Args:
            lacking: columns that the user asked for and no line has.
            found: keys of its lines.
            name: of the manifest.

        Raises:
            RunError: if there are such columns.
        """
        for column in sorted(lacking):
            raise RunError(
                f"no line of the manifest {name} has the key {column}; {self.asked[column]} "
                f"names another one. Received: {_listed(found)}"
            )


# Of a manifest that needs no options.
USUAL_COLUMNS = ManifestColumns()


def _listed(columns: Iterable[str]) -> str:
    return ", ".join(columns)[:200]
