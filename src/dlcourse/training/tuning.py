"""A learning rate found by trying: Lightning's range test."""

import logging
from pathlib import Path
from typing import Any

import numpy as np
from lightning.pytorch.tuner import Tuner

from dlcourse import plots
from dlcourse.core.errors import InputError
from dlcourse.training.setup import assemble, read_data

log = logging.getLogger(__name__)
LOWEST, HIGHEST, STEPS, SKIPPED = 1e-6, 10.0, 100, 10
CURVE = "figures/lr_finder.png"


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
    read_data(task, data)
    trainer.callbacks = []  # type: ignore[attr-defined]
    finder = Tuner(trainer).lr_find(
        task, datamodule=data, min_lr=LOWEST, max_lr=HIGHEST, num_training=STEPS, update_attr=False
    )
    assert finder is not None
    rates, losses = (np.array(finder.results[key])[SKIPPED:-1] for key in ("lr", "loss"))  # before, the mean is of few
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
