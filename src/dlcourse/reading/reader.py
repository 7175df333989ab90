"""A run that tells letters apart, as a reader of pages."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch

from dlcourse import runs
from dlcourse.core.errors import InputError, or_list
from dlcourse.reading import Form, Reading, measure, read
from dlcourse.reading.ink import Array
from dlcourse.reading.reading import Classify
from dlcourse.training import evaluation, loading
from dlcourse.training.summary import data_facts

FORM = "form.json"
MEASURED = 2000  # training images from which a run's form is measured


@dataclass(frozen=True)
class Reader:
    classes: list[str]
    form: Form
    classify: Classify

    def read(self, page: Array, turn: int | None = None, context: bool = False) -> Reading:
        """The text on a page, float32 [H, W] from 0 to 1; see `text.read`."""
        return read(page, self.classify, self.classes, self.form, turn, context)


def open_reader(run: Path) -> Reader:
    """A run's best checkpoint as a reader. Raises InputError for a run that doesn't tell letters apart.

    What its training images look like is measured when it first reads, and kept in its directory as form.json.
    """
    plain, result = runs.read_config(run), runs.read_result(run)
    probabilities, batch_size = evaluation.classifier(run, plain, result)
    classes, shape = result["data"]["classes"], result["data"]["stored_shape"]
    if not any(c.isalpha() for c in classes) or any(len(c) > 1 for c in classes):
        raise InputError(f"run={run} tells {or_list(classes, 5)} apart: reading takes a run on letters (data=nist36)")
    if len(shape) != 3 or shape[0] != 1 or shape[1] != shape[2]:
        raise InputError(f"run={run} takes {shape}: reading takes a run on square grey images of letters")

    def classify(images: Array) -> Array:
        x = torch.from_numpy(images.copy())[:, None]
        out: Array = torch.cat([probabilities(part) for part in x.split(batch_size)]).numpy()
        return out

    return Reader(classes, load_form(run), classify)


def load_form(run: Path) -> Form:
    """The form of a run's training images. Raises InputError where they are neither measured yet nor here."""
    path, recorded = run / FORM, runs.read_result(run)["data"]
    try:
        form = Form(**json.loads(path.read_text(encoding="utf-8")))
        of_classes = np.array(form.slender, float).shape == (len(recorded["classes"]), 2)
        if of_classes and form.side == recorded["stored_shape"][-1] and form.extent > form.thickness > 0:
            return form
    except (OSError, ValueError, TypeError):
        pass  # not there or damaged: measured
    data = loading.build_data(runs.read_config(run), recorded, run)
    data.prepare()
    if data_facts(data)["files"] != recorded["files"]:
        raise InputError(
            f"run={run} was trained on other data than there are here ({recorded['provenance']}): they are needed "
            f"once, to measure the letters' size and strokes; or bring the run's {FORM} from where it has read a page"
        )
    x, y = data.stored["train"].all()
    some = torch.arange(0, len(x), max(1, len(x) // MEASURED))
    form = measure(x[some, 0].numpy(), y[some].numpy(), len(data.classes))
    runs.write_text(path, json.dumps(asdict(form), indent=2) + "\n")
    return form
