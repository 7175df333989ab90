"""Task 3: softmax regression on ten digits, and whether it overfits."""

import numpy as np
from pandas import DataFrame

from dlcourse.reports.formats import GAP, format_mean, format_percent
from dlcourse.reports.page import Table
from dlcourse.reports.tables import read_history
from dlcourse.studies.checks import check
from dlcourse.studies.items import sample
from dlcourse.studies.runs import Runs
from dlcourse.studies.samples import Sample, aggregate, format_metric, metric_label
from dlcourse.studies.study import Study
from dlcourse.studies.verdict import Verdict, answered, decide

WINDOW = 10  # evaluations, two passes: what a figure "at" a step is the mean of
POINTS = (3000, 8200, "end")  # steps
METRICS = ("train/loss", "val/loss", "train/accuracy", "val/accuracy")
READ = 0.005  # how exactly a figure can be read off a plot
RISES = 0.01  # of the lowest loss: what counts as a rise
LONG = {"block": "long"}


def measure(study: Study, runs: Runs) -> DataFrame:
    """Of each run the curves at some steps and at the end, and where the validation loss is lowest; means of WINDOW."""
    rows = []
    for _, row in runs.done().iterrows():
        smooth = read_history(row["run"]).set_index("step")[list(METRICS)].rolling(WINDOW).mean()
        losses = smooth["val/loss"].dropna()
        point = {"hash": row["hash"], "lowest": losses.min(), "lowest at": losses.idxmin() if len(losses) else np.nan}
        for at in POINTS:
            end = smooth.index[-1]
            step = end if at == "end" else at
            point |= {column(m, at): smooth[m].loc[:step].iloc[-1] if step <= end else np.nan for m in METRICS}
        rows.append(point)
    return DataFrame(rows)


def column(metric: str, at: int | str) -> str:
    """`at 3000/val/loss`"""
    return f"at {at}/{metric}"


def along_the_way(study: Study, runs: Runs) -> Table:
    """Loss and accuracy at some steps, and the course's solution."""
    rows = []
    for block, group in runs.done().groupby("block", sort=False):
        for at in POINTS:
            reached = group[group[column("val/loss", at)].notna()]
            if not len(reached):
                continue
            step = f"end, {format_mean(reached['steps'].mean(), reached['steps'].std() or None, 0)}"
            figures = {metric_label(m): format_metric(m, sample(reached, column(m, at))) for m in METRICS}
            rows.append({"run": study.label(block), "step": step if at == "end" else str(at), **figures,
                         "runs": str(len(reached))})  # fmt: skip
    solution = study.published["solution"].iloc[0]
    theirs = {metric_label(m): format_metric(m, float(solution[m])) if m in solution else GAP for m in METRICS}
    rows.append(
        {"run": "published: the course's solution", "step": f"about {solution['step']:.0f}", **theirs, "runs": "1"}
    )
    note = "Means of the ten evaluations (two passes) up to the step; ± over seeds."
    return Table("Along the way", DataFrame(rows), note)


def at_points(table: DataFrame, metric: str, step: int) -> list[Sample]:
    """A metric at a step and at the end of the long runs, each of which is needed."""
    return [aggregate(table, column(metric, at), LONG, complete=True) for at in (step, "end")]


def describe_way(table: DataFrame, metric: str, step: int) -> str:
    start, end = (s.mean for s in at_points(table, metric, step))
    return f"from {format_mean(start)} to {format_mean(end)}"


@check
def overfits(table: DataFrame, step: int) -> Verdict:
    """Reproduced where the validation loss is higher at the end of 200 passes than at that step, on average."""
    start, end = at_points(table, "val/loss", step)
    return decide(
        end.mean > start.mean,
        f"between step {step} and the end of 200 passes the validation loss goes "
        f"{describe_way(table, 'val/loss', step)}, validation accuracy {describe_way(table, 'val/accuracy', step)}, "
        f"training accuracy {describe_way(table, 'train/accuracy', step)} (n = {end.n})",
    )


@check
def rises_or_widens(table: DataFrame, step: int) -> Verdict:
    """Whether the validation loss rises from its lowest, or only the gap between training and validation widens."""
    _, end = at_points(table, "val/loss", step)
    lowest, at = (aggregate(table, name, LONG, complete=True) for name in ("lowest", "lowest at"))
    pairs = zip(*(at_points(table, f"{stage}/accuracy", step) for stage in ("train", "val")), strict=True)
    gaps = [format_percent(train.mean - val.mean) for train, val in pairs]
    above = end.mean - lowest.mean
    return answered(
        f"{'it rises' if above > RISES * lowest.mean else 'only the gap widens'}: over 200 passes the lowest "
        f"validation loss is {format_mean(lowest.mean, lowest.sd or None)}, at step "
        f"{format_mean(at.mean, at.sd or None, 0)}, and the last is {format_mean(above)} above it; the gap in accuracy "
        f"goes from {gaps[0]} to {gaps[1]} points (n = {end.n})"
    )


@check
def as_the_solution(table: DataFrame, step: int, published: dict[str, float]) -> Verdict:
    """Reproduced where each figure is as near as a plot can be read."""
    samples = {m: aggregate(table, column(m, step), LONG, complete=True) for m in published}
    listed = ", ".join(f"{m} {format_mean(s.mean, s.sd or None)} ({published[m]:g})" for m, s in samples.items())
    holds = all(abs(s.mean - published[m]) <= READ for m, s in samples.items())
    return decide(holds, f"{listed}; tolerance {READ:g}, n = {min(s.n for s in samples.values())}")


@check
def early_stop(table: DataFrame) -> Verdict:
    """When early stopping ends training, and the best validation loss by then."""
    steps, loss = (aggregate(table, m, {"block": "early"}, complete=True) for m in ("steps", "val/loss"))
    return answered(
        f"at step {format_mean(steps.mean, steps.sd or None, 0)}, where the best validation loss was "
        f"{format_mean(loss.mean, loss.sd or None)} (n = {loss.n})"
    )
