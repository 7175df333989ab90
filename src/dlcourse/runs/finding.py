"""Run directories anywhere below some directories."""

import os
from collections.abc import Iterable
from pathlib import Path

from dlcourse.core.errors import InputError
from dlcourse.runs.directory import CONFIG, RESULT


def find_runs(tops: Iterable[str]) -> list[Path]:
    """Every run directory (whole or not) that is, or is below, one of some directories; each once."""
    found: dict[Path, Path] = {}
    for top in tops:
        path = Path(top).expanduser()
        if not path.is_dir():
            raise InputError(f"{top}: {'that is a file, not a' if path.is_file() else 'there is no such'} directory")
        for folder, inside, files in os.walk(path):
            inside[:] = sorted(name for name in inside if not name.startswith("."))
            if {RESULT, CONFIG} & set(files):
                found.setdefault(Path(folder).resolve(), Path(folder))
                inside.clear()
    return list(found.values())
