"""Task 4: softmax regression with a penalty (λ/2)‖w‖²."""

import math
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from pandas import DataFrame
from torch import Tensor, nn

from dlcourse import plots
from dlcourse.reports.formats import format_mean, format_percent
from dlcourse.reports.page import Item, Plot, Table
from dlcourse.studies.checks import check
from dlcourse.studies.items import curves, sample, weights
from dlcourse.studies.runs import Runs, load_initial_task, load_run, network_inputs
from dlcourse.studies.samples import Sample, aggregate, aggregate_by
from dlcourse.studies.study import Study
from dlcourse.studies.verdict import MissingRunsError, Verdict, answered, decide

DECAY = "optimizer.weight_decay"
YEARS = {"2022": [0.0, 0.002, 0.02, 0.2, 2.0], "2021": [0.0, 0.001, 0.01, 0.1, 1.0]}
NEAR = 0.01  # a share of the lowest J: training that ends within it has worked
COLUMNS = {
    "val/accuracy": "validation accuracy, %",
    "val/loss": "validation cross-entropy",
    "train/loss": "training cross-entropy",
    "norm": "‖w‖²",
    "objective": "J",
    "lowest": "J*",
}


def measure(study: Study, runs: Runs) -> DataFrame:
    """Of each run ‖w‖² and its objective J on the training set; of each λ the lowest J there is (see `minimise`)."""
    minima: dict[float, dict[str, float]] = {0.0: {}}  # without a penalty there need be no minimum
    rows = []
    for _, row in runs.done().iterrows():
        task, data = load_run(row["run"])
        x, y = network_inputs(data, "train"), data.splits["train"].all()[1]
        decay = float(row[DECAY])
        if decay not in minima:
            minima[decay] = minimise(load_initial_task(row["run"]).net, x, y, decay)
        with torch.no_grad():
            norm = sum(float(w.square().sum()) for w in task.parameters())
            objective = float(F.cross_entropy(task(x), y)) + decay / 2 * norm
        rows.append({"hash": row["hash"], "norm": norm, "objective": objective, **minima[decay]})
    return DataFrame(rows)


def minimise(net: nn.Module, x: Tensor, y: Tensor, decay: float) -> dict[str, float]:
    """The lowest J that any weights have, by L-BFGS; the cross-entropy there; and how exact that is.

    J is λ-strongly convex, so J(w) - J* ≤ ‖∇J(w)‖²/(2λ) (Boyd and Vandenberghe, Convex Optimization, 9.1.2).
    """
    weights = list(net.parameters())
    optimizer = torch.optim.LBFGS(
        weights, max_iter=200, tolerance_grad=1e-5, tolerance_change=1e-9, history_size=20,
        line_search_fn="strong_wolfe",
    )  # fmt: skip

    def objective() -> Tensor:
        optimizer.zero_grad()
        value = F.cross_entropy(net(x), y) + decay / 2 * sum(w.square().sum() for w in weights)
        value.backward()
        return value

    optimizer.step(objective)
    value = float(objective().detach())
    with torch.no_grad():
        slope = sum(float(w.grad.square().sum()) for w in weights if w.grad is not None)
        loss = float(F.cross_entropy(net(x), y))
    return {"lowest": value, "loss there": loss, "exact to": slope / (2 * decay)}


# --- the page --------------------------------------------------------------------------------------------------------


def each_decay(study: Study, runs: Runs) -> Table:
    groups = {float(str(decay)): rows for decay, rows in runs.done().groupby(DECAY)}
    frame = DataFrame({"λ": [f"{decay:g}" for decay in groups]})
    for metric, title in COLUMNS.items():
        samples = [sample(rows, metric) for rows in groups.values()]
        form = format_percent if metric.endswith("accuracy") else format_mean
        frame[title] = [form(s.mean, s.sd or None) for s in samples]
    frame["runs"] = [len(rows) for rows in groups.values()]
    note = (
        "± over seeds. The cross-entropies are without the penalty; J, on the training set, is with it. J\\* is the "
        "lowest J that any weights have: with a small λ, 50 passes end well above it."
    )
    return Table("Each λ", frame, note)


def figures(study: Study, runs: Runs) -> list[Item]:
    """Weights without and with the largest penalty, learning curves of each year's λ, and figures against λ."""
    done = runs.done()
    first = Runs(done[done["seed"] == done["seed"].min()], runs.folder)
    items: list[Item] = []
    for decay in (0.0, 2.0):
        title = f"The weights of the ten digits, λ = {decay:g}"
        items += weights(
            study, first, f"weights_{decay:g}", f"{title} (task 4b)", {DECAY: decay}, heading=title, columns=5
        )
    for year, decays in YEARS.items():
        title = f"Validation accuracy, the λ of {year}"
        if first.table[DECAY].isin(decays).any():
            look: dict[str, Any] = {"heading": title, "y_label": "accuracy", "y_limits": (0.7, 0.93)}
            name, metrics, of = f"accuracy_{year}", ["val/accuracy"], {DECAY: decays}
            items.append(curves(study, first, name, f"{title} (task 4c)", metrics, DECAY, of, "step", **look))
    for name, metric, title in (
        ("accuracy", "val/accuracy", "Validation accuracy against λ (task 4c)"),
        ("norms", "norm", "‖w‖² against λ (task 4e)"),
    ):
        means = done.groupby(DECAY)[metric].mean()
        points = {"": (means.index.to_numpy(), means.to_numpy())}
        figure = plots.superimposed(
            points, title, "λ", COLUMNS[metric].removesuffix(", %"), log_x=True, log_y=metric == "norm"
        )
        items.append(Plot(name, title, figure))
    return items


# --- claims ----------------------------------------------------------------------------------------------------------


def at_decay(table: DataFrame, decay: float, *metrics: str) -> list[Sample]:
    """Samples over the seeds of one λ, each of which is needed."""
    return [aggregate(table, metric, {DECAY: decay}, complete=True) for metric in metrics]


def by_decay(table: DataFrame, metric: str) -> dict[float, Sample]:
    """A sample for each λ, the lowest first; each is needed."""
    samples = dict(sorted(aggregate_by(table, metric, DECAY, complete=True).items()))
    if not samples:
        raise MissingRunsError("runs missing: every λ is needed")
    return samples


@check
def loss_above_one(table: DataFrame, decay: float) -> Verdict:
    loss, objective = at_decay(table, decay, "val/loss", "objective")
    return decide(
        loss.mean > 1,
        f"at λ = {decay:g} the validation cross-entropy is {format_mean(loss.mean, loss.sd)}, J is "
        f"{format_mean(objective.mean, objective.sd)} (n = {loss.n})",
    )


@check
def does_not_work(table: DataFrame, decay: float) -> Verdict:
    """Where training ends within 1 % of the lowest J that there is, it works, and the claim does not hold."""
    objective, lowest, accuracy = at_decay(table, decay, "objective", "lowest", "val/accuracy")
    above = objective.mean / lowest.mean - 1
    return decide(
        above > NEAR,
        f"at λ = {decay:g} training ends at J = {format_mean(objective.mean, objective.sd)}, {format_percent(above)} % "
        f"above the lowest that any weights have, {format_mean(lowest.mean)}; validation accuracy "
        f"{format_percent(accuracy.mean, accuracy.sd)} % (n = {objective.n})",
    )


@check
def fault_or_result(table: DataFrame, decay: float) -> Verdict:
    """Whether a loss above 1 is what the lowest J has, too."""
    lowest, loss, exact, norm = at_decay(table, decay, "lowest", "loss there", "exact to", "norm")
    return answered(
        f"{'the correct result' if loss.mean > 1 else 'a fault'}: at λ = {decay:g} the lowest J that any weights have "
        f"is {format_mean(lowest.mean)} (exact to {exact.mean:.0e}), and their cross-entropy is "
        f"{format_mean(loss.mean)}; weights of zero have log 10 = {math.log(10):.4f}, and the penalty keeps them near "
        f"that, at ‖w‖² = {format_mean(norm.mean, norm.sd)}"
    )


@check
def expression_altered(table: DataFrame) -> Verdict:
    """Reproduced where each larger λ has a higher training cross-entropy: the minimum of J is not that of C."""
    losses, train, val = (by_decay(table, metric) for metric in ("train/loss", "train/accuracy", "val/accuracy"))
    decays, means = list(losses), [s.mean for s in losses.values()]
    least, most = (val[decay].mean for decay in (decays[0], decays[-1]))
    return decide(
        all(a < b for a, b in pairwise(means)) and least > most,
        f"from λ = {decays[0]:g} to {decays[-1]:g} the training cross-entropy goes from {format_mean(means[0])} to "
        f"{format_mean(means[-1])} and validation accuracy from {format_percent(least)} to {format_percent(most)} %; "
        "there was little to gain: without a penalty, accuracy is only "
        f"{format_percent(train[decays[0]].mean - least)} points higher in training than in validation",
    )


@check
def norms_fall(table: DataFrame) -> Verdict:
    samples = by_decay(table, "norm")
    means = [s.mean for s in samples.values()]
    falls = all(a > b for a, b in pairwise(means))
    listed = ", ".join(f"{format_mean(s.mean, s.sd, 3)} at λ = {decay:g}" for decay, s in samples.items())
    return answered(f"{'it falls with each step of λ' if falls else 'it does not fall throughout'}: {listed}")
