"""Fine-tuning a pretrained classifier: its head alone, all of it, or first the one and then the other."""

from typing import Any

import torch
from torch import Tensor, nn

from dlcourse.core.errors import InputError
from dlcourse.tasks.classify import Classify


class Finetune(Classify):
    """A classifier whose net has a pretrained `backbone` and a new `head`: `net(x)` is `head(features(x))`.

    train: `head`: the backbone stays as it is, in evaluation mode, so that its batch norms' statistics stay too.
        `all`: everything at one learning rate.
        `head_then_all`: the head for `head_epochs`, then everything, the backbone at `backbone_lr` times the
        rate.
    cache_features: with `train: head`, the backbone sees each image once, where that can be done; nothing else changes.
    """

    def __init__(
        self,
        net: dict[str, Any],
        optimizer: dict[str, Any],
        schedule: dict[str, Any] | None = None,
        monitor: str = "val/accuracy",
        loss: str = "cross_entropy",
        reduction: str = "mean",
        classes: int = 2,
        train: str = "head",
        head_epochs: int = 3,
        backbone_lr: float = 0.1,
        cache_features: bool = True,
    ) -> None:
        super().__init__(net, optimizer, schedule, monitor, loss, reduction, classes)
        self.plan, self.head_epochs, self.backbone_lr = train, head_epochs, backbone_lr
        self.cache_features = cache_features
        self.on_features = False  # what comes in has been through the backbone already
        self.frozen = False
        self._freeze(train != "all")

    @property
    def backbone(self) -> nn.Module:
        backbone = self.net.backbone
        assert isinstance(backbone, nn.Module)
        return backbone

    def forward(self, x: Tensor) -> Tensor:
        if not self.on_features:
            return super().forward(x)
        head = self.net.head
        assert isinstance(head, nn.Module)
        # as the backbone gives maps, so that dropout draws for each number what it would have drawn
        out: Tensor = head(x.contiguous(memory_format=torch.channels_last) if x.dim() == 4 else x)
        return out

    def _freeze(self, frozen: bool) -> None:
        self.frozen = frozen
        self.backbone.requires_grad_(not frozen)
        self.backbone.train(self.training and not frozen)

    def train(self, mode: bool = True) -> "Finetune":
        super().train(mode)
        if self.frozen:
            self.backbone.eval()
        return self

    def on_fit_start(self) -> None:
        if self.plan == "head_then_all" and self.trainer.world_size > 1:  # ddp asks once what has a gradient
            raise InputError("model.train=head_then_all runs on one device: trainer.devices=1")

    def on_train_epoch_start(self) -> None:
        super().on_train_epoch_start()
        if self.plan == "head_then_all":  # a function of the epoch alone, so that a resumed run does the same
            self._freeze(self.current_epoch < self.head_epochs)

    def parameter_groups(self) -> list[dict[str, Any]]:
        if self.plan != "head_then_all":
            return super().parameter_groups()
        backbone: list[Tensor] = list(self.backbone.parameters())
        known = {id(p) for p in backbone}
        head = [p for p in self.net.parameters() if id(p) not in known]
        lr = self.optimizer_spec["lr"]
        return [{"params": head, "lr": lr}, {"params": backbone, "lr": lr * self.backbone_lr}]
