"""SUN-8: photos of eight kinds of scene, the course's choice from SUN, or a new draw from SUN397."""

from pathlib import Path

import numpy as np

from dlcourse.data import synthetic
from dlcourse.data.listing import list_photos
from dlcourse.data.photos import shorter_sides
from dlcourse.data.raw import DamagedFileError, Options, Reading, Source, complete, cut_classes, hash_file

# The course's classes in its order, and the folders of SUN397 they are drawn from (all kinds of desert and waterfall).
CLASSES = {
    "aquarium": ["a/aquarium"],
    "desert": ["d/desert/sand", "d/desert/vegetation"],
    "highway": ["h/highway"],
    "kitchen": ["k/kitchen"],
    "laundromat": ["l/laundromat"],
    "park": ["p/park"],
    "waterfall": ["w/waterfall/block", "w/waterfall/fan", "w/waterfall/plunge"],
    "windmill": ["w/windmill"],
}
LISTS = ["train_files.txt", "train_labels.txt", "test_files.txt", "test_labels.txt"]
TRAIN, TEST = 1177, 400


def find(root: Path) -> list[Path]:
    """The course's eight folders, preceded by its lists if they are there; else the same classes of a SUN397 tree."""
    if all((root / name).is_dir() for name in CLASSES):
        return [*complete([root], LISTS), *(path for name in CLASSES for path in list_photos(root / name))]
    for top in (root, root / "SUN397"):
        if all((top / folder).is_dir() for folders in CLASSES.values() for folder in folders):
            return [path for folders in CLASSES.values() for name in folders for path in list_photos(top / name)]
    return []


def read(root: Path, files: list[Path], options: Options) -> Reading:
    return read_lists(root, files) if files[0].name == LISTS[0] else draw(root, files)


def read_lists(root: Path, files: list[Path]) -> Reading:
    """The course's split: its lists name the photos and their classes."""
    there, parts = set(files), []
    for names, labels in (files[:2], files[2:4]):
        paths = [root / line for line in read_text(names).split("\n") if line.strip()]
        missing = next((path for path in paths if path not in there), None)
        if missing:
            raise DamagedFileError(f"is missing: {names.name} names it", missing)
        try:
            y = np.array(read_text(labels).split(), np.int64)
        except (ValueError, OverflowError) as error:
            raise DamagedFileError(f"should hold one class number per line ({error})", labels) from None
        if len(y) != len(paths) or not len(y) or y.min() < 0 or y.max() >= len(CLASSES):
            wanted = f"{len(paths)} class numbers from 0 to 7, one for each line of {names.name}"
            raise DamagedFileError(f"should hold {wanted}", labels)
        parts.append((paths, y))
    train, test = parts
    whole = (len(train[1]), len(test[1])) == (TRAIN, TEST)
    side = reduced_to([*train[0], *test[0]]) if whole else None
    detail = "the course's photos and split, 1,177/400" if whole else "photos with lists in the course's form"
    detail += f"; photos reduced to a shorter side of {side} pixels" if side else ""
    hashes = {path.name: hash_file(path) for path in files[:4]}
    return Reading(train, None, test, list(CLASSES), whole and side is None, detail, hashes)


def reduced_to(photos: list[Path]) -> int | None:
    """The shorter side to which somebody reduced the photos: the largest there is, where most of them have it.

    The photos of SUN are of many sizes, none of which most of them have.
    """
    sides = shorter_sides(photos)
    largest = max(sides)
    return largest if sides.count(largest) > len(sides) / 2 else None


def read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise DamagedFileError(f"should be text in UTF-8 ({error.reason})", path) from error


def draw(root: Path, files: list[Path]) -> Reading:
    """From each class 50 photos (a quarter, if there are fewer than 200) for testing, at most 150 for training."""
    places = {folder: label for label, folders in enumerate(CLASSES.values()) for folder in folders}
    places |= {name: label for label, name in enumerate(CLASSES)}
    names = [path.relative_to(root).as_posix().removeprefix("SUN397/") for path in files]
    y = np.array([next(places[folder] for folder in places if name.startswith(f"{folder}/")) for name in names])
    for name, count in zip(CLASSES, np.bincount(y, minlength=len(CLASSES)), strict=True):
        if count < 4:
            raise DamagedFileError(f"holds {count} photos of {name}: at least 4 are needed", root)
    parts = cut_classes(y, lambda n: np.array([0, 150]) + min(50, n // 4), np.random.default_rng(8))
    test, train, _ = (([files[at] for at in part], y[part]) for part in parts)
    detail = f"the course's eight classes, but other photos than the course's ({len(train[1])}/{len(test[1])})"
    return Reading(train, None, test, list(CLASSES), False, detail)


SOURCE = Source(
    name="sun",
    title="SUN-8, eight kinds of scene from SUN",
    what="1,177 / - / 400 photos, 8 classes",
    licence="none stated (research)",
    homepage="https://vision.princeton.edu/projects/2010/SUN/",
    expects="the folders aquarium to windmill with train_files.txt, train_labels.txt, test_files.txt and "
    "test_labels.txt (or a SUN397 tree, to draw the eight classes from)",
    find=find,
    read=read,
    folders=("sun", "sun8", "SUN397"),
    stand_in=lambda options: synthetic.textures(list(CLASSES), options.size, options.channels, (60, 15, 15)),
    size=224,
)
