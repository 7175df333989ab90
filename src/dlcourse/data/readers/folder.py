"""Anyone's own images: root/CLASS/*.jpg, or root/{train,val,test}/CLASS/*.jpg."""

from pathlib import Path

import numpy as np

from dlcourse.core.errors import InputError, or_list
from dlcourse.data.listing import SUFFIXES, class_folders, is_photo, list_photos, subfolders
from dlcourse.data.raw import Options, Reading, Source, Split, stratified


def find(root: Path) -> list[Path]:
    """Every image in a folder below root."""
    return [path for path in list_photos(root) if path.parent != root]


def read(root: Path, files: list[Path], options: Options) -> Reading:
    """Splits as the folders have them; otherwise drawn from all images, seeded, with the same shares of each class."""
    classes, folders = class_folders(root)
    if not folders:
        train, val, test = split(*labelled(root, files, classes), (0.7, 0.15, 0.15), root)
        return reading(train, val, test, classes, "split 70/15/15")
    parts = {
        name: labelled(folder, [path for path in files if path.is_relative_to(folder)], classes)
        for name, folder in folders.items()
    }
    if "test" in parts:
        return reading(parts["train"], parts.get("val"), parts["test"], classes, "with its own splits")
    train, test = split(*parts["train"], (0.85, 0.15), root)
    return reading(train, parts.get("val"), test, classes, "without a test folder: 15 % of train is kept for testing")


def labelled(folder: Path, files: list[Path], classes: list[str]) -> tuple[list[Path], np.ndarray]:
    """The images in `folder` and their class numbers, each by the subfolder it lies in."""
    direct = next((path.name for path in folder.iterdir() if is_photo(path.name)), None)
    if direct:
        raise InputError(f"{folder} holds {direct} outside any class folder: give each class a folder of its own")
    names = [path.relative_to(folder).parts[0] for path in files]
    odd = next((name for name in names if name not in classes), None)
    if odd:
        raise InputError(f"{folder / odd} is a class that train does not have: its classes are {or_list(classes)}")
    empty = next((name for name in subfolders(folder) if name not in names), None)
    if empty:
        raise InputError(f"{folder / empty} holds no image ({or_list(list(SUFFIXES))}): add some, or remove the folder")
    number = {name: at for at, name in enumerate(classes)}
    return files, np.array([number[name] for name in names], np.int64)


def split(x: list[Path], y: np.ndarray, shares: tuple[float, ...], root: Path) -> list[Split]:
    parts = stratified(y, shares)
    if not all(len(part) for part in parts):
        raise InputError(f"{root} holds too few images ({len(x)}) to be split: a class should have 6 or more")
    return [([x[at] for at in part], y[part]) for part in parts]


def reading(train: Split, val: Split | None, test: Split, classes: list[str], detail: str) -> Reading:
    sizes = "/".join(str(len(part[1])) if part else "-" for part in (train, val, test))
    return Reading(train, val, test, classes, False, f"a folder of {len(classes)} classes ({sizes}), {detail}")


SOURCE = Source(
    name="folder",
    title="your own images, one folder per class",
    what="any",
    expects=f"CLASS/ folders of images ({', '.join(SUFFIXES)}), or train/CLASS, val/CLASS and test/CLASS",
    find=find,
    read=read,
    size=224,
)
