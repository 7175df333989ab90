"""Pages made of a data set's letters, so with a known text: to test on, to choose thresholds, pages that go wrong."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy import ndimage
from skimage.morphology import skeletonize

from dlcourse.reading.ink import Array


@dataclass(frozen=True)
class Hand:
    """How a page is written and photographed. Lengths are shares of `height`, the letters' height in pixels.

    gap, space, leading: between letters, words and lines. jitter: of sizes and base lines. slant, tilt: of letters and
    lines, in degrees. pen: a stroke's thickness. broken: the probability of a gap in a letter's strokes.
    ink: how much darker than the paper, 0 to 1. shadow: how much light is missing in a corner, with an edge across
    the page. noise: standard deviation of a pixel, 0 to 1. blur: in pixels. negative: white on black. stops: full
    stops behind single digits.
    """

    height: int = 80
    gap: float = 0.35
    space: float = 1.2
    leading: float = 0.9
    margin: float = 1.2
    jitter: float = 0.08
    slant: float = 0.0
    tilt: float = 0.0
    pen: float = 0.09
    broken: float = 0.0
    ink: float = 0.6
    shadow: float = 0.0
    noise: float = 0.01
    blur: float = 0.8
    negative: bool = False
    stops: bool = False


def compose(text: str, letters: Mapping[str, Array], hand: Hand, rng: np.random.Generator) -> Array:
    """A page with a text, float32 [H, W] from 0 to 1.

    letters: for each character images float [N, side, side], 1 for ink; one is drawn for each letter.
    """
    h = hand.height
    drawn = [[draw(letters[c], hand, rng, c) if c != " " else None for c in line] for line in text.split("\n")]
    placed: list[tuple[int, int, Array]] = []
    y, widest = 0.0, 0.0
    for line in drawn:
        x = hand.margin * h
        for shape in line:
            if shape is None:
                x += (hand.space - hand.gap) * h
                continue
            sink = rng.uniform(-hand.jitter, hand.jitter) * h + np.tan(np.radians(hand.tilt)) * x
            placed.append((round(y + h - shape.shape[0] + sink), round(x), shape))
            x += shape.shape[1] + (hand.gap + rng.uniform(-0.3, 0.3) * abs(hand.gap)) * h
        widest = max(widest, x)
        y += (1 + hand.leading) * h
    above = min([top for top, _, _ in placed], default=0) - round(hand.margin * h)
    below = max([top + s.shape[0] for top, _, s in placed], default=0)
    ink = np.zeros((round(below - above + hand.margin * h), round(widest + hand.margin * h)), np.float32)
    for top, left, shape in placed:
        where = np.s_[top - above : top - above + shape.shape[0], left : left + shape.shape[1]]
        ink[where] = np.maximum(ink[where], shape)
    return photographed(ink, hand, rng)


def draw(images: Array, hand: Hand, rng: np.random.Generator, character: str) -> Array:
    """One of the images as a letter of the hand's height and pen, float [h, w], cropped to its ink."""
    strokes = images[rng.integers(len(images))]
    size = hand.height * (1 + rng.uniform(-hand.jitter, hand.jitter))
    tall = np.ptp(np.flatnonzero((strokes > 0.5).any(1))) + 1
    large = ndimage.zoom(np.pad(strokes, 2), size / tall, order=1)
    if hand.slant:
        shear = np.tan(np.radians(hand.slant))
        middle = large.shape[0] / 2
        room = int(abs(shear) * large.shape[0]) + 1
        large = np.pad(large, ((0, 0), (room, room)))
        large = ndimage.affine_transform(large, [[1, 0], [shear, 1]], [0, -shear * middle], order=1)
    large = ndimage.gaussian_filter(large, hand.height / 60)
    line = skeletonize(large > 0.5)
    wanted = hand.pen * hand.height / 2
    distance = ndimage.distance_transform_edt(~line)
    if rng.random() < hand.broken:
        distance = np.where(gap(line, 1.3 * wanted, rng), np.inf, distance)
    shape = np.clip(wanted - distance + 0.5, 0, 1)
    rows, columns = np.flatnonzero(shape.any(1)), np.flatnonzero(shape.any(0))
    shape = shape[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    if hand.stops and character.isdigit():
        side = max(3, round(1.5 * hand.pen * hand.height))
        shape = np.pad(shape, ((0, 0), (0, 3 * side)))
        shape[-side:, -side:] = 1
    return shape.astype(np.float32)


def gap(line: Array, reach: float, rng: np.random.Generator) -> Array:
    """A band across a letter, bool, straight through a point of its middle line."""
    at = rng.permutation(np.argwhere(line))[0]
    angle = rng.uniform(0, np.pi)
    rows, columns = np.indices(line.shape)
    band: Array = np.abs((rows - at[0]) * np.cos(angle) + (columns - at[1]) * np.sin(angle)) < reach
    return band


def photographed(ink: Array, hand: Hand, rng: np.random.Generator) -> Array:
    """Ink on paper, float [H, W] from 0 to 1, in the light that there was."""
    rows, columns = (np.linspace(-1, 1, n, dtype=np.float32) for n in ink.shape)
    rows, columns = rows[:, None], columns[None, :]
    light = 0.85 - 0.08 * (rows**2 + columns**2)
    if hand.shadow:
        light = light * (1 - hand.shadow * (columns + 0.5 * rows > 0.3)) * (1 - 0.3 * hand.shadow * (columns + 1) / 2)
    page = light * (1 - hand.ink * ink)
    if hand.negative:
        page = 1 - page
    page = ndimage.gaussian_filter(page, hand.blur) + rng.normal(0, hand.noise, ink.shape)
    return np.clip(page, 0, 1).astype(np.float32)
