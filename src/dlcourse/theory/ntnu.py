"""NTNU TDT4265, assignment 1: gradients of logistic and softmax regression, and how to check them."""

import numpy as np
from numpy.random import Generator

from dlcourse.scratch import SGD, Linear, Sequential, central_differences, initialised, sigmoid
from dlcourse.scratch.layers import Array
from dlcourse.scratch.losses import binary_cross_entropy, softmax, softmax_cross_entropy
from dlcourse.theory.statement import DRAWS, FAILS, Finding, apart, format_values, slope, statement

INPUTS, CLASSES = 6, 4


def pixels(rng: Generator, n: int) -> Array:
    """x in [-1, 1], its last number the 1 of the bias: [n, 6]."""
    return np.append(rng.uniform(-1, 1, (n, INPUTS - 1)), np.ones((n, 1)), axis=1)


# --- logistic regression ---------------------------------------------------------------------------------------------


def logistic_line(rng: Generator, line: str) -> Finding:
    """Of a formula for ∂C/∂w of one example the error."""
    x, w, y = pixels(rng, 1)[0], rng.normal(size=INPUTS), float(rng.integers(0, 2))

    def cost() -> float:
        return binary_cross_entropy(x @ w, np.array(y))[0]

    true, p, c = slope(cost, w), float(sigmoid(x @ w)), cost()
    given = {"-(y - p) x": -(y - p) * x, "x C (1 - C)": x * c * (1 - c)}[line]
    first = f"∂C/∂w_0 = {true[0]:.3g}, the line gives {given[0]:.3g}"
    return Finding(apart(given, true), f"x_0 = {x[0]:.3g}, y = {y:g}, ŷ = {p:.3g}: {first}")


@statement("∂C/∂w = -(y - ŷ) x, binary cross-entropy of a sigmoid", "NTNU task 1a", within=1e-9, draws=DRAWS)
def logistic_gradient(rng: Generator) -> float:
    return logistic_line(rng, "-(y - p) x").deviation


@statement("∂C/∂w = x C(1 - C)", "NTNU task 1a, a line of the report", within=1e-9, expected=FAILS, draws=DRAWS)
def logistic_slip(rng: Generator) -> Finding:
    """It has the loss C where σ' has the output ŷ."""
    return logistic_line(rng, "x C (1 - C)")


# --- softmax regression ----------------------------------------------------------------------------------------------


def softmax_line(rng: Generator, of: slice | int) -> Finding:
    """Of ∂C/∂w_kj = -x_j (y_k - ŷ_k), with the x that `of` chooses, the largest error."""
    x, w, label = pixels(rng, 1), rng.normal(size=(CLASSES, INPUTS)), rng.integers(0, CLASSES, 1)
    true = slope(lambda: softmax_cross_entropy(x @ w.T, label)[0], w)
    y, p = np.eye(CLASSES)[label[0]], softmax(x @ w.T)[0]
    given = np.outer(-(y - p), np.broadcast_to(x[0, of], INPUTS))
    k, j = np.unravel_index(np.abs(given - true).argmax(), true.shape)
    text = f"k = {k}, j = {j}: ∂C/∂w_kj = {true[k, j]:.3g}, the line gives {given[k, j]:.3g}"
    return Finding(apart(given, true), text)


@statement("∂C/∂w_kj = -x_j (y_k - ŷ_k), cross-entropy of a softmax", "NTNU task 1b", within=1e-9, draws=20)
def softmax_gradient(rng: Generator) -> float:
    return softmax_line(rng, slice(None)).deviation


@statement("∂C/∂w_kj = -x_0 (y_k - ŷ_k): x_0 for x_j", "NTNU task 1b, the report's last line", 1e-9, FAILS, draws=20)
def softmax_slip(rng: Generator) -> Finding:
    return softmax_line(rng, 0)


def jacobian(z: Array) -> Array:
    """∂ŷ_i/∂z_j by differences."""
    return np.stack([slope(lambda: float(softmax(z[None])[0, i]), z) for i in range(len(z))])  # noqa: B023


@statement("∂ŷ_i/∂z_j = ŷ_i (δ_ij - ŷ_j), softmax", "NTNU task 1b", within=1e-9, draws=20)
def softmax_jacobian(rng: Generator) -> float:
    z = rng.normal(0, 2, CLASSES)
    p = softmax(z[None])[0]
    return apart(np.diag(p) - np.outer(p, p), jacobian(z))


@statement("∂ŷ_i/∂z_j = -(1/ŷ_i)(1/ŷ_j) for i ≠ j", "NTNU task 1b, the report's line for i ≠ j", 1e-9, FAILS)
def jacobian_slip(rng: Generator) -> Finding:
    z = rng.normal(size=CLASSES)
    p, true = softmax(z[None])[0], jacobian(z)[0, 1]
    line = -1 / (p[0] * p[1])
    return Finding(apart(line, true), f"ŷ = {format_values(p)}: ∂ŷ_0/∂z_1 = {true:.3g}, the line gives {line:.3g}")


@statement("∂R/∂w = w for R = ½‖w‖², so that J = C + λR adds λw", "NTNU task 4a", within=1e-9, draws=20)
def penalty(rng: Generator) -> Finding:
    """Of the whole J; and the step of `scratch.SGD` with weight_decay λ is the one along it."""
    x, y, decay = pixels(rng, 8), rng.integers(0, CLASSES, 8), 10 ** rng.uniform(-3, 0.3)
    w = rng.normal(size=(CLASSES, INPUTS))
    net, before = Sequential([Linear(w)]), w.copy()
    true = slope(lambda: softmax_cross_entropy(net.forward(x), y)[0] + decay / 2 * float((w**2).sum()), w)
    net.loss(softmax_cross_entropy, x, y)
    SGD([w], lr=1.0, weight_decay=decay).step(net.gradients)
    return Finding(apart(before - w, true), "λ from 0.001 to 2")


# --- the gradient check ----------------------------------------------------------------------------------------------


def difference_error(rng: Generator, eps: float) -> float:
    """Of the gradients of softmax regression by central differences the largest error."""
    x, y, w = pixels(rng, 8), rng.integers(0, CLASSES, 8), rng.normal(size=(CLASSES, INPUTS))
    net = Sequential([Linear(w)])
    net.loss(softmax_cross_entropy, x, y)
    differences = central_differences(lambda: softmax_cross_entropy(x @ w.T, y)[0], w, eps)
    return apart(net.gradients[0], differences)


CHECK = "NTNU, the gradient check"


@statement("Central differences with ε = 10⁻² agree with the gradient within ε²", CHECK, within=1e-4, draws=20)
def differences(rng: Generator) -> float:
    return difference_error(rng, 1e-2)


@statement("With the course's ε = 10⁻³ they agree within 10⁻⁶", CHECK, within=1e-6, draws=20)
def differences_of_the_course(rng: Generator) -> float:
    return difference_error(rng, 1e-3)


@statement("Their error goes with ε²: ten times as exact an ε, a hundred times less", CHECK, within=0.02)
def order(rng: Generator) -> Finding:
    """The exponent, from ε = 10⁻² and 10⁻³, less 2."""
    found = []
    for seed in rng.integers(0, 2**32, 10):
        large, small = (difference_error(np.random.default_rng(seed), eps) for eps in (1e-2, 1e-3))
        found.append(np.log10(large / small))
    return Finding(apart(found, 2), f"the exponent is {min(found):.4f} to {max(found):.4f}")


# --- zero weights ----------------------------------------------------------------------------------------------------


ZERO = "NTNU tasks 2 and 3"


@statement("With zero weights a sigmoid gives ½ and a softmax of ten 1/10, whatever x is", ZERO, within=1e-15)
def zero_outputs(rng: Generator) -> float:
    x = rng.uniform(-1, 1, (DRAWS, INPUTS))
    return max(apart(sigmoid(x @ np.zeros(INPUTS)), 0.5), apart(softmax(x @ np.zeros((INPUTS, 10))), 0.1))


@statement("Zero initial weights do no harm in softmax regression: one layer, a convex loss", ZERO, within=1e-9)
def zero_is_harmless(rng: Generator) -> Finding:
    """The difference of the losses where descent ends from zero and from random weights (λ = 0.1)."""
    x, y = pixels(rng, 60), rng.integers(0, CLASSES, 60)
    ends = []
    for init in ("zeros", "normal:1", "normal:1"):
        net = Sequential([Linear(initialised(init, (CLASSES, INPUTS), rng))])
        descent = SGD(net.parameters, lr=0.5, weight_decay=0.1)
        for _ in range(500):
            net.loss(softmax_cross_entropy, x, y)
            descent.step(net.gradients)
        ends.append(softmax_cross_entropy(net.forward(x), y)[0])
    return Finding(apart(ends, ends[0]), f"cross-entropy {ends[0]:.4f} from zero and from two random starts")
