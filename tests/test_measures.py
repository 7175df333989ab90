"""Columns that a study asks for of a run's epochs, and the checks that read them."""

import math
from typing import Any

import pytest
from pandas import DataFrame

from dlcourse import plots
from dlcourse.studies import checks
from dlcourse.studies.measures import measured
from dlcourse.studies.samples import format_metric, mode
from dlcourse.studies.study import parse_study

HISTORY = DataFrame(
    {
        "epoch": [1, 2, 3, 4, 5], "seconds": [2.0, 4.0, 6.0, 8.0, 10.0],
        "train/accuracy": [0.2, 0.5, 0.6, 0.55, 0.7], "val/accuracy": [0.3, 0.4, 0.5, 0.6, 0.6],
        "train/loss": [10.0, 4.0, 2.0, 2.5, 2.0],
    }
)  # fmt: skip
ROW = {"train/accuracy": 0.7, "test/accuracy": 0.6}


def of(name: str, **arguments: Any) -> float:
    return measured({"x": {name: arguments}}, ROW, HISTORY)["x"]


def test_figures_of_a_runs_epochs() -> None:
    assert of("epochs_to", metric="train/accuracy", value=0.55) == 3
    assert of("epochs_to", metric="train/loss", value=2.5) == 3
    assert of("epochs_to", metric="train/accuracy", value=0.9) == math.inf
    assert of("difference", first="train/accuracy", second="test/accuracy") == pytest.approx(0.1)
    assert of("rises", metric="train/loss") == 1
    assert of("jumps", metric="train/loss", last=2) == pytest.approx(0.5)
    assert of("end_share", metric="train/loss", share=0.2) == pytest.approx(0.5 / 8)
    assert of("rises", metric="train/loss", share=True) == 0.25
    assert of("share_above", first="train/accuracy", second="val/accuracy") == 0.6
    assert of("share_above", first="train/accuracy", second="val/accuracy", last=0.2) == 1
    assert of("late_change", metric="train/loss", share=0.4) == pytest.approx((2.25 - 3) / (2.25 - 10))
    assert measured({"x": {"rises": {"metric": "val/psnr"}}}, ROW, HISTORY) == {}


def test_a_measure_that_there_is_not_is_named() -> None:
    with pytest.raises(ValueError, match="measure x has no key epoch_to; did you mean"):
        parse_study("a/b", {"title": "t", "runs": {}, "measures": {"x": {"epoch_to": {}}}})


def test_what_verdicts_stand_on_is_one_of_a_few() -> None:
    assert parse_study("a/b", {"title": "t", "runs": {}, "basis": ["reduced budget"]}).basis == ["reduced budget"]
    with pytest.raises(ValueError, match=r"basis is a list of .*, not smaller budget"):
        parse_study("a/b", {"title": "t", "runs": {}, "basis": ["smaller budget"]})


def test_how_they_are_compared_and_written() -> None:
    assert [mode(m) for m in ("epochs to 60 %", "accuracy gap", "train_seconds", "test/accuracy", "val/loss")] == [
        "min", "min", "min", "max", "min",
    ]  # fmt: skip
    assert format_metric("epochs to 60 %", math.inf) == "never"
    table = DataFrame(
        {"block": ["a"] * 3 + ["b"] * 3, "seed": [0, 1, 2] * 2, "epochs to 60 %": [3, 4, 3] + [math.inf] * 3}
    )
    assert checks.better(table, "epochs to 60 %", {"block": "a"}, {"block": "b"}).kind == "reproduced"
    assert checks.better(table, "epochs to 60 %", {"block": "b"}, {"block": "a"}).kind == "refuted"


def test_rank_correlation() -> None:
    table = DataFrame({"x": range(12), "y": [v**2 for v in range(12)], "z": [3, 9, 1, 7, 2, 8, 4, 10, 0, 6, 5, 11]})
    assert checks.correlated(table, "x", "y", rising=True).kind == "reproduced"
    assert checks.correlated(table, "x", "y", rising=False).kind == "refuted"
    assert checks.correlated(table, "x", "z", rising=True).kind == "undecided"
    assert checks.correlated(table.head(3), "x", "y", rising=True).kind == "not run"


def test_a_small_gain_for_its_cost() -> None:
    rows = [
        {"depth": depth, "seed": seed, "test/accuracy": 0.97 + 1e-3 * depth + 1e-5 * seed, "train_seconds": 3.0 * depth}
        for depth in (1, 2, 3) for seed in (0, 1, 2)
    ]  # fmt: skip
    table = DataFrame(rows)
    given: dict[str, Any] = {"metric": "test/accuracy", "cost": "train_seconds", "key": "depth"}
    assert checks.small_gain(table, **given, gain=0.005, factor=2).kind == "reproduced"
    assert checks.small_gain(table, **given, gain=0.001, factor=2).kind == "refuted"
    assert checks.small_gain(table, **given, gain=0.005, factor=4).kind == "refuted"  # it costs less than claimed


def test_most_of_several_pairs() -> None:
    rows = [
        {"block": block, "optimizer.lr": lr, "seed": seed, "val/accuracy": good - lr,
         "test/accuracy": good - lr + seed * 1e-4}
        for block, good in (("a1", 0.9), ("b1", 0.8), ("a2", 0.9), ("b2", 0.85), ("a3", 0.7), ("b3", 0.9))
        for lr in (0.1, 0.2) for seed in (0, 1, 2)
    ]  # fmt: skip
    groups = {f"net {n}": [f"a{n}", f"b{n}"] for n in (1, 2, 3)}
    given: dict[str, Any] = {"metric": "test/accuracy", "chosen": "val/accuracy", "key": "optimizer.lr"}
    verdict = checks.mostly_better(DataFrame(rows), **given, groups=groups)
    assert verdict.kind == "reproduced"
    assert "at 0.1 against" in verdict.evidence
    turned = {name: list(reversed(pair)) for name, pair in groups.items()}
    assert checks.mostly_better(DataFrame(rows), **given, groups=turned).kind == "refuted"


def test_published_beside_measured_is_drawn() -> None:
    rows = [
        plots.Beside("validation accuracy", 0.78, 0.76, 0.02, "undecided"),
        plots.Beside("a loss far off", 0.01, 5.0, 0.1, "refuted"),
        plots.Beside("one run", 30.0, 29.0, math.nan, "reproduced"),
        plots.Beside("nothing to divide by", 0.0, 1.0, 0.1, "refuted"),
    ]
    figure = plots.beside_published(rows)
    (axes,) = figure.axes
    assert [label.get_text() for label in axes.get_yticklabels()] == [row.label for row in rows[:3]]
    assert "0.78 → 0.76" in [text.get_text() for text in axes.texts]
    assert len(plots.png(figure)) > 1000
