"""A sweep as a user sees it: a line a job, directories named by what differs, a table, the best run, a report."""

import logging
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from dlcourse import runs
from dlcourse.callbacks.progress import Progress, fit_line
from dlcourse.launch import resolvers  # noqa: F401  it registers them
from dlcourse.launch.sweeps import Sweep
from dlcourse.reports.sweep import conclude
from dlcourse.runs.differences import directory_name

SMALL = ("model=linear", "data.source=stand-in", "data.limit=100", "data.limit_eval=50", "trainer.accelerator=cpu",
         "trainer.max_epochs=2", "trainer.figures=false", "logger=none")  # fmt: skip
NAMES = ["0_lr=0.01,seed=0", "1_lr=0.01,seed=1", "2_lr=-1,seed=0", "3_lr=-1,seed=1"]


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """A sweep of four jobs, two of them with a rate that can't be: its directory, and what was printed."""
    folder = tmp_path_factory.mktemp("swept")
    words = ["-m", *SMALL, "optimizer.lr=0.01,-1", "seed=0,1", "hydra.sweep.dir=sweep"]
    done = subprocess.run(
        [sys.executable, "-m", "dlcourse.train", *words], cwd=folder, env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True, text=True, timeout=200,
    )  # fmt: skip
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    return folder / "sweep", done.stdout.splitlines()


def test_a_line_a_job_and_a_directory_named_by_what_differs(swept: tuple[Path, list[str]]) -> None:
    folder, said = swept
    assert sorted(path.name for path in folder.iterdir() if path.is_dir()) == NAMES
    for place, line in enumerate(said[:4], 1):
        told = "failed: optimizer.lr must be a number above 0, got -1" if place > 2 else "val/accuracy 0."
        assert line.startswith(f"[{place}/4] lr={'-1' if place > 2 else '0.01'} seed={(place - 1) % 2}: {told}")
    assert said[4] == "" and sum("STAND-IN" in line for line in said) == 1
    log = (folder / NAMES[0] / "train.log").read_text(encoding="utf-8")
    assert "epoch 1/2  loss" in log and "STAND-IN" in log and "2 epochs, " in log
    assert runs.find_run(folder / "1").name == NAMES[1]


def test_it_ends_with_a_table_and_the_best_run(swept: tuple[Path, list[str]]) -> None:
    folder, said = swept
    scores = [runs.read_result(folder / name)["score"] for name in NAMES[:2]]
    table = [line.split() for line in said[5:8]]
    assert table[0] == ["lr", "val/accuracy", "runs", "seconds"]
    assert table[1][:2] == ["0.01", f"{sum(scores) / 2:.4f}"] and table[1][2] == "±" and table[1][4] == "2"
    assert table[2] == ["failed", "-1", "–", "0", "of", "2", "–"]
    assert f"failed: {NAMES[2]}, {NAMES[3]}: optimizer.lr must be a number above 0, got -1" in said
    best = runs.find_run(folder).name
    assert said[-1] == f"best run: sweep/{best}; look at it: python -m dlcourse.evaluate run=sweep"


def test_its_report_and_the_best_row(
    swept: tuple[Path, list[str]], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, _ = swept
    result = runs.read_result(folder / NAMES[1])  # as if its rate had been another one, and better
    changed = {"command": result["command"].replace("lr=0.01", "lr=0.02"), "score": 0.99}
    runs.write_result(folder / NAMES[1], result | changed)
    monkeypatch.setenv("COLUMNS", "60")
    conclude(folder, figures=True)
    _, header, *rows = (said := capsys.readouterr().out.splitlines())[:5]
    assert [row.split()[0] for row in rows] == ["best", "0.01", "failed"] and rows[0].split()[1:3] == ["0.02", "0.9900"]
    assert max(map(len, [header, *rows])) <= 60
    assert f"report: {folder}/report.html" in said
    assert (folder / "report.html").stat().st_size > 10_000


@pytest.mark.parametrize(
    ("values", "name"),
    [
        ({"model": "cnn", "seed": "1"}, "3_model=cnn,seed=1"),
        ({"optimizer.lr": "0.00123456789", "model.net.hidden": "[64,64]"}, "3_lr=0.001235,hidden=64,64"),
        ({"experiment": "cmu/q3", "data.root": "'/a b/ö'"}, "3_experiment=cmu-q3,root=-ab"),
        ({"schedule.patience": "1", "stopping.patience": "2"}, "3_schedule.patience=1,stopping.patience=2"),
        ({"name": "x" * 300}, "3_name=" + "x" * 73),
        ({}, "3"),
    ],
)
def test_names_that_any_file_system_takes(values: dict[str, str], name: str) -> None:
    assert directory_name(3, values) == name


def test_a_directory_of_an_earlier_version_is_gone_on_with(tmp_path: Path) -> None:
    (tmp_path / "0").mkdir()
    job = {"num": 0, "config": {"override_dirname": {"exclude_keys": ["model"]}}}
    hydra = {"job": job, "sweep": {"dir": str(tmp_path), "subdir": "${job_directory:}"}}
    cfg = OmegaConf.create({"hydra": {**hydra, "overrides": {"task": ["model=mlp", "seed=1"]}}})
    assert cfg.hydra.sweep.subdir == "0"
    cfg.hydra.job.num = 1
    assert cfg.hydra.sweep.subdir == "1_seed=1"


def test_how_long_a_sweep_still_takes() -> None:
    sweep = Sweep(Path("x"), jobs=12, varied=(), done=2, began=100.0)
    assert sweep.place(2) == "3/12"
    assert sweep.time_left(3, now=120.0) == 80.0  # two made in 20 seconds, eight to go
    assert sweep.time_left(1, now=101.0) is None and sweep.time_left(11, now=500.0) is None


# --- while it trains -------------------------------------------------------------------------------------------------


def test_a_line_fits_its_terminal() -> None:
    parts = {"place": "job 3/12", "epoch": "epoch 120/1000", "bar": "██████░░░░", "loss": "loss 0.1234"}
    parts |= {"score": "val/accuracy 0.9712", "best": "best 0.9734", "left": "1:00:42 left", "rate": "12,345 ex/s"}
    assert len(fit_line(parts, 119)) <= 119 and "██" in fit_line(parts, 119)
    narrow = fit_line(parts, 79)
    assert len(narrow) <= 79
    assert all(part in narrow for part in ("job 3/12", "epoch 120/1000", "val/accuracy 0.9712", "1:00:42 left"))


def test_in_a_log_it_is_a_line_an_epoch_and_fifty_of_thousands(
    train: Callable[..., Path], caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.INFO)
    small = ("model=linear", "data.batch_size=all", "data.shuffle=false", "trainer.figures=false")
    train(*small, "trainer.max_epochs=3", run="few")
    lines = [record.getMessage() for record in caplog.records if record.name == Progress.__module__]
    assert [line.split("  ")[0] for line in lines] == ["epoch 1/3", "epoch 2/3", "epoch 3/3"]
    assert all(
        "  loss " in line and "  val/accuracy " in line and "  best " in line and "ex/s" in line for line in lines
    )
    assert " left" in lines[0] and " left" not in lines[2]
    caplog.clear()
    train(*small, "trainer.max_epochs=150", run="many")
    lines = [record.getMessage() for record in caplog.records if record.name == Progress.__module__]
    assert len(lines) == 51 and lines[0].startswith("epoch 1/150 ") and lines[-1].startswith("epoch 150/150 ")
    caplog.clear()
    train(*small, "trainer.progress=false", run="none")
    assert not [record for record in caplog.records if record.name == Progress.__module__]
    assert capsys.readouterr().err == ""
