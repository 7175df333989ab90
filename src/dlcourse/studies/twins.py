"""Runs whose gradients are by hand beside the same runs with autograd: how far apart they end, and what each takes."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import pandas as pd
from pandas import DataFrame, Series
from torch import Tensor

from dlcourse.data.module import DataModule
from dlcourse.reports.formats import GAP, format_mean
from dlcourse.reports.page import Item, Plot, Table, Text
from dlcourse.reports.tables import PROTOCOL, read_history
from dlcourse.scratch.layers import Array
from dlcourse.studies.checks import check
from dlcourse.studies.report import page_items, study_module
from dlcourse.studies.runs import Runs, load_run
from dlcourse.studies.study import Study, load_study
from dlcourse.studies.verdict import MissingRunsError, Verdict, answered
from dlcourse.tasks import Task

HAND = "scratch"  # model.name of the runs by hand
SAME = 1e-6  # a difference up to this share is none: metrics are written with seven digits, the last of them rounded
EXAMPLES = 256  # whose gradient is compared
DISTANCES = ("metrics apart", "parts in", "weights apart", "gradients apart")
DIFFER = ("model.name", "model._target_")  # all that twins differ in, except for what they are called
SHOWN = {"test/loss": "test loss", "test/accuracy": "test accuracy", "test/psnr": "test PSNR, dB"}


def runs_by_hand(table: DataFrame) -> DataFrame:
    return table[table["model.name"] == HAND]


class Part(NamedTuple):
    """Blocks whose runs by hand are measured and shown as the study `COURSE/NAME` has its runs."""

    study: str
    heading: str
    blocks: Mapping[str, str]  # and what they are called
    measure: Callable[[Study, Runs], DataFrame] | None = None  # None: as that study does
    items: Callable[[Study, Runs], list[Item]] | None = None  # None: its page

    def runs(self, every: Runs) -> Runs:
        hand = runs_by_hand(every.table)
        return Runs(hand[hand["block"].isin(self.blocks)], every.folder)

    def measured(self, every: Runs) -> DataFrame:
        measure = self.measure or getattr(study_module(self.study), "measure", None)
        return measure(load_study(self.study), self.runs(every)) if measure else DataFrame(columns=["hash"])

    def page(self, every: Runs) -> list[Item]:
        return (self.items or page_items)(load_study(self.study), self.runs(every))


# --- what is measured ------------------------------------------------------------------------------------------------


def measure_twins(study: Study, runs: Runs, parts: Sequence[Part]) -> DataFrame:
    """Of each run by hand what the studies of its part measure, and how far it is from its twin.

    metrics apart: the largest relative difference of any metric of any epoch. weights apart: the largest difference of
    a weight that is kept, as a share of the largest. parts in: the first epoch whose metrics aren't the same.
    gradients apart: as the weights, of both ways to the gradient of some examples, at the weights by hand.
    """
    rows = []
    for hand, twin in pair_twins(runs.table):
        epochs = metrics_apart(read_history(hand["run"]), read_history(twin["run"]))
        (task, data), (other, _) = load_run(hand["run"]), load_run(twin["run"])
        weights_apart = relative_distance(concatenate(task.parameters()), concatenate(other.parameters()))
        other.load_state_dict(task.state_dict())
        rows.append(
            {
                "hash": hand["hash"],
                "metrics apart": epochs.max(),
                "parts in": epochs.index[epochs > SAME].min(),
                "weights apart": weights_apart,
                "gradients apart": relative_distance(gradient(task, data), gradient(other, data)),
            }
        )
    distance = DataFrame(rows, columns=["hash", *DISTANCES])
    known = [part for part in parts if len(part.runs(runs).done())]
    found = [part.measured(runs) for part in known]
    names = {block: name for part in parts for block, name in part.blocks.items()}
    called = DataFrame({"hash": runs.done()["hash"], "network": network_names(study, runs.done(), names)})
    return called.merge(distance, how="left").merge(pd.concat([called[["hash"]].iloc[:0], *found]), how="left")


def pair_twins(table: DataFrame) -> list[tuple[Series, Series]]:
    """The finished runs by hand, each with its twin, which differs from it in who computes the gradients alone."""
    done = table[table["status"] == "done"]
    same = ["block", "seed", *(c for c in map(str, done) if c.startswith(PROTOCOL) and c not in DIFFER)]
    key = done[same].map(str).agg("\n".join, axis=1)
    found = [rows.sort_values("model.name", key=lambda name: name != HAND) for _, rows in done.groupby(key, sort=False)]
    return [(rows.iloc[0], rows.iloc[1]) for rows in found if len(rows) == 2]


def concatenate(tensors: Iterable[Tensor]) -> Array:
    return np.concatenate([t.detach().numpy().ravel() for t in tensors])


def gradient(task: Task, data: DataModule) -> Array:
    """The gradient that a step of a task takes of the first training examples, in the precision of its weights."""
    x, y = (values[:EXAMPLES] for values in data.splits["train"].all())
    task.backward(task.training_step((data.transform(x).to(next(task.parameters()).dtype), y), 0))
    return concatenate(p.grad for p in task.parameters() if p.grad is not None)


def relative_distance(a: Array, b: Array) -> float:
    """The largest |a - b|, as a share of the largest |b|."""
    return float(distances(a, b, np.abs(b).max()).max())


def metrics_apart(past: DataFrame, other: DataFrame) -> Series:
    """Of each epoch the largest relative difference of a metric; infinite where one history has no such epoch."""
    ours, theirs = (read.set_index("epoch").filter(like="/") for read in (past, other))
    ours, theirs = ours.align(theirs)
    a, b = ours.to_numpy(), theirs.to_numpy()
    return Series(distances(a, b, np.maximum(np.abs(a), np.abs(b))).max(axis=1), ours.index)


def distances(a: Array, b: Array, scale: Array | float) -> Array:
    """|a - b| / scale; 0 where neither is a number, infinite where one alone is."""
    with np.errstate(divide="ignore", invalid="ignore"):
        gaps = np.nan_to_num(np.abs(a - b) / scale, nan=np.inf, posinf=np.inf)
    return np.where((a == b) | (np.isnan(a) & np.isnan(b)), 0.0, gaps)


# --- what is shown ---------------------------------------------------------------------------------------------------


def twins_page(study: Study, runs: Runs, parts: Sequence[Part]) -> list[Item]:
    """All runs beside their twins, then of each part those by hand, as its own study shows its runs."""
    items = compare_twins(runs.done())
    for part in parts:
        if len(part.runs(runs).done()):
            items.append(Text(f"## {part.heading}"))
            for item in part.page(runs):  # figures of two studies may be called the same
                prefix = part.study.rpartition("/")[2]
                items.append(replace(item, name=f"{prefix}_{item.name}") if isinstance(item, Plot) else item)
    return items


def compare_twins(done: DataFrame) -> list[Item]:
    """Two tables: what twins reach, and how far apart they are."""
    reached, distance = [], []
    for name, rows in done.groupby("network", sort=False):
        hand, autograd = runs_by_hand(rows), rows[rows["model.name"] != HAND]
        for metric, title in SHOWN.items():
            if metric in rows and rows[metric].notna().any():
                values = [format_mean(r[metric].mean(), r[metric].std()) for r in (hand, autograd)]
                reached.append({"network": name, "metric": title, "by hand": values[0], "autograd": values[1]})
        distance.append(
            {
                "network": name,
                "metrics apart": format_distance(hand["metrics apart"].max()),
                "weights apart": format_distance(hand["weights apart"].max()),
                "gradients apart": format_distance(hand["gradients apart"].max()),
                "parts in epoch": format_epochs(hand),
                "seconds by hand": format_mean(hand["train_seconds"].mean(), digits=1),
                "seconds, autograd": format_mean(autograd["train_seconds"].mean(), digits=1),
                "pairs": int(hand["metrics apart"].notna().sum()),
            }
        )
    note = (
        "Metrics: the largest relative difference of any metric at any epoch; up to 1e-6 it is none, since they are "
        "written with seven digits. Weights: the largest difference of a weight that is kept, as a share of the "
        "largest; gradients likewise, both at the weights by hand. Parts in epoch: the first that has a difference, of "
        "each pair. Seconds: of training, the mean."
    )
    return [
        Table("By hand beside autograd", DataFrame(reached), "± over runs."),
        Table("How far apart they are, and how long they take", DataFrame(distance), note),
    ]


def network_names(study: Study, table: DataFrame, names: Mapping[str, str]) -> Series:
    """A name for the block of each run and the values that are swept in it, seeds aside: `NIST36, lr 0.09`."""

    def name(row: Series) -> str:
        swept = [k for k, v in study.blocks[row["block"]].items() if isinstance(v, list)]
        values = {k.rpartition(".")[2]: row[k] for k in swept if k not in ("experiment", "seed")}
        texts = [f"{k} {v:g}" if isinstance(v, float) else f"{k} {v}" for k, v in values.items()]
        return ", ".join([names[row["block"]], *texts])

    return table.apply(name, axis=1)


def format_epochs(hand: DataFrame) -> str:
    """The epochs in which runs by hand part from their twins: `4, 5`."""
    return ", ".join(f"{epoch:.0f}" for epoch in hand["parts in"].dropna()) or GAP


def format_distance(value: float) -> str:
    return GAP if math.isnan(value) else f"{value:.1e}" if value else "0"


# --- what is asked ---------------------------------------------------------------------------------------------------


@check
def together(table: DataFrame) -> Verdict:
    """Do gradients by hand lead where autograd's lead? Where no metric of any epoch and no weight is different."""
    hand, autograd = runs_by_hand(table), table[table["model.name"] != HAND]
    if "metrics apart" not in hand or not len(hand) or hand["metrics apart"].isna().any():
        raise MissingRunsError("not every run by hand has its twin")
    is_same = hand[["metrics apart", "weights apart"]].max(axis=1) <= SAME
    same, others = hand[is_same], hand[~is_same]
    said = "not always" if len(same) and len(others) else "no" if len(others) else "yes"
    texts = [f"in {len(same)} of {len(hand)} pairs of runs they are the same"]
    if len(same):
        texts[0] += (
            f", the metrics of each epoch up to {format_distance(same['metrics apart'].max())}, the weights in the end "
            f"up to {format_distance(same['weights apart'].max())} (as shares)"
        )
    texts += [f"{name} parts in epoch {format_epochs(rows)}" for name, rows in others.groupby("network", sort=False)]
    seconds = hand["train_seconds"].sum() / autograd["train_seconds"].sum()
    return answered(
        f"{said}: {'; '.join(texts)}; at the same weights both ways give the same gradient up to a share of "
        f"{format_distance(hand['gradients apart'].max())}; training by hand takes {seconds:.2f} times as long"
    )
