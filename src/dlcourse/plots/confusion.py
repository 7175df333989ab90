"""Which classes are taken for which."""

from collections.abc import Sequence

import numpy as np
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure

from dlcourse.plots.style import BLUES, CENTRED, INK, NORMAL, PALE, SMALL, Array, heading, panels, style_axes


def confusion_matrix(matrix: Array, classes: Sequence[str], title: str = "Confusion matrix") -> Figure:
    """matrix [K, K]: counts, rows the true class, columns the predicted one.

    The colour is the share of the row, by its square root, so that few mistakes are seen too. The counts are
    written in the cells up to 17 classes; above that, the most frequent mistakes are listed beside.
    """
    counts = np.asarray(matrix)
    k = len(counts)
    if counts.shape != (k, k) or k != len(classes):
        raise ValueError(f"a matrix of shape {counts.shape} for {len(classes)} classes")
    total, right = int(counts.sum()), int(np.trace(counts))
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    written = k <= 17
    wide = max((len(str(c)) for c in classes), default=0) > 3
    side = min(max(0.36 * k, 2.6), 5.6) if written else 5.6
    fig, (ax,) = panels(1, 1, width=side + (1.3 if wide else 0.9) + (0 if written else 1.2), height=side + 1.0)
    ax.imshow(shares, cmap=BLUES, norm=PowerNorm(0.5, 0, 1), interpolation="nearest")
    style_axes(ax, "", "predicted", "true", frame=True)
    size = SMALL if k <= 12 else 6.5 if k <= 17 else 6
    ax.set_xticks(range(k), list(map(str, classes)), rotation=90 if wide and k > 5 else 0, fontsize=size)
    ax.set_yticks(range(k), list(map(str, classes)), fontsize=size)
    ax.tick_params(length=0, pad=2)
    lines = np.arange(k - 1) + 0.5
    ax.vlines(lines, -0.5, k - 0.5, color=PALE, linewidth=0.4)
    ax.hlines(lines, -0.5, k - 0.5, color=PALE, linewidth=0.4)
    if written:
        digits = max(len(str(int(counts.max()))), 2)
        fit = min(NORMAL, 72 * side / k / (0.75 * digits))
        for i, j in zip(*np.nonzero(counts), strict=True):
            colour = "white" if shares[i, j] > 0.25 else INK
            ax.text(j, i, str(int(counts[i, j])), fontsize=fit, color=colour, **CENTRED)
    else:
        wrong = np.where(np.eye(k, dtype=bool), 0, counts)
        order = [divmod(int(n), k) for n in np.argsort(-wrong, axis=None, kind="stable")[:15]]
        rows = [f"{classes[i]} → {classes[j]}   {int(wrong[i, j])}" for i, j in order if wrong[i, j]]
        text = "\n".join(["true → predicted", "", *rows]) if rows else "no mistakes"
        ax.text(1.03, 1, text, transform=ax.transAxes, va="top", fontsize=SMALL, color=INK, linespacing=1.45)
    heading(fig, title, f"{right:,} of {total:,} right, {100 * right / max(total, 1):.2f} %")
    return fig
