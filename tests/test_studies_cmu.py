"""The claims of CMU's report, each on tables where it holds, where it doesn't, and where its runs are missing."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib import font_manager
from pandas import DataFrame
from PIL import Image, ImageDraw, ImageFont

from dlcourse import runs
from dlcourse.config.identity import flatten
from dlcourse.nets import MLP
from dlcourse.reading import Hand, Letter, Reading
from dlcourse.reports.formats import GAP
from dlcourse.reports.page import Plot, Table
from dlcourse.reports.tables import run_record
from dlcourse.studies import checks, items
from dlcourse.studies.cmu import q2_toy, q3, q4_ocr, q5, q6_1, q6_1_3, q6_2
from dlcourse.studies.pca import PCA
from dlcourse.studies.report import find_function, judge, page_items, study_module
from dlcourse.studies.runs import Runs
from dlcourse.studies.study import load_study, study_names
from dlcourse.studies.verdict import Verdict

A, B = {"block": "a"}, {"block": "b"}
NAN = math.nan


def table(**blocks: list[float]) -> DataFrame:
    """Runs of blocks `a`, `b`, ... with these test accuracies, a seed each."""
    return DataFrame(
        {"block": block, "seed": seed, "test/accuracy": value, "test/loss": 1 - value}
        for block, values in blocks.items()
        for seed, value in enumerate(values)
    )


def kind(verdict: Verdict) -> str:
    return verdict.kind


def test_a_published_figure_is_reproduced_beaten_or_refuted() -> None:
    found = table(a=[0.709, 0.711, 0.710])
    verdict = checks.agrees(found, "test/accuracy", 0.72, 0.02, A)
    assert kind(verdict) == "reproduced" and "71.00 ± 0.10 % (3 runs), published 72.00 %" in verdict.evidence
    assert kind(checks.agrees(found, "test/accuracy", 0.68, 0.02, A)) == "beaten"
    assert kind(checks.agrees(found, "test/accuracy", 0.74, 0.02, A)) == "refuted"
    assert kind(checks.agrees(found, "test/loss", 0.20, 0.02, A)) == "refuted"  # a loss is better where it is smaller
    assert kind(checks.agrees(found, "test/loss", 0.40, 0.02, A)) == "beaten"
    assert kind(checks.agrees(found, "test/accuracy", 0.72, 0.02, B)) == "not run"
    assert kind(checks.agrees(table(a=[NAN]), "test/accuracy", 0.72, 0.02, A)) == "not run"


def test_another_protocol_is_a_reduced_budget() -> None:
    """It is said; and a figure that is missed with it is not refuted."""
    short = table(a=[0.9], b=[0.5]).assign(**{"trainer.max_epochs": 30, "data.limit": 5000})
    protocol = {"trainer.max_epochs": 100, "data.limit": None}
    verdict = checks.agrees(short, "test/accuracy", 0.66, 0.02, A, protocol)
    assert (kind(verdict), verdict.basis) == ("beaten", ("reduced budget",))
    assert kind(checks.agrees(short, "test/accuracy", 0.98, 0.02, A, protocol)) == "undecided"
    assert "trainer.max_epochs 30 instead of 100, data.limit 5000 instead of none" in verdict.evidence
    ordered = checks.better(short, "test/accuracy", A, B, protocol)
    assert (kind(ordered), ordered.basis) == ("reproduced", ("reduced budget",))
    assert kind(checks.better(short, "test/accuracy", B, A, protocol)) == "refuted"
    exact = short.assign(**{"trainer.max_epochs": 100, "data.limit": NAN})
    assert kind(checks.agrees(exact, "test/accuracy", 0.66, 0.02, A, protocol)) == "beaten"
    assert kind(checks.better(exact, "test/accuracy", A, B, protocol)) == "reproduced"


def test_a_range_and_a_goal() -> None:
    found, noisy = table(a=[0.7099, 0.7101]), table(a=[0.70, 0.72])
    assert kind(checks.within(found, ["test/accuracy", "test/loss"], 0.2, 0.8, A)) == "reproduced"
    assert kind(checks.within(found, ["test/accuracy", "test/loss"], 0.5, 0.8, A)) == "refuted"
    assert kind(checks.within(found, ["test/accuracy"], 0.5, 0.8, B)) == "not run"
    assert kind(checks.reaches(found, {"test/accuracy": 0.7, "test/loss": 0.3}, A)) == "reproduced"
    assert kind(checks.reaches(found, {"test/accuracy": 0.7, "test/loss": 0.2}, A)) == "refuted"
    assert kind(checks.reaches(found, {"test/accuracy": 0.73}, A)) == "refuted"
    assert kind(checks.reaches(noisy, {"test/accuracy": 0.705}, A)) == "undecided"
    assert kind(checks.within(noisy, ["test/accuracy"], 0.5, 0.715, A)) == "undecided"
    assert kind(checks.reaches(found, {"test/accuracy": 0.7}, B)) == "not run"


def test_better_means_by_more_than_the_noise() -> None:
    clear, close = table(a=[0.8, 0.801], b=[0.7, 0.701]), table(a=[0.6, 0.82], b=[0.7, 0.7])
    assert kind(checks.better(clear, "test/accuracy", A, B)) == "reproduced"
    assert kind(checks.better(clear, "test/loss", A, B)) == "reproduced"
    assert kind(checks.better(clear, "test/accuracy", B, A)) == "refuted"
    assert kind(checks.better(close, "test/accuracy", A, B)) == "undecided"
    assert kind(checks.better(clear, "test/accuracy", A, {"block": "c"})) == "not run"
    assert checks.compared(clear, "test/accuracy", A, B).evidence.startswith("better: test accuracy 80.05")
    assert checks.compared(clear, "test/accuracy", B, A).evidence.startswith("worse")
    assert checks.compared(close, "test/accuracy", A, B).evidence.startswith("no difference beyond the noise")
    assert kind(checks.compared(clear, "test/accuracy", {"block": "c"}, A)) == "not run"


def test_our_own_recipe_against_the_report_and_a_goal() -> None:
    found = table(a=[0.9], b=[0.7])
    assert (
        "above the report's 66.18 %, above our goal of 85.00 %"
        in checks.exceeds(found, "test/accuracy", A, 0.6618, 0.85).evidence
    )
    assert (
        "above the report's 66.18 %, below our goal" in checks.exceeds(found, "test/accuracy", B, 0.6618, 0.85).evidence
    )
    assert "below the report's" in checks.exceeds(found, "test/accuracy", B, 0.8, 0.85).evidence
    assert kind(checks.exceeds(found, "test/accuracy", {"block": "c"}, 0.8, 0.85)) == "not run"


def rates(best: list[float], large: list[float], small: list[float]) -> DataFrame:
    return DataFrame(
        {"optimizer.lr": lr, "seed": seed, "val/accuracy": value, "late sd": late, "epochs to half": half}
        for lr, values, late, half in ((0.009, best, 0.002, 2), (0.09, large, 0.04, 30), (0.0009, small, 0.001, 12))
        for seed, value in enumerate(values)
    )


def test_the_learning_rates() -> None:
    like, unlike = rates([0.78], [0.5], [0.77]), rates([0.7, 0.701], [0.8, 0.801], [0.77, 0.771])
    assert kind(checks.best_of(like, "val/accuracy", "optimizer.lr", 0.009)) == "reproduced"
    assert kind(checks.best_of(unlike, "val/accuracy", "optimizer.lr", 0.009)) == "refuted"
    close = rates([0.7, 0.8], [0.71, 0.79], [0.6, 0.61])
    assert kind(checks.best_of(close, "val/accuracy", "optimizer.lr", 0.009)) == "undecided"
    assert kind(checks.best_of(rates([0.7], [], []), "val/accuracy", "optimizer.lr", 0.009)) == "not run"
    assert kind(checks.best_of(rates([NAN], [0.5], [0.6]), "val/accuracy", "optimizer.lr", 0.009)) == "not run"
    assert kind(q3.noisier(like, 0.09, 0.009)) == "reproduced"
    assert kind(q3.noisier(unlike, 0.09, 0.009)) == "refuted"  # it ends higher
    assert kind(q3.noisier(like.assign(**{"late sd": 0.1}), 0.09, 0.009)) == "refuted"  # it jumps no more
    assert kind(q3.noisier(rates([0.7], [], []), 0.09, 0.009)) == "not run"
    verdict = q3.slower(like, 0.0009, 0.009)
    assert kind(verdict) == "reproduced" and verdict.evidence.startswith("12 epochs to a training accuracy of 50 %, 2")
    assert kind(q3.slower(like.assign(**{"epochs to half": [4, 4, 7]}), 0.0009, 0.009)) == "refuted"
    assert kind(q3.slower(like.assign(**{"epochs to half": [4, 4, math.inf]}), 0.0009, 0.009)) == "reproduced"
    assert kind(q3.slower(rates([0.7], [], []), 0.0009, 0.009)) == "not run"


def test_confused_pairs_are_found_whichever_way_round() -> None:
    found = DataFrame({"block": "a", "confused": ["0O 12, 2Z 9, 1I 8", "0O 7, 1I 5", "0O 3, 2Z 2"]})
    assert kind(q3.confused_pairs(found, ["O0", "Z2", "I1"], A)) == "reproduced"
    verdict = q3.confused_pairs(found, ["O0", "5S"], A)
    assert kind(verdict) == "refuted" and "O/0 3, 5/S 0" in verdict.evidence
    assert kind(q3.confused_pairs(found, ["O0"], B)) == "not run"
    assert kind(q3.confused_pairs(found.assign(confused=None), ["O0"], A)) == "not run"


def test_losses_divided_by_another_number_hide_the_overfit() -> None:
    def asked(val: float) -> Verdict:
        found = DataFrame({"block": ["a"], "train/loss": [0.2], "val/loss": [val]})
        images, published = {"train": 10800, "val": 3600}, {"train": 0.28, "val": 0.34}
        return q3.hidden_overfit(found, A, 10000, images, published)

    assert asked(1.0).evidence.startswith("yes: its 0.28 and 0.34 are 0.26 and 0.94 for an image")
    assert asked(0.2).evidence.startswith("no")
    assert kind(asked(NAN)) == "not run"
    assert kind(q3.hidden_overfit(DataFrame({"block": [], "train/loss": []}), A, 1, {}, {})) == "not run"


def test_the_autoencoder_against_the_report_and_pca() -> None:
    found = DataFrame({"block": ["a", "b"], "train/psnr": [16.3, 16.0], "val/psnr": [16.1, 14.2]})
    found["pca/psnr clipped"] = 15.0
    assert q5.psnr_gap(found, A, 15.9, 13.98).evidence.startswith("no, the same network loses 0.20 dB")
    assert q5.psnr_gap(found, B, 15.9, 13.98).evidence.startswith("it can")
    assert kind(q5.psnr_gap(found, {"block": "c"}, 15.9, 13.98)) == "not run"
    assert q5.against_pca(found, A).evidence == "yes: 16.10 dB on the validation set, PCA-32 15.00 dB"
    assert q5.against_pca(found, B).evidence.startswith("no")
    assert kind(q5.against_pca(found, {"block": "c"})) == "not run"


def test_a_lead_over_a_weak_opponent() -> None:
    weak, strong = table(a=[0.91], b=[0.62], c=[0.78]), table(a=[0.91], b=[0.62], c=[0.93])
    found = q6_1.weak_opponent(weak, "test/accuracy", A, B, {"block": "c"})
    assert found.evidence.startswith("yes") and "by 29.0 points" in found.evidence and "by 13.0" in found.evidence
    assert q6_1.weak_opponent(strong, "test/accuracy", A, B, {"block": "c"}).evidence.startswith("no")
    assert kind(q6_1.weak_opponent(table(a=[0.9], b=[0.6]), "test/accuracy", A, B, {"block": "c"})) == "not run"


def test_a_loss_that_is_too_small_for_its_accuracy() -> None:
    def asked(loss: float) -> Verdict:
        found = DataFrame({"test/accuracy": [0.9], "test/loss": [loss]})
        return q6_1_3.implausible_loss(found, 0.9328, 0.0581, 0.946, 0.165, 4)

    verdict = asked(0.3)
    assert verdict.evidence.startswith("hardly: that is 0.86 for each wrong photo, in its own training 3.06, here 3.00")
    assert "4 · 0.0581 = 0.232" in verdict.evidence
    assert asked(0.09).evidence.startswith("it can")
    assert kind(asked(NAN)) == "not run"


def test_how_long_a_loss_is_stuck() -> None:
    guess = math.log(17)
    assert q6_2.stuck_epochs_of([guess, guess, 2.0, guess], 17) == 2
    assert q6_2.stuck_epochs_of([2.0], 17) == 0 and q6_2.stuck_epochs_of([guess] * 5, 17) == 5
    found = DataFrame({"block": ["a", "b"], "stuck epochs": [22.0, 30.0], "epochs": [30, 30]})
    assert q6_2.stuck_epochs(found, A, 22).evidence == "22 of 30 epochs, about 22 in the report's figure"
    assert q6_2.stuck_epochs(found, B, 22).evidence.startswith("30 (to the end) of 30")
    assert kind(q6_2.stuck_epochs(found.assign(**{"stuck epochs": NAN}), A, 22)) == "not run"


def test_the_gradients_of_the_toy_network() -> None:
    found = DataFrame({"gradient error total": [7e-6, 2e-5], "gradient error of the mean": [170.0, 171.0]})
    assert kind(q2_toy.gradient_check(found, 1e-4, 7.12e-6)) == "reproduced"
    assert kind(q2_toy.gradient_check(found, 1e-5, 7.12e-6)) == "refuted"
    assert kind(q2_toy.gradient_check(found * NAN, 1e-4, 7.12e-6)) == "not run"
    assert q2_toy.toy_convention(found, 40).evidence.startswith("to the sum")
    assert q2_toy.toy_convention(found.iloc[:, ::-1].set_axis(found.columns, axis=1), 40).evidence.startswith(
        "to the mean"
    )
    assert kind(q2_toy.toy_convention(found * NAN, 40)) == "not run"


def test_gradients_agree_with_differences_of_the_sum_only() -> None:
    net = MLP(2, 3, [4], "sigmoid", "xavier").double()
    before = [p.clone() for p in net.parameters()]
    x, y = torch.randn(6, 2, dtype=torch.float64), torch.tensor([0, 1, 2, 0, 1, 1])
    assert q2_toy.gradient_errors(net, x, y)["total"] < 1e-4
    entries = sum(p.numel() for p in net.parameters())
    assert q2_toy.gradient_errors(net, x, y, divided_by=6)["total"] == pytest.approx(entries * 5 / 6, rel=1e-3)
    assert all(torch.equal(a, b) for a, b in zip(before, net.parameters(), strict=True))


def test_pca_gives_back_what_lies_in_its_plane() -> None:
    generator = torch.Generator().manual_seed(0)
    codes, basis = (torch.rand(*shape, generator=generator) for shape in ((200, 2), (2, 16)))
    train = (0.3 + codes @ basis / 4).reshape(-1, 1, 4, 4)
    assert torch.allclose(PCA(train, 2).reconstruct(train[:5]), train[:5], atol=1e-5)
    assert not torch.allclose(PCA(train, 1).reconstruct(train[:5]), train[:5], atol=1e-3)
    x = torch.full((2, 1, 4, 4), 0.5)
    assert q5.psnr(x + torch.tensor([0.1, 0.01])[:, None, None, None], x) == pytest.approx(30, abs=1e-3)


def test_what_is_measured_of_a_run(train: Callable[..., Path], tmp_path: Path) -> None:
    run = train("model=fcn", "trainer.max_epochs=1")
    rows = ["epoch,train/accuracy,val/accuracy", "1,0.2,0.2", "2,0.5,0.4", "3,0.4,0.6"]
    (run / runs.METRICS).write_text("\n".join(rows) + "\n")
    assert q3.epochs_to(run, 0.5) == 2 and q3.epochs_to(run, 0.9) == math.inf
    runs.write_confusion(run, "test", [[5, 2, 0], [3, 5, 0], [0, 1, 9]], ["O", "0", "S"])
    assert q3.most_confused(run) == "0O 5, 0S 1"
    table = DataFrame({"hash": ["a"], "run": [run], "status": ["done"]})
    (measured,) = q3.measure(load_study("cmu/q3"), Runs(table, tmp_path)).to_dict("records")
    assert measured["late sd"] == pytest.approx(np.std([0.2, 0.4, 0.6], ddof=1)) and measured["epochs to half"] == 2
    assert measured["roughness/before"] == pytest.approx(1, abs=0.1)  # weights as they are drawn are white noise
    assert 0.1 < measured["spread/before"] < 0.3 and measured["roughness/after"] != measured["roughness/before"]


def as_read(text: str) -> Reading:
    """A reading of that text, / between its lines."""
    words = [(i, j, word) for i, line in enumerate(text.split(" / ")) for j, word in enumerate(line.split())]
    return Reading([Letter((0, 0, 1, 1), c, 1.0, "A", i, j) for i, j, word in words for c in word])


def test_letters_are_compared_without_spaces_and_breaks_between_words_apart() -> None:
    def found(text: str) -> list[Any]:
        scores = q4_ocr.score("TO DO / A NAP", as_read(text))
        assert scores["text"] == text
        return [scores[key] for key in ("accuracy", "missed", "made up", "breaks")]

    assert found("TO DO / A NAP") == [1, 0, 0, 0]
    assert found("TODO / A N AP") == [1, 0, 0, 2]
    assert found("TO DO / A NA") == [7 / 8, 1, 0, 0]
    assert found("TO DO / AX NAP") == [7 / 8, 0, 1, 0]
    assert found("") == [0, 8, 0, 3]


PAGES = [
    {"page": "p", "accuracy": 0.75, "truth": "TO DO", "printed": "TQ DO"},
    {"page": "q", "accuracy": 0.9, "truth": "A NAP", "printed": "A MAP"},
]


def pages_read(p: list[float], q: list[float], **columns: Any) -> DataFrame:
    """Runs of block `a` with these accuracies on two pages."""
    counts = {f"{page}/{key}": 0 for page in "pq" for key in ("missed", "made up")}
    table = DataFrame({"block": "a", "p/accuracy": p, "q/accuracy": q} | counts)
    mean = (table["p/accuracy"] + table["q/accuracy"]) / 2
    return table.assign(**{"mean/accuracy": mean}, **columns)


def test_the_text_that_a_report_prints_is_held_against_what_it_claims() -> None:
    verdict = q4_ocr.printed_text(DataFrame(), PAGES)
    assert verdict.evidence.startswith("not within a point on q: p 75.00 %, claimed 75; q 75.00 %, claimed 90")
    assert q4_ocr.printed_text(DataFrame(), PAGES[:1]).evidence.startswith("yes, within a point: p")


def test_the_reader_against_the_printed_text() -> None:
    names = {"a": "net a"}
    good, mixed = pages_read([0.9, 1.0], [0.8, 1.0]), pages_read([0.9, 1.0], [0.5, 0.6])
    assert q4_ocr.above_printed(good, A, PAGES).evidence.startswith("yes: p 95.00 ± 7.07 % (2 runs) against 75.00 %; q")
    assert q4_ocr.above_printed(mixed, A, PAGES).evidence.startswith("on 1 of 2")
    assert kind(q4_ocr.above_printed(good, B, PAGES)) == "not run"
    assert q4_ocr.all_found(good, A, PAGES, names).evidence == (
        "yes; of 8 characters, run by run, net a: missed 0, 0, made up 0, 0"
    )
    extra = good.assign(**{"q/made up": [0, 2]})
    assert (
        q4_ocr.all_found(extra, A, PAGES, names).evidence.startswith("no")
        and "up 0, 2" in q4_ocr.all_found(extra, A, PAGES, names).evidence
    )
    assert q4_ocr.all_found(extra, B, PAGES, names).evidence.startswith("yes")
    assert kind(q4_ocr.all_found(good.assign(**{"mean/accuracy": NAN}), A, PAGES, names)) == "not run"
    context = good.assign(**{"mean in context/accuracy": [0.9, 1.0]})
    assert q4_ocr.context_brings(context, A).evidence.startswith("+2.50 points: 95.00 ± 7.07 % (2 runs) with it, 92.50")
    assert kind(q4_ocr.context_brings(context, B)) == "not run"


def test_without_the_four_pages_there_is_no_verdict_on_them() -> None:
    study = load_study("cmu/q4_ocr")
    table = DataFrame({"block": ["question3"], "status": ["done"], "comparable": [True]})
    for claim in study.claims:
        verdict = judge(study, claim, table)
        if claim.check != "printed_text":
            assert kind(verdict) == "not run" and "aren't all in $DLCOURSE_DATA/pages" in verdict.evidence


SMALL_HAND = {"plain": Hand(height=32)}


@pytest.mark.parametrize("there", [0, 1, 4])
def test_the_four_pages_are_read_where_they_are(
    there: int, train: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = load_study("cmu/q4_ocr")
    (tmp_path / "pages").mkdir()
    font = ImageFont.truetype(font_manager.findfont("DejaVu Sans"), 40)
    pages = study.published["pages"].head(there)
    for name, truth in zip(pages["page"], pages["truth"], strict=True):
        photo = Image.new("L", (900, 600), 220)
        ImageDraw.Draw(photo).text((30, 30), truth.replace(" / ", "\n"), 40, font, spacing=30)
        photo.save(tmp_path / "pages" / f"{name}.jpg")
    monkeypatch.setenv("DLCOURSE_DATA", str(tmp_path))
    monkeypatch.setattr(q4_ocr, "HANDS", SMALL_HAND)
    run = train("experiment=cmu/q3_nist36_mlp", "trainer.max_epochs=1", "trainer.figures=false")
    known = Runs(
        DataFrame([flatten(runs.read_config(run)) | {"block": "question3", "hash": "a"} | run_record(run)]), Path()
    )
    found = q4_ocr.measure(study, known)
    assert found.attrs["incomplete"] == (there < 4)
    known = Runs(known.table.merge(found, on="hash"), Path())
    made = page_items(study, known)
    first = made[0]
    assert isinstance(first, Table) and list(first.frame["page"]) == [*study.published["pages"]["page"], "mean"]
    assert ("Not all of the pages are in $DLCOURSE_DATA/pages" in first.note) == (there < 4)
    ours = first.frame["question 3, fully connected"]
    assert (ours != GAP).sum() == (5 if there == 4 else there)
    assert sum(isinstance(item, Plot) for item in made) == there + 1
    assert known.table["mean/accuracy"].notna().all() == (there == 4)


SMOKE = {
    "q2_toy": ("trainer.max_epochs=3",),
    "q3": ("trainer.max_epochs=2",),
    "q4_ocr": ("trainer.max_epochs=1",),
    "q5": ("trainer.max_epochs=2",),
    "q6_1": ("trainer.max_epochs=2",),
    "q6_1_3": ("trainer.max_epochs=1", "data.resize=32", "model.weights=none", "data.eval_batch_size=50"),
    "q6_1_4": ("trainer.max_epochs=1", "data.size=32", "model.weights=none", "data.eval_batch_size=50"),
    "q6_2": ("trainer.max_epochs=1", "data.size=32", "model.weights=none", "data.eval_batch_size=50"),
}


@pytest.mark.parametrize("name", SMOKE)
def test_every_page_is_drawn_from_small_runs(
    name: str, train: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One run of each block; a page of fewer blocks, as of an unfinished study, is drawn too."""
    monkeypatch.setattr(q4_ocr, "HANDS", SMALL_HAND)
    study = load_study(f"cmu/{name}")
    rows = []
    for i, (block, keys) in enumerate(study.blocks.items()):
        given = [*SMOKE[name], "trainer.figures=false", f"seed={i}"]
        if "model.net.hidden" not in str(keys) and "custom" in keys["experiment"]:
            given = [o for o in given if not o.startswith("model.weights")] + ["model.net.hidden=[8]"]
        run = train(f"experiment={keys['experiment']}", *given, run=block)
        rows.append(flatten(runs.read_config(run)) | {"block": block, "hash": block} | run_record(run))
    everything = Runs(DataFrame(rows), Path())
    for known in (everything, Runs(everything.table.iloc[:1], Path())):
        measure = getattr(study_module(study.name), "measure", None)
        if measure:
            known = Runs(known.table.merge(measure(study, known), on="hash"), Path())
        made = page_items(study, known)
        assert any(isinstance(item, Table) for item in made) and any(isinstance(item, Plot) for item in made)
        plots = [item.name for item in made if isinstance(item, Plot)]
        assert len(set(plots)) == len(plots)
        for claim in study.claims:
            assert isinstance(judge(study, claim, known.table), Verdict)


@pytest.mark.parametrize("name", study_names())
def test_every_function_that_a_study_names_is_there(name: str) -> None:
    study = load_study(name)
    for claim in study.claims:
        assert getattr(find_function(study, claim.check, checks, "check"), "is_check", False), claim.check
    for entry in study.report:
        for item in entry:
            assert callable(find_function(study, item, items, "item of the report"))
