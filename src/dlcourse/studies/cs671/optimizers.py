"""Question 1: five optimizers on four small networks."""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from pandas import DataFrame

from dlcourse import plots
from dlcourse.data.splitting import SPLITS
from dlcourse.reports.formats import format_mean, format_percent
from dlcourse.reports.page import Plot, Table
from dlcourse.reports.tables import aggregate_over_seeds, read_history
from dlcourse.studies.checks import check
from dlcourse.studies.cs671.stopping import patience_for, stop_epoch, waits
from dlcourse.studies.items import sample
from dlcourse.studies.rules import Rows, pair_up, rule_all
from dlcourse.studies.runs import Runs
from dlcourse.studies.samples import Of, aggregate, format_metric, metric_label, require, select
from dlcourse.studies.study import Study
from dlcourse.studies.verdict import MissingRunsError, Verdict, answered, decide

OPTIMIZERS = {
    "cs671/fcnn_sgd": "SGD",
    "cs671/fcnn_vgd": "VGD",
    "cs671/fcnn_nag": "NAG",
    "cs671/fcnn_rmsprop": "RMSProp",
    "cs671/fcnn_adam": "Adam",
}
BEST = "(30,20,10)"  # the architecture that the report calls the best
NETWORK = ["hidden", "optimizer"]
PATIENCES = (1, 2, 5, 10)
RULES = {"change": "a change below 10⁻⁴"} | {f"patience {p}": f"patience {p}" for p in PATIENCES}


def derive(table: DataFrame) -> DataFrame:
    """With the report's names of the optimizer and the architecture, and how long training takes."""
    optimizer, hidden = table["experiment"].map(OPTIMIZERS), "(" + table["model.net.hidden"] + ")"
    return table.assign(optimizer=optimizer, hidden=hidden, minutes=table.get("train_seconds", math.nan) / 60)


def measure(study: Study, runs: Runs) -> DataFrame:
    """For each run: where the rules stop, the patience for the published epochs, how often the loss rose."""
    published, rows = study.published["accuracy"].set_index(NETWORK)["epochs"], []
    for _, row in runs.done().iterrows():
        losses = read_history(row["run"])["train/loss"].tolist()
        rows.append(
            {"hash": row["hash"], "stops/change": stop_epoch(losses, "change")}
            | {f"stops/patience {p}": stop_epoch(losses, "improvement", patience=p) for p in PATIENCES}
            | {
                "patience/longest": max(waits(losses)),
                "patience/published": patience_for(losses, int(published.get((row["hidden"], row["optimizer"]), 1))),
                "rises": int((np.diff(losses) > 0).sum()),
            }
        )
    return DataFrame(rows).set_index("hash").astype(float).reset_index()


# --- the page --------------------------------------------------------------------------------------------------------


def architectures(study: Study, runs: Runs, metric: str, note: str = "") -> Table:
    """A row an architecture, a column an optimizer; in brackets what is published."""
    published = study.published["accuracy"].set_index(NETWORK)[metric]
    rows: dict[str, dict[str, str]] = {}
    for (hidden, optimizer), group in runs.table.groupby(NETWORK, sort=False):
        text, theirs = format_metric(metric, sample(group, metric)), published.get((hidden, optimizer))
        beside = "" if theirs is None else f" ({format_metric(metric, float(theirs))})"
        rows.setdefault(str(hidden), {})[str(optimizer)] = text + beside
    frame = DataFrame.from_dict(rows, orient="index").rename_axis("architecture").reset_index()
    return Table(metric_label(metric).capitalize(), frame, f"In brackets: published. ± is over seeds. {note}")


def stops(study: Study, runs: Runs) -> Table:
    """Where the rules stop, means over seeds; a run that a rule does not stop is a gap, and so is its mean."""
    published, rows = study.published["accuracy"].set_index(NETWORK)["epochs"], []
    for (hidden, optimizer), group in runs.table.groupby(NETWORK, sort=False):
        figures = (
            {"epochs run": group["epochs"].max()}
            | {rule: group[f"stops/{rule}"].mean(skipna=False) for rule in RULES}
            | {"published": published.get((hidden, optimizer))}
            | {"patience for that": group["patience/published"].mean(skipna=False)}
        )
        texts = {name: format_mean(value, digits=0) for name, value in figures.items()}
        rows.append({"architecture": hidden, "optimizer": optimizer, **texts})
    return Table(
        "Where a rule stops, read off the recorded training loss",
        DataFrame(rows),
        "Change: the hand-out's rule, two successive epochs differ by less than 10⁻⁴. Patience: Keras's rule, no "
        "improvement on the best loss by 10⁻⁴ for so many epochs. Last column: the smallest patience that does not "
        "stop before the published epoch. A gap: not within the epochs run.",
    )


def learning_curves(study: Study, runs: Runs, of: Of) -> list[Plot]:
    """Loss and accuracy by epoch, a figure an optimizer, of its first run."""
    drawn = []
    for optimizer, rows in select(runs.done(), of).groupby("optimizer", sort=False):
        history, title = read_history(rows["run"].iloc[0]), f"{optimizer}, {rows['hidden'].iloc[0]}"
        columns = {str(name): column.tolist() for name, column in history.items()}
        figure = plots.learning_curves(columns, metrics=["loss", "accuracy"], title=title)
        drawn.append(Plot(f"curves_{str(optimizer).lower()}", f"Loss and accuracy of {title}", figure))
    return drawn


# --- claims ----------------------------------------------------------------------------------------------------------


@check
def accuracies(table: DataFrame, metric: str, published: Rows, tolerance: float = 0.005) -> Verdict:
    """A table of accuracies, each within half a point of the published one or better.

    Full-batch descent that was given fewer epochs than the report's, and is below its figure, decides nothing.
    """
    pairs, short = pair_up(table, metric, published, metric, NETWORK), []
    for (name, (obtained, theirs)), row in zip(list(pairs.items()), published, strict=True):
        ran = aggregate(table, "epochs", {key: row[key] for key in NETWORK})
        if row["optimizer"] == "VGD" and obtained.mean < theirs and ran.mean < row["epochs"]:
            short.append(name)
            del pairs[name]
    verdict = rule_all(pairs, metric, tolerance)
    if not short:
        return verdict
    return replace(
        verdict, evidence=f"{verdict.evidence}; left out, with fewer epochs than published: {'; '.join(short)}"
    )


@check
def best_architecture(table: DataFrame, hidden: str, published: Rows) -> Verdict:
    """Whether an architecture has the best validation accuracy, as the mean over the optimizers."""
    averages = aggregate_over_seeds(table, NETWORK, ["val/accuracy"])
    here, theirs = (rows.pivot(index="hidden", columns="optimizer", values="val/accuracy")
                    for rows in (averages, DataFrame(published)))  # fmt: skip
    if here.isna().any(axis=None) or hidden not in here.index or len(here) < 2:
        raise MissingRunsError("not every architecture has a finished run of every optimizer")
    overall = here.mean(axis=1).sort_values(ascending=False)
    ranks = ", ".join(f"{name} {format_percent(value)} %" for name, value in overall.items())
    evidence = (
        f"mean validation accuracy over the optimizers: {ranks}; it is the best with {format_leads(here, hidden)}; "
        f"in the report's own table with {format_leads(theirs, hidden)}"
    )
    sd = averages["val/accuracy sd"].max()
    noise = "" if math.isnan(sd) else f"; another seed changes a cell by {format_percent(sd)} points (largest sd)"
    return decide(overall.index[0] == hidden, evidence + noise)


def format_leads(accuracy: DataFrame, hidden: str) -> str:
    """With which optimizers (columns) an architecture (row) is the best; where not, which is."""
    winners = accuracy.idxmax()
    won = [str(name) for name, winner in winners.items() if winner == hidden]
    lost = [f"{name}: {winner}" for name, winner in winners.items() if winner != hidden]
    return f"{', '.join(won) or 'none'} ({'; '.join(lost) or 'no other'})"


@check
def epochs(table: DataFrame, published: Rows, factor: float = 2.0, rule: str = "patience 5") -> Verdict:
    """Whether training stops after the published number of epochs, within a factor.

    Runs that end before that without having been stopped by the rule decide nothing.
    """
    parts, near = [], []
    for name, theirs in DataFrame(published).groupby("optimizer", sort=False):
        rows = require(table, "epochs", {"optimizer": name})
        if f"stops/{rule}" not in rows:
            raise MissingRunsError("no finished run")
        stop = rows.groupby("hidden")[f"stops/{rule}"].mean().reindex(theirs["hidden"]).to_numpy()
        ran, wanted = rows["epochs"].max(), theirs["epochs"].to_numpy()
        if np.isnan(stop).all():
            parts.append(f"{name} not within {ran:.0f} ({format_span(wanted)})")
            near += [False for epoch in wanted if ran >= epoch / factor]  # less than that decides nothing
        else:
            parts.append(f"{name} {format_span(stop)} ({format_span(wanted)})")
            near += [1 / factor <= ratio <= factor for ratio in stop / wanted]
    evidence = f"{rule}, epochs here (published): {', '.join(parts)}"
    return decide(all(near), f"{evidence}; {sum(near)} of {len(near)} within a factor of {factor:g}")


def format_span(values: plots.Array) -> str:
    low, high = np.nanmin(values), np.nanmax(values)
    return f"{low:.0f}" if low == high else f"{low:.0f} to {high:.0f}"


@check
def vgd_stops(table: DataFrame, published: int, hidden: str = BEST) -> Verdict:
    """At which epoch each rule stops full-batch descent, and which patience it takes to get to the published epoch."""
    row = require(table, "patience/longest", {"optimizer": "VGD", "hidden": hidden}).iloc[0]
    stop = {text: row[f"stops/{rule}"] for rule, text in RULES.items()}
    parts = [f"{text}: {f'epoch {epoch:.0f}' if epoch > 0 else 'not within the run'}" for text, epoch in stop.items()]
    if row["patience/published"] > 0:
        end = f"to get to epoch {published} it takes a patience of {row['patience/published']:.0f}"
    else:
        end = (
            f"a patience of {row['patience/longest'] + 1:.0f} or more does not stop within the {row['epochs']:.0f} "
            f"epochs of this run, so epoch {published} takes at least that"
        )
    return answered(f"{hidden}: {'; '.join(parts)}; {end}")


@check
def vgd_descends(table: DataFrame) -> Verdict:
    """Whether full-batch descent lowers the training loss at each step."""
    rows = require(table, "rises", {"optimizer": "VGD"})
    steps, rises = int(rows["epochs"].sum()) - len(rows), int(rows["rises"].sum())
    return answered(f"{'no' if rises else 'yes'}: the loss rose in {rises} of {steps} steps of {len(rows)} runs")


@check
def seconds_an_epoch(table: DataFrame, published: Rows, same: Sequence[str] = ("NAG", "RMSProp", "Adam")) -> Verdict:
    """Whether optimizers that are said to use the same batches take the same time for an epoch."""
    groups = {row["optimizer"]: require(table, "epochs", {key: row[key] for key in NETWORK}) for row in published}
    here = {name: float((rows["train_seconds"] / rows["epochs"]).mean()) for name, rows in groups.items()}
    theirs = {row["optimizer"]: 60 * row["minutes"] / row["epochs"] for row in published}
    ratio, published_ratio = (max(s[name] for name in same) / min(s[name] for name in same) for s in (here, theirs))
    listed = ", ".join(f"{name} {here[name]:.2f} s ({theirs[name]:.2f})" for name in here)
    return answered(
        f"an epoch here (published): {listed}. With the same batches the three differ {ratio:.1f} times here, "
        f"{published_ratio:.0f} times in the report: not one common set-up. RMSProp stops after "
        f"{groups['RMSProp']['epochs'].mean():.0f} epochs here, Adam after {groups['Adam']['epochs'].mean():.0f}"
    )


@check
def like_accuracy(table: DataFrame, hidden: str = BEST, tolerance: float = 0.0001) -> Verdict:
    """Whether precision, recall and F1 are the accuracy itself, within a tolerance, on every split."""
    rows, gaps = select(table, {"hidden": hidden}), {}
    for split in SPLITS:
        for name in ("precision", "recall", "f1"):
            gaps[f"{split} {name}"] = (rows[f"{split}/{name}"] - rows[f"{split}/accuracy"]).abs()
    if not len(rows) or any(gap.isna().any() for gap in gaps.values()):
        raise MissingRunsError(f"not every optimizer has a finished run of {hidden}")
    worst = max(gaps, key=lambda name: gaps[name].max())
    return decide(gaps[worst].max() < 1.5 * tolerance, f"the largest difference is {gaps[worst].max():.5f} ({worst})")
