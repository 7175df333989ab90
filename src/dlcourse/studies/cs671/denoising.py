"""Question 3: denoising autoencoders; their errors from each share of noise, and how rough their weight images are."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from pandas import DataFrame
from torch import Tensor

from dlcourse import plots
from dlcourse.data.splitting import SPLITS
from dlcourse.reports.formats import format_mean
from dlcourse.reports.page import Plot
from dlcourse.studies.checks import check
from dlcourse.studies.cs671.codes import first_known, one_of_each
from dlcourse.studies.images import roughness, similarity
from dlcourse.studies.items import weight_images
from dlcourse.studies.rules import least_seeds, rule_each, side
from dlcourse.studies.runs import Runs, load_run, network_inputs
from dlcourse.studies.samples import Of, aggregate, format_metric, interval, select
from dlcourse.studies.study import Study
from dlcourse.studies.verdict import Verdict, answered, decide
from dlcourse.tasks import Reconstruct
from dlcourse.tasks.reconstruct import EVAL_NOISE_SEED, add_noise

NOISES = {"0 %": 0.0, "20 %": 0.2, "40 %": 0.4}
CODERS = {"block": ["clean", "denoising", "clipped"]}


def derive(table: DataFrame) -> DataFrame:
    """With the column `noise` that an autoencoder, or a classifier's, is trained with: `20 %` or `20 %, clipped`."""
    share = first_known(table, "encoder.model.noise_probability", "model.noise_probability").astype(float)
    clipped = table["block"].str.endswith("clipped").map({True: ", clipped", False: ""})
    return table.assign(noise=share.map("{:.0%}".format).str.replace("%", " %") + clipped)


@torch.no_grad()
def measure(study: Study, runs: Runs) -> DataFrame:
    """For each autoencoder what comes back from test images with each share of noise, and how rough its weights are."""
    rows = []
    for _, row in select(runs.done(), CODERS).iterrows():
        task, data = load_run(row["run"])
        assert isinstance(task, Reconstruct)
        x, weights = network_inputs(data, "test"), weight_images(task.net)
        ink = (network_inputs(data, "train").amax(0) > 0).numpy().reshape(weights.shape[1:])
        found: dict[str, Any] = {"hash": row["hash"]}
        found |= {"roughness": roughness(weights), "roughness/inside": roughness(weights, ink)}
        for text, share in NOISES.items():
            noisy = with_noise(x, share, bool(row["model.noise_clip"]))
            back = task(noisy)
            found[f"test/loss from {text}"] = float((back - x).square().mean())
            images = [v.reshape(-1, *weights.shape[1:]) for v in (x, noisy, back)]
            found[f"psnr from {text}"] = -10 * math.log10(float((back.clamp(0, 1) - x).square().mean()))
            found[f"ssim from {text}"] = similarity(images[2], images[0])
            found[f"ssim of {text}"] = similarity(images[1], images[0])
        rows.append(found)
    return DataFrame(rows, columns=None if rows else ["hash"])


def with_noise(x: Tensor, noise: float, clip: bool) -> Tensor:
    """Images with noise at so many of their pixels, always the same."""
    generator = torch.Generator().manual_seed(EVAL_NOISE_SEED)
    return add_noise(x, "gaussian", noise, clip=clip, generator=generator) if noise else x


@torch.no_grad()
def denoised(study: Study, runs: Runs, of: Of) -> list[Plot]:
    """One image of each class of each split: as it is, with noise, and as it comes back; of each noise's first run."""
    drawn = []
    for noise, group in select(runs.done(), of).groupby("noise", sort=False):
        task, data = load_run(group["run"].iloc[0])
        assert isinstance(task, Reconstruct)
        for split in SPLITS:
            x, names = one_of_each(data, split)
            noisy = task.with_noise(x, 0)
            rows = {"original": x, "noisy": noisy, "denoised": task(noisy), "from clean": task(x)}
            title = f"{noise} noise, {split}"
            figure = plots.reconstructions({k: np.clip(v.numpy(), 0, 1) for k, v in rows.items()}, names, title)
            drawn.append(Plot(f"denoised_{str(noise).split()[0]}_{split}", f"Denoised, {title}", figure))
    return drawn


# --- claims ----------------------------------------------------------------------------------------------------------


def means(table: DataFrame, metric: str) -> list[float]:
    """A metric of the autoencoders trained with 0, 20 and 40 % noise, not clipped."""
    return [aggregate(table, metric, {"block": ["clean", "denoising"], "noise": noise}).mean for noise in NOISES]


@check
def rougher(table: DataFrame, rising: bool) -> Verdict:
    """Whether the weight images get rougher with more noise in training (or with rising=False smoother)."""
    everywhere, inside = means(table, "roughness"), means(table, "roughness/inside")
    steps = np.diff(everywhere) if rising else -np.diff(everywhere)
    return decide(
        bool((steps > 0).all()),
        "difference of neighbouring weights (1 in white noise) with 0, 20 and 40 % noise: "
        f"{format_list(everywhere, 3)}; only where training images have ink: {format_list(inside, 3)}",
    )


@check
def denoises(table: DataFrame) -> Verdict:
    """What training with noise gains on noisy images and costs on clean ones."""
    errors = np.transpose([means(table, f"test/loss from {noise}") for noise in NOISES])
    parts = [f"trained with {noise}: {format_list(row, 4)}" for noise, row in zip(NOISES, errors, strict=True)]
    return answered(f"test MSE from images with 0, 20 and 40 % noise: {'; '.join(parts)}")


def format_list(values: "list[float] | plots.Array", digits: int) -> str:
    return ", ".join(format_mean(value, digits=digits) for value in values)


@check
def looks_similar(table: DataFrame, noises: Sequence[str], least: float) -> Verdict:
    """Reproduced where what comes back from images with so much noise has at least that SSIM with the originals."""
    samples, texts = [], []
    for noise in noises:
        of = {"block": "denoising", "noise": noise}
        ssim, psnr, before = (aggregate(table, f"{name} {noise}", of) for name in ("ssim from", "psnr from", "ssim of"))
        samples.append(ssim)
        texts.append(
            f"with {noise} SSIM {format_metric('ssim', ssim)} ({format_metric('ssim', before.mean)} before) and "
            f"{format_metric('psnr', psnr.mean)}"
        )
    evidence = f"test images: {'; '.join(texts)}; similar is an SSIM of {least:g} or more"
    return rule_each([side(s.mean - least, interval(s)) for s in samples], evidence, least_seeds(samples))
