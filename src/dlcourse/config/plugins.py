"""Other people's code: modules that the user has named, and that may therefore be imported and built from.

Three ways to name one: `plugins=[mynet]` on a command line, `DLCOURSE_PLUGINS=mynet,other`, or an installed package
with an entry point of the group `dlcourse`. A config, a checkpoint or a run directory only says which plugin it needs;
it never grants it, since importing a module runs its code.
"""

import importlib
import os
import sys
from collections.abc import Sequence
from functools import lru_cache
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType
from typing import Any

from dlcourse.config.identity import flatten
from dlcourse.core.errors import InputError, first_line

OURS = ("dlcourse", "torch", "torchvision", "lightning", "torchmetrics")
VARIABLE, GROUP = "DLCOURSE_PLUGINS", "dlcourse"
NAMING = ("_target_", "data.reader")  # keys of a config that name code


def grant(plugins: str | Sequence[str] | None) -> None:
    """Allow these modules and those below them, for this process and the processes that it starts.

    plugins: names, or a text with them as it is typed: `[mynet,other]`. Raises InputError for what is no module's name,
    and for a module that can't be imported.
    """
    names = plugins.strip("[] ").split(",") if isinstance(plugins, str) else plugins or ()
    if not isinstance(names, list | tuple):
        raise InputError(f"plugins={plugins}: it is a list of modules, as plugins=[mynet]")
    for name in names:
        if not isinstance(name, str) or not all(part.isidentifier() for part in name.strip().split(".")):
            raise InputError(f"plugins={plugins}: a plugin is the name of a module, as mynet for mynet.py")
        os.environ[VARIABLE] = ",".join(dict.fromkeys([*_named(), name.strip()]))
        _import(name.strip())


def is_granted(module: str) -> bool:
    """Whether a module is one that the user has allowed, or below one."""
    return any(module == name or module.startswith(name + ".") for name in (*_named(), *_installed()))


def needed_plugins(plain: dict[str, Any]) -> list[str]:
    """The modules of other people that a resolved config names."""
    named = [str(v) for key, v in flatten(plain).items() if key.endswith(NAMING) and "." in str(v)]
    return sorted({name.rpartition(".")[0] for name in named if name.split(".")[0] not in OURS})


def find_object(dotted: str, key: str) -> Any:
    """What `module.name` leads to, for a module of ours or a plugin; `key` is where it is named, for messages.

    Raises InputError for a module that may not be imported, in one sentence that says what to add.
    """
    module, _, name = dotted.rpartition(".")
    if module.split(".")[0] in OURS:
        try:
            return getattr(importlib.import_module(module), name)
        except Exception:  # whatever importing it does: there is nothing to be had under this name
            raise InputError(f"{key}={dotted}: there is no such class") from None
    if module.split(".")[0] in sys.stdlib_module_names:
        raise InputError(f"{key}={dotted}: there is no network, data set or task in Python's own modules")
    if not is_granted(module):
        raise InputError(
            f"{key}={dotted} needs the plugin {module}, which can run any code: if you trust it, add plugins=[{module}]"
        )
    found = _import(module)
    if not hasattr(found, name):
        raise InputError(f"{key}={dotted}: there is no {name} in {found.__file__ or module}")
    return getattr(found, name)


def _named() -> list[str]:
    return [name.strip() for name in os.environ.get(VARIABLE, "").split(",") if name.strip()]


@lru_cache
def _installed() -> tuple[str, ...]:
    """The modules that installed packages offer as plugins."""
    return tuple(point.module for point in entry_points(group=GROUP))


def _import(name: str) -> ModuleType:
    """An allowed module; one that lies in the working directory is found too."""
    if str(Path.cwd()) not in sys.path:  # `python -m` puts it there, a console script does not
        sys.path.append(str(Path.cwd()))
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name and (name == error.name or name.startswith(error.name + ".")):
            raise InputError(f"plugins={name}: there is no module {name}, here or among the installed ones") from None
        raise InputError(f"plugins={name}: it can't be imported: {first_line(error)}") from error
    except Exception as error:
        raise InputError(f"plugins={name}: it can't be imported: {first_line(error)}") from error
