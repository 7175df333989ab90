"""A run of the code at commit 7330b49, before it was divided into packages, is evaluated and resumed as it was then.

run_of_7330b49 is that run: `python -m dlcourse.train model=mlp model.net.hidden=[8] data=clusters trainer=cpu
trainer.max_epochs=4 stopping=early trainer.figures=false logger=none hydra.run.dir=run_of_7330b49`.
metrics_after_resume.csv is its metrics.csv after the same code's `python -m dlcourse.resume trainer.max_epochs=6`.
"""

import shutil
from pathlib import Path

import pandas as pd
import pytest

from dlcourse import evaluate, resume, runs
from dlcourse.config.identity import config_hash

STORED = Path(__file__).parent / "run_of_7330b49"


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return shutil.copytree(STORED, tmp_path / "run")


def test_its_config_has_the_hash_that_it_wrote_down(run: Path) -> None:
    assert config_hash(runs.read_config(run)) == runs.read_result(run)["config_hash"]


def test_it_is_evaluated_to_the_figures_that_it_wrote_down(run: Path) -> None:
    recorded = runs.read_result(run)["metrics"]
    for split in ("test", "val"):
        metrics = evaluate.main([f"run={run}", f"split={split}"])
        expected = {name: value for name, value in recorded.items() if name.startswith(f"{split}/")}
        assert len(expected) == 5
        assert metrics == pytest.approx(expected, rel=1e-6)


def test_it_is_resumed_to_the_rows_that_its_own_code_gave(run: Path) -> None:
    resume.main([f"run={run}", "trainer.max_epochs=6"])
    rows, expected = (pd.read_csv(run / name) for name in (runs.METRICS, "metrics_after_resume.csv"))
    assert list(rows["epoch"]) == [1, 2, 3, 4, 5, 6]
    pd.testing.assert_frame_equal(rows.drop(columns="seconds"), expected.drop(columns="seconds"), rtol=1e-5)
    result, before = runs.read_result(run), runs.read_result(STORED)
    assert (result["status"], result["epochs"], result["best_epoch"]) == ("done", 6, 3)
    assert result["metrics"] == pytest.approx(before["metrics"], rel=1e-5)
