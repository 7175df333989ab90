"""A task and its data from a config, or from a run's directory with its best weights."""

import json
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch

from dlcourse import runs
from dlcourse.config.instantiate import build
from dlcourse.core.errors import InputError
from dlcourse.data.module import DataModule
from dlcourse.nets import find_weights, read_weights
from dlcourse.tasks import Task
from dlcourse.training.encoders import find_encoder


def build_task(plain: dict[str, Any]) -> Task:
    model = {k: v for k, v in plain["model"].items() if k not in ("name", "weights")}
    optimizer = plain["optimizer"]
    if plain["trainer"]["gradient_clip_val"] and plain["trainer"]["precision"].endswith("mixed"):
        optimizer = {k: v for k, v in optimizer.items() if k != "fused"}  # those can't clip what autocast has scaled
    return build(model, Task, "model", optimizer=optimizer, schedule=plain["schedule"])


def build_data(plain: dict[str, Any], recorded: dict[str, Any] | None = None, run: Path | None = None) -> DataModule:
    """The data of a config, not yet read. What a run `recorded` of its data gives what it scales by.

    run: the directory of the run that is to be trained or has been, where what encodes its data is found.
    """
    measured = {"value_range": recorded["value_range"]} if recorded and recorded.get("value_range") else {}
    try:
        data = DataModule(**plain["data"] | measured, seed=plain["seed"])
    except TypeError as error:
        raise InputError(f"data: {str(error).replace('DataModule.__init__()', '')}") from None
    if recorded is not None and data.normalize == "standardize":
        data.normalize_with(**recorded["statistics"])
    data.encoder = find_encoder(plain, run, load_task_and_data)
    return data


def load_weights(task: Task, plain: dict[str, Any]) -> dict[str, Any] | None:
    """Pretrained weights into a task's net, where its config asks for them; what is to be said about the file."""
    if "weights" not in plain["model"]:
        return None
    path, about = find_weights(plain["model"]["net"]["name"], plain["model"]["weights"])
    if path is not None:
        try:
            task.net.load_backbone(read_weights(path))  # type: ignore[operator]
        except ValueError as error:
            raise InputError(f"model.weights={path}: {error}") from None
    return about


def read_checkpoint(path: Path, mmap: bool = False) -> dict[str, Any]:
    """A checkpoint's content; reading it can't run code. Raises InputError for a file that is none."""
    try:
        exported = path.suffix == ".safetensors"
        saved = read_exported(path) if exported else torch.load(path, map_location="cpu", weights_only=True, mmap=mmap)
        assert isinstance(saved, dict)
        assert {"state_dict", "hyper_parameters", "epoch"} <= saved.keys()
    except InputError:
        raise
    except Exception as error:
        reason = str(error).split(chr(10))[0] or "it has no state_dict"
        if isinstance(error, UnpicklingError):  # torch would advise to load it all the same
            foreign = "Unsupported" in str(error) or "not an allowed" in str(error)
            reason = (
                "it asks for more than tensors and plain values, which could run code" if foreign else "half a file"
            )
        raise InputError(f"{path} is damaged or no checkpoint of a run: {reason}") from None
    return saved


def read_exported(path: Path) -> dict[str, Any]:
    """The content of a checkpoint out of a file of safetensors, whose metadata rebuild the task."""
    try:
        from safetensors import safe_open
    except ImportError:
        raise InputError(f"{path} needs safetensors: pip install 'dlcourse[export]'") from None
    with safe_open(path, "pt") as file:
        saved = {key: json.loads(text) for key, text in (file.metadata() or {}).items()}
        return saved | {"state_dict": {name: file.get_tensor(name) for name in file.keys()}}  # noqa: SIM118


def load_task(run: Path) -> Task:
    """The task of a run with its best weights, ready to evaluate; from best.ckpt alone."""
    path = runs.checkpoint_path(run)
    saved = read_checkpoint(path)
    task = build({"_target_": saved.get("task")} | saved["hyper_parameters"], Task, f"{path}: task")
    load_state(task, saved, path)
    return task.eval()


def load_state(task: Task, saved: dict[str, Any], path: Path) -> None:
    """A checkpoint's weights into a task, in the precision that they have there."""
    dtype = next((v.dtype for v in saved["state_dict"].values() if v.is_floating_point()), torch.float32)
    convert = {torch.float64: task.double, torch.bfloat16: task.bfloat16, torch.float16: task.half}
    convert.get(dtype, task.float)()  # not .to(dtype), which would change the metrics, too
    try:
        task.load_state_dict(saved["state_dict"])
    except RuntimeError as error:
        raise InputError(f"{path} does not fit its own network: {str(error).splitlines()[-1].strip()}") from None


def load_task_and_data(run: Path) -> tuple[Task, DataModule]:
    """A run's task with its best weights, and its data, not yet read."""
    return load_task(run), build_data(runs.read_config(run), runs.read_result(run)["data"], run)


def epochs_done(run: Path) -> int:
    """How many epochs are in a run's last checkpoint."""
    return int(read_checkpoint(runs.checkpoint_path(run, runs.LAST), mmap=True)["epoch"]) + 1
