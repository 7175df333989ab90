"""Augmentation of whole batches on their device: each image has its own draw, from a generator that is given."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

Draw = Callable[[float, float], Tensor]  # a random number between two bounds for each image, [B]


@dataclass(eq=False)
class Augment:
    """Random changes of a batch of images, float32 [B, C, H, W] in [0, 1].

    Geometry (shift, rotate, shear, scale, crop) is one affine map an image and one bilinear resampling; what comes
    in from outside the frame repeats the border, so that paper stays white and a black ground black. Strokes are what
    differs from the border: darker or lighter.
    Arguments: see `data.augment` in conf/train.yaml; 0 and false are off.
    """

    flip: bool = False
    shift: float = 0.0
    rotate: float = 0.0
    shear: float = 0.0
    scale: float = 0.0
    crop: float = 0.0
    thickness: float | None = None
    cutout: float = 0.0
    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0

    def __bool__(self) -> bool:
        return any(bool(value) for value in vars(self).values())

    def __call__(self, x: Tensor, generator: Generator) -> Tensor:
        def draw(low: float, high: float) -> Tensor:
            return low + (high - low) * torch.rand(len(x), device=x.device, generator=generator)

        if self.flip:
            x = torch.where((draw(0, 1) < 0.5)[:, None, None, None], x.flip(-1), x)
        if any((self.shift, self.rotate, self.shear, self.scale, self.crop)):
            x = self._geometry(x, draw)
        if self.thickness:
            x = self._thickness(x, self.thickness, draw)
        if any((self.brightness, self.contrast, self.saturation)):
            x = self._colour(x, draw)
        if self.cutout:
            x = self._cutout(x, draw)
        return x

    def _geometry(self, x: Tensor, draw: Draw) -> Tensor:
        """One map an image from places in the result to places in the source, both in [-1, 1]."""
        height, width = x.shape[-2:]
        aspect = width / height
        angle = about_zero(draw, self.rotate * math.pi / 180)
        shear = torch.tan(about_zero(draw, self.shear * math.pi / 180))
        zoom = 1 / (1 + about_zero(draw, self.scale))  # larger objects: a smaller part of the source is seen
        window = torch.sqrt(1 - draw(0, self.crop))  # side of the window that is enlarged
        size = zoom * window
        cos, sin = torch.cos(angle), torch.sin(angle)
        # in units of the height on both axes, so that a rotation of an oblong image is one
        a, b = size * cos, size * (cos * shear - sin)
        c, d = size * sin, size * (sin * shear + cos)
        dx = 2 * about_zero(draw, self.shift) + (1 - window) * about_zero(draw, 1.0)
        dy = 2 * about_zero(draw, self.shift) + (1 - window) * about_zero(draw, 1.0)
        theta = torch.stack([torch.stack([a, b / aspect, dx], 1), torch.stack([c * aspect, d, dy], 1)], 1)
        grid = F.affine_grid(theta.to(x.dtype), list(x.shape), align_corners=False)
        return F.grid_sample(x, grid, mode="bilinear", padding_mode="border", align_corners=False)

    def _thickness(self, x: Tensor, most: float, draw: Draw) -> Tensor:
        """Strokes thicker or thinner by up to so many pixels: grey dilations and erosions by a cross of 3×3.

        Each of them changes a stroke by 2 pixels; of the last one a share is blended in.
        """
        edges = (x[..., 0, :], x[..., -1, :], x[..., :, 0], x[..., :, -1])
        sign = torch.where(torch.cat(edges, -1).mean((1, 2)) > 0.5, -1.0, 1.0)[:, None, None, None]  # -1: dark strokes
        steps = (about_zero(draw, most) / 2)[:, None, None, None]
        ink = x * sign * torch.where(steps < 0, -1.0, 1.0)  # a stroke gets thinner where its ground grows
        for k in range(math.ceil(most / 2)):
            grown = torch.maximum(F.max_pool2d(ink, (3, 1), 1, (1, 0)), F.max_pool2d(ink, (1, 3), 1, (0, 1)))
            ink = torch.lerp(ink, grown, (steps.abs() - k).clamp(0, 1))
        return ink * sign * torch.where(steps < 0, -1.0, 1.0)

    def _colour(self, x: Tensor, draw: Draw) -> Tensor:
        def factor(amount: float) -> Tensor:
            return (1 + about_zero(draw, amount))[:, None, None, None]

        if self.brightness:
            x = x * factor(self.brightness)
        if self.contrast:
            mean = x.mean((1, 2, 3), keepdim=True)
            x = mean + (x - mean) * factor(self.contrast)
        if self.saturation and x.shape[1] == 3:
            grey = (x * x.new_tensor([0.299, 0.587, 0.114])[None, :, None, None]).sum(1, keepdim=True)
            x = grey + (x - grey) * factor(self.saturation)
        return x.clamp(0, 1)

    def _cutout(self, x: Tensor, draw: Draw) -> Tensor:
        """A square anywhere, over the edge too, filled with each channel's mean. Source: DeVries & Taylor 2017."""
        height, width = x.shape[-2:]
        half = self.cutout * min(height, width) / 2
        rows = torch.arange(height, device=x.device)[None, :, None]
        columns = torch.arange(width, device=x.device)[None, None, :]
        middle_row = draw(0, height)[:, None, None]
        middle_column = draw(0, width)[:, None, None]
        hole = ((rows + 0.5 - middle_row).abs() <= half) & ((columns + 0.5 - middle_column).abs() <= half)
        return torch.where(hole[:, None], x.mean((2, 3), keepdim=True), x)


def about_zero(draw: Draw, amount: float) -> Tensor:
    return draw(-amount, amount)


def build_augment(options: dict[str, Any] | None) -> Augment | None:
    """The augmentation that `options` ask for, or None where they ask for nothing."""
    augment = Augment(**(options or {}))
    return augment if augment else None
