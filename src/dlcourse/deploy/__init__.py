"""A run's network outside of training: as a program that needs nothing of ours, as a folder that is a run elsewhere, and
to play with."""

from dlcourse.deploy.export import export_run
from dlcourse.deploy.formats import FORMATS

__all__ = ["FORMATS", "export_run"]
