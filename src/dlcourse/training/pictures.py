"""What there is to look at of a network: its first weights, its mistakes, its reconstructions, its codes; as arrays."""

import math
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from dlcourse.data.module import DataModule
from dlcourse.plots import Array
from dlcourse.tasks import Classify, Reconstruct, Task


class Mistakes(NamedTuple):
    """Images [n, C, H, W], what they are, what they were taken for, with which probability; of how many in all."""

    images: Array
    true: Array
    predicted: Array
    probability: Array
    wrong: int
    of: int


def first_layer_images(task: Task, data: DataModule) -> Array | None:
    """The first layer's weights [units, C, H, W], where they can be looked at as images."""
    layer = getattr(task.net, "first_layer", None)
    if not isinstance(layer, nn.Linear | nn.Conv2d):
        return None
    weights = layer.weight.detach().float().cpu()
    if isinstance(layer, nn.Linear):
        if len(data.shape) != 3 or math.prod(data.shape) != weights.shape[1]:
            return None
        weights = weights.reshape(-1, *data.shape)
    return weights.numpy() if weights.shape[1] in (1, 3) else None


@torch.no_grad()
def confident_mistakes(task: Task, data: DataModule, split: str, among: int, most: int) -> Mistakes | None:
    """The `most` most confident of the first `among` mistakes of the last test or validation (`split`: test or val)."""
    record = task.tested if split == "test" else task.validated
    if not isinstance(task, Classify) or not record:
        return None
    predicted, y = record
    all_wrong = (predicted != y).nonzero().squeeze(1)
    if not len(all_wrong):
        return None
    examples, wrong = data.splits[split], all_wrong[:among]

    def probability(index: Tensor) -> Tensor:
        x, _ = examples.__getitems__(index)
        return task.probabilities(data.transform(x.to(task.device))).max(1).values

    likely = torch.cat([probability(part) for part in wrong.split(data.eval_batch_size)])
    top = likely.argsort(descending=True, stable=True)[:most]
    chosen = wrong[top]
    pictures, _ = data.stored[split].__getitems__(chosen)  # of codes, what they are the codes of
    if pictures.dim() != 4:
        return None
    images, true, said, sure = (t.cpu().numpy() for t in (pictures, y[chosen], predicted[chosen], likely[top]))
    return Mistakes(images, true, said, sure, len(all_wrong), len(y))


@torch.no_grad()
def reconstructed(task: Task, data: DataModule, split: str) -> tuple[dict[str, Array], list[str]] | None:
    """An image of each of the first ten classes, as it is and as it comes back: rows of images, their classes."""
    if not isinstance(task, Reconstruct):
        return None
    examples = data.splits[split]
    first = [int((examples.y == k).nonzero()[0]) for k in range(min(10, len(data.classes))) if (examples.y == k).any()]
    x = data.transform(examples.__getitems__(torch.tensor(first))[0].to(task.device))
    rows = {"original": x}
    if task.noise:
        rows["noisy"] = task.with_noise(x, 0)
        rows["denoised"] = task(rows["noisy"])
    rows["reconstructed"] = task(x)
    arrays = {name: np.clip(images.float().cpu().numpy(), 0, 1) for name, images in rows.items()}
    return arrays, [data.classes[int(examples.y[i])] for i in first]


@torch.no_grad()
def codes(task: Task, data: DataModule, most: int = 1000) -> tuple[Tensor, list[str], Tensor | None] | None:
    """The codes [n, D] of an autoencoder's first test images, their classes, and the images [n, C, H, W] in 0..1.

    No images where the data are codes themselves.
    """
    if not isinstance(task, Reconstruct) or not hasattr(task.net, "encode"):
        return None
    examples = data.splits["test"]
    index = torch.arange(min(most, len(examples)))
    x = data.transform(examples.__getitems__(index)[0].to(task.device))
    names = [data.classes[int(k)] for k in examples.y[index]]
    return task.net.encode(x.to(task.dtype)).float().cpu(), names, x.float().cpu() if x.dim() == 4 else None  # type: ignore[operator]
