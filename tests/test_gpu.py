"""What only a GPU can show; skipped, saying so, where torch finds none."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from dlcourse import evaluate, resume, runs
from dlcourse.data.module import DataModule
from dlcourse.training import fit, loading

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no CUDA GPU here")
Config = Callable[..., dict[str, Any]]
CNN = (
    "model=cnn", "model.net.channels=[8,8]", "model.net.hidden=[32]", "model.net.dropout=0.2", "optimizer.lr=0.01",
    "data.source=stand-in", "data.limit=400", "data.limit_eval=200", "data.augment.rotate=10", "logger=none",
)  # fmt: skip


def trained(config: Config, run: Path, *words: str) -> dict[str, Any]:
    run.mkdir()
    fit.train(config(*CNN, *words), run)
    return runs.read_result(run)


def test_a_run_on_the_gpu(config: Config, tmp_path: Path) -> None:
    """With bfloat16 and tf32: it learns, draws, and gives the same figures again."""
    result = trained(config, tmp_path / "run", "trainer=gpu", "trainer.max_epochs=5")
    assert (result["status"], result["device"]) == ("done", torch.cuda.get_device_name())
    assert result["metrics"]["test/accuracy"] > 0.3
    figures = {p.name for p in (tmp_path / "run" / "figures").iterdir()}
    assert figures == {"learning_curves.png", "weights.png", "confusion_matrix.png", "misclassified.png"}
    for split in ("test", "val"):
        again = evaluate.main([f"run={tmp_path / 'run'}", f"split={split}"])
        assert again == {k: v for k, v in result["metrics"].items() if k.startswith(f"{split}/")}


def test_resumed_is_what_it_would_have_been(config: Config, tmp_path: Path) -> None:
    """Order, augmentation and dropout go on; sums on a GPU are not the same to the last digit each time."""
    words = ("trainer=gpu", "trainer.precision=32-true", "trainer.matmul_precision=highest", "trainer.figures=false")
    straight = trained(config, tmp_path / "straight", *words, "trainer.max_epochs=4")
    trained(config, tmp_path / "broken", *words, "trainer.max_epochs=2")
    resume.main([f"run={tmp_path / 'broken'}", "trainer.max_epochs=4"])
    resumed = runs.read_result(tmp_path / "broken")
    for name in ("train/loss", "val/loss"):
        assert resumed["metrics"][name] == pytest.approx(straight["metrics"][name], rel=1e-3), name


@pytest.mark.parametrize(("device", "expected"), [("auto", "cuda"), ("cpu", "cpu")])
def test_the_data_are_moved_where_they_are_told_to(
    device: str, expected: str, config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kept on the GPU or moved batch by batch, they are augmented there, by a generator of that device."""
    seen: list[tuple[str, str, str]] = []
    transform = DataModule.transform

    def watched(self: Any, x: torch.Tensor, generator: torch.Generator | None = None) -> torch.Tensor:
        out = transform(self, x, generator)
        if generator is not None:
            seen.append((self.splits["train"].y.device.type, out.device.type, generator.device.type))
        return out

    monkeypatch.setattr(DataModule, "transform", watched)
    words = ("trainer=gpu", f"data.device={device}", "trainer.max_epochs=1", "trainer.figures=false")
    trained(config, tmp_path / "run", *words)
    assert set(seen) == {(expected, "cuda", "cuda")}


def test_a_run_of_the_gpu_is_read_without_one(config: Config, tmp_path: Path) -> None:
    """Its checkpoint holds tensors of the GPU; the task that it gives is on the CPU."""
    trained(config, tmp_path / "run", "trainer=gpu", "trainer.max_epochs=1", "trainer.figures=false")
    task = loading.load_task(tmp_path / "run")
    assert {p.device.type for p in task.parameters()} == {"cpu"}
    assert task.net(torch.zeros(2, 1, 28, 28)).shape == (2, 10)
