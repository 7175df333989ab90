"""The rules for stopping, against the same rules counted by hand on losses that are written down beforehand."""

import math
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.utils.data import DataLoader

from dlcourse.callbacks import Convergence, EarlyStopping
from dlcourse.tasks import Task
from dlcourse.tasks.task import Batch

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning")


class Scripted(Task):
    """Its loss is what the script says for the epoch: 1000 times as much in training as in validation."""

    script: tuple[float, ...] = ()

    def step(self, batch: Batch, stage: str) -> tuple[Tensor, tuple[Tensor, ...]]:
        loss = self.script[self.current_epoch] * (1000 if stage == "train" else 1)
        return 0 * self.net(batch[0]).sum() + loss, (batch[1],)


def epochs(script: list[float], rule: L.Callback, folder: Path, most: int = 0, start: Path | None = None) -> int:
    """After how many epochs training stops."""
    task = Scripted(
        {"_target_": "torch.nn.Linear", "in_features": 1, "out_features": 1}, {"_target_": "torch.optim.SGD", "lr": 0.1}
    )
    task.script = tuple(script)
    trainer = L.Trainer(
        default_root_dir=folder, max_epochs=most or len(script), accelerator="cpu", callbacks=[rule], logger=False,
        enable_progress_bar=False, enable_model_summary=False, enable_checkpointing=False, num_sanity_val_steps=0,
    )  # fmt: skip
    x, y = torch.zeros(4, 1), torch.zeros(4, dtype=torch.int64)
    loader: Any = DataLoader([(x[:2], y[:2]), (x[2:], y[2:])], batch_size=None)  # type: ignore[arg-type]
    trainer.fit(task, loader, loader, ckpt_path=start, weights_only=True)
    trainer.save_checkpoint(folder / "stopped.ckpt")
    return trainer.current_epoch


def converged(script: list[float], bound: float, patience: int) -> int:
    close = 0
    for e in range(1, len(script)):
        close = close + 1 if abs(script[e] - script[e - 1]) < bound else 0
        if close == patience:
            return e + 1
    return len(script)


def not_improved(script: list[float], min_delta: float, patience: int) -> int:
    best, waited = math.inf, 0
    for e, loss in enumerate(script):
        best, waited = (loss, 0) if loss < best - min_delta else (best, waited + 1)
        if waited == patience:
            return e + 1
    return len(script)


SCRIPTS = st.lists(st.integers(1, 6).map(float), min_size=2, max_size=12)
FEW = settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@FEW
@given(SCRIPTS, st.integers(1, 3))
def test_convergence(tmp_path: Path, script: list[float], patience: int) -> None:
    rule = Convergence("train/loss", bound=1500, patience=patience)  # steps of 1000 are below it
    assert epochs(script, rule, tmp_path) == converged(script, 1.5, patience)


@FEW
@given(SCRIPTS, st.integers(1, 3), st.sampled_from([0.0, 1.5]), st.sampled_from(["train/loss", "val/loss"]))
def test_early_stopping(tmp_path: Path, script: list[float], patience: int, delta: float, monitor: str) -> None:
    rule = EarlyStopping(monitor, patience, delta * (1000 if monitor == "train/loss" else 1))
    assert epochs(script, rule, tmp_path) == not_improved(script, delta, patience)


def test_the_rule_of_the_assignment_takes_the_first_small_change(tmp_path: Path) -> None:
    """|Δ| < 1e-4 between successive epochs: it stops at the first such pair, in whatever direction."""
    script = [1.0, 0.5, 0.5 - 0.9e-7, 0.1, 0.0]  # 1000 times that in training: a change of 0.9e-4
    assert epochs(script, Convergence(), tmp_path) == 3
    assert epochs([1.0, 0.5, 0.5 + 0.9e-7, 0.1], Convergence(), tmp_path) == 3
    assert epochs([1.0, 0.5, 0.5 - 2e-7, 0.1], Convergence(), tmp_path) == 4
    assert epochs([1.0, math.nan, 0.5, 0.2], Convergence(), tmp_path) == 2
    assert epochs([1.0, math.inf, 0.5, 0.2], Convergence(), tmp_path) == 2


@pytest.mark.parametrize("stop", [1, 2, 3, 4, 5])
def test_a_resumed_run_goes_on_counting(stop: int, tmp_path: Path) -> None:
    script = [9.0, 8.0, 5.0, 5.0, 5.0, 5.0, 5.0, 1.0]
    for rule in (lambda: Convergence("train/loss", 10, 3), lambda: EarlyStopping("val/loss", 3)):
        assert epochs(script, rule(), tmp_path) == 6
        assert epochs(script, rule(), tmp_path, most=stop) == stop
        assert epochs(script, rule(), tmp_path, start=tmp_path / "stopped.ckpt") == 6
