"""NTNU TDT4265, assignment 1: logistic and softmax regression on MNIST, when they stop, and a penalty on the weights."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from pandas import DataFrame, Series

from dlcourse import figures
from dlcourse.page import GAP, Item, Plot, Table, percent, show
from dlcourse.studies.runs import Runs, average, history, opened, steps
from dlcourse.studies.study import Study
from dlcourse.studies.verdict import Verdict, answered, decide, no_verdict

# --- logistic --------------------------------------------------------------------------------------------------------

PASS = 31  # steps of a pass over the 4,005 examples of two digits
SETTLED = 2 * PASS  # steps after which the accuracy moves by spikes rather than by learning
ORDERS = {"unshuffled": "fixed order", "shuffled": "shuffled"}


def logistic_measure(study: Study, runs: Runs) -> DataFrame:
    """Of each run, once it has settled: the largest spike in validation accuracy, and the batch that does most harm.

    spike: how far below the best accuracy so far it falls. worst batch: its number in the pass, from 0, with the mean
    accuracy of the evaluations right after it; `elsewhere` is that after the others. In fixed order it is one batch.
    """
    rows = []
    for _, row in runs.done().iterrows():
        read = history(row["run"])
        accuracy = read["val/accuracy"]
        late = read["step"] > SETTLED
        after = (read["step"] - 1) % PASS
        means = accuracy[late].groupby(after[late]).mean()
        worst = means.idxmin() if len(means) else np.nan
        rows.append(
            {
                "hash": row["hash"],
                "spike": (accuracy.cummax() - accuracy)[late].max(),
                "worst batch": worst,
                "after it": means.min(),
                "elsewhere": accuracy[late & (after != worst)].mean(),
            }
        )
    return DataFrame(rows)


def passes(table: DataFrame) -> Series:
    """In which pass each run stopped, counted from 0."""
    return (table["steps"] - 1) // PASS


def logistic(study: Study, runs: Runs) -> list[Item]:
    done = runs.done()
    published = study.published["stops"].set_index("block")["passes"]
    rows = []
    for block, name in ORDERS.items():
        known = done[done["block"] == block]
        if not len(known):
            continue
        at = passes(known)
        rows.append(
            {
                "order": name,
                "stops in pass": show(at.mean(), at.std(), 0 if len(at) == 1 else 1),
                "from": at.min(),
                "to": at.max(),
                "published": published[block],
                "validation loss": show(known["val/loss"].mean(), known["val/loss"].std()),
                "validation accuracy, %": percent(known["val/accuracy"].mean(), known["val/accuracy"].std()),
                "largest spike, points": percent(known["spike"].mean(), known["spike"].std()),
                "runs": len(known),
            }
        )
    note = (
        "A spike is how far the validation accuracy falls below the best so far, after the first two passes. Loss and accuracy are "
        "those of the best weights."
    )
    items: list[Item] = [Table("When it stops", DataFrame(rows), note)]
    fixed, shuffled = (done[done["block"] == block] for block in ORDERS)
    if len(shuffled):
        marked = {f"published, {name}": float(published[block]) for block, name in ORDERS.items()}
        drawn = figures.histogram(
            passes(shuffled), marked, "The pass in which training stops, shuffled", x_label="pass"
        )
        items.append(Plot("stops", "The pass in which training stops, over the draws of the order", drawn))
    curves: dict[str, tuple[Series, Series]] = {}
    for name, known in (("fixed", fixed), ("shuffled", shuffled)):
        if len(known):
            read = history(known["run"].iloc[0])
            curves[name] = (read["step"], read["val/accuracy"])
    if len(fixed):
        items += fixed_order(fixed["run"].iloc[0])
    drawn = figures.superimposed(
        curves, "Validation accuracy, fixed and shuffled order", "step", "accuracy", y_limits=(0.93, 0.99)
    )
    items.append(
        Plot("shuffling", "Validation accuracy with and without shuffling (task 2e)", drawn, "Shuffled: seed 0.")
    )
    return items


def fixed_order(run: Path) -> list[Item]:
    """Loss and accuracy of the run in fixed order, in the frames that the assignment asks for."""
    read, each = history(run), steps(run)
    loss = figures.superimposed(
        {"train": (each["step"], each["train/loss"]), "val": (read["step"], read["val/loss"])},
        "Loss, fixed order", "step", y_limits=(0.0, 0.2),
    )  # fmt: skip
    accuracy = figures.superimposed(
        {"train": (read["step"], read["train/accuracy"]), "val": (read["step"], read["val/accuracy"])},
        "Accuracy, fixed order", "step", "accuracy", y_limits=(0.93, 0.99),
    )  # fmt: skip
    batches = "Train: of the six batches since the last evaluation; the course computes it on the whole training set."
    return [
        Plot("loss", "Loss of each step and on the validation set (task 2b)", loss),
        Plot("accuracy", "Accuracy (task 2c)", accuracy, batches),
    ]


def stops(table: DataFrame, block: str) -> Series | Verdict:
    """The passes in which the runs of a block stopped; no verdict where one is missing."""
    known = table[table["block"] == block]
    if not len(known) or known["steps"].isna().any():
        return no_verdict(f"runs missing: {block}")
    return passes(known)


def distribution(at: Series) -> str:
    if len(at) == 1:
        return f"pass {at.iloc[0]:.0f}"
    return f"pass {show(at.mean(), at.std(), 1)} (from {at.min():.0f} to {at.max():.0f}, median {at.median():g}, n = {len(at)})"


def stops_after(table: DataFrame, block: str, passes: int) -> Verdict:
    """It holds where the published pass is the run's, or of several draws within their range."""
    at = stops(table, block)
    if isinstance(at, Verdict):
        return at
    where = f"; pass {passes} or an earlier one in {(at <= passes).sum()} of {len(at)} draws" if len(at) > 1 else ""
    exact = "exactly " if len(at) == 1 and at.iloc[0] == passes else ""
    return decide(bool(at.min() <= passes <= at.max()), f"training stops in {exact}{distribution(at)}{where}")


def shuffling_halves(table: DataFrame) -> Verdict:
    """It holds where at least nine of ten draws stop by half of the pass that fixed order stops in."""
    fixed, shuffled = (stops(table, block) for block in ORDERS)
    for at in (fixed, shuffled):
        if isinstance(at, Verdict):
            return at
    assert isinstance(fixed, Series) and isinstance(shuffled, Series)
    end = fixed.iloc[0]
    half, earlier, n = (shuffled <= end / 2).sum(), (shuffled < end).sum(), len(shuffled)
    return decide(
        bool(half >= 0.9 * n),
        f"fixed order stops in pass {end:.0f}; shuffled, {half} of {n} draws stop by half of that and {earlier} before it: "
        f"on average at {percent(shuffled.mean() / end, digits=0)} % of it",
    )


def stop_distribution(table: DataFrame) -> Verdict:
    at = stops(table, "shuffled")
    if isinstance(at, Verdict):
        return at
    return answered(f"{distribution(at)}: {', '.join(f'{value:.0f}' for value in sorted(at))}")


def spikes(table: DataFrame) -> Verdict:
    known = {block: table[table["block"] == block] for block in ORDERS}
    if any(not len(runs) or "spike" not in runs or runs["spike"].isna().any() for runs in known.values()):
        return no_verdict("runs missing: both orders are needed")
    fixed, shuffled = known["unshuffled"].iloc[0], known["shuffled"]["spike"]
    return answered(
        f"in fixed order they come after one batch, number {fixed['worst batch']:.0f} of the pass: "
        f"{percent(fixed['after it'])} % right after it, {percent(fixed['elsewhere'])} % after the others; the largest spike is "
        f"{percent(fixed['spike'])} points there, {percent(shuffled.mean(), shuffled.std())} (at most {percent(shuffled.max())}) when "
        f"shuffled: smaller, not gone"
    )


# --- softmax ---------------------------------------------------------------------------------------------------------

WINDOW = 10  # evaluations, two passes: what a figure "at" a step is the mean of
POINTS = (3000, 8200)  # steps
CURVES = ("train/loss", "val/loss", "train/accuracy", "val/accuracy")


def softmax_measure(study: Study, runs: Runs) -> DataFrame:
    """Of each run the curves at some steps and at the end, and where the validation loss is lowest; means of WINDOW."""
    rows = []
    for _, row in runs.done().iterrows():
        read = history(row["run"]).set_index("step")
        smooth = read[list(CURVES)].rolling(WINDOW).mean()
        found = {"hash": row["hash"], "lowest": smooth["val/loss"].min(), "lowest at": smooth["val/loss"].idxmin()}
        for at in (*POINTS, "end"):
            reached = smooth if at == "end" else smooth[smooth.index <= at]
            there = at == "end" or smooth.index[-1] >= at
            found |= {f"{curve} at {at}": reached[curve].iloc[-1] if there else np.nan for curve in CURVES}
        rows.append(found)
    return DataFrame(rows)


def softmax(study: Study, runs: Runs) -> list[Item]:
    done = runs.done()
    solution = study.published["solution"].iloc[0]
    rows = []
    for block, name in (("early", "early stopping"), ("long", "200 passes")):
        known = done[done["block"] == block]
        for at in (*POINTS, "end"):
            columns = {curve: known.get(f"{curve} at {at}", Series(dtype=float)).dropna() for curve in CURVES}
            if not len(columns["val/loss"]):
                continue
            last = known["steps"]
            rows.append(
                {
                    "run": name,
                    "step": f"{at:,}" if at != "end" else "{} (end)".format(show(last.mean(), last.std(), 0)),
                    "train loss": show(columns["train/loss"].mean(), columns["train/loss"].std()),
                    "validation loss": show(columns["val/loss"].mean(), columns["val/loss"].std()),
                    "train accuracy, %": percent(columns["train/accuracy"].mean(), columns["train/accuracy"].std()),
                    "validation accuracy, %": percent(columns["val/accuracy"].mean(), columns["val/accuracy"].std()),
                    "runs": len(columns["val/loss"]),
                }
            )
    rows.append(
        {
            "run": "the course's solution",
            "step": f"about {solution['step']:,.0f}",
            "train loss": GAP,
            "validation loss": f"{solution['val_loss']}",
            "train accuracy, %": f"{100 * solution['train_accuracy']:.1f}",
            "validation accuracy, %": f"{100 * solution['val_accuracy']:.1f}",
            "runs": 1,
        }
    )
    items: list[Item] = [
        Table(
            "Along the way", DataFrame(rows), "Means of the ten evaluations, two passes, up to the step; ± over seeds."
        )
    ]
    shown = done[done["block"] == "long"]
    shown = shown if len(shown) else done
    if len(shown):
        read = history(shown["run"].iloc[0])
        for metric, limits in (("loss", (0.2, 0.6)), ("accuracy", (0.86, 0.94))):
            curves = {stage: (read["step"], read[f"{stage}/{metric}"]) for stage in ("train", "val")}
            level = {"solution, val": float(solution[f"val_{metric}"])}
            drawn = figures.superimposed(
                curves, f"{metric.capitalize()}, without stopping", "step", metric, levels=level, y_limits=limits
            )
            items.append(Plot(metric, f"{metric.capitalize()} over 200 passes (task 3)", drawn))
    return items


def measured_at(table: DataFrame, block: str, columns: Sequence[str]) -> DataFrame | Verdict:
    """The runs of a block; no verdict where one has no such figure."""
    known = table[table["block"] == block]
    if not len(known) or any(column not in known or known[column].isna().any() for column in columns):
        return no_verdict(f"runs missing: {block}")
    return known


def way(known: DataFrame, curve: str, step: int, digits: int = 4) -> str:
    return f"{show(known[f'{curve} at {step}'].mean(), digits=digits)} to {show(known[f'{curve} at end'].mean(), digits=digits)}"


def overfits(table: DataFrame, step: int) -> Verdict:
    """It holds where from that step to the end of 200 passes the validation loss rises, on average over the seeds."""
    known = measured_at(table, "long", [f"{curve} at {at}" for curve in CURVES for at in (step, "end")])
    if isinstance(known, Verdict):
        return known
    rise = known["val/loss at end"] - known[f"val/loss at {step}"]
    return decide(
        bool(rise.mean() > 0),
        f"from step {step:,} to the end of 200 passes the validation loss goes from {way(known, 'val/loss', step)}, the validation "
        f"accuracy from {way(known, 'val/accuracy', step)}, the training accuracy from {way(known, 'train/accuracy', step)} "
        f"(n = {len(known)})",
    )


def rises_or_widens(table: DataFrame, step: int) -> Verdict:
    points = [f"{curve} at {at}" for curve in CURVES for at in (step, "end")]
    known = measured_at(table, "long", [*points, "lowest", "lowest at"])
    if isinstance(known, Verdict):
        return known
    above = (known["val/loss at end"] - known["lowest"]).mean()
    gaps = [percent((known[f"train/accuracy at {at}"] - known[f"val/accuracy at {at}"]).mean()) for at in (step, "end")]
    rises = above > 0.01 * known["lowest"].mean()
    return answered(
        f"{'it rises' if rises else 'only the gap widens'}: the lowest validation loss of 200 passes is "
        f"{show(known['lowest'].mean(), known['lowest'].std())}, at step {known['lowest at'].mean():,.0f} on average, and it ends "
        f"{show(above)} above that; the gap in accuracy goes from {gaps[0]} to {gaps[1]} points (n = {len(known)})"
    )


def as_the_solution(
    table: DataFrame, step: int, val_loss: float, train_accuracy: float, val_accuracy: float
) -> Verdict:
    """It holds where all three are within .005, which is what can be read off a figure."""
    wanted = {"val/loss": val_loss, "train/accuracy": train_accuracy, "val/accuracy": val_accuracy}
    known = measured_at(table, "long", [f"{curve} at {step}" for curve in wanted])
    if isinstance(known, Verdict):
        return known
    found = {curve: known[f"{curve} at {step}"] for curve in wanted}
    holds = all(abs(found[curve].mean() - value) <= 0.005 for curve, value in wanted.items())
    texts = [f"{curve} {show(found[curve].mean(), found[curve].std())} ({value})" for curve, value in wanted.items()]
    return decide(holds, f"{', '.join(texts)}, tolerance .005, n = {len(known)}")


def early_stop(table: DataFrame) -> Verdict:
    known = measured_at(table, "early", ["steps", "val/loss"])
    if isinstance(known, Verdict):
        return known
    at = known["steps"]
    return answered(
        f"at step {show(at.mean(), at.std(), 0)} (n = {len(at)}), with a validation loss of "
        f"{show(known['val/loss'].mean(), known['val/loss'].std())}"
    )


# --- l2 --------------------------------------------------------------------------------------------------------------

DECAY = "optimizer.weight_decay"
YEARS = {"2022": (0.0, 0.002, 0.02, 0.2, 2.0), "2021": (0.0, 0.001, 0.01, 0.1, 1.0)}
TABLE = {
    "val/accuracy": "validation accuracy, %",
    "val/loss": "validation cross-entropy",
    "train/loss": "training cross-entropy",
    "norm": "‖w‖²",
    "objective": "J",
    "excess": "J - J* at most",
}


def l2_measure(study: Study, runs: Runs) -> DataFrame:
    """Of each run ‖w‖², its objective J on the training set, and a bound on how far that is above the minimum.

    J is λ-strongly convex, so J(w) - J* ≤ ‖∇J(w)‖²/(2λ) (Boyd and Vandenberghe, Convex Optimization, 9.1.2).
    """
    rows = []
    for _, row in runs.done().iterrows():
        task, data = opened(row["run"])
        x, y = data.splits["train"].all()
        weights = torch.cat([p.detach().flatten() for p in task.parameters()])
        task.zero_grad()
        F.cross_entropy(task(data.transform(x)), y).backward()
        gradient = torch.cat([p.grad.flatten() for p in task.parameters() if p.grad is not None])
        decay, norm = float(row[DECAY]), float(weights.square().sum())
        slope = float((gradient + decay * weights).square().sum())
        rows.append(
            {
                "hash": row["hash"],
                "norm": norm,
                "objective": row["train/loss"] + decay / 2 * norm,
                "excess": slope / (2 * decay) if decay else np.nan,
            }
        )
    return DataFrame(rows)


def l2(study: Study, runs: Runs) -> list[Item]:
    done = runs.done()
    means = average(done, [DECAY], list(TABLE)).sort_values(DECAY, ignore_index=True)
    frame = DataFrame({"λ": [f"{decay:g}" for decay in means[DECAY]]})
    for metric, name in TABLE.items():
        write = percent if name.endswith("%") else show
        frame[name] = [write(m, sd) for m, sd in zip(means[metric], means[f"{metric} sd"], strict=True)]
    frame["runs"] = means["runs"]
    note = (
        "± over seeds. Cross-entropies are without the penalty, J is with it, on the training set. J* is the lowest J that any "
        "weights have."
    )
    items: list[Item] = [Table("Nine values of λ", frame, note)]
    first = done[done["seed"] == done["seed"].min()].set_index(DECAY)
    for decay in (0.0, 2.0):
        if decay in first.index:
            task, _ = opened(first.loc[decay, "run"])
            weights = next(p for p in task.parameters() if p.dim() == 2).detach().reshape(-1, 28, 28).numpy()
            drawn = figures.weight_images(weights, columns=5, title=f"Weights of the ten digits, λ = {decay:g}")
            items.append(Plot(f"weights_{decay:g}", f"The weights of the ten digits at λ = {decay:g} (task 4b)", drawn))
    for year, decays in YEARS.items():
        read = {f"λ = {decay:g}": history(first.loc[decay, "run"]) for decay in decays if decay in first.index}
        curves = {name: (rows["step"], rows["val/accuracy"]) for name, rows in read.items()}
        if curves:
            drawn = figures.superimposed(
                curves, f"Validation accuracy, the λ of {year}", "step", "accuracy", y_limits=(0.7, 0.93)
            )
            items.append(Plot(f"accuracy_{year}", f"Validation accuracy for the λ of {year} (task 4c)", drawn))
    for name, metric, title in (
        ("accuracy", "val/accuracy", "Validation accuracy against λ"),
        ("norms", "norm", "‖w‖² against λ (task 4e)"),
    ):
        drawn = figures.superimposed(
            {"": (means[DECAY], means[metric])}, title, "λ", TABLE[metric].partition(",")[0], log_x=True,
            log_y=metric == "norm", bands={"": means[f"{metric} sd"]},
        )  # fmt: skip
        items.append(Plot(name, title, drawn))
    return items


def by_decay(table: DataFrame, metrics: Sequence[str]) -> DataFrame | Verdict:
    """Means over seeds, a row a λ, the lowest first; no verdict where a run is missing."""
    if any(metric not in table or table[metric].isna().any() for metric in metrics):
        return no_verdict("runs missing: every λ is needed")
    return average(table, [DECAY], metrics).set_index(DECAY).sort_index()


def at_decay(table: DataFrame, decay: float, metrics: Sequence[str]) -> Series | Verdict:
    known = table[table[DECAY] == decay]
    found = by_decay(known, metrics) if len(known) else no_verdict(f"runs missing: λ = {decay:g}")
    return found if isinstance(found, Verdict) else found.iloc[0]


def mean_of(row: Series, metric: str) -> str:
    return show(row[metric], row[f"{metric} sd"])


def loss_above_one(table: DataFrame, decay: float) -> Verdict:
    row = at_decay(table, decay, ["val/loss", "objective"])
    if isinstance(row, Verdict):
        return row
    return decide(
        bool(row["val/loss"] > 1),
        f"at λ = {decay:g} the validation cross-entropy is {mean_of(row, 'val/loss')}, J is {mean_of(row, 'objective')} "
        f"(n = {row['runs']:.0f})",
    )


def does_not_work(table: DataFrame, decay: float) -> Verdict:
    """Training works where it ends within 1 % of the lowest J that there is: then the claim does not hold."""
    row = at_decay(table, decay, ["objective", "excess", "val/accuracy"])
    if isinstance(row, Verdict):
        return row
    return decide(
        bool(row["excess"] > 0.01 * row["objective"]),
        f"at λ = {decay:g} training ends at J = {mean_of(row, 'objective')}, at most {row['excess']:.2g} above the lowest J that any "
        f"weights have; validation accuracy {percent(row['val/accuracy'], row['val/accuracy sd'])} % (n = {row['runs']:.0f})",
    )


def fault_or_result(table: DataFrame, decay: float) -> Verdict:
    row = at_decay(table, decay, ["objective", "excess", "norm", "val/loss"])
    if isinstance(row, Verdict):
        return row
    least = row["objective"] - row["excess"]
    correct = least > 1 and row["val/loss"] > 1
    return answered(
        f"{'the correct result' if correct else 'it can be below 1'}: at λ = {decay:g} no weights have J below {show(least)}; zero "
        f"weights have a cross-entropy of log 10 = {np.log(10):.4f}, and a penalty that leaves ‖w‖² = {mean_of(row, 'norm')} gets it "
        f"down to {mean_of(row, 'val/loss')} on validation"
    )


def expression_altered(table: DataFrame) -> Verdict:
    """It holds where a larger λ never has a lower training cross-entropy: the minimum of J is another than that of C."""
    means = by_decay(table, ["train/loss", "train/accuracy", "val/accuracy"])
    if isinstance(means, Verdict):
        return means
    none, most = means.iloc[0], means.iloc[-1]
    return decide(
        bool((means["train/loss"].diff().dropna() > 0).all() and none["val/accuracy"] > most["val/accuracy"]),
        f"from λ = {means.index[0]:g} to {means.index[-1]:g} the training cross-entropy goes from {show(none['train/loss'])} to "
        f"{show(most['train/loss'])}, validation accuracy from {percent(none['val/accuracy'])} to {percent(most['val/accuracy'])} %; and "
        f"there was little to gain: without a penalty training is only {percent(none['train/accuracy'] - none['val/accuracy'])} points "
        f"above validation",
    )


def best_decay(table: DataFrame) -> Verdict:
    means = by_decay(table, ["val/accuracy"])
    if isinstance(means, Verdict):
        return means
    ranked = means.sort_values("val/accuracy", ascending=False, kind="stable")
    shown = [
        f"λ = {decay:g}: {percent(row['val/accuracy'], row['val/accuracy sd'])} %" for decay, row in ranked.iterrows()
    ]
    return answered(", ".join(shown))


def norms_fall(table: DataFrame) -> Verdict:
    means = by_decay(table, ["norm"])
    if isinstance(means, Verdict):
        return means
    falls = bool((means["norm"].diff().dropna() < 0).all())
    shown = ", ".join(f"{show(row['norm'], digits=3)} at {decay:g}" for decay, row in means.iterrows())
    return answered(f"{'it falls with every step of λ' if falls else 'it does not fall throughout'}: {shown}")
