"""Text on a page: its ink, pieces of ink, lines, letters in a data set's form, words; and pages made of such letters.

To be read in this order: ink, pieces, form, letters, reading, comparison, handwriting.
"""

from dlcourse.text.comparison import Comparison, compare
from dlcourse.text.form import Form, fit, measure
from dlcourse.text.handwriting import Hand, compose
from dlcourse.text.ink import find_ink, load
from dlcourse.text.reading import Letter, Reading, read

__all__ = [
    "Comparison", "Form", "Hand", "Letter", "Reading", "compare", "compose", "find_ink", "fit", "load", "measure",
    "read",
]  # fmt: skip
