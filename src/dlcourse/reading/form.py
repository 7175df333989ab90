"""The form of a data set's letters (their size in the frame, how thick their strokes are), and ink brought into it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage
from skimage.morphology import skeletonize

from dlcourse.reading.ink import Array

FINE = 4  # letters are shaped at so many times their size


@dataclass(frozen=True)
class Form:
    """What letters look like to a network, in pixels: an image's side, the longer side of a letter in it, and the
    thickness of its strokes. dark: dark on light. slender: for each class how much higher than wide its letters are,
    as log(height / width): mean and standard deviation. centre: the row and column where their ink's centre of mass
    lies, of letters that are centred by it, as MNIST's; None where each stands in the middle."""

    side: int
    extent: float
    thickness: float
    dark: bool
    slender: Sequence[tuple[float, float]]
    centre: Sequence[float] | None = None


def measure(images: Array, labels: Array, classes: int) -> Form:
    """The form of images, uint8 [N, side, side], one letter each: medians over those that show one."""
    edges = np.concatenate([images[:, 0], images[:, -1], images[:, :, 0], images[:, :, -1]], axis=1)
    dark = bool(np.median(edges) > 127)
    strokes = (images < 128) == dark
    shown = strokes.any(axis=(1, 2))
    strokes, labels = strokes[shown], labels[shown]
    sizes = np.array([[np.ptp(np.flatnonzero(s.any(axis))) + 1 for axis in (1, 0)] for s in strokes])
    slender = np.log(sizes[:, 0] / sizes[:, 1])
    of_class = [slender[labels == k] for k in range(classes)]
    return Form(
        side=images.shape[-1],
        extent=float(np.median(sizes.max(1))),
        thickness=float(np.median([thickness(s) for s in strokes])),
        dark=dark,
        slender=[(float(v.mean()), float(v.std())) if len(v) > 1 else (0.0, math.inf) for v in of_class],
        centre=common_centre(strokes),
    )


def common_centre(strokes: Array) -> list[float] | None:
    """Where the centres of mass of strokes, bool [N, H, W], lie; None where they differ nearly as much as the middles
    of their boxes."""
    masses = np.array([ndimage.center_of_mass(s) for s in strokes])
    middles = np.array([[(n[0] + n[-1]) / 2 for n in map(np.flatnonzero, (s.any(1), s.any(0)))] for s in strokes])
    common = 2 * masses.std(0).sum() < middles.std(0).sum()
    return [float(v) for v in masses.mean(0)] if common else None


def thickness(strokes: Array) -> float:
    """The mean thickness of strokes, bool [H, W], in pixels: their area over the length of their middle line."""
    line = skeletonize(strokes)
    return float(strokes.sum() / max(1, line.sum()))


def fit(darkness: Array, form: Form) -> Array:
    """A letter's ink, float [h, w] with 1 for ink and 0 for paper, as an image of that form, uint8 [side, side].

    The middle lines are scaled to the form's extent, and strokes made thicker or thinner to its thickness: by the
    same distance all around, as the distance transform gives it.
    """
    rough = darkness > 0.5
    if not rough.any():
        return np.full((form.side, form.side), 255 if form.dark else 0, np.uint8)
    rows, columns = np.flatnonzero(rough.any(1)), np.flatnonzero(rough.any(0))
    darkness = darkness[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    pen = min(thickness(rough), *darkness.shape)
    longer = max(max(darkness.shape) - pen, 1.0)
    scale = FINE * (form.extent - form.thickness) / longer
    room = math.ceil(pen * scale / 2)  # broad strokes reach beyond the frame, before they are made thinner
    canvas = centred(darkness, scale, FINE * form.side + 2 * room)
    strokes = canvas > min(0.5, float(canvas.max()) / 2)
    outward = FINE * form.thickness - pen * scale  # how much thicker they have to be
    outside, inside = ndimage.distance_transform_edt(~strokes), ndimage.distance_transform_edt(strokes)
    shaped = outside - inside <= outward / 2
    if outward < 0:  # what is thinner than the rest doesn't vanish
        middle = ndimage.distance_transform_edt(~skeletonize(strokes))
        shaped |= (middle <= FINE * form.thickness / 3) & strokes
    framed = shaped[room : room + FINE * form.side, room : room + FINE * form.side]
    fine = framed.reshape(form.side, FINE, form.side, FINE).mean((1, 3))
    if form.centre:
        shift = np.rint(np.array(form.centre) - ndimage.center_of_mass(fine)).astype(int)
        fine = ndimage.shift(fine, shift, order=0)
    ink = np.rint(255 * fine).astype(np.uint8)
    return 255 - ink if form.dark else ink


def centred(darkness: Array, scale: float, side: int) -> Array:
    """An image scaled and put into the middle of a square, smoothed first where it shrinks."""
    if scale < 1:
        darkness = ndimage.gaussian_filter(darkness, 0.4 / scale)
    middle = (np.array(darkness.shape) - 1) / 2
    offset = middle - (side - 1) / 2 / scale
    out: Array = ndimage.affine_transform(
        darkness, [1 / scale] * 2, offset, (side, side), order=1, mode="grid-constant"
    )
    return out
