"""Data that are drawn by a rule, and the ten-parameter convnet on them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from dlcourse import runs
from dlcourse.core.errors import InputError
from dlcourse.data.__main__ import main
from dlcourse.data.module import DataModule
from dlcourse.data.readers.functions import targets
from dlcourse.data.sources import load
from dlcourse.data.tensors import Tensors
from dlcourse.nets import ToyConvNet
from dlcourse.nets.layers import initialise

NAMES = ("linear", "max", "log_sum_exp")


def arrays(name: str, split: str = "train", **options: Any) -> tuple[np.ndarray, np.ndarray]:
    store = getattr(load(name, **options), split)
    assert isinstance(store, Tensors)
    return store.x.double().numpy(), store.y.double().numpy()


# --- the functions ---


def test_the_inputs_are_uniform_and_the_same_for_all_three_functions() -> None:
    for split, n in (("train", 1000), ("test", 200)):
        x, y = arrays("functions", split)
        assert x.shape == (n, 4) and y.shape == (n, 1)
        assert np.abs(x).max() <= 2.5 and np.abs(x).max() > 2.45
        assert np.abs(x.mean(0)).max() < 0.25 and np.abs(x.var(0) - 25 / 12).max() < 0.4
        for function in NAMES:
            assert (arrays("functions", split, function=function)[0] == x).all()


def test_the_targets_are_what_they_are_called() -> None:
    x, weights = np.array([[1.0, 2.0, -1.0, 0.5]]), np.arange(16.0).reshape(4, 4) / 8 - 1
    mixed = [sum(x[0, i] * weights[i, j] for i in range(4)) for j in range(4)]
    given = targets(x, weights)
    assert list(given) == list(NAMES)
    assert given["linear"][0] == pytest.approx(sum(mixed))
    assert given["max"][0] == 2.0
    assert given["log_sum_exp"][0] == pytest.approx(np.log(np.exp(mixed).sum()))
    assert np.isfinite(targets(1000 * x, weights)["log_sum_exp"]).all()


def test_one_w_is_behind_linear_and_log_sum_exp() -> None:
    """W's entries are in [-2, 2]: the least-squares fit finds their sums, and log-sum-exp lies above the mean."""
    x, y = arrays("functions", noise=0)
    sums, residual, *_ = np.linalg.lstsq(x, y[:, 0], rcond=None)
    assert residual[0] < 1e-6 and np.abs(sums).max() < 8
    above = arrays("functions", function="log_sum_exp", noise=0)[1][:, 0]
    assert (above > y[:, 0] / 4).all()


@pytest.mark.parametrize("function", NAMES)
@pytest.mark.parametrize("split", ["train", "test"])
def test_the_noise_is_a_share_of_the_target(function: str, split: str) -> None:
    _, clean = arrays("functions", split, function=function, noise=0)
    for noise in (0.01, 0.1):
        _, noisy = arrays("functions", split, function=function, noise=noise)
        ratio = noisy / clean - 1
        assert abs(ratio.mean()) < 4 * noise / np.sqrt(len(ratio))
        assert ratio.std() == pytest.approx(noise, rel=0.2)


def test_the_noise_of_the_three_functions_differs() -> None:
    ratios = [arrays("functions", function=f)[1] / arrays("functions", function=f, noise=0)[1] for f in NAMES]
    assert abs(np.corrcoef(np.hstack(ratios).T) - np.eye(3)).max() < 0.15


# --- the clusters ---


def test_the_clusters_are_the_four_gaussians() -> None:
    points = [arrays("clusters", draw=draw) for draw in range(200)]
    assert all(x.shape == (40, 2) and (np.bincount(y.astype(int)) == 10).all() for x, y in points)
    x = np.concatenate([x for x, _ in points])
    y = np.concatenate([y for _, y in points])
    means = [(3.6, 40), (3.9, 10), (3.4, 30), (2.0, 10)]
    variances = [(0.05, 10), (0.01, 5), (0.25, 5), (0.5, 10)]
    for k, (mean, variance) in enumerate(zip(means, variances, strict=True)):
        cloud = x[y == k]
        assert np.abs(cloud.mean(0) - mean).max() < 5 * np.sqrt(max(variance) / 2000)
        assert cloud.var(0) == pytest.approx(variance, rel=0.2)
        assert abs(np.corrcoef(cloud.T)[0, 1]) < 0.1


def test_validation_and_test_points_are_others() -> None:
    splits = [arrays("clusters", split)[0] for split in ("train", "val", "test")]
    assert not any(np.isin(a, b).all() for a, b in ((splits[0], splits[1]), (splits[0], splits[2]), splits[1:]))


# --- drawn, not read ---


@pytest.mark.parametrize("name", ["functions", "clusters"])
def test_a_draw_is_repeatable_and_another_draw_is_another(name: str) -> None:
    for split in ("train", "test"):
        (x, y), again, other = (arrays(name, split, draw=draw) for draw in (1, 1, 2))
        assert (x == again[0]).all() and (y == again[1]).all()
        assert (x != other[0]).mean() > 0.9


@pytest.mark.parametrize("name", ["functions", "clusters"])
def test_every_source_gives_the_same_and_it_is_no_stand_in(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("DLCOURSE_CACHE", str(tmp_path / "cache"))
    given = [load(name, source=source, draw=3) for source in ("auto", "real", "stand-in")]
    first = given[0].train
    assert isinstance(first, Tensors)
    assert all(isinstance(g.train, Tensors) and torch.equal(g.train.x, first.x) for g in given)
    about = given[2].provenance
    assert (about.source, about.comparable, about.root, about.files) == ("real", True, None, {})
    assert about.detail.startswith("drawn by the course's rule, draw 3")
    assert not (tmp_path / "cache").exists() and caplog.text == ""


def test_the_options_reach_the_reader() -> None:
    module = DataModule(
        "functions", function="max", draw=2, noise=0.0, normalize="none", shape=[4], classes=1, val="test"
    )
    module.prepare()
    x, y = module.splits["train"].all()
    assert torch.equal(y[:, 0], x.max(1).values)
    assert torch.equal(module.splits["val"].all()[0], module.splits["test"].all()[0])
    assert (arrays("functions", draw=2)[0] == x.double().numpy()).all()


def test_mistakes_are_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(InputError, match=r"data\.function=cosine should be linear, max or log_sum_exp"):
        load("functions", function="cosine")
    with pytest.raises(InputError, match="functions has no files, it is drawn by a rule"):
        load("functions", root="somewhere")
    for command in ("fetch", "verify"):
        with pytest.raises(InputError, match="clusters has no files"):
            main([command, "clusters"])
    main(["list", "functions"])
    assert "drawn (by the course's rule)" in capsys.readouterr().out


# --- the network ---


def by_hand(x: np.ndarray, filters: np.ndarray, u: np.ndarray) -> float:
    """The exercise's formula for one x [4], filters [2, 3] and u [4]; NumPy's convolution reverses the filter."""
    o1, o2 = (np.maximum(np.convolve(x, w, "same"), 0) for w in filters)
    m = np.array([o1[:2].max(), o1[2:].max(), o2[:2].max(), o2[2:].max()])
    return float(m @ u)


def test_the_toy_convnet_is_the_exercises() -> None:
    torch.manual_seed(0)
    net = ToyConvNet("normal:5").double()
    x = torch.randn(50, 4, dtype=torch.float64)
    filters, u = net.filters.weight.detach().numpy()[:, 0], net.output.weight.detach().numpy()[0]
    assert net(x).detach()[:, 0].numpy() == pytest.approx([by_hand(row, filters, u) for row in x.numpy()])
    assert sum(p.numel() for p in net.parameters()) == 10
    assert net(torch.zeros(1, 4, dtype=torch.float64)).item() == 0  # whatever its weights are


def test_the_initial_weights_of_both_reports() -> None:
    torch.manual_seed(0)
    normal = torch.cat([p.detach().flatten() for _ in range(500) for p in ToyConvNet("normal:5").parameters()])
    assert normal.std().item() == pytest.approx(5, rel=0.05) and abs(normal.mean().item()) < 0.3
    positive = torch.cat([p.detach().flatten() for _ in range(500) for p in ToyConvNet("positive:5").parameters()])
    assert positive.min() >= 0 and positive.max() < 5 and positive.mean().item() == pytest.approx(2.5, rel=0.05)
    small = torch.nn.Linear(100, 100)
    initialise(small, "positive")
    assert small.weight.min() >= 0 and 0.04 < small.weight.max() < 0.05


# --- their experiments ---


@pytest.mark.parametrize(
    ("experiment", "parameters"),
    [
        ("toy_linear", 4),
        ("toy_linear_second", 4),
        ("toy_convnet", 10),
        ("toy_convnet_second", 10),
        ("toy_converged", 10),
    ],
)
def test_the_toy_experiments(experiment: str, parameters: int, train: Callable[..., Path]) -> None:
    run = train(f"experiment=huji/{experiment}", "trainer.max_epochs=4", "trainer.figures=false")
    result = runs.read_result(run)
    assert (result["status"], result["parameters"], result["epochs"]) == ("done", parameters, 4)
    assert result["data"]["source"] == "real" and result["data"]["comparable"]
    assert result["steps"] == (80 if experiment == "toy_converged" else 4)
    assert result["metrics"]["val/loss"] == result["metrics"]["test/loss"]  # the last epoch's, of the same examples


def test_the_first_step_of_the_linear_model_is_the_gradients(train: Callable[..., Path]) -> None:
    """One step on the whole training set, from zero: w = 2·lr·mean(y x); the second adds weight decay's lr·λ·w."""
    options = ("experiment=huji/toy_linear", "data.limit=null", "data.batch_size=all", "data.shuffle=false")
    run = train(*options, "trainer.max_epochs=2", "trainer.figures=false")
    x, y = arrays("functions")
    w = np.zeros(4)
    for _ in range(2):
        gradient = 2 * ((x @ w)[:, None] - y).T @ x / len(x)
        w = w - 1e-3 * (gradient[0] + 0.1 * w)
    saved = torch.load(run / "best.ckpt", weights_only=True)["state_dict"]["net.layers.0.weight"]
    assert saved[0].numpy() == pytest.approx(w, rel=1e-5)


def test_the_clusters_experiment(train: Callable[..., Path]) -> None:
    """The summed loss starts near 4·10·log 4 and ends below the hand-out's 35, with more than 75 % right."""
    run = train("experiment=cmu/q2_toy", "data.limit_eval=null", "trainer.figures=false")
    rows = (run / "metrics.csv").read_text().splitlines()
    assert len(rows) == 501
    metrics = runs.read_result(run)["metrics"]
    assert 40 * metrics["train/loss"] < 35
    assert metrics["train/accuracy"] > 0.75
