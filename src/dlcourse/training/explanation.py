"""Where a classifier looks: a map over each picture of what speaks for the class that it names."""

from contextlib import ExitStack
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dlcourse.core.errors import InputError
from dlcourse.data.module import DataModule
from dlcourse.tasks import Classify

METHODS = {"grad_cam": "Grad-CAM", "occlusion": "occlusion"}
SMALL = 64
PLACES = 4  # a side of the maps that Grad-CAM weighs, at least: coarser ones say little about where
WINDOWS = 5  # occlusion hides a fifth of the side at a time, and moves by half of that


def saliency(task: Classify, data: DataModule, x: Tensor, method: str | None = None) -> tuple[str, Tensor]:
    """The method, and maps [B, H, W] from 0 to 1 for pictures uint8 [B, C, H, W] as the run's data are stored.

    method: `grad_cam` for networks with several convolutions that see the pictures themselves, or `occlusion`, which
    needs nothing but the probabilities; None takes grad_cam where that can be and the network sees more than SMALL
    pixels a side: smaller ones have so few places in their last maps that these say little. Raises InputError for
    grad_cam where it can't be.
    """
    convolutions = sum(isinstance(layer, nn.Conv2d) for layer in task.net.modules())
    possible = convolutions > 1 and data.encoder is None
    if method == "grad_cam" and not possible:
        raise InputError("explain=grad_cam is for networks with several convolutions that see pictures, not codes")
    method = method or ("grad_cam" if possible and (data.resize or x.shape[-1]) > SMALL else "occlusion")
    maps = (grad_cam(task, data.seen(x)) if method == "grad_cam" else occlusion(task, data, x)).clamp_min(0)
    maps = F.interpolate(maps[:, None], x.shape[2:], mode="bilinear", align_corners=False)[:, 0]
    return METHODS[method], maps / maps.amax((1, 2), keepdim=True).clamp_min(1e-12)


def grad_cam(task: Classify, x: Tensor) -> Tensor:
    """Maps [B, h, w]: the last feature maps of a network, weighted by the class's gradient by them, and added up.

    Each place has its own weight, since fully connected layers treat places differently (HiResCAM, Draelos and Carin
    2020); where a mean over all places follows, as in the fine-tuned networks, that is Grad-CAM itself.
    x: what the network sees. The last maps are the last output [B, C, h, w] of any of its modules that has several
    places, so after the activation and before the mean over all places. Source: Selvaraju et al. 2017.
    """
    last: list[Tensor] = []

    def keep(module: nn.Module, inputs: Any, output: Any) -> None:
        if isinstance(output, Tensor) and output.dim() == 4 and (min(output.shape[2:]) >= PLACES or not last):
            last[:] = [output]

    with ExitStack() as hooks, torch.enable_grad():
        for module in task.net.modules():
            hooks.callback(module.register_forward_hook(keep).remove)
        logits = task(x.clone().requires_grad_())  # frozen weights alone would leave no graph
        # the one logit of two classes says by its sign which of them it is
        top = logits.abs() if task.binary else logits.max(1).values
        (gradient,) = torch.autograd.grad(top.sum(), last)
    return (gradient * last[0]).sum(1).detach().float()


@torch.inference_mode()
def occlusion(task: Classify, data: DataModule, x: Tensor) -> Tensor:
    """Maps [B, n, n]: by how much the logarithm of the class's probability drops where a window hides a place.

    x: uint8 [B, C, H, W]. What is hidden gets the median of its picture, which is mostly the ground.
    Source: Zeiler and Fergus 2014.
    """
    height, width = x.shape[2:]
    ground = x.flatten(2).median(2).values[:, :, None, None]
    p = task.probabilities(data.seen(x))
    k = p.argmax(1, keepdim=True)
    n = 2 * WINDOWS
    drops = torch.zeros(len(x), n, n)
    for i in range(n):
        for j in range(n):
            hidden = x.clone()
            top, left = round(height * (i - 0.5) / n), round(width * (j - 0.5) / n)
            part = hidden[:, :, max(top, 0) : top + 2 * height // n, max(left, 0) : left + 2 * width // n]
            part.copy_(ground.expand_as(part))
            drops[:, i, j] = (p.gather(1, k) / task.probabilities(data.seen(hidden)).gather(1, k)).log()[:, 0].cpu()
    return drops.nan_to_num()
