"""Gradients by hand: right against differences and against autograd, and a run with them is the run with autograd."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import lightning as L
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor

from dlcourse import evaluate, predict, resume, runs, scratch
from dlcourse.callbacks.keep import read_metrics
from dlcourse.config.identity import flatten
from dlcourse.core.errors import InputError
from dlcourse.nets import ToyConvNet
from dlcourse.scratch import central_differences, gradient_check, initialised, mlp, relative_error, summed
from dlcourse.scratch.initialise import initialisations
from dlcourse.scratch.layers import Array
from dlcourse.tasks.scratch import by_hand
from dlcourse.training import loading

Config = Callable[..., dict[str, Any]]
Train = Callable[..., Path]
SEEDS = st.integers(0, 2**32 - 1)
few = settings(max_examples=25, deadline=None)


def test_numpy_only() -> None:
    """Neither the networks by hand nor the statements about them import torch."""
    code = "import sys, dlcourse.scratch, dlcourse.theory; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


# --- layers ----------------------------------------------------------------------------------------------------------


def torch_convolution(x: Tensor, w: Tensor) -> Tensor:
    return F.conv1d(x.unsqueeze(1), w.unsqueeze(1).flip(-1), padding=w.shape[1] // 2)


Shape = tuple[int, ...]
# a layer, what torch has for it, the shapes of its parameters and of its input
LAYERS: dict[str, tuple[Callable[..., scratch.Layer], Callable[..., Tensor], list[Shape], Shape]] = {
    "linear": (scratch.Linear, F.linear, [(3, 5), (3,)], (4, 5)),
    "linear without bias": (scratch.Linear, F.linear, [(3, 5)], (4, 5)),
    "relu": (scratch.ReLU, torch.relu, [], (4, 5)),
    "sigmoid": (scratch.Sigmoid, torch.sigmoid, [], (4, 5)),
    "tanh": (scratch.Tanh, torch.tanh, [], (4, 5)),
    "identity": (scratch.Layer, lambda x: x, [], (4, 5)),
    "flatten": (scratch.Flatten, lambda x: x.flatten(1), [], (3, 2, 4)),
    "max-pool 2": (lambda: scratch.MaxPool(2), lambda x: F.max_pool1d(x, 2), [], (3, 2, 6)),
    "max-pool 3": (lambda: scratch.MaxPool(3), lambda x: F.max_pool1d(x, 3), [], (3, 2, 6)),
    "convolution 3": (scratch.Convolution, torch_convolution, [(2, 3)], (4, 6)),
    "convolution 5": (scratch.Convolution, torch_convolution, [(3, 5)], (2, 4)),
}  # fmt: skip


@pytest.mark.parametrize("name", LAYERS)
@few
@given(seed=SEEDS)
def test_a_layer_against_differences_and_autograd(name: str, seed: int) -> None:
    make, reference, shapes, shape = LAYERS[name]
    rng = np.random.default_rng(seed)
    parameters, x = [rng.normal(size=s) for s in shapes], rng.normal(size=shape)
    if name == "relu":
        assume(np.abs(x).min() > 1e-4)  # differences across a kink say nothing
    if name.startswith("max-pool"):
        assume(np.diff(np.sort(x, axis=None)).min() > 1e-4)
    layer = make(*parameters)
    y = layer.forward(x)
    g = rng.normal(size=y.shape)
    gradients = [layer.backward(g), *layer.gradients]
    arrays = [x, *parameters]
    assert [a.shape for a in gradients] == [a.shape for a in arrays]

    for array, gradient in zip(arrays, gradients, strict=True):
        differences = central_differences(lambda: float((layer.forward(x) * g).sum()), array, eps=1e-5)
        np.testing.assert_allclose(gradient, differences, atol=1e-7)

    tensors = [torch.from_numpy(a.copy()).requires_grad_() for a in arrays]
    output = reference(*tensors)
    np.testing.assert_allclose(y, output.detach().numpy(), atol=1e-12)
    output.backward(torch.from_numpy(g))
    for tensor, gradient in zip(tensors, gradients, strict=True):
        assert tensor.grad is not None
        np.testing.assert_allclose(gradient, tensor.grad.numpy(), atol=1e-12)


def test_kinks_are_torch_s() -> None:
    """relu'(0) = 0; of several that are largest the first has the gradient."""
    relu, pool = scratch.ReLU(), scratch.MaxPool(2)
    relu.forward(np.array([[0.0, -0.0, 1.0]]))
    assert relu.backward(np.ones((1, 3))).tolist() == [[0, 0, 1]]
    pool.forward(np.zeros((1, 4)))
    assert pool.backward(np.array([[5.0, 7.0]])).tolist() == [[5, 0, 7, 0]]


@given(seed=SEEDS, taps=st.sampled_from([1, 3, 5]))
@few
def test_the_convolution_is_numpy_s(seed: int, taps: int) -> None:
    rng = np.random.default_rng(seed)
    x, w = rng.normal(size=(2, 7)), rng.normal(size=(3, taps))
    o = scratch.Convolution(w).forward(x)
    for b in range(2):
        for f in range(3):
            np.testing.assert_allclose(o[b, f], np.convolve(x[b], w[f], "same"), atol=1e-12)


@given(x=st.floats(-1e300, 1e300))
def test_sigmoid_never_overflows(x: float) -> None:
    with np.errstate(all="raise", under="ignore"):
        y = scratch.sigmoid(np.array([x, -x]))
    assert y.sum() == pytest.approx(1) and y.min() >= 0


# --- losses ----------------------------------------------------------------------------------------------------------


def losses(rng: np.random.Generator, scale: float) -> dict[str, tuple[Any, Array, Array, Callable[..., Tensor]]]:
    z, k = scale * rng.normal(size=(5, 3)), rng.integers(0, 3, 5)
    one, y = scale * rng.normal(size=(5, 1)), rng.integers(0, 2, (5, 1)).astype(float)
    return {
        "softmax": (scratch.softmax_cross_entropy, z, k, F.cross_entropy),
        "sigmoid": (scratch.binary_cross_entropy, one, y, F.binary_cross_entropy_with_logits),
        "square": (scratch.squared_error, z, rng.normal(size=(5, 3)), F.mse_loss),
    }


@pytest.mark.parametrize("name", ["softmax", "sigmoid", "square"])
@few
@given(seed=SEEDS, scale=st.sampled_from([0.1, 1.0, 10.0]))
def test_a_loss_against_differences_and_autograd(name: str, seed: int, scale: float) -> None:
    loss, z, y, reference = losses(np.random.default_rng(seed), scale)[name]
    value, g = loss(z, y)
    np.testing.assert_allclose(g, central_differences(lambda: loss(z, y)[0], z, eps=1e-5), atol=1e-7 * max(1, scale))
    tensor = torch.from_numpy(z.copy()).requires_grad_()
    wanted = reference(tensor, torch.from_numpy(y))
    assert value == pytest.approx(wanted.item(), rel=1e-12)
    wanted.backward()
    assert tensor.grad is not None
    np.testing.assert_allclose(g, tensor.grad.numpy(), atol=1e-12)

    total, gradient = summed(loss)(z, y)
    assert total == pytest.approx(reference(tensor, torch.from_numpy(y), reduction="sum").item(), rel=1e-12)
    np.testing.assert_allclose(gradient, g * y.size)


@given(z=st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=6), k=st.integers(0, 1))
def test_losses_are_finite_for_any_score(z: list[float], k: int) -> None:
    scores = np.array([z])
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        for loss, given_, y in (
            (scratch.softmax_cross_entropy, scores, np.array([k])),
            (scratch.binary_cross_entropy, scores, np.full(scores.shape, float(k))),
        ):
            value, g = loss(given_, y)
            assert np.isfinite(value) and value >= 0 and np.isfinite(g).all()
        assert scratch.softmax(scores).sum() == pytest.approx(1)


# --- networks, descent, initial weights ------------------------------------------------------------------------------


def test_the_toy_convnet_is_the_one_of_the_nets() -> None:
    torch.manual_seed(0)
    net = ToyConvNet().double()
    x = torch.randn(9, 4, dtype=torch.float64)
    np.testing.assert_allclose(by_hand(net).forward(x.numpy()), net(x).detach().numpy(), atol=1e-12)


@pytest.mark.parametrize(
    "options", [{}, {"momentum": 0.9}, {"weight_decay": 0.1}, {"momentum": 0.9, "weight_decay": 0.1, "nesterov": True}]
)
def test_descent_is_torch_s(options: dict[str, Any]) -> None:
    rng = np.random.default_rng(0)
    arrays = [rng.normal(size=(3, 2)), rng.normal(size=3)]
    tensors = [torch.from_numpy(a.copy()).requires_grad_() for a in arrays]
    ours, theirs = scratch.SGD(arrays, 0.1, **options), torch.optim.SGD(tensors, 0.1, **options)
    for _ in range(20):
        gradients = [rng.normal(size=a.shape) for a in arrays]
        ours.step(gradients)
        for tensor, g in zip(tensors, gradients, strict=True):
            tensor.grad = torch.from_numpy(g.copy())
        theirs.step()
    for array, tensor in zip(arrays, tensors, strict=True):
        np.testing.assert_allclose(array, tensor.detach().numpy(), atol=1e-12)


def test_a_network_by_hand_learns() -> None:
    """The whole of `scratch` and nothing else: which of four quadrants is a point in?"""
    rng = np.random.default_rng(0)
    x = rng.uniform(-1, 1, (400, 2))
    y = 2 * (x[:, 0] > 0) + (x[:, 1] > 0)
    net = mlp([2, 16, 4], scratch.Tanh, "xavier", rng)
    descent = scratch.SGD(net.parameters, 0.5, momentum=0.9)
    for _ in range(300):
        net.loss(scratch.softmax_cross_entropy, x, y)
        descent.step(net.gradients)
    assert (net.forward(x).argmax(1) == y).mean() > 0.97


@pytest.mark.parametrize(
    ("init", "variance"),
    [
        ("xavier", 2 / 300), ("he", 2 / 200), ("zeros", 0.0), ("normal", 0.05**2), ("normal:5", 25.0),
        ("uniform:3", 3.0), ("positive:5", 25 / 12),
    ],
)  # fmt: skip
def test_initial_weights(init: str, variance: float) -> None:
    """The variances that the names promise, float64, and the same for the same seed."""
    weight = initialised(init, (100, 200), np.random.default_rng(0))
    assert weight.dtype == np.float64 and weight.shape == (100, 200)
    assert weight.var() == pytest.approx(variance, rel=0.05)
    assert weight.mean() == pytest.approx(2.5 if init == "positive:5" else 0, abs=0.1)
    assert np.array_equal(weight, initialised(init, (100, 200), np.random.default_rng(0)))


def test_an_unknown_initialisation_is_named() -> None:
    with pytest.raises(ValueError, match="no 'xavir', it is xavier, he"):
        initialised("xavir", (2, 2), np.random.default_rng(0))
    from dlcourse.nets import initialisations as theirs

    assert initialisations.keys() <= theirs.keys()


# --- the gradient check ----------------------------------------------------------------------------------------------


class HalfTanh(scratch.Tanh):
    """Its derivative is wrong: 1 - y instead of 1 - y²."""

    def backward(self, g: Array) -> Array:
        return g * (1 - self.y)


class NoBias(scratch.Linear):
    """Forgets the gradient of its bias."""

    def backward(self, g: Array) -> Array:
        out = super().backward(g)
        self.gradients[1] = np.zeros_like(self.gradients[1])
        return out


def test_a_right_and_wrong_gradients() -> None:
    """A right gradient passes; a wrong one shows in the layers that it reaches, and not behind them."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(20, 3)), rng.integers(0, 4, 20)
    net = mlp([3, 5, 4], scratch.Tanh, "xavier", rng)
    before = [p.copy() for p in net.parameters]
    right = gradient_check(net, scratch.softmax_cross_entropy, x, y)
    assert max(right) < 1e-6
    assert all(np.array_equal(a, b) for a, b in zip(before, net.parameters, strict=True)), "nothing has moved"

    net.layers[1] = HalfTanh()
    first, bias, last, last_bias = gradient_check(net, scratch.softmax_cross_entropy, x, y)
    assert min(first, bias) > 0.1 and max(last, last_bias) < 1e-6
    net.layers[1:] = [scratch.Tanh(), NoBias(*net.layers[2].parameters)]
    assert gradient_check(net, scratch.softmax_cross_entropy, x, y)[3] == pytest.approx(4)  # of four numbers each


def test_better_differences() -> None:
    at = np.array([0.7])
    errors = [
        abs(central_differences(lambda: float(np.exp(at[0])), at, 0.01, order)[0] - np.exp(0.7)) for order in (2, 4)
    ]
    assert 1e-5 < errors[0] < 1e-4 and errors[1] < 1e-8 and at[0] == 0.7
    assert relative_error(np.array([0.0, 1.0, 0.0]), np.array([0.0, 2.0, 3.0])).tolist() == [0, 0.5, 1]


# --- the task --------------------------------------------------------------------------------------------------------

DOUBLE = ("trainer.precision=64-true", "trainer.figures=false", "trainer.selection=last")
# with autograd, by hand, and what makes a hundred steps of it
PAIRS: dict[str, tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]] = {
    "softmax, mean": (("model=fcn",), ("model=scratch",), ("data.batch_size=20", "optimizer=sgd", "data.epochs=10")),
    "softmax, sum": (("experiment=cmu/q2_toy",), ("experiment=cmu/q2_scratch",), ("data.epochs=13",)),
    "nist36": (("experiment=cmu/q3_nist36_mlp",), ("experiment=cmu/q3_scratch",), ("data.epochs=15",)),
    "autoencoder": (("experiment=cmu/q5_autoencoder",), ("experiment=cmu/q5_scratch",), ("data.epochs=17",)),
    "denoising": (
        ("experiment=cmu/q5_autoencoder",), ("experiment=cmu/q5_scratch",),
        ("data.epochs=17", "model.noise=gaussian", "model.noise_probability=0.3"),
    ),
    "linear model": (("experiment=huji/toy_linear",), ("experiment=huji/toy_linear_scratch",), ("data.epochs=100",)),
    "toy convnet": (("experiment=huji/toy_convnet",), ("experiment=huji/toy_convnet_scratch",), ("data.epochs=100",)),
    "logistic": (
        ("experiment=ntnu/logistic",), ("experiment=ntnu/logistic_scratch",),
        ("data.epochs=18", "data.batch_size=20", "optimizer.weight_decay=0.1", "stopping.patience=99"),
    ),
    "softmax regression": (
        ("experiment=ntnu/softmax",), ("experiment=ntnu/softmax_scratch",), ("data.epochs=5", "data.batch_size=20"),
    ),
    "adam, clipped": (
        ("model=fcn",), ("model=scratch",),
        ("data.batch_size=20", "optimizer=adam", "data.epochs=10", "trainer.gradient_clip_val=0.1",
         "model.net.hidden=[16,16]", "model.net.activation=tanh"),
    ),
}  # fmt: skip


def weights(run: Path) -> dict[str, Tensor]:
    return dict(loading.load_task(run).state_dict())


@pytest.mark.parametrize("pair", PAIRS)
def test_the_trajectory_is_autograd_s(pair: str, train: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    """From the same weights on the same batches; by hand, autograd isn't even asked."""
    autograd, hand, steps = PAIRS[pair]
    wanted = train(*autograd, *steps, *DOUBLE, run="autograd")

    def refuse(*args: Any, **kwargs: Any) -> None:
        raise AssertionError("autograd was asked for a gradient")

    monkeypatch.setattr(torch.autograd, "backward", refuse)
    monkeypatch.setattr(torch.autograd, "grad", refuse)
    found = train(*hand, *steps, *DOUBLE, run="hand")
    result = runs.read_result(found)
    assert result["steps"] >= 100 and result["model"] == "scratch"
    ours, theirs = weights(found), weights(wanted)
    assert ours.keys() == theirs.keys()
    for name, tensor in theirs.items():
        assert tensor.dtype == torch.float64
        torch.testing.assert_close(ours[name], tensor, atol=1e-6, rtol=0)
    plain = runs.read_config(found)
    L.seed_everything(plain["seed"], verbose=False)
    start = loading.build_task(plain).state_dict()
    assert all(not torch.allclose(ours[name], tensor.double(), atol=1e-4) for name, tensor in start.items()), "it moved"
    for row, other in zip(read_metrics(found / runs.METRICS), read_metrics(wanted / runs.METRICS), strict=True):
        for key in other.keys() - {"seconds"}:
            assert row[key] == pytest.approx(other[key], abs=1e-6, rel=1e-6), (key, row["epoch"])


def test_a_run_directory_like_any_other(train: Train, tmp_path: Path) -> None:
    """Figures, weights that restore themselves, the same figures again, resuming, predicting; and no graph left."""
    words = ("model=scratch", "data.batch_size=20", "optimizer=sgd", "optimizer.momentum=0.9")
    straight = train(*words, "trainer.max_epochs=4", run="straight")
    made = {p.name for p in (straight / "figures").iterdir()}
    assert made == {"learning_curves.png", "weights.png", "confusion_matrix.png", "misclassified.png"}
    metrics = runs.read_result(straight)["metrics"]
    for split in ("val", "test"):
        again = evaluate.main([f"run={straight}", f"split={split}"])
        assert again == {k: v for k, v in metrics.items() if k.startswith(f"{split}/")}

    broken = train(*words, "trainer.max_epochs=2", "trainer.figures=false", run="broken")
    resume.main([f"run={broken}", "trainer.max_epochs=4"])
    ours, theirs = weights(broken), weights(straight)
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)

    from PIL import Image

    Image.new("L", (28, 28), 200).save(tmp_path / "grey.png")
    predict.main([f"run={straight}", f"images={tmp_path / 'grey.png'}", f"out={tmp_path}/out.csv"])
    assert len((tmp_path / "out.csv").read_text().splitlines()) == 2


def test_the_net_itself_stays_a_net_of_torch(train: Train) -> None:
    """Outside of its steps autograd works on it, and the task with autograd takes its weights."""
    run = train("model=scratch", "trainer.max_epochs=1", "trainer.figures=false")
    task = loading.load_task(run)
    x = torch.rand(3, 1, 28, 28)
    assert task.net(x).requires_grad
    np.testing.assert_allclose(by_hand(task.net).forward(x.flatten(1).numpy()), task.net(x).detach().numpy(), atol=1e-5)
    plain = runs.read_config(run)
    plain["model"]["_target_"] = "dlcourse.tasks.Classify"
    loading.build_task(plain).load_state_dict(task.state_dict())


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("model=scratch", "model.net.dropout=0.5"), "no gradient by hand for Dropout"),
        (("model=scratch", "model.net.batch_norm=true"), "no gradient by hand for BatchNorm1d"),
        (("model=scratch", "model.net.activation=gelu"), "no gradient by hand for GELU"),
        (
            ("model=cnn", "model._target_=dlcourse.tasks.scratch.Classify"),
            "no gradient by hand for CNN: the networks are",
        ),
        (("experiment=cmu/q5_scratch", "model.net.tied=true"), "no gradient by hand for tied weights"),
        (("model=scratch", "trainer.precision=bf16-mixed"), "bf16-mixed: model=scratch computes with NumPy"),
        (("model=scratch", "trainer.precision=bf16-true"), "bf16-true: model=scratch computes with NumPy"),
    ],
)
def test_what_there_is_no_gradient_for(words: tuple[str, ...], sentence: str, train: Train) -> None:
    with pytest.raises(InputError, match=sentence) as error:
        train(*words, "trainer.max_epochs=1", "trainer.figures=false")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [({"world_size": 2}, "one device"), ({"accumulate_grad_batches": 2}, "a step for each batch")],
)
def test_one_device_and_one_batch_a_step(
    settings: dict[str, Any], sentence: str, config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = loading.build_task(config("model=scratch"))
    plain = {"world_size": 1, "accumulate_grad_batches": 1, "precision": "32-true"}
    monkeypatch.setattr(type(task), "trainer", SimpleNamespace(**plain | settings))
    with pytest.raises(InputError, match=sentence):
        task.setup("fit")


@pytest.mark.parametrize(
    ("preset", "base"),
    [
        ("cmu/q2_scratch", "cmu/q2_toy"),
        ("cmu/q3_scratch", "cmu/q3_nist36_mlp"),
        ("cmu/q5_scratch", "cmu/q5_autoencoder"),
        ("huji/toy_linear_scratch", "huji/toy_linear"),
        ("huji/toy_convnet_scratch", "huji/toy_convnet"),
        ("ntnu/logistic_scratch", "ntnu/logistic"),
        ("ntnu/softmax_scratch", "ntnu/softmax"),
    ],
)
def test_presets_differ_in_the_gradients_alone(preset: str, base: str, config: Config) -> None:
    ours, theirs = flatten(config(f"experiment={preset}")), flatten(config(f"experiment={base}"))
    assert {key for key in ours if ours[key] != theirs[key]} == {"name", "model.name", "model._target_"}
    assert ours.keys() == theirs.keys()
