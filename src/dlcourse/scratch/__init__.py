"""Networks by hand, in NumPy only: layers, losses, initial weights, descent, and the check of a gradient.

To be read in this order: layers, losses, network, initialise, descent, check. All is float64 by default.
"""

from dlcourse.scratch.check import central_differences, gradient_check, relative_error
from dlcourse.scratch.descent import SGD
from dlcourse.scratch.initialise import initialised
from dlcourse.scratch.layers import Convolution, Flatten, Layer, Linear, MaxPool, ReLU, Sigmoid, Tanh, sigmoid
from dlcourse.scratch.losses import (
    Loss,
    binary_cross_entropy,
    log_softmax,
    softmax,
    softmax_cross_entropy,
    squared_error,
    summed,
)  # fmt: skip
from dlcourse.scratch.network import Sequential, mlp, toy_convnet

__all__ = [
    "SGD", "Convolution", "Flatten", "Layer", "Linear", "Loss", "MaxPool", "ReLU", "Sequential", "Sigmoid", "Tanh",
    "binary_cross_entropy", "central_differences", "gradient_check", "initialised", "log_softmax", "mlp",
    "relative_error", "sigmoid", "softmax", "softmax_cross_entropy", "squared_error", "summed", "toy_convnet",
]  # fmt: skip
