"""`python -m dlcourse.studies list`, or `publish docs/reports`: what studies there are; their reports made public."""

from pathlib import Path

from dlcourse.core import cli
from dlcourse.core.errors import InputError, did_you_mean

USAGE = """
python -m dlcourse.studies list
python -m dlcourse.studies publish DIR [from=DIR] [readme=FILE]

list shows the studies, each run by: python -m dlcourse.train study=NAME
publish copies the reports of finished studies (of from=outputs/studies) to a directory, as docs/reports, writes its
README.md, the index of all claims, and the results section of a README (readme=README.md).
"""


def main(argv: list[str]) -> None:
    given = cli.parse_arguments(argv, USAGE, (), ("from", "readme"), words=("command", "directory"))
    command = given.get("command", "")
    if command not in ("list", "publish"):
        raise InputError(f"the command {command!r} is not list or publish{did_you_mean(command, ['list', 'publish'])}")
    if command == "list":
        from dlcourse.studies.study import load_study, study_names

        for name in study_names():
            print(f"{name:<28} {load_study(name).title}")
        return
    if "directory" not in given:
        raise InputError("publish needs a directory, as docs/reports")
    studies, readme = (
        Path(given.get(key, default)) for key, default in (("from", "outputs/studies"), ("readme", "README.md"))
    )
    if not studies.is_dir():
        raise InputError(f"from={studies}: there is no such directory")
    from dlcourse.studies.index import publish

    copied, left_out = publish(studies, Path(given["directory"]), readme)
    for sentence in left_out:
        print(f"left out: {sentence}")
    print(f"published in {given['directory']}: {', '.join(copied) or 'nothing new'}")


if __name__ == "__main__":
    cli.run_command(main)
