"""The house: what lies where, and who may import whom."""

import ast
from collections.abc import Iterator
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from dlcourse.__main__ import COMMANDS

SRC = Path(__file__).parents[1] / "src"
PACKAGE = SRC / "dlcourse"
# A package imports packages that stand before it, and none beside it.
FLOORS = (
    ("core",),
    ("config", "scratch", "plots"),
    ("nets", "data", "runs"),
    ("tasks", "theory", "launch"),
    ("callbacks", "reports"),
    ("training",),
    ("reading",),
    ("studies", "deploy"),
)
FLOOR = {package: i for i, packages in enumerate(FLOORS) for package in packages}


def modules() -> dict[str, Path]:
    """Every module by its dotted name."""
    return {
        ".".join(path.relative_to(SRC).with_suffix("").parts).removesuffix(".__init__"): path
        for path in sorted(PACKAGE.rglob("*.py"))
    }


@cache
def imports(name: str) -> frozenset[str]:
    """The modules that one imports, at its top or within a function."""
    found = set()
    for node in ast.walk(ast.parse(modules()[name].read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {f"{node.module}.{a.name}" for a in node.names} | {node.module}
    return frozenset(found)


def ours(name: str) -> Iterator[str]:
    """The modules of this package that one imports; of a package its __init__, unless a module of it is meant."""
    found = {target for target in imports(name) if target in modules()} - {name, "dlcourse"}
    return (t for t in found if not any(other.startswith(t + ".") for other in found))


def package_of(name: str) -> str:
    return name.split(".")[1] if "." in name else ""


def test_the_top_is_the_list_of_commands() -> None:
    files = {path.stem for path in PACKAGE.glob("*.py")} - {"__init__", "__main__"}
    packages = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    assert packages == set(FLOOR)
    commands = {package for package in packages if (PACKAGE / package / "__main__.py").is_file()}
    assert files | commands == set(COMMANDS)


def test_every_package_says_what_it_is() -> None:
    for path in PACKAGE.rglob("__init__.py"):
        assert ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))), path


@pytest.mark.parametrize("name", [n for n in modules() if package_of(n) in FLOOR])
def test_imports_run_one_way(name: str) -> None:
    own = package_of(name)
    wrong = [t for t in ours(name) if package_of(t) != own and FLOOR.get(package_of(t), 99) >= FLOOR[own]]
    assert not wrong, f"{name} imports {wrong}"


def test_no_module_imports_itself_by_way_of_others() -> None:
    graph = {name: list(ours(name)) for name in modules()}
    tuple(TopologicalSorter(graph).static_order())  # raises CycleError, which names the circle


@pytest.mark.parametrize(
    ("package", "foreign"),
    [
        ("nets", ("lightning", "hydra", "omegaconf")),
        ("scratch", ("torch", "lightning", "hydra", "omegaconf")),
        ("data", ("hydra", "omegaconf")),
        ("plots", ("torch", "lightning", "hydra", "omegaconf")),
        ("runs", ("torch", "lightning", "hydra")),
        ("core", ("torch", "lightning", "hydra", "omegaconf", "numpy")),
    ],
)
def test_what_a_package_does_without(package: str, foreign: tuple[str, ...]) -> None:
    for name in modules():
        if package_of(name) == package:
            assert not [t for t in imports(name) if t.split(".")[0] in foreign], name


def test_studies_are_imported_by_their_commands_alone() -> None:
    importers = {n for n in modules() if any(package_of(t) == "studies" for t in ours(n))}
    assert {n for n in importers if package_of(n) != "studies"} == {"dlcourse.train"}


def test_files_are_short() -> None:
    lines = {name: len(path.read_text(encoding="utf-8").splitlines()) for name, path in modules().items()}
    assert not {name: n for name, n in lines.items() if n > 400}
    courses = {name: n for name, n in lines.items() if name.startswith("dlcourse.studies.") and name.count(".") > 2}
    assert courses and not {name: n for name, n in courses.items() if n > 250}
