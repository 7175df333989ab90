"""Figures of a finished run."""
from pathlib import Path
import lightning as L
from dlcourse.callbacks.keep import Keep

class Draw(L.Callback):
    def __init__(self, run: Path, keep: Keep) -> None:
        self.run, self.keep = run, keep
