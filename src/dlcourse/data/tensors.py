"""What a data set is here: a few tensors, and where they came from."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor


class Store(Protocol):
    """Anything a batch can be taken from by index: `Tensors` in memory, or files that are read when asked for."""

    @property
    def y(self) -> Tensor: ...

    def __len__(self) -> int: ...

    def take(self, index: Tensor) -> tuple[Tensor, Tensor]:
        """The examples at `index` (int64 [B]): x [B, ...] and y [B, ...]."""
        ...


@dataclass(frozen=True)
class Tensors:
    """Examples in memory.

    x: uint8 [N, C, H, W] images in 0..255, or float32 [N, D] vectors.
    y: int64 [N] class numbers, or float32 [N, K] targets.
    hashes: int64 [N] of `hash_pixels`, where they are known.
    """

    x: Tensor
    y: Tensor
    hashes: Tensor | None = None

    def __post_init__(self) -> None:
        if len(self.x) != len(self.y):
            raise ValueError(f"{len(self.x)} examples but {len(self.y)} labels")
        if self.x.dtype not in (torch.uint8, torch.float32):
            raise ValueError(f"examples are uint8 images or float32 vectors, not {self.x.dtype}")

    def __len__(self) -> int:
        return len(self.y)

    def take(self, index: Tensor) -> tuple[Tensor, Tensor]:
        return self.x.index_select(0, index), self.y.index_select(0, index)  # much faster than [index] on bytes


def hash_pixels(x: Tensor) -> Tensor:
    """int64 [N] of images uint8 [N, C, H, W]: equal for equal ones, different (but for one pair in 2^64) for others."""
    digests = [hashlib.blake2b(row, digest_size=8).digest() for row in x.flatten(1).numpy()]
    return torch.frombuffer(bytearray(b"".join(digests)), dtype=torch.int64)


class Examples:
    """Some of a store's examples, with their labels as numbers from 0: a data set of whole batches."""

    def __init__(self, store: Store, index: Tensor, y: Tensor) -> None:
        self.store, self.index, self.y = store, index, y
        self.whole = len(index) == len(store) and bool((index == torch.arange(len(store), device=index.device)).all())

    def __len__(self) -> int:
        return len(self.index)

    def __getitems__(self, batch: Tensor) -> tuple[Tensor, Tensor]:
        batch = batch.to(self.index.device)
        x, _ = self.store.take(batch if self.whole else self.index.index_select(0, batch))
        return x, self.y.index_select(0, batch)

    def __getitem__(self, i: int) -> tuple[Tensor, Tensor]:
        x, y = self.__getitems__(torch.tensor([i]))
        return x[0], y[0]

    def all(self) -> tuple[Tensor, Tensor]:
        return self.__getitems__(torch.arange(len(self)))


def channel_statistics(examples: Examples) -> tuple[Tensor, Tensor]:
    """Mean and deviation [C] of all pixels of a channel, of values in [0, 1]; of vectors [D]."""
    total = square = torch.zeros((), dtype=torch.float64)
    n = 0
    for batch in torch.arange(len(examples)).split(1000):
        x = examples.__getitems__(batch)[0]
        x = (x.double().div(255) if x.dtype == torch.uint8 else x.double()).transpose(0, 1).flatten(1)
        total, square, n = total + x.sum(1), square + x.square().sum(1), n + x.shape[1]
    mean = total / n
    std = (square / n - mean.square()).clamp_min(0).sqrt().float()
    return mean.float(), std.where(std > 1e-6, 1.0)  # a number that is always the same becomes 0


@dataclass(frozen=True)
class Provenance:
    """Where the examples came from, as it is written to result.json.

    source: `real`, or `stand-in` for what is used when the data set itself is not available.
    comparable: whether figures may be held against published ones: only for the published files themselves.
    detail: one sentence for people: what the files are, and how they differ from the published ones.
    files: sha256 of each raw file (or of a folder's listing), by name.
    skipped: photos that could not be read and are left out. value_range: the values that became black and white in
    pictures of more than 8 bits. notes: what else has to be known of the pictures, said whenever they are loaded.
    """

    name: str
    source: str
    comparable: bool
    detail: str
    root: str | None = None
    files: dict[str, str] = field(default_factory=dict)
    skipped: list[str] = field(default_factory=list)
    value_range: list[float] | None = None
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Splits:
    """A data set as its reader gives it. `val` is None where it has no validation set of its own."""

    train: Store
    val: Store | None
    test: Store
    classes: Sequence[str]
    provenance: Provenance
