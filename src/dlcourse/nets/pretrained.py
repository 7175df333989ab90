"""torchvision's and timm's classification networks with a fresh head."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torchvision import models

from dlcourse.core.errors import InputError, did_you_mean, or_list
from dlcourse.nets.layers import image_shape, probability, whole_number

TIMM = "timm/"
WITH_AUXILIARY = ("googlenet", "inception_v3")  # have classifiers on the way, which are left out


class Pretrained(nn.Module):
    """x [B, 3, H, W], normalised with ImageNet's mean and deviation -> [B, classes], before the softmax.

    name: any of torchvision's classification networks, or timm/NAME for any of timm's. `backbone` is theirs up to the
    last layer and gives [B, D]; `head` is new: dropout and Linear(D, classes); for SqueezeNet, whose backbone gives
    maps [B, 512, h, w], dropout, Conv2d(512, classes, 1), relu and mean over the places. The new layer starts from
    PyTorch's own initialisation, as in CMU homework 5, Q6.1.3, Q6.1.4 and Q6.2.
    Weights are random until `load_backbone`; nothing is downloaded here.
    dropout: the head's probability; None keeps the network's own (0 where it has none before its last layer).
    shape: [3, height, width] of the images, only to check that they fit.
    """

    def __init__(
        self, name: str, classes: int, dropout: float | None = None, shape: Sequence[int] | None = None
    ) -> None:
        super().__init__()
        whole_number("classes", classes)
        if dropout is not None:
            probability("dropout", dropout)
        if shape is not None and image_shape(shape)[0] != 3:
            raise ValueError(f"shape: {name} takes images in colour, [3, height, width], not {list(shape)}")
        self.name = name
        self.backbone, last, own_dropout = split_network(create_network(name))
        drop = nn.Dropout(own_dropout if dropout is None else dropout)
        if isinstance(last, nn.Conv2d):
            conv = nn.Conv2d(last.in_channels, classes, kernel_size=1)
            self.head = nn.Sequential(drop, conv, nn.ReLU(inplace=True), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        else:
            self.head = nn.Sequential(drop, nn.Linear(last.in_features, classes))
        self.to(memory_format=torch.channels_last)  # on 2 CPU cores MobileNetV2 trains 3 times as fast

    @property
    def first_layer(self) -> nn.Conv2d:
        """The layer whose weights [channels, 3, k, k] can be looked at as images."""
        return next(layer for layer in self.backbone.modules() if isinstance(layer, nn.Conv2d))

    def features(self, x: Tensor) -> Tensor:
        """What the head sees: [B, D]; for SqueezeNet maps [B, 512, h, w]."""
        out: Tensor = self.backbone(x)
        return out

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.features(x))

    def load_backbone(self, state: Mapping[str, Tensor]) -> None:
        """Take the backbone from the state dict of the whole published network; the head stays as it is.

        Strict: missing, unknown and wrongly shaped entries raise ValueError, also the old head's.
        """
        network = create_empty(self.name)
        expected = network.state_dict()
        if self.name in WITH_AUXILIARY:
            state = {k: v for k, v in state.items() if not k.lower().startswith("aux")}
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
            raise ValueError(f"weights: not those of {self.name} as it was published: {faults}")
        network.load_state_dict(state, assign=True)
        self.backbone.load_state_dict(split_network(network)[0].state_dict())

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        old, new = f"{prefix}backbone.", f"{prefix}backbone.features."
        if self.name == "mobilenet_v2" and not any(key.startswith(new) for key in state_dict):
            for key in [key for key in state_dict if key.startswith(old)]:  # of a run of version 0.1
                state_dict[new + key.removeprefix(old)] = state_dict.pop(key)
        super()._load_from_state_dict(state_dict, prefix, *rest)


def create_network(name: str, pretrained: bool = False) -> nn.Module:
    """The network as it is published, for 1000 classes, with random weights; timm's also with its own.

    Raises ValueError for a name that there is not, InputError where timm is asked for and not installed.
    """
    if name.startswith(TIMM):
        try:
            import timm
        except ImportError:
            raise InputError(f'model.net.name={name} needs timm: pip install "dlcourse[timm]"') from None
        known, short = timm.list_models(), name.removeprefix(TIMM)
        if short.split(".")[0] not in known:
            raise ValueError(f"name: timm has no network {short!r}{did_you_mean(short, known)}")
        network: nn.Module = timm.create_model(short, pretrained=pretrained)
        return network
    known = models.list_models(module=models)
    if name not in known:
        more = "it is any of torchvision's classification networks, or timm/NAME"
        raise ValueError(f"name: there is no network {name!r}{did_you_mean(name, known)} ({more})")
    options = {"aux_logits": False, "init_weights": True} if name in WITH_AUXILIARY else {}
    return models.get_model(name, weights=None, **options)


def create_empty(name: str) -> nn.Module:
    """The network for its structure alone: its weights take no memory where that can be, and no random numbers."""
    try:
        with torch.device("meta"):
            return create_network(name)
    except NotImplementedError:  # RegNet computes its widths with tensors
        with torch.random.fork_rng(devices=[]):
            return create_network(name)


def split_network(network: nn.Module) -> tuple[nn.Module, Any, float]:
    """A network without its last layer (nn.Linear or nn.Conv2d), that layer, and the dropout that was before it.

    The network is changed; what is left of it gives what the layer has been given.
    """
    path, last = [(n, m) for n, m in network.named_modules() if isinstance(m, nn.Linear | nn.Conv2d)][-1]
    above, _, place = path.rpartition(".")
    parent = network.get_submodule(above)
    index = list(dict(parent.named_children())).index(place)
    before = list(parent.children())[index - 1] if index and isinstance(parent, nn.Sequential) else None
    dropout = before.p if isinstance(before, nn.Dropout) else 0.0
    if isinstance(last, nn.Conv2d):  # SqueezeNet: the mean over places follows the last layer
        features = network.get_submodule("features")
        return features, last, dropout
    if isinstance(parent, nn.Sequential):
        top, _, name = above.rpartition(".")
        setattr(network.get_submodule(top), name, parent[: index - isinstance(before, nn.Dropout)])
    else:
        setattr(parent, place, nn.Identity())
    return network, last, dropout


def feature_size(name: str) -> int:
    """How many numbers the head of a network sees."""
    _, last, _ = split_network(create_empty(name))
    return int(last.in_channels if isinstance(last, nn.Conv2d) else last.in_features)
