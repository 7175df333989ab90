"""Random numbers as a function of (seed, epoch)."""

import lightning as L
import torch

from dlcourse.core.seeds import mix_seeds


class Reseed(L.Callback):
    """Seed dropout and noise anew at each epoch, so that a run that is resumed draws what it would have drawn."""

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        torch.manual_seed(mix_seeds(self.seed, trainer.current_epoch, trainer.global_rank, 1))
