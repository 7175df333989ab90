"""How much faster is a sweep as one program? Runs trained at once, one by one, and in two processes by joblib.

    python benchmarks/population.py [rounds=5] [members=1,5,20,64] [out=FILE]

Runs of one network that differ in seed and learning rate, each with its own run directory, checkpoints and metrics,
without figures and TensorBoard: MNIST, batch 32, 10,000 images, 2 epochs. One by one: five of them, times the number of
runs. joblib: its two processes have imported everything before they are timed. Needs MNIST's own files.
"""

import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from joblib import Parallel, delayed
from rounds import Contestants, alternate, cell, config, ratio, run, show

from dlcourse.training.fit import train
from dlcourse.training.population import Population

NETS = ("[30,20,10]", "[64,128,64]")
FEW = 5


def members(hidden: str, count: int) -> list[dict[str, Any]]:
    """The configs of a sweep over seeds and learning rates."""
    return [
        config("model=mlp", f"model.net.hidden={hidden}", "data=mnist", "data.source=real", "data.batch_size=32",
               "data.limit=10000", "data.val=1000", "trainer.max_epochs=2", "logger=none",
               f"seed={i}", f"optimizer.lr={0.001 * (1 + i % 5)}")
        for i in range(count)
    ]  # fmt: skip


def one_by_one(plains: list[dict[str, Any]]) -> float:
    """Seconds that these runs take one after the other."""
    few = plains[:FEW]
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        for i, plain in enumerate(few):
            directory(folder, i, plain)
        return (time.perf_counter() - began) * len(plains) / len(few)


def at_once(plains: list[dict[str, Any]]) -> float:
    with tempfile.TemporaryDirectory() as folder:
        runs = [lambda i=i, plain=plain: directory(folder, i, plain) for i, plain in enumerate(plains)]
        began = time.perf_counter()
        failed = [outcome for outcome in Population().run(runs) if isinstance(outcome, BaseException)]
        took = time.perf_counter() - began
    if failed:
        raise failed[0]
    return took


def by_joblib(plains: list[dict[str, Any]], pool: Parallel) -> float:
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        pool(delayed(alone)(folder, i, plain) for i, plain in enumerate(plains))
        return time.perf_counter() - began


def alone(folder: str, number: int, plain: dict[str, Any]) -> None:
    torch.set_num_threads(1)
    directory(folder, number, plain)


def directory(folder: str, number: int, plain: dict[str, Any]) -> None:
    run_dir = Path(folder) / str(number)
    run_dir.mkdir()
    train(plain, run_dir)


def main(given: dict[str, str]) -> None:
    rounds = int(given.get("rounds", "5"))
    rows = []
    with Parallel(n_jobs=2) as pool:
        for hidden in NETS:
            for count in map(int, given.get("members", "1,5,20,64").split(",")):
                plains = members(hidden, count)
                contestants: Contestants = {
                    "one by one": lambda plains=plains: one_by_one(plains),  # type: ignore[misc]
                    "joblib, 2 processes": lambda plains=plains: by_joblib(plains, pool),  # type: ignore[misc]
                    "population": lambda plains=plains: at_once(plains),  # type: ignore[misc]
                }
                seconds = alternate(f"784-{hidden}-10, {count} runs", contestants, rounds)
                for name, values in seconds.items():
                    rows.append([hidden, str(count), name, cell(values), ratio(seconds["one by one"], values)])
    show(["hidden", "runs", "", "s for all, median (range)", "faster than one by one"], rows, rounds, given.get("out"))


if __name__ == "__main__":
    run(main, __doc__, "members")
