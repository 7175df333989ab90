"""From a photo to its ink: light and paper divided out, dark on light or light on dark, a mask of the strokes."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps
from scipy import ndimage
from skimage.filters import apply_hysteresis_threshold, threshold_otsu
from skimage.morphology import convex_hull_image, skeletonize

from dlcourse.core.errors import InputError, first_line
from dlcourse.data.photos import deep_values

Array = np.ndarray[Any, Any]

SIDE = 2400  # pixels of a page's longer side: letters are read with some 24 of them
COARSE = 480  # pixels of its longer side are enough to see which is ink and how broad strokes are
WINDOW = 1 / 20  # of the longer side: most strokes are narrower than that, and light changes little within it
FAINTEST = 0.06  # ink takes at least this share of the paper's light
SURE, WEAK = 0.6, 0.35  # of the page's usual ink: where a stroke is sure, and how far it goes from there


@dataclass(frozen=True)
class Ink:
    """darkness: float32 [H, W] from 0 for paper to 1, 0.5 at a stroke's edge. mask: bool [H, W], the strokes."""

    darkness: Array
    mask: Array


def load(path: Path) -> tuple[Array, float]:
    """A photo's file as `to_page` gives it. Raises InputError for what is no picture."""
    try:
        with Image.open(path) as image:
            return to_page(image)
    except FileNotFoundError:
        raise InputError(f"page={path}: there is no such file") from None
    except Exception as error:  # Pillow's decoders raise nearly anything
        raise InputError(f"page={path} can't be read as a picture: {first_line(error)}") from None


def to_page(image: Image.Image, side: int = SIDE) -> tuple[Array, float]:
    """A photo in grey, float32 [H, W] from 0 to 1, upright as its camera says, its longer side `side` at most; and how
    many of the photo's own pixels one of these is wide."""
    upright = ImageOps.exif_transpose(image)
    if upright.mode.startswith(("I", "F")):  # 16 bits or floats: Pillow would cut them off at 255
        values = deep_values(upright).astype(np.float32)
        span = float(np.ptp(values)) or 1.0
        upright = Image.fromarray(((values - values.min()) * (255 / span)).astype(np.uint8))
    elif upright.mode in ("RGBA", "LA", "PA") or "transparency" in upright.info:
        upright = upright.convert("RGBA")
        drawn = np.asarray(upright.convert("L"))[np.asarray(upright.getchannel("A")) > 127]
        paper = "black" if drawn.size and drawn.mean() > 127 else "white"  # white ink isn't for white paper
        upright = Image.alpha_composite(Image.new("RGBA", upright.size, paper), upright)
    grey = upright.convert("L")
    full = max(grey.size)
    grey.thumbnail((side, side), Image.Resampling.BOX)
    return np.asarray(grey, dtype=np.float32) / 255, full / max(grey.size)


def find_ink(page: Array) -> Ink | None:
    """The ink of a page, float32 [H, W] from 0 to 1; None where there is nothing but paper.

    White on black is turned into black on white. A coarse look with a wide window shows how broad strokes are; the
    window that then divides out light and shadow is no wider than they need.
    """
    page = paper_only(page)
    small = ndimage.zoom(page, min(1, COARSE / max(page.shape)), order=1) if min(page.shape) > 1 else page
    smooth, rough = (ndimage.gaussian_filter(p, 1.0) for p in (page, small))
    wide = max(small.shape) // 3 | 1
    if light_on_dark(rough, wide):
        smooth, rough = 1 - smooth, 1 - rough
    first = strokes(rough, wide)
    pen = breadth(first.mask) * max(page.shape) / max(small.shape) if first else 0
    return strokes(smooth, round(max(15, max(page.shape) * WINDOW, 2.5 * pen)) | 1)


def strokes(page: Array, window: int) -> Ink | None:
    """What is darker than its surroundings and narrower than a window.

    Paper is what a grey closing leaves: it fills what is dark and narrow, and follows light and shadow, even a
    shadow's edge. Ink is the share of the paper's light that is missing.
    """
    bright = closing(page, window)
    missing = (bright - page) / np.maximum(bright, 0.05)
    paper = float(np.median(missing))  # noise makes the brightest of a window brighter than paper is
    noise = 1.4826 * float(np.median(np.abs(missing - paper)))
    missing -= paper
    faintest = max(FAINTEST, 8 * noise)
    candidates = missing[missing > faintest / 2]
    if not candidates.size or candidates.max() < faintest:
        return None
    usual = float(np.median(candidates[candidates >= otsu(candidates)]))
    if usual < faintest:
        return None
    weak = max(WEAK * usual, faintest / 2)
    mask = apply_hysteresis_threshold(missing, weak, max(SURE * usual, weak))
    return Ink(np.clip(missing / (2 * weak), 0, 1), mask)


def breadth(mask: Array) -> float:
    """How broad strokes are, in pixels, at half of their middle line or more."""
    middle = skeletonize(mask)
    return float(np.median(2 * ndimage.distance_transform_edt(mask)[middle])) if middle.any() else 0.0


def paper_only(page: Array, coarse: int = 160) -> Array:
    """The page where a sheet of paper lies on something much darker: that is replaced by the sheet's mean.

    A sheet is the largest bright part of the coarse picture, without dents, with dark on three sides of the photo.
    """
    step = max(1, max(page.shape) // coarse)
    first = min(step, *page.shape) // 2
    small = ndimage.median_filter(page[first::step, first::step], 9)
    bright = small > otsu(small)
    sides = [side.mean() for side in (bright[0], bright[-1], bright[:, 0], bright[:, -1])]
    if sum(share < 0.3 for share in sides) < 3 or small[bright].mean() < 2 * small[~bright].mean():
        return page
    labels, _ = ndimage.label(bright)
    sheet = labels == np.bincount(labels[bright]).argmax()
    hull = convex_hull_image(sheet)
    if sheet.sum() < max(0.85 * hull.sum(), 0.1 * sheet.size):
        return page
    inside = ndimage.binary_erosion(hull, iterations=2)
    large = np.kron(inside, np.ones((step, step), bool))
    large = np.pad(large, [(0, max(0, n - m)) for n, m in zip(page.shape, large.shape, strict=True)])
    return np.where(large[: page.shape[0], : page.shape[1]], page, np.float32(small[sheet].mean()))


def otsu(values: Array) -> float:
    """Otsu's threshold; below all values where they hardly differ."""
    return float(threshold_otsu(values)) if np.ptp(values) > 1e-3 else float(values.min()) - 1e-3


def closing(page: Array, window: int) -> Array:
    """A grey closing by a square; beyond its border the page goes on as it ends, so that a gradient leaves no rim."""
    half = min(window, min(page.shape) - 1)
    wider = np.pad(page, half, mode="reflect", reflect_type="odd")
    closed: Array = ndimage.minimum_filter(ndimage.maximum_filter(wider, window), window)
    return closed[half : half + page.shape[0], half : half + page.shape[1]]


def light_on_dark(page: Array, window: int) -> bool:
    """Whether strokes are lighter than what lies around them.

    They take less than half of it, so they make the differences from the local mean skewed; a gradient and a shadow's
    edge don't.
    """
    difference = page - ndimage.uniform_filter(page, window)
    return bool((difference**3).mean() > 0)
