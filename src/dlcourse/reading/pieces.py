"""Connected strokes of ink: which are letters or parts of letters, and in which lines they stand."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from dlcourse.reading.ink import Array, Ink

TINY = 4  # pixels: no part of a letter
# In usual heights of a letter:
SPECK = 0.1  # no part of one
UPRIGHT = 0.5  # what is as high shows where its line runs
HIGHEST = 4.0  # no letter is higher, not even in a heading
RULE = 6.0  # edges and rules are longer


@dataclass(frozen=True)
class Piece:
    """A part of a page, in pixels: rows top to bottom and columns left to right, of the ink with these labels.

    strokes: the connected strokes that it is of; two pieces share one where it has been cut. cut: how much ink that
    took on the piece's left, in thicknesses of a stroke.
    """

    top: int
    left: int
    bottom: int
    right: int
    labels: frozenset[int]
    strokes: frozenset[int]
    cut: float = 0.0

    @property
    def height(self) -> int:
        return self.bottom - self.top

    @property
    def width(self) -> int:
        return self.right - self.left

    @property
    def middle(self) -> float:
        return (self.top + self.bottom) / 2


def joined(pieces: Sequence[Piece]) -> Piece:
    """One piece out of several."""
    return Piece(
        min(p.top for p in pieces),
        min(p.left for p in pieces),
        max(p.bottom for p in pieces),
        max(p.right for p in pieces),
        frozenset().union(*(p.labels for p in pieces)),
        frozenset().union(*(p.strokes for p in pieces)),
        pieces[0].cut,
    )


def cut_out(piece: Piece, ink: Ink, labels: Array) -> Array:
    """A piece's ink alone, float32 [height, width]: that of others in its box is left out."""
    where = np.s_[piece.top : piece.bottom, piece.left : piece.right]
    here = labels[where]
    others = (here > 0) & ~np.isin(here, list(piece.labels))
    return np.where(others, 0, ink.darkness[where])


def find_pieces(ink: Ink) -> tuple[list[Piece], Array]:
    """The strokes that can belong to letters, and the picture of their labels, int [H, W].

    What touches the page's border, is much larger than most, a rule or a full stop, is none.
    """
    labels, _ = ndimage.label(ink.mask, np.ones((3, 3)))
    found = [
        Piece(rows.start, columns.start, rows.stop, columns.stop, frozenset([i]), frozenset([i]))
        for i, (rows, columns) in enumerate(ndimage.find_objects(labels), 1)
    ]
    area = np.bincount(labels.ravel())[1:].tolist()
    high, wide = labels.shape
    inside = [
        (p, a) for p, a in zip(found, area, strict=True)
        if p.top > 0 and p.left > 0 and p.bottom < high and p.right < wide and max(p.height, p.width) > TINY
    ]  # fmt: skip
    usual = usual_height(inside)
    return [p for p, a in inside if may_be_letter(p, a, usual)], labels


def usual_height(pieces: Iterable[tuple[Piece, int]]) -> float:
    """The height that half of the ink does not exceed: specks are many, but have little of it.

    pieces: each with its area in pixels.
    """
    known = sorted(((p.height, area) for p, area in pieces if p.width < RULE * p.height))
    ink = np.cumsum([area for _, area in known])
    return float(known[int(np.searchsorted(ink, ink[-1] / 2))][0]) if known else 0.0


def may_be_letter(piece: Piece, area: int, usual: float) -> bool:
    """Whether a piece can belong to a letter, on a page whose letters are usually so high."""
    longer, shorter = max(piece.height, piece.width), min(piece.height, piece.width)
    speck = longer < SPECK * usual
    huge = piece.height > HIGHEST * usual or piece.width > RULE * usual
    rule = piece.height < 0.25 * usual and piece.width > 2 * usual
    blot = area > 0.85 * longer * shorter and shorter > 0.5 * usual
    return not (speck or huge or rule or blot)


def in_lines(pieces: Sequence[Piece]) -> list[list[Piece]]:
    """Pieces in lines, from top to bottom and from left to right.

    Going from left to right, a piece continues the line that it is level with; a line goes on as its last letters
    run, so it may rise, fall or bend. Low pieces (the bar of a broken T) belong to the line whose band they lie in.
    """
    usual = letter_height(pieces) if pieces else 0.0
    full = sorted((p for p in pieces if p.height >= UPRIGHT * usual), key=lambda p: p.left)
    lines: list[list[Piece]] = []
    for piece in full:
        reach = [(abs(piece.middle - expected(line, piece)), line) for line in lines]
        reach = [(d, line) for d, line in reach if d < 0.6 * max(piece.height, letter_height(line))]
        if reach:
            min(reach, key=lambda pair: pair[0])[1].append(piece)
        else:
            lines.append([piece])
    for piece in sorted((p for p in pieces if p.height < UPRIGHT * usual), key=lambda p: p.left):
        near = [(distance(piece, line), i) for i, line in enumerate(lines)]
        if near and min(near)[0] < 0.5 * usual:
            lines[min(near)[1]].append(piece)
    slope = tilt(lines)
    lines.sort(key=lambda line: float(np.mean([p.middle - slope * (p.left + p.right) / 2 for p in line])))
    return [sorted(line, key=lambda p: p.left) for line in lines]


def expected(line: Sequence[Piece], piece: Piece, last: int = 6) -> float:
    """The height at which a line would have a piece: on the straight line through its last letters."""
    tail = line[-last:]
    x, y = [(p.left + p.right) / 2 for p in tail], [p.middle for p in tail]
    span = max(x) - min(x)
    slope = float(np.polyfit(x, y, 1)[0]) if len(tail) >= 3 and span > 2 * letter_height(tail) else 0.0
    weights = np.linspace(0.2, 1, len(tail))
    at = (piece.left + piece.right) / 2
    levels = np.array(y) + np.clip(slope, -0.3, 0.3) * (at - np.array(x))
    return float((weights * levels).sum() / weights.sum())


def letter_height(line: Sequence[Piece]) -> float:
    """The usual height of a line's letters: that in the middle of all heights laid end to end, as parts are low."""
    heights = np.sort([p.height for p in line])
    total = np.cumsum(heights)
    return float(heights[np.searchsorted(total, total[-1] / 2)])


def distance(piece: Piece, line: Sequence[Piece]) -> float:
    """How far the middle of a low piece lies above or below its nearest neighbours in a line, in pixels."""
    nearest = sorted(line, key=lambda p: max(p.left - piece.right, piece.left - p.right))[:2]
    top, bottom = min(p.top for p in nearest), max(p.bottom for p in nearest)
    return max(top - piece.middle, piece.middle - bottom, 0.0)


def tilt(lines: Sequence[Sequence[Piece]]) -> float:
    """The usual slope of the lines, down to the right."""
    slopes = [
        float(np.polyfit([(p.left + p.right) / 2 for p in line], [p.middle for p in line], 1)[0])
        for line in lines
        if len(line) >= 4
    ]
    return float(np.median(slopes)) if slopes else 0.0
