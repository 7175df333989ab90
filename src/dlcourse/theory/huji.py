"""HUJI APML, exercise "Convolutional Nets", two reports: a shared threshold, derivatives, initial weights of zero."""

import numpy as np
from numpy.random import Generator

from dlcourse.scratch import SGD, Convolution, Linear, ReLU, Sequential, central_differences, squared_error, toy_convnet
from dlcourse.scratch.layers import Array
from dlcourse.theory.statement import DRAWS, FAILS, Finding, apart, format_values, statement

STEPS, RATE = 100, 0.01


class Threshold(ReLU):
    """max(t, o), with one t for all units."""

    def __init__(self, t: float) -> None:
        super().__init__()
        self.t = t

    def forward(self, x: Array) -> Array:
        return self.t + super().forward(x - self.t)


LEARNED = "A learned threshold max(t, o), one t for all units, adds no power: "


@statement(LEARNED + "layers with biases", "HUJI question 1.1", within=1e-12, draws=DRAWS)
def threshold_with_biases(rng: Generator) -> Finding:
    w, b, v, c, t, x = (rng.normal(size=s) for s in ((6, 4), 6, (3, 6), 3, (), (8, 4)))
    with_t = Sequential([Linear(w, b), Threshold(float(t)), Linear(v, c)]).forward(x)
    without = Sequential([Linear(w, b - t), ReLU(), Linear(v, c + t * v.sum(1))]).forward(x)
    return Finding(apart(with_t, without), "V max(t, Wx + b) + c = V relu(Wx + (b - t)) + (c + t Σ_j V_j)")


@statement(LEARNED + "the toy convnet, without biases", "HUJI question 1.1", 1e-12, FAILS, draws=DRAWS)
def threshold_without_biases(rng: Generator) -> Finding:
    """With a relu p(0) = 0 whatever the weights are, so |p(0)| is how near any of those networks can come."""
    net, t, zero = start(rng), rng.uniform(0.5, 2), np.zeros((1, 4))
    plain = float(net.forward(zero)[0, 0])
    net.layers[1] = Threshold(t)
    p, u = float(net.forward(zero)[0, 0]), format_values(net.parameters[1])
    return Finding(abs(p - plain), f"p(0) = {p:.3g} with t = {t:.3g}, u = {u}; without t it is always 0")


NEEDED = "The backward pass of the toy convnet needs only what the forward pass has computed"


@statement(NEEDED, "HUJI question 1.2, both reports", within=1e-5, draws=5)
def reuse(rng: Generator) -> Finding:
    """The gradients that are so made of m, o > 0 and which was largest, against central differences.

    Few draws and a small ε: a difference across a kink of relu or max says nothing.
    """
    (x, y), net, worst = batch(rng, 4), start(rng), 0.0
    net.loss(squared_error, x, y)
    for p, g in zip(net.parameters, [g.copy() for g in net.gradients], strict=True):
        n = central_differences(lambda: squared_error(net.forward(x), y)[0], p, eps=1e-7)
        worst = max(worst, apart(g, n) / max(1.0, float(np.abs(g).max())))
    return Finding(worst, "ten parameters; relative to the largest of a layer's")


# --- initial weights of zero -----------------------------------------------------------------------------------------


def batch(rng: Generator, n: int = 128) -> tuple[Array, Array]:
    """x uniform in [-2.5, 2.5]⁴ and its largest number."""
    x = rng.uniform(-2.5, 2.5, (n, 4))
    return x, x.max(1, keepdims=True)


def start(rng: Generator, filters: float = 1.0, output: float = 1.0) -> Sequential:
    """The toy convnet with weights N(0, 1), times these factors."""
    return toy_convnet(filters * rng.normal(size=(2, 3)), output * rng.normal(size=(1, 4)))


def trained(net: Sequential, rng: Generator) -> tuple[float, float, float]:
    """How far the parameter that moves most moves in 100 steps; the loss on a batch before and after them."""
    before = [p.copy() for p in net.parameters]
    descent, test = SGD(net.parameters, RATE), batch(rng)
    first = squared_error(net.forward(test[0]), test[1])[0]
    for _ in range(STEPS):
        net.loss(squared_error, *batch(rng))
        descent.step(net.gradients)
    moved = max(apart(p, q) for p, q in zip(net.parameters, before, strict=True))
    return moved, first, squared_error(net.forward(test[0]), test[1])[0]


@statement("With all weights zero no parameter of the toy convnet ever moves", "HUJI question 1.3, both reports")
def all_zero(rng: Generator) -> Finding:
    moved, first, last = trained(start(rng, 0, 0), rng)
    return Finding(moved, f"{STEPS} steps; loss {first:.3g} before and {last:.3g} after")


@statement(
    "With the filters zero, u not, no parameter of the toy convnet ever moves either", "HUJI question 1.3", draws=10
)
def filters_zero(rng: Generator) -> Finding:
    moved = trained(start(rng, filters=0), rng)[0]
    return Finding(moved, "o = 0 everywhere, so m = 0 and relu'(o) = 0 (taken as 0 at 0, as everywhere in the field)")


@statement("With u zero, the filters not, the toy convnet moves and trains", "HUJI question 1.3")
def output_zero(rng: Generator) -> Finding:
    found = [trained(start(rng, output=0), rng) for _ in range(20)]
    stuck = sum(moved == 0 or last >= first for moved, first, last in found)
    first, last = (float(np.mean(column)) for column in list(zip(*found, strict=True))[1:])
    return Finding(stuck / 20, f"of 20 starts {stuck} do not; mean loss from {first:.3g} to {last:.3g}")


@statement("Zero weights “would not be a problem” for u", "HUJI question 1.3, second report", expected=FAILS)
def no_problem_for_u(rng: Generator) -> Finding:
    """Where u moves in all of the draws it holds."""
    stuck = sum(trained(start(rng, 0, 0), rng)[0] == 0 for _ in range(10)) / 10
    return Finding(stuck, f"all weights zero: m = 0, so ∂l/∂u = 2(p - y)mᵀ = 0; after {STEPS} steps u is still 0")


def line_for_u(rng: Generator, output: float) -> Finding:
    """∂l/∂u of a single example against -2 y mᵀ."""
    net, (x, y) = start(rng, output=output), batch(rng, 1)
    net.loss(squared_error, x, y)
    gradient, line = net.gradients[1], -2 * y * Sequential(net.layers[:-1]).forward(x)
    return Finding(apart(gradient, line), f"∂l/∂u = {format_values(gradient)}, the line gives {format_values(line)}")


@statement("∂l/∂u = -2y mᵀ, where u = 0", "HUJI question 1.3, both reports", within=1e-12, draws=DRAWS)
def line_for_u_at_zero(rng: Generator) -> Finding:
    return Finding(line_for_u(rng, 0).deviation, "the gradient is 2(p - y)mᵀ, and p = 0 there")


@statement("∂l/∂u = -2y mᵀ, for any u", "HUJI question 1.3, both reports, read as a formula", 1e-12, FAILS, draws=DRAWS)
def line_for_u_anywhere(rng: Generator) -> Finding:
    return line_for_u(rng, 1)


REVERSED = "The convolution of the toy convnet is a true one: the filter is reversed"


@statement(REVERSED, "HUJI, the network's definition", within=1e-12, draws=DRAWS)
def true_convolution(rng: Generator) -> Finding:
    x, w = rng.normal(size=(1, 4)), rng.normal(size=(1, 3))
    theirs = np.convolve(x[0], w[0], "same")
    return Finding(apart(Convolution(w).forward(x)[0, 0], theirs), "as numpy.convolve(x, w, 'same')")
