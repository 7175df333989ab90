"""HUJI APML, "Convolutional Nets", two reports: toy functions, three networks on MNIST, learning rates, a 2-D code."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from pandas import DataFrame, Series
from torch import Tensor

from dlcourse import plots
from dlcourse.data.module import DataModule
from dlcourse.reports.formats import GAP, format_mean, format_percent
from dlcourse.reports.page import Item, Plot, Table
from dlcourse.reports.tables import read_history, refuse_other_protocol
from dlcourse.studies import twins
from dlcourse.studies.runs import Runs, load_run
from dlcourse.studies.study import Study
from dlcourse.studies.verdict import Verdict, answered, beaten, decide, no_verdict, refuted

REPORTS = ("first", "second")
COLLAPSED = 0.2  # an accuracy below it is no better than guessing: the largest of ten classes has 11.35 %


# --- what the studies share ------------------------------------------------------------------------------------------


def of(table: DataFrame, *blocks: str) -> DataFrame:
    return table[table["block"].isin(blocks)]


def missing(table: DataFrame, blocks: Sequence[str], metric: str) -> Verdict | None:
    """The verdict that there is none, where a run of these blocks has no such figure."""
    gaps = [b for b in blocks if metric not in table or not len(of(table, b)) or of(table, b)[metric].isna().any()]
    return no_verdict(f"runs without {metric}: {', '.join(gaps)}") if gaps else None


def over(known: DataFrame, metric: str) -> tuple[float, float]:
    """Mean and deviation over runs that differ in nothing but the seed, or the draw. Raises InputError for others."""
    refuse_other_protocol(known, ("data.draw", "data.provenance"))
    return known[metric].mean(), known[metric].std()


def number(known: DataFrame, metric: str, digits: int = 4) -> str:
    return format_mean(*over(known, metric), digits)


def in_percent(known: DataFrame, metric: str) -> str:
    """`97.93 ± 0.12 %`."""
    return f"{format_percent(*over(known, metric))} %"


def mean_curve(known: DataFrame, metric: str) -> tuple[list[float], list[float], list[float]]:
    """Epochs, and mean and deviation of a metric over the histories of runs of one length."""
    found = DataFrame({i: read_history(run).set_index("epoch")[metric] for i, run in enumerate(known["run"])})
    return found.index.tolist(), found.mean(axis=1).tolist(), found.std(axis=1).fillna(0).tolist()


def superimposed(lines: Mapping[str, tuple[DataFrame, str]], title: str, y_label: str, **options: Any) -> Any:
    """A figure of mean curves with their deviations: name -> (runs, metric)."""
    found = {name: mean_curve(known, metric) for name, (known, metric) in lines.items() if len(known)}
    curves: dict[str, tuple[Sequence[float], Sequence[float]]] = {name: (x, y) for name, (x, y, _) in found.items()}
    bands = {name: sd for name, (_, _, sd) in found.items()}
    return plots.superimposed(curves, title, y_label=y_label, bands=bands, **options)


# --- toy_functions ---------------------------------------------------------------------------------------------------

FUNCTIONS = ("linear", "max", "log_sum_exp")
SETTINGS = {  # blocks of the reports' own settings, and of the runs until nothing moves any more
    "first_linear": "first report, linear model",
    "first_convnet": "first report, convnet",
    "second_linear": "second report, linear model",
    "second_convnet": "second report, convnet",
}
CONVERGED = {"linear": "linear model", "linear_bias": "linear model with a bias", "convnet": "convnet"}
ZERO, FAR = 2.0, 100.0  # times the noise floor: a loss up to the one is taken for 0, above the other it is far from it
PENALTY = 0.1  # λ


def toy_functions_measure(study: Study, runs: Runs) -> DataFrame:
    """Of each run its test targets' noise floor 1e-4·E[y²] and variance; of the reports' settings (λ/2)‖w‖² too."""
    done = runs.done()
    targets: dict[Any, Tensor] = {}
    rows = []
    for _, row in done.iterrows():
        drawn = (row["data.function"], row["data.draw"])
        own = row["block"] in SETTINGS
        if own or drawn not in targets:
            task, data = load_run(row["run"])
            targets.setdefault(drawn, data.splits["test"].all()[1].double())
        y = targets[drawn]
        weights = sum(float(w.detach().square().sum()) for w in task.parameters()) if own else np.nan
        rows.append(
            {
                "hash": row["hash"],
                "floor": 1e-4 * float(y.square().mean()),
                "variance": float(y.var()),
                "penalty": PENALTY / 2 * weights,
            }
        )
    return DataFrame(rows).drop_duplicates("hash")


def toy_functions(study: Study, runs: Runs) -> list[Item]:
    done = runs.done()
    items: list[Item] = [
        Table(
            "The reports' own settings, after the last iteration",
            own_table(done),
            "Mean squared errors; ± is the standard deviation over starts. The penalty (λ/2)‖w‖² with λ = 0.1 is what "
            "the reports add to them. No model gets below the noise floor.",
        )
    ]
    items += own_curves(done)
    items.append(
        Table(
            "Until nothing moves any more",
            converged_table(done),
            "Test mean squared errors, mean ± standard deviation over the draws of W; of the convnet's starts the one "
            "with the lowest training loss.",
        )
    )
    starts = of(done, "convnet")
    starts = starts[starts["data.draw"] == starts["data.draw"].min()]
    curves = {
        function: (list(range(1, len(group) + 1)), group["test/loss"].sort_values().to_numpy())
        for function, group in starts.groupby("data.function", sort=False)
    }
    if curves:
        drawn = plots.superimposed(curves, "The convnet's starts, best first", "start", "test loss", log_y=True)
        items.append(Plot("starts", "Where the convnet ends, from each start", drawn, "One draw of W."))
    return items


def own_curves(done: DataFrame) -> list[Item]:
    """Of each of the reports' own settings the losses of its first start."""
    items: list[Item] = []
    for block, name in SETTINGS.items():
        shown = of(done, block)
        shown = shown[shown["seed"] == shown["seed"].min()]
        columns: dict[str, list[float]] = {}
        for function, run in zip(shown["data.function"], shown["run"], strict=True):
            read = read_history(run)
            thin = read.iloc[:: max(len(read) // 400, 1)]
            columns["epoch"] = thin["epoch"].tolist()
            columns |= {f"{stage}/{function}": thin[f"{stage}/loss"].tolist() for stage in ("train", "val")}
        if columns:
            drawn = plots.learning_curves(columns, title=f"Loss at each iteration, {name}")
            note = "An epoch is one iteration; train is the batch's loss, val the test set's."
            items.append(Plot(block, f"Loss at each iteration: {name}", drawn, note))
    return items


def own_table(done: DataFrame) -> DataFrame:
    rows = []
    for block, name in SETTINGS.items():
        for function, group in of(done, block).groupby("data.function", sort=False):
            rows.append(
                {
                    "setting": name,
                    "function": function,
                    "train loss": number(group, "train/loss"),
                    "test loss": number(group, "test/loss"),
                    "penalty": number(group, "penalty"),
                    "noise floor": format_mean(group["floor"].mean()),
                    "starts": len(group),
                }
            )
    return DataFrame(rows)


def converged_table(done: DataFrame) -> DataFrame:
    rows = []
    for function in FUNCTIONS:
        for block, name in CONVERGED.items():
            best = best_starts(done, block, function)
            rows.append(
                {
                    "function": function,
                    "model": name,
                    "test loss": number(best, "test/loss"),
                    "times the noise floor": number(best, "times", 1),
                    "variance left, %": format_percent(*over(best, "left")),
                    "draws": len(best),
                }
            )
    return DataFrame(rows)


def best_starts(table: DataFrame, block: str, function: str) -> DataFrame:
    """Of each draw of W the run with the lowest training loss; `times` the noise floor, share of variance `left`."""
    known = of(table, block)
    known = known[(known["data.function"] == function) & known["train/loss"].notna()]
    best = known.loc[known.groupby("data.draw")["train/loss"].idxmin()]
    return best.assign(times=best["test/loss"] / best["floor"], left=best["test/loss"] / best["variance"])


def converged(table: DataFrame, blocks: Sequence[str]) -> Verdict | None:
    """The verdict that there is none, where not every planned draw of W has a run of these blocks."""
    for block in blocks:
        planned = of(table, block)
        draws = planned["data.draw"].nunique()
        if not draws or any(len(best_starts(table, block, f)) < draws for f in planned["data.function"].unique()):
            return no_verdict(f"runs missing: {block}")
    return None


def in_floors(best: DataFrame) -> str:
    left = format_percent(*over(best, "left"))
    return f"{number(best, 'times', 1)} times the noise floor ({left} % of the variance)"


def convnet_learns_all(table: DataFrame) -> Verdict:
    """Learned: on every draw of W the best start's test loss is zero up to the noise."""
    if none := converged(table, ["convnet"]):
        return none
    found = {f: best_starts(table, "convnet", f) for f in FUNCTIONS}
    starts = int(of(table, "convnet").groupby(["data.function", "data.draw"]).size().max())
    ends = "; ".join(f"{f} {in_floors(best)}" for f, best in found.items())
    holds = all((best["times"] <= ZERO).all() for best in found.values())
    return decide(holds, f"the best of {starts} starts on each draw of W ends at: {ends}")


def convnet_equals_linear(table: DataFrame, convnet: str = "convnet", linear: str = "linear") -> Verdict:
    """Equal: on no draw of W is the convnet's test loss more than `ZERO` times the linear model's."""
    if none := converged(table, [linear, convnet]):
        return none
    found = [best_starts(table, block, "linear").set_index("data.draw") for block in (convnet, linear)]
    losses = [number(best, "test/loss") for best in found]
    holds = bool((found[0]["test/loss"] <= ZERO * found[1]["test/loss"]).all())
    return decide(holds, f"test loss on the linear function: the convnet's {losses[0]}, the linear model's {losses[1]}")


def linear_learns_only(table: DataFrame, report: str) -> Verdict:
    """When nothing moves any more it is at 0 on `linear` and far from it on the others, on every draw of W."""
    own = f"{report}_linear"
    if none := converged(table, ["linear"]) or missing(table, [own], "test/loss"):
        return none
    found = {f: best_starts(table, "linear", f)["times"] for f in FUNCTIONS}
    holds = all((times <= ZERO if f == "linear" else times > FAR).all() for f, times in found.items())
    shown = ", ".join(f"{f} {format_mean(times.mean(), digits=1)}" for f, times in found.items())
    return decide(
        holds, f"test loss in times of the noise floor: {shown}; in the report's setting: {floors(table, own)}"
    )


def reaches_floor(table: DataFrame, functions: Sequence[str]) -> Verdict:
    if none := converged(table, ["convnet"]):
        return none
    texts = []
    for function in functions:
        best = best_starts(table, "convnet", function)
        texts.append(
            f"on {function} for {(best['times'] <= ZERO).sum()} of {len(best)} draws of W, at {in_floors(best)}"
        )
    return answered("; ".join(texts))


def bias_helps(table: DataFrame) -> Verdict:
    if none := converged(table, list(CONVERGED)):
        return none
    texts = []
    for function in FUNCTIONS:
        losses = [format_mean(best_starts(table, block, function)["test/loss"].mean()) for block in CONVERGED]
        texts.append("{}: {} without, {} with it, the convnet {}".format(function, *losses))
    return answered("test loss, " + "; ".join(texts))


def depends_on_start(table: DataFrame, block: str) -> Verdict:
    """It depends on the start where on one of the functions the worst loss is twice the best or more."""
    known = of(table, block)
    if none := missing(table, [block], "epochs"):
        return none
    losses = known["test/loss"].fillna(np.inf)
    starts = losses.groupby([known["data.function"], known["data.draw"]])
    if starts.size().min() < 2:
        return no_verdict("it needs two starts or more")
    ranges = losses.groupby(known["data.function"], sort=False).agg(["min", "max"])
    texts = [f"{function} {format_mean(low)} to {format_mean(high)}" for function, (low, high) in ranges.T.items()]
    holds = bool((starts.max() >= 2 * starts.min()).any())
    return decide(holds, f"test loss over {starts.size().max()} starts: " + ", ".join(texts))


def own_settings(table: DataFrame) -> Verdict:
    if none := missing(table, list(SETTINGS), "epochs"):
        return none
    texts = [f"{name} {floors(table, block)}" for block, name in SETTINGS.items()]
    return answered("test loss in times of the noise floor: " + "; ".join(texts))


def floors(table: DataFrame, block: str) -> str:
    known = of(table, block)
    times = (known["test/loss"] / known["floor"]).groupby(known["data.function"], sort=False).mean()
    return ", ".join(f"{function} {format_mean(value, digits=1)}" for function, value in times.items())


# --- mnist -----------------------------------------------------------------------------------------------------------

NETWORKS = {"linear": "linear network", "mlp": "MLP", "convnet": "convnet"}


def mnist(study: Study, runs: Runs) -> list[Item]:
    done = runs.done()
    published = {row["block"]: row for row in study.published["accuracy"].to_dict("records")}
    rows, items = [], list[Item]()
    for report in REPORTS:
        for network, name in NETWORKS.items():
            block = report_block(network, report)
            known = of(done, block)
            reported = published.get(block, {})
            rows.append(
                {
                    "report": report,
                    "network": name,
                    "train accuracy, %": format_percent(*over(known, "train/accuracy")),
                    "published": at_least(reported.get("train", np.nan)),
                    "test accuracy, %": format_percent(*over(known, "test/accuracy")),
                    "published, test": at_least(reported.get("test", np.nan)),
                    "test loss": number(known, "test/loss"),
                    "epochs": known["epochs"].max() if len(known) else GAP,
                    "runs": len(known),
                }
            )
        shown = of(done, *(report_block(network, report) for network in NETWORKS))
        for metric in ("accuracy", "loss") if len(shown) else ():
            lines = {
                f"{name}, {split}": (of(shown, report_block(network, report)), f"{stage}/{metric}")
                for network, name in NETWORKS.items()
                for stage, split in (("train", "train"), ("val", "test"))
            }
            ends = shown[[f"train/{metric}", f"test/{metric}"]].to_numpy(dtype=float)
            limits = (0.97 * ends.min(), 1.002) if metric == "accuracy" else (0.0, 1.3 * ends.max())
            title = f"{metric.capitalize()} at each epoch, {report} report"
            drawn = superimposed(lines, title, metric, y_limits=limits)
            items.append(Plot(f"{report}_{metric}", title, drawn))
    note = (
        "± is the standard deviation over seeds. Train: the mean over the last epoch's batches while training goes on, "
        "with dropout in the second report's convnet."
    )
    return [Table("After the last epoch", DataFrame(rows), note), *items]


def report_block(network: str, report: str) -> str:
    return f"{network}_{report}"


def at_least(share: float) -> str:
    return GAP if np.isnan(share) else f"{100 * share:g}+"


def linear_accuracy(table: DataFrame, report: str, least: float) -> Verdict:
    block = report_block("linear", report)
    if none := missing(table, [block], "train/accuracy") or missing(table, [block], "test/accuracy"):
        return none
    known = of(table, block)
    holds = all(known[metric].mean() >= least for metric in ("train/accuracy", "test/accuracy"))
    train, test = in_percent(known, "train/accuracy"), in_percent(known, "test/accuracy")
    return decide(holds, f"train {train}, test {test} ({len(known)} runs)")


def better(table: DataFrame, report: str, network: str, than: Sequence[str]) -> Verdict:
    """Better: each of its runs has a higher test accuracy than each of theirs."""
    blocks = {name: report_block(name, report) for name in (network, *than)}
    if none := missing(table, list(blocks.values()), "test/accuracy"):
        return none
    found = {name: of(table, block) for name, block in blocks.items()}
    holds = all(found[network]["test/accuracy"].min() > found[name]["test/accuracy"].max() for name in than)
    texts = [f"{NETWORKS[name]} {in_percent(known, 'test/accuracy')}" for name, known in found.items()]
    return decide(holds, "test accuracy: " + ", ".join(texts))


def ranking(table: DataFrame) -> Verdict:
    """In accuracy and loss of the test set, each run of the one network against each of the next."""
    blocks = [report_block(network, report) for report in REPORTS for network in NETWORKS]
    if none := missing(table, blocks, "test/accuracy") or missing(table, blocks, "test/loss"):
        return none
    texts = []
    for report in REPORTS:
        found = [of(table, report_block(network, report)) for network in ("convnet", "mlp", "linear")]
        for metric, sign in (("accuracy", 1), ("loss", -1)):
            ends = [(sign * known[f"test/{metric}"]).agg(["min", "max"]) for known in found]
            holds = ends[0]["min"] > ends[1]["max"] and ends[1]["min"] > ends[2]["max"]
            shown = ", ".join(number(known, f"test/{metric}") for known in found)
            texts.append(f"{report} report, {metric}: {'yes' if holds else 'no'}, {shown}")
    return answered("; ".join(texts))


def targets(table: DataFrame, **least: float) -> Verdict:
    """least: the mean test accuracy that each network should reach."""
    blocks = [report_block(network, report) for network in least for report in REPORTS]
    if none := missing(table, blocks, "test/accuracy"):
        return none
    texts = []
    for network, target in least.items():
        shown = []
        for report in REPORTS:
            known = of(table, report_block(network, report))
            reached = "yes" if known["test/accuracy"].mean() >= target else "no"
            shown.append(f"{in_percent(known, 'test/accuracy')} ({report}, {reached})")
        texts.append(f"{NETWORKS[network]} {' and '.join(shown)}")
    return answered("; ".join(texts))


# --- lr_sweep --------------------------------------------------------------------------------------------------------

SWEEPS = {"convnet": "convnet, first report", "mlp": "MLP, second report"}


def lr_sweep_measure(study: Study, runs: Runs) -> DataFrame:
    """What a run's epochs tell.

    first, lowest, highest: test accuracy after the first epoch, and over all. rise: what the second half added to it.
    collapsed: the epoch from which it is no better than guessing to the end. diverged: the first whose training loss
    is no number.
    """
    rows = []
    for _, row in runs.done().iterrows():
        epochs = read_history(row["run"])
        accuracy = epochs["val/accuracy"]
        above = np.flatnonzero(accuracy >= COLLAPSED)
        first_bad = int(above[-1]) + 1 if len(above) else 0
        broken = np.flatnonzero(~np.isfinite(epochs["train/loss"]))
        rows.append(
            {
                "hash": row["hash"],
                "first": accuracy.iloc[0],
                "lowest": accuracy.min(),
                "highest": accuracy.max(),
                "rise": accuracy.iloc[-1] - accuracy.iloc[len(accuracy) // 2 - 1],
                "collapsed": epochs["epoch"].iloc[first_bad] if first_bad < len(epochs) else np.nan,
                "diverged": epochs["epoch"].iloc[broken[0]] if len(broken) else np.nan,
            }
        )
    return DataFrame(rows).drop_duplicates("hash")


def lr_sweep(study: Study, runs: Runs) -> list[Item]:
    done = runs.done()
    items: list[Item] = []
    for network, name in SWEEPS.items():
        known = sweep(done, network)
        shown = DataFrame(
            {
                "learning rate": [f"{lr:g}" for lr in known["optimizer.lr"]],
                "train accuracy, %": [format_percent(v) for v in known["train/accuracy"]],
                "test accuracy, %": [format_percent(v) for v in known["test/accuracy"]],
                "best epoch's, %": [format_percent(v) for v in known["highest"]],
                "train loss": known["train/loss"],
                "test loss": known["test/loss"],
                "no number from epoch": [GAP if np.isnan(v) else int(v) for v in known["diverged"]],
                "epochs": known["epochs"],
            }
        )
        items.append(Table(f"After the last epoch: {name}", shown))
        short = known["epochs"].min()
        for stage, split in (("train", "Train"), ("val", "Test")):
            for metric in ("accuracy", "loss"):
                curves = {}
                for lr, run in zip(known["optimizer.lr"], known["run"], strict=True):
                    epochs = read_history(run).head(int(short))
                    curves[f"{lr:g}"] = (epochs["epoch"].to_numpy(), epochs[f"{stage}/{metric}"].to_numpy())
                title = f"{split} {metric} by learning rate: {name}"
                drawn = plots.superimposed(curves, title, y_label=metric, log_y=metric == "loss")
                items.append(Plot(f"{network}_{split.lower()}_{metric}", title, drawn))
    return items


def sweep(table: DataFrame, network: str) -> DataFrame:
    """The runs of a network by their learning rates, the highest first."""
    return of(table, network).sort_values("optimizer.lr", ascending=False)


def rate(table: DataFrame, network: str, lr: float) -> Series | Verdict:
    """The run at one learning rate, or the verdict that it is missing."""
    known = sweep(table, network)
    known = known[np.isclose(known["optimizer.lr"].astype(float), lr)]
    if not len(known) or "lowest" not in known or known[["test/accuracy", "lowest"]].isna().any(axis=None):
        return no_verdict(f"run missing: {network} at the rate {lr:g}")
    return known.iloc[0]


def best_rate(table: DataFrame, network: str, lr: float) -> Verdict:
    if none := missing(table, [network], "test/accuracy"):
        return none
    known = sweep(table, network)
    best = known["optimizer.lr"].iloc[known["test/accuracy"].argmax()]
    shown = [f"{r:g} {format_percent(v)} %" for r, v in zip(known["optimizer.lr"], known["test/accuracy"], strict=True)]
    return decide(bool(np.isclose(best, lr)), "test accuracy at each rate: " + ", ".join(shown))


def no_convergence(table: DataFrame, network: str, lr: float) -> Verdict:
    """No convergence: in the end no better than guessing."""
    run = rate(table, network, lr)
    if isinstance(run, Verdict):
        return run
    return decide(
        run["test/accuracy"] < COLLAPSED, f"test accuracy {format_percent(run['test/accuracy'])} %{nan_from(run)}"
    )


def slow(table: DataFrame, network: str, lr: float) -> Verdict:
    """Very slow: after the last epoch not where the best rate is after the first."""
    run = rate(table, network, lr)
    if isinstance(run, Verdict):
        return run
    known = sweep(table, network)
    best = known.iloc[known["test/accuracy"].argmax()]
    end, first = format_percent(run["test/accuracy"]), format_percent(best["first"])
    fast = f"{best['optimizer.lr']:g} has {first} % after the first"
    evidence = f"test accuracy {end} % after {run['epochs']:.0f} epochs, where the rate {fast}"
    return decide(run["test/accuracy"] < best["first"], evidence)


def keeps_rising(table: DataFrame, network: str, rates: Sequence[float]) -> Verdict:
    """Rising: more test accuracy at the end than at half of the epochs."""
    found = [rate(table, network, lr) for lr in rates]
    for run in found:
        if isinstance(run, Verdict):
            return run
    known = DataFrame(found)
    texts = [f"{lr:g} by {100 * rise:+.2f} points" for lr, rise in zip(rates, known["rise"], strict=True)]
    epochs = int(known["epochs"].max())
    evidence = f"test accuracy from epoch {epochs // 2} to {epochs} changes at the rate " + ", ".join(texts)
    return decide(bool((known["rise"] > 0).all()), evidence)


def drops(table: DataFrame, network: str, lr: float, epoch: int) -> Verdict:
    """Around an epoch: within ten of it. To 0: below 1 %."""
    run = rate(table, network, lr)
    if isinstance(run, Verdict):
        return run
    if np.isnan(run["collapsed"]):
        if run["epochs"] < epoch + 10:
            return no_verdict(f"no drop in {run['epochs']:.0f} epochs, the report's is around epoch {epoch}")
        return refuted(
            f"no drop in {run['epochs']:.0f} epochs: test accuracy {format_percent(run['test/accuracy'])} % at the end"
        )
    evidence = f"it drops at epoch {run['collapsed']:.0f}, to {format_percent(run['test/accuracy'])} %{nan_from(run)}"
    return decide(abs(run["collapsed"] - epoch) <= 10 and run["test/accuracy"] < 0.01, evidence)


def constant_zero(table: DataFrame, network: str, lr: float) -> Verdict:
    run = rate(table, network, lr)
    if isinstance(run, Verdict):
        return run
    constant = run["lowest"] == run["highest"]
    level = (
        format_percent(run["lowest"])
        if constant
        else f"{format_percent(run['lowest'])} to {format_percent(run['highest'])}"
    )
    evidence = f"{'constant' if constant else 'not constant'}, at {level} %{nan_from(run)}"
    return decide(bool(constant and run["highest"] < 0.01), evidence)


def nan_from(run: Series) -> str:
    if np.isnan(run["diverged"]):
        return ""
    return f"; the loss is NaN from epoch {run['diverged']:.0f} on, and NaN scores make every image a 0"


# --- autoencoder_pca -------------------------------------------------------------------------------------------------

CODES = {
    "first": "first report's autoencoder",
    "second": "second report's autoencoder",
    "second_long": "second report's autoencoder, trained longer",
    "pca": "PCA",
}
SCATTERED = 5000
MEASURES = ["hash", "dead", "mse", "recognised", "agreement", "decoded"]


def code_block(code: str) -> str:
    """The block whose rows have a code's measurements: the autoencoder's, for PCA that of its nearest neighbours."""
    return "pca_knn" if code == "pca" else code


def pixels(data: DataModule, split: str) -> Tensor:
    """Images of a split in [0, 1], float32 [N, 1, 28, 28]."""
    return data.transform(data.splits[split].all()[0])


class PCA:
    """The projection on the two directions of the largest variance, with what an autoencoder has: encode, decode."""

    def __init__(self, x: Tensor, k: int = 2) -> None:
        flat = x.flatten(1).double()
        self.shape, self.mean = x.shape[1:], flat.mean(0)
        self.directions = torch.linalg.eigh(torch.cov(flat.T)).eigenvectors[:, -k:].flip(1)  # [D, k]

    def encode(self, x: Tensor) -> Tensor:
        return ((x.flatten(1).double() - self.mean) @ self.directions).float()

    def decode(self, z: Tensor) -> Tensor:
        return (z.double() @ self.directions.T + self.mean).float().unflatten(1, self.shape)


@torch.inference_mode()
def autoencoder_pca_measure(study: Study, runs: Runs) -> DataFrame:
    """What each encoder's code is worth.

    dead: units with one value for all training images. mse: of the test images. recognised: the share of reconstructed
    test images that the judge takes for the right digit. agreement: for what it takes the original for. decoded: how
    many of the first ten it takes for the right digit.
    """
    done = runs.done()
    encoders = of(done, *(code_block(code) for code in CODES))
    first = of(encoders, "first", "second", "second_long")
    if not len(first):
        return DataFrame(columns=MEASURES)
    _, data = load_run(first["run"].iloc[0])
    train, test, y = pixels(data, "train"), pixels(data, "test"), data.splits["test"].y
    judge = of(done, "judge")
    classify = load_run(judge["run"].iloc[0])[0].net if len(judge) else None
    rows = []
    for _, row in encoders.iterrows():
        net: Any = PCA(train) if row["block"] == "pca_knn" else load_run(row["run"])[0].net
        codes, rebuilt = net.encode(train), net.decode(net.encode(test))
        found: dict[str, Any] = {
            "hash": row["hash"],
            "dead": int((codes == codes[0]).all(0).sum()),
            "mse": float((rebuilt - test).square().mean()),
        }
        if classify is not None:
            seen, original = classify(rebuilt).argmax(1), classify(test).argmax(1)
            found |= {
                "recognised": float((seen == y).double().mean()),
                "agreement": float((seen == original).double().mean()),
                "decoded": int((seen == y)[:10].sum()),
            }
        rows.append(found)
    return DataFrame(rows, columns=MEASURES).drop_duplicates("hash")


def autoencoder_pca(study: Study, runs: Runs) -> list[Item]:
    done = runs.done()
    note = (
        "Nearest neighbours and the linear classifier learn on the codes of the training images; their accuracies are "
        "those of the test images. Recognised: the share of reconstructed test images that the judge takes for the "
        "right digit; agreement: for what it takes the original for; decoded: the right ones among the first ten."
    )
    items: list[Item] = [Table("Codes of two numbers", code_table(study, done), note)]
    lines = {
        f"{name}, {split}": (of(done, code), f"{stage}/loss")
        for code, name in (("first", "first report"), ("second_long", "second report"))
        for stage, split in (("train", "train"), ("val", "test"))
    }
    if any(len(known) for known, _ in lines.values()):
        level = of(done, "pca_knn")["mse"].mean()
        levels = {} if np.isnan(level) else {"PCA, test": float(level)}
        title = "Mean squared error at each epoch"
        drawn = superimposed(lines, title, "mean squared error", levels=levels)
        items.append(Plot("learning_curves", title, drawn, "The band is the standard deviation over seeds."))
        items += pictures(done)
    return items


def code_table(study: Study, done: DataFrame) -> DataFrame:
    published = study.published["decoded"].set_index("code")["decoded"]
    rows = []
    for code, name in CODES.items():
        for _, row in of(done, code_block(code)).iterrows():
            probes = {
                kind: found["test/accuracy"].mean()
                for kind in ("knn", "linear")
                if len(found := probe(done, code, kind, row["hash"]))
            }
            rows.append(
                {
                    "code": name,
                    "seed": GAP if code == "pca" else row["seed"],
                    "epochs": GAP if code == "pca" else row["epochs"],
                    "test MSE": format_mean(row["mse"]),
                    "nearest neighbours, %": format_percent(probes.get("knn")),
                    "linear classifier, %": format_percent(probes.get("linear")),
                    "recognised, %": format_percent(row["recognised"]),
                    "agreement, %": format_percent(row["agreement"]),
                    "decoded of 10": row["decoded"],
                    "published": published.get(code),
                    "dead units": row["dead"],
                }
            )
    return DataFrame(rows)


def probe(table: DataFrame, code: str, kind: str, encoder: str | None = None) -> DataFrame:
    """The classifiers of a kind (knn or linear) on a code, or on that of one encoder alone."""
    known = of(table, f"{code}_{kind}")
    return known if encoder is None or code == "pca" else known[known["encoder"] == encoder]


@torch.inference_mode()
def pictures(done: DataFrame) -> list[Item]:
    """Codes of 5,000 training images and the first ten test images rebuilt: the best run of each autoencoder, PCA."""
    nets: dict[str, Any] = {}
    for code in ("first", "second_long"):
        known = of(done, code)
        if len(known):
            best = known.sort_values(["dead", "test/loss"]).iloc[0]
            task, data = load_run(best["run"])
            nets[f"{CODES[code]}, seed {best['seed']}"] = task.net
    train = pixels(data, "train")
    nets["PCA"] = PCA(train)
    chosen = torch.randperm(len(train), generator=torch.Generator().manual_seed(0))[:SCATTERED]
    points = {name: net.encode(train[chosen]).numpy() for name, net in nets.items()}
    labels = data.splits["train"].y[chosen].numpy()
    test = pixels(data, "test")[:10]
    rows = {"original": test.numpy()} | {name: net.decode(net.encode(test)).numpy() for name, net in nets.items()}
    digits = [data.classes[k] for k in data.splits["test"].y[:10].tolist()]
    return [
        Plot(
            "codes",
            f"Codes of {len(chosen):,} training images",
            plots.scatter(points, labels, data.classes, "Codes of two numbers"),
            "Of each autoencoder the run with the fewest dead units, and of those with the lowest test loss.",
        ),
        Plot("reconstructions", "The first ten test images", plots.reconstructions(rows, digits)),
    ]


def decoded(table: DataFrame, code: str, of_ten: int) -> Verdict:
    """As many as the report says, give or take one, in the mean over seeds."""
    if none := missing(table, [code_block(code)], "decoded"):
        return none
    numbers = of(table, code_block(code))["decoded"]
    evidence = (
        f"{' and '.join(f'{n:.0f}' for n in numbers)} of the first ten reconstructions are taken for the right digit"
    )
    if numbers.mean() > of_ten + 1:
        return beaten(evidence)
    return decide(numbers.mean() >= of_ten - 1, f"{evidence} (within one of {of_ten} counts as the same)")


def better_separated(table: DataFrame, code: str, than: str) -> Verdict:
    """Better separated: in most runs nearest neighbours tell more digits by the one code than by the other."""
    if none := missing(table, [f"{code}_knn", f"{than}_knn"], "test/accuracy"):
        return none
    ours, theirs = (probe(table, c, "knn") for c in (code, than))
    more = int((ours["test/accuracy"] > theirs["test/accuracy"].max()).sum())
    scores = f"{in_percent(ours, 'test/accuracy')} against {CODES[than]}'s {in_percent(theirs, 'test/accuracy')}"
    return decide(2 * more > len(ours), f"nearest neighbours: {scores}, in {more} of {len(ours)} runs more")


def each_code(table: DataFrame, metric: str, text: Callable[[DataFrame, str], str]) -> Verdict:
    """An answer with a figure for every code; text makes it of the code's runs."""
    if none := missing(table, [code_block(code) for code in CODES], metric):
        return none
    return answered("; ".join(f"{name} {text(of(table, code_block(code)), metric)}" for code, name in CODES.items()))


def reconstruction_errors(table: DataFrame) -> Verdict:
    return each_code(table, "mse", number)


def recognised(table: DataFrame) -> Verdict:
    return each_code(table, "recognised", in_percent)


def dead_units(table: DataFrame) -> Verdict:
    return each_code(table, "dead", lambda known, metric: " and ".join(f"{n:.0f}" for n in known[metric]))


def linear_code(table: DataFrame) -> Verdict:
    codes = ("first", "second_long")
    if none := missing(table, codes, "mse") or missing(table, [f"{code}_knn" for code in codes], "test/accuracy"):
        return none
    texts = []
    for code in codes:
        scores = in_percent(probe(table, code, "knn"), "test/accuracy")
        texts.append(f"{CODES[code]}: test MSE {number(of(table, code), 'mse')}, nearest neighbours {scores}")
    return answered("; ".join(texts))


# --- scratch: the toy functions with gradients by hand ---------------------------------------------------------------

LEARNED = 0.01  # of the targets' variance: with less left, a loss is on the axis of a figure that holds the first one


def first_report(study: Study, runs: Runs) -> list[Item]:
    note = (
        "Mean squared errors, ± over the convnet's starts and over orders of the linear model's examples. The penalty "
        "(λ/2)‖w‖² with λ = 0.1 is what the report adds to them. No model gets below the noise floor."
    )
    return [Table("After the last iteration", own_table(runs.done()), note), *own_curves(runs.done())]


BLOCKS = {"first_linear": "linear model", "first_convnet": "convnet"}
BY_HAND = [twins.Part("huji/toy_functions", "By hand", BLOCKS, toy_functions_measure, first_report)]

scratch, scratch_measure = partial(twins.page, parts=BY_HAND), partial(twins.measure, parts=BY_HAND)
together, by_hand = twins.together, twins.judge(globals())


def learns(table: DataFrame, block: str, functions: Sequence[str]) -> Verdict:
    """Whether these functions are learned and no others: on every draw of W the best start leaves less than LEARNED."""
    if none := converged(table, [block]):
        return none
    left = {f: best_starts(table, block, f)["left"] for f in FUNCTIONS}
    learned = [f for f, shares in left.items() if (shares < LEARNED).all()]
    starts = int(of(table, block).groupby(["data.function", "data.draw"]).size().max())
    shown = ", ".join(f"{f} {format_percent(shares.mean())} %" for f, shares in left.items())
    return decide(
        learned == list(functions),
        f"of the variance of the test targets the best of {starts} runs leaves: {shown}; learned is less than "
        f"{format_percent(LEARNED, digits=0)} %",
    )
