"""A sweep by every launcher that is installed: the same run directories, and a failed job counts wherever it ran."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from dlcourse import runs
from dlcourse import train as dlcourse_train
from dlcourse.core.errors import InputError
from dlcourse.launch import jobs

SMALL = ("model=mlp", "model.net.hidden=[16]", "data.source=stand-in", "data.limit=200", "data.limit_eval=100",
         "trainer.accelerator=cpu", "trainer.max_epochs=2", "trainer.figures=false", "logger=none")  # fmt: skip


def launcher(name: str, *more: str) -> Any:
    """A launcher with what a test of it sets; skipped where it is not installed."""
    extra, package = jobs.ENGINES[f"hydra/launcher={name}"]
    missing = pytest.mark.skipif(
        not jobs.is_installed(package), reason=f"not installed: pip install 'dlcourse[{extra}]'"
    )
    return pytest.param((f"hydra/launcher={name}", *more), id=name, marks=missing)


JOBLIB = launcher("joblib")
SUBMITIT = launcher("submitit_local", "hydra.launcher.timeout_min=5")
RAY = launcher("ray", "+hydra.launcher.ray.init.num_cpus=2")
PLUGIN = """
from torch import nn
class Mine(nn.Sequential):
    def __init__(self, inputs, outputs, hidden, **rest):
        super().__init__(nn.Flatten(), nn.Linear(784, hidden[0]), nn.Tanh(), nn.Linear(hidden[0], outputs))
"""


def train(*words: str, cwd: Path, code: int = 0) -> str:
    """What the command prints on stderr; it must leave with this code."""
    done = subprocess.run(
        [sys.executable, "-m", "dlcourse.train", *words], cwd=cwd, env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True, text=True, timeout=220,
    )  # fmt: skip
    assert done.returncode == code, done.stdout + done.stderr
    return done.stderr


def figures(run: Path) -> dict[str, Any]:
    """What must be the same, wherever a run ran."""
    result = runs.read_result(run)
    return {key: result[key] for key in ("status", "score", "metrics", "epochs", "steps", "config_hash")}


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sweep by Hydra's own launcher: one run after the other, in one process."""
    folder = tmp_path_factory.mktemp("basic")
    train("-m", *SMALL, "seed=0,1", "hydra.sweep.dir=sweep", cwd=folder)
    return folder / "sweep"


@pytest.mark.parametrize("engine", [JOBLIB, SUBMITIT, RAY])
def test_the_same_runs_and_every_failure(engine: tuple[str, ...], expected: Path, tmp_path: Path) -> None:
    """Four jobs, two of them with a learning rate that can't be: those are counted, the others are as ever."""
    words = ("-m", *SMALL, *engine, "hydra.sweep.dir=sweep")
    err = train(*words, "optimizer.lr=0.001,-1", "seed=0,1", cwd=tmp_path, code=2)
    assert "error: failed runs: 2; see train.log in the directory of each" in err.splitlines()  # ray says more
    for seed in (0, 1):
        run, failed = (runs.numbered_run(tmp_path / "sweep", seed + i) for i in (0, 2))
        before = runs.numbered_run(expected, seed)
        assert (before.name, run.name) == (f"{seed}_seed={seed}", f"{seed}_lr=0.001,seed={seed}")
        assert figures(run) == figures(before)
        there = {path.name for path in before.iterdir()}
        assert {path.name for path in run.iterdir()} == there
        assert "epochs, " in (run / "train.log").read_text(encoding="utf-8")
        assert runs.read_result(failed)["error"] == "optimizer.lr must be a number above 0, got -1"


@pytest.mark.parametrize("engine", [JOBLIB])
def test_code_of_ones_own_is_found_in_other_processes(engine: tuple[str, ...], tmp_path: Path) -> None:
    """A plugin and a folder of configs are named once, in the process that launches."""
    (tmp_path / "mynet.py").write_text(PLUGIN, encoding="utf-8")
    (tmp_path / "conf" / "model").mkdir(parents=True)
    yaml = "defaults: [mlp]\nname: mine\nnet: {_target_: mynet.Mine}\n"
    (tmp_path / "conf" / "model" / "mine.yaml").write_text(yaml, encoding="utf-8")
    words = ["--config-dir", "conf", "plugins=[mynet]", "-m", *SMALL[1:], "model=mine", *engine]
    train(*words, "seed=0,1", "hydra.sweep.dir=sweep", cwd=tmp_path)
    results = [json.loads(path.read_text()) for path in sorted(tmp_path.glob("sweep/*/result.json"))]
    assert [result["status"] for result in results] == ["done", "done"]
    assert all("--config-dir" in result["command"] for result in results)


def test_a_sweep_runs_on_one_device(tmp_path: Path) -> None:
    err = train("-m", *SMALL, "trainer=ddp", "trainer.accelerator=cpu", "hydra.sweep.dir=sweep", cwd=tmp_path, code=2)
    assert err == "error: failed runs: 1; see train.log in the directory of each\n"
    error = runs.read_result(tmp_path / "sweep" / "0")["error"]
    assert error == "a sweep's runs have one device each: trainer.devices=1, or start its runs one by one"


def test_a_study_takes_no_sweeper() -> None:
    with pytest.raises(InputError, match="a study says itself which runs there are"):
        dlcourse_train.main(["study=ntnu/logistic", "budget=quick", "hydra/sweeper=basic"])


def test_what_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="hydra/launcher=ray is for several runs: add -m"):
        jobs.check_engines(["hydra/launcher=ray"], several=False)
    monkeypatch.setattr(jobs, "is_installed", lambda package: False)
    with pytest.raises(InputError, match=r"hydra/launcher=ray is not installed: pip install 'dlcourse\[ray\]'"):
        jobs.check_engines(["hydra/launcher=ray"], several=True)
