"""The vocabulary of checks: functions of a table of runs that decide about a claim or answer a question.

A study's YAML names one with its arguments: `check: agrees`, `with: {metric: val/accuracy, published: 0.91, ...}`.
`of: {column: value}` says which runs are meant, and a metric is their mean over seeds. Runs that are missing give `not
run`. A study's own checks are written like these, decorated with `check`.

The noise decides nothing: a mean is known to within its 95 % interval (`samples.interval`), and what lies within that
is `undecided`. Of a single run nothing is known of its noise; it decides as if there were none.
"""

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

from pandas import DataFrame

from dlcourse.studies.rules import (
    Rows,
    least_seeds,
    pair_up,
    protocol_differences,
    rule,
    rule_all,
    rule_each,
    side,
)  # fmt: skip
from dlcourse.studies.samples import (
    BETTER,
    EQUAL,
    SHARES,
    WORSE,
    Of,
    Sample,
    aggregate,
    aggregate_by,
    compare,
    describe,
    format_metric,
    interval,
    lead,
    metric_label,
    mode,
    require,
)  # fmt: skip
from dlcourse.studies.verdict import (
    REDUCED,
    MissingRunsError,
    Point,
    Verdict,
    answered,
    decide,
    not_run,
    refuted,
    undecided,
)  # fmt: skip


def check(function: Callable[..., Verdict]) -> Callable[..., Verdict]:
    """Makes a function (table, **arguments) -> Verdict one that a study's YAML may name."""

    @functools.wraps(function)
    def decided(*args: Any, **kwargs: Any) -> Verdict:
        try:
            return function(*args, **kwargs)
        except MissingRunsError as missing:
            return not_run(str(missing))

    decided.is_check = True  # type: ignore[attr-defined]
    return decided


# --- a published figure ----------------------------------------------------------------------------------------------


@check
def agrees(
    table: DataFrame, metric: str, published: float, tolerance: float, of: Of, protocol: Of | None = None
) -> Verdict:
    """A published figure against the mean over seeds.

    Reproduced: as good within the tolerance, in the metric's unit. Beaten: better by more than that. Refuted: worse by
    more. Where a key of the report's `protocol` has another value in the runs, they have a reduced budget: missing the
    figure then decides nothing.
    """
    sample = aggregate(table, metric, of)
    evidence = f"{metric_label(metric)} {format_metric(metric, sample)}, published {format_metric(metric, published)}"
    unit = f"{100 * tolerance:g} points" if "accuracy" in metric else f"{tolerance:g}"
    ahead, noise = lead(sample, published, metric)
    point = Point(metric_label(metric), published, sample.mean, noise if sample.n > 1 else math.nan)
    verdict = rule(ahead, noise, tolerance, f"{evidence}; as good within {unit}", sample.n)
    if other := protocol_differences(table, of, protocol):
        open_ = "undecided" if verdict.kind == "refuted" else verdict.kind
        verdict = Verdict(open_, f"{evidence}; run with {other}", (REDUCED,))
    return replace(verdict, points=(point,))


@check
def agrees_in_all(
    table: DataFrame,
    metric: str,
    published: Rows,
    column: str,
    by: Sequence[str],
    tolerance: float,
    of: Of | None = None,
) -> Verdict:
    """All rows of a published table at once: the least favourable one decides, as in `agrees`.

    by: the columns that say which runs a row is about; column: where a row has its figure. Errors (see mode) are
    compared by their ratio, all else by the difference: a tolerance of .005 is .5 % or half a point.
    """
    return rule_all(pair_up(table, metric, published, column, by, of), metric, tolerance)


# --- a bound ---------------------------------------------------------------------------------------------------------


@check
def within(
    table: DataFrame, metrics: Sequence[str], low: float, high: float, of: Of | None = None, by: str | None = None
) -> Verdict:
    """Reproduced where each metric's mean lies between two numbers, for each value of the column `by` if there is one;
    refuted where one doesn't."""
    samples: list[Sample] = []
    texts = []
    for metric in metrics:
        found = aggregate_by(table, metric, by, of, complete=True) if by else {"": aggregate(table, metric, of)}
        samples += found.values()
        each = ", ".join(f"{value}{':' * bool(by)} {format_metric(metric, s)}" for value, s in found.items())
        texts.append(f"{metric_label(metric)} {each.strip()}")
    if not samples:
        raise MissingRunsError(f"no finished run has {by}")
    outcomes = [side(min(s.mean - low, high - s.mean), interval(s)) for s in samples]
    return rule_each(outcomes, f"{', '.join(texts)}; the range is {low:g} to {high:g}", least_seeds(samples))


@check
def reaches(table: DataFrame, goals: Mapping[str, float], of: Of) -> Verdict:
    """Reproduced where each metric's mean is better than its goal, refuted where one isn't."""
    samples = {metric: aggregate(table, metric, of) for metric in goals}
    parts = [
        f"{metric_label(metric)} {format_metric(metric, s)}, the goal is {format_metric(metric, goals[metric])}"
        for metric, s in samples.items()
    ]
    outcomes = [side(*lead(s, goals[metric], metric)) for metric, s in samples.items()]
    return rule_each(outcomes, "; ".join(parts), least_seeds(samples.values()))


# --- which is better -------------------------------------------------------------------------------------------------


@check
def better(
    table: DataFrame, metric: str | Sequence[str], first: Of, second: Of | Sequence[Of], protocol: Of | None = None
) -> Verdict:
    """Reproduced where the first runs are better than the second (or each of several others) by more than the noise,
    in each metric; refuted where they are worse than some. Of a reduced budget as in `agrees`."""
    others = [second] if isinstance(second, Mapping) else list(second)
    outcomes, texts, seeds = [], [], []
    for name in [metric] if isinstance(metric, str) else metric:
        sample, rivals = aggregate(table, name, first), [aggregate(table, name, of) for of in others]
        against = " and ".join(format_metric(name, s) for s in rivals)
        texts.append(f"{metric_label(name)} {format_metric(name, sample)} against {against}")
        found = [compare(sample, s, name) for s in rivals]
        if all(s.n == 1 for s in (sample, *rivals)):
            found = [BETTER if outcome == BETTER else WORSE for outcome in found]  # equal is not better
        outcomes += found
        seeds.append(least_seeds([sample, *rivals]))
    evidence = "; ".join(texts)
    differences = [text for of in (first, *others) if (text := protocol_differences(table, of, protocol))]
    if differences:
        evidence += f"; run with {', '.join(dict.fromkeys(differences))}"
    verdict = rule_each(outcomes, evidence, min(seeds))
    return verdict.standing_on(REDUCED) if differences else verdict


@check
def times(table: DataFrame, metric: str, first: Of, second: Of, factor: float) -> Verdict:
    """Reproduced where a metric of the first runs is at least so many times that of the second, refuted where not."""
    a, b = aggregate(table, metric, first), aggregate(table, metric, second)
    ratio = "" if math.isinf(a.mean) or math.isinf(b.mean) else f", {a.mean / b.mean:.3g} times"
    evidence = f"{metric_label(metric)} {format_metric(metric, a)} against {format_metric(metric, b)}{ratio}"
    noise = math.hypot(interval(a), factor * interval(b))
    return rule_each([side(a.mean - factor * b.mean, noise)], evidence, least_seeds([a, b]))


@check
def alike(table: DataFrame, metric: str, first: Of, second: Of, pairs: Sequence[str]) -> Verdict:
    """No difference: reproduced where the 95 % interval of the mean difference contains 0, refuted where it doesn't.

    pairs: the columns that say which run of the first is compared with which of the second. A single pair decides
    nothing.
    """
    a, b = (require(table, metric, of).set_index(list(pairs))[metric].astype(float) for of in (first, second))
    differences = (a - b).dropna()
    n = len(differences)
    if n < 2:
        raise MissingRunsError(f"{n} pairs of runs have the same {' and '.join(pairs)}: 2 are needed")
    mean = Sample(float(differences.mean()), float(differences.std()), n)
    noise = interval(mean)
    unit, scale = (" points", 100) if metric.endswith(SHARES) else ("", 1)
    evidence = (
        f"{metric_label(metric)} differs by {scale * mean.mean:+.3g}{unit} in the mean over {n} pairs of runs "
        f"(95 % interval {scale * (mean.mean - noise):+.3g} to {scale * (mean.mean + noise):+.3g})"
    )
    return decide(abs(mean.mean) <= noise, evidence)


@check
def best_of(
    table: DataFrame,
    metric: str,
    key: str,
    best: Any,
    tolerance: float = 0.0,
    of: Of | None = None,
    complete: bool = False,
) -> Verdict:
    """Reproduced where a value of a column has the best mean, or one that is behind by the tolerance at most; refuted
    where another one's is better by more.

    complete: no run of any value may be missing.
    """
    samples = aggregate_by(table, metric, key, of, complete)
    best = next((value for value in samples if value == best or _close(value, best)), best)
    if best not in samples or len(samples) < 2:
        raise MissingRunsError(f"no finished run with {describe({key: best})}, or with no other {key}")
    listed = ", ".join(f"{value if isinstance(value, str) else f'{value:g}'}: {format_metric(metric, s)}"
                       for value, s in samples.items())  # fmt: skip
    leads = [lead(samples[best], s, metric) for value, s in samples.items() if value != best]
    outcomes = [side(ahead + tolerance, noise) for ahead, noise in leads]
    return rule_each(outcomes, f"{metric_label(metric)} {listed}", least_seeds(samples.values()))


def _close(a: Any, b: Any) -> bool:
    return isinstance(a, int | float) and isinstance(b, int | float) and math.isclose(a, b)


@check
def monotone(table: DataFrame, metric: str, key: str, rising: bool, of: Of | None = None, least: int = 2) -> Verdict:
    """Reproduced where each higher value of a column has a higher mean (rising: false: a lower one) by more than the
    noise, refuted where one has a lower one."""
    samples = dict(sorted(aggregate_by(table, metric, key, of).items()))
    if len(samples) < least:
        raise MissingRunsError(f"fewer than {least} values of {key} have a finished run")
    outcomes = []
    for a, b in pairwise(samples.values()):
        step, noise = (b.mean - a.mean) * (1 if rising else -1), interval(a, b)
        outcomes.append(side(step, noise) if step else WORSE)
    listed = ", ".join(f"{value:g}: {format_metric(metric, s)}" for value, s in samples.items())
    return rule_each(outcomes, f"{metric_label(metric)} {listed}", least_seeds(samples.values()))


@check
def correlated(table: DataFrame, first: str, second: str, rising: bool, of: Of | None = None) -> Verdict:
    """Reproduced where two figures rise together over runs (rising: false: against each other), by Spearman's rank
    correlation, whose 95 % interval is Fisher's; refuted where they do the opposite, undecided where it contains 0."""
    rows = require(require(table, first, of), second)
    n = len(rows)
    if n < 4:
        raise MissingRunsError(f"{n} runs have both {first} and {second}: 4 are needed")
    rho = float(rows[[first, second]].astype(float).corr(method="spearman").to_numpy()[0, 1])
    noise = 1.96 / math.sqrt(n - 3) if abs(rho) < 1 else 0.0
    low, high = (math.tanh(math.atanh(rho) + s * noise) if noise else rho for s in (-1, 1))
    evidence = (
        f"rank correlation of {metric_label(first)} and {metric_label(second)} over {n} runs: {rho:+.2f} "
        f"({low:+.2f} to {high:+.2f})"
    )
    wanted = 1 if rising else -1
    outcome = side(wanted * math.atanh(rho) if noise else wanted * rho, noise)
    return (
        Verdict("undecided", f"{evidence}: 0 is among them")
        if outcome == EQUAL
        else decide(outcome == BETTER, evidence)
    )


@check
def small_gain(
    table: DataFrame, metric: str, cost: str, key: str, gain: float, factor: float, of: Of | None = None
) -> Verdict:
    """Reproduced where from the lowest to the highest value of a column the cost grows by at least a factor, and the
    metric gains at most so much; refuted where the cost grows by less or the gain is larger."""
    metrics, costs = (dict(sorted(aggregate_by(table, name, key, of).items())) for name in (metric, cost))
    if len(metrics) < 2:
        raise MissingRunsError(f"fewer than 2 values of {key} have a finished run")
    (low, first), *_, (high, _) = metrics.items()
    best = max(metrics, key=lambda value: metrics[value].mean * (1 if mode(metric) == "max" else -1))
    ahead, noise = lead(metrics[best], first, metric)
    grown = costs[high].mean / costs[low].mean
    slack = math.hypot(interval(costs[high]), factor * interval(costs[low]))
    dear = side(costs[high].mean - factor * costs[low].mean, slack)
    listed = ", ".join(f"{value:g}: {format_metric(metric, s)}" for value, s in metrics.items())
    evidence = f"{metric_label(metric)} by {key} {listed}; {metric_label(cost)} grow {grown:.2f} times"
    return rule_each([side(gain - ahead, noise), dear], evidence, least_seeds(metrics.values()))


@check
def mostly_better(table: DataFrame, metric: str, chosen: str, key: str, groups: Mapping[str, Sequence[str]]) -> Verdict:
    """Of several pairs of blocks (first, second), each at the value of `key` with the best mean of `chosen`: reproduced
    where the first is better in more than half of them, refuted where it isn't in at least half."""
    outcomes, texts, seeds = [], [], []
    for name, blocks in groups.items():
        best = []
        for block in blocks:
            samples = aggregate_by(table, chosen, key, {"block": block}, complete=True)
            sign = 1 if mode(chosen) == "max" else -1
            value = max(samples, key=lambda v: sign * samples[v].mean)
            best.append((value, aggregate(table, metric, {"block": block, key: value})))
        (_, first), (_, second) = best
        outcomes.append(compare(first, second, metric))
        seeds.append(min(first.n, second.n))
        texts.append(f"{name}: " + " against ".join(f"{format_metric(metric, s)} at {v:g}" for v, s in best))
    ahead, behind = outcomes.count(BETTER), outcomes.count(WORSE)
    evidence = f"{metric_label(metric)}, {'; '.join(texts)}"
    if ahead > len(outcomes) / 2:
        return decide(True, evidence)
    return refuted(evidence) if behind >= len(outcomes) / 2 else undecided(evidence, min(seeds))


# --- questions -------------------------------------------------------------------------------------------------------


@check
def compared(table: DataFrame, metric: str, first: Of, second: Of) -> Verdict:
    """The answer to which of two is better, by more than the noise (see `better`)."""
    a, b = aggregate(table, metric, first), aggregate(table, metric, second)
    said = {BETTER: "better", EQUAL: "no difference beyond the noise", WORSE: "worse"}[compare(a, b, metric)]
    return answered(f"{said}: {metric_label(metric)} {format_metric(metric, a)} against {format_metric(metric, b)}")


@check
def exceeds(table: DataFrame, metric: str, of: Of, published: float, goal: float) -> Verdict:
    """What another recipe gives, held against a published figure and our own goal."""
    sample, side = aggregate(table, metric, of), ("below", "above")
    return answered(
        f"{metric_label(metric)} {format_metric(metric, sample)}: {side[sample.mean > published]} the report's "
        f"{format_metric(metric, published)}, {side[sample.mean >= goal]} our goal of {format_metric(metric, goal)}"
    )


@check
def listed(
    table: DataFrame,
    metrics: str | Sequence[str],
    by: str,
    of: Of | None = None,
    names: Mapping[Any, str] | None = None,
    ranked: bool = False,
) -> Verdict:
    """Figures for each value of a column, every one of which is needed; ranked: the best of the first metric first.

    names: what the values are called, which are then the only ones.
    """
    metrics = [metrics] if isinstance(metrics, str) else list(metrics)
    of = {**(of or {}), **({by: list(names)} if names else {})}
    columns = {metric: aggregate_by(table, metric, by, of, complete=True) for metric in metrics}
    values = list(names or columns[metrics[0]])
    if not values or any(value not in columns[metrics[0]] for value in values):
        raise MissingRunsError(f"not every {by} has a finished run")
    if ranked:
        sign = 1 if mode(metrics[0]) == "max" else -1
        values.sort(key=lambda value: -sign * columns[metrics[0]][value].mean)
    texts = [
        f"{(names or {}).get(value) or (value if isinstance(value, str) else f'{value:g}')}: "
        + ", ".join(format_metric(metric, columns[metric][value]) for metric in metrics)
        for value in values
    ]
    return answered(f"{' and '.join(map(metric_label, metrics))}: {'; '.join(texts)}")
