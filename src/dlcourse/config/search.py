"""Where configs are found, and what there is to choose."""

from pathlib import Path


def conf_dir() -> Path:
    """The folder of configs: inside an installed package, or conf/ at the top of a checkout."""
    installed = Path(__file__).parents[1] / "conf"
    return installed if installed.is_dir() else Path(__file__).parents[3] / "conf"


def groups() -> dict[str, list[str]]:
    """The folders of conf/ and the choices in each."""
    choices: dict[str, list[str]] = {}
    for path in sorted(conf_dir().glob("*/**/*.yaml")):
        if path.is_relative_to(conf_dir() / "study"):
            continue  # those are not Hydra's: dlcourse.studies reads them
        group, *name = path.relative_to(conf_dir()).with_suffix("").parts
        choices.setdefault(group, []).append("/".join(name))
    return choices


def search_path() -> list[Path]:
    """Where configs are looked for: the user's own folder, then ours."""
    return [conf_dir()]


def find_config(group: str, name: str) -> Path:
    """The file of a choice, from the first folder of the search path that has it."""
    return next(p for top in search_path() if (p := top / group / f"{name}.yaml").is_file())
