"""torchvision's ImageNet networks with a fresh head, and where their published weights are found."""

import hashlib
import os
import pickle
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torchvision import models

from dlcourse.core.errors import InputError, or_list
from dlcourse.nets.layers import image_shape, probability, unknown, whole_number

# The name, and the smallest side in pixels that goes through all its layers.
architectures: dict[str, int] = {"mobilenet_v2": 1, "squeezenet1_1": 17, "resnet18": 1}


class Pretrained(nn.Module):
    """x [B, 3, H, W], normalised with ImageNet's mean and deviation -> [B, classes], before the softmax.

    `backbone` is torchvision's, `head` is new: dropout and Linear(1280, classes) for MobileNetV2; dropout,
    Conv2d(512, classes, 1), relu and mean over the places for SqueezeNet; Linear(512, classes) for ResNet-18.
    The new layer starts from PyTorch's own initialisation, as in CMU homework 5, Q6.1.3, Q6.1.4 and Q6.2.
    Weights are random until `load_imagenet`; nothing is downloaded here.
    dropout: the head's probability; None keeps torchvision's (.2, .5, and none for ResNet-18).
    shape: [3, height, width] of the images, only to check that they fit.
    """

    def __init__(
        self, name: str, classes: int, dropout: float | None = None, shape: Sequence[int] | None = None
    ) -> None:
        super().__init__()
        if name not in architectures:
            raise ValueError(f"name: {unknown(name, list(architectures))}")
        whole_number("classes", classes)
        if dropout is not None:
            probability("dropout", dropout)
        if shape is not None:
            depth, *sides = image_shape(shape)
            least = architectures[name]
            if depth != 3 or min(sides) < least:
                raise ValueError(f"shape: {name} takes [3, height, width] of {least} pixels or more, not {list(shape)}")
        self.name = name
        model = models.get_model(name, weights=None)
        if name == "resnet18":
            # torchvision's order of children is its order of layers; without pooling and the head
            self.backbone = nn.Sequential(OrderedDict(list(model.named_children())[:-2]))
            self.head = nn.Sequential(nn.Dropout(dropout or 0.0), nn.Linear(512, classes))
        elif name == "mobilenet_v2":
            self.backbone = model.features
            dropout = 0.2 if dropout is None else dropout
            self.head = nn.Sequential(nn.Dropout(dropout), nn.Linear(1280, classes))
        else:
            self.backbone = model.features
            self.head = nn.Sequential(
                nn.Dropout(0.5 if dropout is None else dropout),
                nn.Conv2d(512, classes, kernel_size=1),
                nn.ReLU(inplace=True),
                nn.AdaptiveAvgPool2d(1),
                nn.Flatten(),
            )
        self.to(memory_format=torch.channels_last)  # on 2 CPU cores MobileNetV2 trains 3 times as fast

    @property
    def first_layer(self) -> nn.Conv2d:
        """The layer whose weights [channels, 3, k, k] can be looked at as images."""
        return next(layer for layer in self.backbone.modules() if isinstance(layer, nn.Conv2d))

    def features(self, x: Tensor) -> Tensor:
        """What the head sees: means over the places [B, 1280 or 512]; for SqueezeNet maps [B, 512, h, w]."""
        x = self.backbone(x)
        return x if self.name == "squeezenet1_1" else x.mean((2, 3))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.features(x))

    def load_imagenet(self, state: Mapping[str, Tensor]) -> None:
        """Take the backbone from torchvision's state dict of the 1000-class network; the head stays as it is.

        Strict: missing, unknown and wrongly shaped entries raise ValueError, also the old head's.
        """
        with torch.device("meta"):
            expected = models.get_model(self.name, weights=None).state_dict()
        # files from before PyTorch 0.4.1 have no batch counters, and loading fills them in
        missing = [k for k in expected if k not in state and not k.endswith("num_batches_tracked")]
        unexpected = [k for k in state if k not in expected]
        wrong = [
            f"{k} {list(state[k].shape)} instead of {list(v.shape)}"
            for k, v in expected.items()
            if k in state and state[k].shape != v.shape
        ]
        faults = "; ".join(
            f"{what} {or_list(keys, limit=3).replace(' or ', ' and ')}"
            for what, keys in (("no", missing), ("unknown", unexpected), ("wrongly shaped", wrong))
            if keys
        )
        if faults:
            raise ValueError(f"weights: not torchvision's {self.name} for 1000 classes: {faults}")
        prefix, head = ("", "fc.") if self.name == "resnet18" else ("features.", "classifier.")
        backbone = {k.removeprefix(prefix): v for k, v in state.items() if not k.startswith(head)}
        self.backbone.load_state_dict(backbone)


def published_url(name: str) -> str:
    """Where torchvision publishes its first ImageNet weights (IMAGENET1K_V1) of this network."""
    return models.get_model_weights(name)["IMAGENET1K_V1"].url


def find_weights(
    name: str, weights: str | Path | None, data_root: str | Path | None = None
) -> tuple[Path | None, dict[str, Any]]:
    """Find (or download) the file of weights that `weights` asks for; `none` is none.

    weights: `imagenet`, `none`, or a path. `imagenet` looks at data_root/weights/<name>.pth (data_root is
    $DLCOURSE_DATA unless given), then in torch.hub's cache, then downloads torchvision's file, hash checked.
    Returns the path and what to say about it: file, sha256, and whether it is the published file itself.
    Raises InputError where there is no file and none can be had.
    """
    if weights is None or str(weights) == "none":
        return None, {"file": None, "sha256": None, "published": False}
    if name not in architectures:
        raise InputError(f"there are no weights for {name!r}: {unknown(name, list(architectures))}")
    url = published_url(name)
    file = url.rsplit("/", 1)[-1]
    digits = file.removesuffix(".pth").rsplit("-", 1)[-1]  # the first 8 of the sha256 end torchvision's names
    if str(weights) == "imagenet":
        root = data_root or os.environ.get("DLCOURSE_DATA")
        cached = Path(torch.hub.get_dir()) / "checkpoints" / file
        places = [Path(root).expanduser() / "weights" / f"{name}.pth"] if root else []
        path = next((p for p in [*places, cached] if p.is_file()), None)
        if path is None:
            path = cached
            if os.environ.get("DLCOURSE_OFFLINE", "0") not in ("", "0"):
                raise InputError(
                    f"{file} isn't here, and $DLCOURSE_OFFLINE forbids its download: put it at {[*places, cached][0]}, "
                    "or say model.weights=PATH or model.weights=none"
                )
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                torch.hub.download_url_to_file(url, str(path), hash_prefix=digits, progress=False)
            except (OSError, RuntimeError) as error:  # no network or disk; another hash
                why = str(error).split("\n", 1)[0]
                raise InputError(
                    f"{file} could not be downloaded ({why}): put it at {[*places, cached][0]}, "
                    "or say model.weights=PATH or model.weights=none"
                ) from error
    else:
        path = Path(weights).expanduser()
        if not path.is_file():
            raise InputError(f"there is no file {path}: model.weights is imagenet, none or a file of weights")
    with path.open("rb") as stream:
        sha256 = hashlib.file_digest(stream, "sha256").hexdigest()
    return path, {"file": str(path), "sha256": sha256, "published": sha256.startswith(digits)}


def read_weights(path: str | Path) -> dict[str, Tensor]:
    """The state dict in a file. Nothing in the file is run. Raises InputError where it holds none."""
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, ValueError, EOFError, pickle.UnpicklingError) as error:
        raise InputError(f"{path} is not a file of weights (a state dict that torch.save wrote)") from error
    if not isinstance(state, Mapping) or not state or not all(isinstance(v, Tensor) for v in state.values()):
        raise InputError(f"{path} holds no state dict (names and tensors), save model.state_dict() alone")
    return dict(state)
