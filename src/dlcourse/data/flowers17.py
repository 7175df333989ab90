"""flowers17: 17 kinds of flower, 80 photos each (VGG), with the first of its three published splits."""

import tarfile
import zlib
from pathlib import Path, PurePosixPath

import numpy as np

from dlcourse.data import synthetic
from dlcourse.data.photos import decode_all
from dlcourse.data.raw import (
    File,
    Options,
    Reading,
    Source,
    Split,
    damaged,
    hash_file,
    stratified,
)

CLASSES = [
    *(
        "daffodil",
        "snowdrop",
        "lily valley",
        "bluebell",
        "crocus",
        "iris",
        "tigerlily",
        "tulip",
        "fritillary",
    ),
    *("sunflower", "daisy", "coltsfoot", "dandelion", "cowslip", "buttercup", "windflower", "pansy"),
]
COUNT, EACH = 1360, 80
KEYS = {"trn2": 680, "val2": 340, "tst2": 340}  # the split of the report (SPECS: course's partition script)
PHOTOS = [f"image_{number:04d}.jpg" for number in range(1, COUNT + 1)]

HOME = "https://www.robots.ox.ac.uk/~vgg/data/flowers/17/"
# No sha256 is published; these md5s are what several other projects check.
ARCHIVE = File("17flowers.tgz", HOME + "17flowers.tgz", md5="b59a65d8d1a99cd66944d474e1289eab")
SPLITS = File("datasplits.mat", HOME + "datasplits.mat", md5="4828cddfd0d803c5abbdebcb1e148a1e")


def find(root: Path) -> list[Path]:
    """The photos in root/jpg or root, else the archive; before them the splits, where they are there."""
    splits = [path for path in (root / SPLITS.name, root / "jpg" / SPLITS.name) if path.is_file()][:1]
    for folder in (root / "jpg", root):
        if (folder / PHOTOS[0]).is_file():
            return [*splits, *(folder / name for name in PHOTOS)]
    return [*splits, root / ARCHIVE.name] if (root / ARCHIVE.name).is_file() else []


def read(root: Path, files: list[Path], options: Options) -> Reading:
    """With datasplits.mat its second split (trn2, val2, tst2), else a fixed seeded 40/20/20 a class."""
    splits = files[0] if files[0].name == SPLITS.name else None
    rest = files[1:] if splits else files
    y = np.arange(COUNT) // EACH
    parts = read_splits(splits) if splits else stratified(y, (0.5, 0.25, 0.25))
    hashes = {SPLITS.name: hash_file(splits)} if splits else {}
    if rest[0].name == ARCHIVE.name:
        photos = read_archive(rest[0], options.verify)
        hashes[ARCHIVE.name] = hash_file(rest[0])
        paths = [rest[0] / name for name in PHOTOS]  # as errors name them

        def decoded(part: np.ndarray) -> Split:
            chosen = [paths[at] for at in part]
            x, _ = decode_all(chosen, options.size, options.channels, options.threads, lambda path: photos[path.name])
            return x, y[part]

        train, val, test = (decoded(part) for part in parts)
    else:
        train, val, test = (([rest[at] for at in part], y[part]) for part in parts)
    own = "the published split (trn2, val2, tst2)"
    return Reading(
        train=train,
        val=val,
        test=test,
        classes=CLASSES,
        comparable=splits is not None,
        detail=f"1,360 photos, {own if splits else 'split 40/20/20 a class: datasplits.mat is missing'}",
        files=hashes,
    )


def read_splits(path: Path) -> list[np.ndarray]:
    """The photos' numbers, from 0, of each part."""
    from scipy.io import loadmat

    try:
        saved = loadmat(path)
        parts = [saved[key].ravel().astype(np.int64) - 1 for key in KEYS]
    except Exception as error:  # a damaged .mat raises nearly anything
        raise damaged(path, f"{type(error).__name__}: {error}") from error
    numbers = np.concatenate(parts)
    if [len(part) for part in parts] != list(KEYS.values()) or not np.array_equal(np.sort(numbers), np.arange(COUNT)):
        raise damaged(path, "trn2, val2 and tst2 should share out 1,360 photos as 680, 340 and 340")
    return parts


def read_archive(path: Path, verify: bool) -> dict[str, bytes]:
    """The archive's photos by name, still packed as JPEG."""
    if verify and (md5 := hash_file(path, "md5")) != ARCHIVE.md5:
        raise damaged(path, f"its md5 is {md5}, the published one's {ARCHIVE.md5}; data.verify=false takes it as it is")
    photos = {}
    try:
        with tarfile.open(path, "r:gz") as archive:
            for member in archive:
                name = PurePosixPath(member.name).name
                if member.isfile() and name in PHOTOS:
                    file = archive.extractfile(member)
                    assert file is not None
                    photos[name] = file.read()
    except (tarfile.TarError, EOFError, zlib.error, OSError) as error:
        raise damaged(path, f"{type(error).__name__}: {error}") from error
    if len(photos) != COUNT:
        raise damaged(path, f"it holds {len(photos)} of {COUNT} photos")
    return photos


SOURCE = Source(
    name="flowers17",
    title="17 Category Flower Dataset (VGG)",
    what="680 / 340 / 340 photos, 17 classes",
    licence="none stated (research)",
    homepage=HOME,
    expects="jpg/image_0001.jpg to image_1360.jpg (or 17flowers.tgz), and datasplits.mat",
    find=find,
    read=read,
    files=(SPLITS, ARCHIVE),
    folders=("flowers17", "17flowers"),
    stand_in=lambda options: synthetic.textures(CLASSES, options.size, options.channels, (40, 10, 10)),
    stand_in_files=synthetic.made_from,
    size=224,
)
