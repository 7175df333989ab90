"""What somebody else may have made: damaged and hostile files are refused in a sentence, and run nothing."""

import gzip
import importlib.util
import io
import json
import os
import pickle
import shutil
import struct
import sys
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from scipy.io import savemat

from dlcourse import report, runs
from dlcourse.core.errors import InputError
from dlcourse.data import raw
from dlcourse.data.matlab import read_mat
from dlcourse.data.raw import DamagedFileError, Options
from dlcourse.data.readers import cifar10, mnist
from dlcourse.nets import read_weights
from dlcourse.training.loading import read_checkpoint

Train = Callable[..., Path]


@pytest.fixture(scope="module")
def fuzzing() -> ModuleType:
    path = Path(__file__).parents[1] / "benchmarks" / "fuzz.py"
    spec = importlib.util.spec_from_file_location("fuzz", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["fuzz"] = module  # dataclasses look there
    spec.loader.exec_module(module)
    return module


@pytest.mark.filterwarnings("ignore")
def test_some_thousand_inputs_to_every_reader(fuzzing: ModuleType, alone: None) -> None:
    """A short form of benchmarks/fuzz.py, whose long form has 200,000."""
    counts = fuzzing.fuzz_all(3000, seed=int(os.environ.get("FUZZ_SEED", 0)))
    assert {name: dict(count.findings) for name, count in counts.items() if count.findings} == {}
    takes_all = ("the cache", "headers of images", "runs, for a report")  # what is bad is left out there, not refused
    assert [name for name, count in counts.items() if not count.refused and name not in takes_all] == []
    assert all(count.inputs for count in counts.values())


class Bomb:
    def __reduce__(self) -> Any:
        return os.system, ("touch ran",)


@pytest.mark.parametrize("read", [read_checkpoint, read_weights])
def test_a_pickle_that_would_run_code(
    read: Callable[[Path], Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is refused in our own words: torch's advise to load it all the same."""
    monkeypatch.chdir(tmp_path)
    for content in (Bomb(), {"state_dict": {"w": Bomb()}, "hyper_parameters": {}, "epoch": 1}):
        torch.save(content, tmp_path / "a.ckpt")
        (tmp_path / "plain.ckpt").write_bytes(pickle.dumps(content))
        for name in ("a.ckpt", "plain.ckpt"):
            with pytest.raises(InputError) as raised:
                read(tmp_path / name)
            assert "weights_only" not in str(raised.value)
            assert "likely succeed" not in str(raised.value)
            assert "\n" not in str(raised.value)
    assert not (tmp_path / "ran").exists()


def test_a_pickle_that_asks_for_memory(tmp_path: Path) -> None:
    """A memo's number of 2 billion makes Python's reader take 16 GB before it sees that there is nothing else."""
    data = b"\x80\x02}r" + (2**31 - 1).to_bytes(4, "little") + b"."
    with pytest.raises(DamagedFileError, match="more memory"):
        cifar10.parse_batch(tmp_path / "data_batch_1", _written(tmp_path / "data_batch_1", data))


def _written(path: Path, data: bytes) -> bytes:
    path.write_bytes(data)
    return data


# --- archives ---


@pytest.mark.parametrize("flags", [0x0806, 0x080E, 0x0001, 0x00FF], ids=hex)
def test_a_mat_file_that_says_what_it_is_not(flags: int, tmp_path: Path) -> None:
    """SciPy goes by an array's flags, and ends the process where they promise an imaginary part that is not there."""
    path = tmp_path / "a.mat"
    savemat(path, {"first": np.arange(6.0), "second": np.arange(6.0)})
    data = bytearray(path.read_bytes())
    assert list(read_mat(path, ["first", "other"])) == ["first"]
    data[144:148] = struct.pack("<I", flags)
    path.write_bytes(data)
    with pytest.raises(DamagedFileError, match="first is no array of numbers"):
        read_mat(path, ["first"])
    assert read_mat(path, ["second"])["second"].shape == (1, 6)


def test_bombs_are_refused_before_they_are_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(raw, "UNPACKED", 1 << 20)
    zeros = bytes(3 << 20)
    (tmp_path / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(zeros))
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as zipped:
        for name in "ab":
            zipped.writestr(f"{name}.jpg", zeros[: 700 << 10])  # together they are too much
    for name, wanted in (("a", "x.jpg"), ("b", "x.txt")):  # what isn't wanted must be unpacked, too, to get past it
        with tarfile.open(tmp_path / f"{name}.tar.gz", "w:gz") as tar:
            info = tarfile.TarInfo(wanted)
            info.size = len(zeros)
            tar.addfile(info, io.BytesIO(zeros))
    for name in ("a.zip", "a.tar.gz", "b.tar.gz"):
        with pytest.raises(DamagedFileError, match="more than 1 GB"):
            raw.unpack(tmp_path / name, lambda name: name.endswith(".jpg"))
    with pytest.raises(DamagedFileError, match="more than 1 GB"):
        mnist.read(tmp_path, [tmp_path / "train-images-idx3-ubyte.gz"] * 4, Options(verify=False))


def test_archives_write_nothing_and_follow_no_links(tmp_path: Path) -> None:
    """Names with ../ are names: what they hold stays in memory. Links and devices are no files."""
    secret = tmp_path / "secret.jpg"
    secret.write_bytes(b"secret")
    inside = tmp_path / "in" / "a.tar.gz"
    inside.parent.mkdir()
    with tarfile.open(inside, "w:gz") as tar:
        for name, kind in (("../up.jpg", tarfile.REGTYPE), ("/top.jpg", tarfile.REGTYPE), ("l.jpg", tarfile.SYMTYPE),
                           ("h.jpg", tarfile.LNKTYPE), ("d.jpg", tarfile.CHRTYPE)):  # fmt: skip
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, str(secret)
            info.size = 2 if kind == tarfile.REGTYPE else 0
            tar.addfile(info, io.BytesIO(b"ok"))
    before = sorted(tmp_path.rglob("*"))
    assert raw.unpack(inside, lambda name: name.endswith(".jpg")) == {"../up.jpg": b"ok", "/top.jpg": b"ok"}
    assert sorted(tmp_path.rglob("*")) == before


# --- what a run carries ---


def test_whatever_a_run_carries_is_text_in_a_report(train: Train, tmp_path: Path) -> None:
    """Names, commands, errors, classes and configs of a stranger's run: none becomes markup."""
    evil = "<script>alert(1)<b>"
    run = train("model=linear", "trainer.max_epochs=1", "trainer.figures=false")
    other = tmp_path / f"b{evil}"
    run.rename(tmp_path / "a")
    shutil.copytree(tmp_path / "a", other)
    for place in (tmp_path / "a", other):
        result = json.loads((place / runs.RESULT).read_text())
        for key in ("command", "commit", "device", "model", "monitor", "config_hash"):
            result[key] = evil
        result["data"] |= {"name": evil, "provenance": evil, "source": evil, "classes": [evil, evil]}
        result["versions"] = {evil: evil}
        (place / runs.RESULT).write_text(json.dumps(result))
        config = (place / runs.CONFIG).read_text()
        (place / runs.CONFIG).write_text(config.replace("name: linear-mnist", f"name: '{evil}{place.name[:1]}'"))
        lines = (place / "confusion.csv").read_text().splitlines()
        (place / "confusion.csv").write_text(
            "\n".join([lines[0], *(f"{evil}{line[line.index(',') :]}" for line in lines[1:])])
        )
    failed = tmp_path / "failed"
    failed.mkdir()
    runs.write_failure(failed, evil, evil)
    report.main([str(tmp_path), f"out={tmp_path / 'report'}"])
    page = (tmp_path / "report" / "report.html").read_text(encoding="utf-8")
    assert "alert(1)" in page
    assert "<script>alert" not in page
