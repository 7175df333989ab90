"""What runs say about a claim: the outcome, and what it stands on."""

from dataclasses import dataclass, replace
from typing import NamedTuple

KINDS = ("reproduced", "beaten", "refuted", "undecided", "answered", "not run")
OTHER_DATA, STAND_IN = "other data", "stand-in data"
REDUCED, REBUILT, SETTINGS = "reduced budget", "rebuilt weights", "other settings"
BASES = (OTHER_DATA, STAND_IN, REDUCED, REBUILT, SETTINGS)


class MissingRunsError(Exception):
    """The runs that would decide a claim are missing; its text says which. A check that raises it gives `not run`."""


class Point(NamedTuple):
    """A published figure beside the measured one. noise: half of the mean's interval (`samples.interval`), NaN of one
    run."""

    label: str
    published: float
    measured: float
    noise: float


@dataclass(frozen=True)
class Verdict:
    """kind: one of KINDS. evidence: one short sentence with the figures that decide.

    basis: those of BASES in which the runs differ from the report's; none is the published data at the full budget.
    points: the figures, where there are some to be met.
    """

    kind: str
    evidence: str
    basis: tuple[str, ...] = ()
    points: tuple[Point, ...] = ()

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"a verdict is one of {KINDS}, not {self.kind!r}")
        if unknown := set(self.basis) - set(BASES):
            raise ValueError(f"a verdict stands on some of {BASES}, not on {unknown}")

    def standing_on(self, *marks: str) -> "Verdict":
        """The same verdict of runs that differ from the report's in this, too; a drawn stand-in decides nothing."""
        basis = tuple(mark for mark in BASES if mark in (*self.basis, *marks))
        open_ = STAND_IN in marks and self.kind in ("reproduced", "beaten", "refuted")
        return replace(self, kind="undecided" if open_ else self.kind, basis=basis)


def beaten(evidence: str) -> Verdict:
    """The published figure is exceeded by more than the tolerance."""
    return Verdict("beaten", evidence)


def refuted(evidence: str) -> Verdict:
    """The claim does not hold here."""
    return Verdict("refuted", evidence)


def decide(holds: bool, evidence: str) -> Verdict:
    """Reproduced where the claim holds here too, else refuted."""
    return Verdict("reproduced" if holds else "refuted", evidence)


def undecided(evidence: str, seeds: int) -> Verdict:
    """The noise of so many seeds is larger than what is to be decided."""
    return Verdict("undecided", f"{evidence}; undecided at {seeds} seed{'s' * (seeds > 1)}")


def answered(evidence: str) -> Verdict:
    """For a question that the report leaves open."""
    return Verdict("answered", evidence)


def not_run(evidence: str) -> Verdict:
    """The runs that would decide are missing; `evidence` says which."""
    return Verdict("not run", evidence)
