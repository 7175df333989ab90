"""Tiny raw files in the forms of the published ones, for the tests of the readers."""

import gzip
import os
import pickle
import struct
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from dlcourse.data.readers import cifar10, flowers17, nist36, sun
from dlcourse.data.tensors import Splits, Store, Tensors

REAL = Path(os.environ.get("DLCOURSE_DATA") or Path(__file__).parents[2] / "shared" / "data")


def real(folder: str) -> pytest.MarkDecorator:
    """Skips a test where the real files aren't."""
    there = (REAL / folder).is_dir()
    return pytest.mark.skipif(not there, reason=f"no {folder} in {REAL}: set DLCOURSE_DATA to a folder of real data")


def tensors(store: Store | None) -> Tensors:
    assert isinstance(store, Tensors) and store.x.is_contiguous()
    return store


def counts(splits: Splits) -> list[list[int]]:
    stores = [store for store in (splits.train, splits.val, splits.test) if store is not None]
    return [torch.bincount(store.y, minlength=len(splits.classes)).tolist() for store in stores]


def nearest_mean_accuracy(train: Tensors, test: Tensors) -> float:
    """The accuracy of the simplest classifier there is: the class with the nearest mean image."""
    means = torch.stack([train.x[train.y == label].float().mean(0).flatten() for label in train.y.unique()])
    return float((torch.cdist(test.x.float().flatten(1), means).argmin(1) == test.y).float().mean())


def idx(array: np.ndarray) -> bytes:
    """An array of bytes as an IDX file."""
    return struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.astype(np.uint8).tobytes()


def mnist_files(train: int = 40, test: int = 20, seed: int = 0) -> dict[str, bytes]:
    """MNIST's four files by name, unpacked, with so many images."""
    rng = np.random.default_rng(seed)
    parts = {"train": train, "t10k": test}
    files = {}
    for name, count in parts.items():
        files[f"{name}-images-idx3-ubyte"] = idx(rng.integers(0, 256, (count, 28, 28)))
        files[f"{name}-labels-idx1-ubyte"] = idx(np.arange(count) % 10)
    return files


def write_mnist(folder: Path, packed: bool = True, **sizes: int) -> dict[str, bytes]:
    """Writes them; returns them unpacked."""
    folder.mkdir(parents=True, exist_ok=True)
    files = mnist_files(**sizes)
    for name, data in files.items():
        (folder / (f"{name}.gz" if packed else name)).write_bytes(gzip.compress(data) if packed else data)
    return files


def write_nist36(folder: Path, each: Sequence[int] = (3, 2, 1)) -> dict[str, np.ndarray]:
    """The three .mat files; returns the upright images [N, 32, 32] in 0..1 of each."""
    from scipy.io import savemat

    folder.mkdir(parents=True, exist_ok=True)
    rng, images = np.random.default_rng(0), {}
    for split, count in zip(nist36.SIZES, each, strict=True):
        upright = rng.random((36 * count, 32, 32)).astype(np.float32)
        labels = np.eye(36, dtype=np.uint8)[np.arange(36 * count) % 36]
        rows = upright.swapaxes(1, 2).reshape(-1, 1024)
        savemat(folder / f"nist36_{split}.mat", {f"{split}_data": rows, f"{split}_labels": labels})
        images[split] = upright
    return images


def write_emnist(folder: Path, packed: bool) -> None:
    """EMNIST's by-class files: an image's grey level is its class number, its top row 200."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    for part, each in (("train", 401), ("test", 52)):
        labels = rng.permutation(np.repeat(np.arange(62), each)).astype(np.uint8)
        images = np.broadcast_to(labels[:, None, None], (len(labels), 28, 28)).copy()
        images[:, :, 0] = 200  # stored transposed: this column is the top row of the upright image
        for name, array in (("images-idx3", images), ("labels-idx1", labels)):
            path = folder / f"emnist-byclass-{part}-{name}-ubyte"
            data = idx(array)
            if packed:
                path.with_name(f"{path.name}.gz").write_bytes(gzip.compress(data, 1))
            else:
                path.write_bytes(data)


def cifar_batches(each: int = 2) -> dict[str, dict[bytes, object]]:
    """The six batches by name, as they are pickled."""
    rng = np.random.default_rng(0)
    batches: dict[str, dict[bytes, object]] = {}
    for file in cifar10.BATCHES:
        labels = [int(label) for label in np.arange(10 * each) % 10]
        batches[file.name] = {b"data": rng.integers(0, 256, (10 * each, 3072), np.uint8), b"labels": labels}
    return batches


def write_cifar_batches(folder: Path, each: int = 2) -> dict[str, dict[bytes, object]]:
    folder.mkdir(parents=True, exist_ok=True)
    batches = cifar_batches(each)
    for name, batch in batches.items():
        (folder / name).write_bytes(pickle.dumps(batch, protocol=2))
    return batches


def photo(path: Path, colour: tuple[int, int, int] = (10, 20, 30), size: tuple[int, int] = (12, 8)) -> Path:
    """An image file of one colour."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(path)
    return path


def write_folder(root: Path, classes: dict[str, int], suffix: str = ".png") -> None:
    """A folder a class with so many images; a class's colour is (40·its place, 0, the image's place)."""
    for place, (name, count) in enumerate(classes.items()):
        for at in range(count):
            photo(root / name / f"{at:03d}{suffix}", (40 * place, 0, at))


def write_flowers(root: Path) -> None:
    """1,360 photos of 2×2 in jpg/, red being the class."""
    for at, name in enumerate(flowers17.PHOTOS):
        photo(root / "jpg" / name, (10 * (at // 80), 0, 0), (2, 2))


def write_flower_splits(path: Path) -> list[np.ndarray]:
    """datasplits.mat with trn2, val2 and tst2; returns the photos' numbers from 0."""
    from scipy.io import savemat

    order = np.random.default_rng(1).permutation(1360)
    parts = np.split(order, [680, 1020])
    savemat(path, dict(zip(("trn2", "val2", "tst2"), (part[None] + 1 for part in parts), strict=True)))
    return parts


def write_sun(root: Path, train: int = 3, test: int = 2) -> None:
    """The course's eight folders and four lists."""
    lines: dict[str, list[str]] = {name: [] for name in sun.LISTS}
    for label, name in enumerate(sun.CLASSES):
        for at in range(train + test):
            path = photo(root / name / f"sun_{at}.png", (20 * label, at, 0))
            part = "train" if at < train else "test"
            lines[f"{part}_files.txt"].append(path.relative_to(root).as_posix())
            lines[f"{part}_labels.txt"].append(str(label))
    for name, content in lines.items():
        (root / name).write_text("\n".join(content) + "\n")


def same(a: Splits, b: Splits) -> bool:
    assert isinstance(a.train, Tensors) and isinstance(b.train, Tensors)
    return torch.equal(a.train.x, b.train.x) and torch.equal(a.test.y, b.test.y) and a.provenance == b.provenance


def files_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*") if path.is_file()) if folder.exists() else []
