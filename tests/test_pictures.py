"""Pictures of all depths, and folders with bad ones among them."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from dlcourse import evaluate, predict, runs
from dlcourse.core.errors import InputError
from dlcourse.data import sources
from dlcourse.data.tensors import Splits

Train = Callable[..., Path]
FOLDER = ("data=folder", "data.source=auto", "data.size=8", "data.batch_size=8", "model=linear", "trainer.max_epochs=1",
          "trainer.figures=false")  # fmt: skip
# as a camera, a microscope, a simulation would give them: the values of a picture that is `bright` (0 to 1)
DEPTHS: dict[str, tuple[str, Callable[[np.ndarray], np.ndarray]]] = {
    "float 0 to 1": ("tif", lambda bright: bright.astype(np.float32)),
    "int32 to 100,000": ("tif", lambda bright: (bright * 100_000).astype(np.int32)),
    "float -1000 to 2000": ("tif", lambda bright: (bright * 3000 - 1000).astype(np.float32)),
    "16 bits": ("png", lambda bright: (bright * 65535).astype(np.uint16)),
    "12 of 16 bits": ("png", lambda bright: (bright * 4095).astype(np.uint16)),
}


def folder(root: Path, make: Callable[[np.ndarray], np.ndarray], ending: str, each: int = 8) -> Path:
    """Two classes: pictures with a bright left, and with a bright right half; all use the whole range."""
    rng = np.random.default_rng(0)
    for k, name in enumerate(("left", "right")):
        (root / name).mkdir(parents=True)
        for i in range(each):
            bright = rng.uniform(0, 0.4, (8, 8))
            bright[:, 4 * k : 4 * k + 4] += 0.5
            bright[0, 0], bright[7, 7] = 0, 1
            Image.fromarray(make(bright)).save(root / name / f"{i}.{ending}")
    return root


def load(root: Path, **options: Any) -> Splits:
    return sources.load("folder", root, size=8, channels=1, **options)


def pixels(splits: Splits) -> torch.Tensor:
    return torch.cat([store.take(torch.arange(len(store)))[0] for store in (splits.train, splits.test)]).float()


@pytest.mark.parametrize("memory_limit", [4e9, 1.0], ids=["in memory", "streamed"])
@pytest.mark.parametrize("depth", DEPTHS)
def test_deep_pictures_are_scaled_by_the_range_that_they_have(
    depth: str, memory_limit: float, tmp_path: Path, alone: None
) -> None:
    """All of them come out as the same picture of 8 bits would have, to the last step."""
    ending, make = DEPTHS[depth]
    deep = load(folder(tmp_path / "deep", make, ending), memory_limit=memory_limit)
    plain = load(folder(tmp_path / "plain", lambda bright: np.round(bright * 255).astype(np.uint8), "png"))
    assert (pixels(deep) - pixels(plain)).abs().max() <= 1
    low, high = deep.provenance.value_range or (0, 0)
    top = make(np.array([0.0, 1.0]))
    assert (low, high) == (float(top[0]), float(top[1]))
    assert plain.provenance.value_range is None


def test_a_given_range_clips_and_says_so(tmp_path: Path, alone: None, caplog: pytest.LogCaptureFixture) -> None:
    root = folder(tmp_path / "deep", DEPTHS["float -1000 to 2000"][1], "tif")
    caplog.set_level(logging.INFO)
    whole, part = load(root, value_range=[-1000, 2000]), load(root, value_range=[0, 500])
    assert "16 pictures have values outside of 0 to 500, which are clipped" in caplog.text
    assert caplog.text.count("clipped") == 1
    assert pixels(part).mean() > pixels(whole).mean()
    with pytest.raises(InputError, match="lower one"):
        load(root, value_range=[2, 1])


def test_what_can_not_be_scaled_is_refused(tmp_path: Path, alone: None) -> None:
    root = folder(tmp_path / "nan", DEPTHS["float 0 to 1"][1], "tif")
    Image.fromarray(np.full((8, 8), np.nan, np.float32)).save(root / "left" / "3.tif")
    with pytest.raises(InputError, match=r"left/3\.tif .*some pixels are no number"):
        load(root)
    assert load(root, skip_bad=True).provenance.skipped == [str(root / "left" / "3.tif")]
    with pytest.raises(InputError, match="all pixels of its pictures are 0"):
        load(folder(tmp_path / "black", lambda bright: np.zeros_like(bright, np.int32), "tif"))


def test_a_run_keeps_its_range(train: Train, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """New pictures are scaled as those of training were, by predict and by evaluate; brighter ones are clipped."""
    ending, make = DEPTHS["12 of 16 bits"]
    run = train(*FOLDER, f"data.root={folder(tmp_path / 'a', make, ending)}")
    assert runs.read_result(run)["data"]["value_range"] == [0, 4095]
    dim = folder(tmp_path / "dim", lambda bright: make(bright / 2), ending)
    before = runs.read_result(run)["metrics"]["test/loss"]
    assert evaluate.main([f"run={run}", f"data.root={tmp_path / 'a'}"])["test/loss"] == before
    assert evaluate.main([f"run={run}", f"data.root={dim}"])["test/loss"] != before
    bright = folder(tmp_path / "bright", lambda x: make(x * 4), ending)
    caplog.clear()
    predict.main([f"run={run}", f"images={bright}/*/*", f"out={tmp_path / 'out.csv'}"])
    assert "16 pictures have values outside of 0 to 4095" in caplog.text


def test_bad_images_are_all_named(tmp_path: Path, alone: None, caplog: pytest.LogCaptureFixture) -> None:
    root = folder(tmp_path / "photos", DEPTHS["16 bits"][1], "png", each=30)
    for i in range(25):
        (root / "left" / f"{i}.png").write_bytes(b"no image" if i % 2 else b"")
    with pytest.raises(InputError, match="25 of 60 images can't be read") as raised:
        load(root)
    text = str(raised.value)
    assert "\n" not in text
    assert (text.count(".png"), "and 5 more" in text, "data.skip_bad=true" in text) == (20, True, True)
    for i in range(2, 25):
        Image.new("L", (8, 8), i).save(root / "left" / f"{i}.png")
    with pytest.raises(InputError, match="2 of 60") as raised:
        load(root)
    assert str(raised.value).count(".png") == 2
    for memory_limit in (4e9, 1.0):
        left = load(root, skip_bad=True, memory_limit=memory_limit)
        assert len(left.provenance.skipped) == 2
        assert sum(len(part) for part in (left.train, left.val, left.test) if part) == 58
        assert "2 images can't be read and are left out" in caplog.text


def test_a_class_of_bad_images_alone_is_refused(tmp_path: Path, alone: None) -> None:
    root = folder(tmp_path / "photos", DEPTHS["16 bits"][1], "png")
    for path in (root / "left").iterdir():
        path.write_bytes(b"no image")
    with pytest.raises(InputError, match=r"left: none of its images"):
        load(root, skip_bad=True)


def test_bad_images_are_left_out_of_a_run(train: Train, tmp_path: Path) -> None:
    root = folder(tmp_path / "photos", DEPTHS["16 bits"][1], "png")
    (root / "left" / "0.png").write_bytes(b"no image")
    with pytest.raises(InputError, match=r"left/0\.png"):
        train(*FOLDER, f"data.root={root}", run="refused")
    result = runs.read_result(train(*FOLDER, f"data.root={root}", "data.skip_bad=true"))
    assert result["data"]["skipped"] == [str(root / "left" / "0.png")]
    assert sum(result["data"][split] for split in ("train", "val", "test")) == 15
