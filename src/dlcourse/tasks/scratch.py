"""The tasks with gradients by hand: PyTorch holds the weights and takes the steps, NumPy computes all in between."""

from typing import Any

import torch
from torch import Tensor, nn

from dlcourse import scratch
from dlcourse.core.errors import InputError, or_list
from dlcourse.nets import MLP, Autoencoder, ToyConvNet
from dlcourse.scratch.layers import Array
from dlcourse.tasks import classify, reconstruct, regress
from dlcourse.tasks.task import Batch, Task

ACTIVATIONS: dict[type[nn.Module], type[scratch.Layer]] = {
    nn.ReLU: scratch.ReLU,
    nn.Tanh: scratch.Tanh,
    nn.Sigmoid: scratch.Sigmoid,
    nn.Identity: scratch.Layer,
}


def array(tensor: Tensor) -> Array:
    """A tensor as an array: the same numbers in the same memory; of a GPU's a copy."""
    out: Array = tensor.detach().cpu().numpy()
    return out


def by_hand(net: nn.Module) -> scratch.Sequential:
    """The same network of `dlcourse.scratch`, its parameters the net's own, in their order.

    Raises InputError for a net with a part that there is no gradient by hand for.
    """
    if isinstance(net, ToyConvNet):
        return scratch.toy_convnet(array(net.filters.weight).squeeze(1), array(net.output.weight))
    parts: list[nn.Module] = [net]
    if isinstance(net, MLP):
        parts = list(net.layers)
    elif isinstance(net, Autoencoder) and net.tied:
        raise InputError("model=scratch has no gradient by hand for tied weights: model.net.tied=false")
    elif isinstance(net, Autoencoder):
        parts = []
        for layers, last in ((net.encoder, net.code_activation), (net.decoder, net.output_activation)):
            for layer in layers:
                parts += [layer, last if layer is layers[-1] else net.hidden_activation]
    return scratch.Sequential([_layer(part) for part in parts])


def _layer(part: nn.Module) -> scratch.Layer:
    if isinstance(part, nn.Linear):
        return scratch.Linear(*map(array, part.parameters()))
    if type(part) not in ACTIVATIONS:
        known = or_list(["Linear", *(kind.__name__ for kind in ACTIVATIONS)])
        raise InputError(
            f"model=scratch has no gradient by hand for {type(part).__name__}: the networks are MLP, Autoencoder and "
            f"ToyConvNet, of {known}"
        )
    return ACTIVATIONS[type(part)]()


class ByHand(Task):
    """What a task becomes without autograd: the network's output, the loss's gradient and all others by NumPy.

    The output comes from `scratch`, so there is no graph of it.
    `backward` puts the gradients by hand where the optimizer looks for them. The net itself, its weights' names and
    the checkpoints are those of the task with autograd: either can go on with the other's weights.
    """

    network: scratch.Sequential
    output: Array
    gradient: Array  # of the loss by the output

    def error(self, batch: Batch) -> tuple[scratch.Loss, Array]:
        """The loss that the task trains on, and what the network should have given, in the form that it takes."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        """What `net(x)` is, x [B, ...], computed by NumPy."""
        self.network = by_hand(self.net)
        self.output = self.network.forward(array(x.flatten(1)))
        y = torch.from_numpy(self.output).to(x.device)
        return y.view_as(x) if isinstance(self.net, Autoencoder) else y

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        logged = super().training_step(batch, batch_idx)
        loss, target = self.error(batch)
        _, self.gradient = (scratch.summed(loss) if self.sum_loss else loss)(self.output, target)
        return logged

    def backward(self, loss: Tensor, *args: Any, **kwargs: Any) -> None:
        """Instead of `loss.backward()`: the loss that is logged has no graph, and is not asked."""
        self.network.backward(self.gradient)
        for parameter, gradient in zip(self.net.parameters(), self.network.gradients, strict=True):
            parameter.grad = torch.from_numpy(gradient).view_as(parameter).to(parameter.device)

    def weigh_classes(self, weights: Tensor) -> None:
        Task.weigh_classes(self, weights)

    def configure_optimizers(self) -> Any:
        by_hand(self.net)
        return super().configure_optimizers()

    def setup(self, stage: str) -> None:
        """Refuse what a run asks of its trainer and NumPy can't do."""
        if self.trainer.world_size > 1:
            raise InputError("model=scratch runs on one device: trainer.devices=1")
        if self.trainer.accumulate_grad_batches != 1:
            raise InputError("trainer.accumulate_grad_batches: model=scratch takes a step for each batch: 1")
        if self.trainer.precision not in ("32-true", "64-true"):
            raise InputError(
                f"trainer.precision={self.trainer.precision}: model=scratch computes with NumPy, in 32-true or 64-true"
            )


class Classify(ByHand, classify.Classify):
    """As `tasks.Classify`: softmax with cross-entropy, or a sigmoid with binary cross-entropy."""

    def error(self, batch: Batch) -> tuple[scratch.Loss, Array]:
        x, y = batch
        if self.binary:
            return scratch.binary_cross_entropy, array(y.to(x.dtype))[:, None]
        return scratch.softmax_cross_entropy, array(y)


class Regress(ByHand, regress.Regress):
    """As `tasks.Regress`: squared error."""

    def error(self, batch: Batch) -> tuple[scratch.Loss, Array]:
        x, y = batch
        return scratch.squared_error, array(y.to(x.dtype)).reshape(len(y), -1)


class Reconstruct(ByHand, reconstruct.Reconstruct):
    """As `tasks.Reconstruct`: squared error to the (clean) input itself."""

    def error(self, batch: Batch) -> tuple[scratch.Loss, Array]:
        return scratch.squared_error, array(batch[0].flatten(1))
