"""A run's network taken away: as a program that needs nothing of ours, or as a folder that is a run elsewhere."""

from dlcourse.deploy.export import export_run
from dlcourse.deploy.formats import FORMATS

__all__ = ["FORMATS", "export_run"]
