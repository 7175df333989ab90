"""Columns that a study's YAML asks for under `measures:`, each a figure of one run: of its row, or of its epochs.

`measures: {epochs to half: {epochs_to: {metric: train/accuracy, value: 0.5}}}` gives the column `epochs to half`, which
checks and tables use like any metric.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from pandas import DataFrame

from dlcourse.tasks.task import mode_of

Row = Mapping[str, Any]


def epochs_to(row: Row, history: DataFrame, metric: str, value: float) -> float:
    """The first epoch in which a metric is as good as a value; infinity where it never is."""
    good = history[metric] >= value if mode_of(metric) == "max" else history[metric] <= value
    return float(history["epoch"][good].iloc[0]) if good.any() else math.inf


def difference(row: Row, history: DataFrame, first: str, second: str) -> float:
    """One figure of the run less another, as its training accuracy less that on the test set."""
    return float(row[first]) - float(row[second])


def rises(row: Row, history: DataFrame, metric: str, share: bool = False) -> float:
    """In how many epochs a metric is higher than in the one before, or in which share of them."""
    risen = np.diff(history[metric]) > 0
    if not share:
        return float(risen.sum())
    return float(risen.mean()) if len(risen) else math.nan


def jumps(row: Row, history: DataFrame, metric: str, last: int | None = None) -> float:
    """The standard deviation of a metric's changes from epoch to epoch, of the last so many epochs or of all."""
    changes = np.diff(history[metric])
    return float(np.std(changes if last is None else changes[-last:])) if len(changes) else math.nan


def end_share(row: Row, history: DataFrame, metric: str, share: float = 0.1) -> float:
    """What the last share of the epochs contributes to a metric's whole change."""
    values = history[metric].to_numpy()
    change = values[-1] - values[0]
    at = len(values) - 1 - max(1, round(share * len(values)))
    return float((values[-1] - values[at]) / change) if change else math.nan


def share_above(row: Row, history: DataFrame, first: str, second: str, last: float = 1.0) -> float:
    """In what share of the epochs, or of the last share of them, one metric is above another."""
    above = (history[first] > history[second])[(history[[first, second]].notna()).all(axis=1)]
    return float(above.tail(max(1, round(last * len(above)))).mean())


def late_change(row: Row, history: DataFrame, metric: str, share: float = 0.2) -> float:
    """By how much a metric's mean over the last share of the epochs differs from that over as many before; as a share
    of its whole change since the first epoch."""
    values = history[metric].to_numpy(float)
    n = max(1, round(share * len(values)))
    if len(values) < 2 * n:
        return math.nan
    last, before = values[-n:].mean(), values[-2 * n : -n].mean()
    return float((last - before) / (last - values[0])) if last != values[0] else 0.0


FUNCTIONS = (epochs_to, difference, rises, jumps, end_share, share_above, late_change)
MEASURES: dict[str, Callable[..., float]] = {function.__name__: function for function in FUNCTIONS}


def measured(wanted: Mapping[str, Mapping[str, Mapping[str, Any]]], row: Row, history: DataFrame) -> dict[str, float]:
    """The columns of a run; those of metrics that it does not have are missing."""
    found = {}
    for column, entry in wanted.items():
        ((name, arguments),) = entry.items()
        used = [value for value in arguments.values() if isinstance(value, str)]
        if all(metric in row or metric in history for metric in used):
            found[column] = MEASURES[name](row, history, **arguments)
    return found
