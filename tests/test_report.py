"""The report of any runs, and published studies: what is on the page, what is left out and why, what is refused."""

import csv
import json
import logging
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from dlcourse import plots, report, runs
from dlcourse.core.errors import InputError
from dlcourse.core.grid import Grid, format_grid
from dlcourse.reports import page
from dlcourse.reports.formats import to_grid
from dlcourse.reports.overview import overview, read_records
from dlcourse.reports.page import Finding, Page, Plot
from dlcourse.reports.render import escape_markdown, write_page
from dlcourse.runs import find_runs
from dlcourse.studies import __main__ as studies
from dlcourse.studies import index
from dlcourse.studies.verdict import Verdict

DATA = {
    "name": "mnist", "source": "real", "provenance": "MNIST's own files", "comparable": True,
    "files": {"images": "ab"}, "classes": ["0", "1", "2"], "train": 500, "val": 100, "test": 100,
}  # fmt: skip
Make = Callable[..., Path]


@pytest.fixture
def make(config: Callable[..., dict[str, Any]], tmp_path: Path) -> Make:
    """`make("runs/a", "seed=1", accuracy=0.9)`: a run directory as training leaves it, without any training."""

    def made(name: str, *overrides: str, accuracy: float = 0.9, data: dict[str, Any] | None = None) -> Path:
        run = tmp_path / name
        run.mkdir(parents=True)
        plain = config("model=mlp", "logger=none", *overrides)
        runs.write_config(run, plain)
        metrics = {
            "val/loss": 1 - accuracy,
            "val/accuracy": accuracy,
            "test/loss": 0.5,
            "test/accuracy": accuracy - 0.01,
        }
        result: dict[str, Any] = {key: kinds[0]() for key, kinds in runs.KEYS.items()}
        result |= {"status": "done", "score": accuracy, "monitor": "val/accuracy", "mode": "max", "metrics": metrics}
        result |= {"epochs": 3, "best_epoch": 2, "seconds": 1.5, "seed": plain["seed"], "model": "mlp"}
        runs.write_result(run, result | {"data": DATA | (data or {})})
        rows = [["epoch", "step", "train/loss", "val/loss", "val/accuracy"]]
        rows += [[str(v) for v in (e, e, 1 / e, 1 / e, accuracy - 0.1 / e)] for e in (1, 2, 3)]
        runs.write_text(run / runs.METRICS, "\n".join(map(",".join, rows)) + "\n")
        runs.write_confusion(run, "test", [[9, 1, 0], [0, 10, 0], [0, 0, 10]], ["0", "1", "2"])
        return run

    return made


@pytest.fixture
def sweep(make: Make, tmp_path: Path) -> Path:
    """Two rates with two seeds each, two folders deep."""
    for lr, seed, accuracy in ((0.1, 0, 0.90), (0.1, 1, 0.92), (0.01, 0, 0.80), (0.01, 1, 0.80)):
        make(f"sweep/deep/lr{lr}-{seed}", f"optimizer.lr={lr}", f"seed={seed}", accuracy=accuracy)
    return tmp_path / "sweep"


def tables(given: Page) -> dict[str, Grid]:
    return {item.title: to_grid(item.frame) for item in given.items if isinstance(item, page.Table)}


def seen(*found: Path, left_out: int = 0) -> Page:
    records, damaged = read_records(found)
    assert len(damaged) == left_out
    return overview(records, damaged, "command")


# --- what is on the page ---------------------------------------------------------------------------------------------


def test_runs_stand_side_by_side_with_what_differs_and_means_over_seeds(
    sweep: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    caplog.set_level(logging.INFO)
    out = report.main(["sweep"])
    assert out.parent == Path("outputs", "reports")
    files = {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()}
    assert {
        "report.html",
        "report.md",
        "table.csv",
        "figures/confusion_matrix.png",
        "figures/val_accuracy.svg",
    } <= files
    text = (out / "report.md").read_text()
    assert "| optimizer.lr | val/accuracy | test/accuracy | val/loss | test/loss | runs |" in text
    assert "| 0.1 | 0.9100 ± 0.0141 | 0.9000 ± 0.0141 |" in text
    assert "| optimizer.lr | seed | val/accuracy |" in text
    assert "| 0.1 | 1 | 0.92 | 0.91 |" in text and "| 0.01 | 1 | 0.8 | 0.79 |" in text
    rows = list(csv.DictReader((out / "table.csv").open()))
    assert [row["val/accuracy"] for row in rows] == ["0.8", "0.8", "0.9", "0.92"]
    assert {row["model.net.hidden"] for row in rows} == {"512,512"}
    assert "0.9100 ± 0.0141" in caplog.text and f"report: {out / 'report.html'}" in caplog.text


def test_the_best_run_is_the_one_whose_confusions_are_shown(sweep: Path) -> None:
    given = seen(*find_runs([str(sweep)]))
    (plot,) = [item for item in given.items if isinstance(item, Plot) and item.name == "confusion_matrix"]
    assert plot.title == "Confusion matrix of lr 0.1, seed 1" and "lr0.1-1" in plot.note


def test_curves_are_means_over_seeds_of_the_epochs_that_all_have(sweep: Path) -> None:
    shorter = sweep / "deep" / "lr0.1-0" / runs.METRICS
    shorter.write_text("".join(shorter.read_text().splitlines(keepends=True)[:3]))
    result = runs.read_result(shorter.parent)
    runs.write_result(shorter.parent, result | {"epochs": 2})
    (plot,) = [i for i in seen(*find_runs([str(sweep)])).items if isinstance(i, Plot) and i.name == "val_accuracy"]
    low, high = plot.figure.axes[0].get_lines()
    assert [np.asarray(line.get_xdata()).tolist() for line in (low, high)] == [[1, 2, 3], [1, 2]]
    assert np.asarray(high.get_ydata())[0] == pytest.approx(0.81)  # of 0.80 and 0.82
    assert {text.get_text() for text in plot.figure.axes[0].texts} == {"lr 0.1", "lr 0.01"}


def test_a_single_run_has_its_learning_curves(make: Make) -> None:
    given = seen(make("a"))
    assert given.title == "mlp-mnist"
    assert [item.name for item in given.plots] == ["learning_curves", "confusion_matrix"]
    assert tables(given)["Runs"].header[:2] == ["val/accuracy", "test/accuracy"]


@pytest.mark.parametrize(
    ("change", "key"), [({"provenance": "other files"}, "data.provenance"), ({"files": {"images": "cd"}}, "data.files")]
)
def test_runs_of_different_data_are_not_averaged(make: Make, change: dict[str, Any], key: str) -> None:
    given = seen(make("a", "seed=0"), make("b", "seed=1", data=change))
    assert list(tables(given)) == ["Runs"] and len(tables(given)["Runs"].rows) == 2
    first = given.items[0]
    assert isinstance(first, page.Text) and key in first.markdown


def test_runs_with_another_protocol_are_rows_of_their_own(make: Make) -> None:
    found = [make("a", "seed=0"), make("b", "seed=1"), make("c", "seed=1", "data.batch_size=64", "data.limit=100")]
    means = tables(seen(*found))["Means over seeds"]
    assert means.header[:2] == ["data.batch_size", "data.limit"]
    assert [row[-1] for row in means.rows] == ["1", "2"]


def test_stand_in_data_are_announced(make: Make) -> None:
    given = seen(make("a", data={"source": "stand-in", "provenance": "5,000 digits", "comparable": False}))
    assert "Stand-in data" in given.banner[0] and "5,000 digits" in given.banner[0]


# --- what is left out ------------------------------------------------------------------------------------------------


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@pytest.mark.parametrize(
    ("name", "damage", "said"),
    [
        ("result.json", cut, "result.json is damaged"),
        ("result.json", Path.unlink, "result.json"),
        ("config.yaml", cut, "config.yaml"),
        ("config.yaml", Path.unlink, "has no config.yaml"),
        ("metrics.csv", Path.unlink, "metrics.csv"),
        ("metrics.csv", cut, "metrics.csv is damaged"),
        ("metrics.csv", lambda path: path.write_text("epoch,val/loss\n1,x\n2,1\n3,1\n"), "metrics.csv"),
        ("metrics.csv", lambda path: path.write_text(""), "metrics.csv"),
        ("confusion.csv", lambda path: path.write_text("a,b\nx,y\n"), "confusion.csv"),
        (
            "result.json",
            lambda path: path.write_text(path.read_text().replace('"done"', '"interrupted"')),
            "interrupted",
        ),
    ],
)
def test_a_damaged_run_is_one_line_and_not_counted(
    make: Make, tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str, damage: Callable[[Path], Any], said: str
) -> None:
    make("runs/whole")
    damage(make("runs/broken", accuracy=0.99) / name)
    out = report.main([str(tmp_path / "runs"), f"out={tmp_path / 'out'}"])
    (line,) = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert line.startswith("left out: ") and said in line and "broken" in line and "\n" not in line
    text = (out / "report.md").read_text()
    assert "## Left out" in text and "| 0.9 | 0.89 |" in text and "| 0.99 |" not in text


def test_mistakes_are_one_sentence(make: Make, tmp_path: Path) -> None:
    run = make("run")
    (tmp_path / "empty").mkdir()
    for arguments, said in (
        ([], "of which runs"),
        ([str(tmp_path / "nothing")], "no such directory"),
        ([str(tmp_path / "empty")], "there is no run in"),
        ([str(run / "result.json")], "that is a file"),
        ([str(run), f"out={run}"], "is a run"),
        ([f"run={run}"], "there is no run= here"),
    ):
        with pytest.raises(InputError, match=said):
            report.main(arguments)
    runs.write_result(run, runs.read_result(run) | {"status": "failed"})
    with pytest.raises(InputError, match="no run is left"):
        report.main([str(run), f"out={tmp_path / 'out'}"])
    assert not (tmp_path / "out").exists()


def test_a_typing_mistake_is_answered_before_torch_is_imported(tmp_path: Path) -> None:
    code = "import sys, dlcourse.report as r\ntry: r.main(['nothing'])\nexcept Exception as e: print(e)\n"
    code += "print({'torch', 'pandas', 'matplotlib'} & set(sys.modules))"
    environment = os.environ | {"PYTHONPATH": str(Path(report.__file__).parents[1])}
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.stdout.splitlines() == ["nothing: there is no such directory", "set()"]


def test_every_run_is_found_once_at_any_depth_under_any_name(make: Make, tmp_path: Path) -> None:
    one, two = make("a=b/c d/ü"), make("a=b/x")
    (tmp_path / "a=b" / ".hydra").mkdir()
    (tmp_path / "a=b" / ".hydra" / "config.yaml").write_text("")
    (one / "figures").mkdir()
    assert find_runs([str(one), str(tmp_path / "a=b"), str(two)]) == [one, two]
    out = report.main([str(tmp_path / "a=b"), f"out={tmp_path / 'out'}"])
    assert "2 runs" in (out / "report.md").read_text()


def test_the_table_on_the_terminal_fits_and_says_what_does_not() -> None:
    header, rows = ["key", "val/loss", "test/loss", "more"], [["a", "0.5", "0.25", "x" * 30]] * 50
    grid = (header, rows, [False, True, True, False])
    text = format_grid(Grid(*grid), width=30, height=3).splitlines()
    assert text[:2] == ["key  val/loss  test/loss", "a         0.5       0.25"]
    assert text[3:] == [text[1], "... and 47 more", "no room for more"]
    assert format_grid(Grid(*grid), width=15, height=1).splitlines()[0] == "key  val/loss"
    assert format_grid(Grid(*grid), width=80).splitlines()[1].endswith("x" * 30)


# --- published studies -----------------------------------------------------------------------------------------------

README = "# x\n\n<!-- results -->\nold\n<!-- /results -->\n\nmore\n"


def study(top: Path, name: str = "huji/mnist", banner: tuple[str, ...] = (), **record: Any) -> Path:
    """A study's report as it is written after its runs."""
    given = Page(
        title="Digits | letters", banner=banner,
        items=[Plot("curves", "Curves", plots.superimposed({"a": ([0, 1], [1, 2])}))],
        verdicts=[
            Finding("best: <0.1>", "section 1", Verdict("reproduced", "0.9 ± 0.1 " * 40), "best"),
            Finding("Why?", "", Verdict("answered", "because"), "why"),
        ],
        record={"study": name, "budget": "full", "runs": 4, "done": 4, "overrides": []} | record,
    )  # fmt: skip
    write_page(given, top / name / "report")
    return top / name / "report"


def published(tmp_path: Path) -> str:
    (tmp_path / "README.md").write_text(README) if not (tmp_path / "README.md").exists() else None
    studies.main(
        ["publish", str(tmp_path / "docs"), f"from={tmp_path / 'studies'}", f"readme={tmp_path / 'README.md'}"]
    )
    return (tmp_path / "docs" / "README.md").read_text()


def test_a_finished_study_is_published_with_links_that_lead_somewhere(tmp_path: Path) -> None:
    study(tmp_path / "studies", banner=("Not the published files.",))
    table = published(tmp_path)
    folder = tmp_path / "docs" / "huji"
    text = (folder / "mnist.md").read_text()
    assert text.startswith("[All claims](../README.md)\n\n# Digits \\| letters\n")
    assert "![Curves](mnist/curves.png)" in text
    assert Image.open(folder / "mnist" / "curves.png").mode == "P"
    (row,) = [line for line in table.splitlines() if "best: &lt;" in line]
    start = "| [huji/mnist](huji/mnist.md) | best: &lt;0.1> | **✓ reproduced** | published data | 0.9 ± 0.1"
    assert row.startswith(start)
    assert row.endswith("… |") and len(row) < 320
    assert "- [huji/mnist](huji/mnist.md): Not the published files." in table
    readme = (tmp_path / "README.md").read_text()
    assert readme.startswith("# x\n\n<!-- results -->\n") and readme.endswith("<!-- /results -->\n\nmore\n")
    assert "old" not in readme and "| [huji/mnist](docs/huji/mnist.md) | Digits \\| letters | 1 | 1 |" in readme


def test_every_study_has_its_rows_in_the_index_run_or_not(tmp_path: Path) -> None:
    study(tmp_path / "studies")
    found = index.published(tmp_path / "docs")
    assert [f.study for f in found] == sorted(index.study_names()) and not any(f.page for f in found)
    table = published(tmp_path)
    for other in index.study_names():
        for claim in index.load_study(other).claims if other != "huji/mnist" else []:
            assert f"| {other} | {escape_markdown(claim.text)} | **○ not run** |" in table


@pytest.mark.parametrize(
    ("record", "said"),
    [
        ({"budget": "quick"}, "run with a small budget"),
        ({"done": 3}, "3 of 4 runs are done"),
        ({"overrides": ["seed"]}, "run with seed"),
    ],
)
def test_an_unfinished_study_is_not_published(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], record: dict[str, Any], said: str
) -> None:
    study(tmp_path / "studies", **record)
    published(tmp_path)
    assert f"left out: huji/mnist: {said}" in capsys.readouterr().out
    assert not (tmp_path / "docs" / "huji").exists()


def test_what_was_published_before_stays_and_old_figures_go(tmp_path: Path) -> None:
    top = tmp_path / "studies"
    study(top)
    study(top, "cmu/gone")
    published(tmp_path)
    (tmp_path / "docs" / "huji" / "mnist" / "old.png").write_bytes(b"")
    for path in (top / "cmu" / "gone" / "report").glob("*.*"):
        path.unlink()
    table = published(tmp_path)
    assert "[cmu/gone](cmu/gone.md)" in table
    inside = {path.name for path in (tmp_path / "docs" / "huji" / "mnist").iterdir()}
    assert inside == {"curves.png", "verdicts.json"}
    assert published(tmp_path) == table  # again is the same


def test_publishing_mistakes_are_one_sentence(tmp_path: Path) -> None:
    where = study(tmp_path / "studies") / "verdicts.json"
    (tmp_path / "README.md").write_text("no place")
    with pytest.raises(InputError, match="no place for the results"):
        published(tmp_path)
    (tmp_path / "README.md").write_text(README)
    where.write_text(json.dumps(json.loads(where.read_text()) | {"claims": [{"text": "?"}]}))
    with pytest.raises(InputError, match=r"verdicts\.json is damaged"):
        published(tmp_path)
    for arguments, said in (
        (["publsh"], "did you mean publish"),
        (["publish"], "needs a directory"),
        ([], "list, collect or publish"),
    ):
        with pytest.raises(InputError, match=said):
            studies.main(arguments)


def test_the_list_of_studies(capsys: pytest.CaptureFixture[str]) -> None:
    studies.main(["list"])
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == index.study_names()
