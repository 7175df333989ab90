"""The order of the examples."""

import math
from collections.abc import Iterator
from itertools import chain, count, islice
from typing import NamedTuple

import torch
from torch import Generator, Tensor

from dlcourse.core.seeds import mix_seeds


class Batches:
    """The order of the examples, a batch of numbers at a time: a function of (seed, epoch) and nothing else.

    Lightning calls `set_epoch` on a loader's sampler, so that a run that is resumed goes on in the order it
    would have had. Of `world` processes each takes every world-th example of the one common order, in as many
    batches as the others, since they wait for each other at each step.

    steps: an epoch has so many batches (and the first one `first_steps`) instead of one pass over the examples; passes
        follow each other regardless of where an epoch ends.
    shuffle: True: anew in each pass; `once`: one order for all; `replacement`: each batch drawn from all examples.
    balance: the examples' classes, int64 [n], of which a pass has each equally often, and so some examples of a small
        one several times; None: a pass has each example once.
    train: batches of `batch_size`; the last has what is left, unless `drop_last` or the processes' shares would
        differ. A single image that is left over joins the batch before it: batch norm can't train on one.
    otherwise: every example once, in order, in batches of nearly the same size, `batch_size` at most.
    """

    def __init__(
        self,
        n: int,
        batch_size: int,
        train: bool = False,
        shuffle: bool | str = False,
        drop_last: bool = False,
        seed: int = 0,
        epoch: int = 0,
        rank: int = 0,
        world: int = 1,
        device: torch.device | None = None,
        steps: int | None = None,
        first_steps: int | None = None,
        balance: Tensor | None = None,
    ) -> None:
        self.members = [] if balance is None else [(balance.cpu() == k).nonzero()[:, 0] for k in balance.unique()]
        self.n, self.shuffle, self.seed, self.epoch = n, shuffle, seed, epoch
        self.steps, self.first_steps = steps, first_steps or steps
        self.rank, self.world, self.device = rank, world, device
        mine = len(range(rank, n - n % world if train else n, world))
        full, rest = divmod(mine, batch_size)
        if train:
            self.sizes = [batch_size] * full
            if rest == 1 and full and batch_size > 1 and not drop_last:
                self.sizes[-1] += 1
            elif rest and not (drop_last and full):
                self.sizes.append(rest)
        else:
            batches = max(1, min(math.ceil(math.ceil(n / world) / batch_size), n // world))  # none is empty
            self.sizes = [mine // batches + (i < mine % batches) for i in range(batches)]

    @property
    def sampler(self) -> "Batches":
        return self

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        if self.steps is None or self.first_steps is None:
            return len(self.sizes)
        return self.steps if self.epoch else self.first_steps

    def __iter__(self) -> Iterator[Tensor]:
        # A generator: Lightning asks for the first epoch's iterator before it calls set_epoch.
        if self.steps is None or self.first_steps is None:
            yield from self._one_pass(self.epoch)
            return
        begin = self.first_steps + (self.epoch - 1) * self.steps if self.epoch else 0
        done, skipped = divmod(begin, len(self.sizes))
        stream = chain.from_iterable(self._one_pass(i) for i in count(done))
        yield from islice(stream, skipped, skipped + len(self))

    def _one_pass(self, number: int) -> Iterator[Tensor]:
        generator = Generator().manual_seed(mix_seeds(self.seed, 0 if self.shuffle == "once" else number))
        if self.shuffle == "replacement":
            order = torch.randint(self.n, (self.world * sum(self.sizes),), generator=generator)
        elif self.members:
            order = self._balanced(generator)
        elif self.shuffle:
            order = torch.randperm(self.n, generator=generator)
        else:
            order = torch.arange(self.n)
        mine = order[self.rank :: self.world].to(self.device)
        yield from mine[: sum(self.sizes)].split(self.sizes)

    def _balanced(self, generator: Generator) -> Tensor:
        """As many numbers as there are examples, of each class as many; its examples in turn, each time shuffled."""
        each = math.ceil(self.n / len(self.members))
        drawn = []
        for members in self.members:
            rounds = math.ceil(each / len(members))
            shuffled = [members[torch.randperm(len(members), generator=generator)] for _ in range(rounds)]
            drawn.append(torch.cat(shuffled)[:each])
        return torch.cat(drawn)[torch.randperm(each * len(drawn), generator=generator)[: self.n]]


class Chunk(NamedTuple):
    """Some of the `steps` batches of an epoch, from the one numbered `first` on, as numbers of examples."""

    first: int
    steps: int
    batches: list[Tensor]


class Chunks:
    """The batches of an epoch, `size` of them at a time."""

    def __init__(self, batches: Batches, size: int) -> None:
        self.sampler, self.size = batches, size  # Lightning tells the sampler which epoch it is

    def __len__(self) -> int:
        return math.ceil(len(self.sampler) / self.size)

    def __iter__(self) -> Iterator[Chunk]:
        batches = iter(self.sampler)
        for first in range(0, len(self.sampler), self.size):
            yield Chunk(first, len(self.sampler), list(islice(batches, self.size)))
