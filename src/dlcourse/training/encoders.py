"""Encoders for `data=codes`: networks of runs, ImageNet networks, PCA; and what a frozen backbone gives, kept."""

import hashlib
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dlcourse import runs
from dlcourse.config.identity import config_hash
from dlcourse.core.errors import InputError
from dlcourse.data.encoded import Encoder
from dlcourse.data.module import DataModule
from dlcourse.data.splitting import SPLITS
from dlcourse.data.tensors import Examples, Tensors
from dlcourse.nets import Autoencoder, Pretrained, find_weights, read_weights
from dlcourse.runs import find_encoder_run
from dlcourse.tasks import Finetune, Task

FITTED = "encoder.pt"  # in a run's directory: what its encoder has learnt of its training examples

Opened = Callable[[Path], tuple[Task, DataModule]]


def find_encoder(plain: dict[str, Any], run: Path | None, opened: Opened) -> Encoder | None:
    """What encodes the data of a config; None where they are not encoded.

    run: the directory of the run whose data they are: what was fitted for it is there. opened: gives the task of a run
    that encodes, and its data, not read. Raises InputError where that run is gone.
    """
    given, device = plain["data"].get("encoder"), device_for(plain)
    if given is None:
        return None
    word, _, what = given.partition(":")
    if word == "pca":
        return PCA(int(what), plain["data"]["resize"], run)
    if word == "imagenet":
        return imagenet(what, plain["data"]["resize"], device)
    if not Path(given).is_dir():
        raise InputError(f"data.encoder={given}: the data are codes by the run that was there, and there is none now")
    encoder = find_encoder_run(given)
    assert encoder is not None
    return trained(encoder, *opened(encoder), device)


def trained(run: Path, task: Task, data: DataModule, device: torch.device) -> Encoder:
    """The code of a run's autoencoder, or what the last layer of its network sees."""
    plain, result = runs.read_config(run), runs.read_result(run)
    net = task.net.to(device).eval().requires_grad_(False)
    code = net.encode if isinstance(net, Autoencoder) else partial(last_inputs, net)
    dtype, shape = next(net.parameters()).dtype, result["data"]["stored_shape"]

    def function(x: Tensor) -> Tensor:
        if list(x.shape[1:]) != shape:
            raise InputError(f"data.encoder={run} is for images {shape}, those of data.of are {list(x.shape[1:])}")
        x = x if data.encoder is None else data.encoder(x)
        codes: Tensor = code(data.transform(x.to(device)).to(dtype))
        return codes.float().cpu()

    name = config_hash(plain)
    sha256 = file_hash(runs.checkpoint_path(run))
    inner = data.encoder.mark if data.encoder else ""
    weights = result.get("weights") or {}
    comparable = bool(result["data"]["comparable"]) and (not weights.get("file") or weights["published"])
    return Encoder(
        function, f"the {plain['model']['name']} of run {name}", f"{name} {sha256} {inner}",
        {f"{runs.BEST} of run {name}": sha256}, comparable, name,
    )  # fmt: skip


def imagenet(name: str, resize: int | None, device: torch.device) -> Encoder:
    """What the last layer of a network with ImageNet weights sees."""
    path, about = find_weights(name, "imagenet")
    assert path is not None
    net = Pretrained(name, classes=1)
    net.load_backbone(read_weights(path))
    net.to(device).eval().requires_grad_(False)
    images = DataModule("images", normalize="imagenet", resize=resize)

    def function(x: Tensor) -> Tensor:
        if x.shape[1] != 3:
            raise InputError(f"data.encoder=imagenet:{name} is for colour images, those of data.of are grey")
        return last_inputs(net, images.transform(x.to(device))).cpu()

    mark = f"imagenet {name} {about['sha256']} {resize}"
    return Encoder(function, f"{name} with ImageNet weights", mark, {path.name: about["sha256"]}, about["published"])


def last_inputs(net: nn.Module, x: Tensor) -> Tensor:
    """What the last layer with weights is given for images x: [B, D]; of maps, the means over their places."""
    last = [layer for layer in net.modules() if isinstance(layer, nn.Linear | nn.Conv2d)][-1]
    seen: list[Tensor] = []
    hook = last.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    try:
        net(x)
    finally:
        hook.remove()
    return seen[0].mean((2, 3)) if seen[0].dim() == 4 else seen[0]


class PCA(Encoder):
    """The first k principal components of the training examples (pixels in [0, 1]): codes are centred, in their order.

    run: the directory of a run that has fitted it already, or will.
    """

    def __init__(self, k: int, resize: int | None, run: Path | None = None) -> None:
        super().__init__(self.project, f"PCA with {k} components", f"pca {k}")
        self.k, self.images = k, DataModule("images", resize=resize)
        self.learnt: dict[str, Tensor] = {}
        if run is not None and (run / FITTED).is_file():
            self.learnt = read_weights(run / FITTED)
            self.mark = tensors_hash(self.learnt.values())

    def fit(self, train: Examples) -> None:
        if self.learnt:
            return
        from sklearn import decomposition  # here, because it takes a second to import

        x = torch.cat([self.pixels(train.__getitems__(batch)[0]) for batch in torch.arange(len(train)).split(1000)])
        if self.k > min(x.shape):
            raise InputError(
                f"data.encoder=pca:{self.k}: {x.shape[0]} training examples of {x.shape[1]} numbers have no more than "
                f"{min(x.shape)} components"
            )
        pca = decomposition.PCA(self.k, random_state=0).fit(x.numpy())
        self.learnt = {"mean": torch.from_numpy(pca.mean_), "components": torch.from_numpy(pca.components_)}
        self.mark = tensors_hash(self.learnt.values())

    def save(self, path: Path) -> None:
        torch.save(self.learnt, path)

    def pixels(self, x: Tensor) -> Tensor:
        return self.images.transform(x).flatten(1)

    def project(self, x: Tensor) -> Tensor:
        """Stored examples -> codes [B, k]."""
        return (self.pixels(x) - self.learnt["mean"]) @ self.learnt["components"].T


# --- a frozen backbone's features ------------------------------------------------------------------------------------


def keep_features(task: Task, data: DataModule, plain: dict[str, Any], splits: Sequence[str] = SPLITS) -> bool:
    """Let a frozen backbone see each image once: from now on the head is trained and tested on what it gave then.

    Returns whether that was done: not where the backbone is trained too, where images are augmented, where they are
    read as they are needed, and where the features take more than data.memory_limit.
    """
    if not (isinstance(task, Finetune) and task.plan == "head" and task.cache_features) or data.augment:
        return False
    if not (isinstance(task.net, Pretrained) and all(isinstance(e.store, Tensors) for e in data.stored.values())):
        return False
    device, net, training = device_for(plain), task.net, task.training
    net.to(device)
    task.eval()
    dtype = next(net.parameters()).dtype

    def function(x: Tensor) -> Tensor:
        return net.features(data.transform(x.to(device)).to(dtype)).float().cpu()

    mark = f"features {net.name} {tensors_hash(net.backbone.state_dict().values())} {data.statistics} {data.resize}"
    encoder = Encoder(function, f"the frozen {net.name}", mark)
    first, _ = data.stored["train"].__getitems__(torch.tensor([0]))
    size = 4 * encoder(first).numel() * sum(map(len, data.stored.values()))
    if size <= plain["data"]["memory_limit"]:
        data.encode_with(encoder, splits)
        task.on_features = True
    net.cpu()
    task.train(training)
    return task.on_features


# --- what both need --------------------------------------------------------------------------------------------------


def device_for(plain: dict[str, Any]) -> torch.device:
    """Where networks encode: on the GPU that a run trains on."""
    gpu = plain["trainer"]["accelerator"] in ("auto", "gpu") and torch.cuda.is_available()
    return torch.device("cuda" if gpu else "cpu")


def file_hash(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def tensors_hash(tensors: Iterable[Tensor]) -> str:
    digest = hashlib.sha256()
    for tensor in tensors:
        digest.update(tensor.detach().cpu().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
