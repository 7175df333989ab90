"""Question 2: autoencoders, what PCA with as many numbers does, and a classifier on the codes."""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pandas import DataFrame, Series
from torch import Tensor

from dlcourse import plots
from dlcourse.data.module import DataModule
from dlcourse.data.splitting import SPLITS
from dlcourse.reports.formats import format_mean, format_percent
from dlcourse.reports.page import Plot
from dlcourse.runs import read_config
from dlcourse.studies.checks import check
from dlcourse.studies.images import copied, roughness, sharpness
from dlcourse.studies.items import sample, weight_images
from dlcourse.studies.pca import PCA
from dlcourse.studies.rules import least_seeds, rule_each, side
from dlcourse.studies.runs import Runs, load_run, network_inputs
from dlcourse.studies.samples import aggregate, aggregate_by, format_metric, interval, select
from dlcourse.studies.study import Study
from dlcourse.studies.verdict import MissingRunsError, Verdict, answered, decide
from dlcourse.training.loading import build_data, load_task

CODERS = {"block": "autoencoder"}


def first_known(table: DataFrame, *columns: str) -> "Series[Any]":
    """For each row the first of some columns that has a value there; a classifier has its encoder's as `encoder.`"""
    return table.reindex(columns=list(columns)).astype(object).bfill(axis=1).iloc[:, 0]


def derive(table: DataFrame) -> DataFrame:
    """With the column `units`: how many numbers a code has."""
    widths = first_known(table, "encoder.model.net.widths", "model.net.widths", "data.encoder")
    return table.assign(units=widths.astype(str).str.extract(r"(\d+)$", expand=False).astype(int))


@torch.no_grad()
def measure(study: Study, runs: Runs) -> DataFrame:
    """Of each autoencoder: what as many principal components do on the same images, and what comes back of pictures.

    PCA loss: the mean squared error. sharpness: of test images that come back. copied: the share of the variance that
    comes back of the other five digits, and of uniform noise. roughness: of the weight images of the first layer.
    """
    done = select(runs.done(), CODERS)
    if not len(done):
        return DataFrame(columns=["hash"])
    _, data = load_run(done["run"].iloc[0])
    images, rows, pca_errors = {split: network_inputs(data, split) for split in SPLITS}, [], {}
    others = other_digits(done["run"].iloc[0])
    noise = torch.rand(1000, others[0].numel(), generator=torch.Generator().manual_seed(0)).reshape(
        -1, *others.shape[1:]
    )
    for units in done["units"].unique():
        pca = PCA(images["train"], units)
        pca_errors[units] = {
            f"{split}/PCA loss": float((pca.reconstruct(x) - x).square().mean()) for split, x in images.items()
        }
    for _, row in done.iterrows():
        task, x = load_task(row["run"]), images["test"]
        weights = weight_images(task.net)
        rows.append(
            {"hash": row["hash"], **pca_errors[row["units"]]}
            | {"sharpness": sharpness(*(v.reshape(-1, *weights.shape[1:]) for v in (task(x), x)))}
            | {"copied/other digits": copied(task(others), others), "copied/noise": copied(task(noise), noise)}
            | {"roughness": roughness(weights)}
        )
    return DataFrame(rows)


def other_digits(run: Path) -> Tensor:
    """The training images of the digits that a run's data leave out, as its network would see them."""
    plain = read_config(run)
    plain["data"]["classes_kept"] = sorted(set(range(10)) - set(plain["data"]["classes_kept"]))
    data = build_data(plain)
    data.prepare()
    return network_inputs(data, "train")


# --- the page --------------------------------------------------------------------------------------------------------


def errors(study: Study, runs: Runs) -> Plot:
    """The errors by width; black lines are those of the published table `results`."""
    groups = dict(iter(select(runs.table, CODERS).groupby("units")))
    published = study.published["results"].set_index("units").reindex(list(groups))
    figure = plots.bars(
        [str(units) for units in groups],
        {split: [sample(rows, f"{split}/loss").mean for rows in groups.values()] for split in SPLITS},
        title="Mean squared error a pixel",
        x_label="units",
        y_label="MSE",
        number="",
        published={split: published[f"{split}/loss"].tolist() for split in ("train", "val")},
    )
    return Plot("errors", "Average reconstruction error after training", figure, "Black lines: published.")


@torch.no_grad()
def reconstructions(study: Study, runs: Runs, widths: Sequence[int], pca: int = 64) -> list[Plot]:
    """One test image of each class, as it is, and as it comes back through codes of several widths and PCA's."""
    rows: dict[str, plots.Array] = {}
    names: list[str] = []
    for units, group in select(runs.done(), {**CODERS, "units": list(widths)}).groupby("units"):
        task, data = load_run(group["run"].iloc[0])
        x, names = one_of_each(data, "test")
        rows.setdefault("original", x.numpy())
        rows[f"{units} units"] = np.clip(task(x).numpy(), 0, 1)
        if units == pca:
            back = PCA(network_inputs(data, "train"), pca).reconstruct(x)
            rows[f"PCA, {pca}"] = np.clip(back.numpy(), 0, 1)
    title = "Original and reconstructed, one of each class"
    return [Plot("reconstructions", title, plots.reconstructions(rows, names))] if rows else []


def one_of_each(data: DataModule, split: str) -> tuple[Tensor, list[str]]:
    """The first image of each class of a split, as the network sees it, and the classes' names."""
    examples = data.splits[split]
    first = [int((examples.y == k).nonzero()[0]) for k in range(len(data.classes)) if (examples.y == k).any()]
    x, y = examples.__getitems__(torch.tensor(first))
    return data.transform(x), [data.classes[int(k)] for k in y]


# --- claims ----------------------------------------------------------------------------------------------------------


@check
def abrupt_rise(table: DataFrame, units: int) -> Verdict:
    """Whether the step up to a width is the largest gain in test accuracy between neighbouring widths."""
    samples = aggregate_by(table, "test/accuracy", "units", {"block": "classifier"}, complete=True)
    gains = {b: samples[b].mean - samples[a].mean for a, b in pairwise(sorted(samples))}
    if units not in gains:
        raise MissingRunsError(f"no finished classifier on {units} units, or on no fewer")
    listed = ", ".join(f"to {b}: {100 * gain:+.2f}" for b, gain in gains.items())
    return decide(max(gains, key=lambda b: gains[b]) == units, f"gain in test accuracy, in points: {listed}")


@check
def above_validation(table: DataFrame, units: int, published: Sequence[float], tolerance: float = 0.1) -> Verdict:
    """Whether the test error is further above the validation error than 10 %: neither set is trained on.

    published: the report's test and validation errors.
    """
    test, val = (aggregate(table, f"{split}/loss", {**CODERS, "units": units}).mean for split in ("test", "val"))
    ours = f"test MSE {format_mean(test, None, 5)}, validation {format_mean(val, None, 5)}: {test / val:.2f} times"
    return decide(test / val > 1 + tolerance, f"{ours}; published {published[0] / published[1]:.2f} times")


@check
def against_pca(table: DataFrame) -> Verdict:
    """Where the autoencoder's test error is below that of as many principal components, and whose codes are better."""
    ours, pca = (aggregate_by(table, f"test/{name}", "units", CODERS) for name in ("loss", "PCA loss"))
    widths = [k for k in ours if k < 784 and k in pca]
    if not widths:
        raise MissingRunsError("no finished autoencoder")
    listed = ", ".join(
        f"{k}: {format_mean(ours[k].mean, None, 5)} ({format_mean(pca[k].mean, None, 5)})" for k in widths
    )
    below = ", ".join(str(k) for k in widths if ours[k].mean < pca[k].mean)
    evidence = f"test MSE, PCA's in brackets: {listed}; below PCA's with {below or 'no width'}"
    code, components = (aggregate_by(table, "test/accuracy", "units", {"block": b}) for b in ("classifier", "pca"))
    both = [
        f"{k}: {format_percent(code[k].mean)} ({format_percent(components[k].mean)})" for k in code if k in components
    ]
    return answered(f"{evidence}. Test accuracy on the codes in %: {', '.join(both)}" if both else evidence)


@check
def copies(table: DataFrame, least_units: int, share: float) -> Verdict:
    """Reproduced where networks with so many units give back at least that share of the variance of any picture: of
    digits that they were not trained on, and of noise. One that learned to draw digits gives back less of noise."""
    samples, texts = [], []
    for kind in ("other digits", "noise"):
        found = aggregate_by(table, f"copied/{kind}", "units", CODERS, complete=True)
        samples += [s for units, s in found.items() if units >= least_units]
        each = ", ".join(f"{units}: {format_metric('accuracy', s)}" for units, s in found.items())
        texts.append(f"{kind} {each}")
    if not samples:
        raise MissingRunsError(f"no finished autoencoder with {least_units} units or more")
    evidence = f"share of the variance that comes back, by units: {'; '.join(texts)}"
    return rule_each([side(s.mean - share, interval(s)) for s in samples], evidence, least_seeds(samples))
