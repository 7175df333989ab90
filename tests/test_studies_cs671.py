"""CS671's optimizers: claims decided both ways on made-up tables; stopping rules and optimizers with known answers."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pandas import DataFrame

from dlcourse.callbacks import EarlyStopping
from dlcourse.data.splitting import SPLITS
from dlcourse.reports.page import Plot, Table
from dlcourse.runs import write_confusion
from dlcourse.studies.cs671 import discussion, optimizers
from dlcourse.studies.cs671.stopping import patience_for, stop_epoch
from dlcourse.studies.report import judge, page_items
from dlcourse.studies.runs import Runs
from dlcourse.studies.study import load_study
from dlcourse.studies.verdict import Verdict

STUDY = load_study("cs671/optimizers")
PUBLISHED: list[dict[Any, Any]] = STUDY.published["accuracy"].to_dict("records")
NONE = "not run"


# --- stopping rules ---


def test_the_rules_stop_where_they_should() -> None:
    falling = [1.0, 0.5, 0.4, 0.39995, 0.3, 0.29998, 0.29996, 0.29994]
    assert stop_epoch(falling, "change", 1e-4) == 4
    assert stop_epoch(falling, "change", 1e-4, patience=2) == 7
    assert stop_epoch(falling, "improvement", 1e-4, patience=1) == 4
    assert stop_epoch(falling, "improvement", 1e-4, patience=3) == 8
    assert stop_epoch(falling, "improvement", 1e-4, patience=4) is None
    rising = [1.0, 1.1, 1.2]  # not a small change, but no improvement either
    assert stop_epoch(rising, "change", 1e-4) is None
    assert stop_epoch(rising, "improvement", 1e-4, patience=2) == 3
    assert stop_epoch([], "change") is None and stop_epoch([], "improvement") is None


def test_small_steps_add_up_to_an_improvement_while_patience_lasts() -> None:
    slow = [1 - 4e-5 * i for i in range(50)]  # 3 steps are more than 1e-4
    assert stop_epoch(slow, "change") == 2
    assert stop_epoch(slow, "improvement", patience=2) == 3
    assert stop_epoch(slow, "improvement", patience=3) is None


def test_the_patience_for_an_epoch_does_not_stop_before_it() -> None:
    slowing = [1 / epoch for epoch in range(1, 2000)]
    for epoch in (101, 500, 1500):
        patience = patience_for(slowing, epoch)
        assert patience is not None
        stop = stop_epoch(slowing, "improvement", patience=patience)
        assert stop is None or stop >= epoch
        earlier = stop_epoch(slowing, "improvement", patience=patience - 1)
        assert patience == 1 or (earlier is not None and earlier < epoch)
    assert patience_for(slowing, 2000) is None


def test_the_rule_on_paper_is_the_callback_s() -> None:
    losses = [float(1 / epoch + 0.01 * math.sin(epoch)) for epoch in range(1, 60)]
    rule = EarlyStopping("train/loss", patience=3, min_delta=0.02)
    stops = [bool(rule._evaluate_stopping_criteria(torch.tensor(loss))[0]) for loss in losses]
    assert stops.index(True) + 1 == stop_epoch(losses, "improvement", 0.02, 3)


# --- question 1 ---


def networks(better: float = 0.0, seeds: int = 2, **changes: Any) -> DataFrame:
    """Runs that give the published figures, every accuracy better by `better`; changes: columns of all rows."""
    rows = []
    for row in PUBLISHED:
        for seed in range(seeds if row["optimizer"] == "Adam" else 1):
            rows.append(
                {
                    "optimizer": row["optimizer"], "hidden": row["hidden"], "seed": seed,
                    "train/accuracy": row["train/accuracy"] + better, "val/accuracy": row["val/accuracy"] + better,
                    "test/accuracy": row["val/accuracy"] + better, "epochs": row["epochs"],
                    "train_seconds": 2.0 * row["epochs"], "stops/patience 5": float(row["epochs"]), "status": "done",
                }
                | {f"{split}/{name}": row["val/accuracy"] for split in SPLITS for name in ("precision", "recall", "f1")}
                | changes
            )  # fmt: skip
    return DataFrame(rows)


def at(table: DataFrame, optimizer: str, hidden: str = optimizers.BEST) -> Any:
    return (table["optimizer"] == optimizer) & (table["hidden"] == hidden)


def validation(table: DataFrame) -> Verdict:
    return optimizers.accuracies(table, "val/accuracy", PUBLISHED)


def test_a_table_is_decided_by_its_worst_cell() -> None:
    verdict = validation(networks())
    assert verdict.kind == "reproduced"
    assert "20 of 20 at the published figure or better" in verdict.evidence
    assert validation(networks(-0.004)).kind == "reproduced"
    assert validation(networks(0.006)).kind == "beaten"
    table = networks()
    table.loc[at(table, "SGD"), "val/accuracy"] = 0.97
    verdict = validation(table)
    assert verdict.kind == "refuted"
    assert "hidden (30,20,10), optimizer SGD: 97.00 %, published 98.34 %" in verdict.evidence
    table.loc[at(table, "SGD"), "val/accuracy"] = np.nan
    assert validation(table) == Verdict(NONE, "no finished run with hidden (30,20,10), optimizer SGD")


def test_descent_with_fewer_epochs_than_published_decides_nothing() -> None:
    table = networks()
    table.loc[at(table, "VGD"), ["val/accuracy", "epochs"]] = [0.93, 5000]
    verdict = validation(table)
    assert verdict.kind == "reproduced"
    assert "left out, with fewer epochs than published: hidden (30,20,10), optimizer VGD" in verdict.evidence
    table.loc[at(table, "VGD"), "epochs"] = 33000
    assert validation(table).kind == "refuted"


def test_the_best_architecture_is_the_one_with_the_best_mean() -> None:
    verdict = optimizers.best_architecture(networks(), optimizers.BEST, PUBLISHED)
    assert verdict.kind == "refuted"  # it is not in the report's own table
    assert "in the report's own table with Adam, RMSProp (" in verdict.evidence
    assert "SGD: (25,15,8)" in verdict.evidence
    table = networks()
    table.loc[table["hidden"] == optimizers.BEST, "val/accuracy"] = 0.99
    assert optimizers.best_architecture(table, optimizers.BEST, PUBLISHED).kind == "reproduced"
    table.loc[at(table, "VGD"), "val/accuracy"] = np.nan
    assert optimizers.best_architecture(table, optimizers.BEST, PUBLISHED).kind == NONE


def test_epochs_hold_within_a_factor() -> None:
    assert optimizers.epochs(networks(), PUBLISHED).kind == "reproduced"
    table = networks()
    table.loc[at(table, "NAG"), "stops/patience 5"] = 120.0
    verdict = optimizers.epochs(table, PUBLISHED)
    assert verdict.kind == "refuted"
    assert "NAG 120 to 303 (300 to 320)" in verdict.evidence
    assert "19 of 20 within a factor of 2" in verdict.evidence
    table.loc[table["optimizer"] == "VGD", ["stops/patience 5", "epochs"]] = [np.nan, 33000]
    verdict = optimizers.epochs(table, PUBLISHED)
    assert "VGD not within 33000" in verdict.evidence and "15 of 20 within" in verdict.evidence
    table.loc[table["optimizer"] == "VGD", "epochs"] = 5000
    assert "15 of 16 within" in optimizers.epochs(table, PUBLISHED).evidence
    table.loc[table["optimizer"] == "VGD", "epochs"] = np.nan
    assert optimizers.epochs(table, PUBLISHED).kind == NONE
    assert optimizers.epochs(networks().drop(columns="stops/patience 5"), PUBLISHED).kind == NONE


def test_where_the_rules_stop_full_batch_descent() -> None:
    stops = {"stops/change": 2900.0} | {f"stops/patience {p}": 2900.0 + 100 * p for p in optimizers.PATIENCES}
    table = networks(rises=0).assign(**stops, **{"patience/longest": 170, "patience/published": 160.0})
    verdict = optimizers.vgd_stops(table, 31625)
    assert verdict.kind == "answered"
    assert "a change below 10⁻⁴: epoch 2900" in verdict.evidence
    assert "to get to epoch 31625 it takes a patience of 160" in verdict.evidence
    table["patience/published"], table["stops/patience 10"] = np.nan, np.nan
    verdict = optimizers.vgd_stops(table, 31625)
    assert "patience 10: not within the run" in verdict.evidence
    assert "a patience of 171 or more does not stop within" in verdict.evidence
    assert optimizers.vgd_stops(networks(), 31625).kind == NONE


def test_full_batch_descent_goes_down_or_not() -> None:
    assert "yes: the loss rose in 0 of" in optimizers.vgd_descends(networks(rises=0)).evidence
    assert "no: the loss rose in 12 of" in optimizers.vgd_descends(networks(rises=3)).evidence
    assert optimizers.vgd_descends(networks()).kind == NONE


def test_precision_recall_and_f1_are_the_accuracy_or_not() -> None:
    table = networks()
    for split in SPLITS:
        table[f"{split}/accuracy"] = table["val/accuracy"]
    assert optimizers.like_accuracy(table).kind == "reproduced"
    table["val/precision"] += 0.001
    verdict = optimizers.like_accuracy(table)
    assert verdict.kind == "refuted"
    assert "0.00100 (val precision)" in verdict.evidence
    table["val/f1"] = np.nan
    assert optimizers.like_accuracy(table).kind == NONE


def test_seconds_an_epoch() -> None:
    rows = STUDY.published["best"].to_dict("records")
    evidence = optimizers.seconds_an_epoch(networks(), rows).evidence
    assert "Adam 2.00 s (4.80)" in evidence
    assert "the three differ 1.0 times here, 12 times in the report" in evidence
    assert optimizers.seconds_an_epoch(networks(epochs=np.nan), rows).kind == NONE


# --- theory ---


def test_the_input_of_length_one_that_excites_a_unit_most_is_its_weight_image() -> None:
    generator = torch.Generator().manual_seed(1)
    w = torch.randn(784, generator=generator)
    others = torch.nn.functional.normalize(torch.randn(1000, 784, generator=generator), dim=1)
    assert (others @ w).max() < w / w.norm() @ w == pytest.approx(float(w.norm()), rel=1e-5)


def stepped(optimizer: type[torch.optim.Optimizer], steps: int, **options: Any) -> float:
    """A weight that starts at 1 after some steps down w², whose gradient is 2w."""
    w = torch.nn.Parameter(torch.tensor(1.0, dtype=torch.float64))
    rule = optimizer([w], **options)
    for _ in range(steps):
        rule.zero_grad()
        (w**2).backward()
        rule.step()
    return float(w.detach())


def test_the_optimizers_are_the_course_s() -> None:
    assert stepped(torch.optim.Adam, 1, lr=0.1) == pytest.approx(0.9)  # bias corrected: the rate times the sign
    w, v = 1.0, 0.0
    for _ in range(3):  # Nesterov: the gradient where the momentum will lead; torch's weight is that point
        v = 0.9 * v - 0.1 * 2 * (w + 0.9 * v)
        w += v
    assert stepped(torch.optim.SGD, 3, lr=0.1, momentum=0.9, nesterov=True) == pytest.approx(w + 0.9 * v)
    w, v = 1.0, 0.0
    for _ in range(3):
        v = 0.99 * v + 0.01 * (2 * w) ** 2
        w -= 0.1 * 2 * w / (math.sqrt(v) + 1e-8)
    assert stepped(torch.optim.RMSprop, 3, lr=0.1, alpha=0.99, eps=1e-8) == pytest.approx(w)


# --- measures and pages ---


@pytest.fixture
def finished(tmp_path: Path) -> Runs:
    """One architecture's five runs, with curves and confusions; the other architectures are missing."""
    rows: list[dict[Any, Any]] = networks(seeds=1).to_dict("records")
    for i, row in enumerate(rows):
        row |= {"hash": f"{i}", "block": "all", "run": None, "minutes": 1.0}
        if row["hidden"] != optimizers.BEST:
            row |= {"status": "missing"} | dict.fromkeys(("train/accuracy", "val/accuracy", "epochs"), math.nan)
            continue
        row["run"] = run = tmp_path / row["hash"]
        run.mkdir()
        lines = ["epoch,train/loss,val/loss,train/accuracy,val/accuracy"]
        lines += [f"{e},{1 / e},{1 / e if e % 100 == 0 else ''},0.9,0.9" for e in range(1, 1001)]
        (run / "metrics.csv").write_text("\n".join(lines) + "\n")
        for split in SPLITS:
            write_confusion(run, split, [[9, 1], [0, 10]], ["0", "2"])
    return Runs(DataFrame(rows), tmp_path)


def test_what_is_measured_of_curves(finished: Runs) -> None:
    found, full_batch, *_ = optimizers.measure(STUDY, finished).to_dict("records")
    curve = [1 / epoch for epoch in range(1, 1001)]
    assert found["stops/change"] == stop_epoch(curve, "change") == 101
    assert found["rises"] == 0
    assert found["patience/published"] == 1  # SGD: 28 epochs
    assert math.isnan(full_batch["patience/published"])  # of 31625 epochs there are 1000


def test_the_page_of_the_optimizers(finished: Runs) -> None:
    extra = optimizers.measure(STUDY, finished)
    table = finished.table.drop(columns="stops/patience 5").merge(extra, on="hash", how="left")
    items = page_items(STUDY, Runs(table, finished.folder))
    first = [item for item in items if isinstance(item, Table)][1].frame.set_index("architecture")
    assert first.loc["(30,20,10)", "SGD"] == "98.34 % (98.34 %)"
    assert first.loc["(15,30,10)", "SGD"] == "– (98.15 %)"
    drawn = {item.name: item for item in items if isinstance(item, Plot)}
    assert {"losses_30-20-10", "curves_vgd", "confusion_2_train", "confusion_4_test"} <= set(drawn)
    assert len(drawn) == sum(isinstance(item, Plot) for item in items)
    assert list(first.columns) == ["SGD", "VGD", "NAG", "RMSProp", "Adam"]


def test_a_long_history_is_drawn_with_the_epochs_that_were_validated(finished: Runs) -> None:
    figure = optimizers.learning_curves(STUDY, finished, {"hidden": optimizers.BEST})[0].figure
    train, val = figure.axes[0].get_lines()
    assert np.asarray(val.get_xdata()).tolist() == list(range(100, 1001, 100))
    assert {1, 1000} <= set(np.asarray(train.get_xdata()).tolist())


def test_names_follow_from_the_config() -> None:
    table = DataFrame({"experiment": ["cs671/fcnn_vgd"], "model.net.hidden": ["30,20,10"]})
    row = optimizers.derive(table).iloc[0]
    assert (row["optimizer"], row["hidden"]) == ("VGD", optimizers.BEST)
    assert math.isnan(row["minutes"])
    assert optimizers.derive(table.assign(train_seconds=90.0))["minutes"].iloc[0] == 1.5


def test_confusions_are_those_of_the_test_set(tmp_path: Path) -> None:
    (tmp_path / "confusion.csv").write_text("true,0,2,7\n0,9,1,0\n2,0,6,4\n7,0,2,8\n", encoding="utf-8")
    found = discussion.confusions(tmp_path)
    assert found == {"least recall": 0.6, "confused": "2/7"}
    table = networks().assign(**{str(key): value for key, value in found.items()})
    assert discussion.diagonals(table, least=0.5).kind == "reproduced"
    assert discussion.diagonals(table, least=0.7).kind == "refuted"
    assert "SGD: 2/7 in 4 of 4 runs" in discussion.most_confused(table).evidence
    assert discussion.diagonals(table.drop(columns="least recall"), least=0.7).kind == NONE


def test_the_claims_of_the_study_name_what_there_is() -> None:
    measured = {"patience/longest": 9.0, "patience/published": math.nan} | {f"stops/{r}": 9.0 for r in optimizers.RULES}
    table = networks(rises=0, comparable=True).assign(**measured)
    assert "not run" not in {judge(STUDY, claim, table).kind for claim in STUDY.claims}


def test_the_claims_of_the_discussion_name_what_there_is() -> None:
    study = load_study("cs671/discussion")
    measured = {"least recall": 0.95, "accuracy gap": 0.01, "epochs to a loss of 0.2": 5.0, "minutes": 2.0}
    measured |= {f"training above validation{when}, share": 1.0 for when in ("", " at the end")}
    table = networks(comparable=True, confused="2/7").assign(**measured)
    verdicts = {claim.text: judge(study, claim, table).kind for claim in study.claims}
    assert NONE not in verdicts.values()
    assert verdicts["full-batch descent takes far more epochs than descent on single examples"] == "refuted"
