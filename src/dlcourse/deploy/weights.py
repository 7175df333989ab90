"""A run without anything pickled: weights as safetensors beside its config and result, a run directory again."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

from dlcourse import runs
from dlcourse.core.errors import InputError
from dlcourse.training.loading import read_checkpoint

LOCAL = re.compile(r"(?<![\w.:/])[/~][^\s'\",;=\[\]]*/([^\s'\",;=\[\]/]+)")  # an absolute path; its last part


def save_run(run: Path, folder: Path) -> None:
    """Write what `evaluate`, `predict` and `read` need of a run; what they name of this machine's folders is left out.

    Raises InputError for a run on codes that another run or a fit gives: those weights are not its own.
    """
    from safetensors.torch import save

    plain, result = runs.read_config(run), runs.read_result(run)
    encoder = plain["data"].get("encoder")
    if encoder and not encoder.startswith("imagenet:"):
        raise InputError(
            f"run={run} is on codes by {encoder}, whose weights are not its own: format=onnx has both in one file"
        )
    if plain["data"].get("root"):
        plain["data"]["root"] = None  # whoever loads it says where the data are: evaluate's data.root=
    saved = read_checkpoint(runs.checkpoint_path(run))
    rebuilt = {key: saved[key] for key in ("task", "hyper_parameters", "epoch")}
    metadata = {key: json.dumps(without_places(value)) for key, value in rebuilt.items()}
    weights = {name: tensor.contiguous() for name, tensor in saved["state_dict"].items()}
    runs.write_bytes(folder / runs.WEIGHTS, save(weights, metadata))
    runs.write_config(folder, without_places(plain))
    runs.write_result(folder, without_places(result) | {"exported": True})
    for name in (runs.METRICS, "confusion.csv"):
        if (run / name).is_file():
            shutil.copy(run / name, folder / name)


def without_places(value: Any) -> Any:
    """Plain values with the last part alone of each absolute path in them."""
    if isinstance(value, dict):
        return {key: without_places(one) for key, one in value.items()}
    if isinstance(value, list):
        return [without_places(one) for one in value]
    return LOCAL.sub(r"\1", value) if isinstance(value, str) else value
