"""A run from beginning to end: its directory, the same figures again, going on, stopping, sweeps."""

import csv
import json
import math
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from dlcourse import evaluate, predict, resume, runs
from dlcourse.core.errors import InputError
from dlcourse.tasks import Classify
from dlcourse.training import fit, loading

Config = Callable[..., dict[str, Any]]
Train = Callable[..., Path]
NOISY = (
    "model=cnn",
    "model.net.channels=[4,4]",
    "model.net.hidden=[16]",
    "model.net.dropout=0.3",
    "data.augment.rotate=20",
)
QUICK = ("model=mlp", "model.net.hidden=[16]", "trainer.figures=false")


def rows(run: Path) -> list[dict[str, str]]:
    with (run / "metrics.csv").open(newline="") as file:
        return [{k: v for k, v in row.items() if k != "seconds"} for row in csv.DictReader(file)]


def command(*words: str, cwd: Path, **options: Any) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", *words], cwd=cwd, capture_output=True, text=True, timeout=120, **options
    )  # fmt: skip


@pytest.mark.parametrize("model", ["mlp", "knn"])
def test_a_line_of_progress_on_a_terminal(
    train: Train, model: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("os.isatty", lambda descriptor: True)
    train(f"model={model}", "trainer.progress=true", "trainer.figures=false")
    shown = capsys.readouterr().err
    assert "epoch 1/" in shown and shown.endswith("\r") and ("loss" in shown) == (model == "mlp")


def test_the_run_directory(train: Train) -> None:
    run = train("model=mlp", "model.net.hidden=[16]", "trainer.max_epochs=2", "logger=tensorboard")
    names = {p.name for p in run.iterdir()}
    assert {"config.yaml", "result.json", "best.ckpt", "last.ckpt", "metrics.csv", "figures"} <= names
    assert any(name.startswith("events.out.tfevents") for name in names)
    assert not [p for p in run.rglob("*") if "=" in p.name or p.suffix == ".part"]
    assert {p.name for p in (run / "figures").iterdir()} == {
        "learning_curves.png", "weights.png", "confusion_matrix.png", "misclassified.png"
    }  # fmt: skip
    result = json.loads((run / "result.json").read_text())
    assert {
        "status", "score", "monitor", "metrics", "epochs", "best_epoch", "steps", "seconds", "parameters", "seed",
        "model", "data", "versions", "device", "commit", "config_hash", "command",
    } <= result.keys()  # fmt: skip
    assert (result["status"], result["epochs"], result["steps"], result["seed"]) == ("done", 2, 4, 0)
    assert result["score"] == result["metrics"]["val/accuracy"]
    assert {"name", "source", "comparable", "provenance", "train", "val", "test"} <= result["data"].keys()
    assert (result["data"]["source"], result["data"]["comparable"]) == ("stand-in", False)
    assert (result["data"]["train"], result["data"]["val"], result["data"]["test"]) == (200, 100, 100)
    with (run / "confusion.csv").open(newline="") as file:
        header, *table = csv.reader(file)
    counts = [[int(n) for n in row[1:]] for row in table]
    assert header[1:] == [row[0] for row in table] == result["data"]["classes"]
    assert sum(map(sum, counts)) == 100
    assert sum(counts[k][k] for k in range(10)) == pytest.approx(100 * result["metrics"]["test/accuracy"])
    best = rows(run)[result["best_epoch"] - 1]
    assert all(float(best[k]) == v for k, v in result["metrics"].items() if not k.startswith("test/"))


def test_evaluate_gives_the_same_figures_from_the_directory_alone(train: Train) -> None:
    run = train(*QUICK, "trainer.max_epochs=3")
    recorded = runs.read_result(run)["metrics"]
    for split in ("test", "val"):
        again = evaluate.main([f"run={run}", f"split={split}"])
        assert again == {k: v for k, v in recorded.items() if k.startswith(f"{split}/")}
    fewer = evaluate.main([f"run={run}", "data.limit_eval=10"])
    assert fewer["test/accuracy"] * 10 == pytest.approx(round(fewer["test/accuracy"] * 10), abs=1e-4)


def test_plain_lightning_restores_a_task_without_running_code(train: Train) -> None:
    run = train(*QUICK, "trainer.max_epochs=1")
    for name in ("best.ckpt", "last.ckpt"):
        task = Classify.load_from_checkpoint(run / name, weights_only=True)
        for key, value in loading.load_task(run).state_dict().items():
            assert torch.equal(task.state_dict()[key], value), (name, key)


@pytest.mark.parametrize("overrides", [NOISY, ("model=denoising",), (*QUICK, "schedule=cosine", "optimizer=rmsprop")])
def test_resumed_is_what_it_would_have_been(overrides: tuple[str, ...], train: Train) -> None:
    """Two epochs and two more are four, to the last digit: order, augmentation, dropout, noise, optimizer."""
    common = [*overrides, "trainer.figures=false", "data.batch_size=64"]
    if "schedule=cosine" in overrides:
        common.append("schedule.T_max=4")
    straight = train(*common, "trainer.max_epochs=4", run="straight")
    broken = train(*common, "trainer.max_epochs=2", run="broken")
    assert resume.main([f"run={broken}", "trainer.max_epochs=4"]) == runs.read_result(straight)["score"]
    assert rows(broken) == rows(straight)
    assert runs.read_result(broken)["metrics"] == runs.read_result(straight)["metrics"]
    for name in ("best.ckpt", "last.ckpt"):
        a, b = (torch.load(run / name, weights_only=True)["state_dict"] for run in (straight, broken))
        assert all(torch.equal(a[key], b[key]) for key in a)


def test_a_run_that_is_done_is_left_alone(train: Train) -> None:
    run = train(*QUICK, "trainer.max_epochs=1")
    before = (run / "result.json").read_text()
    assert resume.main([f"run={run}"]) == runs.read_result(run)["score"]
    assert (run / "result.json").read_text() == before


def test_a_run_that_had_stopped_early_does_not_go_on(train: Train) -> None:
    """Cut off after training stopped but before it was tested, it is only tested."""
    words = (*QUICK, "stopping=early", "stopping.patience=1", "optimizer.lr=1e-9", "trainer.max_epochs=9")
    run = train(*words)
    result, kept = runs.read_result(run), rows(run)
    assert 1 < len(kept) < 9
    runs.write_result(run, result | {"status": "interrupted", "metrics": {}})
    resume.main([f"run={run}"])
    assert rows(run) == kept
    assert runs.read_result(run)["metrics"] == result["metrics"]


def test_the_seed_decides_and_zero_is_one(train: Train) -> None:
    same = [rows(train(*QUICK, "seed=0", "trainer.max_epochs=1", run=f"a{i}")) for i in range(2)]
    other = rows(train(*QUICK, "seed=1", "trainer.max_epochs=1", run="b"))
    assert same[0] == same[1] != other


def test_the_best_epoch_is_kept_not_the_last(train: Train) -> None:
    """With a step that is far too long the validation loss is best early; best.ckpt has those weights."""
    run = train(*QUICK, "model.monitor=val/loss", "optimizer=sgd", "optimizer.lr=3", "trainer.max_epochs=6")
    losses = [float(row["val/loss"]) for row in rows(run)]
    result = runs.read_result(run)
    best = min(range(6), key=lambda i: math.inf if math.isnan(losses[i]) else losses[i])
    assert best < 5, losses
    assert result["best_epoch"] == best + 1
    assert evaluate.main([f"run={run}", "split=val"])["val/loss"] == losses[best]


def test_a_run_that_diverges_is_written_down(train: Train) -> None:
    run = train(*QUICK, "model.monitor=val/loss", "optimizer=sgd", "optimizer.lr=1e30", "trainer.max_epochs=2")
    result = runs.read_result(run)
    assert result["status"] == "done"
    assert result["score"] is None
    assert result["metrics"]["val/loss"] is None


def test_a_network_learns_its_training_examples_by_heart(train: Train) -> None:
    run = train("model=mlp", "data.limit=32", "data.batch_size=all", "trainer.max_epochs=60", "trainer.figures=false")
    assert float(rows(run)[-1]["train/accuracy"]) == 1.0
    assert runs.read_result(run)["steps"] == 60


def test_a_directory_with_a_run_is_not_written_over(train: Train, config: Config) -> None:
    run = train(*QUICK, "trainer.max_epochs=1")
    before = {p: p.stat().st_mtime_ns for p in run.rglob("*") if p.name != runs.LOCK}
    with pytest.raises(InputError, match="already holds a run"):
        fit.train(config("model=linear"), run)
    assert {p: p.stat().st_mtime_ns for p in run.rglob("*") if p.name != runs.LOCK} == before


@pytest.mark.parametrize("normalize", ["unit", "standardize"])
def test_predict_says_what_the_network_says(normalize: str, train: Train, tmp_path: Path) -> None:
    """From image files and the run directory alone: the classes and probabilities that the run's own images get."""
    from PIL import Image

    words = ("model=linear", "data.limit=1000", "trainer.max_epochs=3", "trainer.figures=false")
    run = train(*words, f"data.normalize={normalize}")
    data = loading.build_data(runs.read_config(run))
    data.prepare()
    x, _ = data.splits["test"].all()
    task = loading.load_task(run)
    assert isinstance(task, Classify)
    with torch.no_grad():
        expected, classes = task.probabilities(data.transform(x)).max(1)
    for i, image in enumerate(x[:12]):
        Image.fromarray(image[0].numpy()).save(tmp_path / f"{i:02}.png")
    predict.main([f"run={run}", f"images={tmp_path}/*.png", f"out={tmp_path}/out.csv"])
    with (tmp_path / "out.csv").open(newline="") as file:
        table = list(csv.DictReader(file))
    assert list(table[0])[:3] == ["file", "class", "probability"]
    assert [Path(row["file"]).name for row in table] == [f"{i:02}.png" for i in range(12)]
    assert [row["class"] for row in table] == [data.classes[k] for k in classes[:12]]
    for row, probability in zip(table, expected.tolist(), strict=False):
        five = [float(row[f"probability_{k}"]) for k in range(1, 6)]
        assert five == sorted(five, reverse=True)
        assert float(row["probability"]) == five[0] == pytest.approx(probability, abs=2e-6)


def test_interrupted_then_resumed(tmp_path: Path, train: Train) -> None:
    """Ctrl-C in the middle: status, exit code, the line that resumes; and the end is the one it would have had."""
    words = [*QUICK, "data.source=stand-in", "data.limit_eval=100", "logger=none", "trainer.accelerator=cpu"]
    words += ["data.batch_size=2", "trainer.max_epochs=12"]
    run = tmp_path / "cut"
    process = subprocess.Popen(
        [sys.executable, "-m", "dlcourse.train", *words, f"hydra.run.dir={run}"],
        cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    deadline = time.monotonic() + 90
    while not (run / "last.ckpt").is_file() and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 130, output
    result = runs.read_result(run)
    assert result["status"] == "interrupted"
    assert 1 <= result["epochs"] < 12
    assert "python -m dlcourse.resume run=cut" in output
    assert "Traceback" not in output
    assert command("dlcourse.resume", "run=cut", cwd=tmp_path).returncode == 0
    assert runs.read_result(run)["status"] == "done"
    straight = tmp_path / "straight"
    assert command("dlcourse.train", *words, f"hydra.run.dir={straight}", cwd=tmp_path).returncode == 0
    assert rows(run) == rows(straight)


def test_a_sweep_goes_on_past_a_failing_job(tmp_path: Path) -> None:
    words = ["model=linear", "data.source=stand-in", "data.limit=100", "trainer=smoke", "trainer.figures=false"]
    done = command("dlcourse.train", "-m", *words, "optimizer.lr=0.01,-1,0.1", "hydra.sweep.dir=sweep", cwd=tmp_path)
    assert done.returncode != 0
    results = {p.parent.name: json.loads(p.read_text()) for p in (tmp_path / "sweep").glob("*/result.json")}
    states = {"0_lr=0.01": "done", "1_lr=-1": "failed", "2_lr=0.1": "done"}
    assert {k: r["status"] for k, r in results.items()} == states
    assert "optimizer.lr" in results["1_lr=-1"]["error"]
    assert "optimizer.lr" in (tmp_path / "sweep" / "1_lr=-1" / "train.log").read_text()
    assert "Traceback" not in done.stderr
    best = max(("0_lr=0.01", "2_lr=0.1"), key=lambda k: results[k]["score"])
    assert runs.find_run(tmp_path / "sweep").name == best
    again = command("dlcourse.evaluate", "run=sweep", cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    assert "as recorded" in again.stdout
