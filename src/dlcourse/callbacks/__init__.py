"""What happens around the training steps: the run directory is kept, training stops, people see how far it is."""

from dlcourse.callbacks.epochs import Convergence, EarlyStopping, Reseed
from dlcourse.callbacks.keep import Keep, WholeCheckpoints
from dlcourse.callbacks.progress import Progress

__all__ = ["Convergence", "EarlyStopping", "Keep", "Progress", "Reseed", "WholeCheckpoints"]
