"""Figures: what is drawn is what was given; they are small, and leave no trace in matplotlib's state."""

import io
import sys
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import matplotlib
import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image

from dlcourse import plots
from dlcourse.plots import fonts, style

rng = np.random.default_rng(0)
DIGITS = list("0123456789")
LETTERS = list("ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789")
FLOWERS = ["daffodil", "snowdrop", "lily valley", "bluebell", "crocus", "iris"]

EVERY: dict[str, Callable[[], Figure]] = {
    "learning_curves": lambda: plots.learning_curves(
        {"epoch": [0, 1, 2], "train/loss": [3.0, 2.0, 1.0], "val/loss": [3.0, 2.5, 2.6]}, best_epoch=1
    ),
    "superimposed": lambda: plots.superimposed({"a": ([0, 1], [1.0, 0.5]), "b": ([0, 1], [1.0, 0.7])}, "t"),
    "confusion_matrix": lambda: plots.confusion_matrix(np.eye(10, dtype=int) * 5, DIGITS),
    "confusion_36": lambda: plots.confusion_matrix(rng.integers(0, 9, (36, 36)), LETTERS),
    "weight_images": lambda: plots.weight_images(rng.normal(size=(64, 28, 28))),
    "weight_colours": lambda: plots.weight_images(rng.normal(size=(10, 3, 3, 3))),
    "image_grid": lambda: plots.image_grid(rng.integers(0, 256, (5, 1, 8, 8), dtype=np.uint8), DIGITS[:5], title="t"),
    "reconstructions": lambda: plots.reconstructions({"original": rng.random((4, 8, 8)), "ae": rng.random((4, 8, 8))}),
    "misclassified": lambda: plots.misclassified(
        rng.random((6, 3, 32, 32)), np.arange(6), np.arange(6)[::-1], rng.random(6), FLOWERS
    ),
    "letters": lambda: plots.letter_boxes(
        np.tile(np.linspace(0.2, 0.9, 400), (300, 1)),
        np.array([[50, 40, 90, 70]] * 2),
        ["A", "7"],
        np.array([0.9, 0.4]),
    ),
    "scatter": lambda: plots.scatter(rng.normal(size=(500, 2)), rng.integers(0, 10, 500), DIGITS),
    "scatter_of_many": lambda: plots.scatter(
        {"AE": rng.normal(size=(2000, 2)), "PCA": rng.normal(size=(2000, 2))}, rng.integers(0, 10, 2000), DIGITS
    ),
    "against_lambda": lambda: plots.superimposed(
        {"validation": ([0, 0.01, 0.1], [0.9, 0.8, 0.7])},
        x_label="λ",
        log_x=True,
        bands={"validation": [0.01, 0.1, 0.1]},
        levels={"published": 0.95},
    ),
    "histogram": lambda: plots.histogram(
        {"shuffled": [15, 16, 16, 19], "drawn": [17]}, {"published, shuffled": 16, "published": 33}, "Stopping"
    ),
    "published_bars": lambda: plots.bars(
        ["32", "64", "128"], {"val": [0.1, float("nan"), 0.3]}, published={"val": [0.12, 0.2, 0.25]}
    ),
    "bars": lambda: plots.bars(["32", "64"], {"train": [0.1, 0.2], "test": [0.2, 0.3]}, {"test": [0.01, 0.02]}),
}


def words(fig: Figure) -> list[str]:
    return [t.get_text() for t in fig.findobj(Text) if isinstance(t, Text) and t.get_text()]


def picture(ax: Axes) -> Any:
    (image,) = ax.get_images()
    return image.get_array()


@pytest.mark.parametrize("name", EVERY)
def test_every_figure_becomes_a_small_png_that_shows_something(name: str, tmp_path: Path) -> None:
    path = plots.save(EVERY[name](), tmp_path / f"{name}.png")
    assert path.stat().st_size < 150_000
    pixels = np.asarray(Image.open(path).convert("L"))
    assert 200 < pixels.shape[1] < 1300 and 100 < pixels.shape[0] < 1300
    assert (pixels < 128).mean() > 0.002  # something dark on white


@pytest.mark.parametrize("name", EVERY)
def test_nothing_runs_over_the_edge_or_over_the_note(name: str) -> None:
    fig = EVERY[name]()
    height = fig.get_size_inches()[1]
    plots.add_note(fig, "stand-in data: " + "a long explanation of where these come from, " * 3)
    assert fig.get_size_inches()[1] > height  # the note has room of its own
    canvas = FigureCanvasAgg(fig)
    canvas.draw()
    inside = fig.bbox.padded(1)
    boxes = {t: t.get_window_extent() for t in fig.findobj(Text) if isinstance(t, Text) and t.get_text()}
    (note,) = [t for t in boxes if "stand-in data" in t.get_text()]
    assert "come from" in note.get_text().replace("\n", " ")
    for ax in fig.axes:  # axis labels and what lies outside of the axes too
        box = ax.get_tightbbox()
        assert box is not None
        assert inside.x0 <= box.x0 and box.x1 <= inside.x1 and inside.y0 <= box.y0 and box.y1 <= inside.y1
        assert not box.overlaps(boxes[note])


@pytest.mark.parametrize("kind", ["png", "svg"])
def test_a_figure_is_the_same_bytes_each_time(kind: str, tmp_path: Path) -> None:
    paths = [plots.save(EVERY["learning_curves"](), tmp_path / f"{i}.{kind}") for i in range(2)]
    assert paths[0].read_bytes() == paths[1].read_bytes()


@pytest.mark.parametrize("name", EVERY)
def test_every_figure_becomes_an_svg_that_needs_no_other_file(name: str) -> None:
    data = plots.svg(EVERY[name]())
    root = ElementTree.fromstring(data)
    assert root.tag.endswith("svg") and len(data) < 500_000
    links = [value for e in root.iter() for key, value in e.attrib.items() if key.endswith("href")]
    assert all(value.startswith(("#", "data:image/png")) for value in links)


@pytest.mark.parametrize("name", ["learning_curves", "confusion_36", "weight_images", "scatter"])
def test_fewer_colours_make_a_png_smaller_and_keep_white_white(name: str) -> None:
    data = plots.png(EVERY[name]())
    small = plots.quantize_png(data, 64)
    assert len(small) <= len(data)
    one, other = (np.asarray(Image.open(io.BytesIO(d)).convert("RGB"), dtype=float) for d in (data, small))
    assert one[0, 0].tolist() == other[0, 0].tolist() == [255, 255, 255]
    assert np.abs(one - other).mean() < 4


def test_matplotlibs_state_is_left_alone(tmp_path: Path) -> None:
    before = dict(matplotlib.rcParams)
    for make in EVERY.values():
        plots.save(plots.add_note(make(), "note"), tmp_path / "figure.png")
    assert dict(matplotlib.rcParams) == before
    if "matplotlib.pyplot" in sys.modules:  # another test may have imported it
        assert not sys.modules["matplotlib.pyplot"].get_fignums()


def test_learning_curves_draw_the_columns_and_mark_the_best_epoch() -> None:
    history: dict[str, Any] = {
        "epoch": [0, 1, 2],
        "lr": [0.1, 0.1, 0.1],
        "train/accuracy": [0.5, 0.7, 0.9],
        "train/loss": [3.0, 2.0, 1.0],
        "val/loss": [3.0, None, 2.0],
        "val/f1": [0.1, 0.2, 0.3],
        "test/loss": [None, None, 2.2],
    }
    fig = plots.learning_curves(history, best_epoch=2)
    assert [ax.get_title() for ax in fig.axes] == ["loss", "accuracy"]
    train, val, best = fig.axes[0].get_lines()
    assert np.asarray(train.get_ydata()).tolist() == [3, 2, 1]
    assert np.asarray(val.get_xdata()).tolist() == [0, 2]  # the gap is left out
    assert np.asarray(best.get_xdata()).tolist() == [2, 2]
    assert "best: epoch 2" in words(fig)
    assert [ax.get_title() for ax in plots.learning_curves(history, metrics=["f1"]).axes] == ["f1"]


def test_one_epoch_and_a_diverged_run_can_be_drawn() -> None:
    fig = plots.learning_curves({"epoch": [0], "train/loss": [1.0], "val/loss": [float("nan")]}, best_epoch=0)
    (line, _) = fig.axes[0].get_lines()
    assert line.get_marker() == "o"  # one point makes no line
    with pytest.raises(ValueError, match="no column"):
        plots.learning_curves({"epoch": [0], "lr": [1.0]})


def test_a_loss_over_decades_has_a_logarithmic_axis() -> None:
    def scale(losses: list[float]) -> str:
        return plots.learning_curves({"train/loss": losses}).axes[0].get_yscale()

    assert [scale([100.0, 1.0]), scale([2.0, 1.0]), scale([1.0, -1.0])] == ["log", "linear", "linear"]


def test_superimposed_names_each_curve_once_at_its_end_without_overlaps() -> None:
    fig = plots.superimposed({f"curve {i}": ([0, 1], [1.0, 0.5 + i / 1e4]) for i in range(12)})
    FigureCanvasAgg(fig).draw()
    labels = [t for t in fig.axes[0].texts if t.get_text().startswith("curve")]
    assert sorted(t.get_text() for t in labels) == sorted(f"curve {i}" for i in range(12))
    boxes = sorted((t.get_window_extent() for t in labels), key=lambda b: b.y0)
    assert all(a.y1 <= b.y1 and b.y0 - a.y0 > 0.7 * a.height for a, b in pairwise(boxes))
    styles = {(line.get_color(), line.get_linestyle()) for line in fig.axes[0].get_lines()}
    assert len(styles) == 12


def test_superimposed_labels_stand_where_the_curves_end() -> None:
    ends = {"low": 0.0, "middle": 2.5, "high": 5.0}
    fig = plots.superimposed({name: ([0, 1], [3.0, end]) for name, end in ends.items()})
    heights = {t.get_text(): t.get_position()[1] for t in fig.axes[0].texts}
    assert heights["low"] < 0.15 and 0.45 < heights["middle"] < 0.55 and heights["high"] > 0.85


def test_superimposed_says_what_diverged() -> None:
    fig = plots.superimposed({"lr 1": ([0, 1, 2], [1.0, 50.0, float("nan")]), "lr .1": ([0, 1, 2], [1.0, 0.5, 0.2])})
    assert {"lr 1 (diverged)", "lr .1"} <= set(words(fig))


def test_a_confusion_matrix_shows_counts_and_shares_of_the_row() -> None:
    matrix = np.array([[90, 10, 0], [0, 0, 0], [1, 2, 997]])
    fig = plots.confusion_matrix(matrix, ["a", "b", "c"])
    np.testing.assert_allclose(picture(fig.axes[0]), [[0.9, 0.1, 0.0], [0.0, 0.0, 0.0], [0.001, 0.002, 0.997]])
    cells = {(t.get_position()[1], t.get_position()[0]): t.get_text() for t in fig.axes[0].texts}
    assert cells == {(0, 0): "90", (0, 1): "10", (2, 0): "1", (2, 1): "2", (2, 2): "997"}
    assert "1,087 of 1,100 right, 98.82 %" in "\n".join(words(fig))


def test_a_large_confusion_matrix_lists_its_most_frequent_mistakes() -> None:
    matrix = np.diag(np.full(36, 40))
    matrix[14, 26], matrix[25, 28] = 9, 12
    fig = plots.confusion_matrix(matrix, LETTERS)
    (listed,) = fig.axes[0].texts
    assert listed.get_text().splitlines()[2:] == ["Z → 2   12", "O → 0   9"]
    assert "no mistakes" in words(plots.confusion_matrix(np.diag(np.full(36, 4)), LETTERS))


def test_a_confusion_matrix_must_fit_its_classes() -> None:
    with pytest.raises(ValueError, match="3 classes"):
        plots.confusion_matrix(np.eye(2), ["a", "b", "c"])


def test_weights_share_one_scale_around_zero() -> None:
    weights = np.stack([np.full((30, 30), 2.0), np.full((30, 30), -1.0)])
    fig = plots.weight_images(weights, columns=2)
    sheet = picture(fig.axes[0])
    assert sheet.shape == (30, 61)
    assert (sheet[:, :30] == 2).all() and (sheet[:, 31:] == -1).all()
    assert fig.axes[0].get_images()[0].get_clim() == (-2, 2)


def test_normalised_weights_have_length_one_and_a_dead_unit_stays_zero() -> None:
    weights = rng.normal(size=(3, 1, 30, 30))
    weights[1] = 0
    sheet = picture(plots.weight_images(weights, normalise=True, columns=3).axes[0])
    lengths = [np.linalg.norm(sheet[:, 31 * i : 31 * i + 30]) for i in range(3)]
    np.testing.assert_allclose(lengths, [1, 0, 1])


def test_colour_weights_are_grey_where_they_are_zero() -> None:
    weights = np.zeros((2, 3, 30, 30))
    weights[1, 0, 0, 0] = -4
    sheet = picture(plots.weight_images(weights, columns=2).axes[0])
    assert (sheet[:, :30] == 0.5).all()
    assert sheet[0, 31].tolist() == [0, 0.5, 0.5]


def test_many_units_are_cut_and_said_so() -> None:
    assert "4 of 9 units" in "\n".join(words(plots.weight_images(rng.normal(size=(9, 5, 5)), limit=4)))
    with pytest.raises(ValueError, match="C 1 or 3"):
        plots.weight_images(np.zeros((2, 20, 5, 5)))


@pytest.mark.parametrize("shape", [(3, 40, 40), (3, 1, 40, 40), (3, 3, 40, 40)])
@pytest.mark.parametrize("kind", [np.uint8, np.float32])
def test_images_of_all_forms_keep_their_brightness(shape: tuple[int, ...], kind: type) -> None:
    images: Any = np.zeros(shape, kind)
    images[1] = 255 if kind is np.uint8 else 1
    sheet = picture(plots.image_grid(images, columns=3).axes[0])
    tiles = [sheet[:, 41 * i : 41 * i + 40] for i in range(3)]
    assert [float(t.min()) for t in tiles] == [float(t.max()) for t in tiles] == [0, 1, 0]


def test_reconstructions_stand_in_rows_with_their_error() -> None:
    original = rng.random((4, 10, 10))
    fig = plots.reconstructions({"original": original, "worse": original * 0, "same": original}, DIGITS[:4])
    sheet = picture(fig.axes[0])
    np.testing.assert_allclose(sheet[:10, 11:21], original[1])
    np.testing.assert_allclose(sheet[22:32, 11:21], original[1])
    error = np.mean(original**2)
    assert {"original", "worse", "same", f"MSE {error:.2g}", "MSE 0", "3"} <= set(words(fig))
    with pytest.raises(ValueError, match="one shape"):
        plots.reconstructions({"original": original, "other": original[:2]})


def test_misclassified_are_the_most_confident_mistakes_in_order() -> None:
    images = np.arange(5).reshape(5, 1, 1) / 10 * np.ones((5, 40, 40))
    true, said = np.array([0, 1, 2, 1, 0]), np.array([0, 2, 0, 0, 1])
    fig = plots.misclassified(images, true, said, np.array([0.99, 0.5, 0.9, 0.4, 0.7]), ["a", "b", "c"], limit=3)
    sheet = picture(fig.axes[0])
    assert [round(10 * sheet[-1, 41 * i + 5]) for i in range(3)] == [2, 4, 1]
    assert [t.get_text() for t in fig.axes[0].texts] == ["c → a, 90 %", "a → b, 70 %", "b → c, 50 %"]
    assert "4 of 5 wrong" in "\n".join(words(fig))


def test_letters_stand_above_their_boxes_and_doubtful_ones_in_another_colour() -> None:
    page = rng.random((200, 300))
    boxes = [[50, 40, 90, 70], [52, 80, 91, 115], [120, 10, 160, 40]]
    fig = plots.letter_boxes(page, np.array(boxes), ["A", "7", "Q"], np.array([0.99, 0.4, 0.7]))
    (ax,) = fig.axes
    np.testing.assert_allclose(picture(ax), page)
    drawn = [(p.get_y(), p.get_x(), p.get_height(), p.get_width()) for p in ax.patches]  # type: ignore[attr-defined]
    assert drawn == [(top, left, bottom - top, right - left) for top, left, bottom, right in boxes]
    colours = {t.get_text(): t.get_color() for t in ax.texts}
    assert colours["A"] == colours["Q"] != colours["7"]
    for text, (top, left, *_) in zip(ax.texts, boxes, strict=True):
        x, y = text.get_position()
        assert x == left and top - 6 < y < top
    assert "orange: 1 of 3 less than 70 % sure" in "\n".join(words(fig))
    assert not any("orange" in text for text in words(plots.letter_boxes(page, np.array(boxes[:1]), ["A"], np.ones(1))))


@pytest.mark.parametrize("shape", [(1, 1), (1, 2400), (2400, 1), (50, 50)])
def test_pages_of_any_shape_can_be_drawn(shape: tuple[int, int]) -> None:
    assert plots.png(plots.letter_boxes(np.ones(shape), np.zeros((0, 4)), [], np.zeros(0)))


def test_no_mistake_is_said() -> None:
    fig = plots.misclassified(np.zeros((3, 4, 4)), np.arange(3), np.arange(3), np.ones(3), ["a", "b", "c"])
    assert "no mistake among 3 images" in words(fig)
    with pytest.raises(ValueError, match="one length"):
        plots.misclassified(np.zeros((3, 4, 4)), np.arange(2), np.arange(2), np.ones(2), ["a", "b"])


def test_scatter_names_each_class_at_its_median() -> None:
    points = np.array([[0.0, 0.0], [1.0, 1.0], [2.0, 8.0], [5.0, 5.0]])
    fig = plots.scatter({"AE": points, "PCA": points}, np.array([0, 0, 0, 2]), ["zero", "one", "two"])
    assert [ax.get_title() for ax in fig.axes] == ["AE", "PCA"]
    assert {t.get_text(): t.get_position() for t in fig.axes[1].texts} == {"zero": (1, 1), "two": (5, 5)}
    with pytest.raises(ValueError, match="points"):
        plots.scatter(points[:3], np.zeros(4), ["zero"])


def test_bars_are_as_high_as_their_values() -> None:
    fig = plots.bars(["32", "64"], {"train": [0.1, 0.2], "test": [0.25, 0.3]})
    heights = [bar.get_height() for bar in fig.axes[0].patches]  # type: ignore[attr-defined]
    assert heights == [0.1, 0.2, 0.25, 0.3]
    assert {"0.25", "train", "test", "32"} <= set(words(fig))
    with pytest.raises(ValueError, match="2 groups"):
        plots.bars(["32", "64"], {"train": [0.1]})


def test_a_bar_that_is_missing_is_a_gap_and_the_published_value_is_marked() -> None:
    fig = plots.bars(
        ["32", "64"], {"val": [0.1, float("nan")]}, {"val": [0.01, float("nan")]}, published={"val": [0.2, 0.3]}
    )
    (lines,) = [c for c in fig.axes[0].collections if c.get_label() == "published"]
    assert [np.asarray(path.vertices)[0, 1] for path in lines.get_paths()] == [0.2, 0.3]
    assert "0.1" in words(fig) and "nan" not in words(fig)


def test_a_level_is_a_line_with_a_name_and_a_band_is_around_its_curve() -> None:
    fig = plots.superimposed({"a": ([1, 2], [0.5, 0.7])}, bands={"a": [0.1, 0.2]}, levels={"published": 0.9})
    assert {"a", "published"} <= set(words(fig))
    curve, level = fig.axes[0].get_lines()
    assert np.asarray(curve.get_ydata()).tolist() == [0.5, 0.7] and set(np.asarray(level.get_ydata())) == {0.9}
    (band,) = fig.axes[0].collections
    heights = np.asarray(band.get_paths()[0].vertices)[:, 1]
    assert [heights.min(), heights.max()] == pytest.approx([0.4, 0.9])


def test_a_logarithmic_axis_has_a_place_for_zero() -> None:
    fig = plots.superimposed({"a": ([0, 0.01, 1], [1, 2, 3])}, log_x=True, x_label="λ")
    ax = fig.axes[0]
    places = ax.transData.transform([(x, 1) for x in (0, 0.01, 1)])[:, 0]
    assert np.isfinite(places).all() and (np.diff(places) > 20).all()
    assert plots.superimposed({"a": ([0.01, 1], [1, 2])}, log_x=True).axes[0].get_xscale() == "log"


def test_a_histogram_counts_whole_numbers_and_marks_the_published_one() -> None:
    fig = plots.histogram([16, 16, 19, float("nan")], {"published": 33})
    bars = {round(p.get_x() + p.get_width() / 2, 6): p.get_height() for p in fig.axes[0].patches}  # type: ignore[attr-defined]
    assert {x: n for x, n in bars.items() if n} == {16: 2, 19: 1}
    assert "published: 33" in words(fig)
    assert len(plots.histogram([1, 5000]).axes[0].patches) <= 40


def test_photos_are_saved_with_a_palette_and_look_the_same(tmp_path: Path) -> None:
    grain = rng.integers(0, 256, (6, 3, 100, 100), dtype=np.uint8)
    fig = plots.image_grid(grain, title="noise")
    path = plots.save(fig, tmp_path / "noise.png")
    image = Image.open(path)
    assert image.mode == "P"
    full = io.BytesIO()
    fig.savefig(full, dpi=style.DPI, facecolor="white")
    assert path.stat().st_size < 0.6 * len(full.getvalue())
    one, other = (np.asarray(i.convert("RGB"), dtype=float) for i in (image, Image.open(full)))
    assert abs(one.mean() - other.mean()) < 3


# --- names in other scripts ---

OTHER = "Ⓐ"  # a letter that the usual font lacks and another of matplotlib's own has


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("installed", [True, False])
def test_letters_that_the_usual_font_lacks(installed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are taken from a font that has them; where none does, numbers stand for the names, and a note says which."""
    names = ["cat", OTHER, "中文"] if not installed else ["cat", OTHER, "d"]
    if not installed:
        monkeypatch.setattr(fonts, "font_with", lambda letters: None)
    matrix = plots.confusion_matrix(np.diag([3, 2, 1]), names, "Confusion matrix")
    mistakes = plots.misclassified(
        np.zeros((2, 1, 8, 8), np.uint8), np.array([0, 1]), np.array([1, 2]), np.array([0.9, 0.8]), names
    )
    for figure in (matrix, mistakes):
        plots.png(figure)
        written = " ".join(" ".join(fonts.texts(figure)).split())
        if installed:
            assert OTHER in written
            assert "[1]" not in written
        else:
            assert OTHER not in written
            assert "[1] \\u24b6, [2] \\u4e2d\\u6587" in written
            assert written.count("[1]") >= 2
    assert not fonts.missing_letters("naïve → ±")
