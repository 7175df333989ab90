"""How far training is: a line that moves on a terminal; elsewhere, and in train.log, a line an epoch at most."""

import logging
import math
import shutil
import sys
import time
from collections.abc import Mapping
from typing import Any

import lightning as L

from dlcourse.callbacks.keep import Keep
from dlcourse.core import cli
from dlcourse.data.module import DataModule
from dlcourse.data.order import Chunk
from dlcourse.tasks.task import Task

log = logging.getLogger(__name__)


class Progress(L.Callback):
    """Epoch, loss, the monitored metric and its best value so far, time left, examples a second.

    terminal: draw a line ten times a second at most; otherwise log one for each epoch, or, where there are many epochs
    that take a moment each, some fifty in all.
    Written anew rather than with Lightning's bars because those cost about as much as a step of a small network.
    """

    SECONDS = 0.1
    LINES, SILENCE = 50, 30.0  # so many log lines of a run, but one at least after so many seconds

    def __init__(self, terminal: bool = True) -> None:
        self.terminal, self.stream = terminal, sys.stderr
        self.logged = self.began = self.epoch_began = time.monotonic()
        self.drawn = -math.inf  # at once
        self.first = self.reported = 0
        self.rate = ""

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.began, self.first = time.monotonic(), trainer.current_epoch
        self.reported = self.first

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._log(trainer)
        self.epoch_began = time.monotonic()

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if isinstance(batch, Chunk):
            self.show(trainer, batch.first + len(batch.batches), batch.steps)
        else:
            self.show(trainer, batch_idx + 1, trainer.num_training_batches)

    def show(self, trainer: L.Trainer, step: int, steps: float) -> None:
        """Take note of a step of the `steps` of an epoch; draw the line, if it is time to."""
        now = time.monotonic()
        if step == steps or now - self.drawn >= self.SECONDS:
            self.rate = f"{step * batch_size(trainer) / max(1e-6, now - self.epoch_began):,.0f} ex/s"
        if not self.terminal or now - self.drawn < self.SECONDS:
            return
        self.drawn = now
        done = step / steps if 0 < steps < math.inf else 0.0
        bar = ("█" * int(done * 10)).ljust(10, "░")
        epoch = f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs}"
        task = trainer.lightning_module
        assert isinstance(task, Task)
        losses = task.records["train"]  # none where nothing is optimised (model=knn)
        loss = {"loss": f"loss {float(losses[-1].losses[-1]):.4f}"} if losses else {}
        parts = {"place": cli.place.get() or "", "epoch": epoch, "bar": bar}
        width = shutil.get_terminal_size().columns - 1
        self._draw(fit_line(parts | self._parts(trainer, trainer.current_epoch + done) | loss, width))

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._log(trainer, last=True)

    def on_fit_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._draw("")

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        self._draw("")

    def _parts(self, trainer: L.Trainer, epochs: float) -> dict[str, str]:
        """What there is to say after so many epochs; the figures are those of the last whole one."""
        keep = trainer.checkpoint_callback
        assert isinstance(keep, Keep) and trainer.max_epochs is not None
        row, best = (keep.rows[-1] if keep.rows else {}), keep.best or {}
        made = epochs - self.first
        left = (time.monotonic() - self.began) / made * (trainer.max_epochs - epochs) if made > 0 else 0.0
        loss = "" if keep.monitor == "train/loss" else _figure("loss", row.get("train/loss"))
        return {
            "loss": loss,
            "score": _figure(keep.monitor, row.get(keep.monitor)),
            "best": _figure("best", best.get(keep.monitor)) if keep.selection == "best" else "",
            "left": f"{cli.clock(left)} left" if made > 0 and epochs < trainer.max_epochs else "",
            "rate": self.rate,
        }

    def _log(self, trainer: L.Trainer, last: bool = False) -> None:
        """A line in the log about the epoch that has just ended, if it is time for one."""
        keep, now = trainer.checkpoint_callback, time.monotonic()
        epochs = int(keep.rows[-1]["epoch"]) if isinstance(keep, Keep) and keep.rows else self.first
        if self.terminal or epochs == self.reported or trainer.max_epochs is None:
            return
        every = math.ceil(trainer.max_epochs / self.LINES)
        if last or epochs == self.first + 1 or epochs % every == 0 or now - self.logged > self.SILENCE:
            self.reported, self.logged = epochs, now
            parts = {"epoch": f"epoch {epochs}/{trainer.max_epochs}"} | self._parts(trainer, epochs)
            log.info("%s", fit_line(parts, 119))

    def _draw(self, text: str) -> None:
        if self.terminal:
            width = shutil.get_terminal_size().columns - 1
            self.stream.write("\r" + text.ljust(width) + ("\r" if not text else ""))
            self.stream.flush()


def fit_line(parts: Mapping[str, str], width: int) -> str:
    """The parts that there is room for, in their order; what matters least is left out first."""
    kept = {name: text for name, text in parts.items() if text}
    for name in ("bar", "rate", "loss", "best"):
        if len("  ".join(kept.values())) > width:
            kept.pop(name, None)
    return "  ".join(kept.values())[:width]


def batch_size(trainer: L.Trainer) -> int:
    """Examples of one step, all processes together."""
    data: DataModule = trainer.datamodule  # type: ignore[attr-defined]
    size = len(data.splits["train"]) if data.batch_size == "all" else int(data.batch_size)
    return size * trainer.world_size


def _figure(name: str, value: float | None) -> str:
    return (
        "" if value is None or math.isnan(value) else f"{name} {value:.4g}" if value >= 100 else f"{name} {value:.4f}"
    )
