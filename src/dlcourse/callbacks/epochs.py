"""Random numbers as a function of (seed, epoch), and when training stops before max_epochs."""

import math
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import EarlyStopping as LightningEarlyStopping

from dlcourse.core.seeds import mix_seeds
from dlcourse.tasks.task import Task, mode_of


class Reseed(L.Callback):
    """Seed dropout and noise anew at each epoch, so that a run that is resumed draws what it would have drawn."""

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        seed = mix_seeds(self.seed, trainer.current_epoch, trainer.global_rank, 1)
        torch.default_generator.manual_seed(seed)
        if pl_module.device.type != "cpu":  # torch's seeding of GPUs costs milliseconds even where there is none
            torch.manual_seed(seed)


class EarlyStopping(LightningEarlyStopping):
    """Stop when `monitor` has not improved by more than `min_delta` for `patience` evaluations in a row."""

    def __init__(self, monitor: str, patience: int = 5, min_delta: float = 0.0) -> None:
        super().__init__(monitor, min_delta, patience, mode=mode_of(monitor), check_on_train_epoch_end=True)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if was_measured(pl_module, self.monitor):
            super().on_train_epoch_end(trainer, pl_module)


class Convergence(LightningEarlyStopping):
    """Stop when `monitor` (the mean training loss) changes by less than `bound` from one epoch to the next.

    patience: so many times in a row. A loss that is no longer finite stops training too: it never converges.
    Lightning's rule by name only: it calls those once the metrics of the epoch are there, other callbacks before.
    Source: the convergence criterion of CS671's assignment 2, with a bound of 1e-4 on the average error.
    """

    def __init__(self, monitor: str = "train/loss", bound: float = 1e-4, patience: int = 1) -> None:
        super().__init__(monitor, patience=patience, check_on_train_epoch_end=True)
        self.bound = bound
        self.previous: float | None = None

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if not was_measured(pl_module, self.monitor):
            return
        current = float(trainer.callback_metrics[str(self.monitor)])
        near = self.previous is not None and abs(current - self.previous) < self.bound
        self.wait_count = self.wait_count + 1 if near else 0
        self.previous = current
        if self.wait_count >= self.patience or not math.isfinite(current):
            trainer.should_stop = True

    def state_dict(self) -> dict[str, Any]:
        return {"previous": self.previous, "wait_count": self.wait_count}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.previous, self.wait_count = state_dict["previous"], state_dict["wait_count"]


def was_measured(task: L.LightningModule, metric: str | None) -> bool:
    """Whether this epoch has given a metric: not each is validated, and not every task has a training loss."""
    assert isinstance(task, Task)
    return metric in task.measured
