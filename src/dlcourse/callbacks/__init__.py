"""What happens around the training steps: the run directory is kept, training stops, people see how far it is."""

from dlcourse.callbacks.keep import Keep
from dlcourse.callbacks.progress import Progress
from dlcourse.callbacks.reseed import Reseed
from dlcourse.callbacks.stopping import Convergence, EarlyStopping

__all__ = ["Convergence", "EarlyStopping", "Keep", "Progress", "Reseed"]
