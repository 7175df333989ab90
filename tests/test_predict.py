"""predict: any place of pictures, a table and a sheet of them, and where the network looks."""

import csv
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from dlcourse import predict, runs
from dlcourse.core.errors import InputError
from dlcourse.predict import find_images
from dlcourse.training.explanation import saliency
from dlcourse.training.prediction import Predictor

SRC = Path(predict.__file__).parents[1]
SIDE = 16


def save_spots(root: Path, each: int) -> Path:
    """Dim noise with a bright spot, at the upper left or at the lower right: two classes, the spot tells them apart."""
    rng = np.random.default_rng(0)
    for k, name in enumerate(("above", "below")):
        (root / name).mkdir(parents=True)
        for i in range(each):
            pixels = rng.integers(0, 60, (SIDE, SIDE), np.uint8)
            at = 2 + 7 * k + int(rng.integers(0, 2))
            pixels[at : at + 5, at : at + 5] = 255
            Image.fromarray(pixels).save(root / name / f"{i}.png")
    return root


@pytest.fixture(scope="module")
def spots(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_spots(tmp_path_factory.mktemp("spots"), 65)


@pytest.fixture(scope="module")
def fitted(
    spots: Path, config: Callable[..., dict[str, Any]], tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., Path]:
    """`fitted("model=linear")`: a run on the spots, or on the data that are named."""
    from dlcourse.training import fit

    def run(*words: str) -> Path:
        folder = tmp_path_factory.mktemp("run")
        on_spots = ("data=folder", f"data.root={spots}", "data.size=16", "data.channels=1", "data.batch_size=8")
        on = () if any(word.startswith("data=") for word in words) else on_spots
        fit.train(config("trainer.accelerator=cpu", "trainer.figures=false", "logger=none", *on, *words), folder, "")
        return folder

    return run


@pytest.fixture(scope="module")
def cnn(fitted: Callable[..., Path]) -> Path:
    return fitted("model=cnn", "model.net.channels=[4,8]", "model.net.hidden=[8]", "trainer.max_epochs=6")


@pytest.fixture(scope="module")
def linear(fitted: Callable[..., Path]) -> Path:
    return fitted("model=linear", "trainer.max_epochs=6")


def predictor(run: Path) -> Predictor:
    return Predictor(run, runs.read_config(run), runs.read_result(run))


def test_places_of_pictures(spots: Path, tmp_path: Path) -> None:
    """A folder and what is below it, a file, a pattern, several of them; each file once."""
    every = find_images(str(spots))
    assert len(every) == 130
    one = spots / "above" / "3.png"
    assert find_images(str(one)) == [one]
    assert find_images(f"[{one}, {spots}/below/1?.png]") == [one, *(spots / "below" / f"1{i}.png" for i in range(10))]
    assert find_images(f"{one},{spots}") == [one, *(path for path in every if path != one)]
    assert len(find_images(",".join([str(one)] * 5000))) == 1
    odd = tmp_path / "a,b[1].png"
    odd.write_bytes(one.read_bytes())
    assert find_images(str(odd)) == [odd]
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="there is no image in that folder"):
        find_images(str(tmp_path / "empty"))
    with pytest.raises(InputError, match=r"images=x\.gif: no file is called that"):
        find_images(f"{one},x.gif")


def test_table_sheet_and_explanations(cnn: Path, spots: Path, tmp_path: Path) -> None:
    predict.main([f"run={cnn}", f"images={spots}/*/?.png", f"out={tmp_path}/new/out", "explain=true"])
    out = tmp_path / "new" / "out"
    assert {path.name for path in out.iterdir()} == {"predictions.csv", "predictions.png", "explanations.png"}
    with (out / "predictions.csv").open() as file:
        table = list(csv.DictReader(file))
    assert [row["file"] for row in table] == [str(path) for path in find_images(f"{spots}/*/?.png")]
    assert np.mean([row["class"] == Path(row["file"]).parent.name for row in table]) > 0.9
    for name in ("predictions.png", "explanations.png"):
        with Image.open(out / name) as picture:
            assert min(picture.size) > 300
    predict.main([f"run={cnn}", f"images={spots}/above/?.png", f"out={tmp_path}/some.csv", "explain=true"])
    assert {path.name for path in tmp_path.glob("some*")} == {"some.csv", "some.png", "some_explanations.png"}


def test_of_many_pictures_the_least_sure_are_shown(cnn: Path, spots: Path) -> None:
    asked = predictor(cnn)
    rows = asked.rows(find_images(str(spots)))
    sheet = asked.sheet(rows)
    assert sheet.get_suptitle().startswith("130 pictures\nthe 120 of which it is least sure")
    captions = [text.get_text() for text in sheet.axes[0].texts]
    assert len(captions) == 120
    order = sorted(range(130), key=lambda i: rows[i][2])
    assert [caption.split("\n")[0] for caption in captions] == [Path(rows[i][0]).name for i in order[:120]]
    assert len(asked.sheet(rows[:3]).axes[0].texts) == 3


@pytest.mark.parametrize(("network", "method"), [("cnn", "grad_cam"), ("cnn", None), ("linear", None)])
def test_what_is_bright_in_an_explanation_is_what_tells_the_classes_apart(
    network: str, method: str | None, spots: Path, request: pytest.FixtureRequest
) -> None:
    asked = predictor(request.getfixturevalue(network))
    files = [path for path in find_images(str(spots)) if path.stem in ("0", "1", "2", "3")]
    x, _ = asked.read(files)
    name, maps = saliency(asked.task, asked.data, x, method)
    assert name == ("Grad-CAM" if method else "occlusion")
    assert maps.shape == (8, SIDE, SIDE)
    assert (float(maps.min()), float(maps.max())) == (0, 1)
    places = (x[:, 0] == 255).float()
    assert ((maps * places).sum() / maps.sum()) > 2 * places.mean()  # by chance as much as their share of the pixels


def test_maps_do_not_depend_on_their_batch(cnn: Path, spots: Path) -> None:
    asked = predictor(cnn)
    x, _ = asked.read(find_images(str(spots))[::30])
    _, together = saliency(asked.task, asked.data, x, "grad_cam")
    alone = torch.cat([saliency(asked.task, asked.data, one, "grad_cam")[1] for one in x.split(1)])
    torch.testing.assert_close(together, alone, atol=1e-4, rtol=0)


def test_codes_are_explained_by_their_pictures(fitted: Callable[..., Path], cnn: Path, spots: Path) -> None:
    run = fitted("model=linear", "data=codes", f"data.encoder={cnn}", "trainer.max_epochs=2")
    asked = predictor(run)
    x, _ = asked.read(find_images(str(spots / "above"))[:2])
    name, maps = saliency(asked.task, asked.data, x)
    assert (name, maps.shape) == ("occlusion", (2, SIDE, SIDE))
    with pytest.raises(InputError, match="that see pictures, not codes"):
        saliency(asked.task, asked.data, x, "grad_cam")
    assert asked.rows(find_images(str(spots / "above")))[0][1] in ("above", "below")


def test_runs_that_classify_no_pictures(fitted: Callable[..., Path], spots: Path) -> None:
    for words, why in [
        (("data=clusters", "model=linear"), "its examples are numbers, not pictures"),
        (("model=autoencoder",), "only a classifier predicts classes"),
    ]:
        run = fitted(*words, "trainer.max_epochs=1")
        with pytest.raises(InputError, match=why):
            predict.main([f"run={run}", f"images={spots}"])


def test_as_it_is_typed(
    cnn: Path, spots: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without out= the table goes to the terminal alone, and is kept with the pictures, too."""
    monkeypatch.chdir(tmp_path)
    predict.main([f"run={cnn}", f"images={spots / 'below' / '1.png'}"])
    out = Path("outputs", "predictions", cnn.name)
    printed = capsys.readouterr()
    assert printed.err.endswith(f"1 image: {out}\n")
    assert printed.out == (out / "predictions.csv").read_text()
    assert (out / "predictions.png").is_file()
    words = [sys.executable, "-m", "dlcourse.predict", f"run={cnn}", "images=gone.png"]
    environment = os.environ | {"PYTHONPATH": str(SRC)}
    done = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
