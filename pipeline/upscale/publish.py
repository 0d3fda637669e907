"""Last step: writes an encoded image and compares it with a reference."""

from typing import NamedTuple

from model.imaging.errors import ImageError
from model.imaging.formats import EXTENSIONS
from model.imaging.sandbox import DecoderPool, DecoderUnavailableError
from model.metrics import quality
from model.metrics.quality import ReferenceMeasures
from pipeline.records import NOT_COMPARED, Reason, RunError
from pipeline.row.parts import EncodedImage
from pipeline.settings import Settings
from pipeline.storage import locations
from pipeline.storage.base import Storage, StorageError
from pipeline.upscale.steps import Decoded, Upscaled


class Comparison(NamedTuple):
    """Measures against a reference, or a line for people about what prevented them.

    Attributes:
        measures: None without a reference, or with `trouble`.
        trouble: why there are none; None if nothing is wrong.
        may_pass: whether another night may have none; see `Reason.may_pass`.

    Example:
        >>> Comparison(trouble="not compared with the reference: no such file").measures is None
        True
    """

    measures: ReferenceMeasures | None = None
    trouble: str | None = None
    may_pass: bool = False


def publish(
    upscaled: Upscaled, content_key: str, files: Storage, *, images: str, folder: str
) -> EncodedImage:
    """Writes an image to its own file, or puts it into the row, as the run asks for.

    Args:
        upscaled: the image.
        content_key: of its source; names the file.
        files: where to write.
        images: `parquet` for the row, `files` for its own file, or `both`.
        folder: of the files, directly in the output.

    Returns:
        The columns of the image.

    Raises:
        StorageError: if it cannot be written.
    """
    encoded = upscaled.encoded
    name = f"{content_key}.{EXTENSIONS[encoded.image_format]}"
    image_uri = None
    if images in ("files", "both"):
        # Folders of at most 1/256 of the images each. The name comes from the content key
        # alone: a URI's text can name nothing outside, and a retry writes the same file.
        path = f"{name[:2]}/{name}"
        files.write(locations.join(folder, path), encoded.data)
        # Relative to the output, in which the folder lies: both may be moved.
        image_uri = locations.join(folder.rpartition("/")[2], path)
    is_in_row = images in ("parquet", "both")
    return EncodedImage(
        width=upscaled.width,
        height=upscaled.height,
        image_format=encoded.image_format,
        image_bytes=len(encoded.data),
        image_sha256=encoded.sha256,
        image_uri=image_uri,
        model=upscaled.model,
        model_sha256=upscaled.model_sha256,
        scale=upscaled.scale,
        network_share=upscaled.network_share,
        image={"bytes": encoded.data, "path": name} if is_in_row else None,
    )


def compare_with_reference(
    decoded: Decoded,
    upscaled: Upscaled,
    location: str,
    *,
    files: Storage,
    decoders: DecoderPool,
    settings: Settings,
) -> Comparison:
    """Measures a result against the true HR image.

    Args:
        decoded: the source.
        upscaled: with its result.
        location: of the reference.
        files: where it lies.
        decoders: processes that decode it.
        settings: of the run.

    Returns:
        The measures; none if the reference cannot be read, or if its size does not belong to the
        result's.

    Raises:
        RunError: if no decoder process can be started.
    """
    assert upscaled.result is not None  # whoever upscaled knew of the reference
    try:
        found = files.identify(location)
        if found.size_bytes > settings.max_bytes:
            raise ValueError(f"{found.size_bytes} bytes, more than {settings.max_bytes}")
        _, reference = decoders.decode(
            files.read(location, etag=found.etag),
            max_pixels=settings.max_pixels,
            first_frame=settings.animated == "first_frame",
            finds_jpeg=False,
        )
        measures = quality.measure_against_reference(
            decoded.image, upscaled.result, reference, scale=upscaled.scale
        )
    except DecoderUnavailableError as error:
        raise RunError(str(error)) from error
    except (StorageError, ImageError) as error:
        may_pass = Reason(error.reason).may_pass
        return Comparison(trouble=f"{NOT_COMPARED}{error}", may_pass=may_pass)
    except ValueError as error:
        return Comparison(trouble=f"{NOT_COMPARED}{error}")
    return Comparison(measures)
