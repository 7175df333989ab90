"""Pictures of one's own and a run's classifier: a row each, a sheet of them, and where the network looks."""

import logging
from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure
from torch import Tensor
from tqdm import tqdm

from dlcourse import plots
from dlcourse.core.errors import InputError
from dlcourse.data.photos import decode_each, look_at, notes_on, refuse_bad
from dlcourse.data.raw import DamagedFileError
from dlcourse.training.evaluation import load_classifier
from dlcourse.training.explanation import saliency

log = logging.getLogger(__name__)

PIXELS = 2**22  # numbers that a batch of pictures may have: those between the layers take many times as much memory
SHEET, EXPLAINED = 120, 24  # pictures on a sheet, and of those that are explained


class Predictor:
    """A run's best network with what it takes to read pictures as the run's data were read.

    invert: light on dark becomes dark on light, and back. Raises InputError for a run that doesn't classify pictures.
    """

    def __init__(self, run: Path, plain: dict[str, Any], result: dict[str, Any], invert: bool = False) -> None:
        self.task, self.data = load_classifier(run, plain, result)
        about, self.invert = result["data"], invert
        self.classes, self.limits = about["classes"], about.get("value_range")
        if len(about["stored_shape"]) != 3:
            raise InputError(f"run={run} classifies {about['name']}: its examples are numbers, not pictures")
        self.channels, _, self.side = about["stored_shape"]
        larger = max(self.side, self.data.resize or 0)
        self.batch_size = min(self.data.eval_batch_size, max(1, PIXELS // (self.channels * larger * larger)))
        real = about["source"] == "real"
        self.note = "" if real else f"trained on stand-in data, not {about['name']}: {about['provenance']}"

    def read(self, files: list[Path]) -> tuple[Tensor, list[DamagedFileError]]:
        """Image files as uint8 [N, C, H, W], and an error for each that can't be decoded."""
        pixels, _, bad = decode_each(files, self.side, self.channels, self.limits)
        x = torch.from_numpy(pixels)
        return 255 - x if self.invert else x, bad

    @torch.inference_mode()
    def rows(self, files: list[Path]) -> list[list[Any]]:
        """For each image file: its name, the likeliest class, its probability, and the five likeliest with theirs.

        Raises one InputError for all files that can't be read. Where there is a terminal it shows how far it is.
        """
        look = look_at(files)
        errors = list(look.errors)
        for note in notes_on([look], self.limits):
            log.warning("%s", note)
        rows: list[list[Any]] = []
        with tqdm(total=len(files), unit=" images", disable=None, leave=False) as bar:
            for i in range(0, len(files), self.batch_size):
                batch = files[i : i + self.batch_size]
                x, bad = self.read(batch)
                errors += bad
                bar.update(len(batch))
                if errors:
                    continue  # only to find all that are bad
                p, k = self.task.probabilities(self.data.seen(x)).sort(descending=True, stable=True)
                for file, probabilities, numbers in zip(batch, p[:, :5].tolist(), k[:, :5].tolist(), strict=True):
                    named = [(self.classes[n], round(q, 6)) for n, q in zip(numbers, probabilities, strict=True)]
                    rows.append([str(file), *named[0], *(value for pair in named for value in pair)])
        different = {error.path: error for error in errors}
        refuse_bad(list(different.values()), len(files), "replace them with intact copies, or give others")
        return rows

    def sheet(self, rows: list[list[Any]]) -> Figure:
        """The pictures of some `rows`, as the network is given them; of many the least sure ones."""
        shown = least_sure(rows, SHEET)
        title = f"{len(rows):,} picture{'s' * (len(rows) != 1)}"
        subtitle = f"the {SHEET} of which it is least sure" if len(shown) < len(rows) else ""
        return self._noted(plots.contact_sheet(self._pictures(shown), *columns(shown), title, subtitle))

    def explanations(self, rows: list[list[Any]], method: str | None = None) -> Figure:
        """Beside each picture where the network looks for the class that it names; of many the least sure ones.

        method: see `explanation.saliency`.
        """
        shown = least_sure(rows, EXPLAINED)
        x = self._pictures(shown)
        few = torch.from_numpy(x).split(8)  # a gradient's graph is large
        parts = [saliency(self.task, self.data, part, method) for part in few]
        title = f"What speaks for the class, by {parts[0][0]}"
        chosen = f"the {EXPLAINED} pictures of {len(rows):,} of which it is least sure"
        subtitle = chosen if len(shown) < len(rows) else ""
        maps = torch.cat([part for _, part in parts]).numpy()
        return self._noted(plots.explanations(x, maps, *columns(shown), title, subtitle))

    def _pictures(self, rows: list[list[Any]]) -> plots.Array:
        return self.read([Path(row[0]) for row in rows])[0].numpy()

    def _noted(self, figure: Figure) -> Figure:
        return plots.add_note(figure, self.note) if self.note else figure


def least_sure(rows: list[list[Any]], most: int) -> list[list[Any]]:
    """All rows as they are, or the `most` with the lowest probabilities, those first."""
    return rows if len(rows) <= most else sorted(rows, key=lambda row: float(row[2]))[:most]


def columns(rows: list[list[Any]]) -> tuple[list[str], list[str], list[float]]:
    """Names of files, classes and probabilities of some rows."""
    return [Path(row[0]).name for row in rows], [str(row[1]) for row in rows], [float(row[2]) for row in rows]
