"""The columns of a manifest that the job reads."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class ManifestColumns:
    """Names of a manifest's columns, or keys.

    Attributes:
        uri: of the image; required.
        product_id: of the product.
        reference_uri: of a true large image to compare with.

    Example:
        >>> ManifestColumns(uri="image_url", product_id="sku").reference_uri
        'reference_uri'
    """

    uri: str = "uri"
    product_id: str = "product_id"
    reference_uri: str = "reference_uri"
