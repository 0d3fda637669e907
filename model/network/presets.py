"""Shipped networks: descriptions, digests and scores; reads the bytes of any saved network.

Imports no framework: `model.network.loading` builds the network.
"""

import argparse
import hashlib
import io
import json
import numbers
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

WEIGHTS_DIR = Path(__file__).parents[1] / "weights"
# The shipped networks have 300 bytes; a hostile file nests lists until a parser gives up.
MAX_CONFIG_BYTES = 64 << 10
# Exceptions of zipfile, json, h5py and Keras on broken files; RecursionError is a RuntimeError.
BROKEN = (
    *(ValueError, KeyError, TypeError, AttributeError, OSError, RuntimeError),
    *(zipfile.BadZipFile, zlib.error),
)
# What a network may be told of the sharpening of its input, log2: what training has shown it.
MIN_SHARPENING, MAX_SHARPENING = -0.75, 1.5
UNKNOWN = "unknown"
# The default of the pipeline and of `model.upscale`.
DEFAULT = "rdn-product"
# The default of `model.evaluate`, whose benchmarks are clean.
BEST_ON_CLEAN = "rdn-small"
# The default of benchmarks that compare networks: rdn-large takes several times their time.
ON_A_CPU = (BEST_ON_CLEAN, DEFAULT)


@dataclass(frozen=True)
class Preset:
    """A network in `model/weights/`, described in the model card beside it.

    Attributes:
        name: value of `--model`; the files are `<name>.keras` and `<name>.md`.
        description: one line for people.
        sha256: of the `.keras` file.
        parameters: trainable parameters.
        scale: upscaling factor.
        set5_psnr_y_db, set14_psnr_y_db: as `python -m model.evaluate` prints them for the file.

    Example:
        >>> PRESETS["rdn-small"].scale
        2
    """

    name: str
    description: str
    sha256: str
    parameters: int
    scale: int
    set5_psnr_y_db: float
    set14_psnr_y_db: float

    @property
    def path(self) -> Path:
        """The weights' file."""
        return WEIGHTS_DIR / f"{self.name}.keras"


PRESETS = {
    preset.name: preset
    for preset in (
        Preset(
            name="rdn-small",
            description="RDN C3 D6 G32 G0 32, x2, trained on clean photographs; fits a CPU",
            sha256="d9733865dd5ffeb7faa59fa9f0238de41cca8decfb4830a15cdda0f2d802a3e7",
            parameters=395404,
            scale=2,
            set5_psnr_y_db=37.74,
            set14_psnr_y_db=33.32,
        ),
        Preset(
            name="rdn-product",
            description="RDN C3 D5 G32 G0 32, x2, for images as shops have them: compressed",
            sha256="1043243797d86e0a44db0a3da98fea109103833de11f83fa662ddf27b3a29ab2",
            parameters=335724,
            scale=2,
            set5_psnr_y_db=37.50,
            set14_psnr_y_db=33.13,
        ),
        Preset(
            name="rdn-large",
            description="RDN C3 D10 G64 G0 64, x2, as rdn-product, better and slower",
            sha256="24759c4e61e9b43ef642052347ecc12858c98da1d1eda07b71facd342af077e2",
            parameters=2540492,
            scale=2,
            set5_psnr_y_db=37.70,
            set14_psnr_y_db=33.26,
        ),
        Preset(
            name="rdn-product-x3",
            description="RDN C3 D5 G32 G0 32, x3, as rdn-product, for very small images",
            sha256="3e25d0a0e92be10d9da515e4729cdc92df11ee7738e517e6d404388afb74c96a",
            parameters=339483,
            scale=3,
            set5_psnr_y_db=33.55,
            set14_psnr_y_db=29.79,
        ),
        Preset(
            name="rdn-product-x4",
            description="RDN C3 D5 G32 G0 32, x4, as rdn-product, for very small images",
            sha256="2c0a748e5883c29bb4ab24d8403489b04d34dc9316f9e8b975af372475800174",
            parameters=345552,
            scale=4,
            set5_psnr_y_db=31.28,
            set14_psnr_y_db=27.99,
        ),
    )
}


class ModelError(ValueError):
    """A network that cannot be used: unknown name, missing or damaged file.

    Example:
        >>> resolve("rdn-smal")  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        model.network.presets.ModelError: no model 'rdn-smal': neither a file nor one of ...
    """


@dataclass(frozen=True)
class SavedModel:
    """The bytes of a saved network, with the name and digest that rows report.

    Attributes:
        name: the preset's name or the file's stem.
        data: content of the `.keras` file.
        sha256: of `data`, hexadecimal.

    Example:
        >>> resolve("rdn-small").sha256 == PRESETS["rdn-small"].sha256
        True
    """

    name: str
    data: bytes
    sha256: str

    @property
    def scale(self) -> int:
        """Upscaling factor of one pass, as the file's configuration says.

        Raises:
            ModelError: if the file has none: it is no saved RDN.
        """
        return max(1, self._read("scale", 2))

    def check_sharpening(self, sharpening: float | None) -> None:
        """Checks that the network can be told how its input was sharpened.

        Args:
            sharpening: log2; None where it is unknown, which every network can be told.

        Raises:
            ModelError: if it cannot, or the file is no saved RDN.
            ValueError: if it is no number from `MIN_SHARPENING` to `MAX_SHARPENING`.
        """
        check_sharpening_range(sharpening)
        if sharpening is not None and not self._read("knows_sharpening", 0):
            raise ModelError(not_told_of_sharpening(self.name))

    def _read(self, name: str, default: int) -> int:
        """A number of the file's configuration."""
        try:
            with zipfile.ZipFile(io.BytesIO(self.data)) as archive:
                with archive.open("config.json") as file:
                    config = json.loads(file.read(MAX_CONFIG_BYTES))["config"]
                return int(config.get(name, default))
        except BROKEN as error:
            raise ModelError(f"{self.name} is no saved RDN: {error}") from error


def resolve(name_or_path: str) -> SavedModel:
    """Reads a shipped network by its name, or any saved one by its path.

    Args:
        name_or_path: a key of `PRESETS`, or the path of a `.keras` file that `model.train` wrote.

    Returns:
        The file's content and digest; the name is the preset's or the file's stem.

    Raises:
        ModelError: if there is no such network, or the digest of a shipped file is wrong.
    """
    preset = PRESETS.get(name_or_path)
    path = preset.path if preset else Path(name_or_path)
    try:
        data = path.read_bytes()
    except OSError as error:
        if "://" in name_or_path:  # its signature or password is not to be printed
            raise ModelError(
                "a model is a path or a shipped name, no web address: download the file first"
            ) from error
        raise ModelError(
            f"no model {name_or_path!r}: neither a file nor one of {', '.join(PRESETS)}"
        ) from error
    saved = from_bytes(preset.name if preset else path.stem, data)
    if preset and saved.sha256 != preset.sha256:
        raise ModelError(
            f"{path} is damaged: its sha256 is {saved.sha256}, expected {preset.sha256}; "
            "install the package again"
        )
    return saved


def from_bytes(name: str, data: bytes) -> SavedModel:
    """Wraps the content of a `.keras` file that the caller has read.

    Args:
        name: reported in rows.
        data: content of the file; not checked here.

    Returns:
        The content with its digest.
    """
    return SavedModel(name, data, hashlib.sha256(data).hexdigest())


def check_sharpening_range(sharpening: float | None) -> None:
    """Checks what a network is told of the sharpening of its input.

    Args:
        sharpening: log2; None where it is unknown.

    Raises:
        ValueError: if it is no number from `MIN_SHARPENING` to `MAX_SHARPENING`.
    """
    if sharpening is None:
        return
    is_number = isinstance(sharpening, numbers.Real) and not isinstance(sharpening, bool)
    if not is_number or not MIN_SHARPENING <= sharpening <= MAX_SHARPENING:
        raise ValueError(
            f"source_sharpening is None or a number from {MIN_SHARPENING} to {MAX_SHARPENING}. "
            f"Received: {sharpening!r}"
        )


def not_told_of_sharpening(name: str) -> str:
    """The message for a network that cannot be told."""
    return (
        f"{name} was not trained to be told how its input was sharpened: leave "
        "source_sharpening unknown, or choose rdn-product or rdn-large"
    )


def sharpening_or_unknown(text: str) -> float | None:
    """Parses `--source_sharpening`, log2; None for `unknown`.

    Raises:
        argparse.ArgumentTypeError: if it is neither.
    """
    if text == UNKNOWN:
        return None
    try:
        value = float(text)
        check_sharpening_range(value)
    except ValueError as error:
        raise argparse.ArgumentTypeError(
            f"must be {UNKNOWN} or a number from {MIN_SHARPENING} to {MAX_SHARPENING}, as "
            f"model.sharpening prints it: {text}"
        ) from error
    return rounded_sharpening(value)


def rounded_sharpening(value: float) -> float:
    """To four digits, which float32 keeps; 0 for -0; no exponent, which looks like an option."""
    return round(value, 4) + 0.0
