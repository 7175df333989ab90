"""Many steps inside one of Lightning's, and the steps of several runs as one program: the same numbers."""

import json
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from dlcourse.callbacks.keep import read_metrics
from dlcourse.runs import numbered_run, read_result
from dlcourse.training import fit, population
from dlcourse.training.population import Population

Config = Callable[..., dict[str, Any]]
SMALL = ("data.source=stand-in", "data.limit=300", "data.limit_eval=100", "trainer=cpu", "trainer.figures=false",
         "trainer.max_epochs=2", "logger=none")  # fmt: skip
MLP = ("model=mlp", "model.net.hidden=[12]")
RUNS: dict[str, tuple[str, ...]] = {
    "mlp": MLP,
    "batch 1": (*MLP, "data.batch_size=1", "data.limit=120", "optimizer=sgd"),
    "one batch": (*MLP, "data.batch_size=all", "data.shuffle=false"),
    "batch norm": (*MLP, "model.net.batch_norm=true", "data.batch_size=13", "optimizer=sgd"),
    "dropout": (*MLP, "model.net.dropout=0.5"),
    "augmented": (*MLP, "data.augment.rotate=10", "data.augment.shift=0.1"),
    "with replacement": (*MLP, "data.shuffle=replacement"),
    "steps": (*MLP, "data.batch_size=20", "data.steps_per_epoch=70", "data.first_epoch_steps=3"),
    "clipped": (*MLP, "trainer.gradient_clip_val=0.01", "optimizer=rmsprop"),
    "schedule": (*MLP, "schedule=step", "schedule.step_size=1", "optimizer=nag"),
    "plateau": (*MLP, "schedule=plateau", "schedule.patience=0", "optimizer.lr=0.1"),
    "cosine": (*MLP, "schedule=cosine", "optimizer=adamw"),
    "stopping": (*MLP, "stopping=convergence", "stopping.bound=10", "trainer.max_epochs=9"),
    "float64": (*MLP, "trainer.precision=64-true"),
    "bfloat16": (*MLP, "trainer.precision=bf16-mixed"),
    "cnn": ("model=cnn", "trainer.max_epochs=1"),
    "binary": ("model=linear", "model.loss=binary_cross_entropy", "data.classes_kept=[2,3]", "data.classes=2"),
    "sum": ("model=autoencoder", "model.reduction=sum", "optimizer=nag", "optimizer.lr=0.00001"),
    "denoising": ("model=denoising",),
    "regression": ("model=toy_convnet", "data=functions", "data.source=auto", "data.limit=null"),
    "scratch": ("model=scratch", "model.net.hidden=[12]"),
}


def trained(plain: dict[str, Any], folder: Path) -> Path:
    folder.mkdir(parents=True)
    fit.train(plain, folder)
    return folder


def stepping(run: Path) -> str:
    return str(json.loads((run / "result.json").read_text())["stepping"])


def rows(run: Path) -> list[dict[str, Any]]:
    return [{k: v for k, v in row.items() if k != "seconds"} for row in read_metrics(run / "metrics.csv")]


def weights(run: Path) -> dict[str, torch.Tensor]:
    saved: dict[str, Any] = torch.load(run / "last.ckpt", weights_only=True)
    return saved["state_dict"] | {"steps": torch.tensor(saved["global_step"])}


@pytest.mark.parametrize("name", RUNS)
def test_a_chunk_of_steps_is_the_steps(name: str, config: Config, tmp_path: Path) -> None:
    chunked = trained(config(*SMALL, *RUNS[name], "trainer.log_steps=true"), tmp_path / "chunked")
    single = trained(
        config(*SMALL, *RUNS[name], "trainer.log_steps=true", "trainer.stepping=lightning"), tmp_path / "s"
    )
    assert (stepping(chunked), stepping(single)) == ("eager", "lightning")
    assert rows(chunked) == rows(single)
    assert (chunked / "steps.csv").read_bytes() == (single / "steps.csv").read_bytes()
    ours, theirs = weights(chunked), weights(single)
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[key], theirs[key]) for key in ours)


@pytest.mark.parametrize(
    "asked",
    [("trainer.limit_train_batches=2",), ("model=knn",), ("data.batch_size=20",)],
    ids=["limit", "knn", "accumulate"],
)
def test_what_needs_single_steps_gets_them(asked: tuple[str, ...], config: Config, tmp_path: Path) -> None:
    plain = config(*SMALL, *asked)
    if asked == ("data.batch_size=20",):
        plain["trainer"]["accumulate_grad_batches"] = 2
    assert stepping(trained(plain, tmp_path / "run")) == "lightning"


# --- several runs ----------------------------------------------------------------------------------------------------


def together(plains: list[dict[str, Any]], folder: Path) -> tuple[list[Path], list[Any]]:
    runs = [folder / str(i) for i in range(len(plains))]
    return runs, Population().run([lambda p=p, r=r: trained(p, r) for p, r in zip(plains, runs, strict=True)])  # type: ignore[misc]


def difference(a: Path, b: Path) -> float:
    """The largest relative difference of two runs' weights, tensor by tensor."""
    ours, theirs = weights(a), weights(b)
    assert ours.keys() == theirs.keys() and torch.equal(ours["steps"], theirs["steps"])
    pairs = [(ours[key].double(), theirs[key].double()) for key in ours]
    return max(float((x - y).norm() / y.norm().clamp_min(1e-12)) for x, y in pairs)


@pytest.mark.parametrize("name", [name for name in RUNS if name not in ("float64", "bfloat16")])
def test_a_member_is_the_run_alone(name: str, config: Config, tmp_path: Path) -> None:
    """In float64, to 1e-10: three seeds; those that can't be made one program are trained as they are."""
    plains = [config(*SMALL, *RUNS[name], "trainer.precision=64-true", f"seed={seed}") for seed in range(3)]
    members, _ = together(plains, tmp_path / "together")
    alone = [trained(plain, tmp_path / f"alone{i}") for i, plain in enumerate(plains)]
    for member, run in zip(members, alone, strict=True):
        assert stepping(member) == ("eager" if name in ("dropout", "scratch") else "population")
        assert difference(member, run) < 1e-10
        for ours, theirs in zip(rows(member), rows(run), strict=True):
            assert ours == pytest.approx(theirs, rel=1e-6)
        assert sorted(p.name for p in member.iterdir()) == sorted(p.name for p in run.iterdir())


def test_members_may_differ_in_what_an_optimizer_is_told(config: Config, tmp_path: Path) -> None:
    """In float32, to 1e-5: kinds, rates, momentum, betas, weight decay; they stop when each of them has to."""
    settings = ["optimizer=sgd optimizer.lr=0.1", "optimizer=sgd optimizer.momentum=0.5", "optimizer=rmsprop",
                "optimizer=adam optimizer.lr=0.01 seed=4", "optimizer=adam optimizer.betas=[0.8,0.9]",
                "optimizer=adamw optimizer.weight_decay=0.1 trainer.max_epochs=1", "optimizer=adam optimizer.lr=0.01",
                "optimizer=nag stopping=convergence stopping.bound=10 trainer.max_epochs=9"]  # fmt: skip
    plains = [config(*SMALL, *MLP, *words.split()) for words in settings]
    members, _ = together(plains, tmp_path / "together")
    for i, (member, plain) in enumerate(zip(members, plains, strict=True)):
        alone = trained(plain, tmp_path / f"alone{i}")
        assert stepping(member) == "population"
        assert difference(member, alone) < 1e-5
        assert len(rows(member)) == len(rows(alone))


def test_a_member_that_fails_leaves_the_others(config: Config, tmp_path: Path) -> None:
    good, other = config(*SMALL, *MLP), config(*SMALL, *MLP, "seed=1")
    bad = config(*SMALL, *MLP)
    bad["data"]["classes"] = 3
    members, outcomes = together([good, bad, other], tmp_path / "together")
    assert members[0] == outcomes[0] and members[2] == outcomes[2]
    assert isinstance(outcomes[1], Exception) and "classes" in str(outcomes[1])
    assert difference(members[2], trained(other, tmp_path / "alone")) < 1e-5


def test_a_member_that_diverges_leaves_the_others(config: Config, tmp_path: Path) -> None:
    plains = [config(*SMALL, *MLP, "optimizer=sgd", f"optimizer.lr={lr}") for lr in (1e30, 0.1)]
    members, _ = together(plains, tmp_path / "together")
    assert rows(members[0])[-1]["train/loss"] != rows(members[0])[-1]["train/loss"]  # NaN
    results = [json.loads((run / "result.json").read_text()) for run in (*members, trained(plains[0], tmp_path / "a"))]
    assert results[0]["diverged"] == results[2]["diverged"] and "diverged" not in results[1]
    assert results[0]["diverged"]["epoch"] == 1 and 1 < results[0]["diverged"]["step"] < 4
    assert difference(members[1], trained(plains[1], tmp_path / "alone")) < 1e-5


def test_too_many_members_for_the_memory_are_divided(
    config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """There is room for two here; an error of the allocator's for more."""
    real = population.step_together
    sizes: list[int] = []

    def step_together(visits: Sequence[Any]) -> None:
        if len(visits) > 2:
            raise RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: not enough memory")
        sizes.append(len(visits))
        real(visits)

    monkeypatch.setattr(population, "step_together", step_together)
    plains = [config(*SMALL, *MLP, f"seed={seed}") for seed in range(5)]
    members, _ = together(plains, tmp_path / "together")
    assert "the memory is too small for 5 runs at once: 2 at a time" in caplog.text
    assert set(sizes) == {2}  # the fifth by itself
    assert difference(members[4], trained(plains[4], tmp_path / "alone")) < 1e-5


def test_interrupted_members_go_on_alone(config: Config, tmp_path: Path) -> None:
    """Ctrl-C while they train: each directory can be resumed, and ends as if nothing had been."""
    plains = [config(*SMALL, *MLP, "trainer.max_epochs=60", f"seed={seed}") for seed in range(2)]
    runs = [tmp_path / str(i) for i in range(2)]

    def interrupt() -> None:
        while not all((run / "last.ckpt").is_file() for run in runs):
            pass
        signal.raise_signal(signal.SIGINT)

    watcher = threading.Thread(target=interrupt)
    watcher.start()
    with pytest.raises(KeyboardInterrupt):
        Population().run([lambda p=p, r=r: trained(p, r) for p, r in zip(plains, runs, strict=True)])  # type: ignore[misc]
    watcher.join()
    for i, (plain, run) in enumerate(zip(plains, runs, strict=True)):
        assert json.loads((run / "result.json").read_text())["status"] == "interrupted"
        assert len(rows(run)) < 60
        fit.train(plain, run, resume=True)
        assert difference(run, trained(plain, tmp_path / f"alone{i}")) < 1e-4


def test_a_sweep_as_one_program(tmp_path: Path) -> None:
    """As a user does it: jobs of one structure together, others and wrong ones by themselves, each in its directory."""
    sweep = ["-m", "model=mlp,linear", "optimizer.lr=0.01,0.001,-1", *SMALL[:-1], f"hydra.sweep.dir={tmp_path}"]
    done = subprocess.run(
        [sys.executable, "-m", "dlcourse.train", "hydra/launcher=population", *sweep], capture_output=True, text=True
    )
    assert done.returncode == 2 and "failed runs: 2" in done.stderr
    assert done.stdout.count("3 jobs are trained at once") == 2
    assert "optimizer.lr must be a number above 0, got -1" in done.stdout
    folders = [numbered_run(tmp_path, i) for i in range(6)]
    results = [read_result(folder) for folder in folders]
    assert [r["status"] for r in results] == ["done", "done", "failed"] * 2
    assert all(r["stepping"] == "population" for r in results if r["status"] == "done")
    assert "epochs, " in (folders[1] / "train.log").read_text()
    assert "mlp" not in (folders[3] / "train.log").read_text()
