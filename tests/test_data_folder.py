"""A folder of one's own images, and how photos are decoded."""

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset

from data_files import counts, photo, tensors, write_folder
from dlcourse.core.errors import InputError
from dlcourse.data.photos import PhotoStore, decode
from dlcourse.data.raw import DamagedFileError
from dlcourse.data.sources import load
from dlcourse.data.tensors import Store

pytestmark = pytest.mark.usefixtures("alone")


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
