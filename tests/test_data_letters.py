"""The readers of digits and letters on small raw files, damaged ones too, and on the real ones where they are."""

import gzip
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from data_files import REAL, counts, nearest_mean_accuracy, real, tensors, write_emnist, write_mnist, write_nist36
from dlcourse.core.errors import InputError
from dlcourse.data.raw import hash_file, stratified
from dlcourse.data.readers import mnist, nist36
from dlcourse.data.sources import load

pytestmark = pytest.mark.usefixtures("alone")


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


@real("nist36like")
def test_real_letters_are_upright_and_learnable() -> None:
    splits = load("nist36", REAL / "nist36like")
    assert counts(splits) == [[120] * 36, [35] * 36, [22] * 36] and not splits.provenance.comparable
    train = tensors(splits.train)
    ink = 255 - train.x[:, 0].float()
    letter_l, letter_t = (ink[train.y == "ABCDEFGHIJKLMNOPQRST".index(letter)].mean(0) for letter in "LT")
    assert letter_l[16:].sum() > 1.2 * letter_l[:16].sum()  # the foot of the L is below
    assert letter_t[:16].sum() > 1.2 * letter_t[16:].sum()  # the bar of the T above


def test_stratified_parts_share_out_every_class() -> None:
    y = np.array([0] * 10 + [1] * 20)
    parts = stratified(y, (0.5, 0.2, 0.3))
    assert sorted(np.concatenate(parts)) == list(range(30))
    assert [np.bincount(y[part]).tolist() for part in parts] == [[5, 10], [2, 4], [3, 6]]
    assert all((a == b).all() for a, b in zip(parts, stratified(y, (0.5, 0.2, 0.3)), strict=True))
    assert any((a != b).any() for a, b in zip(parts, stratified(y, (0.5, 0.2, 0.3), seed=1), strict=True))
