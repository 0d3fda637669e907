"""Names of the image formats that results are written in; imports nothing."""

IMAGE_FORMATS = ("png", "jpeg", "webp")
EXTENSIONS = {"png": "png", "jpeg": "jpg", "webp": "webp"}
