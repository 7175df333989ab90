"""CMU 16-720, homework 5 (2023): softmax, sigmoid, tanh, a layer's gradients, initial weights, the gradient check."""

from collections.abc import Callable
from functools import partial

import numpy as np
from numpy.random import Generator

from dlcourse.data.readers.clusters import clouds
from dlcourse.scratch import SGD, Sequential, gradient_check, initialised, mlp
from dlcourse.scratch.layers import Array, Layer, Linear, ReLU, Sigmoid, Tanh, sigmoid
from dlcourse.scratch.losses import softmax, softmax_cross_entropy, summed
from dlcourse.theory.statement import DRAWS, FAILS, Finding, apart, format_values, slope, statement

THEORY = "CMU theory, "
TOTAL = summed(softmax_cross_entropy)  # the report's loss is a sum

# --- softmax ---------------------------------------------------------------------------------------------------------


def naive_softmax(z: Array) -> Array:
    """As the formula is written."""
    with np.errstate(over="ignore", invalid="ignore"):
        out: Array = np.exp(z) / np.exp(z).sum(1, keepdims=True)
    return out


@statement("softmax(x + c) = softmax(x)", THEORY + "softmax", within=1e-12)
def shift(rng: Generator) -> Finding:
    x, c = rng.normal(0, 3, (DRAWS, 6)), rng.uniform(-50, 50, (DRAWS, 1))
    return Finding(apart(naive_softmax(x + c), naive_softmax(x)), "both computed as the formula is written")


@statement("With c = -max x it can be computed for scores of a thousand", THEORY + "softmax", within=1e-12)
def stable_softmax(rng: Generator) -> Finding:
    """Against the same scores less a thousand, which need no care."""
    x = rng.normal(0, 3, (DRAWS, 6))
    return Finding(apart(softmax(x + 1000), naive_softmax(x)), "scores about 1,000")


WRITTEN = "It can be computed as it is written, for scores of a thousand too"


@statement(WRITTEN, THEORY + "softmax: what c is for", within=1e-12, expected=FAILS)
def unstable_softmax(rng: Generator) -> Finding:
    x = np.array([[1000.0, 999.0]])
    return Finding(
        apart(naive_softmax(x), softmax(x)), f"softmax(1000, 999) = {format_values(softmax(x))}, ∞/∞ without c"
    )


@statement("The outputs of softmax sum to 1", THEORY + "softmax", within=1e-12)
def sums_to_one(rng: Generator) -> float:
    return apart(softmax(rng.normal(0, 100, (DRAWS, 10))).sum(1), 1)


@statement("The outputs of softmax are in [0, 1]", THEORY + "softmax")
def within_zero_and_one(rng: Generator) -> float:
    p = softmax(rng.normal(0, 100, (DRAWS, 10)))
    return max(0.0, float(p.max()) - 1, -float(p.min()))


@statement("They are in (0, 1), 0 and 1 left out: as numbers of the computer", THEORY + "softmax", expected=FAILS)
def strictly_within(rng: Generator) -> Finding:
    """The share of outputs that are 0 or 1. True of real numbers."""
    p = softmax(rng.normal(0, 1000, (DRAWS, 2)))
    example = softmax(np.array([[0.0, 1000.0]]))
    return Finding(
        float(((p <= 0) | (p >= 1)).mean()), f"softmax(0, 1000) = {format_values(example)}; true of real numbers"
    )


# --- layers ----------------------------------------------------------------------------------------------------------


@statement("A stack of linear layers is one linear layer", THEORY + "linear layers", within=1e-10, draws=DRAWS)
def collapse(rng: Generator) -> Finding:
    net, weight, bias = mlp([5, 7, 6, 3], Layer, "normal:1", rng), np.eye(5), np.zeros(5)
    for w, b in zip(net.parameters[::2], net.parameters[1::2], strict=True):
        b[:] = rng.normal(size=b.shape)
        weight, bias = w @ weight, w @ bias + b
    x = rng.normal(size=(4, 5))
    off = apart(net.forward(x), Linear(weight, bias).forward(x))
    return Finding(off, "W' = W3 W2 W1, b' = W3 (W2 b1 + b2) + b3")


def layer_gradient(rng: Generator, which: int) -> float:
    """Of ∂J/∂W, ∂J/∂b or ∂J/∂x by δ xᵀ, δ or Wᵀ δ the error; J any function of y = W x + b, δ = ∂J/∂y."""
    w, b, x = rng.normal(size=(3, 4)), rng.normal(size=3), rng.normal(size=4)
    delta = np.cos(w @ x + b)
    gradient = (np.outer(delta, x), delta, w.T @ delta)[which]
    return apart(gradient, slope(lambda: float(np.sin(w @ x + b).sum()), (w, b, x)[which]))


layer_statement = partial(statement, where=THEORY + "gradients of a layer", within=1e-9, draws=20)
gradient_of_weight = layer_statement("∂J/∂W = δ xᵀ")(partial(layer_gradient, which=0))
gradient_of_input = layer_statement("∂J/∂x = Wᵀ δ")(partial(layer_gradient, which=2))
gradient_of_bias = layer_statement("∂J/∂b = δ")(partial(layer_gradient, which=1))


# --- sigmoid and tanh ------------------------------------------------------------------------------------------------


def derivative(function: Callable[[Array], Array], x: Array) -> Array:
    return slope(lambda: float(function(x).sum()), x)


@statement("σ' = σ(1 - σ)", "HUJI question 1.2; " + THEORY + "sigmoid", within=1e-9)
def sigmoid_slope(rng: Generator) -> float:
    x = rng.uniform(-10, 10, DRAWS)
    return apart(sigmoid(x) * (1 - sigmoid(x)), derivative(sigmoid, x))


@statement("σ' ≤ ¼", THEORY + "vanishing gradients", within=1e-9)
def sigmoid_bound(rng: Generator) -> Finding:
    x, eps = np.append(rng.uniform(-10, 10, 10_000), 0), 1e-5
    slopes = (sigmoid(x + eps) - sigmoid(x - eps)) / (2 * eps)
    largest, at = float(slopes.max()), x[slopes.argmax()]
    return Finding(max(0.0, largest - 0.25), f"{largest:.3g}, at x = {at:.1g}")


@statement("Through L sigmoids a gradient shrinks to 4⁻ᴸ of itself or less", THEORY + "vanishing gradients")
def vanishing(rng: Generator) -> Finding:
    """L sigmoids in a row, from 1 to 20."""
    x, left = rng.normal(0, 2, (DRAWS, 1)), {}
    for depth in range(1, 21):
        for kind in (Sigmoid, Tanh):
            net = Sequential([kind() for _ in range(depth)])
            net.forward(x)
            left[kind, depth] = float(np.abs(net.backward(np.ones_like(x))).max())
    excess = max(0.0, *(left[Sigmoid, depth] - 0.25**depth for depth in range(1, 21)))
    return Finding(excess, f"at most {left[Sigmoid, 20]:.1g} after 20; tanh leaves up to {left[Tanh, 20]:.1g}")


DEEP = (
    "In a network of eight layers the first one's gradient vanishes (to a thousandth of the last one's) with sigmoids, "
)


@statement(DEEP + "but not (to a hundredth) with tanh or relu", THEORY + "vanishing gradients")
def vanishing_network(rng: Generator) -> Finding:
    """Layers of 64 units, Xavier's initial weights; norms of the gradients of the weights."""
    x, y = rng.normal(size=(DRAWS, 64)), rng.integers(0, 64, DRAWS)
    shares = {}
    for kind in (Sigmoid, Tanh, ReLU):
        net = mlp([64] * 9, kind, "xavier", rng)
        net.loss(TOTAL, x, y)
        first, *_, last = net.gradients[::2]
        shares[kind.__name__] = float(np.linalg.norm(first) / np.linalg.norm(last))
    excess = max(0.0, shares["Sigmoid"] - 1e-3, 1e-2 - shares["Tanh"], 1e-2 - shares["ReLU"])
    return Finding(excess, ", ".join(f"{name.lower()} {share:.2g}" for name, share in shares.items()))


@statement("tanh x = 2σ(2x) - 1", THEORY + "tanh", within=1e-12)
def tanh_by_sigmoid(rng: Generator) -> float:
    x = rng.uniform(-10, 10, DRAWS)
    return apart(2 * sigmoid(2 * x) - 1, np.tanh(x))


@statement("tanh' = 1 - tanh²", THEORY + "tanh", within=1e-9)
def tanh_slope(rng: Generator) -> float:
    x = rng.uniform(-10, 10, DRAWS)
    return apart(1 - np.tanh(x) ** 2, derivative(np.tanh, x))


def tanh_slopes(rng: Generator) -> Array:
    return 1 - np.tanh(np.append(rng.uniform(-10, 10, 10_000), 0)) ** 2


@statement("tanh' is in (0, 1]", THEORY + "tanh")
def tanh_range(rng: Generator) -> Finding:
    slopes = tanh_slopes(rng)
    outside = float((~((slopes > 0) & (slopes <= 1))).mean())
    return Finding(outside, "|x| up to 10; beyond 19 it is 0 as a number of the computer")


@statement("tanh' is in (0, 1), 1 left out", THEORY + "tanh, as the report writes it", expected=FAILS)
def tanh_open_range(rng: Generator) -> Finding:
    slopes = tanh_slopes(rng)
    return Finding(float((~((slopes > 0) & (slopes < 1))).mean()), "tanh'(0) = 1, of no other x")


@statement("1 / (1 + e⁻ˣ) serves as it is written", "CMU question 2, the report's code", within=1e-9, expected=FAILS)
def naive_sigmoid(rng: Generator) -> Finding:
    """The loss of a unit that should give 1 at x = -1000: it is 1000."""
    with np.errstate(over="ignore", divide="ignore"):
        power = np.exp(np.float64(1000))
        loss = -np.log(1 / (1 + power))
    return Finding(apart(loss, 1000), f"x = -1000: e¹⁰⁰⁰ = {power}, σ = 0 and -log σ = {loss} where it is 1000")


@statement("By e^-|x|, and the loss by its score, it can be computed for any x", "dlcourse.scratch", within=1e-9)
def stable_sigmoid(rng: Generator) -> float:
    """σ(x) + σ(-x) = 1, no warning for ±10⁵, and -log σ(x) - (-log σ(-x)) = -x."""
    x = rng.uniform(-1e5, 1e5, DRAWS)
    with np.errstate(all="raise", under="ignore"):
        total, losses = sigmoid(x) + sigmoid(-x), np.logaddexp(0, -x) - np.logaddexp(0, x)
    return max(apart(total, 1), apart(losses, -x))


# --- initial weights -------------------------------------------------------------------------------------------------


def points(rng: Generator) -> tuple[Array, Array]:
    """The 40 points of the four clouds of question 2."""
    x, y = clouds(rng)
    return np.asarray(x, float), y


def from_zero(rng: Generator, hidden: type[Layer]) -> tuple[Sequential, Array]:
    """2-25-4 from weights of zero after mini-batches of 5; on the way the largest gradient of W1, b1, W2 and b2."""
    net, (x, y) = mlp([2, 25, 4], hidden, "zeros", rng), points(rng)
    descent, largest = SGD(net.parameters, 1e-3), np.zeros(4)
    for _ in range(200):
        chosen = rng.choice(40, 5, replace=False)
        net.loss(TOTAL, x[chosen], y[chosen])
        largest = np.maximum(largest, [np.abs(g).max() for g in net.gradients])
        descent.step(net.gradients)
    return net, largest


ZERO = "From zero weights the “gradient will be zero … not learning anything”: "
WHERE = "CMU question 2.1.1(b)"


@statement(ZERO + "all weights, hidden units relu or tanh", WHERE)
def zero_weights(rng: Generator) -> Finding:
    """Weights and hidden biases; the output bias is another row."""
    found = [from_zero(rng, hidden)[1] for hidden in (ReLU, Tanh)]
    return Finding(max(float(largest[:3].max()) for largest in found), "200 mini-batches; only the output bias learns")


@statement(ZERO + "the output bias", WHERE, expected=FAILS)
def zero_output_bias(rng: Generator) -> Finding:
    net, largest = from_zero(rng, Tanh)
    learnt = f"up to {largest[3]:.3g} a batch of 5; after 200 it is {format_values(net.parameters[3])}"
    return Finding(float(largest[3]), f"its gradient is Σ(p - y), {learnt}")


@statement(ZERO + "all weights, hidden units sigmoid, mini-batches", WHERE, expected=FAILS)
def zero_sigmoid(rng: Generator) -> Finding:
    net, largest = from_zero(rng, Sigmoid)
    learnt = f"after 200 max |W1|, |W2| = {format_values([np.abs(w).max() for w in net.parameters[::2]])}"
    return Finding(float(largest[2]), f"h = ½, so ∂J/∂W2 = ½ Σ(p - y): up to {largest[2]:.3g}; {learnt}")


@statement(ZERO + "all parameters, hidden units sigmoid, all 40 points at once, 10 of each class", WHERE)
def zero_balanced(rng: Generator) -> Finding:
    net, (x, y) = mlp([2, 25, 4], Sigmoid, "zeros", rng), points(rng)
    net.loss(TOTAL, x, y)
    return Finding(max(float(np.abs(g).max()) for g in net.gradients), "p = ¼ for all, and Σ(p - y) = 0")


@statement("From zero weights all hidden units stay alike", "CMU question 2.1.1", within=1e-12)
def zero_alike(rng: Generator) -> Finding:
    """After 200 mini-batches, sigmoids: how far the rows of W1 and the columns of W2 are from their first."""
    first, _, second, _ = from_zero(rng, Sigmoid)[0].parameters
    return Finding(max(apart(first, first[:1]), apart(second, second[:, :1])), "25 sigmoids are worth one")


VARIANCE = "Xavier's uniform weights have variance 2 / (inputs + units): .074 in 2→25, .069 in 25→4"


@statement(VARIANCE, "CMU question 2.1", within=0.02)
def xavier(rng: Generator) -> Finding:
    """Relative to it, over 2,000 draws."""
    worst, texts = 0.0, []
    for shape in ((25, 2), (4, 25)):
        drawn = np.array([initialised("xavier", shape, rng) for _ in range(2000)])
        worst = max(worst, apart(drawn.var() / (2 / sum(shape)), 1))
        low, high = np.quantile(drawn.var((1, 2)), (0.025, 0.975))
        texts.append(f"{drawn.var():.4f} (95 % of single draws {low:.3f} to {high:.3f})")
    return Finding(worst, f"{', '.join(texts)}; the report prints .06 to .09")


# --- the gradient check ----------------------------------------------------------------------------------------------

PARTS, PUBLISHED = ("Wlayer1", "blayer1", "Woutput", "boutput"), 7.12e-6


def checked(rng: Generator, eps: float, order: int, divided_by: int = 1) -> Finding:
    """The sum of all relative errors of the gradients of 2-25-4 on the 40 points; where asked, of another loss's.

    The median of five draws: in one of a hundred some derivative happens to be nearly 0, and its relative error large.
    """

    def loss(z: Array, y: Array) -> tuple[float, Array]:
        value, g = TOTAL(z, y)
        return value / divided_by, g

    draws = [gradient_check(mlp([2, 25, 4], Sigmoid, "xavier", rng), loss, *points(rng), eps, order) for _ in range(5)]
    errors = sorted(draws, key=sum)[2]
    parts = ", ".join(f"{name} {error:.2g}" for name, error in zip(PARTS, errors, strict=True))
    return Finding(sum(errors), f"{parts}: the median of five draws; published in all {PUBLISHED:.2e}")


CENTRAL = "By central differences with ε = 10⁻⁶ the gradients' relative errors sum to less than 10⁻⁴"
BETTER = "By better differences, of error ∝ ε⁴, to less than a tenth of the published 7.12e-6: that is rounding"
DIVIDED = "The gradients are those of the loss that compute_loss gives, divided by N"
CODE = "CMU question 2, the report's code; its log shows sums"

gradients = statement(CENTRAL, "CMU question 2.6", within=1e-4)(partial(checked, eps=1e-6, order=2))
gradients_closer = statement(BETTER, "CMU question 2.6", within=PUBLISHED / 10)(partial(checked, eps=3e-4, order=4))
gradients_of_mean = statement(DIVIDED, CODE, 1e-4, FAILS)(partial(checked, eps=1e-6, order=2, divided_by=40))
