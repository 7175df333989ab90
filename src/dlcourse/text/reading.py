"""A page read: ink in pieces, pieces in lines, letters out of them, words."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from skimage.filters import threshold_otsu

from dlcourse.errors import InputError
from dlcourse.text.form import Form, fit
from dlcourse.text.ink import Array, find_ink
from dlcourse.text.letters import best, cut, possible
from dlcourse.text.pieces import Piece, cut_out, find_pieces, in_lines, letter_height

Classify = Callable[[Array], Array]  # uint8 [N, side, side] -> probabilities float [N, classes]

AMBIGUOUS = ("O0", "I1", "Z2", "S5")  # letters and digits that many write alike
LEAST, SURER = 6, 0.15  # letters, and by how much more probable they have to be the other way round


@dataclass(frozen=True)
class Letter:
    """box: top, left, bottom, right in pixels of the page. second: the class that is next likely."""

    box: tuple[int, int, int, int]
    text: str
    probability: float
    second: str
    line: int
    word: int


@dataclass(frozen=True)
class Reading:
    letters: list[Letter]

    @property
    def text(self) -> str:
        """Lines as lines, a space between words."""
        lines: dict[int, dict[int, str]] = {}
        for letter in self.letters:
            words = lines.setdefault(letter.line, {})
            words[letter.word] = words.get(letter.word, "") + letter.text
        return "\n".join(" ".join(words.values()) for words in lines.values())


def read(
    page: Array, classify: Classify, classes: Sequence[str], form: Form, turn: int | None = None, context: bool = False
) -> Reading:
    """Read a page, float32 [H, W] from 0 to 1.

    turn: degrees by which the page is turned to the left first. Without it, a page whose letters are surer when they
    are turned is refused, with an InputError that says which way. context: see `settled`.
    """
    page = np.rot90(page, (turn or 0) // 90)
    ink = find_ink(page)
    if ink is None:
        return Reading([])
    pieces, labels = find_pieces(ink)
    lines = [cut(line, labels) for line in in_lines(pieces)]
    candidates = [list(possible(line)) for line in lines]
    if not any(candidates):
        return Reading([])
    images = np.stack([fit(cut_out(c.piece, ink, labels), form) for line in candidates for c in line])
    known = iter(zip(images, classify(images), strict=True))
    same = np.array([[a == b or twin(a) == b for b in classes] for a in classes])
    found = [best([(c, *next(known)) for c in line], np.array(form.slender), same) for line in candidates]
    if turn is None:
        refuse_turned(np.stack([image for line in found for _, image, _ in line]), classify)
    letters = in_words([[(c.piece, probabilities) for c, _, probabilities in line] for line in found], classes)
    return Reading(settled(letters) if context else letters)


def refuse_turned(images: Array, classify: Classify) -> None:
    """Raise InputError where letters are clearly more probable the other way up, or on their side."""
    if len(images) < LEAST:
        return
    sure = [float(classify(np.rot90(images, k, (1, 2))).max(1).mean()) for k in range(4)]
    k = int(np.argmax(sure))
    if k and sure[k] > sure[0] + SURER:
        way = {1: "turned to the right", 2: "upside-down", 3: "turned to the left"}[k]
        raise InputError(f"the page seems to be {way}: turn={90 * k} reads it turned back (turn=0 as it is)")


def in_words(lines: Sequence[Sequence[tuple[Piece, Array]]], classes: Sequence[str]) -> list[Letter]:
    """Letters with their lines and words: a space is a gap of the wider of two kinds, where there are two."""
    gaps = [
        [(b.left - a.right) / letter_height([p for p, _ in line]) for (a, _), (b, _) in pairwise(line)]
        for line in lines
    ]
    space = space_between([gap for line in gaps for gap in line])
    letters = []
    for number, line in enumerate(lines):
        word = 0
        for i, (piece, probabilities) in enumerate(line):
            word += i > 0 and gaps[number][i - 1] > space
            first, second = np.argsort(-probabilities, kind="stable")[:2]
            box = (piece.top, piece.left, piece.bottom, piece.right)
            letters.append(Letter(box, classes[first], float(probabilities[first]), classes[second], number, word))
    return letters


def space_between(gaps: Sequence[float]) -> float:
    """The gap, in heights of a line, from which on it is a space; infinity where all gaps are of one kind."""
    values = np.array(gaps)
    if len(values) < 2 or np.ptp(values) == 0:
        return math.inf
    threshold = float(threshold_otsu(values))
    narrow, wide = values[values <= threshold].mean(), values[values > threshold].mean()
    return threshold if wide > 1.8 * narrow + 0.1 and wide > 0.3 else math.inf


def settled(letters: Sequence[Letter]) -> list[Letter]:
    """O or 0, I or 1, Z or 2, S or 5: as most of the other characters in their word are, letters or digits."""
    out = []
    for letter in letters:
        word = [o.text for o in letters if (o.line, o.word) == (letter.line, letter.word)]
        digits = [text.isdigit() for text in word if not twin(text)]
        other = twin(letter.text)
        if other and digits and 2 * sum(digits) != len(digits) and other.isdigit() == (2 * sum(digits) > len(digits)):
            letter = replace(letter, text=other, second=letter.text)
        out.append(letter)
    return out


def twin(text: str) -> str | None:
    """The digit that a letter is often taken for, or the letter for a digit; None for most."""
    pair = next((pair for pair in AMBIGUOUS if text in pair), None)
    return pair.replace(text, "") if pair else None
