"""Arrays in, matplotlib Figures out."""

from dlcourse.plots.figures import (
    COLOURS,
    DPI,
    Array,
    bars,
    confusion_matrix,
    histogram,
    image_grid,
    learning_curves,
    letters,
    mark,
    misclassified,
    png,
    reconstructions,
    save,
    scatter,
    smaller,
    superimposed,
    svg,
    weight_images,
)

__all__ = [
    "COLOURS", "DPI", "Array", "bars", "confusion_matrix", "histogram", "image_grid", "learning_curves", "letters",
    "mark", "misclassified", "png", "reconstructions", "save", "scatter", "smaller", "superimposed", "svg",
    "weight_images",
]  # fmt: skip
