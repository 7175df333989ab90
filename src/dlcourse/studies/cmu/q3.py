"""Question 3: a fully connected network on NIST36, three learning rates."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pandas import DataFrame

from dlcourse.reports.tables import count_confusions, read_history
from dlcourse.studies import measures
from dlcourse.studies.checks import check
from dlcourse.studies.images import roughness, spread
from dlcourse.studies.items import weight_images
from dlcourse.studies.rules import least_seeds, rule_each
from dlcourse.studies.runs import Runs, load_initial_task
from dlcourse.studies.samples import Of, aggregate, compare, format_metric, require
from dlcourse.studies.study import Study
from dlcourse.studies.verdict import Verdict, answered, decide
from dlcourse.training.loading import load_task

MOST_CONFUSED = 10  # pairs
LATE = 10  # epochs over which the validation accuracy's jumping is measured


def measure(study: Study, runs: Runs) -> DataFrame:
    """When half of the training set is right, how much the validation accuracy jumps late, what is confused most; how
    rough and how local the first layer's weight images are before and after training (`studies.images`)."""
    rows = []
    for hash_, run in zip(runs.done()["hash"], runs.done()["run"], strict=True):
        found: dict[str, Any] = {"hash": hash_, "epochs to half": epochs_to(run, 0.5), "confused": most_confused(run)}
        found["late sd"] = float(read_history(run)["val/accuracy"].tail(LATE).std())
        for when, task in (("before", load_initial_task(run)), ("after", load_task(run))):
            images = weight_images(task.net)
            found |= {f"roughness/{when}": roughness(images), f"spread/{when}": spread(images)}
        rows.append(found)
    return DataFrame(rows)


def epochs_to(run: Path, accuracy: float) -> float:
    """The first epoch with that training accuracy, infinity where it is never reached."""
    return measures.epochs_to({}, read_history(run), "train/accuracy", accuracy)


def most_confused(run: Path) -> str:
    """The pairs of classes that are confused most, one way or the other, as `0O 12, 1I 9`."""
    pairs = count_confusions(run)[:MOST_CONFUSED]
    return ", ".join(f"{''.join(sorted(a + b))} {times}" for a, b, times in pairs)


@check
def noisier(table: DataFrame, rate: float, than: float) -> Verdict:
    """Reproduced where a learning rate ends lower and jumps more than another, in validation accuracy."""
    (low, jumps), (high, calm) = (
        [aggregate(table, metric, {"optimizer.lr": lr}) for metric in ("val/accuracy", "late sd")]
        for lr in (rate, than)
    )
    texts = [
        f"{format_metric('accuracy', end)}, jumping by {format_metric('accuracy', late.mean)}"
        for end, late in ((low, jumps), (high, calm))
    ]
    evidence = f"validation accuracy {texts[0]} over the last ten epochs at {rate:g}; {texts[1]} at {than:g}"
    return decide(low.mean < high.mean and jumps.mean > calm.mean, evidence)


@check
def slower(table: DataFrame, rate: float, than: float) -> Verdict:
    """Reproduced where a learning rate needs at least twice the epochs to a training accuracy of a half."""
    a, b = (aggregate(table, "epochs to half", {"optimizer.lr": lr}).mean for lr in (rate, than))
    ends = [format_metric("accuracy", aggregate(table, "val/accuracy", {"optimizer.lr": lr})) for lr in (rate, than)]
    evidence = f"{a:.3g} epochs to a training accuracy of 50 %, {b:.3g} at {than:g}"
    return decide(a >= 2 * b, f"{evidence}; in the end validation accuracy {ends[0]} and {ends[1]}")


@check
def confused_pairs(table: DataFrame, pairs: Sequence[str], of: Of) -> Verdict:
    """Reproduced where each pair is among the ten most confused of all 630 in most of the runs."""
    texts = require(table, "confused", of)["confused"]
    tops = [[entry.split()[0] for entry in text.split(", ")] for text in texts]
    times = {pair: sum("".join(sorted(pair)) in top for top in tops) for pair in pairs}
    counts = ", ".join(f"{pair[0]}/{pair[1]} {n}" for pair, n in times.items())
    evidence = f"among the ten most confused pairs of 630, in how many of {len(tops)} runs: {counts}"
    return decide(all(n > len(tops) / 2 for n in times.values()), f"{evidence} (first run: {texts.iloc[0]})")


@check
def hidden_overfit(
    table: DataFrame, of: Of, divisor: float, images: Mapping[str, int], published: Mapping[str, float]
) -> Verdict:
    """What the report's losses are as means over images, beside those obtained."""
    train, val = (aggregate(table, f"{split}/loss", of) for split in ("train", "val"))
    means = {split: value * divisor / images[split] for split, value in published.items()}
    return answered(
        f"{'yes' if val.mean > 1.5 * train.mean else 'no'}: its {published['train']} and {published['val']} are "
        f"{means['train']:.2f} and {means['val']:.2f} for an image; here training loss {format_metric('loss', train)}, "
        f"validation loss {format_metric('loss', val)}"
    )


@check
def local_patterns(table: DataFrame, of: Of) -> Verdict:
    """Reproduced where training makes the weight images smoother and more local than the noise that they start from."""
    outcomes, texts, seeds = [], [], []
    for name, said in (("roughness", "difference of neighbouring weights (1 in white noise)"),
                       ("spread", "share of an image that holds half of its squares")):  # fmt: skip
        before, after = (aggregate(table, f"{name}/{when}", of) for when in ("before", "after"))
        outcomes.append(-compare(after, before, f"{name}/after"))
        texts.append(f"{said} {format_metric(name, before.mean)} before, {format_metric(name, after)} after")
        seeds.append(least_seeds([before, after]))
    return rule_each(outcomes, "; ".join(texts), min(seeds))
