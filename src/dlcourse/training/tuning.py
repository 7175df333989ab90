"""A learning rate found by trying: Lightning's range test."""

import contextlib
import io
import logging
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
from lightning.pytorch.tuner import Tuner

from dlcourse import plots
from dlcourse.core.errors import InputError
from dlcourse.data.module import DataModule
from dlcourse.plots import Array
from dlcourse.tasks import Task
from dlcourse.training.setup import assemble, read_data

log = logging.getLogger(__name__)
LOWEST, HIGHEST, STEPS, SKIPPED = 1e-6, 10.0, 100, 10
SMOOTHING = 0.98  # Lightning's
CURVE = "figures/lr_finder.png"


def _range_test(task: Task, data: DataModule, trainer: L.Trainer) -> tuple[Array, Array]:
    """The rates of a range test's steps and the smoothed losses, without the first, whose mean is of few."""
    logging.disable(logging.WARNING)  # what is to be said of the data is said when training begins
    try:
        read_data(task, data)
        with contextlib.redirect_stderr(io.StringIO()):  # a bar
            finder = Tuner(trainer).lr_find(
                task, datamodule=data, min_lr=LOWEST, max_lr=HIGHEST, num_training=STEPS, update_attr=False
            )
    finally:
        logging.disable(logging.NOTSET)
    assert finder is not None
    rates, losses = (np.array(finder.results[key]) for key in ("lr", "loss"))
    steps = np.arange(1, len(losses) + 1)
    losses *= (1 - SMOOTHING ** (steps + 1)) / (1 - SMOOTHING**steps)  # Lightning counts one step too many
    return rates[SKIPPED:-1], losses[SKIPPED:-1]


def find_lr(plain: dict[str, Any], run: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """A config with the learning rate that a range test chose, and what result.json says of it.

    The test trains a network that is thrown away, each step at a higher rate than the one before, until the loss is
    four times the lowest; the rate at which it falls fastest is taken. Training itself begins as if it had been given.
    Source: Smith, "Cyclical learning rates for training neural networks", 2017.
    """
    trying = {"max_epochs": -1, "check_val_every_n_epoch": 10**9, "progress": False}
    task, data, trainer, _ = assemble(
        plain | {"trainer": plain["trainer"] | trying, "logger": {}, "stopping": {}, "schedule": {}}, run
    )
    if not any(p.requires_grad for p in task.parameters()):
        raise InputError(f"tune.lr=true: model={plain['model']['name']} has no gradients, and so no rate to find")
    if trainer.world_size > 1:
        raise InputError("tune.lr=true finds a rate on one device: trainer.devices=1")
    trainer.callbacks = []  # type: ignore[attr-defined]
    rates, losses = _range_test(task, data, trainer)
    known = np.isfinite(losses)
    if known.sum() < 10:
        raise InputError("tune.lr=true: the loss soon was no finite number at any rate; optimizer.lr=RATE gives one")
    rates, losses = rates[known], losses[known]
    # Lightning's suggestion is the steepest place of an axis that isn't logarithmic, mostly too far left
    lr = float(f"{rates[np.gradient(losses, np.log(rates)).argmin()]:.2g}")
    (run / CURVE).parent.mkdir(parents=True, exist_ok=True)
    plots.save(plots.range_test(rates, losses, lr), run / CURVE)
    log.info("tune.lr: optimizer.lr=%g, instead of %g, after %d steps (%s)", lr, plain["optimizer"]["lr"],
             len(rates) + SKIPPED, CURVE)  # fmt: skip
    found = {"optimizer.lr": lr, "instead_of": plain["optimizer"]["lr"], "steps": len(rates) + SKIPPED}
    return plain | {"optimizer": plain["optimizer"] | {"lr": lr}}, found
