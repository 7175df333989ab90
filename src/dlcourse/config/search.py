"""Where configs are looked for, and what there is to choose: our own folder and the one that a user has named."""

from pathlib import Path

from dlcourse.core.errors import InputError

_own: list[Path] = []


def conf_dir() -> Path:
    """The folder of configs: inside an installed package, or conf/ at the top of a checkout."""
    installed = Path(__file__).parents[1] / "conf"
    return installed if installed.is_dir() else Path(__file__).parents[3] / "conf"


def use_folder(folder: str | None) -> None:
    """Look in this folder, too (None: in ours alone). Raises InputError where it isn't there."""
    _own.clear()
    if folder is not None:
        path = Path(folder).expanduser().absolute()
        if not path.is_dir():
            raise InputError(f"--config-dir {folder}: there is no such folder")
        _own.append(path)


def search_path() -> list[Path]:
    """The folders in which configs are looked for; of files of one name the first is taken, as Hydra does it."""
    return [conf_dir(), *_own]


def hydra_override() -> list[str]:
    """What makes Hydra's compose() look there."""
    return [f"hydra.searchpath=[{','.join(f'file://{path}' for path in _own)}]"] if _own else []


def command_line() -> list[str]:
    """What was typed to look there."""
    return [word for path in _own for word in ("--config-dir", str(path))]


def groups() -> dict[str, list[str]]:
    """The folders of configs and the choices in each."""
    choices: dict[str, list[str]] = {}
    for top in search_path():
        for path in sorted(top.glob("*/**/*.yaml")):
            group, *name = path.relative_to(top).with_suffix("").parts
            if group not in ("study", "hydra"):  # those dlcourse.studies reads, and Hydra itself
                choices.setdefault(group, []).append("/".join(name))
    return {group: list(dict.fromkeys(names)) for group, names in choices.items()}


def study_names() -> list[str]:
    """The studies, as `course/name`."""
    tops = [folder / "study" for folder in search_path()]
    return sorted({p.relative_to(top).with_suffix("").as_posix() for top in tops for p in top.glob("*/*.yaml")})


def find_config(group: str, name: str) -> Path:
    """The file of a choice that there is."""
    return next(path for top in search_path() if (path := top / group / f"{name}.yaml").is_file())
