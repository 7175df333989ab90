"""A config in, a run directory out: build everything, check it, read the data, fit, test the best checkpoint."""

import contextlib
import gc
import logging
import os
import time
import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.loggers import Logger, TensorBoardLogger
from lightning.pytorch.profilers import PassThroughProfiler
from lightning.pytorch.utilities.exceptions import MisconfigurationException

from dlcourse import runs
from dlcourse.callbacks import Keep, Progress, Reseed
from dlcourse.config.identity import config_hash
from dlcourse.config.instantiate import build
from dlcourse.config.schema import check
from dlcourse.core.errors import InputError, first_line, or_list
from dlcourse.data.module import SPLITS, DataModule
from dlcourse.data.photos import decode_named
from dlcourse.nets.weights import find_weights, read_weights
from dlcourse.runs import main_process
from dlcourse.tasks import Classify, Reconstruct
from dlcourse.tasks.task import Task, mode_of, round_to_float32
from dlcourse.training.encoders import FITTED, find_encoder, keep_features
from dlcourse.training.summary import announce, data_facts, facts, flatten_hparams, how_to_resume, report, summarise

log = logging.getLogger(__name__)

# keys of `trainer` that are not arguments of Lightning's
OURS = ("matmul_precision", "progress", "figures", "selection", "evaluate", "log_steps")


def train(plain: dict[str, Any], run: Path, command: str = "", resume: bool = False) -> float | None:
    """Train, test and write down one run.

    plain: a resolved config (see `config.resolved`). run: its directory. Returns the best value of the monitored
    metric, None where it never was a number. Raises InputError for what can't work; whatever else goes wrong,
    result.json says `failed` or `interrupted`, and the exception goes on.
    """
    check(plain)
    if not resume and (run / runs.RESULT).is_file() and main_process():
        raise InputError(f"{run} already holds a run: python -m dlcourse.resume run={run}, or another hydra.run.dir")
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
    keep: Keep | None = None
    try:
        task, data, trainer, keep = assemble(plain, run, resume)
        weights = previous.get("weights") if resume else load_weights(task, plain)
        data.prepare()
        if isinstance(task, Classify) and data.splits["train"].y.is_floating_point():
            raise InputError(f"model={result['model']} tells classes apart, data={data.name} has numbers to be met")
        if data.encoder is not None and main_process():
            data.encoder.save(run / FITTED)
        about = facts(task, data, trainer) | ({"weights": weights} if weights else {})
        if resume:
            refuse_other_data(previous["data"], about["data"])
        result |= about
        if main_process():
            announce(result)
            runs.write_config(run, plain)
            runs.write_result(run, result)
        last = runs.checkpoint_path(run, runs.LAST) if resume else None
        if last is not None:
            task.load_state_dict(read_checkpoint(last)["state_dict"])
        if keep_features(task, data, plain):
            result["features"] = "cached"
        trainer.fit(task, datamodule=data, ckpt_path=last, weights_only=True)
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
        if result["score"] is None:
            result["score"] = result["metrics"].get(result["monitor"])
        if plain["trainer"]["figures"]:
            from dlcourse.training.figures import draw  # here, because matplotlib takes a second to import

            draw(run, task, data, keep.rows, result["best_epoch"], trainer.logger)
        result["status"] = "done"
        if isinstance(trainer.logger, TensorBoardLogger):
            best = {f"best/{k}": v for k, v in result["metrics"].items() if not k.startswith("train/")}
            trainer.logger.log_hyperparams(flatten_hparams(plain), best)
        (run / "hparams.yaml").unlink(missing_ok=True)  # the logger's, an empty one
    except (KeyboardInterrupt, SystemExit):  # Lightning turns Ctrl-C and SIGTERM into SystemExit
        result["status"] = "interrupted"
        raise KeyboardInterrupt from None
    except Exception as error:
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
        clean_up(run)
        if main_process() and "data" in result:
            runs.write_result(run, result)
            if result["status"] not in ("done", "running"):
                log.warning("%s after %d epochs%s", result["status"], result["epochs"], how_to_resume(run))
    if main_process():
        report(result, run)
    score = result["score"]
    return None if score is None else float(score)


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
    keep = Keep(run, task.monitor, plain["trainer"]["selection"], plain["trainer"]["log_steps"])
    if resume:
        keep.continue_from(epochs_done(run))
    callbacks: list[L.Callback] = [keep, Reseed(seed)]
    options = {k: v for k, v in plain["trainer"].items() if k not in OURS and v is not None}
    if plain["trainer"]["progress"] and os.isatty(2) and main_process():
        callbacks.append(Progress())
    if plain["stopping"]:
        callbacks.append(build(plain["stopping"], L.Callback, "stopping"))
    logger: Logger | bool = False
    if plain["logger"]:
        where = {"save_dir": str(run), "name": "", "version": "", "default_hp_metric": False}
        logger = build(plain["logger"], Logger, "logger", **where)  # type: ignore[type-abstract]
    check_devices(plain["trainer"])
    try:
        trainer = L.Trainer(
            **options,
            default_root_dir=run,
            callbacks=callbacks,
            logger=logger,
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
    return task, data, trainer, keep


class Unprofiled(PassThroughProfiler):
    """No profiler: Lightning's own empty one is a generator that each step enters 58 times."""

    nothing: AbstractContextManager[None] = contextlib.nullcontext()

    def profile(self, action_name: str) -> Any:
        return self.nothing


def build_task(plain: dict[str, Any]) -> Task:
    model = {k: v for k, v in plain["model"].items() if k not in ("name", "weights")}
    optimizer = plain["optimizer"]
    if plain["trainer"]["gradient_clip_val"] and plain["trainer"]["precision"].endswith("mixed"):
        optimizer = {k: v for k, v in optimizer.items() if k != "fused"}  # those can't clip what autocast has scaled
    return build(model, Task, "model", optimizer=optimizer, schedule=plain["schedule"])


def build_data(plain: dict[str, Any], recorded: dict[str, Any] | None = None, run: Path | None = None) -> DataModule:
    """The data of a config, not yet read. What a run `recorded` of its data gives the statistics that it scales by.

    run: the directory of the run that is to be trained or has been, where what encodes its data is found.
    """
    try:
        data = DataModule(**plain["data"], seed=plain["seed"])
    except TypeError as error:
        raise InputError(f"data: {str(error).replace('DataModule.__init__()', '')}") from None
    if recorded is not None and data.normalize == "standardize":
        data.normalize_with(**recorded["statistics"])
    data.encoder = find_encoder(plain, run, load_task_and_data)
    return data


def load_task_and_data(run: Path) -> tuple[Task, DataModule]:
    """A run's task with its best weights, and its data, not yet read."""
    return load_task(run), build_data(runs.read_config(run), runs.read_result(run)["data"], run)


def try_shapes(task: Task, data: DataModule, plain: dict[str, Any]) -> None:
    """One forward pass of two empty images: sizes that don't fit are found before any data are read."""
    task.eval()
    try:
        with torch.no_grad():
            task.net(torch.zeros(2, *data.shape))
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


def load_weights(task: Task, plain: dict[str, Any]) -> dict[str, Any] | None:
    """Pretrained weights into a task's net, where its config asks for them; what is to be said about the file."""
    if "weights" not in plain["model"]:
        return None
    path, about = find_weights(plain["model"]["net"]["name"], plain["model"]["weights"])
    if path is not None:
        try:
            task.net.load_backbone(read_weights(path))  # type: ignore[operator]
        except ValueError as error:
            raise InputError(f"model.weights={path}: {error}") from None
    return about


def read_checkpoint(path: Path, mmap: bool = False) -> dict[str, Any]:
    """A checkpoint's content; reading it can't run code. Raises InputError for a file that is none."""
    try:
        saved = torch.load(path, map_location="cpu", weights_only=True, mmap=mmap)
        assert isinstance(saved, dict)
        assert {"state_dict", "hyper_parameters", "epoch"} <= saved.keys()
    except Exception as error:
        reason = str(error).split(chr(10))[0] or "it has no state_dict"
        raise InputError(f"{path} is damaged or no checkpoint of a run: {reason}") from None
    return saved


def load_task(run: Path) -> Task:
    """The task of a run with its best weights, ready to evaluate; from best.ckpt alone."""
    path = runs.checkpoint_path(run)
    saved = read_checkpoint(path)
    task = build({"_target_": saved.get("task")} | saved["hyper_parameters"], Task, f"{path}: task")
    task.to(next((v.dtype for v in saved["state_dict"].values() if v.is_floating_point()), torch.float32))
    try:
        task.load_state_dict(saved["state_dict"])
    except RuntimeError as error:
        raise InputError(f"{path} does not fit its own network: {str(error).splitlines()[-1].strip()}") from None
    return task.eval()


def epochs_done(run: Path) -> int:
    """How many epochs are in a run's last checkpoint."""
    return int(read_checkpoint(runs.checkpoint_path(run, runs.LAST), mmap=True)["epoch"]) + 1


def evaluate(plain: dict[str, Any], task: Task, data: DataModule, split: str) -> dict[str, float]:
    """The metrics of a task on one split, named `split/...`; on one device, whatever it was trained on."""
    trainer = L.Trainer(
        accelerator="cpu" if plain["trainer"]["accelerator"] == "cpu" else "auto",
        devices=1,
        precision=plain["trainer"]["precision"],
        limit_test_batches=plain["trainer"][f"limit_{split}_batches"],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    data.tested = split
    measured = trainer.test(task, datamodule=data, verbose=False)
    return {name.replace("test/", f"{split}/", 1): round_to_float32(value) for name, value in measured[0].items()}


def evaluate_run(run: Path, plain: dict[str, Any], split: str) -> tuple[dict[str, float], dict[str, Any]]:
    """Metrics of a run's best checkpoint on a split of the data that `plain` describes, and what those data are."""
    check(plain)
    quiet()
    torch.set_float32_matmul_precision(plain["trainer"]["matmul_precision"])
    recorded = runs.read_result(run)["data"]
    task, data = load_task(run), build_data(plain, recorded, run)
    data.prepare()
    if data.classes != recorded["classes"]:
        theirs, ours = (or_list(names, 10) for names in (data.classes, recorded["classes"]))
        raise InputError(f"run={run} knows the classes {ours}; the data have {theirs}")
    keep_features(task, data, plain, [split])
    return evaluate(plain, task, data, split), data_facts(data)


def refuse_other_data(before: dict[str, Any], now: dict[str, Any]) -> None:
    """Raise InputError where the data of a run that is to go on are not those that it was begun with."""
    for key in ("source", "files", "classes", "train", "val", "test"):
        if before.get(key) != now[key]:
            was, are = (f"{facts['source']} data, {facts['provenance']}" for facts in (before, now))
            raise InputError(f"the data have changed since the run began ({key} differ): it began on {was}; now: {are}")


def predict_images(
    run: Path, plain: dict[str, Any], result: dict[str, Any], files: list[Path], invert: bool = False
) -> list[list[Any]]:
    """For each image file: its name, the likeliest class, its probability, and the five likeliest with theirs."""
    recorded = result["data"]
    classify, batch_size = classifier(run, plain, result)
    classes = recorded["classes"]
    channels, side = recorded["stored_shape"][0], recorded["stored_shape"][-1]
    rows: list[list[Any]] = []
    for i in range(0, len(files), batch_size):
        batch = files[i : i + batch_size]
        x = torch.stack(
            [torch.from_numpy(decode_named(file, file.read_bytes(), side, channels).copy()) for file in batch]
        )
        p, k = classify(255 - x if invert else x).sort(descending=True, stable=True)
        for file, probabilities, numbers in zip(batch, p[:, :5].tolist(), k[:, :5].tolist(), strict=True):
            named = [(classes[n], round(q, 6)) for n, q in zip(numbers, probabilities, strict=True)]
            rows.append([str(file), *named[0], *(value for pair in named for value in pair)])
    return rows


def classifier(
    run: Path, plain: dict[str, Any], result: dict[str, Any]
) -> tuple[Callable[[torch.Tensor], torch.Tensor], int]:
    """A run as a function of images, uint8 [N, C, H, W] as its data are stored, to probabilities [N, classes]; and how
    many images it takes at a time."""
    task, data = load_task(run), build_data(plain, result["data"], run)
    if not isinstance(task, Classify):
        raise InputError(f"run={run} is a {type(task).__name__.lower()} run: only a classifier predicts classes")

    @torch.inference_mode()
    def probabilities(x: torch.Tensor) -> torch.Tensor:
        return task.probabilities(data.transform(x if data.encoder is None else data.encoder(x)))

    return probabilities, data.eval_batch_size


# --- around it -----------------------------------------------------------------------------------------------------


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


def as_mistake(error: Exception) -> InputError | None:
    """The sentence for an error that users can mend; None for any other."""
    if isinstance(error, InputError):
        return error
    if isinstance(error, MisconfigurationException):  # Lightning's word for settings that don't go together
        return InputError(f"trainer: {first_line(error)}")
    if "out of memory" in str(error) or "can't allocate memory" in str(error):
        return InputError("out of memory: a smaller data.batch_size, data.eval_batch_size or network helps")
    return None


def clean_up(run: Path) -> None:
    """Leave nothing behind for the next run in this process, and no half-written file."""
    for part in run.glob("*.part"):
        with contextlib.suppress(OSError):
            part.unlink()
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
