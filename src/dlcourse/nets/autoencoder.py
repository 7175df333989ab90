"""Autoencoders of fully connected layers, the decoder the encoder's mirror image."""

import math
from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn

from dlcourse.nets.layers import activation_named, initialise, input_shape, whole_numbers


class Autoencoder(nn.Module):
    """x [B, *inputs] -> its reconstruction, in the shape of x.

    inputs: how many numbers go in, or the shape that is flattened, as [1, 28, 28].
    widths: of the encoder's layers, the last is the code: [512, 128, 2] on 784 inputs is
    784-512-128-2-128-512-784.
    code_activation: that of the code, where it is another than `activation` (a relu code can die, and is
    then 0 for ever: identity is the robust choice for a narrow code).
    tied: the decoder's weights are the encoder's, transposed; its biases are its own.
    init: see `layers.initialise`.
    """

    def __init__(
        self,
        inputs: int | Sequence[int],
        widths: Sequence[int],
        activation: str = "relu",
        code_activation: str | None = None,
        output_activation: str = "sigmoid",
        tied: bool = False,
        init: str = "default",
    ) -> None:
        super().__init__()
        self.shape = input_shape(inputs)
        self.tied = tied
        widths = whole_numbers("widths", widths, "the widths of the encoder's layers")
        if not widths:
            raise ValueError("widths: the encoder needs at least one layer, as [64]")
        sizes = [math.prod(self.shape), *widths]
        pairs = list(pairwise(sizes))
        self.code_size = widths[-1]
        self.encoder = nn.ModuleList(nn.Linear(a, b) for a, b in pairs)
        self.decoder = nn.ModuleList(nn.Linear(b, a) for a, b in reversed(pairs))
        self.hidden_activation = activation_named(activation)
        self.code_activation = activation_named(code_activation or activation, "code_activation")
        self.output_activation = activation_named(output_activation, "output_activation")
        initialise(self, init)
        if tied:
            for layer in self.decoder:
                layer.register_parameter("weight", None)  # decode() takes the encoder's

    @property
    def first_layer(self) -> nn.Linear:
        """The layer whose weights [units, inputs] can be looked at as images."""
        layer = self.encoder[0]
        assert isinstance(layer, nn.Linear)
        return layer

    def encode(self, x: Tensor) -> Tensor:
        """x [B, *inputs] -> the code [B, code_size]."""
        z = x.flatten(1)
        for layer in self.encoder:
            z = layer(z)
            z = self.code_activation(z) if layer is self.encoder[-1] else self.hidden_activation(z)
        return z

    def decode(self, z: Tensor) -> Tensor:
        """The code [B, code_size] -> reconstructions [B, *inputs]."""
        for layer, mirrored in zip(self.decoder, reversed(self.encoder), strict=True):
            assert isinstance(layer, nn.Linear) and isinstance(mirrored, nn.Linear)
            z = z @ mirrored.weight + layer.bias if self.tied else layer(z)
            z = self.output_activation(z) if layer is self.decoder[-1] else self.hidden_activation(z)
        return z.unflatten(1, self.shape)

    def forward(self, x: Tensor) -> Tensor:
        return self.decode(self.encode(x)).view_as(x)
