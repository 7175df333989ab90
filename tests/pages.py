"""Pages of the documentation as a reader follows them: their files are written, their commands are typed."""

import importlib
import re
import shlex
from collections.abc import Callable
from pathlib import Path

TOP = Path(__file__).parents[1]
REPORTS = TOP / "docs" / "reports"  # published by a command, of runs
PAGES = {
    path.relative_to(TOP).as_posix(): path.read_text(encoding="utf-8")
    for path in [*sorted(TOP.glob("*.md")), *sorted(TOP.glob("docs/*.md"))]
}
NAMES = r"`([\w/]+\.(?:py|yaml))`"  # a file's name in the text


def sections(page: str) -> dict[str, str]:
    """What stands below each heading of the second level."""
    return dict(re.findall(r"(?ms)^## ([^\n]+)\n(.*?)(?=^## |\Z)", page))


def files(text: str) -> dict[str, str]:
    """Each block of Python or YAML by the path that is named last before it."""
    blocks = re.finditer(r"(?ms)^```(?:python|yaml)\n(.*?)^```", text)
    return {re.findall(NAMES, text[: block.start()])[-1]: block[1] for block in blocks}


def write_files(text: str, folder: Path) -> None:
    for name, content in files(text).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content)


def commands(text: str) -> list[list[str]]:
    """The words of each command of ours in the text's blocks of shell."""
    blocks = re.findall(r"(?ms)^```sh\n(.*?)^```", text)
    lines = [line for block in blocks for line in re.sub(r"\\\n\s*", "", block).splitlines()]
    return [shlex.split(line, comments=True) for line in lines if line.startswith("python -m dlcourse")]


def named(text: str) -> list[str]:
    """All commands of ours, also those within a sentence or a table."""
    found = re.findall(r"(?<!\$\()python -m dlcourse\b[^`\n]*", re.sub(r"\\\n\s*", "", text))
    return sorted({re.sub(r"\s+# .*", "", command).strip() for command in found})


def main_of(module: str) -> Callable[[list[str]], object]:
    """The function behind `python -m MODULE`."""
    if module == "dlcourse" or (TOP / "src" / module.replace(".", "/")).is_dir():
        module += ".__main__"
    main: Callable[[list[str]], object] = importlib.import_module(module).main
    return main
