"""A font's letters, to compose pages of, and what tells them apart without a network."""

import math
import string
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
from scipy import ndimage

from dlcourse.data.synthetic import draw_glyph, fonts
from dlcourse.reading import Form, Hand, fit
from dlcourse.reading.handwriting import draw

Array = np.ndarray[Any, Any]

CLASSES = list(string.ascii_uppercase + string.digits)
FORM = Form(32, 24.0, 2.6, True, [(0.0, math.inf)] * len(CLASSES))
ALIKE = str.maketrans("0125", "OIZS")


def alike(text: str) -> str:
    """With one character for those that many write alike."""
    return text.translate(ALIKE)


@cache
def letters() -> dict[str, Array]:
    """For each character one image, float [1, 64, 64], 1 for ink."""
    font = fonts(48)[0]
    return {c: np.asarray(draw_glyph(font, c), np.float32)[None] / 255 for c in CLASSES}


@cache
def nearest() -> tuple[Callable[[Array], Array], Form]:
    """The font's letters, upright and slanted, as a reader: the class of the one that an image resembles most, and the
    form that says how high and wide they are."""
    rng, upright = np.random.default_rng(0), Hand(height=64, jitter=0)
    hands = [replace(upright, slant=slant) for slant in (-12.0, 0.0, 12.0)]
    drawn = [[draw(letters()[c], hand, rng, c) for c in CLASSES] for hand in hands]
    known = np.stack([direction(np.stack([fit(image, FORM) for image in row])) for row in drawn])
    slender = np.log([[image.shape[0] / image.shape[1] for image in row] for row in drawn])

    def classify(images: Array) -> Array:
        likeness = np.exp(40 * (direction(images) @ known.transpose(0, 2, 1) - 1)).max(0)
        out: Array = likeness / (likeness.sum(1, keepdims=True) + 0.01)
        return out

    return classify, replace(FORM, slender=list(zip(slender.mean(0), np.maximum(slender.std(0), 0.1), strict=True)))


def direction(images: Array) -> Array:
    """Images, uint8 [N, side, side] and dark on light, blurred and as vectors of length 1."""
    ink = ndimage.gaussian_filter(255.0 - images, (0, 1.5, 1.5)).reshape(len(images), -1)
    out: Array = ink / np.maximum(np.linalg.norm(ink, axis=1, keepdims=True), 1e-6)
    return out
