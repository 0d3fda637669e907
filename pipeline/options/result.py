"""Options about the results: network, image format, measures."""

import dataclasses

from model.imaging.formats import IMAGE_FORMATS, METADATA, PROFILES, Encoding
from model.inference.dtypes import COMPUTE_DTYPES
from model.network import presets
from pipeline.options.declaration import (
    AUTO,
    declare,
    percent_or_auto,
    place,
    positive,
    scale_or_auto,
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ResultOptions:
    """How an image becomes its result.

    Example:
        settings.image_format  # each option is a field of `pipeline.settings.Settings`
    """

    # The content key has the model's digest instead of its name.
    model: str = declare(
        f"{', '.join(presets.PRESETS)}, or path or S3 URI of a .keras file of model.train",
        presets.DEFAULT,
        parse=place,
        resume_must_match=True,
        is_replayed=True,
    )
    scale: int | None = declare(
        "enlargement: 2, 3 or 4; auto: the network's own. With --target_side the largest allowed",
        None,
        parse=scale_or_auto,
        default_name=AUTO,
        in_content_key=True,
        resume_must_match=True,
        is_replayed=True,
    )
    target_side: int | None = declare(
        "longer side of the results in pixels; an image that has it already: large_enough",
        None,
        parse=positive,
        metavar="PIXELS",
        in_content_key=True,
        resume_must_match=True,
        is_replayed=True,
    )
    source_sharpening: float | None = declare(
        "how the sources were sharpened, as model.sharpening measures it; unknown: the network "
        "sees in each image for itself",
        None,
        parse=presets.sharpening_or_unknown,
        metavar="LOG2",
        default_name=presets.UNKNOWN,
        in_content_key=True,
        resume_must_match=True,
        is_replayed=True,
    )
    sharpening_table: str | None = declare(
        "CSV file, local or on S3, of prefixes and how the sources below each were sharpened, as "
        "model.sharpening --table writes it",
        None,
        parse=place,
        metavar="FILE",
        resume_must_match=True,
    )
    image_format: str = declare(
        "format of the results; auto: as the source, lossless stays lossless",
        AUTO,
        choices=(AUTO, *IMAGE_FORMATS),
        in_content_key=True,
        resume_must_match=True,
        is_replayed=True,
    )
    quality: int | None = declare(
        "1 to 100, of JPEG and of lossy WebP and AVIF; auto: 92, of AVIF 85",
        None,
        parse=percent_or_auto,
        default_name=AUTO,
        in_content_key=True,
        resume_must_match=True,
        is_replayed=True,
    )
    progressive: str = declare(
        "write JPEGs that show as a whole before they are loaded",
        "no",
        choices=("yes", "no"),
        in_content_key=True,
        resume_must_match=True,
        is_replayed=True,
    )
    profile: str = declare(
        "keep the source's colour profile, or convert its colours to sRGB and write none",
        "keep",
        choices=PROFILES,
        in_content_key=True,
        resume_must_match=True,
        is_replayed=True,
    )
    metadata: str = declare(
        "keep the source's rights (copyright, creators, licence), or no metadata",
        "rights",
        choices=METADATA,
        in_content_key=True,
        resume_must_match=True,
        is_replayed=True,
    )
    blank: str = declare(
        "skip exactly white background, or upscale it like all else",
        "skip",
        choices=("skip", "magnify"),
        in_content_key=True,
        resume_must_match=True,
        is_replayed=True,
    )
    # Not in the content key: results hardly differ.
    precision: str = declare(
        "dtype that the network computes in; results differ by one grey level, rarely by more",
        AUTO,
        choices=(AUTO, *COMPUTE_DTYPES),
        is_replayed=True,
    )
    self_psnr: str = declare(
        "measure the self PSNR on the block with most detail, on the full image, or not at all",
        "window",
        choices=("window", "full", "off"),
        # The gate and the blending with bicubic depend on it.
        in_content_key=True,
        resume_must_match=True,
        is_replayed=True,
    )

    @property
    def encoding(self) -> Encoding:
        """How results are encoded, whatever their format."""
        return Encoding(self.quality, self.progressive == "yes", self.profile, self.metadata)
