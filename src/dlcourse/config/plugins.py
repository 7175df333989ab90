"""Other people's code: modules that the user has named, and that may therefore be imported and built from.

Three ways to name one: `plugins=[mynet]` on a command line, `DLCOURSE_PLUGINS=mynet,other`, or an installed package with
an entry point of the group `dlcourse`. A config, a checkpoint or a run directory only says which plugin it needs; it
never grants it, since importing a module runs its code.
"""

import importlib
import os
import sys
from collections.abc import Iterable
from functools import lru_cache
from importlib.metadata import entry_points
from types import ModuleType
from typing import Any

from dlcourse.core.errors import InputError, first_line

OURS = ("dlcourse", "torch", "torchvision", "lightning", "torchmetrics")
VARIABLE, GROUP = "DLCOURSE_PLUGINS", "dlcourse"
_named: set[str] = set()  # by this process's command line


def grant(modules: Iterable[str]) -> None:
    """Allow these modules (and those below them), for this process and the processes that it starts.

    Raises InputError for a name that is no module's, and for a module that can't be imported.
    """
    for name in modules:
        if not isinstance(name, str) or not all(part.isidentifier() for part in name.split(".")):
            raise InputError(f"plugins={name}: a plugin is the name of a module, as mynet for mynet.py")
        _named.add(name)
        import_plugin(name)
    if _named:
        os.environ[VARIABLE] = ",".join(sorted(granted() - installed()))


def granted() -> set[str]:
    """The modules that are allowed, however they were named."""
    variable = {name.strip() for name in os.environ.get(VARIABLE, "").split(",")} - {""}
    return _named | variable | installed()


@lru_cache
def installed() -> set[str]:
    """The modules that installed packages offer as plugins."""
    return {point.module for point in entry_points(group=GROUP)}


def is_granted(module: str) -> bool:
    """Whether a module is one of the allowed ones, or below one."""
    return any(module == name or module.startswith(name + ".") for name in granted())


def import_plugin(name: str) -> ModuleType:
    """An allowed module; one that lies in the working directory is found too."""
    if os.getcwd() not in sys.path:  # `python -m` puts it there, a console script does not
        sys.path.append(os.getcwd())
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name and name.startswith(error.name):
            raise InputError(f"plugins={name}: there is no module {name}, here or among the installed ones") from None
        raise InputError(f"plugins={name}: it can't be imported: {first_line(error)}") from error
    except Exception as error:
        raise InputError(f"plugins={name}: it can't be imported: {first_line(error)}") from error


def find_object(dotted: str, key: str) -> Any:
    """What `module.name` leads to, for a module of ours or a plugin; `key` is where it is named, for messages.

    Raises InputError for a module that may not be imported, in one sentence that says what to add.
    """
    module, _, name = dotted.rpartition(".")
    top = module.split(".")[0]
    if top not in OURS and not is_granted(module):
        raise InputError(
            f"{key}={dotted} needs the module {module or dotted}, which could run any code: "
            f"if you trust it, add plugins=[{module or dotted}]"
        )
    if top not in OURS:
        found = import_plugin(module)
    else:
        try:
            found = importlib.import_module(module)
        except Exception:  # whatever importing it does: there is nothing to be had under this name
            raise InputError(f"{key}={dotted}: there is no such class") from None
    if not hasattr(found, name):
        raise InputError(f"{key}={dotted}: there is no {name} in {module}")
    return getattr(found, name)
