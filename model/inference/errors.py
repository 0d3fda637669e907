"""Errors of inference. Imports no framework, so that callers need none to name them."""


class OutOfMemoryError(RuntimeError):
    """The smallest tile does not fit into the device's memory.

    Example:
        try:
            result = upscaler.upscale_image(image)
        except OutOfMemoryError as error:
            print(error)  # the device has no memory for a call of 4096 pixels
    """
