"""Start-up of a command: quiet, interruptible, and content with a reader who leaves early.

Importing this module changes nothing and loads no framework. A command's `__main__.py` reads:

    def main(argv: list[str]) -> int:
        arguments = _parse(argv)  # errors and --help need no framework
        startup.import_tensorflow()
        from model.inference.upscaler import Upscaler
        ...

    if __name__ == "__main__":
        sys.exit(startup.run_command("model.upscale", main))
"""

import contextlib
import gc
import io
import os
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator

INTERRUPTED = 130
_PARENT_CHECK_EVERY_S = 1.0
# The real standard error, while `import_tensorflow` holds back what is written to it.
_held_back: list[int] = []
# TensorFlow and Keras import them wherever they are installed, to accept their objects.
_OPTIONAL = ("jax", "matplotlib", "pandas", "scipy")


def run_command(name: str, main: Callable[[list[str]], int]) -> int:
    """Runs a command with the arguments of this process.

    Standard output may be closed by its reader, as by `| head`: the command goes on and its exit
    status stays its own. Ctrl-C ends it with one line.

    Args:
        name: of the command, for messages.
        main: takes the arguments without the program's name and returns the exit status.

    Returns:
        The exit status: that of `main`, or 130 after Ctrl-C.

    Raises:
        SystemExit: if `main` does, as argparse after `--help` or for a wrong command line.
    """
    _tolerate_closed_output()
    try:
        return main(sys.argv[1:])
    except KeyboardInterrupt:
        print(f"{name}: interrupted", file=sys.stderr)
        return INTERRUPTED


def import_tensorflow(*, is_ours: bool = True) -> None:
    """Imports TensorFlow and holds back what its C++ prints meanwhile, unless the import fails.

    Processes that this one starts inherit the level of TensorFlow's own log. A second call does
    nothing.

    Args:
        is_ours: only this project's code uses TensorFlow in this process: packages that it would
            import in case its caller uses them, too, are left out, a quarter of the time; and
            Keras computes with TensorFlow, whatever the environment says.
    """
    if "tensorflow" in sys.modules:
        return
    if is_ours:
        os.environ["KERAS_BACKEND"] = "tensorflow"
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    with _stderr_held_back(), collection_paused(), _hidden(_OPTIONAL if is_ours else ()):
        import tensorflow  # noqa: PLC0415 - the point of this function

        tensorflow.config.list_physical_devices()  # looks for CUDA, loudly without a GPU


def end_with_parent() -> None:
    """Ends this process when its parent is gone: nobody takes its results any more.

    A killed parent cannot stop its processes, and one that waits for its device or its next work
    does not notice. It would hold memory that the retry needs.
    """
    threading.Thread(target=_end_after, args=(os.getppid(),), daemon=True).start()


def let_stderr_through() -> None:
    """Ends the holding back of `import_tensorflow`, for the last words of a process that ends."""
    while _held_back:
        os.dup2(_held_back.pop(), 2)


@contextlib.contextmanager
def collection_paused() -> Iterator[None]:
    """Pauses the garbage collector while large packages are imported.

    They leave no garbage, and the search for it takes a sixth to a fifth of the time.

    Example:
        with startup.collection_paused():
            from pipeline import job  # imports Beam
    """
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


@contextlib.contextmanager
def _hidden(packages: tuple[str, ...]) -> Iterator[None]:
    """Within the block, packages that are not imported yet count as not installed."""
    names = [name for name in packages if name not in sys.modules]
    sys.modules.update(dict.fromkeys(names))  # type: ignore[arg-type] # None: see `import`
    try:
        yield
    finally:
        for name in names:
            if sys.modules.get(name) is None:
                sys.modules.pop(name, None)


@contextlib.contextmanager
def _stderr_held_back() -> Iterator[None]:
    """Drops what the block prints on file descriptor 2, or prints it if the block fails.

    Ctrl-C is no failure: one line tells it.
    """
    try:
        kept = tempfile.TemporaryFile()  # noqa: SIM115 - closed below
    except OSError:  # no room for a temporary file: print everything
        yield
        return
    sys.stderr.flush()
    terminal = os.dup(2)
    with kept:
        os.dup2(kept.fileno(), 2)
        _held_back.append(terminal)
        try:
            yield
        except Exception:
            kept.seek(0)
            os.write(terminal, kept.read())
            raise
        finally:
            let_stderr_through()
            os.close(terminal)


class _Output(io.TextIOWrapper):
    """Standard output that drops everything once its reader is gone."""

    def write(self, text: str) -> int:
        try:
            return super().write(text)
        except BrokenPipeError:
            self._drop()
            return len(text)

    def flush(self) -> None:
        try:
            super().flush()
        except BrokenPipeError:
            self._drop()

    def _drop(self) -> None:
        """Points the file descriptor to the null device; what is still buffered goes there."""
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, self.fileno())
        os.close(null)
        super().flush()


def _end_after(parent: int) -> None:
    """Waits for the parent's end."""
    while os.getppid() == parent:
        time.sleep(_PARENT_CHECK_EVERY_S)
    os._exit(1)


def _tolerate_closed_output() -> None:
    """Replaces `sys.stdout`; `sys.__stdout__` keeps the original open."""
    output = sys.stdout
    if output is sys.__stdout__ and isinstance(output, io.TextIOWrapper):
        sys.stdout = _Output(
            output.buffer,
            encoding=output.encoding,
            errors=output.errors,
            line_buffering=output.line_buffering,
            write_through=output.write_through,
        )
