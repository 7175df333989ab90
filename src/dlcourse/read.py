"""python -m dlcourse.read run=DIR page=FILE [truth=FILE] [out=DIR] [turn=DEGREES] [context=true]

Reads the capital letters and digits on a photo with the best checkpoint of a run on letters (data=nist36; the preset
experiment=cmu/reader is made for it; of a sweep's directory its best run). Prints the text and writes text.txt,
letters.csv (a row a letter: line, word, text, probability, what is next likely, and its box in pixels of the photo) and
letters.png, the page with what was found, into out=DIR, otherwise outputs/pages/<page>.
truth=FILE: a text to compare with: character error rate, recall, what was confused; also in scores.json.
turn: 0, 90, 180 or 270, by how much the photo is turned to the left first; boxes are in the turned photo.
context=true: O or 0, I or 1, Z or 2, S or 5 as the other characters of its word are, letters or digits.
"""

import json
import logging
import shlex
from pathlib import Path

import numpy as np

from dlcourse import runs
from dlcourse.config import plugins
from dlcourse.core import cli
from dlcourse.core.errors import InputError
from dlcourse.core.files import csv_text

log = logging.getLogger(__name__)

DOUBTFUL = 0.7  # mean probability of the letters below which the page is hardly one


def main(argv: list[str]) -> None:
    choices = {"context": cli.BOOLEAN, "turn": ("", "0", "90", "180", "270")}
    given = cli.parse_arguments(argv, __doc__, ("run", "page"), ("truth", "out", "plugins"), choices=choices)
    turn = int(given["turn"]) if given["turn"] else None
    plugins.grant(given.get("plugins"))
    run, photo = runs.find_run(given["run"]), Path(given["page"]).expanduser()
    out = Path(given.get("out", Path("outputs", "pages", photo.stem))).expanduser()
    if out.is_file() or (out / runs.RESULT).exists():
        raise InputError(f"out={out} is a {'file' if out.is_file() else 'run'}: name another directory")
    truth = read_truth(Path(given["truth"]).expanduser()) if "truth" in given else None
    from dlcourse.reading import compare, load

    page, pixels = load(photo)
    from dlcourse import plots
    from dlcourse.reading.reader import open_reader

    reading = open_reader(run).read(page, turn, given["context"] == "true")
    found = reading.letters
    print(reading.text or "(no letters)")
    sure = float(np.mean([x.probability for x in found])) if found else 1.0
    if sure < DOUBTFUL:
        log.warning("only %.0f %% sure of a letter: is this a page of capital letters and digits?", 100 * sure)

    out.mkdir(parents=True, exist_ok=True)
    runs.write_text(out / "text.txt", reading.text + "\n")
    table: list[list[object]] = [["line", "word", "text", "probability", "second", "top", "left", "bottom", "right"]]
    for x in found:
        box = [round(side * pixels) for side in x.box]
        table.append([x.line + 1, x.word + 1, x.text, f"{x.probability:.4f}", x.second, *box])
    runs.write_text(out / "letters.csv", csv_text(table))
    boxes = np.array([x.box for x in found]).reshape(-1, 4)
    turned = np.rot90(page, (turn or 0) // 90)
    drawn = plots.letter_boxes(turned, boxes, [x.text for x in found], np.array([x.probability for x in found]))
    plots.save(drawn, out / "letters.png")
    (out / "scores.json").unlink(missing_ok=True)  # of an earlier reading
    if truth is not None:
        scores = compare(truth, reading.text)
        pairs = [f"{a} as {b}" + (f" ({n})" if n > 1 else "") for (a, b), n in scores.confused.most_common()]
        log.info(
            "character error rate %.4f, recall %.4f: of %d characters %d missed, %d made up, %d confused%s",
            scores.error_rate, scores.recall, scores.characters, scores.missed, scores.made_up,
            scores.confused.total(), f": {', '.join(pairs)}" if pairs else "",
        )  # fmt: skip
        summary = {"error_rate": scores.error_rate, "recall": scores.recall, "characters": scores.characters}
        summary |= {"missed": scores.missed, "made_up": scores.made_up}
        confused = [{"truth": a, "read": b, "times": n} for (a, b), n in scores.confused.most_common()]
        runs.write_text(out / "scores.json", json.dumps(summary | {"confused": confused}, indent=2) + "\n")
    log.info("%d letters: %s", len(found), shlex.quote(str(out)))


def read_truth(path: Path) -> str:
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise InputError(f"truth={path}: there is no such file") from None
    except (UnicodeDecodeError, OSError) as error:
        raise InputError(f"truth={path} can't be read as a text: {error}") from None
    if not any(c.isalnum() for c in text):
        raise InputError(f"truth={path} has no letter or digit")
    return text


if __name__ == "__main__":
    cli.run_command(main)
