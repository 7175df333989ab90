"""Classification: cross-entropy over classes, or binary cross-entropy with one output."""

from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.classification import Accuracy, F1Score, Precision, Recall
from torchmetrics.functional.classification import (
    multiclass_confusion_matrix,
    multiclass_f1_score,
    multiclass_precision,
    multiclass_recall,
)

from dlcourse.core.errors import InputError
from dlcourse.tasks.task import Batch, Task


class Classify(Task):
    """Which class?

    loss: `cross_entropy` (the net gives a logit a class) or `binary_cross_entropy` (one logit, for class 1).
    Precision, recall and F1 are averaged over the classes (macro); with one output they are those of class 1.
    The training loss is the mean over examples; after `weigh_classes` the mean weighted by their classes.
    """

    class_weights: Tensor | None

    names = ("loss", "accuracy", "precision", "recall", "f1")

    def __init__(
        self,
        net: dict[str, Any],
        optimizer: dict[str, Any],
        schedule: dict[str, Any] | None = None,
        monitor: str = "val/accuracy",
        loss: str = "cross_entropy",
        reduction: str = "mean",
        classes: int = 2,
    ) -> None:
        super().__init__(net, optimizer, schedule, monitor, reduction)
        if loss == "binary_cross_entropy" and classes != 2:
            raise ValueError(f"loss=binary_cross_entropy is for 2 classes, the data have {classes}")
        self.classes = classes
        self.binary = loss == "binary_cross_entropy"
        self.outputs = 1 if self.binary else classes
        options: dict[str, Any] = (
            {"task": "binary"} if self.binary else {"task": "multiclass", "num_classes": classes, "average": "macro"}
        )
        options["validate_args"] = False  # `step` has, and it takes seven times as long as counting
        self.register_buffer("class_weights", None, persistent=False)
        self.metrics = torch.nn.ModuleDict(
            {
                "accuracy": Accuracy(**options | ({} if self.binary else {"average": "micro"})),
                "precision": Precision(**options),
                "recall": Recall(**options),
                "f1": F1Score(**options),
            }
        )

    def step(self, batch: Batch, stage: str) -> tuple[Tensor, tuple[Tensor, ...]]:
        x, y = batch
        logits = self(x)
        self.check_output(logits)
        if self.binary:
            logits = logits.squeeze(1)
            predicted = (logits.detach() > 0).long()
        else:
            predicted = logits.detach().argmax(1)
        if self.class_weights is None or stage != "train":
            return self._losses(logits, y, "mean"), (predicted, y)
        weights = self.class_weights[y]
        return (weights * self._losses(logits, y, "none")).sum() / weights.sum(), (predicted, y)

    def _losses(self, logits: Tensor, y: Tensor, reduction: str) -> Tensor:
        if self.binary:
            return F.binary_cross_entropy_with_logits(logits, y.to(logits.dtype), reduction=reduction)
        return F.cross_entropy(logits, y, reduction=reduction)

    def weigh_classes(self, weights: Tensor) -> None:
        self.class_weights = weights

    def check_output(self, output: Tensor) -> None:
        if output.dim() != 2 or output.shape[1] != self.outputs:
            given = " × ".join(map(str, output.shape[1:]))
            raise InputError(
                f"model.net gives {given} numbers an image, model.loss={self.hparams['loss']} with "
                f"model.classes={self.hparams['classes']} needs {self.outputs}"
            )

    def update(self, *record: Tensor) -> dict[str, Metric]:
        metrics = {name: metric for name, metric in self.metrics.items() if isinstance(metric, Metric)}
        for metric in metrics.values():
            metric.update(*record)
        return metrics

    def confusion(self, split: str = "test") -> Tensor:
        """How many examples of each class (rows) were last taken for each (columns), in test or val; int64 [K, K]."""
        predicted, y = self.tested if split == "test" else self.validated
        return multiclass_confusion_matrix(predicted, y, num_classes=self.classes)

    def class_scores(self, average: Literal["none", "macro"] = "none") -> dict[str, Tensor]:
        """Precision, recall and F1 [K] of each class in the last test; with average `macro` their means []."""
        predicted, y = self.tested
        return {
            "precision": multiclass_precision(predicted, y, self.classes, average),
            "recall": multiclass_recall(predicted, y, self.classes, average),
            "f1": multiclass_f1_score(predicted, y, self.classes, average),
        }

    def probabilities(self, x: Tensor) -> Tensor:
        """Softmax (or sigmoid) probabilities [B, classes] of images [B, C, H, W]."""
        return self.as_probabilities(self(x))

    def as_probabilities(self, logits: Tensor) -> Tensor:
        """What the net gives, [B, outputs], as probabilities [B, classes]."""
        logits = logits.float()
        if self.binary:
            p = torch.sigmoid(logits)
            return torch.cat([1 - p, p], dim=1)
        return logits.softmax(1)
