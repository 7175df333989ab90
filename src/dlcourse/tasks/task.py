"""The base of all tasks: one step for training, validation and test; metrics once an epoch; the optimizer."""

from typing import Any, NamedTuple

import lightning as L
import torch
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau
from torchmetrics import MeanMetric, Metric

from dlcourse.config.instantiate import build, locate
from dlcourse.core.errors import InputError

Batch = tuple[Tensor, Tensor]
NEVER = 10**9  # epochs
LOWER_IS_BETTER = ("loss", "mse", "error")


def mode_of(metric: str) -> str:
    """`min` for losses and errors, else `max`."""
    return "min" if metric.rsplit("/", 1)[-1].endswith(LOWER_IS_BETTER) else "max"


def round_to_float32(value: Any) -> float:
    """A float32 figure as a float with the seven digits that it has: 0.9708 rather than 0.97079998254776."""
    return float(f"{float(value):.7g}")


class Record(NamedTuple):
    """What is kept of some steps until the epoch ends: the loss [S] of each, its examples, `step`'s tensors joined."""

    losses: Tensor
    sizes: list[int]
    columns: tuple[Tensor, ...]


class Task(L.LightningModule):
    """A network with what it is trained for.

    net, optimizer, schedule: `{_target_: ..., arguments}`; plain values only, so that a checkpoint can be read
    with `weights_only=True` and rebuilds the task by itself.
    monitor: the metric that decides which epoch was best, as `stage/name`; see `metric_names`.
    reduction: `mean` or `sum`, as in PyTorch's losses: the gradient is that of the mean over a batch's terms (see
    `terms`) or of their sum. The loss that is logged is the mean.

    A subclass says what one batch gives (`step`) and which metrics follow from an epoch's records (`update`).
    Steps only put small tensors on a list: logging a metric object on each step costs a millisecond of it.
    """

    names: tuple[str, ...] = ("loss",)
    """What is logged for each stage, as `train/<name>`, `val/<name>`, `test/<name>`."""

    def __init__(
        self,
        net: dict[str, Any],
        optimizer: dict[str, Any],
        schedule: dict[str, Any] | None = None,
        monitor: str = "val/loss",
        reduction: str = "mean",
    ) -> None:
        super().__init__()
        self.save_hyperparameters(logger=False)
        self.net = build(net, nn.Module, "model.net")
        self.optimizer_spec, self.schedule_spec = optimizer, schedule or {}
        locate(optimizer.get("_target_"), Optimizer, "optimizer")
        self.monitor = monitor
        self.sum_loss = reduction == "sum"
        self.loss_metric = MeanMetric(nan_strategy="disable")  # the default leaves out losses that are NaN
        self.records: dict[str, list[Record]] = {"train": [], "val": [], "test": []}
        self.measured: dict[str, float] = {}  # what this epoch has given so far
        self.step_losses: list[float] = []  # the loss of each of its training steps
        self.tested: tuple[Tensor, ...] = ()  # the records of the last test, joined
        self.validated: tuple[Tensor, ...] = ()  # and of the last validation

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "_current_fx_name":  # Lightning sets it 40 times a step, and a Module's way to set things is slow
            self.__dict__[name] = value
        else:
            super().__setattr__(name, value)

    # --- what a subclass says ---

    def step(self, batch: Batch, stage: str) -> tuple[Tensor, tuple[Tensor, ...]]:
        """The mean loss over a batch, and whatever `update` needs of it: tensors of length B, detached."""
        raise NotImplementedError

    def check_output(self, output: Tensor) -> None:
        """Raise InputError for an output [B, ...] of the net that the task can do nothing with."""

    def corrupt(self, batch: Batch) -> Batch:
        """What `step` is given in training: the batch, with whatever is drawn at random for it."""
        return batch

    def weigh_classes(self, weights: Tensor) -> None:
        """From now on let each training example count by its class, weights [K]. Raises InputError where it can't."""
        raise InputError(
            "data.balance=weights is for classifiers whose loss autograd differentiates: "
            "data.balance=true draws each class equally often instead"
        )

    def terms(self, batch: Batch) -> int:
        """How many terms the mean loss of a batch is the mean of: its examples."""
        return len(batch[1])

    def update(self, *record: Tensor) -> dict[str, Metric]:
        """Feed the metrics with an epoch's records, joined over its batches; returns them by name."""
        return {}

    # --- one step for every stage ---

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x.to(self.dtype))  # what comes from elsewhere than the training loop is float32

    def _shared_step(self, batch: Batch, stage: str) -> Tensor:
        try:
            loss, columns = self.step(batch, stage)
        except ValueError as error:
            if "more than 1 value per channel" in str(error):  # that is how torch says it
                raise InputError(
                    "a batch of one image can't train a network with batch norm: data.batch_size must be 2 or more, "
                    "or model.net.batch_norm=false"
                ) from error
            raise
        sizes = [len(columns[0]) if columns else 1]
        self.records[stage].append(Record(loss.detach().reshape(1), sizes, columns))
        return loss

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        batch = self.corrupt(batch)
        loss = self._shared_step(batch, "train")
        return loss * self.terms(batch) if self.sum_loss else loss

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        self._shared_step(batch, "val")

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        self._shared_step(batch, "test")

    # --- once an epoch ---

    def _epoch_end(self, stage: str) -> None:
        records, self.records[stage] = self.records[stage], []
        if not records:
            return
        losses = torch.cat([record.losses for record in records])
        if stage == "train":
            self.step_losses = losses.tolist()
        sizes = torch.tensor([size for record in records for size in record.sizes], device=self.device)
        self.loss_metric.update(losses.float().repeat_interleave(sizes))  # "disable" takes no weights
        joined = tuple(torch.cat(column) for column in zip(*(record.columns for record in records), strict=True))
        metrics: dict[str, Metric] = {"loss": self.loss_metric} | self.update(*joined)
        computed = {f"{stage}/{name}": metric.compute() for name, metric in metrics.items()}
        self._publish(computed)
        self.measured |= {name: round_to_float32(value) for name, value in computed.items()}
        for metric in metrics.values():
            metric.reset()
        if stage == "test":
            self.tested = joined
        elif stage == "val":
            self.validated = joined

    def _publish(self, metrics: dict[str, Tensor]) -> None:
        """What `self.log_dict` does; while training at a tenth of its price: that of a small network's whole epoch."""
        if self.trainer.state.fn != TrainerFn.FITTING:
            self.log_dict(metrics)
            return
        self.trainer.callback_metrics.update(metrics)
        self.trainer.logged_metrics.update(metrics)
        for logger in self.trainer.loggers:
            scalars = {name: value.item() for name, value in metrics.items()}
            if not isinstance(logger, TensorBoardLogger):  # its first card would be a flight of stairs
                scalars["epoch"] = self.current_epoch
            logger.log_metrics(scalars, self.trainer.fit_loop.epoch_loop._batches_that_stepped)

    def on_train_epoch_start(self) -> None:
        for stage in self.records:  # an epoch that was cut short leaves no records to the next
            self.records[stage] = []
        self.measured = {}

    def on_train_epoch_end(self) -> None:
        self._epoch_end("train")
        for config in self.trainer.lr_scheduler_configs:  # Lightning would do so when the epoch's checkpoint is written
            if config.reduce_on_plateau and self.monitor in self.measured:
                config.scheduler.step(self.trainer.callback_metrics[self.monitor])  # type: ignore[arg-type]

    def on_validation_epoch_end(self) -> None:
        self._epoch_end("val")

    def on_test_epoch_end(self) -> None:
        self._epoch_end("test")

    # --- the optimizer ---

    def parameter_groups(self) -> list[dict[str, Any]]:
        return [{"params": [p for p in self.parameters() if p.requires_grad]}]

    def configure_optimizers(self) -> Any:
        optimizer = build(self.optimizer_spec, Optimizer, "optimizer", self.parameter_groups())
        if not self.schedule_spec:
            return optimizer
        plateau = self.schedule_spec["_target_"].endswith("ReduceLROnPlateau")
        kind: type[LRScheduler] = ReduceLROnPlateau if plateau else LRScheduler
        extra = {"mode": mode_of(self.monitor)} if plateau else {}
        scheduler = build(self.schedule_spec, kind, "schedule", optimizer, **extra)
        often = NEVER if plateau else 1  # see on_train_epoch_end
        settings = {"scheduler": scheduler, "monitor": self.monitor, "frequency": often}
        return {"optimizer": optimizer, "lr_scheduler": settings}

    # --- facts ---

    def metric_names(self) -> list[str]:
        """Everything a run logs, and so everything that may be monitored."""
        return [f"{stage}/{name}" for stage in ("train", "val", "test") for name in self.names]
