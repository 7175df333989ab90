"""Pretrained networks by name: any of torchvision's and timm's, cut before the last layer."""

import copy
import os
from pathlib import Path

import pytest
import torch
import torchvision

from dlcourse.nets import Pretrained
from dlcourse.nets.pretrained import create_empty, create_network, feature_size, split_network

DATA = Path(os.environ.get("DLCOURSE_DATA") or Path(__file__).parents[2] / "shared" / "data")


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


@pytest.mark.parametrize("name", ("mobilenet_v2", "squeezenet1_1", "resnet18"))
def test_with_torchvisions_weights_the_backbone_is_torchvisions(name: str) -> None:
    reference = torchvision.models.get_model(name, weights=None).eval()
    net = Pretrained(name, 1000).eval()
    head = net.head.get_submodule("1")
    fresh = copy.deepcopy(head.state_dict())
    net.load_backbone(reference.state_dict())
    assert all(torch.equal(v, fresh[k]) for k, v in head.state_dict().items())
    head.load_state_dict(reference.get_submodule("fc" if name == "resnet18" else "classifier.1").state_dict())
    x = torch.rand(2, 3, 64, 64)
    torch.testing.assert_close(net(x), reference(x))
    torch.testing.assert_close(net.head(net.features(x)), reference(x))


def test_another_networks_weights_are_refused_with_their_keys() -> None:
    net = Pretrained("squeezenet1_1", 5)
    before = copy.deepcopy(net.state_dict())
    good = torchvision.models.get_model("squeezenet1_1", weights=None).state_dict()
    with pytest.raises(
        ValueError, match=r"^weights: .*squeezenet1_1.* no features\.0\.weight.*; unknown conv1\.weight"
    ):
        net.load_backbone(torchvision.models.get_model("resnet18", weights=None).state_dict())
    with pytest.raises(ValueError, match=r"wrongly shaped classifier\.1\.bias \[17\] instead of \[1000\]"):
        net.load_backbone(good | {"classifier.1.bias": torch.zeros(17)})
    with pytest.raises(ValueError, match=r"no features\.3\.squeeze\.bias$"):
        net.load_backbone({k: v for k, v in good.items() if k != "features.3.squeeze.bias"})
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())


def test_weights_from_before_batch_counters_load() -> None:
    state = torchvision.models.get_model("resnet18", weights=None).state_dict()
    Pretrained("resnet18", 5).load_backbone({k: v for k, v in state.items() if "num_batches" not in k})


def test_every_classification_network_of_torchvision_can_be_cut() -> None:
    """Structure alone, except for one of each family that is small enough to be run."""
    names = torchvision.models.list_models(module=torchvision.models)
    assert len(names) > 60
    for name in names:
        _, last, _ = split_network(create_empty(name))
        assert getattr(last, "out_features", getattr(last, "out_channels", 0)) == 1000, name


@pytest.mark.parametrize(
    "name",
    ["alexnet", "densenet121", "efficientnet_b0", "googlenet", "mnasnet0_5", "mobilenet_v3_small", "regnet_y_400mf",
     "resnet18", "shufflenet_v2_x0_5", "squeezenet1_0", "vgg11_bn"],
)  # fmt: skip
def test_a_network_by_name_is_trained_and_has_as_many_features_as_its_head_takes(name: str) -> None:
    net = Pretrained(name, 7)
    x = torch.rand(2, 3, 80, 80)
    net(x).sum().backward()
    assert all(p.grad is not None for p in net.head.parameters())
    features = net.eval().features(x)
    assert features.shape[1] == feature_size(name)
    assert torch.equal(net.head(features), net(x)) and net(x).shape == (2, 7)


def test_a_network_of_timm() -> None:
    pytest.importorskip("timm", reason="the extra timm is not installed")
    net = Pretrained("timm/resnet10t", 5).eval()
    assert net(torch.rand(2, 3, 64, 64)).shape == (2, 5) and feature_size("timm/resnet10t") == 512
    net.load_backbone(create_network("timm/resnet10t").state_dict())
    with pytest.raises(ValueError, match="did you mean resnet10t"):
        Pretrained("timm/resnet10", 5)


def test_a_wrong_name_is_answered_with_one_that_there_is() -> None:
    with pytest.raises(ValueError, match="no network 'resnet19'; did you mean resnet18"):
        Pretrained("resnet19", 5)
    with pytest.raises(ValueError, match="images in colour"):
        Pretrained("resnet18", 5, shape=[1, 28, 28])


@pytest.mark.parametrize(
    ("name", "old"),
    [
        ("mobilenet_v2", "backbone.0.0.weight"),
        ("squeezenet1_1", "backbone.0.weight"),
        ("resnet18", "backbone.conv1.weight"),
    ],
)
def test_a_run_of_the_first_version_is_loaded(name: str, old: str) -> None:
    """Its backbone was MobileNetV2's or SqueezeNet's `features` itself, and ResNet without its last two parts."""
    net = Pretrained(name, 5)
    saved = {
        key.replace("backbone.features.", "backbone.") if name == "mobilenet_v2" else key: torch.rand_like(
            v.float()
        ).to(v.dtype)
        for key, v in net.state_dict().items()
    }
    assert old in saved and "head.1.weight" in saved
    net.load_state_dict(saved)
    assert torch.equal(net.first_layer.weight, saved[old])


def test_regnet_loads_its_weights_and_draws_no_random_numbers() -> None:
    net, state = Pretrained("regnet_y_400mf", 5), create_network("regnet_y_400mf").state_dict()
    before = torch.get_rng_state()
    net.load_backbone(state)
    assert torch.equal(net.first_layer.weight, state["stem.0.weight"])
    assert torch.equal(torch.get_rng_state(), before)
