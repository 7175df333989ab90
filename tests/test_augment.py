"""Augmentation: as far as it says and no farther, each image by itself."""

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Generator, Tensor

from dlcourse.data.augment import Augment, build_augment

EVERYTHING: dict[str, Any] = {
    "flip": True, "shift": 0.2, "rotate": 30, "shear": 20, "scale": 0.3, "crop": 0.4, "thickness": 3.0, "cutout": 0.3,
    "brightness": 0.5, "contrast": 0.5, "saturation": 0.5,
}  # fmt: skip


def augmented(x: Tensor, seed: int = 0, **options: Any) -> Tensor:
    return Augment(**options)(x.clone(), Generator().manual_seed(seed))


def blob(height: int, width: int, row: float, column: float, n: int, sigma: float = 1.5) -> Tensor:
    """n times the same round spot, white on black."""
    rows, columns = torch.arange(height)[:, None] + 0.5, torch.arange(width)[None, :] + 0.5
    image = torch.exp(-((rows - row) ** 2 + (columns - column) ** 2) / (2 * sigma**2))
    return image.expand(n, 1, height, width).clone()


def centres(x: Tensor) -> tuple[Tensor, Tensor]:
    """Where the spots are, in pixels: rows [B] and columns [B]."""
    mass = x.sum((1, 2, 3))
    rows, columns = torch.arange(x.shape[2]) + 0.5, torch.arange(x.shape[3]) + 0.5
    return (x.sum((1, 3)) * rows).sum(1) / mass, (x.sum((1, 2)) * columns).sum(1) / mass


@settings(max_examples=60, deadline=None)
@given(
    options=st.fixed_dictionaries(
        {}, optional={k: st.just(v) if v is True else st.floats(0, v) for k, v in EVERYTHING.items()}
    ),
    channels=st.sampled_from([1, 3]),
    height=st.integers(4, 20),
    width=st.integers(4, 20),
    seed=st.integers(0, 2**60),
)
def test_images_stay_images(options: dict[str, Any], channels: int, height: int, width: int, seed: int) -> None:
    x = torch.rand(5, channels, height, width, generator=Generator().manual_seed(seed))
    out = augmented(x, seed, **options)
    assert out.shape == x.shape and out.dtype == x.dtype
    assert float(out.min()) >= 0 and float(out.max()) <= 1 + 1e-6
    assert torch.equal(out, augmented(x, seed, **options))
    if not any(options.values()):
        assert torch.equal(out, x)


def test_nothing_is_asked_for() -> None:
    assert build_augment(None) is None
    assert build_augment(dict.fromkeys(EVERYTHING, 0)) is None
    assert build_augment({"thickness": None}) is None
    assert build_augment({"flip": False, "shift": 0.1}) is not None


@pytest.mark.parametrize("name", list(EVERYTHING))
def test_each_image_has_its_own_draw(name: str) -> None:
    x = torch.rand(1, 3, 16, 16, generator=Generator().manual_seed(0)).expand(64, 3, 16, 16)
    out = augmented(x, **{name: EVERYTHING[name]})
    different = len({tuple(image.flatten().tolist()) for image in out})
    assert different == 2 if name == "flip" else different > 55
    assert not torch.equal(out, augmented(x, 1, **{name: EVERYTHING[name]}))


def test_flip_mirrors_half_of_the_images_exactly() -> None:
    x = torch.rand(400, 1, 5, 7, generator=Generator().manual_seed(0))
    out = augmented(x, flip=True)
    same = (out == x).all(3).all(2).all(1)
    mirrored = (out == x.flip(-1)).all(3).all(2).all(1)
    assert bool((same ^ mirrored).all())
    assert 150 < int(mirrored.sum()) < 250


def test_shift_is_up_to_its_share_of_the_side() -> None:
    rows, columns = centres(augmented(blob(40, 60, 20, 30, 500), shift=0.2))
    for moved, side in ((rows - 20, 40), (columns - 30, 60)):
        assert float(moved.abs().max()) <= 0.2 * side + 0.05
        assert float(moved.max()) > 0.19 * side and float(moved.min()) < -0.19 * side


@pytest.mark.parametrize("size", [(40, 40), (40, 60)])
def test_rotation_is_up_to_its_degrees_about_the_middle(size: tuple[int, int]) -> None:
    height, width = size
    rows, columns = centres(augmented(blob(height, width, height / 2, width / 2 + 12, 500), rotate=30))
    down, right = rows - height / 2, columns - width / 2
    torch.testing.assert_close(torch.hypot(down, right), torch.full((500,), 12.0), atol=0.1, rtol=0)
    angle = torch.atan2(down, right) * 180 / math.pi
    assert float(angle.abs().max()) <= 30.5
    assert float(angle.max()) > 28 and float(angle.min()) < -28


def test_scale_and_shear() -> None:
    _, columns = centres(augmented(blob(40, 40, 20, 28, 500), scale=0.25))
    factor = (columns - 20) / 8
    assert 0.74 < float(factor.min()) < 0.78 and 1.22 < float(factor.max()) < 1.26
    rows, columns = centres(augmented(blob(40, 40, 28, 20, 500), shear=20))
    slope = (columns - 20) / 8  # of a spot 8 pixels below the middle
    torch.testing.assert_close(rows, torch.full((500,), 28.0), atol=0.1, rtol=0)
    assert float(slope.abs().max()) <= math.tan(20.5 * math.pi / 180)
    assert float(slope.max()) > math.tan(18 * math.pi / 180) and float(slope.min()) < -math.tan(18 * math.pi / 180)


def bars(width: int, n: int, dark: bool) -> Tensor:
    """n times the same bar, so many pixels wide, from above to below through the middle of 24×24."""
    image = torch.zeros(n, 1, 24, 24)
    image[..., 12 - width // 2 : 12 - width // 2 + width] = 1
    return 1 - image if dark else image


def widths(x: Tensor, dark: bool) -> Tensor:
    """How wide the bars are half-way down, in pixels [B]."""
    return (1 - x if dark else x)[:, 0, 12].sum(-1)


@pytest.mark.parametrize("dark", [True, False])
@pytest.mark.parametrize("thickness", [0.5, 1.5, 2.0, 5.0])
def test_strokes_are_thicker_or_thinner_by_up_to_so_many_pixels(thickness: float, dark: bool) -> None:
    out = augmented(bars(8, 400, dark), thickness=thickness)
    change = widths(out, dark) - 8
    assert float(change.abs().max()) <= thickness + 1e-4
    assert float(change.max()) > 0.95 * thickness and float(change.min()) < -0.95 * thickness
    assert float(change.mean().abs()) < 0.1 * thickness, "as often thinner as thicker"
    assert float((out[..., :, 11:13] - bars(8, 400, dark)[..., :, 11:13]).abs().max()) < 1e-6, "in the middle"


def test_a_stroke_gets_thicker_on_each_side_and_vanishes_where_it_is_too_thin() -> None:
    x = torch.zeros(200, 1, 15, 15)
    x[..., 7, 7] = 1
    out = augmented(x, thickness=2)
    assert torch.equal(out, out.flip(-1)) and torch.equal(out, out.flip(-2)) and torch.equal(out, out.mT)
    assert float(out[..., 7, 7].min()) < 0.05 and float(out[..., 7, 6].max()) > 0.95
    assert not out[..., 6, 6].any(), "a cross, so that round ends stay round"


def test_dark_and_light_strokes_in_one_batch_and_in_colour() -> None:
    both = torch.cat([bars(6, 50, dark=True), bars(6, 50, dark=False)]).expand(100, 3, 24, 24)
    out = augmented(both, thickness=1.5)
    for part, dark in ((out[:50], True), (out[50:], False)):
        change = widths(part, dark) - 6
        assert float(change.max()) > 1 and float(change.min()) < -1
    assert torch.equal(out[:, 0], out[:, 1])
    plain = torch.full((4, 1, 9, 9), 0.7)
    assert torch.equal(augmented(plain, thickness=4), plain)


def test_crops_are_windows_inside_the_image() -> None:
    ramp = ((torch.arange(50) + 0.5) / 50).expand(300, 1, 50, 50).clone()
    out = augmented(ramp, crop=0.36)[:, 0, 25]
    steps = out.diff(dim=1)[:, 1:-1] * 50  # the side of the window, as a share of the image's
    assert float(steps.min()) >= 0.8 - 1e-3 and float(steps.max()) <= 1 + 1e-3
    assert float(steps.amax(1).sub(steps.amin(1)).max()) < 1e-3, "no border is repeated inside of it"
    assert float(out[:, 0].max()) > 0.1 and float(out[:, -1].min()) < 0.9, "not always in the middle"


@pytest.mark.parametrize("ground", [0.0, 1.0])
def test_what_comes_in_from_outside_is_the_ground(ground: float) -> None:
    """White digits on black stay on black, dark letters on white stay on white."""
    x = (blob(32, 32, 16, 16, 100, sigma=1.0) - ground).abs()
    out = augmented(x, shift=0.2, rotate=45, shear=20, scale=0.3)
    edge = torch.cat([out[..., 0, :], out[..., -1, :], out[..., 0], out[..., -1]])
    assert float((edge - ground).abs().max()) < 1e-3


def test_cutout_is_a_square_of_its_size() -> None:
    x = torch.rand(300, 3, 20, 20, generator=Generator().manual_seed(0))
    out = augmented(x, cutout=0.3)
    hole = (out != x).any(1)
    assert 1 <= int(hole.sum((1, 2)).max()) <= 36
    assert int(hole.any(1).sum(1).max()) == 6 and int(hole.any(2).sum(1).max()) == 6
    assert bool((hole == (hole.any(2)[:, :, None] & hole.any(1)[:, None, :])).all()), "a rectangle"
    filled = x.mean((2, 3), keepdim=True).expand_as(x)
    assert torch.equal(out, torch.where(hole[:, None], filled, x))


def test_colours() -> None:
    x = torch.full((300, 3, 2, 2), 0.4)
    x[:, 0] = 0.2
    bright = augmented(x, brightness=0.5)
    factor = bright[:, 0, 0, 0] / 0.2
    assert 0.5 <= float(factor.min()) < 0.55 and 1.45 < float(factor.max()) <= 1.5
    torch.testing.assert_close(bright, x * factor[:, None, None, None])
    torch.testing.assert_close(augmented(x, contrast=0.5).mean((1, 2, 3)), x.mean((1, 2, 3)))
    grey = torch.full((10, 3, 2, 2), 0.3)
    torch.testing.assert_close(augmented(grey, saturation=0.9), grey)
    assert not torch.allclose(augmented(x, saturation=0.9), x)
