"""Pictures as uint8 arrays [H, W, 3], made in milliseconds: for what is looked at while a network is trained.

The Figures of the other modules have axes, titles and fonts for any script, and take a tenth of a second.
"""

from collections.abc import Sequence
from functools import cache

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from dlcourse.plots.images import as_images, mosaic
from dlcourse.plots.style import BLUES, SIGNED, Array

LINE, SIDE = 14, 56  # pixels: a line of text; what small pictures are enlarged to


@cache
def _font() -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(11)


def tiles(images: Array, captions: Sequence[str] = (), columns: int = 8) -> Array:
    """Images (see `plots.images`) in rows of `columns`, small ones enlarged, each with its caption above it."""
    pictures = as_images(images)
    if pictures.ndim == 3:
        pictures = pictures[..., None].repeat(3, axis=-1)
    return _sheet(_resized(pictures), captions, columns)


def weight_tiles(weights: Array, limit: int = 64) -> Array:
    """weights [n, C, H, W] with C 1 (blue below 0, white, red above) or 3 (grey is 0); a unit a tile, one scale."""
    w = weights[:limit]
    peak = float(np.quantile(np.abs(w), 0.998)) or 1.0
    if w.shape[1] == 3:
        return _sheet(_resized(np.clip(0.5 + 0.5 * w / peak, 0, 1).transpose(0, 2, 3, 1)), (), 8)
    return _sheet(_resized(SIGNED(np.clip(0.5 + 0.5 * w[:, 0] / peak, 0, 1))[..., :3]), (), 8)


def confusion_tile(matrix: Array, classes: Sequence[str]) -> Array:
    """A confusion matrix [K, K]: the share of each class (rows) that is taken for each (columns); darker is more."""
    share = matrix / np.maximum(matrix.sum(1, keepdims=True), 1)
    cell = max(300 // len(matrix), LINE if len(matrix) <= 40 else 4)
    body = BLUES(share)[..., :3].repeat(cell, 0).repeat(cell, 1)
    names = [str(name)[:12] for name in classes]
    left = 8 + max(int(_font().getlength(name)) for name in names)
    canvas = Image.new("RGB", (left + body.shape[1], LINE + body.shape[0]), "white")
    canvas.paste(_picture(body), (left, LINE))
    draw = ImageDraw.Draw(canvas)
    for i, name in enumerate(names):
        middle = round((i + 0.5) * cell)
        if cell >= LINE:
            draw.text((left - 4, LINE + middle), name, "black", _font(), "rm")
        if _font().getlength(name) <= cell:
            draw.text((left + middle, LINE // 2), name, "black", _font(), "mm")
        if cell >= 24:
            for j, count in enumerate(matrix[i]):
                ink = "white" if share[i, j] > 0.5 else "black"
                if count:
                    draw.text((left + (j + 0.5) * cell, LINE + middle), str(int(count)), ink, _font(), "mm")
    return np.asarray(canvas)


def _resized(pictures: Array) -> Array:
    """Pictures [n, H, W, 3] with sides near SIDE: small ones in whole multiples, large ones thinned out."""
    side = max(pictures.shape[1:3])
    finer, coarser = max(SIDE // side, 1), max(side // (2 * SIDE), 1)
    return pictures.repeat(finer, 1).repeat(finer, 2)[:, ::coarser, ::coarser]


def _sheet(pictures: Array, captions: Sequence[str], columns: int) -> Array:
    sheet, corners = mosaic(pictures, columns, fill=1.0, above=LINE if captions else 0)
    canvas = _picture(sheet)
    draw = ImageDraw.Draw(canvas)
    for (top, left), caption in zip(corners, captions, strict=False):
        draw.text((left, top - LINE), caption, "black", _font())
    return np.asarray(canvas)


def _picture(colours: Array) -> Image.Image:
    return Image.fromarray((255 * colours + 0.5).astype(np.uint8))
