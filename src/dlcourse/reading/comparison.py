"""A reading against the truth: which characters are missed, made up or taken for others."""

from collections import Counter
from dataclasses import dataclass

from dlcourse.core.errors import InputError


@dataclass(frozen=True)
class Comparison:
    """characters: of the truth, without spaces. missed, made_up: how many are only in the truth, only in the reading.

    confused: (in the truth, read), with how often.
    """

    characters: int
    missed: int
    made_up: int
    confused: Counter[tuple[str, str]]

    @property
    def error_rate(self) -> float:
        """The character error rate: edits that make the reading of the truth, per character of the truth."""
        return (self.missed + self.made_up + self.confused.total()) / self.characters

    @property
    def recall(self) -> float:
        """The share of the truth's characters for which something was found."""
        return 1 - self.missed / self.characters


def compare(truth: str, read: str) -> Comparison:
    """The fewest edits from a truth to what was read, spaces and line ends aside, capitals and small letters alike.

    Of what isn't a letter or a digit nothing is asked. Raises InputError for a truth without any.
    """
    a, b = ("".join(c for c in text.upper() if c.isalnum()) for text in (truth, read))
    if not a:
        raise InputError("the truth has no letter or digit")
    costs = [[i + j if not (i and j) else 0 for j in range(len(b) + 1)] for i in range(len(a) + 1)]
    for i in range(1, len(a) + 1):
        for j in range(1, len(b) + 1):
            costs[i][j] = min(costs[i - 1][j - 1] + (a[i - 1] != b[j - 1]), costs[i - 1][j] + 1, costs[i][j - 1] + 1)
    i, j, missed, made_up, confused = len(a), len(b), 0, 0, Counter[tuple[str, str]]()
    while i or j:
        if i and j and costs[i][j] == costs[i - 1][j - 1] + (a[i - 1] != b[j - 1]):
            i, j = i - 1, j - 1
            if a[i] != b[j]:
                confused[a[i], b[j]] += 1
        elif i and costs[i][j] == costs[i - 1][j] + 1:
            i, missed = i - 1, missed + 1
        else:
            j, made_up = j - 1, made_up + 1
    return Comparison(len(a), missed, made_up, confused)
