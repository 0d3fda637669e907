"""Errors of files that cannot become an image, each with the stable reason of its row."""


class ImageError(ValueError):
    """A file that cannot become an image.

    Attributes:
        reason: stable code for the row.

    Example:
        >>> TooManyPixelsError("9000 x 9000").reason
        'too_many_pixels'
    """

    reason = "unreadable"


class UnreadableImageError(ImageError):
    """A known format, but broken, truncated or empty.

    Example:
        raise UnreadableImageError("the file is empty")
    """


class UnsupportedFormatError(ImageError):
    """Not an image of an allowed format, or pixels without a defined appearance.

    Example:
        raise UnsupportedFormatError("floating-point pixels have no defined white")
    """

    reason = "unsupported_format"


class TooManyPixelsError(ImageError):
    """More pixels than the run allows to decode.

    Example:
        raise TooManyPixelsError("9000 x 9000 is 81000000 pixels, the limit is 40000000")
    """

    reason = "too_many_pixels"


class AnimatedImageError(ImageError):
    """More than one frame.

    Example:
        raise AnimatedImageError("more than one frame")
    """

    reason = "animated"


class DecodeTimeoutError(ImageError):
    """Decoding took longer than allowed; raised by `model.imaging.sandbox` only.

    Example:
        raise DecodeTimeoutError("decoding took longer than 30 s")
    """

    reason = "decode_timeout"


class DecoderKilledError(ImageError):
    """Something outside killed the decoder, in most cases the system for want of memory.

    The file may be sound, so this reason does not last: the next run decodes the file again.
    Raised by `model.imaging.sandbox` only.

    Example:
        raise DecoderKilledError("the decoder was killed twice on this file (signal 9)")
    """

    reason = "out_of_memory"
