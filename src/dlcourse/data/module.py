"""The one LightningDataModule: any reader's tensors as seeded, batched, normalised and augmented examples."""

import functools
import hashlib
import logging
import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import lightning as L
import torch
import torch.nn.functional as F
from torch import Generator, Tensor
from torch.utils.data import DataLoader

from dlcourse.core.errors import InputError, or_list
from dlcourse.core.seeds import mix_seeds
from dlcourse.data.augment import build_augment
from dlcourse.data.duplicates import compare_splits
from dlcourse.data.encoded import Encoder, encoded
from dlcourse.data.order import Batches, Chunk, Chunks
from dlcourse.data.sources import load
from dlcourse.data.splitting import SPLITS, Division
from dlcourse.data.tensors import Examples, Provenance, Tensors, channel_statistics

log = logging.getLogger(__name__)

BLOCK = 1 << 20  # bytes of float32 that small training batches are gathered to
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class DataModule(L.LightningDataModule):
    """Training, validation and test examples of a data set; the arguments are the keys of `data` in the config.

    Nothing is read before `prepare`. A batch is x float32 [B, C, H, W] (normalised) or [B, D], and y int64 [B]
    (class numbers) or float32 [B, K].
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
        draw: int = 0,
        function: str = "linear",
        noise: float = 0.01,
        options: dict[str, Any] | None = None,
        skip_bad: bool | None = None,
        value_range: Sequence[float] | None = None,
        shape: Sequence[int] = (),
        classes: int = 0,
        epochs: int = 1,
        batch_size: int | str = 128,
        eval_batch_size: int = 1000,
        shuffle: bool | str = True,
        drop_last: bool = False,
        steps_per_epoch: int | None = None,
        first_epoch_steps: int | None = None,
        first: int | None = None,
        classes_kept: Sequence[int | str] | None = None,
        per_class: Sequence[int] | None = None,
        val: float | int | str | None = None,
        limit: int | None = None,
        limit_eval: int | None = None,
        normalize: str = "unit",
        resize: int | None = None,
        augment: dict[str, Any] | None = None,
        device: str = "auto",
        workers: int | None = None,
        memory_limit: float = 4e9,
        encoder: str | None = None,
        of: str | None = None,
        subset: str | None = None,  # this and the next two: data=hf has them in its options
        image_column: str | None = None,
        label_column: str | None = None,
        balance: bool | str | None = None,
        near_duplicates: bool | None = None,
        drop_duplicates: bool | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.name, self.reader, self.shape, self.seed = name, reader or name, tuple(shape), seed
        self.read_options: dict[str, Any] = {
            "root": root, "source": source, "verify": verify, "size": size, "channels": channels,
            "memory_limit": memory_limit, "draw": draw, "function": function, "noise": noise, "extra": options or {},
            "skip_bad": skip_bad, "value_range": value_range,
        }  # fmt: skip
        self.batch_size, self.eval_batch_size = batch_size, eval_batch_size
        self.shuffle, self.drop_last = shuffle, drop_last
        if first_epoch_steps is not None and steps_per_epoch is None:
            raise InputError(f"data.first_epoch_steps={first_epoch_steps} needs data.steps_per_epoch")
        self.steps_per_epoch, self.first_epoch_steps = steps_per_epoch, first_epoch_steps
        if balance is True and shuffle not in (True, "once"):
            raise InputError(f"data.balance=true draws the examples, so data.shuffle={str(shuffle).lower()} can't be")
        self.balance = balance
        self.near_duplicates, self.drop_duplicates = bool(near_duplicates), bool(drop_duplicates)
        self.division = Division(name, first, classes_kept, per_class, val, limit, limit_eval)
        self.normalize, self.resize, self.augment = normalize, resize, build_augment(augment)
        self.device, self.workers = device, workers
        self.chunk = 0  # batches that train_dataloader hands over at a time, as numbers of examples; 0: one, as it is
        self.tested = "test"  # which split test_dataloader gives
        self.class_count = classes
        self.classes: list[str] = []
        self.splits: dict[str, Examples] = {}
        self.stored: dict[str, Examples] = {}  # as they were read: the same, unless those are codes
        self.encoder: Encoder | None = None  # what data.encoder names; data know no network, so it is put there
        self.provenance: Provenance | None = None
        self.statistics: dict[str, list[float]] | None = None
        self._whole: tuple[Tensor, ...] | None = None  # the one training batch, where all batches are the same
        self._scale: float | Tensor = 1 / 255 if normalize == "unit" else 1.0
        self._offset: Tensor | None = None
        if normalize == "symmetric":
            self.normalize_with([0.5], [0.5])
        elif normalize == "imagenet":
            if shape and shape[0] != 3:
                raise InputError(f"data.normalize=imagenet is for colour images, {name} has {shape[0]} channel")
            self.normalize_with(IMAGENET_MEAN, IMAGENET_STD)

    # --- reading ---

    def prepare(self) -> None:
        """Read the data set and divide it. Raises InputError where it is not available or does not fit."""
        if self.splits:
            return
        data = load(self.reader, **self.read_options)
        kept = self.division.kept_classes(data.classes)
        self.classes = [data.classes[k] for k in kept]
        if self.class_count and self.class_count != len(kept):
            raise InputError(
                f"data.classes={self.class_count}, but {self.name} has {len(kept)}: {or_list(self.classes, 40)}"
            )
        splits = self.division.divide(data, kept)
        if self.balance and splits["train"].y.is_floating_point():
            raise InputError(f"data.balance is for classes, {self.name} has numbers to be met")
        splits, notes = compare_splits(splits, self.classes, self.near_duplicates, self.drop_duplicates)
        for note in notes:
            log.warning("%s: %s", self.name, note)
        self.provenance = replace(data.provenance, notes=[*data.provenance.notes, *notes])
        self.stored = dict(splits)
        self._origin = {id(store): name for name, store in vars(data).items()}
        if self.encoder is not None:
            self.encoder.fit(splits["train"])
            splits = self._encoded(self.encoder, SPLITS)
            self.provenance = replace(
                self.provenance,
                comparable=data.provenance.comparable and self.encoder.comparable,
                detail=f"codes of {self.shape[0]} numbers by {self.encoder.words}, of {data.provenance.detail}",
                files=data.provenance.files | self.encoder.files,
            )
        first, _ = splits["train"].__getitems__(torch.tensor([0]))
        self._check_shape(first)
        if first.dtype != torch.uint8 and (self.normalize in ("symmetric", "imagenet") or self.augment):
            raise InputError(
                f"data.normalize={self.normalize} and data.augment are for images, {self.name} has vectors"
            )
        if self.normalize == "standardize" and self.statistics is None:
            mean, std = channel_statistics(splits["train"])
            self.normalize_with(mean.tolist(), std.tolist())
        self.splits = splits

    def _encoded(self, encoder: Encoder, splits: Sequence[str]) -> dict[str, Examples]:
        """The codes of the examples that are stored, by split."""
        assert self.provenance is not None
        options = {k: v for k, v in self.read_options.items() if k not in ("root", "source", "memory_limit")}
        read = self.reader, options, self.provenance.source, self.provenance.detail, self.provenance.files
        out = {}
        for split in splits:
            e = self.stored[split]
            which = hashlib.sha256(e.index.numpy().tobytes()).hexdigest()
            codes = encoded(e, encoder, *read, self._origin[id(e.store)], which)
            out[split] = Examples(Tensors(codes, e.y), torch.arange(len(e)), e.y)
        return out

    def encode_with(self, encoder: Encoder, splits: Sequence[str]) -> None:
        """From now on give what an encoder makes of these splits' examples; `stored` stay what they are."""
        self.splits |= self._encoded(encoder, splits)

    def _check_shape(self, x: Tensor) -> None:
        found = tuple(self._resized(x).shape[1:])
        if self.shape and found != self.shape:
            raise InputError(f"data.shape={list(self.shape)}, but {self.name} has examples of {list(found)}")

    # --- from stored to what a network sees ---

    def normalize_with(self, mean: Sequence[float], std: Sequence[float]) -> None:
        """Normalise with this mean and deviation, kept as `statistics` to be written down.

        mean, std: [C], of pixels in [0, 1]; of vectors [D], of their numbers.
        """
        self.statistics = {"mean": list(mean), "std": list(std)}
        deviation = torch.tensor(std)
        self._offset = -torch.tensor(mean) / deviation
        if len(self.shape) == 1:
            self._scale = 1 / deviation
        else:
            self._scale, self._offset = (1 / (255 * deviation))[:, None, None], self._offset[:, None, None]

    def _resized(self, x: Tensor) -> Tensor:
        if self.resize is None or x.dim() != 4 or x.shape[-1] == self.resize:
            return x
        smaller = self.resize < x.shape[-1]
        return F.interpolate(
            x.float(), (self.resize, self.resize), mode="bilinear", align_corners=False, antialias=smaller
        )

    def transform(self, x: Tensor, generator: Generator | None = None) -> Tensor:
        """What the network sees of stored examples; augmented if a generator is given.

        x: uint8 [B, C, H, W] gives float32; float32 (vectors [B, D], or what a backbone gives) is left as it is, unless
        vectors are to be standardised.
        """
        vectors = len(self.shape) == 1 and self.statistics is not None
        if x.dtype != torch.uint8 and not vectors:
            return x
        x = self._resized(x).float() if x.dtype == torch.uint8 else x.clone()  # the rest works in place
        if self._offset is not None and self._offset.device != x.device:
            assert isinstance(self._scale, Tensor)
            self._scale, self._offset = self._scale.to(x.device), self._offset.to(x.device)
        scale = self._scale
        if generator is not None and self.augment:
            x = self.augment(x.mul_(1 / 255), generator)
            scale = scale * 255
        x = x.mul_(scale)
        return x if self._offset is None else x.add_(self._offset)

    def seen(self, x: Tensor) -> Tensor:
        """What the network sees of images as they are stored: encoded, where the data are codes, and `transform`ed."""
        return self.transform(x if self.encoder is None else self.encoder(x))

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        if isinstance(batch, Chunk) or all(part.device == device for part in batch):
            return batch  # Lightning's own way to find that out takes longer
        return super().transfer_batch_to_device(batch, device, dataloader_idx)

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        if isinstance(batch, Chunk):
            return batch
        if self.trainer is None or not self.trainer.training:
            return self._prepared(batch)
        return self._prepared(batch, self.trainer.fit_loop.epoch_loop.batch_progress.current.ready)

    def _prepared(self, batch: Any, step: int | None = None) -> Any:
        """A batch as the network sees it; step: of which training step of the epoch."""
        x, *rest = batch
        trainer, generator = self.trainer, None
        constant = step is not None and self.is_constant()
        if constant and self._whole is not None:  # each batch is this one: half of the time of a small net's epoch
            return self._whole
        if self.augment and trainer is not None and step is not None:
            seed = mix_seeds(self.seed, trainer.current_epoch, step, trainer.global_rank, 2)
            generator = Generator(x.device).manual_seed(seed)
        x = self.transform(x, generator)
        if trainer is not None:  # bytes have only now become numbers of the precision that the network has
            x = trainer.precision_plugin.convert_input(x)
        if constant:
            self._whole = (x, *rest)
        return x, *rest

    def is_constant(self) -> bool:
        """Whether all training batches are the same one, in the same order."""
        return self.batch_size == "all" and not (self.shuffle or self.augment)

    def training_batches(self, chunk: Chunk) -> Iterator[Any]:
        """A chunk's batches as the network sees them; small ones are taken from memory several at a time."""
        assert self.trainer is not None
        if self.is_constant() and self._whole is not None:
            yield from [self._whole] * len(chunk.batches)
            return
        examples, device = self.splits["train"], self.trainer.strategy.root_device
        first = examples.__getitems__(chunk.batches[0][:1])[0]
        several = 1 if self.augment else max(1, BLOCK // (4 * first.numel() * len(chunk.batches[0])))
        for i in range(0, len(chunk.batches), several):
            part = chunk.batches[i : i + several]
            batch = self.transfer_batch_to_device(examples.__getitems__(torch.cat(part)), device, 0)
            x, y = self._prepared(batch, chunk.first + i)
            sizes = [len(index) for index in part]
            yield from zip(x.split(sizes), y.split(sizes), strict=True)

    # --- loaders ---

    def setup(self, stage: str) -> None:
        self.prepare()
        assert self.trainer is not None
        device = self.trainer.strategy.root_device
        stores = {id(e.store): e.store for e in self.splits.values() if isinstance(e.store, Tensors)}
        fits = sum(store.x.nbytes for store in stores.values() if store.x.device != device) < _free(device) / 3
        if self.device == "auto" and device.type == "cuda" and fits:
            moved = {key: Tensors(store.x.to(device), store.y.to(device)) for key, store in stores.items()}
            for split, e in self.splits.items():
                if id(e.store) in moved:
                    self.splits[split] = Examples(moved[id(e.store)], e.index.to(device), e.y.to(device))

    def in_memory(self, split: str) -> bool:
        return isinstance(self.splits[split].store, Tensors)

    def batches(self, split: str, train: bool = False) -> Batches:
        """Which examples each batch has, to `train` on (shuffled, of batch_size) or to evaluate (eval_batch_size)."""
        examples, trainer = self.splits[split], self.trainer
        size = self.batch_size if train else self.eval_batch_size
        return Batches(
            len(examples),
            len(examples) if size == "all" else int(size),
            train,
            self.shuffle if train else False,
            self.drop_last,
            self.seed,
            # current_epoch is one too few while a run is about to go on, when workers fetch their first batches
            epoch=trainer.fit_loop.epoch_progress.current.processed if trainer is not None else 0,  # type: ignore[attr-defined]
            rank=trainer.global_rank if trainer is not None else 0,
            world=trainer.world_size if trainer is not None else 1,
            device=examples.y.device,
            steps=self.steps_per_epoch if train else None,
            first_steps=self.first_epoch_steps if train else None,
            balance=examples.y if train and self.balance is True else None,
        )

    def class_weights(self) -> Tensor:
        """[K]: what each training example of a class weighs so that all classes weigh alike, one on average."""
        counts = torch.bincount(self.splits["train"].y, minlength=len(self.classes))
        return len(self.splits["train"]) / (counts.count_nonzero() * counts.clamp_min(1))

    @functools.cached_property
    def steps_in_pass(self) -> int | None:
        """Steps that one pass over the training examples takes, where an epoch is cut in pieces; else None."""
        return len(self.batches("train", train=True).sizes) if self.steps_per_epoch is not None else None

    def loader(self, split: str, train: bool = False) -> DataLoader[Any]:
        """The `batches` of one split."""
        workers = 0 if self.in_memory(split) else self.workers
        workers = min(8, os.cpu_count() or 1) if workers is None else workers
        return DataLoader(
            self.splits[split],  # type: ignore[arg-type]
            batch_sampler=self.batches(split, train),  # type: ignore[arg-type]
            collate_fn=tuple,  # as it is
            num_workers=workers,
            persistent_workers=workers > 0,
            generator=Generator(),  # else each epoch draws a number from torch's own, which resuming would miss
        )

    def train_dataloader(self) -> "DataLoader[Any] | Chunks":
        return Chunks(self.batches("train", True), self.chunk) if self.chunk else self.loader("train", train=True)

    def val_dataloader(self) -> DataLoader[Any]:
        return self.loader("val")

    def test_dataloader(self) -> DataLoader[Any]:
        return self.loader(self.tested)


def _free(device: torch.device) -> int:
    """Bytes of memory that a GPU has left."""
    return torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else 0
