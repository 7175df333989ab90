"""A run taken up again: from another directory, on data that have changed, with other settings, after it broke off."""

import csv
import logging
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from dlcourse import evaluate, predict, resume, runs
from dlcourse.callbacks import Keep, Reseed
from dlcourse.core.errors import InputError
from dlcourse.tasks import Classify
from dlcourse.training import loading

Config = Callable[..., dict[str, Any]]
Train = Callable[..., Path]
LINEAR = ("model=linear", "trainer.figures=false")
FOLDER = ("data=folder", "data.source=auto", "data.batch_size=8", *LINEAR)


def photos(root: Path, classes: tuple[str, ...] = ("cat", "dog"), each: int = 8, side: int = 40) -> Path:
    """A folder of noise with a tint for each class: enough for a network to learn, too much to guess."""
    rng = np.random.default_rng(0)
    for k, name in enumerate(classes):
        (root / name).mkdir(parents=True)
        for i in range(each):
            pixels = rng.integers(0, 200, (side, side, 3)) + np.eye(3, dtype=np.int64)[k] * 55
            Image.fromarray(pixels.astype(np.uint8)).save(root / name / f"{i}.png")
    return root


def header(run: Path) -> list[str]:
    return (run / runs.METRICS).read_text().splitlines()[0].split(",")


def rows(run: Path) -> list[dict[str, str]]:
    with (run / runs.METRICS).open(newline="") as file:
        return list(csv.DictReader(file))


def contents(run: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in run.iterdir() if p.is_file()}


# --- where it is, and what it reads --------------------------------------------------------------------------------


def test_from_another_directory(train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that was begun with a relative data.root finds its data again from anywhere."""
    photos(tmp_path / "a" / "photos")
    (tmp_path / "b").mkdir()
    monkeypatch.chdir(tmp_path / "a")
    run = train(*FOLDER, "data.root=photos", "data.size=16", "trainer.max_epochs=1")
    assert runs.read_config(run)["data"]["root"] == str(tmp_path / "a" / "photos")
    monkeypatch.chdir(tmp_path / "b")
    recorded = runs.read_result(run)["metrics"]
    assert evaluate.main(["run=../run"]) == {k: v for k, v in recorded.items() if k.startswith("test/")}
    resume.main(["run=../run", "trainer.max_epochs=2"])
    assert runs.read_result(run)["epochs"] == 2


def test_relative_weights_are_kept_as_an_absolute_path(
    config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert config("model=squeezenet", "model.weights=w.pth")["model"]["weights"] == str(tmp_path / "w.pth")
    for word in ("imagenet", "none"):
        assert config("model=squeezenet", f"model.weights={word}")["model"]["weights"] == word


@pytest.mark.parametrize("change", ["added", "changed", "removed"])
def test_other_data_than_before(change: str, train: Train, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Resuming is refused, however often it is tried, and the run stays as it was; evaluating says so."""
    root = photos(tmp_path / "photos")
    run = train(*FOLDER, f"data.root={root}", "data.size=16", "trainer.max_epochs=1")
    caplog.set_level(logging.INFO)
    evaluate.main([f"run={run}"])
    assert not [r for r in caplog.records if r.levelno >= logging.WARNING]
    if change == "removed":
        (root / "cat" / "0.png").unlink()
    else:
        Image.new("RGB", (40, 40), "red").save(root / "cat" / ("0.png" if change == "changed" else "new.png"))
    before = contents(run)
    for _ in range(2):
        with pytest.raises(InputError, match=r"data have changed") as raised:
            resume.main([f"run={run}", "trainer.max_epochs=2"])
        assert "\n" not in str(raised.value)
        after = contents(run)
        assert after.keys() == before.keys() | {"train.log"}
        assert [name for name in before if name != "train.log" and before[name] != after[name]] == []
    caplog.clear()
    evaluate.main([f"run={run}"])
    assert "not the data that the run had" in caplog.text


def test_evaluating_on_other_classes_is_refused(train: Train, tmp_path: Path) -> None:
    """A network has learned its classes by number: those of other data must have the same names, in that order."""
    root = photos(tmp_path / "photos")
    run = train(*FOLDER, f"data.root={root}", "data.size=16", "trainer.max_epochs=1")
    same = photos(tmp_path / "same", each=7)
    assert evaluate.main([f"run={run}", f"data.root={same}"]).keys() >= {"test/loss", "test/accuracy"}
    for name, classes in {"other": ("cat", "fish"), "more": ("cat", "dog", "fish")}.items():
        other = photos(tmp_path / name, classes)
        with pytest.raises(InputError, match=r"fish") as raised:
            evaluate.main([f"run={run}", f"data.root={other}"])
        assert "cat" in str(raised.value)


def test_evaluating_a_network_on_what_it_was_not_made_for_is_refused(train: Train) -> None:
    run = train(*LINEAR, "trainer.max_epochs=1")
    for change in (
        "data.normalize=symmetric", "data.size=14", "data.resize=32", "data.channels=3", "data.shape=[1,14,14]",
        "data.classes=5", "data.classes_kept=[0,1]", "data.val=test", "data.name=nist36", "data.reader=nist36",
        "data.augment.rotate=10",
    ):  # fmt: skip
        with pytest.raises(InputError, match=change.split("=")[0]):
            evaluate.main([f"run={run}", change])
    assert evaluate.main([f"run={run}", "data.limit_eval=50", "data.eval_batch_size=7"])["test/loss"] > 0


# --- how it goes on ------------------------------------------------------------------------------------------------


def test_more_epochs_than_a_schedule_was_planned_for_are_refused(train: Train) -> None:
    run = train(*LINEAR, "schedule=cosine", "trainer.max_epochs=2")
    before = contents(run)
    with pytest.raises(InputError, match=r"trainer\.max_epochs=4.* 2"):
        resume.main([f"run={run}", "trainer.max_epochs=4"])
    assert contents(run) == before
    assert resume.main([f"run={run}", "trainer.max_epochs=2"]) == runs.read_result(run)["score"]


def test_a_run_that_stopped_early_goes_on_when_it_is_given_more_epochs(train: Train) -> None:
    run = train(*LINEAR, "stopping=early", "stopping.patience=1", "optimizer.lr=1e-9", "trainer.max_epochs=9")
    stopped = runs.read_result(run)["epochs"]
    assert 1 < stopped < 9
    resume.main([f"run={run}"])
    assert runs.read_result(run)["epochs"] == stopped
    resume.main([f"run={run}", "trainer.max_epochs=20"])
    result = runs.read_result(run)
    assert stopped < result["epochs"] <= 20
    assert [int(row["epoch"]) for row in rows(run)] == list(range(1, result["epochs"] + 1))
    assert result["status"] == "done"


def test_seconds_add_up(train: Train) -> None:
    run = train(*LINEAR, "trainer.max_epochs=1")
    runs.write_result(run, runs.read_result(run) | {"seconds": 1000.0})
    resume.main([f"run={run}", "trainer.max_epochs=2"])
    assert 1000.0 < runs.read_result(run)["seconds"] < 1100.0
    seconds = [float(row["seconds"]) for row in rows(run)]
    assert seconds == sorted(seconds)


def test_the_best_weights_of_an_interrupted_run_are_there(
    train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C at an epoch whose predecessors were too quick to be written: the best of them is not lost."""
    before = signal.getsignal(signal.SIGINT)  # Lightning has it ignored from then on
    monkeypatch.setattr(Keep, "SHARE", 1e-9)  # after the first epoch nothing is written but at the end

    def interrupt(self: Reseed, trainer: Any, *rest: Any) -> None:
        if trainer.current_epoch == 4:
            raise KeyboardInterrupt

    words = (*LINEAR, "model.monitor=val/loss", "trainer.max_epochs=9")
    with monkeypatch.context() as patched:
        patched.setattr(Reseed, "on_train_epoch_start", interrupt)
        try:
            with pytest.raises(KeyboardInterrupt):
                train(*words, run="cut")
        finally:
            signal.signal(signal.SIGINT, before)
    run = tmp_path / "cut"
    result = runs.read_result(run)
    assert (result["status"], result["epochs"], result["best_epoch"]) == ("interrupted", 4, 4)
    assert loading.read_checkpoint(run / runs.BEST)["epoch"] == result["best_epoch"]
    assert evaluate.main([f"run={run}", "split=val"])["val/loss"] == result["metrics"]["val/loss"]
    resume.main([f"run={run}"])
    straight = train(*words, run="straight")
    assert runs.read_result(run)["metrics"] == runs.read_result(straight)["metrics"]


def test_columns_where_not_every_epoch_is_validated(train: Train) -> None:
    """An epoch without validation has empty cells, not the figures of the one before, and is never the best."""
    run = train(*LINEAR, "trainer.check_val_every_n_epoch=2", "trainer.max_epochs=4")
    first = header(run)
    assert {"epoch", "step", "train/loss", "val/loss", "val/accuracy"} <= set(first)
    resume.main([f"run={run}", "trainer.max_epochs=6"])
    assert header(run) == first
    table = rows(run)
    assert [list(row) for row in table] == [first] * 6  # a row that is longer would have the key None
    for name in ("val/loss", "val/accuracy"):
        assert [row[name] not in ("", "nan") for row in table] == [False, True] * 3, name
    result = runs.read_result(run)
    assert result["best_epoch"] % 2 == 0
    assert result["metrics"]["val/loss"] == float(table[result["best_epoch"] - 1]["val/loss"])


# --- settings that go together -------------------------------------------------------------------------------------


def test_clipped_gradients_in_mixed_precision(train: Train) -> None:
    words = ("trainer.gradient_clip_val=1", "trainer.precision=bf16-mixed", "trainer.max_epochs=1")
    run = train(*LINEAR, *words)
    result = runs.read_result(run)
    assert result["status"] == "done"
    recorded = {k: v for k, v in result["metrics"].items() if k.startswith("test/")}
    assert evaluate.main([f"run={run}"]) == recorded


def test_an_autoencoder_of_colour_images(train: Train) -> None:
    """data=cifar10 is symmetric for classifiers; an autoencoder that ends in a sigmoid needs pixels in [0, 1]."""
    run = train("model=autoencoder", "data=cifar10", "trainer.max_epochs=1", "trainer.figures=false")
    assert runs.read_config(run)["data"]["normalize"] == "unit"
    assert runs.read_result(run)["status"] == "done"


def test_pretrained_networks_see_what_they_were_trained_on(config: Config, tmp_path: Path) -> None:
    root = photos(tmp_path / "photos")
    for model in ("squeezenet", "mobilenet_v2"):
        words = (f"model={model}", "data=folder", f"data.root={root}", "model.weights=none")
        assert config(*words)["data"]["normalize"] == "imagenet"
        assert config(*words, "data.normalize=symmetric")["data"]["normalize"] == "symmetric"


def test_predict_decodes_as_training_did(train: Train, tmp_path: Path) -> None:
    """Photos of 40 pixels, read at 24, enlarged to 32: from the files the probabilities are those of the run's data."""
    root = photos(tmp_path / "photos")
    run = train(*FOLDER, f"data.root={root}", "data.size=24", "data.resize=32", "trainer.max_epochs=2")
    data = loading.build_data(runs.read_config(run))
    data.prepare()
    x, _ = data.splits["test"].all()
    assert x.shape[-1] == 24
    task = loading.load_task(run)
    assert isinstance(task, Classify)
    with torch.no_grad():
        expected = task.probabilities(data.transform(x)).max(1).values
    predict.main([f"run={run}", f"images={root}/*/*.png", f"out={tmp_path}/out.csv"])
    with (tmp_path / "out.csv").open(newline="") as file:
        said = [float(row["probability"]) for row in csv.DictReader(file)]
    assert len(said) == 16
    for probability in expected.tolist():
        assert min(abs(probability - p) for p in said) < 2e-6, (probability, said)
