"""Tasks: what is logged is what the definitions give, what is trained is what is said, what is saved comes back."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
import torch.nn.functional as F
from sklearn.metrics import accuracy_score, f1_score, log_loss, precision_score, recall_score
from torch import Generator, Tensor, nn
from torch.utils.data import DataLoader

from dlcourse.callbacks import Reseed
from dlcourse.core.errors import InputError
from dlcourse.tasks import Classify, Finetune, Reconstruct, Regress, Task
from dlcourse.tasks.reconstruct import add_noise

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning")
SGD = {"_target_": "torch.optim.SGD", "lr": 0.1}
Batches = list[tuple[Tensor, Tensor]]


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def linear(inputs: int, outputs: int) -> dict[str, Any]:
    return {"_target_": "torch.nn.Linear", "in_features": inputs, "out_features": outputs}


def autoencoder(inputs: int = 12) -> dict[str, Any]:
    return {"_target_": "dlcourse.nets.Autoencoder", "inputs": inputs, "widths": [4]}


def batches(*sizes: int, inputs: int = 6, classes: int = 4) -> Batches:
    generator = Generator().manual_seed(0)
    return [
        (torch.rand(n, inputs, generator=generator), torch.randint(classes, (n,), generator=generator)) for n in sizes
    ]


def loader(data: Batches) -> Any:
    """As DataModule makes them: they leave torch's own random numbers alone."""
    return DataLoader(data, batch_size=None, generator=Generator())  # type: ignore[arg-type]


def trainer(folder: Path, epochs: int = 1, **options: Any) -> L.Trainer:
    return L.Trainer(
        default_root_dir=folder, max_epochs=epochs, accelerator="cpu", logger=False, enable_progress_bar=False,
        enable_model_summary=False, enable_checkpointing=False, num_sanity_val_steps=0, **options,
    )  # fmt: skip


def fitted(task: Task, data: Batches, folder: Path, epochs: int = 1, **options: Any) -> dict[str, float]:
    fit = trainer(folder, epochs, **options)
    fit.fit(task, loader(data), loader(data))
    return {k: float(v) for k, v in fit.callback_metrics.items()}


def evaluated(task: Task, data: Batches, folder: Path) -> dict[str, float]:
    return dict(trainer(folder).test(task, loader(data), verbose=False)[0])


def state(module: nn.Module) -> dict[str, Tensor]:
    return {k: v.clone() for k, v in module.state_dict().items()}


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> list[str]:
    """The names whose values are equal to the last bit."""
    assert a.keys() == b.keys()
    return [k for k in a if torch.equal(a[k], b[k])]


# --- metrics ---


def test_classification_metrics_are_sklearn_s(tmp_path: Path) -> None:
    data = batches(7, 7, 3, classes=4)  # a last batch that is smaller; class 5 never occurs
    task = Classify(linear(6, 5), SGD, classes=5)
    found = evaluated(task, data, tmp_path)
    x, y = (torch.cat(part) for part in zip(*data, strict=True))
    probabilities = task.net(x).softmax(1).detach()
    predicted = probabilities.argmax(1)
    classes = sorted({*y.tolist(), *predicted.tolist()})
    options: dict[str, Any] = {"average": "macro", "labels": classes, "zero_division": 0}
    assert found == pytest.approx(
        {
            "test/loss": log_loss(y, probabilities.double() / probabilities.double().sum(1, True), labels=range(5)),
            "test/accuracy": accuracy_score(y, predicted),
            "test/precision": precision_score(y, predicted, **options),
            "test/recall": recall_score(y, predicted, **options),
            "test/f1": f1_score(y, predicted, **options),
        },
        abs=1e-6,
    )
    assert torch.equal(task.tested[0], predicted) and torch.equal(task.tested[1], y)
    assert torch.allclose(task.probabilities(x), probabilities)


def test_binary_metrics_are_sklearn_s(tmp_path: Path) -> None:
    data = [(x - 0.5, y) for x, y in batches(9, 9, 4, classes=2)]
    task = Classify(linear(6, 1), SGD, loss="binary_cross_entropy", classes=2)
    found = evaluated(task, data, tmp_path)
    x, y = (torch.cat(part) for part in zip(*data, strict=True))
    probability = task.net(x).sigmoid().squeeze(1).detach()
    predicted = (probability > 0.5).long()
    assert 0 < int(predicted.sum()) < len(y)
    assert found == pytest.approx(
        {
            "test/loss": log_loss(y, probability.double()),
            "test/accuracy": accuracy_score(y, predicted),
            "test/precision": precision_score(y, predicted),
            "test/recall": recall_score(y, predicted),
            "test/f1": f1_score(y, predicted),
        },
        abs=1e-6,
    )
    torch.testing.assert_close(task.probabilities(x), torch.stack([1 - probability, probability], 1))


def test_train_metrics_are_means_over_examples_as_they_were_trained_on(tmp_path: Path) -> None:
    data = batches(5, 5, 2)
    task = Classify(linear(6, 4), SGD, classes=4)
    net = nn.Linear(6, 4)
    net.load_state_dict(task.net.state_dict())
    found = fitted(task, data, tmp_path)
    total, right = 0.0, 0
    for x, y in data:
        loss = F.cross_entropy(net(x), y)
        total, right = total + float(loss.detach()) * len(y), right + int((net(x).argmax(1) == y).sum())
        net.zero_grad()
        loss.backward()
        with torch.no_grad():
            for p in net.parameters():
                assert p.grad is not None
                p.sub_(0.1 * p.grad)
    assert found["train/loss"] == pytest.approx(total / 12, rel=1e-6)
    assert found["train/accuracy"] == pytest.approx(right / 12)
    assert found.keys() == {n for n in task.metric_names() if not n.startswith("test/")}


@pytest.mark.parametrize("task", [Classify(linear(6, 4), SGD, classes=4), Reconstruct(autoencoder(6), SGD)])
def test_a_loss_that_is_nan_in_one_step_is_nan(task: Task, tmp_path: Path) -> None:
    """A diverged epoch must not look like its last finite steps."""
    data = batches(4, 4)
    data[1][0][0, 0] = torch.nan
    metrics = evaluated(task, data, tmp_path)
    assert metrics["test/loss"] != metrics["test/loss"]


def test_a_net_of_the_wrong_size_is_named(tmp_path: Path) -> None:
    for outputs, loss, classes in ((3, "cross_entropy", 4), (2, "binary_cross_entropy", 2)):
        task = Classify(linear(6, outputs), SGD, loss=loss, classes=classes)
        with pytest.raises(InputError, match=f"model.net gives {outputs} numbers"):
            fitted(task, batches(4, classes=2), tmp_path)
    with pytest.raises(ValueError, match="for 2 classes, the data have 3"):
        Classify(linear(6, 1), SGD, loss="binary_cross_entropy", classes=3)


def test_regression(tmp_path: Path) -> None:
    data = [(x, torch.rand(len(x), 2)) for x, _ in batches(5, 5, 2)]
    task = Regress(linear(6, 2), SGD)
    x, y = (torch.cat(part) for part in zip(*data, strict=True))
    assert evaluated(task, data, tmp_path) == pytest.approx({"test/loss": float((task.net(x) - y).square().mean())})
    flat = [(x, y[:, 0]) for x, y in data]  # one number each, as a vector
    single = Regress(linear(6, 1), SGD)
    wanted = float((single.net(x)[:, 0] - y[:, 0]).square().mean())
    assert evaluated(single, flat, tmp_path) == pytest.approx({"test/loss": wanted})
    with pytest.raises(ValueError, match="the net gives"):
        evaluated(single, data, tmp_path)


# --- gradients ---


@pytest.mark.parametrize(
    ("make", "reference"),
    [
        (lambda r: Classify(linear(6, 4), SGD, classes=4, reduction=r), lambda net, x, y: F.cross_entropy(
            net(x), y, reduction="sum")),
        (lambda r: Reconstruct(autoencoder(6), SGD, reduction=r), lambda net, x, y: (net(x) - x).square().sum()),
        (lambda r: Regress(linear(6, 1), SGD, reduction=r), lambda net, x, y: (net(x)[:, 0] - y).square().sum()),
    ],
)  # fmt: skip
def test_reduction(make: Callable[[str], Task], reference: Callable[..., Tensor], tmp_path: Path) -> None:
    """One step with the sum is one with PyTorch's reduction="sum"; what is logged is the mean all the same."""
    (x, y), *_ = data = batches(5)
    steps, losses = {}, {}
    for reduction in ("sum", "mean"):
        torch.manual_seed(0)
        task = make(reduction)
        before = state(task.net)
        wanted = torch.autograd.grad(reference(task.net, x, y), list(task.net.parameters()))
        losses[reduction] = fitted(task, data, tmp_path)["train/loss"]
        after = state(task.net)
        steps[reduction] = [(before[k] - after[k]) / 0.1 for k, _ in task.net.named_parameters()]
    for got, gradient in zip(steps["sum"], wanted, strict=True):
        torch.testing.assert_close(got, gradient, atol=1e-4, rtol=1e-4)
    assert losses["sum"] == losses["mean"]
    terms = x.numel() if isinstance(task, Reconstruct) else len(y)
    for got, mean in zip(steps["sum"], steps["mean"], strict=True):
        torch.testing.assert_close(got, mean * terms, atol=1e-4, rtol=1e-3)


# --- reconstruction ---


def test_psnr_by_hand(tmp_path: Path) -> None:
    data = batches(5, 5, 2, inputs=12)
    task = Reconstruct(autoencoder(), SGD)
    x = torch.cat([x for x, _ in data])
    errors = (task.net(x) - x).square().mean(1)
    psnr = (10 * torch.log10(1 / errors)).mean()
    assert evaluated(task, data, tmp_path) == pytest.approx(
        {"test/loss": float(errors.mean()), "test/psnr": float(psnr)}, rel=1e-6
    )
    assert set(task.metric_names()) == {f"{s}/{n}" for s in ("train", "val", "test") for n in ("loss", "psnr")}


class Listener(nn.Module):
    """Writes down what it is given; gives it back."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))
        self.heard: list[tuple[bool, Tensor]] = []

    def forward(self, x: Tensor) -> Tensor:
        self.heard.append((self.training, x.clone()))
        return self.weight * x


def test_noise_is_drawn_anew_each_epoch_and_is_always_the_same_in_evaluation(tmp_path: Path) -> None:
    def heard(seed: int) -> tuple[list[Tensor], list[Tensor]]:
        task = Reconstruct(autoencoder(), SGD, noise="gaussian", noise_probability=0.4)
        task.net = listener = Listener()
        data = batches(200, 200, inputs=12)
        fitted(task, data, tmp_path, epochs=2, callbacks=[Reseed(seed)])
        training = [x for training, x in listener.heard if training]
        return training, [x for training, x in listener.heard if not training]

    clean = [x for x, _ in batches(200, 200, inputs=12)]
    training, evaluation = heard(0)
    noises = [x - clean[i % 2] for i, x in enumerate(training)]
    assert len(noises) == 4
    for noise in noises:
        hit = noise.abs() > 1e-6
        assert 0.36 < float(hit.float().mean()) < 0.44
        assert abs(float(noise[hit].std()) - 1) < 0.1 and abs(float(noise[hit].mean())) < 0.1
    assert all(not torch.equal(a, b) for i, a in enumerate(noises) for b in noises[:i])
    one, two = evaluation[:4], evaluation[4:]  # of each epoch: clean and noisy, for two batches
    assert all(torch.equal(a, b) for a, b in zip(one, two, strict=True))
    assert torch.equal(one[0], clean[0]) and torch.equal(one[2], clean[1])
    assert not torch.equal(one[1] - clean[0], one[3] - clean[1])
    again, _ = heard(0)
    other, evaluation_too = heard(1)
    assert all(torch.equal(a, b) for a, b in zip(training, again, strict=True))
    assert not any(torch.equal(a, b) for a, b in zip(training, other, strict=True))
    assert all(torch.equal(a, b) for a, b in zip(evaluation, evaluation_too, strict=True))


def test_noisy_loss_is_against_the_clean_image(tmp_path: Path) -> None:
    task = Reconstruct(autoencoder(), SGD, monitor="val/noisy_loss", noise="masking", noise_probability=0.5)
    ((x, y),) = batches(50, inputs=12)
    found = evaluated(task, [(x, y)], tmp_path)
    noisy = task.with_noise(x, 0)
    assert 0.4 < float((noisy == 0).float().mean()) < 0.6
    assert found["test/loss"] == pytest.approx(float((task.net(x) - x).square().mean()), rel=1e-6)
    assert found["test/noisy_loss"] == pytest.approx(float((task.net(noisy) - x).square().mean()), rel=1e-6)
    assert "val/noisy_loss" in task.metric_names() and "train/noisy_loss" not in task.metric_names()
    assert "val/noisy_loss" not in Reconstruct(autoencoder(), SGD).metric_names()


def test_clipped_noise_stays_in_the_range_of_pixels() -> None:
    x = torch.rand(50, 50)
    assert not bool(((add_noise(x, "gaussian", 0.5) >= 0) & (add_noise(x, "gaussian", 0.5) <= 1)).all())
    clipped = add_noise(x, "gaussian", 0.5, clip=True)
    assert float(clipped.min()) >= 0 and float(clipped.max()) <= 1
    assert torch.equal(add_noise(x, "gaussian", 0.0), x) and not bool(add_noise(x, "masking", 1.0).any())


# --- fine-tuning ---


def finetune(train: str, **options: Any) -> Finetune:
    torch.manual_seed(0)
    net = {"_target_": "dlcourse.nets.Pretrained", "name": "mobilenet_v2", "classes": 3, "dropout": 0.5}
    adam = {"_target_": "torch.optim.Adam", "lr": 1e-3, "weight_decay": 0.1}
    return Finetune(net, adam, classes=3, train=train, **options)


def photos() -> Batches:
    generator = Generator().manual_seed(0)
    return [(torch.rand(4, 3, 32, 32, generator=generator), torch.tensor([0, 1, 2, 0])) for _ in range(2)]


def test_the_head_alone_leaves_the_backbone_as_it_is(tmp_path: Path) -> None:
    task = finetune("head")
    assert not any(p.requires_grad for p in task.backbone.parameters())
    before, head = state(task.backbone), state(task.net.head)  # type: ignore[arg-type]
    modes = []
    hook = task.backbone.register_forward_pre_hook(
        lambda module, _: modes.append((any(m.training for m in module.modules()), task.training))
    )
    fitted(task, photos(), tmp_path, epochs=2)
    hook.remove()
    assert len(same(before, state(task.backbone))) == len(before), "also the statistics of its batch norms"
    assert not same(head, state(task.net.head))  # type: ignore[arg-type]
    assert modes == ([(False, True)] * 2 + [(False, False)] * 2) * 2, "never in training mode, while the head is"


def test_all_is_everything_at_one_rate(tmp_path: Path) -> None:
    task = finetune("all")
    before = state(task.net)
    fitted(task, photos(), tmp_path)
    assert not same(before, state(task.net))


def test_the_head_and_then_all(tmp_path: Path) -> None:
    def run(epochs: int, start: Path | None = None) -> tuple[Finetune, Path]:
        task = finetune("head_then_all", head_epochs=2, backbone_lr=0.25)
        fit = trainer(tmp_path, epochs, callbacks=[Reseed(0)])
        fit.fit(task, loader(photos()), loader(photos()), ckpt_path=start, weights_only=True)
        rates = [(len(g["params"]), g["lr"]) for g in fit.optimizers[0].param_groups]
        assert rates == [(2, 1e-3), (156, 0.25e-3)]
        path = tmp_path / f"{epochs}.ckpt"
        fit.save_checkpoint(path)
        return task, path

    start = state(finetune("all").backbone)
    ends = {epochs: run(epochs) for epochs in (1, 2, 4)}
    for epochs in (1, 2):
        assert len(same(start, state(ends[epochs][0].backbone))) == len(start)
    assert not same(start, state(ends[4][0].backbone))
    for epochs in (1, 2):  # resumed before the change, and at it
        resumed, _ = run(4, ends[epochs][1])
        assert len(same(state(resumed), state(ends[4][0]))) == len(state(resumed))


# --- restoring, batch norm ---


@pytest.mark.parametrize(
    "task",
    [
        Classify(linear(6, 4), SGD, classes=4, reduction="sum"),
        Classify(linear(6, 1), SGD, loss="binary_cross_entropy"),
        Reconstruct(autoencoder(), SGD, noise="masking", noise_probability=0.3),
        Regress(linear(6, 1), SGD, schedule={"_target_": "torch.optim.lr_scheduler.StepLR", "step_size": 2}),
        finetune("head"),
    ],
)
def test_plain_lightning_restores_a_task(task: Task, tmp_path: Path) -> None:
    path = tmp_path / "task.ckpt"
    saver = trainer(tmp_path)
    saver.strategy.connect(task)
    saver.save_checkpoint(path, weights_only=True)
    again = type(task).load_from_checkpoint(path, weights_only=True)
    assert len(same(state(task), state(again))) == len(state(task))
    assert again.hparams == task.hparams
    assert again.sum_loss == task.sum_loss


@pytest.mark.parametrize("schedule", ["ReduceLROnPlateau", "StepLR"])
def test_schedules_follow_the_epochs(schedule: str, tmp_path: Path) -> None:
    options = {"factor": 0.5, "patience": 0} if schedule == "ReduceLROnPlateau" else {"step_size": 1, "gamma": 0.5}
    still = SGD | {"lr": 1e-12}  # nothing is learnt: no epoch is better than the first
    task = Classify(
        linear(6, 4), still, {"_target_": f"torch.optim.lr_scheduler.{schedule}", **options}, "val/accuracy", classes=4
    )
    fit = trainer(tmp_path, 3)
    fit.fit(task, loader(batches(4)), loader(batches(4)))
    rate = fit.optimizers[0].param_groups[0]["lr"]
    assert rate == pytest.approx(1e-12 * (0.5**2 if schedule == "ReduceLROnPlateau" else 0.5**3))


def test_a_batch_of_one_image_and_batch_norm(train: Callable[..., Path]) -> None:
    common = ("model=mlp", "model.net.hidden=[8]", "model.net.batch_norm=true", "trainer.max_epochs=1")
    train(*common, "data.limit=129", "data.batch_size=64", run="joined")  # 64 and 65, not 64, 64 and 1
    with pytest.raises(InputError, match="batch_size must be 2 or more"):
        train(*common, "data.limit=20", "data.batch_size=1", run="one")
