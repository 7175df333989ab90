"""The statements of the reports: each comes out as it should, and would come out otherwise if it were otherwise."""

import csv
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from numpy.random import Generator

from dlcourse import scratch
from dlcourse.core.errors import InputError
from dlcourse.scratch.layers import Array
from dlcourse.theory import Finding, Statement, cmu, cs671, decide, huji, ntnu, of
from dlcourse.theory import __main__ as theory
from dlcourse.theory.statement import statement

ALL = [(course, s) for course, module in theory.COURSES.items() for s in of(module)]


@pytest.mark.parametrize("tried", [s for _, s in ALL], ids=lambda s: s.text)
def test_each_comes_out_as_it_should(tried: Statement) -> None:
    for seed in (0, 1):
        row = decide(tried, seed)
        assert row.as_expected, row
        assert repr(row) == repr(decide(tried, seed)), "the same for the same seed, whatever was tried before"
    if tried.expected == "fails":
        assert row.finding.evidence, "a counter-example"


def test_what_is_there() -> None:
    assert len({s.text for _, s in ALL}) == len(ALL)
    assert {course for course, _ in ALL} == theory.COURSES.keys()
    assert sum(s.expected == "fails" for _, s in ALL) >= 10


class One(scratch.ReLU):
    """relu'(0) = 1."""

    def forward(self, x: Array) -> Array:
        self.on = x >= 0
        return np.maximum(x, 0)


class Half(scratch.Sigmoid):
    """σ' without its 1 - σ."""

    def backward(self, g: Array) -> Array:
        return g * self.y


def swapped(part: str, value: Any, *modules: ModuleType) -> Callable[[pytest.MonkeyPatch], None]:
    def swap(monkeypatch: pytest.MonkeyPatch) -> None:
        for module in modules:
            monkeypatch.setattr(module, part, value)

    return swap


def waves(z: Array, y: Array) -> tuple[float, Array]:
    """A loss with many minima."""
    return float(np.sin(z).sum()), np.cos(z)


def ones() -> scratch.Sequential:
    return scratch.toy_convnet(np.ones((2, 3)), np.zeros((1, 4)))


def unconcerned(z: Array) -> Array:
    """A softmax without care for large scores."""
    return cmu.naive_softmax(z)


@pytest.mark.parametrize(
    ("tried", "swap"),
    [
        (cmu.sigmoid_slope, swapped("sigmoid", lambda x: scratch.sigmoid(1.01 * x), cmu)),
        (cmu.sigmoid_bound, swapped("sigmoid", lambda x: scratch.sigmoid(1.01 * x), cmu)),
        (cmu.stable_softmax, swapped("softmax", unconcerned, cmu)),
        (cmu.sums_to_one, swapped("softmax", lambda z: scratch.softmax(z) * 1.001, cmu)),
        (cmu.tanh_by_sigmoid, swapped("sigmoid", lambda x: scratch.sigmoid(x + 1e-6), cmu)),
        (cmu.strictly_within, swapped("softmax", lambda z: np.clip(scratch.softmax(z), 1e-9, 1 - 1e-9), cmu)),
        (cmu.zero_weights, swapped("Tanh", scratch.Sigmoid, cmu)),
        (cmu.zero_sigmoid, swapped("Sigmoid", scratch.Tanh, cmu)),
        (cmu.gradients, swapped("Sigmoid", Half, cmu)),
        (cmu.xavier, swapped("initialised", lambda _, shape, rng: rng.normal(size=shape) * 0.2, cmu)),
        (ntnu.softmax_jacobian, swapped("softmax", lambda z: scratch.softmax(1.01 * z) ** 1.01, ntnu)),
        (ntnu.zero_outputs, swapped("sigmoid", lambda x: scratch.sigmoid(x) + 1e-9, ntnu)),
        (ntnu.zero_is_harmless, swapped("softmax_cross_entropy", waves, ntnu)),
        (huji.threshold_without_biases, swapped("Threshold", lambda t: scratch.ReLU(), huji)),
        (huji.true_convolution, swapped("Convolution", lambda w: scratch.Convolution(w[:, ::-1].copy()), huji)),
        (huji.output_zero, swapped("RATE", 0.0, huji)),
        (huji.no_problem_for_u, swapped("start", lambda *_: ones(), huji)),
        (cs671.monotone, swapped("SGD", lambda p, rate: scratch.SGD(p, 100 * rate), cs671)),
        (cs671.adam_first_step, swapped("LR", float("nan"), cs671)),
        (cs671.nesterov, swapped("SGD", lambda p, rate, mu, nesterov: scratch.SGD(p, rate, mu), cs671)),
    ],
)  # fmt: skip
def test_it_can_come_out_otherwise(
    tried: Statement, swap: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With something else in place of what it is about."""
    swap(monkeypatch)
    assert not decide(tried, 0).as_expected


def test_filters_of_zero_depend_on_the_slope_of_relu_at_zero(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scratch.network, "ReLU", One)
    assert not decide(huji.filters_zero, 0).as_expected
    assert decide(huji.all_zero, 0).as_expected


def test_the_steps_are_those_of_the_library() -> None:
    """Adam as CS671's statements have it, against torch's."""
    gradients = np.random.default_rng(0).normal(size=(20, 5))
    w = torch.zeros(5, dtype=torch.float64, requires_grad=True)
    theirs = torch.optim.Adam([w], lr=cs671.LR)
    for g, step in zip(gradients, cs671.adam(gradients), strict=True):
        before = w.detach().clone()
        w.grad = torch.from_numpy(g.copy())
        theirs.step()
        np.testing.assert_allclose((w.detach() - before).numpy(), step, atol=1e-12)


# --- the command -----------------------------------------------------------------------------------------------------


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert theory.main([f"out={tmp_path / 'a' / 'b'}"]) == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert f"{len(ALL)} statements" in printed and "0 other than expected" in printed
    with (tmp_path / "a" / "b" / "theory.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["statement"] for row in rows] == [s.text for _, s in ALL]
    assert {row["as expected"] for row in rows} == {"yes"}
    lines = (tmp_path / "a" / "b" / "theory.md").read_text().splitlines()
    table = [line for line in lines if line.startswith("| ")]
    assert len(table) == len(ALL) + len(theory.COURSES)
    assert {line.replace(r"\|", "").count("|") for line in table} == {len(theory.HEADER) + 1}


def test_a_row_that_is_not_as_expected(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """It says so, and the exit code is 1; NaN is no small deviation."""
    module = ModuleType("wrong")

    @statement("one is two", "nowhere", within=0.5)
    def one(rng: Generator) -> Finding:
        return Finding(1.0, "1 against 2")

    @statement("nothing is a number", "nowhere", within=1e9)
    def nothing(rng: Generator) -> Finding:
        return Finding(float("nan"))

    module.one, module.nothing = one, nothing  # type: ignore[attr-defined]
    monkeypatch.setattr(theory, "COURSES", {"a course": module})
    assert theory.main([]) == 1
    printed = capsys.readouterr().out
    assert printed.count("! it should be: holds") == 2 and "2 fail, 2 other than expected" in printed
    with pytest.raises(SystemExit) as end:
        theory.command([])
    assert end.value.code == 1


@pytest.mark.parametrize("words", [["seed=-1"], ["seed=x"], ["sead=1"], ["1"]])
def test_mistakes_are_one_sentence(words: list[str]) -> None:
    with pytest.raises(InputError):
        theory.main(words)


def test_out_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="is a file"):
        theory.main([f"out={tmp_path / 'file'}"])


def test_from_the_command_line() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "dlcourse.theory", "seed=2"], capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, "")
