"""Which classes are taken for which; points by class, bars, histograms."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.colors import ListedColormap, PowerNorm
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from matplotlib.ticker import MaxNLocator

from dlcourse.plots import style
from dlcourse.plots.style import BLUES, CENTRED, COLOURS, INK, NORMAL, PALE, SMALL, STAGES, Array, to_floats


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
    fig, ax = style.panel(side + (1.3 if wide else 0.9) + (0 if written else 1.2), side + 1.0)
    ax.imshow(shares, cmap=BLUES, norm=PowerNorm(0.5, 0, 1), interpolation="nearest")
    style.style_axes(ax, "", "predicted", "true", frame=True)
    size = SMALL if k <= 12 else 6.5 if k <= 17 else 6
    ax.set_xticks(range(k), list(map(str, classes)), rotation=90 if wide and k > 5 else 0, fontsize=size)
    ax.set_yticks(range(k), list(map(str, classes)), fontsize=size)
    ax.tick_params(length=0, pad=2)
    for draw_lines in (ax.vlines, ax.hlines):
        draw_lines(np.arange(k - 1) + 0.5, -0.5, k - 0.5, color=PALE, linewidth=0.4)
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
    style.heading(fig, title, f"{right:,} of {total:,} right, {100 * right / max(total, 1):.2f} %")
    return fig


def scatter(points: Mapping[str, Array] | Array, labels: Array, classes: Sequence[str], title: str = "Codes") -> Figure:
    """Points [n, 2] coloured by class, each class named at its median; sets by name stand side by side."""
    sets = points if isinstance(points, Mapping) else {"": points}
    labels = np.asarray(labels)
    fig, axes = style.panels(len(sets), min(len(sets), 3), width=4.2 * min(len(sets), 3), height=4.2)
    colours = [COLOURS[i % len(COLOURS)] for i in range(len(classes))]
    for ax, (name, xy) in zip(axes, sets.items(), strict=True):
        xy = np.asarray(xy)
        if xy.shape != (len(labels), 2):
            raise ValueError(f"points are [n, 2], here [{len(labels)}, 2], not {list(xy.shape)}")
        size = float(np.clip(12000 / max(len(xy), 1), 2, 20))
        paint = ListedColormap(colours)(labels)
        many = len(xy) > 1000  # as an image inside an SVG, which else has megabytes of circles
        ax.scatter(xy[:, 0], xy[:, 1], s=size, c=paint, alpha=0.55, linewidths=0, rasterized=many)
        for i, c in enumerate(classes):
            of_class = xy[labels == i]
            if len(of_class):
                x, y = np.median(of_class, axis=0)
                halo = [withStroke(linewidth=3, foreground="white")]
                ax.text(x, y, str(c), fontsize=11, weight="bold", color=colours[i], path_effects=halo, **CENTRED)
        style.style_axes(ax, name)
        ax.margins(0.03)
    style.heading(fig, title)
    return fig


def bars(
    groups: Sequence[str],
    series: Mapping[str, Sequence[float]],
    errors: Mapping[str, Sequence[float]] | None = None,
    title: str = "",
    x_label: str = "",
    y_label: str = "",
    number: str = "{:.3g}",
    published: Mapping[str, Sequence[float]] | None = None,
    y_limits: tuple[float, float] | None = None,
) -> Figure:
    """Bars: for each group (as the widths) one of each series (as train, val, test), its value above.

    A value that is NaN is a gap. errors: half the height of the error bars, by series. published: the values to
    compare with, by series, as a black line across the bar. number: the format of the values; "" writes none.
    """
    for name, values in series.items():
        if len(values) != len(groups):
            raise ValueError(f"{len(values)} values of {name!r} for {len(groups)} groups")
    count = len(groups) * len(series)
    fig, ax = style.panel(float(np.clip(0.42 * count + 1.2, 3.6, 9)), 3.2)
    step = 0.84 / max(len(series), 1)
    for i, (name, heights) in enumerate(series.items()):
        x, tall = np.arange(len(groups)) - 0.42 + step * (i + 0.5), to_floats(heights)
        colour = STAGES.get(name, COLOURS[i % len(COLOURS)])
        deviation = np.nan_to_num(to_floats((errors or {}).get(name, np.zeros(len(groups)))))
        error, caps = deviation if deviation.any() else None, {"elinewidth": 0.8, "capsize": 2}
        ax.bar(x, tall, step * 0.92, label=name, color=colour, yerr=error, error_kw=caps)
        tops = tall + deviation
        if name in (published or {}):
            reported = to_floats((published or {})[name])
            ax.hlines(reported, x - step * 0.5, x + step * 0.5, color=INK, linewidth=1.6, label="published")
            tops = np.fmax(tops, reported)
        for at, value, top in zip(x, tall, tops, strict=True) if number and count <= 40 else ():
            if np.isfinite(value):
                look: dict[str, Any] = {"fontsize": 6.5, "rotation": 90 if count > 12 else 0, "color": INK}
                above: dict[str, Any] = {"textcoords": "offset points", "ha": "center", "va": "bottom"}
                ax.annotate(number.format(value), (at, top), (0, 2), **above, **look)
    style.style_axes(ax, "", x_label, y_label)
    ax.set_xticks(range(len(groups)), list(map(str, groups)))
    ax.tick_params(axis="x", length=0)
    ax.margins(y=0.16 if count > 12 else 0.08)
    if y_limits:
        ax.set_ylim(*y_limits)
    style.legend(ax, len(series) > 1 or bool(published))
    style.heading(fig, title)
    return fig


def histogram(
    values: Mapping[str, Sequence[float] | Array] | Sequence[float] | Array,
    marked: Mapping[str, float] | None = None,
    title: str = "",
    x_label: str = "epochs",
    y_label: str = "runs",
) -> Figure:
    """How often each value came, as the epoch at which training stopped over many seeds; sets by name are stacked.

    A bar is a whole number wide, or as many as keep the bars below 40. NaN is left out.
    marked: name -> a value to mark with a line, as the published one.
    """
    sets = values if isinstance(values, Mapping) else {"": values}
    known = {name: (v := to_floats(given))[np.isfinite(v)] for name, given in sets.items()}
    every = np.concatenate([np.empty(0), *known.values(), list((marked or {}).values())])
    low, high = (math.floor(every.min()), math.ceil(every.max())) if len(every) else (0, 1)
    width = max(math.ceil((high - low + 1) / 40), 1)
    edges = np.arange(low - 0.5, high + width + 0.5, width)
    fig, ax = style.panel(6.0, 3.0)
    base = np.zeros(len(edges) - 1)
    for i, (name, kept) in enumerate(known.items()):
        counts, _ = np.histogram(kept, edges)
        ax.bar((edges[:-1] + edges[1:]) / 2, counts, 0.9 * width, base, color=COLOURS[i % len(COLOURS)], label=name)
        base += counts
    style.style_axes(ax, "", x_label, y_label)
    ax.xaxis.set_major_locator(MaxNLocator(12, integer=True))
    ax.yaxis.set_major_locator(MaxNLocator(6, integer=True))
    ax.set_xlim(edges[0] - 0.5 * width, edges[-1] + 0.5 * width)
    ax.set_ylim(0, 1.25 * max(base.max(), 1))  # room for the names of the marks
    for i, (name, at) in enumerate((marked or {}).items()):
        style.mark_x(ax, at, f"{name}: {at:g}", (edges[0] + edges[-1]) / 2, INK, 1.2, i)
    style.legend(ax, len(known) > 1)
    style.heading(fig, title)
    return fig
