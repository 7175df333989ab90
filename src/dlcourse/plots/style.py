"""How all figures look: colours, axes, headings, names at the ends of curves; no pyplot, no change of rcParams."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from matplotlib.ticker import MaxNLocator

Array = np.ndarray[Any, Any]

INK, GREY, PALE = "#1a1a1a", "#6f6f6f", "#ececec"
# Six of Okabe and Ito's colours, which differ for colour-blind eyes too, then four more.
COLOURS = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00"]
COLOURS += ["#8c564b", "#5f4bb6", "#7f7f7f", "#a6a300"]
STAGES = {"train": COLOURS[0], "val": COLOURS[1], "test": COLOURS[2]}
BLUES = LinearSegmentedColormap.from_list("white-blue", ["#ffffff", "#cfe3f1", "#6aaed6", "#1f6fb0", "#08306b"])
# 63 steps: the middle one is white, and the noise of weights makes a smaller PNG than with 256.
SIGNED = LinearSegmentedColormap.from_list(
    "blue-white-red", ["#08519c", "#6aaed6", "#f7f7f7", "#ef8a62", "#a50f15"], N=63
).with_extremes(bad="white")
DPI = 130
SMALL, NORMAL, TITLE = 7.5, 8.5, 10.0
HALO = [withStroke(linewidth=2.2, foreground="white")]
DASHED = (0, (4, 3))
CENTRED: dict[str, Any] = {"ha": "center", "va": "center"}  # of a text


def panels(count: int, columns: int, width: float, height: float) -> tuple[Figure, list[Axes]]:
    """A figure of `count` axes in rows of `columns`; width inches in all, height inches a row."""
    rows = math.ceil(count / columns)
    fig = Figure(figsize=(width, height * rows), dpi=DPI, layout="constrained", facecolor="white")
    fig.get_layout_engine().set(w_pad=0.07, h_pad=0.07)  # type: ignore[union-attr, call-arg]
    return fig, [fig.add_subplot(rows, columns, i + 1) for i in range(count)]


def panel(width: float, height: float) -> tuple[Figure, Axes]:
    """A figure of one axes; inches."""
    fig, (ax,) = panels(1, 1, width, height)
    return fig, ax


def heading(fig: Figure, title: str, subtitle: str = "") -> None:
    text = title + (f"\n{subtitle}" if subtitle and title else subtitle)
    if text:
        fig.suptitle(text, fontsize=TITLE, color=INK, linespacing=1.35)


def style_axes(
    ax: Axes, title: str = "", x_label: str = "", y_label: str = "", grid: bool = False, frame: bool = False
) -> None:
    """The look of all axes; set on them, not by rcParams, so that it holds wherever the figure is drawn."""
    for write, text in ((ax.set_title, title), (ax.set_xlabel, x_label), (ax.set_ylabel, y_label)):
        write(text, fontsize=NORMAL, color=INK)
    ax.tick_params(which="both", labelsize=SMALL, labelcolor=INK, color=GREY, width=0.6, length=3)
    for side, spine in ax.spines.items():
        spine.set_visible(frame or side in ("left", "bottom"))
        spine.set_color(GREY)
        spine.set_linewidth(0.6)
    if grid:
        ax.grid(color=PALE, linewidth=0.6)
        ax.set_axisbelow(True)


def legend(ax: Axes, wanted: bool) -> None:
    """The names of bars above the axes at the right, each once."""
    if wanted:
        handles, names = ax.get_legend_handles_labels()
        once = dict(sorted(zip(names, handles, strict=True), key=lambda entry: entry[0] == "published"))
        ax.legend(
            list(once.values()), list(once), loc="lower right", bbox_to_anchor=(1, 1), ncols=len(once),
            frameon=False, fontsize=SMALL, handlelength=1,
        )  # fmt: skip


def to_floats(values: Sequence[float | None] | Sequence[float] | Array) -> Array:
    return np.array([np.nan if v is None else v for v in values], dtype=np.float64)


def draw_curve(ax: Axes, x: Array, y: Array, colour: str, line: Any = "-") -> None:
    """A curve without its gaps; points are marked where there are few: a single one would else be no line at all."""
    known = np.isfinite(y)
    points = int(known.sum())
    marks: dict[str, Any] = {"marker": "o", "markersize": 3.5 if points < 12 else 2.2} if points <= 25 else {}
    ax.plot(x[known], y[known], color=colour, linewidth=1.5, linestyle=line, **marks)


def value_ratio(curves: Sequence[Array]) -> float:
    """The largest value divided by the smallest, 1 where a logarithm can't be taken."""
    values = np.concatenate([y[np.isfinite(y)] for y in curves]) if curves else np.ones(1)
    return float(values.max() / values.min()) if len(values) and values.min() > 0 else 1.0


def integer_ticks(ax: Axes, xs: Sequence[Array]) -> None:
    """Ticks at whole epochs only; and one epoch alone isn't shown as a thousandth of one."""
    ax.xaxis.set_major_locator(MaxNLocator(7, integer=True))
    values = np.concatenate(list(xs)) if xs else np.zeros(1)
    if len(values) and values.min() == values.max():
        ax.set_xlim(values[0] - 1, values[0] + 1)


def label_ends(ax: Axes, curves: Mapping[str, tuple[Array, Array]], colours: Sequence[str], inches: float) -> None:
    """Each curve's name at the right edge, at the height where it ends, pushed apart where they overlap."""
    ax.autoscale_view()
    ends: list[tuple[float, str, str]] = []
    for (name, (x, y)), colour in zip(curves.items(), colours, strict=True):
        known = np.isfinite(y)
        point = ax.transData.transform((x[known][-1], y[known][-1])) if known.any() else ax.transAxes.transform((0, 0))
        ends.append((float(ax.transAxes.inverted().transform(point)[1]), name, colour))
    ends.sort(key=lambda e: e[0])
    gap = 0.145 / (inches - 0.9)  # a line of text, in heights of the axes
    heights = [min(max(height, 0.0), 1.0) for height, _, _ in ends]
    for i in range(1, len(heights)):
        heights[i] = max(heights[i], heights[i - 1] + gap)
    for i in range(len(heights)):
        heights[-1 - i] = min(heights[-1 - i], 1.0 - i * gap)
    for height, (_, name, colour) in zip(heights, ends, strict=True):
        ax.text(1.02, height, name, transform=ax.transAxes, va="center", fontsize=SMALL, color=colour, weight="bold")


def mark_x(ax: Axes, at: float, text: str, middle: float, colour: str, width: float, row: int = 0) -> None:
    """A dashed line at a place of the x axis, with a text at its top on the side of the middle."""
    ax.axvline(at, color=colour, linewidth=width, linestyle=DASHED, zorder=1)
    right = at > middle
    ax.annotate(
        text, (at, 1.0), xycoords=("data", "axes fraction"), xytext=(-4 if right else 4, -4 - 11 * row),
        textcoords="offset points", ha="right" if right else "left", va="top", fontsize=SMALL, color=colour,
        path_effects=HALO,
    )  # fmt: skip
