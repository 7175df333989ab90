"""Figures of pictures where the answer is known."""

import numpy as np
import pytest
import torch

from dlcourse.studies import images


def test_roughness_is_one_for_white_noise_and_small_for_a_slope_whatever_the_length() -> None:
    rng = np.random.default_rng(0)
    noise = rng.normal(size=(20, 28, 28))
    assert images.roughness(noise) == pytest.approx(1, abs=0.05)
    assert images.roughness(7 * noise) == pytest.approx(images.roughness(noise))
    slope = np.linspace(-1, 1, 28)[None, :, None] + np.zeros((1, 28, 28))
    assert images.roughness(slope) < 0.01
    inside = np.zeros((28, 28), bool)
    inside[8:20, 8:20] = True
    mixed = np.where(inside, slope, noise)  # smooth inside only
    assert images.roughness(mixed, inside) < 0.1 < 0.5 < images.roughness(mixed)


def test_spread_is_half_for_flat_images_and_next_to_nothing_for_a_spot() -> None:
    rng = np.random.default_rng(0)
    assert images.spread(np.ones((2, 28, 28))) == pytest.approx(0.5, abs=0.01)
    assert images.spread(rng.normal(size=(50, 28, 28))) == pytest.approx(0.124, abs=0.005)
    spot = np.full((1, 28, 28), 1e-6)
    spot[0, 3, 4] = 1.0
    assert images.spread(spot) == pytest.approx(1 / 28**2)
    assert images.spread(9 * spot) == images.spread(spot)


def test_what_is_blurred_is_less_sharp_and_less_similar() -> None:
    x = (torch.rand(8, 28, 28, generator=torch.Generator().manual_seed(0)) > 0.5).float()
    blurred = torch.nn.functional.avg_pool2d(x, 3, 1, 1)
    assert images.sharpness(x, x) == images.copied(x, x) == pytest.approx(1)
    assert images.similarity(x, x) == pytest.approx(1)
    assert images.sharpness(blurred, x) < 0.3
    assert images.similarity(blurred, x) < 0.6
    assert images.copied(x.mean(0).expand_as(x), x) == pytest.approx(0, abs=1e-6)
