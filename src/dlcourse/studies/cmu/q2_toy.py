"""Question 2: a network from scratch on four clusters of points."""

import math
from pathlib import Path

import pandas as pd
import torch
import torch.nn.functional as F
from pandas import DataFrame
from torch import Tensor, nn

from dlcourse.reports.page import Table
from dlcourse.reports.tables import read_history
from dlcourse.studies.checks import check
from dlcourse.studies.items import sample
from dlcourse.studies.runs import Runs, load_initial_task, load_run
from dlcourse.studies.samples import format_metric, metric_label, require
from dlcourse.studies.study import Study
from dlcourse.studies.verdict import Verdict, answered, decide

PARAMETERS = ("Wlayer1", "blayer1", "Woutput", "boutput")
ITERATIONS = (0, 100, 200, 300, 400)
ERROR, ERROR_OF_MEAN = "gradient error total", "gradient error of the mean"


def losses(study: Study, runs: Runs) -> Table:
    """The loss during some iterations, beside the report's two runs."""
    theirs = study.published["losses"].pivot(index="iteration", columns="run", values="loss")
    ours = [format_metric("loss", sample(runs.done(), f"iteration {i}/loss")) for i in theirs.index]
    published = {f"published, run {run}": theirs[run].to_list() for run in theirs}
    frame = DataFrame({"iteration": theirs.index, "loss": ours} | published)
    return Table("Loss, summed over the 40 points", frame, "During an iteration, as the report prints it.")


def final(study: Study, runs: Runs) -> Table:
    """Loss and accuracy in the end, a row a run, the report's two among them."""
    done = runs.done().assign(run=lambda rows: [f"seed {seed}" for seed in rows["seed"]])
    rows = pd.concat([done, study.published["final"].assign(run=lambda theirs: "report, " + theirs["run"])])
    scores = {metric_label(m): [format_metric(m, float(v)) for v in rows[m]] for m in ("final/loss", "train/accuracy")}
    frame = DataFrame({"run": rows["run"].to_list()} | scores)
    return Table("After the last iteration", frame, "The report's are of its iteration 400.")


def gradients(study: Study, runs: Runs) -> Table:
    theirs, done = study.published["gradients"], runs.done()
    largest = [f"{done[f'gradient error {name}'].max():.2e}" for name in theirs["parameter"]]
    frame = theirs.assign(**{"largest of the seeds": largest, "published": [f"{e:.2e}" for e in theirs["error"]]})
    title = "Gradients against central differences: sums of relative errors"
    return Table(title, frame.drop(columns="error"))


def measure(study: Study, runs: Runs) -> DataFrame:
    """The loss on the way, the variance of the initial weights, the errors of the gradients at them."""
    rows = []
    for hash_, run in zip(runs.done()["hash"], runs.done()["run"], strict=True):
        net, x, y = initial_network(run)
        past = read_history(run).set_index("epoch")["train/loss"] * len(y)
        weights = {name: p for name, p in zip(PARAMETERS, net.parameters(), strict=True) if name.startswith("W")}
        sums, means = gradient_errors(net, x, y), gradient_errors(net, x, y, divided_by=len(y))
        loss = F.cross_entropy(net(x), y, reduction="sum").item()
        rows.append(
            {"hash": hash_, "initial/loss": loss, "final/loss": past.iloc[-1]}
            | {f"iteration {i}/loss": past.get(i + 1, math.nan) for i in ITERATIONS}
            | {f"initial/variance of {name}": float(p.detach().var(correction=0)) for name, p in weights.items()}
            | {f"gradient error {name}": error for name, error in sums.items()}
            | {ERROR_OF_MEAN: means["total"]}
        )
    return DataFrame(rows)


def initial_network(run: Path) -> tuple[nn.Module, Tensor, Tensor]:
    """A run's network before training and its training examples, in double precision."""
    _, data = load_run(run)
    points, y = data.splits["train"].all()
    return load_initial_task(run).net.double(), data.transform(points).double(), y


def gradient_errors(net: nn.Module, x: Tensor, y: Tensor, eps: float = 1e-6, divided_by: int = 1) -> dict[str, float]:
    """For each parameter the sum of |a - n| / max(|a|, |n|) over its entries, and their total.

    a: the gradient of the summed cross-entropy. n: central differences of that loss, or of it `divided_by` a number.
    """

    def loss() -> Tensor:
        return F.cross_entropy(net(x), y, reduction="sum")

    net.zero_grad()
    loss().backward()
    errors = {}
    with torch.no_grad():
        for name, p in zip(PARAMETERS, net.parameters(), strict=True):
            assert p.grad is not None
            numeric = torch.empty_like(p)
            for entry, slope in zip(p.view(-1), numeric.view(-1), strict=True):
                value = entry.item()
                entry.fill_(value + eps)
                up = loss()
                entry.fill_(value - eps)
                slope.fill_((up - loss()) / (2 * eps * divided_by))
                entry.fill_(value)
            errors[name] = ((p.grad - numeric).abs() / torch.maximum(p.grad.abs(), numeric.abs())).sum().item()
    return errors | {"total": sum(errors.values())}


@check
def gradient_check(table: DataFrame, bound: float, published: float) -> Verdict:
    """Reproduced where the total error of the gradients is below the hand-out's bound in every run."""
    errors = require(table, ERROR)[ERROR]
    worst = errors.max()
    evidence = f"at most {worst:.2e} in {len(errors)} runs, published {published:.2e}, the bound is {bound:g}"
    return decide(bool(worst < bound), evidence)


@check
def toy_convention(table: DataFrame, points: int) -> Verdict:
    """Which loss the gradients belong to: that whose differences they agree with."""
    rows = require(table, ERROR)
    of_sum, of_mean = rows[ERROR].max(), rows[ERROR_OF_MEAN].min()
    return answered(
        f"to {'the sum' if of_sum < of_mean else 'the mean'}: the gradients' total error is {of_sum:.2g} against the "
        f"sum over the {points} points and {of_mean:.3g} against their mean; so the rate is that of a sum, and grows "
        "with the batch"
    )
