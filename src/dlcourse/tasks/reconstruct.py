"""Reconstruction: an image through a narrow code and back, from the image itself or from a noisy copy."""

from typing import Any

import torch
from torch import Tensor
from torchmetrics import MeanMetric, Metric

from dlcourse.tasks.task import Batch, Task

EVAL_NOISE_SEED = 20220321  # with the same eval_batch_size on the same kind of device the noise is the same


def add_noise(
    x: Tensor,
    kind: str,
    probability: float,
    std: float = 1.0,
    clip: bool = False,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Images with noise in each pixel with `probability`: `gaussian` adds std·N(0, 1), `masking` puts 0 there.

    x: any shape, in [0, 1]. clip: back into [0, 1]. generator: None for torch's global one.
    Source: CS671 assignment 2 (2022), question 3: noise anew in each epoch, the clean image as the target.
    """
    hit = torch.rand(x.shape, generator=generator, device=x.device) < probability
    if kind == "masking":
        return x.masked_fill(hit, 0.0)
    noisy = x + hit * torch.randn(x.shape, generator=generator, device=x.device) * std
    return noisy.clamp(0, 1) if clip else noisy


class Reconstruct(Task):
    """How well does an autoencoder give its input back?

    loss: mean squared error a pixel, from the (noisy, where `noise` is on) input to the clean image; with
    `reduction: sum` the gradient is that of the total over pixels and images, as in CMU homework 5, Q5.
    psnr: 10·log10(1/MSE) in dB for images in [0, 1], averaged over images.
    In validation and test `loss` and `psnr` are from clean inputs, `noisy_loss` (where `noise` is on) from noisy.
    """

    names = ("loss", "psnr")

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
        self.psnr = MeanMetric(nan_strategy="disable")
        self.noisy_loss = MeanMetric(nan_strategy="disable")

    def terms(self, batch: Batch) -> int:
        return batch[0].numel()

    def corrupt(self, batch: Batch) -> Batch:
        """With `noise` the second tensor is the noisy copy: from the global generator, which is seeded each epoch."""
        return (batch[0], add_noise(batch[0], *self.noise)) if self.noise else batch

    def step(self, batch: Batch, stage: str) -> tuple[Tensor, tuple[Tensor, ...]]:
        x, noisy = batch
        errors = self._errors(noisy if self.noise and stage == "train" else x, x)
        record = [errors.detach()]
        if self.noise and stage != "train":
            record.append(self._errors(self.with_noise(x, len(self.records[stage])), x).detach())
        return errors.mean(), tuple(record)

    def _errors(self, source: Tensor, x: Tensor) -> Tensor:
        """Mean squared error [B] of the images that come of `source`."""
        return (self(source) - x).square().flatten(1).mean(1)

    def with_noise(self, x: Tensor, batch: int) -> Tensor:
        """Images with the noise that the evaluation's batch number `batch` always has."""
        assert self.noise is not None
        generator = torch.Generator(x.device).manual_seed(EVAL_NOISE_SEED + batch)
        return add_noise(x, *self.noise, generator=generator)

    def update(self, *record: Tensor) -> dict[str, Metric]:
        errors, *noisy = (column.float() for column in record)
        self.psnr.update(-10 * errors.clamp_min(1e-12).log10())
        metrics: dict[str, Metric] = {"psnr": self.psnr}
        if noisy:
            self.noisy_loss.update(noisy[0])
            metrics["noisy_loss"] = self.noisy_loss
        return metrics

    def metric_names(self) -> list[str]:
        return super().metric_names() + (["val/noisy_loss", "test/noisy_loss"] if self.noise else [])
