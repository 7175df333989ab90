"""One line on a terminal that says how far training is; nothing where nobody looks."""

import math
import shutil
import sys
import time
from typing import Any

import lightning as L

from dlcourse.data.order import Chunk
from dlcourse.tasks.task import Task


class Progress(L.Callback):
    """Epoch, step, loss and the last validation figures, drawn ten times a second at most.

    Written anew rather than with Lightning's bars because those cost about as much as a step of a small network.
    """

    SECONDS = 0.1

    def __init__(self) -> None:
        self.stream, self.drawn, self.began = sys.stderr, 0.0, time.monotonic()
        self.last = ""

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.began = time.monotonic()

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if isinstance(batch, Chunk):
            self.show(trainer, batch.first + len(batch.batches), batch.steps)
        else:
            self.show(trainer, batch_idx + 1, trainer.num_training_batches)

    def show(self, trainer: L.Trainer, step: int, steps: float) -> None:
        """Draw the line after a step of the `steps` of an epoch, if it is time to."""
        now = time.monotonic()
        if now - self.drawn < self.SECONDS:
            return
        self.drawn = now
        pl_module = trainer.lightning_module
        done = step / steps if 0 < steps < math.inf else 0.0
        bar = ("█" * int(done * 10)).ljust(10, "░")
        rate = step / max(1e-6, now - self.began)
        assert isinstance(pl_module, Task)
        losses = pl_module.records["train"]  # none where nothing is optimised (model=knn)
        loss = f"  loss {float(losses[-1].losses[-1]):.4f}" if losses else ""
        epoch = f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs}"
        self._draw(f"{epoch} {bar} {step}/{steps}  {rate:.0f}/s{loss}{self.last}")

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        assert isinstance(pl_module, Task)
        shown = {k: v for k, v in pl_module.measured.items() if k in ("val/loss", "val/accuracy", "val/psnr")}
        self.last = "".join(f"  {name} {value:.4f}" for name, value in sorted(shown.items()))

    def on_fit_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._draw("")

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        self._draw("")

    def _draw(self, text: str) -> None:
        width = shutil.get_terminal_size().columns - 1
        self.stream.write("\r" + text[:width].ljust(width) + ("\r" if not text else ""))
        self.stream.flush()
