"""The end of a sweep: a table of what came out, its report, and how to look at the best run."""

import logging
import shutil
from collections.abc import Sequence
from pathlib import Path
from statistics import mean, stdev

from dlcourse.core.errors import InputError
from dlcourse.core.grid import GAP, Grid, format_grid
from dlcourse.reports.formats import format_mean
from dlcourse.runs import best_run, quote_path, stand_in_line
from dlcourse.runs.differences import different_keys, short_keys, short_value
from dlcourse.runs.listing import Listed, list_runs, results

MOST = 30  # lines of the table


def conclude(folder: Path, figures: bool) -> None:
    """Print what a sweep came to. figures: whether its report is written, which has some."""
    several = list_runs(folder)
    print(f"\n{sweep_table(several)}\n")
    for line in _mishaps(several):
        print(line)
    done = [one for one in several if one.status == "done"]
    for line in sorted({stand_in_line(one.result) for one in done if one.result["data"].get("source") != "real"}):
        print(line)
    if not done:
        return
    if figures:
        _write_report(several, folder)
    try:
        best = best_run(results(done))
    except InputError as error:  # they monitor different metrics
        print(f"no best run: {error}")
    else:
        print(f"best run: {quote_path(best)}; look at it: python -m dlcourse.evaluate run={quote_path(folder)}")
    if any(folder.glob("*/events.out.tfevents.*")):
        print(f"tensorboard --logdir {quote_path(folder)}")


def _mishaps(several: Sequence[Listed]) -> list[str]:
    """A line for each thing that went wrong: `failed: 1_lr=-1, 3_lr=-1: optimizer.lr must be ...`."""
    named: dict[tuple[str, str], list[str]] = {}
    for one in several:
        if one.status not in ("done", "running"):
            named.setdefault((one.status, one.why), []).append(one.run.name)
    return [
        ": ".join(filter(None, (status, ", ".join([*names[:3], *["..."] * (len(names) > 3)]), why)))
        for (status, why), names in named.items()
    ]


def sweep_table(several: Sequence[Listed]) -> str:
    """A row for each combination of what differs but for the seed, the best first; without such keys a row a run."""
    keys = different_keys([one.values for one in several if one.values])
    by = [key for key in keys if key != "seed"] or keys
    rows: dict[tuple[str, ...], list[Listed]] = {}
    for one in several:
        rows.setdefault(tuple(one.values.get(key, GAP) for key in by), []).append(one)
    monitors = {str(one.result["monitor"]) for one in several if one.score is not None}
    monitor = monitors.pop() if len(monitors) == 1 else ""
    sign = -1 if any(one.score is not None and one.result.get("mode") == "min" for one in several) else 1
    ranks = {row: sign * mean(scores) for row, ones in rows.items() if (scores := _scores(ones))}
    order = sorted(rows, key=lambda row: (row not in ranks, -ranks.get(row, 0.0))) if monitor else list(rows)
    averaged = by != keys
    lines = []
    for row in order:
        ones, best = rows[row], bool(monitor) and len(ranks) > 1 and row == order[0]
        mark = "best" if best else "" if _scores(ones) else ones[0].status
        lines.append([mark, *map(short_value, row), *_figures(ones, monitor, averaged)])
    header = ["", *short_keys(by), monitor or "score", *(["runs"] if averaged else []), "seconds"]
    numbers = [False, *(all(map(_is_number, column)) for column in zip(*rows, strict=True)), True, averaged, True]
    text = format_grid(Grid(header, lines, numbers), shutil.get_terminal_size().columns, MOST)
    if by == ["seed"] and len(scores := _scores(several)) > 1 and monitor:
        text += f"\nmean over {len(scores)} seeds: {monitor} {format_mean(mean(scores), stdev(scores))}"
    return text + ("\nmeans over seeds, ± the standard deviation; seconds: of one run" if averaged else "")


def _figures(ones: Sequence[Listed], monitor: str, averaged: bool) -> list[str]:
    """What a row says of its runs: score, how many there are, seconds."""
    scores, done = _scores(ones), [one for one in ones if one.status == "done"]
    score = format_mean(mean(scores), stdev(scores) if len(scores) > 1 else None) if scores else GAP
    if scores and not monitor:
        score = f"{ones[0].result['monitor']} {score}"
    many = str(len(done)) if len(done) == len(ones) else f"{len(done)} of {len(ones)}"
    seconds = f"{mean(one.result['seconds'] for one in done):.1f}" if done else GAP
    return [score, *([many] if averaged else []), seconds]


def _scores(ones: Sequence[Listed]) -> list[float]:
    return [one.score for one in ones if one.score is not None]


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return text == GAP
    return True


def _write_report(several: Sequence[Listed], folder: Path) -> None:
    from dlcourse.reports.overview import write_overview

    where = quote_path(folder)
    for name in ("matplotlib", "fontTools"):
        logging.getLogger(name).setLevel(logging.WARNING)
    try:
        write_overview([one.run for one in several], folder, f"python -m dlcourse.report {where} out={where}")
    except InputError as error:
        print(f"no report: {error}")
    else:
        print(f"report: {quote_path(folder / 'report.html')}")
