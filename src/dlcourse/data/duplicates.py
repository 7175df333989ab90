"""Pictures that two splits share: equal ones by a hash of their pixels, nearly equal ones by a perceptual hash."""

import torch
import torch.nn.functional as F
from torch import Tensor

from dlcourse.core.errors import InputError, or_list
from dlcourse.data.tensors import Examples, Tensors, hash_pixels

NEAR = 2  # bits of 64 in which the perceptual hashes of nearly equal pictures may differ
HELD_OUT = {"val": "validation", "test": "test"}


def compare_splits(
    splits: dict[str, Examples], classes: list[str], near: bool = False, drop: bool = False
) -> tuple[dict[str, Examples], list[str]]:
    """The splits, and what has to be said of pictures held out that are in the training set, too.

    near: count also those that look nearly alike. drop: leave all of these out of the training set. Vectors, and
    photos that are read as they are needed, are not compared. Raises InputError where a class has none left.
    """
    for e in splits.values():
        if not isinstance(e.store, Tensors) or (e.store.x.dtype, e.y.dtype) != (torch.uint8, torch.int64):
            return splits, []
    train, notes = splits["train"], []
    shared = torch.zeros(len(train), dtype=torch.bool)
    pixels = {name: pixel_hashes(e) for name, e in splits.items()}
    looks = {name: difference_hashes(e) for name, e in splits.items()} if near else {}
    for name, words in HELD_OUT.items():
        held, ours, theirs = splits[name], pixels[name], pixels["train"]
        if name == "val" and torch.equal(ours, pixels["test"]):
            continue  # data.val=test: said once
        equal = torch.isin(ours, theirs)
        shared |= torch.isin(theirs, ours)
        if n := int(equal.sum()):
            same = torch.isin(with_class(ours, held.y), with_class(theirs, train.y))
            other = f" ({m:,} of them as another class)" if (m := n - int(same.sum())) else ""
            notes.append(f"{n:,} of the {len(held):,} {words} pictures are in the training set, too{other}")
        if near:
            shared |= is_near(looks["train"], looks[name])
            if n := int((is_near(looks[name], looks["train"]) & ~equal).sum()):
                notes.append(f"{n:,} of the {len(held):,} {words} pictures look nearly like one in the training set")
    if not (drop and shared.any()):
        return splits, notes
    kept = ~shared
    lost = sorted(set(train.y.tolist()) - set(train.y[kept].tolist()))
    if lost:
        raise InputError(
            f"data.drop_duplicates=true leaves no training picture of {or_list([classes[int(k)] for k in lost])}: "
            "all are in the validation or test set, too"
        )
    how = "that are (or nearly are)" if near else "that are"
    note = f"{int(shared.sum()):,} training pictures {how} in the validation or test set, too, are left out"
    return splits | {"train": Examples(train.store, train.index[kept], train.y[kept])}, [note]


def pixel_hashes(examples: Examples) -> Tensor:
    """int64 [N], equal for equal pictures."""
    assert isinstance(examples.store, Tensors)
    kept = examples.store.hashes
    return (hash_pixels(examples.store.x) if kept is None else kept)[examples.index]


def with_class(hashes: Tensor, y: Tensor) -> Tensor:
    """Hashes of pictures [N] with their class numbers, equal where both are."""
    return hashes * 31 + y


def difference_hashes(examples: Examples) -> Tensor:
    """dHash, as float32 [N, 64] of -1 and 1: which of 8×8 places of the small grey picture is brighter than the next.

    Krawetz, "Kind of like that" (2013).
    """
    rows = []
    for batch in torch.arange(len(examples)).split(1000):
        grey = examples.__getitems__(batch)[0].float().mean(1, keepdim=True)
        small = F.interpolate(grey, (8, 9), mode="area")
        rows.append((small[..., :-1] > small[..., 1:]).flatten(1).float())
    return torch.cat(rows) * 2 - 1


def is_near(these: Tensor, those: Tensor) -> Tensor:
    """bool [N]: whether one of `those` hashes [M, 64] differs in NEAR bits at most from each of `these` [N, 64]."""
    return torch.cat([(part @ those.T).amax(1) >= 64 - 2 * NEAR for part in these.split(500)])
