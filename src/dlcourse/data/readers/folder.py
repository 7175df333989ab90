"""Anyone's own images: root/CLASS/*.jpg, or root/{train,val,test}/CLASS/*.jpg, or a table of them."""

from pathlib import Path

import numpy as np

from dlcourse.core.errors import InputError, or_list
from dlcourse.data.listing import SUFFIXES, class_folders, is_photo, list_photos, subfolders
from dlcourse.data.raw import Options, Reading, Source, Split, stratified
from dlcourse.data.tables import ENDINGS, class_names, is_table, read_table, refuse

Labelled = tuple[list[Path], np.ndarray]  # images and their class numbers


def find(root: Path) -> list[Path]:
    """Every image in a folder below root; of a table itself, and every image that it lists."""
    if not is_table(root):
        return [path for path in list_photos(root) if path.parent != root]
    rows = read_table(root)
    gone = [row for row in rows if not row.file.is_file()]
    refuse(root, [row.line for row in gone], f"a file that is not there ({gone[0].file})" if gone else "")
    return [root, *(row.file for row in rows)]


def read(root: Path, files: list[Path], options: Options) -> Reading:
    """Splits as the folders or the table have them; else drawn from all images, with the same shares of each class."""
    classes, parts = listed(root) if is_table(root) else below(root, files)
    return divide(parts, classes, f"a {'table' if is_table(root) else 'folder'} of {len(classes)} classes", root)


def divide(parts: dict[str, Labelled], classes: list[str], what: str, root: Path) -> Reading:
    """Images as they are split, or, all in one split '', drawn; where there are none for testing, some of train are."""
    if "" in parts:
        train, val, test = split(*parts[""], (0.7, 0.15, 0.15), root)
        return reading(train, val, test, classes, what, "split 70/15/15")
    if "test" in parts:
        return reading(parts["train"], parts.get("val"), parts["test"], classes, what, "with its own splits")
    train, test = split(*parts["train"], (0.85, 0.15), root)
    detail = "without a test set: 15 % of train is kept for testing"
    return reading(train, parts.get("val"), test, classes, what, detail)


def listed(root: Path) -> tuple[list[str], dict[str, Labelled]]:
    """The classes in a table, and each split's images and class numbers; one split '' where it has none."""
    rows = read_table(root)
    classes = class_names(rows)
    odd = [row for row in rows if row.label not in classes]
    refuse(root, [row.line for row in odd], f"a class that train does not have ({odd[0].label})" if odd else "")
    parts: dict[str, Labelled] = {}
    for name in dict.fromkeys(row.split for row in rows):
        chosen = [row for row in rows if row.split == name]
        numbers = np.array([classes.index(row.label) for row in chosen], np.int64)
        parts[name] = [row.file for row in chosen], numbers
    return classes, parts


def below(root: Path, files: list[Path]) -> tuple[list[str], dict[str, Labelled]]:
    """The same of a folder."""
    classes, folders = class_folders(root)
    if not folders:
        return classes, {"": labelled(root, files, classes)}
    return classes, {
        name: labelled(folder, [path for path in files if path.is_relative_to(folder)], classes)
        for name, folder in folders.items()
    }


def labelled(folder: Path, files: list[Path], classes: list[str]) -> Labelled:
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


def reading(train: Split, val: Split | None, test: Split, classes: list[str], what: str, detail: str) -> Reading:
    sizes = "/".join(str(len(part[1])) if part else "-" for part in (train, val, test))
    return Reading(train, val, test, classes, False, f"{what} ({sizes}), {detail}")


SOURCE = Source(
    name="folder",
    title="your own images, one folder per class",
    what="any",
    expects=f"CLASS/ folders of images ({', '.join(SUFFIXES)}), or train/CLASS, val/CLASS and test/CLASS; or it is a "
    "zip or tar of such a folder, or a .csv with the columns file,label[,split]",
    find=find,
    read=read,
    size=224,
    endings=ENDINGS,
)
