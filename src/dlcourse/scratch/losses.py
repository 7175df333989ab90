"""Losses: each gives the mean over a batch and its gradient by what the network gives, in one go.

Softmax and sigmoid are in the losses and not layers of their own: together with the logarithm they can't overflow, and
the gradient becomes p - y.
"""

from collections.abc import Callable

import numpy as np

from dlcourse.scratch.layers import Array, sigmoid

Loss = Callable[[Array, Array], tuple[float, Array]]


def log_softmax(z: Array) -> Array:
    """z [B, K] -> log p [B, K]. Less its largest score each row gives the same p, and no e^z is above 1."""
    shifted = z - z.max(1, keepdims=True)
    out: Array = shifted - np.log(np.exp(shifted).sum(1, keepdims=True))
    return out


def softmax(z: Array) -> Array:
    """z [B, K] -> p [B, K], p_k = e^z_k / Σ_j e^z_j; ∂p_i/∂z_j = p_i (δ_ij - p_j) (NTNU TDT4265, task 1b)."""
    out: Array = np.exp(log_softmax(z))
    return out


def softmax_cross_entropy(z: Array, y: Array) -> tuple[float, Array]:
    """Scores z [B, K], class numbers y [B]: J = -mean log p_y, ∂J/∂z = (p - one-hot y) / B.

    Source: NTNU TDT4265, task 1b; CMU 16-720, homework 5, question 2.
    """
    rows, log_p = np.arange(len(y)), log_softmax(z)
    g = np.exp(log_p)
    g[rows, y] -= 1
    return float(-log_p[rows, y].mean()), g / len(y)


def binary_cross_entropy(z: Array, y: Array) -> tuple[float, Array]:
    """Scores z and targets y in {0, 1}, of one shape: J = -mean(y log p + (1 - y) log(1 - p)) with p = σ(z).

    That is mean(log(1 + e^z) - y z), and ∂J/∂z = (p - y) / B. Source: NTNU TDT4265, task 1a.
    """
    return float((np.logaddexp(0, z) - y * z).mean()), (sigmoid(z) - y) / y.size


def squared_error(output: Array, y: Array) -> tuple[float, Array]:
    """Of one shape, n numbers: J = mean (output - y)², ∂J/∂output = 2 (output - y) / n.

    Source: HUJI APML, "Convolutional Nets"; CMU 16-720, homework 5, question 5.
    """
    difference = output - y
    return float((difference**2).mean()), 2 * difference / y.size


def summed(loss: Loss) -> Loss:
    """The same loss as a sum over its terms: a row of scores is one term, so is a number that is to be met."""

    def total(output: Array, y: Array) -> tuple[float, Array]:
        value, g = loss(output, y)
        return value * y.size, g * y.size

    return total
