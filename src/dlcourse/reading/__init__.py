"""Text on a page: its ink, pieces of ink, lines, letters in a data set's form, words; and pages made of such letters.

To be read in this order: ink, pieces, form, letters, reading, comparison, handwriting.
"""

from dlcourse.reading.comparison import Comparison, compare
from dlcourse.reading.form import Form, fit, measure
from dlcourse.reading.handwriting import Hand, compose
from dlcourse.reading.ink import find_ink, load
from dlcourse.reading.reading import Letter, Reading, read

__all__ = [
    "Comparison", "Form", "Hand", "Letter", "Reading", "compare", "compose", "find_ink", "fit", "load", "measure",
    "read",
]  # fmt: skip
