"""The one bicubic of this project, and the degradations that make realistic LR pictures."""

import io
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageFilter


def bicubic(pixels: np.ndarray, height: int, width: int) -> np.ndarray:
    """Resizes a picture with the bicubic kernel a = -0.5, anti-aliased when it shrinks.

    Pillow's resampling at float precision. The kernel equals MATLAB's `imresize`, with which
    the published super-resolution benchmarks were made; at the border Pillow renormalises the
    weights where MATLAB mirrors the picture.

    Args:
        pixels: [H, W] or [H, W, K], uint8 or float, any range.
        height: rows of the result, at least 1.
        width: columns of the result, at least 1.

    Returns:
        float32 [height, width] or [height, width, K] in the range of the input, not rounded;
        it may overshoot that range beside strong edges.

    Raises:
        ValueError: if a size is below 1 or the input is empty.

    Source:
        Keys, "Cubic convolution interpolation for digital image processing", 1981, a = -0.5.
    """
    return _resize("bicubic", Image.Resampling.BICUBIC, pixels, height, width)


def lanczos(pixels: np.ndarray, height: int, width: int) -> np.ndarray:
    """Resizes a picture with the Lanczos kernel of three lobes, anti-aliased when it shrinks.

    Pillow's resampling at float precision, as in `bicubic`: sharper, and rings more beside
    strong edges. A baseline only: LR pictures are made by `bicubic`.

    Args:
        pixels: [H, W] or [H, W, K], uint8 or float, any range.
        height: rows of the result, at least 1.
        width: columns of the result, at least 1.

    Returns:
        float32 [height, width] or [height, width, K] in the range of the input, not rounded;
        it overshoots that range beside strong edges.

    Raises:
        ValueError: if a size is below 1 or the input is empty.

    Source:
        Duchon, "Lanczos filtering in one and two dimensions", 1979; Pillow's `Resampling.LANCZOS`.
    """
    return _resize("lanczos", Image.Resampling.LANCZOS, pixels, height, width)


def _resize(
    name: str, kernel: Image.Resampling, pixels: np.ndarray, height: int, width: int
) -> np.ndarray:
    """Pillow's resampling of each plane at float precision; `name` is for the error."""
    if height < 1 or width < 1 or pixels.size == 0:
        raise ValueError(
            f"{name} needs a non-empty picture and a size of at least 1 x 1. "
            f"Received: {pixels.shape} to {height} x {width}"
        )
    planes = np.atleast_3d(pixels)
    resized = [
        np.asarray(
            Image.fromarray(np.ascontiguousarray(planes[..., k], dtype=np.float32)).resize(
                (width, height), kernel
            )
        )
        for k in range(planes.shape[2])
    ]
    return resized[0] if pixels.ndim == 2 else np.stack(resized, axis=-1)


def shrink(pixels: np.ndarray, scale: int) -> np.ndarray:
    """Shrinks a picture by an integer scale, as LR is made from HR.

    Args:
        pixels: [H, W] or [H, W, K], uint8 or float; H and W multiples of `scale`.
        scale: by how much, at least 1.

    Returns:
        float32 [H / scale, W / scale] or [H / scale, W / scale, K], not rounded.

    Raises:
        ValueError: if a side is not a multiple of `scale`: use `crop_to_multiple` first.
    """
    height, width = pixels.shape[:2]
    if height % scale or width % scale:
        raise ValueError(
            f"shrink needs sides that are multiples of the scale {scale}. "
            f"Received: {height} x {width}"
        )
    return bicubic(pixels, height // scale, width // scale)


def crop_to_multiple(pixels: np.ndarray, scale: int) -> np.ndarray:
    """Cuts rows and columns at the lower and right border, so that the sides divide by `scale`.

    Args:
        pixels: [H, W, ...], any dtype.
        scale: at least 1.

    Returns:
        A view of shape [H - H % scale, W - W % scale, ...].
    """
    height, width = pixels.shape[:2]
    return pixels[: height - height % scale, : width - width % scale]


def to_uint8(pixels: np.ndarray) -> np.ndarray:
    """Rounds grey levels to the nearest uint8.

    `astype(uint8)` alone would truncate: half a level darker on average, and wrapped beside
    edges that overshoot.

    Args:
        pixels: float, any shape, nominally 0..255.

    Returns:
        uint8 of the same shape, clipped to 0..255.
    """
    return np.clip(np.rint(pixels), 0, 255).astype(np.uint8)


def compress_jpeg(rgb: np.ndarray, quality: int, *, subsampling: str = "4:2:0") -> np.ndarray:
    """Sends a picture through JPEG, as a shop that saves it would.

    Args:
        rgb: uint8 [H, W, 3].
        quality: libjpeg's setting, 1..100.
        subsampling: of the colours, `4:4:4`, `4:2:2` or `4:2:0`.

    Returns:
        uint8 [H, W, 3] with the compression's noise.

    Source:
        ITU-T T.81, by libjpeg-turbo.
    """
    buffer = io.BytesIO()
    Image.fromarray(rgb).save(buffer, "JPEG", quality=quality, subsampling=subsampling)
    with Image.open(buffer) as picture:
        return np.asarray(picture)


def blur(rgb: np.ndarray, sigma_px: float) -> np.ndarray:
    """Blurs a picture as a soft lens or a careless enlargement does.

    Args:
        rgb: uint8 [H, W, 3].
        sigma_px: standard deviation of the Gaussian, pixels; 0 leaves the picture as it is.

    Returns:
        uint8 [H, W, 3]; Pillow approximates the Gaussian by three box filters.
    """
    return np.asarray(Image.fromarray(rgb).filter(ImageFilter.GaussianBlur(sigma_px)))


def add_noise(
    pixels: np.ndarray, sigma_levels: float, generator: np.random.Generator
) -> np.ndarray:
    """Adds white Gaussian noise, independent in each channel, as a small sensor does.

    Args:
        pixels: float [H, W, 3] in 0..255.
        sigma_levels: standard deviation, grey levels.
        generator: the only source of randomness.

    Returns:
        float32 [H, W, 3], not clipped.
    """
    noise = generator.standard_normal(pixels.shape, np.float32)
    return pixels.astype(np.float32) + np.float32(sigma_levels) * noise


@dataclass(frozen=True)
class Degradation:
    """How realistic LR is made: blur, shrink, noise, JPEG, in the order of a real picture's life.

    Attributes:
        share: of the pictures that is degraded at all, 0..1; the others are only shrunk.
        blur_px: range of the Gaussian's sigma before shrinking, HR pixels.
        noise_levels: range of the noise's sigma after shrinking, grey levels.
        jpeg_quality: range of the compression, 1..100; 100 stands for none.
    """

    share: float = 0.0
    blur_px: tuple[float, float] = (0.0, 0.0)
    noise_levels: tuple[float, float] = (0.0, 0.0)
    jpeg_quality: tuple[int, int] = (100, 100)

    def __post_init__(self) -> None:
        if not 0 <= self.share <= 1:
            raise ValueError(f"the share of degraded pictures is 0..1. Received: {self.share}")
        for name, lowest, highest in (
            ("blur_px", 0, 10),
            ("noise_levels", 0, 100),
            ("jpeg_quality", 1, 100),
        ):
            low, high = getattr(self, name)
            if not lowest <= low <= high <= highest:
                raise ValueError(
                    f"{name} is a range within {lowest}..{highest}. Received: {low} {high}"
                )

    def make_lr(
        self, hr: np.ndarray, scale: int, generator: np.random.Generator
    ) -> tuple[np.ndarray, int]:
        """Makes an LR picture, drawing each strength evenly from its range.

        Args:
            hr: uint8 [H, W, 3], sides multiples of `scale`.
            scale: of the network.
            generator: the only source of randomness.

        Returns:
            uint8 [H / scale, W / scale, 3] and the JPEG quality that it went through, 100 for
            none.
        """
        if generator.random() >= self.share:
            return to_uint8(shrink(hr, scale)), 100
        blur_px = generator.uniform(*self.blur_px)
        lr = shrink(blur(hr, blur_px) if blur_px else hr, scale)
        noise_levels = generator.uniform(*self.noise_levels)
        lr = to_uint8(add_noise(lr, noise_levels, generator) if noise_levels else lr)
        quality = int(generator.integers(self.jpeg_quality[0], self.jpeg_quality[1] + 1))
        if quality == 100:
            return lr, 100
        # Most shops keep the colours at half size; a quarter does not.
        subsampling = "4:4:4" if generator.random() < 0.25 else "4:2:0"
        return compress_jpeg(lr, quality, subsampling=subsampling), quality
