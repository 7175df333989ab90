"""Which examples are for training, for validation and for testing."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from dlcourse.core.errors import InputError, or_list
from dlcourse.core.seeds import mix_seeds
from dlcourse.data.tensors import Examples, Splits, Store

log = logging.getLogger(__name__)

SPLITS = ("train", "val", "test")
SPLIT_SEED = 20220130  # which examples are for validation does not change with the run's seed


@dataclass(frozen=True)
class Division:
    """How a data set is divided; the keys of `data` in the config. name: of the data set, for messages."""

    name: str
    first: int | None = None
    classes_kept: Sequence[int | str] | None = None
    per_class: Sequence[int] | None = None
    val: float | int | str | None = None
    limit: int | None = None
    limit_eval: int | None = None

    def __post_init__(self) -> None:
        if self.per_class is not None and self.val is not None:
            raise InputError(
                f"data.val={self.val} and data.per_class={list(self.per_class)} can't both be: set one of them to null"
            )

    def divide(self, data: Splits, kept: Sequence[int]) -> dict[str, Examples]:
        """The examples of each split, of the classes that are kept, numbered in that order.

        Raises InputError where a split has none, or where there are fewer than are asked for.
        """
        splits: dict[str, Examples] = {}
        names = [data.classes[k] for k in kept]
        for split, (store, chosen) in self._parts(data, list(kept), names).items():
            if not len(chosen):
                raise InputError(f"data={self.name}: it has no {split} example of {or_list(names, 40)}")
            limit = self.limit if split == "train" else self.limit_eval
            if limit is not None and limit < len(chosen):
                generator = Generator().manual_seed(mix_seeds(SPLIT_SEED, 1))
                chosen = chosen[torch.randperm(len(chosen), generator=generator)[:limit].sort().values]
            splits[split] = Examples(store, chosen, renumber(store.y[chosen], kept, len(data.classes)))
        return splits

    def kept_classes(self, classes: Sequence[str]) -> list[int]:
        """The numbers of the classes that are kept, each given by its name (in any case) or else its number."""
        if self.classes_kept is None:
            return list(range(len(classes)))
        lower = [c.lower() for c in classes]
        out: list[int] = []
        for kept in self.classes_kept:
            if str(kept) in classes:
                out.append(list(classes).index(str(kept)))
            elif str(kept).lower() in lower:
                out.append(lower.index(str(kept).lower()))
            elif isinstance(kept, int) and 0 <= kept < len(classes):
                out.append(kept)
            else:
                raise InputError(
                    f"data.classes_kept: {self.name} has no class {kept} (it has {or_list(list(classes), 40)})"
                )
            if out[-1] in out[:-1]:
                raise InputError(f"data.classes_kept: {classes[out[-1]]} is named twice")
        return out

    def _parts(self, data: Splits, kept: list[int], names: list[str]) -> dict[str, tuple[Store, Tensor]]:
        """For each split its store and the numbers of its examples there."""
        generator = Generator().manual_seed(mix_seeds(SPLIT_SEED))
        real = data.provenance.source == "real"
        if self.per_class is not None:
            parts = self._per_class(data.train.y[: self.first], kept, names, list(self.per_class), real, generator)
            return {split: (data.train, part) for split, part in zip(SPLITS, parts, strict=True)}
        train, test = (members_of(store, kept) for store in (data.train, data.test))
        train = train if self.first is None else train[train < self.first]
        share = self.val
        if not real and isinstance(share, int) and share > len(train) // 5:
            # A stand-in is smaller than what it stands for, and so is its validation set.
            share = 0.1 if data.val is None else None
            log.debug("data.val=%s is for the data set itself: its stand-in has fewer validation examples", self.val)
        if share == "test":
            return {"train": (data.train, train), "val": (data.test, test), "test": (data.test, test)}
        if share is None and data.val is not None:
            val = members_of(data.val, kept)
            return {"train": (data.train, train), "val": (data.val, val), "test": (data.test, test)}
        share = 0.1 if share is None else share
        n = round(share * len(train)) if isinstance(share, float) else int(share)
        if not 0 < n < len(train):
            raise InputError(f"data.val={share}: of {len(train)} training examples {n} can't be taken for validation")
        order = train[torch.randperm(len(train), generator=generator)]
        val, train = order[:n].sort().values, order[n:].sort().values
        return {"train": (data.train, train), "val": (data.train, val), "test": (data.test, test)}

    def _per_class(
        self, y: Tensor, kept: list[int], names: list[str], wanted: list[int], real: bool, generator: Generator
    ) -> list[Tensor]:
        """Disjoint draws of `wanted` examples of each class; of a stand-in with too few, in those proportions."""
        parts: list[list[Tensor]] = [[] for _ in wanted]
        for k, name in zip(kept, names, strict=True):
            members = (y == k).nonzero().squeeze(1)
            sizes = wanted
            if len(members) < sum(wanted):
                if real:
                    raise InputError(
                        f"data.per_class={wanted}: of class {name} {self.name} has {len(members)} examples, "
                        f"fewer than {sum(wanted)}"
                    )
                sizes = [n * len(members) // sum(wanted) for n in wanted]
            members = members[torch.randperm(len(members), generator=generator)]
            for part, chosen in zip(parts, members[: sum(sizes)].split(sizes), strict=True):
                part.append(chosen)
        return [torch.cat(part).sort().values for part in parts]


def members_of(store: Store, kept: list[int]) -> Tensor:
    """The numbers of a store's examples of the classes that are kept; all of them where targets aren't classes."""
    if store.y.dtype != torch.int64:
        return torch.arange(len(store))
    return torch.isin(store.y, torch.tensor(kept)).nonzero().squeeze(1)


def renumber(y: Tensor, kept: Sequence[int], classes: int) -> Tensor:
    """Class numbers 0, 1, ... in the order in which the classes are kept."""
    if y.dtype != torch.int64 or list(kept) == list(range(classes)):
        return y
    number = torch.full((classes,), -1)
    number[torch.tensor(kept)] = torch.arange(len(kept))
    return number[y]
