"""k nearest neighbours: a network whose only layer is the training set."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from dlcourse.nets.layers import input_shape, whole_number

DISTANCES = 2**23  # distances that are computed at a time: 64 MiB of float64


class Neighbours(nn.Module):
    """x [B, *inputs] -> [B, classes], the log of the share of each class among the k nearest examples.

    Nearest by the Euclidean distance; one vote is spread over all classes, so that no share is 0.
    `memorise` gives it its examples; before that all classes are alike.
    """

    def __init__(self, inputs: int | Sequence[int], classes: int, k: int = 5) -> None:
        super().__init__()
        self.k, self.classes = whole_number("k", k), whole_number("classes", classes)
        self.examples: Tensor
        self.labels: Tensor
        self.register_buffer("examples", torch.empty(0, math.prod(input_shape(inputs))))
        self.register_buffer("labels", torch.empty(0, dtype=torch.int64))

    def memorise(self, x: Tensor, y: Tensor) -> None:
        """x [N, *inputs] and y int64 [N] in place of all earlier examples."""
        if len(x) < self.k:
            raise ValueError(f"k: {self.k} neighbours need as many training examples, there are {len(x)}")
        self.examples, self.labels = x.flatten(1), y

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        for name in ("examples", "labels"):  # as many as were memorised
            if prefix + name in state_dict:
                setattr(self, name, torch.empty_like(state_dict[prefix + name], device=self.labels.device))
        super()._load_from_state_dict(state_dict, prefix, *rest)

    def forward(self, x: Tensor) -> Tensor:
        votes = torch.full((len(x), self.classes), 1 / self.classes, dtype=x.dtype, device=x.device)
        if len(self.labels):
            memory = self.examples.double()
            squares = memory.square().sum(1)
            rows = max(1, DISTANCES // len(memory))
            for part, counts in zip(x.flatten(1).split(rows), votes.split(rows), strict=True):
                distances = squares - 2 * part.double() @ memory.T  # less the square of x, the same for all
                nearest = self.labels[distances.topk(self.k, largest=False).indices]
                counts.scatter_add_(1, nearest, torch.ones_like(nearest, dtype=votes.dtype))
        return (votes / votes.sum(1, keepdim=True)).log()
