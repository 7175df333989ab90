"""`_target_` makes objects of the classes that belong there, and runs nothing else."""

from typing import Any

import pytest
import torch
from lightning.pytorch import Callback
from lightning.pytorch.loggers import Logger
from torch import nn
from torch.optim import Optimizer

from dlcourse.config.instantiate import build, locate
from dlcourse.core.errors import InputError
from dlcourse.nets import MLP
from dlcourse.tasks import Task


def test_what_belongs_there_is_built() -> None:
    net = build({"_target_": "dlcourse.nets.MLP", "inputs": [4], "outputs": 2, "hidden": [3]}, nn.Module, "model.net")
    assert isinstance(net, MLP)
    optimizer = build({"_target_": "torch.optim.SGD", "lr": 0.5}, Optimizer, "optimizer", net.parameters())
    assert optimizer.param_groups[0]["lr"] == 0.5


@pytest.mark.parametrize(
    "target",
    [
        "os.system", "builtins.eval", "builtins.exec", "subprocess.Popen", "torch.serialization.os.system",
        "torch.os.system", "torch.load", "torch.hub.load", "torch.utils.cpp_extension.load", "torch.nn.Linear.forward",
        "torch.nn", "torch..optim", "torch.", "torch", ".", "", "lightning.pytorch.Trainer", "lightning.nothing.at.all",
        "dlcourse.runs.subprocess.run", "dlcourse.train.main", None, 5, ["torch.optim.Adam"], {"a": 1},
    ],
)  # fmt: skip
@pytest.mark.parametrize("kind", [Task, nn.Module, Optimizer, Callback, Logger])
def test_what_does_not_is_refused(target: Any, kind: type) -> None:
    with pytest.raises(InputError, match=r"place\._target_="):
        locate(target, kind, "place")


def test_a_class_of_another_kind_is_refused() -> None:
    for target, kind in [
        ("torch.optim.SGD", nn.Module),
        ("torch.nn.Linear", Optimizer),
        ("dlcourse.nets.MLP", Task),
        ("lightning.pytorch.callbacks.Timer", Logger),
    ]:
        with pytest.raises(InputError, match=f"only {kind.__name__} classes"):
            locate(target, kind, "place")


def test_a_target_inside_an_argument_stays_a_value() -> None:
    spec = {"_target_": "torch.optim.SGD", "lr": {"_target_": "os.system", "command": "false"}}
    with pytest.raises(InputError):
        build(spec, Optimizer, "optimizer", [torch.zeros(1, requires_grad=True)])


@pytest.mark.parametrize(
    ("spec", "part"),
    [
        ({"_target_": "torch.optim.SGD", "lr": 0.1, "foo": 1}, "unexpected keyword argument 'foo'"),
        ({"_target_": "torch.optim.SGD", "lr": 0.1, "params": 1}, "multiple values for argument 'params'"),
        ({"_target_": "torch.optim.Adam", "betas": [5, 6]}, "beta"),
        ({"_target_": "torch.optim.Adam", "lr": "fast"}, "optimizer: "),
        ({"_target_": "torch.optim.SGD", "lr": 0.1, "fused": True, "foreach": True}, "fused"),
        ({"_target_": "torch.optim.Optimizer"}, "defaults"),
    ],
)
def test_arguments_that_do_not_fit_are_one_sentence(spec: dict[str, Any], part: str) -> None:
    with pytest.raises(InputError, match=part) as raised:
        build(spec, Optimizer, "optimizer", [torch.zeros(1, requires_grad=True)])
    assert "\n" not in str(raised.value)
