"""Learning rates of gradient descent on MNIST."""

from collections.abc import Sequence

import numpy as np
from pandas import DataFrame, Series

from dlcourse.reports.formats import format_percent
from dlcourse.reports.tables import read_history
from dlcourse.studies.checks import check
from dlcourse.studies.runs import Runs
from dlcourse.studies.samples import require
from dlcourse.studies.study import Study
from dlcourse.studies.verdict import MissingRunsError, Verdict, decide, refuted

COLLAPSED = 0.2  # an accuracy below it is no better than guessing: the largest of ten classes has 11.35 %


def measure(study: Study, runs: Runs) -> DataFrame:
    """What a run's epochs tell.

    first, lowest, highest/accuracy: of the test set after the first epoch, and over all. rise: what the second half of
    the epochs added to it. collapsed: the epoch from which it is no better than guessing to the end. no number
    from/epochs: the first whose training loss is no number.
    """
    rows = []
    for _, row in runs.done().iterrows():
        history = read_history(row["run"])
        accuracy, epochs = history["val/accuracy"], history["epoch"]
        above = np.flatnonzero(accuracy >= COLLAPSED)
        collapsed = int(above[-1]) + 1 if len(above) else 0
        broken = np.flatnonzero(~np.isfinite(history["train/loss"]))
        rows.append(
            {
                "hash": row["hash"],
                "first": accuracy.iloc[0],
                "lowest": accuracy.min(),
                "highest/accuracy": accuracy.max(),
                "rise": accuracy.iloc[-1] - accuracy.iloc[len(accuracy) // 2 - 1],
                "collapsed": epochs.iloc[collapsed] if collapsed < len(epochs) else np.nan,
                "no number from/epochs": epochs.iloc[broken[0]] if len(broken) else np.nan,
            }
        )
    return DataFrame(rows).drop_duplicates("hash")


def run_at(table: DataFrame, network: str, lr: float) -> Series:
    """The run at one learning rate. Raises MissingRunsError where it isn't there."""
    rows = require(table, "lowest", {"block": network})
    rows = rows[np.isclose(rows["optimizer.lr"].astype(float), lr) & rows["test/accuracy"].notna()]
    if not len(rows):
        raise MissingRunsError(f"run missing: {network} at the rate {lr:g}")
    return rows.iloc[0]


def divergence(run: Series) -> str:
    epoch = run["no number from/epochs"]
    text = f"; the loss is NaN from epoch {epoch:.0f} on, and NaN scores make every image a 0"
    return "" if np.isnan(epoch) else text


@check
def no_convergence(table: DataFrame, network: str, lr: float) -> Verdict:
    """Reproduced where the accuracy is no better than guessing in the end."""
    run = run_at(table, network, lr)
    accuracy = run["test/accuracy"]
    return decide(accuracy < COLLAPSED, f"test accuracy {format_percent(accuracy)} %{divergence(run)}")


@check
def slow(table: DataFrame, network: str, lr: float) -> Verdict:
    """Reproduced where the last epoch is not where the best rate is after its first."""
    run, rows = run_at(table, network, lr), require(table, "test/accuracy", {"block": network})
    best = rows.iloc[int(rows["test/accuracy"].argmax())]
    return decide(
        run["test/accuracy"] < best["first"],
        f"test accuracy {format_percent(run['test/accuracy'])} % after {run['epochs']:.0f} epochs, where the rate "
        f"{best['optimizer.lr']:g} has {format_percent(best['first'])} % after the first",
    )


@check
def keeps_rising(table: DataFrame, network: str, rates: Sequence[float]) -> Verdict:
    """Reproduced where there is more test accuracy at the end than at half of the epochs."""
    found = [run_at(table, network, lr) for lr in rates]
    texts = [f"{lr:g} by {100 * run['rise']:+.2f} points" for lr, run in zip(rates, found, strict=True)]
    epochs = max(int(run["epochs"]) for run in found)
    evidence = f"test accuracy from epoch {epochs // 2} to {epochs} changes at the rate {', '.join(texts)}"
    return decide(all(run["rise"] > 0 for run in found), evidence)


@check
def drops(table: DataFrame, network: str, lr: float, epoch: int) -> Verdict:
    """Reproduced where the accuracy falls below 1 % within ten epochs of one."""
    run = run_at(table, network, lr)
    end = format_percent(run["test/accuracy"])
    if np.isnan(run["collapsed"]):
        if run["epochs"] < epoch + 10:
            raise MissingRunsError(f"no drop in {run['epochs']:.0f} epochs, the report's is around epoch {epoch}")
        return refuted(f"no drop in {run['epochs']:.0f} epochs: test accuracy {end} % at the end")
    evidence = f"it drops at epoch {run['collapsed']:.0f}, to {end} %{divergence(run)}"
    return decide(abs(run["collapsed"] - epoch) <= 10 and run["test/accuracy"] < 0.01, evidence)


@check
def constant_zero(table: DataFrame, network: str, lr: float) -> Verdict:
    """Reproduced where the accuracy is one value below 1 % in all epochs."""
    run = run_at(table, network, lr)
    lowest, highest = run["lowest"], run["highest/accuracy"]
    constant = lowest == highest
    level = format_percent(lowest) if constant else f"{format_percent(lowest)} to {format_percent(highest)}"
    evidence = f"{'constant' if constant else 'not constant'}, at {level} %{divergence(run)}"
    return decide(bool(constant and highest < 0.01), evidence)
