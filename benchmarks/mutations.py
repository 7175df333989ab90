"""python benchmarks/mutations.py [options=data=folder,model=cnn] [workers=2] [out=FILE.md]

Sets each key of the config, and of every choice of every group, to values that it was not made for, and trains.

What comes of it must be a run that works, or one sentence and exit code 2 with no directory left behind. Trials are
processes forked from one that has imported everything. A run may take 30 s: one that was asked for a million epochs is
then interrupted, and counts as one that works.
"""

import contextlib
import logging
import os
import resource
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from dlcourse import train
from dlcourse.config.identity import flatten
from dlcourse.config.search import groups
from dlcourse.core import cli
from dlcourse.core.errors import InputError
from dlcourse.launch.compose import compose_config, resolve
from dlcourse.training import figures, fit  # noqa: F401  imported here, once for all trials

VALUES = ("text", "''", "中文", "'ü/ =#'", "3", "1.5", "0", "-1", "1e30", "100000000000000000000", "null", "nan", "inf",
          "true", "[]", "[1,b]", "{a: 1}", "../../up")  # fmt: skip
SMALL = ("trainer=smoke", "data.source=stand-in", "data.limit=40", "data.limit_eval=20", "trainer.figures=false",
         "logger=none")  # fmt: skip
GROUPS = ("data", "model", "optimizer", "schedule", "stopping", "trainer", "logger")
UNTRIED = (("trainer.devices", "3"), ("trainer.num_nodes", "3"))  # start this program anew; wait for other machines
SECONDS, MEMORY = 30, 6 << 30
LASTING = ("trainer.max_epochs", "data.epochs", "data.steps_per_epoch", "data.first_epoch_steps")  # may take for ever


@dataclass(frozen=True)
class Outcome:
    """kind: worked, refused or defect; text: why."""

    word: str
    kind: str
    text: str


def options() -> Iterator[str]:
    """The default config, and every choice that differs from it, as GROUP=CHOICE."""
    yield "default"
    for group in GROUPS:
        yield from (f"{group}={choice}" for choice in groups()[group])


def needed(option: str, folder: Path) -> tuple[str, ...]:
    """What has to be said besides, so that a choice can be trained at all."""
    return {
        "data=folder": (f"data.root={folder}", "data.source=auto", "data.size=16"),
        "data=codes": ("data.encoder=pca:4", "data.of=mnist"),
        "data=functions": ("data.source=auto", "model=regression"),
        "data=clusters": ("data.source=auto",),
        "data=flowers17": ("data.size=16",), "data=sun": ("data.size=16",),
        "model=regression": ("data=functions", "data.source=auto"),
        "model=toy_convnet": ("data=functions", "data.source=auto"),
        "model=finetune": ("model.net.name=squeezenet1_1", "model.weights=none", "data=cifar10", "data.resize=40"),
        "model=squeezenet": ("model.weights=none", "data=cifar10", "data.resize=40"),
        "model=mobilenet_v2": ("model.weights=none", "data=cifar10", "data.resize=40"),
        "model=resnet18": ("model.weights=none", "data=cifar10", "data.resize=40"),
        "trainer=gpu": ("trainer.accelerator=cpu",), "trainer=ddp": ("trainer.accelerator=cpu", "trainer.devices=1"),
    }.get(option, ())  # fmt: skip


def words_of(option: str, folder: Path) -> list[str]:
    chosen = [] if option == "default" else [option]
    words = [*SMALL, "model=linear", *needed(option, folder), *chosen]
    return list({word.partition("=")[0]: word for word in words}.values())


def keys_of(option: str, words: list[str], known: Mapping[str, object]) -> list[str]:
    """The keys that a choice brings with a value of its own, of the default config all."""
    plain = flatten(resolve(compose_config(words)))
    group = option.partition("=")[0]
    return [key for key in plain if option == "default" or (key.startswith(f"{group}.") and key not in known)]


def attempt(words: list[str], key: str, value: str, place: Path) -> Outcome:
    word = f"{key}={value}"
    run, log = place / "run", place / "log.txt"
    place.mkdir()
    process = os.fork()
    if not process:
        with contextlib.suppress(BaseException):
            child([*words, word, f"hydra.run.dir={run}"], log, place)
        os._exit(99)
    _, status = os.waitpid(process, 0)
    code = os.waitstatus_to_exitcode(status)
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.startswith("error: ")]
    last = log.read_text(errors="replace").strip().splitlines()[-1:] or [""]
    left = sorted(str(path.relative_to(place)) for path in place.iterdir() if path != log)
    shutil.rmtree(place)
    if code == 0 or (code == 130 and key in LASTING):
        return Outcome(word, "worked", "")
    if code == 2 and len(lines) == 1 and (not left or (left == ["run"] and "hydra" in key)):
        return Outcome(word, "refused", lines[0])
    return Outcome(word, "defect", f"exit code {code}, left {left}: {last[0][:200]}")


def child(words: list[str], log: Path, place: Path) -> None:
    output = os.open(log, os.O_WRONLY | os.O_CREAT)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.chdir(place.parent)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGALRM, lambda *_: os.kill(os.getpid(), signal.SIGINT))
    signal.alarm(SECONDS)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, used + MEMORY))
    logging.getLogger().handlers.clear()
    sys.argv[1:] = words
    try:
        cli.run_command(train.main)
    except SystemExit as ended:
        os._exit(int(ended.code or 0))


def pictures(folder: Path) -> Path:
    """A folder of two classes of small pictures."""
    rng = np.random.default_rng(0)
    for name in ("a", "b"):
        (folder / name).mkdir(parents=True)
        for i in range(20):
            Image.fromarray(rng.integers(0, 255, (16, 16, 3), dtype=np.uint8)).save(folder / name / f"{i}.png")
    return folder


def mutate(chosen: list[str], workers: int) -> dict[str, list[Outcome]]:
    """Every mutation of the keys of some choices."""
    place = Path(tempfile.mkdtemp(prefix="dlcourse-mutations-"))
    torch.set_num_threads(1)
    os.environ |= {"DLCOURSE_CACHE": str(place / "cache"), "DLCOURSE_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    os.environ.pop("DLCOURSE_DATA", None)
    folder = pictures(place / "pictures")
    known: dict[str, object] = {}
    outcomes: dict[str, list[Outcome]] = {}
    try:
        for option in chosen:
            words = words_of(option, folder)
            keys = keys_of(option, words, known)
            if option == "default":
                known = dict.fromkeys(keys)
            trials = [(key, value) for key in keys for value in VALUES if (key, value) not in UNTRIED]
            with ThreadPoolExecutor(workers) as pool:
                numbered = [pool.submit(attempt, words, *trial, place / str(i)) for i, trial in enumerate(trials)]
                outcomes[option] = [one.result() for one in numbered]
            for outcome in outcomes[option]:
                if outcome.kind == "defect":
                    print(f"{option} {outcome.word}\n    {outcome.text}", file=sys.stderr, flush=True)
    finally:
        shutil.rmtree(place)
    return outcomes


def table(outcomes: Mapping[str, list[Outcome]]) -> str:
    rows = [["choice", "keys", "mutations", "worked", "refused", "defects"]]
    every = [outcome for part in outcomes.values() for outcome in part]
    for option, part in [*outcomes.items(), ("all", every)]:
        kinds = Counter(outcome.kind for outcome in part)
        keys = {
            (name, o.word.partition("=")[0]) for name, os_ in outcomes.items() for o in os_ if option in (name, "all")
        }
        rows.append([option, str(len(keys)), str(len(part)), *(str(kinds[k]) for k in ("worked", "refused", "defect"))])
    return "\n".join(f"| {' | '.join(row)} |" for row in [rows[0], ["---"] * len(rows[0]), *rows[1:]])


def main(argv: list[str]) -> None:
    given = cli.parse_arguments(argv, __doc__, (), ("options", "workers", "out"))
    every = list(options())
    chosen = given["options"].split(",") if "options" in given else every
    if unknown := set(chosen) - set(every):
        raise InputError(f"options={','.join(unknown)}: it can be {', '.join(every)}")
    began = time.monotonic()
    outcomes = mutate(chosen, int(given.get("workers", 2)))
    text = f"{table(outcomes)}\n\n{time.monotonic() - began:.0f} s.\n"
    print(text)
    if "out" in given:
        Path(given["out"]).write_text(text, encoding="utf-8")
    if any(outcome.kind == "defect" for part in outcomes.values() for outcome in part):
        sys.exit(1)


if __name__ == "__main__":
    cli.run_command(main)
