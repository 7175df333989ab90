"""Anyone's own images: root/CLASS/*.jpg, or root/{train,val,test}/CLASS/*.jpg."""

from pathlib import Path

import numpy as np

from dlcourse.data.photos import SUFFIXES, is_photo, list_photos
from dlcourse.data.raw import Options, Reading, Source, Split, stratified
from dlcourse.errors import InputError, or_list

VAL = ("val", "valid", "validation")


def find(root: Path) -> list[Path]:
    """Every image that lies in a folder below root."""
    return [path for path in list_photos(root) if path.parent != root]


def class_names(folder: Path) -> list[str]:
    """The names of the class folders in a folder."""
    return sorted(entry.name for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith((".", "__")))


def read(root: Path, files: list[Path], options: Options) -> Reading:
    """Splits as the folders say; else drawn from all there is, seeded and each class alike."""
    tops = class_names(root)
    split_names = ["train", next((name for name in VAL if name in tops), "val"), "test"]
    own = "train" in tops
    if own and (odd := set(tops) - set(split_names)):
        raise InputError(f"{root} holds train and beside it {sorted(odd)[0]!r}: val and test may be there.")
    classes = class_names(root / "train" if own else root)
    if own and not classes:
        raise InputError(f"{root / 'train'} has no class folders: put the images of a class in train/CLASS.")
    if not own:
        x, y = labelled(root, files, classes)
        drawn = split(x, y, (0.7, 0.15, 0.15), root)
        return reading(drawn[0], drawn[1], drawn[2], classes, "split 70/15/15")

    parts = {
        name: labelled(root / name, [path for path in files if path.is_relative_to(root / name)], classes)
        for name in split_names
        if name in tops
    }
    val = parts.get(split_names[1])
    if "test" in parts:
        return reading(parts["train"], val, parts["test"], classes, "with its own splits")
    train, test = split(*parts["train"], (0.85, 0.15), root)
    return reading(train, val, test, classes, "without a test folder: 15 % of train are kept for it")


def labelled(folder: Path, files: list[Path], classes: list[str]) -> tuple[list[Path], np.ndarray]:
    """Images and their class numbers by the folder in `folder` that each lies in."""
    direct = next((path.name for path in folder.iterdir() if is_photo(path.name)), None)
    if direct:
        raise InputError(f"{folder} holds {direct} outside any class folder: give each class a folder of its own.")
    names = [path.relative_to(folder).parts[0] for path in files]
    odd = next((name for name in names if name not in classes), None)
    if odd:
        raise InputError(f"{folder / odd} is a class that train has not: its classes are {or_list(classes)}.")
    empty = next((name for name in class_names(folder) if name not in names), None)
    if empty:
        raise InputError(
            f"{folder / empty} holds no image ({or_list(list(SUFFIXES))}): add some, or remove the folder."
        )
    number = {name: at for at, name in enumerate(classes)}
    return files, np.array([number[name] for name in names], np.int64)


def split(x: list[Path], y: np.ndarray, shares: tuple[float, ...], root: Path) -> list[Split]:
    parts = stratified(y, shares)
    if not all(len(part) for part in parts):
        raise InputError(f"{root} holds too few images ({len(x)}) to be split: a class should have 4 or more.")
    return [([x[at] for at in part], y[part]) for part in parts]


def reading(train: Split, val: Split | None, test: Split, classes: list[str], detail: str) -> Reading:
    sizes = "/".join(str(len(part[1])) if part else "-" for part in (train, val, test))
    return Reading(train, val, test, classes, False, f"a folder of {len(classes)} classes ({sizes}), {detail}")


SOURCE = Source(
    name="folder",
    title="images of one's own, a folder a class",
    what="any",
    licence="its own",
    homepage="",
    expects=f"CLASS/ folders of images ({', '.join(SUFFIXES)}), or train/CLASS, val/CLASS and test/CLASS",
    find=find,
    read=read,
    size=224,
)
