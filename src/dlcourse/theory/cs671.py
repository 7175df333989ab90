"""IIT Mandi CS671, assignment 2 (2022): what makes a unit fire most, and how the optimizers step."""

from collections.abc import Iterator

import numpy as np
from numpy.random import Generator

from dlcourse.scratch import SGD, Tanh, mlp, softmax_cross_entropy
from dlcourse.scratch.layers import Array
from dlcourse.theory.statement import DRAWS, Finding, apart, statement

LR = 0.001  # of all the report's optimizers


@statement("Of all x with ‖x‖ = 1, w/‖w‖ makes wᵀx largest (the weight image)", "CS671, autoencoders", within=1e-12)
def weight_image(rng: Generator) -> Finding:
    worst, nearest = 0.0, 0.0
    for _ in range(DRAWS):
        w = rng.normal(size=20)
        x = rng.normal(size=(2000, 20))
        x /= np.linalg.norm(x, axis=1, keepdims=True)
        largest = float(w @ (w / np.linalg.norm(w)))
        beaten = float((x @ w).max()) - largest
        worst = max(worst, beaten, apart(largest, np.linalg.norm(w)))
        nearest = max(nearest, 1 + beaten / largest)
    return Finding(worst, f"it gives ‖w‖; of 2,000 random unit vectors a draw the best reaches {nearest:.0%} of that")


@statement("Full-batch descent lowers the loss at each step, where the rate is small", "CS671, optimizers")
def monotone(rng: Generator) -> Finding:
    """The largest rise of the loss from one step to the next; at a hundred times the rate it is another matter."""
    x, y = rng.normal(size=(60, 5)), rng.integers(0, 3, 60)
    rises = {}
    for rate in (0.1, 10.0):
        net = mlp([5, 10, 3], Tanh, "xavier", np.random.default_rng(0))
        descent, losses = SGD(net.parameters, rate), []
        for _ in range(300):
            losses.append(net.loss(softmax_cross_entropy, x, y))
            descent.step(net.gradients)
        rises[rate] = np.diff(losses)
    largest, many = max(0.0, float(rises[0.1].max())), int((rises[10.0] > 0).sum())
    return Finding(largest, f"300 steps at 0.1: {int((rises[0.1] > 0).sum())} rises; at 10 (not small): {many}")


def adam(gradients: Array, corrected: bool = True, beta1: float = 0.9, beta2: float = 0.999) -> Iterator[Array]:
    """The steps of Adam for gradients g_1, g_2, ... (Kingma & Ba 2015, algorithm 1)."""
    m = v = np.zeros_like(gradients[0])
    for t, g in enumerate(gradients, 1):
        m, v = beta1 * m + (1 - beta1) * g, beta2 * v + (1 - beta2) * g**2
        scale = (1 - beta1**t, 1 - beta2**t) if corrected else (1, 1)
        yield -LR * (m / scale[0]) / (np.sqrt(v / scale[1]) + 1e-8)


@statement("Adam's first step is the rate times the gradient's sign: its bias correction", "CS671, optimizers",
           within=1e-4)  # fmt: skip
def adam_first_step(rng: Generator) -> Finding:
    g = rng.choice([-1, 1], 1000) * 10 ** rng.uniform(-3, 3, 1000)
    first, without = next(adam(g[None])), next(adam(g[None], corrected=False))
    times = float(np.median(without / (-LR * np.sign(g))))
    return Finding(
        apart(first / (-LR * np.sign(g)), 1), f"|g| from 0.001 to 1,000; without the correction {times:.2f} times"
    )


@statement("RMSProp divides by the root of a mean of squares, older ones ρ times less each step", "CS671, optimizers",
           within=1e-12)  # fmt: skip
def rmsprop(rng: Generator) -> Finding:
    """The recursion s = ρ s + (1 - ρ) g² against the sum that it stands for."""
    worst, rho, steps = 0.0, 0.99, 50
    for _ in range(DRAWS):
        g, s = rng.normal(size=steps), 0.0
        for value in g:
            s = rho * s + (1 - rho) * value**2
        ages = np.arange(steps)[::-1]
        worst = max(worst, apart(s, ((1 - rho) * rho**ages * g**2).sum()))
    return Finding(worst, f"s starts at 0, uncorrected: the first step is {1 / np.sqrt(1 - rho):.0f} times the rate")


def look_ahead(curvature: Array, w: Array, rate: float, mu: float, ahead: float = 1.0) -> Iterator[Array]:
    """Momentum on ½ Σ c w², the gradient taken at w + ahead·μ v: where w + v, its velocity alone, would lead."""
    w, v = w.copy(), np.zeros_like(w)
    while True:
        v = mu * v - rate * curvature * (w + ahead * mu * v)
        w = w + v
        yield w + ahead * mu * v


@statement("Nesterov's method is momentum whose gradient is taken at a look-ahead, w + μv", "CS671, optimizers",
           within=1e-12)  # fmt: skip
def nesterov(rng: Generator) -> Finding:
    """The form of the libraries, which has the gradient at w, against the look-ahead; and both against momentum."""
    curvature, worst = np.array([1.0, 10.0, 100.0]), 0.0
    rate, mu, steps = 0.009, 0.9, 100
    for _ in range(10):
        begin = rng.normal(size=3)
        w = begin.copy()
        descent = SGD([w], rate, mu, nesterov=True)
        for wanted, _ in zip(look_ahead(curvature, begin, rate, mu), range(steps), strict=False):
            descent.step([curvature * w])
            worst = max(worst, apart(w, wanted))
    ends = {ahead: w for ahead in (1.0, 0.0)
            for w, _ in zip(look_ahead(curvature, np.ones(3), rate, mu, ahead), range(30), strict=False)}  # fmt: skip
    left = {ahead: float(np.linalg.norm(end)) for ahead, end in ends.items()}
    return Finding(
        worst, f"a quadratic, 30 steps from (1, 1, 1): {left[1.0]:.2g} from the minimum, momentum {left[0.0]:.2g}"
    )


@statement("On a quadratic of curvature c Nesterov's method is momentum with μ(1 - ηc) for μ: less of it where steep",
           "CS671, optimizers", within=1e-12)  # fmt: skip
def nesterov_damps(rng: Generator) -> Finding:
    worst, rate, mu = 0.0, 0.009, 0.9
    for _ in range(DRAWS):
        c, w, v = rng.uniform(0, 100), rng.normal(), 0.0
        plain, velocity = w, 0.0
        for _ in range(30):
            v = mu * v - rate * c * (w + mu * v)
            w += v
            velocity = mu * (1 - rate * c) * velocity - rate * c * plain
            plain += velocity
            worst = max(worst, apart(w, plain))
    return Finding(worst, "so it overshoots less (Sutskever et al. 2013, theorem 2.1)")
