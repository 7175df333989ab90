"""Figures over seeds: which runs they are of, their mean and deviation, and how they are written."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from pandas import DataFrame
from scipy.special import stdtrit

from dlcourse.reports.formats import GAP, format_mean, format_percent
from dlcourse.reports.tables import refuse_other_protocol
from dlcourse.studies.verdict import MissingRunsError
from dlcourse.tasks.task import mode_of

Of = Mapping[str, Any]
"""Which runs: {column: value}, or {column: [value, ...]}; `{}` is all."""

BETTER, EQUAL, WORSE = 1, 0, -1
SHARES = ("accuracy", "precision", "recall", "f1", "share")  # written in percent


LOWER = ("epochs", "seconds", "minutes", "gap", "jumps", "rises")  # besides losses and errors: better where smaller


def mode(metric: str) -> str:
    """`min` for what is better where it is smaller, else `max`."""
    return "min" if metric.endswith(LOWER) or metric.startswith("epochs to") else mode_of(metric)


class Sample(NamedTuple):
    """A metric over n seeds: sd is NaN for one run, mean too for none."""

    mean: float
    sd: float = math.nan
    n: int = 0


def select(table: DataFrame, of: Of) -> DataFrame:
    """The rows of a table whose columns have these values."""
    keep = pd.Series(True, index=table.index)
    for key, value in of.items():
        if key not in table:
            return table.iloc[:0]
        keep &= table[key].isin(value) if isinstance(value, list | tuple) else table[key] == value
    return table[keep]


def describe(of: Of) -> str:
    """`block cnn, optimizer.lr 0.1`"""
    return ", ".join(f"{key} {' or '.join(map(str, v)) if isinstance(v, list | tuple) else v}" for key, v in of.items())


def require(table: DataFrame, metric: str, of: Of | None = None) -> DataFrame:
    """The runs that have a metric. Raises MissingRunsError where none has."""
    rows = select(table, of or {})
    rows = rows[rows[metric].notna()] if metric in rows else rows.iloc[:0]
    if not len(rows):
        raise MissingRunsError(f"no finished run with {describe(of)}" if of else f"no finished run has {metric}")
    return rows


def aggregate(
    table: DataFrame, metric: str, of: Of | None = None, complete: bool = False, free: Sequence[str] = ()
) -> Sample:
    """Mean and standard deviation of a metric over runs that differ in nothing but the seed (and the columns `free`).

    complete: every planned run has to be there. Raises MissingRunsError where no run (or not every one) has the metric,
    InputError where runs differ in more than that.
    """
    rows = require(table, metric, of)
    if complete and len(rows) < len(select(table, of or {})):
        raise MissingRunsError(f"a run with {describe(of or {})} is missing")
    refuse_other_protocol(rows, (*(of or {}), *free))
    values = pd.to_numeric(rows[metric])
    sd = float(values.std()) if np.isfinite(values).all() else math.nan  # epochs to what is never reached
    return Sample(float(values.mean()), sd, len(values))


def aggregate_by(
    table: DataFrame, metric: str, by: str, of: Of | None = None, complete: bool = False
) -> dict[Any, Sample]:
    """A sample for each value of a column, in the order in which they come; values without a finished run are left out.

    complete: raises MissingRunsError for those instead.
    """
    rows, samples = select(table, of or {}), {}
    for value in rows[by].dropna().unique() if by in rows else ():
        try:
            samples[value] = aggregate(rows, metric, {by: value}, complete)
        except MissingRunsError:
            if complete:
                raise
    return samples


def interval(*samples: Sample) -> float:
    """Half of the 95 % interval of a mean, or of the difference of two.

    Student's t, with the degrees of freedom of the smallest sample (so that more noise never makes an interval
    narrower). A single run says nothing of its noise and adds none: 0 where there is no other.
    """
    repeated = [s for s in samples if s.n > 1 and not math.isnan(s.sd)]
    if not repeated:
        return 0.0
    error = math.hypot(*(s.sd / math.sqrt(s.n) for s in repeated))
    return float(stdtrit(min(s.n for s in repeated) - 1, 0.975)) * error


def lead(a: Sample, b: Sample | float, metric: str) -> tuple[float, float]:
    """By how much a is better than b, and half of the interval of that."""
    other = b if isinstance(b, Sample) else Sample(float(b))
    ahead = 0.0 if a.mean == other.mean else a.mean - other.mean  # of two infinities there is no difference
    return ahead * (1 if mode(metric) == "max" else -1), interval(a, other)


def compare(a: Sample, b: Sample, metric: str) -> int:
    """BETTER or WORSE where a is so by more than the noise (see `interval`), else EQUAL."""
    ahead, noise = lead(a, b, metric)
    return int(np.sign(ahead)) if abs(ahead) > noise else EQUAL


def format_metric(metric: str, value: Sample | float, digits: int | None = None) -> str:
    """`70.96 ± 0.40 % (3 runs)`, in the metric's unit, with as many digits as it needs; digits: where it has none."""
    mean, sd, n = value if isinstance(value, Sample) else Sample(float(value))
    if math.isnan(mean):
        return GAP
    if math.isinf(mean):
        return "never" + (f" ({n:.0f} runs)" if n > 1 else "")
    if metric.endswith(SHARES):
        text = f"{format_percent(mean, sd)} %"
    elif metric.endswith("accuracy gap"):
        text = f"{format_percent(mean, sd)} points"
    elif "psnr" in metric:
        text = f"{format_mean(mean, sd, 2)} dB"
    elif metric.endswith("epochs") or metric.startswith("epochs to"):
        text = format_mean(mean, sd or math.nan, 0 if metric.endswith("epochs") else 1)
    elif metric.endswith(("minutes", "seconds")):
        text = format_mean(mean, sd, 1)
    else:
        text = format_mean(mean, sd, digits or (2 if abs(mean) >= 10 else 4 if abs(mean) >= 0.02 else 5))
    return f"{text} ({n:.0f} runs)" if n > 1 else text


def metric_label(metric: str) -> str:
    """`val/accuracy` as `validation accuracy`."""
    stage, _, name = metric.rpartition("/")
    stage = {"val": "validation", "train": "training"}.get(stage, stage)
    return f"{stage} {name}".strip().replace("psnr", "PSNR").replace("mse", "MSE").replace("_", " ")
