"""Codes are data: encoders of every kind, the classifiers on them, and the features of a frozen backbone."""

import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from dlcourse import evaluate, predict, resume, runs
from dlcourse.config.identity import config_hash
from dlcourse.core.errors import InputError
from dlcourse.data.module import DataModule
from dlcourse.launch.overrides import check_overrides
from dlcourse.nets import Neighbours, Pretrained
from dlcourse.training import loading

Config = Callable[..., dict[str, Any]]
Train = Callable[..., Path]
QUICK = ("trainer.figures=false", "trainer.max_epochs=2")
AUTOENCODER = ("model=autoencoder", "model.net.widths=[32,8]", *QUICK)
CODES = ("data=codes", *QUICK)
PHOTOS = ("data=flowers17", "data.size=40", "model.weights=none", "data.limit=40", "data.limit_eval=20", *QUICK)


@pytest.fixture
def apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of the test's own."""
    monkeypatch.setenv("DLCOURSE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "prepared"


def data_of(run: Path) -> DataModule:
    data = loading.build_data(runs.read_config(run), runs.read_result(run)["data"], run)
    data.prepare()
    return data


def recorded(run: Path, split: str = "test") -> dict[str, float]:
    return {k: v for k, v in runs.read_result(run)["metrics"].items() if k.startswith(f"{split}/")}


# --- the codes of an autoencoder -----------------------------------------------------------------------------------


def test_two_stages(train: Train, caplog: pytest.LogCaptureFixture) -> None:
    """An autoencoder, then a classifier on its code: the same examples, in the same splits, with the same labels."""
    first = train(*AUTOENCODER, "data=mnist5", run="first")
    second = train(*CODES, f"data.encoder={first}", "model=mlp", "model.net.hidden=[16]", run="second")
    inner, codes = data_of(first), data_of(second)
    net = loading.load_task(first).net
    for split in ("train", "val", "test"):
        x, y = inner.splits[split].all()
        z, labels = codes.splits[split].all()
        assert torch.equal(y, labels)
        with torch.no_grad():
            torch.testing.assert_close(z, net.encode(inner.transform(x)))  # type: ignore[operator]
    result = runs.read_result(second)
    assert result["data"]["classes"] == ["0", "2", "4", "6", "7"]
    assert result["data"]["encoder"]["config_hash"] == config_hash(runs.read_config(first))
    assert (result["data"]["source"], result["data"]["comparable"]) == ("stand-in", False)
    assert result["data"]["provenance"].startswith("codes of 8 numbers by the autoencoder of run ")
    assert "5,000 real MNIST digits" in result["data"]["provenance"]
    caplog.set_level(logging.INFO)
    for split in ("test", "val"):
        assert evaluate.main([f"run={second}", f"split={split}"]) == recorded(second, split)
    assert "as recorded" in caplog.text
    assert "not the data" not in caplog.text
    resume.main([f"run={second}", "trainer.max_epochs=3"])
    assert runs.read_result(second)["epochs"] == 3


def test_codes_are_computed_once(train: Train, apart: Path, caplog: pytest.LogCaptureFixture) -> None:
    first = train(*AUTOENCODER, run="first")
    caplog.set_level(logging.INFO)
    second = train(*CODES, f"data.encoder={first}", "model=linear", run="second")
    assert caplog.text.count("encoding") == 3
    kept = sorted(apart.glob("codes-*.pt"))
    assert len(kept) == 3
    assert not list(apart.glob(".*"))
    caplog.clear()
    again = train(*CODES, f"data.encoder={first}", "model=knn", run="again")
    assert "encoding" not in caplog.text
    assert all(
        torch.equal(data_of(second).splits[s].all()[0], data_of(again).splits[s].all()[0]) for s in ("val", "test")
    )
    kept[0].write_bytes(b"damaged")
    assert evaluate.main([f"run={second}"]) == recorded(second)
    assert "is damaged" in caplog.text
    resume.main([f"run={first}", "trainer.max_epochs=3"])  # other weights, other codes
    caplog.clear()
    train(*CODES, f"data.encoder={first}", "model=linear", run="third")
    assert caplog.text.count("encoding") == 3


def test_an_encoder_that_changed_or_is_gone(train: Train, caplog: pytest.LogCaptureFixture) -> None:
    first = train(*AUTOENCODER, run="first")
    second = train(*CODES, f"data.encoder={first}", "model=linear", run="second")
    resume.main([f"run={first}", "trainer.max_epochs=4"])
    evaluate.main([f"run={second}"])
    assert "not the data that the run had" in caplog.text
    with pytest.raises(InputError, match="the data have changed since the run began"):
        resume.main([f"run={second}", "trainer.max_epochs=3"])
    shutil.rmtree(first)
    for main in (evaluate.main, lambda words: resume.main([*words, "trainer.max_epochs=3"])):
        with pytest.raises(InputError, match=f"data.encoder={first}: the data are codes by the run that was there"):
            main([f"run={second}"])


def test_what_is_encoded_can_be_chosen(config: Config, train: Train) -> None:
    """The encoder's own data, with keys of one's own; other data; a sweep's directory is its best run."""
    first = train(*AUTOENCODER, "data=mnist5", "data.limit=150", run="first")
    own = config("data=codes", f"data.encoder={first}")["data"]
    assert (own["limit"], own["reader"], own["source"], own["classes"]) == (150, "mnist", "stand-in", 5)
    assert own["per_class"] == [2277, 759, 759]
    assert (own["shape"], own["normalize"], own["batch_size"]) == ([8], "none", 128)
    other = config("data=codes", f"data.encoder={first.parent}", "data.of=mnist", "data.classes_kept=[1,3,5]")["data"]
    assert (other["encoder"], other["classes"], other["per_class"], other["limit"]) == (str(first), 3, None, None)
    assert config("data=codes", "data.of=mnist5", "model=linear")["model"]["net"] == {
        "_target_": "dlcourse.nets.MLP", "inputs": [64], "outputs": 5, "hidden": [], "init": "default",
    }  # fmt: skip


def test_the_hash_is_by_the_encoders_hash(config: Config, train: Train) -> None:
    """A copy of the encoder's run computes the same codes; another run does not."""
    first = train(*AUTOENCODER, run="first")
    copy = shutil.copytree(first, first.with_name("copy"))
    other = train(*AUTOENCODER, "seed=1", run="other")
    of = {run: config("data=codes", f"data.encoder={run}") for run in (first, copy, other)}
    assert config_hash(of[first]) == config_hash(of[copy]) != config_hash(of[other])
    planned = of[first] | {"data": of[first]["data"] | {"encoder": config_hash(runs.read_config(first))}}
    assert config_hash(planned) == config_hash(of[first])
    assert config_hash(config("data=codes", "data.of=mnist")) == config_hash(config("data=codes"))
    assert config_hash(config("data=codes", "data.encoder=pca:2")) != config_hash(config("data=codes"))


# --- other encoders --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "width"),
    [
        (("model=mlp", "model.net.hidden=[20,6]"), 6),
        (("model=cnn", "model.net.channels=[4,4]", "model.net.hidden=[7]"), 7),
        (("model=resnet18", *PHOTOS), 512),
        (("model=squeezenet", *PHOTOS), 512),
    ],
    ids=lambda w: w[0] if isinstance(w, tuple) else "",
)
def test_the_codes_of_a_classifier(words: tuple[str, ...], width: int, train: Train) -> None:
    """What its last layer sees: for photos of a pretrained network, as the network sees them."""
    first = train(*words, *QUICK, run="first")
    second = train(*CODES, f"data.encoder={first}", "data.limit=30", "model=linear", run="second")
    codes, net = data_of(second), loading.load_task(first).net
    assert codes.shape == (width,)
    images = data_of(first).transform(codes.stored["test"].all()[0])
    last = [layer for layer in net.modules() if isinstance(layer, nn.Linear | nn.Conv2d)][-1]
    if isinstance(last, nn.Linear):
        with torch.no_grad():
            torch.testing.assert_close(last(codes.splits["test"].all()[0]), net(images), rtol=1e-4, atol=1e-5)


def test_pca_sees_training_examples_only(train: Train) -> None:
    """As sklearn fits it on the training split; the run keeps it, whatever it is evaluated on."""
    from sklearn.decomposition import PCA

    run = train(*CODES, "data.encoder=pca:5", "data.of=mnist", "model=linear")
    data = data_of(run)
    pixels = {split: e.all()[0].flatten(1).numpy() / np.float32(255) for split, e in data.stored.items()}
    expected = PCA(5).fit(pixels["train"])
    for split in ("train", "test"):
        codes = data.splits[split].all()[0].numpy()
        np.testing.assert_allclose(codes, expected.transform(pixels[split]), atol=1e-4)
    assert len(data.splits["train"]) == 200
    assert evaluate.main([f"run={run}", "data.limit=20"]) == recorded(run)


def test_standardised_codes(train: Train, tmp_path: Path) -> None:
    run = train(*CODES, "data.encoder=pca:3", "model=linear", "data.normalize=standardize")
    data = data_of(run)
    x = data.transform(data.splits["train"].all()[0])
    torch.testing.assert_close(x.mean(0), torch.zeros(3), atol=1e-5, rtol=0)
    torch.testing.assert_close(x.std(0, correction=0), torch.ones(3), atol=1e-4, rtol=0)
    assert evaluate.main([f"run={run}"]) == recorded(run)


def test_predict_encodes_the_images(train: Train, tmp_path: Path) -> None:
    run = train(*CODES, "data.encoder=pca:6", "model=knn")
    data = data_of(run)
    for i, image in enumerate(data.stored["test"].all()[0][:9]):
        Image.fromarray(image[0].numpy()).save(tmp_path / f"{i}.png")
    predict.main([f"run={run}", f"images={tmp_path}/*.png", f"out={tmp_path}/out.csv"])
    said = [line.split(",")[1] for line in (tmp_path / "out.csv").read_text().splitlines()[1:]]
    with torch.no_grad():
        found = loading.load_task(run)(data.transform(data.splits["test"].all()[0][:9])).argmax(1)
    assert said == [data.classes[k] for k in found]


def test_imagenet(train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file of weights stands where the published one would; it is not theirs, so figures aren't comparable."""
    from torchvision import models

    (tmp_path / "weights").mkdir()
    torch.save(models.squeezenet1_1(weights=None).state_dict(), tmp_path / "weights" / "squeezenet1_1.pth")
    monkeypatch.setenv("DLCOURSE_DATA", str(tmp_path))
    words = ("data.encoder=imagenet:squeezenet1_1", "data.limit=20", "data.limit_eval=10")
    run = train(*CODES, *words, "data.of=flowers17", "data.size=40", "model=linear")
    result = runs.read_result(run)["data"]
    assert "squeezenet1_1.pth" in result["files"]
    assert not result["comparable"]
    assert result["stored_shape"] == [3, 40, 40]
    with pytest.raises(InputError, match="colour images"):
        train(*CODES, *words, "data.of=mnist", "model=linear", run="grey")


# --- mistakes --------------------------------------------------------------------------------------------------------


def test_mistakes_are_one_sentence(config: Config, train: Train) -> None:
    """Those that the configs show, before any data are read."""
    linear = train("model=linear", *QUICK, run="linear")

    def mistake(*words: str) -> str:
        with pytest.raises(InputError) as raised:
            config("data=codes", *words)
        assert "\n" not in str(raised.value)
        return str(raised.value)

    assert "no such directory" in mistake("data.encoder=nowhere")
    assert "a run's directory, pca:K or imagenet:NAME" in mistake("data.encoder=pac:64")
    assert "must be a run's directory" in mistake("data.encoder=null")
    for k in ("", "0", "1.5"):
        assert "whole number K from 1 up" in mistake(f"data.encoder='pca:{k}'")
    assert "did you mean mobilenet_v2" in mistake("data.encoder=imagenet:mobilenet")
    assert "did you mean mnist" in mistake("data.of=minst")
    assert "data.of=codes" in mistake("data.of=codes")
    assert "no key function" in mistake("data.of=functions")
    assert "data.root is missing" in mistake("data.of=folder")
    assert "model=linear has no code" in mistake(f"data.encoder={linear}")
    runs.write_result(linear, runs.read_result(linear) | {"status": "interrupted"})
    assert "not done (interrupted)" in mistake(f"data.encoder={linear}")
    with pytest.raises(InputError, match="no such directory"):
        check_overrides(["data=codes", "data.encoder=nowhere"], sweep=False)


def test_mistakes_that_the_data_show(train: Train) -> None:
    with pytest.raises(InputError, match="200 training examples of 784 numbers have no more than 200 components"):
        train(*CODES, "data.encoder=pca:300", "model=linear", run="a")
    with pytest.raises(InputError, match=r"is for images \[1, 28, 28\]"):
        first = train(*AUTOENCODER, run="b")
        train(*CODES, f"data.encoder={first}", "data.of=cifar10", "model=linear", run="c")
    with pytest.raises(InputError, match="are for images, codes has vectors"):
        train(*CODES, "data.encoder=pca:4", "data.augment.flip=true", "model=linear", run="d")
    with pytest.raises(InputError, match=r"not \[4\]"):
        train(*CODES, "data.encoder=pca:4", "model=cnn", run="e")


# --- nearest neighbours ----------------------------------------------------------------------------------------------


def test_neighbours_are_sklearns(train: Train) -> None:
    from sklearn.neighbors import KNeighborsClassifier

    for k in (1, 5):
        run = train("model=knn", f"model.net.k={k}", "trainer.figures=false", run=f"k{k}")
        data = data_of(run)
        (x, y), (test_x, test_y) = (data.splits[split].all() for split in ("train", "test"))
        sklearn = KNeighborsClassifier(k).fit(x.flatten(1).numpy() / 255, y.numpy())
        result = runs.read_result(run)
        assert result["metrics"]["test/accuracy"] == pytest.approx(
            sklearn.score(test_x.flatten(1).numpy() / 255, test_y.numpy())
        )
        assert (result["epochs"], result["steps"], result["parameters"]) == (1, 0, 0)
        assert result["metrics"]["train/accuracy"] is None
        assert evaluate.main([f"run={run}"]) == recorded(run)
        table = [row.split(",")[1:] for row in (run / "confusion.csv").read_text().splitlines()[1:]]
        assert sum(int(n) for row in table for n in row) == 100


def test_neighbours_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """However few distances fit in memory: the same shares, which add up to 1; nothing known, nothing preferred."""
    generator = torch.Generator().manual_seed(0)
    x, y = torch.rand(50, 3, generator=generator), torch.randint(4, (50,), generator=generator)
    net = Neighbours([3], 4, k=3)
    assert net(x).exp().unique().tolist() == [0.25]
    net.memorise(x, y)
    whole = net(x)
    torch.testing.assert_close(whole.exp().sum(1), torch.ones(50))
    monkeypatch.setattr("dlcourse.nets.neighbours.DISTANCES", 60)
    assert torch.equal(net(x), whole)
    far, nearest = 1e3 + 1e-2 * x, Neighbours([3], 4, k=1)  # squares of a million that differ by less than 10⁻⁴
    nearest.memorise(far, y)
    assert torch.equal(nearest(far).argmax(1), y)
    with pytest.raises(ValueError, match="k: 3 neighbours"):
        net.memorise(x[:2], y[:2])
    with pytest.raises(ValueError, match="k: a whole number"):
        Neighbours([3], 4, k=0)


def test_what_neighbours_can_not_do(train: Train) -> None:
    for i, (word, why) in enumerate(
        [
            ("data.limit=3", r"model\.net\.k: 5 neighbours need as many training examples, there are 3"),
            ("data=functions", "data=functions has numbers to be met"),
            ("trainer.gradient_clip_val=1", "trainer: Automatic gradient clipping is not supported"),
        ]
    ):
        with pytest.raises(InputError, match=why):
            train("model=knn", word, run=str(i))


# --- a frozen backbone sees each image once --------------------------------------------------------------------------


@pytest.mark.parametrize("model", ["squeezenet", "mobilenet_v2"])
def test_cached_features_change_nothing(model: str, train: Train, tmp_path: Path, apart: Path) -> None:
    """The same figures, the same head, dropout drawn alike; photos and checkpoints as if nothing had been cached."""
    words = (f"model={model}", *PHOTOS, "optimizer.lr=0.01")
    kept, plain = train(*words, run="kept"), train(*words, "model.cache_features=false", run="plain")
    a, b = runs.read_result(kept), runs.read_result(plain)
    assert (a["features"], b.get("features")) == ("cached", None)
    assert a["config_hash"] == b["config_hash"]
    for name, value in b["metrics"].items():
        assert a["metrics"][name] == pytest.approx(value, rel=1e-4, abs=1e-6), name
    weights = [torch.load(run / "best.ckpt", weights_only=True)["state_dict"] for run in (kept, plain)]
    assert weights[0].keys() == weights[1].keys()
    for name, tensor in weights[0].items():
        torch.testing.assert_close(tensor, weights[1][name], rtol=1e-4, atol=1e-6, msg=name)
    assert a["data"] == b["data"]
    for split in ("test", "val"):
        assert evaluate.main([f"run={kept}", f"split={split}"]) == recorded(kept, split)
    resume.main([f"run={kept}", "trainer.max_epochs=3"])
    resume.main([f"run={plain}", "trainer.max_epochs=3"])
    assert recorded(kept) == pytest.approx(recorded(plain), rel=1e-4, abs=1e-6)

    Image.effect_noise((50, 50), 90).convert("RGB").save(tmp_path / "a.png")
    for run in (kept, plain):
        predict.main([f"run={run}", f"images={tmp_path}/a.png", f"out={run}/out.csv"])
    rows = [float((run / "out.csv").read_text().splitlines()[1].split(",")[2]) for run in (kept, plain)]
    assert rows[0] == pytest.approx(rows[1], abs=1e-4)


def test_where_features_are_not_kept(train: Train, apart: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for i, word in enumerate(("data.augment.flip=true", "model.train=all", "data.memory_limit=1e5")):
        run = train("model=squeezenet", *PHOTOS, "trainer.max_epochs=1", word, run=str(i))
        assert "features" not in runs.read_result(run), word
    assert not list(apart.glob("codes-*"))


def test_features_are_kept_for_the_next_run(train: Train, apart: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    train("model=mobilenet_v2", *PHOTOS, run="a")
    seen: list[int] = []
    before = Pretrained.features

    def features(net: Pretrained, x: torch.Tensor) -> torch.Tensor:
        seen.append(len(x))
        return before(net, x)

    monkeypatch.setattr(Pretrained, "features", features)
    train("model=mobilenet_v2", *PHOTOS, "optimizer.lr=0.1", run="b")
    assert sum(seen) < 5  # one image, to learn how large features are, and the empty ones that try the sizes
