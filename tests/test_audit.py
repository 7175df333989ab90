"""docs/audit.md, followed word for word, on fewer examples."""

import re
from pathlib import Path

import pytest

from dlcourse.config import search
from pages import PAGES, commands, main_of, write_files

PAGE = PAGES["docs/audit.md"]
LESS = ("data.source=stand-in", "data.limit=500", "data.limit_eval=200", "trainer.accelerator=cpu", "logger=none")


def test_a_report_is_audited(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its file is written, its commands are typed; each claim has a verdict, each published figure one beside it."""
    write_files(PAGE, tmp_path)
    monkeypatch.chdir(tmp_path)
    listed, rehearsed, run = commands(PAGE)
    try:
        main_of(listed[2])(listed[3:])
        assert re.search(r"mine/width +Width and learning rate", capsys.readouterr().out)
        for words, less in ((rehearsed[3:], LESS), (run[3:], (*LESS, "data.epochs=2", "seed=0"))):
            monkeypatch.setattr("sys.argv", [run[2], *words, *less])
            main_of(run[2])([*words, *less])
    finally:
        search.use_folder(None)
    assert (tmp_path / "outputs/studies/mine/width-quick/report/report.html").is_file()
    report = (tmp_path / "outputs/studies/mine/width/report/report.md").read_text()
    verdicts = dict(re.findall(r"(?m)^\| ([^|]+) \| (?:[^|]* \|)? ?\*\*. (\w+)\*\*", report))
    claims = re.findall(r"(?m)^  - (?:claim|question): \"?([^\"\n]+)", PAGE)
    assert list(verdicts) == claims and set(verdicts.values()) <= {
        "reproduced", "beaten", "refuted", "undecided", "answered"
    }  # fmt: skip
    assert "| published test accuracy |" in report and "94.20 %" in report


def test_what_the_page_says_of_checks_is_there() -> None:
    from dlcourse.studies import checks

    named = re.findall(r"(?m)^\| [^|`]+ \| `(\w+)` \|", PAGE)
    assert len(named) > 5 and all(getattr(getattr(checks, name), "is_check", False) for name in named)
