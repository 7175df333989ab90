"""python -m dlcourse.report DIR... [out=DIR]

Puts runs side by side: what differs in their configs, what came out, means over seeds, learning curves, the confusion
matrix of the best. DIR: a run, or a directory with runs anywhere below it, as a sweep's or a study's.
out: where report.html, report.md, table.csv and figures/ go, otherwise outputs/reports/<date>.
"""

import logging
import shlex
import shutil
import time
from pathlib import Path

from dlcourse import runs
from dlcourse.core import cli
from dlcourse.core.errors import InputError
from dlcourse.runs import find_runs

log = logging.getLogger(__name__)


def main(argv: list[str]) -> Path:
    tops = [word for word in argv if not word.startswith("-") and ("=" not in word or Path(word).is_dir())]
    given = cli.parse_arguments([word for word in argv if word not in tops], __doc__, (), ("out",))
    out = Path(given.get("out", Path("outputs", "reports", time.strftime("%Y-%m-%d_%H-%M-%S")))).expanduser()
    if not tops:
        raise InputError("of which runs? Name one or more directories (see --help)")
    if out.is_file() or (out / runs.RESULT).exists():
        raise InputError(f"out={out} is a {'file' if out.is_file() else 'run'}: name another directory")
    found = find_runs(tops)
    if not found:
        raise InputError(f"there is no run in {' or '.join(map(str, tops))}, nor in a directory below")
    from dlcourse.core.grid import format_grid
    from dlcourse.reports import page
    from dlcourse.reports.formats import to_grid
    from dlcourse.reports.overview import write_overview

    report, left_out = write_overview(found, out, shlex.join(["python", "-m", "dlcourse.report", *argv]))
    for text in left_out:
        log.warning("left out: %s", text)
    summary = next(item for item in report.items if isinstance(item, page.Table))
    log.info("%s\n%s", summary.title, format_grid(to_grid(summary.frame), shutil.get_terminal_size().columns))
    log.info("report: %s", shlex.quote(str(out / page.HTML)))
    return out


if __name__ == "__main__":
    cli.run_command(main)
