"""Is a gradient right? Compare it with differences of the loss."""

from collections.abc import Callable

import numpy as np

from dlcourse.scratch.layers import Array
from dlcourse.scratch.losses import Loss
from dlcourse.scratch.network import Sequential


def central_differences(function: Callable[[], float], at: Array, eps: float = 1e-6, order: int = 2) -> Array:
    """∂function/∂at, each entry by D(ε) = (f(a + ε) - f(a - ε)) / 2ε; `at` is changed in place and put back.

    The error is ε²/6 times the third derivative, plus rounding of about 10⁻¹⁶ |f| / ε. order=4: (4 D(ε) - D(2ε)) / 3,
    whose error goes with ε⁴ (Richardson), so that ε may be larger and the rounding smaller.
    """
    if order == 4:
        return (4 * central_differences(function, at, eps) - central_differences(function, at, 2 * eps)) / 3
    out = np.zeros_like(at)
    for place in np.ndindex(at.shape):
        kept = at[place]
        at[place] = kept + eps
        above = function()
        at[place] = kept - eps
        out[place] = (above - function()) / (2 * eps)
        at[place] = kept
    return out


def relative_error(a: Array, n: Array) -> Array:
    """|a - n| / max(|a|, |n|), 0 where both are 0 (CMU 16-720, homework 5, question 2.6)."""
    larger = np.maximum(np.abs(a), np.abs(n))
    return np.abs(a - n) / np.where(larger > 0, larger, 1)


def gradient_check(
    network: Sequential, loss: Loss, x: Array, y: Array, eps: float = 1e-6, order: int = 2
) -> list[float]:
    """Of each parameter of a network the sum of the relative errors of its gradient against central differences."""
    network.loss(loss, x, y)
    gradients = [g.copy() for g in network.gradients]
    differences = [
        central_differences(lambda: loss(network.forward(x), y)[0], p, eps, order) for p in network.parameters
    ]
    return [float(relative_error(g, n).sum()) for g, n in zip(gradients, differences, strict=True)]
