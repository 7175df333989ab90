"""CIFAR-10: 50,000 + 10,000 colour photos of 32×32 pixels, in batches (pickled or binary) or as image files."""

import io
import pickle
import pickletools
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from dlcourse.data import synthetic
from dlcourse.data.listing import is_photo, list_photos, listing_hash
from dlcourse.data.photos import decode_all
from dlcourse.data.raw import DamagedFileError, File, Options, Reading, Source, complete, damaged, hash_file, unpack

CLASSES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
Batch = tuple[np.ndarray, np.ndarray]

ARCHIVE = File(
    "cifar-10-python.tar.gz",
    "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",
    "6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce",
    170_498_071,
)
BATCHES = (  # torchvision's md5s
    File("data_batch_1", md5="c99cafc152244af753f735de768cd75f"),
    File("data_batch_2", md5="d4bba439e000b95fd0a9bffe97cbabec"),
    File("data_batch_3", md5="54ebc095f3ab1f0389bbae665268c751"),
    File("data_batch_4", md5="634d18415352ddfa80567beed471001a"),
    File("data_batch_5", md5="482c414d41f54cd18b22e5b47cb7c3cb"),
    File("test_batch", md5="40351d587109b95175f43aff81a1287e"),
)


def find(root: Path) -> list[Path]:
    """The archive; else its batches; the binary batches; train.zip and test.zip; or train/ and test/."""
    if (root / ARCHIVE.name).is_file():
        return [root / ARCHIVE.name]
    folders = [root / "cifar-10-batches-py", root / "cifar-10-batches-bin", root]
    found = complete(folders, [file.name for file in BATCHES], ("", ".bin"))
    if found := found or complete([root], ["train.zip", "test.zip"]):
        return found
    trees = [list_photos(root / part) for part in ("train", "test")]
    return [*trees[0], *trees[1]] if all(trees) else []


def read(root: Path, files: list[Path], options: Options) -> Reading:
    """Comparable only if read from the published archive or its batches, recognised by their hashes."""
    first = files[0]
    if is_photo(first.name) or first.suffix == ".zip":
        return read_images(root, files, options)
    if first.suffix == ".bin":
        return reading([read_binary(path) for path in files], False, "CIFAR-10's binary batches, not checked", files)
    if first.name == ARCHIVE.name:
        return read_archive(first, options)
    parts, published = [], True
    for path, file in zip(files, BATCHES, strict=True):
        if (md5 := hash_file(path, "md5")) != file.md5:
            published = False
            if options.verify:
                raise damaged(path, f"its md5 is {md5}, CIFAR-10's is {file.md5}; data.verify=false accepts it")
        parts.append(parse_batch(path, path.read_bytes()))
    return reading(parts, published, "CIFAR-10's own batches" if published else "batches in CIFAR-10's form", files)


def reading(parts: list[Batch], comparable: bool, detail: str, files: list[Path]) -> Reading:
    """All batches but the last, concatenated, for training; the last for testing."""
    x, y = (np.concatenate(arrays) for arrays in zip(*parts[:-1], strict=True))
    return Reading((x, y), None, parts[-1], CLASSES, comparable, detail, {path.name: hash_file(path) for path in files})


# --------------------------------------------------------------------------------------------------- batches


class ArrayUnpickler(pickle.Unpickler):
    """Reads plain values and arrays; refuses a pickle that asks for anything else, such as running code."""

    def find_class(self, module: str, name: str) -> Any:
        if module in ("numpy.core.multiarray", "numpy._core.multiarray") and name == "_reconstruct":
            return np.empty(0).__reduce__()[0]  # the function itself: where it lives depends on the version of numpy
        if (module, name) in (("numpy", "ndarray"), ("numpy", "dtype")):
            return getattr(np, name)
        if (module, name) == ("_codecs", "encode"):  # how Python 3 writes bytes for Python 2
            return lambda text, _: text.encode("latin1")
        raise pickle.UnpicklingError(f"it asks for {module}.{name}, which is not an array")


def parse_batch(path: Path, data: bytes) -> Batch:
    """A pickled batch: `data` uint8 [N, 3072], planes of red, green and blue, and `labels`, N numbers."""
    try:
        if any("PUT" in op.name and (argument or 0) > len(data) for op, argument, _ in pickletools.genops(data)):
            raise pickle.UnpicklingError("it asks for more memory than anything in it can need")
        batch = ArrayUnpickler(io.BytesIO(data), encoding="bytes").load()
        x, y = np.asarray(batch[b"data"]), np.asarray(batch[b"labels"], np.int64)
        return check_batch(x, y)
    except Exception as error:  # a damaged pickle raises nearly anything
        raise damaged(path, f"{type(error).__name__}: {error}") from error


def read_binary(path: Path) -> Batch:
    """A binary batch: rows of a label and 3072 pixels, a byte each."""
    data = np.fromfile(path, np.uint8)
    try:
        if len(data) % 3073:
            raise ValueError(f"{len(data)} bytes aren't rows of 3073")
        rows = data.reshape(-1, 3073)
        return check_batch(rows[:, 1:], rows[:, 0].astype(np.int64))
    except ValueError as error:
        raise damaged(path, str(error)) from error


def check_batch(x: np.ndarray, y: np.ndarray) -> Batch:
    if x.dtype != np.uint8 or x.ndim != 2 or x.shape[1] != 3072 or y.shape != (len(x),) or not len(x):
        raise ValueError(f"data {list(x.shape)} of {x.dtype} and labels {list(y.shape)}, not uint8 [N, 3072] and [N]")
    if y.min() < 0 or y.max() > 9:
        raise ValueError(f"labels from {y.min()} to {y.max()}, not 0 to 9")
    return x.reshape(-1, 3, 32, 32), y


def read_archive(path: Path, options: Options) -> Reading:
    published = hash_file(path) == ARCHIVE.sha256
    if not published and options.verify:
        raise damaged(path, "it is not CIFAR-10's archive; data.verify=false accepts it", ARCHIVE.sha256)
    names = [file.name for file in BATCHES]
    packed = {PurePosixPath(name).name: data for name, data in unpack(path, names.__contains__, ARCHIVE.sha256).items()}
    try:
        parts = [parse_batch(path, packed[name]) for name in names]
    except KeyError as error:
        raise damaged(path, f"KeyError: {error}", ARCHIVE.sha256) from error
    return reading(parts, published, "CIFAR-10's own archive" if published else "an archive in CIFAR-10's form", [path])


def read_images(root: Path, files: list[Path], options: Options) -> Reading:
    """`<class>/<name>.jpg` or .png in train/ and test/, or in any folder of train.zip and test.zip."""
    parts: list[Batch] = []
    hashes: dict[str, str] = {}
    for at, part in enumerate(("train", "test")):
        top = root / part
        read: Callable[[Path], bytes] = Path.read_bytes
        if packed := files[0].suffix == ".zip":
            top = files[at]
            photos = {top / name: data for name, data in unpack(top, is_photo).items()}
            paths, read = sorted(photos, key=str), photos.__getitem__
        else:
            paths = [path for path in files if path.is_relative_to(top)]
        names = [path.parent.name for path in paths]
        if set(names) != set(CLASSES):
            odd = min(set(names) ^ set(CLASSES))
            raise DamagedFileError(f"should hold CIFAR-10's ten class folders, airplane to truck: check {odd!r}", top)
        x, found = decode_all(paths, 32, 3, read)
        parts.append((x, np.array([CLASSES.index(name) for name in names], np.int64)))
        listing = f"{part}/ ({len(paths)} files)"
        hashes |= {top.name: hash_file(top)} if packed else {listing: listing_hash(root, paths, found)}
    train, test = parts
    sizes = f"{len(train[1])}/{len(test[1])}"
    detail = f"image files ({sizes}), not the published arrays: JPEG is slightly lossy"
    return Reading(train, None, test, CLASSES, False, detail, hashes)


SOURCE = Source(
    name="cifar10",
    title="CIFAR-10, small photos of ten kinds of things",
    what="50,000 / - / 10,000 of 32×32 colour, 10 classes",
    licence="none stated (research)",
    homepage="https://www.cs.toronto.edu/~kriz/cifar.html",
    expects="cifar-10-python.tar.gz (or cifar-10-batches-py/, cifar-10-batches-bin/, train.zip and test.zip, "
    "or train/ and test/ with one folder per class)",
    find=find,
    read=read,
    files=(ARCHIVE,),
    known=BATCHES,
    folders=("cifar10", "cifar-10", "CIFAR10"),
    stand_in=lambda options: synthetic.textures(CLASSES, 32, 3, (400, 100, 100)),
)
