"""flowers17: 17 kinds of flower, 80 photos each (VGG), with the second of its three published splits."""

from pathlib import Path, PurePosixPath

import numpy as np

from dlcourse.data import synthetic
from dlcourse.data.matlab import read_mat
from dlcourse.data.photos import decode_all, shorter_sides
from dlcourse.data.raw import File, Options, Reading, Source, Split, damaged, hash_file, stratified, unpack

CLASSES = [
    *("daffodil", "snowdrop", "lily valley", "bluebell", "crocus", "iris", "tigerlily", "tulip", "fritillary"),
    *("sunflower", "daisy", "coltsfoot", "dandelion", "cowslip", "buttercup", "windflower", "pansy"),
]
COUNT, EACH = 1360, 80
KEYS = {"trn2": 680, "val2": 340, "tst2": 340}  # the split of the report (SPECS: course's partition script)
SIDE = 500  # pixels, about: the shorter side of the published photos
PHOTOS = [f"image_{number:04d}.jpg" for number in range(1, COUNT + 1)]

HOME = "https://www.robots.ox.ac.uk/~vgg/data/flowers/17/"
# No sha256 is published; these are the md5s that several other projects check.
ARCHIVE = File("17flowers.tgz", HOME + "17flowers.tgz", md5="b59a65d8d1a99cd66944d474e1289eab")
SPLITS = File("datasplits.mat", HOME + "datasplits.mat", md5="4828cddfd0d803c5abbdebcb1e148a1e")


def find(root: Path) -> list[Path]:
    """The archive, else the photos in root/jpg or root; before them the splits, if they are there.

    The archive comes first because only its photos can be recognised as the published ones.
    """
    splits = [path for path in (root / SPLITS.name, root / "jpg" / SPLITS.name) if path.is_file()][:1]
    if (root / ARCHIVE.name).is_file():
        return [*splits, root / ARCHIVE.name]
    for folder in (root / "jpg", root):
        if (folder / PHOTOS[0]).is_file():
            return [*splits, *(folder / name for name in PHOTOS)]
    return []


def read(root: Path, files: list[Path], options: Options) -> Reading:
    """With datasplits.mat its second split (trn2, val2, tst2), else a fixed seeded 40/20/20 per class.

    Comparable only if the splits and the archive are the published files, recognised by their hashes.
    """
    splits = files[0] if files[0].name == SPLITS.name else None
    rest = files[1:] if splits else files
    y = np.arange(COUNT) // EACH
    parts = read_splits(splits) if splits else stratified(y, (0.5, 0.25, 0.25))
    hashes = {SPLITS.name: hash_file(splits)} if splits else {}
    if rest[0].name == ARCHIVE.name:
        photos, published = read_archive(rest[0], options.verify)
        origin = "the published archive" if published else "an archive in the published one's form"
        hashes[ARCHIVE.name] = hash_file(rest[0])

        def decoded(part: np.ndarray) -> Split:
            chosen = [rest[0] / PHOTOS[at] for at in part]  # as errors name them
            return decode_all(chosen, options.size, options.channels, lambda path: photos[path.name])[0], y[part]

        train, val, test = map(decoded, parts)
    else:
        published, origin = False, unpacked_origin(rest)
        train, val, test = (([rest[at] for at in part], y[part]) for part in parts)
    if splits is None:
        division = f"split 40/20/20 per class because {SPLITS.name} is missing"
    elif hash_file(splits, "md5") == SPLITS.md5:
        division = "the published split (trn2, val2, tst2)"
    else:
        published, division = False, f"the split of a {SPLITS.name} that is not the published one"
    detail = f"1,360 photos ({origin}), {division}"
    return Reading(train, val, test, CLASSES, published and splits is not None, detail, hashes)


def unpacked_origin(photos: list[Path]) -> str:
    """What can be said of photos that no hash is known of: they may be reduced in size, or repacked."""
    side = int(np.median(shorter_sides(photos)))
    if side < SIDE - 20:
        return f"not the published files: their shorter side is {side} pixels instead of {SIDE}"
    return f"unpacked, so not recognisable as the published files: those are known by {ARCHIVE.name} only"


def read_splits(path: Path) -> list[np.ndarray]:
    """The numbers of each part's photos, from 0."""
    saved = read_mat(path, list(KEYS))
    try:
        parts = [saved[key].ravel().astype(np.int64) - 1 for key in KEYS]
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        raise damaged(path, f"{type(error).__name__}: {error}") from error
    numbers = np.concatenate(parts)
    if [len(part) for part in parts] != list(KEYS.values()) or not np.array_equal(np.sort(numbers), np.arange(COUNT)):
        raise damaged(path, "trn2, val2 and tst2 should divide 1,360 photos into 680, 340 and 340")
    return parts


def read_archive(path: Path, verify: bool) -> tuple[dict[str, bytes], bool]:
    """The archive's photos by name, still JPEG files, and whether it is the published archive."""
    md5 = hash_file(path, "md5")
    if verify and md5 != ARCHIVE.md5:
        raise damaged(path, f"its md5 is {md5}, the published one's {ARCHIVE.md5}; data.verify=false accepts it")
    photos = {PurePosixPath(name).name: data for name, data in unpack(path, PHOTOS.__contains__).items()}
    if len(photos) != COUNT:
        raise damaged(path, f"it holds {len(photos)} of {COUNT} photos")
    return photos, md5 == ARCHIVE.md5


SOURCE = Source(
    name="flowers17",
    title="17 Category Flower Dataset (VGG)",
    what="680 / 340 / 340 photos, 17 classes",
    licence="none stated (research)",
    homepage=HOME,
    expects="17flowers.tgz (or jpg/image_0001.jpg to image_1360.jpg), and datasplits.mat",
    find=find,
    read=read,
    files=(SPLITS, ARCHIVE),
    folders=("flowers17", "17flowers"),
    stand_in=lambda options: synthetic.textures(CLASSES, options.size, options.channels, (40, 10, 10)),
    size=224,
)
