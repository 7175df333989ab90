"""Some of a store's examples as a data set of whole batches, and what is the same for all of them."""

import torch
from torch import Tensor

from dlcourse.data.tensors import Store


class Examples:
    """Some of a store's examples, with their labels as numbers from 0: a data set of whole batches."""

    def __init__(self, store: Store, index: Tensor, y: Tensor) -> None:
        self.store, self.index, self.y = store, index, y
        self.whole = len(index) == len(store) and bool((index == torch.arange(len(store), device=index.device)).all())

    def __len__(self) -> int:
        return len(self.index)

    def __getitems__(self, batch: Tensor) -> tuple[Tensor, Tensor]:
        batch = batch.to(self.index.device)
        x, _ = self.store.take(batch if self.whole else self.index.index_select(0, batch))
        return x, self.y.index_select(0, batch)

    def __getitem__(self, i: int) -> tuple[Tensor, Tensor]:
        x, y = self.__getitems__(torch.tensor([i]))
        return x[0], y[0]

    def all(self) -> tuple[Tensor, Tensor]:
        return self.__getitems__(torch.arange(len(self)))


def channel_statistics(examples: Examples) -> tuple[Tensor, Tensor]:
    """Mean and deviation [C] of all pixels of a channel, of values in [0, 1]; of vectors [D]."""
    total = square = torch.zeros((), dtype=torch.float64)
    n = 0
    for batch in torch.arange(len(examples)).split(1000):
        x = examples.__getitems__(batch)[0]
        x = (x.double().div(255) if x.dtype == torch.uint8 else x.double()).transpose(0, 1).flatten(1)
        total, square, n = total + x.sum(1), square + x.square().sum(1), n + x.shape[1]
    mean = total / n
    std = (square / n - mean.square()).clamp_min(0).sqrt().float()
    return mean.float(), std.where(std > 1e-6, 1.0)  # a number that is always the same becomes 0
