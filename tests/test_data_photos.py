"""The readers of published photos on small raw files, damaged ones too, and on the real ones where they are."""

import os
import pickle
import shutil
import tarfile
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from data_files import (
    REAL,
    counts,
    nearest_mean_accuracy,
    photo,
    real,
    tensors,
    write_cifar_batches,
    write_flower_splits,
    write_flowers,
    write_sun,
)
from dlcourse.core.errors import InputError
from dlcourse.data.photos import decode
from dlcourse.data.raw import hash_file
from dlcourse.data.readers import cifar10, flowers17, sun
from dlcourse.data.sources import load
from dlcourse.data.tensors import Splits

pytestmark = pytest.mark.usefixtures("alone")


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
