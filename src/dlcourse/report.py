"""`python -m dlcourse.report DIR... [out=DIR]`: tables and figures of any runs, as html, md and csv."""

import logging
import os
import shlex
import shutil
import textwrap
import time
from collections.abc import Iterable
from pathlib import Path

from dlcourse import runs
from dlcourse.core import cli
from dlcourse.core.errors import InputError

log = logging.getLogger(__name__)

USAGE = """
python -m dlcourse.report DIR... [out=DIR]

Puts runs side by side: what differs in their configs, what came out, means over seeds, learning curves, the confusion
matrix of the best. DIR: a run, or a directory with runs anywhere below it, as a sweep's or a study's.
out: where report.html, report.md, table.csv and figures/ go, otherwise outputs/reports/<date>.
"""


def main(argv: list[str]) -> Path:
    tops = [word for word in argv if not word.startswith("-") and ("=" not in word or Path(word).is_dir())]
    given = cli.parse_arguments([word for word in argv if word not in tops], USAGE, (), ("out",))
    out = Path(given.get("out", Path("outputs", "reports", time.strftime("%Y-%m-%d_%H-%M-%S")))).expanduser()
    if not tops:
        raise InputError("of which runs? Name one or more directories (see --help)")
    if out.is_file() or (out / runs.RESULT).exists():
        raise InputError(f"out={out} is a {'file' if out.is_file() else 'run'}: name another directory")
    found = find(tops)
    if not found:
        raise InputError(f"there is no run in {' or '.join(map(str, tops))}, nor in a directory below")

    from dlcourse.reports import page
    from dlcourse.reports.overview import overview, read_records

    records, left_out = read_records(found)
    for text in left_out:
        log.warning("left out: %s", text)
    if not records:
        raise InputError(
            "no run is left: " + ("the only one" if len(found) == 1 else f"none of {len(found)}") + " is whole"
        )
    report = overview(records, left_out, shlex.join(["python", "-m", "dlcourse.report", *argv]))
    page.write(report, out)
    summary = next(item for item in report.items if isinstance(item, page.Table))
    log.info("%s\n%s", summary.title, plain(page.to_grid(summary.frame), shutil.get_terminal_size().columns))
    log.info("report: %s", shlex.quote(str(out / page.HTML)))
    return out


def find(tops: Iterable[str]) -> list[Path]:
    """Every run directory (whole or not) that is, or is below, one of some directories; each once."""
    found: dict[Path, Path] = {}
    for top in tops:
        path = Path(top).expanduser()
        if not path.is_dir():
            raise InputError(f"{top}: {'that is a file, not a' if path.is_file() else 'there is no such'} directory")
        for folder, inside, files in os.walk(path):
            inside[:] = sorted(name for name in inside if not name.startswith("."))
            if {runs.RESULT, runs.CONFIG} & set(files):
                found.setdefault(Path(folder).resolve(), Path(folder))
                inside.clear()
    return list(found.values())


def plain(grid: tuple[list[str], list[list[str]], list[bool]], width: int, height: int = 40) -> str:
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


if __name__ == "__main__":
    cli.run_command(main)
