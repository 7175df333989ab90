"""Classes of different sizes: drawn equally often or weighed, and told class by class."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from dlcourse import report, runs
from dlcourse.config.identity import config_hash
from dlcourse.core.errors import InputError
from dlcourse.data.module import DataModule
from dlcourse.data.order import Batches
from dlcourse.training import fit
from dlcourse.training.setup import assemble

Config = Callable[..., dict[str, Any]]
SIZES = {"cat": 120, "dog": 24, "owl": 24}


@pytest.fixture(scope="module")
def pets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three classes of noise around greys that hardly differ, one class being much larger than the others."""
    root = tmp_path_factory.mktemp("pets")
    generator = torch.Generator().manual_seed(0)
    for place, (name, count) in enumerate(SIZES.items()):
        (root / name).mkdir()
        for i in range(count):
            x = 60 + 7 * place + torch.randint(0, 60, (4, 4), generator=generator)
            Image.fromarray(x.byte().numpy()).save(root / name / f"{i:03d}.png")
    return root


@pytest.fixture(scope="module")
def small(pets: Path, config: Config) -> Callable[..., dict[str, Any]]:
    """The config of a small run on those pictures."""
    words = ("model=linear", "data=folder", f"data.root={pets}", "data.size=4", "data.channels=1", "data.batch_size=8",
             "trainer.accelerator=cpu", "trainer.figures=false", "logger=none")  # fmt: skip
    return lambda *others: config(*words, *others)


def balanced(y: torch.Tensor, **options: Any) -> Batches:
    return Batches(len(y), 8, train=True, shuffle=True, balance=y, **options)


def test_each_class_is_drawn_equally_often() -> None:
    y = torch.tensor([0] * 60 + [1] * 20 + [2] * 10)
    drawn = torch.cat(list(balanced(y)))
    assert torch.bincount(y[drawn]).tolist() == [30, 30, 30]
    times = torch.bincount(drawn, minlength=90)
    assert times[:60].max() == 1  # of a large class some, of a small one all, one as often as another
    assert set(times[60:80].tolist()) == {1, 2} and set(times[80:].tolist()) == {3}


def test_the_order_is_a_function_of_seed_and_epoch() -> None:
    y = torch.tensor([0] * 50 + [1] * 13)
    epochs = [torch.cat(list(balanced(y, seed=1, epoch=epoch))) for epoch in (0, 1)]
    assert not torch.equal(*epochs)
    later = balanced(y, seed=1)
    later.set_epoch(1)
    assert torch.equal(torch.cat(list(later)), epochs[1])
    assert not torch.equal(torch.cat(list(balanced(y, seed=2))), epochs[0])
    shares = [torch.cat(list(balanced(y, seed=1, rank=rank, world=2))) for rank in (0, 1)]
    assert torch.equal(torch.stack(shares, 1).flatten(), epochs[0][:62])  # of two processes each takes every second


def test_weights_are_those_of_scikit_learn(pets: Path) -> None:
    from sklearn.utils.class_weight import compute_class_weight

    data = DataModule("folder", root=str(pets), size=4, channels=1, balance="weights")
    data.prepare()
    y = data.splits["train"].y.numpy()
    assert data.class_weights().tolist() == pytest.approx(compute_class_weight("balanced", classes=np.arange(3), y=y))


@pytest.mark.parametrize("loss", ["cross_entropy", "binary_cross_entropy"])
def test_the_training_loss_is_the_weighted_mean(small: Config, tmp_path: Path, loss: str) -> None:
    plain = small("data.balance=weights", "data.classes_kept=[cat,owl]", f"model.loss={loss}")
    task, data, _, _ = assemble(plain, tmp_path)
    data.prepare()
    weights = data.class_weights()
    x, y = data.splits["train"].all()
    batch = data.transform(x), y
    before, _ = task.step(batch, "train")
    task.weigh_classes(weights)
    after, _ = task.step(batch, "train")
    assert torch.equal(task.step(batch, "val")[0], before)  # what is validated stays comparable
    logits = task(batch[0])
    two = logits if loss == "cross_entropy" else torch.cat([torch.zeros_like(logits), logits], 1)
    assert torch.allclose(after, F.cross_entropy(two, y, weight=weights)) and not torch.allclose(after, before)
    assert "class_weights" not in task.state_dict()


@pytest.mark.parametrize("balance", ["true", "weights"])
def test_a_run_goes_on_exactly(small: Config, tmp_path: Path, balance: str) -> None:
    ends = []
    for name, stops in (("whole", [4]), ("parts", [2, 4])):
        run = tmp_path / name
        run.mkdir()
        for i, epochs in enumerate(stops):
            fit.train(small(f"data.balance={balance}", f"trainer.max_epochs={epochs}"), run, resume=bool(i))
        ends.append(pd.read_csv(run / runs.METRICS).drop(columns="seconds"))
    assert len(ends[0]) == 4 and ends[0].equals(ends[1])


@pytest.fixture(scope="module")
def both(small: Config, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a run as it is, and one with each class drawn equally often."""
    top = tmp_path_factory.mktemp("runs")
    for name, words in (("plain", []), ("balanced", ["data.balance=true"])):
        (top / name).mkdir()
        fit.train(
            small(
                "trainer.max_epochs=15",
                "optimizer.lr=0.01",
                "data.normalize=standardize",
                "trainer.selection=last",
                *words,
            ),
            top / name,
        )
    return top


def test_small_classes_are_found_again(both: Path) -> None:
    plain, even = (runs.read_result(both / name) for name in ("plain", "balanced"))
    recalls = [result["per_class"]["test"][-1]["recall"] for result in (plain, even)]
    assert recalls[1] > recalls[0] + 0.1


def test_the_result_tells_class_by_class(both: Path, tmp_path: Path) -> None:
    result = runs.read_result(both / "balanced")
    *rows, macro = result["per_class"]["test"]
    assert [row["class"] for row in rows] == list(SIZES) and macro["class"] == "(macro)"
    assert sum(row["n"] for row in rows) == macro["n"] == result["data"]["test"]
    for name in ("precision", "recall", "f1"):
        assert macro[name] == pytest.approx(result["metrics"][f"test/{name}"])
        assert macro[name] == pytest.approx(sum(row[name] for row in rows) / 3)
    out = report.main([str(both), f"out={tmp_path}"])
    text = (out / "report.md").read_text(encoding="utf-8")
    assert "Test set by class" in text and "macro" in text and "owl" in text.split("Test set by class")[1]


def test_mistakes_are_said(small: Config, config: Config, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"data.balance must be null, true or weights, got 'even'"):
        fit.train(small("data.balance=even"), tmp_path)
    with pytest.raises(InputError, match=r"data.balance=true draws the examples, so data.shuffle=false can't be"):
        DataModule("mnist", balance=True, shuffle=False)
    for words in (["model=scratch"], ["model=knn"], ["model=autoencoder", "data.normalize=unit"]):
        with pytest.raises(InputError, match=r"data.balance=weights is for classifiers"):
            fit.train(small("data.balance=weights", *words), tmp_path / words[0])
    with pytest.raises(InputError, match=r"data.balance is for classes"):
        fit.train(config("data=functions", "model=regression", "data.balance=true", "logger=none"), tmp_path / "f")


def test_a_config_without_it_is_what_it_was(small: Config) -> None:
    plain = small()
    assert config_hash(plain) == config_hash(small("data.balance=null"))
    assert config_hash(plain) not in {config_hash(small(f"data.balance={word}")) for word in ("true", "weights")}
