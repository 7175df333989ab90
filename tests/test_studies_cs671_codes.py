"""CS671's codes: claims decided both ways on made-up tables; PCA where the answer is known."""

import math
from typing import Any

import pytest
import torch
from pandas import DataFrame

from dlcourse.studies.cs671 import codes, denoising
from dlcourse.studies.pca import PCA
from dlcourse.studies.report import judge
from dlcourse.studies.study import Study, load_study
from dlcourse.studies.verdict import Verdict

AE1, AE3, DENOISING = (load_study(f"cs671/{name}") for name in ("ae1", "ae3", "denoising"))
NONE = "not run"


def judged(study: Study, words: str, table: DataFrame) -> Verdict:
    """The verdict on the claim of a study that has these words."""
    (claim,) = [claim for claim in study.claims if words in claim.text]
    return judge(study, claim, table)


# --- question 2 ---


def autoencoders(factor: float = 1.0, better: float = 0.0, study: Study = AE1) -> DataFrame:
    """Autoencoders and classifiers with the published figures, errors times `factor`, accuracies plus `better`."""
    rows: list[dict[str, Any]] = []
    for row in study.published["results"].to_dict("records"):
        units, errors = row["units"], {"train": row["train/loss"], "val": row["val/loss"], "test": row["val/loss"]}
        losses = {f"{split}/loss": factor * error for split, error in errors.items()}
        rows.append({"block": "autoencoder", "units": units, **losses, "test/PCA loss": 0.9 * losses["test/loss"]})
        rows.append({"block": "classifier", "units": units, "test/accuracy": row["test/accuracy"] + better})
        if units <= 256:
            rows.append({"block": "pca", "units": units, "test/accuracy": 0.981 + better})
    return DataFrame(rows).assign(status="done", comparable=True)


def cell(table: DataFrame, block: str, units: int, column: str, value: float) -> DataFrame:
    table.loc[(table["block"] == block) & (table["units"] == units), column] = value
    return table


def test_errors_of_codes() -> None:
    for study in (AE1, AE3):
        for words in ("training errors", "validation errors"):
            assert judged(study, words, autoencoders(study=study)).kind == "reproduced"
            assert judged(study, words, autoencoders(1.04, study=study)).kind == "reproduced"
            assert judged(study, words, autoencoders(0.5, study=study)).kind == "beaten"
    verdict = judged(AE1, "validation errors", cell(autoencoders(0.5), "autoencoder", 1024, "val/loss", 0.002))
    assert verdict.kind == "refuted"
    assert "units 1024: 0.00200, published 0.00107" in verdict.evidence
    lost = cell(autoencoders(), "autoencoder", 32, "val/loss", math.nan)
    assert judged(AE1, "validation errors", lost).kind == NONE


def test_the_best_autoencoder() -> None:
    assert judged(AE1, "test error .01038", autoencoders()).kind == "reproduced"
    assert judged(AE1, "test error .01038", autoencoders(1.06)).kind == "refuted"
    assert judged(AE3, "test error .01301", autoencoders(study=AE3)).kind == "beaten"
    assert judged(AE1, "test accuracy 96.63", autoencoders()).kind == "reproduced"
    assert judged(AE1, "test accuracy 96.63", autoencoders(better=-0.01)).kind == "refuted"


def test_accuracies_of_codes() -> None:
    for study in (AE1, AE3):
        assert judged(study, "test accuracies", autoencoders(study=study)).kind == "reproduced"
        assert judged(study, "test accuracies", autoencoders(better=0.01, study=study)).kind == "beaten"
        assert judged(study, "test accuracies", autoencoders(better=-0.01, study=study)).kind == "refuted"
    assert judged(AE1, "98.1 % on 64 principal", autoencoders()).kind == "reproduced"
    assert judged(AE1, "98.1 % on 64 principal", autoencoders(better=-0.02)).kind == "refuted"
    assert judged(AE1, "98.1 % on 64 principal", autoencoders().query("block != 'pca'")).kind == NONE


def test_the_best_code_and_the_rise() -> None:
    verdict = judged(AE1, "best: 64", autoencoders())
    assert verdict.kind == "refuted"  # 784 in the report's own table
    assert "64: 96.68 %" in verdict.evidence and "784: 97.15 %" in verdict.evidence
    good = cell(autoencoders(), "classifier", 64, "test/accuracy", 0.975)
    assert judged(AE1, "best: 64", good).kind == "reproduced"
    for units in (64, 784):
        lost = cell(autoencoders(), "classifier", units, "test/accuracy", math.nan)
        assert judged(AE1, "best: 64", lost).kind == NONE
    assert codes.abrupt_rise(autoencoders(), 64).kind == "reproduced"
    assert codes.abrupt_rise(cell(autoencoders(), "classifier", 128, "test/accuracy", 0.99), 64).kind == "refuted"
    assert codes.abrupt_rise(cell(autoencoders(), "classifier", 32, "test/accuracy", math.nan), 64).kind == NONE
    assert codes.abrupt_rise(autoencoders(), 32).kind == NONE  # there is no fewer


def test_more_units_and_a_larger_error() -> None:
    words = "a larger training error with 1024 units"
    assert judged(AE1, words, autoencoders()).kind == "reproduced"
    assert judged(AE1, words, cell(autoencoders(), "autoencoder", 1024, "train/loss", 1e-5)).kind == "refuted"
    assert judged(AE1, words, cell(autoencoders(), "autoencoder", 784, "train/loss", math.nan)).kind == NONE


def test_a_test_error_far_above_the_validation_error() -> None:
    figures = [0.01301, 0.00997]
    verdict = codes.above_validation(autoencoders(), 64, figures)
    assert verdict.kind == "refuted"
    assert "1.00 times; published 1.30 times" in verdict.evidence
    above = cell(autoencoders(), "autoencoder", 64, "test/loss", 0.0131)
    assert codes.above_validation(above, 64, figures).kind == "reproduced"
    lost = cell(autoencoders(), "autoencoder", 64, "test/loss", math.nan)
    assert codes.above_validation(lost, 64, figures).kind == NONE


def test_against_principal_components() -> None:
    evidence = codes.against_pca(autoencoders()).evidence
    assert "below PCA's with no width" in evidence
    assert "64: 96.68 (98.10)" in evidence
    lower = cell(autoencoders(), "autoencoder", 128, "test/loss", 0.001)
    assert "below PCA's with 128" in codes.against_pca(lower).evidence
    assert codes.against_pca(autoencoders().drop(columns="test/PCA loss")).kind == NONE


def test_the_error_of_principal_components() -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(200, 3, generator=generator) @ torch.randn(3, 8, generator=generator) + 5
    noisy = x + 0.1 * torch.randn(200, 8, generator=generator)

    def error(images: torch.Tensor, k: int) -> float:
        return float((PCA(noisy, k).reconstruct(images) - images).square().mean())

    assert error(noisy, 3) == pytest.approx(0.01 * 5 / 8, rel=0.15)  # what is left is noise, in 5 of 8 directions
    assert error(noisy, 2) > 10 * error(noisy, 3)
    assert error(noisy, 8) < 1e-12 and error(x, 20) < 1e-12


def test_the_size_of_a_code_follows_from_the_config() -> None:
    table = DataFrame(
        [
            {"block": "autoencoder", "model.net.widths": "256,32"},
            {"block": "classifier", "encoder.model.net.widths": "784", "data.encoder": "/runs/autoencoder-009b1"},
            {"block": "pca", "data.encoder": "pca:64"},
        ]
    )
    assert codes.derive(table)["units"].tolist() == [32, 784, 64]
    assert codes.derive(table[["block", "model.net.widths"]].iloc[:1])["units"].tolist() == [32]


# --- question 3 ---


def noisy(roughness: tuple[float, ...] = (0.3, 0.4, 0.5), better: float = 0.0) -> DataFrame:
    rows: list[dict[str, Any]] = []
    for (noise, share), value in zip(denoising.NOISES.items(), roughness, strict=True):
        errors = {f"test/loss from {n}": 0.01 + abs(s - share) / 10 for n, s in denoising.NOISES.items()}
        measured = {"roughness": value, "roughness/inside": value / 2, **errors}
        rows.append({"block": "denoising" if share else "clean", "noise": noise, **measured})
        if share:
            accuracy = {"train/accuracy": 0.98, "val/accuracy": 0.97, "test/accuracy": 0.9665}
            rows.append({"block": "classifier", "noise": noise, **{k: a + better for k, a in accuracy.items()}})
    return DataFrame(rows).assign(status="done", comparable=True)


def test_accuracies_with_noise() -> None:
    for words in ("training accuracy .980", "validation accuracy .969", "test accuracy 96.65"):
        assert judged(DENOISING, words, noisy()).kind == "reproduced"
        assert judged(DENOISING, words, noisy(better=0.01)).kind == "beaten"
        assert judged(DENOISING, words, noisy(better=-0.01)).kind == "refuted"
        assert judged(DENOISING, words, noisy().query("block != 'classifier'")).kind == NONE
    assert judged(DENOISING, "validation accuracy 96.65", noisy(better=-0.004)).kind == "reproduced"


def test_rougher_or_smoother() -> None:
    assert denoising.rougher(noisy(), rising=True).kind == "reproduced"
    assert denoising.rougher(noisy(), rising=False).kind == "refuted"
    assert denoising.rougher(noisy((0.5, 0.4, 0.3)), rising=False).kind == "reproduced"
    both_ways = noisy((0.3, 0.5, 0.4))
    assert denoising.rougher(both_ways, rising=True).kind == "refuted"
    assert denoising.rougher(both_ways, rising=False).kind == "refuted"
    assert denoising.rougher(noisy((0.3, math.nan, 0.4)), rising=True).kind == NONE
    assert denoising.rougher(noisy().drop(columns="roughness"), rising=True).kind == NONE
    assert judged(DENOISING, "weights more noisy", noisy()).kind == "reproduced"
    assert judged(DENOISING, "detectors of pen strokes", noisy()).kind == "refuted"


def test_what_noise_gains_and_costs() -> None:
    assert "trained with 20 %: 0.0300, 0.0100, 0.0300" in denoising.denoises(noisy()).evidence
    assert denoising.denoises(noisy().query("block != 'clean'")).kind == NONE


def test_the_noise_follows_from_the_config() -> None:
    table = DataFrame(
        [
            {"block": "clean", "model.noise_probability": 0.0},
            {"block": "clipped", "model.noise_probability": 0.2},
            {"block": "classifier", "encoder.model.noise_probability": 0.4},
            {"block": "classifier_clipped", "encoder.model.noise_probability": 0.2},
        ]
    )
    assert denoising.derive(table)["noise"].tolist() == ["0 %", "20 %, clipped", "40 %", "20 %, clipped"]


def test_what_comes_back_is_judged_by_width() -> None:
    rows = [
        {
            "block": "autoencoder",
            "units": units,
            "copied/other digits": 0.9 + units / 1e4,
            "copied/noise": 0.5 + units / 2e3,
        }
        for units in (64, 784, 900)
    ]
    table = DataFrame(rows).assign(status="done", comparable=True)
    assert codes.copies(table, least_units=784, share=0.85).kind == "reproduced"
    assert codes.copies(table, least_units=64, share=0.85).kind == "refuted"
    assert codes.copies(table, least_units=1000, share=0.85).kind == NONE


def test_reconstructions_look_similar_from_a_given_ssim_on() -> None:
    row = {"block": "denoising", "noise": "20 %", "ssim from 20 %": 0.85, "ssim of 20 %": 0.3, "psnr from 20 %": 20.0}
    table = DataFrame([row]).assign(status="done", comparable=True)
    assert denoising.looks_similar(table, ["20 %"], least=0.8).kind == "reproduced"
    assert denoising.looks_similar(table, ["20 %"], least=0.9).kind == "refuted"
    assert denoising.looks_similar(table, ["40 %"], least=0.9).kind == NONE
