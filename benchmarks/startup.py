"""How long until something happens? Whole commands, from the shell's point of view.

python benchmarks/startup.py [rounds=5] [out=FILE]
"""

import subprocess
import sys
import tempfile
import time

from rounds import Contestants, alternate, cell, run, show

COMMANDS = (
    "dlcourse",
    "dlcourse.train --help",
    "dlcourse.train model=mdl",
    "dlcourse.train optimizer.lr=-1",
    "dlcourse.train trainer=smoke trainer.figures=false data.source=stand-in",
)


def command(words: str) -> float:
    """Seconds of `python -m WORDS`, in a directory of its own."""
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        subprocess.run([sys.executable, "-m", *words.split()], cwd=folder, capture_output=True, check=False)
        return time.perf_counter() - began


def libraries() -> float:
    """Seconds of a program that only imports what any training needs."""
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", "import lightning, torchmetrics, torchvision"], check=True)
    return time.perf_counter() - began


def main(given: dict[str, str]) -> None:
    rounds = int(given.get("rounds", "5"))
    contestants: Contestants = {
        f"`python -m {words}`": lambda words=words: command(words)  # type: ignore[misc]
        for words in COMMANDS
    }
    contestants["importing torch, torchvision, lightning and torchmetrics"] = libraries
    seconds = alternate("start", contestants, rounds)
    rows = [[name, cell(values)] for name, values in seconds.items()]
    show(["command", "s, median (range)"], rows, rounds, given.get("out"))


if __name__ == "__main__":
    run(main, __doc__)
