"""What the reports' protocols ask for: evaluations within a pass, draws with replacement, the last weights."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dlcourse import runs
from dlcourse.config.identity import config_hash
from dlcourse.core.errors import InputError
from dlcourse.data.module import Batches
from dlcourse.training.evaluation import evaluate_run
from dlcourse.training.fit import train
from dlcourse.training.loading import load_task

Train = Callable[..., Path]
Config = Callable[..., dict[str, Any]]
PLAIN = ("model=linear", "trainer.figures=false")


def batches(epochs: int, **options: Any) -> list[list[list[int]]]:
    """The batches of each of the first epochs."""
    return [[batch.tolist() for batch in Batches(epoch=epoch, train=True, **options)] for epoch in range(epochs)]


@given(
    n=st.integers(2, 40),
    size=st.integers(2, 9),
    steps=st.integers(1, 12),
    first=st.none() | st.integers(1, 12),
    shuffle=st.sampled_from([True, False, "once"]),
)
def test_short_epochs_together_are_the_passes_over_the_data(
    n: int, size: int, steps: int, first: int | None, shuffle: bool | str
) -> None:
    options: dict[str, Any] = {"n": n, "batch_size": size, "shuffle": shuffle, "seed": 3}
    short = batches(6, steps=steps, first_steps=first, **options)
    assert [len(epoch) for epoch in short] == [first or steps, *[steps] * 5]
    stream = [batch for epoch in short for batch in epoch]
    whole = [batch for epoch in batches(len(stream), **options) for batch in epoch]
    assert stream == whole[: len(stream)]


def test_batches_with_replacement() -> None:
    options: dict[str, Any] = {"n": 50, "batch_size": 10, "shuffle": "replacement", "seed": 1}
    first, second = batches(2, **options)
    assert [len(b) for b in first] == [10] * 5
    assert first != second
    drawn = [i for epoch in batches(200, **options) for batch in epoch for i in batch]
    assert set(drawn) == set(range(50))
    assert any(len(set(batch)) < 10 for batch in first + second)
    counts = torch.bincount(torch.tensor(drawn)).float()
    assert abs(float(counts.mean()) - 200) < 1e-6 and 8 < float(counts.std()) < 22  # binomial: 14
    assert batches(2, **options) == [first, second]


def test_evaluations_within_a_pass(train: Train) -> None:
    run = train(
        *PLAIN, "data.batch_size=20", "data.steps_per_epoch=4", "data.first_epoch_steps=1", "trainer.max_epochs=5",
        "trainer.log_steps=true",
    )  # fmt: skip
    rows, steps = pd.read_csv(run / "metrics.csv"), pd.read_csv(run / "steps.csv")
    assert list(rows["step"]) == [1, 5, 9, 13, 17]
    assert rows["val/accuracy"].notna().all()
    assert list(steps["step"]) == list(range(1, 18))
    assert rows["train/loss"][1] == pytest.approx(steps["train/loss"][1:5].mean(), rel=1e-5)


def test_a_resumed_run_has_the_steps_of_one_that_was_not(train: Train, config: Config) -> None:
    from dlcourse.training import fit

    keys = ("data.steps_per_epoch=3", "data.first_epoch_steps=1", "data.batch_size=30", "trainer.log_steps=true")
    straight = train(*PLAIN, *keys, "trainer.max_epochs=6", run="a")
    halved = train(*PLAIN, *keys, "trainer.max_epochs=3", run="b")
    plain = runs.read_config(halved)
    plain["trainer"]["max_epochs"] = 6
    fit.train(plain, halved, resume=True)
    assert (halved / "steps.csv").read_text() == (straight / "steps.csv").read_text()


def test_the_last_epochs_weights(train: Train) -> None:
    run = train(*PLAIN, "trainer.max_epochs=3", "optimizer.lr=0.5", "trainer.selection=last")
    result = runs.read_result(run)
    rows = pd.read_csv(run / "metrics.csv")
    assert result["best_epoch"] == 3
    assert result["score"] == pytest.approx(rows["val/accuracy"].iloc[-1])
    last = torch.load(run / "last.ckpt", weights_only=True)["state_dict"]
    assert all(torch.equal(last[name], tensor) for name, tensor in load_task(run).state_dict().items())


def test_every_split_is_evaluated_in_the_end(train: Train) -> None:
    run = train(
        *PLAIN, "trainer.max_epochs=2", "trainer.evaluate=[train,val,test]", "trainer.check_val_every_n_epoch=9"
    )
    result = runs.read_result(run)
    assert result["score"] == result["metrics"]["val/accuracy"]
    for split, file in (("train", "confusion_train.csv"), ("val", "confusion_val.csv"), ("test", "confusion.csv")):
        counts = pd.read_csv(run / file, index_col=0).to_numpy()
        assert counts.sum() == result["data"][split]
        assert counts.trace() / counts.sum() == pytest.approx(result["metrics"][f"{split}/accuracy"], abs=1e-6)
    assert evaluate_run(run, runs.read_config(run), "train")[0]["train/loss"] == result["metrics"]["train/loss"]


def test_the_first_examples_of_the_training_files(train: Train) -> None:
    run = train(*PLAIN, "data.first=300", "data.limit=null", "data.val=test", "trainer.max_epochs=1")
    assert runs.read_result(run)["data"]["train"] == 300
    fewer = train(*PLAIN, "data.first=800", "data.limit=null", "data.classes_kept=[0,2]", "data.val=test", run="b")
    assert runs.read_result(fewer)["data"]["train"] == 350 + 100  # the stand-in's are in order of their classes


def test_a_full_batch_that_never_changes_is_read_once_and_trains_as_before(train: Train) -> None:
    keys = (*PLAIN, "data.batch_size=all", "optimizer=sgd", "trainer.max_epochs=3")
    once, anew = (train(*keys, f"data.shuffle={order}", run=order) for order in ("false", "true"))
    rows = [pd.read_csv(run / "metrics.csv")["train/loss"] for run in (once, anew)]
    assert list(rows[0]) == pytest.approx(list(rows[1]), rel=1e-5)


@pytest.mark.parametrize(
    ("key", "words"),
    [
        ("data.steps_per_epoch=0", "data.steps_per_epoch must be"),
        ("data.first_epoch_steps=2", "data.first_epoch_steps=2 needs data.steps_per_epoch"),
        ("trainer.selection=worst", "trainer.selection must be best or last"),
        ("trainer.evaluate=[train]", "trainer.evaluate must be"),
        ("data.shuffle=maybe", "data.shuffle must be"),
    ],
)
def test_mistakes_are_one_sentence(key: str, words: str, config: Config, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=words):
        train(config("model=linear", key), tmp_path)


def test_a_key_that_says_nothing_leaves_the_hash(config: Config) -> None:
    """A finished run stays found when a later version has a new key that is off by default."""
    plain = config("model=linear")
    plain["data"]["some_day"] = None
    assert config_hash(plain) == config_hash(config("model=linear"))


def test_the_courses_logistic_regression_stops_in_pass_33(config: Config, real_data: Path, tmp_path: Path) -> None:
    """Published: "early stopping at epoch 33", counted from 0; on the first 20,000 images' 2s and 3s, in order."""
    plain = config(
        "experiment=ntnu/logistic", f"data.root={real_data / 'mnist'}", "logger=none", "trainer.figures=false"
    )
    train(plain, tmp_path)
    result = runs.read_result(tmp_path)
    assert result["data"]["train"] == 4005 and result["data"]["val"] == 2042
    assert (result["steps"] - 1) // 31 == 33
