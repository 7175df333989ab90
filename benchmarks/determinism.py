"""python benchmarks/determinism.py [epochs=10] [threads=1,1,2,4]

Trains the same small networks in processes of their own with different numbers of threads, the first number twice, and
once with trainer.deterministic=true; prints how far the weights are from the first's after one epoch and in the end.

Real digits (the 5,000 that are always there, as stand-in for MNIST). On a machine with a CUDA GPU, which trainer=auto
takes, the column `1` compares two runs on that GPU.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import torch

from dlcourse import runs
from dlcourse.core import cli
from dlcourse.training.loading import read_checkpoint

NETWORKS = {
    "linear": ("model=linear",),
    "784-64-128-64-10, batch norm": ("model=mlp", "model.net.hidden=[64,128,64]", "model.net.batch_norm=true"),
    "convnet": ("model=cnn",),
    "autoencoder": ("model=autoencoder",),
}
SMALL = ("data.source=stand-in", "data.limit=2000", "data.limit_eval=200", "trainer.figures=false", "logger=none")


def weights(run: Path) -> torch.Tensor:
    state = read_checkpoint(run / runs.LAST)["state_dict"]
    return torch.cat([value.double().flatten() for value in state.values()])


def trained(words: tuple[str, ...], threads: int, place: Path, epochs: int) -> list[torch.Tensor]:
    """The weights after one epoch and after all."""
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "DLCOURSE_OFFLINE": "1"}
    found = []
    for number in (1, epochs):
        run = place / str(number)
        command = [sys.executable, "-m", "dlcourse.train", *SMALL, *words, f"trainer.max_epochs={number}",
                   "trainer.selection=last", f"hydra.run.dir={run}"]  # fmt: skip
        subprocess.run(command, check=True, capture_output=True, env=environment)
        found.append(weights(run))
    return found


def main(argv: list[str]) -> None:
    given = cli.parse_arguments(argv, __doc__, (), ("epochs", "threads"))
    epochs = int(given.get("epochs", 10))
    threads = [int(number) for number in given.get("threads", "1,1,2,4").split(",")]
    columns = [*(f"{number} threads" for number in threads[1:]), "deterministic"]
    print(f"| network | after | {' | '.join(columns)} |\n|{' --- |' * (len(columns) + 2)}")
    with tempfile.TemporaryDirectory() as folder:
        for row, (name, words) in enumerate(NETWORKS.items()):
            first, *others = [
                trained(words, number, Path(folder, str(row), str(i)), epochs) for i, number in enumerate(threads)
            ]
            sure = (*words, "trainer.deterministic=true")
            others.append(trained(sure, threads[0], Path(folder, str(row), "sure"), epochs))
            for at, after in enumerate(("1 epoch", f"{epochs} epochs")):
                apart = [float((one[at] - first[at]).norm() / first[at].norm()) for one in others]
                print(f"| {name} | {after} | {' | '.join(f'{value:.1g}' for value in apart)} |", flush=True)
    print(f"\ntorch {torch.__version__}, {'CPU' if not torch.cuda.is_available() else torch.cuda.get_device_name()}")


if __name__ == "__main__":
    cli.run_command(main)
