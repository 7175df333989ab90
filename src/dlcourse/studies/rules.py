"""Rulings: from how far a figure is ahead, and how well that is known, to a verdict."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pandas as pd
from pandas import DataFrame

from dlcourse.studies.samples import (
    BETTER,
    EQUAL,
    WORSE,
    Of,
    Sample,
    aggregate,
    describe,
    format_metric,
    interval,
    metric_label,
    mode,
    select,
)  # fmt: skip
from dlcourse.studies.verdict import MissingRunsError, Point, Verdict, beaten, decide, refuted, undecided

Rows = Sequence[Mapping[str, Any]]
"""Published figures, as a study's YAML has them: a row a setting."""


def pair_up(
    table: DataFrame, metric: str, published: Rows, column: str, by: Sequence[str], of: Of | None = None
) -> dict[str, tuple[Sample, float]]:
    """What is obtained beside what is published, for each row that has the column, by what the row is about."""
    pairs = {}
    for row in published:
        if column in row:
            keys = {key: row[key] for key in by}
            pairs[describe(keys)] = (aggregate(table, metric, {**(of or {}), **keys}), float(row[column]))
    return pairs


def rule_all(pairs: Mapping[str, tuple[Sample, float]], metric: str, tolerance: float) -> Verdict:
    """The ruling about pairs of obtained and published figures: that of the least favourable one."""
    if not pairs:
        raise MissingRunsError("no finished run of these")
    error = mode(metric) == "min"
    ahead = {name: 1 - s.mean / theirs if error else s.mean - theirs for name, (s, theirs) in pairs.items()}
    worst = min(ahead, key=lambda name: ahead[name])
    sample, theirs = pairs[worst]
    noise = interval(sample) / (theirs if error else 1)
    digits = 5 if min(sample.mean, theirs) < 0.02 else None  # as many of one as of the other
    allowed, bound = (f"{100 * tolerance:g} %", "above") if error else (f"{100 * tolerance:g} points", "below")
    points = tuple(
        Point(f"{metric_label(metric)}, {name}", published, s.mean, interval(s) if s.n > 1 else math.nan)
        for name, (s, published) in pairs.items()
    )
    verdict = rule(
        ahead[worst],
        noise,
        tolerance,
        f"{sum(a >= 0 for a in ahead.values())} of {len(pairs)} at the published figure or better, "
        f"{sum(-tolerance <= a < 0 for a in ahead.values())} up to {allowed} {bound} it, "
        f"{sum(a < -tolerance for a in ahead.values())} further off; the least favourable: {worst}: "
        f"{format_metric(metric, sample, digits)}, published {format_metric(metric, theirs, digits)}",
        sample.n,
    )
    return replace(verdict, points=points)


def rule(ahead: float, noise: float, tolerance: float, evidence: str, seeds: int) -> Verdict:
    """ahead: how much better than published, known to ± noise from so many seeds. All of that interval decides: beaten
    above the tolerance, reproduced above its negative, refuted below."""
    evidence += "; one run" * (seeds == 1)
    if ahead - noise > tolerance:
        return beaten(evidence)
    if -tolerance <= ahead - noise or ahead + noise < -tolerance:
        return decide(ahead >= -tolerance, evidence)
    return undecided(evidence, seeds)


def rule_each(outcomes: Sequence[int], evidence: str, seeds: int) -> Verdict:
    """Of comparisons that must all be BETTER: one that is WORSE refutes, one that the noise covers leaves it open."""
    evidence += "; one run" * (seeds == 1)
    if WORSE in outcomes:
        return refuted(evidence)
    return decide(True, evidence) if EQUAL not in outcomes else undecided(evidence, seeds)


def protocol_differences(table: DataFrame, of: Of, protocol: Of | None) -> str:
    """Where runs differ from the report's protocol, as `trainer.max_epochs 30 instead of 100`; empty where nowhere."""
    differences = []
    for key, value in (protocol or {}).items():
        for other in select(table, of)[key].unique():
            if other != value and not (value is None and pd.isna(other)):
                differences.append(f"{key} {other:g} instead of {'none' if value is None else f'{value:g}'}")
    return ", ".join(differences)


def side(ahead: float, noise: float) -> int:
    """BETTER or WORSE where a lead is above or below 0 by more than its noise, else EQUAL; 0 itself is BETTER."""
    return BETTER if ahead >= noise else WORSE if ahead < -noise else EQUAL


def least_seeds(samples: Iterable[Sample]) -> int:
    return min(s.n for s in samples)
