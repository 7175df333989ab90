"""CIFAR-10: 50,000 + 10,000 colour photos of 32×32 pixels, in batches (pickled or binary) or as image files."""

import hashlib
import io
import pickle
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path, PurePosixPath
from threading import Lock
from typing import Any

import numpy as np

from dlcourse.data import synthetic
from dlcourse.data.listing import is_photo, list_photos, listing_hash
from dlcourse.data.photos import decode_all
from dlcourse.data.raw import DamagedFileError, File, Options, Reading, Source, Split, damaged, hash_file

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
    for folder in ("cifar-10-batches-py", "cifar-10-batches-bin", "."):
        for suffix in ("", ".bin"):
            batches = [root / folder / f"{file.name}{suffix}" for file in BATCHES]
            if all(path.is_file() for path in batches):
                return batches
    zips = [root / "train.zip", root / "test.zip"]
    if all(path.is_file() for path in zips):
        return zips
    trees = [list_photos(root / part) for part in ("train", "test")]
    return [*trees[0], *trees[1]] if all(trees) else []


def read(root: Path, files: list[Path], options: Options) -> Reading:
    """Comparable only if read from the published archive or its batches, recognised by their hashes."""
    first = files[0]
    if is_photo(first.name):
        return read_trees(root, files, options)
    if first.suffix == ".zip":
        return read_zips(files, options)
    if first.suffix == ".bin":
        return reading([read_binary(path) for path in files], False, "CIFAR-10's binary batches, not checked", files)
    if first.name == ARCHIVE.name:
        return read_archive(first, options)
    parts, published = [], True
    for path, file in zip(files, BATCHES, strict=True):
        data = path.read_bytes()
        if (md5 := hashlib.md5(data, usedforsecurity=False).hexdigest()) != file.md5:
            published = False
            if options.verify:
                raise damaged(path, f"its md5 is {md5}, CIFAR-10's is {file.md5}; data.verify=false accepts it")
        parts.append(parse_batch(path, data))
    return reading(parts, published, "CIFAR-10's own batches" if published else "batches in CIFAR-10's form", files)


def reading(parts: list[Batch], comparable: bool, detail: str, files: list[Path]) -> Reading:
    """All batches but the last, concatenated, for training; the last for testing."""
    *train, test = parts
    parts.clear()  # each is freed once it is copied, so that memory never holds two of everything
    y = np.concatenate([labels for _, labels in train])
    x, start = np.empty((len(y), 3, 32, 32), np.uint8), 0
    while train:
        pixels, labels = train.pop(0)
        x[start : start + len(labels)] = pixels
        start += len(labels)
    return Reading(
        train=(x, y),
        val=None,
        test=test,
        classes=CLASSES,
        comparable=comparable,
        detail=detail,
        files={path.name: hash_file(path) for path in files},
    )


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
    found = hash_file(path)
    published = found == ARCHIVE.sha256
    if not published and options.verify:
        raise damaged(path, "it is not CIFAR-10's archive; data.verify=false accepts it", ARCHIVE.sha256, found)
    batches = {}
    try:
        with tarfile.open(path, "r:gz") as archive:
            for member in archive:
                name = PurePosixPath(member.name).name
                if member.isfile() and name in {file.name for file in BATCHES}:
                    file = archive.extractfile(member)
                    assert file is not None
                    batches[name] = parse_batch(path, file.read())
        parts = [batches[file.name] for file in BATCHES]
    except (tarfile.TarError, EOFError, zlib.error, OSError, KeyError) as error:
        raise damaged(path, f"{type(error).__name__}: {error}", ARCHIVE.sha256, found) from error
    return reading(parts, published, "CIFAR-10's own archive" if published else "an archive in CIFAR-10's form", [path])


# ----------------------------------------------------------------------------------------------- image files


def read_zips(files: list[Path], options: Options) -> Reading:
    """train.zip and test.zip of `<class>/<name>.jpg` or .png, in any folder."""
    with ExitStack() as stack:
        parts, hashes = [], {}
        for path in files:
            try:
                archive = stack.enter_context(zipfile.ZipFile(path))
            except zipfile.BadZipFile as error:
                raise damaged(path, str(error)) from error
            names = sorted(name for name in archive.namelist() if is_photo(PurePosixPath(name).name))
            lock = Lock()  # only one thread at a time may read a ZipFile

            def member(name: Path, archive: zipfile.ZipFile = archive, lock: Any = lock, path: Path = path) -> bytes:
                try:
                    with lock:
                        return archive.read(name.relative_to(path).as_posix())
                except (zipfile.BadZipFile, zlib.error, EOFError) as error:
                    raise damaged(path, str(error)) from error

            split, _ = decode_tree([path / name for name in names], path, options, member)
            parts.append(split)
            hashes[path.name] = hash_file(path)
    return of_images(parts, hashes)


def read_trees(root: Path, files: list[Path], options: Options) -> Reading:
    """train/<class>/<name>.jpg or .png, and the same under test/."""
    parts, hashes = [], {}
    for part in ("train", "test"):
        paths = [path for path in files if path.relative_to(root).parts[0] == part]
        split, found = decode_tree(paths, root / part, options, Path.read_bytes)
        parts.append(split)
        hashes[f"{part}/ ({len(paths)} files)"] = listing_hash(
            [f"{path.relative_to(root).as_posix()} {sha256}" for path, sha256 in zip(paths, found, strict=True)]
        )
    return of_images(parts, hashes)


def decode_tree(
    paths: list[Path], where: Path, options: Options, read: Callable[[Path], bytes]
) -> tuple[Split, list[str]]:
    """Image files, decoded, and the classes of the folders they are in; and the files' sha256s."""
    names = [path.parent.name for path in paths]
    if set(names) != set(CLASSES):
        odd = sorted(set(names) ^ set(CLASSES))
        raise DamagedFileError(f"should hold CIFAR-10's ten class folders, airplane to truck: check {odd[0]!r}", where)
    x, hashes = decode_all(paths, 32, 3, options.threads, read)
    return (x, np.array([CLASSES.index(name) for name in names], np.int64)), hashes


def of_images(parts: list[Split], hashes: dict[str, str]) -> Reading:
    train, test = parts
    return Reading(
        train=train,
        val=None,
        test=test,
        classes=CLASSES,
        comparable=False,
        detail=f"image files ({len(train[1])}/{len(test[1])}), not the published arrays: JPEG is slightly lossy",
        files=hashes,
    )


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
    stand_in_files=synthetic.made_from,
)
