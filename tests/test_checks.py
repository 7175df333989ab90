"""The checks that a study's YAML may name, on tables made here: what they rule, and that the noise decides nothing."""

import math

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from pandas import DataFrame
from scipy import stats

from dlcourse.core.errors import InputError
from dlcourse.studies import checks, rules
from dlcourse.studies.report import judge
from dlcourse.studies.samples import BETTER, EQUAL, Sample, compare
from dlcourse.studies.study import load_study
from dlcourse.studies.verdict import answered, decide

shares = st.floats(0, 1)
spreads = st.integers(0, 500).map(lambda thousandths: thousandths / 1000)


def table(**accuracies: list[float]) -> DataFrame:
    """A row for each seed of each block."""
    return DataFrame(
        [
            {"block": block, "seed": seed, "test/accuracy": value}
            for block, values in accuracies.items()
            for seed, value in enumerate(values)
        ]
    )


def ruled(first: float, second: float, spread: float) -> str:
    """Whether a is better than b, each run with two seeds that are this far from their mean."""
    rows = table(a=[first - spread, first + spread], b=[second - spread, second + spread])
    return checks.better(rows, "test/accuracy", {"block": "a"}, {"block": "b"}).kind


@given(shares, shares, spreads, spreads)
def test_more_noise_never_makes_a_difference(first: float, second: float, quiet: float, more: float) -> None:
    a, b = Sample(first, quiet, 3), Sample(second, quiet, 3)
    noisy = compare(a._replace(sd=quiet + more), b, "test/accuracy")
    assert noisy in (EQUAL, compare(a, b, "test/accuracy"))
    assert ruled(first, second, quiet + more) in ("undecided", ruled(first, second, quiet))


@given(shares, shares, spreads)
def test_comparison_has_two_sides(first: float, second: float, sd: float) -> None:
    a, b = Sample(first, sd, 3), Sample(second, math.nan, 1)
    assert compare(a, b, "test/accuracy") == -compare(b, a, "test/accuracy") == -compare(a, b, "test/loss")


def test_better_by_more_than_the_noise() -> None:
    assert compare(Sample(0.9, 0.01, 4), Sample(0.8, 0.01, 4), "test/accuracy") == BETTER
    assert ruled(0.9, 0.8, 0.001) == "reproduced"
    assert ruled(0.8, 0.9, 0.001) == "refuted"
    assert ruled(0.9, 0.8, 0.2) == ruled(0.8, 0.9, 0.2) == "undecided"


@given(st.lists(shares, min_size=1, max_size=5), shares, st.floats(0, 0.2))
def test_a_published_figure(accuracies: list[float], published: float, tolerance: float) -> None:
    rows = table(a=accuracies)
    verdict = checks.agrees(rows, "test/accuracy", published, tolerance, {"block": "a"})
    values = rows["test/accuracy"]
    if len(values) > 1 and values.std() > 1e-6:
        low, high = stats.t.interval(0.95, len(values) - 1, values.mean(), stats.sem(values))
    else:
        low = high = values.mean()
    edges = [published + tolerance, published - tolerance]
    assume(min(abs(end - edge) for end in (low, high) for edge in edges) > 1e-9)
    whole = "beaten" if low > edges[0] else "reproduced" if low > edges[1] else "refuted" if high < edges[1] else None
    assert verdict.kind == (whole or "undecided")
    assert verdict.points[0].measured == values.mean()


@given(st.floats(0, 1), st.floats(0.01, 0.2), st.floats(0, 0.3), st.floats(0.001, 0.3))
def test_a_higher_figure_is_never_judged_worse(mean: float, noise: float, tolerance: float, more: float) -> None:
    order = ("refuted", "undecided", "reproduced", "beaten")
    kinds = [rules.rule(ahead, noise, tolerance, "", 3).kind for ahead in (mean - 0.5, mean - 0.5 + more)]
    assert order.index(kinds[0]) <= order.index(kinds[1])


def test_what_a_verdict_stands_on() -> None:
    """A drawn stand-in decides nothing; other data of the same form, and weights that were rebuilt, are said."""
    assert decide(True, "").standing_on().basis == ()
    assert decide(True, "").standing_on("rebuilt weights", "other data").basis == ("other data", "rebuilt weights")
    assert decide(True, "").standing_on("other data").kind == "reproduced"
    assert decide(True, "").standing_on("stand-in data").kind == "undecided"
    assert answered("").standing_on("stand-in data").kind == "answered"


def test_runs_that_are_not_there_are_not_run() -> None:
    assert checks.agrees(table(a=[0.9]), "test/accuracy", 0.9, 0.01, {"block": "b"}).kind == "not run"
    assert checks.reaches(table(a=[0.9]), {"test/f1": 0.5}, {"block": "a"}).kind == "not run"


def test_another_protocol_is_a_reduced_budget() -> None:
    rows = table(a=[0.9]).assign(**{"data.limit": 100})
    verdict = checks.agrees(rows, "test/accuracy", 0.9, 0.01, {"block": "a"}, {"data.limit": 60000})
    assert (verdict.kind, verdict.basis) == ("reproduced", ("reduced budget",))
    assert "data.limit" in verdict.evidence or "100" in verdict.evidence


def test_better_in_several_metrics_needs_each() -> None:
    rows = table(a=[0.9, 0.91, 0.9], b=[0.8, 0.81, 0.8])
    rows["minutes"] = [1.0, 1.1, 1.0, 0.5, 0.6, 0.5]
    first, second = {"block": "a"}, {"block": "b"}
    assert checks.better(rows, ["test/accuracy"], first, second).kind == "reproduced"
    assert checks.better(rows, ["test/accuracy", "minutes"], first, second).kind == "refuted"


def test_times_asks_for_a_factor_beyond_the_noise() -> None:
    rows = table(a=[100.0, 110.0, 105.0], b=[10.0, 10.0, 10.0])
    first, second = {"block": "a"}, {"block": "b"}
    assert checks.times(rows, "test/accuracy", first, second, 5).kind == "reproduced"
    assert checks.times(rows, "test/accuracy", first, second, 20).kind == "refuted"
    assert checks.times(rows, "test/accuracy", first, second, 10.5).kind == "undecided"


@given(st.floats(-0.1, 0.1), st.floats(1e-3, 0.02))
def test_alike_is_the_paired_t_test(shift: float, spread: float) -> None:
    base, noise = [0.9, 0.8, 0.7, 0.6], [spread, -spread, 0.5 * spread, 0.0]
    rows = table(a=[x + shift + n for x, n in zip(base, noise, strict=True)], b=base)
    rows["seed"] = [0, 1, 2, 3] * 2
    a, b = (rows.loc[rows["block"] == block, "test/accuracy"].to_numpy() for block in "ab")
    p = stats.ttest_rel(a, b).pvalue
    assume(abs(p - 0.05) > 1e-6)
    verdict = checks.alike(rows, "test/accuracy", {"block": "a"}, {"block": "b"}, ["seed"])
    assert verdict.kind == ("reproduced" if p > 0.05 else "refuted")
    assert checks.alike(rows.head(5), "test/accuracy", {"block": "a"}, {"block": "b"}, ["seed"]).kind == "not run"


def test_within_asks_for_each_value_of_a_column() -> None:
    rows = table(a=[0.5, 0.51], b=[0.9, 0.91])
    assert checks.within(rows, ["test/accuracy"], 0.4, 1.0, by="block").kind == "reproduced"
    assert checks.within(rows, ["test/accuracy"], 0.6, 1.0, by="block").kind == "refuted"
    assert checks.within(rows, ["test/accuracy"], 0.6, 1.0, of={"block": "b"}, by="block").kind == "reproduced"


def test_a_claim_that_cannot_be_judged_is_named() -> None:
    study = load_study("huji/rates")
    rows = table(adam=[0.9, 0.9]).assign(status="done", comparable=True)
    rows["optimizer.lr"], rows["data.limit"] = 0.1, [100, 200]
    with pytest.raises(InputError, match=r"by itself”': runs whose data\.limit differ can.t be averaged"):
        judge(study, study.claims[0], rows)
