"""Numbers as the texts of tables."""

import math
import re
from collections.abc import Sequence
from typing import Any

from pandas import DataFrame

from dlcourse.core.grid import GAP, Grid


def format_mean(mean: float | None, sd: float | None = None, digits: int = 4) -> str:
    """`0.9793 ± 0.0012`, digits after the point; without sd (or with NaN: a single run) `0.9793`; a gap is `–`."""
    if mean is None or math.isnan(mean):
        return GAP
    text = f"{mean:.{digits}f}"
    return text if sd is None or math.isnan(sd) else f"{text} ± {sd:.{digits}f}"


def format_percent(mean: float | None, sd: float | None = None, digits: int = 2) -> str:
    """A share in percent, without the sign: 0.9793 and 0.0012 are `97.93 ± 0.12`."""
    return format_mean(mean if mean is None else 100 * mean, sd if sd is None else 100 * sd, digits)


def format_column(values: Sequence[Any]) -> list[str]:
    """A column as texts. Measured floats of about one size have equally many digits after the point: they line up."""
    floats = [v for v in values if isinstance(v, float) and math.isfinite(v)]
    sizes = [abs(v) for v in floats if v]
    whole = all(v.is_integer() for v in floats)
    measured = any(len(f"{v:.4g}".lstrip("0.").replace(".", "")) > 2 for v in sizes)
    digits = max(4 - math.ceil(math.log10(max(sizes))), 0) if sizes else 0
    lined_up = measured and max(sizes) <= 100 * min(sizes) and digits < 8

    def text(value: Any) -> str:
        if value is None or (isinstance(value, float) and math.isnan(value)):
            return GAP
        if not isinstance(value, float) or math.isinf(value):
            return str(value)
        if whole or abs(value) >= 1e4:
            return f"{value:.0f}"
        return f"{value:.{digits}f}" if lined_up else re.sub(r"e([+-])0*", r"e\1", f"{value:.4g}")

    return [text(value) for value in values]


def to_grid(frame: DataFrame) -> Grid:
    header = [" ".join(map(str, c)) if isinstance(c, tuple) else str(c) for c in frame.columns]
    columns = [format_column(frame.iloc[:, i].astype(object).tolist()) for i in range(len(header))]
    number = re.compile(r"–|[-+]?(\d+|\d{1,3}(,\d{3})+|(?=\.\d))(\.\d+)?(e[+-]\d+)?( ± [\d.]+)?( ?%)?|-?inf")
    numbers = [any(c != GAP for c in column) and all(number.fullmatch(c) for c in column) for column in columns]
    return Grid(header, [list(row) for row in zip(*columns, strict=True)], numbers)
