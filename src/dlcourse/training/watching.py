"""What a run's loggers are shown besides its metrics: its config, its charts, and pictures of how it learns."""

import logging
from collections.abc import Sequence
from typing import Any

import lightning as L
import numpy as np
from lightning.pytorch.loggers import TensorBoardLogger
from omegaconf import OmegaConf

from dlcourse.data.module import DataModule
from dlcourse.plots.tiles import confusion_tile, tiles, weight_tiles
from dlcourse.tasks import Classify, Task
from dlcourse.training.loggers import log_image
from dlcourse.training.pictures import codes, confident_mistakes, first_layer_images, reconstructed

log = logging.getLogger(__name__)


class Watch(L.Callback):
    """Shows pictures after some epochs (counted from 1) and the last, of the validation set: `while_training/...`.

    They are the first layer's weights, the confusion matrix, the most confident mistakes, reconstructions: whatever
    the task has. Nothing is drawn at random for them, and they take less than a tenth of a second.
    """

    def __init__(self, epochs: Sequence[int], plain: dict[str, Any], command: str) -> None:
        self.epochs, self.plain, self.command = set(epochs), plain, command
        self.shown_at = -1

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        assert isinstance(pl_module, Task)
        for logger in trainer.loggers:
            if isinstance(logger, TensorBoardLogger) and trainer.is_global_zero:
                logger.experiment.add_custom_scalars({"train and val": charts(pl_module.metric_names())})
                text = f"    {self.command}\n\n" + "\n".join(
                    f"    {line}" for line in OmegaConf.to_yaml(OmegaConf.create(self.plain)).splitlines()
                )
                logger.experiment.add_text("config", text)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if trainer.current_epoch + 1 in self.epochs:
            self.show(trainer, pl_module)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if self.epochs:
            self.show(trainer, pl_module)

    def show(self, trainer: L.Trainer, task: L.LightningModule) -> None:
        """Show the network as it is now, unless it has been."""
        step, data = trainer.global_step, trainer.datamodule  # type: ignore[attr-defined]
        if not trainer.is_global_zero or step == self.shown_at:
            return
        self.shown_at = step
        assert isinstance(task, Task)
        training = task.training
        task.eval()
        whole = trainer.world_size == 1  # of several processes each has validated a share
        try:
            for name, picture in pictures(task, data, whole).items():
                log_image(trainer.loggers, f"while_training/{name}", picture, step)
        except Exception as error:  # no reason to lose a run
            log.warning("pictures after step %s could not be shown: %s", step, error)
        task.train(training)


def charts(names: Sequence[str]) -> dict[str, list[Any]]:
    """TensorBoard's custom scalars: a chart a metric, with a line for train and one for val."""
    both = [name[6:] for name in names if name.startswith("train/") and f"val/{name[6:]}" in names]
    return {name: ["Multiline", [f"^train/{name}$", f"^val/{name}$"]] for name in both}


def pictures(task: Task, data: DataModule, validated: bool) -> dict[str, Any]:
    """What a task in evaluation mode has to show, uint8 [H, W, 3]. validated: whether its validation was all of val."""
    made = {}
    if (weights := first_layer_images(task, data)) is not None:
        made["weights"] = weight_tiles(weights)
    if validated and isinstance(task, Classify) and task.validated:
        made["confusion"] = confusion_tile(task.confusion("val").cpu().numpy(), data.classes)
        if found := confident_mistakes(task, data, "val", among=200, most=24):
            names = [str(name)[:4] for name in data.classes]
            said = [f"{names[a]} as {names[b]}" for a, b in zip(found.true, found.predicted, strict=True)]
            made["mistakes"] = tiles(found.images, said, columns=6)
    if len(data.splits["val"]) and (rows := reconstructed(task, data, "val")):
        images = list(rows[0].values())
        made["reconstructions"] = tiles(np.concatenate(images), columns=len(images[0]))
    return made


def show_codes(loggers: Sequence[Any], task: Task, data: DataModule, step: int) -> None:
    """TensorBoard's projector: the codes of an autoencoder's test images, each shown as its image."""
    for logger in loggers:
        if isinstance(logger, TensorBoardLogger) and (found := codes(task, data)):
            vectors, names, images = found
            logger.experiment.add_embedding(vectors, names, images, step, "codes")
