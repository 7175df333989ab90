"""A run is a directory: what is in it, how it is written and found again."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterable
from contextlib import suppress
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from itertools import takewhile
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from dlcourse.config.identity import flatten
from dlcourse.config.schema import check
from dlcourse.core.errors import InputError, did_you_mean, first_line
from dlcourse.core.files import csv_text, write_text
from dlcourse.core.files import write_bytes as write_bytes
from dlcourse.runs import hub

CONFIG, RESULT, METRICS, STEPS = "config.yaml", "result.json", "metrics.csv", "steps.csv"
BEST, LAST = "best.ckpt", "last.ckpt"
WEIGHTS = "model.safetensors"  # of a run that was exported, in place of best.ckpt
EXPORTED = (CONFIG, RESULT, METRICS, WEIGHTS, "confusion.csv", "README.md")  # what is fetched of one on the hub
LOCK = ".lock"  # whose process is at work on the run: runs/lock.py
STATES = ("running", "done", "failed", "interrupted")
# The keys of result.json that people script against, and what each may hold; more may be there.
KEYS: dict[str, tuple[type, ...]] = {
    "status": (str,), "score": (int, float, type(None)), "monitor": (str, type(None)), "metrics": (dict,),
    "epochs": (int,), "best_epoch": (int, type(None)), "steps": (int,), "seconds": (int, float),
    "parameters": (int, type(None)), "seed": (int, type(None)), "model": (str, type(None)), "data": (dict,),
    "versions": (dict,),
    "device": (str, type(None)), "commit": (str, type(None)), "config_hash": (str, type(None)), "command": (str,),
}  # fmt: skip
VERSIONED = ("dlcourse", "torch", "torchvision", "lightning", "hydra-core", "torchmetrics", "numpy")


def write_config(run: Path, plain: dict[str, Any]) -> None:
    write_text(run / CONFIG, OmegaConf.to_yaml(OmegaConf.create(plain)))


def read_config(run: Path) -> dict[str, Any]:
    """The resolved config of a run. Raises InputError where it is missing, damaged, or edited so that it can't work."""
    path = run / CONFIG
    if not path.is_file():
        raise InputError(f"run={run} has no {CONFIG}: it ended ({read_result(run)['status']}) before training began")
    try:
        plain = OmegaConf.to_container(OmegaConf.load(path))
    except Exception as error:
        raise InputError(f"{path} is damaged: {first_line(error)}") from error
    if not isinstance(plain, dict) or not {"data", "model", "trainer", "seed"} <= plain.keys():
        raise InputError(f"{path} is damaged: it is not the config of a run")
    config = {str(key): value for key, value in plain.items()}
    try:
        check(config)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    return config


def write_result(run: Path, result: dict[str, Any]) -> None:
    """result.json; a number that is not finite is written as null, since JSON has none.

    On a full disk it is written over, if it fits where it was. Raises InputError where it doesn't.
    """
    path = run / RESULT
    finite = json.loads(json.dumps(result), parse_constant=lambda name: None)
    try:
        write_text(path, json.dumps(finite, indent=2) + "\n")
    except InputError:
        short = json.dumps(finite).encode()
        if not path.is_file() or len(short) > path.stat().st_size:
            raise
        with path.open("r+b") as file:
            file.write(short)
            file.truncate()


def confusion_file(run: Path, split: str) -> Path:
    return run / ("confusion.csv" if split == "test" else f"confusion_{split}.csv")


def write_confusion(run: Path, split: str, matrix: list[list[int]], classes: list[str]) -> None:
    """confusion.csv (the test set's) or confusion_SPLIT.csv: a row a true class, a column a predicted one."""
    rows = ([name, *row] for name, row in zip(classes, matrix, strict=True))
    write_text(confusion_file(run, split), csv_text([["true \\ predicted", *classes], *rows]))


def write_failure(run: Path, error: str, command: str) -> None:
    """The result of a job of a sweep that failed before training began; one that is there already stays."""
    if not (run / RESULT).exists():
        empty = {key: None if type(None) in kinds else kinds[0]() for key, kinds in KEYS.items()}
        write_result(run, empty | {"status": "failed", "error": error, "command": command})


def read_result(run: Path) -> dict[str, Any]:
    try:
        result = json.loads((run / RESULT).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        result = None
    if not isinstance(result, dict) or result.get("status") not in STATES:
        raise InputError(f"{run / RESULT} is damaged: it is not the result of a run")
    needed = KEYS if result["status"] == "done" else KEYS.keys() & result.keys()
    for key in needed:
        if not isinstance(result.get(key), KEYS[key]):
            raise InputError(f"{run / RESULT} is damaged: its {key!r} is {result.get(key)!r}")
    return result


def length(result: dict[str, Any]) -> str:
    """How long a run was trained: `20 epochs`, or `174 evaluations in 33.7 passes` where an epoch is a piece of one."""
    if "passes" in result:
        return f"{result['evaluations']} evaluations in {result['passes']:.1f} passes"
    return f"{result.get('epochs') or 0} epoch{'s' * (result.get('epochs') != 1)}"


def stand_in_line(result: dict[str, Any]) -> str:
    return f"!!! STAND-IN DATA, not {result['data']['name']}: {result['data']['provenance']}"


def quote_path(run: Path) -> str:
    """A directory as one types it."""
    return shlex.quote(os.path.relpath(run) if run.is_relative_to(Path.cwd()) else str(run))


def find_run(path: str | Path) -> Path:
    """The run that a directory is, or, of a sweep's directory, the best of its runs; of hub:USER/NAME what was pushed.

    Raises InputError where there is no run, or where a sweep's runs can't be ranked.
    """
    if str(path).startswith(hub.PREFIX):
        path = hub.fetch(str(path).removeprefix(hub.PREFIX), EXPORTED)
    top = Path(path).expanduser()
    if not top.exists() and top.name.isdigit():  # the job of a sweep by its number alone
        top = numbered_run(top.parent, int(top.name))
    if not top.is_dir():
        hint = f"; its run is run={top.parent}" if top.is_file() and (top.parent / RESULT).is_file() else ""
        raise InputError(f"run={path}: {_no_directory(top)}{hint}")
    if (top / RESULT).is_file():
        return top
    runs = sorted(p.parent for p in top.glob(f"*/{RESULT}"))
    if not runs:
        raise InputError(f"run={path} is no run: there is no {RESULT} in it, nor in a directory below it")
    results = {run: read_result(run) for run in runs}
    if not any(is_ranked(result) for result in results.values()):
        states = ", ".join(f"{run.name}: {r['status']}" for run, r in results.items())
        raise InputError(f"run={path}: none of its {len(runs)} runs is done ({states})")
    try:
        return best_run(results)
    except InputError as error:
        raise InputError(f"run={path}: {error}") from None


def is_ranked(result: dict[str, Any]) -> bool:
    """Whether a run is done and has a score."""
    return result["status"] == "done" and result.get("score") is not None


def best_run(results: dict[Path, dict[str, Any]]) -> Path:
    """The run with the best score; raises InputError where they monitor different metrics."""
    done = {run: result for run, result in results.items() if is_ranked(result)}
    monitors = sorted({str(r["monitor"]) for r in done.values()})
    if len(monitors) > 1:
        raise InputError(f"its runs were selected by {' and by '.join(monitors)}; name one of them")
    sign = -1 if next(iter(done.values())).get("mode") == "min" else 1
    return max(done, key=lambda run: sign * done[run]["score"])


def numbered_run(folder: Path, number: int) -> Path:
    """The directory of a sweep's job: `3`, or `3_` and what differs."""
    named = sorted(path for path in folder.glob(f"{number}_*") if path.is_dir())
    return named[0] if len(named) == 1 else folder / str(number)


def find_runs(tops: Iterable[str]) -> list[Path]:
    """Every run directory (whole or not) that is, or is below, one of some directories; each once."""
    found: dict[Path, Path] = {}
    for top in tops:
        path = Path(top).expanduser()
        if not path.is_dir():
            raise InputError(f"{top}: {_no_directory(path)}")
        for folder, inside, files in os.walk(path):
            inside[:] = sorted((name for name in inside if not name.startswith(".")), key=_in_order)
            if {RESULT, CONFIG} & set(files):
                found.setdefault(Path(folder).resolve(), Path(folder))
                inside.clear()
    return list(found.values())


def _in_order(name: str) -> list[tuple[int, str]]:
    """What sorts names as people count: `2_a` before `10_a`."""
    return [(int(digits or 10**15), text) for digits, text in re.findall(r"(\d{0,15})(\D*)", name)]


def _no_directory(path: Path) -> str:
    return f"{'that is a file, not a' if path.is_file() else 'there is no such'} directory"


def with_changes(data: dict[str, Any], changes: dict[str, str]) -> dict[str, Any]:
    """A run's `data` with `{"data.KEY": "VALUE"}` put in, values read as YAML. Raises InputError for an unknown key."""
    cfg, keys = OmegaConf.create({"data": data}), flatten({"data": data})
    for key, text in changes.items():
        if key not in keys:
            raise InputError(f"there is no key {key}{did_you_mean(key, keys)}")
        try:
            OmegaConf.update(cfg, key, OmegaConf.from_dotlist([f"x={text}"]).x)
        except Exception as error:
            raise InputError(f"{key}={text} can't be read as YAML: {first_line(error)}") from error
    return dict(OmegaConf.to_container(cfg.data))  # type: ignore[arg-type]


class MissingCheckpointError(InputError):
    """A run has no weights: it never wrote them, or came without."""


def checkpoint_path(run: Path, name: str = BEST) -> Path:
    """The file of a run's checkpoint; of one that was exported that of its best weights alone."""
    if name == BEST and not (run / BEST).is_file() and (run / WEIGHTS).is_file():
        return run / WEIGHTS
    if not (run / name).is_file():
        result = read_result(run)
        without = next((word for word in ("collected", "exported") if word in result), None)
        why = f"it was {without} without" if without else f"it ended ({result['status']}) before the first was written"
        raise MissingCheckpointError(f"run={run} has no {name}: {why}")
    return run / name


def main_process() -> bool:
    """Whether this is the process that writes: of several (ddp) it is the first, however they were started."""
    for rank in ("RANK", "LOCAL_RANK", "SLURM_PROCID"):  # in a shell of Slurm's Lightning's own processes have both
        if rank in os.environ:
            return os.environ[rank] == "0" and (rank != "LOCAL_RANK" or os.environ.get("NODE_RANK", "0") == "0")
    return os.environ.get("NODE_RANK", "0") == "0"


@cache
def versions() -> dict[str, str]:
    found = {"python": ".".join(map(str, sys.version_info[:3]))}
    for name in VERSIONED:
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


@cache
def commit() -> str | None:
    """The commit of the checkout that the code runs from (`-dirty` with changes of its own), None outside of one."""
    here = Path(__file__).parents[3]
    if not (here / ".git").exists():
        return None
    environment = {k: v for k, v in os.environ.items() if not k.startswith("GIT_")}
    describe = ["git", "describe", "--always", "--abbrev=40", "--exclude=*", "--dirty"]
    try:
        done = subprocess.run(
            describe, cwd=here, env=environment, capture_output=True, text=True, timeout=10, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def discard_run(run: Path) -> None:
    """Take back what was written of a run that never began: only its own files, and folders that are empty then."""
    if (run / RESULT).is_file():
        return
    for pattern in (".hydra/*.yaml", "train.log", "events.out.tfevents.*", LOCK):
        for file in run.glob(pattern):
            file.unlink(missing_ok=True)
    with suppress(OSError):  # the first folder that is not empty is the last that is tried
        for folder in takewhile(Path.cwd().__ne__, (run / ".hydra", run, *run.parents)):
            with suppress(FileNotFoundError):
                folder.rmdir()


def clear_run(run: Path) -> None:
    """Delete what a run left, so that it can be made again: all but its lock, its log, and what Hydra wrote."""
    for path in run.iterdir():
        if path.name not in (LOCK, ".hydra", "train.log"):
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()


# --- the run that encodes another's data ---

WORDS = ("pca:", "imagenet:")  # anything else is the directory of a run
KINDS = "a run's directory, pca:K or imagenet:NAME"


def find_encoder_run(encoder: str) -> Path | None:
    """The run that `data.encoder` names (of a sweep's directory: its best); None for pca:K and imagenet:NAME.

    Raises InputError where there is no such run, or where it is not done.
    """
    if not isinstance(encoder, str):
        raise InputError(f"data.encoder must be {KINDS}, got {encoder}")
    if encoder.startswith(WORDS):
        return None
    try:
        run = find_run(encoder)
        status = read_result(run)["status"]
    except InputError as error:
        why = str(error).removeprefix(f"run={encoder}").lstrip(": ")
        raise InputError(f"data.encoder={encoder}: {why}; it is {KINDS}") from None
    if status != "done":
        again = f"python -m dlcourse.resume run={run}"
        raise InputError(f"data.encoder={encoder}: that run is not done ({status}): {again}")
    return run
