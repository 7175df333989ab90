"""Pictures of all depths, and folders with bad ones among them."""

import logging
import struct
import zlib
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


def save_image(values: np.ndarray, path: Path) -> None:
    Image.fromarray(values).save(path)


def write_tiff(values: np.ndarray, path: Path) -> None:
    """A grey TIFF of uint32, not compressed: Pillow writes none without a sign."""
    height, width = values.shape
    data = values.astype("<u4").tobytes()
    tags = {256: width, 257: height, 258: 32, 259: 1, 262: 1, 273: 8, 277: 1, 278: height, 279: len(data), 339: 1}
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    path.write_bytes(
        b"II*\0" + struct.pack("<I", 8 + len(data)) + data + struct.pack("<H", len(tags)) + entries + b"\0" * 4
    )


def folder(
    root: Path, make: Callable[[np.ndarray], np.ndarray], ending: str, each: int = 8,
    save: Callable[[np.ndarray, Path], None] = save_image,
) -> Path:  # fmt: skip
    """Two classes: pictures with a bright left, and with a bright right half; all use the whole range."""
    rng = np.random.default_rng(0)
    for k, name in enumerate(("left", "right")):
        (root / name).mkdir(parents=True)
        for i in range(each):
            bright = rng.uniform(0, 0.4, (8, 8))
            bright[:, 4 * k : 4 * k + 4] += 0.5
            bright[0, 0], bright[7, 7] = 0, 1
            save(make(bright), root / name / f"{i}.{ending}")
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


def test_what_is_known_of_pictures_is_said_each_time(
    tmp_path: Path, alone: None, caplog: pytest.LogCaptureFixture
) -> None:
    """When they are prepared and when they come from the cache; it is kept with the data, too."""
    root = folder(tmp_path / "photos", DEPTHS["12 of 16 bits"][1], "png", each=30)
    for i in range(3):
        Image.new("L", (8, 8), 40 * i).save(root / "left" / f"{i}.png")
    (root / "right" / "0.png").write_bytes(b"no image")
    for _ in range(2):
        caplog.clear()
        provenance = load(root, skip_bad=True, value_range=[0, 2000]).provenance
        assert "56 pictures have values outside of 0 to 2000, which are clipped" in caplog.text
        assert "3 of 59 pictures have 8 bits: they are taken as they are" in caplog.text
        assert "1 images can't be read and are left out" in caplog.text
        assert len(provenance.notes) == 3
        assert not provenance.comparable


def test_colours_of_16_bits_are_said(tmp_path: Path, alone: None, caplog: pytest.LogCaptureFixture) -> None:
    root = folder(tmp_path / "photos", lambda bright: np.round(bright * 255).astype(np.uint8), "png")
    (root / "left" / "0.png").write_bytes(png_16_bits(np.full((8, 8, 3), 4000)))
    load(root)
    assert "1 colour pictures have 16 bits a channel, of which the upper 8 are taken" in caplog.text


def png_16_bits(values: np.ndarray) -> bytes:
    """A colour picture [height, width, 3] of 16 bits a channel, which Pillow reads but does not write."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    height, width, _ = values.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    header = struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        chunk(name, data) for name, data in ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    )


def test_whole_numbers_beyond_two_thousand_million(tmp_path: Path, alone: None) -> None:
    """A TIFF of 32 bits without a sign, which Pillow reads as if it had one."""
    root = folder(tmp_path / "photos", lambda bright: (bright * 4e9).astype(np.int64), "tif", save=write_tiff)
    plain = folder(tmp_path / "plain", lambda bright: np.round(bright * 255).astype(np.uint8), "png")
    splits = load(root)
    assert splits.provenance.value_range == [0, 4e9]
    assert (pixels(splits) - pixels(load(plain))).abs().max() <= 1


def test_float_and_whole_numbers_need_a_range(tmp_path: Path, alone: None) -> None:
    root = folder(tmp_path / "photos", DEPTHS["float 0 to 1"][1], "tif")
    Image.fromarray(np.full((8, 8), 900, np.uint16)).save(root / "left" / "0.png")
    (root / "left" / "0.tif").unlink()
    with pytest.raises(InputError, match=r"others float: .*data\.value_range"):
        load(root)
    assert load(root, value_range=[0, 1]).provenance.notes


def test_predict_says_what_differs_from_training(
    train: Train, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Pictures of another depth than those of training, and all that can't be read."""
    eight = folder(tmp_path / "eight", lambda bright: np.round(bright * 255).astype(np.uint8), "png")
    deep = folder(tmp_path / "deep", DEPTHS["12 of 16 bits"][1], "png")
    runs_ = [train(*FOLDER, f"data.root={root}", run=f"run_{root.name}") for root in (eight, deep)]
    caplog.clear()
    predict.main([f"run={runs_[0]}", f"images={deep}/left/*", f"out={tmp_path / 'out.csv'}"])
    assert "8 pictures have more than 8 bits, those of training had 8: 65535 becomes white" in caplog.text
    predict.main([f"run={runs_[1]}", f"images={eight}/left/*", f"out={tmp_path / 'out.csv'}"])
    assert "8 of 8 pictures have 8 bits: they are taken as they are" in caplog.text
    for i in range(3):
        (eight / "left" / f"{i}.png").write_bytes((eight / "left" / "5.png").read_bytes()[: 20 * i])
    with pytest.raises(InputError, match="3 of 8 images can't be read") as raised:
        predict.main([f"run={runs_[0]}", f"images={eight}/left/*"])
    assert "skip_bad" not in str(raised.value)


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
