"""A run's network with all that comes before and after it, as one module: raw pictures in, probabilities out."""

import logging
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dlcourse import runs
from dlcourse.core.errors import InputError
from dlcourse.data.module import DataModule
from dlcourse.nets import Autoencoder, Neighbours
from dlcourse.tasks import Classify, Task
from dlcourse.training.loading import build_data, load_task

log = logging.getLogger(__name__)

CHECKED = 32  # pictures on which what was exported is held against the run


def open_run(run: Path) -> tuple[Task, DataModule]:
    """A run's task and its data, not read, both on the CPU. Raises InputError for a run that has no weights to take."""
    plain = runs.read_config(run)
    plain["trainer"]["accelerator"] = "cpu"  # what encodes the data would else be on the GPU, and stay there
    task = load_task(run)
    if isinstance(task.net, Neighbours):
        raise InputError(
            f"run={run} can't be exported: nearest neighbours have no weights, they are their training set"
        )
    return task, build_data(plain, runs.read_result(run)["data"], run)


@torch.no_grad()
def outputs_of(task: Task, data: DataModule, x: Tensor) -> dict[str, Tensor]:
    """What a run makes of stored examples x [N, ...], by name: `probabilities` of a classifier, `reconstruction` and
    `code` of an autoencoder, else `output`."""
    seen = data.seen(x)
    if isinstance(task, Classify):
        return {"probabilities": task.probabilities(seen)}
    if isinstance(task.net, Autoencoder):
        return {"reconstruction": task(seen), "code": task.net.encode(seen.to(task.dtype))}
    return {"output": task(seen)}


class Program(nn.Module):
    """What `outputs_of` gives, as a tuple, by the network itself in float32: of a run by hand its twin with autograd.

    images: as the run's data are stored, uint8 [N, C, H, W], or float32 [N, D] where they are vectors.
    """

    def __init__(self, task: Task, data: DataModule) -> None:
        super().__init__()
        self.net = task.net.float().requires_grad_(False).eval()
        self.seen = data.seen
        self.last = task.as_probabilities if isinstance(task, Classify) else None

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        x = self.seen(images)
        if isinstance(self.net, Autoencoder):
            code = self.net.encode(x)
            return self.net.decode(code), code
        y = self.net(x)
        return (self.last(y) if self.last else y,)


def examples(data: DataModule, stored_shape: list[int]) -> tuple[Tensor, str]:
    """Some test examples, as they are stored, and a word about them; random ones where the data are not here."""
    try:
        data.prepare()
        test = data.stored["test"]
        x, _ = test.__getitems__(torch.arange(min(CHECKED, len(test))))
        return x, f"{len(x)} test examples of {data.name}"
    except InputError as error:
        log.warning("the run's data are not here, so random examples are compared: %s", error)
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(CHECKED, *stored_shape, generator=generator)
    return (255 * x).to(torch.uint8) if len(stored_shape) == 3 else x, f"{CHECKED} random examples"


def facts(result: dict[str, Any], x: Tensor, outputs: list[str]) -> dict[str, Any]:
    """What one has to know of an exported network: what it takes and gives, and where it comes from."""
    data = result["data"]
    of_pictures = {
        "range": [0, 255],
        "value_range": data.get("value_range"),
        "reading": "upright by EXIF, transparency on white, grey or RGB, stretched to the size (bilinear)",
    }
    return {
        "input": "images", "dtype": str(x.dtype).removeprefix("torch."), "shape": list(x.shape[1:]),
        **(of_pictures if x.dim() == 4 else dict.fromkeys(of_pictures)),
        "outputs": outputs, "classes": data["classes"] if outputs == ["probabilities"] else None,
        "model": result["model"], "parameters": result["parameters"], "config_hash": result["config_hash"],
        "data": data["name"], "source": data["source"], "provenance": data["provenance"],
        "comparable": data["comparable"],
        "metrics": {k: v for k, v in result["metrics"].items() if k.startswith("test/")},
        "versions": result["versions"], "commit": result["commit"],
    }  # fmt: skip
