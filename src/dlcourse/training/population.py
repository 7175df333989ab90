"""Runs of one structure trained at once: their steps are one program, all the rest is each run's own.

Each run is trained as ever, in a thread of its own, of which one works at a time. A run that has come to its next chunk
of steps waits for the others; when all are there, the steps are made together: parameters stacked, forward and backward
once for all members (`torch.func.vmap`), one optimizer for those whose settings are the same.
"""

import json
import logging
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextvars import ContextVar
from copy import deepcopy
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import torch
from lightning.pytorch.utilities.exceptions import SIGTERMException
from torch import Tensor, nn
from torch.func import functional_call, vmap
from torch.optim import SGD, Adam, AdamW, Optimizer, RMSprop

from dlcourse.config.identity import NOT_HASHED, flatten
from dlcourse.core.errors import first_line
from dlcourse.data.order import Chunk
from dlcourse.tasks import Finetune, Task
from dlcourse.tasks.task import Record
from dlcourse.training.stepping import Steps, take_steps

log = logging.getLogger(__name__)

CHUNK = 200  # steps of each member between two meetings
ELEMENTWISE = (
    SGD,
    Adam,
    AdamW,
    RMSprop,
)  # optimizers that treat each number by itself, so those of several members too


@dataclass
class Visit:
    """A member at a meeting: the steps that it is to make, its random numbers, whether it makes them alone."""

    steps: Steps
    random: Tensor
    alone: bool = False


class Population:
    """Trains runs at once; see `run`. A run that is a member finds its population by `current`."""

    def __init__(self) -> None:
        self.turn = threading.Condition()  # whoever holds it works
        self.visits: list[Visit] = []
        self.meetings = self.training = 0  # meetings held, members that have not ended
        self.most = sys.maxsize  # members that a program has room for
        self.interrupted = self.apart = False

    def run(self, members: Sequence[Callable[[], Any]]) -> list[Any]:
        """Call each of the functions, which train a run each; what they return, or the exceptions that they raise.

        Ctrl-C and SIGTERM interrupt every run as they would a single one; then KeyboardInterrupt is raised.
        """
        outcomes: list[Any] = [None] * len(members)

        def train(i: int) -> None:
            _current.set(self)
            with self.turn:
                try:
                    outcomes[i] = members[i]()
                except BaseException as error:
                    outcomes[i] = error
                self.training -= 1
                self.turn.notify_all()

        self.training = len(members)
        threads = [threading.Thread(target=train, args=(i,), name=f"member {i}") for i in range(len(members))]
        main = threading.current_thread() is threading.main_thread()
        before = signal.signal(signal.SIGTERM, signal.getsignal(signal.SIGINT)) if main else None
        with self.turn:
            for thread in threads:
                thread.start()
            while self.training:
                self._hold_meeting()
        if main:
            signal.signal(signal.SIGTERM, before)
        if self.interrupted:
            raise KeyboardInterrupt
        return outcomes

    def _hold_meeting(self) -> None:
        """Wait until every member is there or has ended, and make the steps of those that are there."""
        try:
            self.turn.wait_for(lambda: len(self.visits) == self.training)
            for _, visits in groupby(sorted(self.visits, key=_sizes), _sizes):
                self._step(list(visits))
        except KeyboardInterrupt:
            self.interrupted = True
        self.visits = []
        self.meetings += 1
        self.turn.notify_all()

    def _step(self, visits: list[Visit]) -> None:
        if len(visits) > self.most:
            for i in range(0, len(visits), self.most):
                self._step(visits[i : i + self.most])
            return
        if len(visits) > 1 and not self.apart:
            try:
                step_together(visits)
                return
            except Exception as error:  # nothing of any member has been touched
                if "memory" in str(error) and len(visits) > 2:
                    self.most = len(visits) // 2
                    log.warning("the memory is too small for %d runs at once: %d at a time", len(visits), self.most)
                    self._step(visits)
                    return
                self.apart = True
                log.warning("these runs are trained one by one: %s", first_line(error))
        for visit in visits:
            visit.alone = True

    def meet(self, steps: Steps) -> None:
        """For a member: make these steps when the others have come."""
        visit, number = Visit(steps, torch.get_rng_state()), self.meetings
        if not self.interrupted:
            self.visits.append(visit)
            self.turn.notify_all()
            self.turn.wait_for(lambda: self.meetings > number)
        if self.interrupted:
            raise SIGTERMException  # as Lightning ends a run that is to go on some day
        torch.set_rng_state(visit.random)
        if visit.alone:
            take_steps(steps)


FREE = ("name", "seed", "optimizer", "schedule", "stopping", "logger", "trainer.max_epochs", "trainer.evaluate",
        "trainer.selection", "trainer.log_steps", "model.monitor", "model.noise_probability", "model.noise_std",
        *NOT_HASHED)  # fmt: skip
"""The keys that members may differ in; all others make the structure."""


def alike(plains: Sequence[dict[str, Any] | None], most: int) -> list[list[int]]:
    """Which of these configs can be members of one population, by their numbers; at most `most` in one.

    A config that is None is alone.
    """
    groups: dict[Any, list[int]] = {}
    for i, plain in enumerate(plains):
        rest = {k: v for k, v in flatten(plain or {}).items() if not k.startswith(FREE)}
        groups.setdefault(json.dumps(rest, sort_keys=True) if plain else i, []).append(i)
    return [group[i : i + most] for group in groups.values() for i in range(0, len(group), most)]


_current: ContextVar[Population | None] = ContextVar("population", default=None)


def current() -> Population | None:
    """The population that this thread's run is a member of."""
    return _current.get()


def needs_own_program(task: Task) -> str:
    """Why a run's steps can't be made together with those of others; empty where they can."""
    kind, net = type(task), task.net
    if kind.training_step is not Task.training_step or isinstance(task, Finetune):
        return f"{kind.__name__} has a training step of its own"
    if any(isinstance(module, nn.modules.dropout._DropoutNd) and module.p for module in net.modules()):
        return "dropout draws numbers within the network"
    return ""


def _sizes(visit: Visit) -> list[int]:
    return [len(batch) for batch in visit.steps.chunk.batches]


# --- one program -----------------------------------------------------------------------------------------------------


def step_together(visits: Sequence[Visit]) -> None:
    """Make the steps of several members of one structure, whose batches have the same sizes.

    The members are handed their new parameters at the end; an error leaves all of them as they were.
    """
    visits = sorted(visits, key=lambda visit: _setting(visit.steps.optimizer))  # members of one setting side by side
    members = [visit.steps for visit in visits]
    first, stacked = members[0], Stacked(members)
    same = first.data.is_constant()  # then all members have the same batches too
    forward = vmap(_program(first.task), (0, 0, None, None) if same else 0)
    rows: list[tuple[Tensor, tuple[Tensor, ...]]] = []
    for batch in first.data.training_batches(first.chunk) if same else _batches(visits):
        with first.trainer.precision_plugin.train_step_context():
            goal, loss, columns = forward(stacked.parameters, stacked.buffers, *batch)
        stacked.step(goal, first.trainer.gradient_clip_val, str(first.trainer.gradient_clip_algorithm))
        rows.append((loss.detach(), columns))
    stacked.hand_back()
    losses = torch.stack([loss for loss, _ in rows], 1)  # [members, steps]
    joined = [torch.cat(column, 1) for column in zip(*(columns for _, columns in rows), strict=True)]
    sizes = _sizes(visits[0]) if joined else [1] * len(rows)
    for i, member in enumerate(members):
        member.task.records["train"].append(Record(losses[i], sizes, tuple(column[i] for column in joined)))


def _program(task: Task) -> Callable[..., Any]:
    """A task's training step as a function of its network's parameters and buffers and a batch.

    It gives what the gradient is of, the mean loss, and what `step` keeps.
    """

    class Step(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = task.net

        def forward(self, *batch: Tensor) -> Any:
            loss, columns = task.step(batch, "train")  # type: ignore[arg-type]
            return loss * task.terms(batch) if task.sum_loss else loss, loss, columns  # type: ignore[arg-type]

    step = Step()
    return lambda parameters, buffers, *batch: functional_call(step, (parameters, buffers), batch)


def _batches(visits: Sequence[Visit]) -> Iterator[tuple[Tensor, ...]]:
    """Each step's batches, stacked: x [members, B, ...], y [members, B]; with what the tasks draw for them."""
    members = [visit.steps for visit in visits]
    first, many = members[0], len(visits)
    if first.data.augment:
        own = (member.data.training_batches(member.chunk) for member in members)
        stream = (tuple(map(torch.stack, zip(*batches, strict=True))) for batches in zip(*own, strict=True))
    else:
        together = [torch.cat(batches) for batches in zip(*(m.chunk.batches for m in members), strict=True)]
        joined = first.data.training_batches(Chunk(first.chunk.first, first.chunk.steps, together))
        stream = (tuple(part.unflatten(0, (many, -1)) for part in batch) for batch in joined)
    if type(first.task).corrupt is Task.corrupt:
        yield from stream
        return
    randoms = [visit.random for visit in visits]
    for batch in stream:
        drawn = []
        for i, member in enumerate(members):
            torch.set_rng_state(randoms[i])
            with first.trainer.precision_plugin.train_step_context():  # in the precision that the member would draw in
                drawn.append(member.task.corrupt((batch[0][i], batch[1][i])))
            randoms[i] = torch.get_rng_state()
        yield tuple(map(torch.stack, zip(*drawn, strict=True)))
    for visit, random in zip(visits, randoms, strict=True):
        visit.random = random


def _setting(optimizer: Optimizer) -> str:
    """What optimizers have to agree in to step together: their kind, settings, and how many steps they have made.

    Not the learning rate: a step is as long as it is high.
    """
    (group,) = optimizer.param_groups
    settings = {key: value for key, value in group.items() if key not in ("params", "lr")}
    state = optimizer.state.get(group["params"][0], {})
    return f"{type(optimizer).__name__} {sorted(settings.items())} {sorted(state)} {float(state.get('step', 0)):.0f}"


class Stacked:
    """Parameters and buffers of members, [members, ...] each by its name, and an optimizer for each setting.

    Raises ValueError for members that can't be stacked.
    """

    def __init__(self, members: Sequence[Steps]) -> None:
        self.members = members
        self.own = [dict(member.task.net.named_parameters(prefix="net")) for member in members]
        for member, own in zip(members, self.own, strict=True):
            if list(map(id, own.values())) != list(map(id, member.optimizer.param_groups[0]["params"])):
                raise ValueError("an optimizer has other parameters than the network's, all of them")
            if type(member.optimizer) not in ELEMENTWISE:
                raise ValueError(f"{type(member.optimizer).__name__} does not treat each parameter by itself")
        self.own_buffers = [dict(member.task.net.named_buffers(prefix="net")) for member in members]
        self.parameters = {
            k: torch.stack([own[k].detach().contiguous() for own in self.own]).requires_grad_() for k in self.own[0]
        }  # contiguous, as gradients are made: fused optimizers take that for granted
        self.buffers = {k: torch.stack([own[k] for own in self.own_buffers]) for k in self.own_buffers[0]}
        self.parts: list[Part] = []
        begin = 0
        for _, group in groupby(members, lambda member: _setting(member.optimizer)):
            part = slice(begin, begin := begin + len(list(group)))
            self.parts.append(self._part(part))

    def _part(self, rows: slice) -> "Part":
        """Those members of one setting, with the state that their optimizers have."""
        optimizers = [member.optimizer for member in self.members[rows]]
        groups = [optimizer.param_groups[0] for optimizer in optimizers]
        parameters = [p.detach()[rows] for p in self.parameters.values()]
        optimizer = type(optimizers[0])(parameters, lr=groups[0]["lr"])  # type: ignore[call-arg]
        optimizer.param_groups[0].update({k: v for k, v in groups[0].items() if k != "params"})
        for name, parameter in zip(self.parameters, parameters, strict=True):
            states = [o.state.get(own[name], {}) for o, own in zip(optimizers, self.own[rows], strict=True)]
            optimizer.state[parameter] = {k: _merge(k, [state[k] for state in states]) for k in states[0]}
        rates = torch.tensor([group["lr"] for group in groups], dtype=torch.float64)
        if (rates == rates[0]).all():
            return Part(rows, optimizer, None)
        optimizer.param_groups[0]["lr"] = 1.0
        return Part(rows, optimizer, [rates.to(p).view(-1, *[1] * (p.dim() - 1)) for p in parameters])

    def step(self, goals: Tensor, clip: float | None, algorithm: str) -> None:
        """A step of all members, each along the gradient of its goal; goals: [members]."""
        gradients = torch.autograd.grad(goals.sum(), list(self.parameters.values()))
        gradients = tuple(gradient.contiguous() for gradient in gradients)  # fused optimizers take that for granted
        if clip and algorithm == "value":
            torch._foreach_clamp_min_(gradients, -clip)
            torch._foreach_clamp_max_(gradients, clip)
        elif clip:
            norms = torch.stack([g.flatten(1).norm(dim=1) for g in gradients]).norm(dim=0)
            factors = (clip / (norms + 1e-6)).clamp(max=1.0)
            gradients = tuple(g * factors.view(-1, *[1] * (g.dim() - 1)) for g in gradients)
        for part in self.parts:
            part.step([gradient[part.rows] for gradient in gradients])

    def hand_back(self) -> None:
        """Give each member its parameters, buffers and optimizer state."""
        for i in range(len(self.members)):
            for name, own in self.own[i].items():
                own.data.copy_(self.parameters[name][i].detach())
            for name, buffer in self.own_buffers[i].items():
                buffer.copy_(self.buffers[name][i])
        for part in self.parts:
            for name, parameter in zip(self.parameters, part.parameters, strict=True):
                state = part.optimizer.state[parameter]
                for row, i in enumerate(range(part.rows.start, part.rows.stop)):
                    mine = {k: _split(k, value, row) for k, value in state.items()}
                    self.members[i].optimizer.state[self.own[i][name]] = mine
                    self.members[i].optimizer._opt_called = True  # type: ignore[attr-defined]  # schedules ask for it


@dataclass
class Part:
    """Members of one setting: which they are, one optimizer of all their parameters, and their learning rates.

    rates: [members, 1, ...] for each parameter; the optimizer's own rate is 1 then. None where they have one in common.
    """

    rows: slice
    optimizer: Optimizer
    rates: list[Tensor] | None

    @property
    def parameters(self) -> list[Tensor]:
        parameters: list[Tensor] = self.optimizer.param_groups[0]["params"]
        return parameters

    def step(self, gradients: Sequence[Tensor]) -> None:
        """A step of each member. gradients: [members, ...] of each parameter."""
        for parameter, gradient in zip(self.parameters, gradients, strict=True):
            parameter.grad = gradient
        if self.rates is None:
            self.optimizer.step()
            return
        before = [parameter.clone() for parameter in self.parameters]
        self.optimizer.step()
        moves = torch._foreach_mul(torch._foreach_sub(self.parameters, before), self.rates)
        for parameter, old, move in zip(self.parameters, before, moves, strict=True):
            torch.add(old, move, out=parameter)


def _merge(key: str, values: list[Any]) -> Any:
    """An optimizer's state of several members as one; `step` they have in common."""
    return (
        torch.stack([value.contiguous() for value in values])
        if isinstance(values[0], Tensor) and key != "step"
        else deepcopy(values[0])
    )


def _split(key: str, value: Any, i: int) -> Any:
    return value[i].clone() if isinstance(value, Tensor) and key != "step" else deepcopy(value)
