"""One run into one folder: the network in a format, what it is, and how far it is from the run."""

import json
import logging
import shutil
import tempfile
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dlcourse import runs
from dlcourse.core.errors import InputError, first_line
from dlcourse.deploy.card import model_card
from dlcourse.deploy.formats import FORMATS
from dlcourse.deploy.program import Program, examples, facts, open_run, outputs_of
from dlcourse.deploy.weights import save_run
from dlcourse.launch.jobs import is_installed

log = logging.getLogger(__name__)

SAFETENSORS = "safetensors"
FACTS, CARD, SCRIPT = "model.json", "README.md", "classify.py"
TOLERANCE = {"torch.bfloat16": 0.05, "torch.float16": 0.01}  # runs in half precision are exported in float32
USUAL = 1e-4  # of the largest number, at least of 1


def export_run(run: Path, form: str, folder: Path, hub: str | None = None) -> dict[str, Any]:
    """Write a run's network in the format `form` into a folder; returns what was written about it.

    hub: what it will be called there, for its model card.
    Nothing is written unless what is read back agrees with the run, on examples of its test set. Raises InputError
    where it doesn't, for a run that can't be exported, and where a package is missing.
    """
    missing = [p for p in (FORMATS[form].packages if form in FORMATS else (SAFETENSORS,)) if not is_installed(p)]
    if missing:
        raise InputError(f"format={form} needs {' and '.join(missing)}: pip install 'dlcourse[export]'")
    task, data = open_run(run)
    result = runs.read_result(run)
    x, compared = examples(data, result["data"]["stored_shape"])
    expected = outputs_of(task, data, x)
    tolerance = TOLERANCE.get(str(task.dtype), USUAL)
    about = {"format": form} | facts(result, x, list(expected))
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".export-") as name:
        part = Path(name)
        if form == SAFETENSORS:
            save_run(run, part)
            again = outputs_of(*open_run(part), x)
        else:
            again = through_file(Program(task, data), form, x, part, about)
        difference = max(map(distance, again.values(), expected.values()))
        if not difference <= tolerance:
            raise InputError(
                f"run={run}: what format={form} gives differs from the run by up to {difference:.2g} (allowed are "
                f"{tolerance:g}), on {compared}; nothing is kept"
            )
        about |= {"max_difference": difference, "compared": compared}
        runs.write_text(part / FACTS, json.dumps(about, indent=2) + "\n")
        use = FORMATS[form].use if form in FORMATS else None
        runs.write_text(part / CARD, model_card(result, about, use, hub or "USER/NAME"))
        if form == "onnx" and x.dim() == 4 and about["classes"]:
            runs.write_text(part / SCRIPT, (files("dlcourse.deploy") / SCRIPT).read_text(encoding="utf-8"))
        folder.mkdir(exist_ok=True)
        for file in part.iterdir():
            shutil.move(file, folder / file.name)
    return about


def through_file(program: Program, form: str, x: Tensor, folder: Path, about: dict[str, Any]) -> dict[str, Tensor]:
    """What a program gives after it has been written to a file and read again, for one example and for the others."""
    kind = FORMATS[form]
    try:
        kind.save(program, x, folder / kind.file, about)
        loaded = kind.load(folder / kind.file)
        with torch.no_grad():
            parts = [loaded(part) for part in (x[:1], x[1:]) if len(part)]
    except InputError:
        raise
    except Exception as error:  # torch's exporters follow most networks, not all
        what = type(program.net).__name__
        raise InputError(f"format={form} can't follow the network {what}: {first_line(error)}") from error
    return {name: torch.cat(columns) for name, columns in zip(about["outputs"], zip(*parts, strict=True), strict=True)}


def distance(a: Tensor, b: Tensor) -> float:
    """The largest difference, in units of the largest number of b where that is above 1."""
    if a.shape != b.shape:
        return float("inf")
    return float((a.double() - b.double()).abs().max() / b.double().abs().max().clamp_min(1))
