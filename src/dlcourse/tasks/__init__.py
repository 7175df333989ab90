"""What a network is trained to do: LightningModules that build their net from plain dicts, so restore themselves."""

from dlcourse.tasks.classify import Classify
from dlcourse.tasks.finetune import Finetune
from dlcourse.tasks.neighbours import Memorise
from dlcourse.tasks.reconstruct import Reconstruct
from dlcourse.tasks.regress import Regress
from dlcourse.tasks.task import Task

__all__ = ["Classify", "Finetune", "Memorise", "Reconstruct", "Regress", "Task"]
