"""Pieces of ink joined and cut into letters: geometry proposes, the network disposes."""

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from dlcourse.reading.form import thickness
from dlcourse.reading.ink import Array
from dlcourse.reading.pieces import Piece, joined, letter_height

# In heights of a line:
WIDEST = 1.6  # a letter is no wider
LOW = 0.7  # what is lower is hardly a letter
STACKED = 0.3  # how far apart parts of a letter are that lie above one another
SMALL = 0.25  # what is smaller is a speck or a full stop
NEAR = 0.15  # pieces that are further apart belong to two letters

PARTS = 4  # a letter is made of so many strokes at most
JOIN, CUT = 0.2, 1.0  # what joining two pieces costs, and cutting one for each stroke that is cut, in nats
MOST, ENOUGH = 0.5, 6  # how much wider or narrower a hand may be at most, and letters to see that from
VARIED = 0.2  # handwriting's letters are wider and narrower than the data's by so much at least, as log(height / width)


class Candidate(NamedTuple):
    """A letter that a line may have: its pieces first to last (not included), and what that costs in nats.

    parted: whether it shares a stroke with what stands beside it.
    """

    first: int
    last: int
    piece: Piece
    cost: float
    parted: bool


def cut(line: Sequence[Piece], labels: Array) -> list[Piece]:
    """A line's pieces, from left to right: what lies above one another joined, what is too wide in parts."""
    height = letter_height(line)
    stacked: list[Piece] = []
    for piece in line:
        over = next((i for i, other in enumerate(stacked) if above(other, piece, height)), None)
        if over is None:
            stacked.append(piece)
        else:
            stacked[over] = joined([stacked[over], piece])
    stacked = [p for p in stacked if max(p.height, p.width) >= SMALL * height]
    if not stacked:
        return []
    width = float(np.median([p.width for p in stacked]))
    parts = []
    for piece in stacked:
        wide = piece.width > 1.1 * height or (piece.width > 1.35 * width and piece.width > 0.8 * height)
        parts += in_parts(piece, labels, height) if wide else [piece]
    return parts


def above(a: Piece, b: Piece, height: float) -> bool:
    """Whether two pieces, one of them too low for a letter, lie above one another."""
    shared = min(a.right, b.right) - max(a.left, b.left)
    apart = max(a.top, b.top) - min(a.bottom, b.bottom)
    low = min(a.height, b.height) < LOW * height
    return low and shared > 0.5 * min(a.width, b.width) and apart < STACKED * height


def in_parts(piece: Piece, labels: Array, height: float) -> list[Piece]:
    """A piece cut along the paths from above to below that cross the least ink; `labels` gets a number for each part.

    Such a path may lean between two letters. It crosses two strokes at most, and parts are no narrower than a quarter
    of the line's height.
    """
    where = np.s_[piece.top : piece.bottom, piece.left : piece.right]
    strokes = np.isin(labels[where], list(piece.labels))
    crossed, paths = seams(strokes)
    crossed /= thickness(strokes)
    middles = paths.mean(0)
    least = max(2.0, 0.25 * height)
    chosen: list[int] = []
    for column in np.argsort(crossed, kind="stable"):
        if crossed[column] > 2.5 or len(chosen) >= 3 * piece.width / height:
            break
        if all(abs(middles[column] - other) >= least for other in (0, piece.width, *middles[chosen])):
            chosen.append(int(column))
    chosen.sort()
    part = (np.arange(piece.width)[None, :, None] >= paths[:, None, chosen]).sum(2)  # seams left of each pixel
    parts, last = [], int(labels.max())
    for number in range(len(chosen) + 1):
        here = strokes & (part == number)
        if here.any():
            name = last + 1 + number
            labels[where][here] = name
            rows, columns = np.flatnonzero(here.any(1)), np.flatnonzero(here.any(0))
            top, left = piece.top + int(rows[0]), piece.left + int(columns[0])
            bottom, right = piece.top + int(rows[-1]) + 1, piece.left + int(columns[-1]) + 1
            cost = float(crossed[chosen[number - 1]]) if number else 0.0
            parts.append(Piece(top, left, bottom, right, frozenset([name]), piece.strokes, cost))
    return parts


def seams(strokes: Array) -> tuple[Array, Array]:
    """The way of the least ink down to each column of the last row, by one column a row at most.

    strokes: bool [h, w]. Returns how much ink each crosses, float [w], and in which columns it runs, int [h, w].
    """
    high, wide = strokes.shape
    total = strokes[0].astype(float)
    came = np.zeros((high, wide), int)
    for row in range(1, high):
        around = np.pad(total, 1, constant_values=np.inf)
        ways = np.stack([around[1:-1], around[:-2] + 0.01, around[2:] + 0.01])
        came[row] = np.array([0, -1, 1])[ways.argmin(0)]
        total = ways.min(0) + strokes[row]
    paths = np.zeros((high, wide), int)
    paths[-1] = np.arange(wide)
    for row in range(high - 1, 0, -1):
        paths[row - 1] = paths[row] + came[row][paths[row]]
    return total, paths


def rarity(lines: Sequence[Sequence[Piece]]) -> float:
    """How unlikely it is on this page that letters are joined, in nats: most have to be so wide for it to be likely."""
    parts = Counter(piece.strokes for line in lines for piece in line)
    share = (sum(n > 1 for n in parts.values()) + 1) / (len(parts) + 2)
    return max(0.0, math.log((1 - share) / share))


def possible(line: list[Piece], rare: float) -> Iterator[Candidate]:
    """Every piece as a letter, and every few that lie close together as one. rare: see `rarity`."""
    if not line:
        return
    height = letter_height(line)
    gaps = [b.left - a.right for a, b in pairwise(line)]
    usual = float(np.median([g for g in gaps if g > 0] or [0]))
    near = max(0.03 * height, min(NEAR * height, 0.5 * usual))
    for first in range(len(line)):
        cost = 0.0
        for last in range(first, len(line)):
            if last > first:
                connected = bool(line[last - 1].strokes & line[last].strokes)
                if gaps[last - 1] > near and not connected:
                    break
                cost += 0.0 if connected else JOIN
            piece = joined(line[first : last + 1])
            too_wide = max(piece.width, piece.height) > WIDEST * height
            if last > first and len(piece.strokes) > 1 and (too_wide or len(piece.strokes) > PARTS):
                break
            low = 5 * max(0.0, LOW - piece.height / height)
            severed = rare + CUT * line[first].cut if line[first].cut else 0.0
            around = (line[first - 1 : first] if first else []) + line[last + 1 : last + 2]
            parted = any(piece.strokes & other.strokes for other in around)
            yield Candidate(first, last + 1, piece, cost + low + severed, parted)


Known = tuple[Candidate, Array, Array]  # a candidate, its image, its probabilities


def of_hand(known: Sequence[Known], slender: Array) -> Array:
    """How slender each class's letters are in a hand: as in the data, and all wider or narrower by what is usual here.

    That is seen on the pieces that are letters as they are. slender: [classes, 2], mean and standard deviation.
    """
    whole = [(c.piece, p) for c, _, p in known if c.last - c.first == 1 and not c.parted]
    off = [math.log(piece.height / piece.width) - slender[p.argmax(), 0] for piece, p in whole]
    usual = float(np.clip(np.median(off), -MOST, MOST)) if len(off) >= ENOUGH else 0.0
    return np.stack([slender[:, 0] + usual, np.maximum(slender[:, 1], VARIED)], axis=1)


def best(line: Sequence[Known], slender: Array, same: Array) -> list[Known]:
    """The candidates, side by side, that together are likeliest: each counts as often as it has strokes.

    A network is sure of much that is no letter. A class whose letters are seldom as wide or narrow counts for less.
    same: bool [classes, classes], which are written alike: that it can't be told which of them is no fault of the cuts.
    """
    ways: dict[int, tuple[float, list[Known]]] = {0: (0.0, [])}
    for entry in sorted(line, key=lambda entry: entry[0].first):
        candidate, _, probabilities = entry
        cost, chosen = ways[candidate.first]
        piece = candidate.piece
        unusual = np.abs(math.log(piece.height / piece.width) - slender[:, 0]) / slender[:, 1]
        likely = np.log(np.maximum(same @ probabilities, 1e-6)) - np.maximum(0, unusual - 1) ** 2
        cost += candidate.cost - len(piece.strokes) * float(likely.max())
        if candidate.last not in ways or cost < ways[candidate.last][0]:
            ways[candidate.last] = cost, [*chosen, entry]
    return ways[max(ways)][1]
