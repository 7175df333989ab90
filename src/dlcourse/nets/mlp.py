"""Fully connected networks; with no hidden layer, the linear model."""

import math
from collections.abc import Sequence

from torch import Tensor, nn

from dlcourse.nets.layers import activation_named, initialise, input_shape, probability, whole_number, whole_numbers


class MLP(nn.Module):
    """x [B, inputs] or [B, *inputs] -> [B, outputs], the scores before any softmax.

    inputs: how many numbers go in, or the shape that is flattened, as [1, 28, 28].
    hidden: the widths of the hidden layers; () makes the network linear.
    Each hidden layer is linear, batch norm (if `batch_norm`), activation, dropout (if `dropout` > 0).
    init: see `layers.initialise`. bias: whether the linear layers have one.
    """

    def __init__(
        self,
        inputs: int | Sequence[int],
        outputs: int,
        hidden: Sequence[int] = (),
        activation: str = "relu",
        init: str = "default",
        batch_norm: bool = False,
        dropout: float = 0.0,
        bias: bool = True,
    ) -> None:
        super().__init__()
        width = math.prod(input_shape(inputs))
        layers: list[nn.Module] = []
        activation_named(activation)
        probability("dropout", dropout)
        for units in whole_numbers("hidden", hidden, "the widths of the hidden layers"):
            layers.append(nn.Linear(width, units, bias))
            if batch_norm:
                layers.append(nn.BatchNorm1d(units))
            layers.append(activation_named(activation))
            if dropout:
                layers.append(nn.Dropout(dropout))
            width = units
        layers.append(nn.Linear(width, whole_number("outputs", outputs), bias))
        self.layers = nn.Sequential(*layers)
        initialise(self, init)

    @property
    def first_layer(self) -> nn.Linear:
        """The layer whose weights [units, inputs] can be looked at as images."""
        layer = self.layers[0]
        assert isinstance(layer, nn.Linear)
        return layer

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x.flatten(1))
