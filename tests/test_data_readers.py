"""Each reader on small raw files of its form, damaged ones too, and on the real ones where they are."""

import gzip
import os
import pickle
import shutil
import tarfile
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset

from data_files import (
    photo,
    write_cifar_batches,
    write_emnist,
    write_flower_splits,
    write_flowers,
    write_folder,
    write_mnist,
    write_nist36,
    write_sun,
)
from dlcourse.core.errors import InputError
from dlcourse.data.photos import PhotoStore, decode
from dlcourse.data.raw import DamagedFileError, hash_file, stratified
from dlcourse.data.readers import cifar10, flowers17, mnist, nist36, sun
from dlcourse.data.sources import load
from dlcourse.data.tensors import Splits, Store, Tensors

REAL = Path(os.environ.get("DLCOURSE_DATA") or Path(__file__).parents[2] / "shared" / "data")


def real(folder: str) -> pytest.MarkDecorator:
    """Skips a test where the real files aren't."""
    there = (REAL / folder).is_dir()
    return pytest.mark.skipif(not there, reason=f"no {folder} in {REAL}: set DLCOURSE_DATA to a folder of real data")


@pytest.fixture(autouse=True)
def alone(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """No download, no data of this machine, a cache of one's own."""
    monkeypatch.setenv("DLCOURSE_CACHE", str(tmp_path_factory.mktemp("cache")))
    monkeypatch.setenv("DLCOURSE_OFFLINE", "1")
    monkeypatch.delenv("DLCOURSE_DATA", raising=False)


def tensors(store: Store | None) -> Tensors:
    assert isinstance(store, Tensors) and store.x.is_contiguous()
    return store


def counts(splits: Splits) -> list[list[int]]:
    stores = [store for store in (splits.train, splits.val, splits.test) if store is not None]
    return [torch.bincount(store.y, minlength=len(splits.classes)).tolist() for store in stores]


# ----------------------------------------------------------------------------------------------------- MNIST


@pytest.mark.parametrize("layout", [".", "raw", "MNIST/raw"])
@pytest.mark.parametrize("packed", [True, False])
def test_mnist_is_read_from_every_layout(tmp_path: Path, layout: str, packed: bool) -> None:
    files = write_mnist(tmp_path / "data" / layout, packed)
    splits = load("mnist", tmp_path / "data")
    train = tensors(splits.train)
    assert train.x.shape == (40, 1, 28, 28) and train.x.dtype == torch.uint8 and train.y.dtype == torch.int64
    assert train.x.numpy().tobytes() == files["train-images-idx3-ubyte"][16:]
    assert splits.test.y.tolist() == list(range(10)) * 2 and splits.val is None
    assert not splits.provenance.comparable and splits.provenance.source == "real"


@pytest.mark.parametrize(
    "damage",
    [
        lambda packed: packed[: len(packed) // 2],  # truncated
        lambda packed: b"not an archive",
        lambda packed: packed[:200] + bytes(50) + packed[250:],  # bits changed
        lambda packed: gzip.compress(gzip.decompress(packed)[:-1]),  # whole as an archive, not as an array
        lambda packed: gzip.compress(b"\0" + gzip.decompress(packed)),  # no header
        lambda packed: b"",
    ],
)
def test_damaged_mnist_names_the_file_and_both_hashes(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    write_mnist(tmp_path)
    bad = tmp_path / "train-images-idx3-ubyte.gz"
    bad.write_bytes(damage(bad.read_bytes()))
    with pytest.raises(InputError) as error:
        load("mnist", tmp_path)
    assert str(bad) in str(error.value) and "expected sha256 ba891046" in str(error.value)
    assert hash_file(bad) in str(error.value)


def test_another_data_set_of_mnists_size_is_refused_unless_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_mnist(tmp_path)
    monkeypatch.setattr(mnist, "SHAPES", ((40, 28, 28), (40,), (20, 28, 28), (20,)))
    with pytest.raises(InputError, match=r"not MNIST's own: expected sha256 ba89.*data\.verify=false"):
        load("mnist", tmp_path)
    assert not load("mnist", tmp_path, verify=False).provenance.comparable
    with pytest.raises(InputError, match=r"not MNIST's own"):  # also when it was prepared without the check
        load("mnist", tmp_path)


def test_mnist_with_unequal_labels_or_strange_ones_is_refused(tmp_path: Path) -> None:
    write_mnist(tmp_path, packed=False)
    labels = tmp_path / "train-labels-idx1-ubyte"
    good = labels.read_bytes()
    labels.write_bytes(good[:-1] + b"\x0b")
    with pytest.raises(InputError, match=r"label 11"):
        load("mnist", tmp_path)
    labels.write_bytes(good[:7] + b"\x27" + good[8:-1])
    with pytest.raises(InputError, match=r"labels"):
        load("mnist", tmp_path)


def test_mnists_stand_in_is_real_digits_split_alike() -> None:
    splits = load("mnist", source="stand-in")
    assert counts(splits) == [[350] * 10, [50] * 10, [100] * 10]
    assert splits.provenance.source == "stand-in" and not splits.provenance.comparable
    mean = tensors(splits.train).x[splits.train.y == 1].float().mean(0)[0]
    assert mean[14, 14] > 200 and mean[14, 4] < 5  # ones are a stroke in the middle


@real("mnist")
def test_real_mnist_is_known_by_its_hashes() -> None:
    splits = load("mnist", REAL / "mnist", source="real")
    assert splits.provenance.comparable and len(splits.train) == 60_000 and len(splits.test) == 10_000
    assert counts(splits)[1] == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]


# ---------------------------------------------------------------------------------------------------- NIST36


def test_nist36_is_turned_upright_and_known_by_its_sizes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images = write_nist36(tmp_path)
    splits = load("nist36", tmp_path)
    for store, split in ((splits.train, "train"), (splits.val, "valid"), (splits.test, "test")):
        expected = np.rint(images[split] * 255).astype(np.uint8)
        np.testing.assert_array_equal(tensors(store).x[:, 0].numpy(), expected)
    assert list(splits.classes[:2]) == ["A", "B"] and list(splits.classes[25:27]) == ["Z", "0"]
    assert splits.train.y[:40].tolist() == [*range(36), 0, 1, 2, 3]
    assert not splits.provenance.comparable and "108/72/36" in splits.provenance.detail
    monkeypatch.setattr(nist36, "SIZES", {"train": 108, "valid": 72, "test": 36})
    monkeypatch.setenv("DLCOURSE_CACHE", str(tmp_path / "another"))
    assert load("nist36", tmp_path).provenance.comparable


def test_a_bad_mat_file_is_named(tmp_path: Path) -> None:
    from scipy.io import savemat

    write_nist36(tmp_path)
    bad = tmp_path / "nist36_valid.mat"
    data, labels = np.zeros((2, 1024)), np.eye(36)[:2]
    for content, words in (
        ({"valid_data": data}, "valid_labels"),
        ({"valid_data": data[:, :100], "valid_labels": labels}, r"\[2, 100\]"),
        ({"valid_data": data + 255, "valid_labels": labels}, "0..1"),
        ({"valid_data": data * np.nan, "valid_labels": labels}, "0..1"),
        ({"valid_data": data, "valid_labels": labels * 2}, "one-hot"),
    ):
        savemat(bad, content)
        with pytest.raises(InputError, match=rf"nist36_valid.mat.*{words}"):
            load("nist36", tmp_path)
    bad.write_bytes(bad.read_bytes()[:200])
    with pytest.raises(InputError, match=rf"nist36_valid.mat is damaged.*{hash_file(bad)}"):
        load("nist36", tmp_path)


@pytest.mark.parametrize("form", ["packed", "plain", "archive"])
def test_nist36_is_rebuilt_from_emnist(tmp_path: Path, form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    write_emnist(tmp_path / "raw", packed=form != "plain")
    root = tmp_path / "raw"
    if form == "archive":
        root = tmp_path / "zip"
        root.mkdir()
        with zipfile.ZipFile(root / "gzip.zip", "w") as archive:
            for path in (tmp_path / "raw").iterdir():
                archive.write(path, f"gzip/{path.name}")
        with pytest.raises(InputError, match=r"gzip.zip is damaged.*58c8d27c"):
            load("nist36", root)
        monkeypatch.setattr(nist36, "ARCHIVE", replace(nist36.ARCHIVE, md5=hash_file(root / "gzip.zip", "md5")))
    splits = load("nist36", root)
    assert counts(splits) == [[300] * 36, [100] * 36, [50] * 36]
    x, y = tensors(splits.train).x[:, 0], splits.train.y
    assert (x[:, :2] == 255).all() and (x[:, :, -2:] == 255).all()  # the white frame
    assert (x[:, 2, 2:-2] == 55).all()  # the top row, 200, inverted: upright
    number = torch.where(y < 26, y + 10, y - 26)  # EMNIST's digits come first
    assert torch.equal(255 - x[:, 16, 16].long(), number)
    assert not splits.provenance.comparable


def test_truncated_emnist_is_named(tmp_path: Path) -> None:
    write_emnist(tmp_path, packed=False)
    images = tmp_path / "emnist-byclass-test-images-idx3-ubyte"
    images.write_bytes(images.read_bytes()[:-100_000])
    with pytest.raises(InputError, match=rf"{images.name} is damaged"):
        load("nist36", tmp_path)


def test_nist36s_stand_in_is_dark_on_white_and_can_be_told_apart() -> None:
    splits = load("nist36", source="stand-in")
    assert counts(splits) == [[100] * 36, [30] * 36, [30] * 36]
    train, test = tensors(splits.train), tensors(splits.test)
    assert train.x.float().mean() > 150 and train.x[:, 0, 0].float().mean() > 240
    assert nearest_mean_accuracy(train, test) > 0.5


def nearest_mean_accuracy(train: Tensors, test: Tensors) -> float:
    """The accuracy of the simplest classifier there is: the class with the nearest mean image."""
    means = torch.stack([train.x[train.y == label].float().mean(0).flatten() for label in train.y.unique()])
    return float((torch.cdist(test.x.float().flatten(1), means).argmin(1) == test.y).float().mean())


@real("nist36like")
def test_real_letters_are_upright_and_learnable() -> None:
    splits = load("nist36", REAL / "nist36like")
    assert counts(splits) == [[120] * 36, [35] * 36, [22] * 36] and not splits.provenance.comparable
    train = tensors(splits.train)
    ink = 255 - train.x[:, 0].float()
    letter_l, letter_t = (ink[train.y == "ABCDEFGHIJKLMNOPQRST".index(letter)].mean(0) for letter in "LT")
    assert letter_l[16:].sum() > 1.2 * letter_l[:16].sum()  # the foot of the L is below
    assert letter_t[:16].sum() > 1.2 * letter_t[16:].sum()  # the bar of the T above


# -------------------------------------------------------------------------------------------------- CIFAR-10


@pytest.fixture
def batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, dict[bytes, object]]:
    """Six small batches in tmp_path/cifar-10-batches-py that pass for the published ones."""
    folder = tmp_path / "cifar-10-batches-py"
    written = write_cifar_batches(folder)
    known = tuple(replace(file, md5=hash_file(folder / file.name, "md5")) for file in cifar10.BATCHES)
    monkeypatch.setattr(cifar10, "BATCHES", known)
    return written


def assert_batches(splits: Splits, batches: dict[str, dict[bytes, object]]) -> None:
    pixels = np.concatenate([np.asarray(batches[file.name][b"data"]) for file in cifar10.BATCHES])
    both = torch.cat([tensors(splits.train).x, tensors(splits.test).x])
    np.testing.assert_array_equal(both.numpy().reshape(-1, 3072), pixels)
    assert counts(splits) == [[10] * 10, [2] * 10]


def test_cifar_batches_are_read_and_checked(tmp_path: Path, batches: dict[str, dict[bytes, object]]) -> None:
    splits = load("cifar10", tmp_path)
    assert_batches(splits, batches)
    assert splits.provenance.comparable
    batch = tmp_path / "cifar-10-batches-py" / "data_batch_2"
    batch.write_bytes(pickle.dumps(batches["data_batch_3"], protocol=2))
    with pytest.raises(InputError, match=r"data_batch_2 is damaged.*data\.verify=false"):
        load("cifar10", tmp_path)
    assert not load("cifar10", tmp_path, verify=False).provenance.comparable
    batch.write_bytes(batch.read_bytes()[:1000])
    with pytest.raises(InputError, match=r"data_batch_2 is damaged"):
        load("cifar10", tmp_path, verify=False)


class Attack:
    """Pickled, it asks for a command to be run."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (f"touch {self.trace}",)


def test_a_batch_cannot_run_code(tmp_path: Path, batches: dict[str, dict[bytes, object]]) -> None:
    batch = tmp_path / "cifar-10-batches-py" / "test_batch"
    batch.write_bytes(pickle.dumps({b"data": Attack(tmp_path / "trace"), b"labels": [1]}, protocol=2))
    with pytest.raises(InputError, match=r"test_batch is damaged.*system"):
        load("cifar10", tmp_path, verify=False)
    assert not (tmp_path / "trace").exists()


def test_cifars_archive_is_read_and_checked(
    tmp_path: Path, batches: dict[str, dict[bytes, object]], monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "root"
    root.mkdir()
    path = root / "cifar-10-python.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        archive.add(tmp_path / "cifar-10-batches-py", "cifar-10-batches-py")
    with pytest.raises(InputError, match=rf"is damaged.*expected sha256 6d958be0.*found {hash_file(path)}"):
        load("cifar10", root)
    monkeypatch.setattr(cifar10, "ARCHIVE", replace(cifar10.ARCHIVE, sha256=hash_file(path)))
    splits = load("cifar10", root)
    assert_batches(splits, batches)
    assert splits.provenance.comparable
    path.write_bytes(path.read_bytes()[:-2000])
    with pytest.raises(InputError, match=r"cifar-10-python.tar.gz is damaged"):
        load("cifar10", root, verify=False)


def test_cifars_binary_batches(tmp_path: Path, batches: dict[str, dict[bytes, object]]) -> None:
    root = tmp_path / "root"
    (root / "cifar-10-batches-bin").mkdir(parents=True)
    for name, batch in batches.items():
        labels = np.asarray(batch[b"labels"], np.uint8)[:, None]
        rows = np.concatenate([labels, np.asarray(batch[b"data"])], axis=1)
        (root / "cifar-10-batches-bin" / f"{name}.bin").write_bytes(rows.tobytes())
    splits = load("cifar10", root)
    assert_batches(splits, batches)
    assert not splits.provenance.comparable
    bad = root / "cifar-10-batches-bin" / "data_batch_1.bin"
    bad.write_bytes(bad.read_bytes()[:-1])
    with pytest.raises(InputError, match=r"data_batch_1.bin is damaged"):
        load("cifar10", root)


@pytest.mark.parametrize("form", ["tree", "zip"])
def test_cifar_as_image_files(tmp_path: Path, form: str) -> None:
    for part, count in (("train", 2), ("test", 1)):
        for label, name in enumerate(cifar10.CLASSES):
            for at in range(count):
                photo(tmp_path / "tree" / part / name / f"{at:04d}.png", (label, at, 7), (32, 32))
    root = tmp_path / form
    if form == "zip":
        root.mkdir()
        for part in ("train", "test"):
            with zipfile.ZipFile(root / f"{part}.zip", "w") as archive:
                for path in (tmp_path / "tree" / part).rglob("*.png"):
                    archive.write(path, path.relative_to(tmp_path / "tree"))
    splits = load("cifar10", root)
    train = tensors(splits.train)
    assert train.x.shape == (20, 3, 32, 32) and torch.equal(train.x[:, 0, 5, 5].long(), train.y)
    assert counts(splits) == [[2] * 10, [1] * 10] and not splits.provenance.comparable
    assert splits.classes[0] == "airplane" and splits.classes[9] == "truck"


@real("cifar10")
def test_real_cifar_files_are_photos_of_ten_kinds() -> None:
    with zipfile.ZipFile(REAL / "cifar10" / "test.zip") as archive:
        names = [name for name in archive.namelist() if "/frog/" in name]
        frogs = np.stack([decode(archive.read(name), 32, 3) for name in names[:50]])
    assert len(names) == 1000 and frogs[:, 1].mean() > frogs[:, 2].mean()  # more green than blue


# ------------------------------------------------------------------------------------------------- flowers17


def test_flowers_split_as_published_or_seeded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tmp_path / "flowers"
    write_flowers(root)
    seeded = load("flowers17", root, size=4)
    assert counts(seeded) == [[40] * 17, [20] * 17, [20] * 17] and not seeded.provenance.comparable
    assert "datasplits.mat is missing" in seeded.provenance.detail
    red = tensors(seeded.train).x[:, 0, 0, 0].long()
    assert (red - 10 * seeded.train.y).abs().max() <= 3  # JPEG

    parts = write_flower_splits(root / "datasplits.mat")
    known = replace(flowers17.SPLITS, md5=hash_file(root / "datasplits.mat", "md5"))
    monkeypatch.setattr(flowers17, "SPLITS", known)
    unpacked = load("flowers17", root, size=4)  # the new file makes the prepared data stale
    assert unpacked.val is not None and "the published split" in unpacked.provenance.detail
    for store, part in zip((unpacked.train, unpacked.val, unpacked.test), parts, strict=True):
        assert store.y.tolist() == (part // 80).tolist()
    assert not unpacked.provenance.comparable and "shorter side is 2 pixels" in unpacked.provenance.detail

    with tarfile.open(tmp_path / "17flowers.tgz", "w:gz") as archive:
        archive.add(root / "jpg", "jpg")
    (tmp_path / "datasplits.mat").write_bytes((root / "datasplits.mat").read_bytes())
    with pytest.raises(InputError, match=r"17flowers.tgz is damaged.*b59a65d8"):
        load("flowers17", tmp_path, size=4)
    assert not load("flowers17", tmp_path, size=4, verify=False).provenance.comparable
    known = replace(flowers17.ARCHIVE, md5=hash_file(tmp_path / "17flowers.tgz", "md5"))
    monkeypatch.setattr(flowers17, "ARCHIVE", known)
    packed = load("flowers17", tmp_path, size=4)
    assert torch.equal(tensors(packed.test).x, tensors(unpacked.test).x) and packed.provenance.comparable
    shutil.copytree(root / "jpg", tmp_path / "jpg")
    assert load("flowers17", tmp_path, size=4).provenance.comparable  # unpacked beside the archive
    monkeypatch.setattr(flowers17, "SPLITS", replace(flowers17.SPLITS, md5="0" * 32))
    (tmp_path / "datasplits.mat").touch()
    assert not load("flowers17", tmp_path, size=4).provenance.comparable

    (root / "jpg" / "image_0777.jpg").unlink()
    with pytest.raises(InputError, match=r"image_0777.jpg can't be read"):
        load("flowers17", root, size=4)
    write_flower_splits(root / "datasplits.mat")
    (root / "datasplits.mat").write_bytes(b"nothing")
    photo(root / "jpg" / "image_0777.jpg")
    with pytest.raises(InputError, match=r"datasplits.mat is damaged"):
        load("flowers17", root, size=4)


@real("flowers17")
def test_real_flowers() -> None:
    splits = load("flowers17", REAL / "flowers17", size=16)
    train = tensors(splits.train)
    assert counts(splits) == [[40] * 17, [20] * 17, [20] * 17]
    assert not splits.provenance.comparable and "shorter side is 256 pixels" in splits.provenance.detail
    mean = {name: train.x[train.y == at].float().mean((0, 2, 3)) for at, name in enumerate(splits.classes)}
    assert mean["sunflower"][0] > mean["sunflower"][2] + 40 and mean["bluebell"][2] > mean["sunflower"][2]


# ------------------------------------------------------------------------------------------------------- SUN


def test_sun_as_the_courses_lists_say(tmp_path: Path) -> None:
    write_sun(tmp_path)
    splits = load("sun", tmp_path, size=8)
    assert counts(splits) == [[3] * 8, [2] * 8] and splits.val is None and not splits.provenance.comparable
    test = tensors(splits.test)
    assert torch.equal(test.x[:, 0, 0, 0].long(), 20 * test.y) and test.x[:2, 1, 0, 0].tolist() == [3, 4]
    (tmp_path / "train_labels.txt").write_text("0\n1\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"train_labels.txt should hold 24"):
        load("sun", tmp_path, size=8)
    (tmp_path / "train_files.txt").write_text("park/none.jpg\npark/sun_1.png\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"park/none.jpg is missing: train_files.txt"):
        load("sun", tmp_path, size=8)
    (tmp_path / "train_files.txt").write_bytes("park/é.jpg\n".encode("latin1"))
    with pytest.raises(InputError, match=r"train_files.txt should be text in UTF-8"):
        load("sun", tmp_path, size=8)


def test_sun_of_the_courses_size_is_comparable_unless_its_photos_were_reduced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_sun(tmp_path)
    monkeypatch.setattr(sun, "TRAIN", 24)
    monkeypatch.setattr(sun, "TEST", 16)
    found = load("sun", tmp_path, size=8).provenance
    assert not found.comparable and found.detail.endswith("photos reduced to a shorter side of 8 pixels")
    for at, path in enumerate(sorted(tmp_path.glob("*/*.png"))):
        Image.new("RGB", (9 + at, 20 + at)).save(path)
    found = load("sun", tmp_path, size=8).provenance
    assert found.comparable and "reduced" not in found.detail


@pytest.mark.parametrize("layout", [".", "SUN397"])
def test_sun_drawn_from_sun397(tmp_path: Path, layout: str) -> None:
    from dlcourse.data.readers.sun import CLASSES

    for label, folders in enumerate(CLASSES.values()):
        for folder in folders:
            for at in range(4):
                photo(tmp_path / layout / folder / f"{at}.png", (20 * label, 0, 0))
    photo(tmp_path / layout / "a/abbey/0.png")
    splits = load("sun", tmp_path, size=8)
    assert counts(splits) == [[3, 6, 3, 3, 3, 3, 9, 3], [1, 2, 1, 1, 1, 1, 3, 1]]
    assert torch.equal(tensors(splits.train).x[:, 0, 0, 0].long(), 20 * splits.train.y)
    assert not splits.provenance.comparable


@real("sun8")
def test_real_sun() -> None:
    splits = load("sun", REAL / "sun8", size=16)
    assert counts(splits) == [[127] + [150] * 7, [50] * 8]
    assert not splits.provenance.comparable and "shorter side of 256 pixels" in splits.provenance.detail
    assert ",".join(splits.classes) == "aquarium,desert,highway,kitchen,laundromat,park,waterfall,windmill"


@pytest.mark.parametrize("name", ["cifar10", "flowers17", "sun"])
def test_colour_stand_ins_can_be_told_apart(name: str) -> None:
    splits = load(name, source="stand-in", size=None if name == "cifar10" else 32)
    train, test = tensors(splits.train), tensors(splits.test)
    assert train.x.shape[1:] == (3, 32, 32) and splits.val is not None
    assert nearest_mean_accuracy(train, test) > 3 / len(splits.classes)
    assert not splits.provenance.comparable and splits.provenance.source == "stand-in"


# ---------------------------------------------------------------------------------------------------- folder


def test_a_folder_is_split_alike(tmp_path: Path) -> None:
    write_folder(tmp_path / "pets", {"cat": 20, "dog": 40})
    (tmp_path / "pets" / "cat" / "notes.txt").write_text("no image", encoding="utf-8")
    (tmp_path / "pets" / ".git").mkdir()
    photo(tmp_path / "pets" / "cat" / "._000.png")  # macOS's
    splits = load("folder", tmp_path / "pets", size=8)
    assert list(splits.classes) == ["cat", "dog"] and counts(splits) == [[14, 28], [3, 6], [3, 6]]
    stores = [tensors(store) for store in (splits.train, splits.val, splits.test)]
    seen = sorted((int(x[0, 0, 0]), int(x[2, 0, 0])) for store in stores for x in store.x)
    assert seen == [(0, at) for at in range(20)] + [(40, at) for at in range(40)]  # each image once
    grey = load("folder", tmp_path / "pets", size=8, channels=1)
    assert tensors(grey.train).x.shape == (42, 1, 8, 8)


def test_a_folder_with_its_own_splits(tmp_path: Path) -> None:
    write_folder(tmp_path / "train", {"cat": 20, "dog": 20})
    write_folder(tmp_path / "valid", {"cat": 2, "dog": 1})
    without = load("folder", tmp_path, size=8)
    assert counts(without) == [[17, 17], [2, 1], [3, 3]]
    assert "15 % of train is kept for testing" in without.provenance.detail
    write_folder(tmp_path / "test", {"dog": 3})
    assert counts(load("folder", tmp_path, size=8)) == [[20, 20], [2, 1], [0, 3]]
    write_folder(tmp_path / "test", {"cow": 3})
    with pytest.raises(InputError, match=r"test/cow is a class that train does not have: its classes are cat or dog"):
        load("folder", tmp_path, size=8)


def test_what_is_wrong_with_a_folder_is_said(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"folder needs data.root=DIR"):
        load("folder")
    with pytest.raises(InputError, match=r"there is no folder .*none"):
        load("folder", tmp_path / "none")
    with pytest.raises(InputError, match=r"holds no class folders of images"):
        load("folder", tmp_path)
    write_folder(tmp_path, {"cat": 8, "dog": 8})
    stray = photo(tmp_path / "stray.jpg")
    with pytest.raises(InputError, match=r"stray.jpg outside any class folder"):
        load("folder", tmp_path)
    stray.unlink()
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"empty holds no image"):
        load("folder", tmp_path)
    (tmp_path / "empty").rmdir()
    for content in (b"", b"no image", (tmp_path / "cat" / "000.png").read_bytes()[:-30]):
        (tmp_path / "dog" / "bad.png").write_bytes(content)
        with pytest.raises(InputError, match=r"dog/bad.png can't be read as an image"):
            load("folder", tmp_path, size=8)
    with pytest.raises(InputError, match=r"too few"):
        write_folder(tmp_path / "small", {"cat": 1, "dog": 1})
        load("folder", tmp_path / "small")


@pytest.mark.parametrize(
    ("folders", "classes"),
    [
        (["ape", "cat", "dog", ".git", "__MACOSX"], ["ape", "cat", "dog"]),
        (["train/cat", "train/dog", "train/.cache", "test/dog", "__MACOSX/train"], ["cat", "dog"]),
        (["train/cat", "train/dog", "validation/cat", "validation/dog"], ["cat", "dog"]),
        (["test", "val"], ["test", "val"]),  # without train/ they are classes
        (["__init__", "cat"], ["__init__", "cat"]),
        (["train/cat", "train/dog", "other/cat"], "train/ and other/"),
        (["train/cat", "train/dog", "val/cat", "valid/cat"], "train/ and valid/"),
        (["train/cat", "test/cat", "test/dog"], "train: found 1 class folders"),
        (["cat", "__MACOSX"], "found 1 class folders"),
    ],
)
def test_config_and_reader_count_the_same_classes(
    tmp_path: Path, folders: list[str], classes: list[str] | str, config: Callable[..., dict[str, Any]]
) -> None:
    for folder in folders:
        write_folder(tmp_path, {folder: 8})

    def configured() -> int:
        return int(config("data=folder", f"data.root={tmp_path}")["data"]["classes"])

    if isinstance(classes, str):
        for count in (configured, lambda: load("folder", tmp_path, size=8)):
            with pytest.raises(InputError, match=classes):
                count()
    else:
        assert configured() == len(classes)
        assert list(load("folder", tmp_path, size=8).classes) == classes


class Streamed(Dataset[torch.Tensor]):
    """A store as a worker reads it."""

    def __init__(self, store: Store) -> None:
        self.store = store

    def __len__(self) -> int:
        return len(self.store)

    def __getitem__(self, at: int) -> torch.Tensor:
        return self.store.take(torch.tensor([at]))[0]


def test_a_folder_larger_than_memory_limit_streams(tmp_path: Path) -> None:
    write_folder(tmp_path, {"cat": 20, "dog": 20})
    streamed = load("folder", tmp_path, size=8, memory_limit=100)
    assert isinstance(streamed.train, PhotoStore) and isinstance(streamed.val, PhotoStore)
    held = tensors(load("folder", tmp_path, size=8).train)
    index = torch.tensor([5, 0, 27])
    x, y = pickle.loads(pickle.dumps(streamed.train)).take(index)  # as a worker gets it
    assert torch.equal(x, held.x[index]) and torch.equal(y, held.y[index]) and x.dtype == torch.uint8

    (tmp_path / "cat" / "000.png").write_bytes(b"no image")
    with pytest.raises(InputError, match=r"cat/000.png can't be read"):
        load("folder", tmp_path, size=8, memory_limit=100)
    bad = Path(streamed.train.paths[3])
    bad.write_bytes(b"no image")
    with pytest.raises(InputError, match=rf"{bad.name} can't be read"):
        streamed.train.take(torch.tensor([3]))
    loader = DataLoader(Streamed(streamed.train), num_workers=1)
    with pytest.raises(InputError, match=r"^/\S+/cat/00\d.png can't be read .*, or remove it$"):
        list(loader)


def test_a_damaged_files_error_survives_a_process_boundary(tmp_path: Path) -> None:
    error = DamagedFileError("is damaged", tmp_path / "a b.png")
    copy = pickle.loads(pickle.dumps(error))
    assert (str(copy), copy.path) == (f"{tmp_path}/a b.png is damaged", tmp_path / "a b.png")


def test_photos_are_upright_opaque_and_of_any_kind(tmp_path: Path) -> None:
    wide = Image.new("RGB", (20, 10), "red")
    wide.paste("blue", (0, 0, 10, 10))  # the left half
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90° clockwise: the left half is above then
    wide.save(tmp_path / "turned.png", exif=exif)
    Image.new("RGBA", (4, 4), (0, 0, 0, 0)).save(tmp_path / "clear.png")
    Image.fromarray(np.full((4, 4), 40_000, np.uint16)).save(tmp_path / "deep.png")
    Image.new("CMYK", (4, 4), (0, 0, 0, 255)).save(tmp_path / "print.jpg")
    Image.new("P", (4, 4)).save(tmp_path / "palette.gif")
    pixels = {path.name: decode(path.read_bytes(), 4, 3) for path in tmp_path.iterdir() if path.is_file()}
    assert pixels["turned.png"][:, 0, 0].tolist() == [0, 0, 255]
    assert pixels["turned.png"][:, 3, 0].tolist() == [255, 0, 0]
    assert (pixels["clear.png"] == 255).all() and (pixels["deep.png"] == 40_000 >> 8).all()
    assert (pixels["print.jpg"] < 5).all() and pixels["palette.gif"].shape == (3, 4, 4)


def test_photos_are_resized_as_torchvision_does(tmp_path: Path) -> None:
    from torchvision.transforms.functional import pil_to_tensor, resize

    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (37, 53, 3), np.uint8))
    noise.save(tmp_path / "noise.png")
    ours = torch.from_numpy(decode((tmp_path / "noise.png").read_bytes(), 24, 3).copy())
    assert torch.equal(ours, pil_to_tensor(resize(noise, [24, 24])))


def test_stratified_parts_share_out_every_class() -> None:
    y = np.array([0] * 10 + [1] * 20)
    parts = stratified(y, (0.5, 0.2, 0.3))
    assert sorted(np.concatenate(parts)) == list(range(30))
    assert [np.bincount(y[part]).tolist() for part in parts] == [[5, 10], [2, 4], [3, 6]]
    assert all((a == b).all() for a, b in zip(parts, stratified(y, (0.5, 0.2, 0.3)), strict=True))
    assert any((a != b).any() for a, b in zip(parts, stratified(y, (0.5, 0.2, 0.3), seed=1), strict=True))
