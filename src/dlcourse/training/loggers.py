"""Lightning's loggers: which a config asks for, where each keeps a run, and what is shown in each."""

import contextlib
import logging
import os
import shutil
import uuid
from collections.abc import Iterator, Mapping, Sequence, Set
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import CSVLogger, Logger, MLFlowLogger, TensorBoardLogger, WandbLogger
from matplotlib.figure import Figure
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData
from torch.utils.tensorboard import SummaryWriter
from torch.utils.tensorboard.summary import hparams

from dlcourse.config.identity import flatten
from dlcourse.config.instantiate import build, locate
from dlcourse.core.errors import InputError, first_line
from dlcourse.launch.jobs import loggers_in_use
from dlcourse.plots import Array

log = logging.getLogger(__name__)
Rows = Sequence[Mapping[str, float]]


def build_loggers(plain: dict[str, Any], run: Path, known: Mapping[str, str], rows: Rows) -> list[Logger]:
    """The loggers of a config, which keep what they keep in or beside the run's directory.

    known: where those that have names of their own for runs keep this one, see `open_loggers`. rows: its epochs so far.
    """
    return [_build(name, spec, run, known.get(name), rows) for name, spec in loggers_in_use(plain).items()]


def _build(name: str, spec: dict[str, Any], run: Path, known: str | None, rows: Rows) -> Logger:
    kind = locate(spec["_target_"], Logger, "logger")  # type: ignore[type-abstract]
    here: dict[str, Any] = {}
    if issubclass(kind, TensorBoardLogger):
        here = {"save_dir": str(run), "name": "", "version": "", "default_hp_metric": False}
        here |= {"purge_step": rows[-1]["step"] + 1} if rows else {}  # later ones are of epochs that are trained anew
    elif issubclass(kind, CSVLogger):
        here = {"save_dir": str(run), "name": "csv", "version": ""}
        shutil.rmtree(run / "csv", ignore_errors=True)  # it would not go on with a file: the rows are written anew
    elif issubclass(kind, WandbLogger):
        here = {"save_dir": str(run), "version": known or uuid.uuid4().hex[:8], "reinit": "create_new"}
        here |= {"settings": {"silent": True, "console": "off"}}
    elif issubclass(kind, MLFlowLogger):
        here = {"save_dir": str(run.parent / "mlruns"), "run_id": known}
        os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")  # since 3.7 it asks for a data base
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        logging.getLogger("lightning.pytorch.loggers.mlflow").setLevel(logging.ERROR)  # a new experiment is no warning
    with _one_sentence(name):
        logger = build(here | spec, Logger, name)  # type: ignore[type-abstract]
    if isinstance(logger, CSVLogger):
        for row in rows:
            logger.log_metrics({k: v for k, v in row.items() if k == "epoch" or "/" in k}, int(row["step"]) - 1)
    return logger


def open_loggers(plain: dict[str, Any], loggers: Sequence[Logger], resume: bool) -> dict[str, str]:
    """Begin a run in those loggers that keep runs under names of their own; returns these names.

    Raises InputError where that is refused: by a server that isn't there, or for want of a login.
    """
    opened = {}
    for (name, _), logger in zip(loggers_in_use(plain).items(), loggers, strict=True):
        if not isinstance(logger, WandbLogger | MLFlowLogger):
            continue
        with _one_sentence(name):
            _ = logger.experiment
            if not resume:
                logger.log_hyperparams(flatten(plain))
        opened[name] = str(logger.version)
        if isinstance(logger, WandbLogger):
            folder = Path(logger.experiment.dir).parent
            log.info("wandb: %s", f"wandb sync {folder}" if logger.experiment.offline else logger.experiment.url)
        else:
            log.info("mlflow: run %s, %s", logger.version, logger._tracking_uri)
    return opened


@contextlib.contextmanager
def _one_sentence(name: str) -> Iterator[None]:
    """What a logger's library says that refuses a run, each with errors of its own."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        raise InputError(f"{name}: no run can be begun there ({first_line(error)})") from error


def close_loggers(loggers: Sequence[Logger], done: bool) -> None:
    """Let loggers write what they still have, whatever became of the run."""
    for logger in loggers:
        with contextlib.suppress(Exception):  # what went wrong with the run is said instead
            logger.finalize("success" if done else "failed")
            if isinstance(logger, WandbLogger) and logger._experiment is not None:
                logger._experiment.finish(exit_code=int(not done))


def log_outcome(
    loggers: Sequence[Logger], chosen: Mapping[str, Any], first: Set[str], metrics: Mapping[str, float], step: int
) -> None:
    """How a run ended: its metrics, in TensorBoard's HPARAMS beside the values chosen for it, some of them first."""
    named = {f"whole_run/{name}": value for name, value in metrics.items()}  # the last of TensorBoard's groups of cards
    for logger in loggers:
        logger.log_metrics(named, step)
        if isinstance(logger, TensorBoardLogger) and named:
            about, begin, end = hparams(dict(chosen), named)
            plugin = about.value[0].metadata.plugin_data
            columns = HParamsPluginData.FromString(plugin.content)
            for column in columns.experiment.hparam_infos:
                column.differs = column.name in first
            for column in columns.experiment.metric_infos:
                column.display_name = column.name.tag.removeprefix("whole_run/")
            plugin.content = columns.SerializeToString()
            for summary in (about, begin, end):
                logger.experiment._get_file_writer().add_summary(summary, step)


def log_image(loggers: Sequence[Logger], tag: str, picture: Array, step: int) -> None:
    """Show a picture, uint8 [H, W, 3], in those loggers that can."""
    for logger in loggers:
        if isinstance(logger, TensorBoardLogger):
            logger.experiment.add_image(tag, picture, step, dataformats="HWC")
        elif isinstance(logger, WandbLogger):
            logger.log_image(tag, [picture], step)
        elif isinstance(logger, MLFlowLogger) and logger.run_id:
            logger.experiment.log_image(logger.run_id, picture, key=tag, step=step)


def log_figure(loggers: Sequence[Logger], name: str, figure: Figure, file: Path, step: int) -> None:
    """Show a figure that has been saved as a file."""
    for logger in loggers:
        if isinstance(logger, TensorBoardLogger):
            logger.experiment.add_figure(f"whole_run/{name}", figure, step, close=False)
        elif isinstance(logger, WandbLogger) and file.is_file():
            logger.log_image(name, [str(file)], step)
        elif isinstance(logger, MLFlowLogger) and logger.run_id and file.is_file():
            logger.experiment.log_artifact(logger.run_id, str(file), "figures")


def add_text(run: Path, tag: str, text: str) -> None:
    """Put a text, as Markdown, beside what TensorBoard has of a run; nothing where it has none."""
    if any(run.glob("events.out.tfevents.*")):
        with SummaryWriter(str(run)) as writer:
            writer.add_text(tag, text)
