"""tune.lr, trainer.max_time, --summary: before and around training."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dlcourse import resume, runs
from dlcourse import train as command
from dlcourse.callbacks.keep import read_metrics, seconds
from dlcourse.config.identity import config_hash
from dlcourse.core.errors import InputError
from dlcourse.launch.overrides import check_overrides
from dlcourse.training import fit
from dlcourse.training.layers import layer_rows
from dlcourse.training.loading import build_task

Config = Callable[..., dict[str, Any]]
Train = Callable[..., Path]
MLP = ("model=mlp", "model.net.hidden=[16]", "trainer.max_epochs=3", "trainer.figures=false")


def epochs(run: Path) -> list[dict[str, Any]]:
    return [{k: v for k, v in row.items() if k != "seconds"} for row in read_metrics(run / runs.METRICS)]


# --- tune.lr ---


def test_a_rate_is_found_and_the_run_is_that_of_the_rate(train: Train, config: Config) -> None:
    run = train(*MLP, "tune.lr=true", "optimizer.lr=1e-6", run="tuned")
    result, plain = runs.read_result(run), runs.read_config(run)
    rate = result["tuned"]["optimizer.lr"]
    assert 1e-4 < rate < 0.5 and result["tuned"]["instead_of"] == 1e-6
    assert plain["optimizer"]["lr"] == rate == epochs(run)[0]["lr"]
    assert (run / "figures" / "lr_finder.png").stat().st_size > 5000
    assert not list(run.glob(".lr_find*"))
    given = train(*MLP, f"optimizer.lr={rate}", run="given")
    assert epochs(run) == epochs(given)
    resume.main([f"run={run}", "trainer.max_epochs=5"])
    resume.main([f"run={given}", "trainer.max_epochs=5"])
    assert epochs(run) == epochs(given)
    assert runs.read_result(run)["tuned"] == result["tuned"]


def test_what_was_found_is_not_what_was_asked(train: Train, config: Config) -> None:
    """The same command finds its run done, whatever rate it found."""
    asked = config("tune.lr=true")
    found = asked | {"optimizer": asked["optimizer"] | {"lr": 0.5}}
    assert config_hash(asked) == config_hash(found) != config_hash(config())
    assert config_hash(config()) == config_hash(config("tune.lr=false"))


@pytest.mark.parametrize("model", ["scratch", "autoencoder"])
def test_others_are_tuned_too(model: str, config: Config, tmp_path: Path) -> None:
    from dlcourse.training.tuning import find_lr

    plain, found = find_lr(config(f"model={model}", "data.source=stand-in", "data.limit=200"), tmp_path)
    assert 1e-5 < plain["optimizer"]["lr"] == found["optimizer.lr"] < 10


def test_without_gradients_there_is_no_rate(config: Config, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"tune\.lr=true: model=knn has no gradients"):
        fit.train(config("model=knn", "tune.lr=true", "data.source=stand-in"), tmp_path)
    assert not (tmp_path / runs.RESULT).exists()


# --- trainer.max_time ---


def test_time_that_is_up_ends_training_after_a_whole_epoch(
    train: Train, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    whole = train(*MLP, run="whole")
    run = train(*MLP, "trainer.max_time=00:00:00:00", run="short")
    result = runs.read_result(run)
    assert (result["status"], result["epochs"]) == ("done", 1)
    assert result["stopped"] == "trainer.max_time=00:00:00:00 after epoch 1"
    assert result["metrics"]["test/loss"] > 0
    resume.main([f"run={run}"])
    assert runs.read_result(run)["epochs"] == 2
    resume.main([f"run={run}"])
    result = runs.read_result(run)
    assert (result["epochs"], "stopped" in result) == (3, False)
    assert epochs(run) == epochs(whole)
    assert result["metrics"] == runs.read_result(whole)["metrics"]


def test_a_long_time_is_not_up(train: Train) -> None:
    assert "stopped" not in runs.read_result(train(*MLP, "trainer.max_time=01:00:00:00"))
    assert seconds("01:02:03:04") == 93784
    for mistake in ("10", "00:10:00", "soon"):
        with pytest.raises(InputError, match=r"trainer\.max_time must be .*days:hours:minutes:seconds"):
            check_overrides([f"trainer.max_time='{mistake}'"], sweep=False)


# --- --summary ---


def test_the_table_counts_what_there_is(config: Config, capsys: pytest.CaptureFixture[str]) -> None:
    command.main(["model=cnn", "--summary"])
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    task = build_task(config("model=cnn"))
    parameters = sum(p.numel() for p in task.parameters())
    assert lines[-1][:4] == ["in", "all", f"{parameters:,}", f"{parameters:,}"]
    rows = {row[0]: row for row in layer_rows(task.net, (1, 28, 28))[0]}
    assert rows["features.0"][1:] == ("Conv2d", "20 × 24 × 24", 520, 520, 2 * 20 * 24 * 24 * 25)
    assert rows["classifier.2"][3:] == (5130, 5130, 2 * 512 * 10)


def test_tied_weights_are_counted_once(capsys: pytest.CaptureFixture[str]) -> None:
    command.main(["--summary", "model=autoencoder", "model.net.tied=true"])
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert rows[-1][2] == "51,024" and ["elsewhere", "784", "784", "100", "k"] in rows


def test_a_summary_is_of_one_network(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "dlcourse.train", "-m", "model=linear,mlp", "--summary"],
        cwd=tmp_path, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "error: --summary is of one network: without -m and study=\n"
    assert list(tmp_path.iterdir()) == []
