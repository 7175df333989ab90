"""What a study's page is made of: standard tables and figures, named with their arguments under `report:` in its YAML.

Each is a function (study, runs, **arguments) that gives a table, a figure or a list of them; a study's own are written
like these. `of: {column: value}` says which runs are meant, `by` is the column that sets them apart.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from pandas import DataFrame
from torch import nn

from dlcourse import plots
from dlcourse.reports.page import Item, Plot, Table, Text
from dlcourse.reports.tables import read_confusion, read_history, refuse_other_protocol
from dlcourse.studies.runs import Runs, load_initial_task, load_run
from dlcourse.studies.samples import Of, Sample, format_metric, metric_label, select
from dlcourse.studies.study import Study

MAIN_METRICS = ("train/accuracy", "val/accuracy", "test/accuracy", "val/psnr", "test/psnr", "train/loss", "val/loss",
                "test/loss")  # fmt: skip


def standard(study: Study, runs: Runs) -> list[Item]:
    """The page of a study that names nothing: a table of its settings, learning curves, confusion matrices."""
    runs = Runs(runs.table.assign(setting=[setting(study, row) for _, row in runs.table.iterrows()]), runs.folder)
    done = runs.done()
    metrics = [metric for metric in MAIN_METRICS if metric in done]
    pairs = {name: [f"{stage}/{name}" for stage in ("train", "val") if f"{stage}/{name}" in done]
             for name in ("accuracy", "loss")}  # fmt: skip
    drawn = [curves(study, runs, k, k.capitalize(), columns, by="setting") for k, columns in pairs.items() if columns]
    return [results(study, runs, by="setting", metrics=metrics), *drawn, *confusion(study, runs, by="setting")]


def setting(study: Study, row: "pd.Series[Any]") -> str:
    """What tells a run from the study's others, but for the seed: its block, and what that sweeps over."""
    keys = study.blocks[row["block"]]
    parts = [study.label(row["block"])]
    for key, value in keys.items():
        if isinstance(value, list) and key != "seed":
            parts.append(f"{key.rpartition('.')[2]} {study.label(row[key])}")
    if isinstance(encoder := keys.get("data.encoder"), str) and encoder[1:] in study.blocks:
        theirs = {key.removeprefix("encoder."): row[key] for key in row.index if key.startswith("encoder.")}
        parts.append(f"of {setting(study, pd.Series(theirs))}")
    return ", ".join(parts)


def text(study: Study, runs: Runs, markdown: str) -> Text:
    return Text(markdown)


def published(study: Study, runs: Runs, title: str, table: str, note: str = "") -> Table:
    """A table of published figures as it stands in the study's YAML; columns named as metrics have their units."""
    frame = study.published[table]
    written = {c: [format_metric(c, v) for v in frame[c]] for c in map(str, frame) if _is_metric(c)}
    return Table(title, frame.assign(**written).rename(columns=metric_label), note)


def results(
    study: Study,
    runs: Runs,
    title: str = "After the last epoch",
    by: str = "block",
    metrics: Sequence[str] = MAIN_METRICS,
    published: str | None = None,
    of: Of | None = None,
    digits: int | None = None,
    note: str = "",
) -> Table:
    """Means over seeds, a row a value of `by`, beside the published table of that name (columns `by` and metrics).

    digits: of metrics without a unit.
    """
    rows = select(runs.table, of or {})
    known = study.published[published].set_index(by) if published else DataFrame()
    groups = dict(iter(rows.groupby(by, sort=False)))
    frame = DataFrame({by.rpartition(".")[2]: [study.label(value) for value in groups]})
    for metric in metrics:
        frame[metric_label(metric)] = [format_metric(metric, sample(g, metric), digits) for g in groups.values()]
        if metric in known:
            theirs = [float(known[metric].get(value, np.nan)) for value in groups]
            frame[f"published {metric_label(metric)}"] = [format_metric(metric, value, digits) for value in theirs]
    counts = [int(group[metrics[0]].notna().sum()) if metrics[0] in group else 0 for group in groups.values()]
    return Table(title, frame.assign(runs=counts), note)


def sample(rows: DataFrame, metric: str) -> Sample:
    """A metric over runs, those that have it; NaN where none has. Raises InputError where they differ in protocol."""
    if metric not in rows or not rows[metric].notna().any():
        return Sample(math.nan)
    values = pd.to_numeric(rows[metric])
    refuse_other_protocol(rows[values.notna()])
    return Sample(float(values.mean()), float(values.std()))


def epochs(
    study: Study, runs: Runs, title: str, table: str, metrics: Sequence[str], of: Of | None = None, note: str = ""
) -> list[Item]:
    """The epochs that the report prints, obtained and published: `table` has the column `epoch` and metrics."""
    rows, theirs = select(runs.done(), of or {}), study.published[table]
    if not len(rows):
        return []
    frame = DataFrame({"epoch": theirs["epoch"]})
    for metric in metrics:
        means = history_over_seeds(rows, metric).reindex(theirs["epoch"])
        pairs = zip(means["mean"], means["sd"].where(means["sd"] > 0), strict=True)
        frame[metric_label(metric)] = [format_metric(metric, Sample(mean, sd)) for mean, sd in pairs]
        if metric in theirs:
            frame[f"published {metric_label(metric)}"] = [format_metric(metric, float(v)) for v in theirs[metric]]
    return [Table(title, frame, note)]


def history_over_seeds(rows: DataFrame, metric: str, x: str = "epoch") -> DataFrame:
    """A column of metrics.csv against the epoch (or step): its `mean` over runs and `sd`, 0 for a single run."""
    values = pd.concat([read_history(run) for run in rows["run"]]).groupby(x)[metric]
    return DataFrame({"mean": values.mean(), "sd": values.std().fillna(0)})


def curves(
    study: Study,
    runs: Runs,
    name: str,
    title: str,
    metrics: Sequence[str],
    by: str | None = "block",
    of: Of | None = None,
    x: str = "epoch",
    first: bool = False,
    stages: Mapping[str, str] | None = None,
    heading: str = "",
    note: str = "",
    **options: Any,
) -> Plot:
    """Columns of metrics.csv by epoch (x: step), a line and its band over seeds for each value of `by` and metric.

    first: the first seed alone. stages: what train and val are called. heading: above the figure itself.
    options: of plots.superimposed, as log_y or levels.
    """
    rows = select(runs.done(), of or {})
    groups = {study.label(v): g for v, g in rows.groupby(by, sort=False)} if by else {"": rows}
    groups = {label: group.head(1) if first else group for label, group in groups.items() if len(group)}
    lines = {}
    for label, group in groups.items():
        for metric in metrics:
            if metric not in read_history(group["run"].iloc[0]):  # of another task
                continue
            stage = metric.split("/")[0] if len(metrics) > 1 else ""
            name_of = ", ".join(part for part in (label, (stages or {}).get(stage, stage)) if part)
            lines[name_of] = history_over_seeds(group, metric, x)
    figure = plots.superimposed(
        {label: (list(line.index), line["mean"].to_numpy()) for label, line in lines.items()},
        heading,
        x,
        options.pop("y_label", metric_label(metrics[0]) if len(metrics) == 1 else metrics[0].split("/")[1]),
        bands={label: line["sd"].to_numpy() for label, line in lines.items() if line["sd"].any()},
        **options,
    )
    return Plot(name, title, figure, note)


def confusion(
    study: Study,
    runs: Runs,
    by: str = "block",
    of: Of | None = None,
    split: str | Sequence[str] = "test",
    title: str = "",
) -> list[Item]:
    """Confusion matrices, summed over seeds, one for each value of `by` whose runs have classes and each split."""
    done, splits = select(runs.done(), of or {}), [split] if isinstance(split, str) else split
    groups = [(value, rows) for value, rows in done.groupby(by, sort=False) if f"{splits[0]}/accuracy" in rows]
    items: list[Item] = []
    for i, (value, rows) in enumerate((v, r) for v, r in groups if r[f"{splits[0]}/accuracy"].notna().any()):
        name = "confusion" if len(groups) == 1 else f"confusion_{i}"
        heading = title or ("Confusion matrix" if len(groups) == 1 else f"Confusion matrix: {study.label(value)}")
        for part in splits:
            pairs = [read_confusion(run, part) for run in rows["run"]]
            set_name = metric_label(f"{part}/set").capitalize()
            figure = plots.confusion_matrix(np.sum([c for c, _ in pairs], axis=0), pairs[0][1], set_name)
            over = f"{len(pairs)} runs together" if len(pairs) > 1 else ""
            suffix, which = (f"_{part}", f", {set_name.lower()}") if len(splits) > 1 else ("", "")
            items.append(Plot(name + suffix, heading + which, figure, over))
    return items


def weights(
    study: Study,
    runs: Runs,
    name: str,
    title: str,
    of: Of | None = None,
    before: bool = False,
    heading: str = "",
    note: str = "",
    **options: Any,
) -> list[Item]:
    """The first layer's weights of the first such run as images; before: of the network as it was before training.

    options: of plots.weight_images.
    """
    done = select(runs.done(), of or {})
    if not len(done):
        return []
    run = done["run"].iloc[0]
    net = (load_initial_task(run) if before else load_run(run)[0]).net
    return [Plot(name, title, plots.weight_images(weight_images(net), title=heading, **options), note)]


def weight_images(net: nn.Module) -> plots.Array:
    """The first layer's weights as grey images [units, H, W]; of a network whose inputs are square."""
    layer = net.first_layer
    assert isinstance(layer, nn.Linear)
    side = round(layer.weight.shape[1] ** 0.5)
    return layer.weight.detach().reshape(-1, side, side).numpy()


def _is_metric(column: str) -> bool:
    return "/" in column or column in ("accuracy", "psnr", "loss")


def by_labels(study: Study, runs: Runs, by: str = "block") -> Mapping[str, DataFrame]:
    """The finished runs of each value of a column, by its name for people."""
    return {study.label(value): rows for value, rows in runs.done().groupby(by, sort=False)}
