"""The run directory, kept up to date while training goes on: metrics.csv, best.ckpt, last.ckpt."""

import contextlib
import csv
import errno
import io
import logging
import math
import os
import time
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.plugins.io import TorchCheckpointIO
from torch import Tensor

from dlcourse.core.errors import InputError, first_line
from dlcourse.core.files import unwritable, write_bytes
from dlcourse.runs import BEST, LAST, METRICS, STEPS
from dlcourse.tasks.task import Task, mode_of

log = logging.getLogger(__name__)


class Keep(Checkpoint):
    """After each epoch: a row of metrics.csv; the best weights so far; a checkpoint to go on from.

    `on_nan=stop` ends training after the first epoch whose loss was no finite number, `max_time` (days:hours:minutes:
    seconds, from each start) before an epoch that would take longer than is left, if it takes as long as the longest.

    best.ckpt has the weights of the epoch with the best `monitor` (of equal ones the lowest loss), or with
    `selection=last` those of the last epoch, and what rebuilds the task; last.ckpt has everything that resuming needs.
    Files are written under a temporary name and renamed. Epochs that take less time than writing does don't all write:
    at least 95 % of the time goes to training.

    It is one of Lightning's checkpoint callbacks because those run last, when all metrics of the epoch are there.
    """

    SHARE = 0.05

    def __init__(
        self, run: Path, monitor: str, selection: str = "best", log_steps: bool = False, on_nan: str | None = None,
        max_time: str | None = None,
    ) -> None:  # fmt: skip
        self.run, self.monitor, self.mode = run, monitor, mode_of(monitor)
        self.selection, self.log_steps, self.on_nan = selection, log_steps, on_nan
        self.rows: list[dict[str, float]] = []
        self.best: dict[str, float] | None = None
        self.diverged: dict[str, float] | None = None  # the first epoch and step whose loss was no finite number
        self._best_weights: dict[str, Tensor] | None = None
        self._began = self._started = time.monotonic()
        self._saved = self._cost = 0.0
        self.max_time, self.out_of_time = seconds(max_time) if max_time else math.inf, False
        self._epoch_began = self._longest = 0.0
        self._stopped_at: int | None = None  # max_epochs of a run that has stopped before it

    # --- before training ---

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._started = self._epoch_began = time.monotonic()
        self._began = self._started - (self.rows[-1]["seconds"] if self.rows else 0.0)

    def continue_from(self, checkpoint: dict[str, Any]) -> None:
        """Take up the rows of a checkpoint, in metrics.csv too; later ones are of epochs that are trained anew."""
        saved = checkpoint["callbacks"][self.state_key]
        if "rows" in saved:
            rows = [dict(zip(saved["columns"], values, strict=True)) for values in saved["rows"].tolist()]
            self.rows = [row | {key: int(row[key]) for key in ("epoch", "step")} for row in rows]
        else:  # a run of an earlier version: its rows are in metrics.csv alone
            epochs = checkpoint["epoch"] + 1
            self.rows = [row for row in read_metrics(self.run / METRICS) if row["epoch"] <= epochs]
            if len(self.rows) < epochs:
                raise InputError(f"{self.run / METRICS} is damaged: it has {len(self.rows)} rows of {epochs} epochs")
        _write(self.run / METRICS, "w", self.rows)
        if self.log_steps:
            done = self.rows[-1]["step"] if self.rows else 0
            _write(self.run / STEPS, "w", [row for row in read_metrics(self.run / STEPS) if row["step"] <= done])
        for row in self.rows:
            if self._better(row):
                self.best = row

    def state_dict(self) -> dict[str, Any]:
        values = torch.tensor([list(row.values()) for row in self.rows], dtype=torch.float64)
        return {"stopped_at": self._stopped_at, "columns": list(self.rows[-1]), "rows": values}

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
            **self._passes(trainer),
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
            self.diverged = {"epoch": row["epoch"], "step": step, "lr": row["lr"]}
            text = "the loss is no finite number from step %s on (epoch %s, a rate of %.4g); a lower optimizer.lr helps"
            log.warning(text, step, row["epoch"], row["lr"])
        if self.diverged and self.on_nan == "stop":
            trainer.should_stop = True
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
        if not last and trainer.strategy.broadcast(self._is_short_of_time()):
            self.out_of_time = trainer.should_stop = last = True
        due = last or time.monotonic() - self._saved > self._cost / self.SHARE
        if trainer.strategy.broadcast(due):  # saving is a meeting point of all processes, whose clocks differ
            self._save(trainer, pl_module)

    def _is_short_of_time(self) -> bool:
        now = time.monotonic()
        self._longest, self._epoch_began = max(self._longest, now - self._epoch_began), now
        return now - self._started + self._longest > self.max_time

    def _passes(self, trainer: L.Trainer) -> dict[str, float]:
        """How often the training examples were seen, where an epoch is not one pass over them."""
        steps = trainer.datamodule.steps_in_pass  # type: ignore[attr-defined]
        if steps is None or (self.rows and "passes" not in self.rows[0]):  # a run of an earlier version
            return {}
        passes = round(trainer.global_step / steps, 4)
        for logger in trainer.loggers:
            logger.log_metrics({"passes": passes}, trainer.global_step - 1)
        return {"passes": passes}

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        if trainer.is_global_zero and not isinstance(exception, InputError):
            try:
                self._save_best(pl_module)
            except InputError as error:  # what went wrong first is what is said last
                log.warning("%s", error)

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
        if trainer.is_global_zero:
            self._save_best(pl_module)
        trainer.save_checkpoint(self.run / LAST)
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
        write_checkpoint(weights, self.run / BEST)
        self._best_weights = None


def seconds(duration: str) -> int:
    """Of `days:hours:minutes:seconds`."""
    days, hours, minutes, rest = map(int, duration.split(":"))
    return ((days * 24 + hours) * 60 + minutes) * 60 + rest


def write_checkpoint(content: dict[str, Any], path: Path) -> None:
    """Tensors and plain values as torch's file, whole or not at all; raises InputError where there is no room."""
    buffer = io.BytesIO()
    torch.save(content, buffer)
    write_bytes(path, buffer.getbuffer())


class WholeCheckpoints(TorchCheckpointIO):
    """Lightning's own checkpoints, written as all others are."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        write_checkpoint(checkpoint, Path(path))


def _write(path: Path, mode: str, rows: list[dict[str, float]]) -> None:
    """Rows into a file of their own, or below those that are there; where not all fit, none."""
    if not rows:
        return
    text = io.StringIO()
    writer = csv.DictWriter(text, rows[0].keys(), extrasaction="ignore")
    before = path.stat().st_size if mode == "a" and path.is_file() else 0
    if not before:
        writer.writeheader()
    writer.writerows(rows)
    data = text.getvalue().encode()
    if mode == "w":
        write_bytes(path, data)
        return
    try:
        with path.open("ab", buffering=0) as file:
            file.write(data)
            if file.tell() < before + len(data):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    except OSError as error:
        with contextlib.suppress(OSError):
            os.truncate(path, before)
        raise unwritable(path, error, len(data)) from error


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The rows of a run's metrics.csv or steps.csv, numbers as numbers; [] where there are none yet.

    Raises InputError for a damaged file.
    """
    if not path.is_file():
        return []
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = [{k: float(v) if v else math.nan for k, v in row.items()} for row in csv.DictReader(file)]
        return [row | {key: int(row[key]) for key in ("epoch", "step") if key in row} for row in rows]
    except (ValueError, TypeError, csv.Error, OverflowError) as error:
        raise InputError(f"{path} is damaged ({first_line(error)}): put back an intact copy of it") from error
