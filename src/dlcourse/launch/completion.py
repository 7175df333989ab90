"""`python -m dlcourse.train --shell-completion install=bash`: groups, choices and keys by the tab key.

Hydra's own script for bash completes a file (`python train.py`), not `python -m`, and knows no studies.
"""

from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException

from dlcourse.config.identity import flatten
from dlcourse.config.search import groups
from dlcourse.launch.compose import compose_config
from dlcourse.launch.help import option_names, unresolved

BASH = r"""_dlcourse() {
    COMPREPLY=()
    [[ "$COMP_LINE" =~ ^(python[0-9.]*\ +-m\ +dlcourse\.train|dlcourse\ +train)\ (.*)$ ]] || return
    local word="${COMP_LINE##* }"
    COMPREPLY=($(compgen -W "$(COMP_LINE="${BASH_REMATCH[2]}" python -m dlcourse.train -sc query=bash)" -- "$word"))
}
COMP_WORDBREAKS=${COMP_WORDBREAKS//=}
complete -o nospace -o default -F _dlcourse python python3 dlcourse"""


def completions(line: str) -> list[str]:
    """What the last word of a command line may become, `model=cnn` for `model=c`; keys are those of what was chosen."""
    *before, word = line.split(" ")
    options, known = option_names(), groups()
    group, equals, typed = word.partition("=")
    if equals:
        done, comma, last = typed.rpartition(",")
        names = [name for name in options.get(group, ()) if name.startswith(last)]
        return [f"{group}={done}{comma}{name}" for name in names]
    try:
        cfg = compose_config([w for w in before if w.partition("=")[0] in known and "," not in w])
    except (HydraException, OmegaConfBaseException):
        cfg = compose_config([])
    keys = [f"{key}=" for key in [*options, *flatten(unresolved(cfg))] if key.startswith(word)]
    return keys or [option for option in ("--help", "--config-dir", "--cfg") if word and option.startswith(word)]
