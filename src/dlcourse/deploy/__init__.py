"""A run's network outside of training: a program that needs nothing of ours, a run elsewhere, a page to play with."""

from dlcourse.deploy.export import export_run
from dlcourse.deploy.formats import FORMATS

__all__ = ["FORMATS", "export_run"]
