"""NIST36: handwritten capitals and digits of 32×32 pixels, dark on white, from the course's .mat files.

Without those it is rebuilt from EMNIST: letters from the same NIST forms, cropped in another way.
"""

import gzip
import string
import zipfile
import zlib
from contextlib import ExitStack
from pathlib import Path
from typing import IO, cast

import numpy as np

from dlcourse.data import synthetic
from dlcourse.data.matlab import read_mat
from dlcourse.data.raw import (
    DamagedFileError,
    File,
    Options,
    Reading,
    Source,
    Split,
    complete,
    cut_classes,
    damaged,
    hash_file,
)
from dlcourse.data.readers.mnist import idx_shape, parse_idx

CLASSES = list(string.ascii_uppercase + string.digits)
SIZES = {"train": 10_800, "valid": 3_600, "test": 1_800}  # SPECS: 300, 100 and 50 per class
MATS = [f"nist36_{split}.mat" for split in SIZES]
EMNIST = [
    f"emnist-byclass-{part}-ubyte"
    for part in ("train-images-idx3", "train-labels-idx1", "test-images-idx3", "test-labels-idx1")
]
ARCHIVE = File(
    "gzip.zip",
    "https://biometrics.nist.gov/cs_links/EMNIST/gzip.zip",
    bytes=561_753_746,
    md5="58c8d27c78d21e728a6bc7b3cc06412e",  # torchvision's
)


def find(root: Path) -> list[Path]:
    """The three .mat files; else EMNIST's by-class files (torchvision's layout too) or its archive."""
    found = complete([root], MATS)
    for folder in (root, root / "gzip", root / "raw", root / "EMNIST" / "raw"):
        found = found or complete([folder], EMNIST, ("", ".gz"))
        found = found or complete([folder], [ARCHIVE.name]) or complete([folder], ["emnist.zip"])
    return found


def read(root: Path, files: list[Path], options: Options) -> Reading:
    return read_mats(files) if files[0].suffix == ".mat" else read_emnist(files, options.verify)


# ---------------------------------------------------------------------------------------- the course's files


def read_mats(files: list[Path]) -> Reading:
    """`{split}_data` [N, 1024] in 0..1, each row a 32×32 image transposed; `{split}_labels` one-hot."""
    train, val, test = (read_split(path, split) for path, split in zip(files, SIZES, strict=True))
    found, expected = ("/".join(map(str, sizes)) for sizes in (map(len, (train[1], val[1], test[1])), SIZES.values()))
    detail = "the course's .mat files"
    if found != expected:
        detail = f"files in NIST36's form that aren't NIST36: {found} images instead of {expected}"
    hashes = {path.name: hash_file(path) for path in files}
    return Reading(train, val, test, CLASSES, found == expected, detail, hashes)


def read_split(path: Path, split: str) -> Split:
    saved = read_mat(path, [f"{split}_data", f"{split}_labels"])
    data, labels = saved.get(f"{split}_data"), saved.get(f"{split}_labels")
    if data is None or labels is None:
        raise DamagedFileError(
            f"should hold {split}_data and {split}_labels, but doesn't: put the course's file there", path
        )
    if data.ndim != 2 or data.shape[1] != 32 * 32 or labels.shape != (len(data), len(CLASSES)) or not len(data):
        shapes = f"{list(data.shape)} and {list(labels.shape)}"
        raise DamagedFileError(f"holds data and labels of {shapes}: they should be [N, 1024] and [N, 36]", path)
    if not (data.min() >= 0 and data.max() <= 1):  # and not NaN
        raise DamagedFileError(f"holds pixels from {data.min():g} to {data.max():g}: they should lie in 0..1", path)
    if not ((labels == 0) | (labels == 1)).all() or not (labels.sum(axis=1) == 1).all():
        raise DamagedFileError("holds labels that aren't one-hot: each row should have a single 1", path)
    upright = data.reshape(-1, 1, 32, 32).swapaxes(2, 3)
    return np.rint(upright * 255).astype(np.uint8), labels.argmax(axis=1).astype(np.int64)


# --------------------------------------------------------------------------------------- rebuilt from EMNIST


def read_emnist(files: list[Path], verify: bool) -> Reading:
    """300, 100 and 50 images per class from EMNIST by class, always the same; the 50 are from its test set.

    EMNIST's are 28×28, light on dark and transposed: turned upright, inverted, padded with white to 32×32.
    """
    if len(files) == 1 and verify and hash_file(files[0], "md5") != ARCHIVE.md5:
        raise damaged(files[0], f"its md5 is not {ARCHIVE.md5}, that of EMNIST's archive")
    rng = np.random.default_rng(36)
    train, val = emnist_part(files, 0, (300, 100), rng)
    (test,) = emnist_part(files, 2, (50,), rng)
    detail = "rebuilt from EMNIST by class, 300/100/50 per class, padded to 32×32: not the course's images"
    return Reading(train, val, test, CLASSES, False, detail, {path.name: hash_file(path) for path in files})


def emnist_part(files: list[Path], at: int, counts: tuple[int, ...], rng: np.random.Generator) -> list[Split]:
    """Parts drawn from files[at] (images) and files[at + 1] (labels); counts: images per class in each part."""
    with ExitStack() as stack:
        labels_path, labels_file = emnist_open(files, at + 1, stack)
        images_path, images_file = emnist_open(files, at, stack)
        try:
            labels = parse_idx(labels_file.read())
            number = np.full(256, -1)  # EMNIST's classes are 0-9, A-Z, a-z; lower case is left out
            number[:36] = np.roll(np.arange(36), 10)
            y = number[labels]
            for name, found in zip(CLASSES, np.bincount(y + 1, minlength=37)[1:], strict=True):
                if found < sum(counts):
                    raise ValueError(f"{found} images of class {name} where {sum(counts)} are needed")
            *wanted, _ = cut_classes(y, lambda n: np.cumsum(counts), rng)
            everything = np.sort(np.concatenate(wanted))
            shape = idx_shape(images_file.read(16))
            if shape != (len(y), 28, 28):
                raise ValueError(f"images {list(shape)} beside {len(y)} labels")
            picked = pick(images_file, everything, 28 * 28).reshape(-1, 28, 28)
        except (ValueError, EOFError, zlib.error, gzip.BadGzipFile, zipfile.BadZipFile) as error:
            raise damaged(images_path, f"{error}, in it or in {labels_path.name}") from error
    x = np.full((len(everything), 1, 32, 32), 255, np.uint8)
    x[:, 0, 2:-2, 2:-2] = 255 - picked.swapaxes(1, 2)
    return [(x[np.searchsorted(everything, part)], y[part]) for part in wanted]


def emnist_open(files: list[Path], at: int, stack: ExitStack) -> tuple[Path, IO[bytes]]:
    """One of EMNIST's four files, plain, packed or in the archive; unpacked while it is read."""
    if len(files) > 1:
        path = files[at]
        if path.suffix == ".gz":
            return path, cast(IO[bytes], stack.enter_context(gzip.open(path)))
        return path, stack.enter_context(path.open("rb"))
    (path,) = files
    try:
        archive = stack.enter_context(zipfile.ZipFile(path))
        member = next(name for name in archive.namelist() if name.endswith(f"{EMNIST[at]}.gz"))
    except (zipfile.BadZipFile, StopIteration) as error:
        raise damaged(path, str(error) or f"no {EMNIST[at]}.gz in it") from error
    return path, cast(IO[bytes], stack.enter_context(gzip.open(stack.enter_context(archive.open(member)))))


def pick(file: IO[bytes], rows: np.ndarray, width: int) -> np.ndarray:
    """The given rows (ascending) of what is left of a file, rows of `width` bytes: half a gigabyte as a whole."""
    start, picked = file.tell(), bytearray()
    for row in rows.tolist():
        file.seek(start + row * width)
        data = file.read(width)
        if len(data) < width:
            raise ValueError(f"it ends after {(file.tell() - start) // width} images")
        picked += data
    return np.frombuffer(picked, np.uint8).reshape(-1, width)


SOURCE = Source(
    name="nist36",
    title="NIST36, handwritten capital letters and digits",
    what="10,800 / 3,600 / 1,800 of 32×32 grey, 36 classes",
    licence="none stated (course material, from NIST's Special Database 19)",
    homepage="https://www.nist.gov/itl/products-and-services/emnist-dataset",
    expects="nist36_train.mat, nist36_valid.mat and nist36_test.mat (or EMNIST's gzip.zip)",
    find=find,
    read=read,
    files=(ARCHIVE,),
    folders=("nist36", "NIST36", "emnist", "EMNIST"),
    stand_in=lambda options: synthetic.glyphs(CLASSES, (100, 30, 30)),
)
