"""python -m dlcourse.runs [best | failed | clean] [DIR] [limit=N] [--yes]

Shows the runs below a directory (outputs), newest first: name, status, score, what differs between them, when, seconds.
best: of each data set and metric the best run. failed: what went wrong, and what can be done.
clean: removes runs that failed, and those that were interrupted or have died before their first checkpoint; it lists
them and asks first (--yes: it doesn't). limit: at most so many lines; otherwise 40 on a terminal, elsewhere all.
"""

import shutil
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from dlcourse.config.identity import NOT_HASHED
from dlcourse.core import cli
from dlcourse.core.errors import InputError, did_you_mean
from dlcourse.core.grid import GAP, Grid, format_grid
from dlcourse.runs import LAST, RESULT, best_run, quote_path, read_result
from dlcourse.runs.differences import describe, different_keys
from dlcourse.runs.listing import Listed, list_runs, results
from dlcourse.runs.lock import BusyRunError, hold_run

COMMANDS = ("best", "failed", "clean")
LIMIT = 40
COMFORT = [key for key in NOT_HASHED if not key.startswith("data.")]  # what is no difference worth a column


def main(argv: list[str]) -> None:
    yes = "--yes" in argv
    words = [word for word in argv if word != "--yes"]
    command = next((word for word in words if word in COMMANDS), "")
    if command:
        words.remove(command)
    given = cli.parse_arguments(words, __doc__, (), ("limit",), words=("directory",))
    top = given.get("directory", "outputs")
    if yes and command != "clean":
        raise InputError("--yes is for clean")
    if not Path(top).expanduser().is_dir():
        raise InputError(f"{top}: there is no such directory{did_you_mean(top, COMMANDS)}")
    several = sorted(list_runs(top), key=lambda one: -one.when)
    if not several:
        print(f"there is no run below {top}")
    elif command == "best":
        show_best(several)
    elif command == "failed":
        show_failed(several)
    elif command == "clean":
        clean(several, yes)
    else:
        show(several, top, _limit(given.get("limit")))


def _limit(text: str | None) -> int:
    if text is None:
        return LIMIT if sys.stdout.isatty() else sys.maxsize
    if not text.isdigit() or int(text) < 1:
        raise InputError(f"limit must be a whole number from 1 up, got {text}")
    return int(text)


def show(several: Sequence[Listed], top: str, limit: int) -> None:
    """A table of runs, and how many there are of each status."""
    counts: dict[str, int] = {}
    for one in several:
        counts[one.status] = counts.get(one.status, 0) + 1
    states = ", ".join(f"{number} {status}" for status, number in counts.items())
    print(f"{len(several)} run{'s' * (len(several) > 1)} below {top}: {states}\n")
    keys = [key for key in different_keys([one.values for one in several if one.values]) if key not in COMFORT]
    terminal = sys.stdout.isatty()
    width = shutil.get_terminal_size().columns if terminal else sys.maxsize
    rows = [
        [
            _shortened(_name(one.run, Path(top).expanduser()), width // 3),
            one.status,
            _score(one),
            describe(one.values, keys) or GAP,
            _age(one.when) if terminal else time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(one.when)),
            f"{one.result['seconds']:.1f}" if one.result else GAP,
        ]
        for one in several[:limit]
    ]
    others = sum(max(len(row[i]) for row in rows) + 2 for i in (0, 1, 2, 4)) + len("seconds")
    for row in rows:
        row[3] = _shortened(row[3], max(20, width - others - 2))
    header = ["name", "status", "score/metric", "what differs", "age" if terminal else "when", "seconds"]
    print(format_grid(Grid(header, rows, [False] * 4 + [terminal, True]), width, limit))
    if len(several) > limit:
        print(f"... and {len(several) - limit} more: limit={len(several)}")


def show_best(several: Sequence[Listed]) -> None:
    """Of each data set and monitored metric the best run: scores of different ones can't be compared."""
    groups: dict[tuple[str, str], list[Listed]] = {}
    for one in several:
        if one.score is not None:
            groups.setdefault((str(one.result["data"].get("name")), str(one.result["monitor"])), []).append(one)
    if not groups:
        raise InputError("no run is done: there is no best one")
    for (data, _), ones in sorted(groups.items()):
        run = best_run(results(ones))
        best = next(one for one in ones if one.run == run)
        keys = different_keys([one.values for one in ones])
        what = describe(best.values, keys)
        print(f"{data}, best of {len(ones)}: {_score(best)}{f', {what}' if what else ''}")
        print(f"    python -m dlcourse.evaluate run={quote_path(run)}")


def show_failed(several: Sequence[Listed]) -> None:
    """What went wrong, and whether it can go on."""
    ones = [one for one in several if one.status not in ("done", "running")]
    if not ones:
        print("none: all runs are done, or at it")
    for one in ones:
        print(f"{quote_path(one.run)}: {_reason(one)}")
        if one.goes_on:
            print(f"    python -m dlcourse.resume run={quote_path(one.run)}")


def clean(several: Sequence[Listed], yes: bool) -> None:
    """Remove runs that are of no use, after a question unless it is answered already."""
    useless = [one for one in several if one.status in ("failed", "interrupted", "dead") and is_useless(one.run)]
    for one in useless:
        print(f"{quote_path(one.run)}: {_reason(one)}")
    kept = [one for one in several if one.status in ("interrupted", "dead") and one.goes_on]
    if kept:
        print(f"kept, since they can go on: {len(kept)} (python -m dlcourse.runs failed)")
    if not useless:
        print("nothing to remove")
        return
    if not yes and not _agreed(f"remove {len(useless)} run{'s' * (len(useless) > 1)}? [y/N] "):
        print("nothing is removed")
        return
    print(f"removed: {sum(remove(one.run) for one in useless)}")


def is_useless(run: Path) -> bool:
    """Whether a run that no process is at has failed, or ended before there was anything to go on from."""
    status = read_result(run)["status"]
    return status == "failed" or (status in ("interrupted", "running") and not (run / LAST).is_file())


def remove(run: Path) -> bool:
    """Remove a run that is still of no use, unless a process is at it or other runs lie in it; says which it was."""
    if run.is_symlink() or any(path.parent != run for path in run.rglob(RESULT)):
        print(f"left: {quote_path(run)} is a link, or other runs lie in it")
        return False
    try:
        with hold_run(run):
            if not is_useless(run):  # another process has been at it since
                return False
            shutil.rmtree(run)
    except BusyRunError as error:
        print(f"left: {error}")
        return False
    with suppress(OSError):
        run.parent.rmdir()  # of a sweep that has no other
    return True


def _agreed(question: str) -> bool:
    if not sys.stdin.isatty():
        raise InputError("nobody can be asked here: --yes removes them")
    return input(question).strip().lower() in ("y", "yes")


def _name(run: Path, top: Path) -> str:
    """A run below a directory; of a sweep's job the number is enough, since `run=sweep/3` finds it."""
    number, _, rest = run.name.partition("_")
    short = run.with_name(number) if number.isdigit() and "=" in rest else run
    return str(short.relative_to(top)) if run != top else run.name


def _age(when: float) -> str:
    minutes = max(0.0, time.time() - when) / 60
    return (
        f"{minutes:.0f} min"
        if minutes < 100
        else f"{minutes / 60:.0f} h"
        if minutes < 4800
        else f"{minutes / 1440:.0f} d"
    )


def _shortened(text: str, width: int) -> str:
    """A text with its middle left out where it is long: both ends of a path tell something."""
    half = (width - 1) // 2
    return text if len(text) <= width else f"{text[:half]}…{text[half + 1 - width :]}"


def _score(one: Listed) -> str:
    return f"{one.result['monitor']} {one.score:.4f}" if one.score is not None else GAP


def _reason(one: Listed) -> str:
    after = f" after {one.result.get('epochs') or 0} epochs" if one.result else ""
    what = {"dead": f"says running, but no process is at it{after}", "failed": f"failed{after}"}
    return what.get(one.status, f"{one.status}{after}") + (f": {one.why}" if one.why else "")


if __name__ == "__main__":
    cli.run_command(main)
