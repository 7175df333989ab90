"""The ten-parameter convolutional network of HUJI's APML exercise."""

import torch.nn.functional as F
from torch import Tensor, nn

from dlcourse.nets.layers import initialise


class ToyConvNet(nn.Module):
    """x [B, 4] -> p [B, 1]: two filters of three taps, relu, max-pool 2, one linear layer; no biases.

    o_i = relu(x * w_i), a true convolution (the filter is reversed) with zeros around x, so four positions each;
    m = (max o_1[0:2], max o_1[2:4], max o_2[0:2], max o_2[2:4]); p = m·u.
    init: see `layers.initialise`.
    """

    def __init__(self, init: str = "normal:5") -> None:
        super().__init__()
        self.filters = nn.Conv1d(1, 2, 3, bias=False)
        self.output = nn.Linear(4, 1, bias=False)
        initialise(self, init)

    def forward(self, x: Tensor) -> Tensor:
        o = F.conv1d(x.unsqueeze(1), self.filters.weight.flip(-1), padding=1).relu()  # PyTorch's does not reverse
        return self.output(F.max_pool1d(o, 2).flatten(1))
