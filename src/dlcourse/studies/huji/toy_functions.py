"""A ten-parameter convnet and the linear model on three functions of four numbers."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from pandas import DataFrame
from torch import Tensor

from dlcourse import plots
from dlcourse.reports.formats import format_mean, format_percent
from dlcourse.reports.page import Item, Plot, Table
from dlcourse.reports.tables import read_history, refuse_other_protocol
from dlcourse.studies.checks import check
from dlcourse.studies.runs import Runs, load_run
from dlcourse.studies.samples import require, select
from dlcourse.studies.study import Study
from dlcourse.studies.verdict import MissingRunsError, Verdict, answered, decide

FUNCTIONS = ("linear", "max", "log_sum_exp")
SETTINGS = ("first_linear", "first_convnet", "second_linear", "second_convnet")  # blocks of the reports' own settings
CONVERGED = ("linear", "linear_bias", "convnet")  # and of the runs until nothing moves any more
ZERO, FAR = 2.0, 100.0  # times the noise floor: a loss up to the one is taken for 0, above the other it is far from it
PENALTY = 0.1  # λ
LEARNED = 0.01  # of the targets' variance: with less left, a loss is on the axis of a figure that holds the first one


def measure(study: Study, runs: Runs) -> DataFrame:
    """Of each run its test targets' noise floor 1e-4·E[y²] and variance; of the reports' settings (λ/2)‖w‖² too."""
    targets: dict[Any, Tensor] = {}
    rows = []
    for _, row in runs.done().iterrows():
        drawn, own = (row["data.function"], row["data.draw"]), row["block"] in SETTINGS
        if own or drawn not in targets:
            task, data = load_run(row["run"])
            targets.setdefault(drawn, data.splits["test"].all()[1].double())
        y = targets[drawn]
        weights = sum(float(w.detach().square().sum()) for w in task.parameters()) if own else np.nan
        facts = {"floor": 1e-4 * float(y.square().mean()), "variance": float(y.var()), "penalty": PENALTY / 2 * weights}
        rows.append({"hash": row["hash"], **facts})
    return DataFrame(rows).drop_duplicates("hash")


def format_over_draws(rows: DataFrame, metric: str, digits: int = 4, percent: bool = False) -> str:
    """Mean and deviation over runs that differ in nothing but the seed and the draw. Raises InputError for others."""
    refuse_other_protocol(rows, ("data.draw", "data.provenance"))
    mean, sd = rows[metric].mean(), rows[metric].std()
    return format_percent(mean, sd) if percent else format_mean(mean, sd, digits)


# --- the page --------------------------------------------------------------------------------------------------------


def own_settings_table(study: Study, runs: Runs, note: str) -> Table:
    rows = [
        {
            "setting": study.label(block),
            "function": function,
            "train loss": format_over_draws(group, "train/loss"),
            "test loss": format_over_draws(group, "test/loss"),
            "penalty": format_over_draws(group, "penalty"),
            "noise floor": format_mean(group["floor"].mean()),
            "starts": len(group),
        }
        for block in SETTINGS
        for function, group in select(runs.done(), {"block": block}).groupby("data.function", sort=False)
    ]
    return Table("The reports' own settings, after the last iteration", DataFrame(rows), note)


def own_settings_curves(study: Study, runs: Runs) -> list[Item]:
    """Of each of the reports' own settings the losses of its first start."""
    items: list[Item] = []
    for block in SETTINGS:
        shown = select(runs.done(), {"block": block})
        shown = shown[shown["seed"] == shown["seed"].min()]
        columns: dict[str, list[float]] = {}
        for function, run in zip(shown["data.function"], shown["run"], strict=True):
            history = read_history(run)
            thin = history.iloc[:: max(len(history) // 400, 1)]
            columns["epoch"] = thin["epoch"].tolist()
            columns |= {f"{stage}/{function}": thin[f"{stage}/loss"].tolist() for stage in ("train", "val")}
        if columns:
            name = study.label(block)
            drawn = plots.learning_curves(columns, title=f"Loss at each iteration, {name}")
            note = "An epoch is one iteration; train is the batch's loss, val the test set's."
            items.append(Plot(block, f"Loss at each iteration: {name}", drawn, note))
    return items


def converged_table(study: Study, runs: Runs) -> Table:
    rows = []
    for function in FUNCTIONS:
        for block in CONVERGED:
            best = best_starts(runs.done(), block, function)
            rows.append(
                {
                    "function": function,
                    "model": study.label(block),
                    "test loss": format_over_draws(best, "test/loss"),
                    "times the noise floor": format_over_draws(best, "times", 1),
                    "variance left, %": format_over_draws(best, "left", percent=True),
                    "draws": len(best),
                }
            )
    note = (
        "Test mean squared errors, mean ± standard deviation over the draws of W; of the convnet's starts the one with "
        "the lowest training loss."
    )
    return Table("Until nothing moves any more", DataFrame(rows), note)


def starts(study: Study, runs: Runs) -> list[Item]:
    """Where the convnet ends from each start, of one draw of W."""
    rows = select(runs.done(), {"block": "convnet"})
    rows = rows[rows["data.draw"] == rows["data.draw"].min()]
    lines = {
        str(function): (list(range(1, len(group) + 1)), group["test/loss"].sort_values().to_numpy())
        for function, group in rows.groupby("data.function", sort=False)
    }
    if not lines:
        return []
    drawn = plots.superimposed(lines, "The convnet's starts, best first", "start", "test loss", log_y=True)
    return [Plot("starts", "Where the convnet ends, from each start", drawn, "One draw of W.")]


# --- claims ----------------------------------------------------------------------------------------------------------


def best_starts(table: DataFrame, block: str, function: str) -> DataFrame:
    """Of each draw of W the run with the lowest training loss; `times` the noise floor, share of variance `left`."""
    rows = select(table, {"block": block, "data.function": function})
    rows = rows[rows["train/loss"].notna()]
    best = rows.loc[rows.groupby("data.draw")["train/loss"].idxmin()]
    return best.assign(times=best["test/loss"] / best["floor"], left=best["test/loss"] / best["variance"])


def best_of_all(table: DataFrame, block: str) -> dict[str, DataFrame]:
    """The best starts on each function. Raises MissingRunsError where a planned draw of W has no run of the block."""
    planned = select(table, {"block": block})
    best = {function: best_starts(table, block, function) for function in FUNCTIONS}
    draws = planned["data.draw"].nunique()
    if not draws or any(len(best[f]) < draws for f in planned["data.function"].unique()):
        raise MissingRunsError(f"runs missing: {block}")
    return best


def count_starts(table: DataFrame, block: str) -> int:
    return int(select(table, {"block": block}).groupby(["data.function", "data.draw"]).size().max())


def describe_best(best: DataFrame) -> str:
    left = format_over_draws(best, "left", percent=True)
    return f"{format_over_draws(best, 'times', 1)} times the noise floor ({left} % of the variance)"


def describe_floors(table: DataFrame, block: str) -> str:
    rows = select(table, {"block": block})
    if not len(rows) or rows["epochs"].isna().any():
        raise MissingRunsError(f"runs missing: {block}")
    times = (rows["test/loss"] / rows["floor"]).groupby(rows["data.function"], sort=False).mean()
    return ", ".join(f"{function} {format_mean(value, digits=1)}" for function, value in times.items())


@check
def convnet_learns_all(table: DataFrame) -> Verdict:
    """Reproduced where the best start's test loss is zero up to the noise, on every draw of W."""
    best = best_of_all(table, "convnet")
    ends = "; ".join(f"{f} {describe_best(rows)}" for f, rows in best.items())
    holds = all((rows["times"] <= ZERO).all() for rows in best.values())
    return decide(holds, f"the best of {count_starts(table, 'convnet')} starts on each draw of W ends at: {ends}")


@check
def convnet_equals_linear(table: DataFrame, convnet: str = "convnet", linear: str = "linear") -> Verdict:
    """Reproduced where the convnet's test loss is at most `ZERO` times the linear model's, on every draw of W."""
    ours, theirs = (best_of_all(table, block)["linear"].set_index("data.draw") for block in (convnet, linear))
    losses = [format_over_draws(best, "test/loss") for best in (ours, theirs)]
    holds = bool((ours["test/loss"] <= ZERO * theirs["test/loss"]).all())
    return decide(holds, f"test loss on the linear function: the convnet's {losses[0]}, the linear model's {losses[1]}")


@check
def linear_learns_only(table: DataFrame, report: str) -> Verdict:
    """Reproduced where in the end it is at 0 on `linear` and far from it on the others, on every draw of W."""
    times = {f: rows["times"] for f, rows in best_of_all(table, "linear").items()}
    holds = all((t <= ZERO if f == "linear" else t > FAR).all() for f, t in times.items())
    listed = ", ".join(f"{f} {format_mean(t.mean(), digits=1)}" for f, t in times.items())
    own = describe_floors(table, f"{report}_linear")
    return decide(holds, f"test loss in times of the noise floor: {listed}; in the report's setting: {own}")


@check
def reaches_floor(table: DataFrame, functions: Sequence[str]) -> Verdict:
    best = best_of_all(table, "convnet")
    return answered(
        "; ".join(
            f"on {f} for {(best[f]['times'] <= ZERO).sum()} of {len(best[f])} draws of W, at {describe_best(best[f])}"
            for f in functions
        )
    )


@check
def bias_helps(table: DataFrame) -> Verdict:
    best = {block: best_of_all(table, block) for block in CONVERGED}
    losses = {f: [format_mean(best[block][f]["test/loss"].mean()) for block in CONVERGED] for f in FUNCTIONS}
    texts = ["{}: {} without, {} with it, the convnet {}".format(f, *found) for f, found in losses.items()]
    return answered("test loss, " + "; ".join(texts))


@check
def depends_on_start(table: DataFrame, block: str) -> Verdict:
    """Reproduced where on one of the functions the worst loss is twice the best or more."""
    describe_floors(table, block)  # every run is needed
    rows = require(table, "epochs", {"block": block})
    losses = rows["test/loss"].fillna(np.inf)
    starts = losses.groupby([rows["data.function"], rows["data.draw"]])
    if starts.size().min() < 2:
        raise MissingRunsError("it needs two starts or more")
    ranges = losses.groupby(rows["data.function"], sort=False).agg(["min", "max"])
    texts = [f"{function} {format_mean(low)} to {format_mean(high)}" for function, (low, high) in ranges.T.items()]
    holds = bool((starts.max() >= 2 * starts.min()).any())
    return decide(holds, f"test loss over {starts.size().max()} starts: " + ", ".join(texts))


@check
def own_settings(table: DataFrame, names: dict[str, str]) -> Verdict:
    texts = [f"{names[block]} {describe_floors(table, block)}" for block in SETTINGS]
    return answered("test loss in times of the noise floor: " + "; ".join(texts))


@check
def learns(table: DataFrame, block: str, functions: Sequence[str]) -> Verdict:
    """Reproduced where these functions are learned and no others: the best start leaves less than LEARNED."""
    left = {f: rows["left"] for f, rows in best_of_all(table, block).items()}
    learned = [f for f, shares in left.items() if (shares < LEARNED).all()]
    listed = ", ".join(f"{f} {format_percent(shares.mean())} %" for f, shares in left.items())
    return decide(
        learned == list(functions),
        f"of the variance of the test targets the best of {count_starts(table, block)} runs leaves: {listed}; learned "
        f"is less than {format_percent(LEARNED, digits=0)} %",
    )
