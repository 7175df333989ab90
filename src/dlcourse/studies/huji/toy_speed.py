"""Speed and starts of the linear model and the convnet on three functions."""

from collections.abc import Sequence

import numpy as np
from pandas import DataFrame

from dlcourse.reports.page import Table
from dlcourse.studies.checks import check
from dlcourse.studies.runs import Runs
from dlcourse.studies.samples import require
from dlcourse.studies.study import Study
from dlcourse.studies.verdict import Verdict, decide

STEPS = 5  # of an epoch here
SPREAD = 1.05  # the largest of some losses as a multiple of the smallest: up to it they are one optimum


def losses(table: DataFrame, model: str, function: str, column: str = "train/loss") -> np.ndarray:
    return require(table, column, {"block": model, "data.function": function})[column].to_numpy(dtype=float)


def reached(function: str) -> str:
    """The column that says when a loss of 1 % of the variance of a function's targets was reached."""
    return f"epochs to zero on {function}"


def by_start(study: Study, runs: Runs) -> Table:
    """How many starts of each model get to zero on each function, and how far apart they end."""
    done, rows = runs.done(), []
    for (block, function), part in done.groupby(["block", "data.function"], sort=False):
        epochs, ends = (part[column].to_numpy(dtype=float) for column in (reached(str(function)), "train/loss"))
        there = np.isfinite(epochs)
        rows.append(
            {
                "model": study.label(block),
                "function": function,
                "starts": len(part),
                "at zero": int(there.sum()),
                "steps to it, median": float(np.median(STEPS * epochs[there])) if there.any() else np.nan,
                "lowest loss": ends.min(),
                "median": float(np.median(ends)),
                "highest": ends.max(),
            }
        )
    note = "At zero: a training loss of at most 1 % of the variance of the targets."
    return Table("What the starts lead to", DataFrame(rows), note)


@check
def slower_to_zero(table: DataFrame, function: str, first: str, second: str) -> Verdict:
    """Reproduced where the first model gets to zero from most starts, and its median start later than the second's."""
    a, b = (losses(table, model, function, reached(function)) * STEPS for model in (first, second))
    there, middles = [np.isfinite(x).sum() for x in (a, b)], [float(np.median(x)) for x in (a, b)]
    texts = [
        f"{model}: {n} of {len(x)} starts, the median after {'never' if np.isinf(middle) else f'{middle:g} steps'}"
        for model, n, x, middle in zip((first, second), there, (a, b), middles, strict=True)
    ]
    holds = there[0] > len(a) / 2 and middles[0] > middles[1]
    return decide(bool(holds), f"at zero on {function}: {'; '.join(texts)}")


@check
def goes_to_zero(table: DataFrame, model: str, functions: Sequence[str]) -> Verdict:
    """Reproduced where most of the starts get to zero on each function."""
    found = {function: np.isfinite(losses(table, model, function, reached(function))) for function in functions}
    listed = ", ".join(f"{function} {there.sum()} of {len(there)}" for function, there in found.items())
    return decide(all(there.mean() > 0.5 for there in found.values()), f"starts at zero in the end: {listed}")


@check
def depends_on_start(table: DataFrame, first: str, second: str) -> Verdict:
    """Reproduced where the first model's starts end apart on some function, and the second's together on each."""
    functions = require(table, "train/loss")["data.function"].unique()
    spreads = {
        model: {f: float(np.divide(*np.flip(np.sort(losses(table, model, f))[[0, -1]]))) for f in functions}
        for model in (first, second)
    }
    texts = [
        f"{model} {', '.join(f'{f} {ratio:.3g}' for f, ratio in found.items())}" for model, found in spreads.items()
    ]
    holds = max(spreads[first].values()) > 2 and max(spreads[second].values()) <= SPREAD
    return decide(holds, f"highest loss as a multiple of the lowest, over starts: {'; '.join(texts)}")


@check
def settles_on_test_only(table: DataFrame, block: str, functions: Sequence[str], still: float = 0.01) -> Verdict:
    """Reproduced where on each function the test loss has stopped changing and the training loss has not.

    It has stopped where the mean of the last fifth of the steps differs from that of the fifth before by less than
    1 % of the whole change.
    """
    outcomes, texts = [], []
    for function in functions:
        row = require(table, "late change/test", {"block": block, "data.function": function}).iloc[0]
        train, test = (float(row[f"late change/{split}"]) for split in ("train", "test"))
        outcomes.append(abs(test) < still <= abs(train))
        texts.append(f"{function}: train {100 * train:+.2f} %, test {100 * test:+.2f} %")
    return decide(all(outcomes), f"change between the last two fifths, as a share of the whole: {'; '.join(texts)}")
