"""Runs as their directories have them, damaged and dead ones too: read fast, without anything that trains."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dlcourse.core.errors import InputError
from dlcourse.runs import LAST, RESULT, find_runs, is_ranked, read_result
from dlcourse.runs.differences import typed_values
from dlcourse.runs.lock import is_busy


@dataclass(frozen=True)
class Listed:
    """status: one of `runs.STATES`; `dead`, where it says `running` but no process is at it; or `damaged`.

    values: what it was started with. when: the time of its result, in seconds since 1970. why: what went wrong.
    """

    run: Path
    status: str
    result: dict[str, Any] = field(default_factory=dict)
    values: dict[str, str] = field(default_factory=dict)
    when: float = 0.0
    why: str = ""

    @property
    def score(self) -> float | None:
        return self.result["score"] if self.result and is_ranked(self.result) else None

    @property
    def goes_on(self) -> bool:
        """Whether there is a checkpoint to go on from."""
        return (self.run / LAST).is_file()


def list_runs(top: str | Path) -> list[Listed]:
    """The runs that a directory is, or has below it, in their order; raises InputError where it is none."""
    return [listed(run) for run in find_runs([str(top)])]


def listed(run: Path) -> Listed:
    path = run / RESULT
    if not path.is_file():
        return Listed(run, "damaged", when=run.stat().st_mtime, why=f"it has no {RESULT}")
    when = path.stat().st_mtime
    try:
        result = read_result(run)
    except InputError as error:
        return Listed(run, "damaged", when=when, why=str(error))
    status = result["status"]
    if status == "running" and not is_busy(run):
        status = "dead"
    why = str(result.get("error", "")) if status == "failed" else ""
    return Listed(run, status, result, typed_values(result.get("command") or ""), when, why)


def results(several: Sequence[Listed]) -> dict[Path, dict[str, Any]]:
    """What can be ranked: the results of those that are not damaged."""
    return {one.run: one.result for one in several if one.result}
