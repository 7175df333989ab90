"""Everything that a run needs, checked before any data are read."""

import contextlib
import logging
import os
import warnings
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.profilers import PassThroughProfiler
from lightning.pytorch.utilities.exceptions import MisconfigurationException

from dlcourse import runs
from dlcourse.callbacks import Keep, Progress, Reseed, WholeCheckpoints
from dlcourse.config.instantiate import build
from dlcourse.core import cli
from dlcourse.core.errors import InputError, first_line, or_list
from dlcourse.data.module import DataModule
from dlcourse.runs import main_process
from dlcourse.tasks import Reconstruct, Task
from dlcourse.training.loading import build_data, build_task, read_checkpoint
from dlcourse.training.loggers import build_loggers

# keys of `trainer` that are not arguments of Lightning's
OURS = ("matmul_precision", "progress", "figures", "selection", "evaluate", "log_steps", "stepping", "on_nan",
        "max_time", "images")  # fmt: skip


def assemble(plain: dict[str, Any], run: Path, resume: bool = False) -> tuple[Task, DataModule, L.Trainer, Keep]:
    """Everything that a run needs, built from its config and tried on an empty batch; no data are read yet."""
    seed = plain["seed"]
    L.seed_everything(seed, verbose=False)
    task = build_task(plain)
    data = build_data(plain, run=run)
    try_shapes(task, data, plain)
    if isinstance(task, Reconstruct) and data.normalize != "unit":
        raise InputError(f"data.normalize={data.normalize}: an autoencoder is for pixels in [0, 1]: unit")
    check_monitor(task, plain)
    task.configure_optimizers()  # only to find out whether it can
    settings = plain["trainer"]
    keep = Keep(run, task.monitor, settings["selection"], settings["log_steps"], settings.get("on_nan"),
                settings.get("max_time"))  # fmt: skip
    if resume:
        keep.continue_from(read_checkpoint(runs.checkpoint_path(run, runs.LAST), mmap=True))
    callbacks: list[L.Callback] = [keep, Reseed(seed)]
    options = {k: v for k, v in plain["trainer"].items() if k not in OURS and v is not None}
    if plain["trainer"]["progress"] and main_process():
        callbacks.append(Progress(terminal=os.isatty(2) and cli.place.get() is not None))
    if plain["stopping"]:
        callbacks.append(build(plain["stopping"], L.Callback, "stopping"))
    loggers = build_loggers(plain, run, runs.read_result(run).get("loggers", {}) if resume else {}, keep.rows)
    check_devices(plain["trainer"])
    try:
        trainer = L.Trainer(
            **options,
            default_root_dir=run,
            callbacks=callbacks,
            plugins=[WholeCheckpoints()],
            logger=loggers or False,
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
            profiler=Unprofiled(),
            log_every_n_steps=10**9,  # metrics are logged once an epoch
            reload_dataloaders_every_n_epochs=int(data.first_epoch_steps is not None),  # its epochs differ in length
            use_distributed_sampler=False,
        )
    except (TypeError, ValueError, MisconfigurationException) as error:
        raise InputError(f"trainer: {first_line(error)}") from error
    if trainer.world_size > 1 and not any(p.requires_grad for p in task.parameters()):
        raise InputError(f"model={plain['model']['name']} has no weights to train: trainer.devices=1 is enough")
    return task, data, trainer, keep


def read_data(task: Task, data: DataModule) -> None:
    """Read the data, and tell the task what it has to know of them before it is trained."""
    data.prepare()
    if data.balance == "weights":
        task.weigh_classes(data.class_weights())


class Unprofiled(PassThroughProfiler):
    """No profiler: Lightning's own empty one is a generator that each step enters 58 times."""

    nothing: AbstractContextManager[None] = contextlib.nullcontext()

    def profile(self, action_name: str) -> Any:
        return self.nothing


def try_shapes(task: Task, data: DataModule, plain: dict[str, Any]) -> None:
    """One forward pass of two empty images: sizes that don't fit are found before any data are read."""
    task.eval()
    try:
        with torch.no_grad():
            task.check_output(task.net(torch.zeros(2, *data.shape)))
    except (RuntimeError, ValueError, AssertionError) as error:
        taken = f"model={plain['model']['name']} does not take data.shape={list(data.shape)}"
        raise InputError(f"{taken}: {first_line(error)}") from None
    task.train()


def check_monitor(task: Task, plain: dict[str, Any]) -> None:
    for key in ("model", "stopping"):
        monitor = plain[key].get("monitor")
        if monitor is not None and monitor not in task.metric_names():
            raise InputError(f"{key}.monitor={monitor} is not logged: it can be {or_list(task.metric_names(), 40)}")
        if monitor is not None and monitor.startswith("test/"):
            raise InputError(
                f"{key}.monitor={monitor}: the test set is only for testing; data.val=test makes it val/..."
            )


def check_devices(options: dict[str, Any]) -> None:
    """Say in one sentence what Lightning would say in a traceback."""
    if options["accelerator"] == "gpu":
        found = torch.cuda.device_count()
        if not found:
            raise InputError("trainer.accelerator=gpu: torch finds no CUDA GPU here; trainer=cpu trains without one")
        if isinstance(options["devices"], int) and options["devices"] > found:
            raise InputError(f"trainer.devices={options['devices']}: there are {found} GPUs here")


def quiet() -> None:
    """Leave out what Lightning says on every run, and its advice that is wrong for data in memory."""
    if not torch.cuda.is_available():  # else an optimizer looks for a GPU at each step by loading NVIDIA's library
        os.environ["PYTORCH_NVML_BASED_CUDA_CHECK"] = "0"
    for name in ("lightning.pytorch", "lightning.fabric", "lightning.pytorch.utilities.rank_zero"):
        logging.getLogger(name).setLevel(logging.WARNING)
    for text in (
        ".*does not have many workers.*",
        ".*Checkpoint directory.*exists.*",
        ".*treespec.*",
        ".*LeafSpec.*",
        ".*logging interval.*",
        ".*in eval mode.*",
        ".*sync_dist=True.*",
    ):
        warnings.filterwarnings("ignore", text)
