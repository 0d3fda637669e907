"""Reads and checks the saved model that a run names, without building the network."""

from model.network import presets
from model.network.checking import check
from pipeline.records import RunError
from pipeline.storage import locations
from pipeline.storage.base import Readable, StorageError


def read_model(files: Readable, name: str) -> presets.SavedModel:
    """Reads a shipped model by name, another one from a path or S3 URI.

    Raises:
        RunError: if there is none, or it is no saved RDN.
    """
    try:
        if name in presets.PRESETS:
            return presets.resolve(name)
        if locations.scheme_of(name) not in ("s3", "file", ""):
            raise RunError(f"--model {name}: use a shipped name, a path or an s3:// URI")
        saved = presets.from_bytes(name, files.read(name))
        check(saved)
        return saved
    except presets.ModelError as error:
        raise RunError(f"--model: {error}") from error
    except StorageError as error:
        raise RunError(
            f"--model {name}: {error.detail}; shipped models: {', '.join(presets.PRESETS)}"
        ) from error
