"""Data sets of the Hugging Face hub, from their files on disk: no network is asked."""

import ast
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import datasets
import huggingface_hub.constants
import pytest
import torch
from PIL import Image

from data_files import counts, tensors, write_folder
from dlcourse import runs
from dlcourse.core.errors import InputError
from dlcourse.data.readers import hf
from dlcourse.data.sources import load
from dlcourse.training import fit

pytestmark = pytest.mark.usefixtures("alone")
Config = Callable[..., dict[str, Any]]
SPLITS = {"train": 30, "validation": 9, "test": 6, "unsupervised": 3}


@pytest.fixture(autouse=True)
def caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Caches of one's own, and a hub that isn't there."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "arrow")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    yield
    datasets.enable_progress_bars()


def rows(count: int, **columns: list[Any]) -> datasets.Dataset:
    """`count` pictures of one grey each, of three classes; their columns called as is usual."""
    made = {"image": [Image.new("L", (6, 4), 5 * at) for at in range(count)], "label": [at % 3 for at in range(count)]}
    kinds = {"image": datasets.Image(), "label": datasets.ClassLabel(names=["ape", "cat", "dog"])}
    out = datasets.Dataset.from_dict(made, features=datasets.Features(kinds))
    for name, column in columns.items():
        out = out.add_column(name, column)
    return out


def parquet(folder: Path, **splits: datasets.Dataset) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, one in splits.items():
        one.to_parquet(folder / f"{name}-00000-of-00001.parquet")
    return folder


@pytest.fixture
def pets(tmp_path: Path) -> Path:
    return parquet(tmp_path / "pets", **{name: rows(count) for name, count in SPLITS.items()})


def load_hf(name: object, **options: Any) -> Any:
    return load("hf", size=8, channels=1, extra={"dataset": str(name)} | options)


def test_parquet_files_as_the_hub_has_them(pets: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    splits = load_hf(pets)
    assert list(splits.classes) == ["ape", "cat", "dog"] and counts(splits) == [[10] * 3, [3] * 3, [2] * 3]
    assert tensors(splits.train).x.shape == (30, 1, 8, 8)
    assert tensors(splits.train).x[:, 0, 0, 0].tolist() == [5 * at for at in range(30)]
    assert splits.provenance.detail == f"{pets}, a Hugging Face data set of 3 classes (30/9/6), with its own splits"
    monkeypatch.setattr(datasets, "load_dataset", lambda *_: pytest.fail("read again"))
    assert torch.equal(tensors(load_hf(pets).test).x, tensors(splits.test).x)  # tensors are in this project's cache


def test_other_forms_on_disk(pets: Path, tmp_path: Path) -> None:
    rows(30).save_to_disk(tmp_path / "one")
    datasets.DatasetDict({"train": rows(30), "test": rows(6)}).save_to_disk(tmp_path / "several")
    write_folder(tmp_path / "images" / "train", {"cat": 8, "dog": 8})
    write_folder(tmp_path / "images" / "test", {"cat": 2, "dog": 2})
    assert counts(load_hf(tmp_path / "one")) == [[8, 8, 8], [2, 2, 2]]  # 15 % of train are kept for testing
    assert counts(load_hf(tmp_path / "several")) == [[10] * 3, [2] * 3]
    assert counts(load_hf(tmp_path / "images")) == [[8, 8], [2, 2]]
    assert counts(load_hf(pets / "train-00000-of-00001.parquet"))[0] == [8, 8, 8]
    zipped = shutil.make_archive(str(tmp_path / "pets"), "zip", pets)
    assert counts(load_hf(zipped)) == [[10] * 3, [3] * 3, [2] * 3]


def test_columns_are_found_or_set(tmp_path: Path) -> None:
    words = ["b", "a"] * 15
    two = rows(30, kind=words).add_column("other", rows(30)["label"])
    folder = parquet(tmp_path / "two", train=two.rename_columns({"label": "fine", "image": "img"}))
    assert list(load_hf(folder).classes) == ["ape", "cat", "dog"]
    by_word = load_hf(folder, label_column="kind")
    assert list(by_word.classes) == ["a", "b"] and counts(by_word)[0] == [13, 13]
    folder = parquet(tmp_path / "plain", train=two.remove_columns("label").rename_column("image", "left"))
    with pytest.raises(InputError, match=r"data.label_column is missing, .*: the columns are left, kind or other"):
        load_hf(folder)
    with pytest.raises(InputError, match=r"data.label_column=kid: there is no such column; did you mean kind[?]"):
        load_hf(folder, label_column="kid")
    with pytest.raises(InputError, match=r"data.image_column=lft: there is no such column; did you mean left[?]"):
        load_hf(folder, label_column="kind", image_column="lft")
    with pytest.raises(InputError, match=r"data.image_column=kind has no images in it"):
        load_hf(folder, label_column="other", image_column="kind")
    with pytest.raises(InputError, match=r"data.label_column=left has no classes in it, but Image"):
        load_hf(folder, label_column="left")
    assert list(load_hf(folder, label_column="other", image_column="left").classes) == ["0", "1", "2"]


def test_labels_that_are_not_published(tmp_path: Path) -> None:
    unknown = rows(6).remove_columns("label").add_column("label", [-1] * 6)
    unknown = unknown.cast_column("label", datasets.ClassLabel(names=["ape", "cat", "dog"]))
    folder = parquet(tmp_path / "pets", train=rows(30), test=unknown)
    assert counts(load_hf(folder)) == [[8, 8, 8], [2, 2, 2]]
    with pytest.raises(InputError, match=r"row 0 of train of .* has the label -1, which is no class of train"):
        load_hf(parquet(tmp_path / "none", train=unknown))


def test_pictures_that_are_none(tmp_path: Path) -> None:
    broken = datasets.Dataset.from_dict({"image": [b"no image"] * 30, "label": [at % 2 for at in range(30)]})
    with pytest.raises(InputError, match=r"images can't be read: train/row 0 .*a data set without them is needed"):
        load_hf(parquet(tmp_path / "broken", train=broken))


def test_what_is_wrong_with_a_name_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, config: Config) -> None:
    with pytest.raises(InputError, match=r"data.name=./no: there is no such file or folder"):
        load_hf("./no")
    with pytest.raises(InputError, match=r"data.name=owner/pets isn't here, and \$DLCOURSE_OFFLINE forbids"):
        load_hf("owner/pets")
    monkeypatch.delenv("DLCOURSE_OFFLINE")
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(InputError, match=r"data.name=owner/pets isn't here, and the Hugging Face hub can't be reached"):
        load_hf("owner/pets")
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "x.txt").write_text("")
    with pytest.raises(InputError, match=r"data.name=\S*empty can't be read: "):
        load_hf(tmp_path / "empty")
    datasets.DatasetDict({"left": rows(3), "right": rows(3)}).save_to_disk(tmp_path / "odd")
    with pytest.raises(InputError, match=r"has the splits left or right, and none that is called train"):
        load_hf(tmp_path / "odd")
    with pytest.raises(InputError, match=r"^data.name is missing: OWNER/NAME of a data set"):
        config("data=hf")
    with pytest.raises(InputError, match=r"data=hf takes data.name=DIR"):
        load("hf", root=tmp_path, extra={"dataset": "x"})


def test_a_script_is_not_run(tmp_path: Path) -> None:
    folder = tmp_path / "evil"
    folder.mkdir()
    (folder / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    with pytest.raises(InputError, match="can't be read"):
        load_hf(folder)
    assert not (tmp_path / "ran").exists()


def test_what_the_hub_gave_once_needs_no_network(tmp_path: Path, pets: Path, config: Config) -> None:
    """Files where huggingface_hub keeps them; then the whole way, from the command line's keys to a result."""
    repository = tmp_path / "hub" / "datasets--owner--pets"
    shutil.copytree(pets, repository / "snapshots" / "abc")
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("abc")
    run = tmp_path / "run"
    run.mkdir()
    words = ("data.name=owner/pets", "data.size=8", "data.channels=1", "model=linear", "trainer.max_epochs=1")
    plain = config("data=hf", *words, "trainer.accelerator=cpu", "trainer.figures=false", "logger=none")
    assert plain["name"] == "linear-pets" and plain["data"]["classes"] == 3
    fit.train(plain, run)
    data = runs.read_result(run)["data"]
    assert (data["name"], data["classes"], data["test"]) == ("owner/pets", ["ape", "cat", "dog"], 6)


def test_a_package_that_is_missing_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(InputError, match=r"needs the package datasets: pip install 'dlcourse\[hf\]'"):
        hf.open_splits(tmp_path, {})


def test_nothing_of_it_is_imported_without_need() -> None:
    top = ast.parse(Path(hf.__file__).read_text(encoding="utf-8")).body
    named = {ast.unparse(node) for node in top if isinstance(node, ast.Import | ast.ImportFrom)}
    assert named and not [line for line in named if "datasets" in line or "huggingface" in line]
