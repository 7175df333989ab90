"""The claims of HUJI's two reports, decided both ways on made-up tables; their pages, on small runs."""

from collections.abc import Callable
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pandas import DataFrame

from dlcourse import runs as run_files
from dlcourse.core.errors import InputError
from dlcourse.reports.page import Item, Plot, Table
from dlcourse.reports.tables import run_record
from dlcourse.studies import checks
from dlcourse.studies.huji import autoencoder_pca, lr_sweep, mnist, toy_functions
from dlcourse.studies.pca import PCA
from dlcourse.studies.report import page_items
from dlcourse.studies.runs import Runs
from dlcourse.studies.study import load_study
from dlcourse.studies.verdict import Verdict

Train = Callable[..., Path]
NONE = "not run"


# --- toy_functions ---


def toy(**losses: float) -> DataFrame:
    """Three draws, three starts each; the best one's loss in times of the noise floor: `convnet_max=1.5`, else 1."""
    rows = []
    for block, function, draw, seed in product(
        (*toy_functions.CONVERGED, *toy_functions.SETTINGS), toy_functions.FUNCTIONS, range(3), range(3)
    ):
        loss = 0.01 * losses.get(f"{block}_{function}", 1.0) * (1 + seed)
        rows.append(
            {
                "block": block, "data.function": function, "data.draw": draw, "seed": seed, "epochs": 50,
                "train/loss": loss, "test/loss": loss, "floor": 0.01, "variance": 10.0,
            }
        )  # fmt: skip
    return DataFrame(rows)


def test_the_convnet_has_learned_where_its_best_start_is_at_the_noise_floor_on_every_draw() -> None:
    assert toy_functions.convnet_learns_all(toy()).kind == "reproduced"
    verdict = toy_functions.convnet_learns_all(toy(convnet_max=30))
    assert verdict.kind == "refuted"
    assert "best of 3 starts" in verdict.evidence
    assert "max 30.0 ± 0.0 times the noise floor (3.00 ± 0.00 % of the variance)" in verdict.evidence
    one_bad_draw = toy()
    one_bad_draw.loc[(one_bad_draw["data.draw"] == 2) & (one_bad_draw["block"] == "convnet"), "test/loss"] = 1.0
    assert toy_functions.convnet_learns_all(one_bad_draw).kind == "refuted"


def test_the_convnet_equals_the_linear_model_up_to_a_factor() -> None:
    assert toy_functions.convnet_equals_linear(toy(convnet_linear=1.5)).kind == "reproduced"
    assert toy_functions.convnet_equals_linear(toy(convnet_linear=60)).kind == "refuted"


def test_in_the_report_s_own_settings_learned_is_a_hundredth_of_the_variance() -> None:
    every = ["linear", "max", "log_sum_exp"]
    assert toy_functions.learns(toy(), "first_convnet", every).kind == "reproduced"
    verdict = toy_functions.learns(toy(first_convnet_max=30), "first_convnet", every)
    assert verdict.kind == "refuted"
    assert "the best of 3 runs leaves: linear 0.10 %, max 3.00 %, log_sum_exp 0.10 %" in verdict.evidence
    far = toy(first_linear_max=30, first_linear_log_sum_exp=30)
    assert toy_functions.learns(far, "first_linear", ["linear"]).kind == "reproduced"
    assert toy_functions.learns(toy(), "first_linear", ["linear"]).kind == "refuted"
    equal = toy_functions.convnet_equals_linear(
        toy(first_convnet_linear=1.5, convnet_linear=60), "first_convnet", "first_linear"
    )
    assert equal.kind == "reproduced"
    assert toy_functions.learns(toy().assign(**{"train/loss": np.nan}), "first_linear", ["linear"]).kind == NONE


def test_the_linear_model_learns_the_linear_function_only() -> None:
    far = {"linear_max": 8900.0, "linear_log_sum_exp": 8300.0, "first_linear_linear": 7.0}
    verdict = toy_functions.linear_learns_only(toy(**far), "first")
    assert verdict.kind == "reproduced"
    assert verdict.evidence.endswith("in the report's setting: linear 14.0, max 2.0, log_sum_exp 2.0")
    assert toy_functions.linear_learns_only(toy(**far, linear_linear=60.0), "first").kind == "refuted"
    assert (
        toy_functions.linear_learns_only(toy(linear_max=8900.0), "second").kind == "refuted"
    )  # it learns log_sum_exp too


def test_the_start_matters_where_the_worst_is_twice_the_best() -> None:
    assert toy_functions.depends_on_start(toy(), "second_convnet").kind == "reproduced"
    even = toy().assign(**{"test/loss": 0.5})
    assert toy_functions.depends_on_start(even, "second_convnet").kind == "refuted"
    assert toy_functions.depends_on_start(even[even["seed"] == 0], "second_convnet").kind == NONE
    diverged = even.copy()
    diverged.loc[diverged["seed"] == 0, "test/loss"] = np.nan
    assert toy_functions.depends_on_start(diverged, "second_convnet").kind == "reproduced"


def test_questions_on_the_toy_functions_are_answered_with_figures() -> None:
    table = toy(linear_max=270, linear_bias_max=30, convnet_max=1.5, convnet_log_sum_exp=80)
    floor = toy_functions.reaches_floor(table, ["max", "log_sum_exp"])
    assert floor.kind == "answered"
    assert "on max for 3 of 3" in floor.evidence and "on log_sum_exp for 0 of 3" in floor.evidence
    assert "max: 2.7000 without, 0.3000 with it, the convnet 0.0150" in toy_functions.bias_helps(table).evidence
    assert (
        "first report, convnet linear 2.0, max 2.0"
        in toy_functions.own_settings(table, load_study("huji/toy_functions").names).evidence
    )


@pytest.mark.parametrize(
    "check",
    [
        toy_functions.convnet_learns_all,
        toy_functions.convnet_equals_linear,
        lambda t: toy_functions.linear_learns_only(t, "first"),
        lambda t: toy_functions.depends_on_start(t, "second_convnet"),
        lambda t: toy_functions.reaches_floor(t, ["max"]),
        toy_functions.bias_helps,
        lambda t: toy_functions.own_settings(t, load_study("huji/toy_functions").names),
    ],
)
def test_no_verdict_on_the_toy_functions_without_the_runs(check: Callable[[DataFrame], Any]) -> None:
    gone = toy().assign(**{"train/loss": np.nan, "test/loss": np.nan, "epochs": np.nan})
    assert check(gone).kind == NONE
    assert check(gone.iloc[:0]).kind == NONE


# --- mnist ---

ACCURACY = {"linear": 0.926, "mlp": 0.982, "convnet": 0.991}


def networks(**accuracy: float) -> DataFrame:
    rows = []
    for (network, right), report, seed in product((ACCURACY | accuracy).items(), mnist.REPORTS, range(2)):
        score = right + 0.001 * seed
        rows.append(
            {
                "block": f"{network}_{report}", "seed": seed, "data.limit": None,
                "train/accuracy": score, "test/accuracy": score, "test/loss": 1 - score,
            }
        )  # fmt: skip
    return DataFrame(rows)


def linear_accuracy(table: DataFrame) -> Verdict:
    goals = {"train/accuracy": 0.92, "test/accuracy": 0.92}
    return checks.reaches(table, goals, {"block": "linear_first"})


def better(table: DataFrame, network: str, *than: str) -> Verdict:
    others = [{"block": f"{name}_first"} for name in than]
    return checks.better(table, "test/accuracy", {"block": f"{network}_first"}, others)


def test_the_linear_network_has_92_percent_on_train_and_test() -> None:
    verdict = linear_accuracy(networks())
    assert verdict.kind == "reproduced" and verdict.evidence.count("92.65 ± 0.07 % (2 runs)") == 2
    assert linear_accuracy(networks().assign(**{"train/accuracy": 0.91})).kind == "refuted"


def test_a_network_is_better_by_more_than_the_noise_than_each_of_the_others() -> None:
    assert better(networks(), "convnet", "mlp", "linear").kind == "reproduced"
    assert better(networks(convnet=0.9825), "convnet", "mlp", "linear").kind == "undecided"
    assert better(networks(convnet=0.95), "convnet", "mlp", "linear").kind == "refuted"
    assert better(networks(convnet=0.9825), "mlp", "linear").kind == "reproduced"


def test_ranking_and_targets_say_yes_or_no_for_each_setting() -> None:
    assert mnist.ranking(networks()).evidence.count("yes") == 4
    worse_loss = networks()
    worse_loss.loc[worse_loss["block"] == "mlp_second", "test/loss"] = 0.001
    evidence = mnist.ranking(worse_loss).evidence
    assert evidence.count("yes") == 3 and "second report, loss: no" in evidence
    reached = mnist.targets(networks(mlp=0.97), convnet=0.99, mlp=0.98, linear=0.92)
    assert reached.kind == "answered"
    assert reached.evidence.count("yes") == 4 and reached.evidence.count("no)") == 2


def test_no_verdict_on_the_networks_without_the_runs_and_none_over_runs_of_other_data() -> None:
    gap = networks()
    gap.loc[0:3, ["train/accuracy", "test/accuracy"]] = np.nan
    assert linear_accuracy(gap).kind == NONE
    assert better(gap, "mlp", "linear").kind == NONE
    assert mnist.ranking(gap).kind == mnist.targets(gap, linear=0.92).kind == NONE
    mixed = networks()
    mixed.loc[0, "data.limit"] = 100
    with pytest.raises(InputError, match=r"data\.limit differ"):
        linear_accuracy(mixed)


# --- lr_sweep ---


def rates(block: str, **changes: dict[str, float]) -> DataFrame:
    """Made-up runs at five rates; `lr_1={...}` changes the one at the rate 1."""
    rows = []
    for lr, right in ((10.0, 0.098), (1.0, 0.098), (0.1, 0.99), (0.01, 0.95), (0.0001, 0.7)):
        row = {
            "block": block, "optimizer.lr": lr, "test/accuracy": right, "epochs": 10, "first": 0.9 * right,
            "lowest": right if right < 0.1 else 0.9 * right, "highest/accuracy": right,
            "rise": 0.01 if right > 0.1 else 0.0,
            "collapsed": 1.0 if right < 0.1 else np.nan, "no number from/epochs": 1.0 if right < 0.1 else np.nan,
        }  # fmt: skip
        rows.append(row | changes.get(f"lr_{lr:g}", {}))
    return DataFrame(rows)


def best_rate(table: DataFrame, network: str) -> Verdict:
    return checks.best_of(table, "test/accuracy", "optimizer.lr", 0.1, of={"block": network}, complete=True)


def test_the_best_rate() -> None:
    assert best_rate(rates("convnet"), "convnet").kind == "reproduced"
    assert best_rate(rates("convnet", lr_1={"test/accuracy": 0.995}), "convnet").kind == "refuted"


def test_no_convergence_is_no_better_than_guessing() -> None:
    verdict = lr_sweep.no_convergence(rates("convnet"), "convnet", 1.0)
    assert verdict.kind == "reproduced" and "9.80 %; the loss is NaN from epoch 1 on" in verdict.evidence
    better = {"test/accuracy": 0.98, "no number from/epochs": np.nan, "collapsed": np.nan}
    assert lr_sweep.no_convergence(rates("convnet", lr_1=better), "convnet", 1.0).kind == "refuted"


def test_slow_is_behind_the_first_epoch_of_the_best_rate() -> None:
    assert lr_sweep.slow(rates("convnet"), "convnet", 0.0001).kind == "reproduced"
    assert lr_sweep.slow(rates("convnet"), "convnet", 0.01).kind == "refuted"


def test_rising() -> None:
    assert lr_sweep.keeps_rising(rates("mlp"), "mlp", [0.0001, 0.01]).kind == "reproduced"
    flat = {"rise": -0.001}
    verdict = lr_sweep.keeps_rising(rates("mlp", **{"lr_0.01": flat}), "mlp", [0.0001, 0.01])
    assert verdict.kind == "refuted" and "0.01 by -0.10 points" in verdict.evidence


@pytest.mark.parametrize(
    ("run", "kind"),
    [
        ({"epochs": 100, "collapsed": 48.0, "test/accuracy": 0.0}, "reproduced"),
        ({"epochs": 100, "collapsed": 48.0, "test/accuracy": 0.098}, "refuted"),  # guessing is not 0
        ({"epochs": 100, "collapsed": 3.0, "test/accuracy": 0.0}, "refuted"),
        ({"epochs": 100, "collapsed": np.nan, "test/accuracy": 0.98}, "refuted"),
        ({"epochs": 10, "collapsed": np.nan, "test/accuracy": 0.98}, NONE),  # it could still come
    ],
)
def test_a_drop_around_an_epoch(run: dict[str, float], kind: str) -> None:
    assert lr_sweep.drops(rates("mlp", lr_1=run), "mlp", 1.0, 50).kind == kind


def test_a_constant_zero_is_not_the_share_of_zeros_among_the_digits() -> None:
    verdict = lr_sweep.constant_zero(rates("mlp"), "mlp", 10.0)
    assert verdict.kind == "refuted" and "constant, at 9.80 %" in verdict.evidence
    zero = {"lowest": 0.0, "highest/accuracy": 0.0}
    assert lr_sweep.constant_zero(rates("mlp", lr_10=zero), "mlp", 10.0).kind == "reproduced"
    assert (
        "not constant, at 0.00 to 9.80 %"
        in lr_sweep.constant_zero(rates("mlp", lr_10={"lowest": 0.0}), "mlp", 10.0).evidence
    )


@pytest.mark.parametrize(
    "check",
    [
        lambda t: best_rate(t, "mlp"),
        lambda t: lr_sweep.no_convergence(t, "mlp", 1.0),
        lambda t: lr_sweep.slow(t, "mlp", 0.0001),
        lambda t: lr_sweep.keeps_rising(t, "mlp", [0.0001]),
        lambda t: lr_sweep.drops(t, "mlp", 1.0, 50),
        lambda t: lr_sweep.constant_zero(t, "mlp", 10.0),
    ],
)
def test_no_verdict_on_the_rates_without_the_runs(check: Callable[[DataFrame], Any]) -> None:
    assert check(rates("mlp").assign(**{"test/accuracy": np.nan})).kind == NONE
    assert check(rates("convnet")).kind == NONE


@pytest.fixture
def fake(tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """A row of a table of runs, with a metrics.csv of its own."""

    def made(block: str, accuracy: list[float], loss: list[float], **values: Any) -> dict[str, Any]:
        folder = tmp_path / f"{block}-{len(list(tmp_path.iterdir()))}"
        folder.mkdir()
        stages = ("train", "val")
        DataFrame(
            {"epoch": range(1, len(loss) + 1)}
            | {f"{s}/accuracy": accuracy for s in stages}
            | {f"{s}/loss": loss for s in stages}
        ).to_csv(folder / run_files.METRICS, index=False)
        ends = {f"{s}/{m}": v[-1] for s in ("train", "test") for m, v in (("accuracy", accuracy), ("loss", loss))}
        about = {"block": block, "run": folder, "hash": folder.name, "status": "done", "epochs": len(loss), "seed": 0}
        return about | ends | values

    return made


def test_what_is_measured_of_a_sweep(fake: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    rows = [
        fake("mlp", [0.5, 0.7, 0.8, 0.9], [3.0, 2.0, 1.0, 0.5]),
        fake("mlp", [0.9, 0.098, 0.098], [1.0, np.nan, np.nan]),
        fake("mlp", [0.098], [np.inf]),
    ]
    found = lr_sweep.measure(load_study("huji/lr_sweep"), Runs(DataFrame(rows), tmp_path)).drop(columns="hash")
    assert found["rise"][0] == pytest.approx(0.2)
    assert found.drop(columns="rise").fillna(-1).to_numpy().tolist() == [
        [0.5, 0.5, 0.9, -1, -1],
        [0.9, 0.098, 0.9, 2, 2],
        [0.098, 0.098, 0.098, 1, 1],
    ]


# --- autoencoder_pca ---


def codes(**values: dict[str, list[float]]) -> DataFrame:
    """Made-up encoders and probes: three runs of the first report's autoencoder, one of each other."""
    first = {"knn": [0.7, 0.75, 0.1], "decoded": [8, 9, 10], "mse": [0.04, 0.04, 0.06], "dead": [0, 0, 2]}
    one = {"knn": [0.65], "decoded": [6], "mse": [0.045], "dead": [0]}
    pca = {"knn": [0.43], "decoded": [4], "mse": [0.056], "dead": [0]}
    rows = []
    codes: dict[str, dict[str, Any]] = {"first": first, "second": one, "second_long": one, "pca": pca}
    for code, given in codes.items():
        given = given | values.get(code, {})
        for seed in range(len(given["knn"])):
            measured = {"decoded": given["decoded"][seed], "test/mse": given["mse"][seed], "dead": given["dead"][seed]}
            measured["recognised/accuracy"] = 0.5
            row = {"seed": seed, "test/accuracy": given["knn"][seed], "encoder": f"{code}{seed}"}
            rows.append({"block": f"{code}_knn", **row, **(measured if code == "pca" else {})})
            if code != "pca":
                rows.append({"block": code, "seed": seed, "hash": f"{code}{seed}", **measured})
    return DataFrame(rows)


def test_decoded_is_within_one_of_ten() -> None:
    assert autoencoder_pca.decoded(codes(), "first", 9).kind == "reproduced"
    assert autoencoder_pca.decoded(codes(first={"decoded": [2, 3, 9]}), "first", 9).kind == "refuted"
    assert autoencoder_pca.decoded(codes(), "pca_knn", 5).kind == "reproduced"
    assert autoencoder_pca.decoded(codes(pca={"decoded": [8]}), "pca_knn", 5).kind == "beaten"


def test_clusters_are_better_separated_where_most_runs_tell_more_digits() -> None:
    verdict = autoencoder_pca.better_separated(codes(), "first", "pca")
    assert verdict.kind == "reproduced" and "in 2 of 3 runs" in verdict.evidence
    assert autoencoder_pca.better_separated(codes(first={"knn": [0.7, 0.4, 0.1]}), "first", "pca").kind == "refuted"


CODES = load_study("huji/autoencoder_pca").names
reconstruction_errors = partial(checks.listed, metrics="test/mse", by="block", names=CODES)
recognised = partial(checks.listed, metrics="recognised/accuracy", by="block", names=CODES)
dead_units = partial(autoencoder_pca.dead_units, names=CODES)
linear_code = partial(autoencoder_pca.linear_code, names={"first": "one", "second_long": "other"})


def test_questions_on_codes_are_answered_for_every_code() -> None:
    assert "PCA: 0.0560" in reconstruction_errors(codes()).evidence
    assert "first report's autoencoder: 50.00 ± 0.00 %" in recognised(codes()).evidence
    assert "first report's autoencoder 0 and 0 and 2" in dead_units(codes()).evidence
    assert "test MSE 0.0450, nearest neighbours 65.00 %" in linear_code(codes()).evidence


@pytest.mark.parametrize(
    "check",
    [
        lambda t: autoencoder_pca.decoded(t, "first", 9),
        lambda t: autoencoder_pca.better_separated(t, "first", "pca"),
        reconstruction_errors,
        recognised,
        dead_units,
        linear_code,
    ],
)
def test_no_verdict_on_codes_without_the_runs(check: Callable[[DataFrame], Any]) -> None:
    table = codes()
    assert check(table[~table["block"].str.startswith("first")]).kind == NONE
    assert check(table[["block", "seed"]]).kind == NONE


def test_pca_is_the_best_linear_code() -> None:
    """No other two directions rebuild the images with a smaller error."""
    generator = torch.Generator().manual_seed(0)
    x = (torch.randn(500, 12, generator=generator) * torch.linspace(0.1, 2, 12)).unflatten(1, (1, 3, 4)) + 5
    pca = PCA(x, 2)
    rebuilt = pca.decode(pca.encode(x))
    assert rebuilt.shape == x.shape
    left = torch.linalg.svdvals((x - x.mean(0)).flatten(1))[2:].square().sum() / x.numel()
    assert float((rebuilt - x).square().mean()) == pytest.approx(float(left), rel=1e-4)


# --- the pages ---


def titles(items: list[Item]) -> list[str]:
    return [item.name if isinstance(item, Plot) else item.title for item in items if isinstance(item, Plot | Table)]


def test_the_pages_of_networks_and_rates(fake: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    rows = [
        fake(f"{network}_{report}", [0.9, 0.95], [0.5, 0.2], seed=seed)
        for network, report, seed in product(("linear", "mlp"), mnist.REPORTS, range(2))
    ]
    items = page_items(load_study("huji/mnist"), Runs(DataFrame(rows), tmp_path))  # the convnets are missing
    assert titles(items) == ["After the last epoch", "first_accuracy", "first_loss", "second_accuracy", "second_loss"]
    table = items[0]
    assert isinstance(table, Table)
    first = table.frame.iloc[0]
    assert (first["test accuracy"], first["published test accuracy"], first["runs"]) == ("95.00 ± 0.00 %", "92.00 %", 2)
    assert len(table.frame) == 4

    study = load_study("huji/lr_sweep")
    rows = [fake("mlp", [0.9, 0.95], [0.5, 0.2], **{"optimizer.lr": 0.1})]
    rows += [fake("convnet", [0.9, 0.95], [0.5, 0.2], **{"optimizer.lr": lr}) for lr in (0.1, 1.0)]
    known = Runs(DataFrame(rows), tmp_path)
    known = Runs(known.table.merge(lr_sweep.measure(study, known), on="hash"), tmp_path)
    shown = titles(page_items(study, known))
    assert len(shown) == 2 + 8 and "convnet_test_loss" in shown


def table_of(name: str, made: dict[str, tuple[Path, dict[str, Any]]], folder: Path) -> Runs:
    rows = [run_record(run) | {"block": block, "hash": block, **values} for block, (run, values) in made.items()]
    return Runs(DataFrame(rows), folder)


def test_the_page_of_the_toy_functions(train: Train, tmp_path: Path) -> None:
    made = {}
    for block, preset in (
        ("first_linear", "toy_linear"),
        ("second_convnet", "toy_convnet_second"),
        ("convnet", "toy_converged"),
    ):
        overrides = (f"experiment=huji/{preset}", "data.function=max", "trainer.max_epochs=3", "data.source=auto")
        run = train(*overrides, "data.limit=null", "data.limit_eval=null", "trainer.figures=false", run=block)
        made[block] = (run, {"data.function": "max", "data.draw": 0, "seed": 0})
    study = load_study("huji/toy_functions")
    known = table_of("toy_functions", made, tmp_path)
    extra = toy_functions.measure(study, known)
    assert extra["floor"].iloc[0] == pytest.approx(1e-4 * 2.9, rel=0.2)  # E[max²] is 2.9 here
    assert extra["penalty"].notna().tolist() == [True, True, False]
    known = Runs(known.table.merge(extra, on="hash"), tmp_path)
    shown = titles(page_items(study, known))
    assert [s for s in shown if s in toy_functions.SETTINGS] == ["first_linear", "second_convnet"]
    assert "starts" in shown


def test_the_page_of_codes(train: Train, tmp_path: Path) -> None:
    small = ("trainer.max_epochs=1", "trainer.figures=false")
    ae = train("experiment=huji/autoencoder", "model.net.widths=[8,2]", *small, run="first")
    judge = train("experiment=huji/mnist_mlp", "model.net.hidden=[8]", *small, run="judge")
    made = {"first": (ae, {"seed": 0}), "judge": (judge, {"seed": 0}), "pca_knn": (judge, {"seed": 0})}
    study = load_study("huji/autoencoder_pca")
    known = table_of("autoencoder_pca", made, tmp_path)
    extra = autoencoder_pca.measure(study, known)
    assert list(extra["hash"]) == ["first", "pca_knn"]
    assert extra["test/mse"].iloc[0] == pytest.approx(run_files.read_result(ae)["metrics"]["test/loss"], rel=1e-4)
    assert extra["test/mse"].iloc[1] < extra["test/mse"].iloc[0]  # after one epoch of 200 images
    assert extra["dead"].iloc[1] == 0
    assert extra["recognised/accuracy"].between(0, 1).all() and extra["decoded"].between(0, 10).all()
    known = Runs(known.table.merge(extra, on="hash", how="left").assign(encoder=None), tmp_path)
    items = page_items(study, known)
    assert titles(items) == ["Codes of two numbers", "learning_curves", "codes", "reconstructions"]
    assert isinstance(items[0], Table) and list(items[0].frame["published"]) == [9, 5]
