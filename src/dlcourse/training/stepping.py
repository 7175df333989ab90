"""Many training steps inside one of Lightning's: an epoch at about the price of its arithmetic."""

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import lightning as L
from lightning.pytorch.loops.optimization.automatic import _AutomaticOptimization
from lightning.pytorch.utilities.exceptions import SIGTERMException
from lightning.pytorch.utilities.model_helpers import is_overridden
from torch import Tensor
from torch.optim import Optimizer

from dlcourse.callbacks import Progress
from dlcourse.data.module import DataModule
from dlcourse.data.order import Chunk
from dlcourse.tasks import Task
from dlcourse.tasks.scratch import ByHand

CHUNK = 50  # steps that Lightning sees as one
PULSE = 0.1  # seconds between two looks at signals and at the progress line
PER_STEP = (  # hooks that want to be called at each step
    "on_train_batch_start", "on_train_batch_end", "on_before_zero_grad", "on_before_backward", "on_after_backward",
    "on_before_optimizer_step",
)  # fmt: skip
DEFAULTS = {"limit_train_batches": 1.0, "val_check_interval": 1.0, "accumulate_grad_batches": 1, "overfit_batches": 0.0,
            "max_steps": -1, "fast_dev_run": False}  # fmt: skip
"""What Lightning counts in batches: it has to see each of them where one of these is set."""


class Steps(NamedTuple):
    """The steps that a run is to make next: one for each batch of a chunk."""

    trainer: L.Trainer
    task: Task
    data: DataModule
    optimizer: Optimizer
    chunk: Chunk


def take_steps(steps: Steps) -> None:
    """Make a step of each batch, as Lightning would.

    That is the task's `training_step`, zero_grad, `backward`, clipping and the optimizer, in this order.
    """
    trainer, task, data, optimizer, chunk = steps
    context, clip = trainer.precision_plugin.train_step_context, trainer.gradient_clip_val
    pulse = time.monotonic() + PULSE
    for number, batch in enumerate(data.training_batches(chunk), chunk.first):

        def closure(batch: Any = batch, number: int = number) -> Tensor:
            with context():
                loss = task.training_step(batch, number)
            optimizer.zero_grad()
            task.backward(loss)
            if clip:
                task.configure_gradient_clipping(optimizer, clip, trainer.gradient_clip_algorithm)
            return loss

        optimizer.step(closure)  # type: ignore[arg-type]
        if time.monotonic() > pulse:
            look_up(trainer, number + 1, chunk.steps)
            pulse = time.monotonic() + PULSE


def look_up(trainer: L.Trainer, step: int, steps: int) -> None:
    """What Lightning does between two steps and people notice: it stops when it is told to, and says how far it is.

    A run that is stopped within an epoch goes on from that epoch's begin.
    """
    if trainer.received_sigterm:
        raise SIGTERMException
    for callback in trainer.callbacks:  # type: ignore[attr-defined]
        if isinstance(callback, Progress):
            callback.show(trainer, step, steps)


class ChunkedSteps(_AutomaticOptimization):
    """Takes the place of the loop that makes one step of one batch: it makes a step of each of a chunk's batches.

    All are counted, so that `global_step`, loggers, schedules and checkpoints are the same; Lightning's own work around
    a step, which takes longer than a small network's arithmetic, is done once a chunk.
    """

    def __init__(self, trainer: L.Trainer, data: DataModule, take: Callable[[Steps], None]) -> None:
        super().__init__(trainer)
        self.data, self.take = data, take

    def run(self, optimizer: Optimizer, batch_idx: int, kwargs: Any) -> dict[str, Any]:
        task, chunk = self.trainer.lightning_module, kwargs["batch"]
        assert isinstance(task, Task) and isinstance(chunk, Chunk)
        task._current_fx_name = "training_step"
        self.take(Steps(self.trainer, task, self.data, optimizer, chunk))
        steps = len(chunk.batches)
        for progress in (self.optim_progress.optimizer.step, self.optim_progress.optimizer.zero_grad):
            for counter in (progress.total, progress.current):
                counter.ready += steps
                counter.completed += steps
        self.trainer.fit_loop.epoch_loop._batches_that_stepped += steps - 1  # and 1 by the loop itself
        return {}


def chunk_steps(
    trainer: L.Trainer, data: DataModule, take: Callable[[Steps], None] = take_steps, size: int = CHUNK
) -> None:
    """Let a trainer make `size` steps at a time, with `take`; see `needs_single_steps`."""
    trainer.fit_loop.epoch_loop.automatic_optimization = ChunkedSteps(trainer, data, take)
    data.chunk = size


def needs_single_steps(trainer: L.Trainer, task: Task, data: DataModule) -> str:
    """Why steps can't be made many at a time; empty where they can."""
    if trainer.world_size > 1:
        return "several processes meet at each step"
    if not data.in_memory("train"):
        return "examples are read as they are needed"
    if not task.automatic_optimization or type(task).training_step not in (Task.training_step, ByHand.training_step):
        return "the task has a training step of its own"
    for option, default in DEFAULTS.items():
        if getattr(trainer, option) != default:
            return f"trainer.{option} counts batches"
    if trainer.precision == "16-mixed":
        return "steps in float16 may be left out"
    if any(is_overridden(hook, task) for hook in (*PER_STEP, "optimizer_step", "optimizer_zero_grad")):
        return "the task has a hook at each step"
    for callback in trainer.callbacks:  # type: ignore[attr-defined]
        if not isinstance(callback, Progress) and any(is_overridden(hook, callback) for hook in PER_STEP):
            return f"{type(callback).__name__} has a hook at each step"
    return ""
