"""Five optimizers compared, and which digits their networks confuse."""

from pathlib import Path
from typing import Any

from pandas import DataFrame

from dlcourse.reports.formats import format_percent
from dlcourse.reports.tables import count_confusions, read_confusion
from dlcourse.studies.checks import check
from dlcourse.studies.cs671 import optimizers
from dlcourse.studies.runs import Runs
from dlcourse.studies.samples import require
from dlcourse.studies.study import Study
from dlcourse.studies.verdict import Verdict, answered, decide

derive = optimizers.derive


def measure(study: Study, runs: Runs) -> DataFrame:
    """Of each run what it confuses."""
    return DataFrame({"hash": row["hash"], **confusions(row["run"])} for _, row in runs.done().iterrows())


def confusions(run: Path) -> dict[str, Any]:
    """Of the test set: the least share of a class that is taken for itself, and the pair that is confused most."""
    counts, _ = read_confusion(run)
    most = next(iter(count_confusions(run)), None)
    return {
        "least recall": float((counts.diagonal() / counts.sum(1)).min()),
        "confused": f"{most[0]}/{most[1]}" if most else None,
    }


@check
def diagonals(table: DataFrame, least: float) -> Verdict:
    """Reproduced where in every run each class is taken for itself in at least that share of its test images."""
    worst = require(table, "least recall").sort_values("least recall").iloc[0]
    evidence = (
        f"each digit is taken for itself in at least {format_percent(worst['least recall'])} % of its test images "
        f"({worst['optimizer']}, {worst['hidden']}); to dominate is at least {least:.0%}"
    )
    return decide(bool(worst["least recall"] >= least), evidence)


@check
def most_confused(table: DataFrame) -> Verdict:
    """The pair that is confused most in most of an optimizer's runs."""
    texts = []
    for optimizer, rows in require(table, "confused").groupby("optimizer", sort=False):
        pair, times = next(iter(rows["confused"].value_counts().items()))
        texts.append(f"{optimizer}: {pair} in {times} of {len(rows)} runs")
    return answered("; ".join(texts))
