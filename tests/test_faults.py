"""Faults of the world: two processes at one run, damaged and missing files, a full disk, a loss that is no number."""

import csv
import errno
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from dlcourse import evaluate, resume, runs
from dlcourse.core import files
from dlcourse.core.errors import InputError
from dlcourse.runs.lock import BusyRunError, hold_run
from dlcourse.training.fit import complete
from dlcourse.training.loading import read_checkpoint

Config = Callable[..., dict[str, Any]]
Train = Callable[..., Path]
LINEAR = ("model=linear", "trainer.figures=false", "data.batch_size=50")
SMALL = ("data.source=stand-in", "data.limit=200", "data.limit_eval=100", "trainer.accelerator=cpu", "logger=none")


def rows(run: Path) -> list[dict[str, str]]:
    with (run / runs.METRICS).open(newline="") as file:
        return [{k: v for k, v in row.items() if k != "seconds"} for row in csv.DictReader(file)]


def weights(run: Path) -> dict[str, torch.Tensor]:
    return dict(read_checkpoint(run / runs.BEST)["state_dict"])


def same(one: Path, other: Path) -> bool:
    a, b = weights(one), weights(other)
    return rows(one) == rows(other) and all(torch.equal(a[key], b[key]) for key in a.keys() | b.keys())


# --- two at one run --------------------------------------------------------------------------------------------------


@pytest.fixture
def busy() -> Iterator[Callable[[Path], None]]:
    """`busy(run)`: another process has that run until the test ends."""
    others = []

    def held(run: Path) -> None:
        code = "import fcntl, sys; f = open(sys.argv[1]); fcntl.flock(f, fcntl.LOCK_EX); print(flush=True); input()"
        other = subprocess.Popen(
            [sys.executable, "-c", code, str(run / runs.LOCK)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        others.append(other)
        assert other.stdout is not None
        other.stdout.readline()

    yield held
    for other in others:
        other.kill()


def test_a_run_that_another_process_is_at_is_left_alone(
    train: Train, config: Config, busy: Callable[[Path], None]
) -> None:
    """In one sentence, at once, with nothing written; when that process has died the run is free."""
    run = train(*LINEAR, "trainer.max_epochs=1")
    busy(run)
    before = {path: path.read_bytes() for path in run.iterdir()}
    attempts: list[Callable[[], object]] = [
        lambda: resume.main([f"run={run}", "trainer.max_epochs=2"]),
        lambda: complete(config(*SMALL, *LINEAR, "trainer.max_epochs=1"), run),
    ]
    for attempt in attempts:
        with pytest.raises(BusyRunError, match="another process") as raised:
            attempt()
        assert "\n" not in str(raised.value)
    done = subprocess.run(
        [sys.executable, "-m", "dlcourse.train", *SMALL, *LINEAR, f"hydra.run.dir={run}"],
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "another process" in done.stderr
    assert {path: path.read_bytes() for path in run.iterdir()} == before


def test_the_lock_is_the_threads_and_is_given_back(tmp_path: Path) -> None:
    """A study holds a run while it trains it; a thread beside it, as in a population, does not get it."""
    refused = []

    def elsewhere() -> None:
        try:
            with hold_run(tmp_path):
                pass
        except BusyRunError as error:
            refused.append(error)

    for expected in (1, 1):
        with hold_run(tmp_path):
            with hold_run(tmp_path):
                pass
            other = threading.Thread(target=elsewhere)
            other.start()
            other.join()
        assert len(refused) == expected
        other = threading.Thread(target=elsewhere)
        other.start()
        other.join()
        assert len(refused) == expected
        refused.clear()


def test_a_disk_without_locks_is_said_not_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    import fcntl

    def no_locks(*given: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", no_locks)
    with hold_run(tmp_path):
        assert "has no locks" in caplog.text


# --- what is found when a run goes on --------------------------------------------------------------------------------


@pytest.mark.parametrize("damage", ["bytes", "half a row", "a row less", "empty", "gone"])
def test_metrics_that_were_damaged_are_those_of_the_checkpoint_again(damage: str, train: Train) -> None:
    straight = train(*LINEAR, "trainer.max_epochs=4", run="straight")
    run = train(*LINEAR, "trainer.max_epochs=2")
    path, text = run / runs.METRICS, (run / runs.METRICS).read_bytes()
    if damage == "gone":
        path.unlink()
    else:
        changed = {"bytes": b"\xff\xfe\0", "half a row": text[:-9], "a row less": text[: text.rindex(b"2,")]}
        path.write_bytes(changed.get(damage, b""))
    resume.main([f"run={run}", "trainer.max_epochs=4"])
    assert same(run, straight)


@pytest.mark.parametrize("precision", ["32-true", "64-true", "bf16-true", "bf16-mixed"])
def test_going_on_is_exact_in_every_precision(precision: str, train: Train, caplog: pytest.LogCaptureFixture) -> None:
    words = ("model=denoising", "model.net.widths=[16]", "data.batch_size=50", f"trainer.precision={precision}")
    straight = train(*words, "trainer.max_epochs=4", run="straight")
    assert "could not be drawn" not in caplog.text
    recorded = {k: v for k, v in runs.read_result(straight)["metrics"].items() if k.startswith("test/")}
    assert evaluate.main([f"run={straight}"]) == recorded
    run = train(*words, "trainer.max_epochs=2")
    resume.main([f"run={run}", "trainer.max_epochs=4"])
    assert same(run, straight)
    assert weights(run).keys() == weights(straight).keys()


def test_a_schedule_that_goes_by_what_is_measured_goes_on(train: Train) -> None:
    """The rate that follows from an epoch's figures is in that epoch's checkpoint."""
    words = ("schedule=plateau", "schedule.patience=0", "schedule.threshold=1", "optimizer.lr=0.01")
    straight = train(*LINEAR, *words, "trainer.max_epochs=5", run="straight")
    assert len({row["lr"] for row in rows(straight)}) > 2
    run = train(*LINEAR, *words, "trainer.max_epochs=1")
    for epochs in (2, 3, 5):
        resume.main([f"run={run}", f"trainer.max_epochs={epochs}"])
    assert same(run, straight)


@pytest.mark.parametrize(
    "words", ["stopping=early stopping.patience=1", "schedule=plateau", "model=knn stopping=convergence"]
)
def test_what_goes_by_a_figure_waits_for_epochs_that_have_it(words: str, train: Train) -> None:
    run = train(*LINEAR, "trainer.check_val_every_n_epoch=2", "trainer.max_epochs=4", *words.split())
    assert runs.read_result(run)["status"] == "done"


def test_a_loss_per_step_that_was_damaged_is_said(train: Train) -> None:
    run = train(*LINEAR, "trainer.max_epochs=1", "trainer.log_steps=true")
    (run / runs.STEPS).write_bytes(b"\xff\xfe\0")
    with pytest.raises(InputError, match=r"steps\.csv is damaged"):
        resume.main([f"run={run}", "trainer.max_epochs=2"])


def test_a_clock_that_jumps_back_changes_nothing(train: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    """Durations are by a clock that doesn't: the time of day is only for names."""
    import time

    straight = train(*LINEAR, "trainer.max_epochs=3", run="straight")
    now = iter(range(2_000_000_000, 0, -100_000))
    monkeypatch.setattr(time, "time", lambda: float(next(now)))
    run = train(*LINEAR, "trainer.max_epochs=3")
    assert same(run, straight)
    seconds = [float(row["seconds"]) for row in csv.DictReader((run / runs.METRICS).open())]
    assert seconds == sorted(seconds)
    assert 0 < runs.read_result(run)["seconds"] < 60


# --- a sweep that is given again -------------------------------------------------------------------------------------


def test_a_sweep_goes_on(config: Config, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """What is done stays, what was interrupted goes on, what failed is made again, another config is refused."""
    words = [*SMALL, *LINEAR, "trainer.max_epochs=3", "seed=0,1,2,3", "hydra.sweep.dir=sweep"]
    command = [sys.executable, "-m", "dlcourse.train", "-m", *words]

    def sweep(*more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([*command, *more], cwd=tmp_path, capture_output=True, text=True, timeout=120)

    assert sweep().returncode == 0
    folder = tmp_path / "sweep"
    shutil.copytree(folder, tmp_path / "before")
    names = [f"{seed}_seed={seed}" for seed in range(4)]
    for at, status in ((names[1], "running"), (names[2], "failed")):
        result = runs.read_result(folder / at)
        runs.write_result(folder / at, result | {"status": status})
    (folder / names[3] / runs.RESULT).unlink()  # killed before it began
    again = sweep()
    assert (again.returncode, again.stderr) == (0, "")
    said = again.stdout
    assert "[1/4] seed=0: done already: val/accuracy" in said
    assert "s; it had been running after 3 epochs" in said
    for name in names:
        assert same(folder / name, tmp_path / "before" / name)
        assert runs.read_result(folder / name)["status"] == "done"
    other = sweep("optimizer.lr=0.5")
    assert (other.returncode, other.stdout.count("another config")) == (2, 4)
    assert all(same(folder / name, tmp_path / "before" / name) for name in names)


# --- a loss that is no number ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("on_nan", ["null", "stop"])
def test_divergence_is_said_and_drawn(on_nan: str, train: Train, caplog: pytest.LogCaptureFixture) -> None:
    words = ("model=mlp", "optimizer=sgd", "optimizer.lr=1e6", "data.batch_size=50", "trainer.max_epochs=4")
    run = train(*words, f"trainer.on_nan={on_nan}", "logger=tensorboard")
    result = runs.read_result(run)
    assert (result["status"], result["diverged"]["epoch"], result["diverged"]["lr"]) == ("done", 1, 1e6)
    assert 1 < result["diverged"]["step"] <= 4
    assert f"no finite number from step {result['diverged']['step']} on" in caplog.text
    assert "could not be drawn" not in caplog.text
    assert (run / "figures" / "learning_curves.png").is_file()
    assert result["epochs"] == (1 if on_nan == "stop" else 4)
    resume.main([f"run={run}"])
    assert runs.read_result(run)["epochs"] == result["epochs"]


# --- no room, no place -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [runs.BEST, runs.LAST, runs.METRICS, runs.STEPS, runs.CONFIG])
def test_a_full_disk_names_the_file_and_the_run_goes_on_when_there_is_room(
    name: str, train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The third epoch finds no room for one of its files."""
    words = (*LINEAR, "trainer.max_epochs=4", "trainer.log_steps=true", "trainer.selection=last")
    straight = train(*words, run="straight")
    real, full = files.os.fsync, [False]

    def fsync(descriptor: int) -> None:
        if full[0] and Path(f"/proc/self/fd/{descriptor}").readlink().name == f"{name}.part":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(descriptor)

    from dlcourse.callbacks import Keep

    ended, written = Keep.on_train_epoch_end, []

    def on_train_epoch_end(self: Keep, trainer: Any, module: Any) -> None:
        written.append(1)
        self._saved = -1e9  # a checkpoint each epoch
        full[0] = len(written) >= 3
        if full[0] and name in (runs.METRICS, runs.STEPS):
            keep = tmp_path / "run" / name
            keep.rename(keep.with_suffix(".kept"))
            keep.symlink_to("/dev/full")
        ended(self, trainer, module)

    monkeypatch.setattr(Keep, "on_train_epoch_end", on_train_epoch_end)
    monkeypatch.setattr(files.os, "fsync", fsync)
    full[0] = name == runs.CONFIG
    with pytest.raises(
        InputError, match=rf"{name} can't be written: No space left on device \(.* are needed"
    ) as raised:
        train(*words)
    assert "\n" not in str(raised.value)
    run = tmp_path / "run"
    full[0] = False
    monkeypatch.undo()
    if name == runs.CONFIG:
        return
    for kept in run.glob("*.kept"):
        kept.replace(run / name)
    result = runs.read_result(run)
    assert (result["status"], name in result["error"]) == ("failed", True)
    assert rows(run) == rows(straight)[: len(rows(run))]
    assert len(rows(run)) >= 2
    resume.main([f"run={run}"])
    assert same(run, straight)


def test_a_result_that_has_no_room_is_written_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runs.write_result(tmp_path, {"status": "running", "epochs": 3, "text": list(range(50))})

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(files.os, "fsync", full)
    runs.write_result(tmp_path, {"status": "failed", "epochs": 3, "error": "no room"})
    assert runs.read_result(tmp_path) == {"status": "failed", "epochs": 3, "error": "no room"}
    with pytest.raises(InputError, match="can't be written"):
        runs.write_result(tmp_path, {"status": "failed", "error": "x" * 1000})
    assert [path.name for path in tmp_path.iterdir()] == [runs.RESULT]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 1 MB."""
    place = tmp_path / "disk"
    place.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", str(place)], capture_output=True).returncode:
        pytest.skip("a disk can't be mounted here: that takes an administrator")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def test_a_run_on_a_disk_that_fills_up(small_disk: Path, train: Train) -> None:
    """As a user meets it: the file and the room are named, what was written is whole, and it goes on elsewhere."""
    words = [*SMALL, "model=mlp", "trainer.figures=false", "trainer.max_epochs=3", "data.batch_size=50"]
    run = small_disk / "run"
    done = subprocess.run(
        [sys.executable, "-m", "dlcourse.train", *words, f"hydra.run.dir={run}"],
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 2
    assert "ckpt can't be written: No space left on device" in done.stderr
    assert "MB are needed" in done.stderr
    result = runs.read_result(run)
    assert (result["status"], "No space left" in result["error"]) == ("failed", True)
    assert not list(run.glob("*.part"))


def test_output_that_is_removed_in_the_middle(train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from dlcourse.callbacks import Keep

    ended = Keep.on_train_epoch_end

    def on_train_epoch_end(self: Keep, trainer: Any, module: Any) -> None:
        if trainer.current_epoch == 1:
            shutil.rmtree(tmp_path / "run")
        ended(self, trainer, module)

    monkeypatch.setattr(Keep, "on_train_epoch_end", on_train_epoch_end)
    with pytest.raises(InputError, match="can't be written: No such file or directory") as raised:
        train(*LINEAR, "trainer.max_epochs=3")
    assert "\n" not in str(raised.value)


# --- memory ----------------------------------------------------------------------------------------------------------


def test_out_of_memory_is_a_sentence(tmp_path: Path) -> None:
    """A limit of the process's memory stands for the machine's."""
    code = (
        "import resource, sys, torch\nfrom dlcourse import train\nfrom dlcourse.core import cli\n"
        "from dlcourse.training import fit\n"
        "used = int(open('/proc/self/statm').read().split()[0]) * resource.getpagesize()\n"
        "resource.setrlimit(resource.RLIMIT_AS, (used + 600 * 2**20, used + 600 * 2**20))\n"
        "cli.run_command(train.main)"
    )
    words = [*SMALL, *LINEAR, "model=mlp", "model.net.hidden=[60000,60000]", "hydra.run.dir=run"]
    done = subprocess.run(
        [sys.executable, "-c", code, *words], cwd=tmp_path, capture_output=True, text=True, timeout=60
    )  # fmt: skip
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert "out of memory" in done.stderr


def test_rows_survive_a_round_trip(train: Train) -> None:
    """The rows in a checkpoint are those of metrics.csv to the last bit, gaps included."""
    run = train(*LINEAR, "trainer.max_epochs=4", "trainer.check_val_every_n_epoch=2")
    saved = read_checkpoint(run / runs.LAST)["callbacks"]["Keep"]
    table = list(csv.DictReader((run / runs.METRICS).open(newline="")))
    values = np.array([[float(cell) for cell in row.values()] for row in table])
    assert saved["columns"] == list(table[0])
    assert np.array_equal(saved["rows"].numpy(), values, equal_nan=True)
