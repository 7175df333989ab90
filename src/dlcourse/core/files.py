"""Files that are written whole or not at all; where what can be made again is kept."""

import contextlib
import csv
import errno
import io
import os
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from dlcourse.core.errors import InputError


def cache_dir() -> Path:
    """$DLCOURSE_CACHE, or ~/.cache/dlcourse."""
    given = os.environ.get("DLCOURSE_CACHE")
    return Path(given).expanduser() if given else Path.home() / ".cache" / "dlcourse"


def csv_text(rows: Iterable[Iterable[Any]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()


def write_text(path: Path, text: str) -> None:
    write_bytes(path, text.encode())


def write_bytes(path: Path, data: bytes | memoryview) -> None:
    """Write a file whole or not at all: under a temporary name, to the disk itself, then renamed.

    Raises InputError where there is no room, or no permission.
    """
    part = path.with_name(path.name + ".part")
    try:
        with part.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except OSError as error:
        raise unwritable(path, error, len(data)) from error
    finally:
        with contextlib.suppress(OSError):
            part.unlink()


def unwritable(path: Path, error: OSError, needed: int) -> InputError:
    """The sentence for a file that can't be written; of a full disk it says how many bytes are `needed`."""
    why = error.strerror or type(error).__name__
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        with contextlib.suppress(OSError):
            why += f" ({file_size(needed)} are needed, {file_size(shutil.disk_usage(path.parent).free)} are free)"
    return InputError(f"{path} can't be written: {why}")


def file_size(number: float) -> str:
    """Bytes as people read them: `1.5 MB`."""
    for unit in ("bytes", "kB", "MB"):
        if number < 1000:
            return f"{number:.3g} {unit}"
        number /= 1000
    return f"{number:.3g} GB"
