"""Records of a training run: log.csv, TensorBoard, the progress bar."""

import csv
import logging
import math
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

import numpy as np

try:
    from tensorboardX import SummaryWriter
    from tqdm import tqdm
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(f"{error}: pip install -r requirements-train.txt") from error

from model import files

_log = logging.getLogger("model.train")


class Logbook:
    """The records of one run; a resumed run goes on where its checkpoint was.

    Args:
        run_dir: of the run; `log.csv` and `tensorboard/` go there.
        first: steps that the checkpoint has done; what was written beyond it is dropped.
        steps: in all.

    Example:
        with Logbook(Path("runs/mine"), first=0, steps=7000) as logbook:
            ...  # records each checkpoint
    """

    def __init__(self, run_dir: Path, first: int, steps: int) -> None:
        self._csv = run_dir / "log.csv"
        self.best = _keep_until(self._csv, first)
        self._board = SummaryWriter(str(run_dir / "tensorboard"), purge_step=first + 1)
        # Shown on a terminal; a file gets the lines of `write` alone.
        self._bar = tqdm(total=steps, initial=first, unit="step", disable=None)
        self._steps = steps

    def __enter__(self) -> "Logbook":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bar.close()
        self._board.close()

    def tick(self, loss: float) -> None:
        """One step is done."""
        self._bar.set_postfix({"loss": f"{loss:.5f}"}, refresh=False)
        self._bar.update()

    def write(
        self, step: int, figures: Mapping[str, float], scores_db: Mapping[str, float]
    ) -> bool:
        """Writes a line of figures everywhere.

        Args:
            step: steps done.
            figures: `loss`, `learning_rate` and the like.
            scores_db: PSNR-Y by set of images; those named `train_…` do not count for `best`.

        Returns:
            Whether the mean validation score is the best so far.
        """
        validation = [v for name, v in scores_db.items() if not name.startswith("train_")]
        mean_db = float(np.mean(validation)) if validation else float("nan")
        line = {"step": f"{step}"} | {name: f"{value:.6g}" for name, value in figures.items()}
        line |= {f"{name}_psnr_y_db": f"{value:.3f}" for name, value in scores_db.items()}
        line["mean_psnr_y_db"] = f"{mean_db:.4f}"
        is_new = not self._csv.exists()
        with self._csv.open("a", newline="") as file:
            writer = csv.DictWriter(file, fieldnames=list(line))
            if is_new:
                writer.writeheader()
            writer.writerow(line)
        for name, value in figures.items():
            self._board.add_scalar(name, value, step)
        for name, value in scores_db.items():
            self._board.add_scalar(f"psnr_y_db/{name}", value, step)
        with self._bar.external_write_mode():
            text = "  ".join(f"{name} {value}" for name, value in line.items())
            left_s = (self._steps - step) / figures["steps_per_s"]
            _log.info("%s  left %s", text, tqdm.format_interval(left_s))
        is_best = not mean_db <= self.best
        self.best = max(self.best, mean_db)
        return is_best

    def show(self, step: int, name: str, image: np.ndarray) -> None:
        """Puts an example image, uint8 [H, W, 3], on TensorBoard."""
        self._board.add_image(f"examples/{name}", image, step, dataformats="HWC")


def _keep_until(path: Path, first: int) -> float:
    """Drops the lines of log.csv beyond a step; returns the best mean score of the others.

    A line that a crash cut off is dropped, too; it is the last one.
    """
    if not path.exists():
        return float("-inf")
    with path.open(encoding="utf-8", errors="replace", newline="") as file:
        whole = [line for line in file if line.endswith("\n")]
    reader = csv.DictReader(whole)
    kept, scores = [], [float("-inf")]
    for line in reader:
        try:
            step, score = int(line["step"]), float(line["mean_psnr_y_db"])
        except (KeyError, TypeError, ValueError):
            _log.warning("dropped an incomplete line of %s", path)
            continue
        if step <= first:
            kept.append(line)
            # Older versions wrote an infinite score for an exact result: it says nothing.
            scores += [score] if math.isfinite(score) else []
    if not kept:
        path.unlink()
        return float("-inf")
    with files.appearing(path) as partial, partial.open("w", newline="") as file:
        writer = csv.DictWriter(file, reader.fieldnames or [], extrasaction="ignore")
        writer.writeheader()
        writer.writerows(kept)
    return max(scores)
