"""What the documentation says can be typed, does what it says, and what it lists is there."""

import csv
import os
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from markdown.extensions.toc import slugify
from PIL import Image

import dlcourse.__main__
import dlcourse.data.__main__
from dlcourse import evaluate, predict, resume, runs
from dlcourse import train as train_command
from dlcourse.config.search import groups
from dlcourse.core import cli
from dlcourse.core.errors import InputError
from dlcourse.data.sources import SOURCES
from dlcourse.launch.overrides import check_overrides
from dlcourse.training import loading
from pages import PAGES, REPORTS, TOP, commands, main_of, named

README = PAGES["README.md"]
COMMANDS = named(README)
FOLLOWED = ("docs/extending.md", "docs/audit.md", "docs/data.md")  # word for word, by tests of their own
MISTAKES = ("model=mdl", "optimizer.lr=-1")  # that a page is about
EVERYWHERE = sorted({command for page, text in PAGES.items() if page not in FOLLOWED for command in named(text)})
CODES = [code for code in re.findall(r"`([^`\n]+)`", README) if not code.startswith("python -m ")]
OVERRIDES = sorted({word for code in CODES for word in code.split()
                    if re.fullmatch(r"[a-z_]+(\.[a-z_]+)*=[^=]+", word)
                    and word.split("=")[0] not in ("study", "budget")})  # fmt: skip


def given(start: str, **put_in: object) -> list[str]:
    """What follows `python -m MODULE` in the one command of the README that starts so, with DIR put in."""
    (found,) = [c for c in COMMANDS if c.startswith(f"python -m dlcourse.{start}") and all(n in c for n in put_in)]
    for name, value in put_in.items():
        found = found.replace(name, shlex.quote(str(value)))
    return shlex.split(found)[3:]


class UnderstoodError(Exception):
    """A command has parsed and checked what was typed, and would begin."""


def begin(*_: object, **__: object) -> None:
    raise UnderstoodError


@pytest.mark.parametrize("command", EVERYWHERE)
def test_every_command_of_the_documentation_is_understood(
    command: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """By the program's own checks, up to where it would begin: a key or a choice that there is not would be refused."""

    def parse(*given: Any, **options: Any) -> None:
        begin(parse_arguments(*given, **options))

    parse_arguments = cli.parse_arguments
    monkeypatch.setattr(cli, "parse_arguments", parse)
    monkeypatch.setattr(train_command, "run_hydra", begin)
    monkeypatch.setattr("dlcourse.studies.runner.run_study", begin)
    monkeypatch.chdir(tmp_path)
    for name in ("daisy", "tulip"):  # of docs/own_images.md
        (tmp_path / "photos" / name).mkdir(parents=True)
    _, _, module, *words = shlex.split(command)
    monkeypatch.setattr("sys.argv", [module, *words])
    try:
        main_of(module)(words)
        assert module == "dlcourse" or {"--help", "--summary"} & set(words)  # nothing to begin with
    except UnderstoodError:
        pass
    except InputError as error:
        if set(words) & set(MISTAKES):
            return
        if not (missing := re.search(r"pip install 'dlcourse\[(\w+)\]'", str(error))):
            raise
        pytest.skip(f"the extra {missing[1]} is not installed")
    except SystemExit as end:
        assert "--help" in words and end.code in (0, None)


@pytest.mark.parametrize("override", [o for o in OVERRIDES if "images=" not in o])
def test_keys_that_are_named_can_be_set(override: str) -> None:
    """With a network made here or a pretrained one: each has keys of its own."""
    words = [override] if override.startswith("model=") else ["model=mlp", override]
    try:
        check_overrides(words, sweep="," in override)
    except InputError:
        check_overrides(["model=mobilenet_v2", override], sweep="," in override)


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


def test_every_command_is_in_the_readme() -> None:
    """tests/test_layout.py holds them against the modules that are there."""
    assert {c.split()[2] for c in COMMANDS} - {"dlcourse"} == {
        f"dlcourse.{name}" for name in dlcourse.__main__.COMMANDS
    }


def test_the_readme_is_short() -> None:
    assert len(README.splitlines()) <= 200


@pytest.mark.parametrize("group", ["model", "data"])
def test_every_model_and_data_set_is_in_the_readme(group: str) -> None:
    assert [choice for choice in groups()[group] if f"`{choice}`" not in README] == []


def test_extras_that_are_named_exist() -> None:
    extras = tomllib.loads((TOP / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    asked = {name for text in PAGES.values() for name in re.findall(r"(?:dlcourse|\.)\[(\w+)\]['\"]", text)}
    assert asked and asked <= set(extras)


def anchors(path: Path) -> set[str]:
    """What a link to a page may have after its #."""
    text = re.sub(r"(?ms)^```.*?^```", "", path.read_text(encoding="utf-8"))
    return {slugify(markdown_text(title), "-") for title in re.findall(r"(?m)^#+ (.+)$", text)}


def markdown_text(title: str) -> str:
    return re.sub(r"\[([^\]]+)\]\([^)]+\)", r"\1", title).replace("`", "")


@pytest.mark.parametrize("page", [*PAGES, *(p.relative_to(TOP).as_posix() for p in REPORTS.rglob("*.md"))])
def test_links_lead_somewhere(page: str) -> None:
    here = TOP / page
    text = re.sub(r"(?ms)^```.*?^```|`[^`\n]*`", "", here.read_text(encoding="utf-8"))
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if "://" not in link:
            path, _, anchor = link.partition("#")
            target = here.parent / path if path else here
            assert target.exists(), link
            assert not anchor or anchor in anchors(target), link


def test_the_site_is_built_and_asks_nobody_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As `mkdocs build --strict`: a page that is missing in the navigation's files, a dead link or anchor ends it."""
    pytest.importorskip("material", reason="mkdocs-material is not installed: pip install -e '.[docs]'")
    monkeypatch.setenv("NO_MKDOCS_2_WARNING", "1")
    from mkdocs.commands.build import build
    from mkdocs.config import load_config

    build(load_config(str(TOP / "mkdocs.yml"), strict=True, site_dir=str(tmp_path / "site")))
    pages = list((tmp_path / "site").rglob("*.html"))
    assert len(pages) > len(list(REPORTS.rglob("*.md")))
    assert (tmp_path / "site" / "search" / "search_index.json").stat().st_size > 100_000
    for page in pages:
        outside = (
            r"""<(?:script|img|iframe)[^>]+src=["']?https?:|<link[^>]+rel=["']?(?:stylesheet|preconnect)[^>]+https?:"""
        )
        assert not re.search(outside, page.read_text(encoding="utf-8")), page


def test_it_can_be_cited() -> None:
    cited = yaml.safe_load((TOP / "CITATION.cff").read_text(encoding="utf-8"))
    project = tomllib.loads((TOP / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert {"cff-version", "message", "title", "authors"} <= set(cited)
    assert (cited["version"], cited["license"]) == (project["version"], project["license"])


def test_codes_as_the_page_has_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """docs/data.md, its commands one after the other, on fewer examples."""
    less = ("data.source=stand-in", "data.limit=100", "data.limit_eval=50", "data.epochs=1", "trainer.accelerator=cpu")
    quiet = ("trainer.figures=false", "logger=none")
    monkeypatch.chdir(tmp_path)
    for _, _, module, *words in commands(PAGES["docs/data.md"]):
        typed = [*words, *less, *quiet] if module == "dlcourse.train" else words
        monkeypatch.setattr("sys.argv", [module, *typed])
        main_of(module)(typed)
    assert len(list(tmp_path.glob("outputs/runs/*-codes/result.json"))) == 2
