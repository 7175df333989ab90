"""The networks: the reports' architectures, their shapes, initialisations, and the published weights."""

import copy
import math
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from dlcourse.nets import CNN, MLP, Autoencoder, Pretrained, initialise

DATA = Path(os.environ.get("DLCOURSE_DATA") or Path(__file__).parents[2] / "shared" / "data")

HUJI_CNN: dict[str, Any] = {"shape": [1, 28, 28], "classes": 10, "channels": [32, 64], "pool": [1, 2]}
CMU_CNN: dict[str, Any] = {"shape": [1, 32, 32], "classes": 36, "channels": [20, 50], "kernel": 5, "hidden": [512]}
FLOWERS: dict[str, Any] = {
    "shape": [3, 224, 224],
    "classes": 17,
    "channels": [32, 64, 128],
    "padding": 1,
    "hidden": [512],
    "dropout": 0.5,
}


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def parameters(net: nn.Module) -> int:
    return sum(p.numel() for p in net.parameters())


def weights_of(net: nn.Module) -> list[Tensor]:
    return [m.weight for m in net.modules() if isinstance(m, nn.Linear | nn.Conv2d)]


def biases_of(net: nn.Module) -> list[Tensor]:
    return [m.bias for m in net.modules() if isinstance(m, nn.Linear)]


# --- the reports' architectures ---


@pytest.mark.parametrize(
    ("build", "expected"),
    [
        (lambda: MLP([1, 28, 28], 10), 7_850),  # HUJI, the linear model
        (lambda: MLP(4, 1, bias=False), 4),  # HUJI, the toy functions' linear model
        (lambda: MLP([1, 28, 28], 10, [512, 512]), 784 * 512 + 512 + 512 * 512 + 512 + 512 * 10 + 10),
        (lambda: MLP(784, 5, [30, 20, 10]), 24_435),  # CS671
        (lambda: MLP(1024, 36, [64], "sigmoid"), 67_940),  # CMU Q3
        (lambda: MLP(784, 10, [128, 64], batch_norm=True), 109_770),  # two batch norms more than 109,386
        (lambda: CNN(**HUJI_CNN), 1_199_882),  # 320 + 18,496 + 9216 * 128 + 128 + 1,290
        (lambda: CNN(**CMU_CNN), 520 + 25_050 + 1250 * 512 + 512 + 512 * 36 + 36),
        (lambda: CNN(**FLOWERS), 896 + 18_496 + 73_856 + 128 * 28 * 28 * 512 + 512 + 512 * 17 + 17),
        (lambda: Autoencoder(784, [512, 128, 2]), 936_466),  # HUJI report 000
        (lambda: Autoencoder(1024, [32, 32]), 2 * 1024 * 32 + 2 * 32 * 32 + 3 * 32 + 1024),  # CMU Q5
        (lambda: Autoencoder(784, [64], tied=True), 784 * 64 + 64 + 784),
        (lambda: Pretrained("mobilenet_v2", 8), 2_223_872 + 1281 * 8),  # CMU Q6.1.4
        (lambda: Pretrained("squeezenet1_1", 17), 722_496 + 513 * 17),  # CMU Q6.2
        (lambda: Pretrained("resnet18", 17), 11_176_512 + 513 * 17),
    ],
)
def test_parameter_counts(build: Any, expected: int) -> None:
    assert parameters(build()) == expected


@pytest.mark.parametrize(
    ("net", "shape", "outputs"),
    [
        (lambda: MLP(784, 10, [20], "gelu", dropout=0.5), (3, 784), 10),
        (lambda: MLP([3, 8, 6], 7, (5, 4), "tanh"), (3, 3, 8, 6), 7),
        (lambda: CNN(**HUJI_CNN, dropout_conv=0.25, dropout=0.5), (3, 1, 28, 28), 10),
        (lambda: CNN(**CMU_CNN, batch_norm=True), (3, 1, 32, 32), 36),
        (lambda: CNN([3, 9, 12], 4, [5], [3], 1, 3, ()), (3, 3, 9, 12), 4),
        (lambda: Pretrained("mobilenet_v2", 8, shape=[3, 32, 32]), (3, 3, 32, 32), 8),
        (lambda: Pretrained("squeezenet1_1", 8, dropout=0.0), (3, 3, 64, 48), 8),
        (lambda: Pretrained("resnet18", 8), (3, 3, 32, 32), 8),
    ],
)
def test_scores_have_a_row_an_image_and_every_parameter_learns(net: Any, shape: tuple[int, ...], outputs: int) -> None:
    built = net()
    scores = built(torch.rand(shape))
    assert scores.shape == (shape[0], outputs)
    nn.functional.cross_entropy(scores, torch.arange(shape[0])).backward()
    for name, parameter in built.named_parameters():
        assert parameter.grad is not None and torch.isfinite(parameter.grad).all(), name
    assert built.first_layer.weight.grad.abs().max() > 0


def test_an_mlp_is_the_formula() -> None:
    net = MLP(6, 3, [4], "tanh")
    first, last = weights_of(net)
    x = torch.randn(5, 6)
    b1, b2 = biases_of(net)
    torch.testing.assert_close(net(x), torch.tanh(x @ first.T + b1) @ last.T + b2)
    assert net.first_layer.weight is first


def test_without_hidden_layers_an_mlp_is_linear() -> None:
    net = MLP(6, 3, bias=False)
    x, y = torch.randn(2, 5, 6)
    torch.testing.assert_close(net(2 * x - y), 2 * net(x) - net(y))


def test_hidden_layers_are_linear_norm_activation_dropout() -> None:
    kinds = [type(layer) for layer in MLP(4, 2, [3], "sigmoid", batch_norm=True, dropout=0.1).layers]
    assert kinds == [nn.Linear, nn.BatchNorm1d, nn.Sigmoid, nn.Dropout, nn.Linear]


@pytest.mark.parametrize("activation", ["relu", "tanh", "gelu"])
def test_a_cnn_is_convolution_activation_pooling(activation: str) -> None:
    """Pooling before a rising activation changes nothing; gelu falls and rises, and keeps its place."""
    net = CNN([2, 10, 10], 3, [4, 5], [3, 2], [1, 0], [2, 1], [6], activation)
    act = {"relu": torch.relu, "tanh": torch.tanh, "gelu": nn.functional.gelu}[activation]
    convs = [m for m in net.modules() if isinstance(m, nn.Conv2d)]
    linears = [m for m in net.modules() if isinstance(m, nn.Linear)]
    x = 5 * torch.randn(4, 2, 10, 10)
    h = nn.functional.max_pool2d(act(nn.functional.conv2d(x, convs[0].weight, convs[0].bias, padding=1)), 2)
    h = act(nn.functional.conv2d(h, convs[1].weight, convs[1].bias))
    h = act(linears[0](h.flatten(1)))
    torch.testing.assert_close(net(x), linears[1](h))


def test_dropout_acts_in_training_only() -> None:
    net = CNN(**HUJI_CNN, dropout_conv=0.25, dropout=0.5)
    x = torch.rand(2, 1, 28, 28)
    assert not torch.equal(net(x), net(x))
    net.eval()
    assert torch.equal(net(x), net(x))
    assert [m.p for m in net.modules() if isinstance(m, nn.Dropout)] == [0.25, 0.5]


# --- autoencoders ---


def test_an_autoencoder_mirrors_itself_and_keeps_the_shape() -> None:
    net = Autoencoder([1, 8, 6], [20, 7, 3], "tanh", code_activation="identity")
    assert [tuple(w.shape) for w in weights_of(net)] == [(20, 48), (7, 20), (3, 7), (7, 3), (20, 7), (48, 20)]
    x = torch.rand(5, 1, 8, 6)
    code = net.encode(x)
    assert net.code_size == 3 and code.shape == (5, 3)
    assert net.decode(code).shape == net(x).shape == x.shape
    assert net(x.flatten(1)).shape == (5, 48)
    assert torch.equal(net(x), net.decode(code))
    assert net(x).min() >= 0 and net(x).max() <= 1  # sigmoid


def test_the_code_has_its_own_activation() -> None:
    x = torch.rand(50, 12)
    assert Autoencoder(12, [6, 4]).encode(x).min() >= 0
    assert Autoencoder(12, [6, 4], code_activation="identity").encode(x).min() < 0
    assert Autoencoder(12, [6, 4], output_activation="identity")(x).min() < 0


def test_tied_weights_are_the_encoders_transposed() -> None:
    net = Autoencoder([12], [6, 4], "tanh", tied=True)
    assert [name for name, _ in net.named_parameters() if "decoder" in name] == ["decoder.0.bias", "decoder.1.bias"]
    first, code = weights_of(net.encoder)
    hidden, output = biases_of(net.decoder)
    z = torch.randn(3, 4)
    expected = torch.sigmoid(torch.tanh(z @ code + hidden) @ first + output)
    torch.testing.assert_close(net.decode(z), expected)
    net.decode(z).sum().backward()  # the decoder alone moves the encoder's weights
    assert first.grad is not None and first.grad.abs().max() > 0


def test_a_tied_copy_stands_alone_and_loads_what_it_saved() -> None:
    net = Autoencoder(12, [4], tied=True)
    twin = copy.deepcopy(net)
    other = Autoencoder(12, [4], tied=True)
    other.load_state_dict(net.state_dict())
    x = torch.rand(3, 12)
    assert torch.equal(net(x), twin(x)) and torch.equal(net(x), other(x))
    with torch.no_grad():
        twin.first_layer.weight.zero_()
    assert not torch.equal(net(x), twin(x))


# --- initialisation ---


@pytest.mark.parametrize(
    ("init", "deviation", "bound"),
    [
        ("xavier", math.sqrt(2 / (400 + 300)), math.sqrt(6 / (400 + 300))),
        ("xavier_normal", math.sqrt(2 / (400 + 300)), math.inf),
        ("he", math.sqrt(2 / 400), math.inf),
        ("normal", 0.05, math.inf),
        ("normal:0.5", 0.5, math.inf),
        ("uniform:0.3", 0.3 / math.sqrt(3), 0.3),
    ],
)
def test_initial_weights_have_the_promised_distribution(init: str, deviation: float, bound: float) -> None:
    layer = MLP(400, 300, init=init).first_layer
    w = layer.weight.detach()
    assert w.std().item() == pytest.approx(deviation, rel=0.02)
    assert abs(w.mean().item()) < 5 * deviation / math.sqrt(w.numel())
    assert w.abs().max() <= bound
    if bound < math.inf:
        assert w.abs().max() > 0.99 * bound
    else:
        assert w.abs().max() > 3.5 * deviation  # a normal's tail, which no uniform has
    assert not layer.bias.any()


def test_xavier_counts_a_convolutions_whole_field() -> None:
    w = CNN([3, 20, 20], 2, [64], 5, init="xavier").first_layer.weight
    bound = math.sqrt(6 / (25 * 3 + 25 * 64))
    assert 0.98 * bound < w.abs().max() <= bound


def test_default_is_pytorchs_own() -> None:
    net = MLP(7, 5)
    torch.manual_seed(0)
    assert torch.equal(net.first_layer.weight, nn.Linear(7, 5).weight)


def test_from_zeros_only_the_output_bias_learns() -> None:
    """With tanh units the hidden layers are 0, and so is every weight's gradient (CMU theory)."""
    net = MLP(6, 3, [4, 4], "tanh", init="zeros")
    optimizer = torch.optim.SGD(net.parameters(), 0.5)
    x, y = torch.randn(8, 6), torch.tensor([0, 1, 1, 1, 1, 2, 2, 2])
    for _ in range(10):
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(x), y).backward()
        optimizer.step()
    assert not any(w.any() for w in weights_of(net))
    hidden, second, output = biases_of(net)
    assert not hidden.any() and not second.any() and output.abs().min() > 0


def test_batch_norm_keeps_its_own_start() -> None:
    net = MLP(4, 2, [3], init="zeros", batch_norm=True)
    assert net.state_dict()["layers.1.weight"].tolist() == [1, 1, 1]


def test_autoencoders_and_cnns_are_initialised_too() -> None:
    for net in (Autoencoder(9, [4, 2], init="zeros"), CNN(**CMU_CNN, init="zeros")):
        assert not any(p.any() for p in net.parameters())


def test_the_same_seed_gives_the_same_network() -> None:
    nets = []
    for _ in range(2):
        torch.manual_seed(3)
        nets.append(MLP(9, 4, [5], init="xavier"))
    assert all(torch.equal(a, b) for a, b in zip(*(n.parameters() for n in nets), strict=True))


# --- wrong arguments ---


@pytest.mark.parametrize(
    ("build", "sentence"),
    [
        (lambda: MLP(784, 10, [0]), "hidden: .* at least 1, not \\[0\\]"),
        (lambda: MLP(784, 10, [12.5]), "hidden: "),  # type: ignore[list-item]
        (lambda: MLP(784, 10, 64), "hidden: "),  # type: ignore[arg-type]
        (lambda: MLP(784, 10, "64"), "hidden: "),  # type: ignore[arg-type]
        (lambda: MLP(0, 10), "inputs: "),
        (lambda: MLP([1, 28, -1], 10), "inputs: "),
        (lambda: MLP([], 10), "inputs: "),
        (lambda: MLP(784, 0), "outputs: "),
        (lambda: MLP(784, 10, activation="rellu"), "activation: no 'rellu' \\(did you mean relu or gelu\\?\\)"),
        (lambda: MLP(784, 10, [5], dropout=1.0), "dropout: .* not 1.0"),
        (lambda: MLP(784, 10, init="xavir"), "init: .*did you mean xavier"),
        (lambda: MLP(784, 10, init="zeros:1"), "init: zeros takes no number"),
        (lambda: MLP(784, 10, init="normal:big"), "init: .*'big'"),
        (lambda: MLP(784, 10, init="normal:-1"), "init: "),
        (lambda: CNN([28, 28], 10), "shape: "),
        (lambda: CNN([1, 4, 28], 10, [3, 3], 3, pool=2), "shape: .*kernel 3 of convolution layer 2 of 2 meets 1 x 13"),
        (lambda: CNN([1, 4, 4], 10, [3], 3, pool=3), "shape: .*pool 3 of convolution layer 1 of 1 meets 2 x 2"),
        (lambda: CNN([1, 28, 28], 10, []), "channels: "),
        (lambda: CNN([1, 28, 28], 10, [3, 3], [3, 3, 3]), "kernel: .*each of 2 convolutions"),
        (lambda: CNN([1, 28, 28], 10, padding=-1), "padding: "),
        (lambda: CNN([1, 28, 28], 10, pool=0), "pool: "),
        (lambda: CNN([1, 28, 28], 10, dropout_conv=-0.1), "dropout_conv: "),
        (lambda: CNN([1, 28, 28], 0), "classes: "),
        (lambda: Autoencoder(784, []), "widths: "),
        (lambda: Autoencoder(784, [4], code_activation="linear"), "code_activation: "),
        (lambda: Autoencoder(784, [4], output_activation="sigmoit"), "output_activation: .*sigmoid"),
        (lambda: Pretrained("mobilenet", 8), "name: .*did you mean mobilenet_v2"),
        (lambda: Pretrained("mobilenet_v2", 8, shape=[1, 28, 28]), "shape: "),
        (lambda: Pretrained("squeezenet1_1", 8, shape=[1, 64, 64]), "shape: .*colour"),
        (lambda: initialise(nn.Linear(2, 2), "uniform:nan"), "init: "),
    ],
)
def test_a_wrong_argument_is_named_first(build: Any, sentence: str) -> None:
    with pytest.raises(ValueError, match=f"^{sentence}") as caught:
        build()
    assert "\n" not in str(caught.value)
