"""Task 2: logistic regression on the digits 2 and 3, and when it stops."""

import numpy as np
from pandas import DataFrame, Series

from dlcourse import plots
from dlcourse.reports.formats import format_mean, format_percent
from dlcourse.reports.page import Item, Plot, Table
from dlcourse.reports.tables import read_history, read_steps
from dlcourse.studies.checks import check
from dlcourse.studies.items import sample
from dlcourse.studies.rules import least_seeds, rule_each, side
from dlcourse.studies.runs import Runs
from dlcourse.studies.samples import aggregate, format_metric, interval, require, select
from dlcourse.studies.study import Study
from dlcourse.studies.verdict import MissingRunsError, Verdict, answered, decide

PASS = 31  # steps of a pass over the 4,005 examples of two digits
SETTLED = 2 * PASS  # steps after which the accuracy moves by spikes rather than by learning
RELIABLY = 0.9  # of the draws
FIXED, ONCE, SHUFFLED = "unshuffled", "once", "shuffled"
FRAMES = {"loss": (0.0, 0.2), "accuracy": (0.93, 0.99)}  # that the assignment asks for


def measure(study: Study, runs: Runs) -> DataFrame:
    """Of each run, once it has settled: the largest spike in validation accuracy, and the batch that does most harm.

    spike: how far below the best accuracy so far it falls. worst batch: its number in the pass, from 0, with the mean
    accuracy of the evaluations right after it; `elsewhere` is that after the others. In fixed order it is one batch.
    """
    rows = []
    for _, row in runs.done().iterrows():
        history = read_history(row["run"])
        accuracy = history["val/accuracy"]
        late = history["step"] > SETTLED
        batch = (history["step"] - 1) % PASS
        means = accuracy[late].groupby(batch[late]).mean()
        worst = means.idxmin() if len(means) else np.nan
        rows.append(
            {
                "hash": row["hash"],
                "spike/accuracy": (accuracy.cummax() - accuracy)[late].max(),
                "worst batch": worst,
                "after it": means.min(),
                "elsewhere": accuracy[late & (batch != worst)].mean(),
            }
        )
    return DataFrame(rows)


# --- the page --------------------------------------------------------------------------------------------------------


def stops(study: Study, runs: Runs) -> list[Item]:
    """When training stops in each order, and the distribution over the draws."""
    published = study.published["stops"].set_index("block")["passes"]
    rows = []
    for block, group in runs.done().groupby("block", sort=False):
        at = stop_passes(group)
        rows.append(
            {
                "order": study.label(block),
                "stops in pass": format_mean(at.mean(), at.std(), 1) if len(at) > 1 else str(at.iloc[0]),
                "published": published.get(block),
                "earliest": at.min(),
                "latest": at.max(),
                "validation loss": format_metric("loss", sample(group, "val/loss")),
                "validation accuracy": format_metric("accuracy", sample(group, "val/accuracy")),
                "largest spike": format_metric("accuracy", sample(group, "spike/accuracy")),
                "runs": len(group),
            }
        )
    note = (
        "± over draws of the order. A spike is how far the validation accuracy falls below the best so far, after the "
        "first two passes. Loss and accuracy are those of the best weights."
    )
    items: list[Item] = [Table("When it stops", DataFrame(rows), note)]
    at = stop_passes(select(runs.done(), {"block": SHUFFLED}))
    if len(at):
        marked = {f"published, {study.label(block)}": float(passes) for block, passes in published.items()}
        figure = plots.histogram(at.to_numpy(), marked, "When training stops, shuffled", x_label="pass")
        items.append(Plot("stops", "The pass in which training stops, over the draws of the order", figure))
    return items


def fixed_order(study: Study, runs: Runs) -> list[Item]:
    """Loss and accuracy step by step where the batches come round in one order."""
    fixed = select(runs.done(), {"block": FIXED})
    if not len(fixed):
        return []
    history, steps = read_history(fixed["run"].iloc[0]), read_steps(fixed["run"].iloc[0])
    items: list[Item] = []
    for task, metric, train, note in (
        ("2b", "loss", steps, "Train: each step's batch. The same 31 batches come round again and again."),
        ("2c", "accuracy", history,
         "Train: the six batches since the last evaluation; the course takes the whole training set."),
    ):  # fmt: skip
        rows = {"train": train, "val": history}
        lines = {stage: (r["step"].to_numpy(), r[f"{stage}/{metric}"].to_numpy()) for stage, r in rows.items()}
        title = f"{metric.capitalize()} in fixed order"
        figure = plots.superimposed(lines, title, "step", metric, y_limits=FRAMES[metric])
        items.append(Plot(metric, f"{title} (task {task})", figure, note))
    return items


# --- claims ----------------------------------------------------------------------------------------------------------


def stop_passes(rows: DataFrame) -> Series:
    """In which pass each run stopped, counted from 0."""
    return (rows["steps"] - 1) // PASS


def passes_of(table: DataFrame, block: str) -> Series:
    """The passes in which all planned runs of a block stopped. Raises MissingRunsError where one is missing."""
    if select(table, {"block": block})["steps"].isna().any():
        raise MissingRunsError(f"runs missing: {block}")
    return stop_passes(require(table, "steps", {"block": block}))


def describe_passes(at: Series) -> str:
    if len(at) == 1:
        return f"pass {at.iloc[0]:.0f}"
    mean = format_mean(at.mean(), at.std(), 1)
    return f"pass {mean} (from {at.min():.0f} to {at.max():.0f}, median {at.median():g}, n = {len(at)})"


@check
def stops_after(table: DataFrame, block: str, passes: int) -> Verdict:
    """Reproduced where the published pass is the one in which the run stops, or within the range of several draws."""
    at = passes_of(table, block)
    exactly = "exactly in" if len(at) == 1 and at.iloc[0] == passes else "in"
    draws = f"; {(at <= passes).sum()} of the draws stop in pass {passes} or before" if len(at) > 1 else ""
    return decide(bool(at.min() <= passes <= at.max()), f"training stops {exactly} {describe_passes(at)}{draws}")


@check
def shuffling_halves(table: DataFrame) -> Verdict:
    """Reproduced where at least nine of ten draws stop by half of the pass in which fixed order stops."""
    end, at = passes_of(table, FIXED).iloc[0], passes_of(table, SHUFFLED)
    half = (at <= end / 2).sum()
    return decide(
        bool(half >= RELIABLY * len(at)),
        f"fixed order stops in pass {end:.0f}; of {len(at)} draws {half} stop by half of that and {(at < end).sum()} "
        f"before it, on average at {format_percent(at.mean() / end, digits=0)} % of it",
    )


@check
def stop_distribution(table: DataFrame) -> Verdict:
    at = passes_of(table, SHUFFLED)
    return answered(f"{describe_passes(at)}: {', '.join(f'{value:.0f}' for value in sorted(at))}")


@check
def spikes(table: DataFrame) -> Verdict:
    """Which batch the spikes in validation accuracy come from in fixed order, and how large they are when shuffled."""
    fixed = require(table, "worst batch", {"block": FIXED}).iloc[0]
    shuffled = aggregate(table, "spike/accuracy", {"block": SHUFFLED}, complete=True)
    largest = select(table, {"block": SHUFFLED})["spike/accuracy"].max()
    return answered(
        f"in fixed order from one batch, number {fixed['worst batch']:.0f} of a pass: "
        f"{format_percent(fixed['after it'])} % right after it, {format_percent(fixed['elsewhere'])} % after the "
        f"others; the largest spike is {format_percent(fixed['spike/accuracy'])} points in fixed order, "
        f"{format_percent(shuffled.mean, shuffled.sd)} (at most {format_percent(largest)}) shuffled"
    )


@check
def order_changes(table: DataFrame) -> Verdict:
    """Whether it is the change of the order that makes the curve smoother: refuted where a random order that stays
    takes away more than half of what one that is drawn anew takes away of the spikes, reproduced where less."""
    fixed = float(require(table, "spike/accuracy", {"block": FIXED})["spike/accuracy"].iloc[0])
    once, anew = (aggregate(table, "spike/accuracy", {"block": b}, complete=True) for b in (ONCE, SHUFFLED))
    evidence = (
        f"largest spike in points: {format_percent(fixed)} in the files' order, {format_percent(once.mean, once.sd)} "
        f"in a random one that stays, {format_percent(anew.mean, anew.sd)} in one drawn anew in each pass"
    )
    ahead = once.mean - (fixed + anew.mean) / 2
    return rule_each([side(ahead, interval(once, anew))], evidence, least_seeds([once, anew]))
