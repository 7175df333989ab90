"""A page of any runs: what differs between them, what came out, means over seeds, curves, the best one's confusions."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from pandas import DataFrame
from pandas.api.types import is_numeric_dtype

from dlcourse import plots
from dlcourse.config.identity import NOT_HASHED, flatten
from dlcourse.core.errors import InputError, first_line
from dlcourse.reports import tables
from dlcourse.reports.formats import format_mean, to_grid
from dlcourse.reports.page import Item, Page, Plot, Table, Text
from dlcourse.reports.render import escape_markdown, write_page
from dlcourse.reports.tables import aggregate_over_seeds, read_confusion, read_history
from dlcourse.runs import METRICS, confusion_file, length, read_config, read_result
from dlcourse.runs.differences import short_keys

MEASURES = ("accuracy", "psnr", "loss")
CURVES = ("val/loss", "val/accuracy", "val/psnr", "train/loss", "train/accuracy")
MOST = 18  # curves in one figure
# keys that no one sets, because others decide them
FOLLOWS = ("data.reader", "data.shape", "data.classes", "model.classes", "model.net.shape", "model.net.classes",
           "model.net.inputs", "model.net.outputs")  # fmt: skip
SAME = (*NOT_HASHED, "data.root", *FOLLOWS)  # a difference in these is none
FIRST = ("data.name", "model.name")


@dataclass(frozen=True)
class Record:
    """A finished run: its flat config, lists as texts; its row of results; metrics.csv; test confusions and classes,
    and a row of figures for each class."""

    config: dict[str, Any]
    row: dict[str, Any]
    history: DataFrame
    confusion: tuple[Any, list[str]] | None
    per_class: list[dict[str, Any]]


def read_records(found: Sequence[Path]) -> tuple[list[Record], list[str]]:
    """The runs that are finished and whole, and a sentence about each of the others."""
    records, left_out = [], []
    for run in found:
        try:
            records.append(record(run))
        except (InputError, OSError, ValueError, KeyError, IndexError) as error:
            text = first_line(error)
            left_out.append(text if str(run) in text else f"{run}: {text}")
    return records, left_out


def record(run: Path) -> Record:
    """Raises InputError, or whatever reading a damaged file raises."""
    result = read_result(run)
    if result["status"] != "done":
        raise InputError(f"{run} is {result['status']}, after {length(result)}")
    config = {
        key: ",".join(map(str, value)) if isinstance(value, list) else value
        for key, value in flatten(read_config(run)).items()
    }
    try:
        rows = read_history(run).apply(pd.to_numeric)
        matrix = read_confusion(run) if confusion_file(run, "test").is_file() else None
    except (ValueError, IndexError) as error:
        raise InputError(f"{run}: its {METRICS} or {confusion_file(run, 'test').name} is damaged") from error
    if "epoch" not in rows or len(rows) < result["epochs"]:
        raise InputError(f"{run / METRICS} is damaged: it has {len(rows)} rows of {result['epochs']} epochs")
    row = tables.run_record(run) | {"model": result["model"], "seed": result["seed"]}
    return Record(config, row, rows, matrix, (result.get("per_class") or {}).get("test", []))


def write_overview(found: Sequence[Path], out: Path, command: str) -> tuple[Page, list[str]]:
    """The page of some runs, written to a directory, and which of them are left out and why.

    Raises InputError where none can be shown.
    """
    records, left_out = read_records(found)
    if not records:
        which = "the only one" if len(found) == 1 else f"none of {len(found)}"
        raise InputError(f"no run is left: {which} is whole")
    report = overview(records, left_out, command)
    write_page(report, out)
    return report, left_out


def overview(records: Sequence[Record], left_out: Sequence[str], command: str) -> Page:
    table = DataFrame([{**r.config, **r.row} for r in records])
    differing = different(table, [key for r in records for key in r.config])
    if differing:
        texts = {key: table[key] if is_numeric_dtype(table[key]) else table[key].map(str) for key in differing}
        order = DataFrame(texts).sort_values(differing, kind="stable").index
        records, table = [records[i] for i in order], table.loc[order].reset_index(drop=True)
    by = [key for key in differing if key != "seed"] or ["model"]
    metrics = [f"{split}/{m}" for m in MEASURES for split in ("val", "test") if f"{split}/{m}" in table]
    groups, why = means(table, by, sorted(metrics, key=lambda m: "loss" not in m))
    top = os.path.commonpath([run.absolute().parent for run in table["run"]])
    directories = [os.path.relpath(run, top) for run in table["run"]]
    columns = [*differing, *metrics, "epochs", *(["diverged"] if table["diverged"].notna().any() else []), "seconds"]
    single = table[columns].assign(directory=directories)
    items: list[Item] = [Table("Runs", single.rename(columns=short), "Seconds: all of a run, its tests included.")]
    if why:
        items.insert(0, Text(f"No means over seeds: {escape_markdown(why)}."))
    if groups is not None:
        shown = groups[by].copy()
        for metric in metrics:
            digits = 2 if metric.endswith("psnr") else 4
            pairs = zip(groups[metric], groups[f"{metric} sd"], strict=True)
            shown[metric] = [format_mean(mean, sd, digits) for mean, sd in pairs]
        shown["runs"] = groups["runs"]
        items.insert(0, Table("Means over seeds", shown.rename(columns=short), "± is the standard deviation."))
    items += curves(records, table, differing if groups is None else by)
    items += best_confusion(records, table, differing)
    if left_out:
        items.append(Text("## Left out\n\n" + "\n".join(f"- {escape_markdown(text)}" for text in left_out)))
    return Page(
        title=f"{len(records)} runs" if len(records) > 1 else str(records[0].config["name"]),
        source=os.path.relpath(top),
        banner=tables.collect_warnings(table, {}, quick=False),
        items=items,
        facts=list(tables.describe_runs(table, command).items()),
        runs=table,
    )


def different(table: DataFrame, keys: Sequence[str]) -> list[str]:
    """The keys of the config whose values are not all the same, without those that say nothing new; the seed last."""
    changing = [
        key
        for key in dict.fromkeys([*FIRST, *keys])
        if table[key].map(str).nunique() > 1 and not any(key == f or key.startswith(f + ".") for f in SAME)
    ]
    return sorted(changing, key=lambda key: key == "seed")


def means(table: DataFrame, by: Sequence[str], metrics: Sequence[str]) -> tuple[DataFrame | None, str]:
    """Means over seeds, or None: where there is one run of each kind, or where runs mustn't be averaged (with why)."""
    if not metrics or not table.duplicated(list(by)).any():
        return None, ""
    try:
        return aggregate_over_seeds(table, by, metrics), ""
    except InputError as error:
        return None, str(error)


def short(key: str) -> str:
    return key.removesuffix("._target_")


def named(table: DataFrame, keys: Sequence[str]) -> list[str]:
    """What each run is called in a figure: the values that differ, `lr 0.1, seed 0`; a number where that is long."""
    names = short_keys(keys)
    rows = to_grid(table[list(keys)]).rows
    texts = [", ".join(f"{name} {value}" for name, value in zip(names, row, strict=True)) for row in rows]
    if len(set(texts)) < len(texts) or max(map(len, texts)) > 32:
        return [f"run {i + 1}" for i in range(len(texts))]
    return texts


def curves(records: Sequence[Record], table: DataFrame, by: Sequence[str]) -> list[Item]:
    """Learning curves: of one run as it is, of several on top of each other, one line for each combination of `by`."""
    if len(records) == 1:
        (one,) = records
        columns = {str(name): column.tolist() for name, column in one.history.items()}
        drawn = plots.learning_curves(columns, one.row["best_epoch"])
        return [Plot("learning_curves", "Learning curves", drawn)]
    parts = [group.index for _, group in table.groupby(list(by), sort=False, dropna=False)] if by else [table.index]
    names = named(table.loc[[part[0] for part in parts]], by) if by else ["mean"]
    note = "" if len(parts) <= MOST else f"Only {MOST} of {len(parts)} curves are drawn."
    items: list[Item] = []
    for metric in CURVES:
        lines, bands = {}, {}
        for name, part in zip(names[:MOST], parts[:MOST], strict=True):
            several = [records[i].history.set_index("epoch").get(metric) for i in part]
            known = pd.DataFrame({i: s for i, s in enumerate(several) if s is not None})
            known = known.dropna() if known.shape[1] > 1 else known  # means of the epochs that all have
            if len(known):
                lines[name] = (known.index.to_numpy(), known.mean(axis=1).to_numpy())
                bands[name] = known.std(axis=1).to_numpy()
        if lines:
            drawn = plots.superimposed(lines, metric, y_label=metric.split("/")[1], bands=bands)
            items.append(Plot(metric.replace("/", "_"), metric, drawn, note))
    return items


def best_confusion(records: Sequence[Record], table: DataFrame, differing: Sequence[str]) -> list[Item]:
    """The test confusions and the classes of the run with the best validation accuracy."""
    scores = [r.row.get("val/accuracy", np.nan) if r.confusion else np.nan for r in records]
    if not np.isfinite(scores).any():
        return []
    best = int(np.nanargmax(scores))
    saved = records[best].confusion
    assert saved is not None
    drawn = plots.confusion_matrix(*saved, title="Confusion matrix, test set")
    which = f" of {named(table, differing)[best]}" if differing else ""
    note = f"Of the run with the best validation accuracy: {escape_markdown(str(records[best].row['run']))}."
    items: list[Item] = [Plot("confusion_matrix", f"Confusion matrix{which}", drawn, note)]
    if rows := records[best].per_class:  # older runs have none
        macro = "The last row has the means over the classes; that of recall is the macro (or balanced) accuracy."
        items.append(Table(f"Test set by class{which}", DataFrame(rows), macro))
    return items
