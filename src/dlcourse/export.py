"""python -m dlcourse.export run=DIR format=onnx|torch_export|safetensors|torchscript [to=DIR] [hub=USER/NAME]

Takes a run's best network away (of a sweep's directory: its best run's), into to=DIR, otherwise RUN/export/FORMAT.
onnx, torch_export and torchscript: one file with all in it, from the raw picture (uint8 [N, C, H, W]; of any number N)
to the probabilities, of an autoencoder to its reconstruction and code; encoders of a run on codes are inside, too.
Beside onnx lies classify.py, which needs onnxruntime, numpy and pillow alone.
safetensors: the weights with the run's config and result, a run directory for evaluate, predict and read.
What was written is read again and held against the run on test pictures: the largest difference is said.
hub: where the folder is then pushed to on the Hugging Face hub, with its model card, as a private repository; ./NAME is
a local folder. Elsewhere run=hub:USER/NAME is that run (of format=safetensors). plugins=[MODULE]: as for train.
"""

import logging
from pathlib import Path

from dlcourse import runs
from dlcourse.config import plugins
from dlcourse.core import cli
from dlcourse.core.errors import InputError
from dlcourse.runs import hub

log = logging.getLogger(__name__)


def main(argv: list[str]) -> None:
    choices = {"format": ("", "onnx", "torch_export", "safetensors", "torchscript")}
    given = cli.parse_arguments(argv, __doc__, ("run",), ("to", "hub", "plugins"), choices=choices)
    form = given["format"]
    if not form:
        raise InputError("format=... is missing: onnx, torch_export, safetensors or torchscript (see --help)")
    if "hub" in given:
        hub.local_folder(given["hub"])  # a name that can be none is said first
    plugins.grant(given.get("plugins"))
    run = runs.find_run(given["run"])
    folder = Path(given.get("to", run / "export" / form)).expanduser()
    if folder.is_file() or ((folder / runs.RESULT).exists() and not (folder / runs.WEIGHTS).exists()):
        raise InputError(f"to={folder} is a {'file' if folder.is_file() else 'run'}: name another directory")
    from dlcourse.deploy import export_run

    about = export_run(run, form, folder, given.get("hub"))
    log.info("largest difference from the run: %.2g, on %s", about["max_difference"], about["compared"])
    log.info("%s: %s", form, folder)
    if "hub" in given:
        message = f"{about['model']} on {about['data']}, run {about['config_hash']}"
        log.info("pushed: %s", hub.push(folder, given["hub"], message))


if __name__ == "__main__":
    cli.run_command(main)
