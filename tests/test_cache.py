"""The cache of prepared data: what it holds, how it is emptied, how it is kept within a limit."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from dlcourse.core.errors import InputError
from dlcourse.data import __main__ as data
from dlcourse.data import cache, sources


def prepare(root: Path, shade: int) -> Path:
    """Read a folder of pictures of 3 kB each (prepared: about 20 kB); returns what was prepared last."""
    rng = np.random.default_rng(shade)
    for name in ("a", "b"):
        (root / name).mkdir(parents=True)
        for i in range(6):
            Image.fromarray(rng.integers(0, 255, (32, 32, 3), dtype=np.uint8)).save(root / name / f"{i}.png")
    sources.load("folder", root, size=32)
    return max((cache.cache_dir() / "prepared").glob("*.pt"), key=lambda path: path.stat().st_mtime_ns)


def test_what_the_cache_holds(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data.main(["cache"])
    assert "cache: 0 bytes" in capsys.readouterr().out
    files = [prepare(home / str(i), i) for i in range(3)]
    data.main(["cache"])
    assert "prepared        3 files" in capsys.readouterr().out
    size = cache.total_size(files)
    data.main(["cache", "clean", f"limit={size - 1}"])
    assert [path.exists() for path in files] == [False, True, True]
    assert "1 files of prepared removed" in capsys.readouterr().out
    data.main(["cache", "clean"])
    assert not any(path.exists() for path in files)
    for wrong in (["cleen"], ["clean", "limit=much"], ["clean", "limit=-1"], ["clean", "kind=raw"]):
        with pytest.raises(InputError):
            data.main(["cache", *wrong])


def test_the_cache_keeps_within_its_limit(
    home: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """What was not read for longest goes first; what is being read lives on though its file is gone."""
    caplog.set_level("INFO")
    first, second = prepare(home / "0", 0), prepare(home / "1", 1)
    os.utime(first, (1, 1))
    os.utime(second, (2, 2))
    mapped = sources.load("folder", home / "0", size=32)  # so first is now the newer
    monkeypatch.setenv("DLCOURSE_CACHE_LIMIT", str(2.5 * first.stat().st_size))
    third = prepare(home / "2", 2)
    assert [path.exists() for path in (first, second, third)] == [True, False, True]
    assert "DLCOURSE_CACHE_LIMIT: 1 prepared files" in caplog.text
    monkeypatch.setenv("DLCOURSE_CACHE_LIMIT", "1")
    newest = prepare(home / "3", 3)
    assert [path.exists() for path in (first, third, newest)] == [False, False, True]
    assert mapped.train.take(torch.arange(len(mapped.train)))[0].sum() > 0
    monkeypatch.setenv("DLCOURSE_CACHE_LIMIT", "much")
    with pytest.raises(InputError, match="DLCOURSE_CACHE_LIMIT=much"):
        prepare(home / "4", 4)
