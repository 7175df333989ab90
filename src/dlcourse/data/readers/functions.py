"""Three functions of four numbers, as HUJI's APML exercise draws them: nothing to download, each draw repeatable."""

from pathlib import Path

import numpy as np

from dlcourse.core.errors import InputError, or_list
from dlcourse.data.raw import Options, Reading, Source

INPUTS, TRAIN, TEST = 4, 1_000, 200


def targets(x: np.ndarray, weights: np.ndarray) -> dict[str, np.ndarray]:
    """The three functions, without noise: x [N, 4] and W [4, 4] give y [N] by name.

    linear: Σ_j (xW)_j. max: max_i x_i. log_sum_exp: log Σ_j exp (xW)_j.
    """
    mixed = x @ weights
    return {"linear": mixed.sum(1), "max": x.max(1), "log_sum_exp": np.logaddexp.reduce(mixed, axis=1)}


def read(root: Path, files: list[Path], options: Options) -> Reading:
    """W uniform in [-2, 2], x uniform in [-2.5, 2.5]^4; each target times 1 + noise·N(0, 1), in train and test.

    The three functions of one draw share W and x.
    """
    rng = np.random.default_rng(options.draw)
    weights = rng.uniform(-2, 2, (INPUTS, INPUTS))
    x = rng.uniform(-2.5, 2.5, (TRAIN + TEST, INPUTS))
    clean = targets(x, weights)
    if options.function not in clean:
        raise InputError(f"data.function={options.function} should be {or_list(list(clean))}")
    factors = dict(zip(clean, 1 + options.noise * rng.standard_normal((len(clean), len(x))), strict=True))
    y = (clean[options.function] * factors[options.function])[:, None].astype(np.float32)
    x = x.astype(np.float32)
    train, test = (x[:TRAIN], y[:TRAIN]), (x[TRAIN:], y[TRAIN:])
    return Reading(train, None, test, [options.function], True, f"drawn by the course's rule, draw {options.draw}")


SOURCE = Source(
    name="functions",
    title="three functions of four numbers",
    what="1,000 / - / 200 of 4 numbers, 1 target",
    licence="-",
    expects="none, it is drawn by the course's rule (data.function, data.draw, data.noise)",
    find=lambda root: [],
    read=read,
    drawn=True,
)
