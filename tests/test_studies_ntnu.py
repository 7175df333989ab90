"""The claims of NTNU's report, decided both ways on made-up tables; what is measured of runs, and the pages."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from pandas import DataFrame

from dlcourse.reports.page import Item, Plot, Table
from dlcourse.reports.tables import run_record
from dlcourse.studies import checks
from dlcourse.studies.ntnu import l2, logistic, softmax
from dlcourse.studies.report import page_items
from dlcourse.studies.runs import Runs, load_run
from dlcourse.studies.study import load_study
from dlcourse.studies.verdict import Verdict

Train = Callable[..., Path]
NONE = "not run"


def titles(items: list[Item]) -> list[str]:
    return [item.name if isinstance(item, Plot) else item.title for item in items if isinstance(item, Plot | Table)]


# --- logistic ---


def stops(fixed: int, shuffled: Sequence[int], **columns: Any) -> DataFrame:
    """Runs that stop in these passes, a few steps into them."""
    rows = [
        {"block": "unshuffled", "steps": 31 * fixed + 16, "spike/accuracy": 0.05, "worst batch": 18, "after it": 0.94}
    ]
    rows += [
        {"block": "shuffled", "steps": 31 * n + 1, "spike/accuracy": 0.01, "worst batch": 3, "after it": 0.97}
        for n in shuffled
    ]
    return DataFrame(rows).assign(elsewhere=0.976, **columns)


def test_a_run_without_shuffling_stops_in_exactly_that_pass() -> None:
    verdict = logistic.stops_after(stops(33, [16]), "unshuffled", 33)
    assert (verdict.kind, verdict.evidence) == ("reproduced", "training stops exactly in pass 33")
    assert logistic.stops_after(stops(34, [16]), "unshuffled", 33).kind == "refuted"
    assert logistic.stops_after(stops(32, [16]), "unshuffled", 33).kind == "refuted"


def test_a_pass_is_counted_from_0_as_the_course_prints_it() -> None:
    table = DataFrame({"steps": [1, 31, 32, 1039]})
    assert logistic.stop_passes(table).tolist() == [0, 0, 1, 33]


def test_a_shuffled_stop_is_reproduced_where_it_is_within_the_draws() -> None:
    verdict = logistic.stops_after(stops(33, [10, 20, 30]), "shuffled", 16)
    assert verdict.kind == "reproduced"
    assert "pass 20.0 ± 10.0 (from 10 to 30, median 20, n = 3); 1 of the draws" in verdict.evidence
    assert logistic.stops_after(stops(33, [17, 20, 30]), "shuffled", 16).kind == "refuted"


def test_shuffling_halves_the_training_where_nine_of_ten_draws_do() -> None:
    assert logistic.shuffling_halves(stops(33, [16] * 9 + [40])).kind == "reproduced"
    verdict = logistic.shuffling_halves(stops(33, [16] * 8 + [20, 40]))
    assert verdict.kind == "refuted"
    assert "of 10 draws 8 stop by half of that and 9 before it" in verdict.evidence


def test_questions_on_the_stop_are_answered_with_the_draws() -> None:
    assert logistic.stop_distribution(stops(33, [22, 10, 14])).evidence.endswith("10, 14, 22")
    evidence = logistic.spikes(stops(33, [16, 20])).evidence
    assert "number 18 of a pass: 94.00 % right after it, 97.60 % after the others" in evidence
    assert "5.00 points in fixed order, 1.00 ± 0.00 (at most 1.00) shuffled" in evidence


def test_the_change_of_the_order_is_what_smooths_where_one_random_order_is_as_rough() -> None:
    def ruled(once: float) -> str:
        spikes = [("unshuffled", [0.01]), ("once", [once, once + 1e-5]), ("shuffled", [0.004, 0.00401])]
        rows = [{"block": block, "seed": i, "spike/accuracy": v} for block, vs in spikes for i, v in enumerate(vs)]
        return logistic.order_changes(DataFrame(rows)).kind

    assert [ruled(once) for once in (0.03, 0.0004, 0.007)] == ["reproduced", "refuted", "undecided"]
    assert logistic.order_changes(DataFrame([{"block": "once", "spike/accuracy": 0.1}])).kind == "not run"


@pytest.mark.parametrize(
    "check",
    [
        lambda t: logistic.stops_after(t, "shuffled", 16),
        logistic.shuffling_halves,
        logistic.stop_distribution,
        logistic.spikes,
    ],
)
def test_no_verdict_on_stops_without_all_draws(check: Callable[[DataFrame], Any]) -> None:
    table = stops(33, [16, 20])
    assert check(table).kind != NONE
    table.loc[2, ["steps", "spike/accuracy"]] = np.nan
    assert check(table).kind == NONE
    assert check(table[table["block"] == "unshuffled"]).kind == NONE


@pytest.fixture
def made(tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """A row of a table whose run has this metrics.csv."""

    def run(block: str, read: DataFrame, **values: Any) -> dict[str, Any]:
        folder = tmp_path / f"{block}-{values.get('seed', 0)}"
        folder.mkdir()
        read.to_csv(folder / "metrics.csv", index=False)
        return {"block": block, "hash": folder.name, "run": folder, "status": "done", **values}

    return run


def test_the_batch_behind_the_spikes_is_found(made: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    step = np.arange(1, 1040, 6)
    accuracy = np.where((step - 1) % 31 == 18, 0.93, 0.97)
    accuracy[:6] = 0.5  # before anything is learned
    row = made("unshuffled", DataFrame({"step": step, "val/accuracy": accuracy}))
    found = logistic.measure(load_study("ntnu/logistic"), Runs(DataFrame([row]), tmp_path)).iloc[0]
    assert found["worst batch"] == 18
    assert (found["spike/accuracy"], found["after it"], found["elsewhere"]) == pytest.approx((0.04, 0.93, 0.97))


# --- softmax ---


def long(end: float = 0.287, lowest: float = 0.2869, n: int = 3) -> DataFrame:
    """Runs over 200 passes with this last and this lowest validation loss."""
    row = {
        "block": "long", "steps": 31187, "lowest": lowest, "lowest at": 30000.0, "val/loss": lowest,
        "at 3000/train/loss": 0.326, "at end/train/loss": 0.235, "at 3000/val/loss": 0.328, "at end/val/loss": end,
        "at 3000/train/accuracy": 0.911, "at end/train/accuracy": 0.935,
        "at 3000/val/accuracy": 0.908, "at end/val/accuracy": 0.918,
        "at 8200/val/loss": 0.298, "at 8200/train/accuracy": 0.924, "at 8200/val/accuracy": 0.915,
    }  # fmt: skip
    early = {"block": "early", "steps": 7000, "val/loss": 0.3}
    return DataFrame([row] * n + [early, early | {"steps": 8000}])


def test_overfitting_is_a_validation_loss_that_has_risen_by_the_end() -> None:
    verdict = softmax.overfits(long(), 3000)
    assert verdict.kind == "refuted"
    assert "validation loss goes from 0.3280 to 0.2870, validation accuracy from 0.9080 to 0.9180" in verdict.evidence
    assert softmax.overfits(long(end=0.35), 3000).kind == "reproduced"


def test_a_rise_is_told_from_a_gap_that_widens() -> None:
    evidence = softmax.rises_or_widens(long(), 3000).evidence
    assert evidence.startswith("only the gap widens") and "from 0.30 to 1.70 points" in evidence
    assert softmax.rises_or_widens(long(end=0.30), 3000).evidence.startswith("it rises")


def test_the_solution_is_reached_within_what_can_be_read_off_its_plot() -> None:
    given: dict[str, Any] = {
        "step": 8200,
        "published": {"val/loss": 0.297, "train/accuracy": 0.923, "val/accuracy": 0.916},
    }
    assert softmax.as_the_solution(long(), **given).kind == "reproduced"
    assert softmax.as_the_solution(long(), **given | {"published": {"val/accuracy": 0.909}}).kind == "refuted"


def test_where_early_stopping_ends_it() -> None:
    assert softmax.early_stop(long()).evidence.startswith(
        "at step 7500 ± 707, where the best validation loss was 0.3000"
    )


@pytest.mark.parametrize(
    "check",
    [
        lambda t: softmax.overfits(t, 3000),
        lambda t: softmax.rises_or_widens(t, 3000),
        lambda t: softmax.as_the_solution(t, 8200, {"val/loss": 0.297, "train/accuracy": 0.923}),
        softmax.early_stop,
    ],
)
def test_no_verdict_on_overfitting_without_the_runs(check: Callable[[DataFrame], Any]) -> None:
    assert check(long()).kind != NONE
    assert check(long().drop(columns=["at 3000/val/loss", "at 8200/val/loss", "val/loss"])).kind == NONE
    assert check(long().assign(**{"at end/val/loss": np.nan, "at 8200/val/loss": np.nan, "steps": np.nan})).kind == NONE
    assert check(long().iloc[:0]).kind == NONE


def test_curves_are_measured_by_means_of_two_passes(made: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    step = np.arange(1, 3200, 31)
    falling = DataFrame({"step": step} | dict.fromkeys(softmax.METRICS, 1 - step / 10_000))
    rows = [made("long", falling), made("early", falling.iloc[:5], seed=1)]
    found = softmax.measure(load_study("ntnu/softmax"), Runs(DataFrame(rows), tmp_path)).set_index("hash")
    at = step[step <= 3000][-10:]
    assert found.loc["long-0", "at 3000/val/loss"] == pytest.approx(1 - at.mean() / 10_000)
    assert found.loc["long-0", "lowest at"] == step[-1] and found["at 8200/val/loss"].isna()["long-0"]
    assert found.loc["early-1"].isna().all()  # too short for one mean


# --- l2 ---

DECAYS = (0.0, 0.002, 2.0)


def penalised(**columns: Sequence[float]) -> DataFrame:
    """Three λ, two seeds each; columns by λ."""
    given: dict[str, Sequence[float]] = {
        "val/accuracy": (0.915, 0.914, 0.805), "val/loss": (0.30, 0.303, 1.298), "train/loss": (0.284, 0.29, 1.311),
        "train/accuracy": (0.922, 0.921, 0.80), "norm": (22.0, 20.0, 0.36), "objective": (0.284, 0.31, 1.675),
        "lowest": (np.nan, 0.282, 1.671), "loss there": (np.nan, 0.235, 1.311), "exact to": (np.nan, 1e-4, 3e-7),
    } | columns  # fmt: skip
    rows = [{"optimizer.weight_decay": d, "seed": s} | {k: v[i] for k, v in given.items()}
            for i, d in enumerate(DECAYS) for s in (0, 1)]  # fmt: skip
    return DataFrame(rows)


def test_the_loss_is_above_one_at_the_largest_penalty() -> None:
    assert l2.loss_above_one(penalised(), 2.0).kind == "reproduced"
    assert l2.loss_above_one(penalised(), 0.002).kind == "refuted"


def test_training_works_where_it_ends_near_the_lowest_objective() -> None:
    verdict = l2.does_not_work(penalised(), 2.0)
    assert verdict.kind == "refuted"
    assert "J = 1.6750 ± 0.0000, 0.24 % above the lowest that any weights have, 1.6710" in verdict.evidence
    assert l2.does_not_work(penalised(objective=(0.3, 0.3, 1.8)), 2.0).kind == "reproduced"


def test_a_loss_above_one_is_no_fault_where_the_minimum_has_it() -> None:
    assert l2.fault_or_result(penalised(), 2.0).evidence.startswith("the correct result: at λ = 2 the lowest J")
    other = penalised(**{"loss there": (np.nan, 0.2, 0.8)})
    assert l2.fault_or_result(other, 2.0).evidence.startswith("a fault")


def test_the_penalty_alters_the_minimum() -> None:
    verdict = l2.expression_altered(penalised())
    assert verdict.kind == "reproduced"
    assert "only 0.70 points higher in training than in validation" in verdict.evidence
    assert l2.expression_altered(penalised(**{"train/loss": (0.3, 0.28, 1.3)})).kind == "refuted"
    assert l2.expression_altered(penalised(**{"val/accuracy": (0.80, 0.81, 0.82)})).kind == "refuted"


def best_decay(table: DataFrame) -> Verdict:
    return checks.listed(table, "val/accuracy", l2.DECAY, ranked=True)


def test_questions_on_the_penalty_are_answered_for_each() -> None:
    assert best_decay(penalised()).evidence == (
        "validation accuracy: 0: 91.50 ± 0.00 % (2 runs); 0.002: 91.40 ± 0.00 % (2 runs); 2: 80.50 ± 0.00 % (2 runs)"
    )
    assert l2.norms_fall(penalised()).evidence.startswith(
        "it falls with each step of λ: 22.000 ± 0.000 at λ = 0, 20.000"
    )
    assert l2.norms_fall(penalised(norm=(1, 2, 0.5))).evidence.startswith("it does not fall throughout")


@pytest.mark.parametrize(
    "check",
    [
        lambda t: l2.loss_above_one(t, 2.0),
        lambda t: l2.does_not_work(t, 2.0),
        lambda t: l2.fault_or_result(t, 2.0),
        l2.expression_altered,
        best_decay,
        l2.norms_fall,
    ],
)
def test_no_verdict_on_the_penalty_without_the_runs(check: Callable[[DataFrame], Any]) -> None:
    table = penalised()
    assert check(table).kind != NONE
    table.loc[table.index[-1], ["val/loss", "val/accuracy", "norm", "lowest"]] = np.nan
    assert check(table).kind == NONE


def test_the_lowest_objective_is_lower_than_any_and_known_exactly() -> None:
    torch.manual_seed(0)
    x, y = torch.randn(60, 4), torch.randint(3, (60,))
    net = torch.nn.Linear(4, 3)
    found = l2.minimise(net, x, y, 0.1)
    weights = torch.cat([p.detach().flatten() for p in net.parameters()])
    assert found["exact to"] < 1e-6
    assert found["lowest"] == pytest.approx(found["loss there"] + 0.05 * float(weights.square().sum()), abs=1e-6)
    for _ in range(20):
        with torch.no_grad():
            other = weights + 0.05 * torch.randn(15)
            logits = x @ other[:12].view(3, 4).T + other[12:]
            assert F.cross_entropy(logits, y) + 0.05 * other.square().sum() > found["lowest"]


# --- the pages, on small runs ---


def known(name: str, made: dict[str, tuple[Path, dict[str, Any]]], folder: Path) -> Runs:
    rows = [run_record(run) | {"hash": key} | values for key, (run, values) in made.items()]
    runs = Runs(DataFrame(rows), folder)
    extra = {"logistic": logistic, "softmax": softmax, "l2": l2}[name].measure(load_study(f"ntnu/{name}"), runs)
    return Runs(runs.table.merge(extra, on="hash", how="left"), folder)


SMALL = ("data.limit=null", "data.limit_eval=200", "trainer.figures=false")


def test_the_page_of_logistic_regression(train: Train, tmp_path: Path) -> None:
    made = {}
    for block, shuffle in (("unshuffled", "false"), ("shuffled", "true")):
        overrides = ("experiment=ntnu/logistic", f"data.shuffle={shuffle}", "trainer.max_epochs=30")
        made[block] = (train(*overrides, *SMALL, run=block), {"block": block})
    runs = known("logistic", made, tmp_path)
    assert (runs.table["steps"] == 1 + 29 * 6).all()
    shown = titles(page_items(load_study("ntnu/logistic"), runs))
    assert shown == ["When it stops", "stops", "loss", "accuracy", "shuffling"]
    alone = Runs(runs.table[runs.table["block"] == "unshuffled"], tmp_path)
    assert "stops" not in titles(page_items(load_study("ntnu/logistic"), alone))


def test_the_page_of_softmax_regression(train: Train, tmp_path: Path) -> None:
    made = {}
    for block in ("early", "long"):
        run = train("experiment=ntnu/softmax", "trainer.max_epochs=12", *SMALL, run=block)
        made[block] = (run, {"block": block})
    items = page_items(load_study("ntnu/softmax"), known("softmax", made, tmp_path))
    assert titles(items) == ["Along the way", "loss", "accuracy"]
    assert isinstance(items[0], Table)
    assert items[0].frame["step"].tolist() == ["end, 342", "end, 342", "about 8200"]


def test_the_page_of_the_penalty(train: Train, tmp_path: Path) -> None:
    made = {}
    for decay in (0.0, 0.02, 2.0):
        overrides = ("experiment=ntnu/l2", f"optimizer.weight_decay={decay}", "trainer.max_epochs=12")
        values = {"optimizer.weight_decay": decay, "seed": 0, "block": "sweep"}
        made[f"{decay}"] = (train(*overrides, *SMALL, run=str(decay)), values)
    runs = known("l2", made, tmp_path)
    table: dict[float, dict[str, Any]] = {row["optimizer.weight_decay"]: row for row in runs.table.to_dict("records")}  # type: ignore[misc]
    weights = list(load_run(table[2.0]["run"])[0].parameters())
    assert sum(w.numel() for w in weights) == 7850
    assert table[2.0]["norm"] == pytest.approx(sum(float(w.detach().square().sum()) for w in weights))
    assert table[2.0]["objective"] == pytest.approx(table[2.0]["train/loss"] + table[2.0]["norm"], rel=1e-5)
    assert np.isnan(table[0.0]["lowest"]) and table[2.0]["lowest"] < table[2.0]["objective"]
    shown = titles(page_items(load_study("ntnu/l2"), runs))
    assert shown == ["Each λ", "weights_0", "weights_2", "accuracy_2022", "accuracy_2021", "accuracy", "norms"]


def test_weight_decay_is_the_gradient_of_the_penalty_biases_included(train: Train) -> None:
    """One step from weights that are not zero moves them by lr·(∇C + λw), as central differences of J say."""
    options = ("data.batch_size=all", "data.steps_per_epoch=1", "trainer.selection=last", "data.first_epoch_steps=null")
    runs = [
        train("experiment=ntnu/l2", f"trainer.max_epochs={n}", *options, *SMALL, "data.drop_last=false", run=str(n))
        for n in (1, 2)
    ]
    (task, data), (after, _) = (load_run(run) for run in runs)
    x, y = data.splits["train"].all()
    x = data.transform(x).double().flatten(1)
    before, moved = (torch.cat([p.detach().double().flatten() for p in t.parameters()]) for t in (task, after))

    def objective(w: torch.Tensor) -> float:
        return float(F.cross_entropy(x @ w[:7840].view(10, 784).T + w[7840:], y) + w.square().sum())

    for i in (300, 4_000, 7_845):
        step = torch.zeros(7850, dtype=torch.float64)
        step[i] = 1e-4
        slope = (objective(before + step) - objective(before - step)) / 2e-4
        assert float((before - moved)[i]) == pytest.approx(0.01 * slope, rel=1e-3, abs=1e-8)
