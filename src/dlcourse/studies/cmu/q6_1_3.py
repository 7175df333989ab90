"""Question 6.1.3: MobileNetV2 on CIFAR-10."""

import math

from pandas import DataFrame

from dlcourse.reports.page import Table
from dlcourse.studies.checks import check
from dlcourse.studies.runs import Runs
from dlcourse.studies.samples import Sample, aggregate, format_metric, metric_label, require
from dlcourse.studies.study import Study
from dlcourse.studies.verdict import Verdict, answered


def loss_of_mistakes(study: Study, runs: Runs) -> Table:
    """The test set's figures beside the published ones, and the loss for each photo that is wrong."""
    metrics, done = ("test/accuracy", "test/loss"), runs.done()
    found = {
        study.label(block): [aggregate(done, metric, {"block": block}) for metric in metrics]
        for block in done["block"].unique()
    }
    found["published, not run here"] = [Sample(float(study.published["test"].iloc[0][metric])) for metric in metrics]
    rows = [
        {
            "run": name,
            **{metric_label(m): format_metric(m, s._replace(n=0)) for m, s in zip(metrics, samples, strict=True)},
            "loss for a wrong photo": samples[1].mean / (1 - samples[0].mean),
        }
        for name, samples in found.items()
    ]
    note = "The last column is the mean loss divided by the share of photos that are wrong."
    return Table("Test set", DataFrame(rows), note)


@check
def implausible_loss(
    table: DataFrame, accuracy: float, loss: float, train_accuracy: float, train_loss: float, batch: int
) -> Verdict:
    """A photo that is taken for another class costs at least ln 2; what does a wrong one cost where it is measured?"""
    rows = require(table, "test/loss")
    here = (rows["test/loss"] / (1 - rows["test/accuracy"])).mean()
    ratios = [value / (1 - share) for value, share in ((loss, accuracy), (train_loss, train_accuracy))]
    said = "hardly" if ratios[0] < here / 2 else "it can"
    return answered(
        f"{said}: that is {ratios[0]:.2f} for each wrong photo, in its own training {ratios[1]:.2f}, here {here:.2f}, "
        f"and being wrong costs at least ln 2 = 0.69 ({(1 - accuracy) * math.log(2):.4f} of the {loss}); "
        f"{batch} · {loss} = {batch * loss:.3f} would fit: the means of batches of {batch}, divided by the number of "
        "photos"
    )
