"""Nearest neighbours: an epoch of training is looking at the training set once."""

from typing import Any

import torch
from torch import Tensor

from dlcourse.core.errors import InputError
from dlcourse.nets import Neighbours
from dlcourse.tasks.classify import Classify
from dlcourse.tasks.task import Batch, Task


class Memorise(Classify):
    """A classifier whose net memorises the training examples; there is nothing to optimise, and so no step.

    Nothing is logged for training: each example would be its own nearest neighbour.
    """

    seen: list[Batch]
    automatic_optimization = False

    def on_fit_start(self) -> None:
        if self.trainer.world_size > 1:
            raise InputError("model=knn runs on one device: trainer.devices=1")

    def on_train_epoch_start(self) -> None:
        super().on_train_epoch_start()
        self.seen = []

    def training_step(self, batch: Batch, batch_idx: int) -> None:  # type: ignore[override]
        self.seen.append(batch)
        if self.trainer.is_last_batch:
            x, y = (torch.cat(column) for column in zip(*self.seen, strict=True))
            assert isinstance(self.net, Neighbours)
            try:
                self.net.memorise(x, y)
            except ValueError as error:
                raise InputError(f"model.net.{error}") from None
            self.seen = []

    def weigh_classes(self, weights: Tensor) -> None:
        Task.weigh_classes(self, weights)

    def configure_optimizers(self) -> Any:
        nothing: list[Tensor] = [torch.zeros(0)]
        return torch.optim.SGD(nothing, lr=0.0)
