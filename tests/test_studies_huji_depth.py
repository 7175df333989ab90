"""Hebrew University's autoencoder depths and learning rates: claims decided both ways on made-up tables."""

import math
from typing import Any

import pytest
import torch
from pandas import DataFrame

from dlcourse.studies.huji import autoencoder_depth, rates
from dlcourse.studies.report import judge
from dlcourse.studies.study import load_study
from dlcourse.studies.verdict import Verdict

DEPTH, RATES = load_study("huji/autoencoder_depth"), load_study("huji/rates")


def coders(**figures: dict[str, list[Any]]) -> DataFrame:
    """A row for each seed of each block, whose columns have a value for each."""
    rows = []
    for block, columns in figures.items():
        for seed, values in enumerate(zip(*columns.values(), strict=True)):
            rows.append({"block": block, "seed": seed, **dict(zip(columns, values, strict=True))})
    return DataFrame(rows).assign(status="done", comparable=True)


def judged(words: str, table: DataFrame) -> Verdict:
    (claim,) = [claim for claim in DEPTH.claims if words in claim.text]
    return judge(DEPTH, claim, table)


def test_fewer_layers_are_better_where_both_figures_say_so() -> None:
    knn = autoencoder_depth.KNN
    good, bad = {"test/mse": [0.04, 0.041], knn: [0.7, 0.71]}, {"test/mse": [0.06, 0.061], knn: [0.4, 0.41]}
    assert judged("switched off", coders(first=good, deep=bad)).kind == "reproduced"
    assert judged("switched off", coders(first=bad, deep=good)).kind == "refuted"
    assert judged("switched off", coders(first=good)).kind == "not run"


def test_what_is_confused_counts_either_way_round_in_most_runs() -> None:
    def ruled(*taken: str) -> str:
        return judged("9 for a 4", coders(first={"taken for": list(taken)})).kind

    assert ruled("4 for 9", "9 for 4", "3 for 5") == "reproduced"
    assert ruled("4 for 9", "3 for 5") == "refuted"


def test_dead_units_are_listed_run_by_run() -> None:
    every = {block: {"dead": [0, 1]} for block in ("first", "deep", "second", "none")}
    assert judged("dead", coders(**every)).evidence.startswith("first: 0, 1; deep: 0, 1")


def test_numbers_near_zero_leave_dead_units_out() -> None:
    codes = torch.tensor([[0.0, 5.0], [0.0, 5.0], [10.0, 5.0], [-10.0, 5.0]])
    assert autoencoder_depth.near_zero(codes) == 0.5
    assert math.isnan(autoencoder_depth.near_zero(codes[:, 1:]))


def test_what_is_taken_for_what() -> None:
    y, seen = torch.tensor([0, 0, 1, 1, 2, 2]), torch.tensor([0, 1, 1, 1, 1, 1])
    assert autoencoder_depth.taken_for(y, seen, "abc") == "c for b"


def test_an_encoder_has_what_neighbours_tell_by_its_code() -> None:
    table = DataFrame(
        [
            {"block": "first", "hash": "a", "encoder": None, "test/accuracy": math.nan},
            {"block": "first_knn", "hash": "b", "encoder": "a", "test/accuracy": 0.7},
            {"block": "pca_knn", "hash": "c", "encoder": None, "test/accuracy": 0.4},
        ]
    )
    found = autoencoder_depth.derive(table).set_index("block")[autoencoder_depth.KNN]
    assert (found["first"], found["pca_knn"]) == (0.7, 0.4) and math.isnan(found["first_knn"])
    assert autoencoder_depth.derive(table.drop(columns="test/accuracy"))[autoencoder_depth.KNN].isna().all()


@pytest.mark.parametrize(("low", "kind"), [(0.895, "reproduced"), (0.5, "refuted")])
def test_no_search_is_needed_where_every_rate_is_good(low: float, kind: str) -> None:
    rows = [
        {"block": block, "seed": seed, "optimizer.lr": lr, "test/accuracy": value + seed / 1e4}
        for block in ("adam", "sgd")
        for lr, value in ((0.001, 0.9), (0.1, low))
        for seed in range(3)
    ]
    table = DataFrame(rows).assign(status="done", comparable=True)
    assert rates.needs_no_search(table, "adam", 0.01).kind == kind
    answer = rates.wider_range(table, ["adam", "sgd"], 0.01).evidence
    assert f"a factor of {100 if kind == 'reproduced' else 1}" in answer
    assert rates.needs_no_search(table, "nag", 0.01).kind == "not run"
    assert [c.check for c in RATES.claims] == ["needs_no_search", "wider_range"]
