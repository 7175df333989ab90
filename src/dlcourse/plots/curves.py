"""What changes with the epoch: learning curves of one run, curves of several runs on top of each other."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dlcourse.plots import style
from dlcourse.plots.style import COLOURS, DASHED, GREY, STAGES, Array, draw_curve, label_ends, to_floats


def learning_curves(
    history: Mapping[str, Sequence[float | None]],
    best_epoch: int | None = None,
    metrics: Sequence[str] | None = None,
    title: str = "Learning curves",
) -> Figure:
    """A panel a metric, a line for train and one for val, the best epoch marked.

    history: columns `epoch` (else 0, 1, ...), `train/loss`, `val/loss`, `train/accuracy`, ...; None and NaN
    are gaps. metrics: the panels wanted, as ["loss"]; None is all but precision, recall and f1.
    """
    stages = ("train", "val")
    names = [c.split("/", 1)[1] for c in history if c.split("/", 1)[0] in stages and "/" in c]
    if metrics is None:
        left_out = ("precision", "recall", "f1")
        metrics = sorted({n for n in names if n not in left_out}, key=lambda n: (n != "loss", names.index(n)))
    metrics = [m for m in metrics if m in names]
    if not metrics:
        raise ValueError(f"no column train/... or val/... to draw among {list(history)}")
    columns = min(len(metrics), 3)
    fig, axes = style.panels(len(metrics), columns, width=min(3.9 * columns, 9.0), height=2.8)
    for ax, metric in zip(axes, metrics, strict=True):
        curves = {}
        for stage in stages:
            y = to_floats(history.get(f"{stage}/{metric}", []))
            if np.isfinite(y).any():
                x = to_floats(history["epoch"]) if "epoch" in history else np.arange(len(y), dtype=float)
                curves[stage] = (x, y)
        for stage, (x, y) in curves.items():
            draw_curve(ax, x, y, STAGES[stage])
            if not np.isfinite(y[-1]):
                mark_end(ax, x, y, STAGES[stage])
        if not curves:
            ax.text(0.5, 0.5, "no finite number", color=GREY, ha="center", va="center", transform=ax.transAxes)
        style.style_axes(ax, metric, "epoch", grid=True)
        style.integer_ticks(ax, [x for x, _ in curves.values()])
        if style.value_ratio([y for _, y in curves.values()]) > 30:
            ax.set_yscale("log")
        if best_epoch is not None and curves:
            xs = np.concatenate([x for x, _ in curves.values()])
            text = f"best: epoch {best_epoch}" if ax is axes[0] else ""
            style.mark_x(ax, best_epoch, text, (xs.min() + xs.max()) / 2, GREY, 0.8)
        label_ends(ax, curves, [STAGES[s] for s in curves], inches=2.8)
    style.heading(fig, title)
    return fig


def superimposed(
    curves: Mapping[str, tuple[Sequence[float] | Array, Sequence[float] | Array]],
    title: str = "",
    x_label: str = "epoch",
    y_label: str = "loss",
    log_x: bool = False,
    log_y: bool = False,
    bands: Mapping[str, Sequence[float] | Array] | None = None,
    levels: Mapping[str, float] | None = None,
    y_limits: tuple[float, float] | None = None,
) -> Figure:
    """Curves name -> (x, y) in one panel, named at their ends; one that ends in NaN or inf is `diverged`.

    bands: name -> half the height of a shaded band around that curve, as the standard deviation over seeds.
    levels: name -> height of a dashed line, as a published value. With log_x, x = 0 has its place at the left.
    """
    fig, ax = style.panel(6.0, 3.5)
    colours = [COLOURS[i % len(COLOURS)] for i in range(len(curves))]
    known_curves = {}
    for i, (name, (xs, ys)) in enumerate(curves.items()):
        x, y = to_floats(xs), to_floats(ys)
        known = np.isfinite(y)
        line = ("-", (0, (4, 2)), (0, (1, 1.2)))[i // len(COLOURS) % 3]
        draw_curve(ax, x, y, colours[i], line)
        if bands and name in bands:
            sd = np.nan_to_num(to_floats(bands[name]))[known]
            ax.fill_between(x[known], y[known] - sd, y[known] + sd, color=colours[i], alpha=0.18, linewidth=0)
        diverged = len(y) > 0 and not known[-1]
        if diverged and known.any():
            mark_end(ax, x, y, colours[i])
        known_curves[f"{name} (diverged)" if diverged else name] = (x, y)
    style.style_axes(ax, "", x_label, y_label, grid=True)
    xs_all = np.concatenate([np.empty(0), *(x for x, _ in known_curves.values())])
    if log_x and (xs_all == 0).any():
        ax.set_xscale("symlog", linthresh=xs_all[xs_all > 0].min(initial=1.0), linscale=0.5)
    elif log_x:
        ax.set_xscale("log")
    elif x_label == "epoch":
        style.integer_ticks(ax, [x for x, _ in known_curves.values()])
    if log_y:
        ax.set_yscale("log")
    if y_limits:
        ax.set_ylim(*y_limits)
    for name, height in (levels or {}).items():
        ax.axhline(height, color=GREY, linewidth=0.9, linestyle=DASHED, zorder=1)
        known_curves[name] = (np.zeros(1), np.array([height]))
    label_ends(ax, known_curves, [*colours, *[GREY] * len(levels or {})], inches=3.5)
    style.heading(fig, title)
    return fig


def range_test(rates: Array, losses: Array, chosen: float) -> Figure:
    """The smoothed loss of a learning-rate range test, whose each step has a higher rate; the chosen rate is marked."""
    fig, ax = style.panel(6.0, 3.5)
    ax.set_xscale("log")
    ax.plot(rates, losses, color=COLOURS[0], linewidth=1.5)
    low, before = losses.min(), losses[: losses.argmin() + 1].max()
    ax.set_ylim(low - 0.08 * (before - low), before + 0.35 * (before - low))  # not what it rises to when it diverges
    style.style_axes(ax, "", "learning rate of the step", "loss, smoothed", grid=True)
    style.mark_x(ax, chosen, f"steepest: {chosen:g}", float(np.sqrt(rates[0] * rates[-1])), COLOURS[1], 0.9)
    style.heading(fig, "Learning-rate range test")
    return fig


def mark_end(ax: Axes, x: Array, y: Array, colour: str) -> None:
    """A cross at a curve's last finite number: from there on it is none."""
    last = np.flatnonzero(np.isfinite(y))[-1]
    ax.plot(x[last], y[last], "x", color=colour, markersize=6)
