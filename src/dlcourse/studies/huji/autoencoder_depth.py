"""How deep an autoencoder with a code of two numbers should be, and what its code looks like."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from pandas import DataFrame
from sklearn.metrics import confusion_matrix, silhouette_score
from torch import Tensor

from dlcourse.reports.page import Table
from dlcourse.studies.checks import check
from dlcourse.studies.items import sample
from dlcourse.studies.pca import PCA
from dlcourse.studies.runs import Runs, load_run, network_inputs
from dlcourse.studies.samples import format_metric, metric_label, require, select
from dlcourse.studies.study import Study
from dlcourse.studies.verdict import Verdict, answered, decide
from dlcourse.training.loading import load_task

CODERS = ("none", "first", "deep", "second", "pca_knn")  # blocks that have a code of two numbers
SILHOUETTES = 2000  # test images that a silhouette is of
KNN = "neighbours/accuracy"


def derive(table: DataFrame) -> DataFrame:
    """With what nearest neighbours tell by the code in the row of its encoder, too."""
    accuracy = table.get("test/accuracy", math.nan)
    by_code = table.assign(accuracy=accuracy)[table["block"].str.endswith("_knn")]
    known = by_code.dropna(subset=["encoder"]).set_index("encoder")["accuracy"]
    own = table["block"].eq("pca_knn")
    return table.assign(**{KNN: table["hash"].map(known).where(~own, accuracy)})


@torch.inference_mode()
def measure(study: Study, runs: Runs) -> DataFrame:
    """What each code is worth.

    test/mse: of the test images. dead: units with one value for all training images. recognised: the share of
    reconstructed test images that the judge takes for the right digit; taken for: which digit most often for which
    other. silhouette: of test images' codes by digit, from -1 for classes that lie on top of each other to 1. near
    zero share: of a code's numbers within a tenth of their deviation around 0.
    """
    done = runs.done()
    coders, judge = select(done, {"block": list(CODERS)}), select(done, {"block": "judge"})
    networks = coders[coders["block"] != "pca_knn"]
    if not len(networks) or not len(judge):
        return DataFrame(columns=["hash"])
    data = load_run(networks["run"].iloc[0])[1]
    train, test, y = network_inputs(data, "train"), network_inputs(data, "test"), data.splits["test"].y
    classify, rows = load_task(judge["run"].iloc[0]).net, []
    for _, row in coders.iterrows():
        net: Any = PCA(train, 2) if row["block"] == "pca_knn" else load_task(row["run"]).net
        codes, seen_codes = net.encode(train), net.encode(test)
        rebuilt = net.decode(seen_codes)
        seen = classify(rebuilt).argmax(1)
        rows.append(
            {
                "hash": row["hash"],
                "test/mse": float((rebuilt - test).square().mean()),
                "dead": int((codes == codes[0]).all(0).sum()),
                "recognised/accuracy": float((seen == y).double().mean()),
                "taken for": taken_for(y, seen, data.classes),
                "silhouette": float(silhouette_score(seen_codes[:SILHOUETTES].numpy(), y[:SILHOUETTES].numpy())),
                "near zero share": near_zero(codes),
            }
        )
    return DataFrame(rows)


def near_zero(codes: Tensor) -> float:
    """The share of the numbers of codes [N, K] within a tenth of their deviation around 0, dead units left out."""
    alive = codes[:, (codes != codes[0]).any(0)]
    return float((alive.abs() < 0.1 * alive.std(0)).double().mean()) if alive.shape[1] else math.nan


def taken_for(y: Tensor, seen: Tensor, classes: Sequence[str]) -> str:
    """Which class's reconstructions are most often taken for which other one, as `4 for 9`."""
    counts = confusion_matrix(y, seen, labels=range(len(classes)))
    np.fill_diagonal(counts, 0)
    true, taken = divmod(int(counts.argmax()), len(classes))
    return f"{classes[true]} for {classes[taken]}"


def codes_of_two(study: Study, runs: Runs) -> Table:
    """A row an encoder: means over seeds."""
    columns = ["test/mse", KNN, "recognised/accuracy", "silhouette", "near zero share"]
    rows = []
    for block in CODERS:
        part = select(runs.done(), {"block": block})
        figures = {metric_label(metric): format_metric(metric, sample(part, metric)) for metric in columns}
        units = ", ".join(f"{n:.0f}" for n in part["dead"].dropna()) if "dead" in part else ""
        rows.append({"encoder": study.label(block), **figures, "dead units": units, "runs": len(part)})
    note = (
        "Test mse: of the reconstructed test images. Neighbours: the accuracy of nearest neighbours by the code. "
        "Recognised: the share of reconstructions that the judge takes for the right digit. Silhouette: of the codes "
        "by digit. Near zero: numbers within a tenth of their deviation around 0. Dead: units with one value for all "
        "images, run by run."
    )
    return Table("Codes of two numbers", DataFrame(rows), note)


# --- claims ----------------------------------------------------------------------------------------------------------


@check
def taken_most(table: DataFrame, block: str, pair: str) -> Verdict:
    """Reproduced where one digit's reconstructions are taken for that other one more often than any for any other, in
    most runs; pair: as `4 for 9`, or the other way round."""
    found = require(table, "taken for", {"block": block})["taken for"]
    hits = int(found.isin([pair, " for ".join(reversed(pair.split(" for ")))]).sum())
    return decide(2 * hits > len(found), f"what a judge takes most often, run by run: {', '.join(found)}")


@check
def dead(table: DataFrame, blocks: Sequence[str]) -> Verdict:
    """How many units of each code are dead, run by run."""
    numbers = {block: require(table, "dead", {"block": block})["dead"] for block in blocks}
    return answered("; ".join(f"{b}: {', '.join(f'{n:.0f}' for n in found)}" for b, found in numbers.items()))
