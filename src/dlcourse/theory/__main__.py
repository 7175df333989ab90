"""`python -m dlcourse.theory [seed=0] [out=DIR]`: the reports' statements, tried on random numbers."""

import csv
import io
import shutil
import sys
import textwrap
from pathlib import Path

from dlcourse import runs
from dlcourse.core import cli
from dlcourse.core.errors import InputError
from dlcourse.theory import Row, cmu, cs671, decide, huji, ntnu, of

USAGE = """
python -m dlcourse.theory [seed=0] [out=DIR]

Tries what the reports state and prove on random numbers: a row a statement, with where it stands, the largest deviation
found, and whether it holds; below it figures, of one that fails the counter-example. The exit code is 0 where each row
comes out as it should: that some of the reports' lines fail is known. out: theory.md and theory.csv go there.
"""

COURSES = {
    "HUJI APML, Convolutional Nets": huji,
    "IIT Mandi CS671, assignment 2": cs671,
    "CMU 16-720, homework 5": cmu,
    "NTNU TDT4265, assignment 1": ntnu,
}
HEADER = ("statement", "where", "largest deviation", "verdict", "as expected", "evidence")


def main(argv: list[str]) -> int:
    given = {"seed": "0"} | cli.parse_arguments(argv, USAGE, (), ("seed", "out"))
    if not given["seed"].isdecimal():
        raise InputError(f"seed={given['seed']}: a whole number from 0 up")
    out = Path(given["out"]).expanduser() if "out" in given else None
    if out is not None and out.exists() and not out.is_dir():
        raise InputError(f"out={out} is a file: name a directory")
    found = {course: [decide(s, int(given["seed"])) for s in of(module)] for course, module in COURSES.items()}
    rows = [row for group in found.values() for row in group]
    wrong = [row for row in rows if not row.as_expected]
    fails = sum(row.verdict == "fails" for row in rows)
    total = f"{len(rows)} statements: {len(rows) - fails} hold, {fails} fail, {len(wrong)} other than expected"
    print("\n\n".join([*(text(course, group) for course, group in found.items()), total]))
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        runs.write_text(out / "theory.md", markdown(found, total))
        runs.write_text(out / "theory.csv", table(rows))
        print(f"{out / 'theory.md'}, {out / 'theory.csv'}")
    return 1 if wrong else 0


def text(course: str, rows: list[Row]) -> str:
    """A course's rows for a terminal: verdict, deviation, statement and place; below them the evidence."""
    width = max(60, shutil.get_terminal_size((120, 24)).columns)
    lines = [course]
    for row in rows:
        about, found = row.statement, row.finding
        start = f"  {row.verdict}  {found.deviation:8.1e}  "
        again = " " * len(start)
        lines += textwrap.wrap(f"{about.text} [{about.where}]", width, initial_indent=start, subsequent_indent=again)
        if not row.as_expected:
            lines.append(f"{again}! it should be: {about.expected}, the deviation up to {about.within:g}")
        if found.evidence:
            lines += textwrap.wrap(f"> {found.evidence}", width, initial_indent=again, subsequent_indent=again + "  ")
    return "\n".join(lines)


def cells(row: Row) -> list[str]:
    """A row as texts, in the order of HEADER."""
    about, found = row.statement, row.finding
    expected = "yes" if row.as_expected else f"no, it should be: {about.expected}"
    return [about.text, about.where, f"{found.deviation:.2g}", row.verdict, expected, found.evidence]


def markdown(found: dict[str, list[Row]], total: str) -> str:
    lines = ["# The reports' statements, tried", "", f"{total}. Deviations are the largest over random draws."]
    for course, rows in found.items():
        lines += ["", f"## {course}", "", f"| {' | '.join(HEADER)} |", "|---" * len(HEADER) + "|"]
        lines += [f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells(row))} |" for row in rows]
    return "\n".join(lines) + "\n"


def table(rows: list[Row]) -> str:
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows([HEADER, *map(cells, rows)])
    return out.getvalue()


def command(argv: list[str]) -> None:
    if main(argv):
        sys.exit(1)


if __name__ == "__main__":
    cli.run_command(command)
