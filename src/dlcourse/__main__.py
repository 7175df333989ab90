"""`python -m dlcourse`, or `dlcourse`: which commands there are; `dlcourse COMMAND ...` runs one of them."""

import sys
from runpy import run_module

from dlcourse.core import cli
from dlcourse.core.errors import InputError, did_you_mean

COMMANDS = {
    "train": ("[GROUP=OPTION] [KEY=VALUE]", "train one run, with -m a sweep, with study=NAME a study"),
    "evaluate": ("run=DIR [split=val]", "test a run again, from its directory alone"),
    "resume": ("run=DIR", "go on where a run stopped, to the same end"),
    "predict": ("run=DIR images=PLACE", "classes of images, as csv and on a sheet; explain=true"),
    "export": ("run=DIR format=onnx", "the network for use elsewhere: one file, or the hub"),
    "read": ("run=DIR page=FILE", "the text on a photographed page"),
    "demo": ("run=DIR", "a page to draw in and to drop photos on"),
    "report": ("DIR...", "tables and figures of any runs: html, md, csv"),
    "runs": ("[best | failed | clean] [DIR]", "which runs there are, and what came out"),
    "data": ("list | fetch NAME | verify NAME", "which data sets are there, and where from"),
    "studies": ("list | publish DIR", "the studies of the reports' claims"),
    "theory": ("[out=DIR]", "the reports' statements, tried on random numbers"),
}


def main(argv: list[str]) -> None:
    """Print the commands, or run the one that is named as `python -m dlcourse.COMMAND` does."""
    if not argv or argv[0] in ("-h", "--help"):
        print("dlcourse COMMAND ..., or python -m dlcourse.COMMAND ...; with --help each says more\n")
        for name, (usage, what) in COMMANDS.items():
            print(f"  {f'{name} {usage}':<42} {what}")
        return
    command, *rest = argv
    if command not in COMMANDS:
        raise InputError(f"there is no command {command}{did_you_mean(command, COMMANDS)} (see dlcourse --help)")
    sys.argv[1:] = rest
    run_module(f"dlcourse.{command}", run_name="__main__", alter_sys=True)


def console() -> None:
    """The entry point of the script `dlcourse`."""
    cli.run_command(main)


if __name__ == "__main__":
    console()
