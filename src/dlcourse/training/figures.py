"""The figures of a finished run: on disk and in its loggers."""

import logging
import math
from collections.abc import Sequence
from pathlib import Path

from lightning.pytorch.loggers import Logger
from matplotlib.figure import Figure

from dlcourse import plots
from dlcourse.core.errors import InputError
from dlcourse.data.module import DataModule
from dlcourse.tasks import Classify, Task
from dlcourse.training.loggers import log_figure
from dlcourse.training.pictures import confident_mistakes, first_layer_images, reconstructed

log = logging.getLogger(__name__)


def draw(
    run: Path,
    task: Task,
    data: DataModule,
    rows: Sequence[dict[str, float]],
    best_epoch: int | None = None,
    loggers: Sequence[Logger] = (),
) -> None:
    """Figures of a task that has just been tested: learning curves, first-layer weights, and what it has to show.

    Classify: the confusion matrix and the most confident mistakes. Reconstruct: images beside their reconstructions.
    A figure that can't be drawn is a warning, not a lost run.
    """
    assert data.provenance is not None
    note = f"stand-in data, not {data.name}: {data.provenance.detail}" if data.provenance.source != "real" else ""
    made: dict[str, Figure | None] = {}
    for name, make in (
        ("learning_curves", lambda: _curves(rows, best_epoch)),
        ("weights", lambda: _weights(task, data)),
        ("confusion_matrix", lambda: _confusion(task, data)),
        ("misclassified", lambda: _mistakes(task, data)),
        ("reconstructions", lambda: _reconstructions(task, data)),
    ):
        try:
            made[name] = make()
        except Exception as error:
            log.warning("figure %s could not be drawn: %s", name, error)
    folder = run / "figures"
    for name, figure in made.items():
        if figure is None:
            continue
        if note:
            plots.add_note(figure, note)
        try:
            folder.mkdir(exist_ok=True)
            plots.save(figure, folder / f"{name}.png")
        except (InputError, OSError) as error:
            log.warning("figure %s: %s", name, error)
        log_figure(loggers, name, figure, folder / f"{name}.png", int(rows[-1]["step"]) if rows else 0)


def _curves(rows: Sequence[dict[str, float]], best_epoch: int | None) -> Figure | None:
    if not rows:
        return None
    return plots.learning_curves({key: [row.get(key, math.nan) for row in rows] for key in rows[0]}, best_epoch)


def _weights(task: Task, data: DataModule) -> Figure | None:
    weights = first_layer_images(task, data)
    return None if weights is None else plots.weight_images(weights, limit=64)


def _confusion(task: Task, data: DataModule) -> Figure | None:
    if not isinstance(task, Classify):
        return None
    return plots.confusion_matrix(task.confusion().cpu().numpy(), data.classes, "Confusion matrix, test set")


def _mistakes(task: Task, data: DataModule) -> Figure | None:
    """The most confident ones of (at most) 2,000 mistakes."""
    found = confident_mistakes(task, data, "test", among=2000, most=24)
    if found is None:
        return None
    subtitle = f"{found.wrong:,} of {found.of:,} test images wrong"
    return plots.misclassified(*found[:4], data.classes, subtitle=subtitle)


def _reconstructions(task: Task, data: DataModule) -> Figure | None:
    found = reconstructed(task, data, "test")
    return None if found is None else plots.reconstructions(*found)
