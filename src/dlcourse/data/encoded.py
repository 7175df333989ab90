"""Codes: what a fixed function gives for each example, computed once and kept on disk like any prepared data."""

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from operator import itemgetter
from pathlib import Path

import torch
from torch import Tensor

from dlcourse.data.cache import cache_file, read, save
from dlcourse.data.tensors import Examples

log = logging.getLogger(__name__)

BATCH = 100  # examples that are encoded at a time


@dataclass(eq=False)
class Encoder:
    """A function of stored examples (uint8 [B, C, H, W], as their store has them) that gives codes, float32 [B, ...].

    words: what it is, in a sentence after "codes by". mark: a text that differs where the codes would.
    files: sha256 of the files that it was made from. comparable: whether those are the published ones, if any are.
    config_hash: of the run that it comes from, if any.
    """

    function: Callable[[Tensor], Tensor]
    words: str
    mark: str
    files: dict[str, str] = field(default_factory=dict)
    comparable: bool = True
    config_hash: str | None = None

    def fit(self, train: Examples) -> None:
        """Learn what has to be learnt of the training examples, and of no others. Most encoders are trained already."""

    def save(self, path: Path) -> None:
        """Write down what `fit` has learnt, if anything."""

    @torch.no_grad()
    def __call__(self, x: Tensor) -> Tensor:
        return self.function(x)


def encoded(examples: Examples, encoder: Encoder, *key: object) -> Tensor:
    """The codes of examples, from the cache where they are there. `key`: what differs where the examples do."""
    path = cache_file("codes", encoder.mark, *key)
    codes: Tensor | None = read(path, itemgetter("codes"))
    if codes is None:
        log.info("encoding %s examples by %s", f"{len(examples):,}", encoder.words)
        batches = torch.arange(len(examples)).split(BATCH)
        codes = torch.cat([encoder(examples.__getitems__(batch)[0]) for batch in batches])
        save(path, {"codes": codes})
    return codes
