"""What a run says of itself: in result.json and on the terminal."""

import logging
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning as L
import torch
from omegaconf import OmegaConf

from dlcourse import runs
from dlcourse.callbacks import Keep
from dlcourse.config.identity import flatten, hashed_values
from dlcourse.config.schema import OPTIONAL
from dlcourse.config.search import find_config
from dlcourse.data.module import DataModule
from dlcourse.runs import quote_path, stand_in_line
from dlcourse.runs.differences import typed_values
from dlcourse.tasks import Classify, Task
from dlcourse.tasks.task import round_to_float32

MACRO = "(macro)"  # the row of the means; no folder's name

log = logging.getLogger(__name__)


def announce(result: dict[str, Any]) -> None:
    data = result["data"]
    log.info(
        "%s on %s: %s parameters, %s/%s/%s examples to train, validate and test, %s",
        result["model"], data["name"], f"{result['parameters']:,}", f"{data['train']:,}", f"{data['val']:,}",
        f"{data['test']:,}", result["device"],
    )  # fmt: skip
    if (weights := result.get("weights")) and weights["file"] and not weights["published"]:
        log.info(
            "weights: %s is not torchvision's published file (sha256 %s...)",
            Path(weights["file"]).name,
            weights["sha256"][:8],
        )


def facts(task: Task, data: DataModule, trainer: L.Trainer) -> dict[str, Any]:
    """What result.json says about the network, the data and the device."""
    return {
        "parameters": sum(p.numel() for p in task.net.parameters()),
        "trained_parameters": sum(p.numel() for p in task.net.parameters() if p.requires_grad),
        "device": device_name(trainer),
        "data": data_facts(data),
    }


def data_facts(data: DataModule) -> dict[str, Any]:
    """What result.json says about data that have been read."""
    assert data.provenance is not None
    about = dict(vars(data.provenance))
    first, _ = data.stored["train"][0]
    about |= {"name": data.name, "provenance": about.pop("detail"), "classes": data.classes}
    about |= {"stored_shape": list(first.shape), "statistics": data.statistics}
    if data.encoder is not None:
        about["encoder"] = {"is": data.encoder.words, "config_hash": data.encoder.config_hash}
    return about | {split: len(examples) for split, examples in data.splits.items()}


def per_class(task: Classify, classes: Sequence[str]) -> list[dict[str, Any]]:
    """What result.json says of each class in the last test: its examples (n), precision, recall and F1; in the last row
    their means over the classes that there are. The mean of recall is the macro accuracy."""
    _, y = task.tested
    counts = [*torch.bincount(y, minlength=len(classes)).tolist(), len(y)]
    rows = [{"class": name, "n": n} for name, n in zip([*classes, MACRO], counts, strict=True)]
    macro = task.class_scores("macro")
    for name, column in task.class_scores().items():
        for row, value in zip(rows, [*column.tolist(), macro[name].item()], strict=True):
            row[name] = round_to_float32(value)
    return rows


def summarise(result: dict[str, Any], keep: Keep) -> None:
    """What the rows that were kept say of the training so far; metrics are those of the best epoch."""
    if not keep.rows:
        return
    best = keep.best or keep.rows[-1]
    result["metrics"] = {k: v for k, v in best.items() if "/" in k} | result["metrics"]
    score = keep.best[keep.monitor] if keep.best else math.nan
    result["score"] = result["score"] if math.isnan(score) else score
    result["best_epoch"] = int(best["epoch"])
    result["epochs"], result["steps"] = len(keep.rows), int(keep.rows[-1]["step"])
    if "passes" in keep.rows[-1]:  # an epoch was a piece of a pass over the examples, and is called what it was
        result["evaluations"], result["passes"] = result["epochs"], keep.rows[-1]["passes"]
    result["train_seconds"] = keep.rows[-1]["seconds"]
    if keep.diverged:
        result["diverged"] = keep.diverged


def report(result: dict[str, Any], run: Path) -> None:
    metrics = result["metrics"]
    score = "never a number" if result["score"] is None else f"{result['score']:.4f}"
    log.info(
        "%s, %s steps in %.1f s; best %s %s (%s %s)",
        runs.length(result), f"{result['steps']:,}", result["train_seconds"],
        "evaluation" if "passes" in result else "epoch", result["best_epoch"], result["monitor"], score,
    )  # fmt: skip
    tested = {k[5:]: v for k, v in metrics.items() if k.startswith("test/")}
    log.info("test: %s", "  ".join(f"{k} {v:.4f}" if abs(v) < 1e4 else f"{k} {v:.4g}" for k, v in tested.items()))
    if result["data"]["source"] != "real":
        log.warning(stand_in_line(result))
    if "stopped" in result:
        log.info("stopped by %s%s", result["stopped"], how_to_resume(run))
    log.info("run: %s", quote_path(run))
    if any(run.glob("events.out.tfevents.*")):
        log.info("tensorboard --logdir %s", quote_path(run))


USUAL = ("data.name", "model.name", "optimizer._target_", "optimizer.lr", "data.batch_size", "trainer.max_epochs",
         "seed")  # fmt: skip


def chosen_values(plain: dict[str, Any], command: str) -> tuple[dict[str, Any], set[str]]:
    """What was chosen for a run, for a table of runs: the usual keys, and those that its command and experiment set.

    The second value names those that the command set.
    """
    counted = {*hashed_values(plain), "optimizer.lr", "experiment", *OPTIONAL} - {"logger"}
    typed = typed_values(command)
    keys = [*USUAL, *typed]
    if "experiment" in typed:
        preset = OmegaConf.to_container(OmegaConf.load(find_config("experiment", typed["experiment"])))
        keys += flatten(dict(preset))  # type: ignore[arg-type]
    values = typed | flatten(plain)
    found = {key.removesuffix(".name"): values[key] for key in keys if key in counted & values.keys()}
    found["optimizer"] = str(found.pop("optimizer._target_")).rsplit(".", 1)[-1]
    shown = {k: v if isinstance(v, bool | int | float | str) else str(v) for k, v in found.items() if v is not None}
    return shown, set(typed)


def device_name(trainer: L.Trainer) -> str:
    device = trainer.strategy.root_device
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else f"CPU, {torch.get_num_threads()} threads"
    return name if trainer.world_size == 1 else f"{trainer.world_size} × {name}"


def how_to_resume(run: Path) -> str:
    return f"; go on with: python -m dlcourse.resume run={quote_path(run)}" if (run / runs.LAST).is_file() else ""
