"""The run directory, kept up to date while training goes on: metrics.csv, best.ckpt, last.ckpt."""

import csv
import math
import time
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Checkpoint
from torch import Tensor

from dlcourse.core.errors import InputError, first_line
from dlcourse.runs import BEST, LAST, METRICS, STEPS
from dlcourse.tasks.task import Task, mode_of


class Keep(Checkpoint):
    """After each epoch: a row of metrics.csv; the best weights so far; a checkpoint to go on from.

    best.ckpt has the weights of the epoch with the best `monitor` (of equal ones the lowest loss), or with
    `selection=last` those of the last epoch, and what rebuilds the task; last.ckpt has everything that resuming needs.
    Files are written under a temporary name and renamed. Epochs that take less time than writing does don't all write:
    at least 95 % of the time goes to training.

    It is one of Lightning's checkpoint callbacks because those run last, when all metrics of the epoch are there.
    """

    SHARE = 0.05

    def __init__(self, run: Path, monitor: str, selection: str = "best", log_steps: bool = False) -> None:
        self.run, self.monitor, self.mode = run, monitor, mode_of(monitor)
        self.selection, self.log_steps = selection, log_steps
        self.rows: list[dict[str, float]] = []
        self.best: dict[str, float] | None = None
        self.diverged: dict[str, int] | None = None  # the first epoch and step whose loss was no finite number
        self._best_weights: dict[str, Tensor] | None = None
        self._began = time.monotonic()
        self._saved = self._cost = 0.0
        self._stopped_at: int | None = None  # max_epochs of a run that has stopped before it

    # --- before training ---

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._began = time.monotonic() - (self.rows[-1]["seconds"] if self.rows else 0.0)

    def continue_from(self, epochs: int) -> None:
        """Take up the rows of the first `epochs` epochs again; later ones are of epochs that are trained anew."""
        self.rows = [row for row in read_metrics(self.run / METRICS) if row["epoch"] <= epochs]
        _write(self.run / METRICS, "w", self.rows)
        if self.log_steps:
            done = self.rows[-1]["step"] if self.rows else 0
            _write(self.run / STEPS, "w", [row for row in read_metrics(self.run / STEPS) if row["step"] <= done])
        for row in self.rows:
            if self._better(row):
                self.best = row

    def state_dict(self) -> dict[str, Any]:
        return {"stopped_at": self._stopped_at}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._stopped_at = state_dict["stopped_at"]

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        # A run that was cut off after it had stopped early does not go on, unless it is given more epochs.
        trainer.should_stop = trainer.max_epochs == self._stopped_at

    # --- after each epoch ---

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        row: dict[str, float] = {
            "epoch": trainer.current_epoch + 1,
            "step": trainer.global_step,
            "seconds": round(time.monotonic() - self._began, 3),
            "lr": trainer.optimizers[0].param_groups[0]["lr"],
        }
        assert isinstance(pl_module, Task)
        names = sorted(name for name in pl_module.metric_names() if not name.startswith("test/"))
        row |= {name: pl_module.measured.get(name, math.nan) for name in names}
        self.rows.append(row)
        first = trainer.global_step - len(pl_module.step_losses) + 1
        bad = (first + i for i, loss in enumerate(pl_module.step_losses) if not math.isfinite(loss))
        if self.diverged is None and (step := next(bad, None)) is not None:
            self.diverged = {"epoch": int(row["epoch"]), "step": step}
        if trainer.is_global_zero:
            mode = "w" if len(self.rows) == 1 else "a"
            _write(self.run / METRICS, mode, [row])
            if self.log_steps:
                losses = [{"step": first + i, "train/loss": loss} for i, loss in enumerate(pl_module.step_losses)]
                _write(self.run / STEPS, mode, losses)
        if self._better(row):
            self.best = row
            self._best_weights = {k: v.detach().clone() for k, v in pl_module.state_dict().items()}
        self._stopped_at = trainer.max_epochs if trainer.should_stop else None
        last = trainer.should_stop or trainer.current_epoch + 1 == trainer.max_epochs
        due = last or time.monotonic() - self._saved > self._cost / self.SHARE
        if trainer.strategy.broadcast(due):  # saving is a meeting point of all processes, whose clocks differ
            self._save(trainer, pl_module)

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        if trainer.is_global_zero and not isinstance(exception, InputError):
            self._save_best(pl_module)

    def _better(self, row: dict[str, float]) -> bool:
        """Whether an epoch is the best so far; of several equal ones it is the one with the lowest loss."""
        if self.selection == "last":
            return True
        if math.isnan(row.get(self.monitor, math.nan)):
            return False
        return self.best is None or self._rank(row) < self._rank(self.best)

    def _rank(self, row: dict[str, float]) -> tuple[float, float]:
        sign = 1 if self.mode == "min" else -1
        return sign * row[self.monitor], row.get(self.monitor.split("/")[0] + "/loss", 0.0)

    def _save(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        began = time.monotonic()
        if self.best is None:  # nothing finite to go by: the latest weights are as good as any
            self._best_weights = dict(pl_module.state_dict())
        try:
            if trainer.is_global_zero:
                self._save_best(pl_module)
            part = self.run / (LAST + ".part")
            trainer.save_checkpoint(part)
            if trainer.is_global_zero:
                part.replace(self.run / LAST)
        except (OSError, RuntimeError) as error:  # torch says RuntimeError of a full disk
            raise InputError(f"{self.run}: a checkpoint can't be written there: {first_line(error)}") from error
        self._saved = time.monotonic()
        self._cost = self._saved - began

    def _save_best(self, pl_module: L.LightningModule) -> None:
        """Write best.ckpt, where the best weights so far are not in it yet."""
        if self._best_weights is None:
            return
        weights = {
            "state_dict": self._best_weights,
            "task": f"{type(pl_module).__module__}.{type(pl_module).__name__}",
            "hyper_parameters": dict(pl_module.hparams),
            "epoch": int((self.best or self.rows[-1])["epoch"]),
            "pytorch-lightning_version": L.__version__,
        }
        part = self.run / (BEST + ".part")
        torch.save(weights, part)
        part.replace(self.run / BEST)
        self._best_weights = None


def _write(path: Path, mode: str, rows: list[dict[str, float]]) -> None:
    if not rows:
        return
    with path.open(mode, newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0].keys(), extrasaction="ignore")
        if mode == "w":
            writer.writeheader()
        writer.writerows(rows)


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The rows of a run's metrics.csv or steps.csv, numbers as numbers; [] where there are none yet."""
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        rows = [{k: float(v) if v else math.nan for k, v in row.items()} for row in csv.DictReader(file)]
    return [row | {key: int(row[key]) for key in ("epoch", "step") if key in row} for row in rows]
