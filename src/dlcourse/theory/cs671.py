"""IIT Mandi CS671, assignment 2 (2022): what makes a unit fire most, and how the optimizers step."""

from collections.abc import Iterator
from itertools import islice

import numpy as np
from numpy.random import Generator

from dlcourse.scratch import SGD, Tanh, mlp, softmax_cross_entropy
from dlcourse.scratch.layers import Array
from dlcourse.theory.statement import DRAWS, Finding, apart, statement

LR = 0.001  # of all the report's optimizers
RATE, MU = 0.009, 0.9  # of Nesterov's method here


@statement("Of all x with ‖x‖ = 1, w/‖w‖ makes wᵀx largest (the weight image)", "CS671, autoencoders", within=1e-12)
def weight_image(rng: Generator) -> Finding:
    worst, nearest = 0.0, 0.0
    for _ in range(DRAWS):
        w, x = rng.normal(size=20), rng.normal(size=(2000, 20))
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


@statement("Adam's first step is the rate times the gradient's sign: its bias correction", "CS671, optimizers", 1e-4)
def adam_first_step(rng: Generator) -> Finding:
    g = rng.choice([-1, 1], 1000) * 10 ** rng.uniform(-3, 3, 1000)
    first, without = next(adam(g[None])), next(adam(g[None], corrected=False))
    times = float(np.median(without / (-LR * np.sign(g))))
    off = apart(first / (-LR * np.sign(g)), 1)
    return Finding(off, f"|g| from 0.001 to 1,000; without the correction {times:.2f} times")


SQUARES = "RMSProp divides by the root of a mean of squares, older ones ρ times less each step"


@statement(SQUARES, "CS671, optimizers", within=1e-12, draws=DRAWS)
def rmsprop(rng: Generator) -> Finding:
    """The recursion s = ρ s + (1 - ρ) g² against the sum that it stands for."""
    rho, s, g, ages = 0.99, 0.0, rng.normal(size=50), np.arange(50)[::-1]
    for value in g:
        s = rho * s + (1 - rho) * value**2
    off = apart(s, ((1 - rho) * rho**ages * g**2).sum())
    return Finding(off, f"s starts at 0, uncorrected: the first step is {1 / np.sqrt(1 - rho):.0f} times the rate")


def look_ahead(curvature: Array, begin: Array, ahead: float = 1.0) -> Iterator[Array]:
    """Momentum on ½ Σ c w², the gradient taken at w + ahead·μ v: where w + v, its velocity alone, would lead."""
    w, v = begin.copy(), np.zeros_like(begin)
    while True:
        v = MU * v - RATE * curvature * (w + ahead * MU * v)
        w = w + v
        yield w + ahead * MU * v


@statement(
    "Nesterov's method is momentum whose gradient is taken at a look-ahead, w + μv",
    "CS671, optimizers",
    1e-12,
    draws=10,
)
def nesterov(rng: Generator) -> Finding:
    """The form of the libraries, which has the gradient at w, against the look-ahead; and both against momentum."""
    curvature, w, worst = np.array([1.0, 10.0, 100.0]), rng.normal(size=3), 0.0
    descent = SGD([w], RATE, MU, nesterov=True)
    for wanted in islice(look_ahead(curvature, w), 100):
        descent.step([curvature * w])
        worst = max(worst, apart(w, wanted))
    ends = (list(islice(look_ahead(curvature, np.ones(3), ahead), 30))[-1] for ahead in (1, 0))
    nesterovs, momentums = (f"{np.linalg.norm(end):.2g}" for end in ends)
    return Finding(worst, f"a quadratic, 30 steps from (1, 1, 1): {nesterovs} from the minimum, momentum {momentums}")


DAMPED = "On a quadratic of curvature c Nesterov's method is momentum with μ(1 - ηc) for μ: less of it where steep"


@statement(DAMPED, "CS671, optimizers", within=1e-12, draws=DRAWS)
def nesterov_damps(rng: Generator) -> Finding:
    c, w, v, worst = rng.uniform(0, 100), rng.normal(), 0.0, 0.0
    plain, velocity = w, 0.0
    for _ in range(30):
        v = MU * v - RATE * c * (w + MU * v)
        w += v
        velocity = MU * (1 - RATE * c) * velocity - RATE * c * plain
        plain += velocity
        worst = max(worst, apart(w, plain))
    return Finding(worst, "so it overshoots less (Sutskever et al. 2013, theorem 2.1)")
