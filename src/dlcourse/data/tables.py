"""Images listed in a table: file,label[,split], a row an image, files relative to the table. Imports nothing heavy."""

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from dlcourse.core.errors import InputError, did_you_mean, or_list
from dlcourse.data.listing import SPLIT_FOLDERS

ENDINGS = (".csv", ".tsv")
COLUMNS = ("file", "label", "split")
SPLITS = {name: split for split, names in SPLIT_FOLDERS.items() for name in names}  # valid and validation are val


class Row(NamedTuple):
    """An image in a table; split is `train`, `val` or `test`, empty where the table has no such column."""

    line: int
    file: Path
    label: str
    split: str


def is_table(root: Path) -> bool:
    return root.name.lower().endswith(ENDINGS) and root.is_file()


def read_table(path: Path) -> list[Row]:
    """The rows of a table. Raises InputError, with line numbers, for columns that are missing, cells that are empty,
    a split of another name, a file that is named twice, and for fewer than two classes."""
    try:
        text = path.read_text(encoding="utf-8-sig")  # with the mark that spreadsheets put at the begin
        first = text.partition("\n")[0]
        reader = csv.DictReader(text.splitlines(), delimiter=max(",;\t", key=first.count), skipinitialspace=True)
        found = [(reader.line_num, row) for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path} can't be read as a table in UTF-8: {error}") from error
    header = list(reader.fieldnames or [])
    for name in COLUMNS[:2]:
        if name not in header:
            hint = did_you_mean(name, header)
            raise InputError(f"{path} has no column {name}: it has {or_list(header) or 'none'}, needs file,label{hint}")
    cells = [(line, {name: (row.get(name) or "").strip() for name in COLUMNS}) for line, row in found]
    for name in COLUMNS if "split" in header else COLUMNS[:2]:
        refuse(path, [line for line, row in cells if not row[name]], f"no {name}")
    odd = [(line, row["split"]) for line, row in cells if row["split"] and row["split"].lower() not in SPLITS]
    refuse(path, [line for line, _ in odd], f"a split {odd[0][1]!r}, not train, val or test" if odd else "")
    rows = [
        Row(line, path.parent / Path(row["file"]).expanduser(), row["label"], SPLITS.get(row["split"].lower(), ""))
        for line, row in cells
    ]
    seen: dict[Path, int] = {}
    again = [row for row in rows if seen.setdefault(row.file, row.line) != row.line]
    refuse(path, [row.line for row in again], f"a file that line {seen[again[0].file]} has, too" if again else "")
    if len(class_names(rows)) < 2:
        raise InputError(f"{path} has {len(class_names(rows))} classes to train on, at least 2 are needed")
    return rows


def class_names(rows: Iterable[Row]) -> list[str]:
    """The labels of the images to train on, sorted; numbers by their value."""
    names = {row.label for row in rows if row.split in ("", "train")}
    return sorted(names, key=(lambda name: (int(name), name)) if all(n.isdecimal() for n in names) else None)


def refuse(path: Path, lines: Sequence[int], problem: str) -> None:
    """Raise InputError for a problem that some lines have."""
    if lines:
        shown = ", ".join(map(str, lines[:5])) + (f" and {len(lines) - 5} more" if len(lines) > 5 else "")
        has = "s {} have" if len(lines) > 1 else " {} has"
        raise InputError(f"{path}: line{has.format(shown)} {problem}")
