"""Every file of conf/ composes, builds and trains."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from dlcourse import runs
from dlcourse.config.search import conf_dir, groups
from dlcourse.core.errors import InputError
from dlcourse.launch.jobs import LOGGERS, is_installed

Config = Callable[..., dict[str, Any]]
Train = Callable[..., Path]

FAST = ("trainer=smoke", "trainer.max_epochs=1", "trainer.figures=false", "data.batch_size=8", "data.eval_batch_size=8")
PHOTOS = ("data=flowers17", "data.size=32", "model.weights=none")
NEEDS = {
    "data=cifar10": ("model=linear",),
    "data=flowers17": ("model=linear", "data.size=32"),
    "data=folder": ("model=linear", "data.source=auto"),
    "data=functions": ("model=regression",),
    "data=hf": ("model=linear", "data.source=auto"),
    "data=mnist": ("model=linear",),
    "data=mnist5": ("model=linear",),
    "data=nist36": ("model=linear",),
    "data=sun": ("model=linear", "data.size=32"),
    "model=finetune": PHOTOS,
    "model=mobilenet_v2": PHOTOS,
    "model=toy_convnet": ("data=functions",),
    "model=squeezenet": PHOTOS,
    "model=resnet18": PHOTOS,
    "trainer=ddp": ("trainer.accelerator=cpu", "trainer.devices=1", "trainer.strategy=auto"),
    "experiment=cmu/q6_1_3_cifar": ("data.resize=32", "model.weights=none"),
    "experiment=cmu/q6_1_4_sun": ("data.size=32", "model.weights=none"),
    "experiment=cmu/q6_1_4_sun_head": ("data.size=32", "model.weights=none"),
    "experiment=cmu/q6_2_flowers_squeezenet": ("data.size=32", "model.weights=none"),
    "experiment=cmu/q6_2_flowers_squeezenet_head": ("data.size=32", "model.weights=none"),
    "experiment=cmu/q6_2_flowers_custom": ("data.size=64", "model.net.hidden=[8]"),
    "experiment=cmu/q6_2_flowers_custom_augmented": ("data.size=32",),
}
CHOICES = [f"{group}={choice}" for group, choices in groups().items() for choice in choices]


@pytest.mark.parametrize("choice", [c for c in CHOICES if c != "trainer=gpu"])
def test_every_choice_trains(choice: str, train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    group, _, name = choice.partition("=")
    if group == "logger" and name in LOGGERS.values() and not is_installed(name):
        pytest.skip(f"{name} is not installed: pip install 'dlcourse[{name}]'")
    monkeypatch.setenv("WANDB_MODE", "offline")
    overrides = [choice, *NEEDS.get(choice, ())]
    given = {o.split("=")[0] for o in overrides}
    overrides += [o for o in FAST if o.split("=")[0] not in given]
    if "model" not in given and not choice.startswith("experiment"):
        overrides.append("model=linear")
    if choice in ("data=folder", "data=hf"):
        for name in ("cat", "dog"):
            (tmp_path / "photos" / name).mkdir(parents=True)
            for i in range(20):
                Image.new("RGB", (20, 20), (12 * i, 0, 99)).save(tmp_path / "photos" / name / f"{i}.png")
        overrides.append(f"data.{'root' if choice == 'data=folder' else 'name'}={tmp_path / 'photos'}")
    result = runs.read_result(train(*overrides))
    assert result["status"] == "done"
    assert result["epochs"] == 1
    assert result["monitor"] in result["metrics"]
    assert result["metrics"]["test/loss"] > 0


def test_gpu_without_a_gpu_is_one_sentence(train: Train) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a GPU here")
    with pytest.raises(InputError, match="no CUDA GPU here; trainer=cpu"):
        train("trainer=gpu", "trainer.accelerator=gpu", "model=linear")


def test_every_choice_says_what_it_is() -> None:
    silent = [
        p
        for p in sorted(conf_dir().rglob("*.yaml"))
        if not p.read_text().replace("# @package _global_\n", "").startswith("# ")
    ]
    assert silent == []


def test_numbers_are_numbers(config: Config) -> None:
    """`1e-3` is a text in YAML 1.1: none of the values that look like numbers is one."""
    from dlcourse.config.identity import flatten

    for choice in CHOICES:
        if choice in ("data=folder", "data=hf"):
            continue
        for key, value in flatten(config(choice)).items():
            if isinstance(value, str):
                with pytest.raises(ValueError, match="could not convert"):
                    float(value)
                    pytest.fail(f"{choice}: {key} is the text {value!r}")


def test_sizes_flow_from_the_data_to_the_network(config: Config) -> None:
    plain = config("model=cnn", "data=cifar10", "data.classes_kept=[cat,dog]", "data.resize=64")
    assert plain["model"]["net"]["shape"] == [3, 64, 64]
    assert plain["model"]["net"]["classes"] == plain["model"]["classes"] == 2
    assert (
        config("model=mlp", "model.loss=binary_cross_entropy", "data.classes_kept=[2,3]")["model"]["net"]["outputs"]
        == 1
    )


def test_a_preset_wins_over_the_groups_and_the_command_line_over_the_preset(config: Config) -> None:
    plain = config("experiment=cmu/q6_1_2_cnn")
    assert (plain["optimizer"]["lr"], plain["optimizer"]["momentum"], plain["data"]["shuffle"]) == (0.01, 0.9, "once")
    assert config("experiment=cmu/q6_1_2_cnn", "optimizer.lr=0.5")["optimizer"]["lr"] == 0.5


@pytest.mark.parametrize(
    ("experiment", "parameters"),
    [
        ("huji/mnist_convnet", 9 * 32 + 32 + 9 * 32 * 64 + 64 + 12 * 12 * 64 * 128 + 128 + 1290),
        ("huji/mnist_convnet_dropout", 9 * 32 + 32 + 9 * 32 * 64 + 64 + 12 * 12 * 64 * 128 + 128 + 1290),
        ("cmu/q6_1_2_cnn", 520 + 25050 + 1250 * 512 + 512 + 512 * 36 + 36),
    ],
)
def test_the_course_convnets(experiment: str, parameters: int, config: Config) -> None:
    """The layers that the reports name, counted."""
    from dlcourse.training.loading import build_task

    task = build_task(config(f"experiment={experiment}"))
    assert sum(p.numel() for p in task.parameters()) == parameters
