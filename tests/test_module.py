"""Batches and divisions: which examples are seen, in which order, and as which numbers."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor
from torchvision.transforms import v2

from dlcourse.core.errors import InputError
from dlcourse.core.seeds import mix_seeds
from dlcourse.data.module import Batches, DataModule
from dlcourse.data.tensors import Tensors


def digits(**options: Any) -> DataModule:
    """The 5,000 bundled digits: 3,500 to train, 500 to validate, 1,000 to test, all classes equally often."""
    module = DataModule("mnist", source="stand-in", seed=options.pop("seed", 0), **options)
    module.prepare()
    return module


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A user's folder: 2 × 15 photos of 8×8 pixels, each of one grey that tells which it is."""
    root = tmp_path_factory.mktemp("photos")
    for k, name in enumerate(("left", "right")):
        (root / name).mkdir()
        for i in range(15):
            Image.new("L", (8, 8), 100 * k + 5 * i).save(root / name / f"{i:02}.png")
    return root


def folder(root: Path, **options: Any) -> DataModule:
    return DataModule("folder", root=str(root), size=8, channels=1, **options)


class Recorder(L.LightningModule):
    """Trains nothing; writes down what it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.seen: dict[str, list[tuple[int, Tensor, Tensor]]] = {"train": [], "val": []}

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        self.seen["train"].append((self.current_epoch, *batch))
        return self.weight.sum()

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        self.seen["val"].append((self.current_epoch, *batch))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def record(
    module: DataModule, folder: Path, epochs: int, start: Path | None = None, **options: Any
) -> tuple[Recorder, Path]:
    """What a network sees in training up to `epochs`, and a checkpoint of the end."""
    recorder = Recorder()
    trainer = L.Trainer(
        default_root_dir=folder, max_epochs=epochs, accelerator="cpu", logger=False, enable_progress_bar=False,
        enable_model_summary=False, enable_checkpointing=False, num_sanity_val_steps=0, **options,
    )  # fmt: skip
    trainer.fit(recorder, datamodule=module, ckpt_path=start, weights_only=True)
    path = folder / f"{epochs}-{start is None}.ckpt"
    trainer.save_checkpoint(path)
    return recorder, path


# --- the order ---


@settings(max_examples=200, deadline=None)
@given(
    n=st.integers(1, 400),
    batch_size=st.integers(1, 70),
    shuffle=st.sampled_from([True, False, "once"]),
    drop_last=st.booleans(),
    seed=st.integers(0, 2**40),
    epoch=st.integers(0, 10**6),
    world=st.integers(1, 4),
)
def test_training_batches(
    n: int, batch_size: int, shuffle: bool | str, drop_last: bool, seed: int, epoch: int, world: int
) -> None:
    if n < world:
        return
    loaders = [Batches(n, batch_size, True, shuffle, drop_last, seed, epoch, rank, world) for rank in range(world)]
    batches = [list(loader) for loader in loaders]
    sizes = [[len(b) for b in mine] for mine in batches]
    assert all(s == sizes[0] for s in sizes), "processes wait for each other at each step"
    assert all(len(loader) == len(mine) for loader, mine in zip(loaders, batches, strict=True))
    seen = torch.cat([b for mine in batches for b in mine]).tolist()
    assert len(set(seen)) == len(seen)
    assert set(seen) <= set(range(n))
    share = n // world
    if drop_last and share >= batch_size:
        assert sizes[0] == [batch_size] * (share // batch_size)
    else:
        assert len(seen) == share * world
        assert all(s == batch_size for s in sizes[0][:-1])
        assert sizes[0][-1] <= batch_size + (batch_size > 1)
        assert sizes[0][-1] > 1 or batch_size == 1 or share == 1, "batch norm can't train on one image"
    if not shuffle and world == 1:
        assert seen == list(range(len(seen)))


@settings(max_examples=100, deadline=None)
@given(n=st.integers(1, 500), batch_size=st.integers(1, 70), world=st.integers(1, 4))
def test_evaluation_sees_every_example_once(n: int, batch_size: int, world: int) -> None:
    if n < world:
        return
    batches = [list(Batches(n, batch_size, rank=rank, world=world)) for rank in range(world)]
    assert sorted(torch.cat([b for mine in batches for b in mine]).tolist()) == list(range(n))
    assert len({len(mine) for mine in batches}) == 1
    sizes = [len(b) for mine in batches for b in mine]
    assert 0 < min(sizes) <= max(sizes) <= batch_size + (world > batch_size)
    if world == 1:
        assert torch.equal(torch.cat(batches[0]), torch.arange(n))
        assert len(batches[0]) == -(-n // batch_size)


def order(**options: Any) -> list[int]:
    return torch.cat(list(Batches(100, 7, True, **options))).tolist()


def test_the_order_is_a_function_of_seed_and_epoch_alone() -> None:
    torch.manual_seed(1)
    first = order(shuffle=True, seed=3, epoch=5)
    torch.manual_seed(2)
    assert order(shuffle=True, seed=3, epoch=5) == first
    others = [order(shuffle=True, seed=s, epoch=e) for s, e in ((3, 6), (4, 5), (5, 3), (3, 4), (2, 6))]
    assert all(other != first for other in others)
    assert order(shuffle="once", seed=3, epoch=5) == order(shuffle="once", seed=3, epoch=0) != list(range(100))
    assert order(shuffle="once", seed=4) != order(shuffle="once", seed=3)
    batches = Batches(100, 7, True, shuffle=True, seed=3)
    iterator = iter(batches)  # as Lightning does it: the iterator first, then set_epoch
    batches.sampler.set_epoch(5)
    assert torch.cat(list(iterator)).tolist() == first


@settings(max_examples=200, deadline=None)
@given(st.lists(st.integers(0, 2**62), min_size=1, max_size=4), st.integers(0, 3))
def test_mixed_seeds_differ_where_a_number_does(numbers: list[int], at: int) -> None:
    other = list(numbers)
    other[at % len(other)] += 1
    assert mix_seeds(*numbers) != mix_seeds(*other)
    assert mix_seeds(*numbers) != mix_seeds(*numbers, 0)
    assert 0 <= mix_seeds(*numbers) < 2**63


def test_taking_batches_leaves_torch_s_random_numbers_alone() -> None:
    module = digits()
    torch.manual_seed(0)
    before = torch.get_rng_state()
    for split in ("train", "val"):
        assert len(list(module.loader(split, train=split == "train"))) > 0
    assert torch.equal(torch.get_rng_state(), before)


def test_sizes_of_batches(photos: Path) -> None:
    def sizes(**options: Any) -> list[int]:
        return [len(y) for _, y in digits(limit=129, **options).loader("train", train=True)]

    assert sizes(batch_size="all") == [129]
    assert sizes(batch_size=1) == [1] * 129
    assert sizes(batch_size=64) == [64, 65]  # not 64, 64, 1
    assert sizes(batch_size=64, drop_last=True) == [64, 64]
    assert sizes(batch_size=50) == [50, 50, 29]
    assert sizes(batch_size=200, drop_last=True) == [129]  # never nothing
    assert [len(y) for _, y in digits(eval_batch_size=300).test_dataloader()] == [250] * 4


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("workers", [0, 1])
def test_a_resumed_run_sees_what_it_would_have_seen(workers: int, photos: Path, tmp_path: Path) -> None:
    """Order and augmentation, also when worker processes fetch batches ahead."""

    if workers:  # a folder that was in memory once is cached
        photos = Path(shutil.copytree(photos, tmp_path / "photos"))

    def module() -> DataModule:
        streamed = {"memory_limit": 1, "workers": workers} if workers else {}
        module = folder(photos, batch_size=4, augment={"shift": 0.3, "brightness": 0.5}, **streamed)
        module.prepare()
        assert isinstance(module.splits["train"].store, Tensors) == (not workers)
        return module

    straight, _ = record(module(), tmp_path, 3)
    first, checkpoint = record(module(), tmp_path, 1)
    rest, _ = record(module(), tmp_path, 3, checkpoint)
    assert [e for e, *_ in rest.seen["train"]] == [1] * 5 + [2] * 5
    resumed = first.seen["train"] + rest.seen["train"]
    assert len(resumed) == len(straight.seen["train"])
    for (_, x, y), (_, again, labels) in zip(straight.seen["train"], resumed, strict=True):
        assert torch.equal(x, again) and torch.equal(y, labels)
    epochs = [torch.cat([x for e, x, _ in straight.seen["train"] if e == epoch]) for epoch in range(3)]
    assert not torch.equal(epochs[0], epochs[1]) and not torch.equal(epochs[1], epochs[2])


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_only_training_images_are_augmented(photos: Path, tmp_path: Path) -> None:
    module = folder(photos, batch_size="all", shuffle=False, augment={"brightness": 0.9})
    seen, _ = record(module, tmp_path, 2)
    for split in ("train", "val"):
        x, y = module.splits[split].all()
        for _, got, labels in seen.seen[split]:
            assert torch.equal(labels, y)
            assert torch.equal(got, module.transform(x)) == (split == "val")


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize(("precision", "dtype"), [("64-true", torch.float64), ("bf16-true", torch.bfloat16)])
def test_images_come_in_the_precision_of_the_network(
    precision: str, dtype: torch.dtype, photos: Path, tmp_path: Path
) -> None:
    seen, _ = record(folder(photos), tmp_path, 1, precision=precision)
    assert {x.dtype for _, x, _ in seen.seen["train"] + seen.seen["val"]} == {dtype}


def test_photos_that_are_streamed_are_those_in_memory(photos: Path, tmp_path: Path) -> None:
    memory = folder(photos, batch_size=4)
    disk = folder(Path(shutil.copytree(photos, tmp_path / "photos")), batch_size=4, memory_limit=1)
    for module in (memory, disk):
        module.prepare()
    assert isinstance(memory.splits["train"].store, Tensors)
    assert not isinstance(disk.splits["train"].store, Tensors)
    for split in ("train", "val", "test"):
        for (x, y), (streamed, labels) in zip(memory.loader(split), disk.loader(split), strict=True):
            assert torch.equal(x, streamed) and torch.equal(y, labels)
    x, y = disk.splits["train"][3]
    assert torch.equal(x, memory.splits["train"][3][0])
    assert y.shape == ()


# --- the division ---


def test_mnist5_of_the_sixty_thousand(real_data: Path) -> None:
    module = DataModule(
        "mnist5", reader="mnist", root=str(real_data / "mnist"), classes=5,
        classes_kept=[0, 2, 4, 6, 7], per_class=[2277, 759, 759],
    )  # fmt: skip
    module.prepare()
    seen = []
    for split, n in (("train", 2277), ("val", 759), ("test", 759)):
        part = module.splits[split]
        assert torch.bincount(part.y).tolist() == [n] * 5
        assert len(part.store) == 60_000
        assert torch.equal(torch.tensor([0, 2, 4, 6, 7])[part.y], part.store.y[part.index])
        seen.append(part.index)
    assert len(torch.cat(seen).unique()) == 5 * (2277 + 759 + 759)
    assert module.classes == ["0", "2", "4", "6", "7"]
    too_many = DataModule("mnist", root=str(real_data / "mnist"), per_class=[5000, 500, 500])
    with pytest.raises(InputError, match=r"data.per_class=\[5000, 500, 500\].*class 0 mnist has 5923"):
        too_many.prepare()


def test_per_class_of_a_stand_in_keeps_the_proportions() -> None:
    module = digits(classes_kept=[0, 2, 4, 6, 7], per_class=[2277, 759, 759])
    assert [torch.bincount(module.splits[s].y).tolist() for s in ("train", "val", "test")] == [
        [210] * 5, [70] * 5, [70] * 5
    ]  # fmt: skip
    index = torch.cat([module.splits[s].index for s in ("train", "val", "test")])
    assert len(index.unique()) == len(index)


def test_classes_are_numbered_in_the_order_in_which_they_are_kept() -> None:
    module, whole = digits(classes_kept=[7, "0"]), digits()
    assert module.classes == ["7", "0"]
    for split in ("train", "val", "test"):
        part, every = module.splits[split], whole.splits[split]
        assert torch.equal(torch.tensor([7, 0])[part.y], part.store.y[part.index])
        assert len(part) == int(((every.y == 7) | (every.y == 0)).sum())


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"classes_kept": [0, 11]}, "data.classes_kept: mnist has no class 11"),
        ({"classes_kept": [3, 3]}, "data.classes_kept: 3 is named twice"),
        ({"per_class": [1, 1, 1], "val": 5}, "data.val=5 and data.per_class"),
        ({"shape": (1, 32, 32)}, r"data.shape=\[1, 32, 32\], but mnist has examples of \[1, 28, 28\]"),
        ({"classes": 12}, "data.classes=12, but mnist has 10"),
        ({"normalize": "imagenet", "shape": (1, 28, 28)}, "data.normalize=imagenet is for colour images"),
    ],
)  # fmt: skip
def test_what_can_t_be_is_said_in_a_sentence(options: dict[str, Any], text: str) -> None:
    with pytest.raises(InputError, match=text):
        digits(**options)


def test_validation_examples_are_taken_from_training(photos: Path) -> None:
    def index(**options: Any) -> dict[str, Tensor]:
        module = folder(photos, **options)
        module.prepare()
        assert module.splits["train"].store is module.splits["val"].store
        return {split: module.splits[split].index for split in ("train", "val")}

    whole = folder(photos)
    whole.prepare()
    everything = whole.splits["train"].index  # `val` is taken from these; the folder's own validation set is left
    for val, n in ((5, 5), (0.25, round(0.25 * len(everything)))):
        found = index(val=val)
        assert len(found["val"]) == n
        assert torch.equal(torch.cat(list(found.values())).sort().values, everything.sort().values)
    assert torch.equal(index(val=5, seed=1)["val"], index(val=5, seed=2)["val"]), "not a matter of the seed"
    few = index(val=5, limit=7)
    assert torch.equal(few["val"], index(val=5)["val"])
    assert len(few["train"]) == 7
    with pytest.raises(InputError, match=f"data.val={len(everything)}: of {len(everything)} training examples"):
        index(val=len(everything))


def test_a_stand_in_has_a_smaller_validation_set() -> None:
    assert {s: len(e) for s, e in digits(val=5000).splits.items()} == {"train": 3500, "val": 500, "test": 1000}
    assert len(digits(val=100).splits["val"]) == 100
    assert len(digits(val=0.2).splits["val"]) == 700


def test_val_may_be_the_test_set_and_both_may_be_limited() -> None:
    module = digits(val="test", limit=50, limit_eval=30)
    assert [len(module.splits[s]) for s in ("train", "val", "test")] == [50, 30, 30]
    assert torch.equal(module.splits["val"].all()[0], module.splits["test"].all()[0])


# --- the numbers ---


def seen(module: DataModule, split: str) -> Tensor:
    return module.transform(module.splits[split].all()[0])


def test_normalisations() -> None:
    raw, _ = digits().splits["train"].all()
    unit = raw.double() / 255
    wanted: dict[str, Callable[[Tensor], Tensor]] = {
        "unit": lambda u: u,
        "symmetric": lambda u: 2 * u - 1,
        "none": lambda u: 255 * u,
        "standardize": lambda u: (u - u.mean()) / u.std(correction=0),
    }
    for normalize, f in wanted.items():
        x = seen(digits(normalize=normalize), "train")
        assert x.dtype == torch.float32
        torch.testing.assert_close(x.double(), f(unit), atol=1e-5, rtol=1e-5)
    module = digits(normalize="standardize", limit=20)
    assert abs(float(seen(module, "train").mean())) < 1e-5
    assert abs(float(seen(module, "test").mean())) > 1e-4, "from training images only"


def test_imagenet_s_mean_and_deviation_and_one_of_a_constant_channel() -> None:
    module = DataModule("cifar10", source="stand-in", normalize="imagenet", limit=10)
    module.prepare()
    raw, _ = module.splits["train"].all()
    reference = v2.Compose(
        [v2.ToDtype(torch.float32, scale=True), v2.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])]
    )
    torch.testing.assert_close(module.transform(raw), reference(raw), atol=1e-5, rtol=1e-5)


def test_standardised_photos_of_one_colour_are_finite(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        for i in range(10):
            Image.new("L", (8, 8), 77).save(tmp_path / name / f"{i}.png")
    module = folder(tmp_path, normalize="standardize")
    module.prepare()
    assert seen(module, "train").abs().max() < 1


@pytest.mark.parametrize("side", [64, 14, 28])
def test_resize(side: int) -> None:
    module = digits(resize=side, limit=20, shape=(1, side, side))
    raw, _ = module.splits["train"].all()
    reference = v2.functional.resize(raw.float() / 255, [side, side], antialias=True)
    torch.testing.assert_close(module.transform(raw), reference, atol=1e-5, rtol=1e-5)
