"""One process at a time writes to a run directory."""

import errno
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from dlcourse.core.errors import InputError
from dlcourse.runs import LOCK, main_process

log = logging.getLogger(__name__)

LOCKLESS = (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EINVAL)  # how a disk says that it has no locks


class BusyRunError(InputError):
    """Another process is at work on a run."""


@contextmanager
def hold_run(run: Path) -> Iterator[None]:
    """Keep a run directory to this process; where this thread has it already, nothing changes.

    The lock goes when the process does, however that ends. Of several processes of one run (ddp) the first holds it.
    Raises BusyRunError at once where another process has it. A disk that knows no locks is said in a warning.
    """
    if not main_process():
        yield
        return
    lock = FileLock(run / LOCK, is_singleton=True)
    try:
        lock.acquire(blocking=False)
    except Timeout:
        raise BusyRunError(f"{run} is another process's at the moment: wait for its end, or take another") from None
    except OSError as error:
        if error.errno not in LOCKLESS:
            raise
        log.warning("the disk of %s has no locks (%s): see that no other process trains there", run, error.strerror)
        yield
        return
    try:
        yield
    finally:
        lock.release()


def refuse_busy(run: Path) -> None:
    """Raise BusyRunError where another process is at work on a run."""
    with hold_run(run):
        pass


def is_busy(run: Path) -> bool:
    """Whether a process is at work on a run; where that can't be found out (a disk without locks), it is."""
    if not (run / LOCK).is_file():
        return False
    try:
        with FileLock(run / LOCK, blocking=False):
            return False
    except (Timeout, OSError):
        return True
