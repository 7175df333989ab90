"""Figures of a finished run: on disk and in TensorBoard."""

import logging
import math
from pathlib import Path

import lightning as L
import numpy as np
import torch
from lightning.pytorch.loggers import TensorBoardLogger
from matplotlib.figure import Figure
from torch import Tensor, nn
from torchmetrics.functional.classification import multiclass_confusion_matrix

from dlcourse import figures
from dlcourse.callbacks.keep import Keep
from dlcourse.data.module import DataModule
from dlcourse.tasks import Classify, Reconstruct, Task

log = logging.getLogger(__name__)


class Draw(L.Callback):
    """After the test of the best weights: learning curves, first-layer weights, and what the task has to show.

    Classify: the confusion matrix and the most confident mistakes. Reconstruct: images beside their reconstructions.
    A figure that can't be drawn is a warning, not a lost run.
    """

    def __init__(self, run: Path, keep: Keep) -> None:
        self.run, self.keep = run, keep

    def on_test_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        data = trainer.datamodule  # type: ignore[attr-defined]
        assert isinstance(pl_module, Task)
        if not (trainer.is_global_zero and isinstance(data, DataModule) and data.provenance is not None):
            return
        note = "" if data.provenance.source == "real" else f"stand-in data, not {data.name}: {data.provenance.detail}"
        folder = self.run / "figures"
        folder.mkdir(exist_ok=True)
        for name, make in (
            ("learning_curves", self._curves),
            ("weights", self._weights),
            ("confusion_matrix", self._confusion),
            ("misclassified", self._mistakes),
            ("reconstructions", self._reconstructions),
        ):
            try:
                figure = make(pl_module, data)
            except Exception as error:
                log.warning("figure %s could not be drawn: %s", name, error)
                continue
            if figure is None:
                continue
            if note:
                figures.mark(figure, note)
            figures.save(figure, folder / f"{name}.png")
            if isinstance(trainer.logger, TensorBoardLogger):
                trainer.logger.experiment.add_figure(name, figure, trainer.global_step, close=False)

    def _curves(self, task: Task, data: DataModule) -> Figure | None:
        if not self.keep.rows:
            return None
        history = {key: [row.get(key, math.nan) for row in self.keep.rows] for key in self.keep.rows[0]}
        best = int(self.keep.best["epoch"]) if self.keep.best else None
        return figures.learning_curves(history, best)

    def _weights(self, task: Task, data: DataModule) -> Figure | None:
        layer = getattr(task.net, "first_layer", None)
        if not isinstance(layer, nn.Linear | nn.Conv2d):
            return None
        weights = layer.weight.detach().float().cpu()
        if isinstance(layer, nn.Linear):
            if len(data.shape) != 3 or math.prod(data.shape) != weights.shape[1]:
                return None
            weights = weights.reshape(-1, *data.shape)
        return figures.weight_images(weights.numpy(), limit=64) if weights.shape[1] in (1, 3) else None

    def _confusion(self, task: Task, data: DataModule) -> Figure | None:
        if not isinstance(task, Classify):
            return None
        predicted, y = task.tested
        matrix = multiclass_confusion_matrix(predicted, y, num_classes=len(data.classes))
        return figures.confusion_matrix(matrix.cpu().numpy(), data.classes, "Confusion matrix, test set")

    def _mistakes(self, task: Task, data: DataModule) -> Figure | None:
        """The most confident ones of (at most) 2,000 mistakes."""
        if not isinstance(task, Classify):
            return None
        predicted, y = task.tested
        all_wrong = (predicted != y).nonzero().squeeze(1)
        if not len(all_wrong):
            return None
        wrong = all_wrong[:2000]
        probability = torch.cat([self._probability(task, data, part) for part in wrong.split(data.eval_batch_size)])
        top = probability.argsort(descending=True, stable=True)[:24]
        chosen = wrong[top]
        images, _ = data.splits["test"].__getitems__(chosen)
        arrays = (t.cpu().numpy() for t in (images, y[chosen], predicted[chosen], probability[top]))
        subtitle = f"{len(all_wrong):,} of {len(y):,} test images wrong"
        return figures.misclassified(*arrays, data.classes, subtitle=subtitle)

    @staticmethod
    @torch.no_grad()
    def _probability(task: Classify, data: DataModule, index: Tensor) -> Tensor:
        x, _ = data.splits["test"].__getitems__(index)
        return task.probabilities(data.transform(x.to(task.device))).max(1).values

    @torch.no_grad()
    def _reconstructions(self, task: Task, data: DataModule) -> Figure | None:
        """One test image of each class (of the first ten), as it is and as it comes back."""
        if not isinstance(task, Reconstruct):
            return None
        test = data.splits["test"]
        first = [int((test.y == k).nonzero()[0]) for k in range(min(10, len(data.classes))) if (test.y == k).any()]
        x = data.transform(test.__getitems__(torch.tensor(first))[0].to(task.device))
        rows = {"original": x}
        if task.noise:
            rows["noisy"] = task.with_noise(x, 0)
            rows["denoised"] = task.net(rows["noisy"])
        rows["reconstructed"] = task.net(x)
        arrays = {name: np.clip(images.float().cpu().numpy(), 0, 1) for name, images in rows.items()}
        return figures.reconstructions(arrays, [data.classes[int(test.y[i])] for i in first])
