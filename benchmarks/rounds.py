"""What the benchmarks share: contestants that take turns in one process, and a table of them."""

import io
import logging
import platform
import statistics
import sys
import warnings
from collections.abc import Callable, Sequence
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import lightning as L
import torch
from hydra import compose, initialize_config_dir

from dlcourse.config.search import conf_dir
from dlcourse.core import cli
from dlcourse.launch.compose import resolve
from dlcourse.training import setup

Contestants = dict[str, Callable[[], float]]  # by name, what it measures of itself: mostly seconds


def config(*overrides: str) -> dict[str, Any]:
    """A run's config, on the CPU unless `trainer=` is among the overrides; no figures, nothing on the terminal."""
    own = [] if any(override.startswith("trainer=") for override in overrides) else ["trainer=cpu"]
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        return resolve(compose("train", [*own, "trainer.figures=false", "trainer.progress=false", *overrides]))


def alternate(title: str, contestants: Contestants, rounds: int, warm: bool = True) -> dict[str, list[float]]:
    """What each measures, `rounds` times, in turns: what the machine is busy with besides, they share.

    warm: begin with a round that does not count.
    """
    measured: dict[str, list[float]] = {name: [] for name in contestants}
    for i in range(-warm, rounds):
        for name, measure in contestants.items():
            with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
                value = measure()
            if i >= 0:
                measured[name].append(value)
            print(f"{title}, round {i + 1}, {name}: {value:.3f}", file=sys.stderr, flush=True)
    return measured


def cell(values: Sequence[float], digits: int = 2) -> str:
    """The median, with the range."""
    return f"{statistics.median(values):.{digits}f} ({min(values):.{digits}f}–{max(values):.{digits}f})"


def ratio(values: Sequence[float], others: Sequence[float]) -> str:
    """How many times as much the values are as the others: the median over the rounds."""
    return f"{statistics.median(a / b for a, b in zip(values, others, strict=True)):.2f}×"


def show(head: Sequence[str], rows: Sequence[Sequence[str]], rounds: int, out: str | None) -> None:
    """Print a table as Markdown, with the machine and the versions; into a file as well, where one is given."""
    lines = [head, ["---"] * len(head), *rows]
    text = "\n".join(f"| {' | '.join(line)} |" for line in lines) + f"\n\n{rounds} rounds, {machine()}.\n"
    print(text)
    if out:
        Path(out).write_text(text, encoding="utf-8")


def machine() -> str:
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    threads = f"{platform.machine()}, {torch.get_num_threads()} threads, {device}"
    return f"{threads}, torch {torch.__version__}, lightning {L.__version__}"


def run(main: Callable[[dict[str, str]], None], usage: str | None, *options: str) -> None:
    """Call a benchmark with its options, `rounds` and `out` among them."""
    warnings.filterwarnings("ignore")
    for name in ("lightning.pytorch", "dlcourse"):
        logging.getLogger(name).setLevel(logging.ERROR)
    setup.quiet()
    cli.run_command(lambda argv: main(cli.parse_arguments(argv, usage, (), ("rounds", "out", *options))))
