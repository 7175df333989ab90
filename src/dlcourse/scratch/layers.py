"""Layers: what each gives, and how the gradient of a loss J goes back through it by the chain rule.

Arrays are [B, ...], an example a row. `forward(x)` keeps what `backward` needs. `backward(g)`, with g = ∂J/∂output,
returns ∂J/∂x in the shape of x, and leaves ∂J/∂p of each array p of `parameters` in `gradients`.
"""

from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

Array = NDArray[Any]


class Layer:
    """The identity. A layer with parameters is given their arrays, and uses these very arrays, no copies."""

    def __init__(self, *parameters: Array) -> None:
        self.parameters = list(parameters)
        self.gradients: list[Array] = []

    def forward(self, x: Array) -> Array:
        return x

    def backward(self, g: Array) -> Array:
        return g


class Linear(Layer):
    """y = W x + b for each row: x [B, n], W [m, n], b [m] or none -> y [B, m].

    With δ = ∂J/∂y of one example: ∂J/∂W = δ xᵀ, ∂J/∂b = δ, ∂J/∂x = Wᵀ δ; examples add up.
    Source: CMU 16-720, homework 5, theory.
    """

    def forward(self, x: Array) -> Array:
        self.x = x
        weight, *bias = self.parameters
        return x @ weight.T + bias[0] if bias else x @ weight.T

    def backward(self, g: Array) -> Array:
        weight, *bias = self.parameters
        self.gradients = [g.T @ self.x, g.sum(0)] if bias else [g.T @ self.x]
        return g @ weight


class ReLU(Layer):
    """max(0, x); its derivative is 1 where x > 0, else 0 (at 0 too, as everywhere in this field)."""

    def forward(self, x: Array) -> Array:
        self.on = x > 0
        return np.maximum(x, 0)

    def backward(self, g: Array) -> Array:
        return g * self.on


def sigmoid(x: Array) -> Array:
    """σ(x) = 1 / (1 + e⁻ˣ), by e^-|x|, which never overflows."""
    e = np.exp(-np.abs(x))
    return np.where(x >= 0, 1, e) / (1 + e)


class Sigmoid(Layer):
    """σ; σ' = σ(1 - σ), from the output of the forward pass (HUJI APML, question 1.2; CMU homework 5, theory)."""

    def forward(self, x: Array) -> Array:
        self.y = sigmoid(x)
        return self.y

    def backward(self, g: Array) -> Array:
        return g * self.y * (1 - self.y)


class Tanh(Layer):
    """tanh; tanh' = 1 - tanh² (CMU homework 5, theory)."""

    def forward(self, x: Array) -> Array:
        self.y = np.tanh(x)
        return self.y

    def backward(self, g: Array) -> Array:
        return g * (1 - self.y**2)


class Convolution(Layer):
    """True convolution of a row with F filters of K taps (K odd), zeros around it: x [B, n], w [F, K] -> o [B, F, n].

    o_f[t] = Σ_k w_f[k] x[t + c - k], c = (K - 1) / 2: the filter is reversed, as in numpy.convolve(x, w_f, "same").
    So ∂J/∂w_f[k] = Σ_t g_f[t] x[t + c - k], and ∂J/∂x[s] = Σ_f,k g_f[s - c + k] w_f[k]: a correlation, nothing is
    reversed. Source: HUJI APML, "Convolutional Nets", the toy network.
    """

    def forward(self, x: Array) -> Array:
        (weight,) = self.parameters
        self.windows = self.around(x)[..., ::-1]  # [B, n, K]
        return np.einsum("btk,fk->bft", self.windows, weight)

    def backward(self, g: Array) -> Array:
        (weight,) = self.parameters
        self.gradients = [np.einsum("bft,btk->fk", g, self.windows)]
        return np.einsum("bftk,fk->bt", self.around(g), weight)

    def around(self, x: Array) -> Array:
        """What a filter sees at each place of the last axis: [..., n] -> [..., n, K]."""
        taps = self.parameters[0].shape[1]
        padded = np.pad(x, [(0, 0)] * (x.ndim - 1) + [(taps // 2, taps // 2)])
        return sliding_window_view(padded, taps, axis=-1)


class MaxPool(Layer):
    """The largest of each `width` neighbours on the last axis: [..., n] -> [..., n / width]. Only it has a gradient.

    Of several that are equal it is the first.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width

    def forward(self, x: Array) -> Array:
        cells = x.reshape(*x.shape[:-1], -1, self.width)
        self.first = cells.argmax(-1)[..., None] == np.arange(self.width)
        return cells.max(-1)

    def backward(self, g: Array) -> Array:
        return (g[..., None] * self.first).reshape(*g.shape[:-1], -1)


class Flatten(Layer):
    """[B, ...] -> [B, n]."""

    def forward(self, x: Array) -> Array:
        self.shape = x.shape
        return x.reshape(len(x), -1)

    def backward(self, g: Array) -> Array:
        return g.reshape(self.shape)
