"""The notebooks run without a network, at a smoke size; what is kept of them is what their .py say, and clean."""

import os
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jupytext
import nbformat
import pytest
from nbmake.nb_run import NotebookRun

TOP = Path(__file__).parents[1] / "notebooks"
SOURCES = sorted(TOP.glob("[0-9]_*.py"))
LESS = "trainer=smoke data.source=stand-in data.limit=100 data.limit_eval=50"

each = pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.stem)


def said(notebook: Any) -> Iterator[str]:
    """Every text that a notebook's cells have given."""
    for output in (output for cell in notebook.cells for output in cell.get("outputs", ())):
        yield output.get("text", "")
        yield from (str(value) for kind, value in output.get("data", {}).items() if kind.startswith("text/"))
        yield from output.get("traceback", ())


def refuse_errors(notebook: Any) -> None:
    """A command that fails ends no cell: what it says has to be read."""
    for text in said(notebook):
        assert "Traceback" not in text and not re.search(r"^error: ", text, re.MULTILINE), text


@each
def test_runs_without_a_network(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copy = tmp_path / "notebooks" / f"{source.stem}.ipynb"
    copy.parent.mkdir()
    shutil.copy(source.with_suffix(".ipynb"), copy)
    (tmp_path / "work").mkdir()
    monkeypatch.setenv("DLCOURSE_LESS", LESS)
    monkeypatch.setenv("TMPDIR", str(tmp_path / "work"))
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")  # where `python` is
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))  # no weights, and none to be had:
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    result = NotebookRun(copy, 120).execute()
    assert result.error is None, result.error.trace
    refuse_errors(result.nb)
    assert list(copy.parent.iterdir()) == [copy]  # runs go elsewhere


@each
def test_is_what_its_source_says(source: Path) -> None:
    """Else: python notebooks/run.py."""
    kept = nbformat.read(source.with_suffix(".ipynb"), 4)
    assert [(c.cell_type, c.source) for c in kept.cells] == [
        (c.cell_type, c.source) for c in jupytext.read(source).cells
    ]


@each
def test_is_short_and_clean(source: Path) -> None:
    file = source.with_suffix(".ipynb")
    kept = nbformat.read(file, 4)
    assert len(kept.cells) <= 15
    assert file.stat().st_size < 400_000
    assert all(cell.get("outputs") for cell in kept.cells[2:] if cell.cell_type == "code")
    refuse_errors(kept)
    for text in said(kept):
        assert not re.search(r"(?<![\w.])/(tmp|home|root|Users|var|work|private)/", text), text
        assert not any(word in text for word in ("\r", "\x1b")), text
    assert not any(cell.metadata for cell in kept.cells)  # as the time when a cell ran
    assert kept.metadata.language_info == {"name": "python"}  # and no version of it


@each
def test_opens_with_what_is_learned_and_ends_with_exercises(source: Path) -> None:
    """Their answers are hidden until one asks for them."""
    cells = nbformat.read(source.with_suffix(".ipynb"), 4).cells
    assert "You will learn" in cells[0].source
    exercises = cells[-1].source.partition("## Exercises")[2]
    answers = r"(?m)^\*\*(\d)\.\*\* .+(?:\n.+)*\n\n<details><summary>Answer</summary>\n\n.+(?:\n.+)*\n\n</details>$"
    assert re.findall(answers, exercises) == ["1", "2", "3"]
