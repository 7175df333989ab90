"""Convolutional networks: convolution and pooling layers, then fully connected ones."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from dlcourse.nets.layers import activation_named, image_shape, initialise, probability, whole_number, whole_numbers

# For these max(f(a), f(b)) = f(max(a, b)), so the activation may follow the pooling, on fewer numbers.
INCREASING = ("relu", "tanh", "sigmoid", "leaky_relu", "softplus", "identity")


class CNN(nn.Module):
    """x [B, *shape] -> [B, classes], the scores before the softmax.

    shape: [channels, height, width] of an image; all images have this one size.
    channels: a convolution layer each, with that many output channels.
    kernel, padding, pool: sides in pixels, one for all layers or one for each. Stride 1; a pool of 1 is none.
    Each layer is convolution, batch norm (if `batch_norm`), activation, pooling.
    hidden: widths of the fully connected layers before the scores.
    dropout_conv: dropout probability after the last convolution layer; dropout: that after each hidden layer.
    init: see `layers.initialise`.

    The course's four convnets: channels [32, 64], pool [1, 2], hidden [128] (HUJI report 000; report 001 adds
    the dropouts .25 and .5); channels [20, 50], kernel 5, hidden [512] (CMU Q6.1.2); channels [32, 64, 128],
    padding 1, hidden [512], dropout .5 (CMU Q6.2).
    """

    def __init__(
        self,
        shape: Sequence[int],
        classes: int,
        channels: Sequence[int] = (32, 64),
        kernel: int | Sequence[int] = 3,
        padding: int | Sequence[int] = 0,
        pool: int | Sequence[int] = 2,
        hidden: Sequence[int] = (128,),
        activation: str = "relu",
        dropout_conv: float = 0.0,
        dropout: float = 0.0,
        batch_norm: bool = False,
        init: str = "default",
    ) -> None:
        super().__init__()
        depth, height, width = image_shape(shape)
        channels = whole_numbers("channels", channels, "the channels of the convolutions")
        if not channels:
            raise ValueError("channels: at least one convolution is needed; MLP is the network without")
        kernels = per_layer("kernel", kernel, len(channels))
        paddings = per_layer("padding", padding, len(channels), least=0)
        pools = per_layer("pool", pool, len(channels))
        activation_named(activation)
        probability("dropout_conv", dropout_conv)
        probability("dropout", dropout)

        layers: list[nn.Module] = []
        for i, (units, k, p, q) in enumerate(zip(channels, kernels, paddings, pools, strict=True)):
            place = f"of convolution layer {i + 1} of {len(channels)}"
            height, width = height + 2 * p, width + 2 * p
            if min(height, width) < k:
                raise ValueError(f"shape: {list(shape)} is too small: kernel {k} {place} meets {height} x {width}")
            height, width = height - k + 1, width - k + 1
            if min(height, width) < q:
                raise ValueError(f"shape: {list(shape)} is too small: pool {q} {place} meets {height} x {width}")
            height, width = height // q, width // q
            layers.append(nn.Conv2d(depth, units, k, padding=p))
            if batch_norm:
                layers.append(nn.BatchNorm2d(units))
            after = [activation_named(activation)]
            if q > 1:
                after.insert(0 if activation in INCREASING else 1, nn.MaxPool2d(q))
            layers.extend(after)
            depth = units
        self.features = nn.Sequential(*layers)

        size = depth * height * width
        layers = [nn.Dropout(dropout_conv)] if dropout_conv else []
        for units in whole_numbers("hidden", hidden, "the widths of the hidden layers"):
            layers += [nn.Linear(size, units), activation_named(activation)]
            if dropout:
                layers.append(nn.Dropout(dropout))
            size = units
        layers.append(nn.Linear(size, whole_number("classes", classes)))
        self.classifier = nn.Sequential(*layers)
        initialise(self, init)
        # On 2 CPU cores a training step then takes 2/3 to 3/4 of the time, evaluation less than half.
        self.to(memory_format=torch.channels_last)

    @property
    def first_layer(self) -> nn.Conv2d:
        """The layer whose weights [channels, C, k, k] can be looked at as images."""
        layer = self.features[0]
        assert isinstance(layer, nn.Conv2d)
        return layer

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.features(x).flatten(1))


def per_layer(argument: str, value: int | Sequence[int], layers: int, least: int = 1) -> list[int]:
    """One number for all convolutions, or one for each."""
    if isinstance(value, int):
        return [whole_number(argument, value, least)] * layers
    values = whole_numbers(argument, value, "the sides", least)
    if len(values) != layers:
        raise ValueError(f"{argument}: one number or one for each of {layers} convolutions, not {values}")
    return values
