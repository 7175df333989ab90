"""What may happen around a run: its data vanish or change, a worker dies, a cache is damaged or filled twice."""

import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from data_files import files_in, write_mnist
from dlcourse import resume, runs
from dlcourse.callbacks import Keep
from dlcourse.core.errors import InputError
from dlcourse.data import cache
from dlcourse.training.loading import read_checkpoint

Train = Callable[..., Path]
STREAMED = ("data=folder", "data.source=auto", "data.size=8", "data.batch_size=8", "model=linear", "data.limit=null",
            "data.limit_eval=null", "data.memory_limit=1", "trainer.figures=false", "trainer.max_epochs=4")  # fmt: skip


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder of two classes of 40 photos."""
    rng = np.random.default_rng(0)
    for name in ("a", "b"):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for i in range(40):
            pixels = rng.integers(0, 128, (8, 8, 3), np.uint8) + np.uint8(80 * (name == "b"))
            Image.fromarray(pixels).save(tmp_path / "photos" / name / f"{i}.png")
    return tmp_path / "photos"


@pytest.fixture
def after_epoch(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[int, Callable[[], None]], None]]:
    """`after_epoch(2, action)`: something happens while a run is at the end of its second epoch."""
    ended = Keep.on_train_epoch_end

    def arrange(epoch: int, action: Callable[[], None]) -> None:
        def on_train_epoch_end(self: Keep, trainer: Any, module: Any) -> None:
            ended(self, trainer, module)
            if trainer.current_epoch + 1 == epoch:
                action()

        monkeypatch.setattr(Keep, "on_train_epoch_end", on_train_epoch_end)

    yield arrange
    monkeypatch.undo()


def weights(run: Path) -> dict[str, torch.Tensor]:
    return dict(read_checkpoint(run / runs.LAST)["state_dict"])


def same_weights(one: Path, other: Path) -> bool:
    a, b = weights(one), weights(other)
    return all(torch.equal(a[key], b[key]) for key in a.keys() | b.keys())


# --- photos that are read on demand ----------------------------------------------------------------------------------


@pytest.mark.parametrize("workers", [0, 1])
def test_photos_that_vanish_and_come_back(
    workers: int, train: Train, photos: Path, tmp_path: Path, after_epoch: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that goes away in the middle of a run: a sentence; and when it is back, as if nothing had happened."""
    words = (*STREAMED, f"data.root={photos}", f"data.workers={workers}")
    straight = train(*words, run="straight")
    after_epoch(2, lambda: (photos / "a").rename(tmp_path / "away"))
    with pytest.raises(InputError, match=r"photos/a/\d+\.png can't be read as an image \(it is gone\)") as raised:
        train(*words)
    assert "\n" not in str(raised.value)
    assert runs.read_result(tmp_path / "run")["status"] == "failed"
    monkeypatch.undo()
    (tmp_path / "away").rename(photos / "a")
    resume.main([f"run={tmp_path / 'run'}"])
    assert same_weights(straight, tmp_path / "run")


def test_a_worker_that_dies(train: Train, photos: Path, tmp_path: Path, after_epoch: Any) -> None:
    """As when the system is short of memory: a sentence, and the run goes on when it is asked to."""
    words = (*STREAMED, f"data.root={photos}", "data.workers=1")
    straight = train(*words, run="straight")

    def kill() -> None:
        for child in multiprocessing.active_children():
            os.kill(child.pid or 0, signal.SIGKILL)

    after_epoch(2, kill)
    with pytest.raises(InputError, match=r"data\.workers") as raised:
        train(*words)
    assert "\n" not in str(raised.value)
    assert runs.read_result(tmp_path / "run")["status"] == "failed"
    after_epoch(0, kill)
    resume.main([f"run={tmp_path / 'run'}"])
    assert same_weights(straight, tmp_path / "run")


def test_a_photo_that_is_damaged_in_the_middle(train: Train, photos: Path, tmp_path: Path, after_epoch: Any) -> None:
    after_epoch(1, lambda: [path.write_bytes(path.read_bytes()[:70]) for path in photos.glob("*/*")] and None)
    with pytest.raises(InputError, match=r"\.png can't be read as an image \(.+\): replace it") as raised:
        train(*STREAMED, f"data.root={photos}", "data.workers=1")
    assert "\n" not in str(raised.value)


# --- raw files between two runs --------------------------------------------------------------------------------------


@pytest.mark.parametrize("change", ["truncated", "other", "gone"])
def test_raw_files_that_change_before_a_run_goes_on(
    change: str, train: Train, tmp_path: Path, alone: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Truncated: named with its hash. Other examples: refused, since the run would not be one. Gone: from the cache."""
    root = tmp_path / "raw"
    write_mnist(root, packed=False)
    words = ("model=linear", "trainer.figures=false", "data.source=real", f"data.root={root}", "data.verify=false",
             "data.limit=null", "data.limit_eval=null", "data.val=4")  # fmt: skip
    straight = train(*words, "trainer.max_epochs=4", run="straight")

    def stop(self: Keep, trainer: Any, module: Any) -> None:
        if trainer.current_epoch == 1:
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Keep, "on_train_epoch_start", stop, raising=False)
        with pytest.raises((KeyboardInterrupt, SystemExit, InputError)):
            train(*words, "trainer.max_epochs=4")
    run = tmp_path / "run"
    images = next(root.glob("train-images*"))
    if change == "truncated":
        images.write_bytes(images.read_bytes()[:-100])
        with pytest.raises(InputError, match=r"train-images.* is damaged .*sha256"):
            resume.main([f"run={run}"])
    elif change == "other":
        data = bytearray(images.read_bytes())
        data[-1] ^= 255
        images.write_bytes(data)
        with pytest.raises(InputError, match="the data have changed since the run began"):
            resume.main([f"run={run}"])
    else:
        shutil.rmtree(root)
        resume.main([f"run={run}"])
        assert same_weights(straight, run)


# --- the cache -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("damage", [b"", b"no tensors", None], ids=["empty", "other", "cut"])
def test_damaged_features_are_computed_again(
    damage: bytes | None, train: Train, alone: None, caplog: pytest.LogCaptureFixture
) -> None:
    """What a frozen backbone gave, kept in the cache between runs."""
    words = ("model=squeezenet", "model.weights=none", "data=cifar10", "data.resize=40", "data.limit=40",
             "model.train=head", "data.limit_eval=20", "trainer.max_epochs=2", "trainer.figures=false")  # fmt: skip
    first = train(*words, run="first")
    features = sorted(cache.cache_dir().rglob("codes-*.pt"))
    assert features
    for path in features:
        path.write_bytes(path.read_bytes()[:1000] if damage is None else damage)
    assert same_weights(first, train(*words, run="second"))
    assert f"{features[0]} is damaged" in caplog.text
    caplog.clear()
    assert same_weights(first, train(*words, run="third"))
    assert "damaged" not in caplog.text


def test_two_processes_fill_one_cache(tmp_path: Path, alone: None) -> None:
    """Both begin with nothing; both get the same data, and one file is left."""
    root = tmp_path / "raw"
    write_mnist(root)
    code = (
        "import sys, torch\nfrom dlcourse.data.sources import load\nsys.stdin.readline()\n"
        f"print(load('mnist', {str(root)!r}, verify=False).train.x.double().sum().item())"
    )
    both = [
        subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    for one in both:
        assert one.stdin is not None
        one.stdin.write("\n")
        one.stdin.flush()  # both begin now, not each when the other has ended
    outputs = [one.communicate(timeout=60)[0] for one in both]
    assert (outputs[0], [one.returncode for one in both]) == (outputs[1], [0, 0])
    assert len(files_in(cache.cache_dir() / "prepared")) == 1


# --- the same numbers ------------------------------------------------------------------------------------------------


def test_deterministic_algorithms_are_asked_for_and_change_nothing_on_a_cpu(train: Train, after_epoch: Any) -> None:
    words = (
        "model=cnn",
        "model.net.channels=[4]",
        "model.net.hidden=[8]",
        "trainer.figures=false",
        "trainer.max_epochs=2",
    )
    asked: list[bool] = []
    after_epoch(1, lambda: asked.append(torch.are_deterministic_algorithms_enabled()))
    runs_ = [train(*words, f"trainer.deterministic={value}", run=value) for value in ("null", "true", "false")]
    assert asked == [False, True, False]
    assert same_weights(runs_[0], runs_[1])
    assert same_weights(runs_[0], runs_[2])
