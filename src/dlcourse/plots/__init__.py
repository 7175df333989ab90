"""Arrays in, matplotlib Figures out: reports, studies, runs and notebooks share them.

`add_note` writes a note on any of them, `save` makes the PNG or SVG.
"""

from dlcourse.plots.curves import learning_curves, range_test, superimposed
from dlcourse.plots.description import describe
from dlcourse.plots.distributions import bars, confusion_matrix, histogram, scatter
from dlcourse.plots.files import add_note, png, quantize_png, save, svg
from dlcourse.plots.images import (
    contact_sheet,
    explanations,
    image_grid,
    letter_boxes,
    misclassified,
    reconstructions,
    weight_images,
)
from dlcourse.plots.published import Beside, beside_published
from dlcourse.plots.style import Array

__all__ = [
    "Array", "Beside", "add_note", "bars", "beside_published", "confusion_matrix", "contact_sheet", "describe",
    "explanations", "histogram", "image_grid", "learning_curves", "letter_boxes", "misclassified", "png",
    "quantize_png", "range_test", "reconstructions", "save", "scatter", "superimposed", "svg", "weight_images",
]  # fmt: skip
