"""Prepared data sets on disk: one file per data set, root and options, valid while the raw files stay the same.

A file is written under a temporary name and renamed, so that nobody ever sees half of it, and mapped into
memory, so that several runs share one copy. It outlives its raw files, which may be on a disk that goes away.
"""

import contextlib
import hashlib
import logging
import math
import os
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

import torch

from dlcourse.core.errors import InputError
from dlcourse.core.files import cache_dir
from dlcourse.data.tensors import Provenance, Splits, Tensors

log = logging.getLogger(__name__)
T = TypeVar("T")

VERSION = 5  # raise it when a reader's result for the same raw files changes


def cache_file(name: str, *key: object) -> Path:
    """The file of the prepared data set `name` made with `key` (its root and options)."""
    digest = hashlib.sha256(repr((VERSION, name, *key)).encode()).hexdigest()
    return cache_dir() / "prepared" / f"{name}-{digest[:16]}.pt"


def fingerprint(files: Iterable[Path]) -> str:
    """A hash of raw files' paths, sizes and modification times; none of them is read."""
    digest = hashlib.sha256()
    for file in files:
        stat = file.stat()
        digest.update(f"{file}\0{stat.st_size}\0{stat.st_mtime_ns}\n".encode())
    return digest.hexdigest()


def load_prepared(path: Path, fingerprint: str | None, verified: bool) -> Splits | None:
    """The data set prepared at `path`; None if there is none, or if its raw files had another fingerprint.

    fingerprint=None accepts any (the raw files are gone). verified=True refuses a data set that was prepared
    without checking its raw files.
    """

    def splits(saved: dict[str, Any]) -> Splits | None:
        if fingerprint not in (None, saved["fingerprint"]) or (verified and not saved["verified"]):
            return None
        hashes = saved.get("hashes", {})  # files of older versions have none
        tensors = {name: Tensors(x, y, hashes.get(name)) for name, (x, y) in saved["splits"].items()}
        provenance = Provenance(**saved["provenance"])
        return Splits(tensors["train"], tensors.get("val"), tensors["test"], saved["classes"], provenance)

    return read(path, splits)


def save_prepared(path: Path, splits: Splits, fingerprint: str, verified: bool) -> None:
    """Writes a data set to `path`, whole or not at all; failing to is only a warning."""
    stores = {"train": splits.train, "val": splits.val, "test": splits.test}
    held = {name: store for name, store in stores.items() if isinstance(store, Tensors)}
    if len(held) < sum(store is not None for store in stores.values()):
        return  # photos that don't fit in memory are not cached
    save(
        path,
        {
            "fingerprint": fingerprint,
            "verified": verified,
            "splits": {name: (store.x, store.y) for name, store in held.items()},
            "hashes": {name: store.hashes for name, store in held.items()},
            "classes": list(splits.classes),
            "provenance": asdict(splits.provenance),
        },
    )


def read(path: Path, parse: Callable[[dict[str, Any]], T]) -> T | None:
    """`parse` of what was saved at `path`, mapped into memory; None where there is nothing, or a damaged file."""
    try:
        if not path.is_file():
            return None
        parsed = parse(torch.load(path, weights_only=True, mmap=True))
        with contextlib.suppress(OSError):
            os.utime(path)  # what is used lately is kept longest
        return parsed
    except Exception as error:  # torch.load fails in many ways on a damaged file, which can always be made again
        log.warning("%s is damaged (%s): preparing the data again", path, type(error).__name__)
        return None


def save(path: Path, saved: dict[str, Any]) -> None:
    """Writes tensors and plain values to `path`, whole or not at all; failing to is only a warning."""
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.stem}-", delete=False) as file:
            temporary = Path(file.name)
            torch.save(saved, file)
        temporary.replace(path)
        if removed := shrink(cache_limit(), keep=path):
            log.info("$DLCOURSE_CACHE_LIMIT: %d prepared files that were not used lately are removed", len(removed))
    except (OSError, RuntimeError) as error:  # RuntimeError: how torch.save reports a full disk
        log.warning(
            "can't keep the prepared data in %s (%s): they will be prepared again next time", path.parent, error
        )
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


# --- its size ---


def cache_limit() -> float:
    """$DLCOURSE_CACHE_LIMIT, in bytes: prepared data are kept up to so much. Raises InputError for no such number."""
    given = os.environ.get("DLCOURSE_CACHE_LIMIT", "")
    try:
        limit = float(given or "inf")
    except ValueError:
        limit = -1.0
    if not limit > 0:
        raise InputError(f"$DLCOURSE_CACHE_LIMIT={given} should be a number of bytes, as 5e9")
    return limit


def files_by_kind() -> dict[str, list[Path]]:
    """The files of the cache by its folders: `prepared` can be made again at any time, `raw` was downloaded."""
    folders = sorted(path for path in cache_dir().glob("*") if path.is_dir())
    return {folder.name: [path for path in folder.rglob("*") if path.is_file()] for folder in folders}


def total_size(files: Iterable[Path]) -> int:
    return sum(path.stat().st_size for path in files)


def shrink(limit: float, kind: str = "prepared", keep: Path | None = None) -> list[Path]:
    """Remove files of a kind, those first that were not used for longest, until they take at most `limit` bytes."""
    if math.isinf(limit):
        return []
    files = sorted(files_by_kind().get(kind, []), key=lambda path: path.stat().st_mtime)
    size, removed = total_size(files), []
    for path in files:
        if size > limit and path != keep:
            size -= path.stat().st_size
            path.unlink(missing_ok=True)
            removed.append(path)
    return removed
