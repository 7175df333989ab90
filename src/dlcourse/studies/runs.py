"""The runs of a study as a table, and their networks and data."""

from dataclasses import dataclass
from pathlib import Path

import lightning as L
from pandas import DataFrame
from torch import Tensor

from dlcourse import runs
from dlcourse.core.errors import InputError
from dlcourse.data.module import DataModule
from dlcourse.tasks import Task
from dlcourse.training import loading


@dataclass(frozen=True)
class Runs:
    """table: a row for each planned run; those that are missing have no metrics. folder: the study's."""

    table: DataFrame
    folder: Path

    def block(self, name: str) -> "Runs":
        return Runs(self.table[self.table["block"] == name].reset_index(drop=True), self.folder)

    def done(self) -> DataFrame:
        return self.table[self.table["status"] == "done"].reset_index(drop=True)


def run_status(run: Path) -> str:
    """The status that a run's result.json says; `missing`, or `damaged` where it can't be read."""
    try:
        return str(runs.read_result(run)["status"])
    except InputError:
        return "damaged" if (run / runs.RESULT).exists() else "missing"


def load_run(run: Path) -> tuple[Task, DataModule]:
    """A run's task with the run's weights, ready to evaluate, and its data, read."""
    task, data = loading.load_task_and_data(run)
    data.prepare()
    return task, data


def load_initial_task(run: Path) -> Task:
    """A run's task as it was before training."""
    plain = runs.read_config(run)
    L.seed_everything(plain["seed"], verbose=False)
    task = loading.build_task(plain)
    loading.load_weights(task, plain)
    return task.eval()


def network_inputs(data: DataModule, split: str) -> Tensor:
    """All examples of a split as the network sees them, float32 [N, ...]."""
    return data.transform(data.splits[split].all()[0])
