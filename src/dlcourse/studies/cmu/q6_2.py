"""Question 6.2: SqueezeNet and a convnet from scratch on flowers17."""

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
from pandas import DataFrame

from dlcourse.reports.tables import read_history
from dlcourse.studies.checks import check
from dlcourse.studies.runs import Runs
from dlcourse.studies.samples import Of, require
from dlcourse.studies.study import Study
from dlcourse.studies.verdict import Verdict, answered

CLASSES = 17


def measure(study: Study, runs: Runs) -> DataFrame:
    done = runs.done()
    stuck = [stuck_epochs_of(read_history(run)["train/loss"], CLASSES) for run in done["run"]]
    return DataFrame({"hash": done["hash"], "stuck epochs": stuck})


def stuck_epochs_of(losses: "Sequence[float] | pd.Series[float]", classes: int) -> int:
    """How many epochs pass before the loss is clearly (0.05) below that of a guess."""
    below = np.asarray(losses) < math.log(classes) - 0.05
    return int(below.argmax()) if below.any() else len(below)


@check
def stuck_epochs(table: DataFrame, of: Of, published: int) -> Verdict:
    """How long the loss stays at that of a guess."""
    rows = require(table, "stuck epochs", of)
    each = ", ".join(
        f"{stuck:g}{' (to the end)' if stuck >= epochs else ''}"
        for stuck, epochs in zip(rows["stuck epochs"], rows["epochs"], strict=True)
    )
    return answered(f"{each} of {rows['epochs'].max():g} epochs, about {published} in the report's figure")
