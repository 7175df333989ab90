# %% [markdown]
# # 4 · Fine-tuning
#
# A few hundred photos are not enough to learn to see. A network that has seen ImageNet's million can see already; all
# it needs is a new last layer. Here: how many photos each way takes.
#
# You will learn
#
# - what ImageNet's weights are worth with few photos,
# - when to train the last layer alone, and when all of them, and
# - how many test photos a difference needs.
#
# Time: two minutes on two cores. Data: eight scenes of SUN, 1,177 + 400 photos of CMU's homework 1, made
# smaller to be quick; where they are not there, drawn shapes and textures stand in, and it says so, loudly: then the
# figures mean nothing. The outputs kept here are with the course's photos, and with weights that were rebuilt from
# another copy than torchvision's.

# %%
import os
import tempfile
from pathlib import Path

from IPython.display import Image, display
from pandas import DataFrame

from dlcourse import plots
from dlcourse.core.errors import InputError
from dlcourse.nets.weights import find_weights
from dlcourse.reports.overview import read_records
from dlcourse.reports.tables import read_confusion, run_record
from dlcourse.runs import find_runs

LESS = os.environ.get("DLCOURSE_LESS", "")  # put at the end of each command, as "data.epochs=1"
os.chdir(tempfile.mkdtemp())  # runs go to a folder of their own

WEIGHTS = "imagenet"
try:
    find_weights("mobilenet_v2", WEIGHTS)
except InputError as error:
    WEIGHTS = "none"
    print(f"!!! WITHOUT ImageNet's weights nothing below will impress anybody: {error}")


def show(figure):
    """A figure as reports have it."""
    display(Image(plots.png(figure)))


# %% [markdown]
# ## From scratch
#
# A small convnet on photos of 32×32, with 32, 128 and 512 of them to learn from.

# %%
# !python -m dlcourse.train -m model=cnn data=sun data.size=32 data.limit=32,128,512 data.epochs=20 \
#     trainer.figures=false hydra.sweep.dir=scratch {LESS}

# %% [markdown]
# ## The last layer alone
#
# MobileNetV2 with ImageNet's weights, frozen; only the new last layer learns. Since the frozen part gives the same for
# a photo in each epoch, it sees each photo once, and the epochs after that cost nearly nothing. (Photos of 128×128: the
# real size is 224.)

# %%
# !python -m dlcourse.train -m model=mobilenet_v2 model.weights={WEIGHTS} data=sun data.size=128 data.limit=32,128,512 \
#     data.epochs=20 hydra.sweep.dir=head {LESS}

# %%
folders = {"from scratch": "scratch", "last layer alone": "head"}
found = {name: read_records(find_runs([folder]))[0] for name, folder in folders.items()}
heights = {name: [record.row["test/accuracy"] for record in records] for name, records in found.items()}
limits = [str(record.config["data.limit"]) for record in found["last layer alone"]]
show(plots.bars(limits, heights, title="Test accuracy", x_label="training photos"))

# %% [markdown]
# ## All layers
#
# After an epoch of the last layer alone, let everything learn, the old layers at a tenth of the rate so that they don't
# forget what they know.

# %%
# !python -m dlcourse.train model=mobilenet_v2 model.weights={WEIGHTS} model.train=head_then_all model.head_epochs=1 \
#     data=sun data.size=128 data.limit=512 data.batch_size=16 data.epochs=3 hydra.run.dir=all {LESS}

# %%
runs = {name: find_runs([folder])[-1] for name, folder in folders.items()} | {"all layers": Path("all")}
columns = ["test/accuracy", "epochs", "train_seconds", "parameters"]
DataFrame({name: run_record(run) for name, run in runs.items()}).T[columns]

# %% [markdown]
# Is it worth it? Not with so few photos and epochs; at the report's size it was not, either
# (`docs/reports/cmu/q6_1_4.md`). Where the network is wrong, `all/figures/misclassified.png` often shows why.

# %%
show(plots.confusion_matrix(*read_confusion(Path("all")), title="All layers, test photos"))

# %% [markdown]
# ## Exercises
#
# **1.** How many weights learn when the last layer is trained alone? The layer sees 1,280 numbers; SUN's photos have
# eight classes.
#
# <details><summary>Answer</summary>
#
# 8 · 1,280 weights and 8 biases: 10,248, of MobileNetV2's 2.2 million. `parameters` in the table above counts all of
# the network.
#
# </details>
#
# **2.** Why do the epochs after the first cost next to nothing with `model.train=head`, and why does
# `data.augment.flip=true` end that?
#
# <details><summary>Answer</summary>
#
# The frozen layers give the same for a photo in each epoch, so they see it once and what they give is kept. A flipped
# photo is another one: with augmentation they have to see all photos in each epoch.
#
# </details>
#
# **3.** Two networks get 90 and 92 % of the 400 test photos right. Is the second one better?
#
# <details><summary>Answer</summary>
#
# One can't tell. The standard deviation of a share of .9 over 400 photos is $\sqrt{.9 \cdot .1 / 400}$ = 1.5 points,
# so that its 95 % interval reaches 2.9 points to both sides. That is the noise of the photos; another seed's comes on
# top. `python -m dlcourse.report` has the mean over seeds, with its noise.
#
# </details>
