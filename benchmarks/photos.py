"""How many photos a second does MobileNetV2 train on? This code, everything on, and a bare loop.

    python benchmarks/photos.py [rounds=5] [trainer=gpu] [size=64] [photos=512] [precision=32] [out=FILE]

All layers are trained, with SGD, batch 32 on a CPU and 128 on a GPU, random weights, photos of flowers17 at `size`
pixels. The bare loop has channels-last photos and autocasts where the precision is bf16-mixed.
A GPU wants size=224 precision=bf16-mixed photos=1360.
"""

import tempfile
import time
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from rounds import alternate, cell, config, ratio, run, show

from dlcourse.training import loading, setup
from dlcourse.training.fit import choose_stepping


def ours(plain: dict[str, Any]) -> float:
    """Photos a second of an epoch of training, without validation."""
    with tempfile.TemporaryDirectory() as out:
        task, data, trainer, _ = setup.assemble(plain, Path(out))
        data.prepare()
        choose_stepping(trainer, task, data, "auto")
        began = time.perf_counter()
        trainer.fit(task, datamodule=data)
        return len(data.splits["train"]) / (time.perf_counter() - began)


def bare(plain: dict[str, Any]) -> float:
    task, data = loading.build_task(plain), loading.build_data(plain)
    data.prepare()
    device = torch.device("cuda" if plain["trainer"]["accelerator"] == "gpu" else "cpu")
    net = task.net.to(device).to(memory_format=torch.channels_last)
    x, y = (part.to(device) for part in data.splits["train"].all())
    optimizer = torch.optim.SGD(net.parameters(), lr=0.01, momentum=0.9, fused=True)
    autocast = plain["trainer"]["precision"] == "bf16-mixed"
    began = time.perf_counter()
    for index in torch.randperm(len(y), device=device).split(plain["data"]["batch_size"]):
        images = x[index].float().mul_(1 / 255).to(memory_format=torch.channels_last)
        with torch.autocast(device.type, torch.bfloat16, enabled=autocast):
            loss = F.cross_entropy(net(images), y[index])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return len(y) / (time.perf_counter() - began)


def main(given: dict[str, str]) -> None:
    rounds, trainer = int(given.get("rounds", "5")), given.get("trainer", "cpu")
    size, photos, precision = (
        given.get(key, default) for key, default in (("size", "64"), ("photos", "512"), ("precision", "32"))
    )
    plain = config(f"trainer={trainer}", f"trainer.precision={precision}", "data=flowers17", f"data.size={size}",
                   f"data.limit={photos}", f"data.batch_size={128 if trainer == 'gpu' else 32}", "model=mobilenet_v2",
                   "model.weights=none", "model.train=all", "optimizer=sgd", "trainer.max_epochs=1",
                   "trainer.check_val_every_n_epoch=2", "model.monitor=train/loss")  # fmt: skip
    measured = alternate("photos", {"dlcourse": lambda: ours(plain), "bare loop": lambda: bare(plain)}, rounds)
    rows = [
        [f"{size}×{size}", precision, name, cell(values, 0), ratio(values, measured["bare loop"])]
        for name, values in measured.items()
    ]
    show(["photos", "precision", "", "a second, median (range)", "of the bare loop's"], rows, rounds, given.get("out"))


if __name__ == "__main__":
    run(main, __doc__, "trainer", "size", "photos", "precision")
