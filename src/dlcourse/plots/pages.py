"""A page with the letters that were found on it."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from dlcourse.plots.style import COLOURS, HALO, Array, heading, hide_axes, panels


def letter_boxes(
    page: Array, boxes: Array, texts: Sequence[str], probabilities: Array, sure: float = 0.7, title: str = ""
) -> Figure:
    """A page [H, W] with a box around each letter and above it what it was read as, in orange where that isn't sure.

    boxes: int [n, 4], top, left, bottom, right in pixels of the page. probabilities: [n].
    """
    high, wide = np.shape(page)
    width = 9.0
    fig, (ax,) = panels(1, 1, width=width, height=float(np.clip(width * high / wide, 1.2, 10)))
    ax.imshow(page, cmap="gray", vmin=0, vmax=1, interpolation="antialiased")
    points = 72 * width / wide  # of a pixel
    boxes = np.asarray(boxes).reshape(-1, 4)
    size = float(np.clip(0.45 * points * np.median(boxes[:, 2] - boxes[:, 0]), 4, 14)) if len(boxes) else 0.0
    for (top, left, bottom, right), text, probability in zip(boxes, texts, probabilities, strict=True):
        colour = COLOURS[0] if probability >= sure else COLOURS[1]
        ax.add_patch(Rectangle((left, top), right - left, bottom - top, fill=False, edgecolor=colour, linewidth=0.9))
        ax.text(
            left, top - 1 / points, text, fontsize=size, weight="bold", color=colour, va="bottom", path_effects=HALO
        )
    hide_axes(ax)
    unsure = int(np.sum(np.asarray(probabilities) < sure))
    heading(fig, title, f"orange: {unsure} of {len(boxes)} less than {100 * sure:.0f} % sure" if unsure else "")
    return fig
