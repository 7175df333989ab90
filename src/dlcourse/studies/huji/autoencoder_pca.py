"""An autoencoder with a code of two numbers against PCA."""

from typing import Any

import torch
from pandas import DataFrame

from dlcourse import plots
from dlcourse.reports.formats import GAP, format_mean, format_percent
from dlcourse.reports.page import Item, Plot, Table
from dlcourse.studies.checks import check
from dlcourse.studies.items import curves
from dlcourse.studies.pca import PCA
from dlcourse.studies.runs import Runs, load_run, network_inputs
from dlcourse.studies.samples import aggregate, format_metric, require, select
from dlcourse.studies.study import Study
from dlcourse.studies.verdict import Verdict, answered, beaten, decide

BLOCKS = {"first": "first", "second": "second", "second_long": "second_long", "pca": "pca_knn"}  # that are measured
SCATTERED = 5000
COLUMNS = ["hash", "dead", "test/mse", "recognised/accuracy", "agreement/accuracy", "decoded"]


@torch.inference_mode()
def measure(study: Study, runs: Runs) -> DataFrame:
    """What each encoder's code is worth.

    dead: units with one value for all training images. test/mse: of the test images. recognised: the share of
    reconstructed test images that the judge takes for the right digit. agreement: for what it takes the original for.
    decoded: how many of the first ten it takes for the right digit.
    """
    done = runs.done()
    encoders, judge = select(done, {"block": list(BLOCKS.values())}), select(done, {"block": "judge"})
    networks = encoders[encoders["block"] != BLOCKS["pca"]]
    if not len(networks):
        return DataFrame(columns=COLUMNS)
    data = load_run(networks["run"].iloc[0])[1]
    train, test, y = network_inputs(data, "train"), network_inputs(data, "test"), data.splits["test"].y
    classify = load_run(judge["run"].iloc[0])[0].net if len(judge) else None
    rows = []
    for _, row in encoders.iterrows():
        net: Any = PCA(train, 2) if row["block"] == BLOCKS["pca"] else load_run(row["run"])[0].net
        codes, rebuilt = net.encode(train), net.decode(net.encode(test))
        dead, mse = int((codes == codes[0]).all(0).sum()), float((rebuilt - test).square().mean())
        found: dict[str, Any] = {"hash": row["hash"], "dead": dead, "test/mse": mse}
        if classify is not None:
            seen, original = classify(rebuilt).argmax(1), classify(test).argmax(1)
            found |= {
                "recognised/accuracy": float((seen == y).double().mean()),
                "agreement/accuracy": float((seen == original).double().mean()),
                "decoded": int((seen == y)[:10].sum()),
            }
        rows.append(found)
    return DataFrame(rows, columns=COLUMNS).drop_duplicates("hash")


def codes(study: Study, runs: Runs) -> Table:
    """A row an encoder: its errors, what its code tells a classifier, what a judge makes of its reconstructions."""
    done = runs.done()
    published = study.published["decoded"].set_index("code")["decoded"]
    rows = []
    for code, block in BLOCKS.items():
        for _, row in select(done, {"block": block}).iterrows():
            probes = {}
            for kind in ("knn", "linear"):
                probe = select(done, {"block": f"{code}_{kind}"})
                probe = probe if code == "pca" else probe[probe["encoder"] == row["hash"]]
                probes[kind] = format_percent(probe["test/accuracy"].mean()) if len(probe) else GAP
            rows.append(
                {
                    "code": study.label(block),
                    "seed": GAP if code == "pca" else row["seed"],
                    "epochs": GAP if code == "pca" else row["epochs"],
                    "test MSE": format_mean(row["test/mse"]),
                    "nearest neighbours, %": probes["knn"],
                    "linear classifier, %": probes["linear"],
                    "recognised, %": format_percent(row["recognised/accuracy"]),
                    "agreement, %": format_percent(row["agreement/accuracy"]),
                    "decoded of 10": row["decoded"],
                    "published": published.get(code),
                    "dead units": row["dead"],
                }
            )
    note = (
        "Nearest neighbours and the linear classifier learn on the codes of the training images; their accuracies are "
        "those of the test images. Recognised: the share of reconstructed test images that the judge takes for the "
        "right digit; agreement: for what it takes the original for; decoded: the right ones among the first ten."
    )
    return Table("Codes of two numbers", DataFrame(rows), note)


def errors(study: Study, runs: Runs) -> Plot:
    """The error at each epoch, and PCA's."""
    level = runs.block(BLOCKS["pca"]).done().get("test/mse")
    title, of = "Mean squared error at each epoch", {"block": ["first", "second_long"]}
    return curves(
        study, runs, "learning_curves", title, ["train/loss", "val/loss"], of=of, stages={"val": "test"}, heading=title,
        y_label="mean squared error", note="The band is the standard deviation over seeds.",
        levels={"PCA, test": float(level.mean())} if level is not None and level.notna().any() else {},
    )  # fmt: skip


@torch.inference_mode()
def pictures(study: Study, runs: Runs) -> list[Item]:
    """Codes of 5,000 training images and the first ten test images rebuilt: the best run of each autoencoder, PCA."""
    networks: dict[str, Any] = {}
    for block in ("first", "second_long"):
        rows = runs.block(block).done()
        if len(rows):
            best = rows.sort_values(["dead", "test/loss"]).iloc[0]
            task, data = load_run(best["run"])
            networks[f"{study.label(block)}, seed {best['seed']}"] = task.net
    if not networks:
        return []
    train, test = network_inputs(data, "train"), network_inputs(data, "test")[:10]
    networks["PCA"] = PCA(train, 2)
    some = torch.randperm(len(train), generator=torch.Generator().manual_seed(0))[:SCATTERED]
    points = {name: net.encode(train[some]).numpy() for name, net in networks.items()}
    labels = data.splits["train"].y[some].numpy()
    rebuilt = {"original": test.numpy()} | {n: net.decode(net.encode(test)).numpy() for n, net in networks.items()}
    digits = [data.classes[k] for k in data.splits["test"].y[:10].tolist()]
    scattered = plots.scatter(points, labels, data.classes, "Codes of two numbers")
    note = "Of each autoencoder the run with the fewest dead units, and of those with the lowest test loss."
    return [
        Plot("codes", f"Codes of {len(some):,} training images", scattered, note),
        Plot("reconstructions", "The first ten test images", plots.reconstructions(rebuilt, digits)),
    ]


# --- claims ----------------------------------------------------------------------------------------------------------


@check
def decoded(table: DataFrame, block: str, of_ten: int) -> Verdict:
    """Reproduced with as many as the report says in the mean over seeds, give or take one; beaten with more."""
    mean = aggregate(table, "decoded", {"block": block}, complete=True).mean
    numbers = require(table, "decoded", {"block": block})["decoded"]
    each = " and ".join(f"{n:.0f}" for n in numbers)
    evidence = f"{each} of the first ten reconstructions are taken for the right digit"
    if mean > of_ten + 1:
        return beaten(evidence)
    return decide(mean >= of_ten - 1, f"{evidence} (within one of {of_ten} counts as the same)")


@check
def better_separated(table: DataFrame, code: str, than: str) -> Verdict:
    """Reproduced where nearest neighbours tell more digits by the one code than by the other, in most runs."""
    ours, theirs = (require(table, "test/accuracy", {"block": f"{c}_knn"})["test/accuracy"] for c in (code, than))
    more = int((ours > theirs.max()).sum())
    texts = [format_metric("accuracy", aggregate(table, "test/accuracy", {"block": f"{c}_knn"})) for c in (code, than)]
    evidence = f"nearest neighbours: {texts[0]} against {texts[1]}, in {more} of {len(ours)} runs more"
    return decide(2 * more > len(ours), evidence)


@check
def dead_units(table: DataFrame, names: dict[str, str]) -> Verdict:
    """How many units of each code are dead, run by run."""
    numbers = {block: require(table, "dead", {"block": block})["dead"] for block in names}
    return answered("; ".join(f"{names[b]} {' and '.join(f'{n:.0f}' for n in found)}" for b, found in numbers.items()))


@check
def linear_code(table: DataFrame, names: dict[str, str]) -> Verdict:
    """Errors and nearest neighbours of some codes."""
    texts = []
    for block, name in names.items():
        error = aggregate(table, "test/mse", {"block": block}, complete=True)
        knn = aggregate(table, "test/accuracy", {"block": f"{block}_knn"}, complete=True)
        neighbours = format_metric("accuracy", knn)
        texts.append(f"{name}: test MSE {format_metric('test/mse', error)}, nearest neighbours {neighbours}")
    return answered("; ".join(texts))
