"""What the entry points share: KEY=VALUE arguments, plain log lines, one sentence and exit code 2 for a mistake."""

import contextlib
import logging
import os
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from dlcourse.core.errors import InputError, did_you_mean, or_list

BOOLEAN = ("false", "true")  # the values of a switch that is off unless it is given

# Which of several runs this one is, for its line of progress: `job 3/12`; None where others draw their lines as well.
place: ContextVar[str | None] = ContextVar("place", default="")


@contextlib.contextmanager
def at_place(text: str | None) -> Iterator[None]:
    """Say of what is trained here which of several runs it is."""
    token = place.set(text)
    try:
        yield
    finally:
        place.reset(token)


def parse_arguments(
    argv: list[str],
    usage: str | None,
    required: tuple[str, ...],
    optional: tuple[str, ...] = (),
    words: tuple[str, ...] = (),
    choices: Mapping[str, Sequence[str]] | None = None,
) -> dict[str, str]:
    """`run=DIR split=val` as a dict. A name ending in `.` allows every key that starts with it.

    words: names for plain words, those without `=`, in the order in which they may be given.
    choices: the values that an optional key may have; the first (it may be empty) where it isn't given.
    Prints `usage` and exits for --help; raises InputError for a key that is unknown, missing or given twice.
    """
    if {"-h", "--help"} & set(argv):
        print((usage or "").strip())
        sys.exit(0)
    choices = choices or {}
    known = [*required, *optional, *choices]
    found: dict[str, str] = {}
    for argument in argv:
        key, equals, value = argument.partition("=")
        name = next((word for word in words if word not in found), None)
        if key and not equals and name:
            found[name] = argument
            continue
        if not equals or not key:
            raise InputError(f"{argument!r} is not KEY=VALUE (possible: {or_list([k + '=...' for k in known])})")
        if key not in known and not any(k.endswith(".") and key.startswith(k) for k in known):
            possible = or_list([k + ("..." if k.endswith(".") else "=") for k in known])
            raise InputError(f"there is no {key}= here{did_you_mean(key, known)} (possible: {possible})")
        if key in found:
            raise InputError(f"{key}= is given twice")
        if not value:
            raise InputError(f"{key}= has no value")
        found[key] = value
    for key in required:
        if key not in found:
            raise InputError(f"{key}=... is missing (see --help)")
    for key, values in choices.items():
        if found.setdefault(key, values[0]) not in values:
            raise InputError(f"{key}={found[key]}: it can be {or_list([v for v in values if v])}")
    return found


def take_option(argv: list[str], name: str) -> tuple[list[str], str | None]:
    """The arguments without the option `name VALUE`, and its value; raises InputError where that is missing."""
    if name not in argv:
        return argv, None
    i = argv.index(name)
    if i + 1 == len(argv):
        raise InputError(f"{name} has no value")
    return [*argv[:i], *argv[i + 2 :]], argv[i + 1]


def run_command(main: Callable[[list[str]], Any]) -> None:
    """Call an entry point with the command line; a user's mistake is one sentence on stderr and exit code 2."""
    if not logging.getLogger().handlers:
        logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
    logging.raiseExceptions = False  # a closed pipe (`| head`) ends what is printed, not the run
    code: Any = 0
    try:
        main(sys.argv[1:])
        sys.stdout.flush()
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        code = 130
    except BrokenPipeError:
        pass
    except (InputError, OSError) as error:
        print(f"error: {error_sentence(error)}", file=sys.stderr)
        code = 2
    except Exception as error:
        logging.getLogger(__name__).exception("%s", error)
        code = 1
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(code)


def error_sentence(error: Exception) -> str:
    """The sentence about a mistake, or about a path that can't be read or written (space, permission)."""
    return f"{error.filename or 'writing'}: {error.strerror or error}" if isinstance(error, OSError) else str(error)


def log_to_file(path: Path) -> logging.Handler:
    """Write log lines to a file as well, dated as Hydra dates them in train.log; returns what does so."""
    handler = logging.FileHandler(path, encoding="utf-8")
    handler.setFormatter(logging.Formatter("[%(asctime)s][%(name)s][%(levelname)s] - %(message)s"))
    logging.getLogger().addHandler(handler)
    return handler


@contextlib.contextmanager
def log_apart(path: Path) -> Iterator[None]:
    """What this thread logs goes to a file of its own, and nowhere else."""
    root, mine = logging.getLogger(), threading.get_ident()
    level, others = root.level, list(root.handlers)
    handler = log_to_file(path)
    handler.addFilter(lambda record: record.thread == mine)

    def is_for_all(record: logging.LogRecord) -> bool:
        return record.thread != mine

    for other in others:
        other.addFilter(is_for_all)
    root.setLevel(logging.INFO)
    try:
        yield
    finally:
        root.setLevel(level)
        for other in others:
            other.removeFilter(is_for_all)
        root.removeHandler(handler)
        handler.close()


def clock(seconds: float) -> str:
    """`0:07`, `12:05` or `3:00:00`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
