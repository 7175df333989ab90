"""Where data come from: prepared, raw, or a stand-in."""

import logging
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from data_files import files_in, same, write_folder, write_mnist, write_nist36, write_sun
from dlcourse.core.errors import InputError
from dlcourse.data import cache
from dlcourse.data.sources import SOURCES, load
from dlcourse.data.tensors import Tensors

pytestmark = pytest.mark.usefixtures("home")


# --------------------------------------------------------------------------------------------- prepared data


def test_prepared_data_are_served_until_the_raw_files_change(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_mnist(home / "data")
    first = load("mnist", home / "data")
    with monkeypatch.context() as patch:
        patch.setitem(SOURCES, "mnist", replace(SOURCES["mnist"], read=None))  # type: ignore[arg-type]
        assert same(load("mnist", home / "data"), first)  # without reading a raw file
    write_mnist(home / "data", train=50)
    assert len(load("mnist", home / "data").train) == 50


def test_prepared_data_outlive_their_raw_files(home: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_mnist(home / "data")
    first = load("mnist", home / "data", source="real")
    for path in (home / "data").iterdir():
        path.unlink()
    assert same(load("mnist", home / "data", source="real"), first) and "gone" in caplog.text
    with pytest.raises(InputError, match=r"there is no folder"):
        load("mnist", home / "elsewhere")  # another root's data don't serve


@pytest.mark.parametrize("damage", [lambda data: data[: len(data) // 2], lambda data: b"", lambda data: b"junk" * 99])
def test_a_damaged_cache_is_rebuilt(home: Path, damage, caplog: pytest.LogCaptureFixture) -> None:  # type: ignore[no-untyped-def]
    write_mnist(home / "data")
    first = load("mnist", home / "data")
    (file,) = (home / "cache" / "prepared").iterdir()
    good = file.read_bytes()
    file.write_bytes(damage(good))
    assert same(load("mnist", home / "data"), first) and "is damaged" in caplog.text
    assert same(load("mnist", home / "data"), first) and len(file.read_bytes()) == len(good)


def test_without_room_for_a_cache_one_goes_on_without(home: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_mnist(home / "data")
    (home / "cache").write_text("a file where the folder should be", encoding="utf-8")
    assert len(load("mnist", home / "data").train) == 40
    assert caplog.text.count("can't keep the prepared data") == 1
    assert len(load("mnist", source="stand-in").train) == 3500


def test_a_cache_that_fails_half_way_leaves_nothing(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_mnist(home / "data")
    splits = load("mnist", home / "data")
    target = home / "full" / "mnist.pt"

    def disk_is_full(saved: object, file) -> None:  # type: ignore[no-untyped-def]
        file.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(cache.torch, "save", disk_is_full)
    cache.save_prepared(target, splits, "", True)
    assert files_in(target.parent) == []


def test_several_processes_may_prepare_at_once(home: Path) -> None:
    write_mnist(home / "data", train=20_000)
    script = f"from dlcourse.data.sources import load; print(len(load('mnist', {str(home / 'data')!r}).train))"
    processes = [
        subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) for _ in range(3)
    ]  # new ones: a fork of this one could wait for ever for a lock that one of its threads held
    assert [process.communicate(timeout=100)[0].strip() for process in processes] == ["20000"] * 3
    assert len(files_in(home / "cache" / "prepared")) == 1


def test_sizes_are_prepared_apart(home: Path) -> None:
    write_folder(home / "data", {"a": 8, "b": 8})
    shapes = []
    for size in (4, 6, 4):
        train = load("folder", home / "data", size=size).train
        assert isinstance(train, Tensors)
        shapes.append(train.x.shape[-1])
    assert shapes == [4, 6, 4]


# --------------------------------------------------------------------------------------------- what is taken


def test_data_are_found_under_dlcourse_data(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DLCOURSE_DATA", str(home / "all"))
    write_mnist(home / "all" / "mnist")
    write_nist36(home / "all" / "nist36like")
    write_sun(home / "all" / "sun8")
    assert load("mnist").provenance.root == str(home / "all" / "mnist")
    assert load("sun", size=8).provenance.root == str(home / "all" / "sun8")
    assert load("nist36").provenance.source == "stand-in"  # a set that is only like it must be asked for
    assert load("nist36", home / "all" / "nist36like").provenance.source == "real"
    assert load("mnist", home / "all").provenance.root == str(home / "all" / "mnist")  # a root of several data sets


def test_a_root_without_the_files_is_never_replaced(home: Path) -> None:
    (home / "empty").mkdir()
    for source in ("auto", "real"):
        with pytest.raises(InputError) as error:
            load("mnist", home / "empty", source=source)
        assert "train-images-idx3-ubyte" in str(error.value)
        assert f"python -m dlcourse.data fetch mnist data.root={home / 'empty'}" in str(error.value)
    (home / "file").touch()
    with pytest.raises(InputError, match=r"is not a folder"):
        load("mnist", home / "file")
    with pytest.raises(InputError, match=r"there is no folder .* aquarium to windmill"):
        load("sun", home / "none")


def test_a_damaged_raw_file_is_no_reason_for_a_stand_in(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DLCOURSE_DATA", str(home))
    write_mnist(home / "mnist")
    (home / "mnist" / "t10k-labels-idx1-ubyte.gz").write_bytes(b"")
    with pytest.raises(InputError, match=r"t10k-labels-idx1-ubyte.gz is damaged"):
        load("mnist")


def test_a_stand_in_is_announced_and_can_be_refused(caplog: pytest.LogCaptureFixture) -> None:
    splits = load("mnist")
    assert splits.provenance.source == "stand-in" and not splits.provenance.comparable
    lines = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert len(lines) == 1 and lines[0].startswith("STAND-IN for mnist") and "DLCOURSE_OFFLINE" in lines[0]
    with pytest.raises(InputError, match=r"put train-images.* in .*mnist, or give data.root=DIR"):
        load("mnist", source="real")
    with pytest.raises(InputError, match=r"sun has no download.*put the folders aquarium"):
        load("sun", source="real")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"name": "mnits"}, "did you mean mnist"),
        ({"name": "imagenet21k"}, r"'imagenet21k' \(possible: mnist, nist36, cifar10"),
        ({"name": "mnist", "source": "fake"}, "auto, real or stand-in"),
        ({"name": "mnist", "size": 64}, "flowers17, sun, folder or hf"),
        ({"name": "sun", "size": 0}, "1 or more"),
        ({"name": "sun", "channels": 2}, r"1 \(grey\) or 3"),
    ],
)
def test_what_was_mistaken_is_said(arguments: dict[str, object], words: str) -> None:
    with pytest.raises(InputError, match=words):
        load(**arguments)  # type: ignore[arg-type]
