"""The one LightningDataModule: any reader's tensors as seeded, batched, normalised and augmented examples."""

import logging
import math
from collections.abc import Iterator, Sequence
from typing import Any

import lightning as L
import torch
import torch.nn.functional as F
from torch import Generator, Tensor
from torch.utils.data import DataLoader

from dlcourse.data.augment import build_augment
from dlcourse.data.sources import load
from dlcourse.data.tensors import Provenance, Splits, Store, Tensors
from dlcourse.errors import InputError, or_list

log = logging.getLogger(__name__)

SPLITS = ("train", "val", "test")
SPLIT_SEED = 20220130  # which examples are for validation does not change with the run's seed
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class Examples:
    """Some of a store's examples, with their labels as numbers from 0: a data set of whole batches for DataLoader."""

    def __init__(self, store: Store, index: Tensor, y: Tensor) -> None:
        self.store, self.index, self.y = store, index, y
        self.whole = len(index) == len(store) and bool((index == torch.arange(len(store))).all())

    def __len__(self) -> int:
        return len(self.index)

    def __getitems__(self, batch: Tensor) -> tuple[Tensor, Tensor]:
        x, _ = self.store.take(batch if self.whole else self.index[batch])
        return x, self.y[batch]

    def __getitem__(self, i: int) -> tuple[Tensor, Tensor]:
        x, y = self.__getitems__(torch.tensor([i]))
        return x[0], y[0]

    def all(self) -> tuple[Tensor, Tensor]:
        return self.__getitems__(torch.arange(len(self)))


class Batches:
    """The order of the examples, a batch of numbers at a time: a function of (seed, epoch) and of nothing else.

    Lightning calls `set_epoch` on a loader's sampler, so that a run that is resumed goes on in the order it would have
    had. Of several processes each takes every world-th example of the one common order.
    """

    def __init__(
        self,
        n: int,
        batch_size: int,
        shuffle: bool | str = False,
        drop_last: bool = False,
        seed: int = 0,
        rank: int = 0,
        world: int = 1,
        device: torch.device | None = None,
    ) -> None:
        self.n, self.batch_size, self.shuffle, self.drop_last = n, batch_size, shuffle, drop_last
        self.seed, self.rank, self.world, self.device = seed, rank, world, device
        self.epoch = 0

    @property
    def sampler(self) -> "Batches":
        return self

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        mine = len(range(self.rank, self.n, self.world))
        return mine // self.batch_size if self.drop_last else math.ceil(mine / self.batch_size)

    def __iter__(self) -> Iterator[Tensor]:
        # A generator: Lightning asks for the first epoch's iterator before it calls set_epoch.
        epoch = 0 if self.shuffle == "once" else self.epoch
        generator = Generator().manual_seed(mix(self.seed, epoch))
        order = torch.randperm(self.n, generator=generator) if self.shuffle else torch.arange(self.n)
        mine = order[self.rank :: self.world].to(self.device)
        yield from mine.split(self.batch_size)[: len(self)]


def mix(*numbers: int) -> int:
    """One seed out of several numbers; close ones give unrelated seeds (splitmix64)."""
    state = 0
    for number in numbers:
        state = (state + number + 0x9E3779B97F4A7C15) & 0xFFFFFFFFFFFFFFFF
        state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & 0xFFFFFFFFFFFFFFFF
        state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & 0xFFFFFFFFFFFFFFFF
        state ^= state >> 31
    return state & 0x7FFFFFFFFFFFFFFF


class DataModule(L.LightningDataModule):
    """Training, validation and test examples of a data set; the arguments are the keys of `data` in conf/train.yaml.

    Nothing is read before `prepare`. A batch is x float32 [B, C, H, W] (normalised) or [B, D], and y int64 [B].
    """

    def __init__(
        self,
        name: str,
        reader: str | None = None,
        root: str | None = None,
        source: str = "auto",
        verify: bool = True,
        size: int | None = None,
        channels: int = 3,
        shape: Sequence[int] = (),
        classes: int = 0,
        epochs: int = 1,
        batch_size: int | str = 128,
        eval_batch_size: int = 1000,
        shuffle: bool | str = True,
        drop_last: bool = False,
        classes_kept: Sequence[int | str] | None = None,
        per_class: Sequence[int] | None = None,
        val: float | int | str | None = None,
        limit: int | None = None,
        limit_eval: int | None = None,
        normalize: str = "unit",
        resize: int | None = None,
        augment: dict[str, Any] | None = None,
        device: str = "auto",
        workers: int = 0,
        memory_limit: float = 4e9,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.name, self.reader, self.shape, self.seed = name, reader or name, tuple(shape), seed
        self.read_options = {
            "root": root, "source": source, "verify": verify, "size": size, "channels": channels,
            "memory_limit": memory_limit,
        }  # fmt: skip
        self.batch_size, self.eval_batch_size = batch_size, eval_batch_size
        self.shuffle, self.drop_last = shuffle, drop_last
        self.classes_kept, self.per_class, self.val = classes_kept, per_class, val
        self.limits = {"train": limit, "val": limit_eval, "test": limit_eval}
        self.normalize, self.resize, self.augment = normalize, resize, build_augment(augment)
        self.device, self.workers = device, workers
        self.tested = "test"  # which split test_dataloader gives
        self.classes: list[str] = []
        self.splits: dict[str, Examples] = {}
        self.provenance: Provenance | None = None
        self._mean = self._std = torch.tensor(0.0)

    # --- reading ---

    def prepare(self) -> None:
        """Read the data set and divide it. Raises InputError where it can't be had or doesn't fit what is asked of it."""
        if self.splits:
            return
        data = load(self.reader, **self.read_options)
        self.provenance = data.provenance
        kept = self._kept(list(data.classes))
        self.classes = [data.classes[k] for k in kept]
        index, stores = self._divide(data, kept)
        for split in SPLITS:
            if not len(index[split]):
                raise InputError(f"data={self.name}: no {split} examples are left of what is asked for")
            limit = self.limits[split]
            chosen = index[split]
            if limit is not None and limit < len(chosen):
                generator = Generator().manual_seed(mix(SPLIT_SEED, 1))
                chosen = chosen[torch.randperm(len(chosen), generator=generator)[:limit].sort().values]
            self.splits[split] = Examples(
                stores[split], chosen, _renumber(stores[split].y[chosen], kept, data.classes)
            )
        self._check_shape()
        self._set_scale()

    def _kept(self, classes: list[str]) -> list[int]:
        """The numbers of the classes that are kept, given by number or by name."""
        if self.classes_kept is None:
            return list(range(len(classes)))
        out = []
        for kept in self.classes_kept:
            names = [c.lower() for c in classes]
            if str(kept).lower() in names:
                out.append(names.index(str(kept).lower()))
            elif isinstance(kept, int) and 0 <= kept < len(classes):
                out.append(kept)
            else:
                raise InputError(
                    f"data.classes_kept: {self.name} has no class {kept} (it has {or_list(classes, 40)})"
                )
        return out

    def _divide(self, data: Splits, kept: list[int]) -> tuple[dict[str, Tensor], dict[str, Store]]:
        """For each split the store and the numbers of its examples there."""
        wanted = torch.tensor(kept)
        stores: dict[str, Store] = {"train": data.train, "val": data.val or data.train, "test": data.test}
        index = {s: torch.isin(stores[s].y, wanted).nonzero().squeeze(1) for s in SPLITS}
        generator = Generator().manual_seed(mix(SPLIT_SEED))
        if self.per_class is not None:
            stores = dict.fromkeys(SPLITS, data.train)
            index = dict(
                zip(SPLITS, _per_class(data.train.y, kept, list(self.per_class), generator), strict=True)
            )
        elif self.val == "test":
            stores["val"], index["val"] = stores["test"], index["test"]
        elif self.val is not None or data.val is None:
            share = self.val if self.val is not None else 0.1
            train = index["train"]
            n = round(share * len(train)) if isinstance(share, float) else int(share)
            if not data.provenance.comparable and isinstance(share, int) and n > len(train) // 5:
                n = len(train) // 10  # a stand-in is smaller than what it stands for
            if data.val is not None and isinstance(share, int | float):
                n = min(n, len(train))
            if not 0 < n < len(train):
                raise InputError(
                    f"data.val={share}: of {len(train)} training examples {n} can't be taken for validation"
                )
            order = train[torch.randperm(len(train), generator=generator)]
            stores["val"] = stores["train"]
            index["val"], index["train"] = order[:n].sort().values, order[n:].sort().values
        return index, stores

    def _check_shape(self) -> None:
        x, _ = self.splits["train"].__getitems__(torch.tensor([0]))
        found = self._resized(x).shape[1:] if x.dim() == 4 else x.shape[1:]
        if self.shape and tuple(found) != self.shape:
            raise InputError(f"data.shape={list(self.shape)}, but {self.name} has examples of {list(found)}")

    # --- from stored to what a network sees ---

    def _set_scale(self) -> None:
        """The mean and deviation [C, 1, 1] (of values in [0, 1]) that `normalize` stands for; from training examples only."""
        depth = self.shape[0] if len(self.shape) == 3 else 1
        mean, std = [0.0] * depth, [1.0] * depth
        if self.normalize == "symmetric":
            mean, std = [0.5] * depth, [0.5] * depth
        elif self.normalize == "imagenet":
            mean, std = list(IMAGENET_MEAN), list(IMAGENET_STD)
            if depth != 3:
                raise InputError(
                    f"data.normalize=imagenet is for colour images, {self.name} has {depth} channel"
                )
        elif self.normalize == "standardize":
            total, square, n = torch.zeros(depth), torch.zeros(depth), 0
            for batch in torch.arange(len(self.splits["train"])).split(1000):
                x = self.splits["train"].__getitems__(batch)[0].double().div(255)
                total, square = total + x.sum((0, 2, 3)), square + x.square().sum((0, 2, 3))
                n += x.numel() // depth
            mean = (total / n).tolist()
            std = (square / n - (total / n).square()).sqrt().clamp_min(1e-6).tolist()
        self._mean = torch.tensor(mean)[:, None, None]
        self._std = torch.tensor(std)[:, None, None]
        self._plain = all(m == 0 for m in mean) and all(s == 1 for s in std)

    def _resized(self, x: Tensor) -> Tensor:
        if self.resize is None or x.shape[-1] == self.resize:
            return x
        return F.interpolate(x.float(), size=(self.resize, self.resize), mode="bilinear", align_corners=False)

    def transform(self, x: Tensor, generator: Generator | None = None) -> Tensor:
        """What the network sees of stored examples: uint8 [B, C, H, W] or float32 [B, D]; augmented if a generator is given."""
        if x.dtype != torch.uint8:
            return x
        x = self._resized(x)
        scale = 1.0 if self.normalize == "none" else 1 / 255
        if generator is not None and self.augment:
            x = self.augment(x.float().mul_(1 / 255), generator)
            scale *= 255
        if self._plain:
            return x.float().mul_(scale) if scale != 1.0 else x.float()
        if self._mean.device != x.device:
            self._mean, self._std = self._mean.to(x.device), self._std.to(x.device)
        return x.float().mul_(scale).sub_(self._mean).div_(self._std)

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        x, *rest = batch
        generator = None
        if self.augment and self.trainer is not None and self.trainer.training:
            step = self.trainer.fit_loop.epoch_loop.batch_progress.current.ready
            seed = mix(self.seed, self.trainer.current_epoch, step, self.trainer.global_rank)
            generator = Generator(x.device).manual_seed(seed)
        return self.transform(x, generator), *rest

    # --- loaders ---

    def setup(self, stage: str) -> None:
        self.prepare()
        assert self.trainer is not None
        device = self.trainer.strategy.root_device
        stores = {id(e.store): e.store for e in self.splits.values() if isinstance(e.store, Tensors)}
        fits = sum(store.x.nbytes for store in stores.values()) < _free(device) / 3
        if self.device == "auto" and device.type == "cuda" and fits:
            moved = {key: Tensors(store.x.to(device), store.y.to(device)) for key, store in stores.items()}
            for split, e in self.splits.items():
                if id(e.store) in moved:
                    self.splits[split] = Examples(moved[id(e.store)], e.index.to(device), e.y.to(device))

    def loader(self, split: str, train: bool = False) -> "DataLoader[Any]":
        """Batches of one split, for `train`ing (shuffled, of batch_size) or for evaluation (in order, of eval_batch_size)."""
        examples = self.splits[split]
        size = self.batch_size if train else self.eval_batch_size
        size = len(examples) if size == "all" else min(int(size), len(examples))
        rank, world = (
            (self.trainer.global_rank, self.trainer.world_size) if self.trainer is not None else (0, 1)
        )
        if train:
            n = len(examples) - len(examples) % world  # every process must make the same number of steps
            batches = Batches(
                n, size, self.shuffle, self.drop_last, self.seed, rank, world, examples.y.device
            )
        else:
            batches = Batches(len(examples), size, rank=rank, world=world, device=examples.y.device)
        workers = 0 if isinstance(examples.store, Tensors) else self.workers
        return DataLoader(
            examples,  # type: ignore[arg-type]
            batch_sampler=batches,  # type: ignore[arg-type]
            collate_fn=_as_it_is,
            generator=Generator(),  # else each iterator takes a number from the global one, which noise is drawn from
            num_workers=workers,
            persistent_workers=workers > 0,
        )

    def train_dataloader(self) -> "DataLoader[Any]":
        return self.loader("train", train=True)

    def val_dataloader(self) -> "DataLoader[Any]":
        return self.loader("val")

    def test_dataloader(self) -> "DataLoader[Any]":
        return self.loader(self.tested)


def _as_it_is(batch: Any) -> Any:
    return batch


def _free(device: torch.device) -> int:
    """Bytes of memory that a GPU has left."""
    return torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else 0


def _renumber(y: Tensor, kept: list[int], classes: Sequence[str]) -> Tensor:
    """Class numbers 0, 1, ... in the order in which the classes are kept."""
    if y.dtype != torch.int64 or kept == list(range(len(classes))):
        return y
    number = torch.full((len(classes),), -1)
    number[torch.tensor(kept)] = torch.arange(len(kept))
    return number[y]


def _per_class(y: Tensor, kept: list[int], wanted: list[int], generator: Generator) -> list[Tensor]:
    """Disjoint draws of `wanted` examples of each class; where a class has too few, in the same proportions."""
    parts: list[list[Tensor]] = [[] for _ in wanted]
    for k in kept:
        members = (y == k).nonzero().squeeze(1)
        members = members[torch.randperm(len(members), generator=generator)]
        share = min(1.0, len(members) / sum(wanted))
        sizes = [int(n * share) for n in wanted]
        for part, chosen in zip(parts, members[: sum(sizes)].split(sizes), strict=True):
            part.append(chosen)
    return [torch.cat(part).sort().values for part in parts]
