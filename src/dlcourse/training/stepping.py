"""Many training steps inside one of Lightning's: an epoch at about the price of its arithmetic."""

import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

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
from dlcourse.tasks.task import Batch

CHUNK = 50  # steps that Lightning sees as one
PULSE = 0.1  # seconds between two looks at signals and at the progress line
PER_STEP = (  # hooks that want to be called at each step
    "on_train_batch_start", "on_train_batch_end", "on_before_zero_grad", "on_before_backward", "on_after_backward",
    "on_before_optimizer_step",
)  # fmt: skip
DEFAULTS = {"limit_train_batches": 1.0, "val_check_interval": 1.0, "accumulate_grad_batches": 1, "overfit_batches": 0.0,
            "max_steps": -1, "fast_dev_run": False}  # fmt: skip
"""What Lightning counts in batches: it has to see each of them where one of these is set."""


class ChunkedSteps(_AutomaticOptimization):
    """Takes the place of the loop that makes one step of one batch: it makes a step of each of a chunk's batches.

    A step is what it is in Lightning: the task's `training_step`, zero_grad, `backward`, clipping and the optimizer, in
    this order, all counted, so that `global_step`, loggers, schedules and checkpoints are the same. Lightning's own work
    around it, which takes longer than a step of a small network, is done once a chunk.
    """

    def __init__(self, trainer: L.Trainer, data: DataModule) -> None:
        super().__init__(trainer)
        self.data = data

    def run(self, optimizer: Optimizer, batch_idx: int, kwargs: Any) -> dict[str, Any]:
        trainer, chunk = self.trainer, kwargs["batch"]
        assert isinstance(trainer.lightning_module, Task) and isinstance(chunk, Chunk)
        take = self._stepper(trainer.lightning_module, optimizer)
        trainer.lightning_module._current_fx_name = "training_step"
        pulse = time.monotonic() + PULSE
        for done, batch in enumerate(self.data.training_batches(chunk), 1):
            take(batch, chunk.first + done - 1)
            if time.monotonic() > pulse:
                self._look_up(chunk.first + done, chunk.steps)
                pulse = time.monotonic() + PULSE
        self._count(done)
        return {}

    def _stepper(self, task: Task, optimizer: Optimizer) -> Callable[[Batch, int], None]:
        """One step of one batch, by its number in the epoch."""
        context: Callable[[], AbstractContextManager[Any]] = self.trainer.precision_plugin.train_step_context
        clip, algorithm = self.trainer.gradient_clip_val, self.trainer.gradient_clip_algorithm

        def take(batch: Batch, number: int) -> None:
            def closure() -> Tensor:
                with context():
                    loss = task.training_step(batch, number)
                optimizer.zero_grad()
                task.backward(loss)
                if clip:
                    task.configure_gradient_clipping(optimizer, clip, algorithm)
                return loss

            optimizer.step(closure)  # type: ignore[arg-type]

        return take

    def _count(self, steps: int) -> None:
        """Count the chunk as the steps that it was; loggers and checkpoints go by these."""
        for progress in (self.optim_progress.optimizer.step, self.optim_progress.optimizer.zero_grad):
            for counter in (progress.total, progress.current):
                counter.ready += steps
                counter.completed += steps
        self.trainer.fit_loop.epoch_loop._batches_that_stepped += steps - 1  # and 1 by the loop itself

    def _look_up(self, step: int, steps: int) -> None:
        """What Lightning does between two steps and people notice: it stops when it is told to, and says how far it is.

        A run that is stopped within an epoch goes on from that epoch's begin.
        """
        if self.trainer.received_sigterm:
            raise SIGTERMException
        for callback in self.trainer.callbacks:  # type: ignore[attr-defined]
            if isinstance(callback, Progress):
                callback.show(self.trainer, step, steps)


def chunk_steps(trainer: L.Trainer, task: Task, data: DataModule, stepping: str) -> str:
    """Let a trainer take many steps at a time, if nothing needs them one by one; returns how it steps from now on.

    stepping: `auto`, or `lightning` where Lightning's own loop is asked for. The data have been read.
    """
    if stepping == "lightning" or reason_for_single_steps(trainer, task, data):
        return "lightning"
    trainer.fit_loop.epoch_loop.automatic_optimization = ChunkedSteps(trainer, data)
    data.chunk = CHUNK
    return "eager"


def reason_for_single_steps(trainer: L.Trainer, task: Task, data: DataModule) -> str:
    """Why steps can't be taken many at a time; empty where they can."""
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
        return "a step in float16 may be left out"
    if any(is_overridden(hook, task) for hook in (*PER_STEP, "optimizer_step", "optimizer_zero_grad")):
        return "the task has a hook at each step"
    for callback in trainer.callbacks:  # type: ignore[attr-defined]
        if not isinstance(callback, Progress) and any(is_overridden(h, callback, L.Callback) for h in PER_STEP):
            return f"{type(callback).__name__} has a hook at each step"
    return ""
