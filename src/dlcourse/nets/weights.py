"""Published weights of pretrained networks: where their files are found, and what is in them."""

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torchvision import models

from dlcourse.core.errors import InputError, did_you_mean, or_list
from dlcourse.core.network import is_offline
from dlcourse.nets.pretrained import TIMM, create_network


def find_weights(
    name: str, weights: str | Path | None, data_root: str | Path | None = None
) -> tuple[Path | None, dict[str, Any]]:
    """Find (or download) the file of weights that `weights` asks for; `none` is none.

    weights: `imagenet` (torchvision's first, timm's default), one of torchvision's enum names as IMAGENET1K_V2 or
    DEFAULT, `none`, or a path. A published file is looked for in data_root/weights (data_root is $DLCOURSE_DATA unless
    given; there also as <name>.pth for `imagenet`), then in torch.hub's cache, then downloaded, its hash checked.
    Returns the path and what to say about it: file, sha256, and whether it is the published file itself.
    Raises InputError where there is no file and none can be had.
    """
    if weights is None or str(weights) == "none":
        return None, {"file": None, "sha256": None, "published": False}
    if any(sign in str(weights) for sign in "./~"):
        path = Path(weights).expanduser()
        if not path.is_file():
            raise InputError(f"there is no file {path}: model.weights is imagenet, the name of weights, none or a file")
        return path, describe_file(path)
    cache = Path(torch.hub.get_dir()) / "checkpoints"
    root = data_root or os.environ.get("DLCOURSE_DATA")
    folder = Path(root).expanduser() / "weights" if root else cache
    if name.startswith(TIMM):
        path = cache / f"{name.replace('/', '-')}.pth"
        if not path.is_file():
            download(path, lambda: torch.save(create_network(name, pretrained=True).state_dict(), path), folder)
        return path, describe_file(path) | {"published": True}
    url = published_url(name, str(weights))
    file = url.rsplit("/", 1)[-1]
    digits = file.removesuffix(".pth").rsplit("-", 1)[-1]  # the first 8 of the sha256 end torchvision's names
    places = [folder / f"{name}.pth"] if root and str(weights) == "imagenet" else []
    path = next((p for p in [*places, folder / file, cache / file] if p.is_file()), cache / file)
    if not path.is_file():
        fetch = torch.hub.download_url_to_file
        download(path, lambda: fetch(url, str(path), hash_prefix=digits, progress=False), [*places, folder / file][0])
    about = describe_file(path)
    return path, about | {"published": about["sha256"].startswith(digits)}


def describe_file(path: Path) -> dict[str, Any]:
    with path.open("rb") as stream:
        return {"file": str(path), "sha256": hashlib.file_digest(stream, "sha256").hexdigest(), "published": False}


def download(path: Path, fetch: Any, instead: Path) -> None:
    """Get a file by `fetch`, or say where to put it."""
    otherwise = f"put it at {instead}, or say model.weights=PATH or model.weights=none"
    if is_offline():
        raise InputError(f"{path.name} isn't here, and $DLCOURSE_OFFLINE forbids its download: {otherwise}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        fetch()
    except (OSError, RuntimeError) as error:  # no network or disk; another hash
        why = str(error).split("\n", 1)[0]
        raise InputError(f"{path.name} could not be downloaded ({why}): {otherwise}") from error


def published_url(name: str, weights: str = "imagenet") -> str:
    """Where torchvision publishes these weights of a network. Raises InputError for weights that there are not."""
    try:
        published = models.get_model_weights(name)
    except ValueError:
        raise InputError(f"there are no weights for {name!r}{did_you_mean(name, models.list_models())}") from None
    names = [member.name for member in published]
    chosen = ("IMAGENET1K_V1" if "IMAGENET1K_V1" in names else names[0]) if weights == "imagenet" else weights
    if chosen not in (*names, "DEFAULT"):
        possible = or_list(["imagenet", "none", "DEFAULT", *names])
        raise InputError(f"model.weights={weights}{did_you_mean(weights, names)} (for {name} it can be {possible})")
    url: str = published[chosen].url
    return url


def read_weights(path: str | Path) -> dict[str, Tensor]:
    """The state dict in a file. Nothing in the file is run. Raises InputError where it holds none."""
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch.load fails in many ways on what isn't its own
        raise InputError(f"{path} is not a file of weights (a state dict that torch.save wrote)") from error
    if not isinstance(state, Mapping) or not state or not all(isinstance(v, Tensor) for v in state.values()):
        raise InputError(f"{path} holds no state dict (names and tensors), save model.state_dict() alone")
    return dict(state)
