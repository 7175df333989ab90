"""Figures of pictures: how rough and how local weight images are, how sharp and how like what comes back is."""

import numpy as np
import torch
from torch import Tensor
from torchmetrics.functional.image import structural_similarity_index_measure

from dlcourse import plots


def neighbour_differences(images: plots.Array, inside: plots.Array | None = None) -> plots.Array:
    """Differences of pixels to their neighbours on the right and below: float [N, pairs].

    images: [N, H, W]. inside: bool [H, W], both pixels of a pair have to be there.
    """
    inside = np.ones(images.shape[1:], bool) if inside is None else inside
    down, right = inside[1:] & inside[:-1], inside[:, 1:] & inside[:, :-1]
    vertical, horizontal = np.diff(images, axis=1)[:, down], np.diff(images, axis=2)[:, right]
    return np.concatenate([vertical, horizontal], axis=1)


def roughness(images: plots.Array, inside: plots.Array | None = None) -> float:
    """How much neighbouring pixels differ: 1 as in white noise, near 0 where they are smooth; the images' mean.

    images: [N, H, W]. inside: bool [H, W], the pixels that count. It is the mean squared difference of neighbours over
    twice the mean square of a pixel.
    """
    everywhere = np.ones(images.shape[1:], bool) if inside is None else inside
    differences = neighbour_differences(images, inside)
    return float(np.mean((differences**2).mean(1) / (2 * (images[:, everywhere] ** 2).mean(1))))


def spread(images: plots.Array) -> float:
    """The share of an image that holds half of its squares: from 0 for a spot, .12 in Gaussian noise, to .5 where all
    pixels are alike; the mean over images [N, H, W]."""
    squares = np.sort(images.reshape(len(images), -1) ** 2, axis=1)[:, ::-1]
    shares = squares.cumsum(1) / squares.sum(1, keepdims=True)
    return float(((shares < 0.5).sum(1) + 1).mean() / squares.shape[1])


def sharpness(back: Tensor, x: Tensor) -> float:
    """The energy of neighbours' differences in what comes back, as a share of that in the originals [N, H, W]; below 1
    where it is blurred."""
    energies = [(neighbour_differences(images.numpy()) ** 2).sum() for images in (back, x)]
    return float(energies[0] / energies[1])


def copied(back: Tensor, x: Tensor) -> float:
    """The share of the variance of images [N, ...] that comes back: 1 for a copy, 0 for their mean, below for worse."""
    return 1 - float((back - x).square().mean() / (x - x.mean(0)).square().mean())


@torch.no_grad()
def similarity(back: Tensor, x: Tensor) -> float:
    """SSIM of grey images [N, H, W] in [0, 1], cut to that range: 1 for the same image."""
    index = structural_similarity_index_measure(back.clamp(0, 1)[:, None], x[:, None], data_range=1.0)
    assert isinstance(index, Tensor)
    return float(index)
