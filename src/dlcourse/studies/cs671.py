"""CS671 (IIT Mandi), assignment 2 (2022): optimizers, autoencoders, denoising; tables, figures, checks of claims."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from matplotlib.figure import Figure
from pandas import DataFrame, Series
from torch import Tensor

from dlcourse import plots
from dlcourse.data.module import SPLITS, DataModule
from dlcourse.nets import Autoencoder
from dlcourse.reports.page import Item, Plot, Table, format_mean, format_percent
from dlcourse.reports.tables import aggregate_over_seeds, read_confusion, read_history
from dlcourse.studies.runs import Runs, load_initial_task, load_run
from dlcourse.studies.study import Study
from dlcourse.studies.verdict import Verdict, answered, beaten, decide, no_verdict
from dlcourse.tasks import Reconstruct
from dlcourse.tasks.reconstruct import EVAL_NOISE_SEED, add_noise

Array = np.ndarray[Any, Any]
Row = dict[str, Any]
GONE = (math.nan, math.nan)
Rows = Sequence[Mapping[str, Any]]  # published figures, as a study's YAML has them

OPTIMIZERS = {
    "cs671/fcnn_sgd": "SGD",
    "cs671/fcnn_vgd": "VGD",
    "cs671/fcnn_nag": "NAG",
    "cs671/fcnn_rmsprop": "RMSProp",
    "cs671/fcnn_adam": "Adam",
}
BEST = "30,20,10"  # the architecture that the report calls the best
MIN_DELTA = 1e-4
PATIENCES = (1, 2, 5, 10)
NOISES = (0.0, 0.2, 0.4)


# --- when a stopping rule would have stopped -------------------------------------------------------------------------


def waits(losses: Sequence[float], min_delta: float = MIN_DELTA) -> list[int]:
    """After each epoch, for how many epochs the loss has not improved on its best by more than min_delta (Keras)."""
    best, wait, out = math.inf, 0, []
    for loss in losses:
        better = loss < best - min_delta
        best, wait = (loss, 0) if better else (best, wait + 1)
        out.append(wait)
    return out


def stop_epoch(losses: Sequence[float], rule: str, min_delta: float = MIN_DELTA, patience: int = 1) -> int | None:
    """The epoch (from 1) after which a rule stops; None where it does not within these epochs.

    rule: `change`: the loss differs from the epoch's before by less than min_delta, `patience` times in a row (the
    course's hand-out, with 1); `improvement`: no improvement on the best for `patience` epochs (Keras's EarlyStopping).
    """
    if rule == "improvement":
        return next((epoch for epoch, wait in enumerate(waits(losses, min_delta), 1) if wait >= patience), None)
    near = 0
    for epoch in range(2, len(losses) + 1):
        near = near + 1 if abs(losses[epoch - 1] - losses[epoch - 2]) < min_delta else 0
        if near >= patience:
            return epoch
    return None


def patience_for(losses: Sequence[float], epoch: int, min_delta: float = MIN_DELTA) -> int | None:
    """The smallest patience with which Keras's rule does not stop before `epoch`; None where there are fewer epochs."""
    return None if len(losses) < epoch else 1 + max(waits(losses[: epoch - 1], min_delta), default=0)


# --- measured on the runs --------------------------------------------------------------------------------------------


def optimizers_measure(study: Study, runs: Runs) -> DataFrame:
    """For each run: where the rules stop, the patience for the published epochs, how often the loss rose."""
    known = with_names(runs.done())
    published = study.published["accuracy"].set_index(["hidden", "optimizer"])["epochs"]
    out = []
    for row in records(known):
        losses = read_history(row["run"])["train/loss"].tolist()
        out.append(
            {"hash": row["hash"], "stops/change": stop_epoch(losses, "change")}
            | {f"stops/patience {p}": stop_epoch(losses, "improvement", patience=p) for p in PATIENCES}
            | {
                "patience/longest": max(waits(losses)),
                "patience/published": patience_for(losses, int(published.get((row["hidden"], row["optimizer"]), 1))),
                "rises": int((np.diff(losses) > 0).sum()),
            }
        )
    return as_table(out)


def ae1_measure(study: Study, runs: Runs) -> DataFrame:
    """The mean squared error of as many principal components as the code has numbers, of the same images."""
    known = with_names(runs.block("autoencoder").done())
    if not len(known):
        return DataFrame(columns=["hash"])
    _, data = load_run(known["run"].iloc[0])
    errors = pca_errors({split: pixels(data, split) for split in SPLITS}, sorted(set(known["units"])))
    return DataFrame(
        {"hash": row["hash"]} | {f"pca/{split}/loss": errors[row["units"]][split] for split in SPLITS}
        for row in records(known)
    )


ae3_measure = ae1_measure


def denoising_measure(study: Study, runs: Runs) -> DataFrame:
    """For each autoencoder its test error from images with each share of noise, and how rough its weight images are."""
    out = []
    for row in records(runs.done()):
        if row["block"].startswith("classifier"):
            continue
        task, data = load_run(row["run"])
        assert isinstance(task, Reconstruct)
        x = pixels(data, "test")
        varies = (pixels(data, "train").amax(0) > 0).numpy()
        w = weights(task)
        out.append(
            {
                "hash": row["hash"],
                "roughness": roughness(w),
                "roughness/inside": roughness(w, varies.reshape(w.shape[1:])),
            }
            | {f"noise {noise}/loss": error_from(task, x, noise, bool(row["model.noise_clip"])) for noise in NOISES}
        )
    return as_table(out)


def as_table(measured: list[dict[str, Any]]) -> DataFrame:
    """A row a run; what is not there is NaN."""
    table = DataFrame(measured, columns=None if measured else ["hash"]).set_index("hash")
    return table.astype(float).reset_index()


def pixels(data: DataModule, split: str) -> Tensor:
    """All images of a split as the network sees them, float32 [n, pixels]."""
    x, _ = data.splits[split].all()
    return data.transform(x).flatten(1)


def pca_errors(images: Mapping[str, Tensor], sizes: Iterable[int]) -> dict[int, dict[str, float]]:
    """Mean squared error a pixel of each split after projection on so many principal components of `train`."""
    train = images["train"].double()
    mean = train.mean(0)
    _, axes = torch.linalg.eigh((train - mean).T @ (train - mean))  # in ascending order
    out: dict[int, dict[str, float]] = {}
    for k in sizes:
        left = axes[:, : max(axes.shape[0] - k, 0)]  # the directions that k components leave out
        out[k] = {s: float(((x.double() - mean) @ left).square().sum(1).mean() / x.shape[1]) for s, x in images.items()}
    return out


@torch.no_grad()
def error_from(task: Reconstruct, x: Tensor, noise: float, clip: bool) -> float:
    """Mean squared error a pixel to the clean images, from images with so much noise (always the same)."""
    generator = torch.Generator().manual_seed(EVAL_NOISE_SEED)
    noisy = add_noise(x, "gaussian", noise, clip=clip, generator=generator) if noise else x
    return float((task.net(noisy) - x).square().mean())


def weights(task: Any) -> Array:
    """The first layer's weights as images [units, 28, 28]."""
    layer = task.net.first_layer
    return layer.weight.detach().reshape(-1, *task.net.shape[-2:]).numpy()


def roughness(images: Array, inside: Array | None = None) -> float:
    """How much neighbouring pixels of w/‖w‖ differ: 1 as in white noise, near 0 where they are smooth; the units' mean.

    images: [units, H, W]. inside: bool [H, W], the pixels that count. It is the mean squared difference of neighbours,
    to the right and below, over twice the mean square of a pixel.
    """
    inside = np.ones(images.shape[1:], bool) if inside is None else inside
    down, right = inside[1:] & inside[:-1], inside[:, 1:] & inside[:, :-1]
    vertical, horizontal = np.diff(images, axis=1)[:, down], np.diff(images, axis=2)[:, right]
    differences = np.concatenate([vertical, horizontal], axis=1)
    return float(np.mean((differences**2).mean(1) / (2 * (images[:, inside] ** 2).mean(1))))


# --- the table's rows by the report's names --------------------------------------------------------------------------


def with_names(table: DataFrame) -> DataFrame:
    """With the columns `optimizer` and `hidden`, `units` (the size of the code) and `noise`, where they follow."""
    table = table.copy()
    if "experiment" in table:
        table["optimizer"] = table["experiment"].map(lambda name: OPTIMIZERS.get(name))
    if "model.net.hidden" in table:
        table["hidden"] = table["model.net.hidden"]
    code = first_of(table, "encoder.model.net.widths", "model.net.widths", "data.encoder")
    if code is not None:
        table["units"] = code.map(
            lambda text: int(str(text).replace(":", ",").rsplit(",", 1)[-1]) if known(text) else 0
        )
    noise = first_of(table, "encoder.model.noise_probability", "model.noise_probability")
    if noise is not None:
        table["noise"] = noise.astype(float)
    return table


def known(value: Any) -> bool:
    return isinstance(value, str | int) and str(value).replace("pca:", "").replace(",", "").isdigit()


def first_of(table: DataFrame, *names: str) -> "Series[Any] | None":
    """For each row the first of some columns that has a value there."""
    columns = [table[name].astype(object) for name in names if name in table]
    if not columns:
        return None
    out = columns[0]
    for column in columns[1:]:
        out = out.where(out.notna(), column)
    return out


def block(table: DataFrame, *names: str) -> DataFrame:
    """The rows of some blocks; all rows of a table that has none."""
    return table[table["block"].isin(names)] if "block" in table else table


# --- claims ----------------------------------------------------------------------------------------------------------


class Pair(NamedTuple):
    """What was obtained (mean over seeds) beside what was published; NaN where no run is done."""

    key: tuple[Any, ...]
    obtained: float
    published: float
    sd: float

    @property
    def name(self) -> str:
        """`(30,20,10) SGD`, `64 units` or `20 % noise`."""
        if isinstance(self.key[0], str):
            return f"({self.key[0]}) {self.key[1]}"
        return f"{self.key[0]} units" if isinstance(self.key[0], int) else f"{100 * self.key[0]:.0f} % noise"


def pairs(table: DataFrame, published: Rows, by: Sequence[str], metric: str, column: str) -> list[Pair]:
    """A pair for each published row that has `column`; by: the columns that say which runs it is about."""
    found = means(table, by, metric)
    out = []
    for row in published:
        key = tuple(row[name] for name in by)
        mean, sd = found.get(key, GONE)
        out.append(Pair(key, mean, float(row[column]), sd))
    return out


def means(table: DataFrame, by: Sequence[str], metric: str) -> dict[tuple[Any, ...], tuple[float, float]]:
    """Mean and standard deviation over seeds for each combination of the columns `by`."""
    if not set(by) <= set(table.columns):
        return {}
    return {
        tuple(row[k] for k in by): (row[metric], row[f"{metric} sd"])
        for row in records(aggregate_over_seeds(table, by, [metric]))
    }


def ruling(found: Sequence[Pair], tolerance: float, error: bool) -> Verdict:
    """All cells of a published table at once: the worst one decides.

    Accuracies are compared by their difference, errors by the ratio: tolerance .005 is half a point or .5 %.
    """
    gone = [pair.name for pair in found if math.isnan(pair.obtained)]
    if gone or not found:
        return no_verdict(f"no finished run of {', '.join(gone) or 'these'}")
    ahead = [1 - p.obtained / p.published if error else p.obtained - p.published for p in found]
    worst = found[int(np.argmin(ahead))]
    allowed, bound = (f"{100 * tolerance:g} %", "above") if error else (f"{100 * tolerance:g} points", "below")
    evidence = (
        f"{sum(a >= 0 for a in ahead)} of {len(found)} at the published figure or better, "
        f"{sum(-tolerance <= a < 0 for a in ahead)} up to {allowed} {bound} it, "
        f"{sum(a < -tolerance for a in ahead)} further off; the least favourable: {worst.name}: "
        f"{number(worst.obtained, worst.sd, error)}, published {number(worst.published, None, error)}"
    )
    return beaten(evidence) if min(ahead) > tolerance else decide(min(ahead) >= -tolerance, evidence)


def number(mean: float, sd: float | None, error: bool) -> str:
    return format_mean(mean, sd, 5) if error else f"{format_percent(mean, sd)} %"


def accuracies(
    table: DataFrame, published: Rows, metric: str, column: str, hidden: str | None = None, tolerance: float = 0.005
) -> Verdict:
    """Question 1: a table of accuracies, each within half a point of the published one or better.

    Full-batch descent that was given fewer epochs than the report's, and is below its figure, decides nothing.
    """
    table, by = with_names(table), ["hidden", "optimizer"]
    rows = [{"hidden": hidden, **row} if hidden else dict(row) for row in published]
    found, ran = pairs(table, rows, by, metric, column), means(table, by, "epochs")
    short = [
        pair.name
        for pair, row in zip(found, rows, strict=True)
        if row["optimizer"] == "VGD" and pair.obtained < pair.published and ran[pair.key][0] < row["epochs"]
    ]
    verdict = ruling([pair for pair in found if pair.name not in short], tolerance, error=False)
    if not short:
        return verdict
    return Verdict(verdict.kind, f"{verdict.evidence}; left out, with fewer epochs than published: {'; '.join(short)}")


def code_errors(table: DataFrame, published: Rows, metric: str, column: str, tolerance: float = 0.05) -> Verdict:
    """Question 2: reconstruction errors at or below the published ones, give or take 5 %."""
    table = with_names(block(table, "autoencoder"))
    return ruling(pairs(table, published, ["units"], metric, column), tolerance, error=True)


def code_accuracies(
    table: DataFrame, published: Rows, metric: str = "test/accuracy", column: str = "accuracy",
    of: str = "classifier", tolerance: float = 0.005,
) -> Verdict:  # fmt: skip
    """Question 2: the accuracy of the classifier on the codes, within half a point of the published one or better."""
    return ruling(pairs(with_names(block(table, of)), published, ["units"], metric, column), tolerance, error=False)


def noise_accuracies(
    table: DataFrame, published: Rows, metric: str, column: str, of: str = "classifier", tolerance: float = 0.005
) -> Verdict:
    """Question 3: the accuracy of the classifier on the codes of denoising autoencoders."""
    return ruling(pairs(with_names(block(table, of)), published, ["noise"], metric, column), tolerance, error=False)


def best_architecture(table: DataFrame, hidden: str, published: Rows) -> Verdict:
    """Whether an architecture has the best validation accuracy, as the mean over the optimizers."""
    averages = aggregate_over_seeds(with_names(table), ["hidden", "optimizer"], ["val/accuracy"])
    here = averages.pivot(index="hidden", columns="optimizer", values="val/accuracy")
    if here.isna().any(axis=None) or hidden not in here.index or len(here) < 2:
        return no_verdict("not every architecture has a finished run of every optimizer")
    theirs = DataFrame(published).pivot(index="hidden", columns="optimizer", values="val")
    overall = here.mean(axis=1).sort_values(ascending=False)
    ranks = ", ".join(f"({name}) {format_percent(value)} %" for name, value in overall.items())
    evidence = (
        f"mean validation accuracy over the optimizers: {ranks}; it is the best with {leads(here, hidden)}; "
        f"in the report's own table with {leads(theirs, hidden)}"
    )
    sd = averages["val/accuracy sd"].max()
    noise = "" if math.isnan(sd) else f"; another seed changes a cell by {format_percent(sd)} points (largest sd)"
    return decide(overall.index[0] == hidden, evidence + noise)


def leads(accuracy: DataFrame, hidden: str) -> str:
    """With which optimizers (columns) an architecture (row) is the best; where not, which is."""
    winners = accuracy.idxmax()
    won = [str(name) for name, winner in winners.items() if winner == hidden]
    lost = [f"{name}: ({winner})" for name, winner in winners.items() if winner != hidden]
    return f"{', '.join(won) or 'none'} ({'; '.join(lost) or 'no other'})"


def epochs(table: DataFrame, published: Rows, factor: float = 2.0, column: str = "stops/patience 5") -> Verdict:
    """Whether training stops after the published number of epochs, within a factor.

    Runs that end before that without having been stopped by the rule decide nothing.
    """
    table = with_names(table)
    if column not in table:
        return no_verdict("no finished run")
    found = pairs(table, published, ["hidden", "optimizer"], column, "epochs")
    parts, near = [], []
    for name in OPTIMIZERS.values():
        mine = [pair for pair in found if pair.key[1] == name]
        if not mine:
            continue
        theirs = span([pair.published for pair in mine])
        stopped = [pair.obtained for pair in mine if not math.isnan(pair.obtained)]
        ran = table.loc[table["optimizer"] == name, "epochs"].max()
        if math.isnan(ran):
            return no_verdict(f"no finished run of {name}")
        if not stopped:
            parts.append(f"{name} not within {ran:.0f} ({theirs})")
            near += [False for pair in mine if ran >= pair.published / factor]  # less than that decides nothing
            continue
        parts.append(f"{name} {span(stopped)} ({theirs})")
        near += [1 / factor <= pair.obtained / pair.published <= factor for pair in mine]
    evidence = f"{column.replace('stops/', '')}, epochs here (published): {', '.join(parts)}"
    return decide(all(near), f"{evidence}; {sum(near)} of {len(near)} within a factor of {factor:g}")


def span(values: Sequence[float]) -> str:
    low, high = min(values), max(values)
    return f"{low:.0f}" if low == high else f"{low:.0f} to {high:.0f}"


def vgd_stops(table: DataFrame, published: int, hidden: str = BEST) -> Verdict:
    """At which epoch each rule stops full-batch descent, and which patience it takes to get to the published epoch."""
    table = with_names(table)
    rows = table[(table["optimizer"] == "VGD") & (table["hidden"] == hidden)]
    if "stops/change" not in rows or rows["epochs"].isna().all():
        return no_verdict(f"no finished run of VGD, {hidden}")
    row, parts = rows.iloc[0], []
    for name, words in (("change", "a change below 10⁻⁴"), *((f"patience {p}", f"patience {p}") for p in PATIENCES)):
        stop = row[f"stops/{name}"]
        parts.append(f"{words}: {f'epoch {stop:.0f}' if stop > 0 else 'not within the run'}")
    longest, needed = row["patience/longest"], row["patience/published"]
    if needed > 0:
        end = f"to get to epoch {published} it takes a patience of {needed:.0f}"
    else:
        end = (
            f"a patience of {longest + 1:.0f} or more does not stop within the {row['epochs']:.0f} epochs of this run, "
            f"so epoch {published} takes at least that"
        )
    return answered(f"({hidden}): {'; '.join(parts)}; {end}")


def vgd_descends(table: DataFrame) -> Verdict:
    """Whether full-batch descent lowers the training loss at each step."""
    table = with_names(table)
    rows = table[table["optimizer"] == "VGD"]
    if "rises" not in rows or not rows["rises"].notna().any():
        return no_verdict("no finished run of VGD")
    rows = rows[rows["rises"].notna()]
    steps = int(rows["epochs"].sum()) - len(rows)
    rises = int(rows["rises"].sum())
    return answered(f"{'yes' if not rises else 'no'}: the loss rose in {rises} of {steps} steps of {len(rows)} runs")


def seconds_an_epoch(table: DataFrame, published: Rows, hidden: str = BEST) -> Verdict:
    """Whether optimizers that are said to use the same batches take the same time for an epoch."""
    table = with_names(table)
    table = table[(table["hidden"] == hidden) & (table["epochs"] > 0)]
    here = (table["train_seconds"] / table["epochs"]).groupby(table["optimizer"]).mean()
    theirs = {row["optimizer"]: 60 * row["minutes"] / row["epochs"] for row in published}
    same = ["NAG", "RMSProp", "Adam"]
    if not set(same) <= set(here.index):
        return no_verdict("not every optimizer has a finished run")
    ratio, published_ratio = (
        max(values[name] for name in same) / min(values[name] for name in same) for values in (here, theirs)
    )
    listed = ", ".join(f"{name} {here[name]:.2f} s ({theirs[name]:.2f})" for name in theirs if name in here.index)
    longest = table.groupby("optimizer")["epochs"].mean()
    return answered(
        f"an epoch here (published): {listed}. With the same batches the three differ {ratio:.1f} times here, "
        f"{published_ratio:.0f} times in the report: not one common set-up. RMSProp stops after "
        f"{longest['RMSProp']:.0f} epochs here, Adam after {longest['Adam']:.0f}"
    )


def like_accuracy(table: DataFrame, hidden: str = BEST, tolerance: float = 0.0001) -> Verdict:
    """Whether precision, recall and F1 are the accuracy itself, within a tolerance, on every split."""
    table = with_names(table)
    rows = table[table["hidden"] == hidden]
    worst, which = 0.0, ""
    for split in SPLITS:
        for name in ("precision", "recall", "f1"):
            if rows.empty or rows[f"{split}/{name}"].isna().any():
                return no_verdict(f"not every optimizer has a finished run of {hidden}")
            gap = (rows[f"{split}/{name}"] - rows[f"{split}/accuracy"]).abs().max()
            worst, which = max((worst, which), (gap, f"{split} {name}"))
    return decide(worst < 1.5 * tolerance, f"the largest difference is {worst:.5f} ({which or 'none'})")


def best_code(table: DataFrame, units: int, tolerance: float = 0.002) -> Verdict:
    """Whether a width has the classifier with the best test accuracy, give or take .2 points."""
    accuracy = by_width(table, "classifier", "test/accuracy")
    if units not in accuracy or len(accuracy) < 2 or any(map(math.isnan, accuracy.values())):
        return no_verdict("not every width has a finished classifier")
    top = max(accuracy, key=lambda width: accuracy[width])
    listed = ", ".join(f"{width}: {format_percent(value)}" for width, value in accuracy.items())
    return decide(accuracy[top] - accuracy[units] <= tolerance, f"test accuracy in %: {listed}; best: {top}")


def abrupt_rise(table: DataFrame, units: int) -> Verdict:
    """Whether the step up to a width is the largest gain in test accuracy between neighbouring widths."""
    accuracy = by_width(table, "classifier", "test/accuracy")
    widths = sorted(accuracy)
    if units not in widths[1:] or any(map(math.isnan, accuracy.values())):
        return no_verdict("not every width has a finished classifier")
    gains = {b: accuracy[b] - accuracy[a] for a, b in pairwise(widths)}
    listed = ", ".join(f"to {b}: {100 * gain:+.2f}" for b, gain in gains.items())
    return decide(max(gains, key=lambda b: gains[b]) == units, f"gain in test accuracy, in points: {listed}")


def error_rises(table: DataFrame, smaller: int, larger: int) -> Verdict:
    """Whether more units give a larger training error."""
    errors = by_width(table, "autoencoder", "train/loss")
    a, b = errors.get(smaller, math.nan), errors.get(larger, math.nan)
    if math.isnan(a + b):
        return no_verdict(f"no finished run with {smaller if math.isnan(a) else larger} units")
    return decide(
        b > a, f"training MSE {format_mean(a, None, 5)} with {smaller} units, {format_mean(b, None, 5)} with {larger}"
    )


def above_validation(table: DataFrame, units: int, published: Sequence[float], tolerance: float = 0.1) -> Verdict:
    """Whether the test error is further above the validation error than 10 %: neither set is trained on.

    published: the report's test and validation errors.
    """
    test, val = (by_width(table, "autoencoder", f"{split}/loss").get(units, math.nan) for split in ("test", "val"))
    if math.isnan(test + val):
        return no_verdict(f"no finished run with {units} units")
    theirs = published[0] / published[1]
    ours = f"test MSE {format_mean(test, None, 5)}, validation {format_mean(val, None, 5)}: {test / val:.2f} times"
    return decide(test / val > 1 + tolerance, f"{ours}; published {theirs:.2f} times")


def against_pca(table: DataFrame) -> Verdict:
    """Where the autoencoder's test error is below that of as many principal components, and whose codes are better."""
    ours, pca = (by_width(table, "autoencoder", metric) for metric in ("test/loss", "pca/test/loss"))
    widths = [k for k in ours if k < 784 and not math.isnan(ours[k] + pca.get(k, math.nan))]
    if not widths:
        return no_verdict("no finished autoencoder")
    listed = ", ".join(f"{k}: {format_mean(ours[k], None, 5)} ({format_mean(pca[k], None, 5)})" for k in widths)
    below = [str(k) for k in widths if ours[k] < pca[k]]
    evidence = f"test MSE, PCA's in brackets: {listed}; below PCA's with {', '.join(below) or 'no width'}"
    code, components = (by_width(table, name, "test/accuracy") for name in ("classifier", "pca"))
    both = [k for k in code if not math.isnan(code[k] + components.get(k, math.nan))]
    if both:
        listed = ", ".join(f"{k}: {format_percent(code[k])} ({format_percent(components[k])})" for k in both)
        evidence += f". Test accuracy on the codes in %: {listed}"
    return answered(evidence)


def by_width(table: DataFrame, name: str, metric: str) -> dict[int, float]:
    """The mean of a metric for each size of the code, smallest first."""
    found = means(with_names(block(table, name)), ["units"], metric)
    return {units: mean for (units,), (mean, _) in sorted(found.items())}


def rougher(table: DataFrame, rising: bool, column: str = "roughness") -> Verdict:
    """Whether the weight images get rougher with more noise in training (or with rising=False smoother)."""
    rows = with_names(block(table, "clean", "denoising"))
    rows = rows[rows[column].notna()] if column in rows else rows.iloc[:0]
    if set(NOISES) - set(rows["noise"]):
        return no_verdict("not every share of noise has a finished run")
    everywhere, inside = (
        [format_mean(means(rows, ["noise"], name)[noise,][0], None, 3) for noise in NOISES]
        for name in (column, f"{column}/inside")
    )
    evidence = (
        f"difference of neighbouring weights (1 in white noise) with 0, 20 and 40 % noise: {', '.join(everywhere)}; "
        f"only where training images have ink: {', '.join(inside)}"
    )
    steps = np.diff([means(rows, ["noise"], column)[noise,][0] for noise in NOISES])
    return decide(bool((steps > 0).all() if rising else (steps < 0).all()), evidence)


def denoises(table: DataFrame) -> Verdict:
    """What training with noise gains on noisy images and costs on clean ones."""
    rows = with_names(block(table, "clean", "denoising"))
    columns = [f"noise {noise}/loss" for noise in NOISES]
    if not set(columns) <= set(rows.columns) or set(NOISES) - set(rows.loc[rows[columns[0]].notna(), "noise"]):
        return no_verdict("not every share of noise has a finished run")
    found = {c: means(rows, ["noise"], c) for c in columns}
    parts = [
        f"trained with {100 * noise:.0f} %: " + ", ".join(format_mean(found[c][noise,][0], None, 4) for c in columns)
        for noise in NOISES
    ]
    return answered(f"test MSE from images with 0, 20 and 40 % noise: {'; '.join(parts)}")


# --- pages -----------------------------------------------------------------------------------------------------------


def optimizers(study: Study, runs: Runs) -> list[Item]:
    table = with_names(runs.table)
    published = study.published["accuracy"]
    note = "In brackets: published. ± is the standard deviation over seeds, where there are several."
    items: list[Item] = [
        architectures("Training accuracy, %", table, "train/accuracy", published, "train", format_percent, note),
        architectures("Validation accuracy, %", table, "val/accuracy", published, "val", format_percent, note),
        architectures("Epochs", table, "epochs", published, "epochs", whole, f"{note} VGD's are its budget."),
    ]
    if "stops/change" in table:
        items.append(stops(table, published))
    done = with_names(runs.done())
    curves = {row["hash"]: thinned(read_history(row["run"])) for row in records(firsts(done, ["hidden", "optimizer"]))}
    for (hidden,), rows in groups(firsts(done, ["hidden", "optimizer"]), ["hidden"]):
        lines = {r["optimizer"]: xy(curves[r["hash"]], "train/loss") for r in records(in_order(rows))}
        figure = plots.superimposed(lines, f"Training loss, ({hidden})", log_x=True, log_y=True)
        items.append(Plot(f"losses_{slug(hidden)}", f"Training loss of the five optimizers, ({hidden})", figure))
    best = in_order(done[done["hidden"] == BEST])
    items.append(measures(best, study.published["best"]))
    for row in records(firsts(best, ["optimizer"])):
        name = row["optimizer"]
        curve = {str(key): column.tolist() for key, column in curves[row["hash"]].items()}
        drawn = plots.learning_curves(curve, metrics=["loss", "accuracy"], title=f"{name}, ({BEST})")
        items.append(Plot(f"curves_{slug(name)}", f"Loss and accuracy of {name}, ({BEST})", drawn))
        items += confusions(row["run"], f"{name}, ({BEST})", slug(name))
    return items


def architectures(
    title: str, table: DataFrame, metric: str, published: DataFrame, column: str, text: Callable[..., str], note: str
) -> Table:
    """A row an architecture, a column an optimizer."""
    found = means(table, ["hidden", "optimizer"], metric)
    theirs = {(row["hidden"], row["optimizer"]): row[column] for row in records(published)}
    rows = []
    for hidden in dict.fromkeys(table["hidden"]):
        row = {"architecture": f"({hidden})"}
        for name in OPTIMIZERS.values():
            at = (hidden, name)
            beside = f" ({text(theirs[at])})" if at in theirs else ""
            row[name] = text(*found.get(at, GONE)) + beside
        rows.append(row)
    return Table(title, DataFrame(rows), note)


def whole(mean: float | None, sd: float | None = None) -> str:
    return format_mean(mean, sd, 0)


def stops(table: DataFrame, published: DataFrame) -> Table:
    """Where the rules stop, means over seeds; a run that a rule does not stop is a gap, and so is its mean."""
    columns = {"stops/change": "change < 10⁻⁴"} | {f"stops/patience {p}": f"patience {p}" for p in PATIENCES}
    theirs = {(row["hidden"], row["optimizer"]): row["epochs"] for row in records(published)}
    rows = []
    for (hidden, name), group in groups(in_order(table), ["hidden", "optimizer"]):
        row = {"architecture": f"({hidden})", "optimizer": name, "epochs run": whole(group["epochs"].max())}
        row |= {title: whole(group[key].mean(skipna=False)) for key, title in columns.items()}
        row["published"] = whole(theirs.get((hidden, name)))
        rows.append(row | {"patience for that": whole(group["patience/published"].mean(skipna=False))})
    return Table(
        "Where a rule stops, read off the recorded training loss",
        DataFrame(rows),
        "Change: the hand-out's rule, two successive epochs differ by less than 10⁻⁴. Patience: Keras's rule, no "
        "improvement on the best loss by 10⁻⁴ for so many epochs. Last column: the smallest patience that does not "
        "stop before the published epoch. A gap: not within the epochs run.",
    )


def measures(best: DataFrame, published: DataFrame) -> Table:
    """Accuracy, precision, recall and F1 of one architecture on all splits, a row an optimizer and split."""
    theirs = published.set_index("optimizer")
    names = ["accuracy", "precision", "recall", "f1"]
    rows = []
    for (name,), group in groups(best, ["optimizer"]):
        for split in SPLITS:
            found = {n: format_percent(group[f"{split}/{n}"].mean(), group[f"{split}/{n}"].std()) for n in names}
            at = format_percent(float(theirs.loc[name, split])) if name in theirs.index else ""
            times = {
                "epochs": whole(group["epochs"].mean()),
                "minutes": format_mean(group["train_seconds"].mean() / 60, None, 1),
            }
            rows.append({"optimizer": name, "split": split, **found, "published": at, **times})
    return Table(f"Accuracy, precision, recall and F1 of ({BEST}), %", DataFrame(rows), "Published: the accuracy.")


def records(table: DataFrame) -> list[Row]:
    return [{str(key): value for key, value in row.items()} for row in table.to_dict("records")]


def groups(table: DataFrame, by: Sequence[str]) -> list[tuple[tuple[Any, ...], DataFrame]]:
    """The rows of each combination of the columns `by`, in the order in which they come."""
    return [(key, rows) for key, rows in table.groupby(list(by), sort=False)]


def in_order(table: DataFrame) -> DataFrame:
    """Rows in the order in which the report names the optimizers, architectures as they come."""
    order, hidden = list(OPTIMIZERS.values()), list(dict.fromkeys(table["hidden"]))
    keys = [
        (hidden.index(h), order.index(o), i)
        for i, (h, o) in enumerate(zip(table["hidden"], table["optimizer"], strict=True))
    ]
    return table.iloc[[i for *_, i in sorted(keys)]]


def firsts(table: DataFrame, by: Sequence[str]) -> DataFrame:
    """The first finished run of each kind: figures are of one seed."""
    return table.drop_duplicates(list(by))


def thinned(rows: DataFrame, most: int = 400) -> DataFrame:
    """At most about so many rows of a long history, those that were validated among them."""
    if len(rows) <= most:
        return rows
    step = -(-len(rows) // most)
    validated = rows["val/loss"].notna() & (rows["epoch"] % step < step)
    if validated.sum() > most:
        validated &= rows["epoch"] % step == 0
    return rows[validated | rows["epoch"].isin([1, 2, 5, 10, 20, 50]) | (rows["epoch"] == rows["epoch"].max())]


def xy(rows: DataFrame, metric: str) -> tuple[Array, Array]:
    return rows["epoch"].to_numpy(), rows[metric].to_numpy()


def slug(name: str) -> str:
    return name.lower().replace(",", "-").replace(" ", "_").replace("%", "")


def confusions(run: Path, what: str, name: str, splits: Sequence[str] = SPLITS) -> list[Item]:
    words = {"train": "training", "val": "validation", "test": "test"}
    out: list[Item] = []
    for split in splits:
        title = f"Confusion matrix, {words[split]} set, {what}"
        out.append(
            Plot(f"confusion_{name}_{split}", title, plots.confusion_matrix(*read_confusion(run, split), title=title))
        )
    return out


def ae1(study: Study, runs: Runs) -> list[Item]:
    items = autoencoders(study, runs, drawn=(64, 256, 784, 1024))
    for units in (64, 784, 1024):
        for row in of_width(runs, "autoencoder", units):
            task, _ = load_run(row["run"])
            before = weights(load_initial_task(row["run"])) if units == 64 else None
            items += weight_plots(weights(task), before, f"{units} units", f"{units}")
    return items


def ae3(study: Study, runs: Runs) -> list[Item]:
    return autoencoders(study, runs, drawn=(32, 64, 256, 512))


def autoencoders(study: Study, runs: Runs, drawn: Sequence[int]) -> list[Item]:
    """What questions 2a and 2b have in common: errors and accuracies by width, curves, images, the best classifier."""
    coders, classifiers = (with_names(runs.block(name).table) for name in ("autoencoder", "classifier"))
    published = study.published["results"].set_index("units")
    splits = [f"{split}/loss" for split in SPLITS]
    averages = aggregate_over_seeds(coders, ["units"], splits).set_index("units")
    accuracy = (
        aggregate_over_seeds(classifiers, ["units"], ["test/accuracy", "val/accuracy", "epochs"])
        if len(classifiers)
        else None
    )
    accuracy = DataFrame() if accuracy is None else accuracy.set_index("units")
    components = by_width(runs.table, "pca", "test/accuracy") if "pca" in set(runs.table["block"]) else {}
    rows = []
    for k in averages.index:
        theirs = published.loc[k] if k in published.index else {}
        row: dict[str, Any] = {"units": str(k)}
        for split in SPLITS:
            row[f"MSE {split}"] = format_mean(averages.loc[k, f"{split}/loss"], averages.loc[k, f"{split}/loss sd"], 5)
            if split in theirs:
                row[f"MSE {split}"] += f" ({format_mean(theirs[split], None, 5)})"
        if "pca/test/loss" in coders:
            row["PCA, MSE test"] = format_mean(coders.loc[coders["units"] == k, "pca/test/loss"].mean(), None, 5)
        if k in accuracy.index:
            found = accuracy.loc[k]
            row["accuracy test, %"] = f"{format_percent(found['test/accuracy'], found['test/accuracy sd'])}"
            row["accuracy test, %"] += f" ({format_percent(theirs['accuracy'])})" if "accuracy" in theirs else ""
            row["its epochs"] = whole(found["epochs"]) + (f" ({whole(theirs['epochs'])})" if "epochs" in theirs else "")
        if components:
            row["on PCA codes, %"] = format_percent(components.get(k, math.nan))
        rows.append(row)
    items: list[Item] = [
        Table(
            "Reconstruction errors, and the classifier on the code",
            DataFrame(rows),
            "In brackets: published. Its epochs: the classifier's.",
        )
    ]
    widths = [str(k) for k in averages.index]
    bars = {split: averages[f"{split}/loss"].tolist() for split in SPLITS}
    theirs = {s: [float(published[s].get(k, math.nan)) for k in averages.index] for s in ("train", "val")}
    figure = plots.bars(
        widths, bars, title="Mean squared error a pixel", x_label="units", y_label="MSE", number="", published=theirs
    )
    items.append(Plot("errors", "Average reconstruction error after training", figure, "Black lines: published."))
    done = with_names(runs.block("autoencoder").done())
    items.append(losses(firsts(done, ["units"]), "autoencoder_losses", "Training error of the autoencoders", "MSE"))
    items += reconstructed(firsts(done, ["units"]), drawn)
    known_classifiers = with_names(runs.block("classifier").done())
    if len(known_classifiers):
        rows_of = firsts(known_classifiers, ["units"])
        items.append(losses(rows_of, "classifier_losses", "Training loss of the classifiers on the codes", "loss"))
        for best in records(rows_of[rows_of["units"] == 64]):
            items += confusions(best["run"], "classifier on 64 numbers", "classifier")
    return items


def losses(rows: DataFrame, name: str, title: str, y_label: str) -> Plot:
    lines = {f"{row['units']}": xy(read_history(row["run"]), "train/loss") for row in records(rows)}
    return Plot(name, title, plots.superimposed(lines, title, y_label=y_label, log_y=True))


def of_width(runs: Runs, name: str, units: int) -> list[Row]:
    """The first finished run with a width, if there is one."""
    done = with_names(runs.block(name).done())
    return records(firsts(done[done["units"] == units], ["units"]))


@torch.no_grad()
def reconstructed(done: DataFrame, widths: Sequence[int]) -> list[Item]:
    """One test image of each class, as it is, and as it comes back through codes of several widths and PCA's."""
    rows: dict[str, Array] = {}
    names: list[str] = []
    for row in records(done[done["units"].isin(widths)]):
        task, data = load_run(row["run"])
        assert isinstance(task.net, Autoencoder)
        x, names = one_of_each(data, "test")
        rows.setdefault("original", x.numpy())
        rows[f"{row['units']} units"] = np.clip(task.net(x).numpy(), 0, 1)
        if row["units"] == 64:
            rows["PCA, 64"] = np.clip(through_pca(data, x, 64).numpy(), 0, 1)
    if not rows:
        return []
    return [
        Plot("reconstructions", "Original and reconstructed, one of each class", plots.reconstructions(rows, names))
    ]


def through_pca(data: DataModule, x: Tensor, k: int) -> Tensor:
    """Images [n, 1, H, W] from their k principal components."""
    train = pixels(data, "train")
    mean = train.mean(0)
    _, axes = torch.linalg.eigh((train - mean).T @ (train - mean))
    top = axes[:, -k:]
    return ((x.flatten(1) - mean) @ top @ top.T + mean).view_as(x)


def one_of_each(data: DataModule, split: str) -> tuple[Tensor, list[str]]:
    """The first image of each class of a split, as the network sees it, and the classes' names."""
    examples = data.splits[split]
    first = [int((examples.y == k).nonzero()[0]) for k in range(len(data.classes)) if (examples.y == k).any()]
    x, y = examples.__getitems__(torch.tensor(first))
    return data.transform(x), [data.classes[int(k)] for k in y]


def weight_plots(after: Array, before: Array | None, what: str, name: str) -> list[Item]:
    out: list[Item] = []
    for images, when in ((before, "before training"), (after, "after training")):
        if images is not None:
            title = f"Weights w/‖w‖, {what}, {when}"
            drawn: Figure = plots.weight_images(images, normalise=True, limit=64, title=title)
            out.append(Plot(f"weights_{name}_{when.split()[0]}", title, drawn))
    return out


def denoising(study: Study, runs: Runs) -> list[Item]:
    table = with_names(runs.table)
    coders = table[~table["block"].str.startswith("classifier")]
    published = study.published["classifier"].set_index("noise")
    classifiers = {"clean": "classifier_clean", "denoising": "classifier", "clipped": "classifier_clipped"}
    rows = []
    for (name, noise), group in groups(coders, ["block", "noise"]):
        of = table[(table["block"] == classifiers[name]) & (table["noise"] == noise)]
        row = {"noise": described(noise, name)}
        for split in SPLITS:
            row[f"MSE {split}"] = format_mean(group[f"{split}/loss"].mean(), group[f"{split}/loss"].std(), 5)
        for split in SPLITS:
            noisy = group.get(f"{split}/noisy_loss", Series(dtype=float))
            row[f"MSE {split}, noisy"] = format_mean(noisy.mean(), noisy.std(), 5)
        for split in SPLITS:
            accuracy = of.get(f"{split}/accuracy", Series(dtype=float))
            row[f"accuracy {split}, %"] = format_percent(accuracy.mean(), accuracy.std())
            if name == "denoising" and noise in published.index and split in published:
                row[f"accuracy {split}, %"] += f" ({format_percent(published.loc[noise, split], None, 1)})"
        rows.append(row)
    items: list[Item] = [
        Table(
            "Reconstruction errors, and the classifier on the code",
            DataFrame(rows),
            "MSE: to the clean image, from clean images and from noisy ones. In brackets: published.",
        )
    ]
    crossed = [f"noise {noise}/loss" for noise in NOISES]
    if set(crossed) <= set(coders.columns):
        items.append(cross_table(coders, crossed))
    done = with_names(runs.done())
    done = firsts(done[~done["block"].str.startswith("classifier")], ["block", "noise"])
    lines = {described(r["noise"], r["block"]): xy(read_history(r["run"]), "train/loss") for r in records(done)}
    title = "Training error of the autoencoders"
    items.append(Plot("losses", title, plots.superimposed(lines, title, y_label="MSE", log_y=True)))
    for run in records(done[done["block"] == "denoising"]):
        items += denoised(run["run"], run["noise"])
    for run in records(done[done["block"] != "clipped"]):
        task, _ = load_run(run["run"])
        items += weight_plots(weights(task), None, described(run["noise"], run["block"]), f"{100 * run['noise']:.0f}")
    known_classifiers = with_names(runs.block("classifier").done())
    if len(known_classifiers):
        for run in records(firsts(known_classifiers, ["noise"])):
            share = f"{100 * run['noise']:.0f}"
            items += confusions(run["run"], f"classifier, {share} % noise", f"classifier_{share}")
    return items


def described(noise: float, block: str) -> str:
    return f"{100 * noise:.0f} %" + (", clipped" if block == "clipped" else "")


def cross_table(coders: DataFrame, crossed: Sequence[str]) -> Table:
    rows = []
    for (name, noise), group in groups(coders, ["block", "noise"]):
        errors = {
            f"MSE from {100 * n:.0f} %": format_mean(group[c].mean(), None, 5)
            for n, c in zip(NOISES, crossed, strict=True)
        }
        rough = {
            "roughness": format_mean(group["roughness"].mean(), None, 3),
            "inside": format_mean(group["roughness/inside"].mean(), None, 3),
        }
        rows.append({"trained with": described(noise, name), **errors, **rough})
    return Table(
        "Test error from each share of noise, and the roughness of the weight images",
        DataFrame(rows),
        "Roughness: the mean squared difference of neighbouring weights over twice their mean square, 1 in white "
        "noise. Inside: where training images have ink; elsewhere training without noise leaves the weights as they "
        "were.",
    )


@torch.no_grad()
def denoised(run: Path, noise: float) -> list[Item]:
    """One image of each class of each split: as it is, with noise, and as it comes back."""
    task, data = load_run(run)
    assert isinstance(task, Reconstruct)
    out: list[Item] = []
    for split in SPLITS:
        x, names = one_of_each(data, split)
        noisy = task.with_noise(x, 0)
        rows = {"original": x, "noisy": noisy, "denoised": task.net(noisy), "from clean": task.net(x)}
        title = f"{100 * noise:.0f} % noise, {split}"
        drawn = plots.reconstructions({k: np.clip(v.numpy(), 0, 1) for k, v in rows.items()}, names, title)
        out.append(Plot(f"denoised_{100 * noise:.0f}_{split}", f"Denoised, {title}", drawn))
    return out
