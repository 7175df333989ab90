"""What the README says can be typed, and what it lists is there."""

import re
import shlex
from pathlib import Path

import pytest

from dlcourse.commandline import check_overrides
from dlcourse.config import groups

README = (Path(__file__).parents[1] / "README.md").read_text()
COMMANDS = sorted({c for c in re.findall(r"`?(python -m dlcourse\.[^`\n]+)", README) if "$" not in c})


@pytest.mark.parametrize("command", [c for c in COMMANDS if c.startswith("python -m dlcourse.train")])
def test_training_commands_compose(command: str) -> None:
    words = shlex.split(command)[3:]
    if "--help" not in words:
        check_overrides([w for w in words if w != "-m"], sweep="-m" in words)


def test_every_command_has_its_module_and_every_module_its_command() -> None:
    named = {c.split()[2] for c in COMMANDS}
    root = Path(__file__).parents[1] / "src" / "dlcourse"
    entries = {f"dlcourse.{p.stem}" for p in root.glob("*.py") if 'if __name__ == "__main__"' in p.read_text()}
    assert named == entries | {"dlcourse.data"}


def test_every_choice_of_model_data_and_key_is_in_the_readme() -> None:
    for group in ("model", "data"):
        missing = [choice for choice in groups()[group] if f"`{choice}`" not in README]
        assert missing == [], group


def test_links_lead_somewhere() -> None:
    top = Path(__file__).parents[1]
    targets = [t for t in re.findall(r"\]\(([^)]+)\)", README) if "://" not in t]
    assert targets
    assert [t for t in targets if not (top / t).exists()] == []
