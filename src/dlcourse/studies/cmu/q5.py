"""Question 5: an autoencoder with a code of 32 on NIST36, against PCA with as many numbers."""

import numpy as np
import torch
from pandas import DataFrame
from skimage.measure import label
from torch import Tensor

from dlcourse import plots
from dlcourse.reports.page import Plot, Table
from dlcourse.studies.checks import check
from dlcourse.studies.images import sharpness
from dlcourse.studies.items import by_labels, sample
from dlcourse.studies.pca import PCA
from dlcourse.studies.rules import least_seeds, rule_each, side
from dlcourse.studies.runs import Runs, load_run, network_inputs
from dlcourse.studies.samples import Of, aggregate, format_metric, interval, metric_label, require
from dlcourse.studies.study import Study
from dlcourse.studies.verdict import Verdict, answered
from dlcourse.training.loading import load_task

SHOWN = "AFRU8"  # the classes of the report's figure
COMPONENTS = 32


def quality(study: Study, runs: Runs) -> Table:
    """The PSNR of the networks, of PCA, and as published."""
    rows = [
        {"what": name, **{m: format_metric(m, sample(group, m)._replace(n=0)) for m in ("train/psnr", "val/psnr")}}
        for name, group in by_labels(study, runs).items()
    ]
    for kind, suffix in ((", as it comes", ""), (", cut to pixels from 0 to 1", " clipped")):
        value = float(runs.done().iloc[0][f"pca/psnr{suffix}"])
        rows.append({"what": f"PCA-{COMPONENTS}{kind}", "val/psnr": format_metric("psnr", value)})
    for _, row in study.published["psnr"].iterrows():
        rows.append({"what": f"published: {row['what']}", "val/psnr": format_metric("psnr", float(row["psnr"]))})
    return Table("PSNR, the mean over images", DataFrame(rows).rename(columns=metric_label))


@torch.no_grad()
def reconstructions(study: Study, runs: Runs) -> Plot:
    """Two validation images of five classes: as they are, through each network, through PCA."""
    networks = {name: load_run(rows["run"].iloc[0]) for name, rows in by_labels(study, runs).items()}
    data = next(iter(networks.values()))[1]
    y = data.splits["val"].y
    places = [int(i) for c in SHOWN for i in (y == data.classes.index(c)).nonzero()[:2, 0]]
    x = network_inputs(data, "val")[places]
    rows = {"original": x} | {name: task(x) for name, (task, _) in networks.items()}
    rows[f"PCA-{COMPONENTS}"] = PCA(network_inputs(data, "train"), COMPONENTS).reconstruct(x).clamp(0, 1)
    names = [data.classes[int(y[i])] for i in places]
    figure = plots.reconstructions({name: images.numpy() for name, images in rows.items()}, names, "")
    return Plot("reconstructions", "Validation images and what comes back", figure)


@torch.no_grad()
def measure(study: Study, runs: Runs) -> DataFrame:
    """On the validation images PCA's PSNR, as it comes and cut to pixels from 0 to 1; of each network how sharp they
    come back, and the PSNR of letters in one piece less that of broken ones, the mean over classes."""
    done = runs.done()
    _, data = load_run(done["run"].iloc[0])
    x, y = network_inputs(data, "val"), data.splits["val"].y
    back = PCA(network_inputs(data, "train"), COMPONENTS).reconstruct(x)
    side = round(x[0].numel() ** 0.5)
    images, broken = x.reshape(-1, side, side), pieces(x.reshape(-1, side, side)) > 1
    both = [k for k in y.unique() if 0 < broken[y == k].sum() < (y == k).sum()]
    rows = []
    for hash_, run in zip(done["hash"], done["run"], strict=True):
        own = load_task(run)(x).reshape(images.shape)
        each = -10 * (own - images).square().flatten(1).mean(1).log10()
        gaps = [float(each[(y == k) & ~broken].mean() - each[(y == k) & broken].mean()) for k in both]
        pca = {"pca/psnr": psnr(back, x), "pca/psnr clipped": psnr(back.clamp(0, 1), x)}
        found = {"sharpness": sharpness(own, images), "broken/psnr gap": float(np.mean(gaps)) if both else np.nan}
        rows.append({"hash": hash_, **pca, **found, "broken": int(broken.sum())})
    return DataFrame(rows)


def pieces(images: Tensor) -> Tensor:
    """How many connected pieces of ink letters [N, H, W] have; ink is what is farther from the border's grey."""
    border = torch.cat([images[:, 0], images[:, -1], images[:, :, 0], images[:, :, -1]], 1).median(1).values
    ink = (images - border[:, None, None]).abs() > 0.5
    return torch.tensor([int(label(one.numpy(), connectivity=2).max()) for one in ink])


def psnr(back: Tensor, x: Tensor) -> float:
    """10·log10(1 / MSE) in dB, the mean over images in [0, 1]."""
    return float(-10 * (back - x).square().flatten(1).mean(1).log10().mean())


@check
def psnr_gap(table: DataFrame, of: Of, train: float, val: float) -> Verdict:
    """How far validation images are behind training images; train, val: as the report has them."""
    a, b = (aggregate(table, f"{split}/psnr", of) for split in ("train", "val"))
    gap = a.mean - b.mean
    said = "no, the same network" if gap < (train - val) / 2 else "it can: the same network"
    return answered(
        f"{said} loses {gap:.2f} dB from training images ({format_metric('psnr', a)}) to validation images "
        f"({format_metric('psnr', b)}); in the report it is {train - val:.1f} dB"
    )


@check
def against_pca(table: DataFrame, of: Of) -> Verdict:
    """Whether an autoencoder is at least as good as PCA with as many numbers, cut to the range of pixels."""
    ours, pca = aggregate(table, "val/psnr", of), aggregate(table, "pca/psnr clipped", of)
    said = "yes" if ours.mean >= pca.mean else "no"
    return answered(
        f"{said}: {format_metric('psnr', ours)} on the validation set, PCA-{COMPONENTS} "
        f"{format_metric('psnr', pca.mean)}"
    )


@check
def blurred(table: DataFrame, of: Of, sharp: float = 0.9) -> Verdict:
    """Reproduced where what comes back has less of the originals' sharpness, and broken letters come back worse than
    whole ones of the same class."""
    sharpness_, gap = aggregate(table, "sharpness", of), aggregate(table, "broken/psnr gap", of)
    number = int(require(table, "broken", of)["broken"].iloc[0])
    outcomes = [side(sharp - sharpness_.mean, interval(sharpness_)), side(gap.mean, interval(gap))]
    evidence = (
        f"{format_metric('accuracy', sharpness_)} of the energy of neighbouring pixels' differences come back; "
        f"{number} letters of more than one piece are {format_metric('psnr', gap)} worse than those in one piece"
    )
    return rule_each(outcomes, evidence, least_seeds([sharpness_, gap]))
