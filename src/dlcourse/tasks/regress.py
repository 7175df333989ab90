"""Regression: numbers as targets, squared error as the loss."""

import torch.nn.functional as F
from torch import Tensor

from dlcourse.tasks.task import Batch, Task


class Regress(Task):
    """How far from the target? loss: mean squared error over outputs and examples, in the target's unit².

    y: float32 [B] or [B, K]; the net gives [B, K].
    """

    def terms(self, batch: Batch) -> int:
        return batch[1].numel()

    def step(self, batch: Batch, stage: str) -> tuple[Tensor, tuple[Tensor, ...]]:
        x, y = batch
        y = y.to(x.dtype).reshape(len(y), -1)
        output = self(x)
        if output.shape != y.shape:
            raise ValueError(f"the net gives {tuple(output.shape[1:])} numbers, the targets have {tuple(y.shape[1:])}")
        loss = F.mse_loss(output, y)
        return loss, (y.detach(),)
