"""The catalog magnifier as a library: `upscale` for images in memory, `UpscaleImages` for Beam.

    from catalog_magnifier import upscale

    large = upscale(Image.open("shoe.jpg"))

docs/library.md describes both. Importing this package loads no framework: a name loads what it
needs when it is first used.
"""

import importlib
from typing import TYPE_CHECKING, Any

from model.version import VERSION as __version__

if TYPE_CHECKING:
    from model.api import upscale
    from pipeline.library import UpscaledFile, UpscaleError, UpscaleImages

__all__ = ["UpscaleError", "UpscaleImages", "UpscaledFile", "__version__", "upscale"]

_MODULES = {
    "upscale": "model.api",
    "UpscaleError": "pipeline.library",
    "UpscaleImages": "pipeline.library",
    "UpscaledFile": "pipeline.library",
}


def __getattr__(name: str) -> Any:
    """Loads a public name when it is first used."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    """The public names."""
    return __all__
