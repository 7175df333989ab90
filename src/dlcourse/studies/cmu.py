"""CMU 16-720, homework 5 (Fall 2023), questions 2 to 6: tables, figures and checks of the report's claims."""

import math
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from matplotlib.figure import Figure
from pandas import DataFrame
from torch import Tensor, nn

from dlcourse import plots
from dlcourse.data.module import DataModule
from dlcourse.reading import Hand, Reading, compare, compose, load
from dlcourse.reading.reader import Reader, open_reader
from dlcourse.reading.reading import settled
from dlcourse.reports.page import GAP, Item, Plot, Table, format_mean, format_percent
from dlcourse.reports.tables import aggregate_over_seeds, read_confusion, read_history
from dlcourse.scratch import gradient_check as check_gradients
from dlcourse.scratch import softmax_cross_entropy, summed
from dlcourse.studies import twins
from dlcourse.studies.runs import Runs, load_initial_task, load_run
from dlcourse.studies.study import Study
from dlcourse.studies.verdict import Verdict, answered, beaten, decide, no_verdict, not_comparable
from dlcourse.tasks.scratch import by_hand as network_by_hand
from dlcourse.tasks.task import mode_of

Of = Mapping[str, Any]  # which runs: {column: value}

NAMES = {
    "net": "2-25-4",
    "report": "the report's",
    "ours": "ours",
    "fcn": "6.1.1, fully connected",
    "reader": "the reader's convnet",
    "cnn": "6.1.2, convnet",
    "question3": "question 3, fully connected",
    "reduced": "reduced",
    "all": "all layers",
    "head": "last layer alone",
    "squeezenet": "SqueezeNet, all layers",
    "gentle": "SqueezeNet, all layers, gently",
    "custom": "from scratch",
    "augmented": "from scratch, augmented",
}


# --- checks that several studies share -------------------------------------------------------------------------------


class Sample(NamedTuple):
    """A metric over seeds: sd is NaN for one run, mean too for none."""

    mean: float
    sd: float = math.nan
    n: int = 0


def chosen(table: DataFrame, of: Of) -> DataFrame:
    keep = pd.Series(True, index=table.index)
    for key, value in of.items():
        keep &= table[key] == value
    return table[keep]


def sample(table: DataFrame, metric: str, of: Of) -> Sample:
    found = aggregate_over_seeds(chosen(table, of), list(of), [metric])
    return Sample(*found.loc[0, [metric, f"{metric} sd", "runs"]]) if len(found) else Sample(math.nan)


def written(metric: str, found: Sample | float) -> str:
    """`70.96 ± 0.40 % (3 runs)`, in the metric's unit."""
    mean, sd, n = found if isinstance(found, Sample) else Sample(found)
    if math.isnan(mean):
        return GAP
    if metric.endswith("accuracy"):
        text = f"{format_percent(mean, sd)} %"
    elif "psnr" in metric:
        text = f"{format_mean(mean, sd, 2)} dB"
    elif metric == "epochs":
        text = format_mean(mean, sd or math.nan, 0)
    else:
        text = format_mean(mean, sd, 2 if abs(mean) >= 10 else 4)
    return f"{text} ({n:.0f} runs)" if n > 1 else text


def words(metric: str) -> str:
    """`val/accuracy` as `validation accuracy`."""
    stage, _, name = metric.rpartition("/")
    stage = {"val": "validation", "train": "training"}.get(stage, stage)
    return f"{stage} {name}".strip().replace("psnr", "PSNR")


def missing(of: Of) -> Verdict:
    return no_verdict(f"no finished run with {', '.join(f'{key} {value}' for key, value in of.items())}")


def departures(table: DataFrame, of: Of, protocol: Of | None) -> str:
    """Where runs differ from the report's protocol, as `trainer.max_epochs 30 instead of 100`; empty where nowhere."""
    found = []
    for key, value in (protocol or {}).items():
        for other in chosen(table, of)[key].unique():
            if other != value and not (value is None and pd.isna(other)):
                found.append(f"{key} {other:g} instead of {'none' if value is None else f'{value:g}'}")
    return ", ".join(found)


def agrees(
    table: DataFrame, metric: str, published: float, tolerance: float, of: Of, protocol: Of | None = None
) -> Verdict:
    """A published figure against the mean over seeds: reproduced within the tolerance, beaten if better than that."""
    found = sample(table, metric, of)
    if not found.n:
        return missing(of)
    evidence = f"{words(metric)} {written(metric, found)}, published {written(metric, published)}"
    if other := departures(table, of, protocol):
        return not_comparable(f"{evidence}; run with {other}")
    evidence += (
        f"; as good within {100 * tolerance:g} points" if "accuracy" in metric else f"; as good within {tolerance:g}"
    )
    ahead = (found.mean - published) * (1 if mode_of(metric) == "max" else -1)
    return beaten(evidence) if ahead > tolerance else decide(ahead >= -tolerance, evidence)


def within(table: DataFrame, metrics: Sequence[str], low: float, high: float, of: Of) -> Verdict:
    """Whether the means over seeds lie between two numbers."""
    found = {metric: sample(table, metric, of) for metric in metrics}
    if not all(s.n for s in found.values()):
        return missing(of)
    values = ", ".join(f"{words(metric)} {written(metric, s)}" for metric, s in found.items())
    return decide(all(low <= s.mean <= high for s in found.values()), f"{values}; the range is {low:g} to {high:g}")


def reaches(table: DataFrame, goals: Mapping[str, float], of: Of) -> Verdict:
    """Whether the means over seeds are better than each metric's goal."""
    found = {metric: sample(table, metric, of) for metric in goals}
    if not all(s.n for s in found.values()):
        return missing(of)
    parts, holds = [], []
    for metric, s in found.items():
        parts.append(f"{words(metric)} {written(metric, s)}, the goal is {written(metric, goals[metric])}")
        holds.append(s.mean > goals[metric] if mode_of(metric) == "max" else s.mean < goals[metric])
    return decide(all(holds), "; ".join(parts))


def lead(a: Sample, b: Sample, metric: str) -> int:
    """1 or -1 where a is better or worse than b by more than two standard errors of their difference, else 0."""
    ahead = (a.mean - b.mean) * (1 if mode_of(metric) == "max" else -1)
    noise = 2 * math.hypot(*(0 if math.isnan(s.sd) else s.sd / math.sqrt(s.n) for s in (a, b)))
    return int(np.sign(ahead)) if abs(ahead) > noise else 0


def better(table: DataFrame, metric: str, first: Of, second: Of, protocol: Of | None = None) -> Verdict:
    """Whether the first runs are better than the second, by more than the noise."""
    a, b = sample(table, metric, first), sample(table, metric, second)
    if not (a.n and b.n):
        return missing(first if not a.n else second)
    evidence = f"{words(metric)} {written(metric, a)} against {written(metric, b)}"
    other = [text for of in (first, second) if (text := departures(table, of, protocol))]
    if other:
        return not_comparable(f"{evidence}; run with {', '.join(dict.fromkeys(other))}")
    return decide(lead(a, b, metric) > 0, evidence)


def compared(table: DataFrame, metric: str, first: Of, second: Of) -> Verdict:
    """The answer to which of two is better."""
    a, b = sample(table, metric, first), sample(table, metric, second)
    if not (a.n and b.n):
        return missing(first if not a.n else second)
    said = {1: "better", 0: "no difference beyond the noise", -1: "worse"}[lead(a, b, metric)]
    return answered(f"{said}: {words(metric)} {written(metric, a)} against {written(metric, b)}")


def exceeds(table: DataFrame, metric: str, of: Of, published: float, goal: float) -> Verdict:
    """What another recipe gives, held against a published figure and our own goal."""
    found = sample(table, metric, of)
    if not found.n:
        return missing(of)
    side = ("below", "above")
    return answered(
        f"{words(metric)} {written(metric, found)}: {side[found.mean > published]} the report's "
        f"{written(metric, published)}, {side[found.mean >= goal]} our goal of {written(metric, goal)}"
    )


def best_of(table: DataFrame, metric: str, key: str, best: Any) -> Verdict:
    """Whether a value of a key is the one with the best mean over seeds."""
    found = {value: sample(table, metric, {key: value}) for value in table[key].unique()}
    known = {value: s for value, s in found.items() if s.n}
    if best not in known or len(known) < 2:
        return missing({key: best})
    sign = 1 if mode_of(metric) == "max" else -1
    winner = max(known, key=lambda value: sign * known[value].mean)
    values = ", ".join(f"{value:g}: {written(metric, s)}" for value, s in known.items())
    return decide(winner == best, f"{words(metric)} {values}")


# --- pieces of pages -------------------------------------------------------------------------------------------------


def results(
    title: str, runs: Runs, by: str, metrics: Sequence[str], published: DataFrame | None = None, note: str = ""
) -> Table:
    """Means over seeds, a row a value of `by`, beside the published figures: columns `by` and metrics again."""
    means = aggregate_over_seeds(runs.table, [by], metrics)
    known = DataFrame() if published is None else published.set_index(by)
    frame = DataFrame({by.rpartition(".")[2]: [NAMES.get(value, value) for value in means[by]]})
    for metric in metrics:
        samples = zip(means[metric], means[f"{metric} sd"], strict=True)
        frame[words(metric)] = [written(metric, Sample(mean, sd)) for mean, sd in samples]
        if metric in known:
            theirs = [float(known[metric].get(value, math.nan)) for value in means[by]]
            frame[f"published {words(metric)}"] = [written(metric, value) for value in theirs]
    return Table(title, frame.assign(runs=means["runs"]), note)


def curve(rows: DataFrame, column: str) -> DataFrame:
    """A column of metrics.csv by epoch: its mean over runs and `sd`, 0 for a single run."""
    by_epoch = pd.concat([read_history(run) for run in rows["run"]]).groupby("epoch")[column]
    return DataFrame({"mean": by_epoch.mean(), "sd": by_epoch.std().fillna(0)})


def curves(
    name: str, title: str, sets: Mapping[str, DataFrame], columns: Sequence[str], note: str = "", **options: Any
) -> Plot:
    """Columns of metrics.csv by epoch, a line and its band for each set of runs and column."""
    label = "{}" if len(columns) == 1 else "{}, {}"
    found = {label.format(key, c.split("/")[0]): curve(rows, c) for key, rows in sets.items() for c in columns}
    fig = plots.superimposed(
        {key: (list(c.index), c["mean"].to_numpy()) for key, c in found.items()},
        y_label=words(columns[0]) if len(columns) == 1 else columns[0].split("/")[1],
        bands={key: c["sd"].to_numpy() for key, c in found.items() if c["sd"].any()},
        **options,
    )
    return Plot(name, title, fig, note)


def epochs_beside(title: str, rows: DataFrame, published: DataFrame, metrics: Sequence[str], note: str = "") -> Table:
    """The epochs that the report prints: obtained and published."""
    frame = DataFrame({"epoch": published["epoch"]})
    for metric in metrics:
        found = curve(rows, metric).reindex(published["epoch"])
        samples = zip(found["mean"], found["sd"].where(found["sd"] > 0), strict=True)
        frame[words(metric)] = [written(metric, Sample(mean, sd)) for mean, sd in samples]
        if metric in published:
            frame[f"published {words(metric)}"] = [written(metric, float(value)) for value in published[metric]]
    return Table(title, frame, note)


def blocks(runs: Runs) -> dict[str, DataFrame]:
    """The finished runs of each block, by its name for people."""
    return {NAMES[str(block)]: rows for block, rows in runs.done().groupby("block", sort=False)}


def matrix(name: str, title: str, rows: DataFrame) -> Plot:
    """The confusion matrix of the test set, summed over seeds."""
    pairs = [read_confusion(run) for run in rows["run"]]
    total = np.sum([counts for counts, _ in pairs], axis=0)
    over = f"{len(pairs)} runs together" if len(pairs) > 1 else ""
    return Plot(name, title, plots.confusion_matrix(total, pairs[0][1], "Test set"), over)


def pixels(data: DataModule, split: str) -> Tensor:
    """All images of a split, as the network sees them."""
    return data.transform(data.splits[split].all()[0])


# --- question 2: four clusters of points -----------------------------------------------------------------------------

PARAMETERS = ("Wlayer1", "blayer1", "Woutput", "boutput")
ITERATIONS = (0, 100, 200, 300, 400)


def q2_toy(study: Study, runs: Runs) -> list[Item]:
    done = runs.done()
    losses = study.published["losses"].pivot(index="iteration", columns="run", values="loss")
    ours = {i: Sample(done[f"iteration {i}/loss"].mean(), done[f"iteration {i}/loss"].std()) for i in losses.index}
    frame = DataFrame({"iteration": losses.index, "loss": [written("loss", s) for s in ours.values()]})
    for run in losses.columns:
        frame[f"published, run {run}"] = losses[run].to_list()
    checked = study.published["gradients"]
    errors = [f"{done[f'gradient error {name}'].max():.2e}" for name in checked["parameter"]]
    theirs = [f"{value:.2e}" for value in checked["error"]]
    scores = {"final/loss": [28.02, 31.08], "train/accuracy": [0.80, 0.78]}
    final = {words(m): [*(written(m, float(v)) for v in done[m]), *(written(m, v) for v in scores[m])] for m in scores}
    named = [*(f"seed {seed}" for seed in done["seed"]), "report, run A", "report, run B"]
    return [
        Table("Loss, summed over the 40 points", frame, "During an iteration, as the report prints it."),
        Table("After the last iteration", DataFrame({"run": named} | final), "The report's are of its iteration 400."),
        curves("loss", "Mean loss of a point", blocks(runs), ["train/loss"], levels={"ln 4": math.log(4)}),
        Table(
            "Gradients against central differences: sums of relative errors",
            DataFrame({"parameter": checked["parameter"], "largest of the seeds": errors, "published": theirs}),
        ),
    ]


def q2_toy_measure(study: Study, runs: Runs) -> DataFrame:
    rows = []
    for hash_, run in zip(runs.done()["hash"], runs.done()["run"], strict=True):
        _, data = load_run(run)
        net, (points, y) = load_initial_task(run).net.double(), data.splits["train"].all()
        x = data.transform(points).double()
        loss = F.cross_entropy(net(x), y, reduction="sum")
        past = read_history(run).set_index("epoch")["train/loss"] * len(y)
        weights = {name: p for name, p in zip(PARAMETERS, net.parameters(), strict=True) if name.startswith("W")}
        sums, means = gradient_errors(net, x, y), gradient_errors(net, x, y, divided_by=len(y))
        rows.append(
            {"hash": hash_, "initial/loss": loss.item(), "final/loss": past.iloc[-1]}
            | {f"iteration {i}/loss": past.get(i + 1, math.nan) for i in ITERATIONS}
            | {f"initial/variance of {name}": float(p.detach().var(correction=0)) for name, p in weights.items()}
            | {f"gradient error {name}": error for name, error in sums.items()}
            | {"gradient error of the mean": means["total"]}
        )
    return DataFrame(rows)


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


def gradient_check(table: DataFrame, bound: float, published: float) -> Verdict:
    """Whether the total error of the gradients is below the hand-out's bound, in every run."""
    errors = table["gradient error total"].dropna()
    if not len(errors):
        return no_verdict("no finished run")
    evidence = f"at most {errors.max():.2e} in {len(errors)} runs, published {published:.2e}, the bound is {bound:g}"
    return decide(bool((errors < bound).all()), evidence)


def toy_convention(table: DataFrame, points: int) -> Verdict:
    """Which loss the gradients belong to: that whose differences they agree with."""
    known = table.dropna(subset=["gradient error total"])
    if not len(known):
        return no_verdict("no finished run")
    of_sum, of_mean = known["gradient error total"].max(), known["gradient error of the mean"].min()
    which = "the sum" if of_sum < of_mean else "the mean"
    return answered(
        f"to {which}: the gradients' total error is {of_sum:.2g} against the sum over the {points} points and "
        f"{of_mean:.3g} against their mean; so the rate is that of a sum, and grows with the batch"
    )


# --- question 3: NIST36 from scratch ---------------------------------------------------------------------------------


def q3(study: Study, runs: Runs) -> list[Item]:
    done = runs.done()
    rates = {f"{lr:g}": rows for lr, rows in done.groupby("optimizer.lr", sort=False)}
    metrics = ["train/accuracy", "val/accuracy", "test/accuracy", "train/loss", "val/loss", "test/loss"]
    items: list[Item] = [
        results("After the last epoch", runs, "optimizer.lr", metrics, study.published["accuracy"]),
        curves("accuracy", "Accuracy at three learning rates", rates, ["train/accuracy", "val/accuracy"]),
        curves("loss", "Mean cross-entropy at three learning rates", rates, ["train/loss", "val/loss"]),
    ]
    best = chosen(done, {"optimizer.lr": 0.009})
    if len(best):
        run = best["run"].iloc[0]
        before, after = (image_weights(task.net) for task in (load_initial_task(run), load_run(run)[0]))
        items += [
            epochs_beside("Training at 0.009", best, study.published["log"], ["train/accuracy", "train/loss"]),
            Plot("weights_before", "First-layer weights before training", plots.weight_images(before, title="")),
            Plot("weights_after", "First-layer weights after training", plots.weight_images(after, title="")),
            matrix("confusion", "Confusion matrix at 0.009", best),
        ]
    return items


def image_weights(net: nn.Module) -> plots.Array:
    """The first layer's weights as images [units, 32, 32]."""
    layer = net.first_layer
    assert isinstance(layer, nn.Linear)
    return layer.weight.detach().reshape(-1, 32, 32).numpy()


def q3_measure(study: Study, runs: Runs) -> DataFrame:
    return DataFrame(
        {"hash": hash_, "epochs to half": epochs_to(run, 0.5), "late sd": late_sd(run), "confused": confused(run)}
        for hash_, run in zip(runs.done()["hash"], runs.done()["run"], strict=True)
    )


def epochs_to(run: Path, accuracy: float) -> float:
    """The first epoch with that training accuracy, infinity where it is never reached."""
    past = read_history(run)
    reached = past["epoch"][past["train/accuracy"] >= accuracy]
    return float(reached.iloc[0]) if len(reached) else math.inf


def late_sd(run: Path, epochs: int = 10) -> float:
    """How much the validation accuracy still jumps: its standard deviation over the last epochs."""
    return float(read_history(run)["val/accuracy"].tail(epochs).std())


def confused(run: Path, most: int = 10) -> str:
    """The pairs of classes that are confused most, one way or the other, as `0O 12, 1I 9`."""
    counts, classes = read_confusion(run)
    both = np.triu(counts + counts.T, 1)
    order = np.argsort(-both, axis=None, kind="stable")[:most]
    pairs = [divmod(int(at), len(classes)) for at in order]
    return ", ".join(f"{''.join(sorted(classes[i] + classes[j]))} {both[i, j]}" for i, j in pairs if both[i, j])


def noisier(table: DataFrame, rate: float, than: float) -> Verdict:
    """Whether a learning rate ends lower and jumps more than another, in validation accuracy."""
    a, b = ({m: sample(table, m, {"optimizer.lr": lr}) for m in ("val/accuracy", "late sd")} for lr in (rate, than))
    if not (a["val/accuracy"].n and b["val/accuracy"].n):
        return missing({"optimizer.lr": rate if not a["val/accuracy"].n else than})
    shown = [
        f"{written('accuracy', s['val/accuracy'])}, jumping by {written('accuracy', s['late sd'].mean)}" for s in (a, b)
    ]
    lower = a["val/accuracy"].mean < b["val/accuracy"].mean
    evidence = f"validation accuracy {shown[0]} over the last ten epochs at {rate:g}; {shown[1]} at {than:g}"
    return decide(lower and a["late sd"].mean > b["late sd"].mean, evidence)


def slower(table: DataFrame, rate: float, than: float) -> Verdict:
    """Whether a learning rate needs at least twice the epochs to a training accuracy of a half."""
    a, b = (sample(table, "epochs to half", {"optimizer.lr": lr}) for lr in (rate, than))
    if not (a.n and b.n):
        return missing({"optimizer.lr": rate if not a.n else than})
    ends = [written("accuracy", sample(table, "val/accuracy", {"optimizer.lr": lr})) for lr in (rate, than)]
    evidence = f"{a.mean:.3g} epochs to a training accuracy of 50 %, {b.mean:.3g} at {than:g}"
    return decide(a.mean >= 2 * b.mean, f"{evidence}; in the end validation accuracy {ends[0]} and {ends[1]}")


def confused_pairs(table: DataFrame, pairs: Sequence[str], of: Of) -> Verdict:
    """Whether each pair is among the ten most confused of all 630 in most of the runs."""
    known = chosen(table, of)["confused"].dropna()
    if not len(known):
        return missing(of)
    tops = [[entry.split()[0] for entry in text.split(", ")] for text in known]
    found = {pair: sum("".join(sorted(pair)) in top for top in tops) for pair in pairs}
    counts = ", ".join(f"{pair[0]}/{pair[1]} {n}" for pair, n in found.items())
    evidence = f"among the ten most confused pairs of 630, in how many of {len(tops)} runs: {counts}"
    return decide(all(n > len(tops) / 2 for n in found.values()), f"{evidence} (first run: {known.iloc[0]})")


def hidden_overfit(
    table: DataFrame, of: Of, divisor: float, images: Mapping[str, int], published: Mapping[str, float]
) -> Verdict:
    """What the report's losses are as means over images, beside those obtained."""
    found = {split: sample(table, f"{split}/loss", of) for split in ("train", "val")}
    if not found["train"].n:
        return missing(of)
    means = {split: value * divisor / images[split] for split, value in published.items()}
    hides = found["val"].mean > 1.5 * found["train"].mean
    return answered(
        f"{'yes' if hides else 'no'}: its {published['train']} and {published['val']} are {means['train']:.2f} and "
        f"{means['val']:.2f} for an image; here training loss {written('loss', found['train'])}, validation loss "
        f"{written('loss', found['val'])}"
    )


# --- question 5: an autoencoder --------------------------------------------------------------------------------------

SHOWN = "AFRU8"  # the classes of the report's figure
COMPONENTS = 32


def q5(study: Study, runs: Runs) -> list[Item]:
    done = runs.done()
    sets = blocks(runs)
    obtained = [
        {"what": name, **{m: written(m, Sample(rows[m].mean(), rows[m].std())) for m in ("train/psnr", "val/psnr")}}
        for name, rows in sets.items()
    ]
    pca = done.iloc[0]
    baseline = [
        {"what": f"PCA-{COMPONENTS}{kind}", "val/psnr": written("psnr", float(pca[f"pca/psnr{suffix}"]))}
        for kind, suffix in ((", as it comes", ""), (", cut to pixels from 0 to 1", " clipped"))
    ]
    theirs = [
        {"what": f"published: {row['what']}", "val/psnr": written("psnr", row["psnr"])}
        for _, row in study.published["psnr"].iterrows()
    ]
    frame = DataFrame(obtained + baseline + theirs).rename(columns=words)
    items: list[Item] = [
        Table("PSNR, the mean over images", frame),
        curves("loss", "Mean squared error of a pixel", sets, ["train/loss", "val/loss"], log_y=True),
    ]
    report = chosen(done, {"block": "report"})
    if len(report):
        printed = study.published["loss"].assign(**{"train/loss": study.published["loss"]["loss"] / 10800 * 1e4 / 1024})
        note = "The report's total of 10,800 images is divided by its 11 million pixels."
        items.append(epochs_beside("Mean squared error in training", report, printed, ["train/loss"], note))
    task_of = {name: load_run(rows["run"].iloc[0]) for name, rows in sets.items()}
    items.append(Plot("reconstructions", "Validation images and what comes back", reconstructed(task_of)))
    return items


@torch.no_grad()
def reconstructed(networks: Mapping[str, Any]) -> Figure:
    """Two validation images of five classes: as they are, through each network, through PCA."""
    data = next(iter(networks.values()))[1]
    y = data.splits["val"].y
    places = [int(i) for c in SHOWN for i in (y == data.classes.index(c)).nonzero()[:2, 0]]
    x = pixels(data, "val")[places]
    rows = {"original": x} | {name: task(x) for name, (task, _) in networks.items()}
    rows[f"PCA-{COMPONENTS}"] = through_pca(pixels(data, "train"), x).clamp(0, 1)
    names = [data.classes[int(y[i])] for i in places]
    return plots.reconstructions({name: images.numpy() for name, images in rows.items()}, names, "")


def q5_measure(study: Study, runs: Runs) -> DataFrame:
    done = runs.done()
    _, data = load_run(done["run"].iloc[0])
    x = pixels(data, "val")
    back = through_pca(pixels(data, "train"), x)
    found = {"pca/psnr": psnr(back, x), "pca/psnr clipped": psnr(back.clamp(0, 1), x)}
    return DataFrame({"hash": done["hash"], **found})


def through_pca(train: Tensor, x: Tensor, components: int = COMPONENTS) -> Tensor:
    """Images [B, ...] from their principal components, which are those of the training images."""
    flat = train.flatten(1).double()
    mean = flat.mean(0)
    _, vectors = torch.linalg.eigh((flat - mean).T @ (flat - mean))  # ascending
    basis = vectors[:, -components:]
    return ((x.flatten(1).double() - mean) @ basis @ basis.T + mean).reshape(x.shape).float()


def psnr(back: Tensor, x: Tensor) -> float:
    """10·log10(1 / MSE) in dB, the mean over images in [0, 1]."""
    return float(-10 * (back - x).square().flatten(1).mean(1).log10().mean())


def psnr_gap(table: DataFrame, of: Of, train: float, val: float) -> Verdict:
    """How far validation images are behind training images."""
    a, b = (sample(table, f"{split}/psnr", of) for split in ("train", "val"))
    if not a.n:
        return missing(of)
    gap = a.mean - b.mean
    said = "no, the same network" if gap < (train - val) / 2 else "it can: the same network"
    return answered(
        f"{said} loses {gap:.2f} dB from training images ({written('psnr', a)}) to validation images "
        f"({written('psnr', b)}); in the report it is {train - val:.1f} dB"
    )


def against_pca(table: DataFrame, of: Of) -> Verdict:
    """Whether an autoencoder is at least as good as PCA with as many numbers, cut to the range of pixels."""
    found, pca = sample(table, "val/psnr", of), sample(table, "pca/psnr clipped", of)
    if not found.n:
        return missing(of)
    said = "yes" if found.mean >= pca.mean else "no"
    return answered(
        f"{said}: {written('psnr', found)} on the validation set, PCA-{COMPONENTS} {written('psnr', pca.mean)}"
    )


# --- scratch: questions 2, 3 and 5 with gradients by hand ------------------------------------------------------------


def toy_by_hand_measure(study: Study, runs: Runs) -> DataFrame:
    """As `q2_toy_measure`; the gradients that are checked are those by hand."""
    rows = []
    for hash_, run in zip(runs.done()["hash"], runs.done()["run"], strict=True):
        _, data = load_run(run)
        points, y = data.splits["train"].all()
        x = data.transform(points).double().numpy()
        network = network_by_hand(load_initial_task(run).net.double())
        sums = check_gradients(network, summed(softmax_cross_entropy), x, y.numpy())
        errors = dict(zip(PARAMETERS, sums, strict=True)) | {"total": sum(sums)}
        rows.append({"hash": hash_} | {f"gradient error {name}": error for name, error in errors.items()})
    found = DataFrame(rows)
    return q2_toy_measure(study, runs).drop(columns=found.columns[1:]).merge(found, on="hash")


BY_HAND = [
    twins.Part("cmu/q2_toy", "Question 2 by hand", {"net": "question 2, clusters"}, toy_by_hand_measure, q2_toy),
    twins.Part("cmu/q3", "Question 3 by hand", {"rates": "question 3, NIST36"}, q3_measure, q3),
    twins.Part("cmu/q5", "Question 5 by hand", {"report": "question 5, autoencoder"}, q5_measure, q5),
]

scratch, scratch_measure = partial(twins.page, parts=BY_HAND), partial(twins.measure, parts=BY_HAND)
together, by_hand = twins.together, twins.judge(globals())


# --- questions 6.1.1 and 6.1.2: two networks in PyTorch --------------------------------------------------------------


def q6_1(study: Study, runs: Runs) -> list[Item]:
    metrics = ["train/accuracy", "val/accuracy", "test/accuracy", "train/loss", "val/loss"]
    sets = blocks(runs)
    note = "The report's validation loss of the convnet is one batch's divided by 36, and is left out."
    return [
        results("After the last epoch", runs, "block", metrics, study.published["accuracy"], note),
        curves("accuracy", "Accuracy", sets, ["train/accuracy", "val/accuracy"]),
        curves("loss", "Mean cross-entropy", sets, ["train/loss", "val/loss"]),
        *(matrix(f"confusion_{i}", f"Confusion matrix: {name}", rows) for i, (name, rows) in enumerate(sets.items())),
    ]


def weak_opponent(table: DataFrame, metric: str, net: Of, weak: Of, strong: Of) -> Verdict:
    """How a network's lead shrinks if its opponent is another one."""
    found = [sample(table, metric, of) for of in (net, weak, strong)]
    for s, of in zip(found, (net, weak, strong), strict=True):
        if not s.n:
            return missing(of)
    best, poor, good = found
    leads = [100 * (best.mean - s.mean) for s in (poor, good)]
    said = "yes" if lead(best, good, metric) > 0 else "no"
    return answered(
        f"{said}: {words(metric)} {written(metric, best)} leads 6.1.1's {written(metric, poor)} by {leads[0]:.1f} "
        f"points, question 3's {written(metric, good)} by {leads[1]:.1f}"
    )


# --- question 6.1.3: CIFAR-10 ----------------------------------------------------------------------------------------


def q6_1_3(study: Study, runs: Runs) -> list[Item]:
    theirs = study.published["test"].iloc[0]
    done = runs.done()
    found = {m: Sample(done[m].mean(), done[m].std()) for m in ("test/accuracy", "test/loss")}
    frame = DataFrame(
        {words(m): [written(m, s), written(m, float(theirs[m]))] for m, s in found.items()}
        | {"loss for a wrong photo": [s / (1 - a) for s, a in
                                      ((found["test/loss"].mean, found["test/accuracy"].mean),
                                       (theirs["test/loss"], theirs["test/accuracy"]))]},
    )  # fmt: skip
    frame.insert(0, "run", ["reduced", "published, not run here"])
    sets = blocks(runs)
    return [
        Table("Test set", frame, "The last column is the mean loss divided by the share of photos that are wrong."),
        epochs_beside("By epoch", done, study.published["log"], ["train/loss", "train/accuracy"]),
        curves("loss", "Mean cross-entropy", sets, ["train/loss", "val/loss"]),
        curves("accuracy", "Accuracy", sets, ["train/accuracy", "val/accuracy"]),
        matrix("confusion", "Confusion matrix", done),
    ]


def implausible_loss(
    table: DataFrame, accuracy: float, loss: float, train_accuracy: float, train_loss: float, batch: int
) -> Verdict:
    """A photo that is taken for another class costs at least ln 2; what does a wrong one cost where it is measured?"""
    known = table.dropna(subset=["test/loss", "test/accuracy"])
    if not len(known):
        return no_verdict("no finished run")
    least = (1 - accuracy) * math.log(2)
    here = (known["test/loss"] / (1 - known["test/accuracy"])).mean()
    ratios = [value / (1 - share) for value, share in ((loss, accuracy), (train_loss, train_accuracy))]
    said = "hardly" if ratios[0] < here / 2 else "it can"
    return answered(
        f"{said}: that is {ratios[0]:.2f} for each wrong photo, in its own training {ratios[1]:.2f}, here {here:.2f}, "
        f"and being wrong costs at least ln 2 = 0.69 ({least:.4f} of the {loss}); {batch} · {loss} = "
        f"{batch * loss:.3f} would fit: the means of batches of {batch}, divided by the number of photos"
    )


# --- question 6.1.4: scenes of SUN -----------------------------------------------------------------------------------


def q6_1_4(study: Study, runs: Runs) -> list[Item]:
    sets = blocks(runs)
    metrics = ["train/accuracy", "train/loss", "test/accuracy", "test/loss"]
    theirs = study.published["test"]
    others = DataFrame({"what": theirs["what"], "test accuracy": [written("accuracy", a) for a in theirs["accuracy"]]})
    items: list[Item] = [results("After the last epoch", runs, "block", metrics), Table("Published", others)]
    everything = chosen(runs.done(), {"block": "all"})
    if len(everything):
        columns = ["train/loss", "train/accuracy", "val/loss", "val/accuracy"]
        note = "The test set stands where a validation set would: nothing is selected by it."
        items.append(epochs_beside("All layers, by epoch", everything, study.published["log"], columns, note))
    return [
        *items,
        curves("loss", "Mean cross-entropy", sets, ["train/loss", "val/loss"], log_y=True),
        curves("accuracy", "Accuracy", sets, ["train/accuracy", "val/accuracy"]),
        *(matrix(f"confusion_{i}", f"Confusion matrix: {name}", rows) for i, (name, rows) in enumerate(sets.items())),
    ]


# --- question 6.2: flowers17 -----------------------------------------------------------------------------------------


def q6_2(study: Study, runs: Runs) -> list[Item]:
    sets = blocks(runs)
    chance = {"ln 17": math.log(17)}
    others = study.published["others"]
    metrics = ["train/accuracy", "val/accuracy", "test/accuracy", "epochs"]
    return [
        results("After the last epoch", runs, "block", metrics, study.published["accuracy"]),
        Table("Other solutions, 10 epochs", others.assign(test=[written("accuracy", a) for a in others["test"]])),
        curves("train_loss", "Training loss", sets, ["train/loss"], levels=chance),
        curves("val_loss", "Validation loss", sets, ["val/loss"], levels=chance),
        curves("train_accuracy", "Training accuracy", sets, ["train/accuracy"]),
        curves("val_accuracy", "Validation accuracy", sets, ["val/accuracy"]),
        *(matrix(f"confusion_{i}", f"Confusion matrix: {name}", rows) for i, (name, rows) in enumerate(sets.items())),
    ]


def q6_2_measure(study: Study, runs: Runs) -> DataFrame:
    return DataFrame(
        {"hash": hash_, "stuck epochs": stuck(read_history(run)["train/loss"], 17)}
        for hash_, run in zip(runs.done()["hash"], runs.done()["run"], strict=True)
    )


def stuck(losses: Sequence[float] | pd.Series, classes: int) -> int:
    """How many epochs pass before the loss is clearly (0.05) below that of a guess."""
    below = np.asarray(losses) < math.log(classes) - 0.05
    return int(below.argmax()) if below.any() else len(below)


def stuck_epochs(table: DataFrame, of: Of, published: int) -> Verdict:
    """How long the loss stays at ln 17."""
    found = chosen(table, of).dropna(subset=["stuck epochs"])
    if not len(found):
        return missing(of)
    each = ", ".join(
        f"{stuck:g}{' (to the end)' if stuck >= epochs else ''}"
        for stuck, epochs in zip(found["stuck epochs"], found["epochs"], strict=True)
    )
    return answered(f"{each} of {found['epochs'].max():g} epochs, about {published} in the report's figure")


# --- question 4: the text on four pages ------------------------------------------------------------------------------

PAGES = "$DLCOURSE_DATA/pages"
BREAK = "Σ"  # stands between words where breaks count as characters: it is none of the classes
TEXT = "THE QUICK BROWN FOX\nJUMPS OVER\n13 LAZY DOGS"
PLAIN = Hand(noise=0)
HANDS = {"plain": PLAIN, "broken strokes": replace(PLAIN, broken=0.5), "joined letters": replace(PLAIN, gap=-0.05)}
DRAWS = 5  # pages by each hand


def q4_ocr(study: Study, runs: Runs) -> list[Item]:
    done, pages = runs.done(), study.published["pages"].set_index("page")
    first, photos = open_reader(done["run"].iloc[0]), find_pages(pages.index)
    readings = {name: first.read(photo, turn=0) for name, photo in photos.items()}
    printed = [accuracy(truth, text) for truth, text in zip(pages["truth"], pages["printed"], strict=True)]
    shares = DataFrame(
        {"claimed": pages["accuracy"], "the printed text": printed, "another solution": pages["another"]}
    )
    shares.loc["mean"] = shares.mean()
    frame = beside(shares.map(lambda share: written("accuracy", share)), done)
    absent = "" if len(photos) == len(pages) else f"**Not all of the pages are in {PAGES}**: they are gaps. "
    note = "What the report claims and what the text in its figures gives; another solution; ours, ± over seeds."
    texts = DataFrame(
        [{"page": name, "truth": pages["truth"][name], "printed by the report": pages["printed"][name],
          "here": one_line(reading)} for name, reading in readings.items()],
        columns=["page", "truth", "printed by the report", "here"],
    )  # fmt: skip
    own = f"By {NAMES[str(done['block'].iloc[0])]}, its first seed."
    items: list[Item] = [
        Table("Accuracy on the four pages", frame.reset_index(names="page"), absent + note),
        Table("What is missed and made up", missed_on(pages.index, done), "Characters of a page, ± over seeds."),
        Table("The texts", texts, f"Here: {own[0].lower()}{own[1:]}"),
    ]
    for name, reading in readings.items():
        empty = np.ones_like(photos[name])  # the photos are not the project's to show
        items.append(Plot(f"page_{name}", f"Found on {name}", annotated(empty, reading), own))
    return [*items, *gone_wrong(done, first)]


def gone_wrong(done: DataFrame, reader: Reader) -> list[Item]:
    """The same text written plainly, with broken strokes and with joined letters, and what the reader makes of it."""
    text, composed = by_hands(done["run"].iloc[0])
    frame = beside(DataFrame(index=list(HANDS)), done).reset_index(names="written")
    note = f"{DRAWS} pages each, of validation letters. Broken: half of the letters have a gap. Joined: they overlap."
    items: list[Item] = [Table("Accuracy on pages that go wrong", frame, note)]
    for i, (hand, drawn) in enumerate(composed.items()):
        reading = reader.read(drawn[0], turn=0)
        note = f"Accuracy {written('accuracy', accuracy(text, reading.text))}: {one_line(reading)}"
        items.append(Plot(f"hand_{i}", f"A composed page, {hand}", annotated(drawn[0], reading), note))
    return items


def q4_ocr_measure(study: Study, runs: Runs) -> DataFrame:
    """Of each run `scores` of each page that is there, as `01_list/accuracy`, and the accuracy on composed pages."""
    done = runs.done()
    truths = study.published["pages"].set_index("page")["truth"]
    photos = find_pages(truths.index)
    text, composed = by_hands(done["run"].iloc[0])
    rows = []
    for hash_, run in zip(done["hash"], done["run"], strict=True):
        reader = open_reader(run)
        row: dict[str, Any] = {"hash": hash_}
        for name, photo in photos.items():
            reading = reader.read(photo, turn=0)
            for page, version in ((name, reading), (f"{name} in context", Reading(settled(reading.letters)))):
                row |= {f"{page}/{key}": value for key, value in scores(truths[name], version).items()}
        for kind in ("", " in context"):
            each = [row.get(f"{name}{kind}/accuracy", math.nan) for name in truths.index]
            row[f"mean{kind}/accuracy"] = np.mean(each)
        for hand, drawn in composed.items():
            row[f"{hand}/accuracy"] = np.mean([accuracy(text, reader.read(page, turn=0).text) for page in drawn])
        rows.append(row)
    found = DataFrame(rows)
    found.attrs["incomplete"] = len(photos) < len(truths)  # measured again once they are there
    return found


def find_pages(names: Iterable[str]) -> dict[str, plots.Array]:
    """The photos that there are of these pages, float32 [H, W]."""
    folder = Path(os.path.expandvars(PAGES))
    return {name: load(path)[0] for name in names if (path := folder / f"{name}.jpg").is_file()}


def by_hands(run: Path) -> tuple[str, dict[str, list[plots.Array]]]:
    """TEXT, of the letters that there are, and pages with it, composed of the validation letters of a run's data."""
    data, dark = load_run(run)[1], open_reader(run).form.dark
    x, y = (values.numpy() for values in data.splits["val"].all())
    ink = 1 - x[:, 0] / 255 if dark else x[:, 0] / 255
    letters = {c: ink[y == k] for k, c in enumerate(data.classes) if (y == k).any()}
    text = "".join(c for c in TEXT if c in letters or c.isspace())
    return text, {
        name: [compose(text, letters, hand, np.random.default_rng(i)) for i in range(DRAWS)]
        for name, hand in HANDS.items()
    }


def accuracy(truth: str, text: str) -> float:
    """1 - the character error rate; below 0 where more is made up than there is."""
    return 1 - compare(truth, text).error_rate


def scores(truth: str, reading: Reading) -> dict[str, float | str]:
    """`breaks`: by how many edits the texts differ more where the breaks between words count as characters."""
    plain, spaced = (compare(change(truth), change(one_line(reading))) for change in (str, with_breaks))
    edits = [found.missed + found.made_up + found.confused.total() for found in (plain, spaced)]
    return {
        "accuracy": 1 - plain.error_rate,
        "missed": plain.missed,
        "made up": plain.made_up,
        "breaks": edits[1] - edits[0],
        "text": one_line(reading),
    }


def one_line(reading: Reading) -> str:
    return reading.text.replace("\n", " / ")


def with_breaks(text: str) -> str:
    return BREAK.join(word for word in text.split() if word != "/")


def by_block(done: DataFrame, metric: str) -> dict[str, Sample]:
    """A metric over the runs of each block, by its name for people; NaN where it isn't measured."""
    column = done[metric] if metric in done else pd.Series(math.nan, done.index)
    found = column.groupby(done["block"], sort=False).agg(["mean", "std"])
    return {NAMES[str(block)]: Sample(mean, sd) for block, mean, sd in found.itertuples()}


def beside(frame: DataFrame, done: DataFrame) -> DataFrame:
    """A table with a row a page, and with a column more for the accuracy of each block's runs."""
    columns = {page: by_block(done, f"{page}/accuracy") for page in frame.index}
    return frame.join(DataFrame(columns).T.map(lambda found: written("accuracy", found)))


def missed_on(pages: Iterable[str], done: DataFrame) -> DataFrame:
    counts = {"missed": "missed", "made up": "made up", "breaks": "wrong breaks between words"}
    rows = []
    for page in pages:
        found = {title: by_block(done, f"{page}/{key}") for key, title in counts.items()}
        for name, context in by_block(done, f"{page} in context/accuracy").items():
            row = {
                title: format_mean(of_blocks[name].mean, of_blocks[name].sd, 1) for title, of_blocks in found.items()
            }
            rows.append({"page": page, "network": name, **row, "accuracy in context": written("accuracy", context)})
    return DataFrame(rows)


def annotated(page: plots.Array, reading: Reading) -> Figure:
    found = reading.letters
    boxes = np.array([letter.box for letter in found]).reshape(-1, 4)
    probabilities = np.array([letter.probability for letter in found])
    return plots.letters(page, boxes, [letter.text for letter in found], probabilities)


def on_pages(table: DataFrame, check: str, **arguments: Any) -> Verdict:
    """Another check of this module, about what is measured on the four pages."""
    if "mean/accuracy" not in table or table["mean/accuracy"].isna().all():
        return no_verdict(f"the pages 01_list.jpg, 02_letters.jpg, 03_haiku.jpg and 04_deep.jpg aren't all in {PAGES}")
    verdict: Verdict = globals()[check](table, **arguments)
    return verdict


def printed_text(table: DataFrame, pages: Sequence[Mapping[str, Any]]) -> Verdict:
    """The accuracy of the texts that the report prints, beside what it claims: no run decides about that."""
    shown, off = [], []
    for page in pages:
        found, claimed = accuracy(page["truth"], page["printed"]), page["accuracy"]
        shown.append(f"{page['page']} {written('accuracy', found)}, claimed {format_percent(claimed, digits=0)}")
        if abs(found - claimed) > 0.01:
            off.append(page["page"])
    said = f"not within a point on {', '.join(off)}" if off else "yes, within a point"
    return answered(f"{said}: {'; '.join(shown)}")


def above_printed(table: DataFrame, of: Of, pages: Sequence[Mapping[str, Any]]) -> Verdict:
    """Whether the mean accuracy over seeds is above that of the text that the report prints, page by page."""
    shown, ahead = [], 0
    for page in pages:
        found, theirs = sample(table, f"{page['page']}/accuracy", of), accuracy(page["truth"], page["printed"])
        if not found.n:
            return missing(of)
        shown.append(f"{page['page']} {written('accuracy', found)} against {written('accuracy', theirs)}")
        ahead += found.mean > theirs
    said = "yes" if ahead == len(pages) else f"on {ahead} of {len(pages)}"
    return answered(f"{said}: {'; '.join(shown)}")


def all_found(table: DataFrame, of: Of, pages: Sequence[Mapping[str, Any]]) -> Verdict:
    """Whether some runs miss no character of all pages and make up none; and what each run does."""
    known = table.dropna(subset="mean/accuracy")
    if not len(known):
        return no_verdict("no finished run")
    total = sum(compare(page["truth"], "").missed for page in pages)
    counts = {key: known[[f"{page['page']}/{key}" for page in pages]].sum(axis=1) for key in ("missed", "made up")}
    shown = []
    for block, rows in known.groupby("block", sort=False):
        each = [f"{key} {', '.join(f'{n:g}' for n in column[rows.index])}" for key, column in counts.items()]
        shown.append(f"{NAMES[str(block)]}: {', '.join(each)}")
    asked = chosen(known, of).index
    said = "no" if any(column[asked].any() for column in counts.values()) else "yes"
    return answered(f"{said}; of {total} characters, run by run, {'; '.join(shown)}")


def context_brings(table: DataFrame, of: Of) -> Verdict:
    """The mean accuracy over pages without context and with it."""
    alone, context = (sample(table, f"mean{kind}/accuracy", of) for kind in ("", " in context"))
    if not alone.n:
        return missing(of)
    gain = 100 * (context.mean - alone.mean)
    return answered(f"{gain:+.2f} points: {written('accuracy', context)} with it, {written('accuracy', alone)} without")
