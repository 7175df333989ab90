"""NTNU TDT4265, assignment 1: logistic and softmax regression on MNIST, when they stop, a penalty on the weights."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from pandas import DataFrame, Series
from torch import Tensor, nn

from dlcourse import plots
from dlcourse.reports.page import GAP, Item, Plot, Table, format_mean, format_percent
from dlcourse.reports.tables import aggregate_over_seeds, read_history, read_steps
from dlcourse.studies import twins
from dlcourse.studies.runs import Runs, load_initial_task, load_run
from dlcourse.studies.study import Study
from dlcourse.studies.verdict import Verdict, answered, decide, no_verdict

# --- what the studies share ------------------------------------------------------------------------------------------


def missing(known: DataFrame, name: str, columns: Sequence[str]) -> Verdict | None:
    """The verdict that there is none, where there are no such runs or one of them has no such figure."""
    gaps = not len(known) or any(column not in known or known[column].isna().any() for column in columns)
    return no_verdict(f"runs missing: {name}") if gaps else None


def of(table: DataFrame, block: str) -> DataFrame:
    return table[table["block"] == block]


def mean(values: Series, digits: int = 4) -> str:
    """`0.2973 ± 0.0012`, over the runs; without ± where they all have one value."""
    return format_mean(values.mean(), values.std() or None, digits)


def in_percent(values: Series) -> str:
    """`91.62 ± 0.11`, over the runs."""
    return format_percent(values.mean(), values.std())


def curve(rows: DataFrame, metric: str) -> tuple[Any, Any]:
    """A metric against the step."""
    return rows["step"].to_numpy(), rows[metric].to_numpy()


# --- logistic --------------------------------------------------------------------------------------------------------

PASS = 31  # steps of a pass over the 4,005 examples of two digits
SETTLED = 2 * PASS  # steps after which the accuracy moves by spikes rather than by learning
RELIABLY = 0.9  # of the draws
FIXED, SHUFFLED = "unshuffled", "shuffled"
ORDERS = {FIXED: "fixed order", SHUFFLED: "shuffled"}
FRAMES = {"loss": (0.0, 0.2), "accuracy": (0.93, 0.99)}  # that the assignment asks for


def logistic_measure(study: Study, runs: Runs) -> DataFrame:
    """Of each run, once it has settled: the largest spike in validation accuracy, and the batch that does most harm.

    spike: how far below the best accuracy so far it falls. worst batch: its number in the pass, from 0, with the mean
    accuracy of the evaluations right after it; `elsewhere` is that after the others. In fixed order it is one batch.
    """
    rows = []
    for _, row in runs.done().iterrows():
        read = read_history(row["run"])
        accuracy = read["val/accuracy"]
        late = read["step"] > SETTLED
        batch = (read["step"] - 1) % PASS
        means = accuracy[late].groupby(batch[late]).mean()
        worst = means.idxmin() if len(means) else np.nan
        rows.append(
            {
                "hash": row["hash"],
                "spike": (accuracy.cummax() - accuracy)[late].max(),
                "worst batch": worst,
                "after it": means.min(),
                "elsewhere": accuracy[late & (batch != worst)].mean(),
            }
        )
    return DataFrame(rows)


def passes_of(known: DataFrame) -> Series:
    """In which pass each run stopped, counted from 0."""
    return (known["steps"] - 1) // PASS


def logistic(study: Study, runs: Runs) -> list[Item]:
    done = runs.done()
    published = study.published["stops"].set_index("block")["passes"]
    rows, curves = [], {}
    for block, name in ORDERS.items():
        known = of(done, block)
        if not len(known):
            continue
        curves[name] = curve(read_history(known["run"].iloc[0]), "val/accuracy")
        at = passes_of(known)
        rows.append(
            {
                "order": name,
                "stops in pass": mean(at, 1) if len(at) > 1 else str(at.iloc[0]),
                "published": published[block],
                "earliest": at.min(),
                "latest": at.max(),
                "validation loss": mean(known["val/loss"]),
                "validation accuracy, %": in_percent(known["val/accuracy"]),
                "largest spike, points": in_percent(known["spike"]),
                "runs": len(known),
            }
        )
    note = (
        "± over draws of the order. A spike is how far the validation accuracy falls below the best so far, after the "
        "first two passes. Loss and accuracy are those of the best weights."
    )
    items: list[Item] = [Table("When it stops", DataFrame(rows), note)]
    at = passes_of(of(done, SHUFFLED))
    if len(at):
        marked = {f"published, {name}": float(published[block]) for block, name in ORDERS.items()}
        drawn = plots.histogram(at.to_numpy(), marked, "When training stops, shuffled", x_label="pass")
        items.append(Plot("stops", "The pass in which training stops, over the draws of the order", drawn))
    fixed = of(done, FIXED)
    if len(fixed):
        items += fixed_order(fixed["run"].iloc[0])
    title = "Validation accuracy with and without shuffling"
    drawn = plots.superimposed(curves, title, "step", "accuracy", y_limits=FRAMES["accuracy"])
    return [*items, Plot("shuffling", f"{title} (task 2e)", drawn, "Shuffled: the first of the draws.")]


def fixed_order(run: Path) -> list[Item]:
    read = read_history(run)
    each = {"loss": read_steps(run), "accuracy": read}
    notes = {
        "loss": "Train: each step's batch. The same 31 batches come round again and again.",
        "accuracy": "Train: the six batches since the last evaluation; the course takes the whole training set.",
    }
    items: list[Item] = []
    for task, metric in (("2b", "loss"), ("2c", "accuracy")):
        curves = {"train": curve(each[metric], f"train/{metric}"), "val": curve(read, f"val/{metric}")}
        title = f"{metric.capitalize()} in fixed order"
        drawn = plots.superimposed(curves, title, "step", metric, y_limits=FRAMES[metric])
        items.append(Plot(metric, f"{title} (task {task})", drawn, notes[metric]))
    return items


def distribution(at: Series) -> str:
    if len(at) == 1:
        return f"pass {at.iloc[0]:.0f}"
    return f"pass {mean(at, 1)} (from {at.min():.0f} to {at.max():.0f}, median {at.median():g}, n = {len(at)})"


def stops_after(table: DataFrame, block: str, passes: int) -> Verdict:
    """It holds where the published pass is the one in which the run stops, or is within the range of several draws."""
    known = of(table, block)
    if none := missing(known, block, ["steps"]):
        return none
    at = passes_of(known)
    exactly = "exactly in" if len(at) == 1 and at.iloc[0] == passes else "in"
    draws = f"; {(at <= passes).sum()} of the draws stop in pass {passes} or before" if len(at) > 1 else ""
    return decide(bool(at.min() <= passes <= at.max()), f"training stops {exactly} {distribution(at)}{draws}")


def shuffling_halves(table: DataFrame) -> Verdict:
    """It holds where at least nine of ten draws stop by half of the pass in which fixed order stops."""
    for block in ORDERS:
        if none := missing(of(table, block), block, ["steps"]):
            return none
    end, at = passes_of(of(table, FIXED)).iloc[0], passes_of(of(table, SHUFFLED))
    half = (at <= end / 2).sum()
    return decide(
        bool(half >= RELIABLY * len(at)),
        f"fixed order stops in pass {end:.0f}; of {len(at)} draws {half} stop by half of that and {(at < end).sum()} "
        f"before it, on average at {format_percent(at.mean() / end, digits=0)} % of it",
    )


def stop_distribution(table: DataFrame) -> Verdict:
    known = of(table, SHUFFLED)
    if none := missing(known, SHUFFLED, ["steps"]):
        return none
    at = passes_of(known)
    return answered(f"{distribution(at)}: {', '.join(f'{value:.0f}' for value in sorted(at))}")


def spikes(table: DataFrame) -> Verdict:
    for block in ORDERS:
        if none := missing(of(table, block), block, ["spike", "worst batch"]):
            return none
    fixed, shuffled = of(table, FIXED).iloc[0], of(table, SHUFFLED)["spike"]
    return answered(
        f"in fixed order from one batch, number {fixed['worst batch']:.0f} of a pass: {format_percent(fixed['after it'])} % "
        f"right after it, {format_percent(fixed['elsewhere'])} % after the others; the largest spike is "
        f"{format_percent(fixed['spike'])} points in fixed order, {in_percent(shuffled)} (at most {format_percent(shuffled.max())}) "
        f"shuffled"
    )


# --- softmax ---------------------------------------------------------------------------------------------------------

WINDOW = 10  # evaluations, two passes: what a figure "at" a step is the mean of
POINTS = (3000, 8200, "end")  # steps
CURVES = {
    "train/loss": "train loss",
    "val/loss": "validation loss",
    "train/accuracy": "train accuracy, %",
    "val/accuracy": "validation accuracy, %",
}
READ = 0.005  # how exactly a figure can be read off a plot
RISES = 0.01  # of the lowest loss: what counts as a rise


def softmax_measure(study: Study, runs: Runs) -> DataFrame:
    """Of each run the curves at some steps and at the end, and where the validation loss is lowest; means of WINDOW."""
    rows = []
    for _, row in runs.done().iterrows():
        smooth = read_history(row["run"]).set_index("step")[list(CURVES)].rolling(WINDOW).mean()
        known = smooth["val/loss"].dropna()
        found = {"hash": row["hash"], "lowest": known.min(), "lowest at": known.idxmin() if len(known) else np.nan}
        for at in POINTS:
            end = smooth.index[-1]
            step = end if at == "end" else at
            found |= {f"{m} at {at}": smooth[m].loc[:step].iloc[-1] if step <= end else np.nan for m in CURVES}
        rows.append(found)
    return DataFrame(rows)


def softmax(study: Study, runs: Runs) -> list[Item]:
    done = runs.done()
    rows = []
    for block, name in (("early", "early stopping"), ("long", "200 passes")):
        for at in POINTS:
            known = of(done, block)
            known = known[known[f"val/loss at {at}"].notna()]
            if not len(known):
                continue
            row = {"run": name, "step": f"end, {mean(known['steps'], 0)}" if at == "end" else str(at)}
            for metric, column in CURVES.items():
                row[column] = (in_percent if column.endswith("%") else mean)(known[f"{metric} at {at}"])
            rows.append(row | {"runs": str(len(known))})
    solution = study.published["solution"].iloc[0]
    rows.append(
        {
            "run": "published: the course's solution",
            "step": f"about {solution['step']:.0f}",
            "train loss": GAP,
            "validation loss": f"{solution['val_loss']:.3f}",
            "train accuracy, %": f"{100 * solution['train_accuracy']:.1f}",
            "validation accuracy, %": f"{100 * solution['val_accuracy']:.1f}",
            "runs": "1",
        }
    )
    note = "Means of the ten evaluations (two passes) up to the step; ± over seeds."
    items: list[Item] = [Table("Along the way", DataFrame(rows), note)]
    long = of(done, "long")
    if len(long):
        read = read_history(long["run"].iloc[0])
        for metric, limits in (("loss", (0.2, 0.6)), ("accuracy", (0.86, 0.95))):
            curves = {stage: curve(read, f"{stage}/{metric}") for stage in ("train", "val")}
            levels = {"published val": float(solution[f"val_{metric}"])}
            title = f"{metric.capitalize()} over 200 passes"
            drawn = plots.superimposed(curves, title, "step", metric, levels=levels, y_limits=limits)
            items.append(Plot(metric, f"{title} (task 3)", drawn, "Train: the 31 batches since the last evaluation."))
    return items


def way(known: DataFrame, metric: str, step: int) -> str:
    start, end = (known[f"{metric} at {at}"].mean() for at in (step, "end"))
    return f"from {format_mean(start)} to {format_mean(end)}"


def overfits(table: DataFrame, step: int) -> Verdict:
    """It holds where the validation loss is higher at the end of 200 passes than at that step, on average."""
    known = of(table, "long")
    if none := missing(known, "long", [f"{m} at {at}" for m in CURVES for at in (step, "end")]):
        return none
    return decide(
        bool(known["val/loss at end"].mean() > known[f"val/loss at {step}"].mean()),
        f"between step {step} and the end of 200 passes the validation loss goes {way(known, 'val/loss', step)}, "
        f"validation accuracy {way(known, 'val/accuracy', step)}, training accuracy "
        f"{way(known, 'train/accuracy', step)} (n = {len(known)})",
    )


def rises_or_widens(table: DataFrame, step: int) -> Verdict:
    known = of(table, "long")
    points = [f"{m} at {at}" for m in CURVES for at in (step, "end")]
    if none := missing(known, "long", [*points, "lowest", "lowest at"]):
        return none
    above = (known["val/loss at end"] - known["lowest"]).mean()
    gaps = [
        format_percent((known[f"train/accuracy at {at}"] - known[f"val/accuracy at {at}"]).mean())
        for at in (step, "end")
    ]
    rises = above > RISES * known["lowest"].mean()
    return answered(
        f"{'it rises' if rises else 'only the gap widens'}: over 200 passes the lowest validation loss is "
        f"{mean(known['lowest'])}, at step {mean(known['lowest at'], 0)}, and the last is {format_mean(above)} above it; "
        f"the gap in accuracy goes from {gaps[0]} to {gaps[1]} points (n = {len(known)})"
    )


def as_the_solution(
    table: DataFrame, step: int, val_loss: float, train_accuracy: float, val_accuracy: float
) -> Verdict:
    """It holds where all three are as near as a plot can be read."""
    wanted = {"val/loss": val_loss, "train/accuracy": train_accuracy, "val/accuracy": val_accuracy}
    known = of(table, "long")
    if none := missing(known, "long", [f"{m} at {step}" for m in wanted]):
        return none
    found = {m: known[f"{m} at {step}"] for m in wanted}
    holds = all(abs(found[m].mean() - value) <= READ for m, value in wanted.items())
    shown = ", ".join(f"{m} {mean(found[m])} ({value:g})" for m, value in wanted.items())
    return decide(holds, f"{shown}; tolerance {READ:g}, n = {len(known)}")


def early_stop(table: DataFrame) -> Verdict:
    known = of(table, "early")
    if none := missing(known, "early", ["steps", "val/loss"]):
        return none
    return answered(
        f"at step {mean(known['steps'], 0)}, where the best validation loss was {mean(known['val/loss'])} "
        f"(n = {len(known)})"
    )


# --- l2 --------------------------------------------------------------------------------------------------------------

DECAY = "optimizer.weight_decay"
YEARS = {"2022": (0.0, 0.002, 0.02, 0.2, 2.0), "2021": (0.0, 0.001, 0.01, 0.1, 1.0)}
NEAR = 0.01  # a share of the lowest J: training that ends within it has worked
COLUMNS = {
    "val/accuracy": "validation accuracy, %",
    "val/loss": "validation cross-entropy",
    "train/loss": "training cross-entropy",
    "norm": "‖w‖²",
    "objective": "J",
    "lowest": "J*",
}


def l2_measure(study: Study, runs: Runs) -> DataFrame:
    """Of each run ‖w‖² and its objective J on the training set; of each λ the lowest J there is (see `lowest`)."""
    found: dict[float, dict[str, float]] = {0.0: {}}  # without a penalty there need be no minimum
    rows = []
    for _, row in runs.done().iterrows():
        task, data = load_run(row["run"])
        x, y = data.splits["train"].all()
        x = data.transform(x)
        decay = float(row[DECAY])
        if decay not in found:
            found[decay] = lowest(load_initial_task(row["run"]).net, x, y, decay)
        with torch.no_grad():
            norm = sum(float(w.square().sum()) for w in task.parameters())
            objective = float(F.cross_entropy(task(x), y)) + decay / 2 * norm
        rows.append({"hash": row["hash"], "norm": norm, "objective": objective, **found[decay]})
    return DataFrame(rows)


def lowest(net: nn.Module, x: Tensor, y: Tensor, decay: float) -> dict[str, float]:
    """The lowest J that any weights have, by L-BFGS; the cross-entropy there; and how exact that is.

    J is λ-strongly convex, so J(w) - J* ≤ ‖∇J(w)‖²/(2λ) (Boyd and Vandenberghe, Convex Optimization, 9.1.2).
    """
    weights = list(net.parameters())
    minimise = torch.optim.LBFGS(
        weights,
        max_iter=200,
        tolerance_grad=1e-5,
        tolerance_change=1e-9,
        history_size=20,
        line_search_fn="strong_wolfe",
    )

    def objective() -> Tensor:
        minimise.zero_grad()
        value = F.cross_entropy(net(x), y) + decay / 2 * sum(w.square().sum() for w in weights)
        value.backward()
        return value

    minimise.step(objective)
    value = float(objective().detach())
    with torch.no_grad():
        slope = sum(float(w.grad.square().sum()) for w in weights if w.grad is not None)
        loss = float(F.cross_entropy(net(x), y))
    return {"lowest": value, "loss there": loss, "exact to": slope / (2 * decay)}


def l2(study: Study, runs: Runs) -> list[Item]:
    done = runs.done()
    means = aggregate_over_seeds(done, [DECAY], list(COLUMNS)).sort_values(DECAY, ignore_index=True)
    frame = DataFrame({"λ": [f"{decay:g}" for decay in means[DECAY]]})
    for metric, column in COLUMNS.items():
        write = format_percent if column.endswith("%") else format_mean
        frame[column] = [write(m, sd or None) for m, sd in zip(means[metric], means[f"{metric} sd"], strict=True)]
    frame["runs"] = means["runs"]
    note = (
        "± over seeds. The cross-entropies are without the penalty; J, on the training set, is with it. J\\* is the "
        "lowest J that any weights have: with a small λ, 50 passes end well above it."
    )
    items: list[Item] = [Table("Each λ", frame, note)]
    first = done[done["seed"] == done["seed"].min()].set_index(DECAY)["run"]
    for decay in (0.0, 2.0):
        if decay in first:
            layer = load_run(first[decay])[0].net.first_layer
            assert isinstance(layer, nn.Linear)
            images = layer.weight.detach().reshape(-1, 28, 28).numpy()
            title = f"The weights of the ten digits, λ = {decay:g}"
            drawn = plots.weight_images(images, columns=5, title=title)
            items.append(Plot(f"weights_{decay:g}", f"{title} (task 4b)", drawn))
    for year, decays in YEARS.items():
        curves = {f"λ = {d:g}": curve(read_history(first[d]), "val/accuracy") for d in decays if d in first}
        if curves:
            title = f"Validation accuracy, the λ of {year}"
            drawn = plots.superimposed(curves, title, "step", "accuracy", y_limits=(0.7, 0.93))
            items.append(Plot(f"accuracy_{year}", f"{title} (task 4c)", drawn))
    for name, metric, title in (
        ("accuracy", "val/accuracy", "Validation accuracy against λ (task 4c)"),
        ("norms", "norm", "‖w‖² against λ (task 4e)"),
    ):
        points = {"": (means[DECAY].to_numpy(), means[metric].to_numpy())}
        label = COLUMNS[metric].removesuffix(", %")
        drawn = plots.superimposed(points, title, "λ", label, log_x=True, log_y=metric == "norm")
        items.append(Plot(name, title, drawn))
    return items


def at_decay(table: DataFrame, decay: float, metrics: Sequence[str]) -> Series | Verdict:
    """Means over the seeds of one λ."""
    known = table[table[DECAY] == decay]
    return missing(known, f"λ = {decay:g}", metrics) or aggregate_over_seeds(known, [DECAY], metrics).iloc[0]


def by_decay(table: DataFrame, metrics: Sequence[str]) -> DataFrame | Verdict:
    """Means over seeds, a row a λ, the lowest first."""
    found = missing(table, "every λ is needed", metrics)
    return found or aggregate_over_seeds(table, [DECAY], metrics).set_index(DECAY).sort_index()


def over_seeds(row: Series, metric: str) -> str:
    return format_mean(row[metric], row[f"{metric} sd"])


def loss_above_one(table: DataFrame, decay: float) -> Verdict:
    row = at_decay(table, decay, ["val/loss", "objective"])
    if isinstance(row, Verdict):
        return row
    return decide(
        bool(row["val/loss"] > 1),
        f"at λ = {decay:g} the validation cross-entropy is {over_seeds(row, 'val/loss')}, J is "
        f"{over_seeds(row, 'objective')} (n = {row['runs']:.0f})",
    )


def does_not_work(table: DataFrame, decay: float) -> Verdict:
    """Where training ends within 1 % of the lowest J that there is, it works, and the claim does not hold."""
    row = at_decay(table, decay, ["objective", "lowest", "val/accuracy"])
    if isinstance(row, Verdict):
        return row
    above = row["objective"] / row["lowest"] - 1
    return decide(
        bool(above > NEAR),
        f"at λ = {decay:g} training ends at J = {over_seeds(row, 'objective')}, {format_percent(above)} % above the lowest "
        f"that any weights have, {format_mean(row['lowest'])}; validation accuracy "
        f"{format_percent(row['val/accuracy'], row['val/accuracy sd'])} % (n = {row['runs']:.0f})",
    )


def fault_or_result(table: DataFrame, decay: float) -> Verdict:
    row = at_decay(table, decay, ["lowest", "loss there", "exact to", "norm"])
    if isinstance(row, Verdict):
        return row
    result = "the correct result" if row["loss there"] > 1 else "a fault"
    return answered(
        f"{result}: at λ = {decay:g} the lowest J that any weights have is {format_mean(row['lowest'])} (exact to "
        f"{row['exact to']:.0e}), and their cross-entropy is {format_mean(row['loss there'])}; weights of zero have log 10 = "
        f"{np.log(10):.4f}, and the penalty keeps them near that, at ‖w‖² = {over_seeds(row, 'norm')}"
    )


def expression_altered(table: DataFrame) -> Verdict:
    """It holds where each larger λ has a higher training cross-entropy: the minimum of J is another than that of C."""
    means = by_decay(table, ["train/loss", "train/accuracy", "val/accuracy"])
    if isinstance(means, Verdict):
        return means
    least, most = means.iloc[0], means.iloc[-1]
    gap = least["train/accuracy"] - least["val/accuracy"]
    return decide(
        bool((means["train/loss"].diff().dropna() > 0).all() and least["val/accuracy"] > most["val/accuracy"]),
        f"from λ = {means.index[0]:g} to {means.index[-1]:g} the training cross-entropy goes from "
        f"{format_mean(least['train/loss'])} to {format_mean(most['train/loss'])} and validation accuracy from "
        f"{format_percent(least['val/accuracy'])} to {format_percent(most['val/accuracy'])} %; there was little to gain: without a "
        f"penalty, accuracy is only {format_percent(gap)} points higher in training than in validation",
    )


def best_decay(table: DataFrame) -> Verdict:
    means = by_decay(table, ["val/accuracy"])
    if isinstance(means, Verdict):
        return means
    ranked = means.sort_values("val/accuracy", ascending=False, kind="stable")
    return answered(
        "validation accuracy, best λ first: "
        + ", ".join(
            f"{format_percent(r['val/accuracy'], r['val/accuracy sd'])} % at {decay:g}"
            for decay, r in ranked.iterrows()
        )
    )


def norms_fall(table: DataFrame) -> Verdict:
    means = by_decay(table, ["norm"])
    if isinstance(means, Verdict):
        return means
    falls = bool((means["norm"].diff().dropna() < 0).all())
    shown = ", ".join(f"{format_mean(row['norm'], digits=3)} at λ = {decay:g}" for decay, row in means.iterrows())
    return answered(f"{'it falls with each step of λ' if falls else 'it does not fall throughout'}: {shown}")


# --- scratch: all three tasks with gradients by hand -----------------------------------------------------------------

ORDERED = {"unshuffled": "logistic, fixed order", "shuffled": "logistic, shuffled"}
BY_HAND = [
    twins.Part("ntnu/logistic", "Logistic regression by hand (task 2)", ORDERED, logistic_measure, logistic),
    twins.Part("ntnu/softmax", "Softmax regression by hand (task 3)", {"long": "softmax"}, softmax_measure, softmax),
    twins.Part("ntnu/l2", "With a penalty, by hand (task 4)", {"sweep": "softmax with a penalty"}, l2_measure, l2),
]

scratch, scratch_measure = partial(twins.page, parts=BY_HAND), partial(twins.measure, parts=BY_HAND)
together, by_hand = twins.together, twins.judge(globals())
