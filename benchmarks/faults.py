"""python benchmarks/faults.py [kills=300] [seed=0] [workers=2] [kinds=run,sweep,population,study,ddp] [out=FILE.md]

Kills commands at random moments, has them go on as a user would, and compares what they leave, to the last bit, with
what they leave when nothing happens to them.

Each trial is a command drawn from all tasks, optimizers, schedules, stopping rules and augmentations. It is killed up
to three times: at a random moment, or in the middle of a checkpoint's writing, of evaluating, of filling the cache or
of drawing, by SIGKILL, SIGTERM, SIGINT or two SIGINTs. After each kill the directory must be whole: results that can
be read, checkpoints that load, rows of whole epochs. A trial is a process forked from one that has imported everything,
since importing takes longer than the runs; two processes of ddp are started anew.
"""

import contextlib
import csv
import json
import logging
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from dlcourse import resume, runs, train
from dlcourse.core import cli, files
from dlcourse.core.errors import InputError
from dlcourse.data import cache
from dlcourse.studies import runner  # noqa: F401  imported here, once for all trials
from dlcourse.training import figures, fit
from dlcourse.training.loading import read_checkpoint

SMALL = ("data.source=stand-in", "data.limit_eval=100", "trainer.accelerator=cpu")
PHOTOS = "photos"  # in the folder of all trials
STREAMED = ("data=folder", "data.source=auto", "data.size=8", "model=linear", "data.memory_limit=1", "data.limit=null",
            "data.limit_eval=null")  # fmt: skip
TASKS = {
    "linear": ("model=linear", "data.limit=300"),
    "mlp": ("model=mlp", "model.net.hidden=[16]", "data.limit=300"),
    "mlp, batch norm": ("model=mlp", "model.net.hidden=[16]", "model.net.batch_norm=true", "data.limit=300"),
    "mlp, dropout": ("model=mlp", "model.net.hidden=[16]", "model.net.dropout=0.3", "data.limit=300"),
    "cnn": ("model=cnn", "model.net.channels=[4]", "model.net.hidden=[8]", "data.limit=200"),
    "autoencoder": ("model=autoencoder", "model.net.widths=[32,8]", "data.limit=300"),
    "denoising": ("model=denoising", "model.net.widths=[16]", "data.limit=300"),
    "regression": ("model=toy_convnet", "data=functions", "data.source=auto", "data.limit=null"),
    "by hand": ("model=scratch", "model.net.hidden=[12]", "data.limit=200"),
    "fine-tuning": (
        "model=squeezenet",
        "model.weights=none",
        "data=cifar10",
        "data.resize=40",
        "data.limit=40",
        "data.limit_eval=20",
    ),
    "neighbours": ("model=knn", "data.limit=100"),
    "photos on demand": (*STREAMED, "data.workers=0"),
    "photos by a worker": (*STREAMED, "data.workers=1"),
}
OPTIMIZERS = ("adam", "adamw", "nag", "rmsprop", "sgd")
SCHEDULES = ((), ("schedule=cosine",), ("schedule=step", "schedule.step_size=2"),
             ("schedule=plateau", "schedule.patience=0"))  # fmt: skip
STOPPING: tuple[tuple[str, ...], ...] = ((), (), ("stopping=convergence", "stopping.bound=0.01"),
            ("stopping=early", "stopping.patience=3"))  # fmt: skip
ORDERS = ((), ("data.batch_size=7",), ("data.shuffle=once",), ("data.shuffle=false",), ("data.shuffle=replacement",),
          ("data.batch_size=20", "data.steps_per_epoch=9", "data.first_epoch_steps=2"),
          ("data.batch_size=20", "trainer.log_steps=true"), ("trainer.check_val_every_n_epoch=2",),
          ("trainer.selection=last",), ("trainer.gradient_clip_val=0.1",), ("trainer.stepping=lightning",),
          ("trainer.precision=64-true",), ("logger=none",))  # fmt: skip
AUGMENTATIONS = ((), (), ("data.augment.rotate=10",), ("data.augment.shift=0.1", "data.augment.scale=0.1"),
                 ("data.augment.cutout=0.2",), ("data.augment.thickness=1", "data.augment.crop=0.2"))  # fmt: skip
SIGNALS = {"SIGKILL": (signal.SIGKILL,), "SIGTERM": (signal.SIGTERM,), "SIGINT": (signal.SIGINT,),
           "SIGINT twice": (signal.SIGINT, signal.SIGINT)}  # fmt: skip
# moments in a run: what is called then
MOMENTS: dict[str, tuple[Any, str, int]] = {
    "a file is written": (files.os, "fsync", 12), "it is evaluated": (fit, "evaluate", 1),
    "figures are drawn": (figures, "_weights", 1), "the cache is filled": (cache.torch, "save", 1),
}  # fmt: skip
ANY = "any moment"


@dataclass
class Trial:
    """A command, killed and given again until it is through; what went wrong."""

    kind: str
    words: list[str]
    folder: Path
    kills: Counter[tuple[str, str]] = field(default_factory=Counter)
    findings: list[str] = field(default_factory=list)

    @property
    def done(self) -> Path:
        return self.folder / "killed"

    def command(self, place: Path) -> tuple[Callable[[list[str]], Any], list[str]]:
        """What a user types at first, and again where it can simply be given again; of a run, what goes on with it."""
        if self.kind not in ("run", "ddp"):
            return train.main, [*self.words, f"hydra.sweep.dir={place}"]
        if (place / runs.RESULT).is_file() and (place / runs.LAST).is_file():
            return resume.main, [f"run={place}"]
        shutil.rmtree(place, ignore_errors=True)  # it had not begun
        return train.main, [*self.words, f"hydra.run.dir={place}"]


def draw_trial(kind: str, draw: random.Random, folder: Path) -> Trial:
    task = draw.choice(list(TASKS))
    root = [f"data.root={folder.parent / PHOTOS}"] if task.startswith("photos") else []
    words = [*SMALL, *TASKS[task], *root, f"optimizer={draw.choice(OPTIMIZERS)}", "optimizer.lr=0.01"]
    words += [*draw.choice(SCHEDULES), *draw.choice(STOPPING), *draw.choice(ORDERS)]
    if task not in ("regression", "denoising"):
        words += draw.choice(AUGMENTATIONS)
    words += [f"trainer.max_epochs={draw.randint(3, 12)}"]
    if kind == "run":
        words += [f"seed={draw.randrange(100)}"]
    elif kind == "sweep":
        words = ["-m", *words, "seed=0,1"]
    elif kind == "population":
        words = ["-m", "hydra/launcher=population", *words, "seed=0,1,2", "trainer.precision=64-true"]
    elif kind == "study":
        words = ["study=cmu/q3", "budget=quick", *SMALL, "data.limit=200", "trainer.max_epochs=6", "logger=none",
                 "optimizer.lr=0.009,0.09"]  # fmt: skip
    elif kind == "ddp":
        words += ["trainer=ddp", "trainer.accelerator=cpu", "data.limit=300", "trainer.stepping=auto"]
    return Trial(kind, unique(words), folder)


def draw_photos(folder: Path) -> None:
    """Two classes of 40 photos each."""
    rng = np.random.default_rng(0)
    for k, name in enumerate(("dark", "bright")):
        (folder / name).mkdir(parents=True)
        for i in range(40):
            Image.fromarray(rng.integers(0, 128, (8, 8, 3), np.uint8) + np.uint8(80 * k)).save(
                folder / name / f"{i}.png"
            )


def unique(words: Sequence[str]) -> list[str]:
    """Of words for the same key the last: Hydra takes each once."""
    return list({word.partition("=")[0]: word for word in words}.values())


# --- processes -------------------------------------------------------------------------------------------------------


def start(trial: Trial, place: Path, log: Path, at: tuple[str, int, Sequence[int]] | None = None) -> int:
    """Start a trial's command in a process of its own; `at` (moment, how often before, signals) has it kill itself."""
    main, words = trial.command(place)
    if trial.kind == "ddp":
        module = "dlcourse.resume" if main is resume.main else "dlcourse.train"
        with log.open("a") as text:
            return subprocess.Popen([sys.executable, "-m", module, *words], stdout=text, stderr=text,
                                    start_new_session=True).pid  # fmt: skip
    process = os.fork()
    if process:
        return process
    with contextlib.suppress(BaseException):
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
        output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(output, 1)
        os.dup2(output, 2)
        sys.argv[1:] = words
        logging.getLogger().handlers.clear()
        if at is not None:
            kill_oneself(*at)
        code = 1
        try:
            cli.run_command(main)
        except SystemExit as ended:
            code = int(ended.code or 0)
        except BaseException:
            traceback.print_exc()
        sys.stdout.flush()
        os._exit(code)
    os._exit(130)  # before the command began


def kill_oneself(moment: str, before: int, signals: Sequence[int]) -> None:
    """Have this process send itself signals in the middle of what MOMENTS names."""
    place, name, _ = MOMENTS[moment]
    real, calls = getattr(place, name), [0]

    def wrapped(*given: Any, **named: Any) -> Any:
        calls[0] += 1
        if calls[0] == before + 1:
            print(f"--- {moment}", flush=True)
            for number in signals:
                os.kill(os.getpid(), number)
        return real(*given, **named)

    setattr(place, name, wrapped)


def wait(process: int, limit: float) -> int | None:
    """A process's exit code (below 0: the signal that ended it); None where it goes on for longer than `limit` s."""
    until = time.monotonic() + limit
    while time.monotonic() < until:
        ended, status = os.waitpid(process, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.002)
    return None


def kill(trial: Trial, process: int, signals: Sequence[int], draw: random.Random) -> None:
    send = os.killpg if trial.kind == "ddp" else os.kill
    for i, number in enumerate(signals):
        if i:
            time.sleep(draw.uniform(0, 0.2))
        with contextlib.suppress(ProcessLookupError):
            send(process, number)


# --- a trial ---------------------------------------------------------------------------------------------------------


def try_out(trial: Trial, draw: random.Random, kills: int) -> Trial:
    straight, log = trial.folder / "straight", trial.folder / "log.txt"
    trial.folder.mkdir(parents=True)
    began = time.monotonic()
    code = wait(start(trial, straight, trial.folder / "straight.txt"), 240)
    length = time.monotonic() - began
    if code == 2:  # settings that don't go together: refused in a sentence
        return trial
    if code != 0:
        trial.findings.append(f"not killed, it ended with {code}: {last_line(trial.folder / 'straight.txt')}")
        return trial
    for number in range(kills):
        moment = draw.choice([ANY, ANY, ANY, *(MOMENTS if trial.kind != "ddp" else ())])
        name = draw.choice(list(SIGNALS))
        signals = SIGNALS[name]
        at = None if moment == ANY else (moment, draw.randrange(MOMENTS[moment][2]), signals)
        with log.open("a") as text:
            text.write(f"--- {number}: {name}, {moment}\n")
        with own_cache(trial.folder / f"cache{number}", moment == "the cache is filled"):
            process = start(trial, trial.done, log, at)
            code = wait(process, draw.uniform(0, length) if at is None else 240)
            if code is None and at is None:
                kill(trial, process, signals, draw)
                trial.kills[moment, name] += 1
                code = wait(process, 60)
            elif at is not None and code != 0:
                trial.kills[moment, name] += 1
        if code is None:
            trial.findings.append(f"{name} at {moment}: it went on for longer than 60 s")
            with contextlib.suppress(ProcessLookupError):
                (os.killpg if trial.kind == "ddp" else os.kill)(process, signal.SIGKILL)
            return trial
        expected = {0, -signals[0], 130} | ({-9} if trial.kind == "ddp" else set())  # Lightning ends the others so
        if code not in expected:
            trial.findings.append(f"{name} at {moment}: exit code {code}: {last_line(log)}")
        trial.findings += [f"after {name} at {moment}: {text}" for text in broken(trial.done)]
    for _ in range(2):  # a run that stopped before its first checkpoint is begun anew
        code = wait(start(trial, trial.done, log), 240)
    if code != 0:
        trial.findings.append(f"it did not go on, exit code {code}: {last_line(log)}")
    else:
        trial.findings += differences(trial, straight, trial.done)
    return trial


@contextlib.contextmanager
def own_cache(place: Path, wanted: bool) -> Iterator[None]:
    before = os.environ["DLCOURSE_CACHE"]
    if wanted:
        os.environ["DLCOURSE_CACHE"] = str(place)
    try:
        yield
    finally:
        os.environ["DLCOURSE_CACHE"] = before


def last_line(log: Path) -> str:
    lines = log.read_text(errors="replace").strip().splitlines()
    return lines[-1][:300] if lines else "nothing was printed"


def found_runs(place: Path) -> dict[str, Path]:
    return {str(p.parent.relative_to(place)): p.parent for p in sorted(place.rglob(runs.RESULT))}


def broken(place: Path) -> list[str]:
    """What a kill has left that can't be read."""
    out = []
    for name, run in found_runs(place).items():
        try:
            runs.read_result(run)
            for checkpoint in (runs.BEST, runs.LAST):
                if (run / checkpoint).is_file():
                    read_checkpoint(run / checkpoint)
            if (run / runs.METRICS).is_file():
                epochs = [int(row["epoch"]) for row in csv.DictReader((run / runs.METRICS).open(newline=""))]
                if epochs != list(range(1, len(epochs) + 1)):
                    out.append(f"{name}: epochs {epochs}")
        except (InputError, ValueError, TypeError) as error:
            out.append(f"{name}: {error}")
    return out


def differences(trial: Trial, straight: Path, killed: Path) -> list[str]:
    """What is different, or lost, of the runs in a directory."""
    tolerance = 1e-10 if trial.kind == "population" else 0.0
    ours, theirs = found_runs(straight), found_runs(killed)
    if ours.keys() != theirs.keys():
        return [f"runs {sorted(theirs)} instead of {sorted(ours)}"]
    out = []
    for name in ours:
        out += [f"{name}: {text}" for text in different(ours[name], theirs[name], tolerance)]
    return out


def different(one: Path, other: Path, tolerance: float) -> Iterator[str]:
    names = [kept_files(run) for run in (one, other)]
    if names[0] != names[1]:
        yield f"files {sorted(set(names[0]) ^ set(names[1]))}"
    for name in (runs.METRICS, runs.STEPS):
        if (one / name).is_file() and (other / name).is_file():
            a, b = (numbers(run / name) for run in (one, other))
            if len(a) != len(b) or any(not close(x, y, max(tolerance * 1e4, 0)) for x, y in zip(a, b, strict=True)):
                yield f"{name} differs"
    for name in (runs.BEST, runs.LAST):
        p, q = (dict(tensors(read_checkpoint(run / name))) for run in (one, other))
        if p.keys() != q.keys() or not all(close(p[key], q[key], tolerance) for key in p):
            yield f"{name} differs"
    mine, yours = (json.loads((run / runs.RESULT).read_text()) for run in (one, other))
    for key in ("status", "score", "metrics", "epochs", "best_epoch", "steps", "parameters", "data", "config_hash"):
        if key in ("score", "metrics") and tolerance:
            continue  # checked by the weights and the rows
        if mine[key] != yours[key]:
            yield f"{runs.RESULT}: {key} {yours[key]} instead of {mine[key]}"


def kept_files(run: Path) -> list[str]:
    """A run's files but those that say when and how often it was at work."""
    every = (path for path in run.rglob("*") if path.is_file() and ".hydra" not in path.parts)
    return sorted(str(p.relative_to(run)) for p in every if "tfevents" not in p.name and p.name not in SKIPPED)


SKIPPED = ("train.log", runs.LOCK)


def numbers(path: Path) -> list[torch.Tensor]:
    with path.open(newline="") as file:
        return [torch.tensor([float(v or "nan") for k, v in row.items() if k != "seconds"], dtype=torch.float64)
                for row in csv.DictReader(file)]  # fmt: skip


def tensors(value: Any, name: str = "") -> Iterator[tuple[str, torch.Tensor]]:
    """Every tensor in a checkpoint but the times of its rows."""
    if isinstance(value, torch.Tensor) and not name.endswith("rows"):
        yield name, value
    elif isinstance(value, dict):
        for key, part in value.items():
            yield from tensors(part, f"{name}.{key}")
    elif isinstance(value, list | tuple):
        for i, part in enumerate(value):
            yield from tensors(part, f"{name}.{i}")


def close(a: torch.Tensor, b: torch.Tensor, tolerance: float) -> bool:
    """Whether two tensors are equal, NaN to NaN; with a tolerance, how large their difference is of the first."""
    if a.shape != b.shape or a.dtype != b.dtype:
        return False
    a, b = (x.double().nan_to_num(nan=-7e77) for x in (a, b))
    return bool((a - b).norm() <= tolerance * a.norm() + 1e-15) if tolerance else torch.equal(a, b)


# --- all -------------------------------------------------------------------------------------------------------------

SHARES = {"run": 12, "sweep": 3, "population": 3, "study": 1, "ddp": 1}  # of twenty trials


def trials(wanted: int, seed: int, kinds: Sequence[str], folder: Path, worker: int, workers: int) -> Iterator[Trial]:
    """This worker's part of the trials, until there were so many kills."""
    draw = random.Random(f"{seed} {worker}")
    order = [kind for kind, share in SHARES.items() if kind in kinds for _ in range(share)]
    killed = number = 0
    while killed < wanted:
        if number % len(order) == 0:
            draw.shuffle(order)
        kind = order[number % len(order)]
        trial = draw_trial(kind, draw, folder / f"{worker}-{number}")
        try_out(trial, draw, kills=3)
        if not trial.findings:
            shutil.rmtree(trial.folder)
        number, killed = number + 1, killed + sum(trial.kills.values())
        yield trial


def work(wanted: int, seed: int, kinds: Sequence[str], folder: Path, worker: int, workers: int) -> None:
    """A worker's trials, a line of JSON each."""
    with (folder / f"{worker}.jsonl").open("w") as out:
        for trial in trials(wanted, seed, kinds, folder, worker, workers):
            kills = [[*key, number] for key, number in trial.kills.items()]
            line = {"kind": trial.kind, "words": trial.words, "kills": kills, "findings": trial.findings}
            print(json.dumps(line), file=out, flush=True)
            for text in trial.findings:
                print(f"{trial.kind} {' '.join(trial.words)}\n    {text} ({trial.folder})", file=sys.stderr, flush=True)


def table(lines: Sequence[dict[str, Any]]) -> str:
    kinds = [kind for kind in SHARES if any(line["kind"] == kind for line in lines)]
    columns = [*SIGNALS]
    rows = [["command", "trials", *columns, "kills", "lost"]]
    for kind in [*kinds, "all"]:
        part = [line for line in lines if kind in (line["kind"], "all")]
        by = Counter({name: sum(k[2] for line in part for k in line["kills"] if k[1] == name) for name in columns})
        rows.append([kind, str(len(part)), *(str(by[name]) for name in columns), str(sum(by.values())),
                     str(sum(bool(line["findings"]) for line in part))])  # fmt: skip
    moments = Counter({m: sum(k[2] for line in lines for k in line["kills"] if k[0] == m) for m in (ANY, *MOMENTS)})
    text = "\n".join(f"| {' | '.join(row)} |" for row in [rows[0], ["---"] * len(rows[0]), *rows[1:]])
    return text + "\n\nKilled at: " + ", ".join(f"{moment} {number}" for moment, number in moments.items()) + ".\n"


def main(argv: list[str]) -> None:
    given = cli.parse_arguments(argv, __doc__, (), ("kills", "seed", "workers", "kinds", "out"))
    kills, seed, workers = (int(given.get(key, value)) for key, value in (("kills", 300), ("seed", 0), ("workers", 2)))
    kinds = given.get("kinds", ",".join(SHARES)).split(",")
    if unknown := set(kinds) - SHARES.keys():
        raise InputError(f"kinds={','.join(unknown)}: it can be {', '.join(SHARES)}")
    folder = Path(tempfile.mkdtemp(prefix="dlcourse-faults-"))
    torch.set_num_threads(1)
    os.environ |= {"DLCOURSE_CACHE": str(folder / "cache"), "DLCOURSE_OFFLINE": "1", "OMP_NUM_THREADS": "1",
                   "MASTER_ADDR": "127.0.0.1"}  # fmt: skip
    os.environ.pop("DLCOURSE_DATA", None)
    draw_photos(folder / PHOTOS)
    began = time.monotonic()
    processes = []
    for worker in range(workers):
        process = os.fork()
        if not process:
            code = 1
            with contextlib.suppress(KeyboardInterrupt):
                work(-(-kills // workers), seed, kinds, folder, worker, workers)
                code = 0
            os._exit(code)
        processes.append(process)
    codes = [os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) for process in processes]
    lines = [json.loads(line) for path in sorted(folder.glob("*.jsonl")) for line in path.read_text().splitlines()]
    text = table(lines) + f"\n{time.monotonic() - began:.0f} s, seed {seed}, {workers} workers.\n"
    print(text)
    if "out" in given:
        Path(given["out"]).write_text(text, encoding="utf-8")
    if any(line["findings"] for line in lines) or any(codes):
        sys.exit(1)
    shutil.rmtree(folder)


if __name__ == "__main__":
    cli.run_command(main)
