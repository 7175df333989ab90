"""The figures of a finished run: on disk and in TensorBoard."""

import logging
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch.loggers import TensorBoardLogger
from matplotlib.figure import Figure
from torch import Tensor, nn

from dlcourse import plots
from dlcourse.core.errors import InputError
from dlcourse.data.module import DataModule
from dlcourse.tasks import Classify, Reconstruct, Task

log = logging.getLogger(__name__)


def draw(
    run: Path,
    task: Task,
    data: DataModule,
    rows: Sequence[dict[str, float]],
    best_epoch: int | None = None,
    logger: Any = None,
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
        if isinstance(logger, TensorBoardLogger):
            logger.experiment.add_figure(name, figure, int(rows[-1]["step"]) if rows else 0, close=False)


def _curves(rows: Sequence[dict[str, float]], best_epoch: int | None) -> Figure | None:
    if not rows:
        return None
    return plots.learning_curves({key: [row.get(key, math.nan) for row in rows] for key in rows[0]}, best_epoch)


def _weights(task: Task, data: DataModule) -> Figure | None:
    """The first layer's weights, where they can be looked at as images."""
    layer = getattr(task.net, "first_layer", None)
    if not isinstance(layer, nn.Linear | nn.Conv2d):
        return None
    weights = layer.weight.detach().float().cpu()
    if isinstance(layer, nn.Linear):
        if len(data.shape) != 3 or math.prod(data.shape) != weights.shape[1]:
            return None
        weights = weights.reshape(-1, *data.shape)
    return plots.weight_images(weights.numpy(), limit=64) if weights.shape[1] in (1, 3) else None


def _confusion(task: Task, data: DataModule) -> Figure | None:
    if not isinstance(task, Classify):
        return None
    return plots.confusion_matrix(task.confusion().cpu().numpy(), data.classes, "Confusion matrix, test set")


@torch.no_grad()
def _mistakes(task: Task, data: DataModule) -> Figure | None:
    """The most confident ones of (at most) 2,000 mistakes."""
    if not isinstance(task, Classify):
        return None
    predicted, y = task.tested
    all_wrong = (predicted != y).nonzero().squeeze(1)
    if not len(all_wrong):
        return None
    test, wrong = data.splits["test"], all_wrong[:2000]

    def probability(index: Tensor) -> Tensor:
        x, _ = test.__getitems__(index)
        return task.probabilities(data.transform(x.to(task.device))).max(1).values

    likely = torch.cat([probability(part) for part in wrong.split(data.eval_batch_size)])
    top = likely.argsort(descending=True, stable=True)[:24]
    chosen = wrong[top]
    pictures, _ = data.stored["test"].__getitems__(chosen)  # of codes, what they are the codes of
    if pictures.dim() != 4:
        return None
    images, true, said, sure = (t.cpu().numpy() for t in (pictures, y[chosen], predicted[chosen], likely[top]))
    subtitle = f"{len(all_wrong):,} of {len(y):,} test images wrong"
    return plots.misclassified(images, true, said, sure, data.classes, subtitle=subtitle)


@torch.no_grad()
def _reconstructions(task: Task, data: DataModule) -> Figure | None:
    """One test image of each of the first ten classes, as it is and as it comes back."""
    if not isinstance(task, Reconstruct):
        return None
    test = data.splits["test"]
    first = [int((test.y == k).nonzero()[0]) for k in range(min(10, len(data.classes))) if (test.y == k).any()]
    x = data.transform(test.__getitems__(torch.tensor(first))[0].to(task.device))
    rows = {"original": x}
    if task.noise:
        rows["noisy"] = task.with_noise(x, 0)
        rows["denoised"] = task(rows["noisy"])
    rows["reconstructed"] = task(x)
    arrays = {name: np.clip(images.float().cpu().numpy(), 0, 1) for name, images in rows.items()}
    return plots.reconstructions(arrays, [data.classes[int(test.y[i])] for i in first])
