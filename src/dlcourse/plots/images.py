"""Images side by side: weights, reconstructions, mistakes; a page with its letters.

They are [n, H, W], [n, 1, H, W] or [n, 3, H, W], uint8 or floats in 0..1.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from dlcourse.plots.style import CENTRED, COLOURS, GREY, HALO, INK, NORMAL, SIGNED, SMALL, Array, heading, panel

HEAT = colormaps["inferno"]


def weight_images(
    weights: Array,
    normalise: bool = False,
    columns: int | None = None,
    limit: int = 100,
    title: str = "First-layer weights",
) -> Figure:
    """weights [n, H, W] or [n, C, H, W] with C 1 or 3, a unit an image; blue below 0, white 0, red above.

    All share one scale, -m to m, m the largest absolute weight (its 99.8 % quantile, lest one outlier bleach
    the rest). normalise: each is w/‖w‖, the input of length 1 that excites the unit most (CS671 report).
    With C = 3 they are colours: grey is 0, and each unit has its own scale.
    """
    w = np.asarray(weights, dtype=np.float64)
    if w.ndim == 4 and w.shape[1] == 1:
        w = w[:, 0]
    if w.ndim not in (3, 4) or (w.ndim == 4 and w.shape[1] != 3):
        raise ValueError(f"weights are [n, H, W] or [n, C, H, W] with C 1 or 3, not {list(np.shape(weights))}")
    units = len(w)
    w = w[:limit]
    if normalise:
        norms = np.sqrt((w.reshape(len(w), -1) ** 2).sum(1)).reshape(-1, *[1] * (w.ndim - 1))
        w = w / np.where(norms > 0, norms, 1)
    columns = columns or math.ceil(math.sqrt(len(w)))
    finer = max(30 // w.shape[-1], 1)  # so that the gaps between 3 x 3 kernels stay narrow
    w = w.repeat(finer, axis=-1).repeat(finer, axis=-2)
    colour = w.ndim == 4
    if colour:
        peak = np.abs(w).max((1, 2, 3), keepdims=True)
        w = (0.5 + 0.5 * w / np.where(peak > 0, peak, 1)).transpose(0, 2, 3, 1)
    sheet, _ = mosaic(w, columns, fill=1.0 if colour else np.nan)
    wide = min(max(0.55 * columns, 3.0), 5.5)
    fig, ax = panel(wide + 0.6, wide * sheet.shape[0] / sheet.shape[1] + 0.6)
    if colour:
        ax.imshow(sheet, interpolation="nearest")
    else:
        m = float(np.quantile(np.abs(w), 0.998)) or float(np.abs(w).max()) or 1.0
        shown = ax.imshow(sheet, cmap=SIGNED, vmin=-m, vmax=m, interpolation="nearest")
        bar = fig.colorbar(shown, ax=ax, fraction=0.04, pad=0.02, ticks=[-m, 0, m], shrink=0.6)
        bar.ax.set_yticklabels([f"{-m:.2g}", "0", f"{m:.2g}"])
        bar.outline.set_visible(False)
        bar.ax.tick_params(labelsize=SMALL, length=0, labelcolor=GREY)
    ax.set_axis_off()
    parts = {f"{len(w)} of {units} units": units > len(w), "each w / ‖w‖": normalise, "each on its own scale": colour}
    heading(fig, title, ", ".join(text for text, said in parts.items() if said))
    return fig


def image_grid(
    images: Array,
    captions: Sequence[str] | None = None,
    columns: int | None = None,
    title: str = "",
    subtitle: str = "",
    largest: float = 1.1,
    width: float = 6.6,
    colours: Sequence[str] | None = None,
) -> Figure:
    """Images in a grid, row by row, with a caption above each where there are captions, in its colour of `colours`.

    largest, width: of an image and of a row, in inches.
    """
    pictures = as_images(images)
    if captions is not None and len(captions) != len(pictures):
        raise ValueError(f"{len(captions)} captions for {len(pictures)} images")
    columns = columns or min(max(len(pictures), 1), 8 if pictures.shape[1] <= 64 else 6)
    lines = max((c.count("\n") + 1 for c in captions), default=1) if captions else 0
    cell = min(width / columns, largest)  # inches
    high, wide = pictures.shape[1:3]
    room = round(lines * 0.15 / cell * wide)  # pixels above an image for its caption
    sheet, corners = mosaic(pictures, columns, fill=1.0, above=room)
    ratio = sheet.shape[0] / sheet.shape[1]
    row = cell * min(columns, max(len(pictures), 1))
    fig, ax = panel(max(row, 2.6) + 0.2, row * ratio + (0.55 if title else 0.1))
    draw_sheet(ax, sheet, high)
    for i, (caption, (top, left)) in enumerate(zip(captions or [], corners, strict=False)):
        at = (left + wide / 2 - 0.5, top - 0.5 - 0.02 * high)
        look: dict[str, Any] = {"fontsize": SMALL if columns <= 6 else 7, "color": colours[i] if colours else INK}
        ax.text(*at, caption, ha="center", va="bottom", linespacing=1.1, **look)
    heading(fig, title, subtitle)
    return fig


def reconstructions(
    rows: Mapping[str, Array], columns: Sequence[str] | None = None, title: str = "Reconstructions"
) -> Figure:
    """A row of images for each name, as {"original": ..., "autoencoder": ..., "PCA": ...}, each [n, ...].

    The first row is the reference; the others have their mean squared error to it beside them.
    columns: what each column is, as the classes.
    """
    sets = {name: as_images(images) for name, images in rows.items()}
    shapes = {pictures.shape for pictures in sets.values()}
    if len(shapes) != 1:
        raise ValueError(f"the rows are not of one shape: {', '.join(map(str, shapes)) or 'there are none'}")
    n, height, width = next(iter(sets.values())).shape[:3]
    sheet, corners = mosaic(np.concatenate(list(sets.values())), n, fill=1.0)
    cell = min(6.0 / n, 0.8)
    wide = cell * n
    fig, ax = panel(wide + 2.0, wide * sheet.shape[0] / sheet.shape[1] + (0.7 if columns else 0.5))
    draw_sheet(ax, sheet, height)
    reference = next(iter(sets.values()))
    for i, (name, pictures) in enumerate(sets.items()):
        middle = corners[i * n][0] + height / 2 - 0.5
        ax.text(-0.08 * width, middle, name, ha="right", va="center", fontsize=NORMAL, color=INK)
        if i:
            error = f"MSE {np.mean((pictures - reference) ** 2):.2g}"
            ax.text(sheet.shape[1] + 0.05 * width, middle, error, va="center", fontsize=SMALL, color=GREY)
    for name, (top, left) in zip(columns or [], corners, strict=False):
        at = (left + width / 2 - 0.5, top - 0.5 - 0.05 * height)
        turned = max(len(str(c)) for c in columns or []) * 0.07 > cell
        ax.text(*at, str(name), ha="center", va="bottom", fontsize=SMALL, rotation=90 if turned else 0, color=INK)
    heading(fig, title)
    return fig


def misclassified(
    images: Array,
    true: Array,
    predicted: Array,
    probability: Array,
    classes: Sequence[str],
    limit: int = 24,
    title: str = "Most confident mistakes",
    subtitle: str | None = None,
) -> Figure:
    """The wrongly classified images, most confident first, each with `true → predicted` and its probability.

    images [n, ...]; true, predicted int [n]; probability [n], of the predicted class. Right ones are skipped.
    subtitle: how many are wrong, where the images are not all that were looked at; None counts the ones given.
    """
    true, predicted, probability = np.asarray(true), np.asarray(predicted), np.asarray(probability)
    sizes = [len(images), len(true), len(predicted), len(probability)]
    if len(set(sizes)) > 1:
        raise ValueError(f"images, true, predicted and probability are not of one length: {sizes}")
    wrong = np.flatnonzero(true != predicted)
    subtitle = subtitle or f"{len(wrong):,} of {len(true):,} wrong"
    if not len(wrong):
        fig, ax = panel(3.6, 1.1)
        ax.set_axis_off()
        ax.text(0.5, 0.5, f"no mistake among {len(true):,} images", fontsize=NORMAL, **CENTRED)
        heading(fig, title)
        return fig
    if np.ndim(images) == 4 and np.shape(images)[-1] > 64:
        limit = min(limit, 12)  # photos need room
    chosen = wrong[np.argsort(-probability[wrong], kind="stable")][:limit]
    names = [str(c) for c in classes]
    short = max(map(len, names)) <= 3
    captions = []
    for i in chosen:
        said = f"{names[predicted[i]]}, {100 * probability[i]:.0f} %"
        captions.append(f"{names[true[i]]} → {said}" if short else f"{names[true[i]]}\n→ {said}")
    return image_grid(
        np.asarray(images)[chosen],
        captions,
        columns=None if short else min(len(chosen), 4 if limit <= 12 else 6),
        title=title,
        subtitle=f"true → predicted; {subtitle}",
    )


def contact_sheet(
    images: Array,
    names: Sequence[str],
    classes: Sequence[str],
    probabilities: Sequence[float],
    title: str = "",
    subtitle: str = "",
    sure: float = 0.7,
) -> Figure:
    """Images [n, ...], above each its file's name, its class and how sure that is; in orange where it isn't."""
    columns = min(max(len(images), 1), 10 if len(images) > 24 else 6)
    captions, colours = said_of(names, classes, probabilities, 17 if columns > 6 else 20, sure)
    unsure = sum(p < sure for p in probabilities)
    parts = [subtitle, f"orange: {unsure} less than {100 * sure:.0f} % sure" if unsure else ""]
    size: dict[str, float] = {"largest": 1.3, "width": 9.6 if columns > 6 else 7.8}
    return image_grid(images, captions, columns, title, "; ".join(filter(None, parts)), colours=colours, **size)


def explanations(
    images: Array,
    maps: Array,
    names: Sequence[str],
    classes: Sequence[str],
    probabilities: Sequence[float],
    title: str = "",
    subtitle: str = "",
    sure: float = 0.7,
) -> Figure:
    """Images [n, ...] in pairs: as they are, and in grey with maps [n, H, W] from 0 to 1 over them in colour."""
    pictures = as_images(images)
    pictures = pictures if pictures.ndim == 4 else pictures[..., None].repeat(3, -1)
    share = 0.75 * np.asarray(maps, np.float64)[..., None]
    grey = 0.25 + 0.6 * pictures.mean(-1, keepdims=True)  # neither black nor white: the colour is to be seen on both
    over = (1 - share) * grey + share * HEAT(maps)[..., :3]
    gap = np.ones((*pictures.shape[:2], max(round(pictures.shape[2] / 30), 1), 3))
    pairs = np.concatenate([pictures, gap, over], 2).transpose(0, 3, 1, 2)
    captions, colours = said_of(names, classes, probabilities, 30, sure)
    columns = min(max(len(pairs), 1), 4)
    return image_grid(pairs, captions, columns, title, subtitle, largest=2.3, width=9.2, colours=colours)


def said_of(
    names: Sequence[str], classes: Sequence[str], probabilities: Sequence[float], room: int, sure: float
) -> tuple[list[str], list[str]]:
    """A caption of two lines for each picture, of `room` letters each, and its colour."""
    captions = []
    for name, said, p in zip(names, classes, probabilities, strict=True):
        captions.append(f"{shortened(name, room)}\n{shortened(said, room - 6)}, {100 * p:.0f} %")
    return captions, [INK if p >= sure else COLOURS[1] for p in probabilities]


def shortened(text: str, room: int) -> str:
    """A text without its middle where it has more letters than there is room for."""
    return text if len(text) <= room else f"{text[: room // 2 - 1]}…{text[-(room - room // 2) :]}"


def letter_boxes(
    page: Array, boxes: Array, texts: Sequence[str], probabilities: Array, sure: float = 0.7, title: str = ""
) -> Figure:
    """A page [H, W] with a box around each letter and above it what it was read as, in orange where that isn't sure.

    boxes: int [n, 4], top, left, bottom, right in pixels of the page. probabilities: [n].
    """
    high, wide = np.shape(page)
    width = 9.0
    fig, ax = panel(width, float(np.clip(width * high / wide, 1.2, 10)))
    ax.imshow(page, cmap="gray", vmin=0, vmax=1, interpolation="antialiased")
    points = 72 * width / wide  # of a pixel
    boxes = np.asarray(boxes).reshape(-1, 4)
    size = float(np.clip(0.45 * points * np.median(boxes[:, 2] - boxes[:, 0]), 4, 14)) if len(boxes) else 0.0
    for (top, left, bottom, right), text, probability in zip(boxes, texts, probabilities, strict=True):
        colour = COLOURS[0] if probability >= sure else COLOURS[1]
        ax.add_patch(Rectangle((left, top), right - left, bottom - top, fill=False, edgecolor=colour, linewidth=0.9))
        look: dict[str, Any] = {"fontsize": size, "weight": "bold", "color": colour, "path_effects": HALO}
        ax.text(left, top - 1 / points, text, va="bottom", **look)
    ax.set_axis_off()
    unsure = int(np.sum(np.asarray(probabilities) < sure))
    heading(fig, title, f"orange: {unsure} of {len(boxes)} less than {100 * sure:.0f} % sure" if unsure else "")
    return fig


def as_images(images: Array) -> Array:
    """Float [n, H, W] or [n, H, W, 3] in 0..1."""
    pictures = np.asarray(images)
    if pictures.ndim == 4 and pictures.shape[1] in (1, 3):
        pictures = pictures[:, 0] if pictures.shape[1] == 1 else pictures.transpose(0, 2, 3, 1)
    elif pictures.ndim != 3:
        raise ValueError(f"images are [n, H, W], [n, 1, H, W] or [n, 3, H, W], not {list(pictures.shape)}")
    scale = 255.0 if pictures.dtype == np.uint8 else 1.0
    return np.clip(pictures / scale, 0, 1)


def mosaic(images: Array, columns: int, fill: float, above: int = 0) -> tuple[Array, list[tuple[int, int]]]:
    """One sheet of all images in rows of `columns`, and each one's top left corner in it (row, column).

    A thirtieth of an image lies between two of them, and `above` more pixels over each row.
    """
    n, height, width = images.shape[:3]
    columns = max(min(columns, n), 1)
    gap = max(round(width / 30), 1)
    rows = max(math.ceil(n / columns), 1)
    size = (rows * (height + above) + (rows - 1) * gap, columns * width + (columns - 1) * gap)
    sheet = np.full((*size, *images.shape[3:]), fill)
    corners = []
    for i, image in enumerate(images):
        top = (i // columns) * (height + above + gap) + above
        left = (i % columns) * (width + gap)
        sheet[top : top + height, left : left + width] = image
        corners.append((top, left))
    return sheet, corners


def draw_sheet(ax: Axes, sheet: Array, height: int) -> None:
    """Without axes. Small images keep their square pixels, photos are made smaller smoothly."""
    smooth = "nearest" if height <= 64 else "antialiased"
    ax.imshow(sheet, cmap="gray", vmin=0, vmax=1, interpolation=smooth)
    ax.set_axis_off()
