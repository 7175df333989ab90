"""A config in, a run directory out: build everything, check it, read the data, fit, test the best checkpoint."""

import contextlib
import gc
import logging
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import lightning as L
import torch
from lightning.pytorch.utilities.exceptions import MisconfigurationException

from dlcourse import runs
from dlcourse.callbacks import Keep
from dlcourse.config.identity import config_hash
from dlcourse.config.schema import check
from dlcourse.core.errors import InputError, first_line, memory_mistake
from dlcourse.data.module import DataModule
from dlcourse.data.splitting import SPLITS
from dlcourse.runs import main_process
from dlcourse.runs.lock import BusyRunError, hold_run
from dlcourse.tasks import Classify, Task
from dlcourse.tasks.task import mode_of
from dlcourse.training import population
from dlcourse.training.encoders import FITTED, keep_features
from dlcourse.training.evaluation import evaluate
from dlcourse.training.loading import epochs_done, load_state, load_weights, read_checkpoint
from dlcourse.training.loggers import close_loggers, log_outcome, open_loggers
from dlcourse.training.setup import assemble, quiet, read_data
from dlcourse.training.stepping import chunk_steps, needs_single_steps
from dlcourse.training.summary import (
    announce,
    chosen_values,
    facts,
    how_to_resume,
    per_class,
    quote_path,
    report,
    summarise,
)
from dlcourse.training.tuning import find_lr
from dlcourse.training.watching import Watch, show_codes

if TYPE_CHECKING:
    from dlcourse.training.search import Prune

log = logging.getLogger(__name__)


def train(
    plain: dict[str, Any], run: Path, command: str = "", resume: bool = False, prune: "Prune | None" = None
) -> float | None:
    """Train, test and write down one run.

    plain: a resolved config (see `launch.compose.resolve`). run: its directory. prune: asks a search after each epoch
    whether to go on. Returns the best value of the monitored
    metric, None where it never was a number. Raises InputError for what can't work; whatever else goes wrong,
    result.json says `failed` or `interrupted`, and the exception goes on.
    """
    check(plain)
    with hold_run(run):
        if not resume and (run / runs.RESULT).is_file() and main_process():
            raise InputError(
                f"{run} already holds a run: python -m dlcourse.resume run={run}, or another hydra.run.dir"
            )
        return _train(plain, run, command, resume, prune)


def complete(plain: dict[str, Any], run: Path, command: str = "", prune: "Prune | None" = None) -> float | None:
    """Train a run, or what is missing of it; returns its score.

    One that is done stays as it is, one that was interrupted goes on (if it can't, it is begun anew), one that failed
    is made again. Raises InputError where the directory has a run of another config.
    """
    with hold_run(run):
        if not (run / runs.RESULT).is_file():
            return train(plain, run, command, prune=prune)
        result = runs.read_result(run)
        if result.get("config_hash") not in (None, config_hash(plain)):
            raise InputError(f"{run} already holds a run of another config: take another hydra.sweep.dir, or remove it")
        if result["status"] == "done":
            log.info("%s is done already (%s %s)", quote_path(run), result["monitor"], result["score"])
            return None if result["score"] is None else float(result["score"])
        if result["status"] != "failed" and (run / runs.LAST).is_file():
            try:
                log.info("%s goes on after epoch %s", quote_path(run), epochs_done(run))
                return train(plain, run, command, resume=True, prune=prune)
            except BusyRunError:
                raise
            except InputError as error:  # nothing to go on from: a checkpoint that is damaged, data that have changed
                log.warning("%s; the run is begun anew", error)
        runs.clear_run(run)
        return train(plain, run, command, prune=prune)


def _train(plain: dict[str, Any], run: Path, command: str, resume: bool, prune: "Prune | None") -> float | None:
    """`train` in a directory that is this process's."""
    previous = runs.read_result(run) if resume else {}
    quiet()
    torch.set_float32_matmul_precision(plain["trainer"]["matmul_precision"])
    began = time.monotonic()
    result: dict[str, Any] = {
        "status": "running",
        "score": None,
        "monitor": plain["model"]["monitor"],
        "mode": mode_of(plain["model"]["monitor"]),
        "metrics": {},
        "epochs": 0,
        "best_epoch": None,
        "steps": 0,
        "seconds": 0.0,
        "seed": plain["seed"],
        "model": plain["model"]["name"],
        "name": plain["name"],
        "versions": runs.versions(),
        "commit": runs.commit(),
        "config_hash": config_hash(plain),
        "command": command,
    }
    result |= {key: previous[key] for key in ("tuned", "loggers") if key in previous}
    keep: Keep | None = None
    trainer: L.Trainer | None = None
    garbage.begin()
    try:
        if plain.get("tune", {}).get("lr") and not resume:
            plain, result["tuned"] = find_lr(plain, run)
        task, data, trainer, keep = assemble(plain, run, resume)
        keep.diverged = previous.get("diverged")
        weights = previous.get("weights") if resume else load_weights(task, plain)
        read_data(task, data)
        if isinstance(task, Classify) and data.splits["train"].y.is_floating_point():
            raise InputError(f"model={result['model']} tells classes apart, data={data.name} has numbers to be met")
        if data.encoder is not None and main_process():
            data.encoder.save(run / FITTED)
        about = facts(task, data, trainer) | ({"weights": weights} if weights else {})
        if resume:
            refuse_other_data(previous["data"], about["data"])
        if main_process() and (opened := open_loggers(plain, trainer.loggers, resume)):
            result["loggers"] = opened
        result |= about
        if main_process():
            announce(result)
            runs.write_config(run, plain)
            runs.write_result(run, result)
        last = runs.checkpoint_path(run, runs.LAST) if resume else None
        if last is not None:
            load_state(task, read_checkpoint(last), last)  # Lightning would round the weights of 64-true to float32
        if keep_features(task, data, plain):
            result["features"] = "cached"
        result["stepping"] = choose_stepping(trainer, task, data, plain["trainer"].get("stepping", "auto"))
        if prune is not None:
            trainer.callbacks.insert(0, prune)  # type: ignore[attr-defined]
        if trainer.loggers:
            trainer.callbacks.append(Watch(plain["trainer"].get("images", ()), plain, command))  # type: ignore[attr-defined]
        trainer.fit(task, datamodule=data, ckpt_path=last, weights_only=True)
        if prune is not None and prune.epoch:
            result["pruned"] = prune.epoch
        if keep.out_of_time:
            result["stopped"] = f"trainer.max_time={plain['trainer']['max_time']} after epoch {len(keep.rows)}"
        if trainer.world_size > 1:  # testing is for one process: each example once, and the same figures again
            torch.distributed.destroy_process_group()
            if not main_process():
                return None
        summarise(result, keep)
        task.load_state_dict(read_checkpoint(runs.checkpoint_path(run))["state_dict"])
        for split in sorted(plain["trainer"]["evaluate"], key=SPLITS.index):  # the test set last: figures are of it
            result["metrics"] |= evaluate(plain, task, data, split)
            if isinstance(task, Classify):
                runs.write_confusion(run, split, task.confusion().tolist(), data.classes)
                result.setdefault("per_class", {})[split] = per_class(task, data.classes)
        if result["score"] is None:
            result["score"] = result["metrics"].get(result["monitor"])
        if plain["trainer"]["figures"]:
            from dlcourse.training.figures import draw  # here, because matplotlib takes a second to import

            draw(run, task, data, keep.rows, result["best_epoch"], trainer.loggers)
        if plain["trainer"].get("images"):
            show_codes(trainer.loggers, task, data, result["steps"])
        result["status"] = "done"
        final = {k: result["metrics"][k] for k in final_metrics(result["monitor"]) if k in result["metrics"]}
        log_outcome(trainer.loggers, *chosen_values(plain, command), final, result["steps"])
    except BaseException as error:
        if is_interrupt(error):
            result["status"] = "interrupted"
            raise KeyboardInterrupt from None
        if not isinstance(error, Exception):
            raise
        result |= {"status": "failed", "error": f"{type(error).__name__}: {error}"}
        mistake = as_mistake(error)
        if mistake is None:
            raise
        result["error"] = str(mistake)
        raise mistake from error
    finally:
        if keep is not None:
            summarise(result, keep)
        result["seconds"] = round(previous.get("seconds", 0.0) + time.monotonic() - began, 2)
        if trainer is not None:
            close_loggers(trainer.loggers, result["status"] == "done")
            (run / "hparams.yaml").unlink(missing_ok=True)  # TensorBoard's logger writes what config.yaml has
        for part in run.glob("*.part"):  # half written when an error came
            with contextlib.suppress(OSError):
                part.unlink()
        garbage.end()
        if main_process() and "data" in result:
            runs.write_result(run, result)
            if result["status"] not in ("done", "running"):
                log.warning("%s after %s%s", result["status"], runs.length(result), how_to_resume(run))
    if main_process():
        report(result, run)
    score = result["score"]
    return None if score is None else float(score)


def final_metrics(monitor: str) -> list[str]:
    """Those that runs are compared by: what was monitored, of validation and test, and the test's loss."""
    name = monitor.split("/", 1)[1]
    return [f"val/{name}", f"test/{name}", "test/loss"]


def choose_stepping(trainer: L.Trainer, task: Task, data: DataModule, wanted: str) -> str:
    """How the steps of a run are made from now on: `lightning`, each by Lightning's loop; `eager`, many inside one of
    its; `population`, the same together with those of other runs."""
    members = population.current()
    if wanted == "lightning" or (reason := needs_single_steps(trainer, task, data)):
        if members and wanted != "lightning":
            log.info("this run is trained alone: %s", reason)
        return "lightning"
    if members and not (reason := population.needs_own_program(task)):
        chunk_steps(trainer, data, members.meet, population.CHUNK)
        return "population"
    if members:
        log.info("this run is trained alone: %s", reason)
    chunk_steps(trainer, data)
    return "eager"


def is_interrupt(error: BaseException | None) -> bool:
    """Whether an error is Ctrl-C or SIGTERM, which Lightning turns into SystemExit, or came while one was heeded:
    workers that are just beginning or ending then raise others, and may be terminated before this process is."""
    while error is not None and not isinstance(error, KeyboardInterrupt | SystemExit):
        if "DataLoader worker" in str(error) and "signal: Terminated" in str(error):
            return True
        error = error.__context__
    return error is not None


def refuse_other_data(before: dict[str, Any], now: dict[str, Any]) -> None:
    """Raise InputError where the data of a run that is to go on are not those that it was begun with."""
    for key in ("source", "files", "classes", "train", "val", "test"):
        if before.get(key) != now[key]:
            was, are = (f"{facts['source']} data, {facts['provenance']}" for facts in (before, now))
            raise InputError(f"the data have changed since the run began ({key} differ): it began on {was}; now: {are}")


def as_mistake(error: Exception) -> InputError | None:
    """The sentence for an error that users can mend; None for any other."""
    if isinstance(error, InputError):
        return error
    if isinstance(error, MisconfigurationException):  # Lightning's word for settings that don't go together
        return InputError(f"trainer: {first_line(error)}")
    if "DataLoader worker" in str(error):
        hint = "the system ends processes when memory is short: fewer data.workers need less, 0 needs none"
        return InputError(f"a process that reads the data has died ({first_line(error)}): {hint}")
    return memory_mistake(error)


class Garbage:
    """Frees the memory of runs that have ended: Lightning's objects refer to each other, and to the data.

    Only objects made since the runs that go on have begun are looked at: all others would cost a quarter of a second.
    """

    def __init__(self) -> None:
        self.runs = 0

    def begin(self) -> None:
        self.runs += 1
        if self.runs == 1:
            gc.freeze()

    def end(self) -> None:
        self.runs -= 1
        if self.runs == 0:
            gc.collect()
            gc.unfreeze()
            if torch.cuda.is_available():
                torch.cuda.empty_cache()


garbage = Garbage()
