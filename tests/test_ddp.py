"""trainer=ddp with two CPU processes: each step is made of both's examples, and the first of them writes the run."""

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from dlcourse import evaluate, runs

WORDS = ("model=cnn", "model.net.channels=[4]", "model.net.hidden=[8]", "model.net.batch_norm=true",
         "data.source=stand-in", "data.limit=203", "data.limit_eval=101", "data.batch_size=25", "logger=none",
         "trainer=ddp", "trainer.accelerator=cpu", "trainer.max_epochs=8", "hydra.run.dir=run")  # fmt: skip
# The clock tells the first process to save after each epoch and the other never to: they must agree all the same.
DISAGREEING = """
from dlcourse.core import cli
from dlcourse import resume, runs
from dlcourse.callbacks import Keep

assert Keep.SHARE < 1
Keep.SHARE = 1e9 if runs.main_process() else 1e-9
cli.run_command(resume.main)
"""


def python(*words: str, cwd: Path) -> str:
    """What a command prints; it must end well and have nothing to complain about."""
    process = subprocess.Popen(
        [sys.executable, *words], cwd=cwd, env=os.environ | {"MASTER_ADDR": "127.0.0.1"},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    try:
        out, err = process.communicate(timeout=120)
    finally:
        with contextlib.suppress(ProcessLookupError):  # processes that wait for each other would wait on
            os.killpg(process.pid, signal.SIGKILL)
    assert (process.returncode, err) == (0, "")
    return out


def test_two_processes_train_one_network(tmp_path: Path) -> None:
    """Trained, evaluated, gone on with: the same figures in one process as the two wrote down, everything said once."""
    run = tmp_path / "run"
    printed = python("-m", "dlcourse.train", *WORDS, cwd=tmp_path)
    assert printed.count("examples to train") == 1
    assert printed.count("\nrun: run\n") == 1
    result = runs.read_result(run)
    assert (result["status"], result["epochs"]) == ("done", 8)
    assert result["steps"] == 8 * 4  # of 203 examples 101 for each process: three batches of 25 and one of 26
    assert result["device"].startswith("2 × ")
    assert {p.name for p in (run / "figures").iterdir()} >= {"learning_curves.png", "confusion_matrix.png"}
    assert list(run.glob("*.part")) == []
    check_figures(run)

    (tmp_path / "disagreeing.py").write_text(DISAGREEING, encoding="utf-8")
    printed = python("disagreeing.py", "run=run", "trainer.max_epochs=16", cwd=tmp_path)
    assert printed.count("examples to train") == 1
    result = runs.read_result(run)
    assert (result["status"], result["epochs"]) == ("done", 16)
    lines = (run / runs.METRICS).read_text(encoding="utf-8").splitlines()
    assert [line.split(",")[0] for line in lines] == ["epoch", *map(str, range(1, 17))]
    check_figures(run)


def check_figures(run: Path) -> None:
    """What evaluate finds in one process is what was written down: test exactly, val but for the order of sums."""
    recorded = runs.read_result(run)["metrics"]
    assert evaluate.main([f"run={run}"]) == {k: v for k, v in recorded.items() if k.startswith("test/")}
    for name, value in evaluate.main([f"run={run}", "split=val"]).items():
        assert value == pytest.approx(recorded[name], rel=1e-5), name


RANKS = [
    ({}, True),
    ({"LOCAL_RANK": "0", "NODE_RANK": "0"}, True),  # Lightning's own processes
    ({"LOCAL_RANK": "1", "NODE_RANK": "0"}, False),
    ({"LOCAL_RANK": "0", "NODE_RANK": "1"}, False),
    ({"LOCAL_RANK": "0"}, True),
    ({"LOCAL_RANK": "1"}, False),
    ({"RANK": "0", "LOCAL_RANK": "0"}, True),  # torchrun's
    ({"RANK": "1", "LOCAL_RANK": "1"}, False),
    ({"RANK": "2", "LOCAL_RANK": "0"}, False),
    ({"RANK": "2", "LOCAL_RANK": "0", "GROUP_RANK": "1"}, False),
    ({"SLURM_PROCID": "0", "SLURM_LOCALID": "0"}, True),  # srun's
    ({"SLURM_PROCID": "3", "SLURM_LOCALID": "1"}, False),
    ({"SLURM_PROCID": "4", "SLURM_LOCALID": "0"}, False),
    ({"SLURM_PROCID": "0", "LOCAL_RANK": "1", "NODE_RANK": "0"}, False),  # Lightning's, in a shell that salloc gave
    ({"SLURM_PROCID": "0", "LOCAL_RANK": "0", "NODE_RANK": "0"}, True),
]


@pytest.mark.parametrize(("environment", "main"), RANKS)
def test_the_process_that_writes(environment: dict[str, str], main: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "LOCAL_RANK", "NODE_RANK", "GROUP_RANK", "SLURM_PROCID", "SLURM_LOCALID"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert runs.main_process() is main
