"""How fast is an epoch? This code, with its own loop and with Lightning's, stock Lightning, and a bare loop.

    python benchmarks/steps.py [rounds=5] [trainer=gpu] [out=FILE]

MNIST, Adam. An epoch is training and validation on 5,000 images (none with one step an epoch), with metrics, a progress
line, TensorBoard and checkpoints, except in the bare loop, which only trains and validates, over the same tensors.
Needs MNIST's own files: $DLCOURSE_DATA/mnist, or a network.
"""

import gzip
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning as L
import torch
import torch.nn.functional as F
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import TensorBoardLogger
from rounds import Contestants, alternate, cell, config, ratio, run, show
from torch import Tensor, nn
from torch.utils.data import DataLoader, Subset
from torchmetrics import MeanMetric
from torchmetrics.classification import MulticlassAccuracy
from torchvision import transforms
from torchvision.datasets import MNIST

from dlcourse.callbacks import Progress
from dlcourse.nets import MLP
from dlcourse.training import loading, setup
from dlcourse.training.fit import choose_stepping

MODELS = {
    "MLP 784-64-128-64-10": ["model=mlp", "model.net.hidden=[64,128,64]"],
    "CNN of CMU 16-720": ["model=cnn"],
    "autoencoder 784-256-64": ["model=autoencoder", "model.net.widths=[256,64]"],
}
CASES = (  # network, batch size, images, epochs in a measurement
    ("MLP 784-64-128-64-10", 128, 55000, 3),
    ("MLP 784-64-128-64-10", 32, 20000, 3),
    ("MLP 784-64-128-64-10", 1, 2000, 2),
    ("MLP 784-64-128-64-10", "all", 10000, 30),
    ("CNN of CMU 16-720", 128, 5000, 1),
    ("CNN of CMU 16-720", 32, 2000, 1),
    ("autoencoder 784-256-64", 128, 20000, 2),
    ("autoencoder 784-256-64", 32, 10000, 2),
)
STOCK = CASES[0], CASES[2]  # the others would take hours


class Stock(L.LightningModule):
    """The pattern of most templates: metric objects logged at each step."""

    def __init__(self, batch_norm: bool) -> None:
        super().__init__()
        self.net = MLP([1, 28, 28], 10, [64, 128, 64], batch_norm=batch_norm)
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


def stock(plain: dict[str, Any], mnist: Path) -> float:
    """Seconds an epoch in stock Lightning with torchvision's MNIST, an image at a time."""
    steps = transforms.Compose([transforms.ToTensor(), transforms.Normalize((0.1307,), (0.3081,))])
    images = MNIST(str(mnist), train=True, transform=steps)
    train = DataLoader(Subset(images, range(plain["data"]["limit"])), plain["data"]["batch_size"], shuffle=True)
    val = DataLoader(Subset(images, range(55000, 60000)), 1000)
    epochs = plain["trainer"]["max_epochs"]
    with tempfile.TemporaryDirectory() as out:
        trainer = L.Trainer(
            max_epochs=epochs,
            accelerator=plain["trainer"]["accelerator"],
            logger=TensorBoardLogger(out),
            callbacks=[ModelCheckpoint(out, monitor="val/acc", mode="max", save_last=True)],
            enable_model_summary=False,
            num_sanity_val_steps=0,
        )
        began = time.perf_counter()
        trainer.fit(Stock(plain["model"]["net"]["batch_norm"]), train, val)
        return (time.perf_counter() - began) / epochs


def ours(plain: dict[str, Any], stepping: str) -> float:
    """Seconds an epoch in this code, everything on."""
    with tempfile.TemporaryDirectory() as out:
        task, data, trainer, _ = setup.assemble(plain, Path(out))
        trainer.callbacks.insert(0, Progress())  # type: ignore[attr-defined]  # as on a terminal
        data.prepare()
        choose_stepping(trainer, task, data, stepping)
        began = time.perf_counter()
        trainer.fit(task, datamodule=data)
        return (time.perf_counter() - began) / trainer.max_epochs  # type: ignore[operator]


def bare(plain: dict[str, Any]) -> float:
    """Seconds an epoch of a loop over the same tensors."""
    task, data = loading.build_task(plain), loading.build_data(plain)
    data.prepare()
    device = torch.device("cuda" if plain["trainer"]["accelerator"] == "gpu" else "cpu")
    model = task.net.to(device)
    (x, y), (vx, vy) = (tuple(t.to(device) for t in data.splits[s].all()) for s in ("train", "val"))
    whole = x.float().mul_(1 / 255) if data.batch_size == "all" else None  # as anybody would, where it is all there is
    loss_of: Callable[[Tensor, Tensor, Tensor], Tensor] = (
        (lambda out, x, y: F.mse_loss(out, x))
        if plain["model"]["name"] == "autoencoder"
        else (lambda out, x, y: F.cross_entropy(out, y))
    )
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, fused=True)
    epochs, every = plain["trainer"]["max_epochs"], plain["trainer"]["check_val_every_n_epoch"]
    began = time.perf_counter()
    for epoch in range(epochs):
        model.train()
        order = torch.randperm(len(y), device=device)
        for index in order.split(len(y) if data.batch_size == "all" else int(data.batch_size)):
            images = x.index_select(0, index).float().mul_(1 / 255) if whole is None else whole
            loss = loss_of(model(images), images, y.index_select(0, index) if whole is None else y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        if (epoch + 1) % every == 0:
            model.eval()
            with torch.no_grad():
                for images, labels in zip(vx.split(1000), vy.split(1000), strict=True):
                    loss_of(model(images.float().mul_(1 / 255)), images, labels).item()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return (time.perf_counter() - began) / epochs


def unpacked(folder: Path) -> Path:
    """MNIST's training files as torchvision wants them: MNIST/raw/*, not compressed."""
    data = loading.build_data(config("model=mlp", "data=mnist", "data.source=real"))
    data.prepare()
    assert data.provenance is not None
    raw = folder / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for path in Path(str(data.provenance.root)).rglob("*-ubyte*"):
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        (raw / path.name.removesuffix(".gz")).write_bytes(content)
    return folder


def main(given: dict[str, str]) -> None:
    rounds = int(given.get("rounds", "5"))
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        mnist = unpacked(Path(folder))
        for case in CASES:
            model, size, images, epochs = case
            words = [f"data.batch_size={size}", f"data.limit={images}", f"trainer.max_epochs={epochs}"]
            if model.startswith("MLP"):
                words.append(f"model.net.batch_norm={str(size != 1).lower()}")
            if size == "all":
                words += ["data.shuffle=false", f"trainer.check_val_every_n_epoch={epochs + 1}"]
            trainer = f"trainer={given.get('trainer', 'cpu')}"
            plain = config(*MODELS[model], "data=mnist", "data.source=real", trainer, *words)
            contestants: Contestants = {
                "stock Lightning, torchvision": lambda plain=plain: stock(plain, mnist),  # type: ignore[misc]
                "dlcourse, Lightning's loop": lambda plain=plain: ours(plain, "lightning"),  # type: ignore[misc]
                "dlcourse": lambda plain=plain: ours(plain, "auto"),  # type: ignore[misc]
                "bare loop": lambda plain=plain: bare(plain),  # type: ignore[misc]
            }
            if case not in STOCK:
                del contestants["stock Lightning, torchvision"]
            seconds = alternate(f"{model}, batch {size}", contestants, rounds)
            for name, values in seconds.items():
                of_bare = ratio(values, seconds["bare loop"])
                rows.append([model, str(size), f"{images:,}", name, cell(values, 3), of_bare])
    head = ["network", "batch", "images", "", "s an epoch, median (range)", "of the bare loop's time"]
    show(head, rows, rounds, given.get("out"))


if __name__ == "__main__":
    run(main, __doc__, "trainer")
