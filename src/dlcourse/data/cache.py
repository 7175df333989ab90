"""Prepared data sets on disk: a file per data set, root and options, served while raw files stay the same.

A file is written under a temporary name and renamed, so that nobody ever sees half of it, and mapped into
memory, so that several runs share one copy. It outlives its raw files: a machine may go offline.
"""

import hashlib
import logging
import os
import tempfile
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from dlcourse.data.tensors import Provenance, Splits, Tensors

log = logging.getLogger(__name__)

VERSION = 1  # raise it when a reader gives something else for the same raw files


def cache_dir() -> Path:
    """$DLCOURSE_CACHE, or ~/.cache/dlcourse."""
    given = os.environ.get("DLCOURSE_CACHE")
    return Path(given).expanduser() if given else Path.home() / ".cache" / "dlcourse"


def cache_file(name: str, *key: object) -> Path:
    """Where the prepared data set `name` made with `key` (its root and options) lies."""
    digest = hashlib.sha256(repr((VERSION, name, *key)).encode()).hexdigest()
    return cache_dir() / "prepared" / f"{name}-{digest[:16]}.pt"


def fingerprint(files: Iterable[Path]) -> str:
    """Of raw files, without reading them: their paths, sizes and times of change."""
    digest = hashlib.sha256()
    for file in files:
        stat = file.stat()
        digest.update(f"{file}\0{stat.st_size}\0{stat.st_mtime_ns}\n".encode())
    return digest.hexdigest()


def load_prepared(path: Path, fingerprint: str | None, verified: bool) -> Splits | None:
    """The data set prepared at `path`; None if there is none, or one of other raw files than `fingerprint`'s.

    fingerprint=None takes it whatever it was made from (the raw files are gone). verified=True refuses
    one made without a check of the raw files.
    """
    try:
        if not path.is_file():
            return None
        saved: dict[str, Any] = torch.load(path, weights_only=True, mmap=True)
        if fingerprint not in (None, saved["fingerprint"]) or (verified and not saved["verified"]):
            return None
        tensors = {name: Tensors(x, y) for name, (x, y) in saved["splits"].items()}
        provenance = Provenance(**saved["provenance"])
        return Splits(tensors["train"], tensors.get("val"), tensors["test"], saved["classes"], provenance)
    except Exception as error:  # whatever a damaged file does to torch.load, it can be made again
        log.warning("%s is damaged (%s): preparing the data again", path, type(error).__name__)
        return None


def save_prepared(path: Path, splits: Splits, fingerprint: str, verified: bool) -> None:
    """Writes a data set to `path`, whole or not at all; it only says so if it can't."""
    stores = {"train": splits.train, "val": splits.val, "test": splits.test}
    tensors = {name: (store.x, store.y) for name, store in stores.items() if isinstance(store, Tensors)}
    if len(tensors) < sum(store is not None for store in stores.values()):
        return  # photos that don't fit in memory stay where they are
    saved = {
        "fingerprint": fingerprint,
        "verified": verified,
        "splits": tensors,
        "classes": list(splits.classes),
        "provenance": asdict(splits.provenance),
    }
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.stem}-", delete=False) as file:
            temporary = Path(file.name)
            torch.save(saved, file)
        temporary.replace(path)
    except (OSError, RuntimeError) as error:  # RuntimeError: how torch.save reports a full disk
        log.warning("can't keep the prepared data in %s (%s): they are prepared anew each time", path.parent, error)
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)
