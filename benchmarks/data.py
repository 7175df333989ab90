"""How fast do data come? Reading them the first time, from the cache, and augmenting them, against torchvision.

    python benchmarks/data.py [rounds=5] [out=FILE]

First and cached reading: what `python -m dlcourse.train` waits for before its first step. Augmentation: 512 photos at
64 pixels, the same changes image by image in torchvision's v2 transforms and here a batch of 128 at a time.
Needs $DLCOURSE_DATA with mnist, cifar10 and flowers17.
"""

import os
import tempfile
import time

import torch
from rounds import Contestants, alternate, cell, config, ratio, run, show
from torch import Generator
from torchvision.transforms import v2

from dlcourse.data.augment import Augment
from dlcourse.training import loading

SETS = {"mnist": [], "cifar10": [], "flowers17": ["data.resize=64"]}


def prepare(name: str, cache: str) -> float:
    """Seconds until a data set is in memory."""
    before, os.environ["DLCOURSE_CACHE"] = os.environ.get("DLCOURSE_CACHE"), cache
    try:
        data = loading.build_data(config("model=mlp", f"data={name}", "data.source=real", *SETS[name]))
        began = time.perf_counter()
        data.prepare()
        return time.perf_counter() - began
    finally:
        del os.environ["DLCOURSE_CACHE"]
        if before is not None:
            os.environ["DLCOURSE_CACHE"] = before


def first(name: str) -> float:
    with tempfile.TemporaryDirectory() as cache:
        return prepare(name, cache)


def torchvision_augments(photos: torch.Tensor) -> float:
    steps = v2.Compose(
        [
            v2.RandomHorizontalFlip(),
            v2.RandomAffine(10, translate=(0.1, 0.1), scale=(0.9, 1.1), interpolation=v2.InterpolationMode.BILINEAR),
            v2.ToDtype(torch.float32, scale=True),
            v2.ColorJitter(0.2, 0.2, 0.2),
        ]
    )
    began = time.perf_counter()
    for batch in photos.split(128):
        torch.stack([steps(photo) for photo in batch])
    return time.perf_counter() - began


def ours_augments(photos: torch.Tensor) -> float:
    augment = Augment(flip=True, rotate=10, shift=0.1, scale=0.1, brightness=0.2, contrast=0.2, saturation=0.2)
    generator = Generator().manual_seed(0)
    began = time.perf_counter()
    for batch in photos.split(128):
        augment(batch.float().mul_(1 / 255), generator)
    return time.perf_counter() - began


def main(given: dict[str, str]) -> None:
    rounds = int(given.get("rounds", "5"))
    rows = []
    for name in SETS:
        with tempfile.TemporaryDirectory() as cache:
            prepare(name, cache)
            contestants: Contestants = {
                "first": lambda name=name: first(name),  # type: ignore[misc]
                "cached": lambda name=name, cache=cache: prepare(name, cache),  # type: ignore[misc]
            }
            seconds = alternate(name, contestants, rounds, warm=False)
        rows += [[name, "read the first time", cell(seconds["first"], 3), "1.00×"]]
        rows += [[name, "from the cache", cell(seconds["cached"], 3), ratio(seconds["first"], seconds["cached"])]]
    photos = torch.randint(0, 256, (512, 3, 64, 64), dtype=torch.uint8)
    seconds = alternate(
        "augmentation",
        {"torchvision": lambda: torchvision_augments(photos), "here": lambda: ours_augments(photos)},
        rounds,
    )
    rows += [["512 photos", "torchvision, image by image", cell(seconds["torchvision"], 3), "1.00×"]]
    rows += [
        ["512 photos", "a batch at a time", cell(seconds["here"], 3), ratio(seconds["torchvision"], seconds["here"])]
    ]
    show(["data", "", "s, median (range)", "faster"], rows, rounds, given.get("out"))


if __name__ == "__main__":
    run(main, __doc__)
