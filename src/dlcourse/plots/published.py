"""Published figures beside measured ones."""

import math
import textwrap
from collections.abc import Sequence
from typing import Any, NamedTuple

from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter

from dlcourse.plots import style
from dlcourse.plots.style import COLOURS, DASHED, GREY, INK, PALE, SMALL

MARKS: dict[str, tuple[str, str]] = {  # of an outcome: colour and shape
    "reproduced": (COLOURS[2], "o"), "beaten": (COLOURS[0], "^"), "refuted": (COLOURS[1], "X"),
    "undecided": (GREY, "D"),
}  # fmt: skip
FARTHEST = 4.0  # times larger or smaller than published; what is further off stands at the edge


class Beside(NamedTuple):
    """A published figure and the measured one, with half of its interval (NaN: of one run), and the outcome."""

    label: str
    published: float
    measured: float
    noise: float
    outcome: str


def beside_published(rows: Sequence[Beside], title: str = "", lines: int = 2) -> Figure:
    """Each measured figure as a multiple of the published one, with its 95 % interval, a row each; the outcome is the
    colour and the shape. Labels take so many lines at most. Rows whose published figure is 0 can't be drawn and are
    left out."""
    rows = [row for row in rows if row.published > 0 and row.measured > 0]
    labels = ["\n".join(textwrap.wrap(row.label, 44 if lines > 1 else 60)[:lines]) for row in rows]
    fig, ax = style.panel(7.6, 0.9 + (0.34 if lines > 1 else 0.22) * max(1, len(rows)))
    far = 1.02
    for at, row in enumerate(rows):
        colour, shape = MARKS.get(row.outcome, (GREY, "o"))
        ratio = row.measured / row.published
        x = min(max(ratio, 1 / FARTHEST), FARTHEST)
        if math.isfinite(row.noise) and x == ratio:
            low, high = ((row.measured + sign * row.noise) / row.published for sign in (-1, 1))
            ends = [max(low, 1 / FARTHEST), min(high, FARTHEST)]
            ax.plot(ends, [at, at], color=colour, linewidth=1.4, solid_capstyle="butt", zorder=2)
            far = max(far, ends[1], 1 / max(ends[0], 1e-9))
        far = max(far, x, 1 / x)
        ax.plot([x], [at], shape, color=colour, markersize=6, markeredgecolor="white", markeredgewidth=0.6, zorder=3)
        text = f"{number(row.published)} → {number(row.measured)}"
        ax.text(1.02, at, text, transform=ax.get_yaxis_transform(), va="center", fontsize=SMALL, color=INK)
    style.style_axes(ax, "", "measured, as a multiple of the published figure")
    ax.axvline(1, color=INK, linewidth=0.8, linestyle=DASHED, zorder=1)
    ax.set_xscale("log")
    ax.set_xlim(1 / far**1.12, far**1.12)
    ax.set_xticks(ticks(far))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    ax.xaxis.set_minor_formatter(NullFormatter())
    ax.set_yticks(range(len(rows)), labels, fontsize=SMALL)
    ax.set_ylim(len(rows) - 0.4, -0.6)
    ax.grid(axis="y", color=PALE, linewidth=0.6)
    ax.tick_params(axis="y", length=0)
    ax.set_axisbelow(True)
    present = [outcome for outcome in MARKS if any(row.outcome == outcome for row in rows)]
    handles: list[Any] = [
        ax.plot([], [], MARKS[o][1], color=MARKS[o][0], markersize=5, linestyle="none")[0] for o in present
    ]
    ax.legend(handles, present, loc="lower right", bbox_to_anchor=(1, 1), ncols=len(present), frameon=False,
              fontsize=SMALL, handletextpad=0.2)  # fmt: skip
    style.heading(fig, title)
    return fig


def ticks(far: float) -> list[float]:
    """Round multiples on both sides of 1, up to a factor."""
    for steps in ((1.01, 1.02), (1.02, 1.04), (1.05, 1.1), (1.1, 1.2), (1.25, 1.5), (1.5, 2), (2, 4)):
        if far <= steps[1] * 1.02:
            break
    inside = [step for step in steps if step <= far * 1.02] or [steps[0]]
    return [*(round(1 / step, 2) for step in reversed(inside)), 1, *inside]


def number(value: float) -> str:
    return f"{value:.4g}"
