"""Pictures that are both trained on and held out: counted, said, left out on demand."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image, ImageFilter

from data_files import real, write_folder
from dlcourse import runs
from dlcourse.core.errors import InputError
from dlcourse.data import cache
from dlcourse.data.duplicates import compare_splits
from dlcourse.data.module import DataModule
from dlcourse.data.sources import load
from dlcourse.data.tensors import Examples, Tensors, hash_pixels

pytestmark = pytest.mark.usefixtures("alone")


def picture(seed: int) -> Image.Image:
    """Smooth patches of light and dark, 64×64."""
    generator = torch.Generator().manual_seed(seed)
    return Image.fromarray(torch.randint(0, 256, (9, 9), generator=generator).byte().numpy()).resize((64, 64))


@pytest.fixture
def pets(tmp_path: Path) -> Path:
    """24 pictures to train on, 6 to validate and 6 to test; of the test pictures two are trained on, one of them as
    another class, and a third, blurred, is nearly one; of the validation pictures one is."""
    root = tmp_path / "pets"
    for at in range(36):
        split = "train" if at < 24 else "val" if at < 30 else "test"
        folder = root / split / ("cat", "dog")[at % 2]
        folder.mkdir(parents=True, exist_ok=True)
        picture(at).save(folder / f"{at:02d}.png")
    picture(0).save(root / "test" / "cat" / "30.png")
    picture(1).save(root / "test" / "cat" / "32.png")  # 1 is a dog
    picture(2).filter(ImageFilter.GaussianBlur(1)).save(root / "test" / "cat" / "34.png")
    picture(3).save(root / "val" / "dog" / "25.png")
    return root


def module(pets: Path, **options: Any) -> DataModule:
    data = DataModule("folder", root=str(pets), size=32, **options)
    data.prepare()
    return data


def notes(data: DataModule) -> list[str]:
    assert data.provenance is not None
    return data.provenance.notes


def test_equal_pictures_are_counted_and_said(pets: Path, caplog: pytest.LogCaptureFixture) -> None:
    said = [
        "1 of the 6 validation pictures are in the training set, too",
        "2 of the 6 test pictures are in the training set, too (1 of them as another class)",
    ]
    data = module(pets)
    assert notes(data) == said and len(data.splits["train"]) == 24
    assert [record.message for record in caplog.records] == [f"folder: {note}" for note in said]
    assert notes(module(pets, val="test")) == said[1:]  # said once where they are the same


def test_nearly_equal_ones_are_counted_on_demand(pets: Path) -> None:
    assert notes(module(pets, near_duplicates=True))[-1] == (
        "1 of the 6 test pictures look nearly like one in the training set"
    )


@pytest.mark.parametrize(("near", "left"), [(False, 21), (True, 20)])
def test_they_are_left_out_on_demand(pets: Path, near: bool, left: int) -> None:
    data = module(pets, near_duplicates=near, drop_duplicates=True)
    assert len(data.splits["train"]) == left
    (note,) = notes(data)
    assert note.startswith(f"{24 - left} training pictures") and note.endswith("are left out")
    _, again = compare_splits(data.splits, data.classes, near)
    assert again == []


def test_a_class_that_would_be_gone_is_an_error(tmp_path: Path) -> None:
    for split in ("train", "test"):
        write_folder(tmp_path / split, {"cat": 3, "dog": 3})
    with pytest.raises(InputError, match=r"drop_duplicates=true leaves no training picture of cat or dog"):
        module(tmp_path, drop_duplicates=True)


def test_hashes_are_kept_with_the_pictures(pets: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = load("folder", pets, size=32)
    again = load("folder", pets, size=32)  # from the cache
    for one, other in ((first.train, again.train), (first.test, again.test)):
        assert isinstance(one, Tensors) and isinstance(other, Tensors) and other.hashes is not None
        assert torch.equal(other.hashes, hash_pixels(one.x))
    (file,) = (cache.cache_dir() / "prepared").glob("folder-*.pt")
    saved = torch.load(file, weights_only=True)
    del saved["hashes"]  # as a version without them left it
    torch.save(saved, file)
    assert len(notes(module(pets))) == 2


def test_a_run_keeps_the_count(pets: Path, config: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    from dlcourse.training import fit

    (tmp_path / "run").mkdir()
    words = ("data=folder", f"data.root={pets}", "data.size=8", "model=linear", "trainer.max_epochs=1")
    fit.train(config(*words, "trainer.accelerator=cpu", "trainer.figures=false", "logger=none"), tmp_path / "run")
    assert any("2 of the 6 test pictures" in note for note in runs.read_result(tmp_path / "run")["data"]["notes"])


def test_vectors_are_not_compared() -> None:
    store = Tensors(torch.zeros(6, 4), torch.arange(6) % 2)
    splits = {name: Examples(store, torch.arange(6), store.y) for name in ("train", "val", "test")}
    assert compare_splits(splits, ["a", "b"], near=True, drop=True) == (splits, [])


@real("nist36")
def test_what_the_published_letters_share(monkeypatch: pytest.MonkeyPatch, real_data: Path) -> None:
    monkeypatch.setenv("DLCOURSE_DATA", str(real_data))
    data = DataModule("nist36")
    data.prepare()
    assert any(" test pictures are in the training set, too" in note for note in notes(data))
