"""Networks: layers one after the other, and the two of the courses that are made of them."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.random import Generator

from dlcourse.scratch.initialise import initialised
from dlcourse.scratch.layers import Array, Convolution, Flatten, Layer, Linear, MaxPool, ReLU
from dlcourse.scratch.losses import Loss


class Sequential:
    """Layers in a row; the gradient goes through them in reverse."""

    def __init__(self, layers: Sequence[Layer]) -> None:
        self.layers = list(layers)

    def forward(self, x: Array) -> Array:
        for layer in self.layers:
            x = layer.forward(x)
        return x

    def backward(self, g: Array) -> Array:
        """∂J/∂output -> ∂J/∂x; ∂J/∂p of each of `parameters` is in `gradients` afterwards."""
        for layer in reversed(self.layers):
            g = layer.backward(g)
        return g

    def loss(self, loss: Loss, x: Array, y: Array) -> float:
        """The loss on a batch; its gradient is in `gradients` afterwards."""
        value, g = loss(self.forward(x), y)
        self.backward(g)
        return value

    @property
    def parameters(self) -> list[Array]:
        return [p for layer in self.layers for p in layer.parameters]

    @property
    def gradients(self) -> list[Array]:
        return [g for layer in self.layers for g in layer.gradients]


def mlp(sizes: Sequence[int], activation: type[Layer], init: str, rng: Generator, bias: bool = True) -> Sequential:
    """Fully connected: sizes [2, 25, 4] is 2-25-4, the activation after each layer but the last, zero biases."""
    layers: list[Layer] = []
    for inputs, outputs in pairwise(sizes):
        weight = initialised(init, (outputs, inputs), rng)
        layers += [Linear(weight, np.zeros(outputs)) if bias else Linear(weight), activation()]
    return Sequential(layers[:-1])


def toy_convnet(filters: Array, output: Array) -> Sequential:
    """x [B, 4] -> p [B, 1], ten parameters: filters [2, 3], relu, max-pool 2, output [1, 4] (HUJI APML)."""
    return Sequential([Convolution(filters), ReLU(), MaxPool(2), Flatten(), Linear(output)])
