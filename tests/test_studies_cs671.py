"""CS671's claims, decided both ways on made-up tables; stopping rules, roughness and PCA where the answer is known."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pandas import DataFrame

from dlcourse.callbacks import EarlyStopping
from dlcourse.data.module import SPLITS
from dlcourse.reports.page import Item, Plot, Table
from dlcourse.runs import write_confusion
from dlcourse.studies import cs671
from dlcourse.studies.runs import Runs
from dlcourse.studies.study import load
from dlcourse.studies.verdict import Verdict

STUDY = load("cs671/optimizers")
PUBLISHED = cs671.records(STUDY.published["accuracy"])
NONE = "not run"
EXPERIMENTS = {name: experiment for experiment, name in cs671.OPTIMIZERS.items()}


# --- stopping rules ---


def test_the_rules_stop_where_they_should() -> None:
    falling = [1.0, 0.5, 0.4, 0.39995, 0.3, 0.29998, 0.29996, 0.29994]
    assert cs671.stop_epoch(falling, "change", 1e-4) == 4
    assert cs671.stop_epoch(falling, "change", 1e-4, patience=2) == 7
    assert cs671.stop_epoch(falling, "improvement", 1e-4, patience=1) == 4
    assert cs671.stop_epoch(falling, "improvement", 1e-4, patience=3) == 8
    assert cs671.stop_epoch(falling, "improvement", 1e-4, patience=4) is None
    rising = [1.0, 1.1, 1.2]  # not a small change, but no improvement either
    assert cs671.stop_epoch(rising, "change", 1e-4) is None
    assert cs671.stop_epoch(rising, "improvement", 1e-4, patience=2) == 3
    assert cs671.stop_epoch([], "change") is None and cs671.stop_epoch([], "improvement") is None


def test_small_steps_add_up_to_an_improvement_while_patience_lasts() -> None:
    slow = [1 - 4e-5 * i for i in range(50)]  # 3 steps are more than 1e-4
    assert cs671.stop_epoch(slow, "change") == 2
    assert cs671.stop_epoch(slow, "improvement", patience=2) == 3
    assert cs671.stop_epoch(slow, "improvement", patience=3) is None


def test_the_patience_for_an_epoch_does_not_stop_before_it() -> None:
    slowing = [1 / epoch for epoch in range(1, 2000)]
    for epoch in (101, 500, 1500):
        patience = cs671.patience_for(slowing, epoch)
        assert patience is not None
        stop = cs671.stop_epoch(slowing, "improvement", patience=patience)
        assert stop is None or stop >= epoch
        earlier = cs671.stop_epoch(slowing, "improvement", patience=patience - 1)
        assert patience == 1 or (earlier is not None and earlier < epoch)
    assert cs671.patience_for(slowing, 2000) is None


def test_the_rule_on_paper_is_the_callback_s() -> None:
    losses = [float(1 / epoch + 0.01 * math.sin(epoch)) for epoch in range(1, 60)]
    rule = EarlyStopping("train/loss", patience=3, min_delta=0.02)
    stops = [bool(rule._evaluate_stopping_criteria(torch.tensor(loss))[0]) for loss in losses]
    assert stops.index(True) + 1 == cs671.stop_epoch(losses, "improvement", 0.02, 3)


# --- question 1 ---


def networks(better: float = 0.0, seeds: int = 2, **changes: Any) -> DataFrame:
    """Runs that give the published figures, every accuracy better by `better`; changes: columns of all rows."""
    rows = []
    for row in PUBLISHED:
        for seed in range(seeds if row["optimizer"] == "Adam" else 1):
            rows.append(
                {
                    "experiment": EXPERIMENTS[row["optimizer"]], "model.net.hidden": row["hidden"], "seed": seed,
                    "train/accuracy": row["train"] + better, "val/accuracy": row["val"] + better,
                    "test/accuracy": row["val"] + better, "epochs": row["epochs"], "train_seconds": 2.0 * row["epochs"],
                    "stops/patience 5": float(row["epochs"]), "status": "done",
                }
                | {f"{split}/{name}": row["val"] for split in SPLITS for name in ("precision", "recall", "f1")}
                | changes
            )  # fmt: skip
    return DataFrame(rows)


def at(table: DataFrame, optimizer: str, hidden: str = cs671.BEST) -> Any:
    return (table["experiment"] == EXPERIMENTS[optimizer]) & (table["model.net.hidden"] == hidden)


def validation(table: DataFrame) -> Verdict:
    return cs671.accuracies(table, PUBLISHED, "val/accuracy", "val")


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
    assert "(30,20,10) SGD: 97.00 %, published 98.34 %" in verdict.evidence
    table.loc[at(table, "SGD"), "val/accuracy"] = np.nan
    assert validation(table) == Verdict(NONE, "no finished run of (30,20,10) SGD")


def test_descent_with_fewer_epochs_than_published_decides_nothing() -> None:
    table = networks()
    table.loc[at(table, "VGD"), ["val/accuracy", "epochs"]] = [0.93, 5000]
    verdict = validation(table)
    assert verdict.kind == "reproduced"
    assert "left out, with fewer epochs than published: (30,20,10) VGD" in verdict.evidence
    table.loc[at(table, "VGD"), "epochs"] = 33000
    assert validation(table).kind == "refuted"


def test_the_best_architecture_is_the_one_with_the_best_mean() -> None:
    verdict = cs671.best_architecture(networks(), "30,20,10", PUBLISHED)
    assert verdict.kind == "refuted"  # it is not in the report's own table
    assert "in the report's own table with Adam, RMSProp (" in verdict.evidence
    assert "SGD: (25,15,8)" in verdict.evidence
    table = networks()
    table.loc[table["model.net.hidden"] == "30,20,10", "val/accuracy"] = 0.99
    assert cs671.best_architecture(table, "30,20,10", PUBLISHED).kind == "reproduced"
    table.loc[at(table, "VGD"), "val/accuracy"] = np.nan
    assert cs671.best_architecture(table, "30,20,10", PUBLISHED).kind == NONE


def test_epochs_hold_within_a_factor() -> None:
    assert cs671.epochs(networks(), PUBLISHED).kind == "reproduced"
    table = networks()
    table.loc[at(table, "NAG"), "stops/patience 5"] = 120.0
    verdict = cs671.epochs(table, PUBLISHED)
    assert verdict.kind == "refuted"
    assert "NAG 120 to 303 (300 to 320)" in verdict.evidence
    assert "19 of 20 within a factor of 2" in verdict.evidence
    table.loc[table["experiment"] == EXPERIMENTS["VGD"], ["stops/patience 5", "epochs"]] = [np.nan, 33000]
    verdict = cs671.epochs(table, PUBLISHED)
    assert "VGD not within 33000" in verdict.evidence and "15 of 20 within" in verdict.evidence
    table.loc[table["experiment"] == EXPERIMENTS["VGD"], "epochs"] = 5000
    assert "15 of 16 within" in cs671.epochs(table, PUBLISHED).evidence
    table.loc[table["experiment"] == EXPERIMENTS["VGD"], "epochs"] = np.nan
    assert cs671.epochs(table, PUBLISHED).kind == NONE
    assert cs671.epochs(networks().drop(columns="stops/patience 5"), PUBLISHED).kind == NONE


def test_where_the_rules_stop_full_batch_descent() -> None:
    stops = {"stops/change": 2900.0} | {f"stops/patience {p}": 2900.0 + 100 * p for p in cs671.PATIENCES}
    table = networks(rises=0).assign(**stops, **{"patience/longest": 170, "patience/published": 160.0})
    verdict = cs671.vgd_stops(table, 31625)
    assert verdict.kind == "answered"
    assert "a change below 10⁻⁴: epoch 2900" in verdict.evidence
    assert "to get to epoch 31625 it takes a patience of 160" in verdict.evidence
    table["patience/published"], table["stops/patience 10"] = np.nan, np.nan
    verdict = cs671.vgd_stops(table, 31625)
    assert "patience 10: not within the run" in verdict.evidence
    assert "a patience of 171 or more does not stop within" in verdict.evidence
    assert cs671.vgd_stops(networks(), 31625).kind == NONE


def test_full_batch_descent_goes_down_or_not() -> None:
    assert "yes: the loss rose in 0 of" in cs671.vgd_descends(networks(rises=0)).evidence
    assert "no: the loss rose in 12 of" in cs671.vgd_descends(networks(rises=3)).evidence
    assert cs671.vgd_descends(networks()).kind == NONE


def test_precision_recall_and_f1_are_the_accuracy_or_not() -> None:
    table = networks()
    for split in SPLITS:
        table[f"{split}/accuracy"] = table["val/accuracy"]
    assert cs671.like_accuracy(table).kind == "reproduced"
    table["val/precision"] += 0.001
    verdict = cs671.like_accuracy(table)
    assert verdict.kind == "refuted"
    assert "0.00100 (val precision)" in verdict.evidence
    table["val/f1"] = np.nan
    assert cs671.like_accuracy(table).kind == NONE


def test_seconds_an_epoch() -> None:
    rows = cs671.records(STUDY.published["best"])
    evidence = cs671.seconds_an_epoch(networks(), rows).evidence
    assert "Adam 2.00 s (4.80)" in evidence
    assert "the three differ 1.0 times here, 12 times in the report" in evidence
    assert cs671.seconds_an_epoch(networks(epochs=np.nan), rows).kind == NONE


# --- question 2 ---

RESULTS = cs671.records(load("cs671/ae1").published["results"])


def codes(factor: float = 1.0, better: float = 0.0) -> DataFrame:
    """Autoencoders and classifiers with the published figures, errors times `factor`, accuracies plus `better`."""
    rows: list[dict[str, Any]] = []
    for row in RESULTS:
        units, errors = (
            f"{row['units']}",
            {s: factor * row[t] for s, t in (("train", "train"), ("val", "val"), ("test", "val"))},
        )
        losses = {f"{split}/loss": error for split, error in errors.items()} | {"pca/test/loss": 0.9 * errors["test"]}
        rows.append({"block": "autoencoder", "model.net.widths": units, **losses})
        rows.append(
            {"block": "classifier", "encoder.model.net.widths": units, "test/accuracy": row["accuracy"] + better}
        )
        if row["units"] <= 256:
            rows.append({"block": "pca", "data.encoder": f"pca:{units}", "test/accuracy": 0.981 + better})
    return DataFrame(rows)


def cell(table: DataFrame, block: str, units: int, column: str, value: float) -> DataFrame:
    named = cs671.with_names(table)
    table.loc[(named["block"] == block) & (named["units"] == units), column] = value
    return table


def test_errors_of_codes() -> None:
    def judged(table: DataFrame) -> Verdict:
        return cs671.code_errors(table, RESULTS, "val/loss", "val")

    assert judged(codes()).kind == "reproduced"
    assert judged(codes(1.04)).kind == "reproduced"
    assert judged(codes(0.5)).kind == "beaten"
    verdict = judged(cell(codes(0.5), "autoencoder", 1024, "val/loss", 0.002))
    assert verdict.kind == "refuted"
    assert "1024 units: 0.00200, published 0.00107" in verdict.evidence
    assert judged(cell(codes(), "autoencoder", 32, "val/loss", math.nan)).kind == NONE


def test_accuracies_of_codes() -> None:
    assert cs671.code_accuracies(codes(), RESULTS).kind == "reproduced"
    assert cs671.code_accuracies(codes(better=0.01), RESULTS).kind == "beaten"
    assert cs671.code_accuracies(codes(better=-0.01), RESULTS).kind == "refuted"
    pca = [{"units": 64, "accuracy": 0.981}]
    assert cs671.code_accuracies(codes(), pca, of="pca").kind == "reproduced"
    assert cs671.code_accuracies(codes(better=-0.02), pca, of="pca").kind == "refuted"
    assert cs671.code_accuracies(codes().query("block != 'pca'"), pca, of="pca").kind == NONE


def test_the_best_code_and_the_rise() -> None:
    verdict = cs671.best_code(codes(), 64)
    assert verdict.kind == "refuted"  # 784 in the report's own table
    assert "best: 784" in verdict.evidence
    assert cs671.best_code(cell(codes(), "classifier", 64, "test/accuracy", 0.975), 64).kind == "reproduced"
    assert cs671.best_code(cell(codes(), "classifier", 64, "test/accuracy", math.nan), 64).kind == NONE
    assert cs671.abrupt_rise(codes(), 64).kind == "reproduced"
    assert cs671.abrupt_rise(cell(codes(), "classifier", 128, "test/accuracy", 0.99), 64).kind == "refuted"
    assert cs671.abrupt_rise(cell(codes(), "classifier", 32, "test/accuracy", math.nan), 64).kind == NONE


def test_more_units_and_a_larger_error() -> None:
    assert cs671.error_rises(codes(), 784, 1024).kind == "reproduced"
    assert cs671.error_rises(cell(codes(), "autoencoder", 1024, "train/loss", 1e-5), 784, 1024).kind == "refuted"
    assert cs671.error_rises(cell(codes(), "autoencoder", 784, "train/loss", math.nan), 784, 1024).kind == NONE


def test_a_test_error_far_above_the_validation_error() -> None:
    figures = [0.01301, 0.00997]
    verdict = cs671.above_validation(codes(), 64, figures)
    assert verdict.kind == "refuted"
    assert "1.00 times; published 1.30 times" in verdict.evidence
    assert (
        cs671.above_validation(cell(codes(), "autoencoder", 64, "test/loss", 0.0131), 64, figures).kind == "reproduced"
    )
    assert cs671.above_validation(cell(codes(), "autoencoder", 64, "test/loss", math.nan), 64, figures).kind == NONE


def test_against_principal_components() -> None:
    evidence = cs671.against_pca(codes()).evidence
    assert "below PCA's with no width" in evidence
    assert "64: 96.68 (98.10)" in evidence
    lower = cell(codes(), "autoencoder", 128, "test/loss", 0.001)
    assert "below PCA's with 128" in cs671.against_pca(lower).evidence
    assert cs671.against_pca(codes().drop(columns="pca/test/loss")).kind == NONE


def test_the_error_of_principal_components() -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(200, 3, generator=generator) @ torch.randn(3, 8, generator=generator) + 5
    noise = 0.1 * torch.randn(200, 8, generator=generator)
    errors = cs671.pca_errors({"train": x + noise, "test": x}, [2, 3, 8, 20])
    assert errors[3]["train"] == pytest.approx(0.01 * 5 / 8, rel=0.15)  # what is left is noise, in 5 of 8 directions
    assert errors[2]["train"] > 10 * errors[3]["train"]
    assert errors[8]["train"] < 1e-12 and errors[20]["test"] < 1e-12


# --- question 3 ---


def noisy(roughness: tuple[float, ...] = (0.3, 0.4, 0.5), better: float = 0.0) -> DataFrame:
    rows: list[dict[str, Any]] = []
    for noise, value in zip(cs671.NOISES, roughness, strict=True):
        errors = {f"noise {n}/loss": 0.01 + abs(n - noise) / 10 for n in cs671.NOISES}
        name = "denoising" if noise else "clean"
        measured = {"roughness": value, "roughness/inside": value / 2, **errors}
        rows.append({"block": name, "model.noise_probability": noise, **measured})
        if noise:
            accuracy = {
                "train/accuracy": 0.98 + better,
                "val/accuracy": 0.97 + better,
                "test/accuracy": 0.9665 + better,
            }
            rows.append({"block": "classifier", "encoder.model.noise_probability": noise, **accuracy})
    return DataFrame(rows)


def test_accuracies_with_noise() -> None:
    published = cs671.records(load("cs671/denoising").published["classifier"])

    def judged(table: DataFrame) -> str:
        return cs671.noise_accuracies(table, published, "val/accuracy", "val").kind

    assert judged(noisy()) == "reproduced"
    assert judged(noisy(better=0.01)) == "beaten"
    assert judged(noisy(better=-0.01)) == "refuted"
    assert judged(noisy().query("block != 'classifier'")) == NONE


def test_rougher_or_smoother() -> None:
    assert cs671.rougher(noisy(), rising=True).kind == "reproduced"
    assert cs671.rougher(noisy(), rising=False).kind == "refuted"
    assert cs671.rougher(noisy((0.5, 0.4, 0.3)), rising=False).kind == "reproduced"
    both_ways = noisy((0.3, 0.5, 0.4))
    assert cs671.rougher(both_ways, rising=True).kind == cs671.rougher(both_ways, rising=False).kind == "refuted"
    assert cs671.rougher(noisy((0.3, math.nan, 0.4)), rising=True).kind == NONE
    assert cs671.rougher(noisy().drop(columns="roughness"), rising=True).kind == NONE


def test_what_noise_gains_and_costs() -> None:
    assert "trained with 20 %: 0.0300, 0.0100, 0.0300" in cs671.denoises(noisy()).evidence
    assert cs671.denoises(noisy().query("block != 'clean'")).kind == NONE


def test_roughness_is_one_for_white_noise_and_small_for_a_slope_whatever_the_length() -> None:
    rng = np.random.default_rng(0)
    noise = rng.normal(size=(20, 28, 28))
    assert cs671.roughness(noise) == pytest.approx(1, abs=0.05)
    assert cs671.roughness(7 * noise) == pytest.approx(cs671.roughness(noise))
    slope = np.linspace(-1, 1, 28)[None, :, None] + np.zeros((1, 28, 28))
    assert cs671.roughness(slope) < 0.01
    inside = np.zeros((28, 28), bool)
    inside[8:20, 8:20] = True
    mixed = np.where(inside, slope, noise)  # smooth inside only
    assert cs671.roughness(mixed, inside) < 0.1 < 0.5 < cs671.roughness(mixed)


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


def of_kind(items: list[Item], kind: type) -> list[Any]:
    return [item for item in items if isinstance(item, kind)]


@pytest.fixture
def finished(tmp_path: Path) -> Runs:
    """One architecture's five runs, with curves and confusions; the other architectures are missing."""
    rows = cs671.records(networks(seeds=1))
    for i, row in enumerate(rows):
        row |= {"hash": f"{i}", "block": "all", "run": None}
        if row["model.net.hidden"] != cs671.BEST:
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
    found, full_batch, *_ = cs671.records(cs671.optimizers_measure(STUDY, finished))
    curve = [1 / epoch for epoch in range(1, 1001)]
    assert found["stops/change"] == cs671.stop_epoch(curve, "change") == 101
    assert found["rises"] == 0
    assert found["patience/published"] == 1  # SGD: 28 epochs
    assert math.isnan(full_batch["patience/published"])  # of 31625 epochs there are 1000


def test_the_page_of_the_optimizers(finished: Runs) -> None:
    extra = cs671.optimizers_measure(STUDY, finished)
    table = finished.table.drop(columns="stops/patience 5").merge(extra, on="hash", how="left")
    items = cs671.optimizers(STUDY, Runs(table, finished.folder))
    first = of_kind(items, Table)[1].frame.set_index("architecture")
    assert first.loc["(30,20,10)", "SGD"] == "98.34 (98.34)"
    assert first.loc["(15,30,10)", "SGD"] == "– (98.15)"
    names = [plot.name for plot in of_kind(items, Plot)]
    assert names[0] == "losses_30-20-10" and "losses_15-30-10" not in names
    assert {"curves_vgd", "confusion_rmsprop_train", "confusion_adam_test"} <= set(names)
    assert len(set(names)) == len(names)


def test_a_long_history_is_drawn_with_the_epochs_that_were_validated(finished: Runs) -> None:
    rows = cs671.thinned(cs671.read_history(Path(finished.table["run"].iloc[0])))
    assert len(rows) < 30 and {1, 100, 1000} <= set(rows["epoch"])
