"""Question 4: the text on four pages, and on composed pages that go wrong."""

import math
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from pandas import DataFrame

from dlcourse import plots
from dlcourse.reading import Hand, Reading, compare, compose, load
from dlcourse.reading.reader import open_reader
from dlcourse.reading.reading import settled
from dlcourse.reports.formats import format_mean, format_percent
from dlcourse.reports.page import Item, Plot, Table
from dlcourse.studies.checks import check
from dlcourse.studies.items import sample
from dlcourse.studies.runs import Runs, load_run
from dlcourse.studies.samples import Of, aggregate, format_metric, require, select
from dlcourse.studies.study import Study
from dlcourse.studies.verdict import Verdict, answered

Pages = Sequence[Mapping[str, Any]]  # the report's: page, truth, what the report prints, the accuracy that it claims

FOLDER = "$DLCOURSE_DATA/pages"
BREAK = "Σ"  # stands between words where breaks count as characters: it is none of the classes
TEXT = "THE QUICK BROWN FOX\nJUMPS OVER\n13 LAZY DOGS"
PLAIN = Hand(noise=0)
HANDS = {"plain": PLAIN, "broken strokes": replace(PLAIN, broken=0.5), "joined letters": replace(PLAIN, gap=-0.05)}
DRAWS = 5  # pages by each hand


# --- what is measured ------------------------------------------------------------------------------------------------


def measure(study: Study, runs: Runs) -> DataFrame:
    """Of each run the scores of each page that is there, as `01_list/accuracy`, and the accuracy on composed pages."""
    done = runs.done()
    truths = study.published["pages"].set_index("page")["truth"]
    photos = load_pages(truths.index)
    text, composed = compose_pages(done["run"].iloc[0])
    rows = []
    for hash_, run in zip(done["hash"], done["run"], strict=True):
        reader = open_reader(run)
        row: dict[str, Any] = {"hash": hash_}
        for name, photo in photos.items():
            reading = reader.read(photo, turn=0)
            for page, version in ((name, reading), (f"{name} in context", Reading(settled(reading.letters)))):
                row |= {f"{page}/{key}": value for key, value in score(truths[name], version).items()}
        for kind in ("", " in context"):
            row[f"mean{kind}/accuracy"] = np.mean([row.get(f"{n}{kind}/accuracy", math.nan) for n in truths.index])
        for hand, drawn in composed.items():
            row[f"{hand}/accuracy"] = np.mean([accuracy(text, reader.read(page, turn=0).text) for page in drawn])
        rows.append(row)
    table = DataFrame(rows)
    table.attrs["incomplete"] = len(photos) < len(truths)  # measured again once they are there
    return table


def load_pages(names: Iterable[str]) -> dict[str, plots.Array]:
    """The photos that there are of these pages, float32 [H, W]."""
    folder = Path(os.path.expandvars(FOLDER))
    return {name: load(path)[0] for name in names if (path := folder / f"{name}.jpg").is_file()}


def compose_pages(run: Path) -> tuple[str, dict[str, list[plots.Array]]]:
    """TEXT, of the letters that there are, and pages with it, composed of the validation letters of a run's data."""
    data, dark = load_run(run)[1], open_reader(run).form.dark
    x, y = (values.numpy() for values in data.splits["val"].all())
    ink = 1 - x[:, 0] / 255 if dark else x[:, 0] / 255
    letters = {c: ink[y == k] for k, c in enumerate(data.classes) if (y == k).any()}
    text = "".join(c for c in TEXT if c in letters or c.isspace())
    return text, {
        name: [compose(text, letters, hand, np.random.default_rng(i)) for i in range(DRAWS)]
        for name, hand in HANDS.items()
    }


def accuracy(truth: str, text: str) -> float:
    """1 - the character error rate; below 0 where more is made up than there is."""
    return 1 - compare(truth, text).error_rate


def score(truth: str, reading: Reading) -> dict[str, float | str]:
    """`breaks`: by how many edits the texts differ more where the breaks between words count as characters."""
    plain, spaced = (compare(change(truth), change(one_line(reading))) for change in (str, with_breaks))
    edits = [found.missed + found.made_up + found.confused.total() for found in (plain, spaced)]
    counts = {"missed": plain.missed, "made up": plain.made_up, "breaks": edits[1] - edits[0]}
    return {"accuracy": 1 - plain.error_rate, **counts, "text": one_line(reading)}


def one_line(reading: Reading) -> str:
    return reading.text.replace("\n", " / ")


def with_breaks(text: str) -> str:
    return BREAK.join(word for word in text.split() if word != "/")


# --- the page --------------------------------------------------------------------------------------------------------


def on_pages(study: Study, runs: Runs) -> list[Item]:
    """The four pages: accuracies beside the report's, what is missed, the texts, and where letters were found."""
    done, pages = runs.done(), study.published["pages"].set_index("page")
    reader, photos = open_reader(done["run"].iloc[0]), load_pages(pages.index)
    readings = {name: reader.read(photo, turn=0) for name, photo in photos.items()}
    printed = [accuracy(truth, text) for truth, text in zip(pages["truth"], pages["printed"], strict=True)]
    shares = DataFrame(
        {"claimed": pages["accuracy"], "the printed text": printed, "another solution": pages["another"]}
    )
    shares.loc["mean"] = shares.mean()
    frame = with_accuracies(study, shares.map(lambda share: format_metric("accuracy", share)), done)
    absent = "" if len(photos) == len(pages) else f"**Not all of the pages are in {FOLDER}**: they are gaps. "
    note = "What the report claims and what the text in its figures gives; another solution; ours, ± over seeds."
    texts = pages.loc[list(readings), ["truth", "printed"]].rename(columns={"printed": "printed by the report"})
    texts = texts.assign(here=[one_line(reading) for reading in readings.values()]).reset_index()
    own = f"By {study.label(done['block'].iloc[0])}, its first seed."
    return [
        Table("Accuracy on the four pages", frame.reset_index(names="page"), absent + note),
        Table(
            "What is missed and made up", count_faults(study, pages.index, done), "Characters of a page, ± over seeds."
        ),
        Table("The texts", texts, f"Here: {own[0].lower()}{own[1:]}"),
        *(  # the photos are not the project's to show
            Plot(f"page_{name}", f"Found on {name}", annotate(np.ones_like(photos[name]), reading), own)
            for name, reading in readings.items()
        ),
    ]


def on_composed_pages(study: Study, runs: Runs) -> list[Item]:
    """The same text written plainly, with broken strokes and with joined letters, and what the reader makes of it."""
    done = runs.done()
    reader = open_reader(done["run"].iloc[0])
    text, composed = compose_pages(done["run"].iloc[0])
    frame = with_accuracies(study, DataFrame(index=list(HANDS)), done).reset_index(names="written")
    note = f"{DRAWS} pages each, of validation letters. Broken: half of the letters have a gap. Joined: they overlap."
    items: list[Item] = [Table("Accuracy on pages that go wrong", frame, note)]
    for i, (hand, drawn) in enumerate(composed.items()):
        reading = reader.read(drawn[0], turn=0)
        note = f"Accuracy {format_metric('accuracy', accuracy(text, reading.text))}: {one_line(reading)}"
        items.append(Plot(f"hand_{i}", f"A composed page, {hand}", annotate(drawn[0], reading), note))
    return items


def with_accuracies(study: Study, frame: DataFrame, done: DataFrame) -> DataFrame:
    """A table with a row a page, and with a column more for the accuracy of each block's runs."""
    columns = {
        study.label(block): [format_metric("accuracy", sample(rows, f"{page}/accuracy")) for page in frame.index]
        for block, rows in done.groupby("block", sort=False)
    }
    return frame.assign(**columns)


def count_faults(study: Study, pages: Iterable[str], done: DataFrame) -> DataFrame:
    counts = {"missed": "missed", "made up": "made up", "breaks": "wrong breaks between words"}
    rows = []
    for page in pages:
        for block, group in done.groupby("block", sort=False):
            faults = {title: sample(group, f"{page}/{key}") for key, title in counts.items()}
            context = format_metric("accuracy", sample(group, f"{page} in context/accuracy"))
            row = {title: format_mean(s.mean, s.sd, 1) for title, s in faults.items()}
            rows.append({"page": page, "network": study.label(block), **row, "accuracy in context": context})
    return DataFrame(rows)


def annotate(page: plots.Array, reading: Reading) -> Figure:
    letters = reading.letters
    boxes = np.array([letter.box for letter in letters]).reshape(-1, 4)
    probabilities = np.array([letter.probability for letter in letters])
    return plots.letter_boxes(page, boxes, [letter.text for letter in letters], probabilities)


# --- claims ----------------------------------------------------------------------------------------------------------


@check
def printed_text(table: DataFrame, pages: Pages) -> Verdict:
    """The accuracy of the texts that the report prints, beside what it claims: no run decides about that."""
    texts, off = [], []
    for page in pages:
        printed, claimed = accuracy(page["truth"], page["printed"]), page["accuracy"]
        texts.append(
            f"{page['page']} {format_metric('accuracy', printed)}, claimed {format_percent(claimed, digits=0)}"
        )
        if abs(printed - claimed) > 0.01:
            off.append(page["page"])
    said = f"not within a point on {', '.join(off)}" if off else "yes, within a point"
    return answered(f"{said}: {'; '.join(texts)}")


@check
def above_printed(table: DataFrame, of: Of, pages: Pages) -> Verdict:
    """Whether the mean accuracy over seeds is above that of the text that the report prints, page by page."""
    texts, ahead = [], 0
    for page in pages:
        ours, theirs = aggregate(table, f"{page['page']}/accuracy", of), accuracy(page["truth"], page["printed"])
        texts.append(f"{page['page']} {format_metric('accuracy', ours)} against {format_metric('accuracy', theirs)}")
        ahead += ours.mean > theirs
    said = "yes" if ahead == len(pages) else f"on {ahead} of {len(pages)}"
    return answered(f"{said}: {'; '.join(texts)}")


@check
def all_found(table: DataFrame, of: Of, pages: Pages, names: Mapping[str, str]) -> Verdict:
    """Whether some runs miss no character of all pages and make up none; and what each run does."""
    measured = require(table, "mean/accuracy")
    total = sum(compare(page["truth"], "").missed for page in pages)
    counts = {key: measured[[f"{page['page']}/{key}" for page in pages]].sum(axis=1) for key in ("missed", "made up")}
    texts = []
    for block, rows in measured.groupby("block", sort=False):
        each = [f"{key} {', '.join(f'{n:g}' for n in column[rows.index])}" for key, column in counts.items()]
        texts.append(f"{names[str(block)]}: {', '.join(each)}")
    asked = select(measured, of).index
    said = "no" if any(column[asked].any() for column in counts.values()) else "yes"
    return answered(f"{said}; of {total} characters, run by run, {'; '.join(texts)}")


@check
def context_brings(table: DataFrame, of: Of) -> Verdict:
    """The mean accuracy over pages without context and with it."""
    alone, context = (aggregate(table, f"mean{kind}/accuracy", of) for kind in ("", " in context"))
    return answered(
        f"{100 * (context.mean - alone.mean):+.2f} points: {format_metric('accuracy', context)} with it, "
        f"{format_metric('accuracy', alone)} without"
    )
