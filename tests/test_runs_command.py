"""`python -m dlcourse.runs`: which runs there are, the best, what went wrong, and what clean removes and leaves."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from dlcourse import runs
from dlcourse.core.errors import InputError
from dlcourse.runs.__main__ import main
from dlcourse.runs.lock import hold_run

DONE: dict[str, Any] = {key: None if type(None) in kinds else kinds[0]() for key, kinds in runs.KEYS.items()}


def make(run: Path, status: str = "done", **changes: Any) -> Path:
    run.mkdir(parents=True)
    command = f"python -m dlcourse.train model=mlp {changes.pop('words', '')}"
    score = {"score": 0.5, "monitor": "val/accuracy", "mode": "max", "data": {"name": "mnist"}}
    runs.write_result(run, DONE | score | {"status": status, "command": command, "seconds": 2.0} | changes)
    return run


@pytest.fixture
def top(tmp_path: Path) -> Path:
    """A run of each kind, each a minute older than the one before."""
    names = [
        make(tmp_path / "sweep" / "0_lr=0.1", words="optimizer.lr=0.1", score=0.9),
        make(tmp_path / "sweep" / "1_lr=0.2", words="optimizer.lr=0.2", score=0.8),
        make(tmp_path / "code", score=0.1, monitor="val/loss", mode="min"),
        make(tmp_path / "failed", "failed", error="a mistake"),
        make(tmp_path / "cut", "interrupted"),
        make(tmp_path / "resumable", "interrupted"),
        make(tmp_path / "died", "running"),
        make(tmp_path / "damaged"),
    ]
    (tmp_path / "resumable" / runs.LAST).touch()
    (tmp_path / "damaged" / runs.RESULT).write_text("{")
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.jpg").touch()
    for age, run in enumerate(names):
        os.utime(run / runs.RESULT, (1.7e9 - 60 * age,) * 2)
    return tmp_path


def test_all_runs_the_newest_first(top: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main([str(top)])
    head, _, titles, *lines = capsys.readouterr().out.splitlines()
    assert head.startswith(f"8 runs below {top}: 3 done, 1 failed, 2 interrupted, 1 dead, 1 damaged")
    assert titles.split() == ["name", "status", "score/metric", "what", "differs", "when", "seconds"]
    assert lines[0].split()[:5] == ["sweep/0", "done", "val/accuracy", "0.9000", "lr=0.1"] and "2023-11-1" in lines[0]
    assert [line.split()[1] for line in lines[1:]] == [
        "done", "done", "failed", "interrupted", "interrupted", "dead", "damaged"
    ]  # fmt: skip
    main([str(top), "limit=2"])
    assert capsys.readouterr().out.splitlines()[-1] == "... and 6 more: limit=8"


def test_the_best_of_each_kind_and_what_went_wrong(top: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["best", str(top)])
    assert capsys.readouterr().out.splitlines() == [
        "mnist, best of 2: val/accuracy 0.9000, lr=0.1",
        f"    python -m dlcourse.evaluate run={top}/sweep/0_lr=0.1",
        "mnist, best of 1: val/loss 0.1000",
        f"    python -m dlcourse.evaluate run={top}/code",
    ]
    main(["failed", str(top)])
    said = capsys.readouterr().out.splitlines()
    assert f"{top}/failed: failed after 0 epochs: a mistake" in said
    assert f"    python -m dlcourse.resume run={top}/resumable" in said
    assert [line for line in said if line.startswith(f"{top}/damaged: damaged: ")]


def test_clean_removes_what_is_of_no_use_and_nothing_else(
    top: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    make(top / "live", "running")
    make(top / "outer", "failed")
    make(top / "outer" / "inner")
    there = {path.name for path in top.iterdir()}
    with pytest.raises(InputError, match="nobody can be asked here: --yes"):
        main(["clean", str(top)])
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("builtins.input", lambda question: "n")
    main(["clean", str(top)])
    assert "nothing is removed" in capsys.readouterr().out and {path.name for path in top.iterdir()} == there
    with hold_run(top / "live"):
        main(["clean", str(top), "--yes"])
    said = capsys.readouterr().out
    assert {path.name for path in top.iterdir()} == there - {"failed", "cut", "died"}
    assert "kept, since they can go on: 1" in said and "removed: 3" in said
    assert "outer is a link, or other runs lie in it" in said


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["claen"], "claen: there is no such directory; did you mean clean"),
        (["--yes"], "--yes is for clean"),
        (["limit=0"], "limit must be a whole number from 1 up, got 0"),
        (["top=3"], "there is no top= here"),
    ],
)
def test_what_is_wrong_is_said(words: list[str], part: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(tmp_path / "outputs" / "run")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=part):
        main(words)


def test_it_needs_nothing_heavy(top: Path) -> None:
    code = (
        "import sys; from dlcourse.runs.__main__ import main; main([])\nprint({'torch', 'pandas'} & set(sys.modules))"
    )
    (top / "outputs").mkdir()
    done = subprocess.run([sys.executable, "-c", code], cwd=top, capture_output=True, text=True, timeout=60)
    assert done.stdout.splitlines() == ["there is no run below outputs", "set()"], done.stderr
