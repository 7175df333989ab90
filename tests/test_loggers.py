"""logger=csv, wandb, mlflow and many: Lightning's own classes, offline, with the real packages where they are."""

import csv
import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dlcourse import resume, runs
from dlcourse.config.identity import config_hash
from dlcourse.core.errors import InputError
from dlcourse.launch import jobs
from dlcourse.launch.overrides import check_overrides
from dlcourse.training import fit

Config = Callable[..., dict[str, Any]]
Train = Callable[..., Path]
QUICK = ("model=linear", "trainer.max_epochs=2", "trainer.figures=false")


@pytest.fixture
def needs(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Skips where a package isn't installed; nothing of it goes over a network."""
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)

    def check(package: str) -> None:
        if not jobs.is_installed(package):
            pytest.skip(f"{package} is not installed: pip install 'dlcourse[{package}]'")

    return check


def logged(run: Path) -> list[dict[str, str]]:
    with (run / "csv" / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_many_at_once_and_a_run_that_goes_on(train: Train) -> None:
    run = train(*QUICK, "logger=many")
    assert {"events.out.tfevents", "csv"} <= {path.name.split(".1")[0] for path in run.iterdir()}
    before = [row["train/loss"] for row in logged(run) if row["train/loss"]]
    assert len(before) == 2 and logged(run)[-1]["whole_run/test/accuracy"]
    resume.main([f"run={run}", "trainer.max_epochs=3"])
    after = [row["train/loss"] for row in logged(run) if row["train/loss"]]
    assert len(after) == 3
    assert [float(a) for a in after[:2]] == pytest.approx([float(b) for b in before])


def test_mlflow(train: Train, needs: Callable[[str], None]) -> None:
    needs("mlflow")
    run = train(*QUICK, "logger=mlflow")
    client = importlib.import_module("mlflow").MlflowClient(f"file:{run.parent / 'mlruns'}")
    identity = runs.read_result(run)["loggers"]["logger"]
    resume.main([f"run={run}", "trainer.max_epochs=3"])
    (experiment,) = [found for found in client.search_experiments() if found.name == "dlcourse"]
    (saved,) = client.search_runs([experiment.experiment_id])
    assert (saved.info.run_id, saved.info.status, saved.info.run_name) == (identity, "FINISHED", "linear-mnist")
    assert [point.step for point in client.get_metric_history(identity, "train/loss")] == [2, 4, 6]
    assert saved.data.params["optimizer.lr"] == "0.001"
    assert saved.data.metrics["whole_run/test/accuracy"] == pytest.approx(
        runs.read_result(run)["metrics"]["test/accuracy"]
    )
    assert any("while_training" in path.path for path in client.list_artifacts(identity, "images"))


def test_wandb(train: Train, needs: Callable[[str], None]) -> None:
    needs("wandb")
    run = train(*QUICK, "logger=wandb")
    identity = runs.read_result(run)["loggers"]["logger"]
    resume.main([f"run={run}", "trainer.max_epochs=3"])
    assert runs.read_result(run)["loggers"]["logger"] == identity
    folders = list((run / "wandb").glob("offline-run-*"))
    assert folders and all(identity in folder.name for folder in folders)
    written = b"".join(path.read_bytes() for folder in folders for path in folder.glob("*.wandb"))
    assert b"whole_run/test/accuracy" in written and b"optimizer" in written
    assert importlib.import_module("wandb").run is None


def test_the_logger_is_not_what_a_run_computes(config: Config) -> None:
    assert {
        config_hash(config(f"logger={name}")) for name in ("none", "tensorboard", "csv", "wandb", "mlflow", "many")
    } == {config_hash(config())}


@pytest.mark.parametrize("package", ["wandb", "mlflow"])
def test_one_that_is_not_installed_is_one_sentence(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "is_installed", lambda name: name != package)
    for words in ([f"logger={package}"], ["logger=many", f"logger.use=[csv,{package}]"]):
        with pytest.raises(
            InputError, match=rf"logger={package} is not installed: pip install 'dlcourse\[{package}\]'"
        ):
            check_overrides(words, sweep=False)
    check_overrides(["logger=many"], sweep=False)


def test_a_name_that_is_none_is_one_sentence() -> None:
    with pytest.raises(InputError, match=r"logger\.use: there is no tensorbord; did you mean tensorboard\?"):
        check_overrides(["logger=many", "logger.use=[tensorbord]"], sweep=False)


def test_one_that_refuses_is_one_sentence(
    config: Config, tmp_path: Path, needs: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a login; nothing is left of the run."""
    needs("wandb")
    monkeypatch.setenv("WANDB_MODE", "online")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    importlib.import_module("wandb").teardown()  # it keeps the settings of other runs of this process
    with pytest.raises(InputError, match=r"logger: no run can be begun there \(.*wandb login"):
        fit.train(config("data.source=stand-in", *QUICK, "logger=wandb"), tmp_path / "run")
    assert not (tmp_path / "run" / runs.RESULT).exists()
