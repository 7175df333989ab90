"""The network of a run, tested again or as a function of images."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning as L
import torch

from dlcourse import runs
from dlcourse.config.schema import check
from dlcourse.core.errors import InputError, or_list
from dlcourse.data.module import DataModule
from dlcourse.tasks import Classify, Task
from dlcourse.training.encoders import keep_features
from dlcourse.training.loading import build_data, load_task
from dlcourse.training.setup import quiet
from dlcourse.training.summary import data_facts


def evaluate(plain: dict[str, Any], task: Task, data: DataModule, split: str) -> dict[str, float]:
    """The metrics of a task on one split, named `split/...`; on one device, whatever it was trained on."""
    trainer = L.Trainer(
        accelerator="cpu" if plain["trainer"]["accelerator"] == "cpu" else "auto",
        devices=1,
        precision=plain["trainer"]["precision"],
        limit_test_batches=plain["trainer"][f"limit_{split}_batches"],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    data.tested = split
    trainer.test(task, datamodule=data, verbose=False)
    return {f"{split}/{name}": task.measured[f"test/{name}"] for name in task.names if f"test/{name}" in task.measured}


def evaluate_run(run: Path, plain: dict[str, Any], split: str) -> tuple[dict[str, float], dict[str, Any]]:
    """Metrics of a run's best checkpoint on a split of the data that `plain` describes, and what those data are."""
    check(plain)
    quiet()
    torch.set_float32_matmul_precision(plain["trainer"]["matmul_precision"])
    recorded = runs.read_result(run)["data"]
    task, data = load_task(run), build_data(plain, recorded, run)
    data.prepare()
    if data.classes != recorded["classes"]:
        theirs, ours = (or_list(names, 10) for names in (data.classes, recorded["classes"]))
        raise InputError(f"run={run} knows the classes {ours}; the data have {theirs}")
    keep_features(task, data, plain, [split])
    return evaluate(plain, task, data, split), data_facts(data)


def load_classifier(run: Path, plain: dict[str, Any], result: dict[str, Any]) -> tuple[Classify, DataModule]:
    """A run's task with its best weights, and its data, not read. Raises InputError for one that is no classifier."""
    task, data = load_task(run), build_data(plain, result["data"], run)
    if not isinstance(task, Classify):
        raise InputError(f"run={run} is a {type(task).__name__.lower()} run: only a classifier predicts classes")
    return task, data


def classifier(
    run: Path, plain: dict[str, Any], result: dict[str, Any]
) -> tuple[Callable[[torch.Tensor], torch.Tensor], int]:
    """A run as a function of images, uint8 [N, C, H, W] as its data are stored, to probabilities [N, classes]; and how
    many images it takes at a time."""
    task, data = load_classifier(run, plain, result)

    @torch.inference_mode()
    def probabilities(x: torch.Tensor) -> torch.Tensor:
        return task.probabilities(data.seen(x))

    return probabilities, data.eval_batch_size
