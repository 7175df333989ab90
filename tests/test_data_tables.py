"""Images that come as a table or as an archive: the same data set as the folder that they are in."""

import io
import shutil
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from data_files import counts, files_in, photo, tensors, write_folder
from dlcourse.core.errors import InputError
from dlcourse.core.files import cache_dir
from dlcourse.data import archives
from dlcourse.data.sources import load

pytestmark = pytest.mark.usefixtures("alone")
Config = Callable[..., dict[str, Any]]


@pytest.fixture
def pets(tmp_path: Path) -> Path:
    """A folder of two classes, 20 images each."""
    write_folder(tmp_path / "pets", {"cat": 20, "dog": 20})
    return tmp_path / "pets"


def table(pets: Path, head: str = "file,label", row: str = "{file},{label}", name: str = "photos.csv") -> Path:
    """A table of them, beside the folder."""
    files = sorted(path.relative_to(pets.parent) for path in pets.rglob("*.png"))
    lines = [row.format(file=file.as_posix(), label=file.parent.name, at=at) for at, file in enumerate(files)]
    path = pets.parent / name
    path.write_text("\n".join([head, *lines]) + "\n", encoding="utf-8")
    return path


# --- tables ---


def test_a_table_is_split_like_its_folder(pets: Path, config: Config) -> None:
    path = table(pets)
    there, listed = load("folder", pets, size=8), load("folder", path, size=8)
    assert list(listed.classes) == ["cat", "dog"] and counts(listed) == counts(there) == [[14, 14], [3, 3], [3, 3]]
    assert torch.equal(tensors(listed.train).x, tensors(there.train).x)
    assert listed.provenance.detail == "a table of 2 classes (28/6/6), split 70/15/15"
    assert config("data=folder", f"data.root={path}")["data"]["classes"] == 2
    photo(pets / "cat" / "000.png", (255, 255, 255), (99, 99))  # what is listed changes: it is read anew
    assert not torch.equal(tensors(load("folder", path, size=8).train).x, tensors(listed.train).x)


def test_a_table_says_which_split_an_image_is_in(pets: Path) -> None:
    path = table(pets)
    lines = path.read_text().splitlines()
    splits = ["split", *(["train"] * 10 + ["Valid"] * 5 + ["test"] * 5) * 2]
    path.write_text("\ufeff" + "\r\n".join(f"{line},{split}" for line, split in zip(lines, splits, strict=True)))
    assert counts(load("folder", path, size=8)) == [[10, 10], [5, 5], [5, 5]]
    path.write_text(path.read_text().replace(",test", ",train").replace(",", ";"))
    assert counts(load("folder", path, size=8)) == [[13, 13], [5, 5], [2, 2]]  # 15 % of train are kept for testing


def test_numbers_are_sorted_by_their_value_and_files_may_be_anywhere(pets: Path, tmp_path: Path) -> None:
    path = table(pets, row=str(tmp_path) + "/{file}\t10", head="file\tlabel", name="list.tsv")
    path = path.rename(pets / "list.tsv")  # no more beside the files
    path.write_text(path.read_text().replace("\t10", "\t9", 20))
    assert list(load("folder", path, size=8).classes) == ["9", "10"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("filename,label\na,b", "has no column file: it has filename or label, .*; did you mean filename?"),
        ("file\na", "has no column label: it has file"),
        ("", "has no column file: it has none"),
        ("file,label\npets/cat/000.png,\npets/cat/001.png,cat\npets/cat/002.png, ", ": lines 2, 4 have no label"),
        ("file,label,split\npets/cat/000.png,cat,dev", ": line 2 has a split 'dev', not train, val or test"),
        ("file,label,split\npets/cat/000.png,cat", ": line 2 has no split"),
        ("file,label\nno.png,cat\npets/dog/000.png,dog", r": line 2 has a file that is not there \(.*/no.png\)"),
        ("file,label\npets/cat/000.png,cat\npets/cat/000.png,dog", ": line 3 has a file that line 2 has, too"),
        ("file,label\npets/cat/000.png,cat", "has 1 classes to train on"),
        ("file,label,split\npets/cat/000.png,cat,train\npets/dog/000.png,dog,train\npets/dog/001.png,cow,test",
         r": line 4 has a class that train does not have \(cow\)"),
        ("file,label\n" + "x,\n" * 9, ": lines 2, 3, 4, 5, 6 and 4 more have no label"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_table_is_said_by_its_lines(pets: Path, text: str, said: str) -> None:
    path = pets.parent / "photos.csv"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=f"^{path}{said if said[0] == ':' else ' ' + said}"):
        load("folder", path, size=8)


def test_a_table_in_another_encoding(pets: Path) -> None:
    path = table(pets)
    path.write_bytes(path.read_bytes() + "pets/cat/000.png,Käuzchen".encode("latin-1"))
    with pytest.raises(InputError, match="can't be read as a table in UTF-8"):
        load("folder", path, size=8)


# --- archives ---


@pytest.mark.parametrize("form", ["zip", "tar", "gztar"])
@pytest.mark.parametrize("around", ["", "pets"])
def test_an_archive_is_the_folder_in_it(pets: Path, form: str, around: str, config: Config) -> None:
    photo(pets / "__MACOSX" / "cat" / "._000.png")
    path = Path(shutil.make_archive(str(pets.parent / "my.pets"), form, pets.parent if around else pets, around or "."))
    there, packed = load("folder", pets, size=8), load("folder", path, size=8)
    assert packed.classes == there.classes and packed.provenance.files == there.provenance.files
    assert torch.equal(tensors(packed.train).x, tensors(there.train).x)
    assert config("data=folder", f"data.root={path}")["data"]["classes"] == 2
    assert not any("MACOSX" in name for name in files_in(cache_dir()))


def test_an_archive_is_unpacked_once(pets: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = Path(shutil.make_archive(str(pets.parent / "pets"), "zip", pets))
    folder = archives.open_root(path)
    with monkeypatch.context() as patch:
        patch.setattr(archives, "members", lambda archive: pytest.fail("unpacked again"))
        assert archives.open_root(path) == folder
    (folder / "cat" / "000.png").unlink()  # as `data cache clean` may
    assert (archives.open_root(path) / "cat" / "000.png").is_file()
    photo(pets / "cat" / "new.png")
    shutil.make_archive(str(pets.parent / "pets"), "zip", pets)
    assert (archives.open_root(path) / "cat" / "new.png").is_file()
    write_folder(pets / "train", {"ape": 8, "cat": 8})
    shutil.rmtree(pets / "cat")
    shutil.rmtree(pets / "dog")
    shutil.make_archive(str(pets.parent / "pets"), "zip", pets)
    assert "15 % of train" in load("folder", path, size=8).provenance.detail  # train/ is a split, not a folder around


def evil_zip(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as packed:
        packed.writestr("cat/1.png", b"")
        packed.writestr("../../evil.png", b"")


def evil_tar(path: Path) -> None:
    with tarfile.open(path, "w:gz") as packed:
        packed.addfile(tarfile.TarInfo("/evil.png"), io.BytesIO())


def bomb(path: Path) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
        for name in ("cat/1.png", "dog/1.png"):
            packed.writestr(name, bytes(2_000_000))


def broken(path: Path) -> None:
    path.write_bytes(b"PK\3\4 no archive")


@pytest.mark.parametrize(
    ("name", "make", "said"),
    [
        ("a.zip", evil_zip, "is refused: it holds ../../evil.png, which would be unpacked outside of its folder"),
        ("a.tar.gz", evil_tar, "is refused: it holds /evil.png"),
        ("a.zip", bomb, "is refused: it unpacks to more than 3 MB"),
        ("a.zip", broken, "can't be unpacked to .*: File is not a zip file"),
        ("a.tgz", broken, "can't be unpacked to .*: "),
    ],
)
def test_archives_that_are_refused(
    tmp_path: Path, name: str, make: Callable[[Path], None], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archives, "LEAST", 3_000_000)
    make(tmp_path / name)
    with pytest.raises(InputError, match=f"^{tmp_path / name} {said}"):
        load("folder", tmp_path / name)
    assert files_in(cache_dir()) == [] and not list(tmp_path.rglob("evil*"))


def test_links_in_an_archive_are_left_out(pets: Path) -> None:
    (pets / "cat" / "link.png").symlink_to("/etc/hostname")
    path = Path(shutil.make_archive(str(pets.parent / "pets"), "tar", pets))
    assert "link.png" not in files_in(archives.open_root(path))


def test_no_such_file(tmp_path: Path, config: Config) -> None:
    for name in ("no.zip", "no.csv"):
        with pytest.raises(InputError, match=rf"{name}: there is no such folder, table \(.csv\) or archive"):
            config("data=folder", f"data.root={tmp_path / name}")
