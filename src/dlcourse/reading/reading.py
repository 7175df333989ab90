"""A page read: ink in pieces, pieces in lines, letters out of them, words."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from dlcourse.core.errors import InputError
from dlcourse.reading.form import Form, fit
from dlcourse.reading.ink import Array, find_ink
from dlcourse.reading.letters import Known, best, cut, of_hand, possible, rarity
from dlcourse.reading.pieces import Piece, cut_out, find_pieces, in_lines, letter_height

Classify = Callable[[Array], Array]  # uint8 [N, side, side] -> probabilities float [N, classes]

AMBIGUOUS = ("O0", "I1", "Z2", "S5")  # letters and digits that many write alike
# A page is turned where so many letters are surer the other way up, by so many nats each and so many standard errors
LEAST, BY, BEYOND = 10, 0.02, 0.5


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
    same = np.array([[a == b or twin(a) == b for b in classes] for a in classes])

    def turned(quarters: int) -> list[list[Known]]:
        return find_letters(np.rot90(page, quarters), classify, form, same)

    found = turned((turn or 0) // 90)
    if turn is None and any(surer_turned(found, classify, same)):
        others = {k: np.array([p for line in turned(k) for *_, p in line]) for k in (1, 2, 3)}
        way = min((k for k, p in others.items() if len(p)), key=lambda k: float(surprises(others[k], same).mean()))
        is_turned = {1: "turned to the right", 2: "upside-down", 3: "turned to the left"}[way]
        raise InputError(f"the page seems to be {is_turned}: turn={90 * way} turns it back (turn=0 reads it as it is)")
    letters = in_words([[(c.piece, probabilities) for c, _, probabilities in line] for line in found], classes)
    return Reading(settled(letters) if context else letters)


def find_letters(page: Array, classify: Classify, form: Form, same: Array) -> list[list[Known]]:
    """The letters of a page in lines, each with its image and its probabilities."""
    ink = find_ink(page)
    if ink is None:
        return []
    pieces, labels = find_pieces(ink)
    lines = [parts for line in in_lines(pieces) if (parts := cut(line, labels))]
    rare = rarity(lines)
    candidates = [list(possible(line, rare)) for line in lines]
    if not candidates:
        return []
    images = np.stack([fit(cut_out(c.piece, ink, labels), form) for line in candidates for c in line])
    probabilities = iter(zip(images, classify(images), strict=True))
    known = [[(c, *next(probabilities)) for c in line] for line in candidates]
    slender = of_hand([entry for line in known for entry in line], np.array(form.slender))
    return [best(line, slender, same) for line in known]


def surer_turned(found: Sequence[Sequence[Known]], classify: Classify, same: Array) -> Iterator[bool]:
    """For each other way up, whether the letters are surer: clearly, and by more than chance, as they vary."""
    images, probabilities = (np.array([entry[k] for line in found for entry in line]) for k in (1, 2))
    if len(images) < LEAST:
        return
    upright = surprises(probabilities, same)
    for quarters in (1, 2, 3):
        less = upright - surprises(classify(np.rot90(images, quarters, (1, 2))), same)
        yield float(less.mean()) > max(BY, BEYOND * float(less.std()) / math.sqrt(len(less)))


def surprises(probabilities: Array, same: Array) -> Array:
    """How unsure each letter is, [n] in nats; that two classes are written alike doesn't count."""
    out: Array = -np.log(np.maximum((probabilities @ same).max(1), 1e-6))
    return out


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
    if len(gaps) < 2:
        return math.inf
    values = np.sort(gaps)
    total, left = np.cumsum(values), np.arange(1, len(values))
    narrow, wide = total[:-1] / left, (total[-1] - total[:-1]) / left[::-1]  # the means of both kinds, cut after each
    k = int(np.argmax(left * left[::-1] * (wide - narrow) ** 2))  # Otsu: the kinds differ most
    return float(values[k : k + 2].mean()) if wide[k] > 1.8 * narrow[k] + 0.1 and wide[k] > 0.3 else math.inf


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
