"""How fast is an epoch? This code, the same network in stock Lightning, and a bare loop, side by side in one process.

    python benchmarks/speed.py [rounds=3] [out=docs/benchmarks.md]

MNIST (55,000 to train, 5,000 to validate), 784-64-128-64-10 with batch norm, Adam, batch 128; then batch 1, on 2,000
images and without batch norm. An epoch is training and validation, with metrics, a progress line, TensorBoard and a
checkpoint, except in the bare loop, which only trains and validates. The contestants take turns; the table has the
median of the rounds.
Needs MNIST's own files: $DLCOURSE_DATA/mnist, or a network.
"""

import gzip
import io
import logging
import platform
import statistics
import sys
import tempfile
import time
import warnings
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import lightning as L
import torch
import torch.nn.functional as F
from hydra import compose, initialize_config_dir
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import TensorBoardLogger
from torch import Tensor, nn
from torch.utils.data import DataLoader, Subset
from torchmetrics import MeanMetric
from torchmetrics.classification import MulticlassAccuracy
from torchvision import transforms
from torchvision.datasets import MNIST

from dlcourse.callbacks import Progress
from dlcourse.config.search import conf_dir
from dlcourse.core import cli
from dlcourse.launch.compose import resolve
from dlcourse.nets import MLP
from dlcourse.training import loading, setup


def net(batch_size: int) -> nn.Module:
    return MLP([1, 28, 28], 10, [64, 128, 64], batch_norm=batch_size > 1)


class Stock(L.LightningModule):
    """The pattern of most templates: metric objects logged at each step."""

    def __init__(self, batch_size: int) -> None:
        super().__init__()
        self.net = net(batch_size)
        self.metrics = nn.ModuleDict(
            {f"{s}_{m}": metric for s in ("train", "val")
             for m, metric in (("loss", MeanMetric()), ("acc", MulticlassAccuracy(10, average="micro")))}
        )  # fmt: skip

    def _step(self, batch: tuple[Tensor, Tensor], stage: str) -> Tensor:
        x, y = batch
        logits = self.net(x)
        loss = F.cross_entropy(logits, y)
        self.metrics[f"{stage}_loss"](loss)
        self.metrics[f"{stage}_acc"](logits.argmax(1), y)
        for name in ("loss", "acc"):
            metric = self.metrics[f"{stage}_{name}"]
            self.log(f"{stage}/{name}", metric, on_step=False, on_epoch=True, prog_bar=True)  # type: ignore[arg-type]
        return loss

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return self._step(batch, "train")

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self._step(batch, "val")

    def configure_optimizers(self) -> Any:
        return torch.optim.Adam(self.parameters(), lr=1e-3)


def stock(folder: Path, batch_size: int, limit: int | None, epochs: int) -> float:
    """Seconds an epoch in stock Lightning with torchvision's MNIST, an image at a time."""
    steps = transforms.Compose([transforms.ToTensor(), transforms.Normalize((0.1307,), (0.3081,))])
    data = MNIST(str(folder), train=True, transform=steps)
    train = DataLoader(Subset(data, range(limit or 55000)), batch_size, shuffle=True)
    val = DataLoader(Subset(data, range(55000, 60000)), 1000)
    with tempfile.TemporaryDirectory() as out:
        trainer = L.Trainer(
            max_epochs=epochs,
            accelerator="cpu",
            logger=TensorBoardLogger(out),
            callbacks=[ModelCheckpoint(out, monitor="val/acc", mode="max", save_last=True)],
            enable_model_summary=False,
            num_sanity_val_steps=0,
        )
        began = time.perf_counter()
        trainer.fit(Stock(batch_size), train, val)
        return (time.perf_counter() - began) / epochs


def config(batch_size: int, limit: int | None, epochs: int) -> dict[str, Any]:
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        choices = ["model=mlp", "model.net.hidden=[64,128,64]", "data=mnist", "data.source=real", "trainer=cpu"]
        choices += [f"model.net.batch_norm={batch_size > 1}", f"data.batch_size={batch_size}"]
        choices += [
            f"data.limit={limit or 'null'}",
            f"trainer.max_epochs={epochs}",
            "trainer.figures=false",
            "trainer.progress=false",
        ]
        return resolve(compose("train", choices))


def ours(batch_size: int, limit: int | None, epochs: int) -> float:
    """Seconds an epoch in this code, everything on."""
    with tempfile.TemporaryDirectory() as out:
        task, data, trainer, _ = setup.assemble(config(batch_size, limit, epochs), Path(out))
        trainer.callbacks.insert(0, Progress())  # type: ignore[attr-defined]  # as on a terminal
        data.prepare()
        began = time.perf_counter()
        trainer.fit(task, datamodule=data)
        return (time.perf_counter() - began) / epochs


def bare(batch_size: int, limit: int | None, epochs: int) -> float:
    """Seconds an epoch of a loop over the same tensors."""
    data = loading.build_data(config(batch_size, limit, epochs))
    data.prepare()
    (x, y), (vx, vy) = (data.splits[s].all() for s in ("train", "val"))
    model = net(batch_size)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, fused=True)
    began = time.perf_counter()
    for _ in range(epochs):
        model.train()
        for index in torch.randperm(len(y)).split(batch_size):
            images = x.index_select(0, index).float().mul_(1 / 255)
            loss = F.cross_entropy(model(images), y.index_select(0, index))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        model.eval()
        with torch.no_grad():
            for index in torch.arange(len(vy)).split(1000):
                model(vx[index].float().mul_(1 / 255)).argmax(1).eq(vy[index]).sum()
    return (time.perf_counter() - began) / epochs


def unpacked(folder: Path) -> Path:
    """MNIST's training files as torchvision wants them: MNIST/raw/*, not compressed."""
    data = loading.build_data(config(128, None, 1))
    data.prepare()
    assert data.provenance is not None
    raw = folder / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for path in Path(str(data.provenance.root)).rglob("*-ubyte*"):
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        (raw / path.name.removesuffix(".gz")).write_bytes(content)
    return folder


def main(argv: list[str]) -> None:
    given = cli.parse_arguments(argv, __doc__ or "", (), ("rounds", "out"))
    rounds = int(given.get("rounds", "3"))
    warnings.filterwarnings("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    setup.quiet()
    lines = []
    with tempfile.TemporaryDirectory() as folder:
        mnist = unpacked(Path(folder))
        for batch_size, limit, epochs in ((128, None, 4), (1, 2000, 2)):
            seconds: dict[str, list[float]] = {"stock": [], "ours": [], "bare": []}
            for i in range(rounds + 1):
                for name in seconds:
                    arguments = (batch_size, limit, epochs if i else 1)
                    with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
                        took = stock(mnist, *arguments) if name == "stock" else globals()[name](*arguments)
                    if i:  # the first round only warms up
                        seconds[name].append(took)
                    print(f"batch {batch_size}, round {i}, {name}: {took:.3f} s an epoch", file=sys.stderr)
            median = {name: statistics.median(values) for name, values in seconds.items()}
            for name, title in (("stock", "stock Lightning, torchvision"), ("ours", "dlcourse"), ("bare", "bare loop")):
                spread = f"{min(seconds[name]):.2f}–{max(seconds[name]):.2f}"
                lines.append(
                    f"| {batch_size} | {limit or 55000:,} | {title} | {median[name]:.2f} ({spread}) "
                    f"| {median['stock'] / median[name]:.1f}× | {median[name] / median['bare']:.2f}× |"
                )
    head = [
        "| batch | images | | s an epoch, median (range) | faster than stock | of the bare loop's time |",
        "|---|---|---|---|---|---|",
    ]
    machine = (
        f"{platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}, lightning {L.__version__}"
    )
    text = "\n".join([*head, *lines, "", f"{rounds} rounds, {machine}."])
    print(text)
    if "out" in given:
        Path(given["out"]).write_text(text + "\n")


if __name__ == "__main__":
    cli.run_command(main)
