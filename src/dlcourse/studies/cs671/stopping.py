"""When a stopping rule would have stopped training, read off a recorded loss."""

import math
from collections.abc import Sequence

MIN_DELTA = 1e-4


def waits(losses: Sequence[float], min_delta: float = MIN_DELTA) -> list[int]:
    """After each epoch, for how many epochs the loss has not improved on its best by more than min_delta (Keras)."""
    best, wait, out = math.inf, 0, []
    for loss in losses:
        best, wait = (loss, 0) if loss < best - min_delta else (best, wait + 1)
        out.append(wait)
    return out


def stop_epoch(losses: Sequence[float], rule: str, min_delta: float = MIN_DELTA, patience: int = 1) -> int | None:
    """The epoch (from 1) after which a rule stops; None where it does not within these epochs.

    rule: `change`: the loss differs from the epoch's before by less than min_delta, `patience` times in a row (the
    course's hand-out, with 1); `improvement`: no improvement on the best for `patience` epochs (Keras's EarlyStopping).
    """
    counts = waits(losses, min_delta)
    if rule == "change":
        counts = [0] * len(losses)
        for i in range(1, len(losses)):
            counts[i] = counts[i - 1] + 1 if abs(losses[i] - losses[i - 1]) < min_delta else 0
    return next((epoch for epoch, count in enumerate(counts, 1) if count >= patience), None)


def patience_for(losses: Sequence[float], epoch: int, min_delta: float = MIN_DELTA) -> int | None:
    """The smallest patience with which Keras's rule does not stop before `epoch`; None where there are fewer epochs."""
    return None if len(losses) < epoch else 1 + max(waits(losses[: epoch - 1], min_delta), default=0)
