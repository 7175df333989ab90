"""Classification: cross-entropy over classes, or binary cross-entropy with one output."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.classification import Accuracy, F1Score, Precision, Recall
from torchmetrics.functional.classification import multiclass_confusion_matrix

from dlcourse.core.errors import InputError
from dlcourse.tasks.task import Batch, Task


class Classify(Task):
    """Which class?

    loss: `cross_entropy` (the net gives a logit a class) or `binary_cross_entropy` (one logit, for class 1).
    Precision, recall and F1 are averaged over the classes (macro); with one output they are those of class 1.
    """

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
            loss = F.binary_cross_entropy_with_logits(logits, y.to(logits.dtype))
            predicted = (logits.detach() > 0).long()
        else:
            loss = F.cross_entropy(logits, y)
            predicted = logits.detach().argmax(1)
        return loss, (predicted, y)

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
