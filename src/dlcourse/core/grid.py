"""A table as text for a terminal."""

import textwrap
from typing import NamedTuple

GAP = "–"


class Grid(NamedTuple):
    """A table as texts; numbers are columns of numbers, which stand at the right."""

    header: list[str]
    rows: list[list[str]]
    numbers: list[bool]


def format_grid(grid: Grid, width: int, height: int = 40) -> str:
    """A table as text for a terminal. What has no room is named below it: settings go first, metrics last."""
    header, rows, numbers = grid
    columns = list(zip(header, *rows[:height], strict=True))
    wide = [max(map(len, column)) for column in columns]
    settings = [i for i in reversed(range(1, len(header))) if "/" not in header[i]]
    order = settings + [i for i in reversed(range(1, len(header))) if "/" in header[i]]
    kept = list(range(len(header)))
    while sum(wide[i] + 2 for i in kept) - 2 > width and order:
        kept.remove(order.pop(0))
    padded = [[t.rjust(wide[i]) if numbers[i] else t.ljust(wide[i]) for t in columns[i]] for i in kept]
    lines = ["  ".join(row).rstrip() for row in zip(*padded, strict=True)]
    if len(rows) > height:
        lines.append(f"... and {len(rows) - height} more")
    if len(kept) < len(header):
        left_out = [name for i, name in enumerate(header) if i not in kept]
        lines.append(textwrap.shorten(f"no room for {', '.join(left_out)}", width, placeholder=" ..."))
    return "\n".join(lines)
