"""Reconstruction: an image through a narrow code and back, from the image itself or from a noisy copy of it."""

import math
from typing import Any

import torch
from torch import Tensor
from torchmetrics import MeanMetric, Metric

from dlcourse.tasks.task import Batch, Task

EVAL_NOISE_SEED = 20220321  # the same noise for every evaluation, so that figures can be compared


def add_noise(
    x: Tensor,
    kind: str,
    probability: float,
    std: float = 1.0,
    clip: bool = False,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Images with noise in each pixel with `probability`: `gaussian` adds std·N(0, 1), `masking` sets it to 0.

    x: any shape, in [0, 1]. clip: back into [0, 1]. generator: None for torch's global one.
    Source: CS671 assignment 2 (2022), question 3: noise drawn anew in each epoch, the clean image as the target.
    """
    hit = torch.rand(x.shape, generator=generator, device=x.device) < probability
    if kind == "masking":
        return x.masked_fill(hit, 0.0)
    noisy = x + hit * torch.randn(x.shape, generator=generator, device=x.device) * std
    return noisy.clamp(0, 1) if clip else noisy


class Reconstruct(Task):
    """How well does an autoencoder give its input back?

    loss: mean squared error a pixel, from the (noisy, where `noise` is on) input to the clean image.
    psnr: 10·log10(1/MSE) in dB for images in [0, 1], averaged over images.
    In validation and test `loss` and `psnr` are from clean inputs, `noisy_loss` from noisy ones.
    """

    names = ("loss", "psnr", "noisy_loss")

    def __init__(
        self,
        net: dict[str, Any],
        optimizer: dict[str, Any],
        schedule: dict[str, Any] | None = None,
        monitor: str = "val/loss",
        reduction: str = "mean",
        noise: str = "none",
        noise_probability: float = 0.0,
        noise_std: float = 1.0,
        noise_clip: bool = False,
    ) -> None:
        super().__init__(net, optimizer, schedule, monitor, reduction)
        self.noise = None if noise == "none" else (noise, noise_probability, noise_std, noise_clip)
        self.metrics = torch.nn.ModuleDict({"psnr": MeanMetric(), "noisy_loss": MeanMetric()})

    def step(self, batch: Batch, stage: str) -> tuple[Tensor, tuple[Tensor, ...]]:
        x, _ = batch
        if stage == "train":
            source = (
                add_noise(x, *self.noise) if self.noise else x
            )  # from the global generator: seeded each epoch
            errors = (self.net(source) - x).square().flatten(1).mean(1)
            return errors.mean(), (errors.detach(),)
        errors = (self.net(x) - x).square().flatten(1).mean(1)
        if not self.noise:
            return errors.mean(), (errors.detach(),)
        source = self.with_noise(x, len(self.records[stage]))
        noisy = (self.net(source) - x).square().flatten(1).mean(1)
        return errors.mean(), (errors.detach(), noisy.detach())

    def with_noise(self, x: Tensor, batch: int) -> Tensor:
        """Images with the noise that the evaluation's batch number `batch` always has."""
        assert self.noise is not None
        generator = torch.Generator(x.device).manual_seed(EVAL_NOISE_SEED + batch)
        return add_noise(x, *self.noise, generator=generator)

    def update(self, *record: Tensor) -> dict[str, Metric]:
        errors, *noisy = record
        self.metrics["psnr"].update(-10 / math.log(10) * errors.clamp_min(1e-12).log())
        if not noisy:
            return {"psnr": self.metrics["psnr"]}
        self.metrics["noisy_loss"].update(noisy[0])
        return dict(self.metrics.items())
