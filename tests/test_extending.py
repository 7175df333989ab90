"""docs/extending.md, followed word for word: its files are written, its commands are typed."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import pages
from dlcourse import evaluate, runs
from dlcourse.config import search
from dlcourse.core.errors import InputError

PAGE = pages.PAGES["docs/extending.md"]
SECTIONS = pages.sections(PAGE)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of one's own with all files of the page, on the path as for whoever stands in it."""
    for text in SECTIONS.values():
        pages.write_files(text, tmp_path)
    (tmp_path / "stripes").mkdir()
    for name, n in (("train", 40), ("test", 10)):
        y = np.arange(n) % 2
        x = np.zeros((n, 1, 16, 16), np.uint8)
        x[y == 0, :, :, ::4], x[y == 1, :, ::4, :] = 255, 255
        np.savez(tmp_path / "stripes" / f"{name}.npz", x=x, y=y)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("DLCOURSE_PLUGINS", "")
    yield tmp_path
    search.use_folder(None)


def type_in(command: list[str], monkeypatch: pytest.MonkeyPatch, *more: str) -> None:
    """What a person types, in this process: `python -m dlcourse.train ...`."""
    python, option, module, *words = command
    assert (python, option) == ("python", "-m")
    monkeypatch.setenv("DLCOURSE_PLUGINS", "")
    monkeypatch.setattr("sys.argv", [module, *words, *more])
    pages.main_of(module)([*words, *more])


def test_each_example_is_short() -> None:
    for section, text in SECTIONS.items():
        lines = [line for content in pages.files(text).values() for line in content.splitlines()]
        assert len(lines) < 60, section


def test_a_network_is_trained_swept_and_evaluated(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, sweep, again = pages.commands(SECTIONS["A network"])
    quick = ("trainer=cpu", "trainer.max_epochs=2", "trainer.figures=false", "logger=none")
    type_in(first, monkeypatch, *quick)
    plain = runs.read_config(folder / "outputs" / "mine")
    assert plain["plugins"] == ["mynet"] and plain["model"]["net"]["_target_"] == "mynet.Bottleneck"
    type_in(again, monkeypatch)
    monkeypatch.setenv("DLCOURSE_PLUGINS", "")
    with pytest.raises(InputError, match=r"needs the plugin mynet, .* add plugins=\[mynet\]"):
        evaluate.main([word for word in again[3:] if not word.startswith("plugins=")])
    type_in(sweep, monkeypatch, *quick)
    assert len(list(folder.glob("outputs/sweeps/*/*/result.json"))) == 2


def test_a_data_set_is_read(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    (command,) = pages.commands(SECTIONS["A data set"])
    quick = (
        "trainer=cpu",
        "trainer.max_epochs=8",
        "data.batch_size=8",
        "trainer.figures=false",
        "logger=none",
        "hydra.run.dir=run",
    )
    type_in(command, monkeypatch, *quick)
    result = runs.read_result(folder / "run")
    assert result["data"]["classes"] == ["up", "across"] and result["data"]["provenance"] == "stripes that I drew"
    assert [result["data"][split] for split in ("train", "val", "test")] == [32, 8, 10]
    assert result["metrics"]["test/accuracy"] == 1
    np.savez(folder / "stripes" / "train.npz", x=np.zeros((4, 1, 16, 16)), y=np.zeros(4, np.int64))
    with pytest.raises(InputError, match="stripes: its reader gives examples are uint8 images or float32 vectors"):
        type_in(command, monkeypatch, *quick[:-1])


def test_a_task_is_trained(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (command,) = pages.commands(SECTIONS["A task"])
    type_in(
        command,
        monkeypatch,
        "trainer=cpu",
        "trainer.max_epochs=2",
        "trainer.figures=false",
        "logger=none",
        "hydra.run.dir=run",
    )
    assert runs.read_config(folder / "run")["model"]["smoothing"] == 0.2
    evaluate.main(["run=run", "plugins=[mytask]"])


def test_a_study_without_python_has_its_verdicts(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (command,) = pages.commands(SECTIONS["A study"])
    type_in(command, monkeypatch, "trainer.accelerator=cpu", "trainer.max_epochs=8", "logger=none")
    report = (folder / "outputs" / "studies" / "me" / "mine" / "report" / "report.md").read_text()
    assert "sixteen units are better than two" in report and "| sixteen units |" in report
    rows = [line for line in report.splitlines() if line.startswith("| ") and "**" in line]
    assert len(rows) == 3 and "python -m dlcourse.train --config-dir conf" in report
    assert "figures/accuracy.png" in report and "figures/confusion_0.png" in report
