"""What the README says can be typed, does what it says, and what it lists is there."""

import csv
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import dlcourse.data.__main__
from dlcourse import evaluate, predict, resume, runs
from dlcourse.config.search import groups
from dlcourse.core.errors import InputError
from dlcourse.data.sources import SOURCES
from dlcourse.launch.overrides import check_overrides, sweep_values
from dlcourse.studies import study as studies
from dlcourse.training import loading

TOP = Path(__file__).parents[1]
README = (TOP / "README.md").read_text(encoding="utf-8")
COMMANDS = sorted(
    {
        c.strip()
        for c in re.findall(r"`?(python -m dlcourse\.[^`\n]+)", README)
        if "$" not in c and "--config-dir" not in c
    }
)
ELSEWHERE = (
    "run",
    "format",
    "split",
    "study",
    "budget",
    "out",
    "page",
    "truth",
    "turn",
    "context",
)  # keys of other commands
OVERRIDES = sorted({word for code in re.findall(r"`([^`\n]+)`", README) for word in code.split()
                    if re.fullmatch(r"[a-z_]+(\.[a-z_]+)*=[^=]+", word)
                    and word.split("=")[0] not in ELSEWHERE})  # fmt: skip


def given(start: str, **put_in: object) -> list[str]:
    """What follows `python -m MODULE` in the one command of the README that starts so, with DIR put in."""
    (found,) = [c for c in COMMANDS if c.startswith(f"python -m dlcourse.{start}")]
    for name, value in put_in.items():
        assert name in found
        found = found.replace(name, shlex.quote(str(value)))
    return shlex.split(found)[3:]


@pytest.mark.parametrize("command", [c for c in COMMANDS if c.startswith("python -m dlcourse.train")])
def test_training_commands_compose(command: str) -> None:
    words = shlex.split(command)[3:]
    if any(word.startswith("study=") for word in words):
        studies.load_study(sweep_values(words)["study"])
    elif "--help" not in words:
        check_overrides([w for w in words if w != "-m"], sweep="-m" in words)


@pytest.mark.parametrize("override", [o for o in OVERRIDES if "images=" not in o])
def test_keys_that_are_named_can_be_set(override: str) -> None:
    """With a network made here or a pretrained one: each has keys of its own."""
    refused = []
    for model in ("mlp", "mobilenet_v2"):
        try:
            words = [override] if override.startswith("model=") else [f"model={model}", override]
            check_overrides(words, sweep="," in override)
        except InputError as error:
            refused.append(str(error))
    assert len(refused) < 2, refused


def test_the_first_command_keeps_its_promise(tmp_path: Path) -> None:
    """As it is typed first, without a network: a convnet that can read digits; what stands in for MNIST is said."""
    assert "python -m dlcourse.train" in COMMANDS
    environment = {k: v for k, v in os.environ.items() if k != "DLCOURSE_DATA"} | {"DLCOURSE_OFFLINE": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "dlcourse.train"], cwd=tmp_path, env=environment,
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert "STAND-IN" in done.stdout
    (run,) = (tmp_path / "outputs" / "runs").iterdir()
    result = runs.read_result(run)
    assert result["status"] == "done"
    assert result["metrics"]["test/accuracy"] >= 0.95
    assert result["data"]["source"] == "stand-in"
    assert f"run: {run.relative_to(tmp_path)}" in done.stdout
    assert (run / "figures" / "misclassified.png").is_file()
    assert list(run.glob("events.out.*"))


def test_the_commands_after_a_run(
    train: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """evaluate, resume and predict as the README has them, with a run's directory for DIR."""
    run = train("model=linear", "trainer.max_epochs=1", "trainer.figures=false")
    before = (run / runs.RESULT).read_text()
    recorded = runs.read_result(run)["metrics"]
    found = evaluate.main(given("evaluate", DIR=run))
    assert found == {k: v for k, v in recorded.items() if k.startswith("val/")}
    resume.main(given("resume", DIR=run))
    assert (run / runs.RESULT).read_text() == before

    data = loading.build_data(runs.read_config(run))
    data.prepare()
    (tmp_path / "photos").mkdir()
    for i, image in enumerate(data.splits["test"].all()[0][:3]):
        Image.fromarray(image[0].numpy()).save(tmp_path / "photos" / f"{i}.jpg")
    monkeypatch.chdir(tmp_path)
    capsys.readouterr()
    predict.main(given("predict", DIR=run))
    table = list(csv.DictReader(capsys.readouterr().out.splitlines()))
    assert [row["file"] for row in table] == ["photos/0.jpg", "photos/1.jpg", "photos/2.jpg"]
    assert {row["class"] for row in table} <= set(data.classes)


def test_the_list_of_data_sets(capsys: pytest.CaptureFixture[str]) -> None:
    main: Any = dlcourse.data.__main__.main
    main(given("data"))
    listed = {line.split()[0] for line in capsys.readouterr().out.splitlines()}
    assert listed >= set(SOURCES)


def test_every_command_has_its_module_and_every_module_its_command() -> None:
    named = {c.split()[2] for c in COMMANDS}
    root = TOP / "src" / "dlcourse"
    mains = [p for p in root.glob("[a-z]*.py") if 'if __name__ == "__main__"' in p.read_text(encoding="utf-8")]
    assert named == {f"dlcourse.{p.stem}" for p in mains} | {"dlcourse.data", "dlcourse.studies", "dlcourse.theory"}


@pytest.mark.parametrize("group", ["model", "data"])
def test_every_model_and_data_set_is_in_the_readme(group: str) -> None:
    assert [choice for choice in groups()[group] if f"`{choice}`" not in README] == []


def test_links_lead_somewhere() -> None:
    targets = [t for t in re.findall(r"\]\(([^)]+)\)", README) if "://" not in t]
    assert targets
    assert [t for t in targets if not (TOP / t).exists()] == []
