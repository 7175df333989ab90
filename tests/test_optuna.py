"""`hydra/sweeper=optuna`, as a user searches: what is found, what goes on, what is given up, what is refused."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from dlcourse import runs
from dlcourse.core.errors import InputError
from dlcourse.launch import jobs

optuna = pytest.importorskip("optuna", reason="not installed: pip install 'dlcourse[optuna]'")

SMALL = ("model=mlp", "data.source=stand-in", "data.limit=300", "data.limit_eval=200",
         "trainer=cpu", "trainer.max_epochs=4", "trainer.figures=false", "logger=none")  # fmt: skip
RATES = "optimizer.lr=tag(log,interval(1e-6,0.1))"


def search(folder: Path, trials: int, *words: str, code: int = 0) -> str:
    """What the command prints; it must leave with this code."""
    command = [sys.executable, "-m", "dlcourse.train", "-m", "hydra/sweeper=optuna", f"hydra.sweeper.n_trials={trials}"]
    done = subprocess.run(
        [*command, *SMALL, f"hydra.sweep.dir={folder}", *words],
        env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True, timeout=200,
    )  # fmt: skip
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


def results(folder: Path) -> list[dict[str, Any]]:
    found = sorted(folder.glob("*/result.json"), key=lambda path: int(path.parent.name.split("_")[0]))
    return [runs.read_result(path.parent) for path in found]


def states(folder: Path) -> list[str]:
    from dlcourse.training.search import STUDY, storage

    return [trial.state.name for trial in optuna.load_study(study_name=STUDY, storage=storage(folder)).get_trials()]


def test_a_search_goes_on_and_knows_its_best(tmp_path: Path) -> None:
    """Four trials and then two more are the six of a search in one go; nothing is trained twice."""
    arguments = (RATES, "data.batch_size=range(16,65,16)", "optimizer=adam,sgd", "hydra.sweeper.pruner=none")
    search(tmp_path / "parts", 4, *arguments)
    said = search(tmp_path / "parts", 6, *arguments)
    assert "[4/6] " not in said and "[5/6] lr=" in said and "best of 6 trials (0 pruned, 0 failed" in said
    search(tmp_path / "whole", 6, *arguments)
    parts, whole = results(tmp_path / "parts"), results(tmp_path / "whole")
    assert len(whole) == 6
    assert [r["config_hash"] for r in parts] == [r["config_hash"] for r in whole]
    best = yaml.safe_load((tmp_path / "parts" / "optimization_results.yaml").read_text())
    scores = [r["score"] for r in parts]
    assert best["best_value"] == max(scores) and scores[best["best_trial"]] == max(scores)
    assert set(best["best_params"]) == {"optimizer.lr", "data.batch_size", "optimizer"}
    assert {r["steps"] for r in parts} <= {4 * n for n in (300 // 16 + 1, 300 // 32 + 1, 300 // 48 + 1, 300 // 64 + 1)}

    said = search(tmp_path / "parts", 8, "optimizer.lr=interval(0.1,1)", code=2)
    assert "holds another search (data.batch_size, optimizer, optimizer.lr differ)" in said


@pytest.mark.parametrize("launcher", ["basic", "population"])
def test_hopeless_trials_are_given_up(launcher: str, tmp_path: Path) -> None:
    """A good rate first, then useless ones: those are stopped, counted, and whole runs all the same."""
    rates = "optimizer.lr=choice(0.01,1e-9)"
    options = ("startup_trials=1", "n_jobs=2", "sampler=random", "seed=2")  # the bad rate is drawn for 4, 6 and 7
    said = search(tmp_path, 8, rates, *(f"hydra.sweeper.{o}" for o in options), f"hydra/launcher={launcher}")
    found = results(tmp_path)
    pruned = [r for r in found if "pruned" in r]
    assert [i for i, r in enumerate(found) if "pruned" in r] == [4, 6, 7] and "(3 pruned, 0 failed" in said
    assert all(r["status"] == "done" and r["epochs"] == r["pruned"] < 4 for r in pruned)
    assert states(tmp_path) == ["PRUNED" if "pruned" in r else "COMPLETE" for r in found]
    assert yaml.safe_load((tmp_path / "optimization_results.yaml").read_text())["best_params"] == {
        "optimizer.lr": "0.01"
    }
    assert {r["stepping"] for r in found} == {"population" if launcher == "population" else "eager"}


def test_a_trial_that_fails_is_counted_and_one_that_was_cut_off_is_replaced(tmp_path: Path) -> None:
    words = ("optimizer.lr=choice(0.01,-1)", "hydra.sweeper.sampler=random", "hydra.sweeper.seed=3")
    said = search(tmp_path, 4, *words, code=2)
    assert "optimizer.lr must be a number above 0, got -1" in said and "error: failed runs: " in said
    assert states(tmp_path) == ["FAIL", "FAIL", "COMPLETE", "COMPLETE"]

    from dlcourse.training.search import STUDY, storage

    optuna.load_study(study_name=STUDY, storage=storage(tmp_path)).ask()  # of a process that died
    search(tmp_path, 5, *words)
    assert states(tmp_path)[4:] == ["FAIL", "COMPLETE"] and (runs.numbered_run(tmp_path, 5) / "best.ckpt").is_file()


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["seed=0"], "hydra/sweeper=optuna has nothing to search: give a key several values"),
        ([RATES, "hydra.sweeper.n_trials=0"], "hydra.sweeper.n_trials must be 1 or more, got 0"),
        ([RATES, "hydra.sweeper.sampler=grid"], "hydra.sweeper.sampler must be tpe or random, got grid"),
        (["optimizer.lr=interval(1,0)"], "optimizer.lr=interval(1,0): "),
        (["model=mlp,autoencoder"], "these runs monitor val/accuracy and val/loss: set model.monitor=..."),
    ],
)
def test_what_is_wrong_is_said(words: list[str], sentence: str, tmp_path: Path) -> None:
    said = search(tmp_path / "sweep", 2, *words, code=2)
    assert said.startswith(f"error: {sentence}")
    assert not list(tmp_path.glob("sweep/*/result.json"))


def test_it_is_named_where_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "is_installed", lambda package: False)
    with pytest.raises(InputError, match=r"hydra/sweeper=optuna is not installed: pip install 'dlcourse\[optuna\]'"):
        jobs.check_engines(["hydra/sweeper=optuna"], several=True)
