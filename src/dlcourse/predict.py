"""python -m dlcourse.predict run=DIR images=GLOB [out=FILE.csv] [invert=true] [plugins=[MODULE]]

Classifies images with the best checkpoint of a run (of a sweep's directory: its best run). Each is read as the run's
data were: in colour or grey, resized to the network's size, normalised. invert=true turns light on dark into dark on
light and back, for a photo of dark digits on paper and a network of MNIST. Columns: file, class, probability, then the
five likeliest classes with their probabilities. Without out=FILE the csv goes to the terminal.
"""

import glob
import logging
import sys
from pathlib import Path

from dlcourse import runs
from dlcourse.config import plugins
from dlcourse.core import cli
from dlcourse.core.errors import InputError
from dlcourse.core.files import csv_text

log = logging.getLogger(__name__)


def main(argv: list[str]) -> None:
    given = cli.parse_arguments(argv, __doc__, ("run", "images"), ("out", "plugins"), choices={"invert": cli.BOOLEAN})
    plugins.grant(given.get("plugins"))
    run = runs.find_run(given["run"])
    exact = Path(given["images"]).expanduser()
    found = [exact] if exact.exists() else map(Path, glob.glob(str(exact), recursive=True))  # noqa: PTH207
    files = sorted(file for file in found if file.is_file())
    if not files:
        hint = "a pattern in quotes: images='photos/*.jpg'"
        raise InputError(f"images={given['images']}: no file is called that ({hint})")
    plain, result = runs.read_config(run), runs.read_result(run)
    from dlcourse.training.evaluation import predict_images

    rows = predict_images(run, plain, result, files, given["invert"] == "true")
    header = ["file", "class", "probability"]
    header += [f"{what}_{k + 1}" for k in range((len(rows[0]) - 3) // 2) for what in ("class", "probability")]
    text = csv_text([header, *rows])
    if "out" not in given:
        sys.stdout.write(text)
        return
    out = Path(given["out"]).expanduser()
    runs.write_text(out, text)
    log.info("%d images: %s", len(rows), out)


if __name__ == "__main__":
    cli.run_command(main)
