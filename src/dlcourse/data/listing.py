"""Images on disk by their names alone: which files are images, which folders are classes. Imports nothing heavy."""

import hashlib
import os
from collections.abc import Iterable
from pathlib import Path

from dlcourse.core.errors import InputError

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff")
SPLIT_FOLDERS = {"train": ("train",), "val": ("val", "valid", "validation"), "test": ("test",)}


def is_hidden(name: str) -> bool:
    """Whether a file or folder is to be ignored: .git, ._name.jpg and __MACOSX (macOS), and the like."""
    return name.startswith((".", "__MACOSX"))


def is_photo(name: str) -> bool:
    """Whether a file's name is that of an image."""
    return name.lower().endswith(SUFFIXES) and not is_hidden(name)


def list_photos(folder: Path) -> list[Path]:
    """Every image in a folder and its subfolders, sorted; hidden folders are left out."""
    found = []
    for parent, folders, names in os.walk(folder, followlinks=True):
        folders[:] = [name for name in folders if not is_hidden(name)]
        found += [Path(parent, name) for name in names if is_photo(name)]
    return sorted(found)


def listing_hash(root: Path, paths: Iterable[Path], marks: Iterable[object]) -> str:
    """The sha256 of a folder's listing, a line a file: its path under `root` and its hash or size."""
    lines = sorted(
        f"{Path(os.path.relpath(p, root)).as_posix()} {mark}\n" for p, mark in zip(paths, marks, strict=True)
    )
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def subfolders(folder: Path) -> list[str]:
    """The names of the folders in a folder, sorted; hidden ones are left out."""
    return sorted(entry.name for entry in folder.iterdir() if entry.is_dir() and not is_hidden(entry.name))


def class_folders(root: Path) -> tuple[list[str], dict[str, Path]]:
    """The classes in a folder of images, and each split's folder: no splits where root holds the classes themselves.

    Raises InputError for fewer than two classes, and for a folder beside train/ that is no split.
    """
    names = subfolders(root)
    splits: dict[str, Path] = {}
    if "train" in names:
        for split, possible in SPLIT_FOLDERS.items():
            found = next((name for name in possible if name in names), None)
            if found:
                splits[split] = root / found
        odd = [name for name in names if root / name not in splits.values()]
        if odd:
            raise InputError(f"{root} holds train/ and {odd[0]}/: only one val/ and one test/ may be beside train/")
    top = splits.get("train", root)
    classes = subfolders(top)
    if len(classes) < 2:
        raise InputError(
            f"{top}: found {len(classes)} class folders, at least 2 are needed "
            "(data.root=DIR with DIR/CLASS/*.jpg, or DIR/{train,val,test}/CLASS/*.jpg)"
        )
    return classes, splits
