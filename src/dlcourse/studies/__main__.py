"""`python -m dlcourse.studies list`, `collect DIR` or `publish DIR`: what there is, runs made elsewhere, reports."""

from pathlib import Path

from dlcourse.config import search
from dlcourse.core import cli
from dlcourse.core.errors import InputError, did_you_mean, or_list

USAGE = """
python -m dlcourse.studies list [--config-dir DIR]
python -m dlcourse.studies collect DIR [study=NAME] [budget=quick] [KEY=VALUE] [to=DIR]
python -m dlcourse.studies publish DIR [from=DIR] [readme=FILE]

list shows the studies, each run by: python -m dlcourse.train study=NAME; --config-dir: those of a folder too.
collect takes finished runs that were made elsewhere, all below a directory, into the studies (of to=outputs/studies)
that have a run of the same config, with or without checkpoints; study=NAME: only into this one, run with KEY=VALUE.
publish copies the reports of finished studies (of from=outputs/studies) to a directory, as docs/reports, writes its
README.md, the index of all claims, and the results section of a README (readme=README.md); it says which verdicts are
others than before.
"""


COMMANDS = ("list", "collect", "publish")


def main(argv: list[str]) -> None:
    argv, folder = cli.take_option(argv, "--config-dir")
    search.use_folder(folder)
    overridden = ("seed", "data.", "model.", "optimizer.", "schedule.", "stopping.", "trainer.", "trainer")
    options = ("from", "readme", "to", "study", "budget", *overridden)
    given = cli.parse_arguments(argv, USAGE, (), options, words=("command", "directory"))
    command = given.pop("command", "")
    if command not in COMMANDS:
        raise InputError(f"the command {command!r} is not {or_list(list(COMMANDS))}{did_you_mean(command, COMMANDS)}")
    if command == "list":
        from dlcourse.studies.study import load_study, study_names

        for name in study_names():
            print(f"{name:<28} {load_study(name).title}")
        return
    if "directory" not in given:
        raise InputError(f"{command} needs a directory, as {'docs/reports' if command == 'publish' else 'DIR'}")
    if command == "collect":
        collect(given)
    else:
        publish(given)


def collect(given: dict[str, str]) -> None:
    from dlcourse.launch.overrides import sweep_values
    from dlcourse.studies.collect import collect_runs
    from dlcourse.studies.study import load_study, study_names

    top, target = Path(given.pop("directory")), Path(given.pop("to", "outputs/studies"))
    if (budget := given.pop("budget", "full")) not in ("full", "quick"):
        raise InputError(f"budget must be full or quick, got {budget!r}")
    quick = budget == "quick"
    names = [load_study(given.pop("study")).name] if "study" in given else study_names()
    overrides = sweep_values([f"{key}={value}" for key, value in given.items()])
    folders = {name: (target / f"{name}{'-quick' * quick}").absolute() for name in names}
    for sentence in collect_runs(top, folders, overrides, quick):
        print(sentence, flush=True)


def publish(given: dict[str, str]) -> None:
    from dlcourse.studies import index

    studies, readme = (
        Path(given.get(key, default)) for key, default in (("from", "outputs/studies"), ("readme", "README.md"))
    )
    if not studies.is_dir():
        raise InputError(f"from={studies}: there is no such directory")
    copied, left_out, changed = index.publish(studies, Path(given["directory"]), readme)
    for sentence in left_out:
        print(f"left out: {sentence}")
    for sentence in changed:
        print(f"verdict: {sentence}")
    print(f"published in {given['directory']}: {', '.join(copied) or 'nothing new'}")


if __name__ == "__main__":
    cli.run_command(main)
