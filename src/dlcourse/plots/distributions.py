"""Points by class, bars, histograms."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from matplotlib.ticker import MaxNLocator

from dlcourse.plots.style import (
    CENTRED,
    COLOURS,
    INK,
    STAGES,
    Array,
    heading,
    legend,
    mark_x,
    panels,
    style_axes,
    to_floats,
)


def scatter(points: Mapping[str, Array] | Array, labels: Array, classes: Sequence[str], title: str = "Codes") -> Figure:
    """Points [n, 2] coloured by class, each class named at its median; sets by name stand side by side."""
    sets = points if isinstance(points, Mapping) else {"": points}
    labels = np.asarray(labels)
    fig, axes = panels(len(sets), min(len(sets), 3), width=4.2 * min(len(sets), 3), height=4.2)
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
        style_axes(ax, name)
        ax.margins(0.03)
    heading(fig, title)
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
    fig, (ax,) = panels(1, 1, width=float(np.clip(0.42 * count + 1.2, 3.6, 9)), height=3.2)
    step = 0.84 / max(len(series), 1)
    for i, (name, heights) in enumerate(series.items()):
        x, tall = np.arange(len(groups)) - 0.42 + step * (i + 0.5), to_floats(heights)
        colour = STAGES.get(name, COLOURS[i % len(COLOURS)])
        deviation = np.nan_to_num(to_floats((errors or {}).get(name, np.zeros(len(groups)))))
        error: dict[str, Any] = {
            "yerr": deviation if deviation.any() else None,
            "error_kw": {"elinewidth": 0.8, "capsize": 2},
        }
        ax.bar(x, tall, step * 0.92, label=name, color=colour, **error)
        tops = tall + deviation
        if name in (published or {}):
            reported = to_floats((published or {})[name])
            ax.hlines(reported, x - step * 0.5, x + step * 0.5, color=INK, linewidth=1.6, label="published")
            tops = np.fmax(tops, reported)
        for at, value, top in zip(x, tall, tops, strict=True) if number and count <= 40 else ():
            if np.isfinite(value):
                look: dict[str, Any] = {"fontsize": 6.5, "rotation": 90 if count > 12 else 0, "color": INK}
                above: dict[str, Any] = {
                    "xytext": (0, 2),
                    "textcoords": "offset points",
                    "ha": "center",
                    "va": "bottom",
                }
                ax.annotate(number.format(value), (at, top), **above, **look)
    style_axes(ax, "", x_label, y_label)
    ax.set_xticks(range(len(groups)), list(map(str, groups)))
    ax.tick_params(axis="x", length=0)
    ax.margins(y=0.16 if count > 12 else 0.08)
    if y_limits:
        ax.set_ylim(*y_limits)
    legend(ax, len(series) > 1 or bool(published))
    heading(fig, title)
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
    fig, (ax,) = panels(1, 1, width=6.0, height=3.0)
    base = np.zeros(len(edges) - 1)
    for i, (name, kept) in enumerate(known.items()):
        counts, _ = np.histogram(kept, edges)
        ax.bar((edges[:-1] + edges[1:]) / 2, counts, 0.9 * width, base, color=COLOURS[i % len(COLOURS)], label=name)
        base += counts
    style_axes(ax, "", x_label, y_label)
    ax.xaxis.set_major_locator(MaxNLocator(12, integer=True))
    ax.yaxis.set_major_locator(MaxNLocator(6, integer=True))
    ax.set_xlim(edges[0] - 0.5 * width, edges[-1] + 0.5 * width)
    ax.set_ylim(0, 1.25 * max(base.max(), 1))  # room for the names of the marks
    for i, (name, at) in enumerate((marked or {}).items()):
        mark_x(ax, at, f"{name}: {at:g}", (edges[0] + edges[-1]) / 2, INK, 1.2, i)
    legend(ax, len(known) > 1)
    heading(fig, title)
    return fig
