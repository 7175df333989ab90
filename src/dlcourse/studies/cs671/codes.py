"""Question 2: autoencoders, what PCA with as many numbers does, and a classifier on the codes."""

from collections.abc import Sequence
from itertools import pairwise
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
from dlcourse.studies.checks import check
from dlcourse.studies.items import sample
from dlcourse.studies.pca import PCA
from dlcourse.studies.runs import Runs, load_run, network_inputs
from dlcourse.studies.samples import aggregate, aggregate_by, select
from dlcourse.studies.study import Study
from dlcourse.studies.verdict import MissingRunsError, Verdict, answered, decide

CODERS = {"block": "autoencoder"}


def first_known(table: DataFrame, *columns: str) -> "Series[Any]":
    """For each row the first of some columns that has a value there; a classifier has its encoder's as `encoder.`"""
    return table.reindex(columns=list(columns)).astype(object).bfill(axis=1).iloc[:, 0]


def derive(table: DataFrame) -> DataFrame:
    """With the column `units`: how many numbers a code has."""
    widths = first_known(table, "encoder.model.net.widths", "model.net.widths", "data.encoder")
    return table.assign(units=widths.astype(str).str.extract(r"(\d+)$", expand=False).astype(int))


def measure(study: Study, runs: Runs) -> DataFrame:
    """The mean squared error of as many principal components as the code has numbers, of the same images."""
    done = select(runs.done(), CODERS)
    if not len(done):
        return DataFrame(columns=["hash"])
    _, data = load_run(done["run"].iloc[0])
    images, rows = {split: network_inputs(data, split) for split in SPLITS}, []
    for units in done["units"].unique():
        pca = PCA(images["train"], units)
        errors = {f"{split}/PCA loss": float((pca.reconstruct(x) - x).square().mean()) for split, x in images.items()}
        rows += [{"hash": hash_} | errors for hash_ in done.loc[done["units"] == units, "hash"]]
    return DataFrame(rows)


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
