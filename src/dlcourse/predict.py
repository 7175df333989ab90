"""python -m dlcourse.predict run=DIR images=PLACE[,PLACE] [out=DIR|FILE.csv] [explain=true] [invert=true] [plugins=...]

Classifies images with the best checkpoint of a run (of a sweep's directory: its best run). PLACE is a file, a folder
(all images in it and below) or a pattern in quotes. Each image is read as the run's data were: in colour or grey,
resized to the network's size, normalised. invert=true turns light on dark into dark on light and back, for a photo of
dark digits on paper and a network of MNIST.

Writes into out=DIR, otherwise outputs/predictions/RUN:
  predictions.csv   file, class, probability, then the five likeliest classes with their probabilities
  predictions.png   the pictures with their classes, and how sure each is; of more than 120 the least sure ones
  explanations.png  with explain=true: what in a picture speaks for its class, of at most 24 pictures, the least sure
                    ones; by Grad-CAM for convnets on large pictures, else by occlusion; explain=grad_cam and
                    explain=occlusion choose
out=FILE.csv names the table, and the pictures lie beside it. Without out= the table goes to the terminal, too.
"""

import glob
import logging
import sys
from contextlib import suppress
from pathlib import Path

from dlcourse import runs
from dlcourse.config import plugins
from dlcourse.core import cli
from dlcourse.core.errors import InputError
from dlcourse.core.files import csv_text
from dlcourse.data.listing import list_photos

log = logging.getLogger(__name__)


def main(argv: list[str]) -> None:
    choices = {"invert": cli.BOOLEAN, "explain": (*cli.BOOLEAN, "grad_cam", "occlusion")}
    given = cli.parse_arguments(argv, __doc__, ("run", "images"), ("out", "plugins"), choices=choices)
    plugins.grant(given.get("plugins"))
    run = runs.find_run(given["run"])
    files = find_images(given["images"])
    out = Path(given.get("out", Path("outputs", "predictions", run.resolve().name))).expanduser()
    table = out if out.suffix else out / "predictions.csv"
    plain, result = runs.read_config(run), runs.read_result(run)
    from dlcourse import plots
    from dlcourse.training.prediction import Predictor

    predictor = Predictor(run, plain, result, given["invert"] == "true")
    rows = predictor.rows(files)
    header = ["file", "class", "probability"]
    header += [f"{what}_{k + 1}" for k in range((len(rows[0]) - 3) // 2) for what in ("class", "probability")]
    text = csv_text([header, *rows])
    if table != out:
        out.mkdir(parents=True, exist_ok=True)
    runs.write_text(table, text)
    plots.save(predictor.sheet(rows), table.with_suffix(".png"))
    if given["explain"] != "false":
        name = "explanations.png" if table != out else f"{table.stem}_explanations.png"
        plots.save(
            predictor.explanations(rows, None if given["explain"] == "true" else given["explain"]),
            table.with_name(name),
        )
    said = f"{len(rows):,} image{'s' * (len(rows) != 1)}: {out}"
    if "out" in given:
        log.info("%s", said)
    else:
        print(said, file=sys.stderr)
        sys.stdout.write(text)


def find_images(given: str) -> list[Path]:
    """The files that `images=` names, each once. Raises InputError for a place without any."""
    alone = False
    with suppress(OSError):  # a long list is no name
        alone = Path(given).expanduser().exists()  # whatever signs its name has
    listed = given[1:-1] if given[0] + given[-1] == "[]" else given
    places = [given] if alone else listed.split(",")
    found: list[Path] = []
    for place in places:
        path = Path(place.strip()).expanduser()
        matching = [path] if path.is_file() else [Path(p) for p in glob.glob(str(path), recursive=True)]  # noqa: PTH207
        files = list_photos(path) if path.is_dir() else sorted(file for file in matching if file.is_file())
        if not files:
            where = "there is no image in that folder" if path.is_dir() else "no file is called that"
            raise InputError(
                f"images={place}: {where} (a file, a folder, or a pattern in quotes: images='photos/*.jpg')"
            )
        found += files
    return list(dict.fromkeys(found))


if __name__ == "__main__":
    cli.run_command(main)
