"""Runs by hand beside autograd's: which belong together, how far apart they are, and what that answers."""

import math
from collections.abc import Callable
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from pandas import DataFrame

from dlcourse import runs as run_files
from dlcourse.config.identity import flatten
from dlcourse.reports.page import Plot, Table
from dlcourse.reports.tables import run_record
from dlcourse.studies import twins
from dlcourse.studies.report import judge
from dlcourse.studies.runs import Runs
from dlcourse.studies.study import Study, load_study
from dlcourse.studies.verdict import Verdict

Train = Callable[..., Path]
COURSES = ("cmu", "huji", "ntnu")


def row(name: str, **values: Any) -> dict[str, Any]:
    return {
        "block": "a", "status": "done", "seed": 0, "hash": f"{name}{values.get('seed', 0)}", "model.name": name,
        "model._target_": name, "optimizer.lr": 0.1, "data.limit": None,
        "train_seconds": 2.0 if name == "scratch" else 1.0,
    } | values  # fmt: skip


# --- which belong together ---


def test_twins_differ_in_who_computes_the_gradients_and_in_nothing_else() -> None:
    rows = [row("scratch"), row("fcn"), row("fcn", seed=1), row("scratch", seed=1)]
    rows += [row("scratch", seed=2), row("fcn", seed=2, status="failed")]
    rows += [row("scratch", seed=3), row("fcn", seed=3, **{"optimizer.lr": 0.2})]
    rows += [row("scratch", seed=4), row("fcn", seed=4, block="b")]
    found = [(hand["hash"], twin["hash"]) for hand, twin in twins.pair_twins(DataFrame(rows))]
    assert found == [("scratch0", "fcn0"), ("scratch1", "fcn1")]


def test_another_check_is_asked_about_the_runs_by_hand_alone() -> None:
    study = load_study("cmu/scratch")
    values = {"comparable": True, "val/accuracy": 0.78, "optimizer.lr": 0.009, "block": "rates"}
    table = DataFrame([row("scratch", **values), row("fcn", **values | {"val/accuracy": 0.1})])
    (claim,) = (c for c in study.claims if c.text == "validation accuracy 78.25 %")
    assert judge(study, claim, table).kind == "reproduced"
    assert judge(study, claim, table.assign(block="net")).kind == "not run"


# --- how far apart ---


def test_how_far_apart_histories_are() -> None:
    past = DataFrame({"epoch": [1, 2, 3], "seconds": [1, 2, 3], "val/loss": [4.0, math.nan, 0.0], "val/accuracy": 0.5})
    assert twins.metrics_apart(past, past.assign(seconds=9)).tolist() == [0, 0, 0]
    other = past.assign(**{"val/loss": [5.0, math.nan, 0.0]})
    assert twins.metrics_apart(past, other).to_dict() == {1: pytest.approx(0.2), 2: 0, 3: 0}
    assert twins.metrics_apart(past, past.iloc[:2]).tolist() == [0, 0, math.inf]
    assert twins.metrics_apart(past, past.fillna(1.0)).tolist() == [0, math.inf, 0]
    weights = np.array([0.0, -4.0, math.inf])
    assert twins.distances(weights, weights, math.inf).tolist() == [0, 0, 0]
    assert twins.distances(np.array([1.0, math.inf]), np.array([2.0, 4.0]), 4.0).tolist() == [0.25, math.inf]


def asked(*distances: tuple[float, float, float]) -> Verdict:
    """The answer for pairs with these distances of metrics and weights, and the epochs in which they part."""
    rows = []
    for seed, (metrics, weights, epoch) in enumerate(distances):
        apart: dict[str, Any] = {
            "metrics apart": metrics,
            "weights apart": weights,
            "parts in": epoch,
            "gradients apart": 2e-15,
        }
        apart["network"] = "the network"
        rows += [row("scratch", seed=seed, **apart), row("fcn", seed=seed)]
    return twins.together(DataFrame(rows))


def test_by_hand_leads_where_autograd_leads_if_nothing_differs() -> None:
    same, other = (0.0, 3e-13, math.nan), (0.1, 1e-3, 4.0)
    evidence = asked(same, same).evidence
    assert evidence.startswith("yes: in 2 of 2 pairs of runs they are the same, the metrics of each epoch up to 0")
    assert (
        "weights in the end up to 3.0e-13 (as shares); at the same weights both ways give the same gradient" in evidence
    )
    assert evidence.endswith("up to a share of 2.0e-15; training by hand takes 2.00 times as long")
    assert asked(other).evidence.startswith("no: in 0 of 1 pairs of runs they are the same; the network parts in")
    evidence = asked(same, other, other).evidence
    assert evidence.startswith("not always: in 1 of 3 pairs")
    assert "up to 3.0e-13 (as shares); the network parts in epoch 4, 4; at the same" in evidence
    assert asked((0.0, 0.1, math.nan)).evidence.startswith("no")  # the weights of its best epoch are others


def test_no_answer_without_every_twin() -> None:
    assert asked((math.nan, math.nan, math.nan), (0.0, 0.0, math.nan)).kind == "not run"
    assert twins.together(DataFrame([row("scratch"), row("fcn")])).kind == "not run"
    assert twins.together(DataFrame([row("fcn", **{"metrics apart": 0.0})])).kind == "not run"


# --- the pages, on small runs ---

SMALL = ("trainer.max_epochs=7", "trainer.figures=false", "data.limit=108", "data.limit_eval=72")


@pytest.fixture(params=COURSES)
def small(request: pytest.FixtureRequest, train: Train) -> tuple[Any, Study, Runs]:
    """A course's module, its study, and of each block the first run by hand with its twin, measured."""
    study = load_study(f"{request.param}/scratch")
    rows = []
    for block, keys in study.blocks.items():
        first = {k: v[0] if isinstance(v, list) else v for k, v in keys.items() if not k.startswith("trainer.max")}
        for experiment in keys["experiment"]:
            given = [f"{k}={v}".lower() for k, v in (first | {"experiment": experiment}).items()]
            run = train(*given, *SMALL, run=f"{block}-{experiment.replace('/', '_')}")
            rows.append(flatten(run_files.read_config(run)) | {"block": block, "hash": run.name} | run_record(run))
    module = import_module(f"dlcourse.studies.{request.param}.scratch")
    known = Runs(DataFrame(rows), Path())
    return module, study, Runs(known.table.merge(module.measure(study, known), on="hash", how="left"), Path())


def test_every_page_compares_the_twins_and_shows_those_by_hand(small: tuple[Any, Study, Runs]) -> None:
    module, study, known = small
    items = module.beside_autograd(study, known)
    assert [item.title for item in items if isinstance(item, Table)][:2] == [
        "By hand beside autograd",
        "How far apart they are, and how long they take",
    ]
    plots = [item.name for item in items if isinstance(item, Plot)]
    assert plots and len(set(plots)) == len(plots)
    hand = twins.runs_by_hand(known.table)
    assert len(hand) == len(study.blocks) == len(items[1].frame)
    assert (hand["metrics apart"] <= 1e-6).all() and (hand["weights apart"] <= 1e-9).all()
    assert (hand["gradients apart"] <= 1e-12).all()
    assert known.table.loc[known.table["model.name"] != twins.HAND, "metrics apart"].isna().all()
    if "gradient error total" in known.table:
        assert (hand["gradient error total"].dropna() < 1e-4).all()
    for claim in study.claims:
        assert isinstance(judge(study, claim, known.table), Verdict)
    one = module.beside_autograd(study, Runs(known.table.iloc[1:2], Path()))  # without any run by hand
    assert not any(isinstance(item, Plot) for item in one)


def test_a_page_whose_runs_by_hand_are_missing_is_measured_too(small: tuple[Any, Study, Runs]) -> None:
    module, study, known = small
    without = Runs(known.table[known.table["model.name"] != twins.HAND], Path())
    assert list(module.measure(study, without)["metrics apart"].unique()) == [pytest.approx(math.nan, nan_ok=True)]
    claims = [judge(study, claim, without.table) for claim in study.claims]
    assert {verdict.kind for verdict in claims} == {"not run"}


def test_the_figures_of_several_studies_keep_their_numbers_of_runs() -> None:
    """What two parts measure under one name goes to the runs of each."""

    def part(block: str) -> twins.Part:
        def measured(study: Study, runs: Runs) -> DataFrame:
            return DataFrame({"hash": runs.done()["hash"], "lowest": float(len(block))})

        return twins.Part("cmu/q3", block, {block: block}, measured, lambda study, runs: [])

    table = DataFrame([row("scratch"), row("scratch", block="bb", hash="x")])
    study = replace(load_study("cmu/q3"), blocks={"a": {}, "bb": {}})
    found = twins.measure_twins(study, Runs(table, Path()), [part("a"), part("bb")]).set_index("hash")
    assert found["network"].to_dict() == {"scratch0": "a", "x": "bb"}
    assert found["lowest"].to_dict() == {"scratch0": 1.0, "x": 2.0}
    assert pd.isna(found["metrics apart"]).all()
