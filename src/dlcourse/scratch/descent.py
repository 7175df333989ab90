"""Gradient descent, with momentum and an L2 penalty."""

from collections.abc import Sequence

import numpy as np

from dlcourse.scratch.layers import Array


class SGD:
    """Of each parameter w, in place: g = ∂J/∂w + λ w; v = μ v + g; w = w - η v.

    lr: η. momentum: μ. weight_decay: λ, the gradient of (λ/2)‖w‖², biases included (NTNU TDT4265, task 4a).
    nesterov: w = w - η (g + μ v) instead: w is then where the gradient is taken, a look-ahead from the ordinary w.
    CMU homework 5 (question 5) keeps M = μ M - η g instead, w = w + M; with a constant η that is the same, M = -η v.
    """

    def __init__(
        self,
        parameters: Sequence[Array],
        lr: float,
        momentum: float = 0.0,
        weight_decay: float = 0.0,
        nesterov: bool = False,
    ) -> None:
        self.parameters, self.lr, self.momentum = list(parameters), lr, momentum
        self.weight_decay, self.nesterov = weight_decay, nesterov
        self.velocities = [np.zeros_like(w) for w in self.parameters]

    def step(self, gradients: Sequence[Array]) -> None:
        for w, v, gradient in zip(self.parameters, self.velocities, gradients, strict=True):
            g = gradient + self.weight_decay * w
            v *= self.momentum
            v += g
            w -= self.lr * (g + self.momentum * v if self.nesterov else v)
