"""Initial weights, by the names that `dlcourse.nets` has for them; biases begin at 0."""

from collections.abc import Callable

import numpy as np
from numpy.random import Generator

from dlcourse.scratch.layers import Array

Shape = tuple[int, int]  # [units, inputs]


def xavier(shape: Shape, rng: Generator, _: float) -> Array:
    """U(-b, b), b = √(6 / (inputs + units)): variance b²/3 = 2 / (inputs + units) (Glorot & Bengio 2010, equation 16).

    It is between what would keep the variance of the outputs (1 / inputs) and that of the gradients (1 / units).
    """
    b = np.sqrt(6 / sum(shape))
    return rng.uniform(-b, b, shape)


def he(shape: Shape, rng: Generator, _: float) -> Array:
    """N(0, 2 / inputs): a relu keeps half of the variance, so this is twice 1 / inputs (He et al. 2015)."""
    return rng.normal(0, np.sqrt(2 / shape[1]), shape)


initialisations: dict[str, Callable[[Shape, Generator, float], Array]] = {
    "xavier": xavier,
    "he": he,
    "zeros": lambda shape, rng, _: np.zeros(shape),
    "normal": lambda shape, rng, std: rng.normal(0, std, shape),
    "uniform": lambda shape, rng, bound: rng.uniform(-bound, bound, shape),
    "positive": lambda shape, rng, bound: rng.uniform(0, bound, shape),
}


def initialised(init: str, shape: Shape, rng: Generator) -> Array:
    """Weights float64 [units, inputs] by name, some with a scale (0.05 where none is given): `xavier`, `normal:1`."""
    name, _, scale = init.partition(":")
    if name not in initialisations:
        raise ValueError(f"init: no {name!r}, it is {', '.join(initialisations)}")
    return initialisations[name](shape, rng, float(scale or 0.05))
