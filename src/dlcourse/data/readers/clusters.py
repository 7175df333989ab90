"""Four clouds of points in the plane, as homework 5 of CMU 16-720 draws them: the same for the same draw."""

from pathlib import Path

import numpy as np

from dlcourse.data.raw import Options, Reading, Source, Split

MEANS = np.array([(3.6, 40.0), (3.9, 10.0), (3.4, 30.0), (2.0, 10.0)])
VARIANCES = np.array([(0.05, 10.0), (0.01, 5.0), (0.25, 5.0), (0.5, 10.0)])
POINTS = 10  # of each cloud


def read(root: Path, files: list[Path], options: Options) -> Reading:
    """Ten points of each of the four Gaussians to train on; ten more of each for validation and for testing.

    The course has the 40 training points only.
    """
    rng = np.random.default_rng(options.draw)
    train, val, test = (clouds(rng) for _ in range(3))
    detail = f"drawn by the course's rule, draw {options.draw}; validation and test are further draws"
    return Reading(train, val, test, classes=["0", "1", "2", "3"], comparable=True, detail=detail)


def clouds(rng: np.random.Generator) -> Split:
    """x float32 [40, 2] and the clouds' numbers int64 [40], one cloud after the other."""
    x = rng.normal(MEANS[:, None], np.sqrt(VARIANCES)[:, None], (len(MEANS), POINTS, 2))
    return x.reshape(-1, 2).astype(np.float32), np.arange(len(MEANS)).repeat(POINTS)


SOURCE = Source(
    name="clusters",
    title="four clouds of points in the plane",
    what="40 / 40 / 40 of 2 numbers, 4 classes",
    licence="-",
    expects="none, it is drawn by the course's rule (data.draw)",
    find=lambda root: [],
    read=read,
    drawn=True,
)
