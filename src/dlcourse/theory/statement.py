"""A statement of a report, the function that tries it, and what comes of that."""

from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import NamedTuple
from zlib import crc32

import numpy as np
from numpy.random import Generator
from numpy.typing import ArrayLike

from dlcourse.scratch import central_differences
from dlcourse.scratch.layers import Array

HOLDS, FAILS = "holds", "fails"
DRAWS = 100


class Finding(NamedTuple):
    """deviation: how far from what is stated, the largest over the draws; of a yes or no the share of those with no.

    evidence: figures in words; of a statement that fails the counter-example.
    """

    deviation: float
    evidence: str = ""


Check = Callable[[Generator], Finding | float]


@dataclass(frozen=True)
class Statement:
    """text: what is stated. where: the place in the reports. within: the deviation up to which it holds.

    expected: `holds` or `fails`, which we know from the proof; a row that comes out otherwise is a mistake of ours.
    check: one of `draws` tries, of which the worst counts; a number alone is a deviation without evidence.
    """

    text: str
    where: str
    within: float
    expected: str
    draws: int
    check: Check


class Row(NamedTuple):
    statement: Statement
    finding: Finding
    verdict: str

    @property
    def as_expected(self) -> bool:
        return self.verdict == self.statement.expected


def statement(
    text: str, where: str, within: float = 0.0, expected: str = HOLDS, draws: int = 1
) -> Callable[[Check], Statement]:
    """Makes a Statement of the function that tries it."""
    return lambda check: Statement(text, where, within, expected, draws, check)


def of(module: ModuleType) -> list[Statement]:
    """The statements of a module, in the order in which they stand there."""
    return [value for value in vars(module).values() if isinstance(value, Statement)]


def decide(tried: Statement, seed: int) -> Row:
    """Try a statement on numbers that depend on the seed and its text alone. A deviation that is NaN is too large."""
    rng = np.random.default_rng([seed, crc32(tried.text.encode())])
    found = [f if isinstance(f, Finding) else Finding(f) for f in (tried.check(rng) for _ in range(tried.draws))]
    finding = max(found, key=lambda f: np.nan_to_num(f.deviation, nan=np.inf))
    return Row(tried, finding, HOLDS if finding.deviation <= tried.within else FAILS)


# --- what the checks share -------------------------------------------------------------------------------------------


def apart(a: ArrayLike, b: ArrayLike) -> float:
    """The largest difference of two arrays; NaN where there is one in them."""
    return float(np.max(np.abs(np.asarray(a) - np.asarray(b))))


def slope(function: Callable[[], float], at: Array) -> Array:
    """The derivative of a smooth function, to about 12 digits."""
    return central_differences(function, at, eps=1e-3, order=4)


def format_values(values: ArrayLike, digits: int = 3) -> str:
    """`(0.25, 1)`, or a number alone."""
    flat = np.ravel(np.asarray(values))
    texts = [f"{value:.{digits}g}" for value in flat]
    return texts[0] if len(flat) == 1 else f"({', '.join(texts)})"
