"""What a run of the experiment says about a claim."""

from dataclasses import dataclass

KINDS = ("reproduced", "beaten", "refuted", "not comparable", "answered", "not run")


class MissingRunsError(Exception):
    """The runs that would decide a claim are missing; its text says which. A check that raises it gives `not run`."""


@dataclass(frozen=True)
class Verdict:
    """kind: one of KINDS. evidence: one short sentence with the figures that decide."""

    kind: str
    evidence: str

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"a verdict is one of {KINDS}, not {self.kind!r}")


def beaten(evidence: str) -> Verdict:
    """The published figure is exceeded by more than the tolerance."""
    return Verdict("beaten", evidence)


def refuted(evidence: str) -> Verdict:
    """The claim does not hold here."""
    return Verdict("refuted", evidence)


def decide(holds: bool, evidence: str) -> Verdict:
    """Reproduced where the claim holds here too, else refuted."""
    return Verdict("reproduced" if holds else "refuted", evidence)


def answered(evidence: str) -> Verdict:
    """For a question that the report leaves open."""
    return Verdict("answered", evidence)


def not_comparable(evidence: str) -> Verdict:
    """The runs differ from the published ones in data, weights or budget, so they decide nothing."""
    return Verdict("not comparable", evidence)


def not_run(evidence: str) -> Verdict:
    """The runs that would decide are missing; `evidence` says which."""
    return Verdict("not run", evidence)
