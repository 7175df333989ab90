"""Runs as rows of a table: what their directories say, means over seeds, and what has to be said of them all."""

import csv
import hashlib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from pandas import DataFrame

from dlcourse.config.identity import NOT_HASHED
from dlcourse.core.errors import InputError, or_list
from dlcourse.launch.overrides import override_text
from dlcourse.runs import METRICS, STEPS, confusion_file, read_result

PROTOCOL = ("data.", "model.", "optimizer.", "schedule.", "stopping.", "trainer.")
ENCODER = re.compile(r"run [0-9a-f]{16}")  # which one is in each run's row
FREE = (*NOT_HASHED, "data.encoder", "data.root")  # may differ between runs that are averaged; files are compared


def aggregate_over_seeds(table: DataFrame, by: Sequence[str], metrics: Sequence[str]) -> DataFrame:
    """Means and standard deviations (of a sample) over seeds.

    Returns a row for each combination of `by`: those columns, `METRIC`, `METRIC sd`, and `runs`, how many have the
    first metric. Runs that are missing leave a gap (NaN). Raises InputError where runs differ in more than that and
    the seed.
    """
    rows = []
    for values, group in table.groupby(list(by), sort=False, dropna=False):
        known = group[group[metrics[0]].notna()] if metrics[0] in group else group.iloc[:0]
        refuse_other_protocol(known, by)
        row: dict[str, Any] = dict(zip(by, values, strict=True))
        for metric in metrics:
            column = pd.to_numeric(known[metric]) if metric in known else pd.Series(dtype=float)
            row |= {metric: column.mean(), f"{metric} sd": column.std()}
        rows.append(row | {"runs": len(known)})
    return DataFrame(rows, columns=[*by, *(name for m in metrics for name in (m, f"{m} sd")), "runs"])


def refuse_other_protocol(group: DataFrame, by: Sequence[str] = ()) -> None:
    """Raise InputError for runs that differ in their data or in a key of their config other than the seed.

    Codes are by different encoders, one for each seed: those are compared instead.
    """
    encoded = "encoder" in group and group["encoder"].notna().any()
    free = (*FREE, "data.files", "data.provenance") if encoded else FREE
    for key in group.columns:
        name = key.removeprefix("encoder.")
        skipped = any(name == f or name.startswith(f + ".") for f in (FREE if name != key else free))
        if name.startswith(PROTOCOL) and key not in by and not skipped:
            different = group[key].map(str).unique()
            if len(different) > 1:
                raise InputError(f"runs whose {key} differ can't be averaged: {' and '.join(different[:3])}")


def run_record(run: Path) -> dict[str, Any]:
    """What a run's result says, as columns of a table."""
    result = read_result(run)
    data, weights = result["data"], result.get("weights") or {}
    published = bool(weights.get("published", True))
    return {
        **{key: np.nan if value is None else value for key, value in result["metrics"].items()},
        **{key: result.get(key) for key in ("epochs", "best_epoch", "steps", "train_seconds", "seconds", "parameters")},
        **{key: result.get(key) for key in ("status", "score", "device", "commit", "config_hash")},
        "diverged": (result.get("diverged") or {}).get("epoch"),
        "comparable": bool(data.get("comparable")) and published,
        "data.comparable": bool(data.get("comparable")),
        "data.source": data.get("source"),
        "data.provenance": data.get("provenance"),
        "data.files": hashlib.sha256(repr(sorted((data.get("files") or {}).items())).encode()).hexdigest()[:12],
        "weights": None if published else "rebuilt",
        "run": run,
    }


# --- what can be read from a run ---


def read_history(run: Path) -> DataFrame:
    """metrics.csv: a row an epoch."""
    return pd.read_csv(run / METRICS)


def read_steps(run: Path) -> DataFrame:
    """steps.csv: the loss of each training step."""
    return pd.read_csv(run / STEPS)


def read_confusion(run: Path, split: str = "test") -> tuple[np.ndarray[Any, Any], list[str]]:
    """int [K, K], rows are true classes, and the classes' names."""
    with confusion_file(run, split).open(newline="", encoding="utf-8") as file:
        _, *rows = csv.reader(file)
    return np.array([row[1:] for row in rows], dtype=int), [row[0] for row in rows]


def count_confusions(run: Path) -> list[tuple[str, str, int]]:
    """Two classes of the test set and how often one was taken for the other, either way: those confused most first."""
    counts, classes = read_confusion(run)
    both = np.triu(counts + counts.T, 1)
    pairs = (divmod(int(at), len(classes)) for at in np.argsort(-both, axis=None, kind="stable"))
    return [(classes[i], classes[j], int(both[i, j])) for i, j in pairs if both[i, j]]


# --- what has to be said ---


def collect_warnings(table: DataFrame, overrides: Mapping[str, Any], quick: bool) -> list[str]:
    """What has to be said in large letters."""
    out = []
    if quick:
        out.append("budget=quick: fewer runs, examples and epochs than the study asks for. No verdicts follow from it.")
    if overrides:
        out.append("Run with " + ", ".join(f"{key}={override_text(value)}" for key, value in overrides.items()) + ".")
    for state, number in table["status"].value_counts().items():
        if state != "done":
            out.append(f"{number} of {len(table)} runs are {state}: they are gaps below.")
    done = table[table["status"] == "done"]
    if len(done):
        for text, group in done[~done["comparable"].astype(bool)].groupby("data.provenance"):
            kind = "Stand-in data" if (group["data.source"] != "real").any() else "Not the published files"
            out.append(f"{kind} ({or_list(sorted(set(group['data.name'])), 5)}): {text}.")
        if "diverged" in done and (epochs := sorted(done["diverged"].dropna().astype(int).unique())):
            many = done["diverged"].notna().sum()
            when = or_list([str(epoch) for epoch in epochs], 5)
            out.append(f"{many} of {len(table)} runs diverged: their loss is no finite number from epoch {when} on.")
        if (done["weights"] == "rebuilt").any():
            out.append("Pretrained weights rebuilt from other copies: close to torchvision's own, not equal.")
    return out


def devices(done: DataFrame) -> str:
    """What runs were made on; where that differs, which of them."""
    if done["device"].nunique() < 2:
        return "".join(done["device"].dropna().unique())
    parts = []
    for device, group in done.groupby("device"):
        counts = dict(group["block"].value_counts()) if "block" in group else {}
        parts.append(f"{device}: {', '.join(f'{n} of {block}' for block, n in counts.items()) or len(group)}")
    return "; ".join(parts)


def describe_runs(table: DataFrame, command: str) -> dict[str, str]:
    done = table[table["status"] == "done"]
    out = {"command": command, "runs": f"{len(done)} of {len(table)} done"}
    if len(done):
        out |= {
            "training": f"{done['seconds'].sum() / 60:.1f} minutes in all, one run after the other",
            "device": devices(done),
            "data": "; ".join(sorted({ENCODER.sub("a run", text) for text in done["data.provenance"].dropna()})),
        }
        if commits := sorted({str(c)[:9] for c in done["commit"].dropna()}):
            out["commit"] = ", ".join(commits)
    return out
